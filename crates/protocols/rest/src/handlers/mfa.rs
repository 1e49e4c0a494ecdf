//! Second factors.

use axum::extract::State;
use axum::response::Response;
use keyreeve_engine::ops::mfa::{
    self as ops, Answer, Answered, Assertion, ChallengeFor, FactorView, List, RecoveryCodes, Remove, Reset, Status,
    TotpFinish, TotpStart, Verify, WebAuthnFinish, WebAuthnStart, vote_digest,
};
use keyreeve_engine::{Done, Engine, Refused};
use keyreeve_http::Problem;
use keyreeve_model::Name;
use keyreeve_model::ids::MfaId;
use keyreeve_model::mfa::TotpAlgorithm;
use keyreeve_wire::mfa::{
    self as wire, FinishTotp, FinishWebAuthn, Invite, MfaAnswer, NewChallenge, StartTotp, StartWebAuthn,
};
use keyreeve_wire::names::TotpHash;
use keyreeve_wire::{Base64, SecretText};

use crate::answer;
use crate::call::{Json, Named, Plain};
use crate::convert::{field, named, optional, timestamp};
use crate::routes::{Route, route};

/// How long an invitation is good unless the caller says otherwise (seconds).
const INVITATION_SECONDS: u64 = 24 * 3600;

/// Something of the right form that is nobody's.
macro_rules! some_factor {
    () => {
        "mfa_0190a7b2c3d4e5f60718293a4b5c6d7e"
    };
}

