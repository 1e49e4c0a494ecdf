//! Destroying keys: waiting period, cancellation, erasure, proof (requirement R8, decision 4).

use keyreeve_crypto::digest::sha256;
use keyreeve_epochs::EpochId;
use keyreeve_model::change::Change;
use keyreeve_model::destruction::{ErasedVersion, ScheduledDestruction};
use keyreeve_model::metadata::Label;
use keyreeve_model::record::{Revision, Table, open, seal};
use keyreeve_model::{DestructionRecord, KeyRecord, MaterialRow, UnixMillis};
use keyreeve_secret::SecretBytes;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::KeyReply;
use super::keys::save;
use super::usable::key_row;
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::keys::{HeldKey, KeyRef, wrapped_digest};
use crate::pipeline::{Approved, Operation, Outcome, Remember, Target};
use crate::sealing::{Effect, Guard, Opened};

/// What is checked after erasure, in the words of the destruction record.
const CHECKS: [&str; 3] = [
    "no material of any version is in the store",
    "the epoch key that wrapped it is not in the epoch vault",
    "decryption with the key is refused",
];

/// Starts the waiting period.
#[derive(Debug)]
pub struct Schedule {
    /// The key.
    pub key: KeyRef,
    /// 7 to 30 days.
    pub days: u32,
    /// Why.
    pub reason: Label,
}

impl Operation for Schedule {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEY_SCHEDULE_DESTRUCTION;
    type Reply = KeyReply;

    fn target(&self) -> Target<'_> {
        Target::Key(&self.key)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<KeyReply>, Error> {
        let key = approved.key()?;
        let mut record = key.record.clone();
        let due = record.schedule_destruction(self.days, &approved.cause(&self.reason))?;
        let outcome = save(core, key, &record, approved.now())?;
        Ok(outcome.detail("due", due).detail("days", self.days).detail("reason", &self.reason))
    }
}

/// Ends the waiting period; the key is as before.
#[derive(Debug)]
pub struct Cancel {
    /// The key.
    pub key: KeyRef,
    /// Why.
    pub reason: Label,
}

impl Operation for Cancel {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEY_CANCEL_DESTRUCTION;
    type Reply = KeyReply;

    fn target(&self) -> Target<'_> {
        Target::Key(&self.key)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<KeyReply>, Error> {
        let key = approved.key()?;
        let mut record = key.record.clone();
        let cancelled = record.cancel_destruction()?;
        let outcome = save(core, key, &record, approved.now())?;
        Ok(outcome.detail("was_due", cancelled.due).detail("reason", &self.reason))
    }
}

/// Erases all material of a key whose waiting period is over.
#[derive(Debug)]
pub struct Destroy {
    /// The key.
    pub key: KeyRef,
}

impl Operation for Destroy {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEY_DESTROY;
    type Reply = KeyReply;

    fn target(&self) -> Target<'_> {
        Target::Key(&self.key)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<KeyReply>, Error> {
        let (key, now) = (approved.key()?, approved.now());
        let opened = core.need_open()?;
        let mut record = key.record.clone();
        let pending = record.destroy(&approved.cause(&Label::default()))?;
        let (ring, shard) = (&key.keyring.record, record.shard());
        // Nobody may add material under the epoch that is about to go.
        let alone = core.shard_lock(ring.id, shard).write_owned().await;
        let rows = core.ports.store.shard_material(ring.id, shard).await?;
        let old = epochs_of(&rows, EpochId { keyring: ring.id, shard, epoch: core.newest_epoch(ring.id, shard) });
        let (survivors, next) = core.rewrap_survivors(&opened, key, &rows, &old).await?;
        let evidence = Evidence { key, record: &record, pending: &pending, rows: &rows, erased_epoch: next.epoch - 1 };
        let destruction = evidence.record(approved.principal().name.clone(), now);
        let hash = destruction.verification_hash.clone();
        let sealed = seal(&opened.keys, Table::Destructions, record.id().as_bytes(), Revision::FIRST, &destruction);
        let mut outcome = Outcome::reply(KeyReply::of(&record, &key.keyring, now))
            .changing(Change::PutKey(key_row(&opened, &record, key.revision.next(), now)))
            .changing(Change::EraseMaterial { key: record.id() })
            .changing(Change::AddDestruction {
                key: record.id(),
                keyring: ring.id,
                shard,
                epoch: next.epoch - 1,
                record: sealed,
            });
        outcome.changes.extend(survivors);
        Ok(outcome
            .then(Effect::EraseEpochs { old: old.clone(), next })
            .then(Effect::VerifyDestruction(record.id(), old))
            .then(Effect::Hold(Guard::Exclusive(alone)))
            .detail("verification_hash", hash)
            .detail("versions", destruction.versions.len())
            .detail("reason", pending.reason)
            .detail("requested_by", pending.requested_by))
    }
}

impl Core {
    /// Wraps what else is in the shard under a new epoch.
    async fn rewrap_survivors(
        &self,
        opened: &Opened,
        key: &HeldKey,
        rows: &[MaterialRow],
        old: &[EpochId],
    ) -> Result<(Vec<Change>, EpochId), Error> {
        let ring = &key.keyring.record;
        let survivors = self.open_survivors(opened, key, rows, old).await?;
        let newest = old.last().ok_or_else(|| Error::internal("a shard without epochs"))?;
        let mut next = self.next_epoch(EpochId { epoch: newest.epoch + 1, ..*newest }).await?;
        // A crash before the commit may have left a newer epoch that nothing uses. Its number is passed over.
        while self.ports.vault.get(next).await?.is_some() {
            next.epoch += 1;
        }
        opened.hierarchy.make_epoch(ring, next.shard, next.epoch).await?;
        // From here on, whatever becomes of the commit: should its answer be lost, nothing new may be wrapped under an
        // epoch that a destruction record already calls erased.
        self.newest_epochs.lock().insert((ring.id, next.shard), next.epoch);
        let mut changes = Vec::new();
        for (row, material) in survivors {
            let wrapped = opened.hierarchy.wrap(ring, next, (row.key, row.version), &material).await?;
            changes.push(Change::Rewrap { row: wrapped, from_epoch: row.epoch });
        }
        Ok((changes, next))
    }

