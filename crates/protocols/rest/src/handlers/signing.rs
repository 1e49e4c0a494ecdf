//! Signatures and message authentication codes.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use keyreeve_crypto::SignatureScheme;
use keyreeve_engine::ops::Payload;
use keyreeve_engine::ops::signing::{Claim, Mac, MessageForm, Sign, Signed, Tagged, Verified, Verify, VerifyMac};
use keyreeve_engine::{Engine, KeyRef};
use keyreeve_http::Problem;
use keyreeve_wire::names::Scheme;
use keyreeve_wire::signing::{
    MacOutput, MacReply, MacRequest, MessageInput, SignReply, SignRequest, SignatureOutput, SignedInput, TaggedInput,
    Verdict, VerifyMacRequest, VerifyReply, VerifyRequest,
};
use keyreeve_wire::{Base64, SecretBase64};

use crate::answer;
use crate::call::{Bare, Beside, Form, Named, OCTETS, ToCheck, ToSign, ToVerify};
use crate::convert::named;
use crate::forms::{Shape, base64, gather, only, split};
use crate::routes::{Route, route};

const BINARY: &str = "With a binary body, which is the message, the signature or tag to verify stands in the header \
                      `Keyreeve-Signature`; what signing makes is answered in binary, verdicts in JSON.";

