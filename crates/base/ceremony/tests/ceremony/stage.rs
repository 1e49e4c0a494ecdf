//! A ceremony in memory: a small script, four people, a clock that is a number.

use std::collections::BTreeMap;

use keyreeve_ceremony::event::{Ending, Enrolled, Event, Opened, Outcome, Program};
use keyreeve_ceremony::participant::{CeremonyKey, SignatureText, Signer};
use keyreeve_ceremony::script::{Act, Asks};
use keyreeve_ceremony::state::{Next, command_line};
use keyreeve_ceremony::transcript::{Fault, Transcript};
use keyreeve_ceremony::word::{Initials, Line};
use keyreeve_crypto::Random;
use keyreeve_model::UnixMillis;

pub(crate) const SCRIPT: &str = r#"
keyreeve_ceremony = 1
name = "small"
title = "A small ceremony"
purpose = "To show that it works."
version = "1"
server = true
organisations_at_least = 2
deviations_accepted_by = ["witness"]
abort_if = ["somebody is missing"]

[[roles]]
name = "administrator"
title = "Administrator"
count = 1
may_not_be_same_person_as = ["witness"]

[[roles]]
name = "custodian"
title = "Custodian"
count = 2
different_organisations = true

[[roles]]
name = "witness"
title = "Witness"
count = 1

[[before]]
text = "The door is closed."
by = ["witness"]

[[equipment]]
name = "laptop"
title = "The laptop"
by = ["administrator"]
fields = [{ name = "serial", what = "Serial number", form = "serial-number" }]

[[steps]]
id = "hash"
title = "A hash"
text = "Write it down."
by = ["administrator"]
witnesses = ["witness"]
do = { record = { fields = [
    { name = "digest", what = "Hash", form = "sha256" },
    { name = "seen-at", what = "Time", form = "time" },
] } }

[[steps]]
id = "compare"
title = "The hash again"
text = "Compare it."
by = ["witness"]
do = { verify = { what = "Hash", equals = "digest" } }

[[steps]]
id = "show"
title = "A key"
text = "Look at it."
by = ["administrator"]
witnesses = ["custodian"]
do = { command = { key-show = { key = "{serial}" } } }

[[steps]]
id = "video"
title = "Recording"
text = "Attach it."
by = ["witness"]
do = { attach = { name = "video-hash", what = "The video" } }

[[steps]]
id = "decision"
title = "Decision"
text = "Decide."
by = ["custodian"]
do = { decide = { name = "choice", choices = ["yes", "no"] } }

[[after]]
text = "Everything is put away."
by = ["administrator", "witness"]
"#;

pub(crate) const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

pub(crate) fn line(text: &str) -> Line {
    text.parse().unwrap()
}

pub(crate) fn initials(text: &str) -> Initials {
    text.parse().unwrap()
}

/// A ceremony on its way.
pub(crate) struct Stage {
    pub(crate) random: Random,
    pub(crate) transcript: Transcript,
    pub(crate) bytes: Vec<u8>,
    pub(crate) keys: BTreeMap<Initials, CeremonyKey>,
    pub(crate) now: i64,
}

pub(crate) fn opened(script: &str) -> Opened {
    Opened {
        script_sha256: Line::hexadecimal(&keyreeve_crypto::digest::sha256(script.as_bytes())),
        script: script.to_owned(),
        dry_run: false,
        place: line("Zürich, room 4"),
        program: Program { version: line("0.1.0"), sha256: line(DIGEST) },
        server: None,
    }
}

impl Stage {
    pub(crate) fn begin(opened: Opened) -> Result<Self, Fault> {
        let now = 1_800_000_000_000;
        let (transcript, bytes) = Transcript::begin(opened, UnixMillis(now))?;
        let random = Random::from_module().unwrap();
        Ok(Self { random, transcript, bytes, keys: BTreeMap::new(), now })
    }

    pub(crate) fn new() -> Self {
        Self::begin(opened(SCRIPT)).unwrap()
    }

    /// A ceremony at which everybody has said that they are there.
    pub(crate) fn assembled() -> Self {
        let mut stage = Self::new();
        for (who, name, organisation, role) in PEOPLE {
            stage.enrol(who, name, organisation, &[role]).unwrap();
        }
        stage.say(Event::Assembled {}).unwrap();
        stage
    }

