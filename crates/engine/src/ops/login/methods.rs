//! Login methods: who is believed about whom.

use keyreeve_crypto::digest::sha256;
use keyreeve_identity::KeySet;
use keyreeve_model::filed::{FiledRecord, file, unfile};
use keyreeve_model::login::{Binding, JwtKeys, LoginMethod, MethodKind, Provision};
use keyreeve_model::record::Revision;
use keyreeve_model::{Name, UnixMillis};
use keyreeve_policy::Network;
use keyreeve_secret::SecretString;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

use super::super::Listing;
use crate::access::{NO_METHODS, Stale};
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::pipeline::{Approved, Operation, Outcome, Remember, Target};
use crate::sealing::{Effect, Opened};

/// The longest secret that a method shows to the other side, in bytes.
const SECRET_MAX: usize = 4096;

/// What a login method shall be. Its secret, where it has one, comes apart: [`SetSecret`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MethodSpec {
    /// Unique in the deployment.
    pub name: Name,
    /// Whom it believes, and how; without any secret.
    pub kind: MethodKind,
    /// Who is who; the first that fits counts.
    pub bindings: Vec<Binding>,
    /// What happens to somebody whom a binding names and the deployment does not know.
    pub provision: Provision,
    /// How long a token lasts, in seconds.
    pub ttl_s: u32,
    /// How long after the login it can be renewed, in seconds.
    pub renew_s: u32,
    /// Networks one may log in from (CIDR).
    pub networks: BTreeSet<String>,
    /// True when nobody can log in with it.
    pub disabled: bool,
}

/// A login method as administrators see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MethodReply {
    /// The record, without its secret.
    pub record: LoginMethod,
    /// Whether it has a secret to show to the other side.
    pub has_secret: bool,
}

impl MethodReply {
    fn of(record: &LoginMethod) -> Self {
        let mut record = record.clone();
        let has_secret = take_secret(&mut record.kind).is_some();
        Self { record, has_secret }
    }
}

impl Remember for MethodReply {
    fn remember(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(self).ok()
    }

    fn recall(stored: &[u8]) -> Option<Self> {
        serde_json::from_slice(stored).ok()
    }
}

/// Where a method keeps its secret; none where there is nothing to show.
fn secret_of(kind: &mut MethodKind) -> Option<(&mut Option<keyreeve_model::SealedField>, &'static str)> {
    match kind {
        MethodKind::Oidc(oidc) => Some((&mut oidc.client_secret, "client_secret")),
        MethodKind::Ldap(ldap) => Some((&mut ldap.bind_password, "bind_password")),
        MethodKind::Jwt(_) | MethodKind::Certificate(_) => None,
    }
}

fn take_secret(kind: &mut MethodKind) -> Option<keyreeve_model::SealedField> {
    secret_of(kind).and_then(|(place, _)| place.take())
}

/// Consent to replacing one version of a method is none to replacing another; 0 where there is none yet.
async fn revision_of(core: &Core, name: &Name) -> Result<Option<i64>, Error> {
    let found = core.filed::<LoginMethod>(&*core.need_open()?, name).await?;
    Ok(Some(found.map_or(0, |(_, revision)| revision.0)))
}

/// Refuses an address to come back to that a method of another provider has: what comes back there would not say who
/// answered, and a provider could have itself shown the code that another one gave (RFC 9700 section 4.4.2.2).
fn comes_back_alone(record: &LoginMethod, opened: &Opened) -> Result<(), Error> {
    let MethodKind::Oidc(own) = &record.kind else { return Ok(()) };
    for held in opened.access().logins().all() {
        let MethodKind::Oidc(other) = &held.record.kind else { continue };
        let shared = own.redirect_uris.intersection(&other.redirect_uris).next();
        if let Some(uri) = shared.filter(|_| held.record.name != record.name && own.issuer != other.issuer) {
            let name = &held.record.name;
            let text = format!("redirect_uris: {uri} is of `{name}` too, of another provider: give each its own");
            return Err(Error::invalid(text));
        }
    }
    Ok(())
}

