//! Drills: asked for, put on record, shown (requirements T8, T9).

use keyreeve_model::drill::{DrillKind, DrillRecord, DrillStep, STEPS_MAX};
use keyreeve_model::filed::file;
use keyreeve_model::record::Revision;
use keyreeve_model::{Facts, Label, Name, NoticeKind};
use keyreeve_policy::Method;

use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::due::DrillStanding;
use crate::error::{Code, Error};
use crate::pipeline::{Approved, Operation, Outcome, Remember, Target};

/// Asks the server to restore its newest backup into a scratch instance now. It answers at once; what came of it is a
/// drill on record.
#[derive(Debug)]
pub struct Restore;

/// The drill that was asked for.
#[derive(Debug)]
pub struct Asked {
    /// The number that it is going to have.
    pub number: u64,
}

impl Remember for Asked {}

impl Operation for Restore {
    const DESCRIPTOR: &'static Descriptor = &catalogue::DRILL_RESTORE;
    type Reply = Asked;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, _approved: &Approved<Self>, core: &Core) -> Result<Outcome<Asked>, Error> {
        let opened = core.need_open()?;
        if core.backups_made(&opened).await?.is_empty() {
            let text = "there is no backup that could be restored: make one with `keyreeve backup create`";
            return Err(Error::new(Code::WrongState, text));
        }
        let number = core.drills_held(&opened).await?.first().map_or(1, |record| record.number + 1);
        // Asked for twice is asked for once.
        core.drills.ask();
        Ok(Outcome::reply(Asked { number }))
    }
}

/// Puts on record what came of a drill.
#[derive(Clone, Debug)]
pub struct Record {
    /// What was rehearsed.
    pub kind: DrillKind,
    /// Whether everything went as it should.
    pub passed: bool,
    /// From the loss until keys worked again (milliseconds).
    pub took_ms: u64,
    /// How much would have been lost (milliseconds).
    pub lost_ms: Option<u64>,
    /// The backup that was restored.
    pub backup: Option<u64>,
    /// Where it came from.
    pub destination: Option<Name>,
    /// What was done.
    pub steps: Vec<DrillStep>,
    /// Why it failed.
    pub trouble: Option<Label>,
}

/// A drill.
#[derive(Debug)]
pub struct DrillReply(pub DrillRecord);

impl Remember for DrillReply {}

impl Record {
    fn check(&self) -> Result<(), Error> {
        if self.steps.len() > STEPS_MAX {
            return Err(Error::invalid(format!("a drill has at most {STEPS_MAX} steps on record")));
        }
        if self.passed && (self.trouble.is_some() || self.steps.iter().any(|step| !step.passed)) {
            return Err(Error::invalid("a drill with a step that failed has not passed"));
        }
        if !self.passed && self.trouble.is_none() {
            return Err(Error::invalid("a drill that failed says why: give `trouble`"));
        }
        Ok(())
    }
}

impl Operation for Record {
    const DESCRIPTOR: &'static Descriptor = &catalogue::DRILL_RECORD;
    type Reply = DrillReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<DrillReply>, Error> {
        self.check()?;
        let opened = core.need_open()?;
        let held = core.drills_held(&opened).await?;
        let principal = approved.principal();
        let record = DrillRecord {
            number: held.first().map_or(1, |record| record.number + 1),
            kind: self.kind,
            at: approved.now(),
            by_itself: principal.method == Method::System,
            by: principal.name.clone(),
            passed: self.passed,
            took_ms: self.took_ms,
            lost_ms: self.lost_ms,
            backup: self.backup,
            destination: self.destination.clone(),
            steps: self.steps.clone(),
            trouble: self.trouble.clone(),
        };
        let mut outcome = Outcome::reply(DrillReply(record.clone()))
            .changing(file(&opened.keys, Revision::FIRST, &record))
            .detail("drill", record.number)
            .detail("kind", record.kind)
            .detail("passed", record.passed)
            .detail("took_ms", record.took_ms);
        if let Some(backup) = record.backup {
            outcome = outcome.detail("backup", backup);
        }
        if let Some(lost) = record.lost_ms {
            outcome = outcome.detail("lost_ms", lost);
        }
        if let Some(trouble) = &record.trouble {
            let facts =
                Facts::default().with("drill", record.number).with("kind", record.kind).with("trouble", trouble);
            let subject = format!("the drill `{}` failed", record.kind);
            outcome = outcome.detail("trouble", trouble).telling(NoticeKind::DrillFailed, subject, facts);
        }
        Ok(outcome)
    }
}

/// Shows the drills that were held, and which are overdue.
#[derive(Debug)]
pub struct List;

/// Drills, the newest first.
#[derive(Debug)]
pub struct Drills {
    /// The drills.
    pub drills: Vec<DrillRecord>,
    /// How each kind stands.
    pub standing: Vec<DrillStanding>,
}

impl Remember for Drills {}

impl Operation for List {
    const DESCRIPTOR: &'static Descriptor = &catalogue::DRILL_LIST;
    type Reply = Drills;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Drills>, Error> {
        let opened = core.need_open()?;
        let drills = core.drills_held(&opened).await?;
        let standing = core.drills_standing(&opened, &drills, approved.now());
        let listed = drills.len();
        Ok(Outcome::reply(Drills { drills, standing }).detail("listed", listed))
    }
}