    /// A ceremony that is over, with everything done.
    pub(crate) fn completed() -> Self {
        let mut stage = Self::assembled();
        while let Next::Task(place) = stage.transcript.ceremony().next() {
            stage.carry_out(place);
        }
        stage.say(Event::Closed(Ending::Completed {})).unwrap();
        stage
    }

    pub(crate) fn person(&mut self, who: &str, name: &str, organisation: &str, roles: &[&str]) -> Enrolled {
        let key = CeremonyKey::generate(&self.random).unwrap();
        let enrolled = Enrolled {
            initials: initials(who),
            name: line(name),
            organisation: line(organisation),
            roles: roles.iter().map(|role| role.parse().unwrap()).collect(),
            identity: line("passport seen"),
            key: key.public(),
        };
        if self.transcript.ceremony().person(&initials(who)).is_none() {
            self.keys.insert(initials(who), key);
        }
        enrolled
    }

    pub(crate) fn enrol(&mut self, who: &str, name: &str, organisation: &str, roles: &[&str]) -> Result<(), Fault> {
        let enrolled = self.person(who, name, organisation, roles);
        self.say(Event::Enrolled(Box::new(enrolled)))
    }

    /// Writes an entry, signed by all who should.
    pub(crate) fn say(&mut self, event: Event) -> Result<(), Fault> {
        self.say_signed(event, |signatures| signatures)
    }

    /// The same with other signatures than there should be.
    pub(crate) fn say_signed(
        &mut self,
        event: Event,
        change: impl FnOnce(BTreeMap<Initials, SignatureText>) -> BTreeMap<Initials, SignatureText>,
    ) -> Result<(), Fault> {
        self.now += 1000;
        let draft = self.transcript.draft(event, UnixMillis(self.now))?;
        let message = draft.to_sign()?;
        let sign = |who: &Initials| (who.clone(), self.keys[who].sign(&self.random, &message).unwrap());
        let signatures = draft.signers().iter().map(sign).collect();
        let line = self.transcript.append(draft, change(signatures))?;
        self.bytes.extend(line);
        Ok(())
    }

    pub(crate) fn done(&mut self, task: &str, outcome: Outcome) -> Result<(), Fault> {
        self.say(Event::Done { task: line(task), outcome })
    }

    /// Does a task as its script asks.
    pub(crate) fn carry_out(&mut self, place: usize) {
        let script = self.transcript.ceremony().script().clone();
        let tasks = script.tasks();
        let task = &tasks[place];
        let outcome = match task.asks {
            Asks::Confirmation => Outcome::Confirmed {},
            Asks::Values(fields) => {
                let value = |name: &str| match name {
                    "digest" => DIGEST,
                    "seen-at" => "2026-11-22T09:00:00Z",
                    _ => "SN-1234",
                };
                let values = fields.iter().map(|field| (field.name.clone(), line(value(field.name.as_str()))));
                Outcome::Recorded { values: values.collect() }
            }
            Asks::Act(Act::Command(action)) => {
                let command = command_line(&action.words(self.transcript.ceremony().values()).unwrap());
                self.say(Event::Begun { task: line(&task.id), command }).unwrap();
                Outcome::Ran { facts: BTreeMap::from([(line("id"), "key_1".parse().unwrap())]), found: false }
            }
            Asks::Act(Act::Attach { .. }) => {
                Outcome::Attached { file: line("video.mp4"), bytes: 12, sha256: line(DIGEST) }
            }
            Asks::Act(Act::Verify { .. }) => Outcome::Verified { seen: line(DIGEST) },
            Asks::Act(Act::Decide { choices, .. }) => Outcome::Decided { choice: choices[0].clone() },
            Asks::Act(Act::Say | Act::Record { .. }) => unreachable!(),
        };
        self.done(&task.id, outcome).unwrap();
    }
}

pub(crate) const PEOPLE: [(&str, &str, &str, &str); 4] = [
    ("AB", "Alice Bäcker", "Acme", "administrator"),
    ("CD", "Carol Dvořák", "Acme", "custodian"),
    ("EF", "Ελένη Φωτίου", "Beta", "custodian"),
    ("WX", "Wei Xu 徐伟", "Gamma Audit", "witness"),
];
