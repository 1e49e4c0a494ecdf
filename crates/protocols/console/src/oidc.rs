//! Signing in at an OpenID provider: the ways that are offered, going there, and coming back.
//!
//! ```text
//! page ──begin──▶ /console/api/login/oidc: attempt, its secret in a cookie
//!      ──▶ provider ──▶ /console/login/callback/METHOD
//! ```
//! What comes back counts in the browser that went: the attempt's secret is in a cookie that other sites cannot set and
//! scripts do not see. Where one comes back to must stand in the method (`redirect_uris`) and at the provider.
//!
//! Each method has an address of its own to come back to: a provider that sends the browser on to another one, as if it
//! had been asked by us, would else be shown the code that the other one gave (RFC 9700, section 4.4.2.2).

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::Uri;
use http::header::{HeaderMap, HeaderValue, SET_COOKIE};
use keyreeve_engine::ops::login::methods::Offered;
use keyreeve_engine::ops::login::oidc::{Finish, Returned, Start};
use keyreeve_http::{JsonCall, PlainCall, Problem, asked_origin, cookie_in, session_cookie};
use keyreeve_model::Name;
use keyreeve_model::ids::LoginId;
use keyreeve_secret::SecretString;
use keyreeve_wire::form::Fields;
use serde::{Deserialize, Serialize};

use crate::Console;
use crate::pages::{Page, counted};
use crate::session::{Told, back, defect, stranger};

/// Where providers send people back to, below the console's origin, before the name of the method.
const CALLBACK: &str = "/console/login/callback/";
/// The same with the name, which may have slashes in it.
pub(crate) const CALLBACKS: &str = "/console/login/callback/{*method}";
/// What only the browser has that went to the provider. `Lax`: it comes back from another site.
const COOKIE: &str = "__Host-keyreeve-login";
/// How long that takes at most, in seconds; the attempt itself does not last longer either.
const COOKIE_SECONDS: u32 = 600;
/// Between the parts of the cookie: none of them has it.
const BETWEEN: char = '~';

/// The ways to sign in here.
#[derive(Serialize)]
struct Ways {
    items: Vec<Way>,
}

#[derive(Serialize)]
struct Way {
    name: String,
    kind: &'static str,
}

/// Begins to sign in at a provider.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Begin {
    method: String,
    page: String,
}

/// Where the page sends the browser.
#[derive(Serialize)]
struct Begun {
    address: String,
}

/// Where one comes back to who went with a method, for a request that was sent to this origin.
fn callback_of(origin: &str, method: &Name) -> String {
    format!("{origin}{CALLBACK}{method}")
}

/// The login methods that a person can use here: directories, and providers that send people back to this console.
pub(crate) async fn ways(
    State(console): State<Console>,
    uri: Uri,
    headers: HeaderMap,
    call: PlainCall,
) -> Result<Response, Problem> {
    let here = asked_origin(&uri, &headers);
    let offered = console.engine.call(stranger(call.arrival), Offered).await?.reply;
    let usable = offered.into_iter().filter(|method| match method.kind {
        "oidc" => here.as_ref().is_some_and(|here| method.returns_to.contains(&callback_of(here, &method.name))),
        kind => kind == "ldap",
    });
    let items = usable.map(|method| Way { name: method.name.to_string(), kind: method.kind }).collect();
    Ok(Json(Ways { items }).into_response())
}

/// Begins, and tells the page where to go. A form cannot: its policy lets it go nowhere else.
pub(crate) async fn begin(
    State(console): State<Console>,
    uri: Uri,
    headers: HeaderMap,
    call: JsonCall<Begin>,
) -> Result<Response, Problem> {
    let page = Page::named(&call.body.page).ok_or_else(|| Problem::invalid("page: there is no such page"))?;
    let method: Name = call.body.method.parse().map_err(|_| Problem::invalid("method: this is no name"))?;
    let origin = asked_origin(&uri, &headers)
        .ok_or_else(|| Problem::invalid("the request does not say which host it is for"))?;
    let start = Start { method: method.clone(), redirect_uri: callback_of(&origin, &method) };
    let begun = console.engine.call(stranger(call.arrival), start).await?.reply;
    let going = Going { attempt: begun.attempt, starter: begun.starter, page, method };
    let cookie = going.cookie().ok_or_else(defect)?;
    Ok(([(SET_COOKIE, cookie)], Json(Begun { address: begun.url })).into_response())
}

