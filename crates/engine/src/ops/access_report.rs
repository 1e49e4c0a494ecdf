//! Who can do what to which key: what the pipeline would say, not what policies look like (requirement A8).
//!
//! Every pair of a principal and a key is asked as a request would be, under assumptions that are told: a second factor
//! just shown, from one of the principal's own networks, now, without an encryption context.

use keyreeve_crypto::Purpose;
use keyreeve_model::access::{MfaKind, MfaProof};
use keyreeve_model::grant::Granted;
use keyreeve_model::record::Table;
use keyreeve_model::rules::Rules;
use keyreeve_model::time::DAY_MS;
use keyreeve_model::usage::{Used, day_of};
use keyreeve_model::{KeyId, Name, PrincipalKind, UnixMillis};
use keyreeve_policy::{Method, PrincipalAttrs, Request, ResourceAttrs, groups};
use keyreeve_store::{KeyFilter, Page};
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::access::{AccessSnapshot, HeldPrincipal, shipped_rules};
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::Error;
use crate::keys::{HeldKey, KeyRef};
use crate::pipeline::{Approved, Circumstances, Operation, Outcome, Remember, Target, elevated, resolve};
use crate::sealing::Opened;

/// Pairs of principal and key that one page looks at, at most (count).
pub const PAIRS_MAX: u32 = 1000;
/// After so many days without use a grant is told of.
pub const UNUSED_DAYS: i64 = 90;
/// Keys read at a time.
const KEYS: u32 = 100;

/// Shows who can do what to which key.
#[derive(Debug)]
pub struct Report {
    /// Only this principal.
    pub principal: Option<Name>,
    /// Only this key.
    pub key: Option<KeyRef>,
    /// Where to go on.
    pub after: Option<String>,
    /// How many pairs of principal and key to look at: 1 to [`PAIRS_MAX`].
    pub limit: u32,
    /// Look for last uses that the store does not know in the audit log, all of it if need be.
    pub from_audit: bool,
}

/// One way of using a key, and what allows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// The group of actions.
    pub group: &'static str,
    /// What it comes through: `policy:NAME`, `grant:ID`; besides, `elevation:ID` where a role for a time is part of it.
    pub through: Vec<String>,
    /// The last day on which it was used.
    pub last_used: Option<UnixMillis>,
}

/// What one principal may do to one key.
#[derive(Clone, Debug)]
pub struct AccessRow {
    /// Who.
    pub principal: Name,
    /// Person or program.
    pub kind: PrincipalKind,
    /// Which key.
    pub key: KeyId,
    /// One of its aliases.
    pub alias: Option<Name>,
    /// Its keyring.
    pub keyring: Name,
    /// What; never nothing.
    pub rights: Vec<Right>,
}

/// Something that somebody should look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing it is.
    pub kind: FindingKind,
    /// What it is about: a grant, a principal, a review.
    pub about: String,
    /// In words.
    pub text: String,
}

/// The kinds of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingKind {
    /// A grant that was not used for long, or never.
    GrantUnused,
    /// A person with roles and without a second factor.
    NoSecondFactor,
    /// The rules of approval are not in force.
    GovernanceFounding,
    /// A review is late, or rights that nobody went through for 180 days.
    ReviewOverdue,
    /// The book of rules lacks one that this version ships.
    RuleMissing,
    /// Logins give roles, which the rows do not show.
    LoginRoles,
}

impl FindingKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::GrantUnused,
        Self::NoSecondFactor,
        Self::GovernanceFounding,
        Self::ReviewOverdue,
        Self::RuleMissing,
        Self::LoginRoles,
    ];

    /// The name on wires.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::GrantUnused => "grant-unused",
            Self::NoSecondFactor => "no-second-factor",
            Self::GovernanceFounding => "governance-founding",
            Self::ReviewOverdue => "review-overdue",
            Self::RuleMissing => "rule-missing",
            Self::LoginRoles => "login-roles",
        }
    }
}

/// A page of the report.
#[derive(Clone, Debug)]
pub struct ReportReply {
    /// Who can do what; pairs without any right are left out.
    pub rows: Vec<AccessRow>,
    /// Where the next page begins.
    pub next: Option<String>,
    /// What somebody should look at; on the first page only.
    pub findings: Vec<Finding>,
}

impl Remember for ReportReply {}

