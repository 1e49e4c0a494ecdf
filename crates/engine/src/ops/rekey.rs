//! New key-encryption keys, step by step: rotating the KEK of a keyring (requirement R3), and moving keyrings and the
//! server's own secret from one root of trust to another (requirement T5).
//!
//! A keyring gets a KEK of a new version; from then on new epochs come under it. The epochs there are come under it one
//! after the other: the same epoch keys, so that nothing beneath them changes and every request finds them, before,
//! meanwhile and afterwards. When none is under an older KEK, those are taken away: what the former root of trust had
//! wrapped opens nothing that is in use.

use keyreeve_epochs::EpochId;
use keyreeve_model::job::{Job, JobWork, Rekey, RekeyPlace, RekeyScope};
use keyreeve_model::record::{Table, seal};
use keyreeve_model::{Change, KeyringId, KeyringRecord, Label, Name, RootUse, Wrapped};
use serde::{Deserialize, Serialize};
use std::ops::Deref;
use std::sync::Arc;

use super::jobs::{Beginning, JobReply, Stepping};
use super::keyrings::keyring_row;
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::keys::{HeldKeyring, KeyringRef, new_kek};
use crate::pipeline::{Approved, Operation, Outcome, Target};
use crate::running::system_context;
use crate::sealing::{Effect, Guard, Opened};

/// Epochs brought under a new KEK in one step.
const EPOCHS_AT_ONCE: usize = 64;

/// Makes a new KEK for a keyring and brings everything beneath the former ones under it, as a job.
#[derive(Debug)]
pub struct RotateKek {
    /// The keyring.
    pub keyring: KeyringRef,
    /// The roots of trust that wrap the new one; those of the former unless said.
    pub roots: Option<RootUse>,
    /// Epochs in a second at most; 0 for as fast as it goes.
    pub pace: u32,
    /// Why.
    pub reason: Label,
}

/// A rotation that waits for consent.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RekeyForm {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<RekeyScope>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) roots: Option<RootUse>,
    pub(crate) pace: u32,
    pub(crate) reason: Label,
}

impl Operation for RotateKek {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEYRING_ROTATE_KEK;
    type Reply = JobReply;

    fn target(&self) -> Target<'_> {
        Target::Keyring(&self.keyring)
    }

    fn form(&self) -> Option<serde_json::Value> {
        let (roots, reason) = (self.roots.clone(), self.reason.clone());
        super::forms::written(&RekeyForm { scope: None, roots, pace: self.pace, reason })
    }

    fn reason(&self) -> Option<&Label> {
        Some(&self.reason)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<JobReply>, Error> {
        let keyring = approved.resource().keyring()?.record.clone();
        if let Some(under) = &self.roots {
            core.check_roots(under)?;
            core.check_custody(keyring.classification, under)?;
        }
        let scope = RekeyScope::Keyring(keyring.id);
        let outcome = core.begin_rekey(approved, (scope, self.roots.clone()), &self.reason, self.pace).await?;
        let roots = self.roots.as_ref().unwrap_or(&keyring.roots).to_string();
        Ok(outcome.detail("roots", roots).detail("reason", &self.reason))
    }
}

/// Moves what roots of trust wrap to others, as a job: every keyring under the named root, or every one there is, and
/// the server's own secret.
#[derive(Debug)]
pub struct MigrateRoots {
    /// What is under this root; everything unless said.
    pub from: Option<Name>,
    /// The roots it comes under.
    pub to: RootUse,
    /// Epochs in a second at most; 0 for as fast as it goes.
    pub pace: u32,
    /// Why.
    pub reason: Label,
}

impl MigrateRoots {
    fn scope(&self) -> RekeyScope {
        self.from.clone().map_or(RekeyScope::Everything, RekeyScope::Root)
    }
}

impl Operation for MigrateRoots {
    const DESCRIPTOR: &'static Descriptor = &catalogue::ROOT_MIGRATE;
    type Reply = JobReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    fn form(&self) -> Option<serde_json::Value> {
        let (scope, roots) = (Some(self.scope()), Some(self.to.clone()));
        super::forms::written(&RekeyForm { scope, roots, pace: self.pace, reason: self.reason.clone() })
    }

