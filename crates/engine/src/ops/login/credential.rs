//! Service credentials: a secret by which a program logs in. It may be handed over wrapped, so that whoever opens it
//! has it, once, and a second try shows that somebody else had it on the way.

use keyreeve_crypto::digest::{Sha256, sha256};
use keyreeve_crypto::kdf::hkdf_sha256;
use keyreeve_crypto::{KeyAlgorithm, LoadedKey, Material, Purpose};
use keyreeve_identity::Outcome as Bound;
use keyreeve_model::filed::{FiledRecord, RowId, file};
use keyreeve_model::ids::CredentialId;
use keyreeve_model::login::{Digest, ServiceCredential, TTL_MAX_S, TTL_MIN_S, Wrapped};
use keyreeve_model::metadata::Label;
use keyreeve_model::record::Revision;
use keyreeve_model::{Change, Facts as NoticeFacts, Name, NoticeKind, PrincipalKind, SealedField, UnixMillis};
use keyreeve_policy::Network;
use keyreeve_secret::{SecretBytes, SecretString, ct_eq};
use keyreeve_store::Page;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

use super::super::tokens::revoked_row;
use super::super::{Listing, PAGE_MAX};
use super::{Attempt, Details, LoggedIn, Proven, Stop, Terms, credential_login};
use crate::access::HeldToken;
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::courier::Telling;
use crate::error::{Aftermath, Code, Error};
use crate::pipeline::{Approved, Operation, Outcome, Permit, Remember, Target};
use crate::sealing::Opened;

/// The text before a credential's id in its secret.
const SECRET_PREFIX: &str = "krs_";
/// The text before a wrapping token.
const WRAPPING_PREFIX: &str = "krw_";
/// Characters of 32 bytes in hexadecimal.
const SECRET_LEN: usize = 64;
/// The longest life of a credential (days).
pub const CREDENTIAL_DAYS_MAX: u64 = 366;
/// The longest time a wrapped secret waits (seconds).
pub const WRAP_SECONDS_MAX: u64 = 86_400;
/// Credentials of one principal (count).
const CREDENTIALS_MAX: u64 = 1000;
/// How often the time of use is written of a credential that can be used as often as wanted.
const USE_NOTED_MS: i64 = 3_600_000;
/// A credential's token can be renewed for as long as tokens last at most.
const RENEW_S: u32 = TTL_MAX_S;

/// What a new credential shall be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssueSpec {
    /// Whom it proves.
    pub principal: Name,
    /// What it is for.
    pub description: Label,
    /// How long it lasts, in seconds: 60 s to 366 days.
    pub seconds: u64,
    /// How often it can be used; none means as often as wanted.
    pub uses: Option<u32>,
    /// Networks it may be used from (CIDR); empty means any.
    pub networks: BTreeSet<String>,
    /// How long a token lasts that it gives, in seconds: 60 to 43,200.
    pub token_seconds: u32,
    /// Hand the secret over wrapped, to be opened within so many seconds.
    pub wrap_seconds: Option<u64>,
}

/// Issues a service credential.
#[derive(Debug)]
pub struct Issue {
    /// What it shall be.
    pub spec: IssueSpec,
}

/// A credential as it was issued: the only time its secret is known.
#[derive(Debug)]
pub struct IssuedCredential {
    /// What is stored about it.
    pub record: ServiceCredential,
    /// The secret, or what opens it.
    pub secret: HandedOver,
}

/// How a secret was handed over.
#[derive(Debug)]
pub enum HandedOver {
    /// As it is.
    Plain(SecretString),
    /// Wrapped: this token opens it once, until then.
    Wrapped(SecretString, UnixMillis),
}

impl Remember for IssuedCredential {}