/// Whether two kinds show their secret to the same other side: a secret never follows a method to another one.
fn same_place(one: &MethodKind, other: &MethodKind) -> bool {
    match (one, other) {
        (MethodKind::Oidc(one), MethodKind::Oidc(other)) => {
            (&one.issuer, &one.client_id, &one.ca_pem) == (&other.issuer, &other.client_id, &other.ca_pem)
        }
        (MethodKind::Ldap(one), MethodKind::Ldap(other)) => {
            let place = |ldap: &keyreeve_model::login::LdapMethod| {
                (ldap.url.clone(), ldap.starttls, ldap.bind_dn.clone(), ldap.ca_pem.clone())
            };
            place(one) == place(other)
        }
        _ => false,
    }
}

/// Makes a login method, or replaces it. Where it believes others than before, sessions that came from it end: nobody
/// could say of them whom the bindings of now would make of the evidence of then.
#[derive(Debug)]
pub struct Put {
    /// What it shall be.
    pub spec: MethodSpec,
}

impl Put {
    fn record(&self, core: &Core, now: UnixMillis, by: &Name) -> Result<LoginMethod, Error> {
        let spec = self.spec.clone();
        let record = LoginMethod {
            name: spec.name,
            kind: spec.kind,
            bindings: spec.bindings,
            provision: spec.provision,
            ttl_s: spec.ttl_s,
            renew_s: spec.renew_s,
            networks: spec.networks,
            disabled: spec.disabled,
            edition: 0,
            created: now,
            updated: now,
            updated_by: by.clone(),
        };
        if NO_METHODS.contains(&record.name.as_str()) {
            return Err(Error::invalid("this name stands for sessions without a login method: choose another"));
        }
        record.check(core.settings.development).map_err(|error| Error::invalid(error.to_string()))?;
        let roles = || record.bindings.iter().flat_map(|one| one.roles.iter().chain(one.role_from_group.values()));
        let agrees = |role: &&Name| keyreeve_policy::shipped::GOVERNANCE_ROLES.contains(&role.as_str());
        if let (MethodKind::Jwt(_), Some(role)) = (&record.kind, roles().find(agrees)) {
            let text = format!("`{role}` is a role of people, and workloads log in this way: take it out");
            return Err(Error::invalid(text));
        }
        if take_secret(&mut record.kind.clone()).is_some() {
            return Err(Error::invalid("a method's secret comes apart from it"));
        }
        let networks = record.networks.iter().chain(record.bindings.iter().flat_map(|binding| &binding.networks));
        if let Some(error) = networks.into_iter().find_map(|text| text.parse::<Network>().err()) {
            return Err(Error::invalid(error.to_string()));
        }
        if let MethodKind::Jwt(jwt) = &record.kind
            && let JwtKeys::Static(text) = &jwt.keys
        {
            check_keys(text)?;
        }
        Ok(record)
    }
}

/// Keys that somebody wrote down are all meant to be used; those of an issuer may be of kinds that we skip.
fn check_keys(text: &str) -> Result<(), Error> {
    let keys = KeySet::parse(text.as_bytes()).map_err(|error| Error::invalid(format!("keys: {error}")))?;
    if keys.is_empty() || keys.skipped() > 0 {
        let text =
            "keys: a set of public keys for RS256 to RS512, PS256 to PS512, ES256, ES384 or EdDSA, and no others";
        return Err(Error::invalid(text));
    }
    Ok(())
}

impl Operation for Put {
    const DESCRIPTOR: &'static Descriptor = &catalogue::LOGIN_METHOD_PUT;
    type Reply = MethodReply;

