//! Review campaigns: people go through who has which right, and decide on each (requirement A8).
//!
//! A campaign freezes what there is at one moment: memberships of roles, grants, consumers of keys. Each is an item
//! that somebody decides once, and neither about themselves nor about what they made. A campaign closes when every item
//! is decided; the methods here are the only way in which campaigns and items change.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use thiserror::Error;

use crate::actor::Actor;
use crate::filed::{FiledRecord, RowId};
use crate::grant::Granted;
use crate::ids::{GrantId, KeyId, ReviewId};
use crate::limits;
use crate::metadata::{Label, Name};
use crate::record::Table;
use crate::time::{DAY_MS, UnixMillis};

/// After so many days without a review of the whole, one is overdue: twice a year.
pub const PERIOD_DAYS: u32 = 180;
/// Days that a campaign has, unless said.
pub const DUE_DAYS: u32 = 30;
/// Days that a campaign has at most.
pub const DUE_DAYS_MAX: u32 = 366;
/// Items of one campaign, at most.
pub const ITEMS_MAX: usize = 10_000;
/// Days between two reminders of an overdue campaign.
const REMINDED_DAYS: u32 = 7;

/// What a campaign is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// Which roles principals have.
    Roles,
    /// Grants that are not over.
    Grants,
    /// Whom keys name as their consumers.
    Consumers,
}

impl Subject {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Roles, Self::Grants, Self::Consumers];

    /// The name on wires and in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Roles => "roles",
            Self::Grants => "grants",
            Self::Consumers => "consumers",
        }
    }

    /// The subject of this name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|subject| subject.name() == name)
    }
}

/// Which rights a campaign goes through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// What it is about; not empty.
    pub subjects: BTreeSet<Subject>,
    /// Only the rights of this principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<Name>,
}

impl Scope {
    /// True when it goes through everything of a kind.
    #[must_use]
    pub fn is_whole(&self, subject: Subject) -> bool {
        self.principal.is_none() && self.subjects.contains(&subject)
    }
}

/// How a campaign ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CampaignClosed {
    /// When.
    pub at: UnixMillis,
    /// By whom.
    pub by: Actor,
    /// What came of it.
    pub text: Label,
}

/// What people decide on a right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It stays.
    Keep,
    /// It goes.
    Revoke,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Keep, Self::Revoke];

    /// The name on wires and in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Revoke => "revoke",
        }
    }

    /// The verdict of this name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.name() == name)
    }
}

/// Why a campaign is not opened or closed, or an item not decided.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReviewRefusal {
    /// Nothing was said.
    #[error("a review says what it is for, and each decision and the end of it say why, in 1 to 1,024 bytes")]
    NoText,
    /// There is nothing in its scope.
    #[error("a review goes through at least one of: roles, grants, consumers")]
    NoSubject,
    /// Too many reviewers.
    #[error("a review has at most {} reviewers", limits::LIST_MAX)]
    Reviewers,
    /// It would be due in the past, or too late.
    #[error("a review is due within 1 to {DUE_DAYS_MAX} days")]
    Due,
    /// It would be too large.
    #[error(
        "the review would have more than {ITEMS_MAX} items: open one for each kind of right, or for each principal"
    )]
    TooLarge,
    /// It was closed.
    #[error("the review was closed on {at}")]
    Closed {
        /// When.
        at: UnixMillis,
    },
    /// Items are open.
    #[error("{open} items of the review are not decided yet: `keyreeve review show ID --undecided` lists them")]
    Undecided {
        /// How many.
        open: u32,
    },
    /// Somebody else reviews.
    #[error("this review has its own reviewers: one of them decides")]
    NotReviewer,
    /// It was decided.
    #[error("item {number} was decided by {by} before: nothing was done")]
    Decided {
        /// Which.
        number: u32,
        /// By whom.
        by: Name,
    },
    /// It is about whoever decides.
    #[error("nobody decides on their own rights, under whatever name: somebody else decides")]
    Own,
    /// Whoever decides made it.
    #[error("nobody decides on what they made themselves, under whatever name: somebody else decides")]
    Made,
}

/// What opens a campaign.
#[derive(Clone, Debug)]
pub struct NewCampaign {
    /// Its id.
    pub id: ReviewId,
    /// What it is for.
    pub reason: Label,
    /// What it goes through.
    pub scope: Scope,
    /// Who decides; everybody who may, when empty.
    pub reviewers: BTreeSet<Name>,
    /// Who opens it.
    pub by: Actor,
    /// For how many days it lasts.
    pub days: u32,
    /// How many items there are.
    pub items: usize,
}

