//! What people see and remove of their own factors, and what administrators do for others.

use keyreeve_crypto::digest::sha256;
use keyreeve_model::access::{MfaKind, PrincipalKind};
use keyreeve_model::filed::{file, unfile};
use keyreeve_model::ids::MfaId;
use keyreeve_model::mfa::{ChallengePurpose, INVITATION_MAX, MfaChallenge};
use keyreeve_model::record::Revision;
use keyreeve_model::{Change, Name, UnixMillis};
use keyreeve_secret::SecretString;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

use super::webauthn::relying;
use super::{FactorView, Factors, end_enrolments, factors, forget_all, has_factor, need_fresh, person};
use crate::access::HeldToken;
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::ops::tokens;
use crate::pipeline::{Approved, Operation, Outcome, Remember, Target};
use crate::sealing::Opened;

/// Shows the caller's own factors.
#[derive(Debug)]
pub struct Status;

/// What the caller has, and has shown.
#[derive(Debug)]
pub struct StatusReply {
    /// The factors.
    pub factors: Vec<FactorView>,
    /// The last proof that the token carries: how, and how many seconds ago.
    pub shown: Option<(MfaKind, u64)>,
    /// Whether authenticators can be registered here.
    pub authenticators: bool,
}

impl Remember for StatusReply {}

impl Operation for Status {
    const DESCRIPTOR: &'static Descriptor = &catalogue::MFA_STATUS;
    type Reply = StatusReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<StatusReply>, Error> {
        let (opened, now) = (core.need_open()?, approved.now());
        let principal = approved.principal();
        let known = factors(core, &opened, &principal.name).await?;
        let shown = principal.mfa().and_then(|proof| Some((proof.kind, proof.age_seconds(now)?)));
        let factors: Vec<FactorView> = known.iter().map(|(factor, _)| factor.into()).collect();
        let count = factors.len();
        let reply = StatusReply { factors, shown, authenticators: relying(core).is_ok() };
        Ok(Outcome::reply(reply).detail("listed", count))
    }
}

/// Removes one of the caller's own factors.
#[derive(Debug)]
pub struct Remove {
    /// Which.
    pub credential: MfaId,
}

impl Operation for Remove {
    const DESCRIPTOR: &'static Descriptor = &catalogue::MFA_REMOVE;
    type Reply = ();

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<()>, Error> {
        let (opened, now, owner) = (core.need_open()?, approved.now(), person(approved)?);
        let known = factors(core, &opened, &owner.name).await?;
        let found = known.iter().find(|(factor, _)| factor.id == self.credential);
        let (factor, revision) = found.ok_or_else(|| Error::not_found("second factor"))?;
        // What was never confirmed proves nothing: it may go like it came.
        if factor.confirmed.is_some() {
            need_fresh(owner, now)?;
        }
        let mut outcome = Outcome::reply(())
            .changing(unfile(*revision, factor))
            .detail("credential", self.credential)
            .detail("kind", factor.kind().name());
        if factor.is_usable() && factor.is_carried() {
            let rest: Factors = known.iter().filter(|(other, _)| other.id != self.credential).cloned().collect();
            let Some((stays, at)) = rest.iter().find(|(other, _)| other.is_usable() && other.is_carried()) else {
                let text = "this is the last one: enrol another first, or ask an operator (`keyreeve mfa reset`)";
                return Err(Error::new(Code::WrongState, text));
            };
            // What stays is written as it is: whoever removes it at the same time loses the race, and counts anew.
            outcome = outcome.changing(file(&opened.keys, at.next(), stays));
        }
        for change in forget_proofs(core, &opened, &owner.name, Some(self.credential)).await? {
            outcome = outcome.changing(change);
        }
        Ok(outcome)
    }
}

/// What takes proofs out of a person's tokens: those by one factor, or all.
async fn forget_proofs(
    core: &Core,
    opened: &Opened,
    principal: &Name,
    of: Option<MfaId>,
) -> Result<Vec<Change>, Error> {
    let held = core.tokens_of(opened, &BTreeSet::from([principal])).await?;
    let is_of = |held: &&HeldToken| {
        let proof = held.record.session.as_ref().and_then(|session| session.mfa.as_ref());
        proof.is_some_and(|proof| of.is_none() || proof.credential == of)
    };
    Ok(held.iter().filter(is_of).map(|held| tokens::proved(&*opened.keys, held, None)).collect())
}

/// The person, who must exist and be one.
fn known_person(opened: &Opened, name: &Name) -> Result<(), Error> {
    let held = opened.access().principal(name).ok_or_else(|| Error::not_found("principal"))?;
    match held.record.kind {
        PrincipalKind::Person => Ok(()),
        PrincipalKind::Service => Err(Error::new(Code::WrongState, "second factors are for people: this is a service")),
    }
}

/// Invites a person to enrol a first factor.
#[derive(Debug)]
pub struct Invite {
    /// Whom.
    pub principal: Name,
    /// For how long, in seconds: 5 minutes to 7 days.
    pub seconds: u64,
}

