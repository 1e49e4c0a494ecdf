//! Whether a record of the audit log says the same as a transcript, and whether it is the log of the server that took
//! part: a transcript of another server, or of another time, is not made better by a record.

use std::collections::BTreeMap;

use keyreeve_audit::{Checkpoint, Record, VerifierKey};
use keyreeve_ceremony::event::{Ending, Event, Outcome};
use keyreeve_ceremony::transcript::Transcript;
use keyreeve_ceremony::verify::transcript_sha256;
use keyreeve_ceremony::word::Line;
use keyreeve_model::UnixMillis;
use keyreeve_wire::ceremony::CeremonyOutcome;

use super::record::request;

/// How far the clocks of two machines may be apart (milliseconds).
const CLOCKS: i64 = 10 * 60 * 1000;
/// How long after the end of a ceremony its record is nothing to speak of (milliseconds).
const DAY: i64 = 24 * 60 * 60 * 1000;

/// What a transcript says, where it can be read.
pub(super) struct Claims {
    pub(super) hash: String,
    transcript: Option<Transcript>,
    /// What its record must say.
    details: Option<BTreeMap<&'static str, String>>,
}

impl Claims {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let transcript = Transcript::read(bytes).ok();
        let details = transcript.as_ref().and_then(|transcript| request(transcript, bytes).ok()).map(|request| {
            let ended = match request.outcome {
                CeremonyOutcome::Completed => "completed",
                CeremonyOutcome::Aborted => "aborted",
                CeremonyOutcome::Rehearsed => "rehearsed",
            };
            BTreeMap::from([
                ("ceremony", request.ceremony),
                ("script_sha256", request.script_sha256),
                ("transcript_sha256", request.transcript_sha256),
                ("ended", ended.to_owned()),
                ("participants", request.participants.join("; ")),
                ("deviations", request.deviations.to_string()),
            ])
        });
        Self { hash: transcript_sha256(bytes), transcript, details }
    }

    /// When the last entry was written.
    pub(super) fn ended(&self) -> Option<UnixMillis> {
        self.transcript.as_ref()?.entries().last().map(|entry| entry.at)
    }

    /// In what a record differs, if it does.
    pub(super) fn differs(&self, record: &Record) -> Option<String> {
        let Some(details) = &self.details else { return Some("that of a ceremony that is over".to_owned()) };
        let other = details.iter().find(|(name, value)| record.details.get(**name) != Some(*value));
        other.map(|(name, value)| format!("`{name}`, which is `{value}` in the transcript"))
    }

    /// The checkpoint with which the transcript begins, if it has one.
    pub(super) fn checkpoint(&self, keys: &[VerifierKey]) -> Result<Option<Checkpoint>, String> {
        let opened = self.transcript.as_ref().map(|transcript| transcript.ceremony().opened());
        let Some(server) = opened.filter(|opened| !opened.dry_run).and_then(|opened| opened.server.as_ref()) else {
            return Ok(None);
        };
        let opened = server.checkpoint.as_ref().map(|note| Checkpoint::open(note.as_bytes(), keys));
        opened.transpose().map_err(|error| format!("the checkpoint with which the transcript begins: {error}"))
    }

    /// Compares everything: something to know where it holds, and why it does not.
    pub(super) fn compare(
        &self,
        keys: &[VerifierKey],
        origin: &str,
        index: u64,
        record: &Record,
    ) -> Result<Option<String>, String> {
        if let Some(what) = self.differs(record) {
            return Err(format!("the record {} of this transcript says something else of {what}", record.id));
        }
        self.same_log(keys, origin, index)?;
        let Some(ended) = self.ended() else { return Ok(None) };
        match record.time.0 - ended.0 {
            apart if apart < -CLOCKS => {
                Err(format!("the record is of {}, and the ceremony ended at {ended}, after it", record.time))
            }
            apart if apart > DAY => Ok(Some(format!(
                "it was recorded {} days after its last entry says that it ended: nothing shows that it is older",
                apart / DAY
            ))),
            _ => Ok(None),
        }
    }

    /// Whether it is the log of the server that took part. A rehearsal's server is thrown away with its log.
    fn same_log(&self, keys: &[VerifierKey], origin: &str, index: u64) -> Result<(), String> {
        let Some(transcript) = &self.transcript else { return Ok(()) };
        let ceremony = transcript.ceremony();
        let Some(server) = ceremony.opened().server.as_ref().filter(|_| !ceremony.opened().dry_run) else {
            return Ok(());
        };
        let named = match server.log_vkeys.is_empty() {
            // The server was new: its log began in the ceremony.
            true => told(transcript),
            false => server.log_vkeys.iter().map(ToString::to_string).collect(),
        };
        let named: Vec<VerifierKey> = named.iter().filter_map(|key| key.parse().ok()).collect();
        let aborted = matches!(ceremony.ending(), Some(Ending::Aborted { .. }));
        if named.is_empty() && !aborted {
            return Err("the transcript names no key of the log of the server that took part".to_owned());
        }
        if !named.is_empty() && !keys.iter().any(|key| key.name() == origin && named.contains(key)) {
            return Err("another server took part than the one whose log this is: its log had other keys".to_owned());
        }
        match self.checkpoint(keys)? {
            Some(begun) if begun.origin != origin => Err("the transcript begins with another log".to_owned()),
            Some(begun) if begun.size > index => {
                Err("the record is older than the checkpoint with which the transcript begins".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// The keys of the log that commands of the ceremony told.
fn told(transcript: &Transcript) -> Vec<String> {
    let facts = transcript.entries().iter().filter_map(|entry| match &entry.event {
        Event::Done { outcome: Outcome::Ran { facts, found: false }, .. } => facts.get(&Line::cleaned("log_vkeys")),
        _ => None,
    });
    facts.flat_map(|keys| keys.as_str().lines()).map(str::to_owned).collect()
}