/// The ways of using a key, each with an action that stands for its group.
fn ways(purpose: Purpose) -> Vec<(&'static str, &'static Descriptor)> {
    use catalogue as c;
    let mut ways: Vec<(&'static str, &'static Descriptor)> = match purpose {
        Purpose::Encrypt => vec![(groups::ENCRYPT_SIDE, &c::KEY_ENCRYPT), (groups::DECRYPT_SIDE, &c::KEY_DECRYPT)],
        Purpose::Wrap => vec![(groups::ENCRYPT_SIDE, &c::KEY_WRAP), (groups::DECRYPT_SIDE, &c::KEY_UNWRAP)],
        Purpose::Encapsulate => {
            vec![(groups::ENCRYPT_SIDE, &c::KEY_ENCAPSULATE), (groups::DECRYPT_SIDE, &c::KEY_DECAPSULATE)]
        }
        Purpose::Sign => vec![(groups::SIGN_SIDE, &c::KEY_SIGN), (groups::VERIFY_SIDE, &c::KEY_VERIFY)],
        Purpose::Mac => vec![(groups::SIGN_SIDE, &c::KEY_MAC), (groups::VERIFY_SIDE, &c::KEY_VERIFY_MAC)],
        Purpose::Derive => vec![(groups::DERIVE_SIDE, &c::KEY_DERIVE)],
        Purpose::Agree => vec![(groups::DERIVE_SIDE, &c::KEY_AGREE)],
    };
    ways.extend([
        (groups::EXPORT, &c::KEY_EXPORT),
        (groups::LIFECYCLE, &c::KEY_ROTATE),
        (groups::READ, &c::KEY_DESCRIBE),
    ]);
    ways
}

/// A place between pairs: the key that was looked at last, and with whom.
fn place(text: &str) -> Result<(KeyId, Name), Error> {
    let place = text.split_once('/').and_then(|(key, name)| Some((key.parse().ok()?, name.parse().ok()?)));
    place.ok_or_else(|| Error::invalid("`after` is `next` of the former page"))
}

/// What one page is made from.
struct Reporter<'a> {
    core: &'a Core,
    opened: &'a Opened,
    access: Arc<AccessSnapshot>,
    people: Vec<Arc<HeldPrincipal>>,
    now: UnixMillis,
    left: u32,
    /// The pair that was looked at last.
    last: Option<String>,
    rows: Vec<AccessRow>,
}

impl Reporter<'_> {
    /// Looks at a key with everybody after `after`; false when the page is full before the end.
    async fn key(&mut self, id: KeyId, after: Option<&Name>) -> Result<bool, Error> {
        let resource = resolve(self.core, Target::Key(&KeyRef::Id(id)), self.now).await?;
        let Some(key) = resource.key().cloned() else { return Ok(true) };
        let attrs = resource.attrs();
        let people = self.people.clone();
        let from = after.map_or(0, |after| people.partition_point(|held| held.record.name <= *after));
        for held in &people[from..] {
            if self.left == 0 {
                return Ok(false);
            }
            self.left -= 1;
            let rights = self.rights(held, &key, &attrs).await?;
            if !rights.is_empty() {
                self.rows.push(row(held, &key, rights));
            }
            self.last = Some(format!("{id}/{}", held.record.name));
            // Others have their turn between two people.
            tokio::task::yield_now().await;
        }
        Ok(true)
    }

    async fn rights(&self, held: &HeldPrincipal, key: &HeldKey, resource: &ResourceAttrs) -> Result<Vec<Right>, Error> {
        let now = self.now;
        let source = held.attrs.networks.first().map(|network| network.address());
        let mfa = MfaProof { at: now, kind: MfaKind::Totp, credential: None };
        let circumstances = Circumstances { source, now, method: Method::Token, mfa: Some(&mfa), login: None };
        let (elevations, attrs) = elevated(&self.access, held, BTreeSet::new(), (source, Some(0), now));
        let mut rights = Vec::new();
        for (group, row) in ways(key.record.purpose()) {
            let mut through = self.through((&held.record.name, &attrs), (row, resource), circumstances);
            if through.is_empty() {
                continue;
            }
            through.extend(elevations.iter().map(|grant| format!("elevation:{grant}")));
            let used = Used::Key { key: key.record.id(), group: group.parse().map_err(Error::internal)? };
            let day = self.core.last_use(self.opened, &held.record.name, &used).await?;
            rights.push(Right { group, through, last_used: day.map(|day| UnixMillis(day * DAY_MS)) });
        }
        Ok(rights)
    }

    /// What allows somebody to do something; nothing where it is not allowed.
    fn through(
        &self,
        (principal, attrs): (&Name, &PrincipalAttrs),
        (row, resource): (&'static Descriptor, &ResourceAttrs),
        circumstances: Circumstances<'_>,
    ) -> Vec<String> {
        let context = circumstances.context(None, 1);
        let request = Request { principal: attrs, action: row.name, resource, context: &context };
        let decision = self.access.policies().cache.decide(&request);
        if decision.allowed {
            return decision.reasons.iter().map(|policy| format!("policy:{policy}")).collect();
        }
        let silent = decision.denied_by.is_empty() && decision.errors.is_empty();
        let since = self.access.principal(principal).map_or(self.now, |held| held.record.created);
        // Whatever circumstances a grant asks for: the report says who can, not who does.
        let standing = self.access.grants().covering(principal, since, (row.name, resource), self.now);
        standing.filter(|_| silent).map(|grant| format!("grant:{grant}")).collect()
    }
}

