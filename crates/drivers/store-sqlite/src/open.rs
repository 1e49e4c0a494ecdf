//! Opening the database: who may see the files, that nobody else has them open, and how SQLite is set up.

use keyreeve_store::migration::SchemaError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// How long a connection waits for another one of this process; only checkpoints and readers ever meet.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The write-ahead log is cut back to this size (bytes) after a checkpoint.
const WAL_LIMIT: i64 = 8 * 1024 * 1024;
/// Page cache of the writer and of each reader (KiB; negative is SQLite's way to say so): 6 MiB in all, because the
/// system's page cache holds what is read often anyway, and the hot path reads nothing.
const WRITER_CACHE: i64 = -2 * 1024;
const READER_CACHE: i64 = -1024;
/// Distinct statements a connection keeps prepared; there are fewer.
const STATEMENTS: usize = 64;

/// Why a database was not opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Other users of the machine may read or write it.
    #[error("{} is open to other users (mode {mode:03o}): run `chmod {wanted:03o} {}`", path.display(), path.display())]
    Permissions {
        /// The file or directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The permission bits it must have.
        wanted: u32,
    },
    /// Another process has it open.
    #[error("{} is in use by another process{}: stop it first; one server uses a database at a time",
        path.display(), describe(holder))]
    InUse {
        /// The database.
        path: PathBuf,
        /// What that process wrote into the lock file: its process id.
        holder: String,
    },
    /// Its schema is not this program's.
    #[error(transparent)]
    Schema(SchemaError),
    /// It is a database, but not one of Keyreeve.
    #[error("the database belongs to another program: choose another data directory")]
    Foreign,
    /// SQLite cannot use it.
    #[error("the database cannot be opened: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The file system refuses.
    #[error("{} cannot be opened", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn describe(holder: &str) -> String {
    if holder.is_empty() { String::new() } else { format!(" (process {holder})") }
}

/// Makes the directory and the file where there are none, and refuses those that others may touch.
pub(crate) fn prepare(path: &Path) -> Result<(), OpenError> {
    let directory = directory(path);
    let failed = |source| OpenError::Io { path: directory.to_owned(), source };
    if !directory.try_exists().map_err(failed)? {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    }
    check_mode(directory, 0o700)?;
    let failed = |source| OpenError::Io { path: path.to_owned(), source };
    if path.try_exists().map_err(failed)? {
        return check_mode(path, 0o600);
    }
    // Made here and not by SQLite, which would use the umask; the write-ahead log takes over this file's mode.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.set_permissions(Permissions::from_mode(0o600)).map_err(failed)?;
    File::open(directory).and_then(|handle| handle.sync_all()).map_err(failed)
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn check_mode(path: &Path, wanted: u32) -> Result<(), OpenError> {
    let metadata = path.metadata().map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(OpenError::Permissions { path: path.to_owned(), mode, wanted }) }
}

/// Locks the database for this process as long as the returned file lives; the kernel lets go when the process dies.
pub(crate) fn lock(path: &Path) -> Result<File, OpenError> {
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock_path = PathBuf::from(lock_path);
    let failed = |source| OpenError::Io { path: lock_path.clone(), source };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(&lock_path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0).map_err(failed)?;
            file.rewind().map_err(failed)?;
            write!(file, "{}", std::process::id()).map_err(failed)?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Only to help a person; an unreadable id changes nothing.
            let _ = file.read_to_string(&mut holder);
            let holder = holder.chars().filter(char::is_ascii_digit).collect();
            Err(OpenError::InUse { path: path.to_owned(), holder })
        }
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// The one connection that writes.
pub(crate) fn writer(path: &Path) -> Result<Connection, rusqlite::Error> {
    let db = connect(path)?;
    db.pragma_update(None, "secure_delete", "ON")?;
    db.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", "ON")?;
    db.pragma_update_and_check(None, "journal_size_limit", WAL_LIMIT, |_| Ok(()))?;
    db.pragma_update(None, "cache_size", WRITER_CACHE)?;
    Ok(db)
}

/// A connection that reads.
pub(crate) fn reader(path: &Path) -> Result<Connection, rusqlite::Error> {
    let db = connect(path)?;
    db.pragma_update(None, "query_only", "ON")?;
    db.pragma_update(None, "cache_size", READER_CACHE)?;
    Ok(db)
}

fn connect(path: &Path) -> Result<Connection, rusqlite::Error> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    db.pragma_update(None, "trusted_schema", "OFF")?;
    db.pragma_update(None, "cell_size_check", "ON")?;
    // Temporary files would hold copies of rows that nobody erases.
    db.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(db)
}