impl IssueSpec {
    fn check(&self) -> Result<(), Error> {
        if !(60..=CREDENTIAL_DAYS_MAX * 86_400).contains(&self.seconds) {
            return Err(Error::invalid("a credential lasts 60 seconds to 366 days"));
        }
        if !(TTL_MIN_S..=TTL_MAX_S).contains(&self.token_seconds) {
            return Err(Error::invalid(format!("a token of a credential lasts {TTL_MIN_S} to {TTL_MAX_S} seconds")));
        }
        if self.uses == Some(0) {
            return Err(Error::invalid("a credential is for at least one use"));
        }
        if self.wrap_seconds.is_some_and(|seconds| !(10..=WRAP_SECONDS_MAX).contains(&seconds)) {
            return Err(Error::invalid(format!("a wrapped secret waits 10 to {WRAP_SECONDS_MAX} seconds")));
        }
        let bad = self.networks.iter().find_map(|text| text.parse::<Network>().err());
        bad.map_or(Ok(()), |error| Err(Error::invalid(error.to_string())))
    }

    fn record(&self, id: CredentialId, secret: &SecretString, by: &Name, now: UnixMillis) -> ServiceCredential {
        ServiceCredential {
            id,
            principal: self.principal.clone(),
            description: self.description.clone(),
            secret: Digest(sha256(secret.expose().as_bytes())),
            uses_left: self.uses,
            networks: self.networks.clone(),
            token_ttl_s: self.token_seconds,
            created: now,
            created_by: by.clone(),
            expires: now.plus(Duration::from_secs(self.seconds)),
            last_used: None,
            revoked: None,
        }
    }
}

impl Operation for Issue {
    const DESCRIPTOR: &'static Descriptor = &catalogue::CREDENTIAL_ISSUE;
    type Reply = IssuedCredential;

    fn target(&self) -> Target<'_> {
        Target::Principal(&self.spec.principal)
    }

    fn form(&self) -> Option<serde_json::Value> {
        serde_json::to_value(&self.spec).ok()
    }

    /// Whoever is somebody can have another way to be it, but for a login: what is made in it outlives it and knows
    /// none of its bounds.
    fn widens(&self, permit: &Permit<Self>, _core: &Core) -> Result<bool, Error> {
        Ok(permit.asker() != &self.spec.principal || permit.logged_in())
    }

    async fn replaces(&self, core: &Core) -> Result<Option<i64>, Error> {
        core.principal_as_it_is(&self.spec.principal).await
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<IssuedCredential>, Error> {
        self.spec.check()?;
        let opened = core.need_open()?;
        let holder = opened.access().principal(&self.spec.principal).ok_or_else(|| Error::not_found("principal"))?;
        if holder.record.kind != PrincipalKind::Service {
            let text = "a service credential lets in programs only, and this is a person: they log in with a method";
            return Err(Error::new(Code::WrongState, text));
        }
        let now = approved.now();
        if has_too_many(core, &opened, &self.spec.principal, now).await? {
            return Err(Error::new(Code::WrongState, "the principal has too many credentials: revoke some first"));
        }
        let id = CredentialId::new(now, core.id_random()?);
        let digits = SecretString::from(hex::encode(core.ports.random.secret_array::<32>()?.expose()));
        let secret = join(id, &digits);
        let record = self.spec.record(id, &digits, &approved.principal().name, now);
        let mut changes = vec![file(&*opened.keys, Revision::FIRST, &record)];
        let secret = match self.spec.wrap_seconds {
            None => HandedOver::Plain(secret),
            Some(seconds) => {
                let expires = now.plus(Duration::from_secs(seconds));
                let (token, wrapped) = wrap(core, id, &secret, expires)?;
                changes.push(file(&*opened.keys, Revision::FIRST, &wrapped));
                HandedOver::Wrapped(token, expires)
            }
        };
        let wrapped = matches!(secret, HandedOver::Wrapped(..));
        let uses = self.spec.uses.map_or_else(|| "unlimited".to_owned(), |uses| uses.to_string());
        let outcome = Outcome::reply(IssuedCredential { secret, record: record.clone() })
            .detail("credential", id)
            .detail("grantee", &record.principal)
            .detail("uses", uses)
            .detail("expires", record.expires)
            .detail("wrapped", wrapped);
        let networks = record.networks.into_iter().collect::<Vec<_>>().join(" ");
        let outcome = if networks.is_empty() { outcome } else { outcome.detail("networks", networks) };
        Ok(changes.into_iter().fold(outcome, Outcome::changing))
    }
}

