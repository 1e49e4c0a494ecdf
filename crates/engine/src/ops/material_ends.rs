//! Imported material whose time is over: people are told beforehand, then it is erased as a destroyed key is, and the
//! key stays (requirement K10).

use keyreeve_model::backup::{BackupCut, EndedVersion};
use keyreeve_model::filed::{FiledRecord, file};
use keyreeve_model::imports::MaterialEnd;
use keyreeve_model::record::Revision;
use keyreeve_model::{Change, Facts, NoticeKind, UnixMillis};
use std::collections::BTreeSet;
use std::sync::Arc;

use super::usable::key_row;
use crate::catalogue::{self, Descriptor};
use crate::commit::Durable;
use crate::core::{Core, Engine};
use crate::courier::Telling;
use crate::error::Error;
use crate::keys::{Going, KeyRef};
use crate::pipeline::{Approved, Operation, Outcome, Target};
use crate::sealing::{Effect, Guard, Opened};

/// Ends and warnings looked after at one tick (count).
const AT_ONCE: u32 = 100;

/// Erases the material of a key's versions whose time is over, as the server itself.
#[derive(Debug)]
pub(crate) struct EndMaterial {
    pub(crate) key: KeyRef,
}

impl Operation for EndMaterial {
    const DESCRIPTOR: &'static Descriptor = &catalogue::KEY_END_MATERIAL;
    type Reply = ();

    fn target(&self) -> Target<'_> {
        Target::Key(&self.key)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<()>, Error> {
        let (key, now) = (approved.key()?, approved.now());
        let opened = core.need_open()?;
        let mut record = key.record.clone();
        let ended: BTreeSet<u32> = record.end_material(now).into_iter().collect();
        if ended.is_empty() {
            // The key was destroyed meanwhile: there is nothing to erase, and nothing to come back to.
            return Ok(Outcome::reply(()).detail("erased", 0));
        }
        let (ring, shard) = (&key.keyring.record, record.shard());
        let not_held = core.refuse_under_hold(&opened, key).await?;
        let no_copy = Arc::clone(&core.backing).read_owned().await;
        // Nobody may add material under the epoch that is about to go.
        let alone = core.shard_lock(ring.id, shard).write_owned().await;
        let going = Going { key, versions: Some(ended.clone()) };
        let found = core.survey(&opened, &going, now).await?;
        let next = core.new_epoch(&opened, key, &found.old).await?;
        let (mut outcome, mut cuts) = (Outcome::reply(()), Vec::new());
        outcome.changes.extend(core.rewrap_survivors(&opened, &going, &found, next).await?);
        outcome.changes.push(Change::PutKey(key_row(&opened, &record, key.revision.next(), now)));
        for version in &ended {
            outcome.changes.push(Change::EraseVersion { key: record.id(), version: *version });
            outcome.changes.extend(core.end_erased(&opened, (&record, *version), next.epoch - 1, now).await?);
            let ended = EndedVersion { version: *version, epoch: next.epoch - 1 };
            if let Some(cut) = core.cut_of(&opened, (record.id(), ring.id, shard), Some(ended), now).await? {
                let known = core.filed::<BackupCut>(&opened, cut.row_id()).await?;
                let revision = known.map_or(Revision::FIRST, |(_, revision)| revision.next());
                cuts.push(cut.row_id());
                outcome.changes.push(file(&opened.keys, revision, &cut));
            }
        }
        outcome.changes.extend(core.deposits_gone(&opened, record.id(), |version| ended.contains(&version)).await?);
        outcome = outcome.then(Effect::EraseEpochs { old: found.old, next });
        outcome.effects.extend(cuts.into_iter().map(Effect::CutBackups));
        let versions = ended.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let facts = Facts::default().with("key", record.id()).with("versions", &versions);
        Ok(outcome
            .telling(NoticeKind::MaterialEnded, format!("imported material of {} is erased", record.id()), facts)
            .then(Effect::Hold(Guard::Exclusive(alone)))
            .then(Effect::Hold(not_held))
            .then(Effect::Hold(Guard::Shared(no_copy)))
            .detail("erased", ended.len())
            .detail("versions", versions)
            .detail("erased_epoch", next.epoch - 1))
    }
}

