//! Review campaigns: people decide on each right that there is, and what they revoke goes at once (requirement A8).

use keyreeve_model::filed::file;
use keyreeve_model::ids::ReviewId;
use keyreeve_model::record::{Revision, Table, open};
use keyreeve_model::review::{
    Campaign, CampaignClosed, Concerned, ITEMS_MAX, ItemDecision, NewCampaign, ReviewItem, ReviewRefusal, Scope,
    Source, Subject, Verdict, is_period_over,
};
use keyreeve_model::usage::{LastUse, Used};
use keyreeve_model::{
    Actor, DeploymentRecord, Facts, KeyId, Label, Name, NoticeKind, PrincipalRecord, RowId, UnixMillis,
};
use keyreeve_store::{KeyFilter, Page};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::access_report::{Finding, FindingKind};
use super::{Listing, PAGE_MAX};
use crate::access::{AccessSnapshot, HeldPrincipal};
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::keys::KeyRef;
use crate::pipeline::{Approved, CaseKind, CaseRef, Operation, Outcome, Target};
use crate::sealing::Opened;

mod taking;

use taking::{Taken, Taking};

/// Keys read at a time.
const KEYS: u32 = 100;

impl From<ReviewRefusal> for Error {
    fn from(refusal: ReviewRefusal) -> Self {
        let code = match refusal {
            ReviewRefusal::NoText | ReviewRefusal::NoSubject | ReviewRefusal::Reviewers | ReviewRefusal::Due => {
                Code::InvalidRequest
            }
            ReviewRefusal::TooLarge
            | ReviewRefusal::Closed { .. }
            | ReviewRefusal::Undecided { .. }
            | ReviewRefusal::Decided { .. } => Code::WrongState,
            ReviewRefusal::NotReviewer | ReviewRefusal::Own | ReviewRefusal::Made => Code::OtherPersonNeeded,
        };
        Self::new(code, refusal.to_string())
    }
}

/// A campaign as it stands at an instant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReviewReply {
    /// The record.
    pub campaign: Campaign,
    /// The instant.
    pub at: UnixMillis,
}

/// A campaign with some of its items.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReviewPage {
    /// The campaign.
    pub review: ReviewReply,
    /// The items, by number.
    pub items: Vec<ReviewItem>,
    /// After which number the next page begins.
    pub next: Option<u32>,
}

/// A decision that was made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DecideReply {
    /// The item with it.
    pub item: ReviewItem,
    /// How many items of the campaign are not decided yet.
    pub undecided: u32,
    /// Why a right that is to go is still there, or may be had again, and what takes it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
}

super::replies::remember_as_json!(ReviewReply, ReviewPage, DecideReply);

/// Opens a campaign over everything that there is at the moment.
#[derive(Debug)]
pub struct Open {
    /// What it goes through.
    pub scope: Scope,
    /// Who decides; everybody who may, when empty.
    pub reviewers: BTreeSet<Name>,
    /// For how many days it lasts.
    pub days: u32,
    /// What it is for.
    pub reason: Label,
}

/// Lists campaigns, oldest first.
#[derive(Debug)]
pub struct List {
    /// Only those that are open, or only those that are closed.
    pub open: Option<bool>,
    /// Only those after this one.
    pub after: Option<ReviewId>,
    /// 1 to 1,000.
    pub limit: u32,
}

/// Shows a campaign with its items.
#[derive(Debug)]
pub struct Describe {
    /// Which.
    pub review: ReviewId,
    /// Only items that nobody has decided yet.
    pub undecided: bool,
    /// Only items after this number.
    pub after: Option<u32>,
    /// 1 to 1,000.
    pub limit: u32,
}

/// Decides on an item; what is revoked is gone with the answer, unless the rules of approval want the consent of others
/// to that.
#[derive(Debug)]
pub struct Decide {
    /// The campaign.
    pub review: ReviewId,
    /// The item's number.
    pub item: u32,
    /// What.
    pub verdict: Verdict,
    /// Why.
    pub reason: Label,
}

/// Closes a campaign whose items are all decided.
#[derive(Debug)]
pub struct Close {
    /// The campaign.
    pub review: ReviewId,
    /// What came of it.
    pub text: Label,
}

