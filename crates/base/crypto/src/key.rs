//! Keys ready for use: everything that can be prepared once is prepared when a key is loaded.

use std::fmt;
use std::sync::Arc;

use keyreeve_secret::{SecretBytes, ct_eq};

use crate::aead::{AeadKey, TAG_LEN};
use crate::agreement::Agreer;
use crate::algorithm::{HashAlgorithm, KeyAlgorithm, Purpose, SignatureScheme};
use crate::digest;
use crate::error::CryptoError;
use crate::kdf::{self, DeriveParams};
use crate::kem::{self, Decapsulator};
use crate::mac::MacKey;
use crate::material::Material;
use crate::public::{Fingerprint, PublicKey};
use crate::random::Random;
use crate::remote::{Remote, RemoteKey};
use crate::rsa_oaep::{self, OaepPrivate, OaepPublic};
use crate::signature::{Message, Signer, Verifier};
use crate::wrap::{WrapKey, WrapMode};

/// A key that operates, for exactly one purpose (K3). Shared between threads without locks.
pub struct LoadedKey {
    algorithm: KeyAlgorithm,
    purpose: Purpose,
    public: Option<PublicKey>,
    inner: Inner,
}

/// Separates the key of commitments from the key of the cipher.
const COMMITMENT_LABEL: &[u8] = b"keyreeve/commitment/1";

/// The prepared contexts.
enum Inner {
    /// The cipher, and the key of commitments.
    Aead(Box<(AeadKey, MacKey)>),
    Oaep(Box<(OaepPublic, OaepPrivate)>),
    Sign(Box<(Signer, Verifier)>),
    Mac(Box<MacKey>),
    Wrap(WrapKey),
    Derive(SecretBytes),
    Agree(Agreer),
    Kem(Decapsulator),
    /// Inside a device.
    Remote(Remote),
}

impl LoadedKey {
    /// Prepares `material` for `purpose`.
    ///
    /// # Errors
    /// [`CryptoError::PurposeNotOffered`]; [`CryptoError::Key`] if the material, taken from storage, is damaged.
    pub fn load(material: &Material, purpose: Purpose) -> Result<Self, CryptoError> {
        let algorithm = material.algorithm();
        let not_offered = CryptoError::PurposeNotOffered { algorithm, purpose };
        if !algorithm.offers(purpose) {
            return Err(not_offered);
        }
        let public = material.public_key()?;
        let inner = match (purpose, public.as_ref()) {
            (Purpose::Encrypt, None) => {
                let cipher = AeadKey::new(algorithm, material.raw32()?)?.ok_or(not_offered)?;
                let commitments = kdf::hkdf_sha256::<32>(material.raw32()?, &[], COMMITMENT_LABEL)?;
                Inner::Aead(Box::new((cipher, MacKey::new(HashAlgorithm::Sha256, commitments.expose()))))
            }
            (Purpose::Encrypt, Some(public)) => {
                let private = OaepPrivate::from_pkcs8(material.bytes())?;
                Inner::Oaep(Box::new((rsa_oaep::public(public)?, private)))
            }
            (Purpose::Sign, Some(public)) => {
                let signer = Signer::from_pkcs8(algorithm, material.bytes())?.ok_or(not_offered)?;
                Inner::Sign(Box::new((signer, Verifier::new(public))))
            }
            (Purpose::Mac, _) => {
                Inner::Mac(Box::new(MacKey::new(mac_hash(algorithm).ok_or(not_offered)?, material.bytes())))
            }
            (Purpose::Wrap, _) => Inner::Wrap(WrapKey::new(material.raw32()?)),
            (Purpose::Derive, _) => Inner::Derive(material.serialize()),
            (Purpose::Agree, _) => Inner::Agree(Agreer::new(algorithm, material.bytes())?),
            (Purpose::Encapsulate, _) => Inner::Kem(Decapsulator::new(algorithm, material.bytes())?),
            (Purpose::Sign, None) => return Err(not_offered),
        };
        Ok(Self { algorithm, purpose, public, inner })
    }

    /// A key inside a device. Asks the device at once for what is kept of it here, so this blocks, as every use of the
    /// private half will; see [`RemoteKey`].
    ///
    /// # Errors
    /// [`CryptoError::PurposeNotOffered`] if no device key is of this algorithm for this purpose (devices have
    /// AES-256-GCM, RSA, signing keys and HMAC) or `public` is missing, superfluous or of another algorithm;
    /// [`CryptoError::Remote`].
    pub fn remote(
        key: Arc<dyn RemoteKey>,
        algorithm: KeyAlgorithm,
        purpose: Purpose,
        public: Option<PublicKey>,
    ) -> Result<Self, CryptoError> {
        let not_offered = CryptoError::PurposeNotOffered { algorithm, purpose };
        if !algorithm.offers(purpose) {
            return Err(not_offered);
        }
        let inner = Inner::Remote(Remote::new(key, algorithm, purpose, public.as_ref())?.ok_or(not_offered)?);
        Ok(Self { algorithm, purpose, public, inner })
    }

