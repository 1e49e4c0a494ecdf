//! The audit log: searching, proving, verifying.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use keyreeve_audit::tile::LogPath;
use keyreeve_audit::verify::{Finding, LogSource, Report, verify_log};
use keyreeve_audit::{Checkpoint, Record, TlogProof, VerifierKey};
use keyreeve_client::{AuditFilter, Client};
use keyreeve_wire::Page;
use keyreeve_wire::audit::{AuditPage, AuditProof, AuditRecord};
use keyreeve_wire::names::Outcome as Ending;
use serde_json::json;

use crate::app::{App, Listing, Outcome, blocking};
use crate::failure::{Exit, Failure};
use crate::files::{self, Readers, Sink};
use crate::out::{Out, Style, facts, rows};
use crate::progress::Progress;
use crate::text::{self, one_of};

/// The largest file of a log, in bytes: 256 entries of at most 65,537 bytes.
const LOG_FILE_MAX: usize = 17 * 1024 * 1024;
/// The longest file of verifier keys, in bytes: those of ML-DSA have some thousand each.
const VKEYS_MAX: usize = 64 * 1024;
/// Problems of a log that are shown one by one.
const SHOWN_PROBLEMS: usize = 20;

/// Search the audit log, prove that an operation is in it, verify all of it
///
/// Every operation leaves a record before its answer is given, refusals included. The log is a Merkle tree with signed
/// checkpoints: nobody can alter or remove a record unnoticed, the server included.
#[derive(Subcommand)]
#[command(after_help = "Example:\n  $ keyreeve audit search --operation 'key.*' --limit 20")]
pub(crate) enum Command {
    Search(Search),
    Show(Show),
    Prove(Prove),
    VerifyProof(VerifyProof),
    Verify(Verify),
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        match self {
            Self::Search(command) => command.run(app).await,
            Self::Show(command) => command.run(app).await,
            Self::Prove(command) => command.run(app).await,
            Self::VerifyProof(command) => command.run(app),
            Self::Verify(command) => command.run(app).await,
        }
    }
}

/// Search the audit log, newest records first
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve audit search --limit 5\n  \
        $ keyreeve audit search --principal shop-backend --outcome refused --from 2026-11-01\n  \
        $ keyreeve audit search --operation 'key.*' --all --output json")]
pub(crate) struct Search {
    /// Records of this principal
    #[arg(long)]
    principal: Option<String>,
    /// Records of this operation; a trailing * stands for any ending
    #[arg(long)]
    operation: Option<String>,
    /// Records about this key, keyring, principal, ...: its id or name, an alias of the key, or its keyring
    #[arg(long)]
    resource: Option<String>,
    /// Records that ended so
    #[arg(long, value_parser = one_of!(Ending))]
    outcome: Option<Ending>,
    /// Records with this error code
    #[arg(long)]
    code: Option<String>,
    /// Records of this request
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// Records of this time and later
    #[arg(long, value_name = "TIME", value_parser = text::instant)]
    from: Option<String>,
    /// Records before this time
    #[arg(long, value_name = "TIME", value_parser = text::instant)]
    until: Option<String>,
    #[command(flatten)]
    listing: Listing,
}

impl Search {
    async fn run(self, app: &App) -> Outcome {
        let filter = AuditFilter {
            principal: self.principal,
            operation: self.operation,
            resource: self.resource,
            outcome: self.outcome,
            code: self.code,
            request: self.request,
            from: self.from,
            until: self.until,
        };
        let client = app.client()?;
        let mut also_called = Vec::new();
        let page = self.listing.collect(async |before, limit| {
            let AuditPage { items, next, also_called: names } =
                client.search_audit(&filter, before.as_deref(), Some(limit)).await?.value;
            also_called = names;
            Ok(Page { items, next })
        });
        let page = page.await?;
        if let (Some(wanted), false) = (&filter.resource, also_called.is_empty()) {
            // An alias may have been another key's before.
            app.out.note(&format!("`{wanted}` is {} now: records of that were searched for", also_called.join(", ")));
        }
        Listing::show(app, &page, table)
    }
}

