//! Signatures and message authentication codes. Single form and batch form as in [`cipher`](crate::cipher).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::names::Scheme;
use crate::{Base64, ItemError, SecretBase64};

/// Signs.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignRequest {
    /// Single form: what to sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<SecretBase64>,
    /// Batch form: 1 to 1,000 messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<MessageInput>>,
    /// The messages are digests under the scheme's hash. Not for Ed25519 and ML-DSA.
    #[serde(default)]
    pub prehashed: bool,
    /// How; the algorithm's usual scheme unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
}

/// One message of a batch.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MessageInput {
    /// The message or digest.
    pub message: SecretBase64,
}

/// Signatures.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SignReply {
    /// The key version that signed.
    pub version: u32,
    /// How.
    pub scheme: Scheme,
    /// Single form: the signature; ECDSA in ASN.1 DER.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Base64>,
    /// Batch form: in the order of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<SignatureOutput>>,
}

/// One result of a batch: the signature or the error.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SignatureOutput {
    /// The signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Base64>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ItemError>,
}

/// Verifies signatures.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyRequest {
    /// Single form: the message or digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<SecretBase64>,
    /// Single form: the signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Base64>,
    /// Batch form: 1 to 1,000 messages with their signatures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<SignedInput>>,
    /// The messages are digests under the scheme's hash.
    #[serde(default)]
    pub prehashed: bool,
    /// How; the algorithm's usual scheme unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// The key version; unless said, the newest 8 are tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

/// One signed message of a batch.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignedInput {
    /// The message or digest.
    pub message: SecretBase64,
    /// The signature.
    pub signature: Base64,
}

/// Verdicts on signatures or tags.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct VerifyReply {
    /// Single form: whether it is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid: Option<bool>,
    /// Single form: the key version it is of, when it is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Batch form: in the order of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<Verdict>>,
}

/// One verdict of a batch.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Verdict {
    /// Whether it is right.
    pub valid: bool,
    /// The key version it is of, when it is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Why it could not be checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ItemError>,
}

/// Computes message authentication codes.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MacRequest {
    /// Single form: the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<SecretBase64>,
    /// Batch form: 1 to 1,000 messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<MessageInput>>,
}

/// Tags.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MacReply {
    /// The key version that computed them.
    pub version: u32,
    /// Single form: the tag, as long as the hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Base64>,
    /// Batch form: in the order of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<MacOutput>>,
}

/// One result of a batch: the tag or the error.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MacOutput {
    /// The tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Base64>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ItemError>,
}

/// Verifies message authentication codes.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyMacRequest {
    /// Single form: the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<SecretBase64>,
    /// Single form: the tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Base64>,
    /// Batch form: 1 to 1,000 messages with their tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<TaggedInput>>,
    /// The key version; unless said, the newest 8 are tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

/// One tagged message of a batch.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaggedInput {
    /// The message.
    pub message: SecretBase64,
    /// The tag.
    pub mac: Base64,
}
