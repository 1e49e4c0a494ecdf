//! Keys: making, listing, showing, altering.

use axum::extract::State;
use axum::response::Response;
use keyreeve_crypto::{KeyAlgorithm, Purpose};
use keyreeve_engine::ops::keys::{Create, CreateSpec, Describe, KeyQuery, List, ListAlgorithms, MetadataPatch, Update};
use keyreeve_engine::{Engine, KeyRef, KeyringRef};
use keyreeve_http::Problem;
use keyreeve_model::key::Activation;
use keyreeve_model::{Classification, Environment, KeyMetadata, Label, Name, State as KeyState};
use keyreeve_wire::keys::{AlgorithmInfo, CreateKey, Key, KeySummary, PublicKey, UpdateKey};
use keyreeve_wire::{Base64, Page, names};
use std::collections::BTreeMap;

use super::keyrings::{AFTER, LIMIT};
use crate::answer;
use crate::call::{Asking, Json, Known, Named, Plain};
use crate::convert::{self, defect, field, instant, label_patch, labels, named, optional, set, set_patch};
use crate::query::Query;
use crate::routes::{Param, Route, route};

/// The keyring of keys for which none is named: initialisation makes it.
pub(super) const DEFAULT_KEYRING: &str = "default";

pub(crate) static ROUTES: &[Route] = &[
    route!(Post "/keys", Admin, KEY_CREATE, create)
        .takes::<CreateKey>(
            r#"{"algorithm":"xaes-256-gcm","aliases":["orders"],"owner":"Shop team","reason":"orders at rest"}"#,
        )
        .gives::<Key>(),
    route!(Get "/keys", Admin, KEY_LIST, list).query(Search::PARAMS).lists::<KeySummary>(),
    route!(Get "/keys/{key}", Both, KEY_DESCRIBE, describe).gives::<Key>(),
    route!(Patch "/keys/{key}", Admin, KEY_UPDATE, update)
        .takes::<UpdateKey>(r#"{"owner":"Payments team","set_labels":{"tier":"gold"},"add_consumers":["shop"]}"#)
        .gives::<Key>(),
    route!(Get "/keys/{key}/public-key", Both, KEY_DESCRIBE, public_key)
        .query(Half::PARAMS)
        .gives::<PublicKey>()
        .or_gives(&["application/x-pem-file", "application/octet-stream"])
        .note("The public half of one version, as JSON, PEM or DER."),
    route!(Get "/algorithms", Both, ALGORITHM_LIST, algorithms).lists::<AlgorithmInfo>(),
];

pub(crate) fn environment(environment: names::Environment) -> Result<Environment, Problem> {
    Environment::from_name(environment.name()).ok_or_else(defect)
}

fn activation(body: &CreateKey) -> Result<Activation, Problem> {
    match (&body.activation, &body.activates) {
        (None | Some(names::Activation::Now), None) => Ok(Activation::Now),
        (Some(names::Activation::OnRequest), None) => Ok(Activation::OnRequest),
        (None, Some(at)) => Ok(Activation::At(instant("activates", &at.0)?)),
        (Some(_), Some(_)) => Err(Problem::invalid("give either `activation` or `activates`, not both")),
    }
}

fn metadata(body: &CreateKey) -> Result<KeyMetadata, Problem> {
    Ok(KeyMetadata {
        aliases: set("aliases", &body.aliases)?,
        labels: labels(&body.labels)?,
        owner: field("owner", &body.owner)?,
        custodians: set("custodians", &body.custodians)?,
        consumers: set("consumers", &body.consumers)?,
        holders: set("holders", &body.holders)?,
        classification: body.classification.map_or(Ok(Classification::default()), |class| named(class.name()))?,
        environment: Environment::default(),
        description: field("description", &body.description)?,
    })
}

pub(super) fn create_from(body: &CreateKey) -> Result<Create, Problem> {
    let spec = CreateSpec {
        keyring: field("keyring", body.keyring.as_deref().unwrap_or(DEFAULT_KEYRING))?,
        algorithm: body.algorithm.map_or(Ok(KeyAlgorithm::default()), |one| named(one.name()))?,
        purpose: body.purpose.map(|one| named::<Purpose>(one.name())).transpose()?,
        scope: body.scope.map(convert::scope_from).unwrap_or_default(),
        exportable: body.exportable,
        protection: body.protection.map(convert::protection).unwrap_or_default(),
        activation: activation(body)?,
        deactivates: body.deactivates.as_ref().map(|at| instant("deactivates", &at.0)).transpose()?,
        deterministic_reason: optional("deterministic_reason", body.deterministic_reason.as_deref())?,
        metadata: metadata(body)?,
        environment: body.environment.map(environment).transpose()?,
        reason: field("reason", &body.reason)?,
    };
    Ok(Create::new(spec)?)
}

async fn create(State(engine): State<Engine>, call: Json<CreateKey>) -> Result<Response, Problem> {
    let done = engine.call(call.arrival, create_from(&call.body)?).await?;
    answer::json(done.record, &convert::key(&done.reply)?)
}

struct Search;

impl Known for Search {
    const PARAMS: &'static [Param] = &[
        Param::reference("keyring", "Only keys of this keyring, by id or name."),
        Param::one_of::<names::State>("state", "Only keys in this state now."),
        Param::one_of::<names::Algorithm>("algorithm", "Only keys of this algorithm."),
        Param::one_of::<names::Purpose>("purpose", "Only keys for this purpose."),
        Param::one_of::<names::Protection>("protection", "Only keys whose material is there."),
        Param::repeated("label", "Only keys with this label: `name=value`. May be given several times."),
        Param::label("owner", "Only keys of this owner."),
        Param::label("consumer", "Only keys that this system uses."),
        Param::one_of::<names::Classification>("classification", "Only keys of this class."),
        Param::label("text", "Only keys in whose id, aliases, description, owner or labels this text stands."),
        AFTER,
        LIMIT,
    ];
}

