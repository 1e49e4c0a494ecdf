//! Append-only schema migrations: which ones a database still needs, and when it must be refused.
//!
//! A migration is never edited once it has left the repository. Its SHA-256 is recorded in the database when it is
//! applied, so that a build whose old migrations differ does not guess what the tables look like.

use sha2::{Digest, Sha256};
use thiserror::Error;

/// One migration that is part of this build.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// 1 for the first, then without gaps.
    pub version: i64,
    /// The file's name.
    pub name: &'static str,
    /// The file's text.
    pub sql: &'static str,
}

impl Migration {
    /// SHA-256 of the text, in hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> String {
        hex::encode(Sha256::digest(self.sql.as_bytes()))
    }
}

/// One migration that a database says was applied to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its version.
    pub version: i64,
    /// SHA-256 of its text, in hexadecimal.
    pub sha256: String,
}

/// A database whose schema this build must not touch.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SchemaError {
    /// A newer Keyreeve was here.
    #[error(
        "the database has schema version {found}, this program knows versions up to {known}: \
         run the newer version of Keyreeve that wrote it, or restore a backup from before the upgrade"
    )]
    Newer {
        /// The database's version.
        found: i64,
        /// The newest version this build has.
        known: i64,
    },
    /// An old migration is not what it was.
    #[error(
        "migration `{name}` was applied to this database with other contents than this program has: \
         run an official build; migrations are never edited after release"
    )]
    Changed {
        /// The file's name.
        name: &'static str,
    },
    /// The list of applied migrations has a hole.
    #[error("the database's list of applied migrations is incomplete: version {missing} is missing")]
    Incomplete {
        /// The first version that is not there.
        missing: i64,
    },
}

/// The migrations that `applied` (ascending by version) still needs.
///
/// # Errors
/// [`SchemaError`] when the database is newer than this build or was built by other migrations.
pub fn pending<'a>(known: &'a [Migration], applied: &[Applied]) -> Result<&'a [Migration], SchemaError> {
    let newest = known.last().map_or(0, |migration| migration.version);
    if let Some(last) = applied.last().filter(|last| last.version > newest) {
        return Err(SchemaError::Newer { found: last.version, known: newest });
    }
    for (migration, row) in known.iter().zip(applied) {
        if row.version != migration.version {
            return Err(SchemaError::Incomplete { missing: migration.version });
        }
        if row.sha256 != migration.sha256() {
            return Err(SchemaError::Changed { name: migration.name });
        }
    }
    Ok(known.get(applied.len()..).unwrap_or_default())
}

/// The line that a `migrations/HASHES` file has for each migration: SHA-256, two spaces, file name.
#[must_use]
pub fn hashes(known: &[Migration]) -> String {
    known.iter().map(|migration| format!("{}  {}\n", migration.sha256(), migration.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [Migration; 2] = [
        Migration { version: 1, name: "0001_a.sql", sql: "CREATE TABLE a (x);" },
        Migration { version: 2, name: "0002_b.sql", sql: "CREATE TABLE b (x);" },
    ];

    fn applied(count: usize) -> Vec<Applied> {
        KNOWN[..count].iter().map(|m| Applied { version: m.version, sha256: m.sha256() }).collect()
    }

    #[test]
    fn only_what_is_missing_is_pending() {
        for count in 0..=2 {
            let names: Vec<_> = pending(&KNOWN, &applied(count)).unwrap().iter().map(|m| m.name).collect();
            assert_eq!(names, KNOWN[count..].iter().map(|m| m.name).collect::<Vec<_>>());
        }
    }

    #[test]
    fn newer_changed_and_incomplete_databases_are_refused() {
        let mut newer = applied(2);
        newer.push(Applied { version: 3, sha256: "00".into() });
        assert_eq!(pending(&KNOWN, &newer).unwrap_err(), SchemaError::Newer { found: 3, known: 2 });

        let mut changed = applied(2);
        changed[0].sha256.replace_range(0..1, "x");
        assert_eq!(pending(&KNOWN, &changed).unwrap_err(), SchemaError::Changed { name: "0001_a.sql" });

        let hole = &applied(2)[1..];
        assert_eq!(pending(&KNOWN, hole).unwrap_err(), SchemaError::Incomplete { missing: 1 });
    }

    #[test]
    fn the_hash_is_sha_256_of_the_text() {
        // printf 'CREATE TABLE a (x);' | sha256sum
        let line = hashes(&KNOWN[..1]);
        assert_eq!(line, format!("{}  0001_a.sql\n", KNOWN[0].sha256()));
        assert_eq!(line.len(), 64 + 2 + "0001_a.sql".len() + 1);
    }
}
