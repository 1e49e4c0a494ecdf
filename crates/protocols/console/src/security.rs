//! The page on which people sign in, enrol second factors and show them. What it shows it asks for under
//! `/console/api`, with a cookie that its script does not see.

use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY, SET_COOKIE};
use http::{HeaderValue, StatusCode};
use keyreeve_engine::ops::system::Health;
use keyreeve_engine::ops::tokens::WhoAmI;
use keyreeve_engine::{Arrival, Evidence};
use keyreeve_http::{FormCall, HttpCode, PlainCall, Problem, session_cookie};
use keyreeve_secret::SecretString;

use crate::Console;

/// Its own script and style, its own interface, forms to itself.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'",
);
const PAGE: &str = include_str!("static/security.html");
const SCRIPT: &str = include_str!("static/app.js");
/// Where people are after they signed in or out.
const HERE: HeaderValue = HeaderValue::from_static("/console/security");
const FAILED: HeaderValue = HeaderValue::from_static("/console/security?refused");

pub(crate) async fn page(State(console): State<Console>, call: PlainCall) -> Result<Response, Problem> {
    counted(&console, call.arrival).await?;
    // With none at all browsers call the origin of the page's own forms `null`.
    let referrer = HeaderValue::from_static("same-origin");
    Ok(([(CONTENT_SECURITY_POLICY, POLICY), (REFERRER_POLICY, referrer)], Html(PAGE)).into_response())
}

pub(crate) async fn script(State(console): State<Console>, call: PlainCall) -> Result<Response, Problem> {
    counted(&console, call.arrival).await?;
    Ok(([(CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8"))], SCRIPT).into_response())
}

/// Public as they are, they take the way of everything else.
async fn counted(console: &Console, arrival: Arrival) -> Result<(), Problem> {
    console.engine.call(arrival, Health).await?;
    Ok(())
}

/// Takes the token of a form, and if it proves somebody makes it the browser's session.
pub(crate) async fn sign_in(State(console): State<Console>, call: FormCall) -> Result<Response, Problem> {
    let token = token_of(&call.bytes).ok_or_else(|| Problem::invalid("the form has one field, `token`"))?;
    let cookie = session_cookie(Some(token.expose()));
    let arrival = Arrival { evidence: Evidence::Bearer(token), ..call.arrival };
    match console.engine.call(arrival, WhoAmI).await {
        Ok(_) => redirect(HERE, cookie),
        Err(refused) if refused.error.code() == keyreeve_engine::Code::Unauthenticated => {
            redirect(FAILED, session_cookie(None))
        }
        Err(refused) => Err(refused.into()),
    }
}

/// Ends the browser's session. The token itself lives on until it ends or is revoked.
pub(crate) async fn sign_out(State(console): State<Console>, call: PlainCall) -> Result<Response, Problem> {
    counted(&console, call.arrival).await?;
    redirect(HERE, session_cookie(None))
}

fn redirect(to: HeaderValue, cookie: Option<HeaderValue>) -> Result<Response, Problem> {
    let defect = || Problem::new(HttpCode::Internal, "an internal error occurred: the server's log tells more");
    let cookie = cookie.ok_or_else(defect)?;
    Ok((StatusCode::SEE_OTHER, [(LOCATION, to), (SET_COOKIE, cookie)]).into_response())
}

/// The field `token` of a form that has no other. Tokens need no escaping; what was pasted may have space around it.
fn token_of(form: &[u8]) -> Option<SecretString> {
    let text = std::str::from_utf8(form).ok()?.strip_prefix("token=")?;
    let trimmed = text.trim_matches('+');
    let fit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (!trimmed.is_empty() && trimmed.bytes().all(fit)).then(|| SecretString::copy_from(trimmed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_holds_one_token() {
        let found = |form: &str| token_of(form.as_bytes()).map(|token| token.expose().to_owned());
        assert_eq!(found("token=krt_0_1").as_deref(), Some("krt_0_1"));
        assert_eq!(found("token=++krt_0_1+").as_deref(), Some("krt_0_1"));
        for form in ["", "token=", "token=a&b=c", "b=c&token=a", "token=a%0a", "token=a+b", "Token=a"] {
            assert_eq!(found(form), None, "{form}");
        }
    }

    #[test]
    fn the_page_has_neither_script_nor_style_of_its_own() {
        assert!(!PAGE.contains("<style") && !PAGE.contains("style=") && !PAGE.contains("onclick"));
        assert_eq!(PAGE.matches("<script").count(), 1);
        assert!(PAGE.contains("<script src=\"/console/app.js\" defer></script>"));
        for word in
            ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "localStorage", "document.cookie"]
        {
            assert!(!SCRIPT.contains(word), "{word}");
        }
    }
}
