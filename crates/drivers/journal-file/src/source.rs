//! The files of a log for the offline verifier.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use keyreeve_audit::tile::LogPath;
use keyreeve_audit::verify::LogSource;

use crate::log::LOG_DIR;

/// A directory with the files of a log: a journal's own, or a copy. Needs no lock and changes nothing.
#[derive(Clone, Debug)]
pub struct LogDirectory(PathBuf);

impl LogDirectory {
    /// A directory that holds `checkpoint` and `tile`, or a journal's directory, which holds them under `log`.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        let log = path.join(LOG_DIR);
        Self(if log.is_dir() { log } else { path.to_owned() })
    }
}

impl LogSource for LogDirectory {
    fn read(&self, path: &LogPath) -> Result<Option<Vec<u8>>, String> {
        match fs::read(self.0.join(path.to_string())) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e.to_string()),
        }
    }
}