/// What the browser brings back from a provider becomes its session.
pub(crate) async fn callback(
    State(console): State<Console>,
    Path(came_from): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    call: PlainCall,
) -> Result<Response, Problem> {
    // What another provider answered is not shown to the one where this browser went.
    let going = Going::of(&headers).filter(|going| going.method.as_str() == came_from);
    let page = going.as_ref().map_or(Page::Security, |going| going.page);
    let brought = brought(query.as_deref().unwrap_or_default());
    let (going, returned) = match (going, brought) {
        (Some(going), Ok(returned)) => (going, returned),
        (_, Err(told)) => return nowhere(&console, call, page, told).await,
        (None, Ok(_)) => return nowhere(&console, call, page, Told::Late).await,
    };
    let finish = Finish::new(going.method, going.attempt, going.starter, returned);
    match console.engine.call(stranger(call.arrival), finish).await {
        Ok(done) => back(page, None, [session_cookie(Some(done.reply.issued.token.expose())), forgotten()]),
        Err(refused) => back(page, Some(Told::of(&refused)), [forgotten()]),
    }
}

/// Nothing that could be finished came back.
async fn nowhere(console: &Console, call: PlainCall, page: Page, told: Told) -> Result<Response, Problem> {
    counted(console, call.arrival).await?;
    back(page, Some(told), [forgotten()])
}

/// The query of a redirection (RFC 6749, sections 4.1.2 and 4.1.2.1; RFC 9207). Providers add fields of their own.
fn brought(query: &str) -> Result<Returned, Told> {
    let fields = Fields::parse(query.as_bytes()).ok_or(Told::Late)?;
    if fields.has("error") {
        return Err(Told::Provider);
    }
    let issuer = match fields.has("iss") {
        true => Some(fields.one("iss").ok_or(Told::Late)?.expose().to_owned()),
        false => None,
    };
    let one = |name| fields.take(name).ok_or(Told::Late);
    Ok(Returned { state: one("state")?, code: one("code")?, issuer })
}

/// A login for which the browser is at the provider.
struct Going {
    attempt: LoginId,
    starter: SecretString,
    page: Page,
    method: Name,
}

impl Going {
    fn cookie(&self) -> Option<HeaderValue> {
        let Self { attempt, starter, page, method } = self;
        let (page, starter, end) = (page.name(), starter.expose(), COOKIE_SECONDS);
        let value = format!("{attempt}{BETWEEN}{page}{BETWEEN}{starter}{BETWEEN}{method}");
        set(&value, end)
    }

    fn of(headers: &HeaderMap) -> Option<Self> {
        let mut parts = cookie_in(headers, COOKIE)?.split(BETWEEN);
        let mut next = || parts.next();
        let (attempt, page, starter, method) = (next()?, next()?, next()?, next()?);
        if next().is_some() {
            return None;
        }
        Some(Self {
            attempt: attempt.parse().ok()?,
            starter: SecretString::copy_from(starter),
            page: Page::named(page)?,
            method: method.parse().ok()?,
        })
    }
}

fn set(value: &str, seconds: u32) -> Option<HeaderValue> {
    let text = format!("{COOKIE}={value}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={seconds}");
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn forgotten() -> Option<HeaderValue> {
    set("", 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::COOKIE as SENT;

    fn going() -> Going {
        let attempt = LoginId::from_bytes([7; 16]);
        let method = "corp/eu:1".parse().unwrap();
        Going { attempt, starter: SecretString::copy_from("a-b_C"), page: Page::Approvals, method }
    }

    fn sent(cookie: &str) -> HeaderMap {
        HeaderMap::from_iter([(SENT, HeaderValue::from_str(cookie).unwrap())])
    }

    #[test]
    fn the_browser_keeps_what_it_went_with() {
        let cookie = going().cookie().unwrap();
        let (pair, rest) = cookie.to_str().unwrap().split_once("; ").unwrap();
        assert_eq!(rest, "Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=600");
        let found = Going::of(&sent(&format!("a=b; {pair}"))).unwrap();
        assert_eq!((found.attempt, found.page, found.method), (going().attempt, Page::Approvals, going().method));
        assert_eq!(found.starter.expose(), "a-b_C");
        for broken in [format!("{pair}~more"), format!("{pair}; {pair}"), pair.replace("approvals", "elsewhere")] {
            assert!(Going::of(&sent(&broken)).is_none(), "{broken}");
        }
    }

    #[test]
    fn what_comes_back_is_read_strictly_and_a_refusal_is_told() {
        let returned = brought("code=a%2Bb&state=s&iss=https%3A%2F%2Fid.example&session_state=x").unwrap();
        assert_eq!((returned.code.expose(), returned.state.expose()), ("a+b", "s"));
        assert_eq!(returned.issuer.as_deref(), Some("https://id.example"));
        assert_eq!(brought("error=access_denied&state=s").unwrap_err(), Told::Provider);
        for query in ["", "code=a", "state=s", "code=a&code=b&state=s", "code=%&state=s", "code=a&state=s&iss=a&iss=b"]
        {
            assert_eq!(brought(query).unwrap_err(), Told::Late, "{query}");
        }
    }
}