impl Core {
    async fn campaign(&self, opened: &Opened, id: ReviewId) -> Result<(Campaign, Revision), Error> {
        self.filed::<Campaign>(opened, id).await?.ok_or_else(|| Error::not_found("review"))
    }
}

/// What a campaign freezes.
struct Freezing<'a> {
    core: &'a Core,
    opened: &'a Opened,
    access: Arc<AccessSnapshot>,
    scope: &'a Scope,
    review: ReviewId,
    now: UnixMillis,
    items: Vec<ReviewItem>,
    /// Last uses by principal.
    uses: HashMap<Name, Vec<LastUse>>,
}

impl Freezing<'_> {
    async fn all(mut self) -> Result<Vec<ReviewItem>, Error> {
        // So that last uses are those of this minute.
        self.core.write_uses(self.opened).await?;
        let mut people: Vec<Arc<HeldPrincipal>> = self.access.principals().cloned().collect();
        people.retain(|held| self.scope.principal.as_ref().is_none_or(|only| *only == held.record.name));
        people.sort_by(|a, b| a.record.name.cmp(&b.record.name));
        for held in &people {
            self.principal(&held.record).await?;
        }
        if self.scope.subjects.contains(&Subject::Consumers) {
            self.consumers().await?;
        }
        Ok(self.items)
    }

    async fn uses(&mut self, name: &Name) -> Result<&[LastUse], Error> {
        if !self.uses.contains_key(name) {
            let rows = self.core.filed_all::<LastUse>(self.opened, Some(name.as_str())).await?;
            self.uses.insert(name.clone(), rows.into_iter().map(|(last, _)| last).collect());
        }
        Ok(self.uses.get(name).map_or(&[], Vec::as_slice))
    }

    async fn principal(&mut self, record: &PrincipalRecord) -> Result<(), Error> {
        let who: Label = record.name.as_str().parse().map_err(Error::internal)?;
        if self.scope.subjects.contains(&Subject::Roles) {
            for role in &record.roles {
                let last = self.uses(&record.name).await?.iter().map(|last| last.day).max();
                self.add(who.clone(), Source::Role { role: role.clone() }, last, None)?;
            }
        }
        if self.scope.subjects.contains(&Subject::Grants) {
            let (access, now) = (Arc::clone(&self.access), self.now);
            for held in access.grants().of(&record.name).iter().filter(|held| !held.record.is_over(now)) {
                let grant = &held.record;
                let used = Used::Grant { grant: grant.id };
                let last = self.uses(&record.name).await?.iter().find(|last| last.used == used).map(|last| last.day);
                let source = Source::Grant { grant: grant.id, what: grant.what.clone(), expires: grant.expires };
                self.add(who.clone(), source, last, Some(grant.created_by.clone()))?;
            }
        }
        Ok(())
    }

    async fn consumers(&mut self) -> Result<(), Error> {
        let mut after = None;
        loop {
            let page = Page { after, limit: KEYS };
            let rows = self.core.ports.store.keys(&KeyFilter::default(), page).await?;
            let Some(last) = rows.last().map(|row| row.id) else { return Ok(()) };
            for row in &rows {
                self.consumers_of(row.id).await?;
            }
            after = Some(last);
        }
    }

    async fn consumers_of(&mut self, id: KeyId) -> Result<(), Error> {
        let Some(key) = self.core.find_key(&KeyRef::Id(id)).await? else { return Ok(()) };
        if key.record.state(self.now).is_destroyed() {
            return Ok(());
        }
        let metadata = &key.record.metadata;
        let made_by = key.record.version(1).ok().map(|first| first.provenance().by.clone());
        for consumer in &metadata.consumers {
            if self.scope.principal.as_ref().is_some_and(|only| only.as_str() != consumer.as_str()) {
                continue;
            }
            let last = match consumer.as_str().parse::<Name>() {
                Ok(name) => {
                    let of_key = |last: &&LastUse| matches!(&last.used, Used::Key { key, .. } if *key == id);
                    self.uses(&name).await?.iter().filter(of_key).map(|last| last.day).max()
                }
                Err(_) => None,
            };
            let source = Source::Consumer { key: id, alias: metadata.aliases.first().cloned() };
            self.add(consumer.clone(), source, last, made_by.clone())?;
        }
        Ok(())
    }

    fn add(&mut self, who: Label, source: Source, last_use: Option<i64>, made_by: Option<Name>) -> Result<(), Error> {
        if self.items.len() >= ITEMS_MAX {
            return Err(ReviewRefusal::TooLarge.into());
        }
        let number = u32::try_from(self.items.len()).map_err(Error::internal)? + 1;
        let review = self.review;
        self.items.push(ReviewItem { review, number, who, source, last_use, made_by, decision: None });
        Ok(())
    }
}

