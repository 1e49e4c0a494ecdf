//! Checking a transcript years later: with nothing but the transcript, and better with what was kept apart from it.

use std::collections::{BTreeMap, BTreeSet};

use keyreeve_crypto::digest::sha256;

use crate::event::{DeviationKind, Ending, Enrolled, Event, Outcome};
use crate::participant::ParticipantFile;
use crate::state::{Ceremony, Standing};
use crate::transcript::{Broken, Fault, Transcript};
use crate::word::Line;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Holds,
    /// It holds, and there is something to know.
    Note,
    /// It could not be checked: what it needs was not given.
    Open,
    /// It is not finished.
    Unfinished,
    /// It does not hold.
    Broken,
}

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What.
    pub what: &'static str,
    /// How it ended.
    pub verdict: Verdict,
    /// In words.
    pub detail: String,
}

/// What is kept apart from a transcript, and checked against it.
#[derive(Clone, Debug, Default)]
pub struct Against {
    /// The script as it was agreed upon beforehand.
    pub script: Option<String>,
    /// Fingerprints of participants' keys, as they were known beforehand.
    pub fingerprints: Vec<String>,
    /// Participants' files, as they were known beforehand: name and organisation count as well as the key.
    pub participants: Vec<ParticipantFile>,
    /// Attached files: the name they are called here, and their SHA-256 in hexadecimal.
    pub attachments: Vec<(String, String)>,
}

/// Everything that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// In the order in which they are shown.
    pub checks: Vec<Check>,
    /// Whether it was a rehearsal.
    pub dry_run: bool,
}

impl Report {
    /// Whether something does not hold.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.has(Verdict::Broken)
    }

    /// Whether something was compared with what was kept apart. Where nothing was, the transcript speaks for itself
    /// alone: whoever had a machine and a while could have made it.
    #[must_use]
    pub fn is_compared(&self) -> bool {
        let outside = |check: &Check| APART.contains(&check.what);
        self.checks.iter().any(|check| outside(check) && !matches!(check.verdict, Verdict::Open | Verdict::Unfinished))
    }

    /// Whether something is not finished.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        self.has(Verdict::Unfinished)
    }

    fn has(&self, verdict: Verdict) -> bool {
        self.checks.iter().any(|check| check.verdict == verdict)
    }

    /// Adds what somebody else checked.
    pub fn add(&mut self, what: &'static str, verdict: Verdict, detail: impl Into<String>) {
        self.checks.push(Check { what, verdict, detail: detail.into() });
    }
}

/// The check of participants' keys.
const PEOPLE: &str = "participants' keys";
/// The check of the audit log, which is made by whoever has one.
pub const LOG: &str = "audit log";
/// The checks that say whose a transcript is.
const APART: [&str; 2] = [PEOPLE, LOG];

/// The SHA-256 of a whole transcript, in hexadecimal: what the audit log holds of it.
#[must_use]
pub fn transcript_sha256(bytes: &[u8]) -> String {
    Line::hexadecimal(&sha256(bytes)).to_string()
}

/// Checks a transcript.
#[must_use]
pub fn verify(bytes: &[u8], against: &Against) -> Report {
    let mut report = Report { checks: Vec::new(), dry_run: false };
    match Transcript::read(bytes) {
        Ok(transcript) => {
            report.dry_run = transcript.ceremony().opened().dry_run;
            chain(&mut report, &transcript);
            outside(&mut report, &transcript, against);
        }
        Err(Broken { line, fault: Fault::Torn }) => {
            let what = format!("line {line} has no end: the machine stopped while it was written; resume the ceremony");
            report.add("chain", Verdict::Unfinished, what);
        }
        Err(broken) => report.add("chain", Verdict::Broken, broken.to_string()),
    }
    report
}

/// What reading the transcript has shown already, put into words.
fn chain(report: &mut Report, transcript: &Transcript) {
    let ceremony = transcript.ceremony();
    let entries = transcript.entries();
    let signatures: usize = entries.iter().map(|entry| entry.signed_by.len()).sum();
    report.add("chain", Verdict::Holds, format!("{} entries, each with the hash of the one before it", entries.len()));
    // The keys of everybody present are open in one program from enrolment on, and initials are no secret.
    let signed = format!(
        "{signatures} signatures, each entry by the keys of all whom it demands; they were made at one machine, by \
         whoever typed the initials there"
    );
    report.add("signatures", Verdict::Holds, signed);
    let people = ceremony.people();
    let organisations: BTreeSet<String> =
        people.iter().map(|person| person.enrolled.organisation.as_str().to_lowercase()).collect();
    let left = people.iter().filter(|person| !person.present).count();
    let held = format!("{} people from {} organisations", people.len(), organisations.len());
    match left {
        0 => report.add("roles and separation", Verdict::Holds, held),
        _ => report.add("roles and separation", Verdict::Note, format!("{held}, {left} of whom left before the end")),
    }
    let done = ceremony.standing().iter().filter(|standing| matches!(standing, Standing::Done(_))).count();
    let skipped = ceremony.standing().iter().filter(|standing| **standing == Standing::Skipped).count();
    let total = ceremony.standing().len();
    let (verdict, ended) = match ceremony.ending() {
        Some(Ending::Completed {}) if skipped == 0 => (Verdict::Holds, "completed"),
        Some(Ending::Completed {}) => (Verdict::Note, "completed"),
        Some(Ending::Aborted { .. }) => (Verdict::Note, "broken off"),
        None => (Verdict::Unfinished, "not finished"),
    };
    let text = format!("{done} of {total} done, {skipped} skipped with a reason; the ceremony was {ended}");
    report.add("steps", verdict, text);
    deviations(report, transcript);
    if ceremony.opened().dry_run {
        report.add("dry run", Verdict::Note, "this was a rehearsal with throwaway keys, and proves no ceremony");
    }
}

