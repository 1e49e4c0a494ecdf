//! Connections, their time limits, and trying again.

use keyreeve_model::{RecordId, Transaction, UnixMillis};
use keyreeve_store::StoreError;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::query::Query;
use sqlx::{ConnectOptions, Connection, PgConnection, Postgres, Row};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::RwLock;
use tokio::time::{sleep, timeout};

use crate::apply::{self, Refused};
use crate::error::{TimedOut, is_transient, store_error};
use crate::rows::Unread;
use crate::{ATTEMPTS, OpenError, PostgresOptions};

/// Idle connections are asked whether they live after this time: firewalls and restarts end them silently.
const PROBE_AFTER: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct Pool {
    pool: PgPool,
    /// One connection apart: however many operations wait for one of the others, the lease is renewed.
    for_lease: PgPool,
    limit: Duration,
    /// Who asked for the lease last: commits apply only while it has it.
    holder: RwLock<Option<String>>,
}

/// A connection that goes back to the pool only when its last operation came to an end: one given up halfway, by a time
/// limit or by a caller that went away, is closed, so that nobody waits for its late answer.
struct Held {
    connection: PoolConnection<Postgres>,
    ended: bool,
}

impl Held {
    async fn of(pool: &PgPool) -> Result<Self, Failed> {
        Ok(Self { connection: pool.acquire().await?, ended: false })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.close_on_drop();
        }
    }
}

/// Why an attempt failed.
enum Failed {
    Sql(sqlx::Error),
    TimedOut,
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Failed> for StoreError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Sql(error) => store_error(error),
            Failed::TimedOut => Self::Unavailable(Box::new(TimedOut)),
        }
    }
}

impl Pool {
    pub(crate) async fn connect(url: &str, options: PostgresOptions) -> Result<Self, OpenError> {
        let target: PgConnectOptions = url.parse().map_err(|_| OpenError::Url)?;
        let named = target.get_application_name().is_some();
        let target = if named { target } else { target.application_name("keyreeve") }.disable_statement_logging();
        let limit = options.operation_timeout;
        let connections = |most: u32| {
            PgPoolOptions::new()
                .max_connections(most)
                .acquire_timeout(options.acquire_timeout)
                .test_before_acquire(false)
                .before_acquire(|db, used| Box::pin(async move { still_there(db, used.idle_for).await }))
                .after_connect(move |db, _| Box::pin(async move { set_up(db, limit).await }))
        };
        let pool = connections(options.connections.max(1)).connect_with(target.clone()).await?;
        let for_lease = connections(1).connect_lazy_with(target);
        let pool = Self { pool, for_lease, limit, holder: RwLock::default() };
        pool.warn_without_sync().await?;
        Ok(pool)
    }

    /// A connection without a time limit, for migrations.
    pub(crate) async fn connection(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        self.pool.acquire().await
    }

    /// A connection for long work. It is closed afterwards, in whatever state that left it.
    pub(crate) async fn apart(&self) -> Result<PoolConnection<Postgres>, StoreError> {
        let mut connection = self.pool.acquire().await.map_err(store_error)?;
        connection.close_on_drop();
        Ok(connection)
    }

    async fn warn_without_sync(&self) -> Result<(), sqlx::Error> {
        let setting = sqlx::query("SELECT current_setting('fsync', true)").fetch_one(&self.pool).await?;
        if setting.try_get::<Option<&str>, _>(0)? == Some("off") {
            tracing::warn!("PostgreSQL runs with fsync = off: a power failure loses commits, keys included");
        }
        Ok(())
    }

    async fn hold(&self) -> Result<Held, Failed> {
        Held::of(&self.pool).await
    }

