//! The transcript: one JSON object on each line, each with the SHA-256 of the line before it and the signatures of
//! those whose presence it demands.
//!
//! A line is read only if writing what was read gives the same bytes, so that nothing can hide in how it is written.
//! What is signed is the line without its signatures, under a prefix of its own. A transcript that was read is one in
//! which every line followed from those before it and from the script: nothing altered, left out, put in or in another
//! order.

use std::collections::{BTreeMap, BTreeSet};

use keyreeve_crypto::digest::sha256;
use keyreeve_model::UnixMillis;
use serde::{Deserialize, Serialize};

use crate::event::{Event, Opened};
use crate::participant::SignatureText;
use crate::state::{Ceremony, Refusal};
use crate::word::{Initials, Line};

/// The form of the lines.
const VERSION: u32 = 1;
/// What is put before the bytes that are signed: a signature of this kind is good for nothing else.
const SIGNED: &[u8] = b"keyreeve-ceremony-entry-v1\n";
/// Longest transcript that is read (bytes).
pub const TRANSCRIPT_MAX: usize = 64 * 1024 * 1024;

/// Why a transcript is not what it should be, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct Broken {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is no line at all.
    #[error("there is nothing")]
    Empty,
    /// It is too long to be read.
    #[error("it is longer than {TRANSCRIPT_MAX} bytes")]
    TooLong,
    /// It is no entry, or written in another way than this program writes it.
    #[error("it is not an entry as this program writes it: {0}")]
    Form(String),
    /// It does not follow the line before it.
    #[error("it does not follow the line before it: one was altered, left out, put in or moved")]
    Chain,
    /// Its time is before that of the line before it.
    #[error("its time is before that of the line before it")]
    Time,
    /// What it says may not happen there.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Somebody has not signed it who should.
    #[error("{0} has not signed it")]
    Unsigned(Initials),
    /// Somebody has signed it who should not, or who is not enrolled.
    #[error("{0} signed it and is not asked to, or not enrolled")]
    Foreign(Initials),
    /// A signature is not that of whom it is said to be of.
    #[error("the signature of {0} is not theirs, or of something else")]
    Signature(Initials),
    /// The last line has no end: it was being written.
    #[error("it has no end: the machine stopped while it was written")]
    Torn,
}

/// An entry without its signatures: what is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    v: u32,
    n: u64,
    at: Line,
    previous: Line,
    event: Event,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    body: Body,
    signatures: BTreeMap<Initials, SignatureText>,
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number, counted from 0.
    pub number: u64,
    /// When it was written.
    pub at: UnixMillis,
    /// What happened.
    pub event: Event,
    /// Who signed it.
    pub signed_by: BTreeSet<Initials>,
    /// The SHA-256 of its line.
    pub hash: [u8; 32],
}

/// An entry that waits for its signatures.
#[derive(Clone, Debug)]
pub struct Draft {
    body: Body,
    signers: BTreeSet<Initials>,
}

impl Draft {
    /// What is signed.
    ///
    /// # Errors
    /// [`Fault::Form`].
    pub fn to_sign(&self) -> Result<Vec<u8>, Fault> {
        message(&self.body)
    }

    /// Who has to sign it.
    #[must_use]
    pub fn signers(&self) -> &BTreeSet<Initials> {
        &self.signers
    }
}

fn form(error: impl ToString) -> Fault {
    Fault::Form(error.to_string())
}

fn message(body: &Body) -> Result<Vec<u8>, Fault> {
    let mut message = SIGNED.to_vec();
    serde_json::to_writer(&mut message, body).map_err(form)?;
    Ok(message)
}

/// A transcript, and where its ceremony stands.
#[derive(Clone, Debug)]
pub struct Transcript {
    entries: Vec<Entry>,
    ceremony: Ceremony,
    length: usize,
}

impl Transcript {
    /// Begins a transcript: the transcript, and its first line with its end.
    ///
    /// # Errors
    /// [`Fault`] if the script cannot be followed.
    pub fn begin(opened: Opened, at: UnixMillis) -> Result<(Self, Vec<u8>), Fault> {
        let event = Event::Opened(Box::new(opened));
        let body = Body { v: VERSION, n: 0, at: instant(at), previous: Line::hexadecimal(&[0; 32]), event };
        let row = Row { body, signatures: BTreeMap::new() };
        let line = serde_json::to_vec(&row).map_err(form)?;
        let transcript = Self::of_first(row, &line)?;
        Ok((transcript, ended(line)))
    }

    fn of_first(row: Row, line: &[u8]) -> Result<Self, Fault> {
        let Event::Opened(opened) = &row.body.event else {
            return Err(Refusal::Order("a transcript begins with how its ceremony began".to_owned()).into());
        };
        if let Some((initials, _)) = row.signatures.first_key_value() {
            return Err(Fault::Foreign(initials.clone()));
        }
        let ceremony = Ceremony::open(opened)?;
        let mut transcript = Self { entries: Vec::new(), ceremony, length: 0 };
        transcript.check_place(&row.body)?;
        transcript.push(row, line)?;
        Ok(transcript)
    }

