//! Second factors: enrolling them, showing them, and what administrators do when they are lost.
//!
//! A person's first factor needs an invitation, so that a stolen token alone cannot enrol one; further ones need a
//! fresh proof. The proof itself is kept in the token that it was shown with. Where nobody has a factor yet nobody
//! could have been invited: there, whoever manages principals enrols without.

mod admin;
mod recovery;
mod totp;
mod verify;
mod webauthn;

use keyreeve_crypto::digest::sha256;
use keyreeve_model::access::MfaKind;
use keyreeve_model::filed::unfile;
use keyreeve_model::ids::MfaId;
use keyreeve_model::mfa::{
    CHALLENGE_LIFE, ChallengePurpose, FACTORS_MAX, Factor, MfaChallenge, MfaCredential, MfaRefusal,
};
use keyreeve_model::record::Revision;
use keyreeve_model::{Change, Name, UnixMillis};
use keyreeve_policy::PrincipalKind;
use keyreeve_secret::{SecretString, ct_eq};

use crate::catalogue;
use crate::core::Core;
use crate::error::{Code, Error};
use crate::pipeline::{Approved, Operation, Principal, Remember};
use crate::sealing::Opened;

pub use admin::{Invitation, Invite, List, Remove, Reset, Status, StatusReply};
pub use recovery::{RecoveryCodes, RecoveryReply};
pub use totp::{TotpFinish, TotpStart, TotpStarted};
pub use verify::{Answer, Assertion, ChallengeFor, ChallengeReply, NewChallenge, ProofReply, Verify, vote_digest};
pub(crate) use verify::{Purpose, prove_mfa};
pub use webauthn::{WebAuthnFinish, WebAuthnStart, WebAuthnStarted};

/// How old a proof may be for altering one's own factors, in seconds.
const FRESH_SECONDS: u64 = 300;

/// Challenges of one person that wait for their answer, invitations included (count).
const CHALLENGES_MAX: usize = 64;

/// An answer to a question that can be got wrong, where getting it wrong is remembered.
#[derive(Debug)]
pub enum Answered<T> {
    /// Right.
    Right(T),
    /// Wrong: refused, and counted.
    Wrong(Error),
}

impl<T> Remember for Answered<T> {}

/// A factor as it is shown; no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactorView {
    /// Its name: `mfa_…`.
    pub id: MfaId,
    /// What it is.
    pub kind: MfaKind,
    /// What its owner calls it.
    pub label: String,
    /// When it was made.
    pub created: UnixMillis,
    /// Whether it proves anything.
    pub usable: bool,
    /// When it last did.
    pub last_used: Option<UnixMillis>,
    /// Recovery codes that are left.
    pub codes_left: Option<usize>,
    /// Whether an authenticator's credential is copied elsewhere.
    pub backed_up: Option<bool>,
}

impl From<&MfaCredential> for FactorView {
    fn from(credential: &MfaCredential) -> Self {
        let backed_up = match &credential.factor {
            Factor::Webauthn { backed_up, .. } => Some(*backed_up),
            Factor::Totp { .. } | Factor::Recovery { .. } => None,
        };
        Self {
            id: credential.id,
            kind: credential.kind(),
            label: credential.label.to_string(),
            created: credential.created,
            usable: credential.is_usable(),
            last_used: credential.last_used,
            codes_left: credential.codes_left(),
            backed_up,
        }
    }
}

impl Remember for Vec<FactorView> {}

impl From<MfaRefusal> for Error {
    fn from(refusal: MfaRefusal) -> Self {
        let code = match refusal {
            MfaRefusal::Confirmed | MfaRefusal::TooLate => Code::WrongState,
            MfaRefusal::Paused { .. } => Code::TooManyAttempts,
        };
        Self::new(code, refusal.to_string())
    }
}

/// A principal's factors and the revisions of their rows.
type Factors = Vec<(MfaCredential, Revision)>;

/// Everything the person has, what is not confirmed included. What somebody had who was called the same before is
/// nobody's.
async fn factors(core: &Core, opened: &Opened, principal: &Name) -> Result<Factors, Error> {
    let mut all = core.filed_all::<MfaCredential>(opened, Some(principal.as_str())).await?;
    let since = made(opened, principal);
    all.retain(|(factor, _)| since.is_some_and(|since| factor.created >= since));
    Ok(all)
}

/// When a principal was made; none where there is none.
fn made(opened: &Opened, principal: &Name) -> Option<UnixMillis> {
    opened.access().principal(principal).map(|holder| holder.record.created)
}

/// Whether there is something that the person carries and that works.
fn has_factor(factors: &Factors) -> bool {
    factors.iter().any(|(factor, _)| factor.is_usable() && factor.is_carried())
}

/// Whoever asks, who must be a person: services are bound by network and credential instead.
fn person<O: Operation>(approved: &Approved<O>) -> Result<&Principal, Error> {
    let principal = approved.principal();
    if principal.attrs.kind == PrincipalKind::Person {
        return Ok(principal);
    }
    let text = "second factors are for people: a service is bound by its networks and its credential";
    Err(Error::new(Code::WrongState, text))
}

/// Refuses unless the caller showed a second factor just now: one of the deployment's own, for whoever has the session
/// of an identity provider would otherwise add factors to it, and outlast the provider's.
pub(super) fn need_fresh(principal: &Principal, now: UnixMillis) -> Result<(), Error> {
    let own = principal.mfa().filter(|proof| proof.credential.is_some());
    let age = own.and_then(|proof| proof.age_seconds(now));
    if age.is_some_and(|age| age <= FRESH_SECONDS) {
        return Ok(());
    }
    let text = "this needs a second factor shown in the last 5 minutes";
    Err(Error::new(Code::MfaNeeded, text))
}

