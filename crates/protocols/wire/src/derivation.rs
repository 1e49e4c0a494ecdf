//! Secrets made with a key: derivation, key wrapping, encapsulation, agreement; and random bytes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::names::{Hash, WrapMode};
use crate::{Base64, ItemError, SecretBase64};

/// Derives a key: give exactly one of `hkdf` and `kbkdf`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeriveRequest {
    /// HKDF (RFC 5869).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hkdf: Option<Hkdf>,
    /// SP 800-108 rev. 1 in counter mode with HMAC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kbkdf: Option<Kbkdf>,
    /// Length of the derived key in bytes, 32 to 1,024; 32 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u32>,
    /// The key version; the primary one unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

/// Parameters of HKDF.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Hkdf {
    /// The hash.
    pub hash: Hash,
    /// Not secret; may be empty.
    #[serde(default)]
    pub salt: Base64,
    /// Binds the output to its use.
    #[serde(default)]
    pub info: Base64,
}

/// Parameters of SP 800-108.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Kbkdf {
    /// The hash of the HMAC.
    pub hash: Hash,
    /// Names the use.
    #[serde(default)]
    pub label: Base64,
    /// Binds the output to its parties.
    #[serde(default)]
    pub context: Base64,
}

/// A secret with the key version it comes from.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SecretReply {
    /// The key version.
    pub version: u32,
    /// The secret.
    pub secret: SecretBase64,
}

/// Wraps callers' keys.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WrapRequest {
    /// Single form: the key to wrap, at most 64 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<SecretBase64>,
    /// Batch form: 1 to 1,000 keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<KeyInput>>,
    /// With or without padding; `kwp` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<WrapMode>,
}

/// One key of a batch.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyInput {
    /// The key to wrap.
    pub key: SecretBase64,
}

/// Wrapped keys.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct WrapReply {
    /// The key version that wrapped: needed to unwrap.
    pub version: u32,
    /// Single form: the wrapped key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrapped: Option<Base64>,
    /// Batch form: in the order of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<WrappedOutput>>,
}

/// One result of a batch: the wrapped key or the error.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct WrappedOutput {
    /// The wrapped key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrapped: Option<Base64>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ItemError>,
}

/// Unwraps callers' keys.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UnwrapRequest {
    /// Single form: the wrapped key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrapped: Option<Base64>,
    /// Batch form: 1 to 1,000 wrapped keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<WrappedInput>>,
    /// As when wrapping; `kwp` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<WrapMode>,
    /// The key version that wrapped; the primary one unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

/// One wrapped key of a batch.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WrappedInput {
    /// The wrapped key.
    pub wrapped: Base64,
}

/// Unwrapped keys.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct UnwrapReply {
    /// The key version that had wrapped.
    pub version: u32,
    /// Single form: the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<SecretBase64>,
    /// Batch form: in the order of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<KeyOutput>>,
}

/// One result of a batch: the key or the error.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct KeyOutput {
    /// The key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<SecretBase64>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ItemError>,
}

/// A shared secret and its encapsulation (ML-KEM, FIPS 203).
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct EncapsulateReply {
    /// The key version it is encapsulated to.
    pub version: u32,
    /// For whoever may decapsulate with the key.
    pub ciphertext: Base64,
    /// 32 bytes, uniform.
    pub secret: SecretBase64,
}

/// Recovers an encapsulated shared secret.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DecapsulateRequest {
    /// What the other side sent.
    pub ciphertext: Base64,
    /// The key version it was encapsulated to; the primary one unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

/// Agrees a shared secret with a peer's public key. The raw secret is not uniform, so it leaves only through HKDF.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AgreeRequest {
    /// The peer's SubjectPublicKeyInfo, DER.
    pub peer: Base64,
    /// The hash of HKDF.
    pub hash: Hash,
    /// Salt of HKDF, not secret; may be empty.
    #[serde(default)]
    pub salt: Base64,
    /// Binds the output to its use.
    #[serde(default)]
    pub info: Base64,
    /// Length of the agreed key in bytes, 32 to 1,024; 32 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u32>,
    /// The key version; the primary one unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

/// Asks for random bytes.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RandomRequest {
    /// How many bytes: 1 to 65,536.
    pub bytes: u32,
}

/// Random bytes.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct RandomReply {
    /// The bytes.
    pub random: SecretBase64,
}