    /// Reads a transcript and checks every line of it.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn read(bytes: &[u8]) -> Result<Self, Broken> {
        let (transcript, torn) = Self::read_so_far(bytes)?;
        let line = transcript.entries.len() + 1;
        if torn { Err(Broken { line, fault: Fault::Torn }) } else { Ok(transcript) }
    }

    /// Reads a transcript whose last line may not have been written to its end: whether that is so. What is torn was
    /// never acknowledged, and [`Transcript::length`] says where it begins.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn read_so_far(bytes: &[u8]) -> Result<(Self, bool), Broken> {
        let broken = |line: usize| move |fault: Fault| Broken { line, fault };
        if bytes.len() > TRANSCRIPT_MAX {
            return Err(broken(1)(Fault::TooLong));
        }
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let torn = whole < bytes.len();
        let mut lines = bytes[..whole].split_inclusive(|byte| *byte == b'\n').map(|line| &line[..line.len() - 1]);
        let first = lines.next().ok_or_else(|| broken(1)(if torn { Fault::Torn } else { Fault::Empty }))?;
        let mut transcript = parse(first).and_then(|row| Self::of_first(row, first)).map_err(broken(1))?;
        for (number, line) in (2..).zip(lines) {
            parse(line).and_then(|row| transcript.take(row, line)).map_err(broken(number))?;
        }
        Ok((transcript, torn))
    }

    fn take(&mut self, row: Row, line: &[u8]) -> Result<(), Fault> {
        self.check_place(&row.body)?;
        let signers = self.ceremony.signers(&row.body.event)?;
        self.check_signatures(&row, &signers)?;
        self.push(row, line)
    }

    fn check_place(&self, body: &Body) -> Result<(), Fault> {
        if body.v != VERSION {
            return Err(form(format!("it is of form {}, this program reads {VERSION}", body.v)));
        }
        if body.n != self.entries.len() as u64 || body.previous != Line::hexadecimal(&self.head()) {
            return Err(Fault::Chain);
        }
        let at = UnixMillis::parse_rfc3339(body.at.as_str()).filter(|at| instant(*at) == body.at);
        let at = at.ok_or_else(|| form("its time is none"))?;
        if self.entries.last().is_some_and(|last| at < last.at) { Err(Fault::Time) } else { Ok(()) }
    }

    fn check_signatures(&self, row: &Row, signers: &BTreeSet<Initials>) -> Result<(), Fault> {
        if let Some(missing) = signers.iter().find(|initials| !row.signatures.contains_key(initials)) {
            return Err(Fault::Unsigned(missing.clone()));
        }
        let message = message(&row.body)?;
        for (initials, signature) in &row.signatures {
            if !signers.contains(initials) {
                return Err(Fault::Foreign(initials.clone()));
            }
            let own = match &row.body.event {
                Event::Enrolled(new) if new.initials == *initials => Some(&new.key),
                _ => self.ceremony.person(initials).map(|person| &person.enrolled.key),
            };
            let key = own.ok_or_else(|| Fault::Foreign(initials.clone()))?;
            if !key.verify(&message, signature) {
                return Err(Fault::Signature(initials.clone()));
            }
        }
        Ok(())
    }

    fn push(&mut self, row: Row, line: &[u8]) -> Result<(), Fault> {
        let at = UnixMillis::parse_rfc3339(row.body.at.as_str()).ok_or_else(|| form("its time is none"))?;
        if !self.entries.is_empty() {
            self.ceremony.apply(&row.body.event)?;
        }
        let signed_by = row.signatures.into_keys().collect();
        let (number, event, hash) = (row.body.n, row.body.event, sha256(line));
        self.entries.push(Entry { number, at, event, signed_by, hash });
        self.length += line.len() + 1;
        Ok(())
    }

    /// Prepares the next entry. Its time is `now`, or that of the entry before it where the clock went back.
    ///
    /// # Errors
    /// [`Fault::Refused`] if it may not happen now.
    pub fn draft(&self, event: Event, now: UnixMillis) -> Result<Draft, Fault> {
        let signers = self.ceremony.signers(&event)?;
        let at = self.entries.last().map_or(now, |last| last.at.max(now));
        let previous = Line::hexadecimal(&self.head());
        let body = Body { v: VERSION, n: self.entries.len() as u64, at: instant(at), previous, event };
        Ok(Draft { body, signers })
    }

    /// Takes an entry with its signatures: its line, with its end. The caller makes it durable before anything else is
    /// done.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn append(&mut self, draft: Draft, signatures: BTreeMap<Initials, SignatureText>) -> Result<Vec<u8>, Fault> {
        let row = Row { body: draft.body, signatures };
        let line = serde_json::to_vec(&row).map_err(form)?;
        self.take(row, &line)?;
        Ok(ended(line))
    }

    /// The entries.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Where the ceremony stands.
    #[must_use]
    pub fn ceremony(&self) -> &Ceremony {
        &self.ceremony
    }

    /// The SHA-256 of the last line, which covers everything before it.
    #[must_use]
    pub fn head(&self) -> [u8; 32] {
        self.entries.last().map_or([0; 32], |last| last.hash)
    }

    /// How long the transcript is (bytes).
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }
}

fn ended(mut line: Vec<u8>) -> Vec<u8> {
    line.push(b'\n');
    line
}

fn instant(at: UnixMillis) -> Line {
    Line::cleaned(&at.to_string())
}

/// Reads a line, in the one way it is written.
fn parse(line: &[u8]) -> Result<Row, Fault> {
    let row: Row = serde_json::from_slice(line).map_err(form)?;
    let again = serde_json::to_vec(&row).map_err(form)?;
    if again == line { Ok(row) } else { Err(form("its fields are in another order, or written in another way")) }
}
