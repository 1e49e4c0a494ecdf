//! Key derivation: HKDF (RFC 5869) and SP 800-108r1 in counter mode with HMAC.

use aws_lc_rs::hkdf as lc;
use aws_lc_rs::kdf::{self, KbkdfCtrHmacAlgorithm, KbkdfCtrHmacAlgorithmId};
use keyreeve_secret::{SecretArray, SecretBytes};

use crate::algorithm::HashAlgorithm;
use crate::error::{CryptoError, module};

/// Most bytes derived by one call: what HKDF with SHA-256 gives (255 blocks of 32 bytes; RFC 5869, 2.3). The same bound
/// holds for every function here, so that changing the hash never makes a request fail.
pub const MAX_DERIVED: usize = 255 * 32;

/// How to derive, with the inputs that make one derived key differ from another.
#[derive(Debug, Clone, Copy)]
pub enum DeriveParams<'a> {
    /// HKDF, extract and expand.
    Hkdf {
        /// The hash function.
        hash: HashAlgorithm,
        /// Optional salt; empty means a string of zeros as long as the digest.
        salt: &'a [u8],
        /// What the derived key is for.
        info: &'a [u8],
    },
    /// SP 800-108r1 counter mode: 32-bit counter before the fixed input `label || 0x00 || context || length in bits (32
    /// bit)`.
    Kbkdf108Counter {
        /// The hash function of the HMAC.
        hash: HashAlgorithm,
        /// What the derived key is for; without zero bytes.
        label: &'a [u8],
        /// Who and what is involved.
        context: &'a [u8],
    },
}

/// Derives `len` bytes from `key`.
///
/// # Errors
/// [`CryptoError::OutputLength`] if `len` is zero or above [`MAX_DERIVED`]; [`CryptoError::Label`].
pub fn derive(key: &[u8], params: DeriveParams<'_>, len: usize) -> Result<SecretBytes, CryptoError> {
    match params {
        DeriveParams::Hkdf { hash, salt, info } => hkdf(hash, key, salt, info, len),
        DeriveParams::Kbkdf108Counter { hash, label, context } => kbkdf108_counter(hash, key, label, context, len),
    }
}

/// HKDF, extract and expand: `len` bytes from `ikm`.
///
/// # Errors
/// [`CryptoError::OutputLength`] if `len` is zero or above [`MAX_DERIVED`].
pub fn hkdf(hash: HashAlgorithm, ikm: &[u8], salt: &[u8], info: &[u8], len: usize) -> Result<SecretBytes, CryptoError> {
    check_len(len)?;
    SecretBytes::try_init_with(len, |out| hkdf_into(hash, ikm, salt, info, out))
}

/// HKDF-SHA-256, extract and expand, to a secret of fixed length.
///
/// # Errors
/// [`CryptoError::OutputLength`] if `N` is zero or above [`MAX_DERIVED`].
pub fn hkdf_sha256<const N: usize>(ikm: &[u8], salt: &[u8], info: &[u8]) -> Result<SecretArray<N>, CryptoError> {
    check_len(N)?;
    SecretArray::try_init_with(|out| hkdf_into(HashAlgorithm::Sha256, ikm, salt, info, out))
}

/// HKDF-Expand only, from a key that is already uniform (RFC 5869, 3.3).
///
/// # Errors
/// [`CryptoError::OutputLength`] if `len` is zero or above [`MAX_DERIVED`].
pub fn hkdf_expand(hash: HashAlgorithm, prk: &[u8], info: &[u8], len: usize) -> Result<SecretBytes, CryptoError> {
    check_len(len)?;
    SecretBytes::try_init_with(len, |out| expand(&lc::Prk::new_less_safe(hkdf_algorithm(hash), prk), info, out))
}

/// SP 800-108r1, 4.1: counter mode with HMAC, see [`DeriveParams::Kbkdf108Counter`].
///
/// # Errors
/// [`CryptoError::OutputLength`] if `len` is zero or above [`MAX_DERIVED`]; [`CryptoError::Label`].
pub fn kbkdf108_counter(
    hash: HashAlgorithm,
    key: &[u8],
    label: &[u8],
    context: &[u8],
    len: usize,
) -> Result<SecretBytes, CryptoError> {
    check_len(len)?;
    // A zero byte in the label would let two different pairs of label and context give the same fixed input.
    if label.contains(&0) {
        return Err(CryptoError::Label);
    }
    let bits = u32::try_from(len * 8).map_err(|_| CryptoError::OutputLength { max: MAX_DERIVED })?;
    let fixed = [label, &[0], context, &bits.to_be_bytes()].concat();
    kbkdf108_fixed(hash, key, &fixed, len)
}

/// SP 800-108r1 counter mode over fixed input that is laid out by the caller, as test vectors have it.
pub(crate) fn kbkdf108_fixed(
    hash: HashAlgorithm,
    key: &[u8],
    fixed: &[u8],
    len: usize,
) -> Result<SecretBytes, CryptoError> {
    let algorithm = kbkdf_algorithm(hash)?;
    SecretBytes::try_init_with(len, |out| kdf::kbkdf_ctr_hmac(algorithm, key, fixed, out).map_err(module))
}

