//! The outcome of a ceremony in the audit log.

use std::path::PathBuf;

use clap::Args;
use keyreeve_ceremony::event::Ending;
use keyreeve_ceremony::transcript::Transcript;
use keyreeve_ceremony::verify::transcript_sha256;
use keyreeve_wire::ceremony::{CeremonyOutcome, RecordCeremony};
use serde_json::json;

use super::{transcript_bytes, waiting};
use crate::app::{App, Outcome};
use crate::failure::{Exit, Failure};
use crate::profile::Profile;

/// Longest name of a participant in the audit log (characters).
const NAME_MAX: usize = 60;

/// Put the outcome of a ceremony into a server's audit log
///
/// The record holds the hashes of transcript and script, who took part, and how it ended; the transcript itself stays
/// with those who took part. `ceremony run` does this by itself where a server takes part and the person who started it
/// may. For a ceremony without a network, or where the right was missing, do it afterwards.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve ceremony record root.jsonl")]
pub(crate) struct Record {
    /// The transcript of a ceremony that is over
    transcript: PathBuf,
}

impl Record {
    pub(super) fn run(self, app: &App) -> Outcome {
        let bytes = transcript_bytes(&self.transcript)?;
        let transcript = Transcript::read(&bytes)
            .map_err(|error| Failure::new(Exit::Integrity, format!("{}: {error}", self.transcript.display())))?;
        let record = put(&app.profile()?, &transcript, &bytes)?;
        let hash = transcript_sha256(&bytes);
        let value = json!({ "transcript_sha256": hash, "audit_record": record });
        app.note_record("recorded", record.as_ref());
        app.show(&value, |_| hash.clone())
    }
}

/// What the audit log says of a ceremony.
pub(super) fn request(transcript: &Transcript, bytes: &[u8]) -> Result<RecordCeremony, Failure> {
    let ceremony = transcript.ceremony();
    let outcome = match ceremony.ending() {
        None => {
            return Err(Failure::new(Exit::State, "this ceremony is not over: it is recorded at its end")
                .next("`keyreeve ceremony run --resume TRANSCRIPT` goes on with it"));
        }
        Some(_) if ceremony.opened().dry_run => CeremonyOutcome::Rehearsed,
        Some(Ending::Completed {}) => CeremonyOutcome::Completed,
        Some(Ending::Aborted { .. }) => CeremonyOutcome::Aborted,
    };
    let people = ceremony.people().iter().map(|person| {
        // What the audit log takes as one name: semicolons part them there.
        let said = format!("{} ({})", person.enrolled.name, person.enrolled.organisation).replace(';', ",");
        said.chars().take(NAME_MAX).collect()
    });
    Ok(RecordCeremony {
        ceremony: ceremony.script().name.to_string(),
        script_sha256: ceremony.opened().script_sha256.to_string(),
        transcript_sha256: transcript_sha256(bytes),
        outcome,
        participants: people.collect(),
        deviations: u32::try_from(ceremony.deviations()).unwrap_or(u32::MAX),
    })
}

/// Puts it there; the id of the audit record.
pub(super) fn put(profile: &Profile, transcript: &Transcript, bytes: &[u8]) -> Result<Option<String>, Failure> {
    let request = request(transcript, bytes)?;
    let client = profile.client()?;
    waiting(async { Ok(client.record_ceremony(&request).await?.audit_record) })
}
