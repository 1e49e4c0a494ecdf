//! Logging in: somebody else's evidence in exchange for a token of ours.
//!
//! Every way in ends here. Attempts are counted before they are looked at, one text answers every doubt, the audit
//! record alone tells the reason, and what a method and its binding allow becomes a session.
//!
//! What proves somebody for one request, each time anew, is no login: it is a variant of `Evidence`.

use keyreeve_crypto::digest::Sha256;
use keyreeve_identity::Outcome as Bound;
use keyreeve_identity::throttle::Asking;
use keyreeve_model::access::{MfaProof, SESSION_MAX, Session};
use keyreeve_model::ids::CredentialId;
use keyreeve_model::login::{LoginMethod, MethodKind, Provision};
use keyreeve_model::metadata::Label;
use keyreeve_model::record::Revision;
use keyreeve_model::{Change, Facts as NoticeFacts, Name, NoticeKind, PrincipalKind, PrincipalRecord, UnixMillis};
use keyreeve_policy::Network;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::principals::{RESERVED, principal_row};
use super::tokens::{Issued, NewToken, issue};
use crate::access::{CREDENTIAL, HeldMethod, Stale};
use crate::core::Core;
use crate::courier::Telling;
use crate::error::{Aftermath, Code, Error};
use crate::pipeline::{Approved, Operation, Outcome, Remember};
use crate::sealing::{Effect, Opened};

pub mod certificate;
pub mod credential;
pub mod jwt;
pub mod ldap;
pub mod methods;
pub mod oidc;
pub mod session;
mod subject;

/// Somebody who logged in.
#[derive(Debug)]
pub struct LoggedIn {
    /// The token, for the bearer only.
    pub issued: Issued,
    /// Roles that the login gives besides those of the principal.
    pub roles: BTreeSet<Name>,
    /// Until when it can be renewed; none where it cannot.
    pub renew_until: Option<UnixMillis>,
    /// Whether the provider showed a second factor.
    pub mfa: bool,
}

impl Remember for LoggedIn {}

/// Why evidence proves nothing: a code for the audit record, never for the caller.
type Reason = &'static str;

/// Why nobody was logged in.
enum Stop {
    /// The evidence proves nothing, with facts about it for the record.
    Doubt(Reason, Details),
    /// Nothing can be said about it.
    Error(Error),
}

type Details = BTreeMap<String, String>;

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Self {
        Self::Doubt(reason, Details::new())
    }
}

/// What evidence proved.
struct Proven {
    /// Whom it makes, by which binding.
    bound: Bound,
    /// Who it is, as the other side names it: by whom, and how.
    subject: Option<(String, String)>,
    /// The service credential that was shown.
    credential: Option<CredentialId>,
    /// When the evidence itself ends: no session outlasts it.
    until: Option<UnixMillis>,
    /// The second factor that the provider vouches for.
    mfa: Option<MfaProof>,
    /// What keeps the evidence from being used again.
    changes: Vec<Change>,
    /// Facts for the record.
    details: Details,
}

/// What a session may be.
struct Terms<'a> {
    login: &'a Name,
    edition: u32,
    /// What a principal is that comes this way; none where it may be either.
    kind: Option<PrincipalKind>,
    /// What a principal is that is made by its first login; none where none is made.
    provision: Option<PrincipalKind>,
    ttl_s: u32,
    renew_s: u32,
    networks: &'a BTreeSet<String>,
}

impl<'a> Terms<'a> {
    fn of(method: &'a LoginMethod) -> Self {
        let kind = match method.kind {
            MethodKind::Oidc(_) | MethodKind::Ldap(_) => Some(PrincipalKind::Person),
            MethodKind::Jwt(_) => Some(PrincipalKind::Service),
            MethodKind::Certificate(_) => None,
        };
        let made = kind.unwrap_or(PrincipalKind::Service);
        Self {
            login: &method.name,
            edition: method.edition,
            kind,
            provision: (method.provision == Provision::Create).then_some(made),
            ttl_s: method.ttl_s,
            renew_s: method.renew_s,
            networks: &method.networks,
        }
    }
}

