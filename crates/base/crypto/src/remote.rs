//! Keys whose material is elsewhere: inside a device that uses them and never gives them out.
//!
//! [`RemoteKey`] is what such a device does with one key. [`LoadedKey::remote`](crate::key::LoadedKey::remote) makes a
//! key of it that is used like any other: what needs the private half goes to the device, what the public half is
//! enough for is done here.

use std::sync::Arc;

use keyreeve_secret::{SecretArray, SecretBytes};

use crate::aead::{self, NONCE_LEN, TAG_LEN};
use crate::algorithm::{HashAlgorithm, KeyAlgorithm, Purpose, SignatureScheme};
use crate::digest;
use crate::error::CryptoError;
use crate::mac::MacKey;
use crate::public::PublicKey;
use crate::random::Random;
use crate::rsa_oaep::{self, OaepPublic};
use crate::signature::{Message, Verifier};

/// Why a device did not do what it was asked with a key. What exactly it said is for the log of its driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RemoteFault {
    /// It does not answer, or not in time. The same request may succeed later.
    #[error("does not answer")]
    Unavailable,
    /// The key is not in it (any more).
    #[error("does not have it")]
    Missing,
    /// It does not do this with this key.
    #[error("does not offer this operation for it")]
    NotOffered,
    /// It answered with something that cannot be: a signature that does not verify, a tag of the wrong length.
    #[error("gave a wrong answer")]
    WrongAnswer,
}

impl From<RemoteFault> for CryptoError {
    fn from(fault: RemoteFault) -> Self {
        Self::Remote(fault)
    }
}

