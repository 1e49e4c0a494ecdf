//! Grants: rights for a time, given to one principal (requirement A5).
//!
//! A grant gives operations on one key or one keyring's keys, or a role. It is asked about only where policy is silent:
//! what a policy forbids, no grant allows. Whether it is in force follows from its record and the present, so it begins
//! and ends to the millisecond without anybody doing anything.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use thiserror::Error;

use crate::access::PrincipalKind;
use crate::context::EncryptionContext;
use crate::filed::{FiledRecord, RowId};
use crate::ids::{ApprovalId, EmergencyId, GrantId, KeyId, KeyringId};
use crate::limits;
use crate::metadata::{Label, Name};
use crate::record::Table;
use crate::time::{DAY_MS, UnixMillis};

/// The longest grant of operations (days).
pub const GRANT_DAYS_MAX: u32 = 366;
/// The longest grant of a role.
pub const ELEVATION_MAX: Duration = Duration::from_secs(24 * 3600);
/// Grants of one principal that are in force or will be (count).
pub const GRANTS_MAX: usize = 256;
/// How old a person's second factor may be for a grant that says nothing of it (minutes).
pub const MFA_MINUTES: u32 = 720;

/// Why something cannot be granted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidGrant {
    /// It would end before it begins, or is over.
    #[error("a grant ends after it begins, and later than now: give another end")]
    Over,
    /// It would last too long.
    #[error(
        "a grant of operations lasts at most {GRANT_DAYS_MAX} days and begins within as many, a grant of a role at \
         most 24 hours: give an earlier end"
    )]
    TooLong,
    /// No operation, or too many.
    #[error("a grant gives 1 to {} operations", limits::LIST_MAX)]
    Operations,
    /// Too many networks.
    #[error("a grant is bound to at most {} networks", limits::LIST_MAX)]
    Networks,
    /// A role has no encryption context.
    #[error("a grant of a role cannot be bound to an encryption context: leave it out")]
    Context,
    /// A second factor that is never fresh enough, or always.
    #[error("the age of the second factor is 1 to 10,080 minutes (7 days)")]
    Mfa,
}

/// What a grant gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Granted {
    /// Operations on one key.
    Key {
        /// The key.
        key: KeyId,
        /// The operations, by their names in the catalogue.
        operations: BTreeSet<Name>,
    },
    /// Operations on every key of a keyring, those that it will have included.
    Keyring {
        /// The keyring.
        keyring: KeyringId,
        /// The operations.
        operations: BTreeSet<Name>,
    },
    /// A role.
    Role {
        /// Its name.
        role: Name,
    },
}

impl Granted {
    /// The operations; none of a role.
    #[must_use]
    pub fn operations(&self) -> Option<&BTreeSet<Name>> {
        match self {
            Self::Key { operations, .. } | Self::Keyring { operations, .. } => Some(operations),
            Self::Role { .. } => None,
        }
    }

    /// The role, where it gives one.
    #[must_use]
    pub fn role(&self) -> Option<&Name> {
        match self {
            Self::Role { role } => Some(role),
            Self::Key { .. } | Self::Keyring { .. } => None,
        }
    }

    /// The id of the key or keyring; none of a role.
    #[must_use]
    pub fn on(&self) -> Option<String> {
        match self {
            Self::Key { key, .. } => Some(key.to_string()),
            Self::Keyring { keyring, .. } => Some(keyring.to_string()),
            Self::Role { .. } => None,
        }
    }
}

/// Under which circumstances a grant gives what it gives. All of them must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constraints {
    /// The request's encryption context is exactly this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_equals: Option<EncryptionContext>,
    /// The request's encryption context holds at least these pairs.
    #[serde(default, skip_serializing_if = "EncryptionContext::is_empty")]
    pub context_includes: EncryptionContext,
    /// The request comes from one of these networks (CIDR); empty means any.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub networks: BTreeSet<String>,
    /// A second factor was shown at most this many minutes ago. Of a person that is always asked, with [`MFA_MINUTES`]
    /// unless said; of a program only where it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mfa_minutes: Option<u32>,
}