/// Records for people.
pub(super) fn table(records: &[AuditRecord]) -> String {
    let row = |record: &AuditRecord| {
        let resource = record.resource.as_ref().map_or_else(
            || "-".to_owned(),
            |resource| match resource.version {
                Some(version) => format!("{} v{version}", resource.id),
                None => resource.id.clone(),
            },
        );
        let outcome = match &record.code {
            Some(code) => format!("{} ({code})", record.outcome),
            None => record.outcome.to_string(),
        };
        let who = record.principal.clone();
        [record.time.to_string(), who, record.operation.clone(), resource, outcome, record.id.clone()]
    };
    rows(["time", "actor", "operation", "resource", "outcome", "id"], records.iter().map(row))
}

/// Show everything that one audit record says
///
/// Errors name the record of what was refused. That it is in the log is proved and checked on the way; with the log's
/// key from somewhere else than the server, that is evidence.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve audit show rec_0190a7b2c3d4e5f60718293a4b5c6d7e")]
pub(crate) struct Show {
    /// The audit record's id
    record: String,
    #[command(flatten)]
    keys: Keys,
}

impl Show {
    async fn run(self, app: &App) -> Outcome {
        let proof = app.client()?.prove_audit(&self.record).await?.value;
        let _ = check_proof(&proof, &self.keys.pinned(app)?, &self.record)?;
        let record: serde_json::Value = serde_json::from_str(&proof.record)
            .map_err(|error| Failure::new(Exit::Integrity, format!("the record is not JSON: {error}")))?;
        app.show(&record, |record| {
            let mut said = Vec::new();
            flat("", record, &mut said);
            let said: Vec<(&str, String)> = said.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
            facts(&said)
        })
    }
}

/// Fields within fields by their path: `actor.principal`.
fn flat(path: &str, value: &serde_json::Value, said: &mut Vec<(String, String)>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flat(&path, value, said);
            }
        }
        serde_json::Value::String(text) => said.push((path.to_owned(), text.clone())),
        other => said.push((path.to_owned(), other.to_string())),
    }
}

/// Prove that an operation is in the audit log, and check the proof here
///
/// The proof is self-contained: together with the log's public key it convinces anybody, without asking the server.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve audit prove rec_01jd...\n  \
        $ keyreeve audit prove rec_01jd... --save evidence.tlog-proof --vkey log.vkey\n  \
        $ keyreeve audit verify-proof evidence.tlog-proof --vkey log.vkey   # anywhere, at any time")]
pub(crate) struct Prove {
    /// The audit record's id
    record: String,
    /// Write the proof to FILE, and the record it proves to FILE.record
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Replace the files if they exist
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    keys: Keys,
}

/// The public keys that must have signed the log.
#[derive(Args)]
pub(super) struct Keys {
    /// The log's public key, or a file with such keys, from somewhere else than the server [default: `log_vkeys` of the
    /// profile]; may be repeated
    #[arg(long = "vkey", value_name = "VKEY|FILE", value_parser = vkeys)]
    vkeys: Vec<Vkeys>,
}

/// The keys that one option names.
#[derive(Clone, Debug)]
struct Vkeys(Vec<VerifierKey>);

/// A key never looks like a path that somebody has: it holds two plus signs, after a name and after eight hex digits.
fn vkeys(text: &str) -> Result<Vkeys, String> {
    let no_key = match parse_vkeys(text) {
        Ok(keys) => return Ok(Vkeys(keys)),
        Err(error) => error,
    };
    let path = Path::new(text);
    if text.lines().count() > 1 || path.symlink_metadata().is_err() {
        return Err(format!("it is no key ({no_key}), and there is no such file"));
    }
    let bytes = files::read_all(path, VKEYS_MAX).map_err(|failure| failure.what)?;
    let lines = String::from_utf8(bytes).map_err(|_| "the file is not text".to_owned())?;
    parse_vkeys(&lines).map(Vkeys).map_err(|error| format!("the file holds something else than keys: {error}"))
}

