//! Wrapped key material as it is stored.

use crate::ids::{KeyId, KeyringId};

/// The material of one key version under its shard's epoch key. The row's place is bound into the ciphertext.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaterialRow {
    /// The key.
    pub key: KeyId,
    /// The version, from 1.
    pub version: u32,
    /// The keyring of the key.
    pub keyring: KeyringId,
    /// The shard of the keyring.
    pub shard: u32,
    /// The epoch whose key wraps this row.
    pub epoch: u64,
    /// What the epoch key's AEAD returned.
    pub wrapped: Vec<u8>,
}

impl MaterialRow {
    /// The associated data that binds material to its row: a row moved, swapped or copied to another epoch does not
    /// open.
    #[must_use]
    pub fn associated_data(key: KeyId, version: u32, keyring: KeyringId, shard: u32, epoch: u64) -> Vec<u8> {
        let mut aad = Vec::with_capacity(64);
        aad.extend_from_slice(b"keyreeve/material/1");
        aad.extend_from_slice(key.as_bytes());
        aad.extend_from_slice(&version.to_be_bytes());
        aad.extend_from_slice(keyring.as_bytes());
        aad.extend_from_slice(&shard.to_be_bytes());
        aad.extend_from_slice(&epoch.to_be_bytes());
        aad
    }
}
