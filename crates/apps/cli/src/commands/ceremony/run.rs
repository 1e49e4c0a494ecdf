//! Leading people through a ceremony.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use keyreeve_ceremony::event::{Deviation, DeviationKind, Ending, Enrolled, Event, Opened, Program, ServerSeen};
use keyreeve_ceremony::lint::lint;
use keyreeve_ceremony::paper::{DRY_RUN, document, markdown, pdf};
use keyreeve_ceremony::participant::{CeremonyKey, Signer};
use keyreeve_ceremony::script::{Script, Task, TaskKind};
use keyreeve_ceremony::state::{Ceremony, Next};
use keyreeve_ceremony::transcript::{Broken, Fault, TRANSCRIPT_MAX, Transcript};
use keyreeve_ceremony::verify::transcript_sha256;
use keyreeve_ceremony::word::{Initials, Line, Text, Word};
use keyreeve_crypto::Random;
use serde_json::json;

use super::child::{Surroundings, own_file};
use super::desk::{Desk, proposed_initials};
use super::scratch::Scratch;
use super::steps::{Came, sha256_of};
use super::{defect, now, participant, record, scripts, transcript_bytes, waiting};
use crate::app::{App, Outcome};
use crate::failure::{Exit, Failure};
use crate::files::{Readers, Sink};
use crate::profile::Profile;

/// Lead the people who are present through a ceremony
///
/// Each participant unlocks a key of their own (`keyreeve ceremony participant new`) and signs each step that they act
/// in or watch. Every entry is on the disk before anything else is done; after an interruption `--resume` goes on. At
/// the end there are the transcript (JSON lines, the signed truth), a Markdown file and a PDF, and where a server takes
/// part a record in its audit log.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve ceremony run root-initialisation-shamir --dry-run\n  \
        $ keyreeve ceremony run our-root.toml --place 'Vienna, room 12' -o root.jsonl\n  \
        $ keyreeve ceremony run --resume root.jsonl")]
pub(crate) struct Run {
    /// The script: a file, or the name of one that comes with the program
    #[arg(required_unless_present = "resume", conflicts_with = "resume")]
    script: Option<PathBuf>,
    /// Rehearse: with keys and a server that are made for it and thrown away
    #[arg(long, conflicts_with = "resume")]
    dry_run: bool,
    /// Go on with a ceremony that was interrupted: its transcript
    #[arg(long, value_name = "TRANSCRIPT")]
    resume: Option<PathBuf>,
    /// The new transcript; .md and .pdf go beside it [default: SCRIPT-TIME.jsonl]
    #[arg(short = 'o', long = "out", value_name = "FILE", conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Where the ceremony takes place [default: it is asked for]
    #[arg(long, value_name = "TEXT", conflicts_with = "resume")]
    place: Option<Line>,
}

impl Run {
    pub(super) fn run(self, app: &App) -> Outcome {
        let random = Random::from_module().map_err(defect)?;
        let mut session = match (self.resume, self.script) {
            (Some(path), _) => Session::resume(app, path, random)?,
            (None, Some(script)) => Session::begin(app, &script, self.dry_run, self.out, self.place, random)?,
            (None, None) => return Err(Failure::usage("name a script")),
        };
        session.lead().map_err(|failure| session.left(failure))?;
        session.finish()
    }
}

/// A ceremony on its way.
pub(super) struct Session<'a> {
    app: &'a App,
    pub(super) desk: Desk,
    transcript: Transcript,
    file: File,
    path: PathBuf,
    random: Random,
    keys: BTreeMap<Initials, Box<dyn Signer>>,
    scratch: Option<Scratch>,
}

fn fault(error: Fault) -> Failure {
    match error {
        Fault::Refused(refusal) => Failure::usage(refusal.to_string()),
        other => defect(other),
    }
}

/// The program that leads through the ceremony.
fn program() -> Result<Program, Failure> {
    let (sha256, _) = sha256_of(&own_file()?)?;
    Ok(Program { version: Line::cleaned(env!("CARGO_PKG_VERSION")), sha256 })
}

