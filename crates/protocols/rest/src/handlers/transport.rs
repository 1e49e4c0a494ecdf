//! Keys that come from elsewhere or go there, wrapped.

use axum::extract::State;
use axum::response::Response;
use keyreeve_crypto::{KeyAlgorithm, Purpose, TransportPublic, WrappingMethod};
use keyreeve_engine::ops::exports::Export;
use keyreeve_engine::ops::imports::{Destination, Import, ImportVersion, Incoming, Parameters, Reimport};
use keyreeve_engine::{Engine, KeyRef};
use keyreeve_http::Problem;
use keyreeve_model::UnixMillis;
use keyreeve_model::ids::ImportId;
use keyreeve_model::imports::IMPORT_HOURS;
use keyreeve_wire::Base64;
use keyreeve_wire::Timestamp;
use keyreeve_wire::keys::Key;
use keyreeve_wire::transport::{
    ExportKey, ExportedKey, ImportKey, ImportMaterial, ImportParameters, ImportParametersRequest,
};

use super::keys::{DEFAULT_KEYRING, create_from};
use crate::answer;
use crate::call::{Json, Named};
use crate::convert::{self, field, instant, named, timestamp};
use crate::routes::{Route, route};

const PARAMETERS: &str =
    r#"{"algorithm":"xaes-256-gcm","keyring":"payments","method":"rsa-aes-kwp","rsa_bits":4096,"hours":48}"#;
const IMPORT: &str = concat!(
    r#"{"key":{"algorithm":"xaes-256-gcm","keyring":"payments","aliases":["cards"],"reason":"moved here"},"#,
    r#""wrapped":"AAECAwQFBgcICQoLDA0ODw==","expires":"2028-01-01T00:00:00Z","statement":"HSM of the old data centre"}"#
);
const MATERIAL: &str = concat!(
    r#"{"import":"imp_0199a7b2c3d47e5f60718293a4b5c6d7","wrapped":"AAECAwQFBgcICQoLDA0ODw==","#,
    r#""reason":"the yearly key ceremony"}"#
);
const EXPORT: &str = concat!(
    r#"{"version":1,"method":"rsa-aes-kwp","recipient":"-----BEGIN PUBLIC KEY-----\n"#,
    "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAnLVJFxdj99Y6aqtSA6YiCydiPoxOKsaZgjUsM4OgtizJPVApsCzLfv",
    "OEVIOsPDGtxihzFaf19quvEqr0TF93QpMDxqO+77/vUAetxsClvnWgO3qsz9EzRuYQUtP00XqRwk/Z1Rp4k6VYglaHfRPU17oD",
    "L9+7vhg1x4gwpRp9e984kM7eqnVLONwFrWFlUZUYOrF02xHlYVOHFzAAgh/Yr98uUbyKVisXW84lP4AsFOczxmUVtaVepCLHJm",
    "RTB6Ma17rU4U5BLyBWTBQLgpMWeDm1hoqv2NMEhKaXS6gbpLUG3GsQrtIZZAnffFEQDsxiGoEH/OaJ29bwGCXq3/mlpwIDAQAB",
    r#"\n-----END PUBLIC KEY-----\n","reason":"the bank runs it from now on"}"#
);

pub(crate) static ROUTES: &[Route] = &[
    route!(Post "/imports", Admin, KEY_IMPORT_PARAMETERS, parameters)
        .takes::<ImportParametersRequest>(PARAMETERS)
        .gives::<ImportParameters>(),
    route!(Post "/imports/{id}/key", Admin, KEY_IMPORT, import).takes::<ImportKey>(IMPORT).gives::<Key>(),
    route!(Post "/keys/{key}/import-version", Admin, KEY_IMPORT_VERSION, import_version)
        .takes::<ImportMaterial>(MATERIAL)
        .gives::<Key>(),
    route!(Post "/keys/{key}/reimport", Admin, KEY_REIMPORT, reimport).takes::<ImportMaterial>(MATERIAL).gives::<Key>(),
    route!(Post "/keys/{key}/export", Admin, KEY_EXPORT, export).takes::<ExportKey>(EXPORT).gives::<ExportedKey>(),
];

fn size(bits: u32) -> Result<KeyAlgorithm, Problem> {
    match bits {
        2048 => Ok(KeyAlgorithm::Rsa2048),
        3072 => Ok(KeyAlgorithm::Rsa3072),
        4096 => Ok(KeyAlgorithm::Rsa4096),
        _ => Err(Problem::invalid("`rsa_bits` is 2048, 3072 or 4096")),
    }
}

