//! A device in software that fails on demand, for testing what callers do with keys in devices.

use async_trait::async_trait;
use keyreeve_crypto::{
    CryptoError, HashAlgorithm, KeyAlgorithm, LoadedKey, Material, Message, PublicKey, Purpose, Random, RemoteFault,
    RemoteKey, SignatureScheme, kdf,
};
use keyreeve_secret::{SecretArray, SecretBytes};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::RootError;
use crate::device::KeyDevice;

/// Keys by reference.
type Keys = Mutex<BTreeMap<Vec<u8>, Arc<Inside>>>;

/// Keeps its keys for as long as it lives, like a device that servers come and go at.
#[derive(Default)]
pub struct SoftDevice {
    keys: Arc<Keys>,
    away: Arc<AtomicBool>,
    forgetful: AtomicBool,
    drawn: AtomicUsize,
    uses: Arc<AtomicUsize>,
}

/// One key.
struct Inside {
    key: LoadedKey,
    material: SecretBytes,
    algorithm: KeyAlgorithm,
    purpose: Purpose,
}

/// One key as callers have it.
struct Opened {
    reference: Vec<u8>,
    keys: Arc<Keys>,
    away: Arc<AtomicBool>,
    uses: Arc<AtomicUsize>,
}

impl SoftDevice {
    /// From now on it does not answer, or answers again.
    pub fn lose(&self, lost: bool) {
        self.away.store(lost, Ordering::SeqCst);
    }

    /// From now on keys are made and the answer is lost.
    pub fn lose_answers(&self, lost: bool) {
        self.forgetful.store(lost, Ordering::SeqCst);
    }

    /// How many keys it has.
    pub fn len(&self) -> usize {
        self.keys.lock().unwrap().len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes all keys away, as a reset does.
    pub fn reset(&self) {
        self.keys.lock().unwrap().clear();
    }

    /// How often private halves were used.
    pub fn uses(&self) -> usize {
        self.uses.load(Ordering::SeqCst)
    }

    /// The material of all its keys, which nothing else may ever hold.
    pub fn canaries(&self) -> Vec<Vec<u8>> {
        self.keys.lock().unwrap().values().map(|inside| inside.material.expose().to_vec()).collect()
    }

    fn answers(&self) -> Result<(), RootError> {
        let away = self.away.load(Ordering::SeqCst);
        if away { Err(RootError::Unavailable("injected".to_owned())) } else { Ok(()) }
    }
}

#[async_trait]
impl KeyDevice for SoftDevice {
    fn supports(&self, algorithm: KeyAlgorithm, purpose: Purpose) -> bool {
        let makes = match purpose {
            Purpose::Encrypt => algorithm == KeyAlgorithm::Aes256Gcm || algorithm.name().starts_with("rsa"),
            Purpose::Sign => !algorithm.name().starts_with("ml-"),
            Purpose::Mac => true,
            _ => false,
        };
        makes && algorithm.offers(purpose)
    }

    fn describe(&self) -> String {
        "soft device".to_owned()
    }

    fn draw(&self, algorithm: KeyAlgorithm, purpose: Purpose) -> Result<Vec<u8>, RootError> {
        self.answers()?;
        if !self.supports(algorithm, purpose) {
            return Err(RootError::Refused("injected".to_owned()));
        }
        let number = self.drawn.fetch_add(1, Ordering::SeqCst);
        Ok([&[algorithm.code(), purpose.code()][..], &number.to_be_bytes()].concat())
    }

    async fn generate(
        &self,
        reference: &[u8],
        algorithm: KeyAlgorithm,
        purpose: Purpose,
        _label: &str,
    ) -> Result<Option<PublicKey>, RootError> {
        self.answers()?;
        if !reference.starts_with(&[algorithm.code(), purpose.code()]) {
            return Err(RootError::Unwrap);
        }
        let random = Random::from_module().unwrap();
        let material = Material::generate(algorithm, &random).unwrap();
        let key = LoadedKey::load(&material, purpose).unwrap();
        let inside = Inside { key, material: material.serialize(), algorithm, purpose };
        self.keys.lock().unwrap().insert(reference.to_vec(), Arc::new(inside));
        if self.forgetful.load(Ordering::SeqCst) {
            return Err(RootError::Unavailable("injected: the answer was lost".to_owned()));
        }
        Ok(material.public_key().unwrap())
    }

    async fn open(
        &self,
        reference: &[u8],
        algorithm: KeyAlgorithm,
        purpose: Purpose,
    ) -> Result<Arc<dyn RemoteKey>, RootError> {
        self.answers()?;
        match self.keys.lock().unwrap().get(reference) {
            None => Err(RootError::Missing),
            Some(inside) if (inside.algorithm, inside.purpose) != (algorithm, purpose) => Err(RootError::Unwrap),
            Some(_) => Ok(Arc::new(Opened {
                reference: reference.to_vec(),
                keys: Arc::clone(&self.keys),
                away: Arc::clone(&self.away),
                uses: Arc::clone(&self.uses),
            })),
        }
    }

    async fn erase(&self, reference: &[u8]) -> Result<(), RootError> {
        self.answers()?;
        self.keys.lock().unwrap().remove(reference);
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Vec<u8>>, RootError> {
        self.answers()?;
        Ok(self.keys.lock().unwrap().keys().cloned().collect())
    }
}

impl Opened {
    fn inside(&self) -> Result<Arc<Inside>, CryptoError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(RemoteFault::Unavailable.into());
        }
        self.uses.fetch_add(1, Ordering::SeqCst);
        self.keys.lock().unwrap().get(&self.reference).cloned().ok_or_else(|| RemoteFault::Missing.into())
    }
}

impl RemoteKey for Opened {
    /// Draws a nonce of its own, as some devices insist on.
    fn seal(&self, _nonce: &[u8; 12], aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.inside()?.key.seal(&Random::from_module().unwrap(), aad, plaintext)
    }

    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<SecretBytes, CryptoError> {
        self.inside()?.key.open(aad, sealed)
    }

    fn commitment_key(&self) -> Result<SecretArray<32>, CryptoError> {
        kdf::hkdf_sha256(self.inside()?.material.expose(), &[], b"commitment")
    }

    fn oaep_decrypt(&self, hash: HashAlgorithm, label: &[u8], text: &[u8]) -> Result<SecretBytes, CryptoError> {
        self.inside()?.key.oaep_decrypt(hash, label, text)
    }

    fn sign(&self, scheme: SignatureScheme, input: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let message = if scheme.hash().is_some() { Message::Digest(input) } else { Message::Raw(input) };
        self.inside()?.key.sign(&Random::from_module().unwrap(), scheme, message)
    }

    fn mac(&self, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.inside()?.key.mac(data)
    }
}
