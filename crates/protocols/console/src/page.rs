//! The page as HTML.

use keyreeve_audit::note::{KeyType, VerifierKey};
use keyreeve_engine::ops::system::{RootState, StatusReply};
use keyreeve_engine::{Readiness, SealStatus};
use std::fmt::Write;

use crate::About;

/// Keys from this length on are folded (characters): the post-quantum one has some 1,800.
const LONG: usize = 120;

/// Its looks, light and dark.
pub(crate) const STYLE: &str = include_str!("style.css");

/// Text that cannot become markup.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// How good a fact is, for its colour and its mark.
#[derive(Clone, Copy)]
enum Mood {
    Good,
    Waiting,
    Bad,
    Plain,
}

impl Mood {
    const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Waiting => "waiting",
            Self::Bad => "bad",
            Self::Plain => "plain",
        }
    }
}

struct Fact {
    name: String,
    mood: Mood,
    value: String,
    hint: String,
}

fn fact(name: impl Into<String>, mood: Mood, value: impl Into<String>, hint: impl Into<String>) -> Fact {
    Fact { name: name.into(), mood, value: value.into(), hint: hint.into() }
}

fn seal(name: &'static str, root: &SealStatus) -> Fact {
    match root {
        SealStatus::Open => fact(name, Mood::Good, "open", "Keys can be used."),
        SealStatus::NotInitialised { people } => {
            let hint = match people {
                true => "`keyreeve init` makes it, once, and prints the shares.",
                false => "`keyreeve init` makes it, once.",
            };
            fact(name, Mood::Waiting, "not initialised", hint)
        }
        SealStatus::Sealed { threshold: 0, .. } => {
            fact(name, Mood::Waiting, "sealed", "It has no shares: it opens when the server is started again.")
        }
        SealStatus::Sealed { given, threshold, shares } => {
            let hint =
                format!("{given} of {threshold} needed shares were given ({shares} were made): `keyreeve unseal`.");
            fact(name, Mood::Waiting, "sealed", hint)
        }
    }
}

fn part(name: &'static str, trouble: Option<&String>) -> Fact {
    match trouble {
        None => fact(name, Mood::Good, "working", ""),
        Some(_) => fact(name, Mood::Bad, "not available", "The server's log tells more."),
    }
}

fn facts(about: &About, status: &StatusReply, readiness: &Readiness) -> Vec<Fact> {
    let fips = match about.fips {
        true => "Its FIPS build, in FIPS mode. That says nothing about a certificate.",
        false => "Not its FIPS build.",
    };
    let several = status.roots.len() > 1;
    let name = if several { "Server" } else { "Root of trust" };
    let mut root = match &readiness.root {
        None => seal(name, &status.root),
        trouble => part(name, trouble.as_ref()),
    };
    root.hint = match several && readiness.root.is_none() {
        true => "Each of its roots of trust stands below.".to_owned(),
        false => format!("{} Kind: {}.", root.hint, status.root_kind),
    };
    let mut facts = vec![root];
    if several {
        facts.extend(status.roots.iter().map(one_root));
    }
    facts.extend([
        part("Store", readiness.store.as_ref()),
        part("Epoch vault", readiness.vault.as_ref()),
        part("Audit log", readiness.journal.as_ref()),
        part("Random generator", readiness.random.as_ref()),
        fact("Cryptographic module", Mood::Plain, about.module.clone(), fips),
        fact("Version", Mood::Plain, about.version, ""),
    ]);
    facts
}

/// One of several roots of trust. Which have something under them a stranger is not told.
fn one_root(root: &RootState) -> Fact {
    let mut one = seal("", &root.status);
    one.name = format!("Root of trust {}", root.name);
    if matches!(root.status, SealStatus::NotInitialised { .. }) {
        one = fact(one.name, Mood::Plain, "not joined", "It has not answered yet, or `keyreeve root join` comes next.");
    }
    one.hint = format!("{} Kind: {}.", one.hint, root.kind);
    one
}

