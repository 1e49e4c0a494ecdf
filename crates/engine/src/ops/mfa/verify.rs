//! Showing a second factor: a code, a code on paper, or an authenticator's signature over a challenge.

use data_encoding::BASE64URL_NOPAD;
use keyreeve_crypto::digest::sha256;
use keyreeve_crypto::mac::hmac_sha256;
use keyreeve_identity::webauthn::{self as authenticators, Known, WebAuthnError};
use keyreeve_identity::{recovery, totp};
use keyreeve_model::access::{MfaKind, MfaProof};
use keyreeve_model::filed::{file, unfile};
use keyreeve_model::ids::{ApprovalId, MfaId};
use keyreeve_model::mfa::{CHALLENGE_LIFE, ChallengePurpose, Factor, MfaChallenge, MfaCredential};
use keyreeve_model::notice::{Facts, NoticeKind};
use keyreeve_model::record::Revision;
use keyreeve_model::{Change, Name, TokenId, UnixMillis};
use keyreeve_secret::SecretString;

use super::totp::{hash, seed_of, used, wrong_code};
use super::webauthn::{credential_of, relying};
use super::{Answered, factors, need_room, person};
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::courier::Telling;
use crate::error::{Code, Error};
use crate::ops::tokens;
use crate::pipeline::{Approved, Operation, Outcome, Principal, Remember, Target};
use crate::sealing::Opened;

/// How somebody shows a second factor.
#[derive(Debug)]
pub enum Answer {
    /// A code by time, of one factor or of whichever fits.
    Code {
        /// The factor, where there are several.
        credential: Option<MfaId>,
        /// Six digits.
        code: SecretString,
    },
    /// A code on paper.
    Recovery {
        /// The code.
        code: SecretString,
    },
    /// An authenticator's signature.
    Assertion(Box<Assertion>),
}

/// What a browser answers to `navigator.credentials.get`.
#[derive(Debug)]
pub struct Assertion {
    /// The challenge that it answers.
    pub challenge: MfaId,
    /// The credential that it took.
    pub credential_id: Vec<u8>,
    /// `clientDataJSON`.
    pub client_data: Vec<u8>,
    /// `authenticatorData`.
    pub auth_data: Vec<u8>,
    /// `signature`.
    pub signature: Vec<u8>,
}

/// What a factor is shown for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To make a token's proof fresh.
    StepUp(TokenId),
    /// To vote: on what, and [`vote_digest`] of what was decided.
    Vote(ApprovalId, [u8; 32]),
}

impl Purpose {
    fn recorded(&self) -> ChallengePurpose {
        match self {
            Self::StepUp(token) => ChallengePurpose::StepUp { token: *token },
            Self::Vote(approval, digest) => ChallengePurpose::Vote { approval: *approval, digest: hex::encode(digest) },
        }
    }
}

/// What a vote is over: the digest of the request that was shown, and the decision (`approve`, `reject`).
#[must_use]
pub fn vote_digest(request: &[u8; 32], decision: &str) -> [u8; 32] {
    sha256(&[b"keyreeve/vote/1".as_slice(), request, decision.as_bytes()].concat())
}

/// What showing a factor came to.
pub(crate) struct Proved {
    /// The proof, and evidence of it that can be looked at later; or why it proves nothing.
    pub(crate) outcome: Result<(MfaProof, String), Error>,
    /// What it changes in either case.
    pub(crate) changes: Vec<Change>,
}

impl Proved {
    fn wrong(error: Error, changes: Vec<Change>) -> Self {
        Self { outcome: Err(error), changes }
    }
}

/// Looks at what a person shows. An error says that it could not be looked at; what is wrong with it is in the outcome,
/// with what has to be remembered of it.
pub(crate) async fn prove_mfa(
    core: &Core,
    opened: &Opened,
    principal: &Name,
    answer: &Answer,
    purpose: &Purpose,
    now: UnixMillis,
) -> Result<Proved, Error> {
    match answer {
        Answer::Code { credential, code } => {
            let mut known = factors(core, opened, principal).await?;
            known.retain(|(factor, _)| factor.is_usable() && credential.is_none_or(|wanted| wanted == factor.id));
            by_code(opened, &known, code, purpose, now)
        }
        Answer::Recovery { code } => {
            let known = factors(core, opened, principal).await?;
            on_paper(opened, &known, code, purpose, now)
        }
        Answer::Assertion(assertion) => by_signature(core, opened, principal, assertion, purpose, now).await,
    }
}