/// One key on each line.
fn parse_vkeys(text: &str) -> Result<Vec<VerifierKey>, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys: Result<Vec<VerifierKey>, _> = lines.map(str::parse).collect();
    match keys {
        Ok(keys) if keys.is_empty() => Err("there is none".to_owned()),
        keys => keys.map_err(|error: keyreeve_audit::NoteError| error.to_string()),
    }
}

impl Keys {
    /// Those given, else those of the profile; none where there is neither.
    pub(super) fn pinned(self, app: &App) -> Result<Vec<VerifierKey>, Failure> {
        if !self.vkeys.is_empty() {
            return Ok(self.vkeys.into_iter().flat_map(|keys| keys.0).collect());
        }
        Ok(app.profile()?.log_vkeys)
    }

    /// The same where a key is needed.
    pub(super) fn needed(self, app: &App) -> Result<Vec<VerifierKey>, Failure> {
        let keys = self.pinned(app)?;
        if keys.is_empty() {
            return Err(Failure::usage("no key to verify with").next(
                "give the log's public key, or the file with it, with `--vkey`, as `keyreeve init` wrote it (log.vkey) \
                 or `keyreeve status` shows it",
            ));
        }
        Ok(keys)
    }
}

impl Prove {
    async fn run(self, app: &App) -> Outcome {
        let proof = app.client()?.prove_audit(&self.record).await?.value;
        let pinned = self.keys.pinned(app)?;
        let checked = check_proof(&proof, &pinned, &self.record)?;
        if pinned.is_empty() {
            app.out.warn(
                "the log's key came from the server itself: keep it elsewhere, and give it with \
                 --vkey or in the profile",
            );
        }
        if let Some(path) = &self.save {
            save(&proof, path, self.force)?;
        }
        let value = json!({
            "proved": true,
            "index": proof.index,
            "size": checked.size,
            "origin": checked.origin,
            "root": checked.root.to_base64(),
            "pinned": !pinned.is_empty(),
            "record": proof.record,
            "saved": self.save,
        });
        app.show(&value, |_| proved_text(app, proof.index, &checked, &proof.record))
    }
}

fn proved_text(app: &App, index: u64, checkpoint: &Checkpoint, record: &str) -> String {
    let proved = app.out.styled(Style::Good, "proved", false);
    let place = format!("entry {index} of {}", checkpoint.size);
    format!("{proved}: the record is {place} of the log {}\n\n{record}", checkpoint.origin)
}

fn not_proved(what: String) -> Failure {
    Failure::new(Exit::Integrity, format!("NOT proved: {what}"))
        .next("keep the answer, and compare the log's key with the one noted when the server was initialised")
}

/// Checks a proof with nothing but a key: that the record is the one asked for, and that it is in the log.
pub(super) fn check_proof(proof: &AuditProof, pinned: &[VerifierKey], wanted: &str) -> Result<Checkpoint, Failure> {
    let own: Vec<VerifierKey>;
    let keys = if pinned.is_empty() {
        own = proof.vkeys.iter().filter_map(|key| key.parse().ok()).collect();
        &own
    } else {
        pinned
    };
    let record = Record::decode(proof.record.as_bytes()).map_err(|error| not_proved(error.to_string()))?;
    if record.id.to_string() != wanted {
        return Err(not_proved(format!("the record is {}, not {wanted}", record.id)));
    }
    open_proof(&proof.proof, proof.record.as_bytes(), keys).map(|(_, checkpoint)| checkpoint)
}

/// Checks that an entry is in the log.
fn open_proof(proof: &str, entry: &[u8], keys: &[VerifierKey]) -> Result<(TlogProof, Checkpoint), Failure> {
    let parsed = TlogProof::parse(proof).map_err(|error| not_proved(error.to_string()))?;
    let checkpoint = parsed.verify(entry, keys).map_err(|error| not_proved(error.to_string()))?;
    Ok((parsed, checkpoint))
}

/// Where the record of a stored proof is.
fn record_beside(proof: &Path) -> PathBuf {
    let mut record = proof.as_os_str().to_owned();
    record.push(".record");
    record.into()
}

