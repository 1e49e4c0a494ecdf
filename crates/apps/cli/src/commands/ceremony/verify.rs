//! Checking a transcript years later.

use std::path::{Path, PathBuf};

use clap::Args;
use keyreeve_audit::tile::LogPath;
use keyreeve_audit::verify::{LogSource, verify_log};
use keyreeve_audit::{Checkpoint, Record, VerifierKey};
use keyreeve_ceremony::verify::{Against, LOG, Report, Verdict, transcript_sha256, verify};
use keyreeve_client::{AuditFilter, Client};
use serde_json::json;

use super::recorded::Claims;
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
        let (mut fingerprints, mut participants) = (Vec::new(), Vec::new());
        for named in &self.participants {
            match fingerprint(named) {
                Some(digits) => fingerprints.push(digits),
                None if !Path::new(named).exists() => {
                    let what = format!("`{named}` is neither a participant's file nor the fingerprint of a key");
                    let next = "a fingerprint is 32 hexadecimal digits, in quotes where there are spaces between: \
                                `keyreeve ceremony participant show FILE` prints it";
                    return Err(Failure::usage(what).next(next));
                }
                None => participants.push(super::participant::read(Path::new(named))?),
            }
        }
        let against = Against {
            script: self.script.as_deref().map(scripts::load).transpose()?.map(|(text, _)| text),
            fingerprints,
            participants,
            attachments: attachments.collect::<Result<_, Failure>>()?,
        };
        let mut report = verify(&bytes, &against);
        let hash = transcript_sha256(&bytes);
        let claims = Claims::of(&bytes);
        match (&self.log, self.remote) {
            (Some(dir), _) => in_copy(&mut report, dir, &self.keys.needed(app)?, &claims),
            (None, true) => {
                let (client, keys) = (app.client()?, self.keys.pinned(app)?);
                waiting(on_server(&mut report, &client, &keys, &claims))?;
            }
            (None, false) => report.add(LOG, Verdict::Open, "not compared: `--log DIR` or `--remote`"),
        }
        show(app, &report, &hash)
    }
}

/// A fingerprint, where it is none of a file.
fn fingerprint(named: &str) -> Option<String> {
    let digits = named.replace([' ', ':'], "");
    (digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(digits)
}

/// Whether a record of the audit log is that of this transcript.
fn is_of(record: &Record, hash: &str) -> bool {
    let found = record.details.get("transcript_sha256").map(String::as_str);
    record.operation == OPERATION && found == Some(hash) && record.outcome.code().is_none()
}

/// Looks for the record in a copy of the log, all of which is verified on the way.
fn in_copy(report: &mut Report, dir: &Path, keys: &[VerifierKey], claims: &Claims) {
    let files = Directory::of(dir.to_owned());
    let copy = files.read(&LogPath::Checkpoint).ok().flatten();
    let size = copy.and_then(|note| Checkpoint::open(&note, keys).ok()).map_or(0, |checkpoint| checkpoint.size);
    // The log must grow out of the checkpoint with which the transcript begins; a copy from before it cannot show it.
    let older = claims.checkpoint(keys).ok().flatten().filter(|older| older.size <= size);
    let mut found: Option<(u64, Record)> = None;
    let log = verify_log(&files, keys, older.as_ref(), |index, record| {
        let better = found.as_ref().is_none_or(|(_, found)| claims.differs(found).is_some());
        if better && is_of(record, &claims.hash) && (found.is_none() || claims.differs(record).is_none()) {
            found = Some((index, record.clone()));
        }
    });
    let origin = log.checkpoint.as_ref().map(|checkpoint| checkpoint.origin.as_str()).unwrap_or_default();
    match (log.is_sound(), log.is_tampered(), found) {
        (true, _, Some((index, record))) => {
            let place = format!("entry {index}, record {} of {}; the log is sound", record.id, record.time);
            match claims.compare(keys, origin, index, &record) {
                Ok(None) => report.add(LOG, Verdict::Holds, place),
                Ok(Some(note)) => report.add(LOG, Verdict::Note, format!("{place}; {note}")),
                Err(why) => report.add(LOG, Verdict::Broken, why),
            }
        }
        (true, _, None) if log.last_time < claims.ended() => {
            report.add(LOG, Verdict::Unfinished, "this copy of the log ends before the ceremony did");
        }
        (true, _, None) => report.add(LOG, Verdict::Broken, "the log holds no record of this transcript"),
        (false, true, _) => {
            let what = "the log was tampered with, or does not grow out of the checkpoint with which the transcript \
                        begins: see `keyreeve audit verify`";
            report.add(LOG, Verdict::Broken, what);
        }
        (false, false, _) => report.add(LOG, Verdict::Unfinished, "the copy of the log is incomplete"),
    }
}

/// Asks a server for the record, and checks the proof that it is in the log.
async fn on_server(report: &mut Report, client: &Client, keys: &[VerifierKey], claims: &Claims) -> Result<(), Failure> {
    let filter = AuditFilter { operation: Some(OPERATION.to_owned()), ..AuditFilter::default() };
    let mut before = None;
    let found = loop {
        let page = client.search_audit(&filter, before.as_deref(), Some(1000)).await?.value;
        let is_it = |record: &&keyreeve_wire::audit::AuditRecord| {
            record.code.is_none()
                && record.details.0.get("transcript_sha256").map(String::as_str) == Some(claims.hash.as_str())
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
    let own: Vec<VerifierKey> = proof.vkeys.iter().filter_map(|key| key.parse().ok()).collect();
    let log_keys: &[VerifierKey] = if keys.is_empty() { &own } else { keys };
    let record = Record::decode(proof.record.as_bytes()).ok().filter(|record| is_of(record, &claims.hash));
    match (check_proof(&proof, keys, &id), record) {
        (Ok(checkpoint), Some(record)) => {
            let (verdict, whose) = match keys.is_empty() {
                true => (Verdict::Note, "with the key that the server itself names"),
                false => (Verdict::Holds, "with the log's key that was given"),
            };
            let place = format!("entry {} of {}, record {id} of {}", proof.index, checkpoint.size, record.time);
            match claims.compare(log_keys, &checkpoint.origin, proof.index, &record) {
                Ok(None) => report.add(LOG, verdict, format!("{place}, proved {whose}")),
                Ok(Some(note)) => report.add(LOG, Verdict::Note, format!("{place}, proved {whose}; {note}")),
                Err(why) => report.add(LOG, Verdict::Broken, why),
            }
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
        (false, false, false) if !report.is_compared() => (Exit::Done, Style::Bold, "holds as far as it goes"),
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
