//! Connections for reading, shared by all callers.

use keyreeve_store::StoreError;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

use crate::error::{Gone, Phase, store_error};
use crate::open;
use crate::read::Unread;

/// Reads that run at the same time.
const READERS: u32 = 4;

pub(crate) struct Readers {
    pool: Arc<Pool>,
    permits: Arc<Semaphore>,
}

struct Pool {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(crate) fn new(path: &Path) -> Self {
        let pool = Arc::new(Pool { path: path.to_owned(), idle: Mutex::default() });
        Self { pool, permits: Arc::new(Semaphore::new(READERS as usize)) }
    }

    /// Runs a read on a blocking thread.
    pub(crate) async fn read<T, F>(&self, read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Unread> + Send + 'static,
    {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| Gone::Closed)?;
        let pool = Arc::clone(&self.pool);
        let work = move || {
            let outcome = pool.with(read);
            drop(permit);
            outcome
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| Gone::Cancelled)?
    }

    /// Waits for the reads under way and refuses all others.
    pub(crate) async fn close(&self) {
        let all = self.permits.acquire_many(READERS).await;
        self.permits.close();
        self.clear();
        drop(all);
    }

    /// Closes the connections that are not in use.
    pub(crate) fn clear(&self) {
        self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Pool {
    fn with<T>(&self, read: impl FnOnce(&Connection) -> Result<T, Unread>) -> Result<T, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let db = match idle {
            Some(db) => db,
            None => open::reader(&self.path).map_err(|error| store_error(&Arc::new(error), Phase::Read))?,
        };
        // A connection that met an error is not used again.
        let found = read(&db)?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(db);
        Ok(found)
    }
}