fn save(proof: &AuditProof, path: &Path, force: bool) -> Result<(), Failure> {
    Sink::of(path, force).write(proof.proof.as_bytes(), Readers::Anybody)?;
    Sink::of(&record_beside(path), force).write(proof.record.as_bytes(), Readers::Anybody)
}

/// Verify a stored proof, without the server: that a record is in the log
///
/// Reads what `keyreeve audit prove --save FILE` wrote: FILE and FILE.record. Ends with 7 if they prove nothing.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve audit verify-proof evidence.tlog-proof --vkey log.vkey\n  \
        $ keyreeve audit verify-proof evidence.tlog-proof --record record.json --vkey log.vkey")]
pub(crate) struct VerifyProof {
    /// The proof
    #[arg(value_name = "FILE")]
    proof: PathBuf,
    /// The record it is about [default: FILE.record]
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    #[command(flatten)]
    keys: Keys,
}

impl VerifyProof {
    fn run(self, app: &App) -> Outcome {
        let record_file = self.record.unwrap_or_else(|| record_beside(&self.proof));
        let proof = files::read_all(&self.proof, LOG_FILE_MAX)?;
        let Some(proof) = String::from_utf8(proof).ok().filter(|text| text.starts_with(PROOF_MARK)) else {
            return Err(Failure::usage(format!("{} is not a proof", self.proof.display()))
                .next("`keyreeve audit prove ID --save FILE` writes one"));
        };
        let record = files::read_all(&record_file, LOG_FILE_MAX)?;
        let keys = self.keys.needed(app)?;
        let (parsed, checkpoint) = open_proof(&proof, &record, &keys)?;
        let record = String::from_utf8(record).map_err(|_| not_proved("the record is not text".to_owned()))?;
        let value = json!({
            "proved": true,
            "index": parsed.index,
            "size": checkpoint.size,
            "origin": checkpoint.origin,
            "root": checkpoint.root.to_base64(),
            "record": record,
        });
        app.show(&value, |_| proved_text(app, parsed.index, &checkpoint, &record))
    }
}

/// The beginning of a proof (C2SP tlog-proof).
const PROOF_MARK: &str = "c2sp.org/tlog-proof@v1";

/// Verify a whole audit log: from a copy of its files and a public key alone, or as the server hands it out
///
/// Every entry is hashed again, every tile compared, the signature checked. Ends with 7 if anything was altered, and
/// with 9 if something is missing and nothing was altered (a copy that was cut short).
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve audit verify /backup/audit --vkey log.vkey\n  \
        $ keyreeve audit verify --remote\n  \
        $ keyreeve audit verify --remote --older last-month.checkpoint   # nothing was rewritten since")]
pub(crate) struct Verify {
    /// Directory with the log: `checkpoint` and `tile/`
    #[arg(value_name = "DIR", required_unless_present = "remote", conflicts_with = "remote")]
    dir: Option<PathBuf>,
    /// Fetch the log from the server
    #[arg(long)]
    remote: bool,
    /// A checkpoint kept from an earlier time, which must be a beginning of this log
    #[arg(long, value_name = "FILE")]
    older: Option<PathBuf>,
    #[command(flatten)]
    keys: Keys,
}

impl Verify {
    async fn run(self, app: &App) -> Outcome {
        let client = if self.remote { Some(app.client()?) } else { None };
        if let Some(dir) = self.dir.as_deref().filter(|dir| !dir.is_dir()) {
            return Err(Failure::usage(format!("there is no directory {}", dir.display())).next(
                "name a copy of the log, with `checkpoint` and `tile/` in it (on the server it is `audit/log` in \
                 `data_dir`); `--remote` verifies the server's own",
            ));
        }
        let keys = self.keys.needed(app)?;
        let older = self.older.as_deref().map(|path| older(path, &keys)).transpose()?;
        let report = match (client, self.dir) {
            (Some(client), _) => {
                // A server that does not answer, or is sealed, says nothing about its log.
                let checkpoint = client.audit_checkpoint().await?;
                let runtime = tokio::runtime::Handle::current();
                examine(app.out, Remote { client, runtime, checkpoint }, keys, older).await?
            }
            (None, Some(dir)) => examine(app.out, Directory::of(dir), keys, older).await?,
            (None, None) => return Err(Failure::usage("say which log: a directory, or `--remote`")),
        };
        show_report(app, &report)
    }
}

