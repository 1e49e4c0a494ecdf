//! Deposits: the material of escrowed keys, wrapped for the escrow key, made with the material itself or brought in
//! line afterwards.

use keyreeve_crypto::Material;
use keyreeve_epochs::EpochId;
use keyreeve_model::escrow::{Deposit as DepositRecord, Sealed};
use keyreeve_model::filed::{file, unfile};
use keyreeve_model::record::Revision;
use keyreeve_model::{Change, KeyId, KeyRecord, Name, RowId, UnixMillis};
use keyreeve_secret::SecretBytes;
use keyreeve_store::Page;
use std::sync::Arc;

use super::super::replies::remember_as_json;
use super::super::usable::compute;
use super::super::{Listing, PAGE_MAX};
use super::Escrowing;
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::keys::{HeldKey, HeldKeyring, KeyRef};
use crate::pipeline::{Approved, Operation, Outcome, Target};
use crate::sealing::{Effect, Guard, Opened};

/// By whom and when something is deposited.
type Cause<'a> = (&'a Name, UnixMillis);

/// How the deposits of a key differ from what they should be.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    /// Versions whose deposit is missing, or stands under another escrow key or an epoch that is gone.
    pub(crate) lacking: Vec<u32>,
    /// Deposits that should not be.
    pub(crate) surplus: Vec<(DepositRecord, Revision)>,
    /// All deposits there are.
    pub(crate) present: Vec<(DepositRecord, Revision)>,
    /// Whether the key is escrowed.
    pub(crate) concerned: bool,
}

impl Difference {
    pub(crate) fn is_none(&self) -> bool {
        self.lacking.is_empty() && self.surplus.is_empty()
    }
}

impl Core {
    /// Compares the deposits of a key with what is escrowed. `escrowing` is nothing where no policy or no key is there;
    /// then nothing is asked for, and what there is stays unless the key itself is gone.
    pub(crate) async fn difference(
        &self,
        opened: &Opened,
        escrowing: Option<&Escrowing>,
        key: &HeldKey,
    ) -> Result<Difference, Error> {
        let record = &key.record;
        let present = self.filed_all::<DepositRecord>(opened, Some(&record.id().to_string())).await?;
        let named = |escrowing: &Escrowing| escrowing.policy.concerns(record, &key.keyring.record.name);
        let lives = record.versions().iter().any(|version| record.has_material(version.version()));
        let concerned = lives && escrowing.is_some_and(named);
        let epoch = self.newest_epoch(record.keyring(), record.shard());
        let wanted = |version: u32| concerned && record.has_material(version);
        let is_good = |deposit: &DepositRecord| {
            deposit.epoch == epoch && escrowing.is_some_and(|escrowing| escrowing.key.version == deposit.escrow)
        };
        let versions = record.versions().iter().map(|version| version.version()).filter(|version| wanted(*version));
        let lacking = versions
            .filter(|version| !present.iter().any(|(deposit, _)| deposit.version == *version && is_good(deposit)));
        // Whoever administers keys takes none out of escrow, by other labels or another class: only a policy does that
        // was set after the deposit was made.
        let taken_out =
            |deposit: &DepositRecord| !concerned && escrowing.is_some_and(|escrowing| deposit.at < escrowing.policy.at);
        let stays = |deposit: &DepositRecord| record.has_material(deposit.version) && !taken_out(deposit);
        let surplus = present.iter().filter(|(deposit, _)| !stays(deposit)).cloned().collect();
        Ok(Difference { lacking: lacking.collect(), surplus, present, concerned })
    }

    /// Makes a deposit. The epoch must stay until it is committed.
    async fn deposit(
        &self,
        opened: &Opened,
        (escrowing, keyring, epoch): (&Escrowing, &HeldKeyring, EpochId),
        (key, version, material): (KeyId, u32, &Material),
        (by, at): Cause<'_>,
    ) -> Result<DepositRecord, Error> {
        let escrow = escrowing.key.version;
        let context = DepositRecord::context(key, version, keyring.record.id, escrow);
        let (public, random, bound) = (escrowing.public.clone(), Arc::clone(&self.ports.random), context.clone());
        let bytes = material.serialize();
        let wrapped = compute(true, move || public.wrap(&random, &bound, &bytes)).await??;
        let wrapped = SecretBytes::from_vec(wrapped);
        let sealed = opened.hierarchy.seal_beside(&keyring.record, epoch, &context, &wrapped).await?;
        Ok(DepositRecord {
            key,
            version,
            keyring: keyring.record.id,
            shard: epoch.shard,
            epoch: epoch.epoch,
            algorithm: material.algorithm(),
            identity: opened.keys.identity(material)?,
            escrow,
            sealed: Sealed(sealed),
            at,
            by: by.clone(),
        })
    }

