//! Rules of approval: which operations need the consent of whom (requirements A6 and A9).
//!
//! A rule names operations, perhaps a condition, and *seats*: whose consent each. The condition is text here; it is a
//! Cedar expression that `keyreeve-policy` compiles and asks. This module says what a rule may look like, how several
//! rules that hold for one request become one [`Requirement`], and how long things wait.
//!
//! What a rule depends on stands in four places, each for one sort of question. About the request, that is who asks,
//! what for and under which circumstances: [`Rule::when`]. A fact that adds one seat and changes nothing else:
//! [`Seat::only_if`]. Whether anybody gets more than they had, which the operation tells: [`Rule::only_widening`]. What
//! the rule means for others: [`Rule::overrides`]. A new question becomes an attribute of the schema of policies, where
//! conditions and policies can ask it, and no new field here. All of it is asked again when the operation runs.
//!
//! Rules are written in TOML, a `[[rule]]` each; docs/formats.md has the fields.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;
use thiserror::Error;

use crate::approval::Party;
use crate::filed::{FiledRecord, RowId};
use crate::ids::ApprovalId;
use crate::metadata::Name;
use crate::record::Table;
use crate::time::UnixMillis;

/// The longest text of a rule book in bytes.
pub const BOOK_MAX: usize = 256 * 1024;
/// Rules in one book (count).
pub const RULES_MAX: usize = 128;
/// Operations one rule names (count).
pub const OPERATIONS_MAX: usize = 64;
/// Ways of one rule (count).
pub const WAYS_MAX: usize = 8;
/// Seats of one way (count).
pub const SEATS_MAX: usize = 8;
/// The longest condition in bytes.
pub const WHEN_MAX: usize = 8 * 1024;
/// How long a request waits for consent where its rule does not say.
pub const EXPIRES: Duration = Duration::from_secs(72 * 3600);
/// How long consent holds where its rule does not say.
pub const VALID: Duration = Duration::from_secs(24 * 3600);
/// How old a second factor may be at a vote where the rule does not say.
pub const MFA: Duration = Duration::from_secs(5 * 60);
/// The longest a request may wait, and consent may hold.
pub const LONGEST: Duration = Duration::from_secs(90 * 24 * 3600);
/// The oldest second factor a rule may accept at a vote.
pub const MFA_LONGEST: Duration = Duration::from_secs(60 * 60);
/// Operations that must stand under a rule that always holds: who may write rules alone is under none.
pub const GUARDED: [&str; 1] = ["rules.put"];
/// Who answers for a system and its keys; with being named in the key it gives the seat `owner`.
pub const SYSTEM_OWNER: &str = "system-owner";

/// Why a rule book was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidRules {
    /// The text is no TOML, or says what no rule can say.
    #[error("the rules cannot be read: {0}")]
    Form(String),
    /// More than the limits.
    #[error("the rules have too many or too much {what}: at most {max}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The most there may be.
        max: usize,
    },
    /// Something is wrong with one rule.
    #[error("rule `{rule}`: {message}")]
    Rule {
        /// Its name.
        rule: String,
        /// What is wrong, and what to do.
        message: String,
    },
    /// Rules could be changed by one person alone.
    #[error(
        "no rule holds for every `{0}`: one that names it needs seats in each of its ways, neither `when` nor \
         `only_widening`, and no other rule may override it"
    )]
    Unguarded(&'static str),
}

/// What is true of the keys that a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fact {
    /// A legal hold is on one of them.
    Hold,
    /// One of them is part of an open incident.
    Incident,
}

/// Who may fill a seat.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SeatKind {
    /// Somebody with one of these roles.
    Role(BTreeSet<Name>),
    /// Somebody with the role [`SYSTEM_OWNER`] whom the resource names as owner or custodian, by name, person or role;
    /// where it names nobody who could, anybody with that role.
    Owner,
    /// Somebody who has a role in common with the proposer.
    Peer,
}

/// One consent that is needed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "SeatForm", into = "SeatForm")]
pub struct Seat {
    /// Whose.
    pub kind: SeatKind,
    /// Only where this is true; always, when nothing is said.
    pub only_if: Option<Fact>,
}

/// For people: `security-lead`, `ciso or legal`, `system owner`, `peer of the proposer`.
impl fmt::Display for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            SeatKind::Role(any_of) => {
                let names: Vec<&str> = any_of.iter().map(Name::as_str).collect();
                f.write_str(&names.join(" or "))
            }
            SeatKind::Owner => f.write_str("system owner"),
            SeatKind::Peer => f.write_str("peer of the proposer"),
        }
    }
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(Name),
    Many(BTreeSet<Name>),
}

