//! Raw calls of the cryptographic module on one thread: what no server can beat.

use keyreeve_crypto::{KeyAlgorithm, LoadedKey, Material, Message, Purpose, Random, SignatureScheme};
use std::time::{Duration, Instant};

use crate::Failure;

const TIME: Duration = Duration::from_millis(1500);

fn rate(mut call: impl FnMut() -> Result<(), Failure>) -> Result<f64, Failure> {
    let (started, mut count) = (Instant::now(), 0_u64);
    while started.elapsed() < TIME {
        for _ in 0..16 {
            call()?;
        }
        count += 16;
    }
    Ok(count as f64 / started.elapsed().as_secs_f64())
}

/// Encryptions of so many bytes in a second, with fresh random nonces.
pub(crate) fn encrypt(bytes: usize) -> Result<f64, Failure> {
    let random = Random::from_module()?;
    let material = Material::generate(KeyAlgorithm::Xaes256Gcm, &random)?;
    let key = LoadedKey::load(&material, Purpose::Encrypt)?;
    let plaintext = vec![7; bytes];
    rate(|| {
        std::hint::black_box(key.seal(&random, b"", &plaintext)?);
        Ok(())
    })
}

/// P-256 signatures in a second.
pub(crate) fn sign() -> Result<f64, Failure> {
    let random = Random::from_module()?;
    let material = Material::generate(KeyAlgorithm::EcP256, &random)?;
    let key = LoadedKey::load(&material, Purpose::Sign)?;
    rate(|| {
        std::hint::black_box(key.sign(&random, SignatureScheme::EcdsaSha256, Message::Raw(&[7; 32]))?);
        Ok(())
    })
}
