//! The table of routes, and the routers made from it.

use axum::Router;
use axum::routing::{MethodFilter, MethodRouter, get};
use http::header;
use keyreeve_engine::{Descriptor, Engine};
use keyreeve_wire::Page;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use utoipa::openapi::RefOr;
use utoipa::openapi::path::HttpMethod;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

use crate::call::{Besides, OCTETS};
use crate::{handlers, openapi};

/// The methods in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Reads.
    Get,
    /// Does something.
    Post,
    /// Makes or replaces.
    Put,
    /// Alters.
    Patch,
    /// Removes.
    Delete,
}

impl Verb {
    /// The method's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    pub(crate) const fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
            Self::Put => MethodFilter::PUT,
            Self::Patch => MethodFilter::PATCH,
            Self::Delete => MethodFilter::DELETE,
        }
    }

    pub(crate) const fn documented(self) -> HttpMethod {
        match self {
            Self::Get => HttpMethod::Get,
            Self::Post => HttpMethod::Post,
            Self::Put => HttpMethod::Put,
            Self::Patch => HttpMethod::Patch,
            Self::Delete => HttpMethod::Delete,
        }
    }
}

/// Which listener a route is served by (requirement D7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// That of applications: using keys.
    Data,
    /// That of administrators: keys' lives, access, the audit log, the server itself.
    Admin,
    /// Either: what both need.
    Both,
}

impl Side {
    /// True when a route of this side is served by a listener for `wanted`.
    #[must_use]
    pub const fn serves(self, wanted: Self) -> bool {
        matches!(
            (self, wanted),
            (Self::Both, _) | (_, Self::Both) | (Self::Data, Self::Data) | (Self::Admin, Self::Admin)
        )
    }
}

/// A parameter in the query part of a path.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub about: &'static str,
    /// True when it may be given several times.
    pub repeats: bool,
    /// What its values are.
    pub(crate) schema: fn() -> RefOr<Schema>,
}

impl Param {
    const fn new(name: &'static str, about: &'static str, schema: fn() -> RefOr<Schema>) -> Self {
        Self { name, about, repeats: false, schema }
    }

    /// Any text, given once.
    #[must_use]
    pub const fn text(name: &'static str, about: &'static str) -> Self {
        Self::new(name, about, || openapi::text().into())
    }

    /// A text that people write, such as an owner.
    #[must_use]
    pub const fn label(name: &'static str, about: &'static str) -> Self {
        Self::new(name, about, openapi::label)
    }

    /// The name or id of something.
    #[must_use]
    pub const fn reference(name: &'static str, about: &'static str) -> Self {
        Self::new(name, about, openapi::reference_text)
    }

    /// An instant (RFC 3339).
    #[must_use]
    pub const fn instant(name: &'static str, about: &'static str) -> Self {
        Self::new(name, about, openapi::instant)
    }

    /// A number from 0 on.
    #[must_use]
    pub const fn integer(name: &'static str, about: &'static str) -> Self {
        Self::new(name, about, || openapi::integer(0, i64::MAX))
    }

    /// The number of a key version.
    #[must_use]
    pub const fn version(name: &'static str, about: &'static str) -> Self {
        Self::new(name, about, || openapi::integer(0, u32::MAX.into()))
    }

    /// How many rows.
    #[must_use]
    pub const fn limit(name: &'static str, about: &'static str) -> Self {
        Self::new(name, about, || openapi::integer(1, keyreeve_engine::ops::PAGE_MAX.into()))
    }

    /// One of a closed list.
    #[must_use]
    pub const fn one_of<T: PartialSchema>(name: &'static str, about: &'static str) -> Self {
        Self::new(name, about, T::schema)
    }

    /// A text, given any number of times.
    #[must_use]
    pub const fn repeated(name: &'static str, about: &'static str) -> Self {
        Self { repeats: true, ..Self::text(name, about) }
    }
}

/// A schema that can stand in a static table.
#[derive(Clone, Copy)]
pub(crate) struct SchemaRef {
    pub(crate) name: fn() -> Cow<'static, str>,
    pub(crate) schema: fn() -> RefOr<Schema>,
    pub(crate) nested: fn(&mut Vec<(String, RefOr<Schema>)>),
}

impl SchemaRef {
    const fn of<T: ToSchema>() -> Self {
        Self { name: T::name, schema: <T as PartialSchema>::schema, nested: T::schemas }
    }
}

fn page_name<T: ToSchema>() -> Cow<'static, str> {
    format!("{}Page", T::name()).into()
}

/// A JSON body.
#[derive(Clone, Copy)]
pub(crate) struct BodyDoc {
    pub(crate) schema: SchemaRef,
    pub(crate) example: &'static str,
    check: fn(&[u8]) -> bool,
}