fn row(held: &HeldPrincipal, key: &HeldKey, rights: Vec<Right>) -> AccessRow {
    AccessRow {
        principal: held.record.name.clone(),
        kind: held.record.kind,
        key: key.record.id(),
        alias: key.record.metadata.aliases.first().cloned(),
        keyring: key.keyring.record.name.clone(),
        rights,
    }
}

impl Operation for Report {
    const DESCRIPTOR: &'static Descriptor = &catalogue::ACCESS_REPORT;
    type Reply = ReportReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<ReportReply>, Error> {
        let (opened, now) = (core.need_open()?, approved.now());
        let access = Arc::clone(&*opened.access());
        let people = self.people(&access)?;
        let mut findings = match self.after {
            None => findings(core, &opened, &access, (&people, now)).await?,
            Some(_) => Vec::new(),
        };
        let left = self.limit.clamp(1, PAIRS_MAX);
        let mut reporter = Reporter { core, opened: &opened, access, people, now, left, last: None, rows: Vec::new() };
        let whole = self.look(&mut reporter).await?;
        let next = reporter.last.filter(|_| !whole);
        let mut rows = reporter.rows;
        if self.from_audit {
            core.last_uses_from_audit(&mut rows, &mut findings, now).await?;
        }
        let (count, found) = (rows.len(), findings.len());
        Ok(Outcome::reply(ReportReply { rows, next, findings })
            .detail("listed", count)
            .detail("findings", found)
            .detail("from_audit", self.from_audit))
    }
}

impl Report {
    /// Whom it is about, by name. Who is disabled can do nothing.
    fn people(&self, access: &AccessSnapshot) -> Result<Vec<Arc<HeldPrincipal>>, Error> {
        let mut people: Vec<_> = match &self.principal {
            Some(name) => vec![access.principal(name).ok_or_else(|| Error::not_found("principal"))?],
            None => access.principals().cloned().collect(),
        };
        people.retain(|held| !held.record.disabled);
        people.sort_by(|a, b| a.record.name.cmp(&b.record.name));
        Ok(people)
    }

    /// Goes through the keys until the page is full; false when there is more.
    async fn look(&self, reporter: &mut Reporter<'_>) -> Result<bool, Error> {
        let from = self.after.as_deref().map(place).transpose()?;
        if let Some(key) = &self.key {
            let key = reporter.core.find_key(key).await?.ok_or_else(|| Error::not_found("key"))?;
            let after = from.map(|(_, name)| name);
            return reporter.key(key.record.id(), after.as_ref()).await;
        }
        let mut after = None;
        if let Some((key, name)) = from {
            if !reporter.key(key, Some(&name)).await? {
                return Ok(false);
            }
            after = Some(key);
        }
        loop {
            let page = Page { after, limit: KEYS };
            let rows = reporter.core.ports.store.keys(&KeyFilter::default(), page).await?;
            let Some(last) = rows.last().map(|row| row.id) else { return Ok(true) };
            for row in &rows {
                if !reporter.key(row.id, None).await? {
                    return Ok(false);
                }
            }
            after = Some(last);
        }
    }
}

