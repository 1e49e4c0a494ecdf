//! XAES-256-GCM, version 1 (c2sp.org/XAES-256-GCM): AES-256-GCM with a 192-bit nonce.
//!
//! From the key and the first half of the nonce a key for a single message is derived (SP 800-108r1 with CMAC-AES-256,
//! whose input is one block, so that each half of the derived key is one call of AES); the second half is the GCM
//! nonce.
//!
//! The AES calls are made through the block cipher interface with a prepared key schedule: the CMAC interface copies a
//! context on the heap for each tag, which costs several times as much as the cipher.

use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use aws_lc_rs::cipher::{AES_256, EncryptingKey, UnboundCipherKey};
use keyreeve_secret::SecretArray;
use zeroize::Zeroizing;

use crate::error::{CryptoError, module};

/// Bytes of a nonce.
pub(crate) const NONCE_LEN: usize = 24;

/// A key with its AES key schedule and CMAC subkey computed once.
pub(crate) struct XaesKey {
    block: EncryptingKey,
    subkey: SecretArray<16>,
}

impl XaesKey {
    pub(crate) fn new(key: &[u8; 32]) -> Result<Self, CryptoError> {
        let block = UnboundCipherKey::new(&AES_256, key).and_then(EncryptingKey::ecb).map_err(module)?;
        let subkey = SecretArray::try_init_with(|l| {
            block.encrypt(l).map_err(module)?;
            double(l);
            Ok::<_, CryptoError>(())
        })?;
        Ok(Self { block, subkey })
    }

    /// The AES-256-GCM key for the message with this nonce, whose other half goes to GCM.
    pub(crate) fn message_key(&self, nonce: &[u8; NONCE_LEN]) -> Result<(LessSafeKey, [u8; 12]), CryptoError> {
        let mut derived = Zeroizing::new([0u8; 32]);
        for (block, counter) in derived.as_chunks_mut::<16>().0.iter_mut().zip(1u8..) {
            block[1] = counter;
            block[2] = b'X';
            block[4..].copy_from_slice(&nonce[..12]);
            for (byte, mask) in block.iter_mut().zip(self.subkey.expose()) {
                *byte ^= mask;
            }
        }
        self.block.encrypt(derived.as_mut_slice()).map_err(module)?;
        let key = UnboundKey::new(&AES_256_GCM, derived.as_slice()).map_err(module)?;
        let mut rest = [0; 12];
        rest.copy_from_slice(&nonce[12..]);
        Ok((LessSafeKey::new(key), rest))
    }
}

/// Doubling in GF(2^128), the CMAC subkey step (SP 800-38B, 6.1), without a branch on the secret.
fn double(block: &mut [u8; 16]) {
    let value = u128::from_be_bytes(*block);
    let carry = value >> 127;
    *block = ((value << 1) ^ (0x87 * carry)).to_be_bytes();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubling_matches_the_published_subkeys() {
        for (l, k1) in [
            ("7298caa565031eadc6ce23d23ea66378", "e531954aca063d5b8d9c47a47d4cc6f0"),
            ("91c08762876dccf9ba204a33768fa5fe", "23810ec50edb99f374409466ed1f4b7b"),
        ] {
            let mut block = <[u8; 16]>::try_from(hex::decode(l).unwrap()).unwrap();
            double(&mut block);
            assert_eq!(hex::encode(block), k1);
        }
    }

    #[test]
    fn the_subkey_matches_the_published_one() {
        let key = XaesKey::new(&[1; 32]).unwrap();
        assert_eq!(hex::encode(key.subkey.expose()), "e531954aca063d5b8d9c47a47d4cc6f0");
    }
}