/// One attempt to log in, from before anything is looked at to its end.
struct Attempt<'a> {
    core: &'a Core,
    opened: &'a Opened,
    method: &'a Name,
    name: String,
    guessable: bool,
    source: Option<IpAddr>,
    now: UnixMillis,
}

impl<'a> Attempt<'a> {
    /// Begins, unless too many failed before. `typed` is the name that was given, if one was.
    fn begin<O: Operation>(
        core: &'a Core,
        opened: &'a Opened,
        approved: &Approved<O>,
        method: &'a Name,
        (typed, guessable): (&str, bool),
    ) -> Result<Self, Error> {
        let name = if typed.is_empty() { String::new() } else { format!("{method}\n{}", folded(typed)) };
        let (source, now) = (approved.source(), approved.now());
        let attempt = Self { core, opened, method, name, guessable, source, now };
        let asked = core.throttle.lock().ask(attempt.asking(), now);
        asked.map_err(|wait| {
            let text = "too many attempts failed: wait as `Retry-After` says, then try again";
            let details = Details::from([("method".to_owned(), method.to_string())]);
            Error::new(Code::TooManyAttempts, text).after(wait).leading_to(Aftermath { details, changes: Vec::new() })
        })?;
        Ok(attempt)
    }

    fn asking(&self) -> Asking<'_> {
        Asking { name: &self.name, source: self.source, guessable: self.guessable }
    }

    /// Ends: a token for what was proven, or the same answer as to everybody else.
    fn end(&self, terms: &Terms<'_>, judged: Result<Proven, Stop>) -> Result<Outcome<LoggedIn>, Error> {
        let opened = judged.and_then(|proven| self.open_session(terms, proven));
        match opened {
            Ok(outcome) => {
                self.core.throttle.lock().passed(self.asking());
                Ok(outcome)
            }
            Err(stop) => Err(self.refuse(stop)),
        }
    }

    /// The answer to whoever is not let in, with what the record tells.
    fn refuse(&self, stop: Stop) -> Error {
        let (reason, mut details) = match stop {
            Stop::Error(error) => {
                self.core.throttle.lock().gave_up(self.asking());
                return error;
            }
            Stop::Doubt(reason, details) => (reason, details),
        };
        let alarm = self.core.throttle.lock().failed(self.asking(), self.now);
        details.insert("method".to_owned(), self.method.to_string());
        details.insert("login_refused".to_owned(), reason.to_owned());
        let mut changes = Vec::new();
        if alarm.is_raised() {
            details.insert("alarm".to_owned(), "access.failures".to_owned());
            // Names and addresses are cheap to make up: one notice for all of them, or nobody reads any.
            let alarms = self.core.throttle.lock().tell(self.method.as_str(), self.now);
            // Without a channel, or without an id for the notice, the record tells it alone.
            let told = alarms.map(|alarms| self.core.notice(self.opened, &self.telling(alarms), None, self.now));
            changes = told.and_then(Result::ok).unwrap_or_default();
        }
        // One text for every reason: nobody learns which names, credentials or rules exist.
        let text = "this login was not accepted: the audit log tells an administrator why";
        Error::new(Code::Unauthenticated, text).leading_to(Aftermath { details, changes })
    }

    fn telling(&self, alarms: u32) -> Telling {
        let source = self.source.map(|source| source.to_string()).unwrap_or_default();
        let facts = NoticeFacts::default().with("method", self.method).with("source", source).with("alarms", alarms);
        let subject = "more than 3 logins failed in 5 minutes with one name or from one address";
        Telling::new(NoticeKind::AccessFailures, subject, facts)
    }

    fn open_session(&self, terms: &Terms<'_>, proven: Proven) -> Result<Outcome<LoggedIn>, Stop> {
        let (core, now) = (self.core, self.now);
        let Proven { bound, subject, credential, until, mfa, mut changes, mut details } = proven;
        details.insert("binding".to_owned(), bound.binding.to_string());
        details.insert("grantee".to_owned(), bound.principal.to_string());
        let doubt = |reason: Reason| Stop::Doubt(reason, details.clone());
        let mut effects = Vec::new();
        match self.opened.access().principal(&bound.principal) {
            Some(holder) => {
                // A token of a platform must not become a person, who counts where people are asked, nor the other way.
                if terms.kind.is_some_and(|kind| kind != holder.record.kind) {
                    return Err(doubt("other-kind-of-principal"));
                }
                holder.admit(self.source).map_err(|reason| doubt(reason.name()))?;
            }
            None => {
                let kind = terms.provision.ok_or_else(|| doubt("principal-missing"))?;
                if RESERVED.contains(&bound.principal.as_str()) {
                    return Err(doubt("reserved-name"));
                }
                let record = new_principal(&bound.principal, kind, now);
                changes.push(Change::PutPrincipal(principal_row(&*self.opened.keys, &record, Revision::FIRST)));
                effects.push(Effect::Reload(Stale::principal(bound.principal.clone())));
                details.insert("provisioned".to_owned(), kind.name().to_owned());
            }
        }
        let doubt = |reason: Reason| Stop::Doubt(reason, details.clone());
        let networks = intersection(terms.networks, &bound.networks).ok_or_else(|| doubt("other-network"))?;
        if !reaches(&networks, self.source) {
            return Err(doubt("other-network"));
        }
        let capped = |end: UnixMillis| until.map_or(end, |until| end.min(until));
        let expires = capped(now.plus(Duration::from_secs(terms.ttl_s.into())));
        let session = Session {
            login: terms.login.clone(),
            edition: terms.edition,
            subject_sha256: subject.map(|subject| subject_hash(&subject)).unwrap_or_default(),
            credential,
            roles: bound.roles.clone(),
            authenticated: now,
            mfa,
            renew_until: capped(now.plus(Duration::from_secs(terms.renew_s.into()).min(SESSION_MAX))),
            ttl_seconds: terms.ttl_s,
        };
        let token = NewToken {
            principal: &bound.principal,
            description: &Label::default(),
            created_by: &bound.principal,
            life: (now, expires),
            networks: &networks,
            session: Some(session.clone()),
        };
        let (issued, change) = issue(core, &*self.opened.keys, token)?;
        changes.push(change);
        Ok(self.outcome((issued, session), (changes, effects), details))
    }

    fn outcome(
        &self,
        (issued, session): (Issued, Session),
        (changes, effects): (Vec<Change>, Vec<Effect>),
        details: Details,
    ) -> Outcome<LoggedIn> {
        let (token, expires) = (issued.record.id, issued.record.expires);
        let renew_until = Some(session.renew_until).filter(|until| *until > expires);
        let mfa = session.mfa.is_some();
        let mut outcome = Outcome::reply(LoggedIn { issued, roles: session.roles, renew_until, mfa })
            .detail("method", self.method)
            .detail("token", token)
            .detail("expires", expires);
        if !session.subject_sha256.is_empty() {
            outcome = outcome.detail("subject_sha256", session.subject_sha256);
        }
        if let Some(proof) = session.mfa {
            outcome = outcome.detail("mfa", proof.kind.name());
        }
        outcome = details.into_iter().fold(outcome, |outcome, (name, value)| outcome.detail(&name, value));
        outcome = changes.into_iter().fold(outcome, Outcome::changing);
        effects.into_iter().fold(outcome, Outcome::then)
    }
}

