//! The OpenAPI 3.1 description, made from the table of routes and the types of the bodies.

use bytes::Bytes;
use keyreeve_engine::{AuditClass, Code};
use keyreeve_http::{HttpCode, IDEMPOTENCY_KEY_MAX, status_of};
use keyreeve_model::limits;
use keyreeve_wire::{AUDIT_RECORD_HEADER, IDEMPOTENCY_KEY_HEADER, KEY_VERSION_HEADER, PREFIX, REQUEST_ID_HEADER};
use keyreeve_wire::{CONTEXT_HEADER, SIGNATURE_HEADER};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, Paths};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{ArrayBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ComponentsBuilder, Header, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required,
};
use utoipa::{PartialSchema, ToSchema};

use crate::call::OCTETS;
use crate::routes::{Param, Route, SchemaRef, Verb, routes};

const ABOUT: &str = "Key management: keys are generated, used, rotated and destroyed through one pipeline. Every \
request is authenticated, authorised by policy and recorded \
in a durable, verifiable audit log before its answer leaves.\n\n\
Requests refuse unknown and repeated fields. Replies may gain fields: ignore those you do not know. Instants are RFC \
3339, binary values standard base64 with padding, ciphertexts `kr1.` followed by unpadded base64url.\n\n\
A key is named by its id or an alias; `/` in an alias is written `%2F` in paths. In the batch form one item's failure \
does not stop the others, and each answer holds its result or its error; a batch of a single item fails as a whole.";

/// Standard base64 with padding (RFC 4648 section 4).
const BASE64: &str = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$";
/// The media type of problem details.
const PROBLEM: &str = "application/problem+json";

/// The description.
#[must_use]
pub fn document() -> OpenApi {
    let mut paths = Paths::new();
    for route in routes() {
        paths.add_path_operation(documented_path(route), vec![route.verb.documented()], operation(route));
    }
    let license = LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build();
    let info =
        InfoBuilder::new().title("Keyreeve").version("1").description(Some(ABOUT)).license(Some(license)).build();
    let tags = tags().into_iter().map(|(name, about)| TagBuilder::new().name(name).description(Some(about)).build());
    OpenApiBuilder::new()
        .info(info)
        .paths(paths)
        .components(Some(components()))
        .tags(Some(tags))
        .security(Some(security()))
        .build()
}

/// The same as it is served.
pub(crate) fn served() -> Bytes {
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| document().to_json().unwrap_or_default().into());
    TEXT.clone()
}

fn documented_path(route: &Route) -> String {
    format!("{PREFIX}{}", route.path.replace("{*", "{"))
}

/// The groups of routes: the modules of their handlers.
fn tags() -> Vec<(&'static str, &'static str)> {
    vec![
        ("system", "The server itself: initialise, open, seal."),
        ("shares", "Shares of roots of trust: who holds them, proofs, exchange for new ones."),
        ("escrow", "Keys deposited with agents: policy, escrow keys, campaigns, recovery."),
        ("ceremonies", "Key ceremonies on record."),
        ("keyrings", "Keyrings: the unit of separation."),
        ("roots", "Roots of trust, and moving between them."),
        ("jobs", "Long work: looking at it and stopping it."),
        ("integrity", "Damage: scans for it, and what is in quarantine because of it."),
        ("keys", "Keys: make, list, show, alter."),
        ("lifecycle", "Keys' lives: activate, suspend, rotate, destroy."),
        ("cipher", "Encrypt and decrypt."),
        ("data_keys", "Data keys for encrypting elsewhere."),
        ("signing", "Signatures and message authentication codes."),
        ("derivation", "Derive, wrap, encapsulate, agree; random bytes."),
        ("login", "Logging in, sessions, and whom this server believes."),
        ("tokens", "Bearer tokens."),
        ("credentials", "Service credentials: secrets with which programs log in."),
        ("principals", "Who may come in."),
        ("grants", "Rights for a time."),
        ("reviews", "Going through who has which right."),
        ("mfa", "Second factors of people."),
        ("policies", "Who may do what."),
        ("notices", "Telling people: channels and what waits for them."),
        ("backups", "Backups: made, checked, and whether this server came out of one."),
        ("drills", "Drills: rehearsals of what is done in trouble."),
        ("policy_versions", "Policies as sets: applied, compared, put back."),
        ("policy_shadow", "A draft of the policies on trial beside those that apply."),
        ("approvals", "Requests that wait for the consent of others, and the rules of it."),
        ("audit", "The audit log and its proofs."),
        ("holds", "Legal holds: what must not be destroyed."),
        ("incidents", "Incidents, and what they owe."),
        ("emergencies", "Break-glass: what several people let some do for a time, and its review."),
    ]
}

fn security() -> Vec<SecurityRequirement> {
    let none: [&str; 0] = [];
    vec![SecurityRequirement::new("token", none), SecurityRequirement::new("certificate", none)]
}

/// Name of the tag and of the handler: `keyreeve_rest::handlers::keys::create`.
fn tag_and_handler(route: &Route) -> (&'static str, &'static str) {
    let (path, handler) = route.id.rsplit_once("::").unwrap_or(("", route.id));
    (path.rsplit_once("::").map_or(path, |(_, module)| module), handler)
}