impl<'a> Session<'a> {
    fn begin(
        app: &'a App,
        named: &Path,
        dry_run: bool,
        out: Option<PathBuf>,
        place: Option<Line>,
        random: Random,
    ) -> Result<Self, Failure> {
        let (text, script) = scripts::load(named)?;
        if let Some(found) = lint(&script).into_iter().find(|found| found.wrong) {
            let what = format!("the script cannot be followed: {}: {}", found.place, found.what);
            return Err(Failure::usage(what).next("`keyreeve ceremony check SCRIPT` shows everything"));
        }
        let desk = Desk::new(app, dry_run.then_some(DRY_RUN));
        desk.page("", script.title.as_str())?;
        desk.read_aloud(script.purpose.as_str())?;
        let scratch = if dry_run && script.server { Some(Scratch::start(&script)?) } else { None };
        let place = match place {
            Some(place) => place,
            None => desk.ask_text("Where does it take place?")?,
        };
        let mut opened = Opened {
            script_sha256: Line::hexadecimal(&keyreeve_crypto::digest::sha256(text.as_bytes())),
            script: text,
            dry_run,
            place,
            program: program()?,
            server: None,
        };
        if script.server {
            let profile = match &scratch {
                Some(scratch) => Profile::at(&scratch.profile())?,
                None => app.profile()?,
            };
            opened.server = Some(waiting(seen(&profile))?);
        }
        let at = now();
        let (transcript, line) = Transcript::begin(opened, at).map_err(fault)?;
        let path = out.unwrap_or_else(|| default_path(&script, dry_run, &at.to_string()));
        let file = create(&path, &line)?;
        desk.say(&format!("The transcript is {}.", path.display()))?;
        if let Some(scratch) = &scratch {
            let directory = scratch.directory().display();
            desk.say(&format!(
                "The rehearsal's own server is in {directory}, and removed at the end. {}",
                scratch.hint
            ))?;
        }
        Ok(Self { app, desk, transcript, file, path, random, keys: BTreeMap::new(), scratch })
    }

