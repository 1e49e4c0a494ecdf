//! Destroying keys: waiting period, cancellation, erasure, proof (requirement R8, docs/decisions/0002).

use keyreeve_crypto::digest::sha256;
use keyreeve_epochs::EpochId;
use keyreeve_model::change::Change;
use keyreeve_model::destruction::{ErasedVersion, ScheduledDestruction};
use keyreeve_model::device::DeviceUse;
use keyreeve_model::escrow::Deposit;
use keyreeve_model::filed::file;
use keyreeve_model::metadata::Label;
use keyreeve_model::record::{Revision, Table, open, seal};
use keyreeve_model::{DestructionRecord, KeyRecord, MaterialRow, Name, Protection, UnixMillis, Usage, VersionRecord};
use std::collections::BTreeSet;
use std::sync::Arc;

use super::KeyReply;
use super::forms::{ScheduleForm, written};
use super::keys::save;
use super::usable::key_row;
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::keys::{Going, HeldKey, KeyRef, wrapped_digest};
use crate::pipeline::{Approved, Operation, Outcome, Remember, Target};
use crate::sealing::{Effect, Guard, Opened};

/// Epochs before the erased one that are looked for in memory (count).
const EPOCHS_LOOKED_FOR: u64 = 16;

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

    fn form(&self) -> Option<serde_json::Value> {
        written(&ScheduleForm { days: self.days, reason: self.reason.clone() })
    }

    fn reason(&self) -> Option<&Label> {
        Some(&self.reason)
    }

    /// Whether a hold stands in its way is known once it is known who consents.
    async fn rehearse(&self, approved: &Approved<Self>, _core: &Core) -> Result<bool, Error> {
        let mut record = approved.key()?.record.clone();
        record.schedule_destruction(self.days, &approved.cause(&self.reason))?;
        Ok(true)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<KeyReply>, Error> {
        let key = approved.key()?;
        let opened = core.need_open()?;
        let despite = core.despite_holds(&opened, key, approved).await?;
        let mut record = key.record.clone();
        let due = record.schedule_destruction(self.days, &approved.cause(&self.reason))?;
        record.consent_despite(despite)?;
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
        let not_held = core.refuse_under_hold(&opened, key).await?;
        let no_copy = Arc::clone(&core.backing).read_owned().await;
        let mut record = key.record.clone();
        let pending = record.destroy(&approved.cause(&Label::default()))?;
        let (ring, shard) = (key.keyring.record.id, record.shard());
        let gone = match record.protection() {
            Protection::Software => core.take_material(&opened, key, now).await?,
            Protection::Hsm => core.take_from_devices(&opened, &record, now),
        };
        let Gone { versions, erased_epoch, changes, effects } = gone;
        let evidence = Evidence { record: &record, pending: &pending, versions, erased_epoch };
        let destruction = evidence.record(approved.principal().name.clone(), now);
        let hash = destruction.verification_hash.clone();
        let sealed = seal(&opened.keys, Table::Destructions, record.id().as_bytes(), Revision::FIRST, &destruction);
        let mut outcome = Outcome::reply(KeyReply::of(&record, &key.keyring, now))
            .changing(Change::PutKey(key_row(&opened, &record, key.revision.next(), now)))
            .changing(Change::EraseMaterial { key: record.id() })
            .changing(Change::AddDestruction {
                key: record.id(),
                keyring: ring,
                shard,
                epoch: erased_epoch,
                record: sealed,
            });
        outcome.changes.extend(changes);
        outcome.changes.extend(core.deposits_gone(&opened, record.id(), |_| true).await?);
        let cut = core.cut_of(&opened, (record.id(), ring, shard), None, now).await?;
        outcome.changes.extend(cut.map(|cut| file(&opened.keys, Revision::FIRST, &cut)));
        outcome = effects.into_iter().fold(outcome, Outcome::then);
        Ok(outcome
            .then(Effect::Hold(not_held))
            .then(Effect::Hold(Guard::Shared(no_copy)))
            .detail("verification_hash", hash)
            .detail("versions", destruction.versions.len())
            .detail("reason", pending.reason)
            .detail("requested_by", pending.requested_by))
    }
}

/// What goes with a key.
struct Gone {
    versions: Vec<ErasedVersion>,
    erased_epoch: u64,
    /// Besides the key's own rows.
    changes: Vec<Change>,
    /// In their order.
    effects: Vec<Effect>,
}

