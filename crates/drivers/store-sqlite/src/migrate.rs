//! Brings the schema up to date, or refuses the database.

use keyreeve_store::migration::{Applied, Migration, SchemaError, pending};
use rusqlite::{Connection, TransactionBehavior, params};

use crate::open::OpenError;

/// Every migration, oldest first. Append only.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "0001_foundation.sql", sql: include_str!("../migrations/0001_foundation.sql") },
    Migration { version: 2, name: "0002_access.sql", sql: include_str!("../migrations/0002_access.sql") },
];

const HISTORY: &str =
    "CREATE TABLE schema_version (version INTEGER PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL) STRICT";

/// Applies what is missing, all in one transaction.
pub(crate) fn migrate(db: &mut Connection, known: &[Migration]) -> Result<(), OpenError> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if !transaction.table_exists(None, "schema_version")? {
        let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if tables != 0 {
            return Err(OpenError::Foreign);
        }
        transaction.execute(HISTORY, [])?;
    }
    let applied = history(&transaction)?;
    for migration in pending(known, &applied)? {
        transaction.execute_batch(migration.sql)?;
        let record = "INSERT INTO schema_version (version, name, sha256) VALUES (?1, ?2, ?3)";
        transaction.execute(record, params![migration.version, migration.name, migration.sha256()])?;
    }
    transaction.commit()?;
    Ok(())
}

fn history(db: &Connection) -> Result<Vec<Applied>, OpenError> {
    let mut statement = db.prepare("SELECT version, sha256 FROM schema_version ORDER BY version")?;
    let rows = statement.query_map([], |row| Ok(Applied { version: row.get(0)?, sha256: row.get(1)? }))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

impl From<SchemaError> for OpenError {
    fn from(error: SchemaError) -> Self {
        Self::Schema(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_store::migration::hashes;

    #[test]
    fn released_migrations_are_not_edited() {
        assert_eq!(hashes(MIGRATIONS), include_str!("../migrations/HASHES"));
    }

    #[test]
    fn migrating_twice_changes_nothing() {
        let mut db = Connection::open_in_memory().unwrap();
        migrate(&mut db, MIGRATIONS).unwrap();
        let before = history(&db).unwrap();
        migrate(&mut db, MIGRATIONS).unwrap();
        assert_eq!(history(&db).unwrap(), before);
        assert_eq!(before.len(), MIGRATIONS.len());
    }

    #[test]
    fn a_failing_migration_leaves_nothing() {
        let mut db = Connection::open_in_memory().unwrap();
        let mut known = MIGRATIONS.to_vec();
        known.push(Migration {
            version: 3,
            name: "0003_bad.sql",
            sql: "CREATE TABLE extra (x); CREATE TABLE keys (x);",
        });
        assert!(matches!(migrate(&mut db, &known), Err(OpenError::Sqlite(_))));
        let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
        assert_eq!(tables, 0);
    }

    #[test]
    fn newer_changed_and_foreign_databases_are_refused() {
        let mut db = Connection::open_in_memory().unwrap();
        migrate(&mut db, MIGRATIONS).unwrap();
        db.execute("INSERT INTO schema_version VALUES (3, '0003_later.sql', '00')", []).unwrap();
        assert!(matches!(
            migrate(&mut db, MIGRATIONS),
            Err(OpenError::Schema(SchemaError::Newer { found: 3, known: 2 }))
        ));

        db.execute("DELETE FROM schema_version WHERE version = 3", []).unwrap();
        db.execute("UPDATE schema_version SET sha256 = 'x'", []).unwrap();
        assert!(matches!(migrate(&mut db, MIGRATIONS), Err(OpenError::Schema(SchemaError::Changed { .. }))));

        let mut other = Connection::open_in_memory().unwrap();
        other.execute("CREATE TABLE theirs (x)", []).unwrap();
        assert!(matches!(migrate(&mut other, MIGRATIONS), Err(OpenError::Foreign)));
    }
}