/// A review campaign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Campaign {
    id: ReviewId,
    reason: Label,
    scope: Scope,
    reviewers: BTreeSet<Name>,
    opened: UnixMillis,
    opened_by: Actor,
    due: UnixMillis,
    items: u32,
    decided: u32,
    revoked: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reminded: Option<UnixMillis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    closed: Option<CampaignClosed>,
}

impl Campaign {
    /// The parent of open campaigns in the store.
    pub const OPEN: &'static str = "open";
    /// The parent of closed ones.
    pub const CLOSED: &'static str = "closed";

    /// A campaign with nothing decided.
    ///
    /// # Errors
    /// [`ReviewRefusal`] says what is wrong with it.
    pub fn open(new: NewCampaign, now: UnixMillis) -> Result<Self, ReviewRefusal> {
        if new.reason.is_empty() {
            return Err(ReviewRefusal::NoText);
        }
        if new.scope.subjects.is_empty() {
            return Err(ReviewRefusal::NoSubject);
        }
        if new.reviewers.len() > limits::LIST_MAX {
            return Err(ReviewRefusal::Reviewers);
        }
        if !(1..=DUE_DAYS_MAX).contains(&new.days) {
            return Err(ReviewRefusal::Due);
        }
        let items = u32::try_from(new.items).ok().filter(|_| new.items <= ITEMS_MAX);
        Ok(Self {
            id: new.id,
            reason: new.reason,
            scope: new.scope,
            reviewers: new.reviewers,
            opened: now,
            opened_by: new.by,
            due: now.plus_days(new.days),
            items: items.ok_or(ReviewRefusal::TooLarge)?,
            decided: 0,
            revoked: 0,
            reminded: None,
            closed: None,
        })
    }

    /// The campaign once one more item is decided.
    ///
    /// # Errors
    /// [`ReviewRefusal::Closed`]; [`ReviewRefusal::NotReviewer`] where others decide.
    pub fn decide(&self, verdict: Verdict, by: &Name) -> Result<Self, ReviewRefusal> {
        self.refuse_closed()?;
        if !self.reviewers.is_empty() && !self.reviewers.contains(by) {
            return Err(ReviewRefusal::NotReviewer);
        }
        let revoked = self.revoked.saturating_add(u32::from(verdict == Verdict::Revoke));
        Ok(Self { decided: self.decided.saturating_add(1), revoked, ..self.clone() })
    }

    /// The campaign once it is closed.
    ///
    /// # Errors
    /// [`ReviewRefusal::Closed`] when it was before, [`ReviewRefusal::Undecided`], [`ReviewRefusal::NoText`].
    pub fn close(&self, closed: CampaignClosed) -> Result<Self, ReviewRefusal> {
        self.refuse_closed()?;
        if self.undecided() > 0 {
            return Err(ReviewRefusal::Undecided { open: self.undecided() });
        }
        if closed.text.is_empty() {
            return Err(ReviewRefusal::NoText);
        }
        Ok(Self { closed: Some(closed), ..self.clone() })
    }

    fn refuse_closed(&self) -> Result<(), ReviewRefusal> {
        match &self.closed {
            Some(closed) => Err(ReviewRefusal::Closed { at: closed.at }),
            None => Ok(()),
        }
    }

    /// The campaign once people were reminded of it; none when it is not time to.
    #[must_use]
    pub fn remind(&self, now: UnixMillis) -> Option<Self> {
        let due = FiledRecord::due(self)?;
        (now >= due).then(|| Self { reminded: Some(now), ..self.clone() })
    }