/// A name as a directory compares it (RFC 4518: without regard to case and spaces), so that no other spelling of it has
/// attempts of its own.
fn folded(typed: &str) -> String {
    typed.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect()
}

/// A method that somebody may log in with. One that is switched off is as one that is not there.
fn usable_method(opened: &Opened, name: &Name) -> Result<Arc<HeldMethod>, Error> {
    let held = opened.access().logins().get(name).filter(|held| !held.record.disabled);
    held.ok_or_else(|| Error::not_found("login method"))
}

fn new_principal(name: &Name, kind: PrincipalKind, now: UnixMillis) -> PrincipalRecord {
    PrincipalRecord {
        name: name.clone(),
        kind,
        roles: BTreeSet::new(),
        labels: BTreeMap::new(),
        networks: BTreeSet::new(),
        certificates: BTreeSet::new(),
        disabled: false,
        created: now,
        person: None,
    }
}

/// Who it is, as the other side names it, in a form that tells nobody the name.
fn subject_hash(subject: &(String, String)) -> String {
    hex::encode(subject_digest(subject))
}

fn subject_digest((issuer, subject): &(String, String)) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [issuer, subject] {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finish()
}

/// The networks that are in both lists; an empty list is all. None when the two have nothing in common.
fn intersection(one: &BTreeSet<String>, other: &BTreeSet<String>) -> Option<BTreeSet<String>> {
    if one.is_empty() || other.is_empty() {
        return Some(one.union(other).cloned().collect());
    }
    let parse = |texts: &BTreeSet<String>| -> Vec<Network> { texts.iter().filter_map(|t| t.parse().ok()).collect() };
    let others = parse(other);
    let pairs = parse(one).into_iter().flat_map(|a| others.iter().map(move |b| (a, *b)));
    let inner = |(a, b): (Network, Network)| {
        let (narrow, wide) = if a.prefix() >= b.prefix() { (a, b) } else { (b, a) };
        wide.contains(narrow.address()).then(|| narrow.to_string())
    };
    let both: BTreeSet<String> = pairs.filter_map(inner).collect();
    (!both.is_empty()).then_some(both)
}

