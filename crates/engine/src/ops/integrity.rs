//! Damage (requirements T10 and U4): scans for it, and what is in quarantine because of it.

use keyreeve_model::approval::Shown;
use keyreeve_model::filed::file;
use keyreeve_model::job::{Job, JobWork};
use keyreeve_model::metadata::Label;
use keyreeve_model::quarantine::{Cure, Place, Quarantine, Release as Released, Why};
use keyreeve_model::record::Revision;
use keyreeve_model::scan::Scan as Scanned;
use keyreeve_model::{Change, Facts, NoticeKind, UnixMillis};
use keyreeve_store::Page;
use serde::{Deserialize, Serialize};
use std::time::Duration;

use super::jobs::{Beginning, JobReply};
use super::{Listing, PAGE_MAX};
use crate::access::Stale;
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::integrity::Fresh;
use crate::pipeline::{Approved, Operation, Outcome, Remember, Target};
use crate::sealing::{Effect, Opened};

/// How long after the opening of a server that knows of no scan the first one begins, at most.
pub(crate) const FIRST: Duration = Duration::from_secs(3600);
/// Places named in one audit record (count); how many there are is told besides.
const TOLD: usize = 20;

/// Looks through everything for damage, as a job.
#[derive(Debug)]
pub struct Scan {
    /// Rows and entries in a second at most; 0 for as fast as it goes.
    pub pace: u32,
    /// Why.
    pub reason: Label,
}

impl Operation for Scan {
    const DESCRIPTOR: &'static Descriptor = &catalogue::INTEGRITY_SCAN;
    type Reply = JobReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    fn reason(&self) -> Option<&Label> {
        Some(&self.reason)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<JobReply>, Error> {
        let opened = core.need_open()?;
        if let Some(job) = core.scans(&opened).await?.into_iter().find(|job| job.ended().is_none()) {
            let text = format!("the scan {} is under way: wait for its end, or `keyreeve job cancel` it", job.id());
            return Err(Error::new(Code::WrongState, text));
        }
        let (marks, total) = (core.log_marks(&opened).await?, core.ports.journal.size());
        let work = JobWork::Scan(Scanned::begin(marks));
        let (pace, reason) = (self.pace, &self.reason);
        Ok(core.begin_job(&opened, approved, Beginning { work, total, pace, reason })?.detail("reason", reason))
    }
}

impl Core {
    /// The scans that are known, oldest first.
    pub(crate) async fn scans(&self, opened: &Opened) -> Result<Vec<Job>, Error> {
        let jobs = self.filed_sound::<Job>(opened, None).await?;
        Ok(jobs.into_iter().map(|(job, _)| job).filter(|job| matches!(job.work(), JobWork::Scan(_))).collect())
    }

    /// A quarantine, open or released.
    async fn quarantine(&self, opened: &Opened, place: &Place) -> Result<(Quarantine, Revision), Error> {
        let found = self.filed::<Quarantine>(opened, Quarantine::row_of(place)).await?;
        found.ok_or_else(|| Error::not_found("quarantine"))
    }
}

/// Shows how much is in quarantine, and the last scan.
#[derive(Debug)]
pub struct Status;

/// How things stand with damage.
#[derive(Debug)]
pub struct Integrity {
    /// Places in quarantine (count).
    pub quarantined: usize,
    /// The newest scan.
    pub newest: Option<Job>,
    /// The newest scan that came to its end.
    pub finished: Option<Job>,
    /// How often the server begins one by itself; never where there is nothing.
    pub every: Option<Duration>,
    /// When it begins the next one.
    pub next: Option<UnixMillis>,
}

impl Remember for Integrity {}

impl Operation for Status {
    const DESCRIPTOR: &'static Descriptor = &catalogue::INTEGRITY_STATUS;
    type Reply = Integrity;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, _approved: &Approved<Self>, core: &Core) -> Result<Outcome<Integrity>, Error> {
        let opened = core.need_open()?;
        let (scans, every) = (core.scans(&opened).await?, core.settings.scan_every);
        let newest = scans.last().cloned();
        let finished = scans.into_iter().rev().find(|job| job.state() == keyreeve_model::job::JobState::Done);
        let quarantined = opened.access().quarantined().open();
        let first = |every: Duration| core.opened_since().plus(every.min(FIRST));
        let next = every.map(|every| newest.as_ref().map_or_else(|| first(every), |job| job.begun().plus(every)));
        let reply = Integrity { quarantined, newest, finished, every, next };
        Ok(Outcome::reply(reply).detail("quarantined", quarantined))
    }
}