    /// Whether its material is inside a device: what needs it then blocks for as long as the device takes.
    pub fn is_remote(&self) -> bool {
        matches!(self.inner, Inner::Remote(_))
    }

    /// Identifies a key inside a device without revealing it: SHA-256 of the public key; of a symmetric key, SHA-256 of
    /// what it makes of a fixed text, so that what is shown serves nowhere as a tag. Blocks.
    ///
    /// # Errors
    /// [`CryptoError::WrongPurpose`] of a symmetric key that makes neither commitments nor tags;
    /// [`CryptoError::Remote`].
    pub fn remote_fingerprint(&self) -> Result<Fingerprint, CryptoError> {
        const TEXT: &[u8] = b"keyreeve key check value v1";
        match (&self.public, self.purpose) {
            (Some(public), _) => Ok(public.fingerprint()),
            (None, Purpose::Mac) => Ok(Fingerprint(digest::sha256(&self.mac(TEXT)?))),
            (None, _) => Ok(Fingerprint(digest::sha256(&self.commitment(TEXT)?))),
        }
    }

    /// The algorithm.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// The purpose it was loaded for.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// The public half; `None` for symmetric keys.
    pub fn public_key(&self) -> Option<&PublicKey> {
        self.public.as_ref()
    }

    /// See [`KeyAlgorithm::message_limit`].
    pub fn message_limit(&self) -> Option<u64> {
        self.algorithm.message_limit()
    }

    /// By how many bytes a sealed message is longer than its plaintext: nonce and tag. `None` for keys that do not
    /// seal.
    pub fn seal_overhead(&self) -> Option<usize> {
        match &self.inner {
            Inner::Aead(keys) => Some(keys.0.nonce_len() + TAG_LEN),
            Inner::Remote(key) => key.seal_overhead(),
            _ => None,
        }
    }

    /// Encrypts and authenticates: `nonce || ciphertext || tag`, or `ciphertext || tag` in the deterministic mode.
    /// `aad` is authenticated only.
    ///
    /// # Errors
    /// [`CryptoError::WrongPurpose`], [`CryptoError::WrongAlgorithm`], [`CryptoError::InputTooLong`],
    /// [`CryptoError::Random`].
    pub fn seal(&self, random: &Random, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
        if let Inner::Remote(key) = &self.inner {
            return key.seal(random, aad, plaintext).unwrap_or_else(|| Err(self.refuse(Purpose::Encrypt, "seal")));
        }
        let key = self.aead()?;
        let mut out = Vec::with_capacity(key.nonce_len() + plaintext.len() + TAG_LEN);
        key.seal_into(random, aad, plaintext, &mut out)?;
        Ok(out)
    }

    /// As [`seal`](Self::seal), appending to what is in `out` already, such as a header. On error `out` is as it was.
    ///
    /// # Errors
    /// As [`seal`](Self::seal).
    pub fn seal_into(
        &self,
        random: &Random,
        aad: &[u8],
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), CryptoError> {
        if self.is_remote() {
            out.extend_from_slice(&self.seal(random, aad, plaintext)?);
            return Ok(());
        }
        self.aead()?.seal_into(random, aad, plaintext, out)
    }

    /// Opens what [`seal`](Self::seal) made with the same `aad`.
    ///
    /// # Errors
    /// [`CryptoError::Open`] for everything that is not such a message; [`CryptoError::WrongPurpose`],
    /// [`CryptoError::WrongAlgorithm`].
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<SecretBytes, CryptoError> {
        if let Inner::Remote(key) = &self.inner {
            return key.open(aad, sealed).unwrap_or_else(|| Err(self.refuse(Purpose::Encrypt, "seal")));
        }
        self.aead()?.open(aad, sealed)
    }

    /// A commitment to this key for a sealed message: HMAC-SHA-256, under a key derived from this one, over the
    /// message. AEADs do not commit to their key by themselves: a message can be made that opens under two keys. One
    /// that carries its commitment opens under one only, as long as SHA-256 is collision resistant.
    ///
    /// # Errors
    /// [`CryptoError::WrongPurpose`], [`CryptoError::WrongAlgorithm`].
    pub fn commitment(&self, message: &[u8]) -> Result<[u8; 32], CryptoError> {
        let key = match &self.inner {
            Inner::Aead(keys) => Some(&keys.1),
            Inner::Remote(key) => key.commitment(),
            _ => None,
        };
        let tag = key.ok_or_else(|| self.refuse(Purpose::Encrypt, "commitment"))?.mac(message);
        tag.try_into().map_err(|_| CryptoError::Module)
    }

