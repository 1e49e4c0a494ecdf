//! Encrypting, decrypting, moving ciphertexts, data keys.
//!
//! Requests have a single form and a batch form (`items`); never both. The context is shared by all items of a request.
//! In answers to the batch form each item holds either its result or its error.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::names::Hash;
use crate::{Base64, Ciphertext, ItemError, Pairs, SecretBase64};

/// Encrypts.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EncryptRequest {
    /// Single form: what to encrypt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plaintext: Option<SecretBase64>,
    /// Batch form: 1 to 1,000 things to encrypt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<PlaintextInput>>,
    /// Bound to every ciphertext and needed again to decrypt: at most 32 pairs and 8 KiB. Not secret: it is recorded in
    /// the audit log.
    #[serde(default, skip_serializing_if = "Pairs::is_empty")]
    pub context: Pairs,
}

/// One plaintext of a batch.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlaintextInput {
    /// What to encrypt.
    pub plaintext: SecretBase64,
}

/// Ciphertexts.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CiphertextReply {
    /// The key version that encrypted.
    pub version: u32,
    /// Single form: the ciphertext.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ciphertext: Option<Ciphertext>,
    /// Batch form: in the order of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<CiphertextOutput>>,
}

/// One result of a batch: the ciphertext or the error.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CiphertextOutput {
    /// The ciphertext.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ciphertext: Option<Ciphertext>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ItemError>,
}

/// Decrypts. Without a key in the path, all ciphertexts must name the same one.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DecryptRequest {
    /// Single form: what to decrypt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ciphertext: Option<Ciphertext>,
    /// Batch form: 1 to 1,000 ciphertexts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<CiphertextInput>>,
    /// What was bound to the ciphertexts when they were made.
    #[serde(default, skip_serializing_if = "Pairs::is_empty")]
    pub context: Pairs,
    /// A ciphertext that others made with the public key of an RSA key, instead of one of Keyreeve's. Needs a key in
    /// the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rsa_oaep: Option<RsaOaep>,
}

/// One ciphertext of a batch.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CiphertextInput {
    /// The ciphertext or wrapped data key.
    pub ciphertext: Ciphertext,
}

/// RSAES-OAEP (RFC 8017 §7.1) with an empty label, made with the public key.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RsaOaep {
    /// The bytes: as long as the modulus.
    pub ciphertext: Base64,
    /// The key version whose public key was used.
    pub version: u32,
    /// The hash, which is also that of MGF1.
    pub hash: Hash,
}

/// Plaintexts or data keys.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PlaintextReply {
    /// Single form: the plaintext.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plaintext: Option<SecretBase64>,
    /// Single form: the key version that had encrypted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Batch form: in the order of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<PlaintextOutput>>,
}

/// One result of a batch: the plaintext or the error.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PlaintextOutput {
    /// The plaintext.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plaintext: Option<SecretBase64>,
    /// The key version that had encrypted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ItemError>,
}

/// Moves ciphertexts to another key; the plaintext stays inside the server.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReEncryptRequest {
    /// The key they shall be under, by id or alias.
    pub to: String,
    /// Single form: what to move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ciphertext: Option<Ciphertext>,
    /// Batch form: 1 to 1,000 ciphertexts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<CiphertextInput>>,
    /// What was bound to them.
    #[serde(default, skip_serializing_if = "Pairs::is_empty")]
    pub context: Pairs,
    /// What shall be bound to them; the same unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_context: Option<Pairs>,
}

/// Ciphertexts or wrapped data keys that the server made: to rewrap, or data keys to unwrap.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CiphertextRequest {
    /// Single form: a ciphertext or wrapped data key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ciphertext: Option<Ciphertext>,
    /// Batch form: 1 to 1,000 of them, all of one kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<CiphertextInput>>,
    /// What is bound to them.
    #[serde(default, skip_serializing_if = "Pairs::is_empty")]
    pub context: Pairs,
}

/// Makes data keys for encrypting elsewhere.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GenerateDataKeyRequest {
    /// Length of the data key in bytes: 32 or 64; 32 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u32>,
    /// Return the plain data key as well; true unless said. Without it another, weaker permission suffices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plaintext: Option<bool>,
    /// Batch form: so many data keys, 1 to 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// Bound to the wrapped keys and needed again to unwrap them.
    #[serde(default, skip_serializing_if = "Pairs::is_empty")]
    pub context: Pairs,
}

/// Data keys.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct DataKeyReply {
    /// The key version that wrapped.
    pub version: u32,
    /// Single form: the plain data key, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plaintext: Option<SecretBase64>,
    /// Single form: the wrapped data key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ciphertext: Option<Ciphertext>,
    /// Batch form: as many as were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<DataKey>>,
}

/// One data key of a batch.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct DataKey {
    /// The plain data key, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plaintext: Option<SecretBase64>,
    /// The wrapped data key.
    pub ciphertext: Ciphertext,
}
