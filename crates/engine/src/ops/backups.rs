//! Backups: made, shown, checked; and that a server came out of one (requirement T8).

use keyreeve_model::backup::{BackupCut, BackupRecord, Placed, Restored};
use keyreeve_model::filed::file;
use keyreeve_model::record::Revision;
use keyreeve_model::{Change, Facts, Label, Name, NoticeKind};

use crate::backup::Verified;
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::pipeline::{Approved, Operation, Outcome, Remember, Target};
use crate::sealing::Opened;

/// Makes a backup now and brings it to every destination.
#[derive(Debug)]
pub struct Create;

/// A backup.
#[derive(Debug)]
pub struct BackupReply(pub BackupRecord);

impl Remember for BackupReply {}

impl Operation for Create {
    const DESCRIPTOR: &'static Descriptor = &catalogue::BACKUP_CREATE;
    type Reply = BackupReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<BackupReply>, Error> {
        let record = core.make_backup(approved.now()).await?;
        let opened = core.need_open()?;
        let troubles: Vec<String> = record
            .destinations
            .iter()
            .filter_map(|(at, placed)| placed.trouble.as_ref().map(|trouble| format!("{at}: {trouble}")))
            .collect();
        let stored = record.destinations.values().filter(|placed| placed.stored.is_some()).count();
        let mut outcome = Outcome::reply(BackupReply(record.clone()))
            .changing(file(&opened.keys, Revision::FIRST, &record))
            .detail("backup", record.sequence)
            .detail("rows", record.rows)
            .detail("materials", record.materials)
            .detail("bytes", record.size)
            .detail("log_size", record.log_size)
            .detail("log_root", &record.log_root)
            .detail("destinations", stored);
        for change in core.pruned(&opened, &record, &mut outcome).await? {
            outcome = outcome.changing(change);
        }
        if !troubles.is_empty() || record.unopened > 0 {
            let facts = Facts::default()
                .with("backup", record.sequence)
                .with("trouble", troubles.join("; "))
                .with("keys_missing", record.unopened);
            outcome = outcome.detail("trouble", troubles.join("; ")).detail("keys_missing", record.unopened).telling(
                NoticeKind::BackupTrouble,
                "a backup is not complete everywhere",
                facts,
            );
        }
        Ok(outcome)
    }
}

impl Core {
    /// Removes at each destination that took the backup what the plan does not keep, and returns what that changes in
    /// the records of those that went. A destination that fails here has too much, which harms nobody.
    async fn pruned(
        &self,
        opened: &Opened,
        record: &BackupRecord,
        outcome: &mut Outcome<BackupReply>,
    ) -> Result<Vec<Change>, Error> {
        let (now, mut known) = (self.now()?, self.backups_made(opened).await?);
        let (mut touched, mut removed) = (std::collections::BTreeSet::new(), 0);
        for (at, _) in record.destinations.iter().filter(|(_, placed)| placed.stored.is_some()) {
            let gone = match self.prune(opened, at, record).await {
                Ok(gone) => gone,
                Err(error) => {
                    tracing::warn!(destination = %at, %error, "old backups stay");
                    continue;
                }
            };
            removed += gone.len();
            for (old, _) in known.iter_mut().filter(|(old, _)| gone.contains(&old.sequence)) {
                old.destinations.entry(at.clone()).or_default().removed = Some(now);
                touched.insert(old.sequence);
            }
        }
        if removed > 0 {
            outcome.details.insert("removed".to_owned(), removed.to_string());
        }
        let changed = known.iter().filter(|(old, _)| touched.contains(&old.sequence));
        Ok(changed.map(|(old, revision)| file(&opened.keys, revision.next(), old)).collect())
    }
}

/// Shows the backups that were made, and destroyed keys that destinations still have entries of.
#[derive(Debug)]
pub struct List;