/// Whether a principal has as many credentials as it may. What ended is listed for some days and does not count.
async fn has_too_many(core: &Core, opened: &Opened, principal: &Name, now: UnixMillis) -> Result<bool, Error> {
    if core.ports.store.filed_count(ServiceCredential::TABLE, principal.as_str()).await? < CREDENTIALS_MAX {
        return Ok(false);
    }
    let all = core.filed_all::<ServiceCredential>(opened, Some(principal.as_str())).await?;
    Ok(all.iter().filter(|(record, _)| record.is_valid(now)).count() as u64 >= CREDENTIALS_MAX)
}

/// What ends the tokens that a credential gave.
async fn end_tokens(
    core: &Core,
    opened: &Opened,
    (principal, credential): (&Name, CredentialId),
    now: UnixMillis,
) -> Result<Vec<Change>, Error> {
    let held = core.tokens_of(opened, &BTreeSet::from([principal])).await?;
    let is_of = |held: &&HeldToken| {
        let of = held.record.session.as_ref().and_then(|session| session.credential);
        of == Some(credential) && held.record.revoked.is_none() && held.record.expires > now
    };
    let ended = |held: &HeldToken| Change::PutToken(revoked_row(&*opened.keys, held, now));
    Ok(held.iter().filter(is_of).map(ended).collect())
}

/// Puts a secret together; the counterpart of [`split`].
fn join(id: CredentialId, digits: &SecretString) -> SecretString {
    let name = id.to_string();
    SecretString::from(format!("{SECRET_PREFIX}{}_{}", name.trim_start_matches(CredentialId::PREFIX), digits.expose()))
}

/// Splits `krs_<32 hex digits>_<64 hex digits>`.
fn split(text: &str) -> Option<(CredentialId, &str)> {
    let (id, secret) = text.strip_prefix(SECRET_PREFIX)?.split_once('_')?;
    let id = (id.len() == 32).then(|| format!("{}{id}", CredentialId::PREFIX).parse().ok())??;
    (secret.len() == SECRET_LEN).then_some((id, secret))
}

/// Logs in with a service credential.
#[derive(Debug)]
pub struct Login {
    /// Whom it is said to prove.
    pub principal: Name,
    /// The secret.
    pub secret: SecretString,
    login: Name,
}

impl Login {
    /// The operation.
    #[must_use]
    pub fn new(principal: Name, secret: SecretString) -> Self {
        Self { principal, secret, login: credential_login() }
    }

    async fn judge(&self, attempt: &Attempt<'_>) -> Result<(Proven, ServiceCredential), Stop> {
        let (id, secret) = split(self.secret.expose()).ok_or("malformed")?;
        let found = attempt.core.filed::<ServiceCredential>(attempt.opened, id).await?;
        // Compared with something also where there is nothing, so that both take the same steps.
        let known = found.as_ref().map_or([0; 32], |(record, _)| record.secret.0);
        let right = ct_eq(&sha256(secret.as_bytes()), &known);
        let (record, revision) = found.filter(|_| right).ok_or("wrong-secret")?;
        let details = Details::from([("credential".to_owned(), id.to_string())]);
        let doubt = |reason| Stop::Doubt(reason, details.clone());
        if record.principal != self.principal {
            return Err(doubt("other-principal"));
        }
        let holder = attempt.opened.access().principal(&record.principal).ok_or_else(|| doubt("principal-missing"))?;
        if record.created < holder.record.created {
            return Err(doubt("earlier-principal"));
        }
        let used = record.used(attempt.now).ok_or_else(|| doubt(spent(&record, attempt.now)))?;
        let mut changes = Vec::new();
        let noted = record.last_used.is_some_and(|at| attempt.now.since(at) < USE_NOTED_MS);
        if used.uses_left.is_some() || !noted {
            changes.push(file(&*attempt.opened.keys, revision.next(), &used));
        }
        let mut details = details;
        if let Some(left) = used.uses_left {
            details.insert("uses_left".to_owned(), left.to_string());
        }
        let bound = Bound {
            binding: self.login.clone(),
            principal: record.principal.clone(),
            roles: BTreeSet::new(),
            networks: BTreeSet::new(),
        };
        let proven = Proven { bound, subject: None, credential: Some(id), until: None, mfa: None, changes, details };
        Ok((proven, record))
    }
}