fn operation(route: &Route) -> Operation {
    let (tag, handler) = tag_and_handler(route);
    let mut built = OperationBuilder::new()
        .operation_id(Some(format!("{tag}_{handler}")))
        .tag(tag)
        .summary(route.operations().next().map(|row| row.summary))
        .description(Some(describe(route)))
        .parameters(Some(parameters(route)))
        .request_body(request_body(route))
        .response("200", success(route));
    if route.reply.is_none() && route.reply_media.is_empty() {
        built = built.responses(utoipa::openapi::Responses::new()).response("204", success(route));
    }
    for status in ["400", "401", "403", "404", "409", "413", "429", "503"] {
        built = built.response(status, RefOr::Ref(Ref::from_response_name(format!("Problem{status}"))));
    }
    if route.anonymous {
        built = built.securities(Some([SecurityRequirement::default()]));
    }
    built.build()
}

fn describe(route: &Route) -> String {
    let names: Vec<_> = route.operations().map(|row| format!("`{}`", row.name)).collect();
    let side = match route.side {
        crate::Side::Data => "data",
        crate::Side::Admin => "administration",
        crate::Side::Both => "data and administration",
    };
    let mut text = format!("Operation in policies and in the audit log: {}. Listener: {side}.", names.join(", "));
    if !route.note.is_empty() {
        text.push(' ');
        text.push_str(route.note);
    }
    text
}

/// True for calls that change something: their retry can be made harmless.
fn changes(route: &Route) -> bool {
    use keyreeve_audit::record::Class;
    let changing = |class| match class {
        AuditClass::Recorded(Class::Change | Class::Access | Class::System) => true,
        AuditClass::Recorded(Class::Read | Class::Use) | AuditClass::Counted => false,
    };
    route.verb != Verb::Get && route.operations().any(|row| changing(row.audit))
}

fn parameters(route: &Route) -> Vec<Parameter> {
    let mut all: Vec<Parameter> = path_parameters(route.path).map(path_parameter).collect();
    all.extend(route.query.iter().map(query_parameter));
    let base64 = || text().pattern(Some(BASE64));
    if route.context_header {
        let about = "With a binary body: the context as base64 of a JSON object.";
        all.push(header_parameter(CONTEXT_HEADER, about, base64()));
    }
    if route.signature_header {
        let about = "With a binary body: the signature or tag to verify, as base64.";
        all.push(header_parameter(SIGNATURE_HEADER, about, base64()));
    }
    if changes(route) {
        let about = "Makes a retry harmless: the same key with the same request is done once and answered again. \
                     1 to 128 visible ASCII characters.";
        let key = text().min_length(Some(1)).max_length(Some(IDEMPOTENCY_KEY_MAX)).pattern(Some("^[!-~]+$"));
        all.push(header_parameter(IDEMPOTENCY_KEY_HEADER, about, key));
    }
    let about = "Your own id for the request: 1 to 64 letters, digits and `-_.:`; another is replaced.";
    all.push(header_parameter(REQUEST_ID_HEADER, about, text()));
    all
}

fn path_parameters(path: &'static str) -> impl Iterator<Item = &'static str> {
    path.split('/').filter_map(|part| Some(part.strip_prefix('{')?.strip_suffix('}')?.trim_start_matches('*')))
}

pub(crate) fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

/// A text that people write.
pub(crate) fn label() -> RefOr<Schema> {
    text().max_length(Some(limits::TEXT_MAX)).into()
}

/// A name, or an id: what names may be, in characters and length. Some of these are neither.
pub(crate) fn reference_text() -> RefOr<Schema> {
    name_text().into()
}

fn name_text() -> ObjectBuilder {
    text().min_length(Some(1)).max_length(Some(limits::NAME_MAX)).pattern(Some("^[A-Za-z0-9._/:@+-]+$"))
}

/// An instant (RFC 3339).
pub(crate) fn instant() -> RefOr<Schema> {
    text().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))).into()
}

/// A whole number between two others, both included.
pub(crate) fn integer(least: i64, most: i64) -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(least)).maximum(Some(most)).into()
}

fn path_parameter(name: &str) -> Parameter {
    let about = match name {
        "key" => "The key, by id or alias; `/` in an alias is written `%2F`.",
        "keyring" => "The keyring, by id or name; `/` in a name is written `%2F`.",
        "id" => "The id.",
        "method" => "The name of the login method; `/` in it is written `%2F`.",
        "name" => "The name; `/` in it is written `%2F`.",
        "root" => "The root of trust, by its name in the configuration.",
        "path" => "The path of the file in the log; its slashes stand as they are.",
        _ => "",
    };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(about))
        .schema(Some(match name {
            "path" => text().min_length(Some(1)),
            _ => name_text(),
        }))
        .build()
}

fn query_parameter(param: &Param) -> Parameter {
    let schema: RefOr<Schema> =
        if param.repeats { ArrayBuilder::new().items((param.schema)()).into() } else { (param.schema)() };
    ParameterBuilder::new()
        .name(param.name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(param.about))
        .schema(Some(schema))
        .build()
}