/// Lists what is in quarantine, by its place.
#[derive(Debug)]
pub struct List {
    /// What was released as well.
    pub released: bool,
    /// Only what comes after this place.
    pub after: Option<Place>,
    /// 1 to 1,000.
    pub limit: u32,
}

/// Something in quarantine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QuarantineReply(pub Quarantine);

super::replies::remember_as_json!(QuarantineReply);

impl Operation for List {
    const DESCRIPTOR: &'static Descriptor = &catalogue::INTEGRITY_LIST;
    type Reply = Listing<QuarantineReply>;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(
        &self,
        _approved: &Approved<Self>,
        core: &Core,
    ) -> Result<Outcome<Listing<QuarantineReply>>, Error> {
        let (opened, limit) = (core.need_open()?, self.limit.clamp(1, PAGE_MAX) as usize);
        let (mut items, mut after) = (Vec::new(), self.after.as_ref().map(Quarantine::row_of));
        // Rows that are not wanted do not count: the page is full, or there are no more.
        let next = loop {
            let (found, next) = core.filed_page::<Quarantine>(&opened, None, Page { after, limit: PAGE_MAX }).await?;
            let wanted = found.into_iter().map(|(found, _)| found).filter(|found| self.released || found.is_open());
            items.extend(wanted.map(QuarantineReply));
            if items.len() > limit {
                items.truncate(limit);
                break items.last().map(|last| last.0.place.to_string());
            }
            after = next;
            if after.is_none() {
                break None;
            }
        };
        let count = items.len();
        Ok(Outcome::reply(Listing { items, next }).detail("listed", count))
    }
}

/// Shows something in quarantine, and looks at it again.
#[derive(Debug)]
pub struct Describe {
    /// What.
    pub place: Place,
}

/// Something in quarantine, and how it is now.
#[derive(Debug)]
pub struct Described {
    /// What was found.
    pub quarantine: Quarantine,
    /// What is wrong with it now; nothing where it is sound.
    pub now: Option<Why>,
    /// What can be done about it.
    pub advice: &'static str,
}

impl Remember for Described {}

impl Operation for Describe {
    const DESCRIPTOR: &'static Descriptor = &catalogue::INTEGRITY_DESCRIBE;
    type Reply = Described;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, _approved: &Approved<Self>, core: &Core) -> Result<Outcome<Described>, Error> {
        let opened = core.need_open()?;
        let (quarantine, _) = core.quarantine(&opened, &self.place).await?;
        let now = core.examine_place(&opened, &self.place).await?;
        let advice = match (now, quarantine.is_open()) {
            (_, false) => "nothing: it was released",
            (None, true) => "it is sound again: make sure that it is the newest, then release it",
            (Some(_), true) => Core::advice(&self.place),
        };
        let outcome = Outcome::reply(Described { quarantine, now, advice }).detail("place", &self.place);
        Ok(outcome.detail("now", now.map_or("sound", Why::name)))
    }
}

/// Takes something out of quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// What.
    pub place: Place,
    /// If it is still damaged, its row is removed.
    #[serde(default)]
    pub discard: bool,
    /// Why, and how it was made sure that it is right.
    pub reason: Label,
}

impl Release {
    async fn cure(
        &self,
        core: &Core,
        opened: &Opened,
        approved: &Approved<Self>,
    ) -> Result<(Cure, Option<Change>), Error> {
        let Some(why) = core.examine_place(opened, &self.place).await? else { return Ok((Cure::Sound, None)) };
        let (by, now) = (&approved.principal().name, approved.now());
        if let Some(change) = core.rewritten(opened, &self.place, (why, by, now)).await? {
            return Ok((Cure::Rewritten, Some(change)));
        }
        if self.discard {
            return Ok((Cure::Discarded, core.discarded(&self.place).await?));
        }
        let text =
            format!("`{}` is still damaged: {}. What to do: {}", self.place, why.text(), Core::advice(&self.place));
        Err(Error::new(Code::WrongState, text))
    }
}