impl Core {
    /// What notes that the material of a version is erased, with all epochs up to one.
    async fn end_erased(
        &self,
        opened: &Opened,
        (record, version): (&keyreeve_model::KeyRecord, u32),
        epoch: u64,
        now: UnixMillis,
    ) -> Result<Option<Change>, Error> {
        let found = self.filed::<MaterialEnd>(opened, MaterialEnd::row(record.id(), version)).await?;
        Ok(found.map(|(end, revision)| file(&opened.keys, revision.next(), &end.erased(now, epoch))))
    }

    /// Whether the material of a version that is over erased an epoch, or a later one of its shard.
    pub(crate) async fn is_erased_epoch(&self, opened: &Opened, id: keyreeve_epochs::EpochId) -> Result<bool, Error> {
        let place = MaterialEnd::place(id.keyring, id.shard);
        let ends = self.filed_all::<MaterialEnd>(opened, Some(&place)).await?;
        Ok(ends.iter().any(|(end, _)| end.erased_epoch >= id.epoch))
    }
}

impl Engine {
    /// Warns of material that ends, and erases what has ended.
    pub(crate) async fn look_after_material(&self) -> Result<(), Error> {
        let core = &*self.core;
        let (now, opened) = (core.now()?, core.need_open()?);
        for (end, revision) in core.filed_due::<MaterialEnd>(&opened, now, AT_ONCE).await? {
            if end.is_over(now) {
                self.end_one(&opened, end, revision, now).await?;
            } else if let Some((next, days)) = end.warned(now) {
                let facts = Facts::default().with("key", end.key).with("version", end.version).with("days", days);
                let subject = format!("imported material of {} ends in {days} days", end.key);
                let telling = Telling::new(NoticeKind::MaterialEnding, subject, facts);
                let mut changes = vec![file(&opened.keys, revision.next(), &next)];
                changes.extend(core.notice(&opened, &telling, None, now)?);
                core.commit(durable("material-warned", changes, &opened)).await?;
            }
        }
        Ok(())
    }

    async fn end_one(
        &self,
        opened: &Arc<Opened>,
        end: MaterialEnd,
        revision: Revision,
        now: UnixMillis,
    ) -> Result<(), Error> {
        let core = &*self.core;
        let key = core.find_key(&KeyRef::Id(end.key)).await?;
        let lives = key.as_ref().is_some_and(|key| key.record.has_material(end.version));
        let held = key.as_ref().is_some_and(|key| core.hold_against(opened, key).is_some());
        let next = match (lives, held) {
            // Destroyed with its key: nothing is left that could end.
            (false, _) => end.ending(None, now),
            (true, true) => end.later(now),
            (true, false) => {
                let operation = EndMaterial { key: KeyRef::Id(end.key) };
                match self.call_as_server("end-of-material", operation).await {
                    Ok(_) => return Ok(()),
                    Err(refused) => {
                        let (key, version) = (end.key, end.version);
                        tracing::error!(%key, version, error = %refused.error, "ended material was not erased");
                        let found = core.filed::<MaterialEnd>(opened, MaterialEnd::row(key, version)).await?;
                        if found.is_none_or(|(_, known)| known != revision) {
                            // It was, and what failed came after: an epoch that is left goes at the next tick.
                            return Ok(());
                        }
                        end.later(now)
                    }
                }
            }
        };
        core.commit(durable("material-end", vec![file(&opened.keys, revision.next(), &next)], opened)).await
    }
}

fn durable(name: &'static str, changes: Vec<Change>, opened: &Arc<Opened>) -> Durable {
    Durable { name, changes, entry: None, sealer: Some(Arc::clone(&opened.keys)) }
}