fn older(path: &Path, keys: &[VerifierKey]) -> Result<Checkpoint, Failure> {
    let note = files::read_all(path, LOG_FILE_MAX)?;
    Checkpoint::open(&note, keys).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

async fn examine(
    out: Out,
    source: impl LogSource + Send + 'static,
    keys: Vec<VerifierKey>,
    older: Option<Checkpoint>,
) -> Result<Report, Failure> {
    let progress = Progress::waiting(out, "verifying the log");
    let report = blocking(move || Ok(verify_log(&source, &keys, older.as_ref(), |_, _| ()))).await;
    progress.finish();
    report
}

/// A log in a directory.
pub(super) struct Directory(PathBuf);

impl Directory {
    /// The log itself, also where the directory around it is named, in which the server keeps more.
    pub(super) fn of(dir: PathBuf) -> Self {
        let inner = dir.join("log");
        let around = !dir.join("checkpoint").exists() && inner.join("checkpoint").exists();
        Self(if around { inner } else { dir })
    }
}

impl LogSource for Directory {
    fn read(&self, path: &LogPath) -> Result<Option<Vec<u8>>, String> {
        let path = self.0.join(path.to_string());
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
            Ok(_) => {}
        }
        files::read_all(&path, LOG_FILE_MAX).map(Some).map_err(|failure| failure.what)
    }
}

/// The log as the server hands it out; read from a thread that may wait.
struct Remote {
    client: Client,
    runtime: tokio::runtime::Handle,
    /// The one that is verified, signed after everything before it.
    checkpoint: Vec<u8>,
}

impl LogSource for Remote {
    fn read(&self, path: &LogPath) -> Result<Option<Vec<u8>>, String> {
        match path {
            LogPath::Checkpoint => Ok(Some(self.checkpoint.clone())),
            LogPath::Tile(_) | LogPath::Entries { .. } => {
                let fetched = self.runtime.block_on(self.client.audit_file(&path.to_string()));
                fetched.map_err(|error| error.to_string())
            }
        }
    }
}

fn show_report(app: &App, report: &Report) -> Outcome {
    let (exit, style, verdict) = match (report.is_sound(), report.is_tampered()) {
        (true, _) => (Exit::Done, Style::Good, "sound"),
        (false, true) => (Exit::Integrity, Style::Bad, "TAMPERED WITH"),
        (false, false) => (Exit::Incomplete, Style::Bad, "incomplete"),
    };
    let checkpoint = report.checkpoint.as_ref();
    let problems: Vec<_> = report.problems.iter().map(problem_json).collect();
    let value = json!({
        "verdict": verdict.to_lowercase(),
        "origin": checkpoint.map(|checkpoint| &checkpoint.origin),
        "size": checkpoint.map(|checkpoint| checkpoint.size),
        "root": checkpoint.map(|checkpoint| checkpoint.root.to_base64()),
        "records": report.records,
        "first": report.first_time.map(|time| time.to_string()),
        "last": report.last_time.map(|time| time.to_string()),
        "problem_count": report.problem_count,
        "problems": problems,
    });
    app.out.show(&value, |_| report_text(report, &app.out.styled(style, verdict, false)))?;
    Ok(exit)
}

fn problem_json(problem: &keyreeve_audit::verify::Problem) -> serde_json::Value {
    let finding = finding(problem.finding);
    json!({ "finding": finding, "file": problem.path, "entry": problem.index, "what": problem.what })
}

fn finding(finding: Finding) -> &'static str {
    match finding {
        Finding::Incomplete => "incomplete",
        Finding::Tampered => "tampered",
    }
}