fn label_query(query: &Query) -> Result<BTreeMap<Name, Label>, Problem> {
    let mut labels = BTreeMap::new();
    for pair in query.all("label") {
        let wrong = || Problem::invalid("the query parameter `label` reads `name=value`");
        let (name, value) = pair.split_once('=').ok_or_else(wrong)?;
        if labels.insert(field("label", name)?, field("label", value)?).is_some() {
            return Err(Problem::invalid("the query parameter `label` names one label twice"));
        }
    }
    Ok(labels)
}

fn list_from(query: &Query) -> Result<List, Problem> {
    let state = query.get::<names::State>("state")?;
    Ok(List {
        query: KeyQuery {
            keyring: query.get::<KeyringRef>("keyring")?,
            state: state.map(|state| KeyState::from_name(state.name()).ok_or_else(defect)).transpose()?,
            algorithm: query.get("algorithm")?,
            purpose: query.get("purpose")?,
            protection: query.get::<names::Protection>("protection")?.map(convert::protection),
            labels: label_query(query)?,
            owner: query.get("owner")?,
            consumer: query.get("consumer")?,
            classification: query.get("classification")?,
            text: query.get::<Label>("text")?.map(|text| text.to_string()),
        },
        after: query.get("after")?,
        limit: query.limit()?,
    })
}

async fn list(State(engine): State<Engine>, call: Asking<Search>) -> Result<Response, Problem> {
    let done = engine.call(call.arrival, list_from(&call.query)?).await?;
    answer::json(done.record, &convert::page(done.reply, |row| convert::summary(&row))?)
}

async fn describe(
    State(engine): State<Engine>,
    Named(key): Named<KeyRef>,
    Plain(arrival): Plain,
) -> Result<Response, Problem> {
    let done = engine.call(arrival, Describe { key }).await?;
    answer::json(done.record, &convert::key(&done.reply)?)
}