    /// Encrypts with RSA-OAEP, see [`PublicKey::oaep_encrypt`].
    ///
    /// # Errors
    /// As there, and [`CryptoError::WrongPurpose`].
    pub fn oaep_encrypt(
        &self,
        random: &Random,
        hash: HashAlgorithm,
        label: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        random.status()?;
        let public = match &self.inner {
            Inner::Remote(key) => key.oaep_public().ok_or_else(|| self.refuse(Purpose::Encrypt, "oaep"))?,
            _ => &self.oaep()?.0,
        };
        public.encrypt(hash, label, plaintext)
    }

    /// Decrypts RSA-OAEP with the same hash function and label.
    ///
    /// # Errors
    /// [`CryptoError::Open`] for everything that does not decrypt; [`CryptoError::WrongPurpose`],
    /// [`CryptoError::WrongAlgorithm`].
    pub fn oaep_decrypt(
        &self,
        hash: HashAlgorithm,
        label: &[u8],
        ciphertext: &[u8],
    ) -> Result<SecretBytes, CryptoError> {
        if let Inner::Remote(key) = &self.inner {
            let opened = key.oaep_decrypt(hash, label, ciphertext);
            return opened.unwrap_or_else(|| Err(self.refuse(Purpose::Encrypt, "oaep")));
        }
        self.oaep()?.1.decrypt(hash, label, ciphertext)
    }

    /// The HMAC tag of `data`, as long as the digest.
    ///
    /// # Errors
    /// [`CryptoError::WrongPurpose`].
    pub fn mac(&self, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        match &self.inner {
            Inner::Mac(key) => Ok(key.mac(data)),
            Inner::Remote(key) => key.mac(data).unwrap_or_else(|| Err(self.refuse(Purpose::Mac, "mac"))),
            _ => Err(self.refuse(Purpose::Mac, "mac")),
        }
    }

    /// Checks an HMAC tag in constant time. Shortened tags do not verify.
    ///
    /// # Errors
    /// [`CryptoError::NotVerified`], [`CryptoError::WrongPurpose`].
    pub fn verify_mac(&self, data: &[u8], tag: &[u8]) -> Result<(), CryptoError> {
        match &self.inner {
            Inner::Mac(key) => key.verify(data, tag),
            Inner::Remote(_) => {
                let expected = self.mac(data)?;
                if ct_eq(&expected, tag) { Ok(()) } else { Err(CryptoError::NotVerified) }
            }
            _ => Err(self.refuse(Purpose::Mac, "verify mac")),
        }
    }

    /// Signs. ECDSA signatures are in ASN.1 DER.
    ///
    /// # Errors
    /// [`CryptoError::SchemeMismatch`]; [`CryptoError::DigestNotOffered`] or [`CryptoError::InputLength`] for digests;
    /// [`CryptoError::WrongPurpose`], [`CryptoError::Random`].
    pub fn sign(&self, random: &Random, scheme: SignatureScheme, message: Message<'_>) -> Result<Vec<u8>, CryptoError> {
        let fits = || {
            let mismatch = CryptoError::SchemeMismatch { algorithm: self.algorithm, scheme };
            if scheme.fits(self.algorithm) { Ok(()) } else { Err(mismatch) }
        };
        if let Inner::Remote(key) = &self.inner {
            key.verifier().ok_or_else(|| self.refuse(Purpose::Sign, "sign"))?;
            fits()?;
            return key.sign(scheme, message).unwrap_or_else(|| Err(self.refuse(Purpose::Sign, "sign")));
        }
        let (signer, _) = self.signer()?;
        fits()?;
        random.status()?;
        signer.sign(scheme, message)
    }

    /// Verifies a signature with the public half.
    ///
    /// # Errors
    /// [`CryptoError::NotVerified`], and as [`sign`](Self::sign).
    pub fn verify(&self, scheme: SignatureScheme, message: Message<'_>, signature: &[u8]) -> Result<(), CryptoError> {
        let verifier = match &self.inner {
            Inner::Remote(key) => key.verifier().ok_or_else(|| self.refuse(Purpose::Sign, "sign"))?,
            _ => &self.signer()?.1,
        };
        verifier.verify(scheme, message, signature)
    }

    /// The secret shared with the owner of `peer`: 32 bytes for X25519 and P-256, 48 for P-384, 66 for P-521. It is not
    /// uniform and must go through a key-derivation function.
    ///
    /// # Errors
    /// [`CryptoError::Key`] if the peer's key is of another algorithm or gives the zero secret;
    /// [`CryptoError::WrongPurpose`].
    pub fn agree(&self, peer: &PublicKey) -> Result<SecretBytes, CryptoError> {
        match &self.inner {
            Inner::Agree(key) => key.agree(self.algorithm, peer),
            _ => Err(self.refuse(Purpose::Agree, "agree")),
        }
    }