impl Constraints {
    /// Whether a request's encryption context fits. A request without one has the empty one.
    #[must_use]
    pub fn fits_context(&self, pairs: Option<&BTreeMap<String, String>>) -> bool {
        let holds = |name, value| pairs.is_some_and(|pairs| pairs.get(name) == Some(value));
        let same = |wanted: &BTreeMap<String, String>| match pairs {
            Some(pairs) => pairs == wanted,
            None => wanted.is_empty(),
        };
        self.context_equals.as_ref().is_none_or(|wanted| same(wanted.pairs()))
            && self.context_includes.pairs().iter().all(|(name, value)| holds(name, value))
    }

    /// Whether the second factor is fresh enough; `age` in seconds, none when there was no proof.
    #[must_use]
    pub fn fits_mfa(&self, kind: PrincipalKind, age: Option<u64>) -> bool {
        let most = match (kind, self.mfa_minutes) {
            (PrincipalKind::Service, None) => return true,
            (PrincipalKind::Person, None) => MFA_MINUTES,
            (_, Some(minutes)) => minutes,
        };
        age.is_some_and(|age| age <= u64::from(most) * 60)
    }
}

/// That a grant was taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// When.
    pub at: UnixMillis,
    /// By whom.
    pub by: Name,
    /// Why.
    #[serde(default, skip_serializing_if = "Label::is_empty")]
    pub reason: Label,
}

/// What people were told of a grant's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// Nothing yet.
    #[default]
    Nothing,
    /// That it comes.
    Soon,
    /// That it came.
    Over,
}

impl Told {
    fn is_nothing(&self) -> bool {
        *self == Self::Nothing
    }
}

/// Where a grant stands at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantState {
    /// It begins later.
    Pending,
    /// It is in force.
    Active,
    /// It is over.
    Expired,
    /// It was taken back.
    Revoked,
    /// It gives nothing, for its principal is disabled, removed, or another than it was given to.
    Inactive,
}

impl GrantState {
    /// The name on wires.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Inactive => "inactive",
        }
    }
}

/// A right for a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantRecord {
    /// Its public name.
    pub id: GrantId,
    /// Whose it is.
    pub principal: Name,
    /// What it gives.
    pub what: Granted,
    /// Under which circumstances.
    #[serde(default)]
    pub constraints: Constraints,
    /// From this instant on.
    pub not_before: UnixMillis,
    /// Until just before this instant.
    pub expires: UnixMillis,
    /// What it is for.
    pub reason: Label,
    /// When it was made.
    pub created: UnixMillis,
    /// By whom.
    pub created_by: Name,
    /// The approval that it was made under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalId>,
    /// The emergency that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<EmergencyId>,
    /// When it was taken back, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revocation>,
    /// What people were told of its end.
    #[serde(default, skip_serializing_if = "Told::is_nothing")]
    pub told: Told,
}