/// The whole page.
pub(crate) fn render(about: &About, status: &StatusReply, readiness: &Readiness) -> String {
    let (mood, headline) = match readiness.is_ready() {
        true => (Mood::Good, "Ready"),
        false if matches!(readiness.seal, SealStatus::Open) => (Mood::Bad, "Not ready"),
        false if matches!(readiness.seal, SealStatus::NotInitialised { .. }) => (Mood::Waiting, "Not initialised"),
        false if readiness.seal.needs_people() => (Mood::Waiting, "Waiting for people"),
        false => (Mood::Waiting, "Sealed"),
    };
    let mut page = String::with_capacity(8 * 1024);
    page.push_str(HEAD);
    if about.development {
        page.push_str(
            "<p class=\"banner\" role=\"alert\"><strong>Development mode.</strong> The keys are not protected.</p>\n",
        );
    }
    let _ =
        write!(page, "<header><h1>Keyreeve</h1><p class=\"state {}\">{headline}</p></header>\n<main>\n", mood.class());
    page.push_str("<section aria-labelledby=\"state\"><h2 id=\"state\">State</h2>\n<dl>\n");
    for fact in facts(about, status, readiness) {
        let (class, value) = (fact.mood.class(), escape(&fact.value));
        let _ = write!(page, "<div><dt>{}</dt><dd><span class=\"{class}\">{value}</span>", escape(&fact.name));
        if !fact.hint.trim().is_empty() {
            let _ = write!(page, "<small>{}</small>", code(&escape(fact.hint.trim())));
        }
        page.push_str("</dd></div>\n");
    }
    page.push_str("</dl></section>\n");
    log_keys(&mut page, &status.log_vkeys);
    let _ = write!(page, "{HOW}<pre><code>{}</code></pre>\n{FOOT}", next_commands(status));
    page
}

/// What stands between backticks is code.
fn code(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts.map(|(index, part)| if index % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() }).collect()
}

fn log_keys(page: &mut String, keys: &[String]) {
    if keys.is_empty() {
        return;
    }
    page.push_str("<section aria-labelledby=\"log\"><h2 id=\"log\">Public keys of the audit log</h2>\n");
    page.push_str("<p>Keep a copy apart from this server: with one of them the log is verified offline.</p>\n<dl>\n");
    for key in keys {
        let _ = write!(page, "<div><dt>{}</dt><dd class=\"key\">", escape(kind(key)));
        let _ = match key.len() {
            ..LONG => writeln!(page, "<code>{}</code></dd></div>", escape(key)),
            length => writeln!(
                page,
                "<details><summary>{length} characters</summary><code>{}</code></details></dd></div>",
                escape(key)
            ),
        };
    }
    page.push_str("</dl></section>\n");
}

/// What a key of the log signs with.
fn kind(key: &str) -> &'static str {
    match key.parse::<VerifierKey>().map(|key| key.kind()) {
        Ok(KeyType::Ed25519) => "Ed25519",
        Ok(KeyType::Ed25519Cosignature) => "Ed25519, with a time",
        Ok(KeyType::MlDsa44Cosignature) => "ML-DSA-44, post-quantum",
        Err(_) => "Of another kind",
    }
}

/// What comes next from here, at the command line.
fn next_commands(status: &StatusReply) -> &'static str {
    let waits = |root: &RootState| root.is_sealed() && root.status.needs_people();
    match &status.root {
        SealStatus::NotInitialised { people: true } => {
            "keyreeve init --shares 5 --threshold 3 --out-dir shares\nkeyreeve status"
        }
        SealStatus::NotInitialised { people: false } => "keyreeve init --out-dir ceremony\nkeyreeve status",
        SealStatus::Sealed { threshold: 0, .. } => "systemctl restart keyreeve\nkeyreeve status",
        SealStatus::Sealed { .. } => "keyreeve unseal\nkeyreeve status",
        SealStatus::Open if status.roots.iter().any(waits) => "keyreeve unseal\nkeyreeve root list",
        SealStatus::Open => {
            "keyreeve status\nkeyreeve key create --alias docs\nkeyreeve encrypt docs report.pdf\nkeyreeve audit search"
        }
    }
}

const HEAD: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Keyreeve</title>
<link rel="stylesheet" href="/console/style.css">
</head>
<body>
"#;

const HOW: &str = r#"<section aria-labelledby="use"><h2 id="use">Use it</h2>
"#;