impl Operation for Release {
    const DESCRIPTOR: &'static Descriptor = &catalogue::INTEGRITY_RELEASE;
    type Reply = QuarantineReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    fn form(&self) -> Option<serde_json::Value> {
        serde_json::to_value(self).ok()
    }

    fn reason(&self) -> Option<&Label> {
        Some(&self.reason)
    }

    /// Consent to the release of what was found once is none to that of what was found since.
    async fn replaces(&self, core: &Core) -> Result<Option<i64>, Error> {
        let opened = core.need_open()?;
        Ok(Some(core.quarantine(&opened, &self.place).await?.1.0))
    }

    async fn shows(&self, core: &Core) -> Result<Vec<Shown>, Error> {
        let opened = core.need_open()?;
        let (quarantine, _) = core.quarantine(&opened, &self.place).await?;
        let now = core.examine_place(&opened, &self.place).await?.map_or("it is sound", Why::text);
        let shown = |name: &str, value: &str| Shown { name: name.to_owned(), value: value.to_owned() };
        Ok(vec![
            shown("found", quarantine.why.text()),
            shown("found_at", &quarantine.found.to_string()),
            shown("now", now),
        ])
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<QuarantineReply>, Error> {
        let (opened, now) = (core.need_open()?, approved.now());
        core.refuse_borrowed(approved)?;
        let (quarantine, revision) = core.quarantine(&opened, &self.place).await?;
        if !quarantine.is_open() {
            return Err(Error::new(Code::WrongState, format!("`{}` is not in quarantine any more", self.place)));
        }
        let (how, change) = self.cure(core, &opened, approved).await?;
        let (by, approval, reason) = (approved.principal().name.clone(), approved.approval(), self.reason.clone());
        let released = Quarantine { released: Some(Released { at: now, by, approval, how, reason }), ..quarantine };
        let facts = facts(&self.place, released.why)
            .with("how", how.name())
            .with("by", &approved.principal().name)
            .with("reason", &self.reason);
        let mut outcome = Outcome::reply(QuarantineReply(released.clone()))
            .changing(file(&opened.keys, revision.next(), &released))
            .then(Effect::Reload(Stale::everything()))
            .then(Effect::ForgetRows)
            .telling(NoticeKind::IntegrityReleased, format!("{} came out of quarantine", self.place), facts)
            .detail("place", &self.place)
            .detail("how", how.name())
            .detail("reason", &self.reason);
        outcome.changes.extend(change);
        Ok(outcome)
    }
}

fn facts(place: &Place, why: Why) -> Facts {
    Facts::default().with("place", place).with("why", why.name())
}

impl<R> Outcome<R> {
    /// The same with what was found damaged: in quarantine, on record, and told.
    pub(super) fn quarantining(mut self, fresh: Fresh) -> Self {
        let count = fresh.places.len();
        if fresh.untold > 0 {
            self = self.detail("damaged_untold", fresh.untold);
        }
        let Some((first, why)) = fresh.places.first() else { return self };
        let told: Vec<String> =
            fresh.places.iter().take(TOLD).map(|(place, why)| format!("{place}={}", why.name())).collect();
        let subject = match count {
            1 => format!("damaged and in quarantine: {first}"),
            _ => format!("{count} places are damaged and in quarantine, the first is {first}"),
        };
        let facts = facts(first, *why).with("count", count).with("places", told.join(" "));
        self.changes.extend(fresh.changes);
        self.telling(NoticeKind::IntegrityTrouble, subject, facts)
            .then(Effect::Reload(Stale::everything()))
            .detail("quarantined", count)
            .detail("places", told.join(" "))
    }
}

/// Puts into quarantine, as the server itself, what was met damaged.
#[derive(Debug)]
pub(crate) struct QuarantineNoted;

impl Operation for QuarantineNoted {
    const DESCRIPTOR: &'static Descriptor = &catalogue::INTEGRITY_QUARANTINE;
    type Reply = ();

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<()>, Error> {
        let opened = core.need_open()?;
        let mut found = Vec::new();
        for place in core.noted.all() {
            // It was met in the middle of other work: looked at again, it may be well.
            if let Some(why) = core.examine_place(&opened, &place).await? {
                found.push((place, why));
            }
        }
        let fresh = core.put_in_quarantine(&opened, &found, (None, approved.now())).await?;
        Ok(Outcome::reply(()).quarantining(fresh))
    }
}
