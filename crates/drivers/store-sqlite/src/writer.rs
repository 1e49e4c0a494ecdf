//! The one thread that writes. It takes every transaction that waits and applies them in one SQL transaction, each
//! inside its own savepoint: one sync of the disk for all of them, an outcome for each.

use keyreeve_model::{Change, Transaction, UnixMillis};
use keyreeve_store::StoreError;
use rusqlite::Connection;
use std::cell::RefCell;
use std::fs::File;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

use crate::apply::{self, Refused};
use crate::error::{Phase, store_error};

/// At most this many transactions share one flush, so that the first of them does not wait long for the last.
const BATCH: usize = 256;

/// What the writer is asked to do.
pub(crate) enum Work {
    /// Apply a transaction.
    Commit(Transaction),
    /// Take or renew the lease.
    Lease { holder: String, now: UnixMillis, until: UnixMillis },
    /// Write something, to see that it works.
    Check,
    /// Change a setting of the writing connection, so that a test meets a full or read-only disk.
    #[cfg(test)]
    Pragma(&'static str),
}

/// Work and where its outcome goes. The outcome of a lease says whether it was had; that of everything else is true.
pub(crate) struct Job {
    pub(crate) work: Work,
    pub(crate) reply: oneshot::Sender<Outcome>,
}

pub(crate) type Outcome = Result<bool, StoreError>;

/// A failure that undid the whole batch.
struct Undone {
    error: Arc<rusqlite::Error>,
    phase: Phase,
}

impl Undone {
    fn in_phase(phase: Phase) -> impl Fn(rusqlite::Error) -> Self {
        move |error| Self { error: Arc::new(error), phase }
    }
}

/// What the thread owns. The lock file is let go after the database is closed: fields drop in order.
pub(crate) struct Writer {
    db: Connection,
    /// An erasure is committed, but a reader kept the old bytes in the write-ahead log.
    leftovers: bool,
    /// Who asked for the lease last: commits apply only while it has it. In the order of the queue, as the writes are.
    holder: RefCell<Option<String>>,
    _lock: File,
}

impl Writer {
    pub(crate) fn new(db: Connection, lock: File) -> Self {
        Self { db, leftovers: false, holder: RefCell::default(), _lock: lock }
    }

    /// Works until every sender is gone and nothing waits any more.
    pub(crate) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(job) = jobs.blocking_recv() {
            batch.push(job);
            while batch.len() < BATCH
                && let Ok(job) = jobs.try_recv()
            {
                batch.push(job);
            }
            self.flush(&mut batch);
        }
        self.checkpoint();
    }

    fn flush(&mut self, batch: &mut Vec<Job>) {
        #[cfg(test)]
        self.pragmas(batch);
        let outcomes = self.apply(batch);
        if self.leftovers || (outcomes.is_ok() && batch.iter().any(erases)) {
            self.checkpoint();
        }
        match outcomes {
            // A caller that went away does not want its outcome; the transaction stands all the same.
            Ok(outcomes) => batch.drain(..).zip(outcomes).for_each(|(job, outcome)| drop(job.reply.send(outcome))),
            Err(Undone { error, phase }) => {
                batch.drain(..).for_each(|job| drop(job.reply.send(Err(store_error(&error, phase)))));
            }
        }
    }

    /// Applies a batch, or none of it.
    fn apply(&self, batch: &[Job]) -> Result<Vec<Outcome>, Undone> {
        let outcomes = self.apply_open(batch);
        if !self.db.is_autocommit()
            && let Err(error) = self.db.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "the database does not roll back");
        }
        outcomes
    }

    /// Leaves a transaction open when there is nothing to keep.
    fn apply_open(&self, batch: &[Job]) -> Result<Vec<Outcome>, Undone> {
        self.run_sql("BEGIN IMMEDIATE").map_err(Undone::in_phase(Phase::Write))?;
        let mut outcomes = Vec::with_capacity(batch.len());
        for job in batch {
            outcomes.push(self.apply_one(&job.work)?);
        }
        if outcomes.iter().any(Result::is_ok) {
            self.run_sql("COMMIT").map_err(Undone::in_phase(Phase::Commit))?;
        }
        Ok(outcomes)
    }

    fn apply_one(&self, work: &Work) -> Result<Outcome, Undone> {
        let failed = Undone::in_phase(Phase::Write);
        self.run_sql("SAVEPOINT one").map_err(&failed)?;
        let refused = match self.work(work) {
            Ok(done) => {
                self.run_sql("RELEASE one").map_err(&failed)?;
                return Ok(Ok(done));
            }
            // SQLite undoes the whole transaction after some errors; then no savepoint is left.
            Err(Refused::Sql(error)) if self.db.is_autocommit() => return Err(failed(error)),
            Err(refused) => refused,
        };
        self.run_sql("ROLLBACK TO one").and_then(|()| self.run_sql("RELEASE one")).map_err(&failed)?;
        Ok(Err(match refused {
            Refused::Conflict => StoreError::Conflict { transaction: name(work) },
            Refused::Taken { what, name } => StoreError::Taken { what, name },
            Refused::LeaseLost => StoreError::LeaseLost,
            Refused::Sql(error) => store_error(&Arc::new(error), Phase::Write),
        }))
    }

    fn work(&self, work: &Work) -> Result<bool, Refused> {
        match work {
            Work::Commit(transaction) => {
                if let Some(holder) = self.holder.borrow().as_deref() {
                    apply::fence(&self.db, holder)?;
                }
                apply::transaction(&self.db, transaction).map(|()| true)
            }
            Work::Lease { holder, now, until } => {
                self.holder.replace(Some(holder.clone()));
                apply::lease(&self.db, holder, *now, *until)
            }
            Work::Check => apply::beat(&self.db).map(|()| true),
            #[cfg(test)]
            Work::Pragma(_) => Ok(true),
        }
    }

    fn run_sql(&self, sql: &'static str) -> rusqlite::Result<()> {
        self.db.prepare_cached(sql)?.execute([]).map(drop)
    }

    /// Moves the write-ahead log into the database and cuts it to nothing: no erased byte stays in either.
    fn checkpoint(&mut self) {
        let busy = self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        self.leftovers = !matches!(busy, Ok(0));
        if self.leftovers {
            tracing::warn!(
                ?busy,
                "the write-ahead log could not be cleared after an erasure; trying again with the next write"
            );
        }
    }

    #[cfg(test)]
    fn pragmas(&self, batch: &[Job]) {
        for job in batch {
            if let Work::Pragma(sql) = job.work {
                self.db.execute_batch(sql).unwrap();
            }
        }
    }
}

fn name(work: &Work) -> &'static str {
    match work {
        Work::Commit(transaction) => transaction.name,
        Work::Lease { .. } => "lease",
        Work::Check => "check",
        #[cfg(test)]
        Work::Pragma(_) => "pragma",
    }
}

fn erases(job: &Job) -> bool {
    match &job.work {
        Work::Commit(transaction) => {
            let erases = |change: &Change| matches!(change, Change::EraseMaterial { .. } | Change::EraseVersion { .. });
            transaction.changes.iter().any(erases)
        }
        Work::Lease { .. } | Work::Check => false,
        #[cfg(test)]
        Work::Pragma(_) => false,
    }
}