fn by_code(
    opened: &Opened,
    known: &[(MfaCredential, Revision)],
    code: &SecretString,
    purpose: &Purpose,
    now: UnixMillis,
) -> Result<Proved, Error> {
    let (mut tried, mut paused) = (Vec::new(), None);
    for (factor, revision) in known {
        let Some((seed, algorithm, last)) = seed_of(opened, factor)? else { continue };
        if let Err(refusal) = factor.admit(now) {
            paused = Some(refusal);
            continue;
        }
        if let Some(step) = totp::check(seed.expose(), hash(algorithm), code.expose(), last, now) {
            let evidence = match purpose {
                Purpose::StepUp(_) => String::new(),
                Purpose::Vote(_, digest) => code_evidence(seed.expose(), digest, step),
            };
            let changes = vec![file(&opened.keys, revision.next(), &factor.after_right(used(factor, step), now))];
            let proof = MfaProof { at: now, kind: MfaKind::Totp, credential: Some(factor.id) };
            return Ok(Proved { outcome: Ok((proof, evidence)), changes });
        }
        tried.push(file(&opened.keys, revision.next(), &factor.after_wrong(now)));
    }
    match (tried.is_empty(), paused) {
        (false, _) => Ok(Proved::wrong(wrong_code(), tried)),
        (true, Some(refusal)) => Err(refusal.into()),
        (true, None) => Err(none_enrolled()),
    }
}

/// Shows to the server alone, which has the seed, that a code was given for this and nothing else.
fn code_evidence(seed: &[u8], digest: &[u8; 32], step: u64) -> String {
    let key = hmac_sha256(seed, b"keyreeve/vote/1");
    let tag = hmac_sha256(&key, &[digest.as_slice(), &step.to_be_bytes()].concat());
    format!("totp:{step}:{}", hex::encode(tag))
}

fn on_paper(
    opened: &Opened,
    known: &[(MfaCredential, Revision)],
    code: &SecretString,
    purpose: &Purpose,
    now: UnixMillis,
) -> Result<Proved, Error> {
    if matches!(purpose, Purpose::Vote(..)) {
        return Err(Error::invalid("a recovery code does not vote: show the factor itself"));
    }
    for (factor, revision) in known.iter().filter(|(factor, _)| factor.is_usable()) {
        let Factor::Recovery { codes } = &factor.factor else { continue };
        factor.admit(now)?;
        let kept: Vec<Vec<u8>> = codes.iter().map(|code| hex::decode(code).unwrap_or_default()).collect();
        let offered = recovery::fingerprint(opened.keys.recovery_mac(), &factor.id.to_string(), code.expose());
        let Some(at) = offered.and_then(|offered| recovery::find(&kept, &offered)) else {
            let wrong = file(&opened.keys, revision.next(), &factor.after_wrong(now));
            return Ok(Proved::wrong(wrong_code(), vec![wrong]));
        };
        let left = codes.iter().enumerate().map(|(n, code)| if n == at { String::new() } else { code.clone() });
        let after = factor.after_right(Factor::Recovery { codes: left.collect() }, now);
        let proof = MfaProof { at: now, kind: MfaKind::Recovery, credential: Some(factor.id) };
        let changes = vec![file(&opened.keys, revision.next(), &after)];
        return Ok(Proved { outcome: Ok((proof, String::new())), changes });
    }
    Err(none_enrolled())
}

fn none_enrolled() -> Error {
    Error::new(
        Code::WrongState,
        "no such second factor is enrolled and confirmed: `keyreeve mfa status` shows which are, `keyreeve mfa \
         confirm` confirms one, `keyreeve mfa totp` enrols one",
    )
}