fn header_parameter(name: &str, about: &str, schema: ObjectBuilder) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(about))
        .schema(Some(schema))
        .build()
}

fn reference(schema: &SchemaRef) -> RefOr<Schema> {
    RefOr::Ref(Ref::from_schema_name((schema.name)()))
}

fn bytes_schema(media: &str) -> RefOr<Schema> {
    match media {
        "text/plain" | "application/x-pem-file" => text().into(),
        // OpenAPI 3.1: binary bodies of this media type have no schema of their own.
        _ => ObjectBuilder::new().schema_type(utoipa::openapi::schema::SchemaType::AnyValue).into(),
    }
}

fn request_body(route: &Route) -> Option<RequestBody> {
    let body = route.body?;
    let example = serde_json::from_str(body.example).ok();
    let json = ContentBuilder::new().schema(Some(reference(&body.schema))).example(example).build();
    let mut built = RequestBodyBuilder::new().required(Some(Required::True)).content("application/json", json);
    for media in route.body_media {
        built = built.content(*media, ContentBuilder::new().schema(Some(bytes_schema(media))).build());
    }
    Some(built.build())
}

fn header(about: &str) -> Header {
    HeaderBuilder::new().schema(Some(text())).description(Some(about)).build()
}

fn answer_headers(builder: ResponseBuilder) -> ResponseBuilder {
    builder
        .header(REQUEST_ID_HEADER, header("The id of the request, as in the audit log."))
        .header(AUDIT_RECORD_HEADER, header("The audit record of the call, if it was recorded: `rec_…`."))
}

fn success(route: &Route) -> Response {
    let mut built = answer_headers(ResponseBuilder::new().description("Done and recorded."));
    if let Some(schema) = &route.reply {
        built = built.content("application/json", ContentBuilder::new().schema(Some(reference(schema))).build());
    }
    for media in route.reply_media {
        built = built.content(*media, ContentBuilder::new().schema(Some(bytes_schema(media))).build());
    }
    if route.reply_media.contains(&OCTETS) {
        built = built.header(KEY_VERSION_HEADER, header("With a binary answer: the key version."));
    }
    built.build()
}

/// Every schema by its name, as often as it is referred to.
fn schemas() -> Vec<(String, RefOr<Schema>)> {
    let mut schemas: Vec<(String, RefOr<Schema>)> = Vec::new();
    let mut add = |schema: &SchemaRef| {
        schemas.push(((schema.name)().into_owned(), (schema.schema)()));
        (schema.nested)(&mut schemas);
    };
    for route in routes() {
        route.body.iter().for_each(|body| add(&body.schema));
        route.reply.iter().chain(&route.row).for_each(&mut add);
    }
    schemas.push((keyreeve_wire::Problem::name().into_owned(), keyreeve_wire::Problem::schema()));
    schemas
}

fn components() -> utoipa::openapi::Components {
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("krt_")
        .description(Some("A token of `POST /v1/tokens`."))
        .build();
    let certificate = SecurityScheme::MutualTls {
        description: Some("A client certificate that a principal names.".to_owned()),
        deprecated: None,
        extensions: None,
    };
    let mut built = ComponentsBuilder::new()
        .schemas_from_iter(schemas())
        .security_scheme("token", SecurityScheme::Http(token))
        .security_scheme("certificate", certificate);
    for (status, codes) in codes_by_status() {
        built = built.response(format!("Problem{status}"), problem(&codes));
    }
    built.build()
}

fn problem(codes: &BTreeSet<&'static str>) -> Response {
    let codes: Vec<_> = codes.iter().map(|code| format!("`{code}`")).collect();
    let schema = RefOr::Ref(Ref::from_schema_name(keyreeve_wire::Problem::name()));
    let content = ContentBuilder::new().schema(Some::<RefOr<Schema>>(schema)).build();
    let built = ResponseBuilder::new().description(format!("Not done. Codes: {}.", codes.join(", ")));
    answer_headers(built).content(PROBLEM, content).build()
}

/// Every code that can occur, by status.
fn codes_by_status() -> BTreeMap<u16, BTreeSet<&'static str>> {
    let engine = Code::ALL.iter().map(|code| (status_of(code.fault()), code.name()));
    let http = HttpCode::ALL.iter().map(|code| (code.status(), code.name()));
    let mut all: BTreeMap<u16, BTreeSet<&'static str>> = BTreeMap::new();
    for (status, code) in engine.chain(http) {
        all.entry(status.as_u16()).or_default().insert(code);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// The pages of listings are named after their items, so that another type could have such a name already.
    #[test]
    fn one_name_is_one_shape() {
        let mut known = BTreeMap::new();
        for (name, schema) in schemas() {
            let shape = serde_json::to_value(schema).unwrap();
            let before = known.entry(name.clone()).or_insert_with(|| shape.clone());
            assert_eq!(*before, shape, "two types are called {name}");
        }
        assert!(known.len() > 100, "{}", known.len());
    }
}
