//! Keys that come from elsewhere or go there, wrapped.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::keys::CreateKey;
use crate::names::{Algorithm, Purpose, WrappingMethod};
use crate::{Base64, Timestamp};

/// Asks for a key under which material is wrapped for one import: for a new key, with what that shall be, or for a key
/// that is there.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportParametersRequest {
    /// A key that is there, by id or alias: the material is for another version of it, or ended and is put back. Not
    /// together with the three below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The keyring of a new key, by id or name; `default` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyring: Option<String>,
    /// What a new key shall be; `xaes-256-gcm` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    /// What a new key is for; the algorithm's usual purpose unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
    /// How the material will be wrapped.
    pub method: WrappingMethod,
    /// The size of an RSA wrapping key in bits: 2048, 3072 or 4096; 3072 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rsa_bits: Option<u32>,
    /// How long it waits for the material, in hours: 1 to 168; 24 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<u32>,
}

/// A key under which material is wrapped for one import.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ImportParameters {
    /// The import: `imp_…`. It is good once, for whoever asked.
    pub import: String,
    /// The id of the key that the material is for.
    pub key: String,
    /// The name of its keyring.
    pub keyring: String,
    /// What the material must be.
    pub algorithm: Algorithm,
    /// What the key is for.
    pub purpose: Purpose,
    /// How the material is to be wrapped.
    pub method: WrappingMethod,
    /// The wrapping key as PEM (RFC 7468): one SubjectPublicKeyInfo for RSA; for a hybrid two, the one for ECDH first,
    /// then the one for ML-KEM.
    pub public_key: String,
    /// SHA-256, in hexadecimal, of the SubjectPublicKeyInfo in DER, of both one after the other for a hybrid.
    pub fingerprint: String,
    /// When it ends.
    pub expires: Timestamp,
}

/// Makes a key of material that comes wrapped.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportKey {
    /// What it shall be: keyring, algorithm and purpose as they were said for the wrapping key.
    pub key: CreateKey,
    /// The material, wrapped: raw bytes for a symmetric key, PKCS #8 in DER for a private key.
    pub wrapped: Base64,
    /// When the material ends, if it does: it is erased then, and the key stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Where it is from, in words: at most 1,024 bytes, kept with the key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub statement: String,
}

/// Brings material for a key that is there.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportMaterial {
    /// The import that waits for it.
    pub import: String,
    /// The version whose material it is, where it is put back; the primary one unless said. A new version has none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// The material, wrapped: raw bytes for a symmetric key, PKCS #8 in DER for a private key.
    pub wrapped: Base64,
    /// When the material ends, if it does: it is erased then, and the key stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Where it is from, in words: at most 1,024 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub statement: String,
    /// Why: at most 1,024 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Hands out the material of a key version, wrapped for somebody.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportKey {
    /// The version: said, so that others agree to one and not to another.
    pub version: u32,
    /// How it is wrapped.
    pub method: WrappingMethod,
    /// The public key of whoever it is for, as PEM: one SubjectPublicKeyInfo for RSA; for a hybrid two, the one for
    /// ECDH first, then the one for ML-KEM.
    pub recipient: String,
    /// Why: at most 1,024 bytes; others are shown it, and it is kept with the key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// The material of a key version, wrapped.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ExportedKey {
    /// The key's id.
    pub key: String,
    /// The version.
    pub version: u32,
    /// What the material is.
    pub algorithm: Algorithm,
    /// How it is wrapped.
    pub method: WrappingMethod,
    /// The fingerprint of the key that it is wrapped for.
    pub recipient: String,
    /// The material, wrapped: raw bytes for a symmetric key, PKCS #8 in DER for a private key.
    pub wrapped: Base64,
}

/// Of imported material: how it came, and how long it lasts.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ImportedMaterial {
    /// How it was wrapped.
    pub method: WrappingMethod,
    /// Where it is from, as was said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub statement: String,
    /// When it ends: it is erased then, and the key stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// When it was erased, unless it was put back since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased: Option<Timestamp>,
    /// Whether it can be used, as far as its time goes.
    pub present: bool,
}

/// That a version of a key left, wrapped for somebody.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Departure {
    /// The version.
    pub version: u32,
    /// When.
    pub at: Timestamp,
    /// Who took it.
    pub by: String,
    /// How it was wrapped.
    pub method: WrappingMethod,
    /// The fingerprint of the key that it was wrapped for.
    pub recipient: String,
    /// Why.
    pub reason: String,
}