/// Backups, newest first.
#[derive(Debug)]
pub struct Backups {
    /// The backups.
    pub backups: Vec<BackupRecord>,
    /// The destinations that are configured: name, kind and where they lead.
    pub destinations: Vec<(Name, &'static str, String)>,
    /// Destroyed keys whose entry is still in the ledger of a destination.
    pub cuts: Vec<BackupCut>,
    /// That this server came out of a backup.
    pub restored: Option<Restored>,
}

impl Remember for Backups {}

impl Operation for List {
    const DESCRIPTOR: &'static Descriptor = &catalogue::BACKUP_LIST;
    type Reply = Backups;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, _approved: &Approved<Self>, core: &Core) -> Result<Outcome<Backups>, Error> {
        let opened = core.need_open()?;
        let backups: Vec<BackupRecord> =
            core.backups_made(&opened).await?.into_iter().map(|(record, _)| record).collect();
        let cuts = core.filed_all::<BackupCut>(&opened, None).await?.into_iter().map(|(cut, _)| cut).collect();
        let destinations = core.backups.get().map(|keeper| {
            let each = keeper.backups.destinations.iter();
            each.map(|(name, archive)| (name.clone(), archive.kind(), archive.place())).collect()
        });
        let listed = backups.len();
        let restored = core.restored_from(&opened).await?.map(|(restored, _)| restored);
        let reply = Backups { backups, destinations: destinations.unwrap_or_default(), cuts, restored };
        Ok(Outcome::reply(reply).detail("listed", listed))
    }
}

/// Reads a backup again at a destination and checks everything about it.
#[derive(Debug)]
pub struct Verify {
    /// Its number.
    pub sequence: u64,
    /// Where.
    pub destination: Name,
}

impl Remember for Verified {}

impl Operation for Verify {
    const DESCRIPTOR: &'static Descriptor = &catalogue::BACKUP_VERIFY;
    type Reply = Verified;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Verified>, Error> {
        let opened = core.need_open()?;
        let verified = core.verify_backup(&self.destination, self.sequence).await?;
        let mut outcome = Outcome::reply(verified.clone())
            .detail("backup", self.sequence)
            .detail("destination", &self.destination)
            .detail("rows", verified.rows)
            .detail("materials", verified.materials)
            .detail("destroyed", verified.destroyed)
            .detail("log_size", verified.log_size);
        // One from before a restore has no record here.
        if let Some((mut record, revision)) = core.filed::<BackupRecord>(&opened, self.sequence.to_be_bytes()).await? {
            let placed: &mut Placed = record.destinations.entry(self.destination.clone()).or_default();
            placed.verified = Some(approved.now());
            placed.trouble = None;
            outcome = outcome.changing(file(&opened.keys, revision.next(), &record));
        }
        Ok(outcome)
    }
}

impl Core {
    /// That this server came out of a backup, the last time that it did.
    pub(crate) async fn restored_from(&self, opened: &Opened) -> Result<Option<(Restored, Revision)>, Error> {
        let all = self.filed_all::<Restored>(opened, None).await?;
        Ok(all.into_iter().max_by_key(|(restored, _)| restored.at))
    }
}

/// Puts on record, as the server itself, that it came out of a backup.
#[derive(Debug)]
pub(crate) struct RecordRestore;

impl Operation for RecordRestore {
    const DESCRIPTOR: &'static Descriptor = &catalogue::BACKUP_RESTORED;
    type Reply = ();

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, _approved: &Approved<Self>, core: &Core) -> Result<Outcome<()>, Error> {
        let opened = core.need_open()?;
        let Some((mut told, revision)) = core.restored_from(&opened).await?.filter(|(restored, _)| !restored.recorded)
        else {
            return Ok(Outcome::reply(()));
        };
        told.recorded = true;
        let facts = Facts::default().with("backup", told.sequence).with("made", told.made).with("restored", told.at);
        Ok(Outcome::reply(())
            .changing(file(&opened.keys, revision.next(), &told))
            .telling(NoticeKind::Restored, "this server was restored from a backup", facts)
            .detail("backup", told.sequence)
            .detail("made", told.made)
            .detail("restored", told.at)
            .detail("log_size", told.log_size)
            .detail("kept_destroyed", told.kept_destroyed))
    }
}

/// Takes note that this server came out of a backup: what changed since was looked at.
#[derive(Debug)]
pub struct Acknowledge {
    /// What was done about it.
    pub reason: Label,
}

impl Operation for Acknowledge {
    const DESCRIPTOR: &'static Descriptor = &catalogue::BACKUP_ACKNOWLEDGE;
    type Reply = ();

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<()>, Error> {
        let opened = core.need_open()?;
        let waits = core.restored_from(&opened).await?.filter(|(restored, _)| restored.acknowledged.is_none());
        let Some((mut restored, revision)) = waits else {
            return Err(Error::new(Code::WrongState, "there is no restore that somebody has to take note of"));
        };
        restored.acknowledged = Some(approved.principal().name.clone());
        *core.restored.lock() = Some(restored.clone());
        Ok(Outcome::reply(())
            .changing(file(&opened.keys, revision.next(), &restored))
            .detail("backup", restored.sequence)
            .detail("reason", &self.reason))
    }
}
