//! Bearer tokens: issued once, stored as hashes, expiring, revocable at once.

use keyreeve_crypto::digest::sha256;
use keyreeve_model::access::{MfaProof, Session};
use keyreeve_model::change::TokenRow;
use keyreeve_model::metadata::Label;
use keyreeve_model::record::{RecordSealer, Revision, Table, seal};
use keyreeve_model::{Change, Name, TokenId, TokenRecord, UnixMillis};
use keyreeve_secret::SecretString;
use keyreeve_store::Page;
use std::collections::BTreeSet;

use super::forms::{TokenForm, written};
use super::principals::check_networks;
use super::{Listing, PAGE_MAX};
use crate::access::HeldToken;
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::pipeline::{Approved, Operation, Outcome, Permit, Remember, Target, join_token};
use crate::sealing::Opened;

/// The longest life of a token (days).
pub const TOKEN_DAYS_MAX: u32 = 366;

/// A token as it was issued: the only time its secret is known.
#[derive(Debug)]
pub struct Issued {
    /// What is stored about it.
    pub record: TokenRecord,
    /// The whole token, for the bearer.
    pub token: SecretString,
}

impl Remember for Issued {}

/// What a fresh token shall be.
pub(crate) struct NewToken<'a> {
    /// Whom it proves.
    pub(crate) principal: &'a Name,
    /// What it is for.
    pub(crate) description: &'a Label,
    /// By whom it is made.
    pub(crate) created_by: &'a Name,
    /// When it is made, and when it ends.
    pub(crate) life: (UnixMillis, UnixMillis),
    /// Networks it is good from; empty means any.
    pub(crate) networks: &'a BTreeSet<String>,
    /// The login it comes from.
    pub(crate) session: Option<Session>,
}

/// A fresh token and its row.
pub(crate) fn issue(core: &Core, keys: &dyn RecordSealer, new: NewToken<'_>) -> Result<(Issued, Change), Error> {
    let (now, expires) = new.life;
    let id = TokenId::new(now, core.id_random()?);
    let secret = core.ports.random.secret_array::<32>()?;
    let text = SecretString::from(hex::encode(secret.expose()));
    let record = TokenRecord {
        id,
        secret_sha256: hex::encode(sha256(text.expose().as_bytes())),
        principal: new.principal.clone(),
        description: new.description.clone(),
        created: now,
        created_by: new.created_by.clone(),
        expires,
        revoked: None,
        networks: new.networks.clone(),
        session: new.session,
    };
    let change = Change::PutToken(token_row(keys, &record, Revision::FIRST));
    Ok((Issued { record, token: join_token(id, &text) }, change))
}

/// The row of a token that is revoked.
pub(crate) fn revoked_row(keys: &dyn RecordSealer, held: &HeldToken, now: UnixMillis) -> TokenRow {
    let record = TokenRecord { revoked: Some(now), ..held.record.clone() };
    token_row(keys, &record, held.revision.next())
}

pub(super) fn token_row(keys: &dyn RecordSealer, record: &TokenRecord, revision: Revision) -> TokenRow {
    TokenRow {
        id: record.id,
        principal: record.principal.clone(),
        expires: record.expires,
        record: seal(keys, Table::Tokens, record.id.as_bytes(), revision, record),
    }
}

impl Core {
    /// Every token of these principals, ended ones too. Goes through all tokens: no caller is in a hurry.
    pub(crate) async fn tokens_of(&self, opened: &Opened, whose: &BTreeSet<&Name>) -> Result<Vec<HeldToken>, Error> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let rows = self.ports.store.tokens(Page { after, limit: PAGE_MAX }).await?;
            for row in rows.iter().filter(|row| whose.contains(&row.principal)) {
                found.push(HeldToken::open(&opened.keys, row)?);
            }
            after = rows.last().filter(|_| rows.len() == PAGE_MAX as usize).map(|row| row.id);
            if after.is_none() {
                return Ok(found);
            }
        }
    }
}

/// What writes a second factor's proof into a token, or takes it out. A token that somebody issued gets a session for
/// it, which lasts as long as the token.
pub(super) fn proved(keys: &dyn RecordSealer, held: &HeldToken, proof: Option<MfaProof>) -> Change {
    let mut record = held.record.clone();
    let session = record.session.take().unwrap_or_else(|| Session::issued(record.created, record.expires));
    record.session = Some(Session { mfa: proof, ..session });
    Change::PutToken(token_row(keys, &record, held.revision.next()))
}

/// Issues a token for a principal.
#[derive(Debug)]
pub struct Create {
    /// Whom it proves.
    pub principal: Name,
    /// How long it lasts, in seconds: 60 s to 366 days.
    pub seconds: u64,
    /// What it is for.
    pub description: Label,
    /// Networks it is good from (CIDR), besides those of the principal; empty means any.
    pub networks: BTreeSet<String>,
}

impl Operation for Create {
    const DESCRIPTOR: &'static Descriptor = &catalogue::TOKEN_CREATE;
    type Reply = Issued;