/// Why a credential does not count any more.
fn spent(record: &ServiceCredential, now: UnixMillis) -> &'static str {
    match record.revoked {
        Some(_) => "revoked",
        None if record.uses_left == Some(0) => "used-up",
        None if now < record.created => "not-yet-valid",
        None => "expired",
    }
}

impl Operation for Login {
    const DESCRIPTOR: &'static Descriptor = &catalogue::LOGIN_CREDENTIAL;
    const OF_STRANGERS: bool = true;
    const PROVES: bool = true;
    type Reply = LoggedIn;

    fn target(&self) -> Target<'_> {
        Target::Login(&self.login)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<LoggedIn>, Error> {
        let opened = core.need_open()?;
        let typed = (self.principal.as_str(), false);
        let attempt = Attempt::begin(core, &opened, approved, &self.login, typed)?;
        let (proven, record) = match self.judge(&attempt).await {
            Ok(judged) => judged,
            Err(stop) => return Err(attempt.refuse(stop)),
        };
        let terms = Terms {
            login: &self.login,
            edition: 0,
            kind: Some(PrincipalKind::Service),
            provision: None,
            ttl_s: record.token_ttl_s,
            renew_s: RENEW_S,
            networks: &record.networks,
        };
        attempt.end(&terms, Ok(proven))
    }
}

/// Lists a principal's credentials, by id.
#[derive(Debug)]
pub struct List {
    /// Whose.
    pub principal: Name,
    /// Only those after this one.
    pub after: Option<CredentialId>,
    /// 1 to 1,000.
    pub limit: u32,
}

/// A credential's record; no secret.
#[derive(Debug)]
pub struct CredentialReply {
    /// The record.
    pub record: ServiceCredential,
    /// Whether it proves anything now.
    pub valid: bool,
}

impl Remember for CredentialReply {}

impl Operation for List {
    const DESCRIPTOR: &'static Descriptor = &catalogue::CREDENTIAL_LIST;
    type Reply = Listing<CredentialReply>;

    fn target(&self) -> Target<'_> {
        Target::Principal(&self.principal)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Self::Reply>, Error> {
        let opened = core.need_open()?;
        let page = Page { after: self.after.map(RowId::from), limit: self.limit.clamp(1, PAGE_MAX) };
        let (rows, next) = core.filed_page::<ServiceCredential>(&opened, Some(self.principal.as_str()), page).await?;
        let next = next.and_then(|_| rows.last().map(|(record, _)| record.id.to_string()));
        let now = approved.now();
        let show = |(record, _): (ServiceCredential, Revision)| CredentialReply { valid: record.is_valid(now), record };
        let items: Vec<_> = rows.into_iter().map(show).collect();
        let count = items.len();
        Ok(Outcome::reply(Listing { items, next }).detail("listed", count))
    }
}

/// Revokes a credential: it gives no token any more, and those that it gave end.
#[derive(Debug)]
pub struct Revoke {
    /// Whose.
    pub principal: Name,
    /// Which.
    pub credential: CredentialId,
}

impl Operation for Revoke {
    const DESCRIPTOR: &'static Descriptor = &catalogue::CREDENTIAL_REVOKE;
    type Reply = CredentialReply;

