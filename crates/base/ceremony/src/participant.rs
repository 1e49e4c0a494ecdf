//! Who takes part, and the key that they sign with.
//!
//! A participant's key is Ed25519. It lies in a file under a passphrase, which its owner carries to ceremonies; the
//! public half, or its fingerprint, is given to the others beforehand. A signer of another kind (a session with a
//! second factor, an authenticator) is a variant of [`PublicKeyText`] and [`SignatureText`] and another implementation
//! of [`Signer`].

use keyreeve_crypto::password::{ITERATIONS, SALT_LEN, WrongIterations, stretch};
use keyreeve_crypto::{
    CryptoError, KeyAlgorithm, LoadedKey, Material, Message, PublicKey, Purpose, Random, SignatureScheme,
};
use keyreeve_secret::{SecretBytes, SecretString};
use serde::{Deserialize, Serialize};

use crate::word::Line;

/// The form of participants' files.
const FORM: &str = "keyreeve-ceremony-participant-1";
/// What is derived is used for this and nothing else.
const SEALED: &[u8] = b"keyreeve-ceremony-participant-1 private key";
/// Longest participant's file (bytes).
pub const FILE_MAX: usize = 16 * 1024;
/// Least characters of a passphrase.
pub const PASSPHRASE_MIN: usize = 12;

/// Why a participant's file is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParticipantError {
    /// It is none.
    #[error("this is not a participant's file: {0}")]
    Form(String),
    /// The passphrase is another one, or the file was altered.
    #[error("the passphrase does not open this file")]
    Passphrase,
    /// The passphrase is too short to protect anything.
    #[error("a passphrase has at least {PASSPHRASE_MIN} characters")]
    Short,
    /// The public half in the file is not that of its key.
    #[error("the file's public key is not that of its private key")]
    Mismatch,
    /// The passphrase would be stretched too little, or for too long.
    #[error(transparent)]
    Iterations(#[from] WrongIterations),
    /// The cryptographic module failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

/// A public key, with its kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum PublicKeyText {
    /// Ed25519 (RFC 8032): 32 bytes in hexadecimal.
    Ed25519(Line),
}

/// A signature, with its kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum SignatureText {
    /// Ed25519 (RFC 8032): 64 bytes in hexadecimal.
    Ed25519(Line),
}

impl PublicKeyText {
    fn key(&self) -> Option<PublicKey> {
        let Self::Ed25519(text) = self;
        let raw = hex::decode(text.as_str()).ok().filter(|raw| hex::encode(raw) == text.as_str())?;
        PublicKey::from_raw(KeyAlgorithm::Ed25519, &raw).ok()
    }

    /// Whether it is a key at all.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        self.key().is_some()
    }

    /// What people compare: 16 bytes of the SHA-256 over the key, in groups of four digits.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let Self::Ed25519(text) = self;
        let digest = keyreeve_crypto::digest::sha256(format!("ed25519 {text}").as_bytes());
        let digits = hex::encode(&digest[..16]);
        let groups: Vec<&str> = (0..8).map(|group| &digits[group * 4..group * 4 + 4]).collect();
        groups.join(" ")
    }

    /// Whether a signature is one of this key's owner.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &SignatureText) -> bool {
        let SignatureText::Ed25519(signature) = signature;
        let Some(raw) = hex::decode(signature.as_str()).ok().filter(|raw| hex::encode(raw) == signature.as_str())
        else {
            return false;
        };
        let verified = |key: PublicKey| key.verify(SignatureScheme::Ed25519, Message::Raw(message), &raw).is_ok();
        self.key().is_some_and(verified)
    }
}

/// Somebody, or something, that signs entries.
pub trait Signer {
    /// The public half.
    fn public(&self) -> PublicKeyText;

    /// Signs the bytes of an entry.
    ///
    /// # Errors
    /// [`ParticipantError::Crypto`].
    fn sign(&self, random: &Random, message: &[u8]) -> Result<SignatureText, ParticipantError>;
}

