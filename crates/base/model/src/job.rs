//! Jobs: long work that goes on by steps, is watched, cancelled, and resumed after a crash (requirement K11).
//!
//! A step commits what it did together with how far the job has come, so that a crash between two steps loses nothing
//! and repeats nothing. What failed is tried again ever more rarely; a job ends done or cancelled.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use thiserror::Error;

use crate::filed::{FiledRecord, RowId};
use crate::ids::{JobId, KeyringId};
use crate::metadata::{Label, Name};
use crate::record::Table;
use crate::roots::RootUse;
use crate::scan::Scan;
use crate::time::UnixMillis;

/// How long after a failed step it is tried again, at first and at most.
const PAUSE_FIRST: Duration = Duration::from_secs(5);
const PAUSE_LONGEST: Duration = Duration::from_secs(600);
/// How long a job that ended is kept (days); its audit records stay for ever.
const KEPT_DAYS: u32 = 400;

/// What gets new key-encryption keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RekeyScope {
    /// One keyring.
    Keyring(KeyringId),
    /// Whatever a root of trust wraps, the server's own secret included: nothing is under it afterwards.
    Root(Name),
    /// Every keyring, and the server's own secret where roots are named.
    Everything,
}

/// How far a rekeying has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RekeyPlace {
    /// The keyring that is worked on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyring: Option<KeyringId>,
    /// The version of its KEK that everything comes under; 0 until it is made.
    #[serde(default)]
    pub version: u32,
    /// The last epoch (shard, number) that was brought under it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<(u32, u64)>,
    /// The last keyring that is finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed: Option<KeyringId>,
}

/// New key-encryption keys, and what is beneath them wrapped anew: rotation of KEKs (requirement R3), and moving from
/// one root of trust to another (requirement T5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rekey {
    /// What gets them.
    pub scope: RekeyScope,
    /// The roots that wrap them; those of before unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<RootUse>,
    /// How far it has come.
    pub place: RekeyPlace,
}

/// What a backup was found to be when it was read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupFound {
    /// Rows of the store, each as it was sealed (count).
    pub rows: u64,
    /// Versions of keys whose material opens (count).
    pub materials: u64,
    /// Versions of keys that were destroyed since, so that nobody opens them (count).
    pub destroyed: u64,
    /// Entries of the audit log that the backup covers, found at the destination and as the checkpoint says.
    pub log_size: u64,
    /// Entries that came later, in pieces of later backups.
    pub log_later: u64,
}

/// What is done about backups (requirement T8). Its units are the copy and each destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum BackupWork {
    /// One is made and brought to every destination.
    Make {
        /// Its number, once it was copied.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sequence: Option<u64>,
    },
    /// One is read again at a destination and checked.
    Check {
        /// Its number.
        sequence: u64,
        /// The destination.
        at: Name,
        /// What it was found to be.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        found: Option<BackupFound>,
    },
}

/// What a job does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobWork {
    /// New key-encryption keys.
    Rekey(Rekey),
    /// A backup is made, or read again. This one goes on beside the others, which it never holds up.
    Backup(BackupWork),
    /// Looking for damage in everything that is stored.
    Scan(Scan),
}

impl JobWork {
    /// The word for it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Rekey(_) => "rekey",
            Self::Backup(BackupWork::Make { .. }) => "backup",
            Self::Backup(BackupWork::Check { .. }) => "backup-check",
            Self::Scan(_) => "scan",
        }
    }
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// It goes on by itself.
    Running,
    /// All is done.
    Done,
    /// Somebody stopped it; what it had done stays.
    Cancelled,
    /// It was given up after too many steps had failed in a row, or because trying again could not help.
    Failed,
}

