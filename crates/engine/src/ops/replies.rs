//! Answers that several operations share.

use keyreeve_model::{KeyRecord, KeyringRecord, State, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::pipeline::Remember;

/// A key as it stands after an operation. Holds no secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyReply {
    /// The record.
    pub key: KeyRecord,
    /// The name of its keyring.
    pub keyring: String,
    /// The instant the states below are of.
    pub at: UnixMillis,
}

impl KeyReply {
    /// The key's state at the instant of the reply.
    #[must_use]
    pub fn state(&self) -> State {
        self.key.state(self.at)
    }
}

/// A keyring as it stands after an operation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyringReply {
    /// The record.
    pub keyring: KeyringRecord,
}

/// A page of a listing.
#[derive(Clone, Debug)]
pub struct Listing<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page starts; none at the end.
    pub next: Option<String>,
}

macro_rules! remember_as_json {
    ($($reply:ty),+) => {
        $(impl $crate::pipeline::Remember for $reply {
            fn remember(&self) -> Option<Vec<u8>> {
                serde_json::to_vec(self).ok()
            }

            fn recall(stored: &[u8]) -> Option<Self> {
                serde_json::from_slice(stored).ok()
            }
        })+
    };
}

pub(super) use remember_as_json;

remember_as_json!(KeyReply, KeyringReply);

impl<T> Remember for Listing<T> {}