fn patch(body: &UpdateKey) -> Result<MetadataPatch, Problem> {
    Ok(MetadataPatch {
        aliases: set_patch("aliases", body.aliases.as_deref(), (&body.add_aliases, &body.remove_aliases))?,
        labels: label_patch(body.labels.as_ref(), &body.set_labels, &body.remove_labels)?,
        owner: optional("owner", body.owner.as_deref())?,
        custodians: set_patch(
            "custodians",
            body.custodians.as_deref(),
            (&body.add_custodians, &body.remove_custodians),
        )?,
        consumers: set_patch("consumers", body.consumers.as_deref(), (&body.add_consumers, &body.remove_consumers))?,
        holders: set_patch("holders", body.holders.as_deref(), (&body.add_holders, &body.remove_holders))?,
        classification: body.classification.map(|class| named(class.name())).transpose()?,
        description: optional("description", body.description.as_deref())?,
    })
}

async fn update(
    State(engine): State<Engine>,
    Named(key): Named<KeyRef>,
    call: Json<UpdateKey>,
) -> Result<Response, Problem> {
    let done = engine.call(call.arrival, Update { key, patch: patch(&call.body)? }).await?;
    answer::json(done.record, &convert::key(&done.reply)?)
}

struct Half;

impl Known for Half {
    const PARAMS: &'static [Param] = &[
        Param::version("version", "The key version; the primary one unless said."),
        Param::text("format", "`json`, `pem` or `der`; `json` unless said."),
    ];
}

async fn public_key(
    State(engine): State<Engine>,
    Named(key): Named<KeyRef>,
    call: Asking<Half>,
) -> Result<Response, Problem> {
    let (version, format) = (call.query.get::<u32>("version")?, call.query.text("format"));
    let format = format.as_deref().unwrap_or("json");
    if !["json", "pem", "der"].contains(&format) {
        return Err(Problem::invalid("the query parameter `format` is `json`, `pem` or `der`"));
    }
    let done = engine.call(call.arrival, Describe { key }).await?;
    let record = &done.reply.key;
    let version = version.unwrap_or(record.primary());
    let found = record.version(version).map_err(|refusal| Problem::from(keyreeve_engine::Error::from(refusal)))?;
    let none = || {
        Problem::from(keyreeve_engine::Error::new(
            keyreeve_engine::Code::WrongKeyUse,
            "the key has no public half: its algorithm is symmetric",
        ))
    };
    let der = convert::spki(found.public_key().ok_or_else(none)?)?;
    match format {
        "der" => Ok(answer::octets(done.record, version, der.into())),
        "pem" => Ok(answer::pem(done.record, pem(&der))),
        _ => {
            let reply = PublicKey {
                key: record.id().to_string(),
                version,
                algorithm: named(record.algorithm().name())?,
                fingerprint: found.fingerprint().to_owned(),
                pem: pem(&der),
                der: Base64(der),
            };
            answer::json(done.record, &reply)
        }
    }
}

/// RFC 7468: lines of 64 characters.
fn pem(der: &[u8]) -> String {
    let body = base64_simd::STANDARD.encode_to_string(der);
    let mut text = String::from("-----BEGIN PUBLIC KEY-----\n");
    for (place, character) in body.chars().enumerate() {
        if place > 0 && place % 64 == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push_str("\n-----END PUBLIC KEY-----\n");
    text
}

async fn algorithms(State(engine): State<Engine>, Plain(arrival): Plain) -> Result<Response, Problem> {
    let done = engine.call(arrival, ListAlgorithms).await?;
    let (registry, at) = (&done.reply.registry, done.reply.at);
    let entries = registry.entries().iter();
    let items = entries.map(|entry| convert::algorithm(registry, entry, at)).collect::<Result<_, _>>()?;
    answer::json(done.record, &Page::<AlgorithmInfo> { items, next: None })
}