    /// Waits for an operation on a held connection, but not for ever.
    async fn within<T>(&self, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Failed> {
        timeout(self.limit, work).await.map_err(|_| Failed::TimedOut)?.map_err(Failed::Sql)
    }

    /// The first row of a query, if there is one.
    pub(crate) async fn first<T>(
        &self,
        query: Query<'_, Postgres, PgArguments>,
        map: fn(&PgRow) -> Result<T, Unread>,
    ) -> Result<Option<T>, StoreError> {
        let mut held = self.hold().await?;
        let row = self.within(query.fetch_optional(&mut *held.connection)).await?;
        held.ended = true;
        Ok(row.as_ref().map(map).transpose()?)
    }

    /// All rows of a query.
    pub(crate) async fn all<T>(
        &self,
        query: Query<'_, Postgres, PgArguments>,
        map: fn(&PgRow) -> Result<T, Unread>,
    ) -> Result<Vec<T>, StoreError> {
        let mut held = self.hold().await?;
        let rows = self.within(query.fetch_all(&mut *held.connection)).await?;
        held.ended = true;
        Ok(rows.iter().map(map).collect::<Result<_, _>>()?)
    }

    /// Runs one statement as a transaction of its own and returns how many rows it touched.
    pub(crate) async fn statement<'q>(
        &self,
        name: &'static str,
        make: impl Fn() -> Query<'q, Postgres, PgArguments>,
    ) -> Result<u64, StoreError> {
        self.statement_on(&self.pool, name, make).await
    }

    async fn statement_on<'q>(
        &self,
        pool: &PgPool,
        name: &'static str,
        make: impl Fn() -> Query<'q, Postgres, PgArguments>,
    ) -> Result<u64, StoreError> {
        for attempt in 1..=ATTEMPTS {
            let mut held = Held::of(pool).await?;
            let outcome = self.within(make().execute(&mut *held.connection)).await;
            match outcome {
                Ok(done) => {
                    held.ended = true;
                    return Ok(done.rows_affected());
                }
                Err(Failed::Sql(error)) if is_transient(&error) => {
                    held.ended = true;
                    back_off(name, attempt, &error).await;
                }
                Err(failed) => return Err(failed.into()),
            }
        }
        Err(StoreError::Conflict { transaction: name })
    }

    /// Takes or renews the lease; from here on commits need it. Commits wait meanwhile: a steady stream of them, each
    /// holding a share of the lease's row, would keep this server from renewing it. It waits for the attempts under
    /// way, one time limit at most, and not for what these do before or after.
    pub(crate) async fn lease(&self, holder: &str, now: UnixMillis, until: UnixMillis) -> Result<bool, StoreError> {
        let mut named = self.holder.write().await;
        *named = Some(holder.to_owned());
        self.statement_on(&self.for_lease, "lease", || apply::lease(holder, now, until)).await.map(|rows| rows == 1)
    }

    /// Applies a transaction, again where the database asks for it.
    pub(crate) async fn commit(&self, transaction: &Transaction) -> Result<(), StoreError> {
        let name = transaction.name;
        for attempt in 1..=ATTEMPTS {
            let mut held = self.hold().await?;
            let asked = AtomicBool::new(false);
            let holder = self.holder.read().await;
            let work = apply_once(&mut held.connection, transaction, holder.as_deref(), &asked);
            let outcome = timeout(self.limit, work).await;
            // Whoever finds out what became of a commit must not keep the lease from being renewed meanwhile.
            drop(holder);
            held.ended =
                matches!(&outcome, Ok(Ok(()) | Err(Refused::Conflict | Refused::Taken { .. } | Refused::LeaseLost)));
            let failed = match outcome {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(Refused::Conflict)) => return Err(StoreError::Conflict { transaction: name }),
                Ok(Err(Refused::Taken { what, name })) => return Err(StoreError::Taken { what, name }),
                Ok(Err(Refused::LeaseLost)) => return Err(StoreError::LeaseLost),
                Ok(Err(Refused::Sql(error))) if is_transient(&error) => {
                    held.ended = true;
                    drop(held);
                    back_off(name, attempt, &error).await;
                    continue;
                }
                Ok(Err(Refused::NotBegun(error))) if attempt < ATTEMPTS => {
                    drop(held);
                    back_off(name, attempt, &error).await;
                    continue;
                }
                Ok(Err(Refused::Sql(error) | Refused::NotBegun(error))) => store_error(error),
                Err(_) => Failed::TimedOut.into(),
            };
            // Closes the connection. What was not asked to be committed never will be.
            drop(held);
            return if asked.into_inner() { self.find_out(transaction, failed).await } else { Err(failed) };
        }
        // Nothing was applied, and what was read may be old by now.
        Err(StoreError::Conflict { transaction: name })
    }

    /// What became of a transaction whose COMMIT was sent and not answered. Its first outbox row tells: when COMMIT was
    /// sent that row had been added, so whoever adds it again waits for the transaction to end and then knows.
    async fn find_out(&self, transaction: &Transaction, failed: StoreError) -> Result<(), StoreError> {
        let Some(marker) = transaction.outbox.first() else { return Err(StoreError::InDoubt(Box::new(failed))) };
        for attempt in 1..=ATTEMPTS {
            match self.is_in_outbox(&marker.id).await {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(failed),
                Err(Failed::Sql(error)) => back_off(transaction.name, 2 * attempt, &error).await,
                Err(Failed::TimedOut) => break,
            }
        }
        tracing::error!(transaction = transaction.name, "it could not be found out whether a transaction was applied");
        Err(StoreError::InDoubt(Box::new(failed)))
    }

    async fn is_in_outbox(&self, marker: &RecordId) -> Result<bool, Failed> {
        let mut held = self.hold().await?;
        let look = async {
            let mut open = held.connection.begin().await?;
            let found = apply::is_in_outbox(&mut open, marker).await?;
            open.rollback().await?;
            Ok(found)
        };
        let found = self.within(look).await?;
        held.ended = true;
        Ok(found)
    }

    /// Waits for the operations under way and closes all connections.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
        self.for_lease.close().await;
    }
}