/// An invitation, shown this once.
#[derive(Debug)]
pub struct Invitation {
    /// The code, to be handed over on another way than the person's token.
    pub code: SecretString,
    /// Until when it is good.
    pub expires: UnixMillis,
}

impl Remember for Invitation {}

impl Operation for Invite {
    const DESCRIPTOR: &'static Descriptor = &catalogue::MFA_INVITE;
    type Reply = Invitation;

    fn target(&self) -> Target<'_> {
        Target::Principal(&self.principal)
    }

    /// It can wait, and always gives more than there was, also to oneself: with it and a token of the person one has a
    /// second factor of theirs.
    fn form(&self) -> Option<serde_json::Value> {
        Some(json!({ "principal": self.principal, "seconds": self.seconds }))
    }

    async fn replaces(&self, core: &Core) -> Result<Option<i64>, Error> {
        core.principal_as_it_is(&self.principal).await
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Invitation>, Error> {
        if !(300..=INVITATION_MAX.as_secs()).contains(&self.seconds) {
            return Err(Error::invalid("an invitation is good for 5 minutes to 7 days"));
        }
        let (opened, now) = (core.need_open()?, approved.now());
        known_person(&opened, &self.principal)?;
        if has_factor(&factors(core, &opened, &self.principal).await?) {
            let text = "this person has a second factor: they add others by themselves, or it is reset first";
            return Err(Error::new(Code::WrongState, text));
        }
        let secret = core.ports.random.secret_array::<20>()?;
        let code = SecretString::from(data_encoding::BASE32_NOPAD.encode(secret.expose()));
        let expires = now.plus(Duration::from_secs(self.seconds));
        let code_sha256 = hex::encode(sha256(code.expose().as_bytes()));
        let by = approved.principal().name.clone();
        let invited = MfaChallenge {
            id: MfaId::new(now, core.id_random()?),
            principal: self.principal.clone(),
            challenge: String::new(),
            purpose: ChallengePurpose::Invitation { code_sha256, by },
            begun_with: None,
            expires,
        };
        let mut outcome = Outcome::reply(Invitation { code, expires })
            .changing(file(&opened.keys, Revision::FIRST, &invited))
            .detail("grantee", &self.principal)
            .detail("expires", expires);
        for change in end_enrolments(core, &opened, &self.principal, None).await? {
            outcome = outcome.changing(change);
        }
        Ok(outcome)
    }
}

/// Removes all factors of a person who lost them. What the person's tokens prove goes with them.
#[derive(Debug)]
pub struct Reset {
    /// Whose.
    pub principal: Name,
}

impl Operation for Reset {
    const DESCRIPTOR: &'static Descriptor = &catalogue::MFA_RESET;
    type Reply = ();

    fn target(&self) -> Target<'_> {
        Target::Principal(&self.principal)
    }

    fn form(&self) -> Option<serde_json::Value> {
        Some(json!({ "principal": self.principal }))
    }

    async fn replaces(&self, core: &Core) -> Result<Option<i64>, Error> {
        let opened = core.need_open()?;
        Ok(Some(standing_for(&factors(core, &opened, &self.principal).await?)))
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<()>, Error> {
        let opened = core.need_open()?;
        if approved.principal().name == self.principal {
            return Err(Error::new(Code::WrongState, "nobody resets their own factors: ask another operator"));
        }
        known_person(&opened, &self.principal)?;
        let removed = factors(core, &opened, &self.principal).await?.len();
        let mut changes = forget_all(core, &opened, &self.principal).await?;
        changes.extend(forget_proofs(core, &opened, &self.principal, None).await?);
        let outcome = Outcome::reply(()).detail("grantee", &self.principal).detail("removed", removed);
        Ok(changes.into_iter().fold(outcome, Outcome::changing))
    }
}

/// A number that stands for which factors there are: consent to taking these away is none to taking others. It fits
/// into the 53 bits of a number in canonical JSON.
fn standing_for(factors: &Factors) -> i64 {
    let mut ids: Vec<String> = factors.iter().map(|(factor, _)| factor.id.to_string()).collect();
    ids.sort_unstable();
    let digest = sha256(ids.join(" ").as_bytes());
    digest.iter().take(6).fold(0, |number, byte| number << 8 | i64::from(*byte))
}

/// Shows the factors of a person.
#[derive(Debug)]
pub struct List {
    /// Whose.
    pub principal: Name,
}

impl Operation for List {
    const DESCRIPTOR: &'static Descriptor = &catalogue::MFA_LIST;
    type Reply = Vec<FactorView>;

    fn target(&self) -> Target<'_> {
        Target::Principal(&self.principal)
    }

    async fn execute(&self, _approved: &Approved<Self>, core: &Core) -> Result<Outcome<Vec<FactorView>>, Error> {
        let opened = core.need_open()?;
        known_person(&opened, &self.principal)?;
        let known = factors(core, &opened, &self.principal).await?;
        let views: Vec<FactorView> = known.iter().map(|(factor, _)| factor.into()).collect();
        let count = views.len();
        Ok(Outcome::reply(views).detail("grantee", &self.principal).detail("listed", count))
    }
}
