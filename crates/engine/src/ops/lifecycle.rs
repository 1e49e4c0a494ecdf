//! Moving a key through its states (SP 800-57 part 1 §7), and rotating it.

use keyreeve_model::key::{Cause, VersionRecord};
use keyreeve_model::metadata::Label;
use keyreeve_model::{Change, KeyRecord, UnixMillis, Usage};

use super::KeyReply;
use super::forms::{CompromiseForm, ReasonForm, written};
use super::keys::{Wanted, generate, keep, save};
use super::usable::key_row;
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::Error;
use crate::keys::KeyRef;
use crate::pipeline::{Approved, Operation, Outcome, Permit, Target};

/// Activates a key or lifts its suspension.
#[derive(Debug)]
pub struct Activate {
    /// The key.
    pub key: KeyRef,
    /// Why.
    pub reason: Label,
}

/// Halts all use of a key for a time.
#[derive(Debug)]
pub struct Suspend {
    /// The key.
    pub key: KeyRef,
    /// Let it go on processing what it protected before; the risk of that is accepted.
    pub risk_accepted: bool,
    /// Why.
    pub reason: Label,
}

/// Ends protection with a key.
#[derive(Debug)]
pub struct Deactivate {
    /// The key.
    pub key: KeyRef,
    /// Why.
    pub reason: Label,
}

/// Records that a key, or one version of it, may be known to others.
#[derive(Debug)]
pub struct Compromise {
    /// The key.
    pub key: KeyRef,
    /// The version; all of them unless said.
    pub version: Option<u32>,
    /// Let data still be processed; the risk of that is accepted.
    pub risk_accepted: bool,
    /// Why.
    pub reason: Label,
}

macro_rules! transition {
    ($operation:ident, $descriptor:ident, $form:expr, |$self_:ident, $record:ident, $cause:ident| $change:expr) => {
        impl Operation for $operation {
            const DESCRIPTOR: &'static Descriptor = &catalogue::$descriptor;
            type Reply = KeyReply;

            fn target(&self) -> Target<'_> {
                Target::Key(&self.key)
            }

            fn form(&self) -> Option<serde_json::Value> {
                let form: fn(&Self) -> Option<serde_json::Value> = $form;
                form(self)
            }

            fn reason(&self) -> Option<&Label> {
                Some(&self.reason)
            }

            fn widens(&self, permit: &Permit<Self>, core: &Core) -> Result<bool, Error> {
                let Some(key) = permit.resource().key() else { return Ok(true) };
                let ($self_, mut $record) = (self, key.record.clone());
                let (by, reason, now) = (permit.asker().clone(), self.reason.clone(), core.now()?);
                let $cause = Cause { by, reason, now };
                // What the key's state does not allow is refused later, and widens nothing.
                Ok($change.is_ok() && lets_more(&key.record, &$record, now))
            }

            async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<KeyReply>, Error> {
                let key = approved.key()?;
                let ($self_, mut $record) = (self, key.record.clone());
                let $cause = approved.cause(&self.reason);
                let from = $record.state(approved.now());
                $change?;
                let to = $record.state(approved.now());
                let outcome = save(core, key, &$record, approved.now())?;
                Ok(outcome.detail("from", from).detail("to", to).detail("reason", &self.reason))
            }
        }
    };
}

fn said(reason: &Label) -> Option<serde_json::Value> {
    written(&ReasonForm { reason: reason.clone() })
}

transition!(Activate, KEY_ACTIVATE, |this| said(&this.reason), |_this, record, cause| record.activate(&cause));
transition!(Suspend, KEY_SUSPEND, |_| None, |this, record, cause| record.suspend(this.risk_accepted, &cause));
transition!(Deactivate, KEY_DEACTIVATE, |this| said(&this.reason), |_this, record, cause| record.deactivate(&cause));
transition!(Compromise, KEY_COMPROMISE, |this| written(&CompromiseForm::from(this)), |this, record, cause| record
    .compromise(this.version, this.risk_accepted, &cause));

/// Whether a key can be used for something that it could not be used for before: not only activating it leads there. A
/// suspension ends with a deactivation too, and data that a compromise halted is processed again where the risk of it
/// is accepted.
fn lets_more(before: &KeyRecord, after: &KeyRecord, now: UnixMillis) -> bool {
    let can = |record: &KeyRecord, version, usage| record.permit(version, usage, now).is_ok();
    let more = |version, usage| can(after, version, usage) && !can(before, version, usage);
    let mut versions = after.versions().iter().map(VersionRecord::version);
    versions.any(|version| more(version, Usage::Apply) || more(version, Usage::Process))
}

/// Makes a new version of a key; older versions go on processing (requirement R2).
#[derive(Debug)]
pub struct Rotate {
    /// The key.
    pub key: KeyRef,
    /// Why.
    pub reason: Label,
}

fn can_rotate(approved: &Approved<Rotate>, core: &Core) -> Result<(), Error> {
    let record = &approved.key()?.record;
    record.can_rotate(approved.now())?;
    if !record.protection().is_software() {
        let under = &approved.key()?.keyring.record.roots;
        core.ports.roots.device_for(under, record.algorithm(), record.purpose())?;
    }
    if core.settings.algorithms.may_create(record.algorithm(), approved.now().0) {
        return Ok(());
    }
    Err(super::usable::not_allowed(record.algorithm()))
}

impl Operation for Rotate {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEY_ROTATE;
    type Reply = KeyReply;

    fn target(&self) -> Target<'_> {
        Target::Key(&self.key)
    }

    fn form(&self) -> Option<serde_json::Value> {
        written(&ReasonForm { reason: self.reason.clone() })
    }

    fn reason(&self) -> Option<&Label> {
        Some(&self.reason)
    }

    /// Without making the version.
    async fn rehearse(&self, approved: &Approved<Self>, core: &Core) -> Result<bool, Error> {
        can_rotate(approved, core).map(|()| true)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<KeyReply>, Error> {
        let (key, now) = (approved.key()?, approved.now());
        can_rotate(approved, core)?;
        let opened = core.need_open()?;
        let cause = approved.cause(&self.reason);
        let mut record = key.record.clone();
        let (algorithm, purpose, protection) = (record.algorithm(), record.purpose(), record.protection());
        let wanted = Wanted { keyring: &key.keyring, key: record.id(), algorithm, purpose, protection };
        let fresh = generate(core, &opened, &wanted, (&cause.by, &self.reason)).await?;
        let (old, new) = (record.primary(), record.rotate(fresh.version.clone(), &cause)?);
        let outcome = Outcome::reply(KeyReply::of(&record, &key.keyring, now)).changing(Change::PutKey(key_row(
            &opened,
            &record,
            key.revision.next(),
            now,
        )));
        let outcome = keep(core, &opened, (&key.keyring, &record, new), fresh, outcome).await?;
        let version = record.version(new)?;
        let outcome = match version.device() {
            Some(place) => outcome.detail("device", &place.root),
            None => outcome,
        };
        Ok(outcome
            .version(new)
            .detail("old_version", old)
            .detail("new_version", new)
            .detail("fingerprint", version.fingerprint())
            .detail("reason", &self.reason))
    }
}