/// An Ed25519 key in memory.
#[derive(Debug)]
pub struct CeremonyKey {
    material: Material,
    loaded: LoadedKey,
}

impl CeremonyKey {
    /// Makes a fresh key.
    ///
    /// # Errors
    /// [`ParticipantError::Crypto`].
    pub fn generate(random: &Random) -> Result<Self, ParticipantError> {
        Self::of(Material::generate(KeyAlgorithm::Ed25519, random)?)
    }

    fn of(material: Material) -> Result<Self, ParticipantError> {
        let loaded = LoadedKey::load(&material, Purpose::Sign)?;
        Ok(Self { material, loaded })
    }
}

impl Signer for CeremonyKey {
    fn public(&self) -> PublicKeyText {
        let raw = self.loaded.public_key().and_then(PublicKey::raw).unwrap_or_default();
        PublicKeyText::Ed25519(Line::hexadecimal(raw))
    }

    fn sign(&self, random: &Random, message: &[u8]) -> Result<SignatureText, ParticipantError> {
        let signature = self.loaded.sign(random, SignatureScheme::Ed25519, Message::Raw(message))?;
        Ok(SignatureText::Ed25519(Line::hexadecimal(&signature)))
    }
}

/// A participant's file: name and organisation in the open, the private key under the passphrase, all of it bound
/// together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParticipantFile {
    form: String,
    /// The participant's name.
    pub name: Line,
    /// The organisation.
    pub organisation: Line,
    /// The public half of the key.
    pub key: PublicKeyText,
    kdf: String,
    iterations: u32,
    salt: String,
    sealed: String,
}

const KDF: &str = "pbkdf2-hmac-sha512";

impl ParticipantFile {
    /// Puts a key under a passphrase.
    ///
    /// # Errors
    /// [`ParticipantError`].
    pub fn seal(
        key: &CeremonyKey,
        name: Line,
        organisation: Line,
        passphrase: &SecretString,
        random: &Random,
    ) -> Result<Self, ParticipantError> {
        if passphrase.expose().chars().count() < PASSPHRASE_MIN {
            return Err(ParticipantError::Short);
        }
        let salt: [u8; SALT_LEN] = random.nonce_array().map_err(CryptoError::from)?;
        let mut file = Self {
            form: FORM.to_owned(),
            name,
            organisation,
            key: key.public(),
            kdf: KDF.to_owned(),
            iterations: ITERATIONS,
            salt: hex::encode(salt),
            sealed: String::new(),
        };
        let wrapping = file.wrapping(passphrase, &salt)?;
        let private = key.material.serialize();
        file.sealed = hex::encode(wrapping.seal(random, &file.bound(), private.expose())?);
        Ok(file)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`ParticipantError::Form`].
    pub fn parse(text: &str) -> Result<Self, ParticipantError> {
        if text.len() > FILE_MAX {
            return Err(ParticipantError::Form(format!("it has more than {FILE_MAX} bytes")));
        }
        let file: Self = toml::from_str(text).map_err(|error| ParticipantError::Form(error.to_string()))?;
        if file.form != FORM || file.kdf != KDF {
            return Err(ParticipantError::Form(format!("this program reads {FORM} with {KDF}")));
        }
        if !file.key.is_well_formed() {
            return Err(ParticipantError::Form("its public key is none".to_owned()));
        }
        Ok(file)
    }

    /// The text of the file.
    ///
    /// # Errors
    /// [`ParticipantError::Form`].
    pub fn text(&self) -> Result<String, ParticipantError> {
        toml::to_string(self).map_err(|error| ParticipantError::Form(error.to_string()))
    }

