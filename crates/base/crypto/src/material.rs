//! Key material: making it, taking it in, and its serialised form.
//!
//! | algorithms | serialised form |
//! |---|---|
//! | AEAD, key wrapping, key derivation | 32 raw bytes |
//! | HMAC | raw bytes: 32, 48 or 64 when generated, 32 to 1024 when imported |
//! | RSA, EC, Ed25519 | PKCS #8 (RFC 5958 version 1) in DER |
//! | ML-DSA | PKCS #8 in DER, the private key as its 32-byte seed (RFC 9881) |
//! | X25519 | 32 raw bytes (RFC 7748) |
//! | ML-KEM | the expanded decapsulation key of FIPS 203: 2400 or 3168 bytes, which contains the encapsulation key |

use keyreeve_secret::SecretBytes;

use crate::agreement::Agreer;
use crate::algorithm::{HashAlgorithm, KeyAlgorithm, SignatureScheme};
use crate::error::{CryptoError, KeyError};
use crate::kdf::hkdf;
use crate::kem::{self, Decapsulator};
use crate::public::{Fingerprint, PublicKey};
use crate::random::Random;
use crate::signature::{Message, Signer};

/// The floor for symmetric keys, in bytes (K20: 256 bits).
const SYMMETRIC_FLOOR: usize = 32;

/// Longest HMAC key that is imported, in bytes.
const LONGEST_MAC_KEY: usize = 1024;

/// Longest serialised private key that is taken, in bytes; an RSA-4096 key has about 2400.
const LONGEST_PRIVATE_KEY: usize = 8192;

/// RFC 8410: PKCS #8 of an X25519 key up to the 32 raw bytes.
const X25519_PKCS8: &[u8] =
    &[0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x04, 0x22, 0x04, 0x20];

/// RFC 9935: PKCS #8 of an ML-KEM key in its expanded form up to the raw bytes, for ML-KEM-768 and ML-KEM-1024.
const ML_KEM_768_PKCS8: &[u8] = &ml_kem_pkcs8(0x0978, 0x02, 0x0964, 0x0960);
const ML_KEM_1024_PKCS8: &[u8] = &ml_kem_pkcs8(0x0c78, 0x03, 0x0c64, 0x0c60);

/// The outer length, the last arc of the algorithm under 2.16.840.1.101.3.4.4, and the lengths of the private key with
/// and without the head of its inner octet string.
const fn ml_kem_pkcs8(outer: u16, member: u8, octets: u16, key: u16) -> [u8; 28] {
    let (outer, octets, key) = (outer.to_be_bytes(), octets.to_be_bytes(), key.to_be_bytes());
    [
        0x30, 0x82, outer[0], outer[1], 0x02, 0x01, 0x00, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03,
        0x04, 0x04, member, 0x04, 0x82, octets[0], octets[1], 0x04, 0x82, key[0], key[1],
    ]
}

/// What stands before the raw bytes of a private key in PKCS #8, where it is always the same.
const fn pkcs8_prefix(algorithm: KeyAlgorithm) -> &'static [u8] {
    match algorithm {
        KeyAlgorithm::X25519 => X25519_PKCS8,
        KeyAlgorithm::MlKem768 => ML_KEM_768_PKCS8,
        KeyAlgorithm::MlKem1024 => ML_KEM_1024_PKCS8,
        _ => &[],
    }
}

/// How the material of an algorithm is serialised.
#[derive(Clone, Copy)]
enum Form {
    /// Exactly so many random bytes.
    Symmetric(usize),
    /// Random bytes, as many as the digest has when generated.
    Mac(usize),
    Pkcs8,
    X25519,
    MlKem(usize),
}

const fn form(algorithm: KeyAlgorithm) -> Form {
    use KeyAlgorithm as K;
    match algorithm {
        K::Xaes256Gcm | K::Aes256Gcm | K::Aes256GcmSiv | K::ChaCha20Poly1305 => Form::Symmetric(32),
        K::Aes256Kw | K::Kdk256 => Form::Symmetric(32),
        K::HmacSha256 => Form::Mac(32),
        K::HmacSha384 => Form::Mac(48),
        K::HmacSha512 => Form::Mac(64),
        K::Rsa2048 | K::Rsa3072 | K::Rsa4096 | K::EcP256 | K::EcP384 | K::EcP521 => Form::Pkcs8,
        K::Ed25519 | K::MlDsa44 | K::MlDsa65 | K::MlDsa87 => Form::Pkcs8,
        K::X25519 => Form::X25519,
        K::MlKem768 => Form::MlKem(2400),
        K::MlKem1024 => Form::MlKem(3168),
    }
}