    /// True when it is open past its time.
    #[must_use]
    pub fn is_overdue(&self, now: UnixMillis) -> bool {
        self.closed.is_none() && now >= self.due
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> ReviewId {
        self.id
    }

    /// What it is for.
    #[must_use]
    pub fn reason(&self) -> &Label {
        &self.reason
    }

    /// What it goes through.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Who decides; everybody who may, when empty.
    #[must_use]
    pub fn reviewers(&self) -> &BTreeSet<Name> {
        &self.reviewers
    }

    /// When it was opened.
    #[must_use]
    pub fn opened(&self) -> UnixMillis {
        self.opened
    }

    /// By whom.
    #[must_use]
    pub fn opened_by(&self) -> &Actor {
        &self.opened_by
    }

    /// When it is overdue.
    #[must_use]
    pub fn due(&self) -> UnixMillis {
        self.due
    }

    /// How many items it has.
    #[must_use]
    pub fn items(&self) -> u32 {
        self.items
    }

    /// How many of them are decided.
    #[must_use]
    pub fn decided(&self) -> u32 {
        self.decided
    }

    /// How many of them are not.
    #[must_use]
    pub fn undecided(&self) -> u32 {
        self.items.saturating_sub(self.decided)
    }

    /// How many were to go.
    #[must_use]
    pub fn revoked(&self) -> u32 {
        self.revoked
    }

    /// How it ended, if it did.
    #[must_use]
    pub fn closed(&self) -> Option<&CampaignClosed> {
        self.closed.as_ref()
    }
}

impl FiledRecord for Campaign {
    const TABLE: Table = Table::Reviews;

    fn row_id(&self) -> RowId {
        self.id.into()
    }

    fn parent(&self) -> String {
        if self.closed.is_some() { Self::CLOSED } else { Self::OPEN }.to_owned()
    }

    fn due(&self) -> Option<UnixMillis> {
        let next = self.reminded.map_or(self.due, |last| last.plus_days(REMINDED_DAYS));
        self.closed.is_none().then_some(next)
    }
}

/// The right that an item is about, as it was when the campaign was opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Source {
    /// A principal has a role.
    Role {
        /// Which.
        role: Name,
    },
    /// A principal has a grant.
    Grant {
        /// Which.
        grant: GrantId,
        /// What it gives.
        what: Granted,
        /// Until when.
        expires: UnixMillis,
    },
    /// A key names somebody as a consumer.
    Consumer {
        /// The key.
        key: KeyId,
        /// One of its aliases.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        alias: Option<Name>,
    },
}

impl Source {
    /// The kind of right.
    #[must_use]
    pub const fn subject(&self) -> Subject {
        match self {
            Self::Role { .. } => Subject::Roles,
            Self::Grant { .. } => Subject::Grants,
            Self::Consumer { .. } => Subject::Consumers,
        }
    }
}

/// What was decided on an item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemDecision {
    /// What.
    pub verdict: Verdict,
    /// By whom.
    pub by: Actor,
    /// When.
    pub at: UnixMillis,
    /// Why.
    pub reason: Label,
    /// True when the right was taken away with it; false when it stays, and when it was gone already.
    pub taken: bool,
}

/// Whom an item is about, as they are known when it is decided.
#[derive(Clone, Debug, Default)]
pub struct Concerned {
    /// Who has the right, where that is a principal that is there.
    pub holder: Option<Actor>,
    /// Who made it, where that is known.
    pub maker: Option<Actor>,
}

/// One right in a campaign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReviewItem {
    /// The campaign.
    pub review: ReviewId,
    /// Its number in it, from 1.
    pub number: u32,
    /// Who has the right: a principal, or what a key names as a consumer.
    pub who: Label,
    /// The right.
    pub source: Source,
    /// The last day on which it was used (whole days since 1970), as far as that is known: of a role, on which its
    /// principal used any key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_use: Option<i64>,
    /// Who made it, where that is known: of a consumer, who made the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<Name>,
    /// What was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<ItemDecision>,
}

impl ReviewItem {
    /// The row of an item.
    #[must_use]
    pub fn row(review: ReviewId, number: u32) -> RowId {
        let mut row = [0; 20];
        let (id, place) = row.split_at_mut(16);
        id.copy_from_slice(review.as_bytes());
        place.copy_from_slice(&number.to_be_bytes());
        RowId::from(row)
    }

    /// The item once it is decided.
    ///
    /// # Errors
    /// [`ReviewRefusal::Decided`] when it was before; [`ReviewRefusal::Own`] and [`ReviewRefusal::Made`] when whoever
    /// decides has or made the right; [`ReviewRefusal::NoText`].
    pub fn decide(&self, decision: ItemDecision, concerned: &Concerned) -> Result<Self, ReviewRefusal> {
        if let Some(before) = &self.decision {
            return Err(ReviewRefusal::Decided { number: self.number, by: before.by.name.clone() });
        }
        let is = |actor: &Option<Actor>| actor.as_ref().is_some_and(|actor| actor.is_same_person(&decision.by));
        if is(&concerned.holder) || self.who.as_str() == decision.by.name.as_str() {
            return Err(ReviewRefusal::Own);
        }
        if is(&concerned.maker) || self.made_by.as_ref() == Some(&decision.by.name) {
            return Err(ReviewRefusal::Made);
        }
        if decision.reason.is_empty() {
            return Err(ReviewRefusal::NoText);
        }
        Ok(Self { decision: Some(decision), ..self.clone() })
    }
}

