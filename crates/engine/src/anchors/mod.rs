//! Anchors: the server compares itself with what they remember before it opens, and lets them remember more while it
//! works (requirement T8).
//!
//! - here: which anchors there are, and how the server stands towards them
//! - `comparing`: whether the store or the log is older than an anchor knows; what is done then
//! - `stepping`: moving anchors on, first in the store and then in the anchor
//! - `telling`: how each anchor does, and people told of those that do not
//! - `leaving`: going on after people agreed: counters of keys jump ahead, anchors are taken as they stand
//!
//! A server that is older than an anchor is *held*: it is open as far as people must be known and heard to decide what
//! becomes of it, and nothing else is done, not for anybody and not by itself. It signs nothing meanwhile: whatever log
//! it has is not told to be the deployment's.

mod comparing;
mod leaving;
mod stepping;
mod telling;

use keyreeve_crypto::digest::sha256;
use keyreeve_model::anchor::{AnchorRecord, Discord, Taken};
use keyreeve_model::{Name, UnixMillis};
use keyreeve_root::{Anchor, AnchorError};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
pub(crate) use stepping::Which;

use crate::catalogue::{self, Descriptor};
use crate::core::{Core, Engine};
use crate::error::{Code, Error};

/// An anchor, and what an operator decides about it.
pub struct AnchorAt {
    /// The anchor.
    pub anchor: Arc<dyn Anchor>,
    /// How often it is moved on while something happens.
    pub every: Duration,
    /// After how many entries of the audit log it is moved on earlier.
    pub entries: u64,
    /// Whether the server stays closed until it was heard from.
    pub required: bool,
}

/// The anchors with what goes on.
pub(crate) struct Anchors {
    pub(crate) places: BTreeMap<Name, AnchorAt>,
    /// One at a time looks at them or moves them on.
    one: tokio::sync::Mutex<()>,
    /// Those that do not do what they are asked, and why.
    troubles: Mutex<BTreeMap<Name, String>>,
}

/// That the server is older than an anchor remembers, or does not fit it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RolledBack {
    found: Vec<(Name, &'static str, Discord)>,
}

impl RolledBack {
    /// What is wrong, for people: a sentence for each anchor.
    pub(crate) fn told(&self) -> Vec<String> {
        self.found.iter().map(|(name, kind, discord)| format!("{name} ({kind}): {discord}")).collect()
    }

    /// The anchors that have something against it.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.found.iter().map(|(name, ..)| name.as_str()).collect()
    }

    /// Whether people may agree that it goes on.
    pub(crate) fn refuse_unacceptable(&self) -> Result<(), Error> {
        let Some((name, ..)) = self.found.iter().find(|(.., discord)| !discord.can_be_accepted()) else {
            return Ok(());
        };
        let text = format!(
            "the anchor `{name}` holds what is not of this deployment: lead its configuration elsewhere, or take away \
             what lies there, and start the server again"
        );
        Err(Error::new(Code::WrongState, text))
    }

    /// A number that is another one for other findings: consent to one is none to another. Of a log that is too short
    /// it is the length that it should have, for it grows with every vote.
    pub(crate) fn number(&self) -> i64 {
        let part = |(name, _, discord): &(Name, &str, Discord)| match discord {
            Discord::LogShort { had, .. } => format!("{name}: log of {had}\n"),
            other => format!("{name}: {other}\n"),
        };
        let digest = sha256(self.found.iter().map(part).collect::<String>().as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        // Numbers in forms of requests have 53 bits.
        i64::from_be_bytes(first) & ((1 << 53) - 1)
    }

    pub(crate) fn refusal(&self) -> Error {
        let text = format!(
            "the server is older than its anchors remember, and does nothing until people have decided: {}; \
             `keyreeve system info` tells more, docs/operations.md (Anchors) what to do",
            self.told().join("; ")
        );
        Error::new(Code::RolledBack, text)
    }
}

/// How the server stands towards an anchor.
#[derive(Clone, Debug)]
pub struct AnchorState {
    /// Its name.
    pub name: Name,
    /// Its kind.
    pub kind: &'static str,
    /// Where it is.
    pub place: String,
    /// Whether the server stays closed until it was heard from.
    pub required: bool,
    /// What the server expects of it, if it was ever moved on.
    pub known: Option<AnchorRecord>,
    /// Why it does not do what it is asked, if so.
    pub trouble: Option<String>,
}