fn destination(body: &ImportParametersRequest) -> Result<Destination, Problem> {
    let Some(key) = &body.key else {
        return Ok(Destination::NewKey {
            keyring: field("keyring", body.keyring.as_deref().unwrap_or(DEFAULT_KEYRING))?,
            algorithm: body.algorithm.map_or(Ok(KeyAlgorithm::default()), |one| named(one.name()))?,
            purpose: body.purpose.map(|one| named::<Purpose>(one.name())).transpose()?,
        });
    };
    if body.keyring.is_some() || body.algorithm.is_some() || body.purpose.is_some() {
        return Err(Problem::invalid("`key` says all about the material: give it without `keyring` and the like"));
    }
    Ok(Destination::Key(field::<KeyRef>("key", key)?))
}

async fn parameters(State(engine): State<Engine>, call: Json<ImportParametersRequest>) -> Result<Response, Problem> {
    let body = &call.body;
    let method: WrappingMethod = named(body.method.name())?;
    if body.rsa_bits.is_some() && !matches!(method, WrappingMethod::RsaOaepSha256 | WrappingMethod::RsaAesKwp) {
        return Err(Problem::invalid("`rsa_bits` is for the methods with RSA"));
    }
    let rsa = body.rsa_bits.map(size).transpose()?;
    let asked = Parameters::new(destination(body)?, method, rsa, body.hours.unwrap_or(IMPORT_HOURS))?;
    let done = engine.call(call.arrival, asked).await?;
    let reply = &done.reply;
    let shown = ImportParameters {
        import: reply.import.to_string(),
        key: reply.key.to_string(),
        keyring: reply.keyring.clone(),
        algorithm: named(reply.algorithm.name())?,
        purpose: named(reply.purpose.name())?,
        method: named(reply.method.name())?,
        public_key: reply.public_key.clone(),
        fingerprint: reply.fingerprint.clone(),
        expires: timestamp(reply.expires),
    };
    answer::json(done.record, &shown)
}

fn ending(expires: Option<&Timestamp>) -> Result<Option<UnixMillis>, Problem> {
    expires.map(|at| instant("expires", &at.0)).transpose()
}

async fn import(
    State(engine): State<Engine>,
    Named(import): Named<ImportId>,
    call: Json<ImportKey>,
) -> Result<Response, Problem> {
    let body = call.body;
    let incoming = Incoming {
        import,
        expires: ending(body.expires.as_ref())?,
        statement: field("statement", &body.statement)?,
        wrapped: body.wrapped.0,
    };
    let done = engine.call(call.arrival, Import { create: create_from(&body.key)?, incoming }).await?;
    answer::json(done.record, &convert::key(&done.reply)?)
}

fn incoming(body: ImportMaterial) -> Result<Incoming, Problem> {
    Ok(Incoming {
        import: field("import", &body.import)?,
        expires: ending(body.expires.as_ref())?,
        statement: field("statement", &body.statement)?,
        wrapped: body.wrapped.0,
    })
}

async fn import_version(
    State(engine): State<Engine>,
    Named(key): Named<KeyRef>,
    call: Json<ImportMaterial>,
) -> Result<Response, Problem> {
    if call.body.version.is_some() {
        return Err(Problem::invalid("a new version has no number yet: leave `version` out"));
    }
    let reason = field("reason", &call.body.reason)?;
    let operation = ImportVersion { key, incoming: incoming(call.body)?, reason };
    let done = engine.call(call.arrival, operation).await?;
    answer::json(done.record, &convert::key(&done.reply)?)
}

async fn reimport(
    State(engine): State<Engine>,
    Named(key): Named<KeyRef>,
    call: Json<ImportMaterial>,
) -> Result<Response, Problem> {
    let (version, reason) = (call.body.version, field("reason", &call.body.reason)?);
    let operation = Reimport { key, version, incoming: incoming(call.body)?, reason };
    let done = engine.call(call.arrival, operation).await?;
    answer::json(done.record, &convert::key(&done.reply)?)
}

async fn export(
    State(engine): State<Engine>,
    Named(key): Named<KeyRef>,
    call: Json<ExportKey>,
) -> Result<Response, Problem> {
    let body = &call.body;
    let method: WrappingMethod = named(body.method.name())?;
    let wrong = |error: keyreeve_crypto::CryptoError| Problem::invalid(format!("`recipient`: {error}"));
    let recipient = TransportPublic::from_pem(method, &body.recipient).map_err(wrong)?;
    let operation = Export { key, version: body.version, recipient, reason: field("reason", &body.reason)? };
    let done = engine.call(call.arrival, operation).await?;
    let exported = done.reply;
    let shown = ExportedKey {
        key: exported.key.to_string(),
        version: exported.version,
        algorithm: named(exported.algorithm.name())?,
        method: named(exported.method.name())?,
        recipient: exported.recipient,
        wrapped: Base64(exported.wrapped),
    };
    answer::json(done.record, &shown)
}