impl GrantRecord {
    /// Refuses what cannot be granted at this moment.
    ///
    /// # Errors
    /// [`InvalidGrant`] says what to give instead.
    pub fn check(&self, now: UnixMillis) -> Result<(), InvalidGrant> {
        let begins = self.not_before.max(now);
        if self.expires <= begins {
            return Err(InvalidGrant::Over);
        }
        let most = match self.what {
            Granted::Role { .. } => i64::try_from(ELEVATION_MAX.as_millis()).unwrap_or(i64::MAX),
            Granted::Key { .. } | Granted::Keyring { .. } => i64::from(GRANT_DAYS_MAX) * DAY_MS,
        };
        if self.expires.since(begins) > most || begins.since(now) > i64::from(GRANT_DAYS_MAX) * DAY_MS {
            return Err(InvalidGrant::TooLong);
        }
        if self.what.operations().is_some_and(|all| all.is_empty() || all.len() > limits::LIST_MAX) {
            return Err(InvalidGrant::Operations);
        }
        let constraints = &self.constraints;
        let contextual = constraints.context_equals.is_some() || !constraints.context_includes.is_empty();
        if self.what.role().is_some() && contextual {
            return Err(InvalidGrant::Context);
        }
        if constraints.networks.len() > limits::LIST_MAX {
            return Err(InvalidGrant::Networks);
        }
        match constraints.mfa_minutes {
            Some(minutes) if !(1..=7 * 24 * 60).contains(&minutes) => Err(InvalidGrant::Mfa),
            Some(_) | None => Ok(()),
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self, now: UnixMillis) -> GrantState {
        if self.revoked.is_some() {
            GrantState::Revoked
        } else if now < self.not_before {
            GrantState::Pending
        } else if now < self.expires {
            GrantState::Active
        } else {
            GrantState::Expired
        }
    }

    /// Whether it gives anything at this moment.
    #[must_use]
    pub fn is_in_force(&self, now: UnixMillis) -> bool {
        self.state(now) == GrantState::Active
    }

    /// Whether it gives nothing any more, at this moment and later.
    #[must_use]
    pub fn is_over(&self, now: UnixMillis) -> bool {
        self.revoked.is_some() || self.expires <= now
    }

    /// The grant taken back. One that is over stays as it was.
    #[must_use]
    pub fn revoke(&self, by: &Name, reason: &Label, now: UnixMillis) -> Option<Self> {
        let revoked = Revocation { at: now, by: by.clone(), reason: reason.clone() };
        (!self.is_over(now)).then(|| Self { revoked: Some(revoked), ..self.clone() })
    }

    /// From when on it ends soon: a day before its end, or a quarter of the time that it lasts where that is less.
    fn ends_soon(&self) -> UnixMillis {
        let lasts = self.expires.since(self.not_before.max(self.created));
        UnixMillis(self.expires.0.saturating_sub((lasts / 4).min(DAY_MS)))
    }

    /// The grant once people were told what fell due: that it ends soon, later that it has ended. None while nothing is
    /// to be told. Of one that was taken back people are told when that is done.
    #[must_use]
    pub fn telling(&self, now: UnixMillis) -> Option<Self> {
        FiledRecord::due(self).filter(|due| *due <= now)?;
        let told = if self.expires <= now { Told::Over } else { Told::Soon };
        Some(Self { told, ..self.clone() })
    }
}

/// Kept for ever, under the principal; ended ones too, so that it can be seen who could do what.
impl FiledRecord for GrantRecord {
    const TABLE: Table = Table::Grants;

    fn row_id(&self) -> RowId {
        self.id.into()
    }

    fn parent(&self) -> String {
        self.principal.to_string()
    }

