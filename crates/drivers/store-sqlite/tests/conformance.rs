//! The driver passes the suite of the store port.
#![allow(clippy::unwrap_used, missing_docs)]

use keyreeve_store::{Store, conformance};
use keyreeve_store_sqlite::SqliteStore;
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_passes_the_conformance_suite() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let root = Arc::clone(&directory);
    conformance::run(move |case| {
        let path = root.path().join(case).join("store.db");
        async move { Arc::new(SqliteStore::open(&path).unwrap()) as Arc<dyn Store> }
    })
    .await;
    assert!(directory.path().read_dir().unwrap().count() >= conformance::CASES.len(), "every case had its own store");
}