impl From<BTreeSet<Name>> for OneOrMany {
    fn from(names: BTreeSet<Name>) -> Self {
        match names.first() {
            Some(one) if names.len() == 1 => Self::One(one.clone()),
            _ => Self::Many(names),
        }
    }
}

impl From<OneOrMany> for BTreeSet<Name> {
    fn from(names: OneOrMany) -> Self {
        match names {
            OneOrMany::One(name) => Self::from([name]),
            OneOrMany::Many(names) => names,
        }
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeatForm {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    role: Option<OneOrMany>,
    #[serde(default, skip_serializing_if = "is_false")]
    owner: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    peer: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    only_if: Option<Fact>,
}

impl TryFrom<SeatForm> for Seat {
    type Error = &'static str;

    fn try_from(form: SeatForm) -> Result<Self, Self::Error> {
        let refusal =
            "a seat is one of { role = \"NAME\" }, { role = [\"NAME\", …] }, { owner = true }, { peer = true }";
        let kind = match (form.role, form.owner, form.peer) {
            (Some(roles), false, false) => SeatKind::Role(roles.into()),
            (None, true, false) => SeatKind::Owner,
            (None, false, true) => SeatKind::Peer,
            _ => return Err(refusal),
        };
        if matches!(&kind, SeatKind::Role(any_of) if any_of.is_empty()) {
            return Err(refusal);
        }
        Ok(Self { kind, only_if: form.only_if })
    }
}

impl From<Seat> for SeatForm {
    fn from(seat: Seat) -> Self {
        let (mut role, mut owner, mut peer) = (None, false, false);
        match seat.kind {
            SeatKind::Role(any_of) => role = Some(any_of.into()),
            SeatKind::Owner => owner = true,
            SeatKind::Peer => peer = true,
        }
        Self { role, owner, peer, only_if: seat.only_if }
    }
}

/// One way of coming by consent: who may ask, and whose consent they need then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Way {
    /// Roles of which the proposer has one; anybody, when there is none.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub proposers: BTreeSet<Name>,
    /// The seats to be filled, by distinct people who are not the proposer.
    pub seats: Vec<Seat>,
}

impl Way {
    /// Whether somebody may go this way.
    #[must_use]
    pub fn admits(&self, proposer: &Party) -> bool {
        self.proposers.is_empty() || !self.proposers.is_disjoint(&proposer.roles)
    }
}

/// What somebody has to confirm afterwards.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "ConfirmForm", into = "ConfirmForm")]
pub struct Confirm {
    /// Somebody with one of these roles.
    pub any_of: BTreeSet<Name>,
    /// Hours until it is overdue.
    pub within_hours: u32,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfirmForm {
    role: OneOrMany,
    within_hours: u32,
}

impl TryFrom<ConfirmForm> for Confirm {
    type Error = &'static str;

    fn try_from(form: ConfirmForm) -> Result<Self, Self::Error> {
        let any_of: BTreeSet<Name> = form.role.into();
        if any_of.is_empty() || !(1..=24 * 90).contains(&form.within_hours) {
            return Err("`confirm` names a role, and within 1 to 2160 hours");
        }
        Ok(Self { any_of, within_hours: form.within_hours })
    }
}

impl From<Confirm> for ConfirmForm {
    fn from(confirm: Confirm) -> Self {
        Self { role: confirm.any_of.into(), within_hours: confirm.within_hours }
    }
}

/// A rule. Made from its form only, so that every rule there is has passed its checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RuleForm", into = "RuleForm")]
pub struct Rule {
    /// Unique in the book.
    pub name: Name,
    /// The operations it is about, by their names in the catalogue.
    pub operations: BTreeSet<Name>,
    /// A condition in Cedar; without one it always holds.
    pub when: Option<String>,
    /// In the order in which they are tried.
    pub ways: Vec<Way>,
    /// Only where the request gives somebody more than they had.
    pub only_widening: bool,
    /// Doing it opens an incident.
    pub opens_incident: bool,
    /// Rules that do not count where this one holds.
    pub overrides: BTreeSet<Name>,
    /// What has to be confirmed afterwards.
    pub confirm: Option<Confirm>,
    /// How long a request waits for consent.
    pub expires: Option<Duration>,
    /// How long consent holds.
    pub valid: Option<Duration>,
    /// How old a second factor may be at a vote.
    pub mfa: Option<Duration>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleForm {
    name: Name,
    operations: BTreeSet<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    when: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    only_widening: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    opens_incident: bool,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    overrides: BTreeSet<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_minutes: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_hours: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    valid_minutes: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    valid_hours: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mfa_minutes: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    confirm: Option<Confirm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seats: Option<Vec<Seat>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ways: Option<Vec<Way>>,
}

/// A time in minutes or hours, not both, within its bounds.
fn time(what: &str, minutes: Option<u32>, hours: Option<u32>, longest: Duration) -> Result<Option<Duration>, String> {
    let seconds = match (minutes, hours) {
        (None, None) => return Ok(None),
        (Some(minutes), None) => u64::from(minutes) * 60,
        (None, Some(hours)) => u64::from(hours) * 3600,
        (Some(_), Some(_)) => return Err(format!("say `{what}` in minutes or in hours, not both")),
    };
    let time = Duration::from_secs(seconds);
    if time.is_zero() || time > longest {
        return Err(format!("`{what}` is at least 1 minute and at most {} minutes", longest.as_secs() / 60));
    }
    Ok(Some(time))
}

impl TryFrom<RuleForm> for Rule {
    type Error = String;