impl JobState {
    /// The name on wires and in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

/// Why a job is not changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum JobRefusal {
    /// It ended before.
    #[error("the job is {} since {at}", .state.name())]
    Ended {
        /// How.
        state: JobState,
        /// When.
        at: UnixMillis,
    },
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    id: JobId,
    work: JobWork,
    reason: Label,
    begun: UnixMillis,
    by: Name,
    state: JobState,
    done: u64,
    total: u64,
    /// Units in a second at most; 0 for as fast as it goes.
    #[serde(default)]
    pace: u32,
    next: UnixMillis,
    #[serde(default)]
    failures: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended: Option<UnixMillis>,
}

/// What [`Job::begin`] needs.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Its id.
    pub id: JobId,
    /// What it does.
    pub work: JobWork,
    /// Why.
    pub reason: Label,
    /// By whom.
    pub by: Name,
    /// How many units there are, as far as is known.
    pub total: u64,
    /// Units in a second at most; 0 for as fast as it goes.
    pub pace: u32,
}

impl Job {
    /// A job that goes on at once.
    #[must_use]
    pub fn begin(new: NewJob, now: UnixMillis) -> Self {
        let NewJob { id, work, reason, by, total, pace } = new;
        Self {
            id,
            work,
            reason,
            begun: now,
            by,
            state: JobState::Running,
            done: 0,
            total,
            pace,
            next: now,
            failures: 0,
            trouble: None,
            ended: None,
        }
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> JobId {
        self.id
    }

    /// What it does, and how far it has come.
    #[must_use]
    pub const fn work(&self) -> &JobWork {
        &self.work
    }

    /// Why.
    #[must_use]
    pub const fn reason(&self) -> &Label {
        &self.reason
    }

    /// When it began.
    #[must_use]
    pub const fn begun(&self) -> UnixMillis {
        self.begun
    }

    /// Who began it.
    #[must_use]
    pub const fn by(&self) -> &Name {
        &self.by
    }

    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> JobState {
        self.state
    }

    /// Units done, and units there are as far as is known.
    #[must_use]
    pub const fn progress(&self) -> (u64, u64) {
        (self.done, self.total)
    }

    /// When its next step is due.
    #[must_use]
    pub const fn next(&self) -> UnixMillis {
        self.next
    }

    /// Why its last step failed, and how many did in a row.
    #[must_use]
    pub fn trouble(&self) -> Option<(&str, u32)> {
        self.trouble.as_deref().map(|trouble| (trouble, self.failures))
    }

    /// When it ended.
    #[must_use]
    pub const fn ended(&self) -> Option<UnixMillis> {
        self.ended
    }

    /// The job after a step that brought so many more units to their end.
    ///
    /// # Errors
    /// [`JobRefusal::Ended`].
    pub fn stepped(&self, work: JobWork, units: u64, now: UnixMillis) -> Result<Self, JobRefusal> {
        self.goes_on()?;
        let done = self.done.saturating_add(units);
        let wait = match self.pace {
            0 => Duration::ZERO,
            pace => Duration::from_millis(units.saturating_mul(1000) / u64::from(pace)),
        };
        let total = self.total.max(done);
        Ok(Self { work, done, total, next: now.plus(wait), failures: 0, trouble: None, ..self.clone() })
    }

    /// The job at its end.
    ///
    /// # Errors
    /// [`JobRefusal::Ended`].
    pub fn finished(&self, work: JobWork, now: UnixMillis) -> Result<Self, JobRefusal> {
        self.goes_on()?;
        let (state, ended) = (JobState::Done, Some(now));
        Ok(Self { work, state, ended, total: self.done, failures: 0, trouble: None, ..self.clone() })
    }

    /// The job after a step that failed: it is tried again later, ever more rarely.
    ///
    /// # Errors
    /// [`JobRefusal::Ended`].
    pub fn failed(&self, trouble: &str, now: UnixMillis) -> Result<Self, JobRefusal> {
        self.goes_on()?;
        let pause = PAUSE_LONGEST.min(PAUSE_FIRST * (1 << self.failures.min(16)));
        let trouble = trouble.chars().take(1000).collect();
        let failures = self.failures.saturating_add(1);
        Ok(Self { failures, trouble: Some(trouble), next: now.plus(pause), ..self.clone() })
    }

    /// The job once it is given up; why stays with it.
    ///
    /// # Errors
    /// [`JobRefusal::Ended`].
    pub fn given_up(&self, trouble: &str, now: UnixMillis) -> Result<Self, JobRefusal> {
        let (state, ended) = (JobState::Failed, Some(now));
        Ok(Self { state, ended, ..self.failed(trouble, now)? })
    }

    /// The job once somebody stopped it.
    ///
    /// # Errors
    /// [`JobRefusal::Ended`].
    pub fn cancelled(&self, now: UnixMillis) -> Result<Self, JobRefusal> {
        self.goes_on()?;
        Ok(Self { state: JobState::Cancelled, ended: Some(now), ..self.clone() })
    }

    fn goes_on(&self) -> Result<(), JobRefusal> {
        match (self.state, self.ended) {
            (JobState::Running, None) => Ok(()),
            (state, ended) => Err(JobRefusal::Ended { state, at: ended.unwrap_or(self.begun) }),
        }
    }
}

impl FiledRecord for Job {
    const TABLE: Table = Table::Jobs;

