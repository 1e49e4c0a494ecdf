//! Drills over time: which the server holds by itself, which people owe, and telling when one is overdue (requirements
//! T8, T9).

use keyreeve_model::drill::{DrillKind, DrillPlan, DrillRecord, DrillStep};
use keyreeve_model::{Facts, Label, Name, NoticeKind, UnixMillis};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

use crate::commit::Durable;
use crate::core::{Core, Engine};
use crate::courier::Telling;
use crate::error::Error;
use crate::ops::drills::Record;
use crate::sealing::Opened;

/// How long after a failed drill the server tries again by itself, at most.
const AGAIN: Duration = Duration::from_secs(24 * 3600);
/// How long overdue drills are not told of again.
const QUIET: Duration = Duration::from_secs(7 * 24 * 3600);

/// When drills are wanted, and how they stand.
#[derive(Default)]
pub(crate) struct Drills {
    plan: Mutex<Option<DrillPlan>>,
    /// Somebody asked the server for one.
    asked: AtomicBool,
    bell: Notify,
    standing: Mutex<Vec<DrillStanding>>,
    /// Until when overdue drills are not told of again.
    told: Mutex<Option<UnixMillis>>,
}

impl Drills {
    /// The plan that the configuration gives.
    pub(crate) fn plan(&self) -> DrillPlan {
        self.plan.lock().unwrap_or(DrillPlan::NONE)
    }

    /// Lets the server hold a restore drill now.
    pub(crate) fn ask(&self) {
        self.asked.store(true, Ordering::Release);
        self.bell.notify_one();
    }
}

/// How drills of one kind stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrillStanding {
    /// The kind.
    pub kind: DrillKind,
    /// When the last good one was.
    pub good: Option<UnixMillis>,
    /// How old that may become; nothing where nobody is reminded.
    pub within: Option<Duration>,
    /// Whether it is older.
    pub overdue: bool,
}

/// A restore drill that the server held.
#[derive(Debug)]
pub struct HeldDrill {
    /// The backup and where it came from, as far as one was found.
    pub backup: Option<(u64, Name)>,
    /// How much would have been lost (milliseconds).
    pub lost_ms: Option<u64>,
    /// How long it took (milliseconds).
    pub took_ms: u64,
    /// What was done.
    pub steps: Vec<DrillStep>,
    /// Why it failed.
    pub trouble: Option<Label>,
}

impl Core {
    /// Every drill, the newest first.
    pub(crate) async fn drills_held(&self, opened: &Opened) -> Result<Vec<DrillRecord>, Error> {
        let mut all: Vec<DrillRecord> =
            self.filed_all::<DrillRecord>(opened, None).await?.into_iter().map(|(record, _)| record).collect();
        all.reverse();
        Ok(all)
    }

    /// How each kind of drill stands.
    pub(crate) fn drills_standing(&self, opened: &Opened, held: &[DrillRecord], now: UnixMillis) -> Vec<DrillStanding> {
        let (mut plan, since) = (self.drills.plan(), opened.deployment.created);
        if self.backups.get().is_none() {
            // There is nothing that the server could restore by itself.
            plan.restore_every = None;
        }
        let mut good: BTreeMap<DrillKind, UnixMillis> = BTreeMap::new();
        for record in held.iter().filter(|record| record.passed) {
            let newest = good.entry(record.kind).or_insert(record.at);
            *newest = record.at.max(*newest);
        }
        let stands = |kind: &DrillKind| {
            let good = good.get(kind).copied();
            DrillStanding {
                kind: *kind,
                good,
                within: plan.within(*kind),
                overdue: plan.is_overdue(*kind, good, since, now),
            }
        };
        DrillKind::ALL.iter().map(stands).collect()
    }
}

impl Engine {
    /// Says when drills are wanted; once, before the engine is started.
    pub fn plan_drills(&self, plan: DrillPlan) {
        *self.core.drills.plan.lock() = Some(plan);
    }

    /// Waits until somebody asks the server to hold a restore drill.
    pub async fn drill_asked(&self) {
        self.core.drills.bell.notified().await;
    }

    /// The number of the restore drill that the server holds now, if one is due or was asked for.
    ///
    /// # Errors
    /// When the store does not tell.
    pub async fn drill_due(&self) -> Result<Option<u64>, Error> {
        let core = &*self.core;
        let Some(opened) = core.opened() else { return Ok(None) };
        let held = core.drills_held(&opened).await?;
        let number = held.first().map_or(1, |record| record.number + 1);
        if core.drills.asked.swap(false, Ordering::AcqRel) {
            return Ok(Some(number));
        }
        let Some(every) = core.drills.plan().restore_every else { return Ok(None) };
        let made = core.backups_made(&opened).await?;
        let Some((oldest, _)) = made.last() else { return Ok(None) };
        let last = held.iter().find(|record| record.kind == DrillKind::Restore);
        let next = match last {
            // The first one waits its time like the others, from the first backup on.
            None => oldest.created.plus(every),
            Some(last) if last.passed => last.at.plus(every),
            Some(last) => last.at.plus(every.min(AGAIN)),
        };
        Ok((next <= core.now()?).then_some(number))
    }

    /// Puts a restore drill that the server held on record.
    ///
    /// # Errors
    /// When that could not be written down.
    pub async fn record_drill(&self, held: HeldDrill) -> Result<(), Error> {
        let (backup, destination) = held.backup.unzip();
        let operation = Record {
            kind: DrillKind::Restore,
            passed: held.trouble.is_none(),
            took_ms: held.took_ms,
            lost_ms: held.lost_ms,
            backup,
            destination,
            steps: held.steps,
            trouble: held.trouble,
        };
        let recorded = self.call_as_server("drill", operation).await;
        recorded.map(|_| ()).map_err(|refused| refused.error)
    }

    /// How drills stood when they were last looked at; for metrics.
    #[must_use]
    pub fn drills_standing(&self) -> Vec<DrillStanding> {
        self.core.drills.standing.lock().clone()
    }

    /// Looks which drills are overdue, and tells of them once a week.
    pub(crate) async fn look_after_drills(&self) -> Result<(), Error> {
        let core = &*self.core;
        let Some(opened) = core.opened() else { return Ok(()) };
        let now = core.now()?;
        let standing = core.drills_standing(&opened, &core.drills_held(&opened).await?, now);
        core.drills.standing.lock().clone_from(&standing);
        let overdue: Vec<&str> = standing.iter().filter(|drill| drill.overdue).map(|drill| drill.kind.name()).collect();
        let quiet = core.drills.told.lock().is_some_and(|until| now < until);
        if overdue.is_empty() || quiet {
            return Ok(());
        }
        let facts = Facts::default().with("drills", overdue.join(", "));
        let subject = format!("{} drills are overdue: {}", overdue.len(), overdue.join(", "));
        let telling = Telling::new(NoticeKind::DrillOverdue, subject, facts);
        let changes = core.notice(&opened, &telling, None, now)?;
        let sealer = Some(Arc::clone(&opened.keys));
        core.commit(Durable { name: "drills-overdue", changes, entry: None, sealer }).await?;
        *core.drills.told.lock() = Some(now.plus(QUIET));
        Ok(())
    }
}