    /// Opens the private key. Takes about half a second, on purpose.
    ///
    /// # Errors
    /// [`ParticipantError`].
    pub fn open(&self, passphrase: &SecretString) -> Result<CeremonyKey, ParticipantError> {
        let salt = hex::decode(&self.salt).ok().and_then(|salt| <[u8; SALT_LEN]>::try_from(salt).ok());
        let salt = salt.ok_or_else(|| ParticipantError::Form("its salt is none".to_owned()))?;
        let sealed = hex::decode(&self.sealed).map_err(|error| ParticipantError::Form(error.to_string()))?;
        let wrapping = self.wrapping(passphrase, &salt)?;
        let private = wrapping.open(&self.bound(), &sealed).map_err(|_| ParticipantError::Passphrase)?;
        let key = CeremonyKey::of(Material::parse(KeyAlgorithm::Ed25519, private)?)?;
        if key.public() == self.key { Ok(key) } else { Err(ParticipantError::Mismatch) }
    }

    fn wrapping(&self, passphrase: &SecretString, salt: &[u8; SALT_LEN]) -> Result<LoadedKey, ParticipantError> {
        let key = stretch(passphrase, salt, self.iterations)?;
        let material = Material::parse(KeyAlgorithm::Xaes256Gcm, SecretBytes::copy_from(key.expose()))?;
        Ok(LoadedKey::load(&material, Purpose::Encrypt)?)
    }

    /// What the private key is bound to: another name over the same key does not open.
    fn bound(&self) -> Vec<u8> {
        let PublicKeyText::Ed25519(key) = &self.key;
        let mut bound = SEALED.to_vec();
        for part in [self.name.as_str(), self.organisation.as_str(), key.as_str(), &self.salt] {
            bound.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bound.extend_from_slice(part.as_bytes());
        }
        bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(random: &Random) -> (ParticipantFile, PublicKeyText) {
        let key = CeremonyKey::generate(random).unwrap();
        let (name, organisation) = ("Zoë Müller".parse().unwrap(), "Acme".parse().unwrap());
        let passphrase = SecretString::copy_from("correct horse battery");
        (ParticipantFile::seal(&key, name, organisation, &passphrase, random).unwrap(), key.public())
    }

    #[test]
    fn a_key_is_opened_with_its_passphrase_under_its_own_name() {
        let random = Random::from_module().unwrap();
        let (file, public) = file(&random);
        let file = ParticipantFile::parse(&file.text().unwrap()).unwrap();
        let right = SecretString::copy_from("correct horse battery");
        let key = file.open(&right).unwrap();
        assert_eq!(key.public(), public);
        let signature = key.sign(&random, b"entry").unwrap();
        assert!(public.verify(b"entry", &signature) && !public.verify(b"entrx", &signature));
        let wrong = SecretString::copy_from("correct horse batterz");
        assert_eq!(file.open(&wrong).unwrap_err(), ParticipantError::Passphrase);
        let renamed = ParticipantFile { name: "Mallory".parse().unwrap(), ..file.clone() };
        assert_eq!(renamed.open(&right).unwrap_err(), ParticipantError::Passphrase);
        let quick = ParticipantFile { iterations: 1, ..file };
        assert!(matches!(quick.open(&right), Err(ParticipantError::Iterations(_))));
    }

    #[test]
    fn a_short_passphrase_is_refused_and_files_of_others() {
        let random = Random::from_module().unwrap();
        let key = CeremonyKey::generate(&random).unwrap();
        let short = SecretString::copy_from("short");
        let sealed = ParticipantFile::seal(&key, "A".parse().unwrap(), "B".parse().unwrap(), &short, &random);
        assert_eq!(sealed.unwrap_err(), ParticipantError::Short);
        let (file, _) = file(&random);
        let text = file.text().unwrap();
        assert!(ParticipantFile::parse(&text.replace("participant-1", "participant-2")).is_err());
        assert!(ParticipantFile::parse(&format!("{text}more = 1\n")).is_err());
    }

    #[test]
    fn fingerprints_tell_keys_apart() {
        let random = Random::from_module().unwrap();
        let print = |key: &CeremonyKey| key.public().fingerprint();
        let (one, other) = (CeremonyKey::generate(&random).unwrap(), CeremonyKey::generate(&random).unwrap());
        assert_ne!(print(&one), print(&other));
        assert_eq!(print(&one).len(), 39);
    }
}