    fn target(&self) -> Target<'_> {
        Target::Principal(&self.principal)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<CredentialReply>, Error> {
        let opened = core.need_open()?;
        let found = core.filed::<ServiceCredential>(&opened, self.credential).await?;
        let found = found.filter(|(record, _)| record.principal == self.principal);
        let (mut record, revision) = found.ok_or_else(|| Error::not_found("credential"))?;
        if record.revoked.is_some() {
            return Err(Error::new(Code::WrongState, "the credential is revoked already"));
        }
        record.revoked = Some(approved.now());
        let change = file(&*opened.keys, revision.next(), &record);
        let of = (&self.principal, self.credential);
        let ended = end_tokens(core, &opened, of, approved.now()).await?;
        let outcome = Outcome::reply(CredentialReply { record, valid: false })
            .changing(change)
            .detail("credential", self.credential)
            .detail("grantee", &self.principal)
            .detail("tokens", ended.len());
        Ok(ended.into_iter().fold(outcome, Outcome::changing))
    }
}

/// The row of a wrapped secret, and the key that opens it. Both come from the token alone, which the server does not
/// keep: what is stored can be opened by nobody else.
fn place(token: &str) -> Result<([u8; 32], LoadedKey), Error> {
    let mut hash = Sha256::new();
    hash.update(b"keyreeve/wrapped/1");
    hash.update(token.as_bytes());
    let key = hkdf_sha256::<32>(token.as_bytes(), &[], b"keyreeve/wrap/1")?;
    let material = Material::import(KeyAlgorithm::Xaes256Gcm, &SecretBytes::copy_from(key.expose()))?;
    Ok((hash.finish(), LoadedKey::load(&material, Purpose::Encrypt)?))
}

fn wrap(
    core: &Core,
    credential: CredentialId,
    secret: &SecretString,
    expires: UnixMillis,
) -> Result<(SecretString, Wrapped), Error> {
    let digits = SecretString::from(hex::encode(core.ports.random.secret_array::<32>()?.expose()));
    let token = SecretString::from(format!("{WRAPPING_PREFIX}{}", digits.expose()));
    let (row, key) = place(token.expose())?;
    let sealed = key.seal(&core.ports.random, &row, secret.expose().as_bytes())?;
    let sealed = Some(SealedField::new(sealed));
    Ok((token, Wrapped { token: Digest(row), credential, sealed, expires, opened: None }))
}

/// Opens a wrapped secret, once.
#[derive(Debug)]
pub struct Unwrap {
    /// The wrapping token.
    pub token: SecretString,
}

/// What was wrapped.
#[derive(Debug)]
pub struct Unwrapped {
    /// Which credential.
    pub credential: CredentialId,
    /// Whom it proves.
    pub principal: Name,
    /// Its secret.
    pub secret: SecretString,
}

impl Remember for Unwrapped {}

impl Unwrap {
    async fn judge(&self, attempt: &Attempt<'_>) -> Result<(Wrapped, Revision, Unwrapped), Stop> {
        let digits = self.token.expose().strip_prefix(WRAPPING_PREFIX).filter(|digits| digits.len() == SECRET_LEN);
        digits.ok_or("malformed")?;
        let (row, key) = place(self.token.expose())?;
        let found = attempt.core.filed::<Wrapped>(attempt.opened, RowId::from(row)).await?;
        let (wrapped, revision) = found.ok_or("unknown-wrapping")?;
        let details = Details::from([("credential".to_owned(), wrapped.credential.to_string())]);
        let doubt = |reason| Stop::Doubt(reason, details.clone());
        let Some(sealed) = wrapped.sealed.as_ref().filter(|_| wrapped.opened.is_none()) else {
            return Err(doubt(OPENED_BEFORE));
        };
        if attempt.now >= wrapped.expires {
            return Err(doubt("expired"));
        }
        let secret = key.open(&row, sealed.as_bytes()).map_err(|_| doubt("malformed"))?;
        let secret = SecretString::from_utf8(secret).map_err(|_| doubt("malformed"))?;
        let found = attempt.core.filed::<ServiceCredential>(attempt.opened, wrapped.credential).await?;
        let (record, _) = found.ok_or_else(|| doubt("unknown-credential"))?;
        let unwrapped = Unwrapped { credential: wrapped.credential, principal: record.principal, secret };
        Ok((wrapped, revision, unwrapped))
    }