    fn row_id(&self) -> RowId {
        self.id.into()
    }

    fn parent(&self) -> String {
        String::new()
    }

    fn due(&self) -> Option<UnixMillis> {
        (self.state == JobState::Running).then_some(self.next)
    }

    fn forget(&self) -> Option<UnixMillis> {
        self.ended.map(|ended| ended.plus_days(KEPT_DAYS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn work() -> JobWork {
        JobWork::Rekey(Rekey { scope: RekeyScope::Everything, to: None, place: RekeyPlace::default() })
    }

    fn job(pace: u32) -> Job {
        let (id, reason, by) = (JobId::from_bytes([1; 16]), Label::default(), "alice".parse().unwrap());
        Job::begin(NewJob { id, work: work(), reason, by, total: 10, pace }, NOW)
    }

    #[test]
    fn steps_add_up_and_the_pace_is_kept() {
        let job = job(100).stepped(work(), 50, NOW).unwrap();
        assert_eq!((job.progress(), job.next()), ((50, 50), UnixMillis(NOW.0 + 500)));
        assert_eq!(job.due(), Some(job.next()));
        let done = job.finished(work(), NOW).unwrap();
        assert_eq!((done.state(), done.due(), done.ended()), (JobState::Done, None, Some(NOW)));
        assert!(done.forget() > Some(NOW));
    }

    #[test]
    fn what_failed_is_tried_again_ever_more_rarely_and_a_step_makes_it_well() {
        let mut job = job(0);
        let mut waits = Vec::new();
        for _ in 0..12 {
            job = job.failed("the device does not answer", NOW).unwrap();
            waits.push(job.next().since(NOW));
        }
        assert_eq!(waits[..3], [5_000, 10_000, 20_000]);
        assert_eq!(waits.last(), Some(&600_000));
        assert_eq!(job.trouble(), Some(("the device does not answer", 12)));
        assert_eq!(job.stepped(work(), 1, NOW).unwrap().trouble(), None);
    }

    #[test]
    fn what_ended_stays_so() {
        let given_up = job(0).given_up("no room", NOW).unwrap();
        assert_eq!(
            (given_up.state(), given_up.trouble(), given_up.due()),
            (JobState::Failed, Some(("no room", 1)), None)
        );
        for ended in [job(0).cancelled(NOW).unwrap(), job(0).finished(work(), NOW).unwrap(), given_up] {
            assert!(ended.stepped(work(), 1, NOW).is_err());
            assert!(ended.failed("x", NOW).is_err());
            assert!(ended.cancelled(NOW).is_err());
            assert!(ended.finished(work(), NOW).is_err());
        }
    }
}