/// One key in a device.
///
/// # Contract
/// - Every method blocks until the device has answered or a time limit of the driver (seconds) has passed: call it on a
///   thread that may wait.
/// - Any number of callers at once.
/// - A method the key's algorithm has no use for fails with [`RemoteFault::NotOffered`].
/// - [`CryptoError::Open`] is said of input that does not decrypt or authenticate, and of nothing else; a device in
///   trouble is [`CryptoError::Remote`].
pub trait RemoteKey: Send + Sync {
    /// AES-256-GCM: `nonce || ciphertext || tag`, with 12 bytes of nonce and 16 of tag. `nonce` was drawn at random for
    /// this message; a device that insists on drawing it by itself puts its own in front.
    ///
    /// # Errors
    /// [`CryptoError::Remote`]; [`CryptoError::InputTooLong`] above what the device takes.
    fn seal(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CryptoError>;

    /// Opens what [`seal`](Self::seal) made with the same `aad`.
    ///
    /// # Errors
    /// [`CryptoError::Open`], [`CryptoError::Remote`].
    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<SecretBytes, CryptoError>;

    /// A key for commitments (see [`LoadedKey::commitment`](crate::key::LoadedKey::commitment)), derived from this key
    /// inside the device: always the same, says nothing about messages, and another one for another key.
    ///
    /// # Errors
    /// [`CryptoError::Remote`].
    fn commitment_key(&self) -> Result<SecretArray<32>, CryptoError>;

    /// RSA-OAEP, the same hash function for the label and for MGF1.
    ///
    /// # Errors
    /// [`CryptoError::Open`], [`CryptoError::Remote`].
    fn oaep_decrypt(&self, hash: HashAlgorithm, label: &[u8], ciphertext: &[u8]) -> Result<SecretBytes, CryptoError>;

    /// Signs. `input` is the digest of the message for schemes that have a hash function ([`SignatureScheme::hash`]),
    /// and the message itself for the others. The result has the form that signatures have here: ECDSA in ASN.1 DER.
    ///
    /// # Errors
    /// [`CryptoError::Remote`].
    fn sign(&self, scheme: SignatureScheme, input: &[u8]) -> Result<Vec<u8>, CryptoError>;

    /// The HMAC tag of `data`, as long as the digest.
    ///
    /// # Errors
    /// [`CryptoError::Remote`].
    fn mac(&self, data: &[u8]) -> Result<Vec<u8>, CryptoError>;
}

/// A remote key with what is kept of it here.
pub(crate) struct Remote {
    key: Arc<dyn RemoteKey>,
    local: Local,
}

/// What can be done without the device.
enum Local {
    /// Commitments.
    Aead(Box<MacKey>),
    /// Encrypting.
    Oaep(Box<OaepPublic>),
    /// Verifying.
    Sign(Box<Verifier>),
    /// Nothing; the length of a tag.
    Mac(usize),
}

impl Remote {
    /// `None` if no device key can be of this algorithm for this purpose, or its public half does not fit.
    pub(crate) fn new(
        key: Arc<dyn RemoteKey>,
        algorithm: KeyAlgorithm,
        purpose: Purpose,
        public: Option<&PublicKey>,
    ) -> Result<Option<Self>, CryptoError> {
        if public.is_some_and(|public| public.algorithm() != algorithm) {
            return Ok(None);
        }
        let local = match (purpose, public) {
            (Purpose::Encrypt, None) if algorithm == KeyAlgorithm::Aes256Gcm => {
                Local::Aead(Box::new(MacKey::new(HashAlgorithm::Sha256, key.commitment_key()?.expose())))
            }
            (Purpose::Encrypt, Some(public)) => Local::Oaep(Box::new(rsa_oaep::public(public)?)),
            (Purpose::Sign, Some(public)) => Local::Sign(Box::new(Verifier::new(public))),
            (Purpose::Mac, None) => match crate::key::mac_hash(algorithm) {
                Some(hash) => Local::Mac(hash.output_len()),
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        Ok(Some(Self { key, local }))
    }

    /// By how many bytes a sealed message is longer than its plaintext.
    pub(crate) fn seal_overhead(&self) -> Option<usize> {
        matches!(self.local, Local::Aead(_)).then_some(NONCE_LEN + TAG_LEN)
    }

    /// The operations answer `None` where the key was not made for them.
    pub(crate) fn seal(&self, random: &Random, aad: &[u8], plaintext: &[u8]) -> Option<Result<Vec<u8>, CryptoError>> {
        let Local::Aead(_) = &self.local else { return None };
        Some(self.seal_whole(random, aad, plaintext))
    }

    fn seal_whole(&self, random: &Random, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
        aead::check_plaintext(plaintext.len())?;
        let sealed = self.key.seal(&random.nonce_array()?, aad, plaintext)?;
        // A shorter answer would let callers cut a message where none is.
        if sealed.len() == NONCE_LEN + plaintext.len() + TAG_LEN { Ok(sealed) } else { Err(WRONG) }
    }

    pub(crate) fn open(&self, aad: &[u8], sealed: &[u8]) -> Option<Result<SecretBytes, CryptoError>> {
        let Local::Aead(_) = &self.local else { return None };
        let Some(len) = sealed.len().checked_sub(NONCE_LEN + TAG_LEN) else { return Some(Err(CryptoError::Open)) };
        let opened = self.key.open(aad, sealed);
        Some(opened.and_then(|plaintext| if plaintext.len() == len { Ok(plaintext) } else { Err(WRONG) }))
    }

    pub(crate) fn commitment(&self) -> Option<&MacKey> {
        match &self.local {
            Local::Aead(commitments) => Some(commitments),
            _ => None,
        }
    }

    pub(crate) fn oaep_public(&self) -> Option<&OaepPublic> {
        match &self.local {
            Local::Oaep(public) => Some(public),
            _ => None,
        }
    }

    pub(crate) fn oaep_decrypt(
        &self,
        hash: HashAlgorithm,
        label: &[u8],
        ciphertext: &[u8],
    ) -> Option<Result<SecretBytes, CryptoError>> {
        self.oaep_public().map(|_| self.key.oaep_decrypt(hash, label, ciphertext))
    }

    pub(crate) fn verifier(&self) -> Option<&Verifier> {
        match &self.local {
            Local::Sign(verifier) => Some(verifier),
            _ => None,
        }
    }

    /// Signs, and verifies what the device says: a fault in an RSA signature can give the private key away, and one
    /// made with another key should not leave either.
    pub(crate) fn sign(&self, scheme: SignatureScheme, message: Message<'_>) -> Option<Result<Vec<u8>, CryptoError>> {
        let verifier = self.verifier()?;
        Some(self.sign_with(verifier, scheme, message))
    }

    fn sign_with(
        &self,
        verifier: &Verifier,
        scheme: SignatureScheme,
        message: Message<'_>,
    ) -> Result<Vec<u8>, CryptoError> {
        let signature = match (message, scheme.hash()) {
            (Message::Raw(raw), Some(hash)) => self.key.sign(scheme, &digest::digest(hash, raw)),
            (Message::Raw(raw), None) => self.key.sign(scheme, raw),
            (Message::Digest(bytes), Some(hash)) if bytes.len() == hash.output_len() => self.key.sign(scheme, bytes),
            (Message::Digest(bytes), Some(hash)) => {
                Err(CryptoError::InputLength { expected: hash.output_len(), actual: bytes.len() })
            }
            (Message::Digest(_), None) => Err(CryptoError::DigestNotOffered { scheme }),
        }?;
        verifier.verify(scheme, message, &signature).map_err(|_| WRONG)?;
        Ok(signature)
    }

    pub(crate) fn mac(&self, data: &[u8]) -> Option<Result<Vec<u8>, CryptoError>> {
        let Local::Mac(len) = &self.local else { return None };
        let tag = self.key.mac(data);
        Some(tag.and_then(|tag| if tag.len() == *len { Ok(tag) } else { Err(WRONG) }))
    }
}

const WRONG: CryptoError = CryptoError::Remote(RemoteFault::WrongAnswer);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::material::Material;
    use crate::{LoadedKey, kdf};
    use std::sync::atomic::{AtomicBool, Ordering};

    /// A device in software: an ordinary key behind the trait, which can be unplugged or lie.
    struct Device {
        key: LoadedKey,
        secret: SecretBytes,
        unplugged: Flag,
        lying: Flag,
    }

    /// A boolean that tests turn on behind an `Arc`.
    #[derive(Default)]
    struct Flag(AtomicBool);

    impl Flag {
        fn raise(&self) {
            self.0.store(true, Ordering::SeqCst);
        }

        fn up(&self) -> bool {
            self.0.load(Ordering::SeqCst)
        }
    }

    impl Device {
        fn answer(&self, made: Result<Vec<u8>, CryptoError>) -> Result<Vec<u8>, CryptoError> {
            if self.unplugged.up() {
                return Err(RemoteFault::Unavailable.into());
            }
            made.map(|mut bytes| {
                if self.lying.up() {
                    let last = bytes.pop().unwrap_or_default();
                    bytes.push(last ^ 1);
                    bytes.push(0);
                }
                bytes
            })
        }

        fn secret(&self, made: Result<SecretBytes, CryptoError>) -> Result<SecretBytes, CryptoError> {
            if self.unplugged.up() { Err(RemoteFault::Unavailable.into()) } else { made }
        }
    }

    impl RemoteKey for Device {
        fn seal(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
            let key = aead::NumberedAead::new(&self.secret.to_array().unwrap()).unwrap();
            let mut out = nonce.to_vec();
            self.answer(key.seal_into(*nonce, aad, plaintext, &mut out).map(|()| out))
        }

        fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<SecretBytes, CryptoError> {
            self.secret(self.key.open(aad, sealed))
        }

        fn commitment_key(&self) -> Result<SecretArray<32>, CryptoError> {
            if self.unplugged.up() {
                return Err(RemoteFault::Unavailable.into());
            }
            kdf::hkdf_sha256(self.secret.expose(), &[], b"commitment")
        }

        fn oaep_decrypt(&self, hash: HashAlgorithm, label: &[u8], text: &[u8]) -> Result<SecretBytes, CryptoError> {
            self.secret(self.key.oaep_decrypt(hash, label, text))
        }

        fn sign(&self, scheme: SignatureScheme, input: &[u8]) -> Result<Vec<u8>, CryptoError> {
            let message = if scheme.hash().is_some() { Message::Digest(input) } else { Message::Raw(input) };
            self.answer(self.key.sign(&random(), scheme, message))
        }

        fn mac(&self, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
            self.answer(self.key.mac(data))
        }
    }

    fn random() -> Random {
        Random::from_module().unwrap()
    }

    fn remote(algorithm: KeyAlgorithm, purpose: Purpose) -> (LoadedKey, Arc<Device>) {
        let material = Material::generate(algorithm, &random()).unwrap();
        let public = material.public_key().unwrap();
        let device = Arc::new(Device {
            key: LoadedKey::load(&material, purpose).unwrap(),
            secret: material.serialize(),
            unplugged: Flag::default(),
            lying: Flag::default(),
        });
        let key = LoadedKey::remote(Arc::clone(&device) as Arc<dyn RemoteKey>, algorithm, purpose, public).unwrap();
        assert!(key.is_remote() && !device.key.is_remote());
        assert_eq!((key.algorithm(), key.purpose()), (algorithm, purpose));
        (key, device)
    }

    #[test]
    fn a_remote_aes_key_seals_opens_and_commits() {
        let (key, device) = remote(KeyAlgorithm::Aes256Gcm, Purpose::Encrypt);
        let mut sealed = b"header".to_vec();
        key.seal_into(&random(), b"aad", b"plaintext", &mut sealed).unwrap();
        let (header, sealed) = sealed.split_at(6);
        assert_eq!((header, sealed.len()), (&b"header"[..], 9 + key.seal_overhead().unwrap()));
        assert_eq!(key.open(b"aad", sealed).unwrap().expose(), b"plaintext");
        assert_eq!(key.open(b"other", sealed).unwrap_err(), CryptoError::Open);
        assert_eq!(key.open(b"aad", &sealed[..27]).unwrap_err(), CryptoError::Open);
        assert_eq!(key.commitment(b"m").unwrap(), key.commitment(b"m").unwrap());
        assert_ne!(key.commitment(b"m").unwrap(), key.commitment(b"n").unwrap());
        assert_eq!(key.message_limit(), Some(1 << 32));
        device.unplugged.raise();
        let gone = CryptoError::Remote(RemoteFault::Unavailable);
        let mut out = b"header".to_vec();
        assert_eq!(key.seal_into(&random(), b"", b"x", &mut out).unwrap_err(), gone);
        assert_eq!(out, b"header");
        assert_eq!(key.open(b"aad", sealed).unwrap_err(), gone);
        key.commitment(b"m").unwrap();
    }

    #[test]
    fn a_remote_key_signs_messages_and_digests_and_verifies_here() {
        for algorithm in [KeyAlgorithm::EcP256, KeyAlgorithm::EcP521, KeyAlgorithm::Ed25519, KeyAlgorithm::Rsa2048] {
            let (key, device) = remote(algorithm, Purpose::Sign);
            for &scheme in SignatureScheme::ALL.iter().filter(|scheme| scheme.fits(algorithm)) {
                let signature = key.sign(&random(), scheme, Message::Raw(b"message")).unwrap();
                key.verify(scheme, Message::Raw(b"message"), &signature).unwrap();
                let Some(hash) = scheme.hash() else {
                    let refused = key.sign(&random(), scheme, Message::Digest(&[0; 32])).unwrap_err();
                    assert_eq!(refused, CryptoError::DigestNotOffered { scheme });
                    continue;
                };
                let digest = digest::digest(hash, b"message");
                let signature = key.sign(&random(), scheme, Message::Digest(&digest)).unwrap();
                key.verify(scheme, Message::Raw(b"message"), &signature).unwrap();
                let short = key.sign(&random(), scheme, Message::Digest(&digest[1..])).unwrap_err();
                assert!(matches!(short, CryptoError::InputLength { .. }));
            }
            let scheme = SignatureScheme::default_for(algorithm).unwrap();
            let good = key.sign(&random(), scheme, Message::Raw(b"m")).unwrap();
            device.lying.raise();
            assert_eq!(key.sign(&random(), scheme, Message::Raw(b"m")).unwrap_err(), WRONG, "{algorithm}");
            device.unplugged.raise();
            key.verify(scheme, Message::Raw(b"m"), &good).unwrap();
            let other = key.sign(&random(), SignatureScheme::MlDsa44, Message::Raw(b"m")).unwrap_err();
            assert!(matches!(other, CryptoError::SchemeMismatch { .. }));
        }
    }

    #[test]
    fn a_remote_rsa_key_decrypts_what_is_encrypted_here() {
        let (key, device) = remote(KeyAlgorithm::Rsa2048, Purpose::Encrypt);
        let text = key.oaep_encrypt(&random(), HashAlgorithm::Sha256, b"label", b"plaintext").unwrap();
        assert_eq!(key.oaep_decrypt(HashAlgorithm::Sha256, b"label", &text).unwrap().expose(), b"plaintext");
        assert_eq!(key.oaep_decrypt(HashAlgorithm::Sha256, b"x", &text).unwrap_err(), CryptoError::Open);
        assert!(matches!(key.seal(&random(), b"", b"x"), Err(CryptoError::WrongAlgorithm { .. })));
        device.unplugged.raise();
        key.oaep_encrypt(&random(), HashAlgorithm::Sha256, b"", b"x").unwrap();
        let gone = key.oaep_decrypt(HashAlgorithm::Sha256, b"label", &text).unwrap_err();
        assert_eq!(gone, CryptoError::Remote(RemoteFault::Unavailable));
    }

    #[test]
    fn a_remote_hmac_key_makes_and_verifies_tags() {
        let (key, device) = remote(KeyAlgorithm::HmacSha384, Purpose::Mac);
        let tag = key.mac(b"data").unwrap();
        assert_eq!(tag.len(), 48);
        key.verify_mac(b"data", &tag).unwrap();
        assert_eq!(key.verify_mac(b"other", &tag).unwrap_err(), CryptoError::NotVerified);
        assert_eq!(key.verify_mac(b"data", &tag[..47]).unwrap_err(), CryptoError::NotVerified);
        assert!(matches!(key.open(b"", &[0; 40]), Err(CryptoError::WrongPurpose { .. })));
        device.lying.raise();
        assert_eq!(key.mac(b"data").unwrap_err(), WRONG);
        assert_eq!(key.verify_mac(b"data", &tag).unwrap_err(), WRONG);
    }

    #[test]
    fn what_no_device_key_can_be_is_refused() {
        let (_, device) = remote(KeyAlgorithm::EcP256, Purpose::Sign);
        let public = device.key.public_key().unwrap().clone();
        let make = |algorithm, purpose, public| {
            LoadedKey::remote(Arc::clone(&device) as Arc<dyn RemoteKey>, algorithm, purpose, public)
        };
        for (algorithm, purpose, public) in [
            (KeyAlgorithm::EcP256, Purpose::Sign, None),
            (KeyAlgorithm::EcP384, Purpose::Sign, Some(public.clone())),
            (KeyAlgorithm::EcP256, Purpose::Agree, Some(public.clone())),
            (KeyAlgorithm::EcP256, Purpose::Encrypt, Some(public.clone())),
            (KeyAlgorithm::Xaes256Gcm, Purpose::Encrypt, None),
            (KeyAlgorithm::HmacSha256, Purpose::Mac, Some(public)),
        ] {
            let refused = make(algorithm, purpose, public).unwrap_err();
            assert_eq!(refused, CryptoError::PurposeNotOffered { algorithm, purpose });
        }
    }
}
