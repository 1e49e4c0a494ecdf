//! SHA-2 digests (FIPS 180-4), whole and piece by piece.

use aws_lc_rs::digest as lc;

use crate::algorithm::HashAlgorithm;

/// SHA-256 of `data`.
pub fn sha256(data: &[u8]) -> [u8; 32] {
    fixed(&lc::digest(&lc::SHA256, data))
}

/// SHA-384 of `data`.
pub fn sha384(data: &[u8]) -> [u8; 48] {
    fixed(&lc::digest(&lc::SHA384, data))
}

/// SHA-512 of `data`.
pub fn sha512(data: &[u8]) -> [u8; 64] {
    fixed(&lc::digest(&lc::SHA512, data))
}

/// The digest of `data` under the chosen hash function, [`HashAlgorithm::output_len`] bytes.
pub fn digest(hash: HashAlgorithm, data: &[u8]) -> Vec<u8> {
    lc::digest(algorithm(hash), data).as_ref().to_vec()
}

/// SHA-256 over data that comes in pieces.
#[derive(Clone)]
pub struct Sha256 {
    context: lc::Context,
}

impl Sha256 {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self { context: lc::Context::new(&lc::SHA256) }
    }

    /// Takes the next piece.
    pub fn update(&mut self, data: &[u8]) {
        self.context.update(data);
    }

    /// The digest of all pieces.
    pub fn finish(self) -> [u8; 32] {
        fixed(&self.context.finish())
    }
}

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

/// A digest over data that comes in pieces, under a hash function chosen at run time.
#[derive(Clone)]
pub struct Digester {
    context: lc::Context,
}

impl Digester {
    /// Of nothing yet.
    pub fn new(hash: HashAlgorithm) -> Self {
        Self { context: lc::Context::new(algorithm(hash)) }
    }

    /// Takes the next piece.
    pub fn update(&mut self, data: &[u8]) {
        self.context.update(data);
    }

    /// The digest of all pieces.
    pub fn finish(self) -> Vec<u8> {
        self.context.finish().as_ref().to_vec()
    }
}

pub(crate) fn algorithm(hash: HashAlgorithm) -> &'static lc::Algorithm {
    match hash {
        HashAlgorithm::Sha256 => &lc::SHA256,
        HashAlgorithm::Sha384 => &lc::SHA384,
        HashAlgorithm::Sha512 => &lc::SHA512,
    }
}

fn fixed<const N: usize>(digest: &lc::Digest) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(digest.as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn digests_of_abc() {
        // FIPS 180-4 examples, as published with the standard.
        assert_eq!(hex::encode(sha256(b"abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(hex::encode(sha384(b"abc")).starts_with("cb00753f45a35e8bb5a03d699ac65007272c32ab0eded163"));
        assert!(hex::encode(sha512(b"abc")).starts_with("ddaf35a193617abacc417349ae20413112e6fa4e89a97ea2"));
    }

    proptest! {
        #[test]
        fn pieces_give_the_digest_of_the_whole(a: Vec<u8>, b: Vec<u8>) {
            let whole = [a.as_slice(), b.as_slice()].concat();
            let mut pieces = Sha256::new();
            pieces.update(&a);
            pieces.update(&b);
            prop_assert_eq!(pieces.finish(), sha256(&whole));
            for &hash in HashAlgorithm::ALL {
                let mut pieces = Digester::new(hash);
                pieces.update(&a);
                pieces.update(&b);
                let out = pieces.finish();
                prop_assert_eq!(out.len(), hash.output_len());
                prop_assert_eq!(out, digest(hash, &whole));
            }
        }
    }
}