/// The rules that this version ships and the book does not have, by name: a stored book takes the place of the shipped
/// one as a whole, so a new version brings none into it. Whether one was left out on purpose nobody can tell here.
fn rules_missing(book: &Rules) -> Result<Option<Finding>, Error> {
    let shipped = shipped_rules()?;
    let missing: Vec<&str> =
        shipped.iter().map(|rule| rule.name.as_str()).filter(|name| book.find(name).is_none()).collect();
    let text = format!(
        "the book of rules lacks shipped rules: {}; if they were not left out on purpose, `keyreeve rules show` of a \
         server in development mode (`keyreeve dev`) writes them, and `keyreeve rules put` takes them in",
        missing.join(", ")
    );
    let finding = || Finding { kind: FindingKind::RuleMissing, about: "rules".to_owned(), text };
    Ok((!missing.is_empty()).then(finding))
}

/// What somebody should look at.
async fn findings(
    core: &Core,
    opened: &Opened,
    access: &AccessSnapshot,
    (people, now): (&[Arc<HeldPrincipal>], UnixMillis),
) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    if !access.rules().are_in_force() {
        let text = "the rules of approval are not in force: one administrator alone can give any right".to_owned();
        findings.push(Finding { kind: FindingKind::GovernanceFounding, about: "rules".to_owned(), text });
    }
    findings.extend(core.reviews_overdue(opened, now).await?);
    findings.extend(rules_missing(&access.rules().book.rules)?);
    findings.extend(super::login_roles::findings(access));
    for held in people {
        let record = &held.record;
        if record.kind == PrincipalKind::Person && !record.roles.is_empty() {
            let factors = core.ports.store.filed_count(Table::Mfa, record.name.as_str()).await?;
            if factors == 0 {
                let text = format!("{} has roles and no second factor", record.name);
                findings.push(Finding { kind: FindingKind::NoSecondFactor, about: record.name.to_string(), text });
            }
        }
        for grant in access.grants().of(&record.name) {
            let grant = &grant.record;
            let used = core.last_use(opened, &record.name, &Used::Grant { grant: grant.id }).await?;
            let since = used.unwrap_or_else(|| day_of(grant.created.max(grant.not_before)));
            if !grant.is_over(now) && day_of(now) - since >= UNUSED_DAYS {
                let on = match &grant.what {
                    Granted::Role { role } => format!("role {role}"),
                    Granted::Key { .. } | Granted::Keyring { .. } => grant.what.on().unwrap_or_default(),
                };
                let text = match used {
                    Some(day) => {
                        format!("the grant of {} on {on} was last used on {}", record.name, UnixMillis(day * DAY_MS))
                    }
                    None => format!("the grant of {} on {on} was never used", record.name),
                };
                findings.push(Finding { kind: FindingKind::GrantUnused, about: grant.id.to_string(), text });
            }
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_policy::ResourceKind;

    /// Groups of operations on keys that the report does not look at, and why.
    const EXCEPTED: [(&str, &str); 5] = [
        (groups::ESCROW, "deposits keys with agents; one comes out with the consent and the shares of others"),
        (groups::SCHEDULED, "what the server does by itself"),
        (groups::HOLD, "keeps a key, and gives nobody anything"),
        (groups::REVOKE, "a part of `lifecycle`"),
        (groups::REPLACE, "a part of `lifecycle`, in an incident only"),
    ];

    #[test]
    fn the_report_looks_at_every_group_of_keys() {
        let looked: Vec<(&str, &Descriptor)> = Purpose::ALL.iter().flat_map(|purpose| ways(*purpose)).collect();
        for (group, row) in &looked {
            assert_eq!(row.groups.first(), Some(group), "{}: a use is kept under its first group", row.name);
        }
        let on_keys = || catalogue::ALL.iter().filter(|row| row.resource == ResourceKind::Key);
        for row in on_keys() {
            for group in row.groups {
                let excepted = EXCEPTED.iter().any(|(name, _)| name == group);
                let known = looked.iter().any(|(name, _)| name == group);
                assert!(known != excepted, "{} is in `{group}`", row.name);
            }
        }
        for (group, _) in EXCEPTED {
            assert!(on_keys().any(|row| row.groups.contains(&group)), "{group} needs no exception");
        }
    }
}
