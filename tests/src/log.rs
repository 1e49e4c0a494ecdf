//! The audit log as an auditor sees it: its files and its public keys, without the server.

use keyreeve_audit::verify::{LogSource, verify_log};
use keyreeve_audit::{Checkpoint, TlogProof, VerifierKey};
use serde_json::Value;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

struct Files(PathBuf);

impl LogSource for Files {
    fn read(&self, path: &keyreeve_audit::tile::LogPath) -> Result<Option<Vec<u8>>, String> {
        match std::fs::read(self.0.join(path.to_string())) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// A log that was verified.
#[derive(Debug)]
pub struct Verified {
    /// The checkpoint that covers it.
    pub checkpoint: Checkpoint,
    /// Where each record stands, by id.
    pub places: HashMap<String, u64>,
}

/// Reads public keys.
///
/// # Panics
/// When one is none.
#[must_use]
pub fn keys(texts: &[String]) -> Vec<VerifierKey> {
    texts.iter().map(|text| text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))).collect()
}

/// Verifies every file of a log, that it continues `older`, and that no id stands in it twice.
///
/// # Panics
/// When anything is missing or altered.
#[must_use]
#[track_caller]
pub fn verify(directory: &Path, log_keys: &[String], older: Option<&Checkpoint>) -> Verified {
    let mut places = HashMap::new();
    let report = verify_log(&Files(directory.to_owned()), &keys(log_keys), older, |index, record| {
        let twice = places.insert(record.id.to_string(), index);
        assert!(twice.is_none(), "{} is in the log at {twice:?} and at {index}", record.id);
    });
    assert!(report.is_sound(), "the log is not sound: {:#?}", report.problems);
    Verified { checkpoint: report.checkpoint.unwrap(), places }
}

/// Checks a proof as the server gave it; the record it is about.
///
/// # Panics
/// When it does not prove.
#[must_use]
#[track_caller]
pub fn check_proof(proof: &Value, log_keys: &[String]) -> Value {
    let record = proof["record"].as_str().unwrap();
    let parsed = TlogProof::parse(proof["proof"].as_str().unwrap()).unwrap();
    parsed.verify(record.as_bytes(), &keys(log_keys)).unwrap();
    assert_eq!(proof["index"], parsed.index);
    serde_json::from_str(record).unwrap()
}
