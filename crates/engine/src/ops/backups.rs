//! Backups: made, shown, checked; and that a server came out of one (requirement T8).

use keyreeve_model::backup::{BackupCut, BackupRecord, Placed, Restored};
use keyreeve_model::filed::file;
use keyreeve_model::ids::JobId;
use keyreeve_model::job::{BackupFound, BackupWork, Job, JobWork};
use keyreeve_model::record::Revision;
use keyreeve_model::{Facts, Label, Name, NoticeKind, UnixMillis};
use std::collections::BTreeSet;

use super::jobs::{Beginning, JobReply};
use crate::backup::backup_work;
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::pipeline::{Approved, Operation, Outcome, Remember, Target};
use crate::sealing::Opened;

/// Checks of backups that are under way at once (count).
const CHECKS_MAX: usize = 8;

/// Makes a backup and brings it to every destination, as a job.
#[derive(Debug)]
pub struct Create;

impl Operation for Create {
    const DESCRIPTOR: &'static Descriptor = &catalogue::BACKUP_CREATE;
    type Reply = JobReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<JobReply>, Error> {
        let destinations = core.keeper()?.backups.destinations.len() as u64;
        let makes = |work: &BackupWork| matches!(work, BackupWork::Make { .. });
        let opened = core.need_open()?;
        for job in core.backup_jobs(&opened).await? {
            if job.ended().is_none() && backup_work(&job).is_some_and(makes) {
                let text = format!("a backup is being made: `keyreeve job wait {}` waits for its end", job.id());
                return Err(Error::new(Code::WrongState, text));
            }
        }
        let (work, reason) = (JobWork::Backup(BackupWork::Make { sequence: None }), &Label::default());
        core.begin_job(&opened, approved, Beginning { work, total: 1 + destinations, pace: 0, reason })
    }
}

/// How far work on a backup has come.
#[derive(Clone, Debug)]
pub(crate) enum Came {
    /// The store was copied.
    Copied(BackupRecord),
    /// A destination has it, or not.
    Placed {
        sequence: u64,
        at: Name,
        placed: Placed,
        /// Backups that retention removed there.
        removed: BTreeSet<u64>,
    },
    /// Every destination has it.
    Made { sequence: u64 },
    /// It was read again.
    Checked { sequence: u64, at: Name, found: Result<BackupFound, String> },
}

/// Puts on record, as the server itself, how far work on a backup has come. What was done is done: a job that was
/// stopped meanwhile stays as it is.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) job: JobId,
    pub(crate) came: Came,
}

impl Operation for Record {
    const DESCRIPTOR: &'static Descriptor = &catalogue::BACKUP_RECORD;
    type Reply = ();

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<()>, Error> {
        let (opened, now) = (core.need_open()?, approved.now());
        let (outcome, next) = match &self.came {
            Came::Copied(record) => (copied(&opened, record), Next::step(Some(record.sequence))),
            Came::Placed { sequence, at, placed, removed } => {
                let stored = placed.stored.is_some();
                let outcome = core.placed(&opened, *sequence, (at, placed), removed).await?;
                (outcome, if stored { Next::step(Some(*sequence)) } else { Next::Stay })
            }
            Came::Made { sequence } => (Outcome::reply(()).detail("backup", sequence), Next::End(None)),
            Came::Checked { sequence, at, found } => {
                let outcome = core.checked(&opened, (*sequence, at), found, now).await?;
                (
                    outcome,
                    found
                        .as_ref()
                        .map_or_else(|trouble| Next::GiveUp(trouble.clone()), |found| Next::End(Some(*found))),
                )
            }
        };
        let outcome = outcome.detail("job", self.job);
        let Some((job, revision)) = core.filed::<Job>(&opened, self.job).await? else { return Ok(outcome) };
        if job.ended().is_some() {
            return Ok(outcome);
        }
        Ok(match next.apply(&job, now)? {
            Some(job) => outcome.changing(file(&opened.keys, revision.next(), &job)),
            None => outcome,
        })
    }
}

/// What becomes of a job.
enum Next {
    Stay,
    Step(BackupWork),
    End(Option<BackupFound>),
    GiveUp(String),
}

impl Next {
    const fn step(sequence: Option<u64>) -> Self {
        Self::Step(BackupWork::Make { sequence })
    }

    fn apply(self, job: &Job, now: UnixMillis) -> Result<Option<Job>, Error> {
        Ok(match self {
            Self::Stay => None,
            Self::Step(work) => Some(job.stepped(JobWork::Backup(work), 1, now)?),
            Self::GiveUp(trouble) => Some(job.given_up(&trouble, now)?),
            Self::End(now_found) => {
                let work = match backup_work(job).cloned() {
                    Some(BackupWork::Check { sequence, at, .. }) => {
                        JobWork::Backup(BackupWork::Check { sequence, at, found: now_found })
                    }
                    _ => job.work().clone(),
                };
                Some(job.stepped(work.clone(), 0, now)?.finished(work, now)?)
            }
        })
    }
}