    fn reason(&self) -> Option<&Label> {
        Some(&self.reason)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<JobReply>, Error> {
        core.check_roots(&self.to)?;
        let from = self.from.as_ref().map_or_else(|| "everything".to_owned(), ToString::to_string);
        if self.from.as_ref().is_some_and(|from| self.to.names(from)) {
            let text = format!("`{from}` is among the roots to move to: nothing would be away from it afterwards");
            return Err(Error::invalid(text));
        }
        core.check_all_custody(&self.scope(), &self.to).await?;
        let scope = (self.scope(), Some(self.to.clone()));
        let outcome = core.begin_rekey(approved, scope, &self.reason, self.pace).await?;
        Ok(outcome.detail("from", from).detail("to", &self.to).detail("reason", &self.reason))
    }
}

fn concerns(keyring: &KeyringRecord, scope: &RekeyScope) -> bool {
    match scope {
        RekeyScope::Keyring(id) => keyring.id == *id,
        RekeyScope::Root(root) => keyring.roots.names(root) || keyring.keks.iter().any(|kek| kek.wrapped.names(root)),
        RekeyScope::Everything => true,
    }
}

impl Core {
    async fn begin_rekey<O: Operation>(
        &self,
        approved: &Approved<O>,
        (scope, to): (RekeyScope, Option<RootUse>),
        reason: &Label,
        pace: u32,
    ) -> Result<Outcome<JobReply>, Error> {
        let opened = self.need_open()?;
        let alone = Arc::clone(&self.rekeying).write_owned().await;
        let joined = Arc::clone(&self.rooting).read_owned().await;
        if let Some(to) = &to {
            self.check_roots(to)?;
        }
        self.refuse_second_rekey(&opened, &scope).await?;
        let total = self.epochs_of(&scope).await?;
        let keyring = match scope {
            RekeyScope::Keyring(id) => Some(id),
            RekeyScope::Root(_) | RekeyScope::Everything => None,
        };
        let work = JobWork::Rekey(Rekey { scope, to, place: RekeyPlace { keyring, ..RekeyPlace::default() } });
        let outcome = self.begin_job(&opened, approved, Beginning { work, total, pace, reason })?;
        Ok(outcome.then(Effect::Hold(Guard::Exclusive(alone))).then(Effect::Hold(Guard::Shared(joined))))
    }

    /// Two jobs that give the same keyring new KEKs would go on for ever, each undoing the other's.
    async fn refuse_second_rekey(&self, opened: &Opened, scope: &RekeyScope) -> Result<(), Error> {
        for (job, _) in self.filed_all::<Job>(opened, None).await? {
            let clashes = match job.work() {
                JobWork::Rekey(rekey) => {
                    !matches!((&rekey.scope, scope), (RekeyScope::Keyring(a), RekeyScope::Keyring(b)) if a != b)
                }
            };
            if job.ended().is_none() && clashes {
                let text = format!(
                    "the job {} gives new key-encryption keys already: wait for its end, or `keyreeve job cancel` it",
                    job.id()
                );
                return Err(Error::new(Code::WrongState, text));
            }
        }
        Ok(())
    }

    /// How many epochs a rekeying has to do with.
    async fn epochs_of(&self, scope: &RekeyScope) -> Result<u64, Error> {
        let mut wanted = std::collections::BTreeSet::new();
        self.each_keyring(|keyring| {
            if concerns(keyring, scope) {
                wanted.insert(keyring.id);
            }
            Ok(())
        })
        .await?;
        let epochs = self.ports.vault.list().await?;
        Ok(epochs.iter().filter(|epoch| wanted.contains(&epoch.keyring)).count() as u64)
    }

    async fn check_all_custody(&self, scope: &RekeyScope, to: &RootUse) -> Result<(), Error> {
        self.each_keyring(|keyring| {
            if concerns(keyring, scope) { self.check_custody(keyring.classification, to) } else { Ok(()) }
        })
        .await
    }
}

/// One step of a rekeying.
pub(super) struct Rekeying<'a>(pub(super) Stepping<'a>);

