//! A bounded cache of rows that never serves a row older than a finished commit.
//!
//! The hot path touches no database: it reads from here. Who changes a row announces it before the commit and after; a
//! load that overlapped the change is used once and not kept.

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use std::future::Future;
use std::hash::{BuildHasher, Hash, RandomState};

const SHARDS: usize = 64;

/// Rows of one table, by key.
pub(crate) struct RowCache<K, V> {
    rows: Cache<K, V>,
    /// Counts announced changes; a load notes it before and keeps its result only if it still stands.
    changes: Vec<Mutex<u64>>,
    hasher: RandomState,
}

impl<K: Eq + Hash + Clone, V: Clone> RowCache<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        let changes = (0..SHARDS).map(|_| Mutex::new(0)).collect();
        Self { rows: Cache::new(capacity), changes, hasher: RandomState::new() }
    }

    fn shard(&self, key: &K) -> &Mutex<u64> {
        &self.changes[self.hasher.hash_one(key) as usize % SHARDS]
    }

    /// The row, from memory or through `load`. What is absent is not remembered.
    pub(crate) async fn get_or_load<E, F>(&self, key: &K, load: F) -> Result<Option<V>, E>
    where
        F: Future<Output = Result<Option<V>, E>>,
    {
        if let Some(row) = self.rows.get(key) {
            return Ok(Some(row));
        }
        let before = *self.shard(key).lock();
        let Some(row) = load.await? else { return Ok(None) };
        let changes = self.shard(key).lock();
        if *changes == before {
            self.rows.insert(key.clone(), row.clone());
        }
        Ok(Some(row))
    }

    /// The row, if it is in memory.
    #[cfg(test)]
    pub(crate) fn peek(&self, key: &K) -> Option<V> {
        self.rows.get(key)
    }

    /// To be called before a change of the row is committed and again after, whatever the outcome.
    pub(crate) fn changing(&self, key: &K) {
        let mut changes = self.shard(key).lock();
        *changes += 1;
        self.rows.remove(key);
    }

    /// Forgets everything, for instance when the server is sealed.
    pub(crate) fn clear(&self) {
        for shard in &self.changes {
            *shard.lock() += 1;
        }
        self.rows.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_load_that_overlaps_a_change_is_not_kept() {
        let cache = RowCache::<u8, u8>::new(8);
        let load = async {
            cache.changing(&1);
            Ok::<_, ()>(Some(7))
        };
        assert_eq!(cache.get_or_load(&1, load).await, Ok(Some(7)));
        assert_eq!(cache.peek(&1), None);
        assert_eq!(cache.get_or_load(&1, async { Ok::<_, ()>(Some(8)) }).await, Ok(Some(8)));
        assert_eq!(cache.peek(&1), Some(8));
        cache.changing(&1);
        assert_eq!(cache.peek(&1), None);
    }

    #[tokio::test]
    async fn absence_is_not_remembered_and_clearing_forgets() {
        let cache = RowCache::<u8, u8>::new(8);
        assert_eq!(cache.get_or_load(&1, async { Ok::<_, ()>(None) }).await, Ok(None));
        assert_eq!(cache.get_or_load(&1, async { Ok::<_, ()>(Some(1)) }).await, Ok(Some(1)));
        cache.clear();
        assert_eq!(cache.peek(&1), None);
    }
}
