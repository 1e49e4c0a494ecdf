//! New key-encryption keys, step by step: rotating the KEK of a keyring (requirement R3), and moving keyrings and the
//! server's own secret from one root of trust to another (requirement T5).
//!
//! A keyring gets a KEK of a new version; from then on new epochs come under it. Shard by shard the material there is
//! comes under a new epoch, and the former ones are erased: every request finds its key, before, meanwhile and
//! afterwards. When no epoch is under an older KEK, those are taken away. What the former root of trust had wrapped
//! then opens nothing that is in use, nor anything that is stored later, whoever kept a copy of the vault.

use keyreeve_epochs::EpochId;
use keyreeve_model::job::{Job, JobWork, Rekey, RekeyPlace, RekeyScope};
use keyreeve_model::record::{Table, seal};
use keyreeve_model::roots::InvalidRoots;
use keyreeve_model::{Change, KeyringId, KeyringRecord, Label, Name, RootUse, Wrapped};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
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
            core.check_roots(under).await?;
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
        core.check_roots(&self.to).await?;
        let from = self.from.as_ref().map_or_else(|| "everything".to_owned(), ToString::to_string);
        if self.from.as_ref().is_some_and(|from| self.to.names(from)) {
            let text = format!("`{from}` is among the roots to move to: nothing would be away from it afterwards");
            return Err(Error::invalid(text));
        }
        core.check_targets(&self.scope(), &self.to).await?;
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

/// What comes under which roots. One root that is left takes only itself out of a set: the others stay.
fn target(current: &RootUse, scope: &RekeyScope, to: &RootUse) -> Result<RootUse, InvalidRoots> {
    match scope {
        RekeyScope::Root(from) => current.replacing(from, to),
        RekeyScope::Keyring(_) | RekeyScope::Everything => Ok(to.clone()),
    }
}

/// Why something cannot come under other roots, and how it can.
fn refused(what: &str, keyring: Option<&Name>, refused: &InvalidRoots) -> Error {
    let next = keyring.map_or_else(
        || "`keyreeve root migrate` without `--from` brings everything under the roots that `--to` names".to_owned(),
        |name| format!("say what it shall be under with `keyreeve keyring rotate-kek {name} --root NAME` first"),
    );
    Error::new(Code::WrongState, format!("{what}: {refused}; {next}"))
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
            self.check_roots(to).await?;
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
                JobWork::Backup(_) | JobWork::Scan(_) => false,
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
        let mut wanted = BTreeSet::new();
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

    /// Refuses a move that would bring something under roots that do not keep it well enough, or would make another
    /// kind of set of several roots.
    async fn check_targets(&self, scope: &RekeyScope, to: &RootUse) -> Result<(), Error> {
        let deployment = self.need_open()?.rooted();
        let own = target(&deployment.system_secret.under(), scope, to);
        let _ = own.map_err(|error| refused("the server's own secret", None, &error))?;
        self.each_keyring(|keyring| {
            if !concerns(keyring, scope) {
                return Ok(());
            }
            self.check_custody(keyring.classification, &self.target_of(keyring, scope, to)?)
        })
        .await
    }

    /// What a keyring comes under.
    fn target_of(&self, keyring: &KeyringRecord, scope: &RekeyScope, to: &RootUse) -> Result<RootUse, Error> {
        let named = target(&keyring.roots, scope, to);
        named.map_err(|error| refused(&format!("the keyring `{}`", keyring.name), Some(&keyring.name), &error))
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
        let under = match &rekey.to {
            Some(to) => core.target_of(record, &rekey.scope, to)?,
            None => current.map(|kek| kek.wrapped.under()).unwrap_or_default(),
        };
        let joined = Arc::clone(&core.rooting).read_owned().await;
        core.check_roots(&under).await?;
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

    /// Gives the next shard that has something under an older KEK an epoch under the newest one; takes the older KEKs
    /// away when there is none.
    async fn sweep(self, rekey: &Rekey, keyring: &HeldKeyring) -> Result<Outcome<JobReply>, Error> {
        let (record, place) = (&keyring.record, &rekey.place);
        if record.current_kek().is_none_or(|kek| kek.version != place.version) {
            let text = "the keyring has got another key-encryption key since: cancel the job, and begin anew";
            return Err(Error::new(Code::WrongState, text));
        }
        let epochs = self.epochs(record.id).await?;
        let ahead =
            epochs.iter().map(|id| id.shard).filter(|shard| place.after.is_none_or(|(after, _)| *shard > after));
        for shard in ahead.collect::<BTreeSet<_>>() {
            // Held as by a destruction: no copy is made of what is half-way, and nobody adds material.
            let no_copy = Arc::clone(&self.core.backing).read_owned().await;
            let alone = self.core.shard_lock(record.id, shard).write_owned().await;
            let epochs = self.epochs(record.id).await?;
            let old = self.core.epochs_to_renew(&self.opened, &epochs, (shard, place.version)).await?;
            if !old.is_empty() {
                let (no_copy, alone) = (Guard::Shared(no_copy), Guard::Exclusive(alone));
                return self.renew(rekey, keyring, &old, [no_copy, alone]).await;
            }
        }
        self.take_old_ones_away(rekey, keyring).await
    }

    async fn renew(
        self,
        rekey: &Rekey,
        keyring: &HeldKeyring,
        old: &[EpochId],
        held: [Guard; 2],
    ) -> Result<Outcome<JobReply>, Error> {
        let (record, version) = (&keyring.record, rekey.place.version);
        // No KEK is taken away while something is brought under one.
        let keks = self.opened.hierarchy.kek_lock(record.id).read_owned().await;
        let renewed = self.core.renew_shard(&self.opened, record, old, version).await?;
        let next = renewed.next;
        let place = RekeyPlace { after: Some((next.shard, next.epoch)), ..rekey.place.clone() };
        let mut outcome = self.goes_on(rekey, place, old.len() as u64)?;
        outcome = outcome.then(Effect::EraseEpochs { old: renewed.old, next }).then(Effect::Hold(Guard::Shared(keks)));
        for guard in held {
            outcome = outcome.then(Effect::Hold(guard));
        }
        Ok(outcome
            .detail("keyring", &record.name)
            .detail("shard", next.shard)
            .detail("epoch", next.epoch)
            .detail("rewrapped", renewed.rows)
            .detail("epochs_kept", renewed.kept))
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
        core.check_roots(to).await?;
        outcome = outcome.then(Effect::Hold(Guard::Shared(joined)));
        let comes_under = |wrapped: &Wrapped| {
            let named = target(&wrapped.under(), &rekey.scope, to);
            named.map_err(|error| refused("the key of the backups", None, &error))
        };
        outcome.changes.extend(core.rewrapped_backup_keys(&self.opened, moves, comes_under).await?);
        if !moves(&deployment.system_secret) {
            return Ok(outcome.detail("own_secret", "unchanged"));
        }
        let (context, roots) = (system_context(&id), &core.ports.roots);
        let secret = roots.unwrap(&deployment.system_secret, &context).await?;
        let under = target(&deployment.system_secret.under(), &rekey.scope, to);
        let under = under.map_err(|error| refused("the server's own secret", None, &error))?;
        core.check_roots(&under).await?;
        let wrapped = roots.wrap(&under, &context, &secret, &core.ports.random).await?;
        let mut deployment = deployment;
        deployment.system_secret = wrapped;
        let sealed = seal(&self.opened.keys, Table::Deployment, id.as_bytes(), revision.next(), &deployment);
        Ok(outcome
            .changing(Change::PutDeployment(sealed))
            .then(Effect::Rooted(Box::new(deployment)))
            .detail("own_secret", under))
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