/// A copy that was made. Material that is missing in it is told of.
fn copied(opened: &Opened, record: &BackupRecord) -> Outcome<()> {
    let outcome = Outcome::reply(())
        .changing(file(&opened.keys, Revision::FIRST, record))
        .detail("backup", record.sequence)
        .detail("rows", record.rows)
        .detail("materials", record.materials)
        .detail("bytes", record.size)
        .detail("log_size", record.log_size)
        .detail("log_root", &record.log_root);
    if record.unopened == 0 {
        return outcome;
    }
    let facts = Facts::default().with("backup", record.sequence).with("keys_missing", record.unopened);
    outcome.detail("keys_missing", record.unopened).telling(
        NoticeKind::BackupTrouble,
        "keys are missing in a backup",
        facts,
    )
}

impl Core {
    /// How a backup stands at a destination, and which older ones are there no more.
    async fn placed(
        &self,
        opened: &Opened,
        sequence: u64,
        (at, placed): (&Name, &Placed),
        removed: &BTreeSet<u64>,
    ) -> Result<Outcome<()>, Error> {
        let now = self.now()?;
        let mut outcome = Outcome::reply(()).detail("backup", sequence).detail("destination", at);
        for (mut record, revision) in self.backups_made(opened).await? {
            let standing = record.destinations.entry(at.clone());
            if record.sequence == sequence {
                let before = std::mem::replace(standing.or_default(), placed.clone());
                if let Some(trouble) = placed.trouble.as_ref().filter(|_| before.trouble.is_none()) {
                    let facts = Facts::default().with("backup", sequence).with("trouble", format!("{at}: {trouble}"));
                    let subject = "a backup is not complete everywhere";
                    outcome = outcome.telling(NoticeKind::BackupTrouble, subject, facts);
                }
                // Each further try that fails the same way is no news.
                if before != *placed {
                    outcome = outcome.changing(file(&opened.keys, revision.next(), &record));
                }
            } else if removed.contains(&record.sequence) {
                standing.or_default().removed = Some(now);
                outcome = outcome.changing(file(&opened.keys, revision.next(), &record));
            }
        }
        if !removed.is_empty() {
            outcome = outcome.detail("removed", removed.len());
        }
        Ok(match &placed.trouble {
            Some(trouble) => outcome.detail("trouble", trouble),
            None => outcome,
        })
    }

    /// What a backup was found to be.
    async fn checked(
        &self,
        opened: &Opened,
        (sequence, at): (u64, &Name),
        found: &Result<BackupFound, String>,
        now: UnixMillis,
    ) -> Result<Outcome<()>, Error> {
        let mut outcome = Outcome::reply(()).detail("backup", sequence).detail("destination", at);
        outcome = match found {
            Ok(found) => outcome
                .detail("rows", found.rows)
                .detail("materials", found.materials)
                .detail("destroyed", found.destroyed)
                .detail("log_size", found.log_size),
            Err(trouble) => {
                let facts = Facts::default().with("backup", sequence).with("trouble", format!("{at}: {trouble}"));
                let subject = "a backup is not as it should be";
                outcome.detail("trouble", trouble).telling(NoticeKind::BackupTrouble, subject, facts)
            }
        };
        // One from before a restore has no record here.
        if let Some((mut record, revision)) = self.filed::<BackupRecord>(opened, sequence.to_be_bytes()).await? {
            let placed: &mut Placed = record.destinations.entry(at.clone()).or_default();
            match found {
                Ok(_) => (placed.verified, placed.trouble) = (Some(now), None),
                Err(trouble) => placed.trouble = Some(trouble.clone()),
            }
            outcome = outcome.changing(file(&opened.keys, revision.next(), &record));
        }
        Ok(outcome)
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

/// Reads a backup again at a destination and checks everything about it, as a job.
#[derive(Debug)]
pub struct Verify {
    /// Its number.
    pub sequence: u64,
    /// Where.
    pub destination: Name,
}

impl Operation for Verify {
    const DESCRIPTOR: &'static Descriptor = &catalogue::BACKUP_VERIFY;
    type Reply = JobReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<JobReply>, Error> {
        let opened = core.need_open()?;
        core.destination(&self.destination)?;
        let (mut under_way, sequence) = (0, self.sequence);
        for job in core.backup_jobs(&opened).await?.iter().filter(|job| job.ended().is_none()) {
            let Some(BackupWork::Check { sequence: other, at, .. }) = backup_work(job) else { continue };
            under_way += 1;
            if (*other, at) == (sequence, &self.destination) {
                let text = format!("it is being read: `keyreeve job wait {}` waits for its end", job.id());
                return Err(Error::new(Code::WrongState, text));
            }
        }
        if under_way >= CHECKS_MAX {
            let text = format!("{under_way} checks are under way: wait for one of them (`keyreeve job list`)");
            return Err(Error::new(Code::WrongState, text));
        }
        let work = JobWork::Backup(BackupWork::Check { sequence, at: self.destination.clone(), found: None });
        let beginning = Beginning { work, total: 1, pace: 0, reason: &Label::default() };
        let outcome = core.begin_job(&opened, approved, beginning)?;
        Ok(outcome.detail("backup", sequence).detail("destination", &self.destination))
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
        let unasked: Vec<&str> = told.unasked.iter().map(Name::as_str).collect();
        let mut outcome = Outcome::reply(());
        if !unasked.is_empty() {
            outcome = outcome.detail("unasked", unasked.join(" "));
        }
        Ok(outcome
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