fn deviations(report: &mut Report, transcript: &Transcript) {
    let mut said = Vec::new();
    for entry in transcript.entries() {
        match &entry.event {
            Event::Deviation(deviation) => said.push(match &deviation.what {
                DeviationKind::Noted { task } => format!("at {task}: {}", deviation.reason),
                DeviationKind::Skipped { task } => format!("{task} skipped: {}", deviation.reason),
                DeviationKind::Left { who } => format!("{who} left: {}", deviation.reason),
            }),
            Event::Failed { task, .. } => said.push(format!("the command of {task} failed once")),
            Event::Resumed { .. } => said.push("the program was started again".to_owned()),
            Event::Closed(Ending::Aborted { reason }) => said.push(format!("broken off: {reason}")),
            Event::Opened(_)
            | Event::Enrolled(_)
            | Event::Assembled {}
            | Event::Begun { .. }
            | Event::Done { .. }
            | Event::Closed(Ending::Completed {}) => {}
        }
    }
    let (verdict, text) =
        if said.is_empty() { (Verdict::Holds, "none".to_owned()) } else { (Verdict::Note, said.join("; ")) };
    report.add("deviations", verdict, text.replace('\n', " "));
}

/// What is compared with things that were kept apart.
fn outside(report: &mut Report, transcript: &Transcript, against: &Against) {
    let ceremony = transcript.ceremony();
    match &against.script {
        None => report.add("script", Verdict::Open, "not compared: `--script FILE` names the one agreed upon"),
        Some(script) if *script == ceremony.opened().script => {
            let hash = &ceremony.opened().script_sha256;
            report.add("script", Verdict::Holds, format!("the one given, SHA-256 {hash}"));
        }
        Some(_) => report.add("script", Verdict::Broken, "another script than the one given was followed"),
    }
    known_people(report, ceremony, against);
    attachments(report, ceremony, &against.attachments);
}

fn known_people(report: &mut Report, ceremony: &Ceremony, against: &Against) {
    if against.fingerprints.is_empty() && against.participants.is_empty() {
        let what = "not compared: `--participant FILE` names the public half or fingerprint of one's key";
        return report.add(PEOPLE, Verdict::Open, what);
    }
    let plain = |print: &str| print.replace([' ', ':'], "").to_lowercase();
    let known: BTreeSet<String> = against.fingerprints.iter().map(|print| plain(print)).collect();
    let mut wrong = Vec::new();
    let mut by_print = Vec::new();
    for Enrolled { name, organisation, key, .. } in ceremony.people().iter().map(|person| &person.enrolled) {
        let mut files = against.participants.iter().filter(|file| file.key == *key).peekable();
        let print = key.fingerprint();
        if files.peek().is_none() && !known.contains(&plain(&print)) {
            wrong.push(format!("the key of {name} is not among those given"));
        } else if files.peek().is_none() {
            by_print.push(format!("{print} is {name}, {organisation}"));
        }
        // Whoever has a key can put it under another name, or another organisation.
        wrong.extend(
            files.filter(|file| file.name != *name || file.organisation != *organisation).map(|file| {
                format!("{name}, {organisation} is {}, {} in the file given", file.name, file.organisation)
            }),
        );
    }
    if wrong.is_empty() {
        let named = if by_print.is_empty() { String::new() } else { format!("; {}", by_print.join("; ")) };
        report.add(PEOPLE, Verdict::Holds, format!("every signer's key is one of those given{named}"));
    } else {
        report.add(PEOPLE, Verdict::Broken, wrong.join("; "));
    }
}

fn attachments(report: &mut Report, ceremony: &Ceremony, given: &[(String, String)]) {
    let mut attached = BTreeMap::new();
    for standing in ceremony.standing() {
        if let Standing::Done(Outcome::Attached { file, sha256, .. }) = standing {
            attached.insert(sha256.to_string(), file.to_string());
        }
    }
    for (name, hash) in given {
        match attached.remove(hash) {
            Some(_) => report.add("attachment", Verdict::Holds, format!("{name} is attached")),
            None => report.add("attachment", Verdict::Broken, format!("{name} is not attached, or was altered")),
        }
    }
    for file in attached.values() {
        report.add("attachment", Verdict::Open, format!("{file} not compared: `--attachment FILE` names it"));
    }
}