    /// The material of everything in the shard but the key that goes. Rows under an epoch that the vault lost before
    /// are dead and stay as they are; a row that does not open under an epoch that is there stops the destruction.
    async fn open_survivors<'a>(
        &self,
        opened: &Opened,
        key: &HeldKey,
        rows: &'a [MaterialRow],
        old: &[EpochId],
    ) -> Result<Vec<(&'a MaterialRow, SecretBytes)>, Error> {
        let mut dead = BTreeSet::new();
        for id in old {
            if self.ports.vault.get(*id).await?.is_none() {
                dead.insert(id.epoch);
            }
        }
        let mut survivors = Vec::new();
        for row in rows.iter().filter(|row| row.key != key.record.id() && !dead.contains(&row.epoch)) {
            survivors.push((row, opened.hierarchy.unwrap(&key.keyring.record, row).await?));
        }
        Ok(survivors)
    }
}

/// The epochs that some row of a shard is wrapped under, and the newest one, in order.
fn epochs_of(rows: &[MaterialRow], newest: EpochId) -> Vec<EpochId> {
    let used = rows.iter().map(|row| EpochId { epoch: row.epoch, ..newest });
    let all: BTreeSet<EpochId> = used.chain([newest]).collect();
    all.into_iter().collect()
}

/// Everything a destruction record tells of.
struct Evidence<'a> {
    key: &'a HeldKey,
    record: &'a KeyRecord,
    pending: &'a ScheduledDestruction,
    rows: &'a [MaterialRow],
    erased_epoch: u64,
}

impl Evidence<'_> {
    fn record(&self, by: keyreeve_model::Name, now: UnixMillis) -> DestructionRecord {
        let erased = |row: &MaterialRow| ErasedVersion {
            version: row.version,
            fingerprint: self.record.version(row.version).map(|v| v.fingerprint().to_owned()).unwrap_or_default(),
            wrapped_sha256: wrapped_digest(row),
        };
        let mut destruction = DestructionRecord {
            key: self.record.id(),
            keyring: self.key.keyring.record.id,
            shard: self.record.shard(),
            erased_epoch: self.erased_epoch,
            requested: self.pending.requested,
            requested_by: self.pending.requested_by.clone(),
            reason: self.pending.reason.clone(),
            destroyed: now,
            destroyed_by: by,
            versions: self.rows.iter().filter(|row| row.key == self.record.id()).map(erased).collect(),
            verified: CHECKS.iter().map(ToString::to_string).collect(),
            verification_hash: String::new(),
        };
        destruction.verification_hash = hex::encode(sha256(&destruction.hashed_form()));
        destruction
    }
}

/// Shows, as the server itself, that a key is gone.
#[derive(Debug)]
pub(crate) struct VerifyDestruction {
    pub(crate) key: KeyRef,
    pub(crate) epochs: Vec<EpochId>,
}

impl Operation for VerifyDestruction {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEY_VERIFY_DESTRUCTION;
    type Reply = ();

    fn target(&self) -> Target<'_> {
        Target::Key(&self.key)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<()>, Error> {
        let key = approved.key()?;
        let record = &key.record;
        for version in record.versions().iter().map(|version| version.version()) {
            let stored = core.ports.store.material(record.id(), version).await?.is_some();
            let usable = record.permit(version, keyreeve_model::Usage::Process, approved.now()).is_ok();
            // Not through the lifecycle: straight to the material, as a defect would.
            let loads = core.load(key, version).await.is_ok();
            if stored || usable || loads {
                return Err(Error::new(
                    Code::Tampered,
                    "a destroyed key can still be used: an operator must look at once",
                ));
            }
        }
        for epoch in &self.epochs {
            if core.ports.vault.get(*epoch).await?.is_some() {
                let text = "the epoch of a destroyed key was not erased: it will be tried again";
                return Err(Error::new(Code::StoreUnavailable, text));
            }
        }
        let destruction = core.destruction(record.id()).await?;
        Ok(Outcome::reply(())
            .detail("verification_hash", destruction.verification_hash)
            .detail("verified", CHECKS.join("; ")))
    }
}

/// Shows the destruction record of a key.
#[derive(Debug)]
pub struct DescribeDestruction {
    /// The key.
    pub key: KeyRef,
}

/// A destruction record.
#[derive(Debug)]
pub struct DestructionReply(pub DestructionRecord);

impl Remember for DestructionReply {}

impl Operation for DescribeDestruction {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEY_DESTRUCTION;
    type Reply = DestructionReply;

    fn target(&self) -> Target<'_> {
        Target::Key(&self.key)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<DestructionReply>, Error> {
        let destruction = core.destruction(approved.key()?.record.id()).await?;
        Ok(Outcome::reply(DestructionReply(destruction)))
    }
}

impl Core {
    async fn destruction(&self, key: keyreeve_model::KeyId) -> Result<DestructionRecord, Error> {
        let opened: Arc<Opened> = self.need_open()?;
        let absent = || Error::new(Code::NotFound, "the key was not destroyed: there is no destruction record");
        let sealed = self.ports.store.destruction(key).await?.ok_or_else(absent)?;
        Ok(open(&opened.keys, Table::Destructions, key.as_bytes(), &sealed)?)
    }
}