impl<'a> Deref for Rekeying<'a> {
    type Target = Stepping<'a>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Rekeying<'_> {
    pub(super) async fn step(self, rekey: &Rekey) -> Result<Outcome<JobReply>, Error> {
        let Some(id) = rekey.place.keyring else { return self.next_keyring(rekey).await };
        let keyring = self.core.find_keyring(&KeyringRef::Id(id)).await?;
        let keyring = keyring.ok_or_else(|| Error::not_found("keyring"))?;
        if rekey.place.version == 0 {
            self.new_version(rekey, &keyring).await
        } else {
            self.sweep(rekey, &keyring).await
        }
    }

    /// The KEK that everything comes under.
    async fn new_version(self, rekey: &Rekey, keyring: &HeldKeyring) -> Result<Outcome<JobReply>, Error> {
        let (record, core) = (&keyring.record, self.core);
        let current = record.current_kek();
        let under = rekey.to.clone().or_else(|| current.map(|kek| kek.wrapped.under())).unwrap_or_default();
        let joined = Arc::clone(&core.rooting).read_owned().await;
        core.check_roots(&under)?;
        core.check_custody(record.classification, &under)?;
        let version = current.map_or(1, |kek| kek.version + 1);
        let kek = new_kek(core, (record.id, version), &under, self.job.by(), self.approved.now()).await?;
        let mut keks = record.keks.clone();
        keks.push(kek);
        let changed = KeyringRecord { roots: under.clone(), keks, ..record.clone() };
        let place = RekeyPlace { version, after: None, ..rekey.place.clone() };
        let row = keyring_row(&self.opened, &changed, keyring.revision.next());
        Ok(self
            .goes_on(rekey, place, 0)?
            .changing(Change::PutKeyring(row))
            .then(Effect::Hold(Guard::Shared(joined)))
            .detail("keyring", &record.name)
            .detail("new_version", version)
            .detail("roots", under))
    }

    /// Brings some epochs under it, and takes the older KEKs away when it was the last of them.
    async fn sweep(self, rekey: &Rekey, keyring: &HeldKeyring) -> Result<Outcome<JobReply>, Error> {
        let (record, place) = (&keyring.record, &rekey.place);
        // No KEK is taken away while something is brought under one.
        let lock = self.opened.hierarchy.kek_lock(record.id);
        let shared = lock.read().await;
        if record.current_kek().is_none_or(|kek| kek.version != place.version) {
            let text = "the keyring has got another key-encryption key since: cancel the job, and begin anew";
            return Err(Error::new(Code::WrongState, text));
        }
        let mut epochs = self.epochs(record.id).await?;
        epochs.retain(|id| place.after.is_none_or(|after| (id.shard, id.epoch) > after));
        epochs.truncate(EPOCHS_AT_ONCE);
        for id in &epochs {
            self.opened.hierarchy.rewrap_epoch(record, *id, place.version).await?;
        }
        match epochs.last() {
            Some(last) => {
                let place = RekeyPlace { after: Some((last.shard, last.epoch)), ..place.clone() };
                let outcome = self.goes_on(rekey, place, epochs.len() as u64)?;
                Ok(outcome.detail("keyring", &record.name).detail("rewrapped", epochs.len()))
            }
            None => {
                drop(shared);
                self.take_old_ones_away(rekey, keyring).await
            }
        }
    }

    async fn epochs(&self, keyring: KeyringId) -> Result<Vec<EpochId>, Error> {
        let mut epochs = self.core.ports.vault.list().await?;
        epochs.retain(|id| id.keyring == keyring);
        Ok(epochs)
    }

    /// Whoever makes an epoch has looked for the newest KEK before and waits until this is stored, or looks again.
    async fn take_old_ones_away(self, rekey: &Rekey, keyring: &HeldKeyring) -> Result<Outcome<JobReply>, Error> {
        let (record, version) = (&keyring.record, rekey.place.version);
        let alone = self.opened.hierarchy.kek_lock(record.id).write_owned().await;
        if record.current_kek().is_none_or(|kek| kek.version != version) {
            return Err(Error::internal("key-encryption keys would be taken away for one that is not the newest"));
        }
        for id in self.epochs(record.id).await? {
            if !self.opened.hierarchy.is_under(id, version).await? {
                // Made under a former KEK by somebody who had looked before there was this one: once more.
                return self.goes_on(rekey, RekeyPlace { after: None, ..rekey.place.clone() }, 0);
            }
        }
        let old: Vec<_> = record.keks.iter().filter(|kek| kek.version < version).map(|kek| kek.version).collect();
        let keks = record.keks.iter().filter(|kek| kek.version >= version).cloned().collect();
        let changed = KeyringRecord { keks, ..record.clone() };
        let place = RekeyPlace { passed: Some(record.id), ..RekeyPlace::default() };
        let (row, id) = (keyring_row(&self.opened, &changed, keyring.revision.next()), record.id);
        let outcome = match rekey.scope {
            RekeyScope::Keyring(_) => self.finishes(rekey, place)?,
            RekeyScope::Root(_) | RekeyScope::Everything => self.goes_on(rekey, place, 0)?,
        };
        let old = old.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        Ok(outcome
            .changing(Change::PutKeyring(row))
            .then(Effect::ForgetKeks(id))
            .then(Effect::Hold(Guard::Exclusive(alone)))
            .detail("keyring", &record.name)
            .detail("version", version)
            .detail("old_versions", old))
    }

    /// The next keyring that has to do with it; after the last one the server's own secret.
    async fn next_keyring(self, rekey: &Rekey) -> Result<Outcome<JobReply>, Error> {
        let mut next = None;
        self.core
            .each_keyring(|keyring| {
                let ahead = rekey.place.passed.is_none_or(|passed| keyring.id > passed);
                if next.is_none() && ahead && concerns(keyring, &rekey.scope) {
                    next = Some(keyring.id);
                }
                Ok(())
            })
            .await?;
        match next {
            Some(id) => {
                let place = RekeyPlace { keyring: Some(id), version: 0, after: None, ..rekey.place.clone() };
                self.goes_on(rekey, place, 0)
            }
            None => self.own_secret(rekey).await,
        }
    }

    /// The server's own secret under the new roots; and the end, when nothing is left under the old one.
    async fn own_secret(self, rekey: &Rekey) -> Result<Outcome<JobReply>, Error> {
        if let Some(again) = self.left_behind(rekey).await? {
            return self.goes_on(rekey, again, 0);
        }
        let (core, place) = (self.core, rekey.place.clone());
        let joined = Arc::clone(&core.rooting).read_owned().await;
        let id = self.opened.deployment.id;
        let (deployment, revision) = core.deployment(&self.opened).await?;
        let moves = |wrapped: &Wrapped| match &rekey.scope {
            RekeyScope::Keyring(_) => false,
            RekeyScope::Root(root) => wrapped.names(root),
            RekeyScope::Everything => true,
        };
        let mut outcome = self.finishes(rekey, place)?;
        let Some(to) = &rekey.to else { return Ok(outcome.detail("own_secret", "unchanged")) };
        core.check_roots(to)?;
        outcome = outcome.then(Effect::Hold(Guard::Shared(joined)));
        outcome.changes.extend(core.rewrapped_backup_keys(&self.opened, moves, to).await?);
        if !moves(&deployment.system_secret) {
            return Ok(outcome.detail("own_secret", "unchanged"));
        }
        let (context, roots) = (system_context(&id), &core.ports.roots);
        let secret = roots.unwrap(&deployment.system_secret, &context).await?;
        let wrapped = roots.wrap(to, &context, &secret, &core.ports.random).await?;
        if !roots.unwrap(&wrapped, &context).await?.ct_eq(secret.expose()) {
            return Err(Error::internal("a root of trust unwrapped another secret than it had wrapped"));
        }
        let mut deployment = deployment;
        deployment.system_secret = wrapped;
        let sealed = seal(&self.opened.keys, Table::Deployment, id.as_bytes(), revision.next(), &deployment);
        Ok(outcome
            .changing(Change::PutDeployment(sealed))
            .then(Effect::Rooted(Box::new(deployment)))
            .detail("own_secret", to))
    }

    /// A keyring that came under the root after its turn was over: the round begins anew.
    async fn left_behind(&self, rekey: &Rekey) -> Result<Option<RekeyPlace>, Error> {
        let RekeyScope::Root(_) = rekey.scope else { return Ok(None) };
        let mut left = false;
        self.core
            .each_keyring(|keyring| {
                left |= concerns(keyring, &rekey.scope);
                Ok(())
            })
            .await?;
        Ok(left.then(RekeyPlace::default))
    }

    fn goes_on(&self, rekey: &Rekey, place: RekeyPlace, units: u64) -> Result<Outcome<JobReply>, Error> {
        self.0.goes_on(JobWork::Rekey(Rekey { place, ..rekey.clone() }), units)
    }

    fn finishes(&self, rekey: &Rekey, place: RekeyPlace) -> Result<Outcome<JobReply>, Error> {
        self.0.finishes(JobWork::Rekey(Rekey { place, ..rekey.clone() }))
    }
}