    /// The deposit that goes with new material, in its transaction, where the key is escrowed. The epoch is the one the
    /// material is wrapped under.
    pub(crate) async fn deposit_new(
        &self,
        opened: &Opened,
        (keyring, record, epoch): (&HeldKeyring, &KeyRecord, u64),
        (version, material): (u32, &Material),
        cause: Cause<'_>,
    ) -> Result<Option<Change>, Error> {
        let Some(escrowing) = self.escrowing(opened).await? else { return Ok(None) };
        if !escrowing.policy.concerns(record, &keyring.record.name) {
            return Ok(None);
        }
        let epoch = EpochId { keyring: keyring.record.id, shard: record.shard(), epoch };
        let of = (record.id(), version, material);
        let deposit = self.deposit(opened, (&escrowing, keyring, epoch), of, cause).await?;
        Ok(Some(file(&opened.keys, Revision::FIRST, &deposit)))
    }

    /// What takes the deposits of a key away, all or those of some versions: destroyed material is in no escrow.
    pub(crate) async fn deposits_gone(
        &self,
        opened: &Opened,
        key: KeyId,
        goes: impl Fn(u32) -> bool,
    ) -> Result<Vec<Change>, Error> {
        let all = self.filed_all::<DepositRecord>(opened, Some(&key.to_string())).await?;
        let gone = all.iter().filter(|(deposit, _)| goes(deposit.version));
        Ok(gone.map(|(deposit, revision)| unfile(*revision, deposit)).collect())
    }
}

/// Brings the deposits of a key in line with what is escrowed: makes what is missing, removes what should not be.
#[derive(Debug)]
pub struct Deposit {
    /// The key.
    pub key: KeyRef,
}

/// What was done.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct DepositReply {
    /// The key.
    pub key: KeyId,
    /// The version of the escrow key.
    pub escrow: Option<u32>,
    /// Versions that were deposited.
    pub made: Vec<u32>,
    /// Versions whose deposit was as it should be.
    pub kept: Vec<u32>,
    /// Versions whose deposit was removed.
    pub removed: Vec<u32>,
    /// Versions whose material does not open here, so that no new deposit could be made.
    pub failed: Vec<u32>,
}

remember_as_json!(DepositReply);

impl Deposit {
    /// Whether anything can be deposited, for whoever asks; the server itself only does what there is to do.
    fn refuse_unnamed(escrowing: Option<&Escrowing>, found: &Difference) -> Result<(), Error> {
        if escrowing.is_none() {
            let text = "nothing is escrowed yet: `keyreeve escrow key make` makes a key to deposit under, and \
                        `keyreeve escrow policy set` says what is";
            return Err(Error::new(Code::WrongState, text));
        }
        if !found.concerned && found.present.is_empty() {
            let text = "the escrow policy does not name this key, or it is destroyed, inside a device, or signs \
                        (private signature keys are never escrowed): `keyreeve escrow status` shows the policy";
            return Err(Error::new(Code::WrongState, text));
        }
        Ok(())
    }
}

/// Whether material is not there any more: it does not open, or was found so before.
fn is_lost(error: &Error) -> bool {
    matches!(error.code(), Code::Tampered | Code::Quarantined)
}