async fn by_signature(
    core: &Core,
    opened: &Opened,
    principal: &Name,
    assertion: &Assertion,
    purpose: &Purpose,
    now: UnixMillis,
) -> Result<Proved, Error> {
    let gone = || Error::new(Code::MfaRefused, "the challenge is not good any more: begin again");
    let Some((given, given_at)) = core.filed::<MfaChallenge>(opened, assertion.challenge).await? else {
        return Err(gone());
    };
    if given.principal != *principal || !given.stands(now) || given.purpose != purpose.recorded() {
        return Err(gone());
    }
    let wanted = credential_of(&assertion.credential_id);
    let found = factors(core, opened, principal).await?.into_iter().find(|(factor, _)| factor.id == wanted);
    let Some((factor, revision)) = found.filter(|(factor, _)| factor.is_usable()) else {
        return Err(none_enrolled());
    };
    let Factor::Webauthn { cose_key, sign_count, backup_eligible, .. } = &factor.factor else {
        return Err(none_enrolled());
    };
    let relying = relying(core)?;
    let key = hex::decode(cose_key).map_err(Error::internal)?;
    let known = Known { cose_key: &key, sign_count: *sign_count, backup_eligible: *backup_eligible };
    let answer = authenticators::Assertion {
        client_data: &assertion.client_data,
        auth_data: &assertion.auth_data,
        signature: &assertion.signature,
    };
    match authenticators::assert(&relying.view(), &challenge_bytes(&given)?, &known, &answer) {
        Ok(asserted) => {
            let after = factor.after_right(after_assertion(&factor.factor, asserted), now);
            let changes = vec![unfile(given_at, &given), file(&opened.keys, revision.next(), &after)];
            let proof = MfaProof { at: now, kind: MfaKind::Webauthn, credential: Some(factor.id) };
            Ok(Proved { outcome: Ok((proof, signed_evidence(&given, assertion))), changes })
        }
        Err(error) => refused(core, opened, &factor, error, now),
    }
}

fn after_assertion(factor: &Factor, asserted: authenticators::Asserted) -> Factor {
    let mut factor = factor.clone();
    if let Factor::Webauthn { sign_count, backed_up, .. } = &mut factor {
        (*sign_count, *backed_up) = (asserted.sign_count, asserted.backed_up);
    }
    factor
}

/// A counter that went back is told to people: somebody may have copied the authenticator.
fn refused(
    core: &Core,
    opened: &Opened,
    factor: &MfaCredential,
    error: WebAuthnError,
    now: UnixMillis,
) -> Result<Proved, Error> {
    let mut changes = Vec::new();
    if error == WebAuthnError::Cloned {
        let facts = Facts::default().with("principal", &factor.principal).with("credential", factor.id);
        let subject = format!("a security key of {} may have been copied", factor.principal);
        changes = core.notice(opened, &Telling::new(NoticeKind::MfaCloned, subject, facts), None, now)?;
    }
    Ok(Proved::wrong(Error::new(Code::MfaRefused, error.to_string()), changes))
}

/// What anybody who has the credential's public key can verify later.
fn signed_evidence(given: &MfaChallenge, assertion: &Assertion) -> String {
    let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    let parts = [&assertion.credential_id, &assertion.client_data, &assertion.auth_data, &assertion.signature];
    let parts: Vec<String> = parts.iter().map(|part| text(part)).collect();
    format!("webauthn:{}:{}", given.challenge, parts.join(":"))
}

/// What is signed: the random bytes, or for a vote their hash together with what is voted.
fn challenge_bytes(given: &MfaChallenge) -> Result<[u8; 32], Error> {
    let mut random = [0; 32];
    hex::decode_to_slice(&given.challenge, &mut random).map_err(Error::internal)?;
    match &given.purpose {
        ChallengePurpose::Vote { digest, .. } => {
            let mut voted = [0; 32];
            hex::decode_to_slice(digest, &mut voted).map_err(Error::internal)?;
            Ok(sha256(&[b"keyreeve/vote/1".as_slice(), &random, &voted].concat()))
        }
        ChallengePurpose::Enrol | ChallengePurpose::StepUp { .. } | ChallengePurpose::Invitation { .. } => Ok(random),
    }
}

/// A fresh challenge, and what stores it.
pub(super) fn new_challenge(
    core: &Core,
    opened: &Opened,
    principal: &Principal,
    purpose: ChallengePurpose,
    now: UnixMillis,
) -> Result<(MfaChallenge, [u8; 32], Change), Error> {
    let random = core.ports.random.nonce_array::<32>()?;
    let id = MfaId::new(now, core.id_random()?);
    let expires = now.plus(CHALLENGE_LIFE);
    let challenge = hex::encode(random);
    // The token of a step-up stands in its purpose, and a vote is its person's whatever token it comes with.
    let begun_with = principal.token.filter(|_| purpose == ChallengePurpose::Enrol);
    let given = MfaChallenge { id, principal: principal.name.clone(), challenge, purpose, begun_with, expires };
    let change = file(&opened.keys, Revision::FIRST, &given);
    let bytes = challenge_bytes(&given)?;
    Ok((given, bytes, change))
}

/// What a challenge is wanted for.
#[derive(Clone, Copy, Debug)]
pub enum ChallengeFor {
    /// To make the token's proof fresh.
    StepUp,
    /// To vote.
    Vote {
        /// On what.
        approval: ApprovalId,
        /// [`vote_digest`] of what is decided.
        digest: [u8; 32],
    },
}

