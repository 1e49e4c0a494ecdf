//! Key ceremonies on record (requirement T6): what people did together beside this server, or with it, has its hash in
//! the log that nobody can alter.

use keyreeve_model::Name;
use keyreeve_model::metadata::Label;

use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::pipeline::{Approved, Operation, Outcome, Target};

/// Most participants (count) that one record names.
const PARTICIPANTS_MAX: usize = 64;
/// Longest list of participants in a record (bytes).
const LIST_MAX: usize = 4096;

/// How a ceremony ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CeremonyOutcome {
    /// Every step was done, or skipped for a reason that was accepted.
    Completed,
    /// It was broken off.
    Aborted,
    /// It was a rehearsal.
    Rehearsed,
}

impl CeremonyOutcome {
    fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Aborted => "aborted",
            Self::Rehearsed => "rehearsed",
        }
    }
}

/// Puts the outcome of a ceremony on record. It changes nothing but the log.
#[derive(Clone, Debug)]
pub struct Record {
    /// The name of the script.
    pub ceremony: Name,
    /// The SHA-256 of the script, in hexadecimal.
    pub script_sha256: String,
    /// The SHA-256 of the transcript, in hexadecimal.
    pub transcript_sha256: String,
    /// How it ended.
    pub outcome: CeremonyOutcome,
    /// Who took part.
    pub participants: Vec<Label>,
    /// How many deviations there were (count).
    pub deviations: u32,
}

impl Record {
    fn check(&self) -> Result<(), Error> {
        let is_hash = |text: &str| text.len() == 64 && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        if !is_hash(&self.script_sha256) || !is_hash(&self.transcript_sha256) {
            let text = "a SHA-256 is written as 64 digits from 0 to 9 and a to f";
            return Err(Error::new(Code::InvalidRequest, text));
        }
        // They stand in one field of the record: one name must not read as several.
        if self.participants.iter().any(|who| who.to_string().contains(';')) {
            return Err(Error::new(Code::InvalidRequest, "a participant's name has no semicolon in it"));
        }
        let length: usize = self.participants.iter().map(|who| who.to_string().len() + 2).sum();
        if self.participants.len() > PARTICIPANTS_MAX || length > LIST_MAX {
            let text = format!("a record names at most {PARTICIPANTS_MAX} participants, in {LIST_MAX} bytes");
            return Err(Error::new(Code::InvalidRequest, text));
        }
        Ok(())
    }
}

impl Operation for Record {
    const DESCRIPTOR: &'static Descriptor = &catalogue::CEREMONY_RECORD;
    type Reply = ();

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, _approved: &Approved<Self>, _core: &Core) -> Result<Outcome<()>, Error> {
        self.check()?;
        let participants: Vec<String> = self.participants.iter().map(ToString::to_string).collect();
        Ok(Outcome::reply(())
            .detail("ceremony", &self.ceremony)
            .detail("script_sha256", &self.script_sha256)
            .detail("transcript_sha256", &self.transcript_sha256)
            .detail("ended", self.outcome.name())
            .detail("participants", participants.join("; "))
            .detail("deviations", self.deviations))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_never_reads_as_two() {
        let record = |who: &str| Record {
            ceremony: "backup".parse().unwrap(),
            script_sha256: "0".repeat(64),
            transcript_sha256: "0".repeat(64),
            outcome: CeremonyOutcome::Completed,
            participants: vec![who.parse().unwrap()],
            deviations: 0,
        };
        assert!(record("Ann (Example)").check().is_ok());
        assert_eq!(record("Ann (Example); Bob (Example)").check().unwrap_err().code(), Code::InvalidRequest);
    }
}
