//! Secrets made with a key, and random bytes.

use axum::extract::State;
use axum::response::Response;
use keyreeve_crypto::WrapMode;
use keyreeve_engine::ops::Payload;
use keyreeve_engine::ops::derivation::{
    Agree, Decapsulate, Derivation, Derive, Encapsulate, GenerateRandom, Secret, Secrets, Unwrap, Wrap, Wrapped,
};
use keyreeve_engine::{Done, Engine, KeyRef};
use keyreeve_http::Problem;
use keyreeve_wire::derivation::{
    AgreeRequest, DecapsulateRequest, DeriveRequest, EncapsulateReply, KeyOutput, RandomReply, RandomRequest,
    SecretReply, UnwrapReply, UnwrapRequest, WrapReply, WrapRequest, WrappedOutput,
};
use keyreeve_wire::{Base64, SecretBase64, names};

use crate::answer;
use crate::call::{Json, Named, Plain};
use crate::convert::named;
use crate::forms::{Shape, base64, gather, only, split};
use crate::routes::{Route, route};

/// Length of derived and agreed keys unless the caller says another (bytes).
const SECRET_BYTES: u32 = 32;

pub(crate) static ROUTES: &[Route] = &[
    route!(Post "/keys/{key}/derive", Data, KEY_DERIVE, derive)
        .takes::<DeriveRequest>(r#"{"hkdf":{"hash":"sha256","salt":"","info":"c2Vzc2lvbg=="},"bytes":32}"#)
        .gives::<SecretReply>(),
    route!(Post "/keys/{key}/wrap", Data, KEY_WRAP, wrap)
        .takes::<WrapRequest>(r#"{"key":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}"#)
        .gives::<WrapReply>(),
    route!(Post "/keys/{key}/unwrap", Data, KEY_UNWRAP, unwrap)
        .takes::<UnwrapRequest>(r#"{"wrapped":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYX","version":1}"#)
        .gives::<UnwrapReply>(),
    route!(Post "/keys/{key}/encapsulate", Data, KEY_ENCAPSULATE, encapsulate).gives::<EncapsulateReply>(),
    route!(Post "/keys/{key}/decapsulate", Data, KEY_DECAPSULATE, decapsulate)
        .takes::<DecapsulateRequest>(r#"{"ciphertext":"AAECAwQFBgc=","version":1}"#)
        .gives::<SecretReply>(),
    route!(Post "/keys/{key}/agree", Data, KEY_AGREE, agree)
        .takes::<AgreeRequest>(
            r#"{"peer":"MCowBQYDK2VuAyEAhSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=","hash":"sha256","bytes":32}"#,
        )
        .gives::<SecretReply>(),
    route!(Post "/random", Data, RANDOM_GENERATE, random)
        .takes::<RandomRequest>(r#"{"bytes":32}"#)
        .gives::<RandomReply>(),
];

fn derivation(body: &mut DeriveRequest) -> Result<Derivation, Problem> {
    match (body.hkdf.take(), body.kbkdf.take()) {
        (Some(hkdf), None) => {
            Ok(Derivation::Hkdf { hash: named(hkdf.hash.name())?, salt: hkdf.salt.0, info: hkdf.info.0 })
        }
        (None, Some(kbkdf)) => {
            Ok(Derivation::Kbkdf { hash: named(kbkdf.hash.name())?, label: kbkdf.label.0, context: kbkdf.context.0 })
        }
        (None, None) | (Some(_), Some(_)) => Err(Problem::invalid("give exactly one of `hkdf` and `kbkdf`")),
    }
}

fn secret(done: Done<Secret>) -> Result<Response, Problem> {
    let reply = SecretReply { version: done.reply.version, secret: SecretBase64(done.reply.secret) };
    answer::secret_json(done.record, &reply)
}

async fn derive(
    State(engine): State<Engine>,
    Named(key): Named<KeyRef>,
    mut call: Json<DeriveRequest>,
) -> Result<Response, Problem> {
    let derivation = derivation(&mut call.body)?;
    let bytes = call.body.bytes.unwrap_or(SECRET_BYTES) as usize;
    secret(engine.call(call.arrival, Derive { key, version: call.body.version, derivation, bytes }).await?)
}

const fn mode(mode: Option<names::WrapMode>) -> WrapMode {
    match mode {
        None | Some(names::WrapMode::Kwp) => WrapMode::Kwp,
        Some(names::WrapMode::Kw) => WrapMode::Kw,
    }
}

async fn wrap(
    State(engine): State<Engine>,
    Named(key): Named<KeyRef>,
    call: Json<WrapRequest>,
) -> Result<Response, Problem> {
    let body = call.body;
    let (shape, items) =
        gather("key", body.key, body.items, |one| Payload::Secret(one.0), |one| Payload::Secret(one.key.0))?;
    let done = engine.call(call.arrival, Wrap { key, mode: mode(body.mode), items: items.into() }).await?;
    answer::json(done.record, &wrapped(shape, done.reply)?)
}

fn wrapped(shape: Shape, reply: Wrapped) -> Result<WrapReply, Problem> {
    let version = reply.version;
    let each = |item| {
        let (wrapped, error) = base64(item);
        WrappedOutput { wrapped, error }
    };
    Ok(match shape {
        Shape::Single => WrapReply { version, wrapped: Some(Base64(only(reply.items)?)), items: None },
        Shape::Batch => {
            let items = reply.items.into_iter().map(each).collect();
            WrapReply { version, wrapped: None, items: Some(items) }
        }
    })
}

async fn unwrap(
    State(engine): State<Engine>,
    Named(key): Named<KeyRef>,
    call: Json<UnwrapRequest>,
) -> Result<Response, Problem> {
    let body = call.body;
    let (shape, items) = gather("wrapped", body.wrapped, body.items, |one| one.0, |one| one.wrapped.0)?;
    let operation = Unwrap { key, version: body.version, mode: mode(body.mode), items: items.into() };
    let done = engine.call(call.arrival, operation).await?;
    answer::secret_json(done.record, &unwrapped(shape, done.reply)?)
}

fn unwrapped(shape: Shape, reply: Secrets) -> Result<UnwrapReply, Problem> {
    let version = reply.version;
    let each = |item| {
        let (key, error) = split(item);
        KeyOutput { key: key.map(SecretBase64), error }
    };
    Ok(match shape {
        Shape::Single => UnwrapReply { version, key: Some(SecretBase64(only(reply.items)?)), items: None },
        Shape::Batch => {
            let items = reply.items.into_iter().map(each).collect();
            UnwrapReply { version, key: None, items: Some(items) }
        }
    })
}

async fn encapsulate(
    State(engine): State<Engine>,
    Named(key): Named<KeyRef>,
    Plain(arrival): Plain,
) -> Result<Response, Problem> {
    let done = engine.call(arrival, Encapsulate { key }).await?;
    let reply = EncapsulateReply {
        version: done.reply.version,
        ciphertext: Base64(done.reply.ciphertext),
        secret: SecretBase64(done.reply.secret),
    };
    answer::secret_json(done.record, &reply)
}

async fn decapsulate(
    State(engine): State<Engine>,
    Named(key): Named<KeyRef>,
    call: Json<DecapsulateRequest>,
) -> Result<Response, Problem> {
    let DecapsulateRequest { ciphertext, version } = call.body;
    secret(engine.call(call.arrival, Decapsulate { key, version, ciphertext: ciphertext.0 }).await?)
}

async fn agree(
    State(engine): State<Engine>,
    Named(key): Named<KeyRef>,
    call: Json<AgreeRequest>,
) -> Result<Response, Problem> {
    let body = call.body;
    let operation = Agree {
        key,
        version: body.version,
        peer: body.peer.0,
        hash: named(body.hash.name())?,
        salt: body.salt.0,
        info: body.info.0,
        bytes: body.bytes.unwrap_or(SECRET_BYTES) as usize,
    };
    secret(engine.call(call.arrival, operation).await?)
}

async fn random(State(engine): State<Engine>, call: Json<RandomRequest>) -> Result<Response, Problem> {
    let done = engine.call(call.arrival, GenerateRandom { bytes: call.body.bytes as usize }).await?;
    answer::secret_json(done.record, &RandomReply { random: SecretBase64(done.reply.0) })
}