    fn try_from(form: RuleForm) -> Result<Self, String> {
        let told = |message: String| format!("rule `{}`: {message}", form.name);
        let ways = match (form.seats, form.ways) {
            (Some(seats), None) => vec![Way { proposers: BTreeSet::new(), seats }],
            (None, Some(ways)) => ways,
            _ => return Err(told("say either `seats` or `ways`".to_owned())),
        };
        Ok(Self {
            expires: time("expires", form.expires_minutes, form.expires_hours, LONGEST).map_err(told)?,
            valid: time("valid", form.valid_minutes, form.valid_hours, LONGEST).map_err(told)?,
            mfa: time("mfa", form.mfa_minutes, None, MFA_LONGEST).map_err(told)?,
            name: form.name.clone(),
            operations: form.operations,
            when: form.when,
            ways,
            only_widening: form.only_widening,
            opens_incident: form.opens_incident,
            overrides: form.overrides,
            confirm: form.confirm,
        })
    }
}

impl From<Rule> for RuleForm {
    fn from(rule: Rule) -> Self {
        let minutes = |time: Option<Duration>| time.and_then(|time| u32::try_from(time.as_secs() / 60).ok());
        let open = <[Way; 1]>::try_from(rule.ways.clone()).ok().filter(|[way]| way.proposers.is_empty());
        let (seats, ways) = match open {
            Some([way]) => (Some(way.seats), None),
            None => (None, Some(rule.ways)),
        };
        Self {
            name: rule.name,
            operations: rule.operations,
            when: rule.when,
            only_widening: rule.only_widening,
            opens_incident: rule.opens_incident,
            overrides: rule.overrides,
            expires_minutes: minutes(rule.expires),
            expires_hours: None,
            valid_minutes: minutes(rule.valid),
            valid_hours: None,
            mfa_minutes: minutes(rule.mfa),
            confirm: rule.confirm,
            seats,
            ways,
        }
    }
}

impl Rule {
    /// Every role that one of its seats, a way or its confirmation names.
    #[must_use]
    pub fn roles(&self) -> BTreeSet<Name> {
        let of_seat = |seat: &Seat| match &seat.kind {
            SeatKind::Role(any_of) => any_of.clone(),
            SeatKind::Owner => SYSTEM_OWNER.parse().into_iter().collect(),
            SeatKind::Peer => BTreeSet::new(),
        };
        let seats = self.ways.iter().flat_map(|way| &way.seats).flat_map(of_seat);
        let proposers = self.ways.iter().flat_map(|way| way.proposers.iter().cloned());
        let confirming = self.confirm.iter().flat_map(|confirm| confirm.any_of.iter().cloned());
        seats.chain(proposers).chain(confirming).collect()
    }

    /// True where it holds for every request of its operations, and always asks for somebody's consent.
    fn always_asks(&self) -> bool {
        let asks = |way: &Way| way.seats.iter().any(|seat| seat.only_if.is_none());
        self.when.is_none() && !self.only_widening && self.ways.iter().all(asks)
    }

