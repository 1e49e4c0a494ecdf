//! Sessions: tokens that came from a login, and what their bearers do with them.

use keyreeve_model::login::ServiceCredential;
use keyreeve_model::record::Revision;
use keyreeve_model::{Change, TokenRecord, UnixMillis};
use std::sync::Arc;
use std::time::Duration;

use super::super::tokens::{TokenReply, token_row};
use crate::access::HeldToken;
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::pipeline::{Approved, Operation, Outcome, Target};
use crate::sealing::Opened;

/// The token that a caller came with.
async fn own<O: Operation>(core: &Core, opened: &Opened, approved: &Approved<O>) -> Result<Arc<HeldToken>, Error> {
    let none = || Error::new(Code::WrongState, "this is about the token of the request, which came without one");
    let id = approved.principal().token.ok_or_else(none)?;
    core.token(opened, id).await?.ok_or_else(|| Error::not_found("token"))
}

/// Lets the caller's token last longer, as long as its login allows.
#[derive(Debug)]
pub struct Renew;

/// The end of a token renewed at `now`.
fn renewed(record: &TokenRecord, now: UnixMillis) -> Result<UnixMillis, Error> {
    let no = |text| Err(Error::new(Code::WrongState, text));
    let Some(session) = &record.session else {
        return no("only tokens of a login are renewed: this one was issued, and ends when it was said to");
    };
    let wanted = now.plus(Duration::from_secs(session.ttl_seconds.into()));
    let expires = wanted.min(session.renew_until);
    if expires <= record.expires {
        return no("this session cannot be renewed any further: log in again");
    }
    Ok(expires)
}

impl Operation for Renew {
    const DESCRIPTOR: &'static Descriptor = &catalogue::TOKEN_RENEW;
    type Reply = TokenReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<TokenReply>, Error> {
        let opened = core.need_open()?;
        let held = own(core, &opened, approved).await?;
        if let Some(id) = held.record.session.as_ref().and_then(|session| session.credential) {
            let found = core.filed::<ServiceCredential>(&opened, id).await?;
            // One that was used up or ended gave this session all the same; one that was revoked keeps none alive.
            if found.is_none_or(|(credential, _)| credential.revoked.is_some()) {
                let text = "the credential of this session was revoked: it cannot be renewed";
                return Err(Error::new(Code::WrongState, text));
            }
        }
        let record = TokenRecord { expires: renewed(&held.record, approved.now())?, ..held.record.clone() };
        Ok(written(&opened, record, held.revision.next(), true))
    }
}

/// Ends the caller's token.
#[derive(Debug)]
pub struct RevokeSelf;

impl Operation for RevokeSelf {
    const DESCRIPTOR: &'static Descriptor = &catalogue::TOKEN_REVOKE_SELF;
    type Reply = TokenReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<TokenReply>, Error> {
        let opened = core.need_open()?;
        let held = own(core, &opened, approved).await?;
        let record = TokenRecord { revoked: Some(approved.now()), ..held.record.clone() };
        Ok(written(&opened, record, held.revision.next(), false))
    }
}

fn written(opened: &Opened, record: TokenRecord, revision: Revision, valid: bool) -> Outcome<TokenReply> {
    let row = token_row(&*opened.keys, &record, revision);
    let (token, expires) = (record.id, record.expires);
    Outcome::reply(TokenReply { record, valid })
        .changing(Change::PutToken(row))
        .detail("token", token)
        .detail("expires", expires)
}