/// What is done while the server is held: letting people be known, letting them look and decide.
const WHILE_HELD: &[&Descriptor] = &[
    &catalogue::SYSTEM_SEAL,
    &catalogue::SYSTEM_INFO,
    &catalogue::SYSTEM_ROLLED_BACK,
    &catalogue::SYSTEM_ACCEPT_ROLLBACK,
    &catalogue::LOGIN_METHODS,
    &catalogue::LOGIN_OIDC_START,
    &catalogue::LOGIN_OIDC_FINISH,
    &catalogue::LOGIN_LDAP,
    &catalogue::LOGIN_CERTIFICATE,
    &catalogue::MFA_STATUS,
    &catalogue::MFA_CHALLENGE,
    &catalogue::MFA_VERIFY,
    &catalogue::TOKEN_SELF,
    &catalogue::TOKEN_REVOKE_SELF,
    &catalogue::APPROVAL_LIST,
    &catalogue::APPROVAL_DESCRIBE,
    &catalogue::APPROVAL_VOTE,
    &catalogue::APPROVAL_WITHDRAW,
    &catalogue::APPROVAL_EXECUTE,
    &catalogue::RULES_DESCRIBE,
    &catalogue::NOTICE_LIST,
    &catalogue::AUDIT_SEARCH,
];

impl Engine {
    /// Says which anchors there are; once, before the engine is started. Without it there are none, and nothing outside
    /// of the server's own disks is looked at or touched: what is tried out on a copy must not be known to them.
    pub fn anchor_to(&self, places: BTreeMap<Name, AnchorAt>) {
        let anchors = Anchors { places, one: tokio::sync::Mutex::default(), troubles: Mutex::default() };
        // A second call changes nothing: anchors belong to a running server like its store.
        let _ = self.core.anchors.set(anchors);
    }

    /// What keeps the server from working although its root of trust is open: that it is older than an anchor.
    #[must_use]
    pub fn rolled_back(&self) -> Option<Vec<String>> {
        self.core.held().map(|held| held.told())
    }
}

impl Core {
    /// That the server is older than an anchor remembers.
    pub(crate) fn held(&self) -> Option<Arc<RolledBack>> {
        self.rolled_back.load_full()
    }

    /// Refuses what is not done while the server is held.
    pub(crate) fn refuse_while_held(&self, row: &Descriptor) -> Result<(), Error> {
        match self.held() {
            Some(held) if !WHILE_HELD.contains(&row) => Err(held.refusal()),
            _ => Ok(()),
        }
    }

    /// Refuses anchors that somebody else uses, for a deployment that is not there yet.
    pub(crate) async fn refuse_used_anchors(&self) -> Result<(), Error> {
        for (name, place) in self.anchors.get().iter().flat_map(|anchors| &anchors.places) {
            let held = place.anchor.read().await.map_err(|error| unavailable(name, &error))?;
            if held.statement.is_some() {
                let text = format!(
                    "the anchor `{name}` ({}) is of another deployment, or of one that was here before: lead \
                     `anchors.{name}` in the configuration elsewhere, or take away what lies there",
                    place.anchor.place()
                );
                return Err(Error::new(Code::WrongState, text));
            }
        }
        Ok(())
    }

    /// What the store says of each anchor that is to be taken as it stands.
    pub(crate) fn taking_anchors(&self, why: Taken, at: UnixMillis) -> Vec<AnchorRecord> {
        let names = self.anchors.get().into_iter().flat_map(|anchors| anchors.places.keys());
        names.map(|name| AnchorRecord::taking(name.clone(), why, at)).collect()
    }
}

fn unavailable(name: &Name, error: &AnchorError) -> Error {
    let text = format!(
        "the anchor `{name}` does not answer, and the server does not open before it was heard from ({error}): see \
         that it is there, or say `required = false` in `[anchors.{name}]`"
    );
    Error::new(Code::AnchorUnavailable, text)
}

impl Anchors {
    /// Notes that an anchor does not do what it is asked. True when that is news.
    fn note(&self, name: &Name, why: impl fmt::Display) -> bool {
        self.troubles.lock().insert(name.clone(), why.to_string()).is_none()
    }

    fn is_well(&self, name: &Name) {
        if self.troubles.lock().remove(name).is_some() {
            tracing::info!(anchor = %name, "an anchor answers again");
        }
    }

    /// Why anchors do not do what they are asked, if so.
    fn ills(&self) -> Vec<(Name, String)> {
        self.troubles.lock().iter().map(|(name, why)| (name.clone(), why.clone())).collect()
    }

    /// Why an anchor does not do what it is asked, if so.
    pub(crate) fn trouble_of(&self, name: &Name) -> Option<String> {
        self.troubles.lock().get(name).cloned()
    }
}
