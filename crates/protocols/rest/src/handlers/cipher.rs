//! Encrypting, decrypting, moving ciphertexts.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use keyreeve_crypto::HashAlgorithm;
use keyreeve_engine::ops::Payload;
use keyreeve_engine::ops::cipher::{Decrypt, Encrypt, Format, ReEncrypt, Rewrap};
use keyreeve_engine::{Arrival, Engine, Error, KeyRef};
use keyreeve_http::Problem;
use keyreeve_model::ciphertext::Header;
use keyreeve_wire::Ciphertext;
use keyreeve_wire::cipher::{
    CiphertextInput, CiphertextReply, CiphertextRequest, DecryptRequest, EncryptRequest, PlaintextReply,
    ReEncryptRequest,
};

use crate::answer;
use crate::call::{Form, Json, Named, OCTETS, WithContext};
use crate::convert::{self, field, named};
use crate::forms::{Shape, gather, only, write_ciphertexts, write_plaintexts};
use crate::routes::{Route, route};

const BINARY: &str = "With a binary body the context stands in the header `Keyreeve-Context` (base64 of a JSON \
                      object); the answer is \
                      binary and names the key version in `Keyreeve-Key-Version`.";
const UNKEYED: &str = "The key is the one that the ciphertexts name.";

pub(crate) static ROUTES: &[Route] = &[
    route!(Post "/keys/{key}/encrypt", Data, KEY_ENCRYPT, encrypt)
        .takes::<EncryptRequest>(r#"{"plaintext":"aGVsbG8=","context":{"tenant":"acme"}}"#)
        .gives::<CiphertextReply>()
        .or_binary::<WithContext>()
        .or_gives(&[OCTETS])
        .note(BINARY),
    route!(Post "/keys/{key}/decrypt", Data, KEY_DECRYPT, decrypt)
        .takes::<DecryptRequest>(super::DECRYPT_EXAMPLE)
        .gives::<PlaintextReply>()
        .or_binary::<WithContext>()
        .or_gives(&[OCTETS])
        .note(BINARY),
    route!(Post "/decrypt", Data, KEY_DECRYPT, decrypt_any)
        .takes::<DecryptRequest>(super::DECRYPT_EXAMPLE)
        .gives::<PlaintextReply>()
        .or_binary::<WithContext>()
        .or_gives(&[OCTETS])
        .note(UNKEYED),
    route!(Post "/keys/{key}/re-encrypt", Data, KEY_RE_ENCRYPT_FROM + KEY_RE_ENCRYPT_TO, re_encrypt)
        .takes::<ReEncryptRequest>(super::RE_ENCRYPT_EXAMPLE)
        .gives::<CiphertextReply>()
        .note("The caller must be allowed `key.re-encrypt-from` on the one key and `key.re-encrypt-to` on the other."),
    route!(Post "/keys/{key}/rewrap", Data, KEY_REWRAP, rewrap)
        .takes::<CiphertextRequest>(super::DECRYPT_EXAMPLE)
        .gives::<CiphertextReply>(),
    route!(Post "/rewrap", Data, KEY_REWRAP, rewrap_any)
        .takes::<CiphertextRequest>(super::DECRYPT_EXAMPLE)
        .gives::<CiphertextReply>()
        .note(UNKEYED),
];

async fn encrypt(
    State(engine): State<Engine>,
    Named(key): Named<KeyRef>,
    form: Form<EncryptRequest, WithContext>,
) -> Result<Response, Problem> {
    match form {
        Form::Json(arrival, body) => {
            let (shape, items) = gather(
                "plaintext",
                body.plaintext,
                body.items,
                |one| Payload::Secret(one.0),
                |one| Payload::Secret(one.plaintext.0),
            )?;
            let operation = Encrypt { key, context: convert::context(body.context)?, items: items.into() };
            let done = engine.call(arrival, operation).await?;
            let written = write_ciphertexts(shape, done.reply.version, &done.reply.items)?;
            Ok(answer::json_bytes(done.record, written))
        }
        Form::Octets(arrival, bytes, beside, _) => {
            let operation = Encrypt { key, context: beside.context, items: [Payload::Body(bytes)].into() };
            let done = engine.call(arrival, operation).await?;
            let ciphertext = only(done.reply.items)?;
            Ok(answer::octets(done.record, done.reply.version, Body::from(ciphertext)))
        }
    }
}

/// The ciphertexts of a request in either form.
pub(super) fn ciphertexts(
    single: Option<Ciphertext>,
    items: Option<Vec<CiphertextInput>>,
) -> Result<(Shape, Vec<Vec<u8>>), Problem> {
    gather("ciphertext", single, items, |one| one.0, |one| one.ciphertext.0)
}

/// The key that ciphertexts name: the first that can be read decides, the engine refuses those of others.
pub(super) fn key_of(items: &[Vec<u8>]) -> Result<KeyRef, Problem> {
    let mut refusal = None;
    for item in items {
        match Header::decode(item) {
            Ok((header, _)) => return Ok(KeyRef::Id(header.key)),
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    Err(match refusal {
        Some(error) => Error::from(error).into(),
        None => Problem::invalid("nothing to do: give at least one item"),
    })
}

async fn decrypt(
    State(engine): State<Engine>,
    Named(key): Named<KeyRef>,
    form: Form<DecryptRequest, WithContext>,
) -> Result<Response, Problem> {
    decrypt_with(&engine, Some(key), form).await
}

async fn decrypt_any(
    State(engine): State<Engine>,
    form: Form<DecryptRequest, WithContext>,
) -> Result<Response, Problem> {
    decrypt_with(&engine, None, form).await
}

async fn decrypt_with(
    engine: &Engine,
    key: Option<KeyRef>,
    form: Form<DecryptRequest, WithContext>,
) -> Result<Response, Problem> {
    match form {
        Form::Json(arrival, body) => {
            let (shape, operation) = decrypt_from(key, body)?;
            let done = engine.call(arrival, operation).await?;
            Ok(answer::secret_json_bytes(done.record, write_plaintexts(shape, &done.reply.items)?))
        }
        Form::Octets(arrival, bytes, beside, _) => {
            let items = vec![Vec::from(bytes)];
            let key = key.map_or_else(|| key_of(&items), Ok)?;
            let operation = Decrypt { key, context: beside.context, format: Format::Keyreeve, items: items.into() };
            let done = engine.call(arrival, operation).await?;
            let (version, plaintext) = only(done.reply.items)?;
            Ok(answer::octets(done.record, version, answer::secret_body(plaintext)))
        }
    }
}

fn decrypt_from(key: Option<KeyRef>, body: DecryptRequest) -> Result<(Shape, Decrypt), Problem> {
    let context = convert::context(body.context)?;
    let Some(raw) = body.rsa_oaep else {
        let (shape, items) = ciphertexts(body.ciphertext, body.items)?;
        let key = key.map_or_else(|| key_of(&items), Ok)?;
        return Ok((shape, Decrypt { key, context, format: Format::Keyreeve, items: items.into() }));
    };
    if body.ciphertext.is_some() || body.items.is_some() || !context.is_empty() {
        return Err(Problem::invalid("`rsa_oaep` stands alone: without `ciphertext`, `items` and `context`"));
    }
    let key = key.ok_or_else(|| Problem::invalid("`rsa_oaep` needs the key in the path: `/v1/keys/{key}/decrypt`"))?;
    let format = Format::RawOaep { version: raw.version, hash: named::<HashAlgorithm>(raw.hash.name())? };
    Ok((Shape::Single, Decrypt { key, context, format, items: [raw.ciphertext.0].into() }))
}

async fn re_encrypt(
    State(engine): State<Engine>,
    Named(key): Named<KeyRef>,
    call: Json<ReEncryptRequest>,
) -> Result<Response, Problem> {
    let body = call.body;
    let (shape, items) = ciphertexts(body.ciphertext, body.items)?;
    let from_context = convert::context(body.context)?;
    let to_context = match body.to_context {
        Some(pairs) => convert::context(pairs)?,
        None => from_context.clone(),
    };
    let to = field("to", &body.to)?;
    let operation = ReEncrypt { from: key, to, from_context, to_context, items: items.into() };
    let done = engine.call(call.arrival, operation).await?;
    let written = write_ciphertexts(shape, done.reply.version, &done.reply.items)?;
    Ok(answer::json_bytes(done.record, written))
}

async fn rewrap(
    State(engine): State<Engine>,
    Named(key): Named<KeyRef>,
    call: Json<CiphertextRequest>,
) -> Result<Response, Problem> {
    rewrap_with(&engine, call.arrival, Some(key), call.body).await
}

async fn rewrap_any(State(engine): State<Engine>, call: Json<CiphertextRequest>) -> Result<Response, Problem> {
    rewrap_with(&engine, call.arrival, None, call.body).await
}

async fn rewrap_with(
    engine: &Engine,
    arrival: Arrival,
    key: Option<KeyRef>,
    body: CiphertextRequest,
) -> Result<Response, Problem> {
    let (shape, items) = ciphertexts(body.ciphertext, body.items)?;
    let key = key.map_or_else(|| key_of(&items), Ok)?;
    let operation = Rewrap { key, context: convert::context(body.context)?, items: items.into() };
    let done = engine.call(arrival, operation).await?;
    let written = write_ciphertexts(shape, done.reply.version, &done.reply.items)?;
    Ok(answer::json_bytes(done.record, written))
}
