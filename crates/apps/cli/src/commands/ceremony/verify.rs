//! Checking a transcript years later.

use std::path::{Path, PathBuf};

use clap::Args;
use keyreeve_audit::verify::verify_log;
use keyreeve_audit::{Record, VerifierKey};
use keyreeve_ceremony::participant::ParticipantFile;
use keyreeve_ceremony::transcript::Transcript;
use keyreeve_ceremony::verify::{Against, Report, Verdict, transcript_sha256, verify};
use keyreeve_client::{AuditFilter, Client};
use keyreeve_model::UnixMillis;
use serde_json::json;

use super::steps::sha256_of;
use super::{scripts, transcript_bytes, waiting};
use crate::app::{App, Outcome};
use crate::commands::audit::{Directory, Keys, check_proof};
use crate::failure::{Exit, Failure};
use crate::out::{Style, rows};

/// The operation under which ceremonies are in the audit log.
const OPERATION: &str = "ceremony.record";

/// Check the transcript of a ceremony, also years later
///
/// Checks the chain of entries and every signature, that roles were kept apart and nothing was left out silently, and
/// what is given besides: the script that was agreed upon, the participants' keys, attached files, the audit log. Ends
/// with 0 if all holds, 1 for a rehearsal, 7 if something does not hold, 9 if the ceremony is not finished.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve ceremony verify root.jsonl\n  \
        $ keyreeve ceremony verify root.jsonl --script our-root.toml --attachment video.mp4 --participant \
        alice.participant\n  \
        $ keyreeve ceremony verify root.jsonl --log /backup/audit --vkey log.vkey\n  \
        $ keyreeve ceremony verify root.jsonl --remote")]
pub(crate) struct Verify {
    /// The transcript
    transcript: PathBuf,
    /// The script that was agreed upon: a file, or the name of one that comes with the program
    #[arg(long, value_name = "SCRIPT")]
    script: Option<PathBuf>,
    /// A file that was attached; may be repeated
    #[arg(long = "attachment", value_name = "FILE")]
    attachments: Vec<PathBuf>,
    /// The file or the fingerprint of a participant's key; may be repeated, and then every signer's key must be one of
    /// them
    #[arg(long = "participant", value_name = "FILE|FINGERPRINT")]
    participants: Vec<String>,
    /// A copy of the audit log, which must hold the ceremony's record
    #[arg(long, value_name = "DIR", conflicts_with = "remote")]
    log: Option<PathBuf>,
    /// Ask the server for the ceremony's record, and for the proof that it is in the audit log
    #[arg(long)]
    remote: bool,
    #[command(flatten)]
    keys: Keys,
}

impl Verify {
    pub(super) fn run(self, app: &App) -> Outcome {
        let bytes = transcript_bytes(&self.transcript)?;
        let attachments = self.attachments.iter().map(|path| {
            let (sha256, _) = sha256_of(path)?;
            Ok((path.display().to_string(), sha256.to_string()))
        });
        let against = Against {
            script: self.script.as_deref().map(scripts::load).transpose()?.map(|(text, _)| text),
            fingerprints: self.participants.iter().map(|named| fingerprint(named)).collect::<Result<_, _>>()?,
            attachments: attachments.collect::<Result<_, Failure>>()?,
        };
        let mut report = verify(&bytes, &against);
        let hash = transcript_sha256(&bytes);
        match (&self.log, self.remote) {
            (Some(dir), _) => in_copy(&mut report, dir, &self.keys.needed(app)?, &hash, ended(&bytes)),
            (None, true) => {
                let (client, keys) = (app.client()?, self.keys.pinned(app)?);
                waiting(on_server(&mut report, &client, &keys, &hash))?;
            }
            (None, false) => report.add(LOG, Verdict::Open, "not compared: `--log DIR` or `--remote`"),
        }
        show(app, &report, &hash)
    }
}

const LOG: &str = "audit log";

/// A fingerprint, or that of a participant's file.
fn fingerprint(named: &str) -> Result<String, Failure> {
    let digits = named.replace([' ', ':'], "");
    if digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(digits);
    }
    let file: ParticipantFile = super::participant::read(Path::new(named))?;
    Ok(file.key.fingerprint())
}

/// When the last entry of a transcript was written, where it can be read.
fn ended(bytes: &[u8]) -> Option<UnixMillis> {
    Transcript::read(bytes).ok()?.entries().last().map(|entry| entry.at)
}

/// Whether a record of the audit log is that of this transcript.
fn is_of(record: &Record, hash: &str) -> bool {
    let found = record.details.get("transcript_sha256").map(String::as_str);
    record.operation == OPERATION && found == Some(hash) && record.outcome.code().is_none()
}