    fn target(&self) -> Target<'_> {
        Target::NewLogin(&self.spec.name, self.spec.kind.name())
    }

    fn form(&self) -> Option<serde_json::Value> {
        serde_json::to_value(&self.spec).ok()
    }

    async fn replaces(&self, core: &Core) -> Result<Option<i64>, Error> {
        revision_of(core, &self.spec.name).await
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<MethodReply>, Error> {
        let opened = core.need_open()?;
        let mut record = self.record(core, approved.now(), &approved.principal().name)?;
        comes_back_alone(&record, &opened)?;
        let known = core.filed::<LoginMethod>(&opened, &record.name).await?;
        let mut revision = Revision::FIRST;
        let (mut secret, mut sessions) = ("none", "none");
        if let Some((before, at)) = known {
            if before.kind.name() != record.kind.name() {
                let text = format!("this is a method of the kind {}: remove it first", before.kind.name());
                return Err(Error::new(Code::WrongState, text));
            }
            (revision, record.created) = (at.next(), before.created);
            let mut kind = before.kind.clone();
            let kept = take_secret(&mut kind);
            let others =
                (&kind, &before.bindings, &before.networks) != (&record.kind, &record.bindings, &record.networks);
            record.edition = before.edition.wrapping_add(u32::from(others));
            sessions = if others { "ended" } else { "kept" };
            if let Some(sealed) = kept {
                secret = "dropped";
                if same_place(&kind, &record.kind)
                    && let Some((place, _)) = secret_of(&mut record.kind)
                {
                    *place = Some(sealed);
                    secret = "kept";
                }
            }
        }
        let digest = sha256(&serde_json::to_vec(&self.spec).map_err(Error::internal)?);
        let change = file(&*opened.keys, revision, &record);
        Ok(Outcome::reply(MethodReply::of(&record))
            .changing(change)
            .detail("kind", record.kind.name())
            .detail("sha256", hex::encode(digest))
            .detail("secret", secret)
            .detail("sessions", sessions)
            .detail("disabled", record.disabled)
            .then(Effect::Reload(Stale::logins())))
    }
}

/// Sets the secret that a method shows to the other side: a client secret, or the password of a search account.
#[derive(Debug)]
pub struct SetSecret {
    /// The method.
    pub method: Name,
    /// The secret; none takes it away.
    pub secret: Option<SecretString>,
}

impl Operation for SetSecret {
    const DESCRIPTOR: &'static Descriptor = &catalogue::LOGIN_METHOD_SET_SECRET;
    type Reply = MethodReply;

    fn target(&self) -> Target<'_> {
        Target::Login(&self.method)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<MethodReply>, Error> {
        let opened = core.need_open()?;
        let found = core.filed::<LoginMethod>(&opened, &self.method).await?;
        let (mut record, revision) = found.ok_or_else(|| Error::not_found("login method"))?;
        if self.secret.as_ref().is_some_and(|secret| secret.is_empty() || secret.len() > SECRET_MAX) {
            return Err(Error::invalid(format!("a secret has 1 to {SECRET_MAX} bytes")));
        }
        let (place, field) = secret_of(&mut record.kind)
            .ok_or_else(|| Error::new(Code::WrongState, "methods of this kind have no secret to show"))?;
        let sealed = match &self.secret {
            Some(secret) => {
                let stands = (LoginMethod::TABLE, self.method.as_str().as_bytes(), field);
                Some(opened.keys.seal_field(&core.ports.random, stands, secret.expose().as_bytes())?)
            }
            None => None,
        };
        *place = sealed;
        record.check(core.settings.development).map_err(|error| Error::invalid(error.to_string()))?;
        (record.updated, record.updated_by) = (approved.now(), approved.principal().name.clone());
        let change = file(&*opened.keys, revision.next(), &record);
        let what = if self.secret.is_some() { "set" } else { "removed" };
        Ok(Outcome::reply(MethodReply::of(&record))
            .changing(change)
            .detail("secret", what)
            .then(Effect::Reload(Stale::logins())))
    }
}

/// Lists login methods.
#[derive(Debug)]
pub struct List;