    /// Makes a fresh shared secret for the owner of this key, see [`PublicKey::encapsulate`].
    ///
    /// # Errors
    /// [`CryptoError::WrongPurpose`], [`CryptoError::Random`].
    pub fn encapsulate(&self, random: &Random) -> Result<(Vec<u8>, SecretBytes), CryptoError> {
        match (&self.inner, &self.public) {
            (Inner::Kem(_), Some(public)) => {
                random.status()?;
                kem::encapsulate(self.algorithm, public.raw().unwrap_or_default())
            }
            _ => Err(self.refuse(Purpose::Encapsulate, "encapsulate")),
        }
    }

    /// The shared secret in `ciphertext`, 32 bytes. A ciphertext that was made for another key gives an unrelated
    /// secret instead of an error (FIPS 203, 6.3).
    ///
    /// # Errors
    /// [`CryptoError::Open`] if its length is wrong; [`CryptoError::WrongPurpose`].
    pub fn decapsulate(&self, ciphertext: &[u8]) -> Result<SecretBytes, CryptoError> {
        match &self.inner {
            Inner::Kem(key) => key.decapsulate(ciphertext),
            _ => Err(self.refuse(Purpose::Encapsulate, "decapsulate")),
        }
    }

    /// Derives `len` bytes from this key.
    ///
    /// # Errors
    /// [`CryptoError::OutputLength`], [`CryptoError::Label`], [`CryptoError::WrongPurpose`].
    pub fn derive(&self, params: DeriveParams<'_>, len: usize) -> Result<SecretBytes, CryptoError> {
        match &self.inner {
            Inner::Derive(key) => kdf::derive(key.expose(), params, len),
            _ => Err(self.refuse(Purpose::Derive, "derive")),
        }
    }

    /// Wraps a key.
    ///
    /// # Errors
    /// [`CryptoError::WrapLength`], [`CryptoError::InputTooLong`], [`CryptoError::WrongPurpose`].
    pub fn wrap_key(&self, mode: WrapMode, key: &[u8]) -> Result<Vec<u8>, CryptoError> {
        match &self.inner {
            Inner::Wrap(wrapping) => wrapping.wrap(mode, key),
            _ => Err(self.refuse(Purpose::Wrap, "wrap")),
        }
    }

    /// Unwraps a key that was wrapped in the same mode.
    ///
    /// # Errors
    /// [`CryptoError::Open`], [`CryptoError::WrongPurpose`].
    pub fn unwrap_key(&self, mode: WrapMode, wrapped: &[u8]) -> Result<SecretBytes, CryptoError> {
        match &self.inner {
            Inner::Wrap(wrapping) => wrapping.unwrap(mode, wrapped),
            _ => Err(self.refuse(Purpose::Wrap, "unwrap")),
        }
    }

    fn aead(&self) -> Result<&AeadKey, CryptoError> {
        match &self.inner {
            Inner::Aead(keys) => Ok(&keys.0),
            _ => Err(self.refuse(Purpose::Encrypt, "seal")),
        }
    }

    fn oaep(&self) -> Result<&(OaepPublic, OaepPrivate), CryptoError> {
        match &self.inner {
            Inner::Oaep(keys) => Ok(keys),
            _ => Err(self.refuse(Purpose::Encrypt, "oaep")),
        }
    }

    fn signer(&self) -> Result<&(Signer, Verifier), CryptoError> {
        match &self.inner {
            Inner::Sign(keys) => Ok(keys),
            _ => Err(self.refuse(Purpose::Sign, "sign")),
        }
    }

    /// Why an operation that needs a key for `needed` is refused.
    fn refuse(&self, needed: Purpose, operation: &'static str) -> CryptoError {
        if self.purpose == needed {
            CryptoError::WrongAlgorithm { algorithm: self.algorithm, operation }
        } else {
            CryptoError::WrongPurpose { has: self.purpose, needed }
        }
    }
}

impl fmt::Debug for LoadedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedKey")
            .field("algorithm", &self.algorithm)
            .field("purpose", &self.purpose)
            .finish_non_exhaustive()
    }
}

pub(crate) fn mac_hash(algorithm: KeyAlgorithm) -> Option<HashAlgorithm> {
    match algorithm {
        KeyAlgorithm::HmacSha256 => Some(HashAlgorithm::Sha256),
        KeyAlgorithm::HmacSha384 => Some(HashAlgorithm::Sha384),
        KeyAlgorithm::HmacSha512 => Some(HashAlgorithm::Sha512),
        _ => None,
    }
}
