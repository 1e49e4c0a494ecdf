//! Signing in and out: with a token, or with a name and the password of a directory.

use axum::extract::State;
use axum::response::{AppendHeaders, IntoResponse, Response};
use http::header::{LOCATION, SET_COOKIE};
use http::{HeaderValue, StatusCode};
use keyreeve_engine::ops::login::ldap::Ldap;
use keyreeve_engine::ops::login::session::RevokeSelf;
use keyreeve_engine::ops::tokens::WhoAmI;
use keyreeve_engine::{Arrival, Code, Evidence, Refused};
use keyreeve_http::{FormCall, HttpCode, Problem, session_cookie};
use keyreeve_model::Name;
use keyreeve_secret::SecretString;
use keyreeve_wire::form::Fields;

use crate::Console;
use crate::pages::Page;

/// What a page tells somebody who comes back to it. The page's script has the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// A token proves nothing.
    Token,
    /// A login was not accepted.
    Login,
    /// Too many failed before.
    Wait,
    /// The provider let nobody in.
    Provider,
    /// What came back from the provider fits nothing that this browser began.
    Late,
    /// Provider or directory do not answer.
    Unreachable,
    /// The server could not.
    Failed,
    /// The browser forgot the session, the server did not.
    Kept,
}

impl Told {
    #[cfg(test)]
    const ALL: [Self; 8] =
        [Self::Token, Self::Login, Self::Wait, Self::Provider, Self::Late, Self::Unreachable, Self::Failed, Self::Kept];

    const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Login => "login",
            Self::Wait => "wait",
            Self::Provider => "provider",
            Self::Late => "late",
            Self::Unreachable => "unreachable",
            Self::Failed => "failed",
            Self::Kept => "kept",
        }
    }

    /// What is told of a login that was refused. The record tells more.
    pub(crate) fn of(refused: &Refused) -> Self {
        match refused.error.code() {
            Code::Unauthenticated | Code::NotFound | Code::Denied => Self::Login,
            Code::TooManyAttempts => Self::Wait,
            Code::IdentityUnavailable => Self::Unreachable,
            _ => Self::Failed,
        }
    }
}

/// Takes the token of a form, and if it proves somebody makes it the browser's session.
pub(crate) async fn with_token(State(console): State<Console>, call: FormCall) -> Result<Response, Problem> {
    let wrong = || Problem::invalid("the form has the fields `token` and `page`");
    let fields = Fields::of_form(&call.bytes, &["token", "page"]).ok_or_else(wrong)?;
    let page = page_of(&fields).ok_or_else(wrong)?;
    let Some(token) = fields.one("token").and_then(token_in) else {
        crate::pages::counted(&console, call.arrival).await?;
        return back(page, Some(Told::Token), [session_cookie(None)]);
    };
    let cookie = session_cookie(Some(token.expose()));
    let arrival = Arrival { evidence: Evidence::Bearer(token), ..call.arrival };
    match console.engine.call(arrival, WhoAmI).await {
        Ok(_) => back(page, None, [cookie]),
        Err(refused) if refused.error.code() == Code::Unauthenticated => {
            back(page, Some(Told::Token), [session_cookie(None)])
        }
        Err(refused) => back(page, Some(Told::of(&refused)), [session_cookie(None)]),
    }
}

/// Takes a name and a password to a directory, and makes what that gives the browser's session.
pub(crate) async fn with_password(State(console): State<Console>, call: FormCall) -> Result<Response, Problem> {
    let wrong = || Problem::invalid("the form has the fields `method`, `user`, `password` and `page`");
    let fields = Fields::of_form(&call.bytes, &["method", "user", "password", "page"]).ok_or_else(wrong)?;
    let page = page_of(&fields).ok_or_else(wrong)?;
    let method: Name = fields.one("method").and_then(|name| name.expose().parse().ok()).ok_or_else(wrong)?;
    let user = fields.one("user").ok_or_else(wrong)?.expose().to_owned();
    let password = fields.take("password").ok_or_else(wrong)?;
    match console.engine.call(stranger(call.arrival), Ldap::new(method, user, password)).await {
        Ok(done) => back(page, None, [session_cookie(Some(done.reply.issued.token.expose()))]),
        Err(refused) => back(page, Some(Told::of(&refused)), [session_cookie(None)]),
    }
}