fn listed(versions: &[u32]) -> String {
    versions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

impl Operation for Deposit {
    const DESCRIPTOR: &'static Descriptor = &catalogue::ESCROW_DEPOSIT;
    type Reply = DepositReply;

    fn target(&self) -> Target<'_> {
        Target::Key(&self.key)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<DepositReply>, Error> {
        let (opened, key, now) = (core.need_open()?, approved.key()?, approved.now());
        let escrowing = core.escrowing(&opened).await?;
        // Held from before the material is read: what is destroyed meanwhile is not deposited afterwards.
        let (epoch, guard) = core.current_epoch(&opened, &key.keyring, key.record.shard()).await?;
        let found = core.difference(&opened, escrowing.as_ref(), key).await?;
        Self::refuse_unnamed(escrowing.as_ref(), &found)?;
        let by = &approved.principal().name;
        let (mut changes, mut made, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        for version in &found.lacking {
            let Some(escrowing) = &escrowing else { break };
            let material = match core.unwrap_material(key, *version).await {
                Ok(bytes) => Material::parse(key.record.algorithm(), bytes)?,
                // What there is of it in escrow may be all that is left of it.
                Err(error) if is_lost(&error) => {
                    failed.push(*version);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let of = (key.record.id(), *version, &material);
            let deposit = core.deposit(&opened, (escrowing, &key.keyring, epoch), of, (by, now)).await?;
            let known = found.present.iter().find(|(present, _)| present.version == *version);
            let revision = known.map_or(Revision::FIRST, |(_, revision)| revision.next());
            changes.push(file(&opened.keys, revision, &deposit));
            made.push(*version);
        }
        let mut removed = Vec::new();
        for (deposit, revision) in &found.surplus {
            // Nor is it taken away, whatever the policy says now.
            if key.record.has_material(deposit.version) {
                match core.unwrap_material(key, deposit.version).await {
                    Ok(_) => {}
                    Err(error) if is_lost(&error) => {
                        failed.push(deposit.version);
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            changes.push(unfile(*revision, deposit));
            removed.push(deposit.version);
        }
        let others = found.present.iter().map(|(deposit, _)| deposit.version);
        let kept = others.filter(|version| ![&made, &removed, &failed].iter().any(|these| these.contains(version)));
        let kept = kept.collect();
        let escrow = escrowing.map(|escrowing| escrowing.key.version);
        let reply = DepositReply { key: key.record.id(), escrow, made, kept, removed, failed };
        Ok(answered(reply, changes, guard))
    }
}

fn answered(reply: DepositReply, changes: Vec<Change>, guard: Guard) -> Outcome<DepositReply> {
    let (made, removed, failed) = (listed(&reply.made), listed(&reply.removed), listed(&reply.failed));
    let escrow = reply.escrow;
    let mut outcome = Outcome::reply(reply);
    outcome.changes = changes;
    if !outcome.changes.is_empty() {
        outcome = outcome.then(Effect::Hold(guard));
    }
    for (name, value) in [("deposited", made), ("removed", removed), ("not_opening", failed)] {
        if !value.is_empty() {
            outcome = outcome.detail(name, value);
        }
    }
    match escrow {
        Some(version) => outcome.detail("escrow_key", version),
        None => outcome,
    }
}

/// Lists deposits, by key and version.
#[derive(Debug)]
pub struct Deposits {
    /// Only deposits of this key.
    pub key: Option<KeyId>,
    /// Only deposits after this one.
    pub after: Option<(KeyId, u32)>,
    /// 1 to 1,000.
    pub limit: u32,
}

impl Operation for Deposits {
    const DESCRIPTOR: &'static Descriptor = &catalogue::ESCROW_DEPOSITS;
    type Reply = Listing<DepositRecord>;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, _approved: &Approved<Self>, core: &Core) -> Result<Outcome<Listing<DepositRecord>>, Error> {
        let opened = core.need_open()?;
        let after: Option<RowId> = self.after.map(|(key, version)| DepositRecord::row(key, version));
        let page = Page { after, limit: self.limit.clamp(1, PAGE_MAX) };
        let parent = self.key.map(|key| key.to_string());
        let (found, next) = core.filed_page::<DepositRecord>(&opened, parent.as_deref(), page).await?;
        let items: Vec<DepositRecord> = found.into_iter().map(|(deposit, _)| deposit).collect();
        let last = items.last().map(|deposit| format!("{}/{}", deposit.key, deposit.version));
        let count = items.len();
        Ok(Outcome::reply(Listing { items, next: next.and(last) }).detail("count", count))
    }
}
