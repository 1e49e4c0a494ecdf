//! Keys from passphrases: PBKDF2 with HMAC-SHA-512 (RFC 8018, 5.2; SP 800-132).
//!
//! A passphrase that people remember has few bits, and this makes trying it out costly, no more. Nothing of a server
//! hangs on one: it keeps what people carry with them, such as their keys for ceremonies.

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2;
use keyreeve_secret::{SecretArray, SecretString};

/// Least iterations (count) that are accepted: what OWASP recommends for HMAC-SHA-512 (Password Storage Cheat Sheet).
pub const ITERATIONS_MIN: u32 = 210_000;

/// Iterations (count) that are used for what is new: about half a second on a laptop.
pub const ITERATIONS: u32 = 1_000_000;

/// Most iterations (count) that are accepted: a file of somebody else must not keep this machine busy for hours.
pub const ITERATIONS_MAX: u32 = 20_000_000;

/// Bytes of a salt: 128 bits at least (SP 800-132, 5.1).
pub const SALT_LEN: usize = 16;

/// A passphrase is to be stretched with a number of iterations (count) that is out of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a passphrase is stretched with {ITERATIONS_MIN} to {ITERATIONS_MAX} iterations")]
pub struct WrongIterations;

/// Stretches a passphrase to a key of 32 bytes.
///
/// # Errors
/// [`WrongIterations`] if `iterations` is below [`ITERATIONS_MIN`] or above [`ITERATIONS_MAX`].
pub fn stretch(
    passphrase: &SecretString,
    salt: &[u8; SALT_LEN],
    iterations: u32,
) -> Result<SecretArray<32>, WrongIterations> {
    if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
        return Err(WrongIterations);
    }
    Ok(stretched(passphrase, salt, NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN)))
}

fn stretched<const N: usize>(passphrase: &SecretString, salt: &[u8], iterations: NonZeroU32) -> SecretArray<N> {
    SecretArray::init_with(|out: &mut [u8; N]| {
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, iterations, salt, passphrase.expose().as_bytes(), out);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(passphrase: &str, salt: &str, iterations: u32) -> String {
        let passphrase = SecretString::copy_from(passphrase);
        let iterations = NonZeroU32::new(iterations).unwrap();
        hex::encode(stretched::<64>(&passphrase, salt.as_bytes(), iterations).expose())
    }

    /// The inputs of RFC 6070 with SHA-512, as published with the vectors of several libraries.
    #[test]
    fn known_answers() {
        let one = "867f70cf1ade02cff3752599a3a53dc4af34c7a669815ae5d513554e1c8cf252\
                   c02d470a285a0501bad999bfe943c08f050235d7d68b1da55e63f73b60a57fce";
        assert_eq!(known("password", "salt", 1), one);
        let many = "d197b1b33db0143e018b12f3d1d1479e6cdebdcc97c5c0f87f6902e072f457b5\
                    143f30602641b3d55cd335988cb36b84376060ecd532e039b742a239434af2d5";
        assert_eq!(known("password", "salt", 4096), many);
    }

    #[test]
    fn few_iterations_are_refused_and_too_many() {
        let passphrase = SecretString::copy_from("correct horse");
        for iterations in [0, 1, ITERATIONS_MIN - 1, ITERATIONS_MAX + 1] {
            assert!(stretch(&passphrase, &[7; SALT_LEN], iterations).is_err(), "{iterations}");
        }
        let key = stretch(&passphrase, &[7; SALT_LEN], ITERATIONS_MIN).unwrap();
        let other = stretch(&SecretString::copy_from("correct horsf"), &[7; SALT_LEN], ITERATIONS_MIN).unwrap();
        assert!(!key.ct_eq(other.expose()));
    }
}
