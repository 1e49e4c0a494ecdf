//! Brings the schema up to date, or refuses the database.
//!
//! Several servers may start at once. Who may apply a migration is settled by inserting its row into `schema_version`:
//! the others wait for that row and then find it there. No lock of a particular vendor is needed.

use keyreeve_store::migration::{Applied, Migration, SchemaError, pending};
use sqlx::{Connection, PgConnection, Row};
use std::time::Duration;

use crate::error::{is_creation_race, is_undefined_table};
use crate::{ATTEMPTS, OpenError};

/// Every migration, oldest first. Append only.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "0001_foundation.sql", sql: include_str!("../migrations/0001_foundation.sql") },
    Migration { version: 2, name: "0002_access.sql", sql: include_str!("../migrations/0002_access.sql") },
];

const HISTORY: &str =
    "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL)";

/// Applies what is missing, each migration in a transaction of its own.
pub(crate) async fn migrate(db: &mut PgConnection, known: &[Migration]) -> Result<(), OpenError> {
    let mut attempt = 0;
    loop {
        match step(db, known).await {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            // Two servers that create the same table at once: PostgreSQL lets one of them fail.
            Err(Step::Sql(error)) if is_creation_race(&error) && attempt < ATTEMPTS => {
                attempt += 1;
                tokio::time::sleep(Duration::from_millis(10 << attempt)).await;
            }
            Err(Step::Sql(error)) => return Err(OpenError::Database(error)),
            Err(Step::Schema(error)) => return Err(OpenError::Schema(error)),
        }
    }
}

enum Step {
    Sql(sqlx::Error),
    Schema(SchemaError),
}

impl From<sqlx::Error> for Step {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

/// Applies the oldest migration that is missing; true when there is none.
async fn step(db: &mut PgConnection, known: &[Migration]) -> Result<bool, Step> {
    // Asked first, so that a server that can only read now starts with a schema that is up to date.
    let applied = match history(db).await {
        Err(error) if is_undefined_table(&error) => {
            sqlx::query(HISTORY).execute(&mut *db).await?;
            history(db).await?
        }
        known => known?,
    };
    let Some(migration) = pending(known, &applied).map_err(Step::Schema)?.first() else {
        return Ok(true);
    };
    let mut transaction = db.begin().await?;
    // A migration of a large table takes as long as it takes, and so does waiting for the server that is at it.
    let patience = "SELECT set_config('statement_timeout', '0', true), set_config('lock_timeout', '0', true)";
    sqlx::query(patience).execute(&mut *transaction).await?;
    let claim = "INSERT INTO schema_version (version, name, sha256) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    let claim = sqlx::query(claim).bind(migration.version).bind(migration.name).bind(migration.sha256());
    if claim.execute(&mut *transaction).await?.rows_affected() == 1 {
        sqlx::raw_sql(migration.sql).execute(&mut *transaction).await?;
        transaction.commit().await?;
    } else {
        transaction.rollback().await?;
    }
    Ok(false)
}

async fn history(db: &mut PgConnection) -> Result<Vec<Applied>, sqlx::Error> {
    let rows = sqlx::query("SELECT version, sha256 FROM schema_version ORDER BY version").fetch_all(db).await?;
    rows.iter().map(|row| Ok(Applied { version: row.try_get(0)?, sha256: row.try_get(1)? })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_store::migration::hashes;

    #[test]
    fn released_migrations_are_not_edited() {
        assert_eq!(hashes(MIGRATIONS), include_str!("../migrations/HASHES"));
    }
}
