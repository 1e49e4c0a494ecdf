//! What the server knows of escrow in memory only: shares that agents gave towards a recovery, and how the deposits
//! were when they were last gone through.

use keyreeve_crypto::shamir::Share;
use keyreeve_model::ids::RecoveryId;
use keyreeve_model::{KeyId, UnixMillis};
use keyreeve_secret::SecretBytes;
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};

use crate::error::{Code, Error};

/// How escrow stands, for metrics and for whoever looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EscrowHealth {
    /// Keys that the policy names, when they were last gone through (count).
    pub keys: u64,
    /// Of these, keys whose deposits are not as they should be and could not be made so (count).
    pub missing: u64,
    /// When all keys were last gone through.
    pub swept: Option<UnixMillis>,
    /// Whether a campaign is overdue.
    pub campaign_overdue: bool,
    /// When the last campaign was over in which everything was shown.
    pub verified: Option<UnixMillis>,
}

/// Going through all keys, some at a time.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    pub(crate) after: Option<KeyId>,
    pub(crate) keys: u64,
    pub(crate) missing: u64,
    /// Versions of the escrow key that some deposit is under.
    pub(crate) versions: BTreeSet<u32>,
}

/// What is kept.
#[derive(Default)]
pub(crate) struct Memory {
    given: Mutex<HashMap<RecoveryId, Vec<Share>>>,
    pub(crate) health: Mutex<EscrowHealth>,
    pub(crate) sweep: Mutex<Sweep>,
    /// When people were last told of keys that are in no escrow.
    pub(crate) told: Mutex<Option<UnixMillis>>,
}

/// What came of a share.
pub(crate) enum Gathered {
    /// Others are needed.
    Some { given: u8 },
    /// The secret, and the numbers of the shares that gave it.
    Enough { secret: SecretBytes, shares: Vec<u8> },
}

fn copy(share: &Share) -> Result<Share, Error> {
    Share::from_bytes(share.to_bytes().expose()).map_err(Error::internal)
}

impl Memory {
    /// Takes a share that was checked to be one of the set. Once enough are here the same share may come again: what
    /// followed may have failed.
    pub(crate) fn give(&self, recovery: RecoveryId, share: Share) -> Result<Gathered, Error> {
        let mut all = self.given.lock();
        let given = all.entry(recovery).or_default();
        let threshold = usize::from(share.threshold());
        let known = given.iter().any(|taken| taken.index() == share.index());
        if known && given.len() < threshold {
            let text = format!("share {} was given already: another agent's is needed", share.index());
            return Err(Error::new(Code::InvalidShare, text));
        }
        if !known {
            given.push(share);
        }
        if given.len() < threshold {
            return Ok(Gathered::Some { given: u8::try_from(given.len()).unwrap_or(u8::MAX) });
        }
        let shares: Vec<Share> = given.iter().take(threshold).map(copy).collect::<Result<_, _>>()?;
        let numbers = shares.iter().map(Share::index).collect();
        match keyreeve_crypto::shamir::combine(shares) {
            Ok(secret) => Ok(Gathered::Enough { secret, shares: numbers }),
            Err(error) => {
                all.remove(&recovery);
                Err(Error::new(Code::InvalidShare, format!("{error}; the agents give theirs anew")))
            }
        }
    }

    /// Shares given so far.
    pub(crate) fn given(&self, recovery: RecoveryId) -> u8 {
        self.given.lock().get(&recovery).map_or(0, |given| u8::try_from(given.len()).unwrap_or(u8::MAX))
    }

    /// Forgets the shares of a recovery.
    pub(crate) fn forget(&self, recovery: RecoveryId) {
        self.given.lock().remove(&recovery);
    }

    /// Forgets everything, because the server is sealed.
    pub(crate) fn clear(&self) {
        self.given.lock().clear();
        *self.sweep.lock() = Sweep::default();
    }
}