/// One route.
pub struct Route {
    /// Its method.
    pub verb: Verb,
    /// Its path under `/v1`, with `{parameters}`.
    pub path: &'static str,
    /// The operation of the catalogue it leads to. Where there are several, the first is what one call is recorded as:
    /// the others are alternatives that the body chooses, or permissions needed besides.
    pub operations: [Option<&'static Descriptor>; 2],
    /// Which listener serves it.
    pub side: Side,
    /// True when nobody needs to be known to use it.
    pub(crate) anonymous: bool,
    pub(crate) id: &'static str,
    pub(crate) note: &'static str,
    pub(crate) query: &'static [Param],
    pub(crate) body: Option<BodyDoc>,
    pub(crate) body_media: &'static [&'static str],
    /// With a binary body: whether context and signature stand in headers.
    pub(crate) context_header: bool,
    pub(crate) signature_header: bool,
    pub(crate) reply: Option<SchemaRef>,
    /// What a page holds.
    pub(crate) row: Option<SchemaRef>,
    pub(crate) reply_media: &'static [&'static str],
    handler: fn() -> MethodRouter<Engine>,
}

macro_rules! route {
    ($verb:ident $path:literal, $side:ident, $first:ident $(+ $second:ident)?, $handler:ident) => {
        $crate::routes::Route::new(
            $crate::routes::Verb::$verb,
            $path,
            $crate::routes::Side::$side,
            [Some(&keyreeve_engine::catalogue::$first), route!(@second $($second)?)],
            concat!(module_path!(), "::", stringify!($handler)),
            || axum::routing::on($crate::routes::Verb::$verb.filter(), $handler),
        )
    };
    (@second) => { None };
    (@second $second:ident) => { Some(&keyreeve_engine::catalogue::$second) };
}
pub(crate) use route;

impl Route {
    pub(crate) const fn new(
        verb: Verb,
        path: &'static str,
        side: Side,
        operations: [Option<&'static Descriptor>; 2],
        id: &'static str,
        handler: fn() -> MethodRouter<Engine>,
    ) -> Self {
        Self {
            verb,
            path,
            operations,
            side,
            anonymous: false,
            id,
            note: "",
            query: &[],
            body: None,
            body_media: &[],
            context_header: false,
            signature_header: false,
            reply: None,
            row: None,
            reply_media: &[],
            handler,
        }
    }

    /// Anybody may use it.
    pub(crate) const fn for_anybody(self) -> Self {
        Self { anonymous: true, ..self }
    }

    /// Something to know besides what the operation does.
    pub(crate) const fn note(self, note: &'static str) -> Self {
        Self { note, ..self }
    }

    pub(crate) const fn query(self, query: &'static [Param]) -> Self {
        Self { query, ..self }
    }

    /// It takes this JSON body.
    pub(crate) const fn takes<T: ToSchema + DeserializeOwned>(self, example: &'static str) -> Self {
        let check = |bytes: &[u8]| serde_json::from_slice::<T>(bytes).is_ok();
        Self { body: Some(BodyDoc { schema: SchemaRef::of::<T>(), example, check }), ..self }
    }

    /// It takes bodies of these media types as well.
    pub(crate) const fn or_takes(self, body_media: &'static [&'static str]) -> Self {
        Self { body_media, ..self }
    }

    /// It takes binary bodies as well.
    pub(crate) const fn or_binary<B: Besides>(self) -> Self {
        Self { body_media: &[OCTETS], context_header: B::CONTEXT, signature_header: B::PROOF, query: B::PARAMS, ..self }
    }

    /// It answers with this JSON body.
    pub(crate) const fn gives<T: ToSchema>(self) -> Self {
        Self { reply: Some(SchemaRef::of::<T>()), ..self }
    }

    /// It answers with pages of these rows.
    pub(crate) const fn lists<T: ToSchema>(self) -> Self {
        let page = SchemaRef { name: page_name::<T>, ..SchemaRef::of::<Page<T>>() };
        Self { reply: Some(page), row: Some(SchemaRef::of::<T>()), ..self }
    }

    /// It answers with bodies of these media types (as well).
    pub(crate) const fn or_gives(self, reply_media: &'static [&'static str]) -> Self {
        Self { reply_media, ..self }
    }

    /// The operations it may lead to.
    pub fn operations(&self) -> impl Iterator<Item = &'static Descriptor> {
        self.operations.into_iter().flatten()
    }

    /// An example of its JSON body.
    #[must_use]
    pub fn example(&self) -> Option<&'static str> {
        self.body.map(|body| body.example)
    }

    /// Reads bytes as its JSON body and says whether that is what they are; for tests that throw anything at it.
    #[must_use]
    pub fn accepts(&self, bytes: &[u8]) -> bool {
        self.body.is_some_and(|body| (body.check)(bytes))
    }
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb.name(), self.path)
    }
}

/// All routes.
pub fn routes() -> impl Iterator<Item = &'static Route> {
    handlers::TABLES.iter().copied().flatten()
}

/// The router of a listener, with paths from the root: `/v1/keys`.
pub fn router(engine: Engine, side: Side) -> Router {
    let served = routes().filter(|route| route.side.serves(side));
    let router = served.fold(Router::new(), |router, route| {
        router.route(&format!("{}{}", keyreeve_wire::PREFIX, route.path), (route.handler)())
    });
    let json = [(header::CONTENT_TYPE, "application/json")];
    let document = get(move || async move { (json, openapi::served()) });
    router.route(&format!("{}/openapi.json", keyreeve_wire::PREFIX), document).with_state(engine)
}