    /// When people are told of its end next.
    fn due(&self) -> Option<UnixMillis> {
        match (&self.revoked, self.told) {
            (Some(_), _) | (None, Told::Over) => None,
            (None, Told::Nothing) => Some(self.ends_soon()),
            (None, Told::Soon) => Some(self.expires),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn pairs(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn context(all: &[(&str, &str)]) -> EncryptionContext {
        pairs(all).try_into().unwrap()
    }

    fn grant(what: Granted, not_before: i64, expires: i64) -> GrantRecord {
        GrantRecord {
            id: GrantId::from_bytes([1; 16]),
            principal: name("alice"),
            what,
            constraints: Constraints::default(),
            not_before: UnixMillis(not_before),
            expires: UnixMillis(expires),
            reason: Label::default(),
            created: UnixMillis(0),
            created_by: name("bob"),
            approval: None,
            emergency: None,
            revoked: None,
            told: Told::Nothing,
        }
    }

    fn on_key() -> Granted {
        Granted::Key { key: KeyId::from_bytes([2; 16]), operations: BTreeSet::from([name("key.decrypt")]) }
    }

    fn role() -> Granted {
        Granted::Role { role: name("operator") }
    }

    #[test]
    fn people_are_told_before_the_end_and_at_it() {
        let days = |days: i64| UnixMillis(days * DAY_MS);
        let what = || Granted::Role { role: name("key-admin") };
        let long = grant(what(), 0, 100 * DAY_MS);
        assert_eq!((long.due(), long.telling(UnixMillis(99 * DAY_MS - 1))), (Some(days(99)), None));
        let soon = long.telling(days(99)).unwrap();
        assert_eq!(
            (soon.told, soon.due(), soon.telling(UnixMillis(100 * DAY_MS - 1))),
            (Told::Soon, Some(days(100)), None)
        );
        let over = soon.telling(days(100)).unwrap();
        assert_eq!((over.told, over.due()), (Told::Over, None));
        // Two hours: half an hour before. A server that was off says the last thing only.
        let short = grant(what(), 0, 120);
        assert_eq!(short.due(), Some(UnixMillis(90)));
        assert_eq!(short.telling(UnixMillis(500)).unwrap().told, Told::Over);
        let revoked = short.revoke(&name("ann"), &Label::default(), UnixMillis(5)).unwrap();
        assert_eq!((revoked.due(), revoked.telling(UnixMillis(500))), (None, None));
        let text = serde_json::to_string(&short).unwrap();
        assert!(!text.contains("told") && serde_json::from_str::<GrantRecord>(&text).unwrap() == short);
    }

    #[test]
    fn a_grant_begins_and_ends_to_the_millisecond() {
        let grant = grant(on_key(), 100, 200);
        let states = [(99, GrantState::Pending), (100, GrantState::Active), (199, GrantState::Active)];
        for (now, state) in states {
            assert_eq!(grant.state(UnixMillis(now)), state, "{now}");
        }
        assert_eq!(grant.state(UnixMillis(200)), GrantState::Expired);
        assert!(!grant.is_over(UnixMillis(199)) && grant.is_over(UnixMillis(200)));
    }

    #[test]
    fn what_is_taken_back_gives_nothing_at_any_time() {
        let grant = grant(on_key(), 100, 200);
        let revoked = grant.revoke(&name("eve"), &Label::default(), UnixMillis(150)).unwrap();
        assert_eq!(revoked.revoked.as_ref().map(|revoked| revoked.at), Some(UnixMillis(150)));
        for now in [0, 99, 100, 149, 150, 199, 200] {
            assert_eq!(revoked.state(UnixMillis(now)), GrantState::Revoked);
        }
        assert_eq!(revoked.revoke(&name("eve"), &Label::default(), UnixMillis(160)), None, "once is enough");
        assert_eq!(grant.revoke(&name("eve"), &Label::default(), UnixMillis(200)), None, "it is over");
        assert!(grant.revoke(&name("eve"), &Label::default(), UnixMillis(0)).is_some(), "before it began");
    }

    #[test]
    fn grants_have_bounds() {
        const DAY: i64 = DAY_MS;
        let now = UnixMillis(10);
        let check = |grant: GrantRecord| grant.check(now);
        assert_eq!(check(grant(on_key(), 0, 11)), Ok(()));
        assert_eq!(check(grant(on_key(), 0, 10)), Err(InvalidGrant::Over), "it would be over");
        assert_eq!(check(grant(on_key(), 30, 30)), Err(InvalidGrant::Over));
        assert_eq!(check(grant(on_key(), 10, 10 + 366 * DAY)), Ok(()));
        assert_eq!(check(grant(on_key(), 10, 11 + 366 * DAY)), Err(InvalidGrant::TooLong));
        assert_eq!(check(grant(on_key(), 0, 11 + 366 * DAY)), Err(InvalidGrant::TooLong), "what is past counts not");
        assert_eq!(check(grant(on_key(), 11 + 366 * DAY, 12 + 366 * DAY)), Err(InvalidGrant::TooLong), "too far off");
        assert_eq!(check(grant(role(), 10, 10 + DAY)), Ok(()));
        assert_eq!(check(grant(role(), 10, 11 + DAY)), Err(InvalidGrant::TooLong));
        let none = Granted::Keyring { keyring: KeyringId::from_bytes([0; 16]), operations: BTreeSet::new() };
        assert_eq!(check(grant(none, 0, 11)), Err(InvalidGrant::Operations));
        let bound = |what, constraints| GrantRecord { constraints, ..grant(what, 0, 11) };
        let exact = || Constraints { context_equals: Some(context(&[])), ..Constraints::default() };
        assert_eq!(check(bound(role(), exact())), Err(InvalidGrant::Context));
        assert_eq!(check(bound(on_key(), exact())), Ok(()));
        let includes = Constraints { context_includes: context(&[("a", "b")]), ..Constraints::default() };
        assert_eq!(check(bound(role(), includes)), Err(InvalidGrant::Context));
        for (minutes, fits) in [(0, false), (1, true), (10_080, true), (10_081, false)] {
            let constraints = Constraints { mfa_minutes: Some(minutes), ..Constraints::default() };
            assert_eq!(check(bound(on_key(), constraints)).is_ok(), fits, "{minutes}");
        }
    }

    #[test]
    fn a_context_is_exact_or_at_least() {
        let any = Constraints::default();
        assert!(any.fits_context(None) && any.fits_context(Some(&pairs(&[("a", "b")]))));
        let equals = |all| Constraints { context_equals: Some(context(all)), ..Constraints::default() };
        assert!(equals(&[]).fits_context(None) && equals(&[]).fits_context(Some(&pairs(&[]))));
        assert!(!equals(&[]).fits_context(Some(&pairs(&[("a", "b")]))), "exactly none");
        let one = equals(&[("a", "b")]);
        assert!(one.fits_context(Some(&pairs(&[("a", "b")]))));
        for other in [&[][..], &[("a", "c")], &[("a", "b"), ("c", "d")], &[("A", "b")]] {
            assert!(!one.fits_context(Some(&pairs(other))), "{other:?}");
        }
        assert!(!one.fits_context(None));
        let includes = Constraints { context_includes: context(&[("a", "b")]), ..Constraints::default() };
        assert!(includes.fits_context(Some(&pairs(&[("a", "b"), ("c", "d")]))));
        assert!(!includes.fits_context(Some(&pairs(&[("c", "d")]))) && !includes.fits_context(None));
    }

    #[test]
    fn a_person_shows_a_second_factor_and_a_program_where_it_is_asked() {
        let (any, five) = (Constraints::default(), Constraints { mfa_minutes: Some(5), ..Constraints::default() });
        let (person, service) = (PrincipalKind::Person, PrincipalKind::Service);
        assert!(any.fits_mfa(service, None) && !any.fits_mfa(person, None));
        assert!(any.fits_mfa(person, Some(720 * 60)) && !any.fits_mfa(person, Some(720 * 60 + 1)));
        assert!(five.fits_mfa(person, Some(300)) && !five.fits_mfa(person, Some(301)));
        assert!(!five.fits_mfa(service, None), "what is asked is asked of everybody");
    }

    #[test]
    fn the_stored_form_is_fixed() {
        let text = serde_json::to_string(&grant(on_key(), 100, 200)).unwrap();
        let stored = r#"{"id":"grt_01010101010101010101010101010101","principal":"alice","what":{"key":{"key":"key_02020202020202020202020202020202","operations":["key.decrypt"]}},"constraints":{},"not_before":100,"expires":200,"reason":"","created":0,"created_by":"bob"}"#;
        assert_eq!(text, stored);
        assert_eq!(serde_json::from_str::<GrantRecord>(stored).unwrap(), grant(on_key(), 100, 200));
        assert!(serde_json::from_str::<GrantRecord>(&stored.replace("\"reason\"", "\"for\"")).is_err());
    }

    proptest! {
        /// At no instant does a grant give anything outside its bounds, or after it was taken back.
        #[test]
        fn a_grant_is_in_force_between_its_bounds_only(
            from in 0i64..1000, until in 0i64..1000, revoked in proptest::option::of(0i64..1000), now in 0i64..1000
        ) {
            let mut grant = grant(on_key(), from, until);
            if let Some(at) = revoked {
                grant = grant.revoke(&name("eve"), &Label::default(), UnixMillis(at)).unwrap_or(grant);
            }
            let taken_back = revoked.is_some_and(|at| at < until);
            prop_assert_eq!(grant.is_in_force(UnixMillis(now)), from <= now && now < until && !taken_back);
            prop_assert!(!(grant.is_over(UnixMillis(now)) && grant.is_in_force(UnixMillis(now))));
        }

        /// More pairs in a request never make a constraint of the first kind hold, nor one of the second fail.
        #[test]
        fn constraints_on_the_context_are_what_they_say(
            wanted in proptest::collection::btree_map("[a-c]", "[x-y]", 0..3),
            given in proptest::collection::btree_map("[a-c]", "[x-y]", 0..3),
        ) {
            let wanted_context = EncryptionContext::try_from(wanted.clone()).unwrap();
            let equals = Constraints { context_equals: Some(wanted_context.clone()), ..Constraints::default() };
            let includes = Constraints { context_includes: wanted_context, ..Constraints::default() };
            let subset = wanted.iter().all(|pair| given.iter().any(|other| other == pair));
            prop_assert_eq!(equals.fits_context(Some(&given)), wanted == given);
            prop_assert_eq!(includes.fits_context(Some(&given)), subset);
        }
    }
}