pub(crate) static ROUTES: &[Route] = &[
    route!(Post "/keys/{key}/sign", Data, KEY_SIGN, sign)
        .takes::<SignRequest>(r#"{"message":"aGVsbG8="}"#)
        .gives::<SignReply>()
        .or_binary::<ToSign>()
        .or_gives(&[OCTETS])
        .note(BINARY),
    route!(Post "/keys/{key}/verify", Data, KEY_VERIFY, verify)
        .takes::<VerifyRequest>(r#"{"message":"aGVsbG8=","signature":"MEUCIQDx"}"#)
        .gives::<VerifyReply>()
        .or_binary::<ToVerify>()
        .note(BINARY),
    route!(Post "/keys/{key}/mac", Data, KEY_MAC, mac)
        .takes::<MacRequest>(r#"{"message":"aGVsbG8="}"#)
        .gives::<MacReply>()
        .or_binary::<Bare>()
        .or_gives(&[OCTETS])
        .note(BINARY),
    route!(Post "/keys/{key}/verify-mac", Data, KEY_VERIFY_MAC, verify_mac)
        .takes::<VerifyMacRequest>(r#"{"message":"aGVsbG8=","mac":"AAEC"}"#)
        .gives::<VerifyReply>()
        .or_binary::<ToCheck>()
        .note(BINARY),
];

const fn message_form(prehashed: bool) -> MessageForm {
    if prehashed { MessageForm::Digest } else { MessageForm::Raw }
}

fn scheme_from(scheme: Option<Scheme>) -> Result<Option<SignatureScheme>, Problem> {
    scheme.map(|scheme| named(scheme.name())).transpose()
}

fn prehashed(beside: &Beside) -> Result<bool, Problem> {
    Ok(beside.query.get::<bool>("prehashed")?.unwrap_or(false))
}

fn messages(single: Option<SecretBase64>, items: Option<Vec<MessageInput>>) -> Result<(Shape, Vec<Payload>), Problem> {
    gather("message", single, items, |one| Payload::Secret(one.0), |one| Payload::Secret(one.message.0))
}

async fn sign(
    State(engine): State<Engine>,
    Named(key): Named<KeyRef>,
    form: Form<SignRequest, ToSign>,
) -> Result<Response, Problem> {
    match form {
        Form::Json(arrival, body) => {
            let (shape, items) = messages(body.message, body.items)?;
            let scheme = scheme_from(body.scheme)?;
            let operation = Sign { key, scheme, form: message_form(body.prehashed), items: items.into() };
            let done = engine.call(arrival, operation).await?;
            answer::json(done.record, &signed(shape, done.reply)?)
        }
        Form::Octets(arrival, bytes, beside, _) => {
            let form = message_form(prehashed(&beside)?);
            let scheme = beside.query.get("scheme")?;
            let operation = Sign { key, scheme, form, items: [Payload::Body(bytes)].into() };
            let done = engine.call(arrival, operation).await?;
            Ok(answer::octets(done.record, done.reply.version, Body::from(only(done.reply.items)?)))
        }
    }
}

fn signed(shape: Shape, reply: Signed) -> Result<SignReply, Problem> {
    let (version, scheme) = (reply.version, named(reply.scheme.name())?);
    let each = |item| {
        let (signature, error) = base64(item);
        SignatureOutput { signature, error }
    };
    Ok(match shape {
        Shape::Single => SignReply { version, scheme, signature: Some(Base64(only(reply.items)?)), items: None },
        Shape::Batch => {
            let items = reply.items.into_iter().map(each).collect();
            SignReply { version, scheme, signature: None, items: Some(items) }
        }
    })
}

/// The claims of a request in either form; message and proof of the single form come together or not at all.
fn claims<I>(
    names: (&'static str, &'static str),
    single: (Option<SecretBase64>, Option<Base64>),
    items: Option<Vec<I>>,
    each: impl Fn(I) -> Claim,
) -> Result<(Shape, Vec<Claim>), Problem> {
    let one = match single {
        (Some(message), Some(proof)) => Some(Claim { message: Payload::Secret(message.0), proof: proof.0 }),
        (None, None) => None,
        (Some(_), None) => return Err(Problem::invalid(format!("`{}` is missing", names.1))),
        (None, Some(_)) => return Err(Problem::invalid(format!("`{}` is missing", names.0))),
    };
    gather(names.0, one, items, |one| one, each)
}

fn verdicts(shape: Shape, reply: Verified) -> Result<VerifyReply, Problem> {
    match shape {
        Shape::Single => {
            let version = only(reply.items)?;
            Ok(VerifyReply { valid: Some(version.is_some()), version, items: None })
        }
        Shape::Batch => {
            let each = |item| {
                let (version, error) = split(item);
                let version: Option<u32> = version.flatten();
                Verdict { valid: version.is_some(), version, error }
            };
            let items = reply.items.into_iter().map(each).collect();
            Ok(VerifyReply { valid: None, version: None, items: Some(items) })
        }
    }
}

async fn verify(
    State(engine): State<Engine>,
    Named(key): Named<KeyRef>,
    form: Form<VerifyRequest, ToVerify>,
) -> Result<Response, Problem> {
    let (shape, arrival, operation) = match form {
        Form::Json(arrival, body) => {
            let each = |one: SignedInput| Claim { message: Payload::Secret(one.message.0), proof: one.signature.0 };
            let names = ("message", "signature");
            let (shape, items) = claims(names, (body.message, body.signature), body.items, each)?;
            let (scheme, form) = (scheme_from(body.scheme)?, message_form(body.prehashed));
            (shape, arrival, Verify { key, version: body.version, scheme, form, items: items.into() })
        }
        Form::Octets(arrival, bytes, beside, _) => {
            let (scheme, form) = (beside.query.get("scheme")?, message_form(prehashed(&beside)?));
            let version = beside.query.get("version")?;
            let items = [Claim { message: Payload::Body(bytes), proof: beside.proof }].into();
            (Shape::Single, arrival, Verify { key, version, scheme, form, items })
        }
    };
    let done = engine.call(arrival, operation).await?;
    answer::json(done.record, &verdicts(shape, done.reply)?)
}

async fn mac(
    State(engine): State<Engine>,
    Named(key): Named<KeyRef>,
    form: Form<MacRequest, Bare>,
) -> Result<Response, Problem> {
    match form {
        Form::Json(arrival, body) => {
            let (shape, items) = messages(body.message, body.items)?;
            let done = engine.call(arrival, Mac { key, items: items.into() }).await?;
            answer::json(done.record, &tagged(shape, done.reply)?)
        }
        Form::Octets(arrival, bytes, ..) => {
            let done = engine.call(arrival, Mac { key, items: [Payload::Body(bytes)].into() }).await?;
            Ok(answer::octets(done.record, done.reply.version, Body::from(only(done.reply.items)?)))
        }
    }
}

fn tagged(shape: Shape, reply: Tagged) -> Result<MacReply, Problem> {
    let version = reply.version;
    let each = |item| {
        let (mac, error) = base64(item);
        MacOutput { mac, error }
    };
    Ok(match shape {
        Shape::Single => MacReply { version, mac: Some(Base64(only(reply.items)?)), items: None },
        Shape::Batch => {
            let items = reply.items.into_iter().map(each).collect();
            MacReply { version, mac: None, items: Some(items) }
        }
    })
}

async fn verify_mac(
    State(engine): State<Engine>,
    Named(key): Named<KeyRef>,
    form: Form<VerifyMacRequest, ToCheck>,
) -> Result<Response, Problem> {
    let (shape, arrival, operation) = match form {
        Form::Json(arrival, body) => {
            let each = |one: TaggedInput| Claim { message: Payload::Secret(one.message.0), proof: one.mac.0 };
            let (shape, items) = claims(("message", "mac"), (body.message, body.mac), body.items, each)?;
            (shape, arrival, VerifyMac { key, version: body.version, items: items.into() })
        }
        Form::Octets(arrival, bytes, beside, _) => {
            let version = beside.query.get("version")?;
            let items = [Claim { message: Payload::Body(bytes), proof: beside.proof }].into();
            (Shape::Single, arrival, VerifyMac { key, version, items })
        }
    };
    let done = engine.call(arrival, operation).await?;
    answer::json(done.record, &verdicts(shape, done.reply)?)
}
