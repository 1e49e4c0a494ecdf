//! What runs here and what it was compared with: the server's own account of itself, that it is older than its anchors,
//! and that people go on all the same (requirements T8, T10).

use futures::future::BoxFuture;
use keyreeve_crypto::FipsStatus;
use keyreeve_model::anchor::{AcceptedRollback, AnchorRecord, StartRecord, Taken};
use keyreeve_model::approval::Shown;
use keyreeve_model::filed::file;
use keyreeve_model::metadata::Label;
use keyreeve_model::record::Revision;
use keyreeve_model::{Facts, NoticeKind};
use serde::{Deserialize, Serialize};
use std::sync::atomic::Ordering;

use crate::anchors::AnchorState;
use crate::catalogue::{self, Descriptor};
use crate::core::{Core, Engine};
use crate::courier::Telling;
use crate::error::{Code, Error};
use crate::pipeline::{Approved, Operation, Outcome, Remember, Target};
use crate::sealing::Effect;

/// What the process knows of itself.
#[derive(Clone, Debug)]
pub struct StartFacts {
    /// The version of the program.
    pub version: String,
    /// The SHA-256 of its file, in hexadecimal.
    pub binary: String,
    /// The SHA-256 of its configuration, in hexadecimal; the configuration names files with secrets and has none.
    pub configuration: Option<String>,
    /// The SHA-256 that the file should have, where the configuration says so and the server started all the same.
    pub expected_binary: Option<String>,
}

impl StartFacts {
    fn is_unexpected(&self) -> bool {
        self.expected_binary.as_ref().is_some_and(|expected| *expected != self.binary)
    }
}

impl Engine {
    /// Says what runs; once, before the engine is started. Without it nothing is recorded at the start.
    pub fn started_as(&self, facts: StartFacts) {
        let _ = self.core.start_facts.set(facts);
    }

    /// Puts on record what runs, once for each process, as soon as the server is open. Boxed, because it goes through
    /// the pipeline from inside of it.
    pub(crate) fn record_start(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let core = &*self.core;
            let known = core.start_facts.get().is_some() && !core.start_recorded.load(Ordering::Acquire);
            if !known || !self.is_open() {
                return Ok(());
            }
            self.call_as_server("start", RecordStart).await.map_err(|refused| refused.error)?;
            core.start_recorded.store(true, Ordering::Release);
            Ok(())
        })
    }
}

/// Puts on record, as the server itself, which program runs with which configuration.
#[derive(Debug)]
pub(crate) struct RecordStart;

impl Operation for RecordStart {
    const DESCRIPTOR: &'static Descriptor = &catalogue::SYSTEM_STARTED;
    type Reply = ();

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<()>, Error> {
        let facts = core.start_facts.get().ok_or_else(|| Error::internal("what runs was not said"))?;
        let opened = core.need_open()?;
        let now = StartRecord {
            at: approved.now(),
            version: facts.version.clone(),
            binary: facts.binary.clone(),
            configuration: facts.configuration.clone(),
            module: module(),
        };
        let before = core.filed::<StartRecord>(&opened, *b"last").await?;
        let revision = before.as_ref().map_or(Revision::FIRST, |(_, revision)| revision.next());
        let changed = before.map(|(before, _)| now.differences(&before)).unwrap_or_default();
        let mut outcome = Outcome::reply(())
            .changing(file(&opened.keys, revision, &now))
            .detail("version", &now.version)
            .detail("binary_sha256", &now.binary)
            .detail("module", &now.module);
        if let Some(digest) = &now.configuration {
            outcome = outcome.detail("configuration_sha256", digest);
        }
        if let Some(expected) = facts.expected_binary.as_ref().filter(|_| facts.is_unexpected()) {
            outcome = outcome.detail("expected_sha256", expected);
        }
        let mut told = Facts::default().with("version", &now.version).with("binary_sha256", &now.binary);
        for (what, old) in &changed {
            outcome = outcome.detail(&format!("former_{what}"), old);
            told = told.with(&format!("former_{what}"), old);
        }
        let names: Vec<&str> = changed.iter().map(|(what, _)| *what).collect();
        Ok(match (facts.is_unexpected(), names.as_slice()) {
            (true, _) => {
                let subject = "a program runs that is not the one the configuration expects";
                outcome.telling(NoticeKind::ServerChanged, subject, told)
            }
            (false, []) => outcome,
            (false, names) => {
                let subject = format!("the server was started with another {}", names.join(", "));
                outcome.telling(NoticeKind::ServerChanged, subject, told)
            }
        })
    }
}

/// The module with the state of its validation.
fn module() -> String {
    let module = FipsStatus::current();
    match (module.compiled, module.active) {
        (true, true) => format!("{module} in FIPS mode"),
        (true, false) => module.to_string(),
        (false, _) => format!("{module}, not the FIPS build"),
    }
}

/// Shows what runs, and how the server stands towards its anchors.
#[derive(Debug)]
pub struct Info;