impl Open {
    /// Refuses whom nobody knows: a campaign for them would never end.
    fn check(&self, access: &AccessSnapshot) -> Result<(), Error> {
        let named = self.reviewers.iter().chain(&self.scope.principal);
        match named.into_iter().find(|name| access.principal(name).is_none()) {
            Some(unknown) => Err(Error::new(Code::NotFound, format!("there is no principal `{unknown}`"))),
            None => Ok(()),
        }
    }
}

fn joined<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(" ")
}

pub(crate) fn facts(campaign: &Campaign) -> Facts {
    Facts::default()
        .with("review", campaign.id())
        .with("reason", campaign.reason())
        .with("subjects", joined(campaign.scope().subjects.iter().map(|subject| subject.name())))
        .with("items", campaign.items())
        .with("undecided", campaign.undecided())
        .with("reviewers", joined(campaign.reviewers().iter().map(Name::as_str)))
        .with("by", &campaign.opened_by().name)
        .with("due", campaign.due())
}

impl Operation for Open {
    const DESCRIPTOR: &'static Descriptor = &catalogue::REVIEW_OPEN;
    type Reply = ReviewReply;

    fn target(&self) -> Target<'_> {
        Target::Case(CaseRef::New(CaseKind::Review))
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<ReviewReply>, Error> {
        let (opened, now) = (core.need_open()?, approved.now());
        let access = Arc::clone(&*opened.access());
        self.check(&access)?;
        let id = ReviewId::new(now, core.id_random()?);
        core.refuse_borrowed(approved)?;
        let by = core.actor_of(approved.principal())?;
        let new = |items| NewCampaign {
            id,
            reason: self.reason.clone(),
            scope: self.scope.clone(),
            reviewers: self.reviewers.clone(),
            by: by.clone(),
            days: self.days,
            items,
        };
        // What is wrong with it is told before everything is looked through.
        Campaign::open(new(0), now)?;
        let (items, uses) = (Vec::new(), HashMap::new());
        let freezing = Freezing { core, opened: &opened, access, scope: &self.scope, review: id, now, items, uses };
        let items = freezing.all().await?;
        let campaign = Campaign::open(new(items.len()), now)?;
        let mut outcome = Outcome::reply(ReviewReply { campaign: campaign.clone(), at: now })
            .changing(file(&opened.keys, Revision::FIRST, &campaign))
            .telling(NoticeKind::ReviewOpened, format!("a review of {} rights began", items.len()), facts(&campaign))
            .on_case(id)
            .detail("review", id)
            .detail("subjects", joined(self.scope.subjects.iter().map(|subject| subject.name())))
            .detail("items", items.len())
            .detail("due", campaign.due())
            .detail("reason", &self.reason);
        outcome.changes.extend(items.iter().map(|item| file(&opened.keys, Revision::FIRST, item)));
        Ok(match &self.scope.principal {
            Some(principal) => outcome.detail("grantee", principal),
            None => outcome,
        })
    }
}

impl Operation for List {
    const DESCRIPTOR: &'static Descriptor = &catalogue::REVIEW_LIST;
    type Reply = Listing<ReviewReply>;

    fn target(&self) -> Target<'_> {
        Target::Case(CaseRef::All(CaseKind::Review))
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Listing<ReviewReply>>, Error> {
        let (opened, at) = (core.need_open()?, approved.now());
        let parent = self.open.map(|open| if open { Campaign::OPEN } else { Campaign::CLOSED });
        let page = Page { after: self.after.map(RowId::from), limit: self.limit.clamp(1, PAGE_MAX) };
        let (rows, next) = core.filed_page::<Campaign>(&opened, parent, page).await?;
        let items: Vec<_> = rows.into_iter().map(|(campaign, _)| ReviewReply { campaign, at }).collect();
        let next = next.and(items.last().map(|last| last.campaign.id().to_string()));
        let count = items.len();
        Ok(Outcome::reply(Listing { items, next }).detail("listed", count))
    }
}

