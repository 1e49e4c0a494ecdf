//! Everything the process logs, of all tests, at every level.

use std::io::{self, Write};
use std::sync::{Mutex, OnceLock};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

static LOGS: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static INSTALLED: OnceLock<()> = OnceLock::new();

struct Sink;

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGS.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Sinks;

impl MakeWriter<'_> for Sinks {
    type Writer = Sink;

    fn make_writer(&self) -> Sink {
        Sink
    }
}

pub(super) fn capture() {
    INSTALLED.get_or_init(|| {
        let subscriber =
            tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_ansi(false).with_writer(Sinks).finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

/// What was logged so far.
pub(crate) fn captured_logs() -> Vec<u8> {
    LOGS.lock().unwrap().clone()
}