    fn target(&self) -> Target<'_> {
        Target::NewToken(&self.principal)
    }

    fn form(&self) -> Option<serde_json::Value> {
        written(&TokenForm {
            seconds: self.seconds,
            description: self.description.clone(),
            networks: self.networks.clone(),
        })
    }

    /// Whoever has a token can have another, but for a login: what is made in it outlives it and knows none of its
    /// bounds.
    fn widens(&self, permit: &Permit<Self>, _core: &Core) -> Result<bool, Error> {
        Ok(permit.asker() != &self.principal || permit.logged_in())
    }

    async fn replaces(&self, core: &Core) -> Result<Option<i64>, Error> {
        core.principal_as_it_is(&self.principal).await
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Issued>, Error> {
        if !(60..=u64::from(TOKEN_DAYS_MAX) * 86_400).contains(&self.seconds) {
            return Err(Error::invalid("a token lasts 60 seconds to 366 days"));
        }
        check_networks(&self.networks)?;
        let opened = core.need_open()?;
        if opened.access().principal(&self.principal).is_none() {
            return Err(Error::not_found("principal"));
        }
        let now = approved.now();
        let expires = now.plus(std::time::Duration::from_secs(self.seconds));
        let new = NewToken {
            principal: &self.principal,
            description: &self.description,
            created_by: &approved.principal().name,
            life: (now, expires),
            networks: &self.networks,
            session: None,
        };
        let (issued, change) = issue(core, &opened.keys, new)?;
        let resource = keyreeve_audit::Resource {
            kind: "token".to_owned(),
            id: issued.record.id.to_string(),
            version: None,
            keyring: None,
        };
        Ok(Outcome::reply(issued)
            .changing(change)
            .on(resource)
            .detail("grantee", &self.principal)
            .detail("networks", self.networks.iter().map(String::as_str).collect::<Vec<_>>().join(" "))
            .detail("expires", expires))
    }
}

/// Revokes a token at once.
#[derive(Debug)]
pub struct Revoke {
    /// The token.
    pub token: TokenId,
}

/// A token's record; no secret.
#[derive(Debug)]
pub struct TokenReply {
    /// The record.
    pub record: TokenRecord,
    /// Whether it proves anything now.
    pub valid: bool,
}

impl Remember for TokenReply {}

impl Operation for Revoke {
    const DESCRIPTOR: &'static Descriptor = &catalogue::TOKEN_REVOKE;
    type Reply = TokenReply;

    fn target(&self) -> Target<'_> {
        Target::Token(self.token)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<TokenReply>, Error> {
        let opened = core.need_open()?;
        let held = core.token(&opened, self.token).await?.ok_or_else(|| Error::not_found("token"))?;
        let mut record = held.record.clone();
        if record.revoked.is_some() {
            return Err(Error::new(Code::WrongState, "the token is revoked already"));
        }
        record.revoked = Some(approved.now());
        let row = token_row(&opened.keys, &record, held.revision.next());
        let principal = record.principal.clone();
        Ok(Outcome::reply(TokenReply { record, valid: false })
            .changing(Change::PutToken(row))
            .detail("grantee", principal))
    }
}

/// Lists tokens, by id.
#[derive(Debug)]
pub struct List {
    /// Only tokens after this one.
    pub after: Option<TokenId>,
    /// 1 to 1,000.
    pub limit: u32,
}

impl Operation for List {
    const DESCRIPTOR: &'static Descriptor = &catalogue::TOKEN_LIST;
    type Reply = Listing<TokenReply>;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Listing<TokenReply>>, Error> {
        let opened = core.need_open()?;
        let limit = self.limit.clamp(1, PAGE_MAX);
        let rows = core.ports.store.tokens(Page { after: self.after, limit }).await?;
        let next = rows.last().filter(|_| rows.len() == limit as usize).map(|row| row.id.to_string());
        let (access, mut items) = (opened.access(), Vec::new());
        let source = core.source(&opened, access.quarantined());
        for row in &rows {
            let place = (Table::Tokens, row.id.as_bytes().as_slice());
            let held = source.sound(place, HeldToken::open(&opened.keys, row))?;
            let show =
                |held: HeldToken| TokenReply { valid: held.record.is_valid(approved.now()), record: held.record };
            items.extend(held.map(show));
        }
        let (count, left_out) = (items.len(), rows.len() - items.len());
        Ok(Outcome::reply(Listing { items, next }).detail("listed", count).detail_if("left_out", left_out))
    }
}

/// Shows who the caller is.
#[derive(Debug)]
pub struct WhoAmI;

/// The caller as the server knows it.
#[derive(Debug)]
pub struct Identity {
    /// The principal.
    pub principal: Name,
    /// Its roles.
    pub roles: Vec<String>,
    /// How it proved itself: `token`, `mtls`.
    pub method: &'static str,
    /// The token it came with.
    pub token: Option<TokenId>,
    /// When that ends.
    pub expires: Option<UnixMillis>,
    /// The login that the token came from; none for one that somebody issued.
    pub login: Option<Name>,
}

impl Remember for Identity {}

impl Operation for WhoAmI {
    const DESCRIPTOR: &'static Descriptor = &catalogue::TOKEN_SELF;
    type Reply = Identity;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Identity>, Error> {
        let (principal, opened) = (approved.principal(), core.need_open()?);
        let expires = match principal.token {
            Some(id) => core.token(&opened, id).await?.map(|held| held.record.expires),
            None => None,
        };
        let session = principal.session.as_ref().filter(|session| !session.is_issued());
        Ok(Outcome::reply(Identity {
            principal: principal.name.clone(),
            roles: principal.attrs.roles.clone(),
            method: principal.method.name(),
            token: principal.token,
            expires,
            login: session.map(|session| session.login.clone()),
        }))
    }
}