impl Core {
    /// The epoch of a shard goes, and with it the material of one of its keys.
    async fn take_material(&self, opened: &Opened, key: &HeldKey, now: UnixMillis) -> Result<Gone, Error> {
        let (record, ring) = (&key.record, key.keyring.record.id);
        // Nobody may add material under the epoch that is about to go.
        let alone = self.shard_lock(ring, record.shard()).write_owned().await;
        let going = Going { key, versions: None };
        let found = self.survey(opened, &going, now).await?;
        let next = self.new_epoch(opened, key, &found.old).await?;
        let changes = self.rewrap_survivors(opened, &going, &found, next).await?;
        let rows = self.ports.store.key_material(record.id()).await?;
        let erased = |row: &MaterialRow| ErasedVersion {
            version: row.version,
            fingerprint: record.version(row.version).map(|v| v.fingerprint().to_owned()).unwrap_or_default(),
            wrapped_sha256: wrapped_digest(row),
            device: None,
        };
        let versions = rows.iter().filter(|row| row.key == record.id()).map(erased).collect();
        let effects = vec![
            Effect::EraseEpochs { old: found.old, next },
            Effect::CutBackups(record.id().into()),
            Effect::VerifyDestruction(record.id()),
            Effect::Hold(Guard::Exclusive(alone)),
        ];
        Ok(Gone { versions, erased_epoch: next.epoch - 1, changes, effects })
    }

    /// The device erases the key: nothing of it was ever anywhere else.
    fn take_from_devices(&self, opened: &Opened, record: &KeyRecord, now: UnixMillis) -> Gone {
        let erased = |version: &VersionRecord| ErasedVersion {
            version: version.version(),
            fingerprint: version.fingerprint().to_owned(),
            wrapped_sha256: String::new(),
            device: version.device().map(|place| place.root.clone()),
        };
        let versions = record.versions().iter().map(erased).collect();
        let changes = self.erasures_of(opened, record, now);
        let effects = vec![Effect::CutBackups(record.id().into()), Effect::EraseInDevices(DeviceUse::Key(record.id()))];
        Gone { versions, erased_epoch: 0, changes, effects }
    }
}

/// Everything a destruction record tells of.
struct Evidence<'a> {
    record: &'a KeyRecord,
    pending: &'a ScheduledDestruction,
    versions: Vec<ErasedVersion>,
    erased_epoch: u64,
}

impl Evidence<'_> {
    fn record(self, by: Name, now: UnixMillis) -> DestructionRecord {
        let mut destruction = DestructionRecord {
            key: self.record.id(),
            keyring: self.record.keyring(),
            shard: self.record.shard(),
            erased_epoch: self.erased_epoch,
            requested: self.pending.requested,
            requested_by: self.pending.requested_by.clone(),
            reason: self.pending.reason.clone(),
            destroyed: now,
            destroyed_by: by,
            versions: self.versions,
            // Nothing is erased yet, so nothing is verified: whoever shows the record says what was checked then.
            verified: Vec::new(),
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
}

impl Operation for VerifyDestruction {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEY_VERIFY_DESTRUCTION;
    type Reply = ();

    fn target(&self) -> Target<'_> {
        Target::Key(&self.key)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<()>, Error> {
        let key = approved.key()?;
        let destruction = core.destruction(key.record.id()).await?;
        let examined = core.examine(key, &destruction, approved.now()).await?;
        if let Some(failed) = examined.failed {
            return Err(failed);
        }
        let mut outcome = Outcome::reply(()).detail("verification_hash", destruction.verification_hash);
        for check in examined.passed {
            outcome = outcome.detail(check.field, check.found);
        }
        Ok(outcome)
    }
}

/// Shows the destruction record of a key, and what can be checked of it now.
#[derive(Debug)]
pub struct DescribeDestruction {
    /// The key.
    pub key: KeyRef,
}

/// A destruction record; `verified` says what was checked for this answer and held.
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
        let key = approved.key()?;
        let mut destruction = core.destruction(key.record.id()).await?;
        let examined = core.examine(key, &destruction, approved.now()).await?;
        if let Some(error) = examined.failed {
            tracing::error!(key = %key.record.id(), %error, "a destruction does not hold");
        }
        destruction.verified = examined.passed.into_iter().map(|check| check.words).collect();
        Ok(Outcome::reply(DestructionReply(destruction)))
    }
}

/// One thing that was looked at and found as it must be.
struct Check {
    /// Its name in the audit record.
    field: &'static str,
    /// What was found, for the audit record.
    found: String,
    /// The same in words.
    words: String,
}

/// What was looked at, and the first thing that was not as it must be.
#[derive(Default)]
struct Examined {
    passed: Vec<Check>,
    failed: Option<Error>,
}

impl Examined {
    fn note(
        &mut self,
        holds: bool,
        field: &'static str,
        found: String,
        words: String,
        otherwise: impl FnOnce() -> Error,
    ) {
        if holds {
            self.passed.push(Check { field, found, words });
        } else {
            self.failed.get_or_insert_with(otherwise);
        }
    }
}