    /// Goes on with a transcript. What was being written when the machine stopped was never acknowledged: it goes.
    fn resume(app: &'a App, path: PathBuf, random: Random) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::io(path.display(), &error);
        let file = OpenOptions::new().read(true).append(true).open(&path).map_err(failed)?;
        // What is read is what nobody else writes any more.
        lock(&file, &path)?;
        let mut bytes = Vec::new();
        (&file).take(TRANSCRIPT_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        let broken = |Broken { line, fault }: Broken| {
            Failure::new(Exit::Integrity, format!("{}: line {line}: {fault}", path.display()))
        };
        let (transcript, torn) = Transcript::read_so_far(&bytes).map_err(broken)?;
        if transcript.ceremony().opened().dry_run {
            let what = "a rehearsal is not resumed: its keys and its server are gone";
            return Err(Failure::new(Exit::State, what).next("begin it anew"));
        }
        if transcript.ceremony().next() == Next::Over {
            return Err(Failure::new(Exit::State, "this ceremony is over")
                .next(format!("`keyreeve ceremony verify {}` checks it", path.display())));
        }
        if transcript.ceremony().present().is_empty() {
            return Err(Failure::new(Exit::State, "nobody was enrolled yet: there is nothing to go on with")
                .next("begin it anew, with another file for the transcript"));
        }
        if torn {
            file.set_len(transcript.length() as u64).and_then(|()| file.sync_all()).map_err(failed)?;
        }
        let desk = Desk::new(app, None);
        let mut session = Self { app, desk, transcript, file, path, random, keys: BTreeMap::new(), scratch: None };
        session.desk.page("", &format!("{} - resumed", session.ceremony().script().title))?;
        let present = session.ceremony().present();
        for initials in &present {
            session.unlock_again(initials)?;
        }
        session.write(Event::Resumed { program: program()? })?;
        Ok(session)
    }

    fn unlock_again(&mut self, initials: &Initials) -> Result<(), Failure> {
        let person = self.ceremony().person(initials).ok_or_else(|| defect("a person is gone"))?;
        let (name, key) = (person.enrolled.name.clone(), person.enrolled.key.clone());
        loop {
            let opened = self.unlock(&format!("{initials}  {name}, path of your participant's file:"))?;
            match opened {
                Some((file, opened)) if file.key == key => {
                    self.keys.insert(initials.clone(), Box::new(opened));
                    return Ok(());
                }
                Some(_) => self.desk.complain("it is another key than that with which this person was enrolled")?,
                None => {}
            }
        }
    }

    pub(super) fn ceremony(&self) -> &Ceremony {
        self.transcript.ceremony()
    }

    /// How to go on after a ceremony that was left: with its very transcript, and not at all with a rehearsal's.
    fn left(&self, mut failure: Failure) -> Failure {
        if let Some(next) = failure.next.take_if(|next| next.contains("--resume TRANSCRIPT")) {
            let rehearsal = self.ceremony().opened().dry_run;
            failure.next = Some(match rehearsal {
                true => "a rehearsal is not resumed: its keys and its server are gone; begin it anew".to_owned(),
                false => next.replace("TRANSCRIPT", &self.path.display().to_string()),
            });
        }
        failure
    }

    /// Goes from what comes next to what comes next, until it is over.
    fn lead(&mut self) -> Result<(), Failure> {
        loop {
            match self.ceremony().next() {
                Next::Over => return Ok(()),
                Next::Enrol(missing) if self.ceremony().is_assembled() => self.replace(&missing)?,
                Next::Enrol(missing) => self.enrol(&missing)?,
                Next::Assemble => {
                    self.desk.page("Roll call", "Everybody is there")?;
                    self.desk.say("Each confirms to be present, and to have seen that the others are who they say.")?;
                    match self.ceremony().signers(&Event::Assembled {}) {
                        Ok(_) => self.write(Event::Assembled {})?,
                        Err(refused) => {
                            self.desk.complain(&refused.to_string())?;
                            self.break_off(&refused.to_string())?;
                        }
                    }
                }
                Next::Task(place) => self.task(place)?,
                Next::Close => {
                    self.desk.page("End", "Everything is done")?;
                    self.write(Event::Closed(Ending::Completed {}))?;
                }
            }
        }
    }

    /// Writes an entry: those who have to sign it confirm with their initials, then it is signed and on the disk.
    pub(super) fn write(&mut self, event: Event) -> Result<(), Failure> {
        let draft = self.transcript.draft(event, now()).map_err(fault)?;
        let signers = draft.signers().clone();
        self.confirm(&signers.iter().collect::<Vec<_>>())?;
        let message = draft.to_sign().map_err(fault)?;
        let mut signatures = BTreeMap::new();
        for initials in signers {
            let key = self.keys.get(&initials).ok_or_else(|| defect(format!("the key of {initials} is not open")))?;
            let signature = key.sign(&self.random, &message).map_err(participant::failure)?;
            signatures.insert(initials, signature);
        }
        let line = self.transcript.append(draft, signatures).map_err(fault)?;
        let failed = |error: std::io::Error| Failure::io(self.path.display(), &error);
        let written = self.file.write_all(&line).and_then(|()| self.file.sync_all());
        written.map_err(|error| {
            // Nothing may ever follow half a line: it goes, and the ceremony is resumed.
            let before = self.transcript.length() - line.len();
            let _ = self.file.set_len(before as u64).and_then(|()| self.file.sync_all());
            failed(error).next("`keyreeve ceremony run --resume TRANSCRIPT` goes on, once it can be written again")
        })
    }

    /// Somebody left: somebody else comes, or it is broken off.
    fn replace(&mut self, missing: &[(Word, u8)]) -> Result<(), Failure> {
        self.desk.say("\n  Nothing is done until somebody has taken the place of whoever left.")?;
        match self.desk.ask("  Enter = enrol   b = break off:")?.as_str() {
            "" => self.enrol(missing),
            "b" => self.break_off(""),
            _ => Ok(()),
        }
    }

    fn confirm(&self, signers: &[&Initials]) -> Result<(), Failure> {
        for initials in signers {
            let name = self.ceremony().person(initials).map(|person| person.enrolled.name.to_string());
            let name = name.unwrap_or_else(|| "the new participant".to_owned());
            self.desk.ask_for(&format!("  {name} confirms with the initials {initials}:"), |typed| {
                let same = typed.to_uppercase() == initials.as_str().to_uppercase();
                if same { Ok(()) } else { Err(format!("{initials} confirm this, or nobody does")) }
            })?;
        }
        Ok(())
    }

    fn enrol(&mut self, missing: &[(Word, u8)]) -> Result<(), Failure> {
        self.desk.page("Participants", "Somebody is enrolled")?;
        let lacking: Vec<String> = missing.iter().map(|(role, count)| format!("{role} ({count})")).collect();
        self.desk.say(&format!("Still missing: {}", lacking.join(", ")))?;
        let Some((name, organisation, key)) = self.who()? else { return Ok(()) };
        self.desk.say(&format!("  {name}, {organisation}\n  fingerprint {}", key.public().fingerprint()))?;
        let script = self.ceremony().script();
        let roles = self.desk.ask_for("  Role, or roles with commas between:", |text| {
            let roles = text.split(',').map(|role| role.trim().parse::<Word>());
            let roles = roles.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
            match roles.iter().find(|role| script.role(role).is_none()) {
                Some(unknown) => {
                    let names: Vec<&str> = script.roles.iter().map(|role| role.name.as_str()).collect();
                    Err(format!("there is no role `{unknown}`: {}", names.join(", ")))
                }
                None => Ok(roles),
            }
        })?;
        let identity: Line = self.desk.ask_text("  How was the identity checked (document, by whom)?")?;
        let proposed = proposed_initials(name.as_str());
        let initials: Initials = self.desk.ask_for(&format!("  Initials [{proposed}]:"), |text| {
            let typed = if text.is_empty() { proposed.clone() } else { text.to_uppercase() };
            let initials = typed.parse::<Initials>().map_err(|error| error.to_string())?;
            match self.ceremony().person(&initials) {
                Some(other) => Err(format!("{initials} are those of {}: choose others", other.enrolled.name)),
                None => Ok(initials),
            }
        })?;
        let enrolled = Enrolled { initials: initials.clone(), name, organisation, roles, identity, key: key.public() };
        let event = Event::Enrolled(Box::new(enrolled));
        if let Err(refused) = self.ceremony().signers(&event) {
            return self.desk.complain(&refused.to_string());
        }
        self.keys.insert(initials, Box::new(key));
        self.write(event)
    }

    /// Somebody with their key: from a file, or in a rehearsal a throwaway one.
    fn who(&self) -> Result<Option<(Line, Line, CeremonyKey)>, Failure> {
        if self.ceremony().opened().dry_run {
            let name = self.desk.ask_text("  Name:")?;
            let organisation = self.desk.ask_text("  Organisation:")?;
            let key = CeremonyKey::generate(&self.random).map_err(participant::failure)?;
            return Ok(Some((name, organisation, key)));
        }
        let opened = self.unlock("  Path of the participant's file (nothing: break off):")?;
        Ok(opened.map(|(file, key)| (file.name, file.organisation, key)))
    }

    /// Opens a participant's key; nothing where the file or the passphrase is not right.
    fn unlock(
        &self,
        prompt: &str,
    ) -> Result<Option<(keyreeve_ceremony::participant::ParticipantFile, CeremonyKey)>, Failure> {
        let path = self.desk.ask(prompt)?;
        if path.is_empty() {
            let (what, next) = match self.ceremony().present().is_empty() {
                true => ("left before anybody was enrolled", "begin it anew"),
                false => ("left in the middle", "`keyreeve ceremony run --resume TRANSCRIPT` goes on"),
            };
            return Err(Failure::new(Exit::Interrupted, what).next(next));
        }
        let opened = participant::read(Path::new(&path)).and_then(|file| {
            let passphrase = self.desk.ask_secret(&format!("  Passphrase of {}:", file.name))?;
            participant::open(&file, &passphrase).map(|key| (file, key))
        });
        match opened {
            Ok(opened) => Ok(Some(opened)),
            Err(failure) if failure.exit == Exit::Interrupted => Err(failure),
            Err(failure) => {
                self.desk.complain(&failure.what)?;
                Ok(None)
            }
        }
    }

    fn task(&mut self, place: usize) -> Result<(), Failure> {
        let script = self.ceremony().script().clone();
        let tasks = script.tasks();
        let task = &tasks[place];
        self.show(place, tasks.len(), task)?;
        let keys = "  Enter = go on   d = deviation   s = skip   l = somebody leaves   e = enrol   b = break off:";
        match self.desk.ask(keys)?.as_str() {
            "" => match self.carry_out(place, task)? {
                Came::Of(outcome) => self.write(Event::Done { task: Line::cleaned(&task.id), outcome }),
                Came::Nothing => Ok(()),
            },
            "d" => self.deviate(DeviationKind::Noted { task: Line::cleaned(&task.id) }),
            "s" => self.deviate(DeviationKind::Skipped { task: Line::cleaned(&task.id) }),
            "l" => {
                let who = self.desk.ask_text("  Initials of whoever leaves:")?;
                self.deviate(DeviationKind::Left { who })
            }
            "e" => self.enrol(&[]),
            "b" => self.break_off(""),
            _ => Ok(()),
        }
    }

    fn show(&self, place: usize, total: usize, task: &Task<'_>) -> Result<(), Failure> {
        let part = match task.kind {
            TaskKind::Before => "Checklist before",
            TaskKind::Equipment => "Equipment",
            TaskKind::Step => "Steps",
            TaskKind::After => "Checklist after",
        };
        let script = self.ceremony().script();
        self.desk.page(&format!("{} | {part} | step {} of {total}", script.title, place + 1), task.title)?;
        let names = |roles: &[Word]| -> String {
            let each = roles.iter().map(|role| {
                let holders = self.ceremony().holders(role).map(|person| person.enrolled.name.to_string());
                let title = script.role(role).map_or(role.as_str(), |role| role.title.as_str());
                format!("{title} ({})", holders.collect::<Vec<_>>().join(", "))
            });
            each.collect::<Vec<_>>().join("; ")
        };
        self.desk.read_aloud(task.text)?;
        self.desk.say(&format!("  acts:    {}", names(task.by)))?;
        if !task.witnesses.is_empty() {
            self.desk.say(&format!("  watches: {}", names(task.witnesses)))?;
        }
        Ok(())
    }

    fn deviate(&mut self, what: DeviationKind) -> Result<(), Failure> {
        let reason: Text = self.desk.ask_text("  What is not as the script says, and why?")?;
        let event = Event::Deviation(Deviation { what, reason });
        match self.ceremony().signers(&event) {
            Err(refused) => self.desk.complain(&refused.to_string()),
            Ok(_) => {
                self.desk.say("  Those who accept it confirm.")?;
                self.write(event)
            }
        }
    }

    fn break_off(&mut self, because: &str) -> Result<(), Failure> {
        for condition in &self.ceremony().script().abort_if {
            self.desk.say(&format!("  - {condition}"))?;
        }
        let reason =
            if because.is_empty() { self.desk.ask_text("  Why is it broken off?")? } else { Text::cleaned(because) };
        self.write(Event::Closed(Ending::Aborted { reason }))
    }

    /// Where commands are run: on the rehearsal's server, as the administrator that a step has made, or as the person
    /// who started this.
    pub(super) fn surroundings(&self) -> Result<Surroundings, Failure> {
        let directory = self.scratch.as_ref().map(|scratch| scratch.directory().to_owned());
        if let Some(made) = self.ceremony().profile() {
            let base = directory.clone().unwrap_or_default();
            return Ok(Surroundings::with_profile(&base.join(made).join("client.toml"), directory));
        }
        Ok(match &self.scratch {
            Some(scratch) => scratch.surroundings(),
            None => Surroundings::with_options(self.app.connection.arguments()),
        })
    }

    /// The profile of the same.
    fn profile(&self) -> Result<Profile, Failure> {
        let directory = self.scratch.as_ref().map(|scratch| scratch.directory().to_owned()).unwrap_or_default();
        match (self.ceremony().profile(), &self.scratch) {
            (Some(made), _) => Profile::at(&directory.join(made).join("client.toml")),
            (None, Some(scratch)) => Profile::at(&scratch.profile()),
            (None, None) => self.app.profile(),
        }
    }

    /// Whoever runs the server starts it again; the rehearsal's is started here.
    pub(super) fn restart(&mut self) -> Result<(), Failure> {
        match &mut self.scratch {
            Some(scratch) => {
                self.desk.say("  The rehearsal's server is started again.")?;
                scratch.restart()
            }
            None => {
                self.desk.ask("  Start the server again now, then press Enter:")?;
                Ok(())
            }
        }
    }

    /// Writes the papers, puts the outcome on record, and tells where everything is.
    fn finish(self) -> Outcome {
        let bytes = transcript_bytes(&self.path)?;
        let transcript = Transcript::read(&bytes).map_err(defect)?;
        let paper = document(&transcript, &bytes);
        let beside = |ending: &str| self.path.with_extension(ending);
        Sink::of(&beside("md"), true).write(markdown::render(&paper).as_bytes(), Readers::Anybody)?;
        let printed = pdf::render(&paper).map_err(defect)?;
        Sink::of(&beside("pdf"), true).write(&printed, Readers::Anybody)?;
        let mut recorded = None;
        if transcript.ceremony().opened().server.is_some() {
            let put = self.profile().and_then(|profile| record::put(&profile, &transcript, &bytes));
            match put {
                Ok(record) => recorded = record,
                Err(failure) => self.app.out.warn(&format!(
                    "the outcome is NOT in the audit log: {}\n`keyreeve ceremony record {}` does it later",
                    failure.what,
                    self.path.display()
                )),
            }
        }
        let completed = transcript.ceremony().ending() == Some(&Ending::Completed {});
        let value = json!({
            "transcript": self.path,
            "transcript_sha256": transcript_sha256(&bytes),
            "markdown": beside("md"),
            "pdf": beside("pdf"),
            "dry_run": transcript.ceremony().opened().dry_run,
            "completed": completed,
            "deviations": transcript.ceremony().deviations(),
            "audit_record": recorded,
        });
        self.app.out.show(&value, |_| told(&value))?;
        Ok(if completed { Exit::Done } else { Exit::No })
    }
}

fn told(value: &serde_json::Value) -> String {
    let text = |name: &str| match &value[name] {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    };
    let outcome = if value["completed"] == true { "completed" } else { "BROKEN OFF" };
    let dry = if value["dry_run"] == true { format!("{outcome}; {DRY_RUN}") } else { outcome.to_owned() };
    crate::out::facts(&[
        ("outcome", dry),
        ("deviations", text("deviations")),
        ("transcript", text("transcript")),
        ("SHA-256", text("transcript_sha256")),
        ("Markdown", text("markdown")),
        ("PDF", text("pdf")),
        (
            "audit record",
            match (text("audit_record"), value["dry_run"] == true) {
                (record, true) if !record.is_empty() => {
                    format!("{record}, in the log of the rehearsal's server, which is gone")
                }
                (record, _) => record,
            },
        ),
    ])
}

fn default_path(script: &Script, dry_run: bool, at: &str) -> PathBuf {
    let time: String = at.chars().filter(|c| c.is_ascii_digit() || *c == 'T').take(15).collect();
    let dry = if dry_run { "dry-run-" } else { "" };
    PathBuf::from(format!("{dry}{}-{time}.jsonl", script.name))
}

/// Begins the file of a transcript. It is never written over another one.
fn create(path: &Path, first: &[u8]) -> Result<File, Failure> {
    let failed = |error: std::io::Error| Failure::io(path.display(), &error);
    let mut file = OpenOptions::new().append(true).create_new(true).open(path).map_err(failed)?;
    lock(&file, path)?;
    file.write_all(first).and_then(|()| file.sync_all()).map_err(failed)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok(file)
}

/// Two programs must not write one transcript.
fn lock(file: &File, path: &Path) -> Result<(), Failure> {
    file.try_lock().map_err(|_| Failure::new(Exit::State, format!("another program is writing {}", path.display())))
}

/// The server as it is seen when a ceremony begins.
async fn seen(profile: &Profile) -> Result<ServerSeen, Failure> {
    let client = profile.anonymous_client()?;
    let status = client.status().await?.value;
    let checkpoint = match (status.open, profile.client()) {
        // Who may read the log gets its checkpoint; a ceremony needs nobody who may.
        (true, Ok(client)) => client.audit_checkpoint().await.ok().and_then(|note| String::from_utf8(note).ok()),
        _ => None,
    };
    Ok(ServerSeen {
        address: Line::cleaned(client.address()),
        root_kind: Line::cleaned(&status.root_kind),
        open: status.open,
        log_vkeys: status.log_vkeys.iter().filter_map(|key| key.parse().ok()).collect(),
        checkpoint,
    })
}