/// Whether an address is in one of these networks; an unknown address is in none.
fn reaches(networks: &BTreeSet<String>, source: Option<IpAddr>) -> bool {
    let holds = |ip: IpAddr| networks.iter().any(|text| text.parse().is_ok_and(|net: Network| net.contains(ip)));
    networks.is_empty() || source.is_some_and(holds)
}

/// The name that stands for logging in with a service credential.
fn credential_login() -> Name {
    // Unwrap safety: a well-formed name.
    #[allow(clippy::expect_used)]
    CREDENTIAL.parse().expect("a well-formed name")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(values: &[&str]) -> BTreeSet<String> {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    #[test]
    fn networks_of_a_session_are_in_every_list() {
        let both = |one: &[&str], other: &[&str]| intersection(&set(one), &set(other));
        assert_eq!(both(&[], &[]), Some(set(&[])));
        assert_eq!(both(&["10.0.0.0/8"], &[]), Some(set(&["10.0.0.0/8"])));
        assert_eq!(both(&["10.0.0.0/8"], &["10.1.0.0/16", "192.0.2.0/24"]), Some(set(&["10.1.0.0/16"])));
        assert_eq!(both(&["10.1.0.0/16"], &["10.0.0.0/8"]), Some(set(&["10.1.0.0/16"])));
        assert_eq!(both(&["10.0.0.0/8"], &["10.0.0.0/16"]), Some(set(&["10.0.0.0/16"])));
        assert_eq!(both(&["10.0.0.0/8"], &["::/0"]), None);
        assert_eq!(both(&["10.0.0.0/16"], &["10.1.0.0/16"]), None);
    }

    #[test]
    fn an_unknown_address_is_in_no_network() {
        assert!(reaches(&set(&[]), None));
        assert!(!reaches(&set(&["0.0.0.0/0", "::/0"]), None));
        assert!(reaches(&set(&["10.0.0.0/8"]), Some("::ffff:10.0.0.1".parse().unwrap())));
    }

    #[test]
    fn parts_of_a_subject_cannot_be_shifted() {
        let hash = |issuer: &str, subject: &str| subject_hash(&(issuer.into(), subject.into()));
        assert_ne!(hash("ab", "c"), hash("a", "bc"));
        assert_eq!(hash("a", "b"), hash("a", "b"));
    }
}
