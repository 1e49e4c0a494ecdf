//! Legal holds: what must not be destroyed, because a court or a regulator may ask for it.
//!
//! A hold covers a key or all keys of a keyring, names a matter, and is never removed: a released hold stays on record.
//! While one is in force the destruction of what it covers needs Legal, and one that was scheduled does not happen.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::actor::Actor;
use crate::filed::{FiledRecord, RowId};
use crate::ids::{ApprovalId, HoldId, KeyId, KeyringId};
use crate::metadata::Label;
use crate::record::Table;
use crate::time::UnixMillis;

/// What a hold covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HoldScope {
    /// One key.
    Key(KeyId),
    /// Every key of a keyring, those made later included.
    Keyring(KeyringId),
}

impl HoldScope {
    /// True when a key of this keyring is covered.
    #[must_use]
    pub fn covers(self, key: KeyId, keyring: KeyringId) -> bool {
        match self {
            Self::Key(held) => held == key,
            Self::Keyring(held) => held == keyring,
        }
    }
}

/// How a hold ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// When.
    pub at: UnixMillis,
    /// By whom.
    pub by: Actor,
    /// Why.
    pub reason: Label,
    /// The approval it was released under, where one was needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalId>,
}

/// A legal hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    id: HoldId,
    scope: HoldScope,
    matter: Label,
    placed: UnixMillis,
    placed_by: Actor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    released: Option<Release>,
}

/// Why a hold is not placed or released.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HoldRefusal {
    /// Nothing was said about the matter.
    #[error("a hold names its matter: a case number, a regulator's letter")]
    NoMatter,
    /// It was released before.
    #[error("the hold was released on {at}")]
    Released {
        /// When.
        at: UnixMillis,
    },
    /// No reason was given.
    #[error("releasing a hold needs a reason")]
    NoReason,
}

impl Hold {
    /// A hold in force.
    ///
    /// # Errors
    /// [`HoldRefusal::NoMatter`].
    pub fn place(id: HoldId, scope: HoldScope, matter: Label, by: Actor, now: UnixMillis) -> Result<Self, HoldRefusal> {
        if matter.is_empty() {
            return Err(HoldRefusal::NoMatter);
        }
        Ok(Self { id, scope, matter, placed: now, placed_by: by, released: None })
    }

    /// The hold as it is once released.
    ///
    /// # Errors
    /// [`HoldRefusal::Released`] when it was before, [`HoldRefusal::NoReason`].
    pub fn release(&self, release: Release) -> Result<Self, HoldRefusal> {
        if let Some(before) = &self.released {
            return Err(HoldRefusal::Released { at: before.at });
        }
        if release.reason.is_empty() {
            return Err(HoldRefusal::NoReason);
        }
        Ok(Self { released: Some(release), ..self.clone() })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> HoldId {
        self.id
    }

    /// What it covers.
    #[must_use]
    pub fn scope(&self) -> HoldScope {
        self.scope
    }

    /// The case it is for.
    #[must_use]
    pub fn matter(&self) -> &Label {
        &self.matter
    }

    /// When it was placed.
    #[must_use]
    pub fn placed(&self) -> UnixMillis {
        self.placed
    }

    /// By whom.
    #[must_use]
    pub fn placed_by(&self) -> &Actor {
        &self.placed_by
    }

    /// How it ended, if it did.
    #[must_use]
    pub fn released(&self) -> Option<&Release> {
        self.released.as_ref()
    }

    /// True until it is released.
    #[must_use]
    pub fn is_in_force(&self) -> bool {
        self.released.is_none()
    }
}

impl FiledRecord for Hold {
    const TABLE: Table = Table::Holds;

    fn row_id(&self) -> RowId {
        self.id.into()
    }

    fn parent(&self) -> String {
        match self.scope {
            HoldScope::Key(key) => key.to_string(),
            HoldScope::Keyring(keyring) => keyring.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn actor(name: &str) -> Actor {
        Actor::new(name.parse().unwrap(), None)
    }

    fn key(n: u8) -> KeyId {
        KeyId::from_bytes([n; 16])
    }

    fn ring(n: u8) -> KeyringId {
        KeyringId::from_bytes([n; 16])
    }

    fn release(at: UnixMillis, reason: &str) -> Release {
        Release { at, by: actor("lou"), reason: reason.parse().unwrap(), approval: None }
    }

    fn place(scope: HoldScope) -> Hold {
        let matter = "2026-cv-1".parse().unwrap();
        Hold::place(HoldId::new(NOW, [1; 10]), scope, matter, actor("lee"), NOW).unwrap()
    }

    #[test]
    fn a_hold_names_a_matter_and_its_release_a_reason() {
        let scope = HoldScope::Key(key(1));
        let unnamed = Hold::place(HoldId::new(NOW, [1; 10]), scope, Label::default(), actor("lee"), NOW);
        assert_eq!(unnamed, Err(HoldRefusal::NoMatter));
        let hold = place(scope);
        assert_eq!(hold.release(release(NOW, "")), Err(HoldRefusal::NoReason));
        let released = hold.release(release(NOW, "case closed")).unwrap();
        assert!(hold.is_in_force() && !released.is_in_force());
        assert_eq!(released.release(release(NOW, "again")), Err(HoldRefusal::Released { at: NOW }));
    }

    #[test]
    fn the_stored_form_round_trips_and_knows_no_other_fields() {
        let hold = place(HoldScope::Keyring(ring(1))).release(release(NOW, "done")).unwrap();
        let text = serde_json::to_string(&hold).unwrap();
        assert_eq!(serde_json::from_str::<Hold>(&text).unwrap(), hold);
        let more = text.replacen('{', "{\"more\":1,", 1);
        assert!(serde_json::from_str::<Hold>(&more).is_err());
    }

    proptest! {
        #[test]
        fn a_scope_covers_its_key_or_the_keys_of_its_ring_and_nothing_else(
            a in 0u8..4,
            b in 0u8..4,
            k in 0u8..4,
            r in 0u8..4,
        ) {
            prop_assert_eq!(HoldScope::Key(key(a)).covers(key(k), ring(r)), a == k);
            prop_assert_eq!(HoldScope::Keyring(ring(b)).covers(key(k), ring(r)), b == r);
        }
    }
}