impl Operation for List {
    const DESCRIPTOR: &'static Descriptor = &catalogue::LOGIN_METHOD_LIST;
    type Reply = Listing<MethodReply>;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, _approved: &Approved<Self>, core: &Core) -> Result<Outcome<Self::Reply>, Error> {
        let opened = core.need_open()?;
        let items: Vec<_> = opened.access().logins().all().iter().map(|held| MethodReply::of(&held.record)).collect();
        let count = items.len();
        Ok(Outcome::reply(Listing { items, next: None }).detail("listed", count))
    }
}

/// Shows a login method.
#[derive(Debug)]
pub struct Describe {
    /// Its name.
    pub method: Name,
}

impl Operation for Describe {
    const DESCRIPTOR: &'static Descriptor = &catalogue::LOGIN_METHOD_DESCRIBE;
    type Reply = MethodReply;

    fn target(&self) -> Target<'_> {
        Target::Login(&self.method)
    }

    async fn execute(&self, _approved: &Approved<Self>, core: &Core) -> Result<Outcome<MethodReply>, Error> {
        let opened = core.need_open()?;
        let held = opened.access().logins().get(&self.method).ok_or_else(|| Error::not_found("login method"))?;
        Ok(Outcome::reply(MethodReply::of(&held.record)))
    }
}

/// Removes a login method; the tokens that came from it end with it.
#[derive(Debug)]
pub struct Delete {
    /// Its name.
    pub method: Name,
}

impl Operation for Delete {
    const DESCRIPTOR: &'static Descriptor = &catalogue::LOGIN_METHOD_DELETE;
    type Reply = ();

    fn target(&self) -> Target<'_> {
        Target::Login(&self.method)
    }

    fn form(&self) -> Option<serde_json::Value> {
        // Which one stands in the target.
        Some(serde_json::json!({}))
    }

    async fn replaces(&self, core: &Core) -> Result<Option<i64>, Error> {
        revision_of(core, &self.method).await
    }

    async fn execute(&self, _approved: &Approved<Self>, core: &Core) -> Result<Outcome<()>, Error> {
        let opened = core.need_open()?;
        let found = core.filed::<LoginMethod>(&opened, &self.method).await?;
        let (record, revision) = found.ok_or_else(|| Error::not_found("login method"))?;
        Ok(Outcome::reply(())
            .changing(unfile(revision, &record))
            .detail("kind", record.kind.name())
            .then(Effect::Reload(Stale::logins())))
    }
}

/// Shows everybody how one can log in.
#[derive(Debug)]
pub struct Offered;

/// A way to log in, as everybody sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedMethod {
    /// Its name.
    pub name: Name,
    /// `oidc`, `jwt`, `ldap` or `certificate`.
    pub kind: &'static str,
    /// Where a provider may send people back to, besides loopback addresses: for pages of this server that offer only
    /// what works there.
    pub returns_to: BTreeSet<String>,
}

impl Remember for Vec<OfferedMethod> {}

impl Operation for Offered {
    const DESCRIPTOR: &'static Descriptor = &catalogue::LOGIN_METHODS;
    const OF_STRANGERS: bool = true;
    type Reply = Vec<OfferedMethod>;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, _approved: &Approved<Self>, core: &Core) -> Result<Outcome<Self::Reply>, Error> {
        let opened = core.need_open()?;
        let all = opened.access().logins().all();
        let open = all.iter().filter(|held| !held.record.disabled);
        let offered = |record: &LoginMethod| OfferedMethod {
            name: record.name.clone(),
            kind: record.kind.name(),
            returns_to: match &record.kind {
                MethodKind::Oidc(oidc) => oidc.redirect_uris.clone(),
                MethodKind::Jwt(_) | MethodKind::Ldap(_) | MethodKind::Certificate(_) => BTreeSet::new(),
            },
        };
        Ok(Outcome::reply(open.map(|held| offered(&held.record)).collect()))
    }
}