/// Ends the browser's session. One that came from a login ends at the server too; a token that somebody issued lives
/// on: its bearer has it elsewhere.
pub(crate) async fn sign_out(State(console): State<Console>, call: FormCall) -> Result<Response, Problem> {
    let wrong = || Problem::invalid("the form has one field, `page`");
    let page = Fields::of_form(&call.bytes, &["page"]).and_then(|fields| page_of(&fields)).ok_or_else(wrong)?;
    let told = match end(&console, call.arrival).await {
        Ok(()) => None,
        // It proves nothing any more.
        Err(refused) if refused.error.code() == Code::Unauthenticated => None,
        Err(_) => Some(Told::Kept),
    };
    back(page, told, [session_cookie(None)])
}

async fn end(console: &Console, arrival: Arrival) -> Result<(), Refused> {
    let who = console.engine.call(arrival.without_idempotency(), WhoAmI).await?;
    if who.reply.login.is_some() {
        console.engine.call(arrival, RevokeSelf).await?;
    }
    Ok(())
}

/// The same request of somebody who has shown nothing yet: whose session the browser had before does not matter.
pub(crate) fn stranger(arrival: Arrival) -> Arrival {
    match arrival.evidence {
        Evidence::Bearer(_) => Arrival { evidence: Evidence::None, ..arrival },
        Evidence::None | Evidence::Certificate(_) => arrival,
    }
}

/// Sends the browser back to a page, with cookies to set.
pub(crate) fn back<const N: usize>(
    page: Page,
    told: Option<Told>,
    cookies: [Option<HeaderValue>; N],
) -> Result<Response, Problem> {
    let query = told.map(|told| format!("?told={}", told.name())).unwrap_or_default();
    let place = HeaderValue::try_from(format!("/console/{}{query}", page.name())).ok();
    let cookies: Option<Vec<_>> = cookies.into_iter().map(|cookie| Some((SET_COOKIE, cookie?))).collect();
    let (place, cookies) = place.zip(cookies).ok_or_else(defect)?;
    Ok((StatusCode::SEE_OTHER, [(LOCATION, place)], AppendHeaders(cookies)).into_response())
}

pub(crate) fn defect() -> Problem {
    Problem::new(HttpCode::Internal, "an internal error occurred: the server's log tells more")
}

fn page_of(fields: &Fields) -> Option<Page> {
    fields.one("page").and_then(|name| Page::named(name.expose()))
}

/// A token as somebody pasted it, with space around it perhaps. Others do not fit into a cookie.
fn token_in(typed: &SecretString) -> Option<SecretString> {
    let text = typed.expose().trim();
    let fit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (!text.is_empty() && text.bytes().all(fit)).then(|| SecretString::copy_from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_taken_as_it_was_pasted() {
        let found = |typed: &str| token_in(&SecretString::copy_from(typed)).map(|token| token.expose().to_owned());
        assert_eq!(found("krt_0_1").as_deref(), Some("krt_0_1"));
        assert_eq!(found("  krt_0_1\r\n").as_deref(), Some("krt_0_1"));
        for typed in ["", " ", "a b", "a;b", "krt_0_1\nSet-Cookie"] {
            assert_eq!(found(typed), None, "{typed}");
        }
    }

    #[test]
    fn one_comes_back_to_a_page_of_this_server() {
        let response = back(Page::Approvals, Some(Told::Late), [session_cookie(None), session_cookie(None)]).unwrap();
        assert_eq!(response.headers()[LOCATION], "/console/approvals?told=late");
        assert_eq!(response.headers().get_all(SET_COOKIE).iter().count(), 2);
        assert_eq!(back(Page::Security, None, []).unwrap().headers()[LOCATION], "/console/security");
    }

    #[test]
    fn the_script_has_words_for_everything_that_is_told() {
        let script = include_str!("static/common.js");
        for told in Told::ALL {
            assert!(script.contains(&format!("\n  {}: '", told.name())), "{told:?}");
        }
    }
}