    fn check(&self) -> Result<(), InvalidRules> {
        let wrong =
            |message: &str| Err(InvalidRules::Rule { rule: self.name.to_string(), message: message.to_owned() });
        at_most("operations of a rule", self.operations.len(), OPERATIONS_MAX)?;
        at_most("ways of a rule", self.ways.len(), WAYS_MAX)?;
        for way in &self.ways {
            at_most("seats of a way", way.seats.len(), SEATS_MAX)?;
        }
        at_most("bytes of a condition", self.when.as_ref().map_or(0, String::len), WHEN_MAX)?;
        if self.operations.is_empty() {
            return wrong("it names no operation");
        }
        if self.ways.is_empty() {
            return wrong("it has no way: write `seats`, or at least one entry of `ways`");
        }
        let nothing = |way: &Way| way.seats.is_empty();
        let follows = self.opens_incident || self.confirm.is_some() || !self.overrides.is_empty();
        if self.ways.iter().all(nothing) && !follows {
            return wrong("it asks for nobody's consent, opens no incident, and asks for no confirmation");
        }
        if self.overrides.contains(&self.name) {
            return wrong("it overrides itself");
        }
        Ok(())
    }
}

fn at_most(what: &'static str, count: usize, max: usize) -> Result<(), InvalidRules> {
    if count > max { Err(InvalidRules::TooMany { what, max }) } else { Ok(()) }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BookForm {
    #[serde(default)]
    rule: Vec<Rule>,
}

/// Rules that fit together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Rule>", into = "Vec<Rule>")]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// Reads a rule book in TOML: `[[rule]]` sections.
    ///
    /// # Errors
    /// [`InvalidRules`], with what to change.
    pub fn parse(text: &str) -> Result<Self, InvalidRules> {
        at_most("bytes", text.len(), BOOK_MAX)?;
        let form: BookForm = toml::from_str(text).map_err(|error| InvalidRules::Form(error.to_string()))?;
        Self::try_from(form.rule)
    }

    /// The same in TOML; comments of the text it was read from are gone.
    #[must_use]
    pub fn to_toml(&self) -> String {
        // Names, lists, numbers and texts: what TOML cannot write does not occur.
        toml::to_string_pretty(&BookForm { rule: self.0.clone() }).unwrap_or_default()
    }

    /// The rules, in the order of the book.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.0.iter()
    }

    /// The rule of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Rule> {
        self.0.iter().find(|rule| rule.name.as_str() == name)
    }

    /// Every role that a seat, a way or a confirmation names.
    #[must_use]
    pub fn roles(&self) -> BTreeSet<Name> {
        self.0.iter().flat_map(Rule::roles).collect()
    }
}

impl TryFrom<Vec<Rule>> for Rules {
    type Error = InvalidRules;

    fn try_from(rules: Vec<Rule>) -> Result<Self, InvalidRules> {
        at_most("rules", rules.len(), RULES_MAX)?;
        let mut names = BTreeSet::new();
        for rule in &rules {
            rule.check()?;
            if !names.insert(&rule.name) {
                let message = "there are two rules of this name".to_owned();
                return Err(InvalidRules::Rule { rule: rule.name.to_string(), message });
            }
        }
        for rule in &rules {
            if let Some(unknown) = rule.overrides.iter().find(|name| !names.contains(name)) {
                let message = format!("it overrides `{unknown}`, which is no rule of the book");
                return Err(InvalidRules::Rule { rule: rule.name.to_string(), message });
            }
        }
        let mut confirmed = BTreeSet::new();
        for rule in rules.iter().filter(|rule| rule.confirm.is_some()) {
            if let Some(twice) = rule.operations.iter().find(|operation| !confirmed.insert(*operation)) {
                let message =
                    format!("another rule with `confirm` names `{twice}` too: one confirmation is owed, not two");
                return Err(InvalidRules::Rule { rule: rule.name.to_string(), message });
            }
        }
        let overridden = |name: &Name| rules.iter().any(|rule| rule.overrides.contains(name));
        for guarded in GUARDED {
            let guards =
                |rule: &Rule| rule.operations.contains(guarded) && rule.always_asks() && !overridden(&rule.name);
            if !rules.iter().any(guards) {
                return Err(InvalidRules::Unguarded(guarded));
            }
        }
        Ok(Self(rules))
    }
}

impl From<Rules> for Vec<Rule> {
    fn from(rules: Rules) -> Self {
        rules.0
    }
}

/// When the rules came into force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enacted {
    /// When.
    pub at: UnixMillis,
    /// Who asked for it.
    pub by: Name,
}

/// The rule book of a deployment as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleBook {
    /// 0 for the shipped one, one more with each that is put.
    pub version: u32,
    /// True in the row of the book that is in force, false in those that are kept of older ones.
    pub current: bool,
    /// The rules.
    pub rules: Rules,
    /// When they came into force; until then nothing waits for consent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enacted: Option<Enacted>,
    /// When it was written.
    pub updated: UnixMillis,
    /// By whom.
    pub updated_by: Name,
    /// Under which approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalId>,
}

impl RuleBook {
    /// The row id of the book that is in force.
    #[must_use]
    pub fn current_row() -> RowId {
        RowId::from(*b"book")
    }
}