pub(crate) static ROUTES: &[Route] = &[
    route!(Get "/mfa", Both, MFA_STATUS, status).gives::<wire::MfaStatus>(),
    route!(Post "/mfa/totp", Both, MFA_TOTP_START, start_totp)
        .takes::<StartTotp>(r#"{"label":"phone"}"#)
        .gives::<wire::StartedTotp>()
        .note("The seed is shown this once. A first factor needs an invitation, a further one a fresh proof."),
    route!(Post "/mfa/totp/finish", Both, MFA_TOTP_FINISH, finish_totp)
        .takes::<FinishTotp>(concat!(r#"{"id":""#, some_factor!(), r#"","code":"492039"}"#))
        .gives::<wire::Factor>(),
    route!(Post "/mfa/webauthn", Both, MFA_WEBAUTHN_START, start_webauthn)
        .takes::<StartWebAuthn>("{}")
        .gives::<wire::StartedWebAuthn>(),
    route!(Post "/mfa/webauthn/finish", Both, MFA_WEBAUTHN_FINISH, finish_webauthn)
        .takes::<FinishWebAuthn>(concat!(
            r#"{"id":""#,
            some_factor!(),
            r#"","label":"key ring","client_data":"e30=","attestation":"oA=="}"#
        ))
        .gives::<wire::Factor>(),
    route!(Post "/mfa/challenge", Both, MFA_CHALLENGE, challenge)
        .takes::<NewChallenge>("{}")
        .gives::<wire::Challenge>(),
    route!(Post "/mfa/verify", Both, MFA_VERIFY, verify)
        .takes::<MfaAnswer>(r#"{"code":"492039"}"#)
        .gives::<wire::MfaShown>()
        .note("The caller's token carries the proof from then on."),
    route!(Post "/mfa/recovery-codes", Both, MFA_RECOVERY_CODES, recovery_codes)
        .gives::<wire::RecoveryCodes>()
        .note("The codes are shown this once; those made before are void."),
    route!(Delete "/mfa/{id}", Both, MFA_REMOVE, remove),
    route!(Get "/principals/{name}/mfa", Admin, MFA_LIST, list).gives::<wire::Factors>(),
    route!(Post "/principals/{name}/mfa/invitation", Admin, MFA_INVITE, invite)
        .takes::<Invite>(r#"{"seconds":86400}"#)
        .gives::<wire::Invitation>()
        .note("The code is shown this once, to be handed over on another way than the person's token."),
    route!(Delete "/principals/{name}/mfa", Admin, MFA_RESET, reset),
];

fn factor(view: &FactorView) -> Result<wire::Factor, Problem> {
    Ok(wire::Factor {
        id: view.id.to_string(),
        kind: named(view.kind.name())?,
        label: view.label.clone(),
        created: timestamp(view.created),
        usable: view.usable,
        last_used: view.last_used.map(timestamp),
        codes_left: view.codes_left.and_then(|left| u32::try_from(left).ok()),
        backed_up: view.backed_up,
    })
}

/// What was wrong is a refusal, although counting it changed something.
pub(super) fn right<T>(done: Done<Answered<T>>) -> Result<Done<T>, Problem> {
    let Done { reply, record } = done;
    match reply {
        Answered::Right(reply) => Ok(Done { reply, record }),
        Answered::Wrong(error) => Err(Refused { error, record, waiting: None }.into()),
    }
}

/// A second factor as it was shown.
pub(crate) fn shown(answer: MfaAnswer) -> Result<Answer, Problem> {
    let credential = optional("credential", answer.credential.as_deref())?;
    match (answer.code, answer.recovery_code, answer.assertion) {
        (Some(code), None, None) => Ok(Answer::Code { credential, code: code.0 }),
        (None, Some(code), None) if credential.is_none() => Ok(Answer::Recovery { code: code.0 }),
        (None, None, Some(assertion)) if credential.is_none() => Ok(Answer::Assertion(Box::new(Assertion {
            challenge: field("challenge", &assertion.challenge)?,
            credential_id: assertion.credential_id.0,
            client_data: assertion.client_data.0,
            auth_data: assertion.auth_data.0,
            signature: assertion.signature.0,
        }))),
        _ => Err(Problem::invalid(
            "give one of `code`, `recovery_code` and `assertion`; `credential` belongs to `code` only",
        )),
    }
}

async fn status(State(engine): State<Engine>, Plain(arrival): Plain) -> Result<Response, Problem> {
    let done = engine.call(arrival, Status).await?;
    let shown = done.reply.shown;
    let status = wire::MfaStatus {
        factors: done.reply.factors.iter().map(factor).collect::<Result<_, _>>()?,
        shown: shown.map(|(kind, _)| named(kind.name())).transpose()?,
        shown_seconds_ago: shown.map(|(_, age)| age),
        authenticators: done.reply.authenticators,
    };
    answer::json(done.record, &status)
}

async fn start_totp(State(engine): State<Engine>, call: Json<StartTotp>) -> Result<Response, Problem> {
    let operation = TotpStart {
        label: field("label", &call.body.label)?,
        algorithm: match call.body.hash {
            None | Some(TotpHash::Sha1) => TotpAlgorithm::Sha1,
            Some(TotpHash::Sha256) => TotpAlgorithm::Sha256,
        },
        invitation: call.body.invitation.map(|code| code.0),
    };
    let done = engine.call(call.arrival, operation).await?;
    let started = wire::StartedTotp {
        id: done.reply.credential.to_string(),
        seed: SecretText(done.reply.seed),
        address: SecretText(done.reply.address),
        expires: timestamp(done.reply.expires),
    };
    answer::secret_json(done.record, &started)
}

async fn finish_totp(State(engine): State<Engine>, call: Json<FinishTotp>) -> Result<Response, Problem> {
    let operation = TotpFinish { credential: field("id", &call.body.id)?, code: call.body.code.0 };
    let done = right(engine.call(call.arrival, operation).await?)?;
    answer::json(done.record, &factor(&done.reply)?)
}

async fn start_webauthn(State(engine): State<Engine>, call: Json<StartWebAuthn>) -> Result<Response, Problem> {
    let operation = WebAuthnStart { invitation: call.body.invitation.map(|code| code.0) };
    let done = engine.call(call.arrival, operation).await?;
    let started = wire::StartedWebAuthn {
        id: done.reply.id.to_string(),
        challenge: Base64(done.reply.challenge.to_vec()),
        rp_id: done.reply.relying,
        user_id: Base64(done.reply.user_id.to_vec()),
        user: done.reply.user,
        exclude: done.reply.exclude.into_iter().map(Base64).collect(),
        algorithms: done.reply.algorithms,
        expires: timestamp(done.reply.expires),
    };
    answer::json(done.record, &started)
}

async fn finish_webauthn(State(engine): State<Engine>, call: Json<FinishWebAuthn>) -> Result<Response, Problem> {
    let operation = WebAuthnFinish {
        challenge: field("id", &call.body.id)?,
        label: field("label", &call.body.label)?,
        client_data: call.body.client_data.0,
        attestation: call.body.attestation.0,
        transports: call.body.transports.into_iter().collect(),
    };
    let done = engine.call(call.arrival, operation).await?;
    answer::json(done.record, &factor(&done.reply)?)
}

async fn challenge(State(engine): State<Engine>, call: Json<NewChallenge>) -> Result<Response, Problem> {
    let purpose = match &call.body.vote {
        None => ChallengeFor::StepUp,
        Some(vote) => {
            let mut request = [0; 32];
            let wrong = |_| Problem::invalid("`digest` has 64 hexadecimal digits");
            hex::decode_to_slice(&vote.digest, &mut request).map_err(wrong)?;
            let digest = vote_digest(&request, vote.decision.name());
            ChallengeFor::Vote { approval: field("approval", &vote.approval)?, digest }
        }
    };
    let done = engine.call(call.arrival, ops::NewChallenge { purpose }).await?;
    let challenge = wire::Challenge {
        id: done.reply.id.to_string(),
        challenge: Base64(done.reply.challenge.to_vec()),
        rp_id: done.reply.relying,
        credentials: done.reply.credentials.into_iter().map(Base64).collect(),
        expires: timestamp(done.reply.expires),
    };
    answer::json(done.record, &challenge)
}

async fn verify(State(engine): State<Engine>, call: Json<MfaAnswer>) -> Result<Response, Problem> {
    let done = right(engine.call(call.arrival, Verify { answer: shown(call.body)? }).await?)?;
    let shown = wire::MfaShown {
        kind: named(done.reply.kind.name())?,
        credential: done.reply.credential.to_string(),
        at: timestamp(done.reply.at),
    };
    answer::json(done.record, &shown)
}

async fn recovery_codes(State(engine): State<Engine>, Plain(arrival): Plain) -> Result<Response, Problem> {
    let done = engine.call(arrival, RecoveryCodes).await?;
    let codes = done.reply.codes.into_iter().map(SecretText).collect();
    answer::secret_json(done.record, &wire::RecoveryCodes { id: done.reply.credential.to_string(), codes })
}

async fn remove(
    State(engine): State<Engine>,
    Named(credential): Named<MfaId>,
    Plain(arrival): Plain,
) -> Result<Response, Problem> {
    let done = engine.call(arrival, Remove { credential }).await?;
    Ok(answer::nothing(done.record))
}

async fn list(
    State(engine): State<Engine>,
    Named(principal): Named<Name>,
    Plain(arrival): Plain,
) -> Result<Response, Problem> {
    let done = engine.call(arrival, List { principal }).await?;
    let factors = done.reply.iter().map(factor).collect::<Result<_, _>>()?;
    answer::json(done.record, &wire::Factors { factors })
}

async fn invite(
    State(engine): State<Engine>,
    Named(principal): Named<Name>,
    call: Json<Invite>,
) -> Result<Response, Problem> {
    let seconds = call.body.seconds.unwrap_or(INVITATION_SECONDS);
    let done = engine.call(call.arrival, ops::Invite { principal, seconds }).await?;
    let invitation = wire::Invitation { code: SecretText(done.reply.code), expires: timestamp(done.reply.expires) };
    answer::secret_json(done.record, &invitation)
}

async fn reset(
    State(engine): State<Engine>,
    Named(principal): Named<Name>,
    Plain(arrival): Plain,
) -> Result<Response, Problem> {
    let done = engine.call(arrival, Reset { principal }).await?;
    Ok(answer::nothing(done.record))
}