/// A key of one algorithm, in its serialised form. To use it, load it: [`LoadedKey`](crate::key::LoadedKey).
#[derive(Debug)]
pub struct Material {
    algorithm: KeyAlgorithm,
    bytes: SecretBytes,
}

impl Material {
    /// Makes a fresh key. RSA takes its time: 0.1 s for 2048 bits, up to several seconds for 4096.
    ///
    /// # Errors
    /// [`CryptoError::Random`], [`CryptoError::Module`].
    pub fn generate(algorithm: KeyAlgorithm, random: &Random) -> Result<Self, CryptoError> {
        let bytes = match form(algorithm) {
            Form::Symmetric(len) | Form::Mac(len) => random.secret_bytes(len)?,
            Form::Pkcs8 => {
                random.observe_continuous()?;
                let signer = Signer::generate(algorithm)?.ok_or(CryptoError::Module)?;
                SecretBytes::from_vec(signer.to_pkcs8()?)
            }
            Form::X25519 => {
                random.observe_continuous()?;
                Agreer::generate_x25519()?.1
            }
            Form::MlKem(_) => {
                random.observe_continuous()?;
                Decapsulator::generate(algorithm)?
            }
        };
        Ok(Self { algorithm, bytes })
    }

    /// Takes in a key from outside, in its serialised form (X25519 and ML-KEM also in PKCS #8), and checks it: length
    /// and strength, algorithm and size, and for key pairs that the private half undoes what the public half does (SP
    /// 800-56B, 6.4). The stored form is canonical, whatever variant of PKCS #8 came in.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn import(algorithm: KeyAlgorithm, bytes: &SecretBytes) -> Result<Self, CryptoError> {
        let bytes = match form(algorithm) {
            Form::Symmetric(_) | Form::Mac(_) => bytes.duplicate(),
            Form::Pkcs8 => import_pair(algorithm, bytes)?,
            Form::X25519 => SecretBytes::copy_from(strip_pkcs8(algorithm, bytes.expose())),
            Form::MlKem(_) => {
                let raw = strip_pkcs8(algorithm, bytes.expose());
                check_kem(algorithm, raw)?;
                SecretBytes::copy_from(raw)
            }
        };
        Self::parse(algorithm, bytes)
    }

    /// Takes back what [`serialize`](Self::serialize) gave. Checks the lengths; private keys are checked fully when
    /// they are loaded.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn parse(algorithm: KeyAlgorithm, bytes: SecretBytes) -> Result<Self, CryptoError> {
        check_len(form(algorithm), bytes.len())?;
        Ok(Self { algorithm, bytes })
    }

    /// The serialised form, see the module.
    pub fn serialize(&self) -> SecretBytes {
        self.bytes.duplicate()
    }

    /// The form in which it goes elsewhere, and in which [`import`](Self::import) takes it back: PKCS #8 in DER for
    /// every private key, raw bytes for symmetric keys.
    pub fn portable(&self) -> SecretBytes {
        let (prefix, bytes) = (pkcs8_prefix(self.algorithm), self.bytes.expose());
        SecretBytes::init_with(prefix.len() + bytes.len(), |place| {
            place[..prefix.len()].copy_from_slice(prefix);
            place[prefix.len()..].copy_from_slice(bytes);
        })
    }

    /// The algorithm.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// The public half; `None` for symmetric keys.
    ///
    /// # Errors
    /// [`KeyError`] if the material, taken from storage, is damaged.
    pub fn public_key(&self) -> Result<Option<PublicKey>, CryptoError> {
        let (algorithm, bytes) = (self.algorithm, self.bytes.expose());
        match form(algorithm) {
            Form::Symmetric(_) | Form::Mac(_) => Ok(None),
            Form::Pkcs8 => {
                let signer = Signer::from_pkcs8(algorithm, bytes)?.ok_or(CryptoError::Module)?;
                signer.public_key(algorithm).map(Some)
            }
            Form::X25519 => {
                let raw = Agreer::new(algorithm, bytes)?.public_raw()?;
                Ok(Some(PublicKey::trusted_raw(algorithm, &raw)))
            }
            Form::MlKem(_) => {
                let raw = kem::embedded_public(algorithm, bytes)?;
                Ok(Some(PublicKey::trusted_raw(algorithm, raw)))
            }
        }
    }

    /// Identifies the key without revealing it: SHA-256 of the public key, or for a symmetric key a check value that is
    /// derived from it with HKDF-SHA-256 for this use alone, so that it serves in no other place as a tag or as a key.
    ///
    /// # Errors
    /// As [`public_key`](Self::public_key).
    pub fn fingerprint(&self) -> Result<Fingerprint, CryptoError> {
        if let Some(public) = self.public_key()? {
            return Ok(public.fingerprint());
        }
        let name = self.algorithm.name().as_bytes();
        let check = hkdf(HashAlgorithm::Sha256, self.bytes.expose(), b"keyreeve key check value v1", name, 32)?;
        let mut out = [0; 32];
        out.copy_from_slice(check.expose());
        Ok(Fingerprint(out))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.expose()
    }

    /// The 32 raw bytes of a symmetric key.
    pub(crate) fn raw32(&self) -> Result<&[u8; 32], CryptoError> {
        let bytes = self.bytes.expose();
        bytes.try_into().map_err(|_| KeyError::Length { expected: 32, actual: bytes.len() }.into())
    }
}