impl FiledRecord for ReviewItem {
    const TABLE: Table = Table::ReviewItems;

    fn row_id(&self) -> RowId {
        Self::row(self.review, self.number)
    }

    fn parent(&self) -> String {
        self.review.to_string()
    }
}

/// True when something that was looked at last at `last` should have been again by now.
#[must_use]
pub fn is_period_over(last: UnixMillis, now: UnixMillis) -> bool {
    now.since(last) > i64::from(PERIOD_DAYS) * DAY_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: ReviewId = ReviewId::from_bytes([7; 16]);

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn actor(text: &str) -> Actor {
        Actor::new(name(text), None)
    }

    fn text(text: &str) -> Label {
        text.parse().unwrap()
    }

    fn new(items: usize) -> NewCampaign {
        NewCampaign {
            id: ID,
            reason: text("twice a year"),
            scope: Scope { subjects: Subject::ALL.into(), principal: None },
            reviewers: BTreeSet::new(),
            by: actor("rita"),
            days: 30,
            items,
        }
    }

    fn campaign(items: usize) -> Campaign {
        Campaign::open(new(items), UnixMillis(0)).unwrap()
    }

    fn end() -> CampaignClosed {
        CampaignClosed { at: UnixMillis(9), by: actor("rita"), text: text("done") }
    }

    #[test]
    fn what_is_no_campaign_is_not_opened() {
        let refused = |alter: fn(&mut NewCampaign)| {
            let mut new = new(1);
            alter(&mut new);
            Campaign::open(new, UnixMillis(0)).unwrap_err()
        };
        assert_eq!(refused(|new| new.reason = Label::default()), ReviewRefusal::NoText);
        assert_eq!(refused(|new| new.scope.subjects.clear()), ReviewRefusal::NoSubject);
        assert_eq!(refused(|new| new.days = 0), ReviewRefusal::Due);
        assert_eq!(refused(|new| new.days = DUE_DAYS_MAX + 1), ReviewRefusal::Due);
        assert_eq!(refused(|new| new.items = ITEMS_MAX + 1), ReviewRefusal::TooLarge);
        let many = |new: &mut NewCampaign| {
            new.reviewers = (0..=limits::LIST_MAX).map(|n| name(&format!("r{n}"))).collect();
        };
        assert_eq!(refused(many), ReviewRefusal::Reviewers);
    }

    #[test]
    fn a_campaign_closes_once_when_every_item_is_decided() {
        let one = campaign(2).decide(Verdict::Keep, &name("rita")).unwrap();
        assert_eq!(one.close(end()), Err(ReviewRefusal::Undecided { open: 1 }));
        let all = one.decide(Verdict::Revoke, &name("rita")).unwrap();
        assert_eq!((all.decided(), all.undecided(), all.revoked()), (2, 0, 1));
        assert_eq!(all.close(CampaignClosed { text: Label::default(), ..end() }), Err(ReviewRefusal::NoText));
        let closed = all.close(end()).unwrap();
        assert_eq!((all.parent().as_str(), closed.parent().as_str()), ("open", "closed"));
        let again = ReviewRefusal::Closed { at: UnixMillis(9) };
        assert_eq!(closed.close(end()), Err(again.clone()));
        assert_eq!(closed.decide(Verdict::Keep, &name("rita")), Err(again));
        assert!(campaign(0).close(end()).is_ok(), "nothing to decide is soon decided");
    }

    #[test]
    fn named_reviewers_decide_and_nobody_else() {
        let named = Campaign::open(NewCampaign { reviewers: [name("rita")].into(), ..new(1) }, UnixMillis(0)).unwrap();
        assert_eq!(named.decide(Verdict::Keep, &name("carl")), Err(ReviewRefusal::NotReviewer));
        assert!(named.decide(Verdict::Keep, &name("rita")).is_ok());
    }

    #[test]
    fn people_are_reminded_when_it_is_due_and_weekly_until_it_is_closed() {
        let days = |days| UnixMillis(0).plus_days(days);
        let open = campaign(1);
        assert_eq!(open.remind(UnixMillis(days(30).0 - 1)), None);
        assert!(open.is_overdue(days(30)) && !open.is_overdue(days(29)));
        let reminded = open.remind(days(30)).unwrap();
        assert_eq!(reminded.remind(days(36)), None);
        let twice = reminded.remind(days(37)).unwrap();
        let closed = twice.decide(Verdict::Keep, &name("rita")).unwrap().close(end()).unwrap();
        assert_eq!((FiledRecord::due(&closed), closed.remind(days(400))), (None, None));
        assert!(!closed.is_overdue(days(400)));
    }

    fn item() -> ReviewItem {
        ReviewItem {
            review: ID,
            number: 3,
            who: text("alice"),
            source: Source::Role { role: name("key-admin") },
            last_use: None,
            made_by: Some(name("olga")),
            decision: None,
        }
    }

    fn by(who: Actor) -> ItemDecision {
        ItemDecision { verdict: Verdict::Keep, by: who, at: UnixMillis(5), reason: text("needed"), taken: false }
    }

    #[test]
    fn nobody_decides_on_their_own_rights_nor_on_what_they_made_under_whatever_name() {
        let person = |principal: &str, person: &str| Actor::new(name(principal), Some(text(person)));
        let concerned = Concerned { holder: Some(person("alice", "Alice A")), maker: Some(person("olga", "Olga O")) };
        let refused = |who: Actor| item().decide(by(who), &concerned).unwrap_err();
        assert_eq!(refused(actor("alice")), ReviewRefusal::Own);
        assert_eq!(refused(person("alice-admin", "Alice A")), ReviewRefusal::Own);
        assert_eq!(refused(actor("olga")), ReviewRefusal::Made);
        assert_eq!(refused(person("o2", "Olga O")), ReviewRefusal::Made);
        // Neither is known any more: the names still count.
        let unknown = Concerned::default();
        assert_eq!(item().decide(by(actor("alice")), &unknown), Err(ReviewRefusal::Own));
        assert_eq!(item().decide(by(actor("olga")), &unknown), Err(ReviewRefusal::Made));
        let silent = ItemDecision { reason: Label::default(), ..by(actor("rita")) };
        assert_eq!(item().decide(silent, &concerned), Err(ReviewRefusal::NoText));
        let decided = item().decide(by(actor("rita")), &concerned).unwrap();
        let before = ReviewRefusal::Decided { number: 3, by: name("rita") };
        assert_eq!(decided.decide(by(actor("carl")), &concerned), Err(before));
    }

    #[test]
    fn items_stand_in_the_order_of_their_numbers() {
        let rows: Vec<_> = [1, 2, 255, 256, 65_536].map(|number| ReviewItem::row(ID, number)).into();
        assert!(rows.is_sorted());
        assert_eq!(item().row_id(), ReviewItem::row(ID, 3));
        assert_eq!(item().parent(), ID.to_string());
    }

    #[test]
    fn a_period_is_over_after_180_days() {
        let last = UnixMillis(0);
        assert!(!is_period_over(last, last.plus_days(180)));
        assert!(is_period_over(last, UnixMillis(last.plus_days(180).0 + 1)));
    }

    #[test]
    fn records_come_back_as_they_were_written() {
        let grant = Source::Grant {
            grant: GrantId::from_bytes([1; 16]),
            what: Granted::Role { role: name("operator") },
            expires: UnixMillis(7),
        };
        let consumer = Source::Consumer { key: KeyId::from_bytes([2; 16]), alias: Some(name("orders")) };
        for source in [item().source, grant, consumer] {
            let decided = ReviewItem { source, last_use: Some(9), ..item() };
            let decided = decided.decide(by(actor("rita")), &Concerned::default()).unwrap();
            let text = serde_json::to_string(&decided).unwrap();
            assert_eq!(serde_json::from_str::<ReviewItem>(&text).unwrap(), decided);
        }
        let closed = campaign(0).close(end()).unwrap();
        let text = serde_json::to_string(&closed).unwrap();
        assert_eq!(serde_json::from_str::<Campaign>(&text).unwrap(), closed);
        assert!(serde_json::from_str::<Campaign>(&text.replacen('{', "{\"new\":1,", 1)).is_err());
    }
}