impl Operation for Describe {
    const DESCRIPTOR: &'static Descriptor = &catalogue::REVIEW_DESCRIBE;
    type Reply = ReviewPage;

    fn target(&self) -> Target<'_> {
        Target::Case(CaseRef::Review(self.review))
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<ReviewPage>, Error> {
        let (opened, limit) = (core.need_open()?, self.limit.clamp(1, PAGE_MAX) as usize);
        let (campaign, _) = core.campaign(&opened, self.review).await?;
        let parent = self.review.to_string();
        let mut after = self.after.map(|number| ReviewItem::row(self.review, number));
        let mut items: Vec<ReviewItem> = Vec::new();
        // Rows that are not wanted do not count: the page is full, or there are no more.
        let next = loop {
            let page = Page { after, limit: PAGE_MAX };
            let (rows, next) = core.filed_page::<ReviewItem>(&opened, Some(&parent), page).await?;
            let rows = rows.into_iter().map(|(item, _)| item);
            items.extend(rows.filter(|item| !self.undecided || item.decision.is_none()));
            if items.len() > limit {
                items.truncate(limit);
                break items.last().map(|item| item.number);
            }
            after = next;
            if after.is_none() {
                break None;
            }
        };
        let (count, review) = (items.len(), ReviewReply { campaign, at: approved.now() });
        let outcome = Outcome::reply(ReviewPage { review, items, next });
        Ok(outcome.detail("review", self.review).detail("listed", count))
    }
}

impl Decide {
    /// Whom the item is about, as they are known now.
    fn concerned(item: &ReviewItem, access: &AccessSnapshot) -> Concerned {
        let actor = |name: &Name| {
            let held = access.principal(name)?;
            Some(Actor::new(held.record.name.clone(), held.record.person.clone()))
        };
        let holder = item.who.as_str().parse::<Name>().ok();
        Concerned { holder: holder.as_ref().and_then(actor), maker: item.made_by.as_ref().and_then(actor) }
    }

    fn told<R>(outcome: Outcome<R>, item: &ReviewItem) -> Outcome<R> {
        let outcome = outcome.detail("review", item.review).detail("item", item.number).detail("grantee", &item.who);
        match &item.source {
            Source::Role { role } => outcome.detail("role", role),
            Source::Grant { grant, .. } => outcome.detail("grant", grant),
            Source::Consumer { key, .. } => outcome.detail("key", key),
        }
    }
}

fn taken_facts(item: &ReviewItem, by: &Name, reason: &Label) -> Facts {
    let facts = Facts::default().with("operation", catalogue::REVIEW_DECIDE.name).with("by", by);
    let facts = facts.with("review", item.review).with("item", item.number).with("grantee", &item.who);
    let facts = facts.with("reason", reason);
    match &item.source {
        Source::Role { role } => facts.with("role", role),
        Source::Grant { grant, .. } => facts.with("grant", grant),
        Source::Consumer { key, .. } => facts.with("key", key),
    }
}

impl Operation for Decide {
    const DESCRIPTOR: &'static Descriptor = &catalogue::REVIEW_DECIDE;
    type Reply = DecideReply;