fn check_len(form: Form, actual: usize) -> Result<(), KeyError> {
    match form {
        Form::Symmetric(_) | Form::Mac(_) if actual < SYMMETRIC_FLOOR => {
            Err(KeyError::TooWeak { bits: actual * 8, floor: SYMMETRIC_FLOOR * 8 })
        }
        Form::Symmetric(expected) if actual != expected => Err(KeyError::Length { expected, actual }),
        Form::Mac(_) if actual > LONGEST_MAC_KEY => Err(KeyError::Length { expected: LONGEST_MAC_KEY, actual }),
        Form::X25519 if actual != 32 => Err(KeyError::Length { expected: 32, actual }),
        Form::MlKem(expected) if actual != expected => Err(KeyError::Length { expected, actual }),
        Form::Pkcs8 if actual == 0 || actual > LONGEST_PRIVATE_KEY => Err(KeyError::Malformed),
        Form::Symmetric(_) | Form::Mac(_) | Form::X25519 | Form::MlKem(_) | Form::Pkcs8 => Ok(()),
    }
}

fn strip_pkcs8(algorithm: KeyAlgorithm, bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(pkcs8_prefix(algorithm)).unwrap_or(bytes)
}

/// Reads a key pair, tries it out and gives its canonical form.
fn import_pair(algorithm: KeyAlgorithm, bytes: &SecretBytes) -> Result<SecretBytes, CryptoError> {
    check_len(Form::Pkcs8, bytes.len())?;
    let signer = Signer::from_pkcs8(algorithm, bytes.expose())?.ok_or(CryptoError::Module)?;
    if !signer.exponent_is_large() {
        return Err(KeyError::Malformed.into());
    }
    let scheme = SignatureScheme::default_for(algorithm).ok_or(CryptoError::Module)?;
    let message = Message::Raw(b"pairwise consistency");
    let tried = signer
        .sign(scheme, message)
        .and_then(|signature| signer.public_key(algorithm)?.verify(scheme, message, &signature));
    tried.map_err(|_| KeyError::Inconsistent)?;
    // ML-DSA keys without their seed cannot be written in the seed form.
    let der = signer.to_pkcs8().map_err(|_| KeyError::Malformed)?;
    Ok(SecretBytes::from_vec(der))
}

fn check_kem(algorithm: KeyAlgorithm, bytes: &[u8]) -> Result<(), CryptoError> {
    let decapsulator = Decapsulator::new(algorithm, bytes)?;
    let (ciphertext, secret) = kem::encapsulate(algorithm, kem::embedded_public(algorithm, bytes)?)?;
    if decapsulator.decapsulate(&ciphertext)?.ct_eq(secret.expose()) {
        Ok(())
    } else {
        Err(KeyError::Inconsistent.into())
    }
}