impl FiledRecord for RuleBook {
    const TABLE: Table = Table::Rules;

    fn row_id(&self) -> RowId {
        if self.current {
            return Self::current_row();
        }
        let mut id = *b"book/\0\0\0\0";
        id[5..].copy_from_slice(&self.version.to_be_bytes());
        RowId::from(id)
    }

    fn parent(&self) -> String {
        String::new()
    }
}

/// Who asks for what, as far as rules look at it besides their conditions.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// Who asks.
    pub proposer: &'a Party,
    /// A legal hold is on a key that it is about.
    pub hold: bool,
    /// A key that it is about is part of an open incident.
    pub incident: bool,
    /// It gives somebody more than they had.
    pub widens: bool,
}

/// No way of a rule is open to somebody.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("rule `{rule}` lets only {} ask for this", names(.proposers))]
pub struct NoWay {
    /// The rule.
    pub rule: Name,
    /// Roles of which one is needed.
    pub proposers: BTreeSet<Name>,
}

fn names(roles: &BTreeSet<Name>) -> String {
    let names: Vec<&str> = roles.iter().map(Name::as_str).collect();
    names.join(" or ")
}

/// What the rules that hold for a request ask for together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The rules, by name.
    pub rules: BTreeSet<Name>,
    /// The seats to be filled, sorted; conditional ones whose condition is not true are left out.
    pub seats: Vec<Seat>,
    /// How long a request waits: the shortest of the rules.
    pub expires: Duration,
    /// How long consent holds: the shortest of the rules.
    pub valid: Duration,
    /// How old a second factor may be at a vote: the youngest of the rules.
    pub mfa: Duration,
    /// Some rule opens an incident.
    pub opens_incident: bool,
    /// What has to be confirmed afterwards; at most one, for no two rules of a book ask for it of one operation.
    pub confirm: Vec<Confirm>,
}

impl Requirement {
    /// What rules that hold for a request ask for; nothing where none is left. Rules about widening fall away where
    /// nothing is widened, then those that another one overrides. Of each rule the first way that admits the proposer
    /// counts; seats of the same kind are needed as often as in the rule that needs them most.
    ///
    /// # Errors
    /// [`NoWay`] when a rule has no way for this proposer.
    pub fn of<'a>(matched: impl IntoIterator<Item = &'a Rule>, asking: &Asking<'_>) -> Result<Option<Self>, NoWay> {
        let mut rules: Vec<&Rule> = matched.into_iter().filter(|rule| asking.widens || !rule.only_widening).collect();
        let overridden: BTreeSet<&Name> = rules.iter().flat_map(|rule| &rule.overrides).collect();
        rules.retain(|rule| !overridden.contains(&rule.name));
        let mut united: BTreeMap<SeatKind, usize> = BTreeMap::new();
        for rule in &rules {
            let way = rule.ways.iter().find(|way| way.admits(asking.proposer)).ok_or_else(|| NoWay {
                rule: rule.name.clone(),
                proposers: rule.ways.iter().flat_map(|way| way.proposers.iter().cloned()).collect(),
            })?;
            let mut wanted: BTreeMap<SeatKind, usize> = BTreeMap::new();
            for seat in way.seats.iter().filter(|seat| asking.needs(seat)) {
                *wanted.entry(seat.kind.clone()).or_default() += 1;
            }
            for (kind, count) in wanted {
                let most = united.entry(kind).or_default();
                *most = count.max(*most);
            }
        }
        let seats =
            united.into_iter().flat_map(|(kind, count)| std::iter::repeat_n(Seat { kind, only_if: None }, count));
        let shortest = |of: fn(&Rule) -> Option<Duration>, otherwise: Duration| {
            rules.iter().map(|rule| of(rule).unwrap_or(otherwise)).min().unwrap_or(otherwise)
        };
        Ok((!rules.is_empty()).then(|| Self {
            rules: rules.iter().map(|rule| rule.name.clone()).collect(),
            seats: seats.collect(),
            expires: shortest(|rule| rule.expires, EXPIRES),
            valid: shortest(|rule| rule.valid, VALID),
            mfa: shortest(|rule| rule.mfa, MFA),
            opens_incident: rules.iter().any(|rule| rule.opens_incident),
            confirm: rules.iter().filter_map(|rule| rule.confirm.clone()).collect(),
        }))
    }
}

impl Asking<'_> {
    fn needs(&self, seat: &Seat) -> bool {
        match seat.only_if {
            None => true,
            Some(Fact::Hold) => self.hold,
            Some(Fact::Incident) => self.incident,
        }
    }
}

#[cfg(test)]
mod tests;