/// Looks for the record in a copy of the log, all of which is verified on the way.
fn in_copy(report: &mut Report, dir: &Path, keys: &[VerifierKey], hash: &str, ended: Option<UnixMillis>) {
    let mut found = None;
    let log = verify_log(&Directory::of(dir.to_owned()), keys, None, |index, record| {
        if is_of(record, hash) {
            found.get_or_insert((index, record.id, record.time));
        }
    });
    match (log.is_sound(), log.is_tampered(), found) {
        (true, _, Some((index, id, time))) => {
            report.add(LOG, Verdict::Holds, format!("entry {index}, record {id} of {time}; the log is sound"));
        }
        (true, _, None) if log.last_time < ended => {
            report.add(LOG, Verdict::Unfinished, "this copy of the log ends before the ceremony did");
        }
        (true, _, None) => report.add(LOG, Verdict::Broken, "the log holds no record of this transcript"),
        (false, true, _) => report.add(LOG, Verdict::Broken, "the log was tampered with: see `keyreeve audit verify`"),
        (false, false, _) => report.add(LOG, Verdict::Unfinished, "the copy of the log is incomplete"),
    }
}

/// Asks a server for the record, and checks the proof that it is in the log.
async fn on_server(report: &mut Report, client: &Client, keys: &[VerifierKey], hash: &str) -> Result<(), Failure> {
    let filter = AuditFilter { operation: Some(OPERATION.to_owned()), ..AuditFilter::default() };
    let mut before = None;
    let found = loop {
        let page = client.search_audit(&filter, before.as_deref(), Some(1000)).await?.value;
        let is_it = |record: &&keyreeve_wire::audit::AuditRecord| {
            record.code.is_none() && record.details.0.get("transcript_sha256").map(String::as_str) == Some(hash)
        };
        match (page.items.iter().find(is_it), page.next) {
            (Some(record), _) => break Some(record.id.clone()),
            (None, Some(next)) => before = Some(next),
            (None, None) => break None,
        }
    };
    let Some(id) = found else {
        report.add(LOG, Verdict::Broken, "the server's log holds no record of this transcript");
        return Ok(());
    };
    let proof = client.prove_audit(&id).await?.value;
    let proved = check_proof(&proof, keys, &id);
    let record = Record::decode(proof.record.as_bytes()).ok().filter(|record| is_of(record, hash));
    match (proved, record) {
        (Ok(checkpoint), Some(record)) => {
            let (verdict, whose) = match keys.is_empty() {
                true => (Verdict::Note, "with the key that the server itself names"),
                false => (Verdict::Holds, "with the log's key that was given"),
            };
            let place = format!("entry {} of {}, record {id} of {}", proof.index, checkpoint.size, record.time);
            report.add(LOG, verdict, format!("{place}, proved {whose}"));
        }
        (Err(failure), _) => report.add(LOG, Verdict::Broken, failure.what),
        (Ok(_), None) => report.add(LOG, Verdict::Broken, "the record that was proved is not that of this transcript"),
    }
    Ok(())
}

fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Holds => "holds",
        Verdict::Note => "note",
        Verdict::Open => "not checked",
        Verdict::Unfinished => "unfinished",
        Verdict::Broken => "BROKEN",
    }
}

fn show(app: &App, report: &Report, hash: &str) -> Outcome {
    let (exit, style, said) = match (report.is_broken(), report.is_unfinished(), report.dry_run) {
        (true, _, _) => (Exit::Integrity, Style::Bad, "does NOT hold"),
        (false, true, _) => (Exit::Incomplete, Style::Bad, "is not finished"),
        (false, false, true) => (Exit::No, Style::Bold, "is that of a rehearsal"),
        (false, false, false) => (Exit::Done, Style::Good, "holds"),
    };
    let checks: Vec<_> = report
        .checks
        .iter()
        .map(|check| {
            json!({
                "check": check.what,
                "verdict": verdict_name(check.verdict).to_lowercase(),
                "detail": check.detail,
            })
        })
        .collect();
    let value = json!({ "verdict": said.to_lowercase(), "transcript_sha256": hash, "checks": checks });
    app.out.show(&value, |_| {
        let row = |check: &keyreeve_ceremony::verify::Check| {
            [check.what.to_owned(), verdict_name(check.verdict).to_owned(), check.detail.clone()]
        };
        let verdict = app.out.styled(style, &format!("the transcript {said}"), false);
        let table = rows(["check", "verdict", "what"], report.checks.iter().map(row));
        format!("{verdict}\nSHA-256 {hash}\n\n{table}")
    })?;
    Ok(exit)
}