/// Whether the caller may enrol another factor. The first one needs an invitation; only where nobody has a factor yet,
/// whoever may invite needs none.
async fn may_enrol<O: Operation>(
    core: &Core,
    opened: &Opened,
    approved: &Approved<O>,
    invitation: Option<&SecretString>,
) -> Result<(), Error> {
    let (principal, now) = (person(approved)?, approved.now());
    let factors = factors(core, opened, &principal.name).await?;
    if factors.len() >= FACTORS_MAX {
        let text = format!("there are {FACTORS_MAX} factors already: remove one first");
        return Err(Error::new(Code::WrongState, text));
    }
    if has_factor(&factors) {
        return need_fresh(principal, now);
    }
    // Whoever lost everything but the codes on paper comes back with one of them.
    let on_paper = principal.mfa().is_some_and(|proof| proof.kind == MfaKind::Recovery);
    if on_paper && need_fresh(principal, now).is_ok() {
        return Ok(());
    }
    if let Some(code) = invitation {
        let offered = hex::encode(sha256(code.expose().trim().as_bytes()));
        let known = invitations(core, opened, &principal.name).await?;
        let fits = |invited: &MfaChallenge| match &invited.purpose {
            ChallengePurpose::Invitation { code_sha256, .. } => ct_eq(code_sha256.as_bytes(), offered.as_bytes()),
            ChallengePurpose::Enrol | ChallengePurpose::StepUp { .. } | ChallengePurpose::Vote { .. } => false,
        };
        if known.iter().any(|(invited, _)| invited.stands(now) && fits(invited)) {
            return Ok(());
        }
        return Err(Error::new(
            Code::MfaRefused,
            "the invitation is not good: ask for a new one (`keyreeve mfa invite`)",
        ));
    }
    if core.may_but_for_mfa(approved, &catalogue::PRINCIPAL_LIST)? && nobody_has_a_factor(core, opened).await? {
        return Ok(());
    }
    let text = "a first second factor needs an invitation: ask an operator for one (`keyreeve mfa invite`)";
    Err(Error::new(Code::WrongState, text))
}

/// A row that is damaged may be somebody's factor: then nobody comes in this way.
async fn nobody_has_a_factor(core: &Core, opened: &Opened) -> Result<bool, Error> {
    Ok(!has_factor(&core.filed_all::<MfaCredential>(opened, None).await?))
}

/// What was given out to a person and not answered, of whatever purpose; not what somebody was given who was called the
/// same before.
async fn challenges(core: &Core, opened: &Opened, principal: &Name) -> Result<Vec<(MfaChallenge, Revision)>, Error> {
    let mut all = core.filed_all::<MfaChallenge>(opened, Some(principal.as_str())).await?;
    let since = made(opened, principal);
    all.retain(|(given, _)| since.is_some_and(|since| born(given.id) >= since));
    Ok(all)
}

/// Refuses where too many challenges wait for their answer already.
async fn need_room(core: &Core, opened: &Opened, principal: &Name, now: UnixMillis) -> Result<(), Error> {
    let given = challenges(core, opened, principal).await?;
    if given.iter().filter(|(given, _)| given.stands(now)).count() >= CHALLENGES_MAX {
        let text = "too many challenges wait for their answer: answer one, or wait 5 minutes";
        return Err(Error::new(Code::TooManyAttempts, text).after(CHALLENGE_LIFE));
    }
    Ok(())
}

/// When a challenge was given out, as its name says (RFC 9562, section 5.7).
fn born(id: MfaId) -> UnixMillis {
    let stamp = id.as_bytes().iter().take(6).fold(0, |millis, byte| (millis << 8) | i64::from(*byte));
    UnixMillis(stamp)
}

async fn invitations(core: &Core, opened: &Opened, principal: &Name) -> Result<Vec<(MfaChallenge, Revision)>, Error> {
    let mut all = challenges(core, opened, principal).await?;
    all.retain(|(challenge, _)| matches!(challenge.purpose, ChallengePurpose::Invitation { .. }));
    Ok(all)
}

/// What ends every enrolment that a person has begun, and the invitations: one invitation enrols one factor, however
/// many were begun with it. `but` is what is being finished.
async fn end_enrolments(
    core: &Core,
    opened: &Opened,
    principal: &Name,
    but: Option<MfaId>,
) -> Result<Vec<Change>, Error> {
    let mut changes = Vec::new();
    for (given, revision) in challenges(core, opened, principal).await? {
        match given.purpose {
            ChallengePurpose::Enrol | ChallengePurpose::Invitation { .. } if Some(given.id) != but => {
                changes.push(unfile(revision, &given));
            }
            ChallengePurpose::Enrol
            | ChallengePurpose::Invitation { .. }
            | ChallengePurpose::StepUp { .. }
            | ChallengePurpose::Vote { .. } => {}
        }
    }
    for (factor, revision) in factors(core, opened, principal).await? {
        if factor.confirmed.is_none() && Some(factor.id) != but {
            changes.push(unfile(revision, &factor));
        }
    }
    Ok(changes)
}

/// What removes everything of second factors that stands under a name.
pub(super) async fn forget_all(core: &Core, opened: &Opened, principal: &Name) -> Result<Vec<Change>, Error> {
    let parent = Some(principal.as_str());
    let factors = core.filed_all::<MfaCredential>(opened, parent).await?;
    let given = core.filed_all::<MfaChallenge>(opened, parent).await?;
    let mut changes: Vec<Change> = factors.iter().map(|(factor, at)| unfile(*at, factor)).collect();
    changes.extend(given.iter().map(|(challenge, at)| unfile(*at, challenge)));
    Ok(changes)
}