/// Asks a connection that was idle for a while whether it still lives; asking each time would cost every operation a
/// round trip.
async fn still_there(db: &mut PgConnection, idle: Duration) -> Result<bool, sqlx::Error> {
    Ok(idle < PROBE_AFTER || db.ping().await.is_ok())
}

/// Applies a transaction; `asked` becomes true when the database is asked to commit.
async fn apply_once(
    db: &mut PgConnection,
    transaction: &Transaction,
    holder: Option<&str>,
    asked: &AtomicBool,
) -> Result<(), Refused> {
    let mut open = db.begin().await.map_err(Refused::NotBegun)?;
    let applied = async {
        if let Some(holder) = holder {
            apply::fence(&mut open, holder).await?;
        }
        apply::transaction(&mut open, transaction).await
    };
    match applied.await {
        Ok(()) => {
            asked.store(true, Ordering::Relaxed);
            Ok(open.commit().await?)
        }
        Err(refused) => {
            open.rollback().await?;
            Err(refused)
        }
    }
}

async fn back_off(name: &'static str, attempt: u32, error: &sqlx::Error) {
    tracing::debug!(transaction = name, attempt, %error, "trying again");
    sleep(Duration::from_millis(1 << attempt)).await;
}

/// The settings of every session. The server's time limit ends first, so that it stops working on what nobody waits
/// for.
async fn set_up(db: &mut PgConnection, limit: Duration) -> Result<(), sqlx::Error> {
    let millis = (limit.as_millis() * 9 / 10).max(1).to_string();
    let sql = "SELECT set_config('statement_timeout', $1, false), set_config('lock_timeout', $1, false), \
               set_config('idle_in_transaction_session_timeout', $1, false)";
    sqlx::query(sql).bind(millis).execute(&mut *db).await?;
    let sync = "SELECT set_config('synchronous_commit', 'on', false) \
                WHERE current_setting('synchronous_commit', true) = 'off'";
    sqlx::query(sync).execute(&mut *db).await?;
    Ok(())
}
