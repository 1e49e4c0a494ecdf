//! Data keys for encrypting elsewhere.

use axum::extract::State;
use axum::response::Response;
use keyreeve_engine::ops::data_keys::{
    DataKeys, GenerateDataKey, GenerateDataKeyWithoutPlaintext, NewDataKeys, UnwrapDataKey,
};
use keyreeve_engine::{Arrival, Done, Engine, KeyRef};
use keyreeve_http::Problem;
use keyreeve_wire::cipher::{CiphertextRequest, DataKey, DataKeyReply, GenerateDataKeyRequest, PlaintextReply};
use keyreeve_wire::{Ciphertext, SecretBase64};

use super::cipher::{ciphertexts, key_of};
use crate::answer;
use crate::call::{Json, Named};
use crate::convert;
use crate::forms::write_plaintexts;
use crate::routes::{Route, route};

/// Length of a data key unless the caller says another (bytes).
const DATA_KEY_BYTES: u32 = 32;

pub(crate) static ROUTES: &[Route] = &[
    route!(
        Post "/keys/{key}/generate-data-key", Data,
        KEY_GENERATE_DATA_KEY + KEY_GENERATE_DATA_KEY_WITHOUT_PLAINTEXT, generate
    )
    .takes::<GenerateDataKeyRequest>(r#"{"bytes":32,"context":{"file":"backup-7"}}"#)
    .gives::<DataKeyReply>()
    .note("With `plaintext: false` the operation is `key.generate-data-key-without-plaintext`."),
    route!(Post "/keys/{key}/unwrap-data-key", Data, KEY_UNWRAP_DATA_KEY, unwrap)
        .takes::<CiphertextRequest>(super::DECRYPT_EXAMPLE)
        .gives::<PlaintextReply>(),
    route!(Post "/unwrap-data-key", Data, KEY_UNWRAP_DATA_KEY, unwrap_any)
        .takes::<CiphertextRequest>(super::DECRYPT_EXAMPLE)
        .gives::<PlaintextReply>()
        .note("The key is the one that the data keys name."),
];

async fn generate(
    State(engine): State<Engine>,
    Named(key): Named<KeyRef>,
    call: Json<GenerateDataKeyRequest>,
) -> Result<Response, Problem> {
    let body = call.body;
    let wanted = NewDataKeys {
        key,
        context: convert::context(body.context)?,
        bytes: body.bytes.unwrap_or(DATA_KEY_BYTES) as usize,
        count: body.count.unwrap_or(1) as usize,
    };
    let done = match body.plaintext.unwrap_or(true) {
        true => engine.call(call.arrival, GenerateDataKey(wanted)).await?,
        false => engine.call(call.arrival, GenerateDataKeyWithoutPlaintext(wanted)).await?,
    };
    let batch = body.count.is_some();
    let Done { reply, record } = done;
    answer::secret_json(record, &data_keys(reply, batch)?)
}

fn data_keys(reply: DataKeys, batch: bool) -> Result<DataKeyReply, Problem> {
    let version = reply.version;
    let mut items = reply
        .items
        .into_iter()
        .map(|item| DataKey { plaintext: item.plaintext.map(SecretBase64), ciphertext: Ciphertext(item.wrapped) });
    if batch {
        return Ok(DataKeyReply { version, plaintext: None, ciphertext: None, items: Some(items.collect()) });
    }
    let one = items.next().ok_or_else(convert::defect)?;
    Ok(DataKeyReply { version, plaintext: one.plaintext, ciphertext: Some(one.ciphertext), items: None })
}

async fn unwrap(
    State(engine): State<Engine>,
    Named(key): Named<KeyRef>,
    call: Json<CiphertextRequest>,
) -> Result<Response, Problem> {
    unwrap_with(&engine, call.arrival, Some(key), call.body).await
}

async fn unwrap_any(State(engine): State<Engine>, call: Json<CiphertextRequest>) -> Result<Response, Problem> {
    unwrap_with(&engine, call.arrival, None, call.body).await
}

async fn unwrap_with(
    engine: &Engine,
    arrival: Arrival,
    key: Option<KeyRef>,
    body: CiphertextRequest,
) -> Result<Response, Problem> {
    let (shape, items) = ciphertexts(body.ciphertext, body.items)?;
    let key = key.map_or_else(|| key_of(&items), Ok)?;
    let operation = UnwrapDataKey { key, context: convert::context(body.context)?, items: items.into() };
    let done = engine.call(arrival, operation).await?;
    Ok(answer::secret_json_bytes(done.record, write_plaintexts(shape, &done.reply.items)?))
}
