//! The pages that people sign in on, with their scripts. What they show they ask for under `/console/api`, with a
//! cookie that no script sees.

use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use http::HeaderValue;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use keyreeve_engine::Arrival;
use keyreeve_engine::ops::system::Health;
use keyreeve_http::{PlainCall, Problem};
use std::sync::LazyLock;

use crate::Console;

/// Its own scripts and style, its own interface, forms to itself.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'",
);
/// What all pages have: the head, how one signs in, who one is.
const FRAME: &str = include_str!("static/frame.html");
const COMMON: &str = include_str!("static/common.js");

/// A page that people sign in on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// Second factors.
    Security,
    /// Requests that wait for consent.
    Approvals,
}

impl Page {
    pub(crate) const ALL: [Self; 2] = [Self::Security, Self::Approvals];

    /// Its name in forms and addresses.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Security => "security",
            Self::Approvals => "approvals",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|page| page.name() == name)
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Security => "Second factors",
            Self::Approvals => "Approvals",
        }
    }

    const fn body(self) -> &'static str {
        match self {
            Self::Security => include_str!("static/security.html"),
            Self::Approvals => include_str!("static/approvals.html"),
        }
    }

    const fn script(self) -> &'static str {
        match self {
            Self::Security => include_str!("static/security.js"),
            Self::Approvals => include_str!("static/approvals.js"),
        }
    }

    fn html(self) -> &'static str {
        static SECURITY: LazyLock<String> = LazyLock::new(|| made(Page::Security));
        static APPROVALS: LazyLock<String> = LazyLock::new(|| made(Page::Approvals));
        match self {
            Self::Security => &SECURITY,
            Self::Approvals => &APPROVALS,
        }
    }
}

fn made(page: Page) -> String {
    let place = format!("href=\"/console/{}\"", page.name());
    FRAME
        .replace("{title}", page.title())
        .replace("{page}", page.name())
        .replace(&place, &format!("{place} aria-current=\"page\""))
        .replace("{body}", page.body())
}

pub(crate) async fn security(state: State<Console>, call: PlainCall) -> Result<Response, Problem> {
    shown(state, call, Page::Security).await
}

pub(crate) async fn approvals(state: State<Console>, call: PlainCall) -> Result<Response, Problem> {
    shown(state, call, Page::Approvals).await
}

async fn shown(State(console): State<Console>, call: PlainCall, page: Page) -> Result<Response, Problem> {
    counted(&console, call.arrival).await?;
    // With none at all browsers call the origin of the page's own forms `null`.
    let referrer = HeaderValue::from_static("same-origin");
    Ok(([(CONTENT_SECURITY_POLICY, POLICY), (REFERRER_POLICY, referrer)], Html(page.html())).into_response())
}

pub(crate) async fn common_script(state: State<Console>, call: PlainCall) -> Result<Response, Problem> {
    script(state, call, COMMON).await
}

pub(crate) async fn security_script(state: State<Console>, call: PlainCall) -> Result<Response, Problem> {
    script(state, call, Page::Security.script()).await
}

pub(crate) async fn approvals_script(state: State<Console>, call: PlainCall) -> Result<Response, Problem> {
    script(state, call, Page::Approvals.script()).await
}

async fn script(State(console): State<Console>, call: PlainCall, text: &'static str) -> Result<Response, Problem> {
    counted(&console, call.arrival).await?;
    Ok(([(CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8"))], text).into_response())
}

/// Public as they are, they take the way of everything else.
pub(crate) async fn counted(console: &Console, arrival: Arrival) -> Result<(), Problem> {
    console.engine.call(arrival, Health).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_neither_script_nor_style_of_their_own() {
        for page in Page::ALL {
            let (html, name) = (page.html(), page.name());
            for own in ["<style", "style=", "onclick=", "onsubmit=", "onload=", "onerror=", "javascript:"] {
                assert!(!html.contains(own), "{name}: {own}");
            }
            assert_eq!(html.matches("<script").count(), 1, "{name}");
            assert!(html.contains(&format!("<script type=\"module\" src=\"/console/{name}.js\"></script>")), "{name}");
            assert!(!html.contains(['{', '}']), "something was not filled in: {name}");
            assert_eq!(html.matches("aria-current").count(), 1, "{name}");
        }
    }

    #[test]
    fn scripts_make_no_markup_and_keep_nothing() {
        for script in [COMMON, Page::Security.script(), Page::Approvals.script()] {
            for word in [
                "innerHTML",
                "outerHTML",
                "insertAdjacent",
                "document.write",
                "eval(",
                "localStorage",
                "sessionStorage",
                "document.cookie",
            ] {
                assert!(!script.contains(word), "{word}");
            }
        }
    }

    #[test]
    fn pages_go_by_their_names() {
        for page in Page::ALL {
            assert_eq!(Page::named(page.name()), Some(page));
        }
        assert_eq!(Page::named("/evil"), None);
    }
}
