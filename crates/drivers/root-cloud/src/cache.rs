//! Keys that the service unwrapped, in memory for a stated time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use keyreeve_crypto::key::LoadedKey;
use tokio::time::Instant;

/// What is kept at most; above it what is oldest goes. More than a server has keyrings.
const MOST: usize = 4096;

/// Which wrapped key: SHA-256 over it and what is bound to it.
pub(crate) type Which = [u8; 32];

/// See the module. Loaded keys wipe themselves when they are dropped.
#[derive(Default)]
pub(crate) struct Cache {
    kept: HashMap<Which, (Arc<LoadedKey>, Instant)>,
    wipes: u64,
}

/// What the cache knows of a key.
pub(crate) enum Found {
    /// Nothing, or not any more.
    Nothing,
    /// The key.
    Fresh(Arc<LoadedKey>),
    /// The key, and that it is time to ask anew.
    Aging(Arc<LoadedKey>),
}

impl Cache {
    /// Looks for a key that was unwrapped less than `keep` ago.
    pub(crate) fn find(&self, which: &Which, keep: Duration) -> Found {
        match self.kept.get(which).map(|(key, since)| (key.clone(), since.elapsed())) {
            Some((key, age)) if age < keep / 2 => Found::Fresh(key),
            Some((key, age)) if age < keep => Found::Aging(key),
            _ => Found::Nothing,
        }
    }

    /// How often everything was wiped. Whoever asks for a key remembers it, for [`keep`](Self::keep).
    pub(crate) fn wipes(&self) -> u64 {
        self.wipes
    }

    /// Keeps a key, which was asked for at `since`, after so many `wipes`. One that was asked for before the last of
    /// them is what they were about, and is not kept.
    pub(crate) fn keep(&mut self, which: Which, key: Arc<LoadedKey>, since: Instant, wipes: u64) {
        if wipes != self.wipes {
            return;
        }
        if self.kept.len() >= MOST && !self.kept.contains_key(&which) {
            let oldest = self.kept.iter().min_by_key(|(_, (_, since))| *since).map(|(which, _)| *which);
            oldest.map(|oldest| self.kept.remove(&oldest));
        }
        self.kept.insert(which, (key, since));
    }

    /// Wipes what is older than `keep`; when the next of the others is, if there are any.
    pub(crate) fn expire(&mut self, keep: Duration) -> Option<Instant> {
        self.kept.retain(|_, (_, since)| since.elapsed() < keep);
        self.kept.values().map(|(_, since)| *since + keep).min()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Wipes everything.
    pub(crate) fn clear(&mut self) {
        self.kept.clear();
        self.wipes = self.wipes.wrapping_add(1);
    }
}