fn report_text(report: &Report, verdict: &str) -> String {
    let checkpoint = report.checkpoint.as_ref();
    let span = match (report.first_time, report.last_time) {
        (Some(first), Some(last)) => format!("{first} to {last}"),
        _ => String::new(),
    };
    let mut text = format!("the log is {verdict}\n\n");
    text.push_str(&facts(&[
        ("log", checkpoint.map_or_else(String::new, |checkpoint| checkpoint.origin.clone())),
        ("entries", checkpoint.map_or_else(String::new, |checkpoint| checkpoint.size.to_string())),
        ("records read", report.records.to_string()),
        ("time", span),
        ("root", checkpoint.map_or_else(String::new, |checkpoint| checkpoint.root.to_base64())),
    ]));
    if report.is_sound() {
        return text;
    }
    let row = |problem: &keyreeve_audit::verify::Problem| {
        let index = problem.index.map_or_else(String::new, |index| index.to_string());
        [finding(problem.finding).to_owned(), problem.path.clone(), index, problem.what.clone()]
    };
    let shown = report.problems.iter().take(SHOWN_PROBLEMS).map(row);
    text.push_str(&format!("\n{}\n", rows(["finding", "file", "entry", "what"], shown)));
    let hidden = report.problem_count.saturating_sub(SHOWN_PROBLEMS as u64);
    if hidden > 0 { format!("{text}\nand {hidden} more; `--output json` lists up to 1,000\n") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";

    #[test]
    fn fields_within_fields_are_told_by_their_path() {
        let mut said = Vec::new();
        flat("", &json!({ "v": 1, "actor": { "principal": "olga" }, "details": { "seats": ["a", "b"] } }), &mut said);
        let said: BTreeMap<&str, &str> = said.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let expected = [("actor.principal", "olga"), ("details.seats", r#"["a","b"]"#), ("v", "1")];
        assert_eq!(said, BTreeMap::from(expected));
    }

    #[test]
    fn an_empty_directory_is_incomplete_and_not_tampered_with() {
        let dir = tempfile::tempdir().unwrap();
        let keys = parse_vkeys(VKEY).unwrap();
        let report = verify_log(&Directory(dir.path().to_owned()), &keys, None, |_, _| ());
        assert!(!report.is_sound() && !report.is_tampered());
        assert!(report_text(&report, "incomplete").contains("there is no checkpoint"));
    }

    #[test]
    fn the_directory_around_a_log_will_do() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Directory::of(dir.path().to_owned()).0, dir.path());
        std::fs::create_dir(dir.path().join("log")).unwrap();
        std::fs::write(dir.path().join("log/checkpoint"), "x").unwrap();
        assert_eq!(Directory::of(dir.path().to_owned()).0, dir.path().join("log"));
    }

    #[test]
    fn a_checkpoint_that_nobody_signed_is_tampering() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("checkpoint"), "a\n0\nx\n\nno signature\n").unwrap();
        let keys = parse_vkeys(VKEY).unwrap();
        let report = verify_log(&Directory(dir.path().to_owned()), &keys, None, |_, _| ());
        assert!(report.is_tampered());
    }

    #[test]
    fn keys_are_given_as_text_or_in_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.vkey");
        std::fs::write(&path, format!("# of the log\n{VKEY}\n\n{VKEY}\n")).unwrap();
        let count = |text: &str| vkeys(text).map(|keys| keys.0.len());
        assert_eq!(count(VKEY), Ok(1));
        assert_eq!(count(&format!("{VKEY}\n{VKEY}\n")), Ok(2), "what `$(cat log.vkey)` puts there");
        assert_eq!(count(path.to_str().unwrap()), Ok(2));
        std::fs::write(&path, "something else").unwrap();
        assert!(count(path.to_str().unwrap()).unwrap_err().contains("something else"));
        assert!(count("no/such/file").unwrap_err().contains("no such file"));
        assert!(count("").is_err());
    }

    #[test]
    fn answers_that_prove_nothing_are_not_proofs() {
        let proof = |record: &str| AuditProof {
            index: 0,
            record: record.to_owned(),
            proof: String::new(),
            vkeys: vec![VKEY.to_owned()],
        };
        let failure = check_proof(&proof("{}"), &[], "rec_1").unwrap_err();
        assert_eq!(failure.exit, Exit::Integrity);
        assert!(failure.what.starts_with("NOT proved"));
    }
}