impl Core {
    /// Looks whether a destroyed key is gone, one thing after the other. What cannot be looked at is an error.
    async fn examine(
        &self,
        key: &HeldKey,
        destruction: &DestructionRecord,
        now: UnixMillis,
    ) -> Result<Examined, Error> {
        let (opened, record, ports) = (self.need_open()?, &key.record, &self.ports);
        let versions: Vec<u32> = record.versions().iter().map(|version| version.version()).collect();
        let alive = || Error::new(Code::Tampered, "a destroyed key can still be used: an operator must look at once");
        let mut examined = Examined::default();

        let rows = ports.store.key_material(record.id()).await?.len();
        let words = format!("the store holds no material of any of its {} versions", versions.len());
        examined.note(rows == 0, "material_rows", rows.to_string(), words, alive);

        if !record.protection().is_software() {
            self.examine_devices(record, &mut examined).await;
        }

        let gone = |id: &EpochId| {
            (id.keyring, id.shard) == (destruction.keyring, destruction.shard) && id.epoch <= destruction.erased_epoch
        };
        let left: Vec<EpochId> = ports.vault.list().await?.into_iter().filter(gone).collect();
        let words = format!(
            "the epoch vault holds no key of shard {} up to epoch {}, which wrapped it",
            destruction.shard, destruction.erased_epoch
        );
        if record.protection().is_software() {
            examined.note(left.is_empty(), "epoch_keys", left.len().to_string(), words, || {
                let text = "the epoch of a destroyed key was not erased: it will be tried again";
                Error::new(Code::StoreUnavailable, text)
            });
        }

        let usable = versions.iter().filter(|version| record.permit(**version, Usage::Process, now).is_ok()).count();
        let words = "its state lets no version be used".to_owned();
        examined.note(usable == 0, "usable_versions", usable.to_string(), words, alive);

        let mut held = versions.iter().filter(|version| key.loaded(**version).is_some()).count();
        for epoch in 1.max(destruction.erased_epoch.saturating_sub(EPOCHS_LOOKED_FOR))..=destruction.erased_epoch {
            let id = EpochId { keyring: destruction.keyring, shard: destruction.shard, epoch };
            held += usize::from(opened.hierarchy.holds(id).await);
        }
        let words = "this server's memory holds neither its material nor its epoch key".to_owned();
        examined.note(held == 0, "held_in_memory", held.to_string(), words, alive);

        self.examine_copies(&opened, record, &mut examined).await?;
        if !record.protection().is_software() {
            // The device was asked above, past all checks as well.
            return Ok(examined);
        }
        let mut loads = 0;
        for version in &versions {
            // Not through the lifecycle: straight to the material, as a defect would.
            match self.load(key, *version).await {
                Ok(_) => loads += 1,
                Err(error) if error.code() == Code::Tampered => {}
                Err(error) => return Err(error),
            }
        }
        let words = format!("loading each of its {} versions past all checks was tried and failed", versions.len());
        examined.note(loads == 0, "loaded_versions", loads.to_string(), words, alive);
        Ok(examined)
    }

    /// Looks for it where there were copies: in backups and in escrow.
    async fn examine_copies(&self, opened: &Opened, record: &KeyRecord, examined: &mut Examined) -> Result<(), Error> {
        let alive = || Error::new(Code::Tampered, "a destroyed key is still in escrow: an operator must look at once");
        // A destination that does not answer now is told later: nothing fails because of it, and nothing is claimed.
        let pending = self.pending_cuts(opened, record.id()).await?;
        if pending.is_empty() && self.backups.get().is_some() {
            let words = "no ledger of backups that this server knows has its cut key".to_owned();
            examined.note(true, "backup_ledgers", pending.len().to_string(), words, alive);
        }
        let escrowed = self.filed_all::<Deposit>(opened, Some(&record.id().to_string())).await?.len();
        let words = "no version of it is in escrow".to_owned();
        examined.note(escrowed == 0, "deposits", escrowed.to_string(), words, alive);
        Ok(())
    }

    /// Asks each device for each version. One that does not answer has not said that a key is gone.
    async fn examine_devices(&self, record: &KeyRecord, examined: &mut Examined) {
        let (mut found, versions) = (0, record.versions().len());
        for version in record.versions() {
            match self.open_version(record, version.version()).await {
                Ok(_) => found += 1,
                Err(error) if error.code() == Code::Tampered => {}
                Err(error) => {
                    examined.failed.get_or_insert(error);
                    return;
                }
            }
        }
        let roots: BTreeSet<&Name> = record.devices().map(|place| &place.root).collect();
        let roots = roots.into_iter().map(|root| format!("`{root}`")).collect::<Vec<_>>().join(", ");
        let words = format!("the device of {roots} was asked for each of its {versions} versions and has none");
        examined.note(found == 0, "device_keys", found.to_string(), words, || {
            Error::new(Code::Tampered, "a destroyed key is still in its device: it will be tried again")
        });
    }

    async fn destruction(&self, key: keyreeve_model::KeyId) -> Result<DestructionRecord, Error> {
        let opened: Arc<Opened> = self.need_open()?;
        let absent = || Error::new(Code::NotFound, "the key was not destroyed: there is no destruction record");
        let sealed = self.ports.store.destruction(key).await?.ok_or_else(absent)?;
        Ok(open(&opened.keys, Table::Destructions, key.as_bytes(), &sealed)?)
    }
}
