//! Signatures: RSA-PSS and PKCS #1 v1.5 (RFC 8017), ECDSA and Ed25519 (FIPS 186-5), ML-DSA (FIPS 204).

use std::sync::OnceLock;

use aws_lc_rs::digest::Digest;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{self as lc, EcdsaKeyPair, Ed25519KeyPair, KeyPair, ParsedPublicKey, PqdsaKeyPair};

use crate::algorithm::{KeyAlgorithm, SignatureScheme};
use crate::digest;
use crate::error::{CryptoError, KeyError, module};
use crate::public::PublicKey;

/// What is signed.
#[derive(Debug, Clone, Copy)]
pub enum Message<'a> {
    /// The message itself; hashing it, where the scheme does so, is part of signing.
    Raw(&'a [u8]),
    /// The digest of the message under the hash function of the scheme ([`SignatureScheme::hash`]).
    Digest(&'a [u8]),
}

/// A private key that signs.
pub(crate) enum Signer {
    Rsa(Box<rsa::KeyPair>),
    Ec(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    MlDsa(PqdsaKeyPair),
}

impl Signer {
    /// Reads a PKCS #8 key. `None` if the algorithm does not sign.
    pub(crate) fn from_pkcs8(algorithm: KeyAlgorithm, der: &[u8]) -> Result<Option<Self>, KeyError> {
        use KeyAlgorithm as K;
        let rejected = |error: aws_lc_rs::error::KeyRejected| rejected(algorithm, &error.to_string());
        Ok(Some(match algorithm {
            K::Rsa2048 | K::Rsa3072 | K::Rsa4096 => {
                let pair = rsa::KeyPair::from_pkcs8(der).map_err(rejected)?;
                check_rsa_size(algorithm, &pair)?;
                Self::Rsa(Box::new(pair))
            }
            K::EcP256 => Self::Ec(ec(&lc::ECDSA_P256_SHA256_ASN1_SIGNING, der).map_err(rejected)?),
            K::EcP384 => Self::Ec(ec(&lc::ECDSA_P384_SHA384_ASN1_SIGNING, der).map_err(rejected)?),
            K::EcP521 => Self::Ec(ec(&lc::ECDSA_P521_SHA512_ASN1_SIGNING, der).map_err(rejected)?),
            K::Ed25519 => Self::Ed25519(Ed25519KeyPair::from_pkcs8(der).map_err(rejected)?),
            K::MlDsa44 => Self::MlDsa(PqdsaKeyPair::from_pkcs8(&lc::ML_DSA_44_SIGNING, der).map_err(rejected)?),
            K::MlDsa65 => Self::MlDsa(PqdsaKeyPair::from_pkcs8(&lc::ML_DSA_65_SIGNING, der).map_err(rejected)?),
            K::MlDsa87 => Self::MlDsa(PqdsaKeyPair::from_pkcs8(&lc::ML_DSA_87_SIGNING, der).map_err(rejected)?),
            _ => return Ok(None),
        }))
    }

    /// A fresh key. `None` if the algorithm does not sign.
    pub(crate) fn generate(algorithm: KeyAlgorithm) -> Result<Option<Self>, CryptoError> {
        use KeyAlgorithm as K;
        let rsa = |size| rsa::KeyPair::generate(size).map(Box::new).map(Self::Rsa).map_err(module);
        let ec = |curve| EcdsaKeyPair::generate(curve).map(Self::Ec).map_err(module);
        let ml_dsa = |set| PqdsaKeyPair::generate(set).map(Self::MlDsa).map_err(module);
        Ok(Some(match algorithm {
            K::Rsa2048 => rsa(rsa::KeySize::Rsa2048)?,
            K::Rsa3072 => rsa(rsa::KeySize::Rsa3072)?,
            K::Rsa4096 => rsa(rsa::KeySize::Rsa4096)?,
            K::EcP256 => ec(&lc::ECDSA_P256_SHA256_ASN1_SIGNING)?,
            K::EcP384 => ec(&lc::ECDSA_P384_SHA384_ASN1_SIGNING)?,
            K::EcP521 => ec(&lc::ECDSA_P521_SHA512_ASN1_SIGNING)?,
            K::Ed25519 => Self::Ed25519(Ed25519KeyPair::generate().map_err(module)?),
            K::MlDsa44 => ml_dsa(&lc::ML_DSA_44_SIGNING)?,
            K::MlDsa65 => ml_dsa(&lc::ML_DSA_65_SIGNING)?,
            K::MlDsa87 => ml_dsa(&lc::ML_DSA_87_SIGNING)?,
            _ => return Ok(None),
        }))
    }

    /// PKCS #8 version 1 in DER; ML-DSA in seed form.
    pub(crate) fn to_pkcs8(&self) -> Result<Vec<u8>, CryptoError> {
        let document = match self {
            Self::Rsa(pair) => return AsDer::as_der(pair.as_ref()).map(|der| der.as_ref().to_vec()).map_err(module),
            Self::Ec(pair) => pair.to_pkcs8v1(),
            Self::Ed25519(pair) => pair.to_pkcs8v1(),
            Self::MlDsa(pair) => pair.to_pkcs8v1(),
        };
        document.map(|document| document.as_ref().to_vec()).map_err(module)
    }

    pub(crate) fn public_key(&self, algorithm: KeyAlgorithm) -> Result<PublicKey, CryptoError> {
        let der = match self {
            Self::Rsa(pair) => pair.public_key().as_der(),
            Self::Ec(pair) => pair.public_key().as_der(),
            Self::Ed25519(pair) => pair.public_key().as_der(),
            Self::MlDsa(pair) => pair.public_key().as_der(),
        };
        let der = der.map_err(module)?;
        Ok(PublicKey::trusted(algorithm, der.as_ref().to_vec()))
    }

    /// Whether the public exponent is above 2^16 (FIPS 186-5, A.1.1); true for keys that have none.
    pub(crate) fn exponent_is_large(&self) -> bool {
        match self {
            Self::Rsa(pair) => {
                let exponent = pair.public_key().exponent();
                let bytes = exponent.big_endian_without_leading_zero();
                // An exponent is odd, so three bytes are above 2^16 by themselves.
                bytes.len() >= 3
            }
            Self::Ec(_) | Self::Ed25519(_) | Self::MlDsa(_) => true,
        }
    }

    /// Signs; the scheme was checked to fit the key.
    pub(crate) fn sign(&self, scheme: SignatureScheme, message: Message<'_>) -> Result<Vec<u8>, CryptoError> {
        let rng = SystemRandom::new();
        match (self, message) {
            (Self::Rsa(pair), Message::Raw(raw)) => {
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign(rsa_encoding(scheme)?, &rng, raw, &mut out).map_err(module)?;
                Ok(out)
            }
            (Self::Rsa(pair), Message::Digest(bytes)) => {
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign_digest(rsa_encoding(scheme)?, &import(scheme, bytes)?, &mut out).map_err(module)?;
                Ok(out)
            }
            (Self::Ec(pair), Message::Raw(raw)) => {
                pair.sign(&rng, raw).map(|signature| signature.as_ref().to_vec()).map_err(module)
            }
            (Self::Ec(pair), Message::Digest(bytes)) => {
                let signature = pair.sign_digest(&import(scheme, bytes)?).map_err(module)?;
                Ok(signature.as_ref().to_vec())
            }
            (Self::Ed25519(pair), Message::Raw(raw)) => {
                pair.try_sign(raw).map(|signature| signature.as_ref().to_vec()).map_err(module)
            }
            (Self::MlDsa(pair), Message::Raw(raw)) => {
                let mut out = vec![0; pair.algorithm().signature_len()];
                pair.sign(raw, &mut out).map_err(module)?;
                Ok(out)
            }
            (Self::Ed25519(_) | Self::MlDsa(_), Message::Digest(_)) => Err(CryptoError::DigestNotOffered { scheme }),
        }
    }
}

/// A public key with its parsed forms, each made when it is first needed and then kept.
pub(crate) struct Verifier {
    algorithm: KeyAlgorithm,
    spki: Vec<u8>,
    parsed: Vec<(SignatureScheme, OnceLock<ParsedPublicKey>)>,
}

impl Verifier {
    pub(crate) fn new(key: &PublicKey) -> Self {
        let fitting = SignatureScheme::ALL.iter().filter(|scheme| scheme.fits(key.algorithm()));
        Self {
            algorithm: key.algorithm(),
            spki: key.spki().to_vec(),
            parsed: fitting.map(|&scheme| (scheme, OnceLock::new())).collect(),
        }
    }

    pub(crate) fn verify(
        &self,
        scheme: SignatureScheme,
        message: Message<'_>,
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        let key = self.key(scheme)?;
        match message {
            Message::Raw(raw) => key.verify_sig(raw, signature),
            Message::Digest(bytes) => key.verify_digest_sig(&import(scheme, bytes)?, signature),
        }
        .map_err(|_| CryptoError::NotVerified)
    }

    fn key(&self, scheme: SignatureScheme) -> Result<&ParsedPublicKey, CryptoError> {
        let slot = self.parsed.iter().find(|(listed, _)| *listed == scheme);
        let (_, slot) = slot.ok_or(CryptoError::SchemeMismatch { algorithm: self.algorithm, scheme })?;
        if let Some(key) = slot.get() {
            return Ok(key);
        }
        let key = ParsedPublicKey::new(verification(scheme), &self.spki).map_err(|_| KeyError::Malformed)?;
        Ok(slot.get_or_init(|| key))
    }
}

fn ec(curve: &'static lc::EcdsaSigningAlgorithm, der: &[u8]) -> Result<EcdsaKeyPair, aws_lc_rs::error::KeyRejected> {
    EcdsaKeyPair::from_pkcs8(curve, der)
}

fn check_rsa_size(algorithm: KeyAlgorithm, pair: &rsa::KeyPair) -> Result<(), KeyError> {
    let modulus = pair.public_key().modulus();
    let bytes = modulus.big_endian_without_leading_zero();
    let leading = bytes.first().map_or(8, |byte| byte.leading_zeros() as usize);
    if Some(bytes.len() * 8 - leading) == algorithm.rsa_bits() { Ok(()) } else { Err(KeyError::OtherAlgorithm) }
}

/// The module says why it rejects a key only in words.
fn rejected(algorithm: KeyAlgorithm, reason: &str) -> KeyError {
    match reason {
        "TooSmall" if algorithm.rsa_bits().is_some() => KeyError::TooWeak { bits: 0, floor: 2048 },
        "WrongAlgorithm" => KeyError::OtherAlgorithm,
        "InconsistentComponents" => KeyError::Inconsistent,
        _ => KeyError::Malformed,
    }
}

fn import(scheme: SignatureScheme, bytes: &[u8]) -> Result<Digest, CryptoError> {
    let hash = scheme.hash().ok_or(CryptoError::DigestNotOffered { scheme })?;
    let wrong = CryptoError::InputLength { expected: hash.output_len(), actual: bytes.len() };
    Digest::import_less_safe(bytes, digest::algorithm(hash)).map_err(|_| wrong)
}

fn rsa_encoding(scheme: SignatureScheme) -> Result<&'static dyn lc::RsaEncoding, CryptoError> {
    use SignatureScheme as S;
    match scheme {
        S::RsaPssSha256 => Ok(&lc::RSA_PSS_SHA256),
        S::RsaPssSha384 => Ok(&lc::RSA_PSS_SHA384),
        S::RsaPssSha512 => Ok(&lc::RSA_PSS_SHA512),
        S::RsaPkcs1Sha256 => Ok(&lc::RSA_PKCS1_SHA256),
        S::RsaPkcs1Sha384 => Ok(&lc::RSA_PKCS1_SHA384),
        S::RsaPkcs1Sha512 => Ok(&lc::RSA_PKCS1_SHA512),
        S::EcdsaSha256 | S::EcdsaSha384 | S::EcdsaSha512 => Err(CryptoError::Module),
        S::Ed25519 | S::MlDsa44 | S::MlDsa65 | S::MlDsa87 => Err(CryptoError::Module),
    }
}

pub(crate) fn verification(scheme: SignatureScheme) -> &'static dyn lc::VerificationAlgorithm {
    use SignatureScheme as S;
    match scheme {
        S::RsaPssSha256 => &lc::RSA_PSS_2048_8192_SHA256,
        S::RsaPssSha384 => &lc::RSA_PSS_2048_8192_SHA384,
        S::RsaPssSha512 => &lc::RSA_PSS_2048_8192_SHA512,
        S::RsaPkcs1Sha256 => &lc::RSA_PKCS1_2048_8192_SHA256,
        S::RsaPkcs1Sha384 => &lc::RSA_PKCS1_2048_8192_SHA384,
        S::RsaPkcs1Sha512 => &lc::RSA_PKCS1_2048_8192_SHA512,
        S::EcdsaSha256 => &lc::ECDSA_P256_SHA256_ASN1,
        S::EcdsaSha384 => &lc::ECDSA_P384_SHA384_ASN1,
        S::EcdsaSha512 => &lc::ECDSA_P521_SHA512_ASN1,
        S::Ed25519 => &lc::ED25519,
        S::MlDsa44 => &lc::ML_DSA_44,
        S::MlDsa65 => &lc::ML_DSA_65,
        S::MlDsa87 => &lc::ML_DSA_87,
    }
}
