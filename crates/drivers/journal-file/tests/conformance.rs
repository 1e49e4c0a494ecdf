//! The journal in files does what the port says.
#![allow(clippy::unwrap_used)]

use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;

use keyreeve_journal::Journal;
use keyreeve_journal::conformance::{Place, run};
use keyreeve_journal_file::{FileJournal, Options};
use keyreeve_model::time::UnixMillis;

struct Directory {
    dir: tempfile::TempDir,
    options: Options,
}

#[async_trait]
impl Place for Directory {
    async fn open(&self) -> Arc<dyn Journal> {
        Arc::new(FileJournal::open(self.dir.path(), self.options.clone()).await.unwrap())
    }
}

fn options() -> Options {
    Options::new(Arc::new(|| UnixMillis(1_795_338_000_000)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_usual_options() {
    run(|| Directory { dir: tempfile::tempdir().unwrap(), options: options() }).await;
}

#[tokio::test]
async fn with_tiny_segments_and_memory_on_one_thread() {
    let options = Options {
        segment_bytes: 1 << 18,
        max_tail_bytes: 1 << 16,
        checkpoint_interval: Duration::from_millis(1),
        ..options()
    };
    run(|| Directory { dir: tempfile::tempdir().unwrap(), options: options.clone() }).await;
}