/// What the server says of itself.
#[derive(Debug)]
pub struct InfoReply {
    /// What runs, where it was said.
    pub facts: Option<StartFacts>,
    /// The cryptographic module.
    pub module: String,
    /// What ran when the server was last opened.
    pub last_start: Option<StartRecord>,
    /// The anchors.
    pub anchors: Vec<AnchorState>,
    /// Why nothing is done, where the server is older than an anchor remembers.
    pub rolled_back: Vec<String>,
    /// That people agreed to go on with an old copy, the last time that they did.
    pub accepted: Option<AcceptedRollback>,
}

impl Remember for InfoReply {}

impl Operation for Info {
    const DESCRIPTOR: &'static Descriptor = &catalogue::SYSTEM_INFO;
    type Reply = InfoReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, _approved: &Approved<Self>, core: &Core) -> Result<Outcome<InfoReply>, Error> {
        let opened = core.need_open()?;
        let accepted = core.filed_all::<AcceptedRollback>(&opened, None).await?;
        Ok(Outcome::reply(InfoReply {
            facts: core.start_facts.get().cloned(),
            module: module(),
            last_start: core.filed::<StartRecord>(&opened, *b"last").await?.map(|(record, _)| record),
            anchors: core.anchor_states(&opened).await?,
            rolled_back: core.held().map(|held| held.told()).unwrap_or_default(),
            accepted: accepted.into_iter().map(|(record, _)| record).max_by_key(|record| record.at),
        }))
    }
}

/// Puts on record, as the server itself, that it is older than an anchor remembers, and tells people.
#[derive(Debug)]
pub(crate) struct RecordRollback;

impl Operation for RecordRollback {
    const DESCRIPTOR: &'static Descriptor = &catalogue::SYSTEM_ROLLED_BACK;
    type Reply = ();

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<()>, Error> {
        let Some(held) = core.held() else { return Ok(Outcome::reply(())) };
        let (opened, found) = (core.need_open()?, held.told().join("; "));
        let facts = Facts::default().with("found", &found).with("log_size", core.ports.journal.size());
        let telling = Telling::new(NoticeKind::RolledBack, "this server is an old copy of itself", facts);
        let mut outcome = Outcome::reply(())
            .detail("found", found)
            .detail("anchors", held.names().join(", "))
            .detail("log_size", core.ports.journal.size());
        outcome.changes.extend(core.notice(&opened, &telling, None, approved.now())?);
        Ok(outcome)
    }
}

/// Goes on with a server that is older than its anchors remember.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptRollback {
    /// Why that is right.
    pub reason: Label,
}

impl Operation for AcceptRollback {
    const DESCRIPTOR: &'static Descriptor = &catalogue::SYSTEM_ACCEPT_ROLLBACK;
    type Reply = ();

    fn target(&self) -> Target<'_> {
        Target::System
    }

    fn form(&self) -> Option<serde_json::Value> {
        super::forms::written(self)
    }

    fn reason(&self) -> Option<&Label> {
        Some(&self.reason)
    }

    /// Consent to what was found then is none to what is found now.
    async fn replaces(&self, core: &Core) -> Result<Option<i64>, Error> {
        Ok(core.held().map(|held| held.number()))
    }

    async fn shows(&self, core: &Core) -> Result<Vec<Shown>, Error> {
        let told = core.held().map(|held| held.told()).unwrap_or_default();
        Ok(told.into_iter().map(|value| Shown { name: "found".to_owned(), value }).collect())
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<()>, Error> {
        let held = core.held().ok_or_else(|| {
            Error::new(Code::WrongState, "the server fits its anchors: there is nothing that has to be accepted")
        })?;
        held.refuse_unacceptable()?;
        let (now, opened) = (approved.now(), core.need_open()?);
        let accepted = AcceptedRollback {
            at: now,
            by: approved.principal().name.clone(),
            reason: self.reason.clone(),
            found: held.told(),
            jumped: None,
            done: false,
        };
        let facts = Facts::default()
            .with("found", held.told().join("; "))
            .with("by", &accepted.by)
            .with("reason", &self.reason);
        let mut outcome = Outcome::reply(())
            .changing(file(&opened.keys, Revision::FIRST, &accepted))
            .telling(NoticeKind::RolledBack, "people agreed to go on with an old copy of this server", facts)
            .detail("found", held.told().join("; "))
            .detail("anchors", held.names().join(", "))
            .detail("log_size", core.ports.journal.size())
            .detail("reason", &self.reason)
            .then(Effect::LeaveHold);
        for taken in core.taking_anchors(Taken::Accepted, now) {
            let known = core.filed::<AnchorRecord>(&opened, &taken.name).await?;
            let revision = known.map_or(Revision::FIRST, |(_, revision)| revision.next());
            outcome.changes.push(file(&opened.keys, revision, &taken));
        }
        Ok(outcome)
    }
}