fn check_len(len: usize) -> Result<(), CryptoError> {
    match len {
        1..=MAX_DERIVED => Ok(()),
        _ => Err(CryptoError::OutputLength { max: MAX_DERIVED }),
    }
}

fn hkdf_into(hash: HashAlgorithm, ikm: &[u8], salt: &[u8], info: &[u8], out: &mut [u8]) -> Result<(), CryptoError> {
    expand(&lc::Salt::new(hkdf_algorithm(hash), salt).extract(ikm), info, out)
}

fn expand(prk: &lc::Prk, info: &[u8], out: &mut [u8]) -> Result<(), CryptoError> {
    let parts = [info];
    prk.expand(&parts, OutputLen(out.len())).and_then(|okm| okm.fill(out)).map_err(module)
}

struct OutputLen(usize);

impl lc::KeyType for OutputLen {
    fn len(&self) -> usize {
        self.0
    }
}

fn hkdf_algorithm(hash: HashAlgorithm) -> lc::Algorithm {
    match hash {
        HashAlgorithm::Sha256 => lc::HKDF_SHA256,
        HashAlgorithm::Sha384 => lc::HKDF_SHA384,
        HashAlgorithm::Sha512 => lc::HKDF_SHA512,
    }
}

fn kbkdf_algorithm(hash: HashAlgorithm) -> Result<&'static KbkdfCtrHmacAlgorithm, CryptoError> {
    let id = match hash {
        HashAlgorithm::Sha256 => KbkdfCtrHmacAlgorithmId::Sha256,
        HashAlgorithm::Sha384 => KbkdfCtrHmacAlgorithmId::Sha384,
        HashAlgorithm::Sha512 => KbkdfCtrHmacAlgorithmId::Sha512,
    };
    kdf::get_kbkdf_ctr_hmac_algorithm(id).ok_or(CryptoError::Module)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_outside_of_the_bounds_are_refused() {
        let params = DeriveParams::Hkdf { hash: HashAlgorithm::Sha256, salt: b"", info: b"" };
        let refused = CryptoError::OutputLength { max: MAX_DERIVED };
        assert_eq!(derive(&[1; 32], params, 0).unwrap_err(), refused);
        assert_eq!(derive(&[1; 32], params, MAX_DERIVED + 1).unwrap_err(), refused);
        assert_eq!(derive(&[1; 32], params, MAX_DERIVED).unwrap().len(), MAX_DERIVED);
        let params = DeriveParams::Kbkdf108Counter { hash: HashAlgorithm::Sha512, label: b"l", context: b"" };
        assert_eq!(derive(&[1; 32], params, 0).unwrap_err(), refused);
        assert_eq!(derive(&[1; 32], params, MAX_DERIVED).unwrap().len(), MAX_DERIVED);
    }

    #[test]
    fn a_zero_byte_in_a_label_is_refused() {
        let params = DeriveParams::Kbkdf108Counter { hash: HashAlgorithm::Sha256, label: b"a\0b", context: b"c" };
        assert_eq!(derive(&[1; 32], params, 32).unwrap_err(), CryptoError::Label);
    }

    #[test]
    fn every_input_matters() {
        let outputs: Vec<_> = [
            DeriveParams::Hkdf { hash: HashAlgorithm::Sha256, salt: b"s", info: b"i" },
            DeriveParams::Hkdf { hash: HashAlgorithm::Sha384, salt: b"s", info: b"i" },
            DeriveParams::Hkdf { hash: HashAlgorithm::Sha256, salt: b"t", info: b"i" },
            DeriveParams::Hkdf { hash: HashAlgorithm::Sha256, salt: b"s", info: b"j" },
            DeriveParams::Kbkdf108Counter { hash: HashAlgorithm::Sha256, label: b"s", context: b"i" },
            DeriveParams::Kbkdf108Counter { hash: HashAlgorithm::Sha512, label: b"s", context: b"i" },
            DeriveParams::Kbkdf108Counter { hash: HashAlgorithm::Sha256, label: b"t", context: b"i" },
            DeriveParams::Kbkdf108Counter { hash: HashAlgorithm::Sha256, label: b"s", context: b"j" },
        ]
        .into_iter()
        .map(|params| derive(&[1; 32], params, 32).unwrap().declassify("test"))
        .collect();
        for (i, a) in outputs.iter().enumerate() {
            assert!(outputs[i + 1..].iter().all(|b| a != b), "{i}");
        }
    }

    #[test]
    fn fixed_and_free_length_agree() {
        let array = hkdf_sha256::<32>(b"ikm", b"salt", b"info").unwrap();
        let bytes = hkdf(HashAlgorithm::Sha256, b"ikm", b"salt", b"info", 32).unwrap();
        assert!(array.ct_eq(bytes.expose()));
        let prk = crate::mac::hmac_sha256(b"salt", b"ikm");
        assert!(hkdf_expand(HashAlgorithm::Sha256, &prk, b"info", 32).unwrap().ct_eq(bytes.expose()));
    }
}