/// Asks for a challenge.
#[derive(Debug)]
pub struct NewChallenge {
    /// What for.
    pub purpose: ChallengeFor,
}

/// What `navigator.credentials.get` needs.
#[derive(Debug)]
pub struct ChallengeReply {
    /// The challenge's name, for the answer.
    pub id: MfaId,
    /// What is to be signed.
    pub challenge: [u8; 32],
    /// The relying party.
    pub relying: String,
    /// The credentials that may sign.
    pub credentials: Vec<Vec<u8>>,
    /// Until when.
    pub expires: UnixMillis,
}

impl Remember for ChallengeReply {}

impl Operation for NewChallenge {
    const DESCRIPTOR: &'static Descriptor = &catalogue::MFA_CHALLENGE;
    type Reply = ChallengeReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<ChallengeReply>, Error> {
        let (opened, now, owner) = (core.need_open()?, approved.now(), person(approved)?);
        let relying = relying(core)?;
        let purpose = match self.purpose {
            ChallengeFor::StepUp => Purpose::StepUp(token_of(owner)?),
            ChallengeFor::Vote { approval, digest } => Purpose::Vote(approval, digest),
        };
        let credentials: Vec<Vec<u8>> = factors(core, &opened, &owner.name)
            .await?
            .iter()
            .filter(|(factor, _)| factor.is_usable())
            .filter_map(|(factor, _)| match &factor.factor {
                Factor::Webauthn { credential_id, .. } => hex::decode(credential_id).ok(),
                Factor::Totp { .. } | Factor::Recovery { .. } => None,
            })
            .collect();
        if credentials.is_empty() {
            return Err(none_enrolled());
        }
        need_room(core, &opened, &owner.name, now).await?;
        let (given, challenge, change) = new_challenge(core, &opened, owner, purpose.recorded(), now)?;
        let (id, expires) = (given.id, given.expires);
        let reply = ChallengeReply { id, challenge, relying: relying.id, credentials, expires };
        Ok(Outcome::reply(reply).changing(change).detail("challenge", id))
    }
}

/// Shows a second factor; the caller's token carries the proof from then on.
#[derive(Debug)]
pub struct Verify {
    /// What is shown.
    pub answer: Answer,
}

/// A proof, as the token carries it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProofReply {
    /// How.
    pub kind: MfaKind,
    /// With which factor.
    pub credential: MfaId,
    /// When.
    pub at: UnixMillis,
}

impl Operation for Verify {
    const DESCRIPTOR: &'static Descriptor = &catalogue::MFA_VERIFY;
    type Reply = Answered<ProofReply>;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Answered<ProofReply>>, Error> {
        let (opened, now, owner) = (core.need_open()?, approved.now(), person(approved)?);
        let purpose = Purpose::StepUp(token_of(owner)?);
        let proved = prove_mfa(core, &opened, &owner.name, &self.answer, &purpose, now).await?;
        let (mut outcome, proof) = match proved.outcome {
            Err(error) => {
                let code = error.code().name();
                (Outcome::reply(Answered::Wrong(error)).refusing(code), None)
            }
            Ok((proof, _)) => {
                let credential = proof.credential.ok_or_else(none_enrolled)?;
                let reply = ProofReply { kind: proof.kind, credential, at: proof.at };
                let outcome = Outcome::reply(Answered::Right(reply));
                (outcome.detail("credential", credential).detail("kind", proof.kind.name()), Some(proof))
            }
        };
        for change in proved.changes {
            outcome = outcome.changing(change);
        }
        if let Some(proof) = proof
            && let Some(change) = step_up(core, &opened, owner, proof).await?
        {
            outcome = outcome.changing(change);
        }
        Ok(outcome)
    }
}

fn token_of(principal: &Principal) -> Result<TokenId, Error> {
    let text = "only a token carries a second factor: log in first (`keyreeve login`)";
    principal.token.ok_or_else(|| Error::new(Code::WrongState, text))
}

/// What writes a proof into the caller's token; none for one who came with a certificate.
pub(super) async fn step_up(
    core: &Core,
    opened: &Opened,
    principal: &Principal,
    proof: MfaProof,
) -> Result<Option<Change>, Error> {
    let Some(token) = principal.token else { return Ok(None) };
    let held = core.token(opened, token).await?.ok_or_else(|| Error::not_found("token"))?;
    Ok(Some(tokens::proved(&opened.keys, &held, Some(proof))))
}