    /// Somebody comes with a token that was used: one of the two is not whom it was meant for. Nobody may use the
    /// credential any more, and people are told.
    async fn theft(&self, attempt: &Attempt<'_>, details: &Details) -> Result<Aftermath, Error> {
        let mut details = details.clone();
        let mut changes = Vec::new();
        let id = details.get("credential").and_then(|text| text.parse::<CredentialId>().ok());
        if let Some(id) = id
            && let Some((mut record, revision)) = attempt.core.filed::<ServiceCredential>(attempt.opened, id).await?
        {
            let facts = NoticeFacts::default().with("credential", id).with("principal", &record.principal);
            let subject = format!("the secret of {id} was asked for twice: it is revoked, find out who had it");
            let telling = Telling::new(NoticeKind::CredentialReused, subject, facts);
            changes = attempt.core.notice(attempt.opened, &telling, None, attempt.now)?;
            if record.revoked.is_none() {
                record.revoked = Some(attempt.now);
                changes.push(file(&*attempt.opened.keys, revision.next(), &record));
                changes.extend(end_tokens(attempt.core, attempt.opened, (&record.principal, id), attempt.now).await?);
                details.insert("revoked".to_owned(), "true".to_owned());
            }
        }
        Ok(Aftermath { details, changes })
    }
}

/// The reason of a second unwrapping.
const OPENED_BEFORE: &str = "opened-before";

impl Operation for Unwrap {
    const DESCRIPTOR: &'static Descriptor = &catalogue::CREDENTIAL_UNWRAP;
    const OF_STRANGERS: bool = true;
    const PROVES: bool = true;
    type Reply = Unwrapped;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Unwrapped>, Error> {
        let opened = core.need_open()?;
        let login = credential_login();
        let attempt = Attempt::begin(core, &opened, approved, &login, ("", false))?;
        let (wrapped, revision, reply) = match self.judge(&attempt).await {
            Ok(judged) => judged,
            Err(Stop::Doubt(OPENED_BEFORE, details)) => {
                let aftermath = self.theft(&attempt, &details).await?;
                return Err(attempt.refuse(Stop::Doubt(OPENED_BEFORE, Details::new())).leading_to(aftermath));
            }
            Err(stop) => return Err(attempt.refuse(stop)),
        };
        let opened_now = Wrapped { sealed: None, opened: Some(approved.now()), ..wrapped };
        let change = file(&*opened.keys, revision.next(), &opened_now);
        let (credential, grantee) = (reply.credential, reply.principal.clone());
        Ok(Outcome::reply(reply).changing(change).detail("credential", credential).detail("grantee", grantee))
    }
}

/// The credential of this id, for tests of the forms of secrets.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_split_into_id_and_secret() {
        let id = CredentialId::new(UnixMillis(5), [3; 10]);
        let digits = "ab".repeat(32);
        let text = join(id, &SecretString::from(digits.clone()));
        assert_eq!(split(text.expose()), Some((id, digits.as_str())));
        for bad in ["", "krs_", "krs_zz_00", "krt_1", &text.expose()[..100]] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_wrapping_token_alone_names_the_row_and_the_key() {
        let (row, key) = place("krw_a").unwrap();
        let (other, wrong) = place("krw_b").unwrap();
        assert_ne!(row, other);
        let random = keyreeve_crypto::Random::from_module().unwrap();
        let sealed = key.seal(&random, &row, b"secret").unwrap();
        assert!(wrong.open(&row, &sealed).is_err());
        assert!(key.open(&other, &sealed).is_err());
        assert!(place("krw_a").unwrap().1.open(&row, &sealed).unwrap().ct_eq(b"secret"));
    }
}