const FOOT: &str = r#"<p>Sign in: <a href="/console/approvals">vote on what waits for consent</a>,
<a href="/console/security">enrol and show second factors</a>.</p>
<p>Every command explains itself with <code>--help</code>. Programs use the REST interface under
<code>/v1</code>; <a href="/v1/openapi.json">the OpenAPI document</a> describes it.</p>
<p>For machines: <a href="/healthz">/healthz</a>, <a href="/readyz">/readyz</a>.</p>
</section>
</main>
</body>
</html>
"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn about() -> About {
        About { version: "1.2.3", module: "AWS-LC <1>".into(), fips: false, development: true }
    }

    fn status(root: SealStatus) -> StatusReply {
        let open = root == SealStatus::Open;
        StatusReply { root_kind: "shamir", root, roots: Vec::new(), open, log_vkeys: vec!["log.example+1+abc".into()] }
    }

    fn readiness(seal: SealStatus, store: Option<&str>) -> Readiness {
        Readiness { store: store.map(str::to_owned), ..Readiness::well(seal) }
    }

    #[test]
    fn a_sealed_server_says_how_many_shares_are_missing() {
        let sealed = SealStatus::Sealed { given: 1, threshold: 3, shares: 5 };
        let page = render(&about(), &status(sealed.clone()), &readiness(sealed, None));
        assert!(page.contains("Waiting for people"));
        assert!(page.contains("1 of 3 needed shares were given (5 were made): <code>keyreeve unseal</code>."));
        assert!(page.contains("Development mode."));
        assert!(page.contains("<pre><code>keyreeve unseal\n") && !page.contains("key create"));
    }

    #[test]
    fn a_root_without_shares_asks_for_none() {
        let shown = |seal: SealStatus| render(&about(), &status(seal.clone()), &readiness(seal, None));
        for seal in
            [SealStatus::Sealed { given: 0, threshold: 0, shares: 0 }, SealStatus::NotInitialised { people: false }]
        {
            let page = shown(seal);
            assert!(!page.contains("0 of 0") && !page.contains("people") && !page.contains("unseal"), "{page}");
            assert!(!page.contains("--shares") && !page.contains("prints the shares"), "{page}");
        }
        assert!(shown(SealStatus::NotInitialised { people: true }).contains("--shares 5"));
    }

    #[test]
    fn each_key_of_the_log_is_named_by_its_kind_and_long_ones_are_folded() {
        let key = |kind, length| VerifierKey::new("log.example", kind, &vec![7; length]).unwrap().to_string();
        let (short, long) = (key(KeyType::Ed25519, 32), key(KeyType::MlDsa44Cosignature, 1312));
        let status = StatusReply { log_vkeys: vec![short.clone(), long.clone()], ..status(SealStatus::Open) };
        let page = render(&about(), &status, &readiness(SealStatus::Open, None));
        assert!(page.contains(&format!("<dt>Ed25519</dt><dd class=\"key\"><code>{short}</code>")));
        let folded = format!("<summary>{} characters</summary><code>{long}</code></details>", long.len());
        assert!(page.contains("<dt>ML-DSA-44, post-quantum</dt>") && page.contains(&folded));
    }

    #[test]
    fn the_fips_build_is_told_from_the_other_one() {
        let told = |fips| {
            let about = About { fips, ..about() };
            render(&about, &status(SealStatus::Open), &readiness(SealStatus::Open, None))
        };
        assert!(told(true).contains("in FIPS mode") && told(false).contains("Not its FIPS build"));
    }

    #[test]
    fn internal_texts_do_not_show_and_all_text_is_escaped() {
        let page =
            render(&about(), &status(SealStatus::Open), &readiness(SealStatus::Open, Some("/var/lib secret path")));
        assert!(page.contains("Not ready") && !page.contains("secret path"));
        assert!(page.contains("AWS-LC &lt;1&gt;") && page.contains("log.example+1+abc"));
        assert!(!page.contains("<script") && !page.contains("style="));
    }

    #[test]
    fn a_root_that_does_not_answer_shows() {
        let readiness = Readiness { root: Some("slot 3".to_owned()), ..Readiness::well(SealStatus::Open) };
        let page = render(&about(), &status(SealStatus::Open), &readiness);
        assert!(page.contains("Not ready") && page.contains("not available") && !page.contains("slot 3"));
        assert!(!page.contains("Keys can be used."));
    }

    #[test]
    fn of_several_roots_each_shows_where_it_stands() {
        let root = |name: &str, status: SealStatus| RootState {
            name: name.parse().unwrap(),
            kind: "shamir",
            custody: keyreeve_model::Custody::Kms,
            status,
        };
        let sealed = SealStatus::Sealed { given: 1, threshold: 2, shares: 3 };
        let all = [
            root("main", SealStatus::Open),
            root("people", sealed),
            root("spare", SealStatus::NotInitialised { people: true }),
        ];
        let shown = |roots: &[RootState]| {
            let status = StatusReply { roots: roots.to_vec(), ..status(SealStatus::Open) };
            render(&about(), &status, &readiness(SealStatus::Open, None))
        };
        let page = shown(&all);
        assert!(page.contains("<dt>Root of trust people</dt>") && page.contains("1 of 2 needed shares"), "{page}");
        assert!(page.contains(">not joined</span>") && page.contains("<pre><code>keyreeve unseal\n"), "{page}");
        assert!(page.contains("Ready") && !page.contains("Not ready"), "what is under the others is served");
        assert!(!shown(&all[..1]).contains("Root of trust main"), "a single one is told of once");
    }

    #[test]
    fn markup_cannot_be_smuggled_in() {
        assert_eq!(escape("<a href='x'>\"&"), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;");
    }
}