    fn target(&self) -> Target<'_> {
        Target::Case(CaseRef::Review(self.review))
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<DecideReply>, Error> {
        let (opened, now) = (core.need_open()?, approved.now());
        let (campaign, campaign_revision) = core.campaign(&opened, self.review).await?;
        let found = core.filed::<ReviewItem>(&opened, ReviewItem::row(self.review, self.item)).await?;
        let (item, revision) = found.ok_or_else(|| Error::not_found("item of the review"))?;
        let by = core.signer(approved)?;
        let opened_at = campaign.opened();
        if !campaign.reviewers().is_empty() && !core.was_there(&by.name, opened_at)? {
            // Somebody else who is called like a reviewer.
            return Err(ReviewRefusal::NotReviewer.into());
        }
        let campaign = campaign.decide(self.verdict, &by.name)?;
        let mut decision =
            ItemDecision { verdict: self.verdict, by: by.clone(), at: now, reason: self.reason.clone(), taken: false };
        let concerned = Self::concerned(&item, &opened.access());
        // Who may not decide takes nothing away either.
        item.decide(decision.clone(), &concerned)?;
        let about = (&by.name, &self.reason, now);
        let taking = Taking { core, opened: &opened, approved, about, since: opened_at };
        let taken = match self.verdict {
            Verdict::Keep => Taken::Gone,
            Verdict::Revoke => taking.take(&item).await?,
        };
        let (taken, remark) = match taken {
            Taken::Gone => (None, None),
            Taken::Left(why) => (None, Some(why)),
            Taken::Now { changes, effects, remark } => (Some((changes, effects)), remark),
        };
        decision.taken = taken.is_some();
        let item = item.decide(decision, &concerned)?;
        let reply = DecideReply { item: item.clone(), undecided: campaign.undecided(), remark };
        let outcome = Outcome::reply(reply)
            .changing(file(&opened.keys, campaign_revision.next(), &campaign))
            .changing(file(&opened.keys, revision.next(), &item))
            .detail("decision", self.verdict.name())
            .detail("revoked", taken.is_some())
            .detail("reason", &self.reason);
        let outcome = Self::told(outcome, &item);
        let Some((changes, effects)) = taken else { return Ok(outcome) };
        let subject = format!("a review took a right away from {}", item.who);
        let facts = taken_facts(&item, &by.name, &self.reason);
        let outcome = outcome.telling(NoticeKind::AccessChanged, subject, facts);
        let outcome = changes.into_iter().fold(outcome, Outcome::changing);
        Ok(effects.into_iter().fold(outcome, Outcome::then))
    }
}

impl Operation for Close {
    const DESCRIPTOR: &'static Descriptor = &catalogue::REVIEW_CLOSE;
    type Reply = ReviewReply;

    fn target(&self) -> Target<'_> {
        Target::Case(CaseRef::Review(self.review))
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<ReviewReply>, Error> {
        let (opened, at) = (core.need_open()?, approved.now());
        let (campaign, revision) = core.campaign(&opened, self.review).await?;
        let by = core.signer(approved)?;
        let campaign = campaign.close(CampaignClosed { at, by, text: self.text.clone() })?;
        Ok(Outcome::reply(ReviewReply { campaign: campaign.clone(), at })
            .changing(file(&opened.keys, revision.next(), &campaign))
            .detail("review", self.review)
            .detail("items", campaign.items())
            .detail("revoked", campaign.revoked()))
    }
}

impl Core {
    /// What of reviews somebody should look at: campaigns past their time, and rights that nobody went through for
    /// long.
    pub(super) async fn reviews_overdue(&self, opened: &Opened, now: UnixMillis) -> Result<Vec<Finding>, Error> {
        let kind = FindingKind::ReviewOverdue;
        let mut findings = Vec::new();
        for (campaign, _) in self.filed_all::<Campaign>(opened, Some(Campaign::OPEN)).await? {
            if campaign.is_overdue(now) {
                let (open, due) = (campaign.undecided(), campaign.due());
                let text = format!("the review is overdue since {due}: {open} items are not decided");
                findings.push(Finding { kind, about: campaign.id().to_string(), text });
            }
        }
        let closed = self.filed_all::<Campaign>(opened, Some(Campaign::CLOSED)).await?;
        for subject in Subject::ALL {
            let whole = closed.iter().filter(|(campaign, _)| campaign.scope().is_whole(subject));
            let last = whole.filter_map(|(campaign, _)| campaign.closed().map(|closed| closed.at)).max();
            let (since, text) = match last {
                Some(last) => (last, format!("{} were last reviewed on {last}", subject.name())),
                None => (self.deployed(opened).await?, format!("{} were never reviewed", subject.name())),
            };
            if is_period_over(since, now) {
                findings.push(Finding { kind, about: subject.name().to_owned(), text });
            }
        }
        Ok(findings)
    }

    /// When the deployment was made.
    async fn deployed(&self, opened: &Opened) -> Result<UnixMillis, Error> {
        let record = self.ports.store.deployment().await?;
        let record = record.ok_or_else(|| Error::internal("an open server without a deployment"))?;
        let unread = |_| Error::new(Code::Tampered, "the deployment record cannot be read");
        let deployment: DeploymentRecord = serde_json::from_slice(&record.bytes).map_err(unread)?;
        let sealed: DeploymentRecord = open(&opened.keys, Table::Deployment, deployment.id.as_bytes(), &record)?;
        Ok(sealed.created)
    }
}
