//! Calls that may not be made, each with what to do instead.

use super::{Context, Finding, Outcome, matches_folder};
use crate::source::{Source, Tree};

/// Where a rule holds.
#[derive(Clone, Copy, PartialEq)]
enum Code {
    Product,
    Tests,
    All,
}

struct Rule {
    /// What `// tidy: allow(NAME): reason` refers to.
    name: &'static str,
    patterns: &'static [&'static str],
    code: Code,
    /// Paths (or `folder/*`) where the call has its place.
    except: &'static [&'static str],
    instead: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        name: "unfinished",
        patterns: &["todo !", "unimplemented !", "dbg !"],
        code: Code::All,
        except: &[],
        instead: "finish it, or refuse the input with a typed error",
    },
    Rule {
        name: "zeroize",
        patterns: &[". zeroize ( )"],
        code: Code::All,
        except: &["crates/base/secret/*"],
        instead: "hold the bytes in a type of keyreeve_secret: a call by hand is skipped by an early return",
    },
    Rule {
        name: "clock",
        patterns: &["SystemTime::now", "now_utc (", "UtcDateTime::now", "Uuid::now_v7"],
        code: Code::Product,
        except: &["crates/apps/server/*", "crates/drivers/journal-file/examples/*"],
        instead: "take the time as an argument; only the server's Clock reads it",
    },
    Rule {
        name: "sleep",
        patterns: &["thread::sleep", "time::sleep (", "tokio::time::sleep_until"],
        code: Code::Tests,
        except: &[],
        instead: "wait for the event itself (a channel, a line of output, tokio's paused time)",
    },
    Rule {
        name: "ignored-test",
        patterns: &["# [ ignore"],
        code: Code::All,
        except: &[],
        instead: "make it run in `cargo xtask test`, or remove it",
    },
    Rule {
        name: "print",
        patterns: &["println !", "eprintln !", "print ! (", "eprint ! ("],
        code: Code::Product,
        except: &["crates/apps/cli/*", "xtask/*", "*/build.rs", "bench/*", "crates/drivers/journal-file/examples/*"],
        instead: "return the text to the caller, or record it with tracing",
    },
    Rule {
        name: "exit",
        patterns: &["process::exit", "process::abort"],
        code: Code::Product,
        except: &["crates/apps/cli/src/main.rs"],
        instead: "return an error, so that destructors run and secrets are wiped",
    },
    Rule {
        name: "unwrap",
        patterns: &["clippy::unwrap_used"],
        code: Code::Product,
        except: &[],
        instead: "allow it for tests only: `#![cfg_attr(test, allow(clippy::unwrap_used))]`",
    },
    Rule {
        name: "dead-code",
        patterns: &["( dead_code", ", dead_code", "( unused )"],
        code: Code::Product,
        except: &[],
        instead: "delete what nothing uses",
    },
    Rule {
        name: "certificates",
        patterns: &["danger_accept_invalid_certs", "danger_accept_invalid_hostnames", "danger_accept_invalid"],
        code: Code::All,
        except: &[],
        instead: "give the client the CA to trust",
    },
    Rule {
        name: "forget",
        patterns: &["mem::forget", "Box::leak", "ManuallyDrop::new"],
        code: Code::Product,
        except: &[],
        instead: "let it drop: what is leaked is not wiped",
    },
    Rule {
        name: "ambient-random",
        patterns: &["rand::rng", "rand::random", "thread_rng (", "getrandom::fill", "getrandom::getrandom", "OsRng"],
        code: Code::Product,
        except: &["crates/base/crypto/*"],
        instead: "draw from keyreeve_crypto, whose generator is health-tested",
    },
];

/// Written so that this file does not contain them.
const UNFINISHED_WORDS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];

pub(super) fn run(context: &Context) -> Outcome {
    check(&context.tree)
}

fn check(tree: &Tree) -> Outcome {
    let mut outcome = Outcome::default();
    let mut excused = 0;
    for (file, _) in tree.rust() {
        for rule in RULES.iter().filter(|rule| !rule.except.iter().any(|place| covers(place, &file.path))) {
            for line in hits(file, rule) {
                match file.excuses(line, rule.name) || gives_reason(file, line) {
                    true => excused += 1,
                    false => outcome.findings.push(finding(file, line, rule)),
                }
            }
        }
        outcome.findings.extend(unfinished_words(file));
        outcome.findings.extend(unexplained_unsafe(file));
    }
    outcome.notes.push(format!("{} rules, {excused} excused lines", RULES.len() + 2));
    outcome
}

fn covers(place: &str, path: &str) -> bool {
    match place.strip_prefix('*') {
        Some(end) => path.ends_with(end),
        None => matches_folder(place, path),
    }
}

fn hits(file: &Source, rule: &Rule) -> Vec<usize> {
    let Some(rust) = &file.rust else { return Vec::new() };
    let mut lines: Vec<usize> = rule.patterns.iter().flat_map(|pattern| rust.find(pattern)).collect();
    lines.sort_unstable();
    lines.dedup();
    lines.retain(|line| match rule.code {
        Code::All => true,
        Code::Tests => file.is_test_line(*line),
        Code::Product => !file.is_test_line(*line) && !for_tests_only(file, *line),
    });
    lines
}

/// `#![cfg_attr(test, …)]` stands in product code and speaks of tests.
fn for_tests_only(file: &Source, line: usize) -> bool {
    file.text
        .lines()
        .nth(line - 1)
        .is_some_and(|text| text.contains("cfg_attr(test") || text.contains("cfg_attr(any(test"))
}

/// A lint attribute carries its own reason.
fn gives_reason(file: &Source, line: usize) -> bool {
    let text = file.text.lines().nth(line - 1).unwrap_or_default();
    text.contains("reason = \"") && (text.contains("(clippy::") || text.contains("(dead_code"))
}

fn finding(file: &Source, line: usize, rule: &Rule) -> Finding {
    let text = file.text.lines().nth(line - 1).unwrap_or_default().trim();
    Finding::new(&file.path, line, format!("[{}] {text}", rule.name), rule.instead)
}

fn unfinished_words(file: &Source) -> impl Iterator<Item = Finding> {
    let comments = file.text.lines().enumerate().filter(|(_, line)| line.contains("//"));
    let hits = comments.filter(|(_, line)| UNFINISHED_WORDS.iter().any(|word| line.contains(word)));
    hits.map(|(index, line)| {
        let message = format!("[unfinished] {}", line.trim());
        Finding::new(&file.path, index + 1, message, "do it now, or write it down where work is planned")
    })
}

fn unexplained_unsafe(file: &Source) -> Vec<Finding> {
    let Some(rust) = &file.rust else { return Vec::new() };
    let lines: Vec<&str> = file.text.lines().collect();
    let explained = |line: usize| lines[line.saturating_sub(6)..line].iter().any(|text| text.contains("SAFETY:"));
    let bare = rust.find("unsafe {").into_iter().filter(|line| !explained(*line));
    let remedy = "say above it in `// SAFETY:` why it is sound";
    bare.map(|line| Finding::new(&file.path, line, "[unsafe] an unsafe block without a reason", remedy)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        check(&Tree::of([(path, text)])).findings.iter().map(ToString::to_string).collect()
    }

    fn rules(path: &str, text: &str) -> Vec<String> {
        let named = |finding: String| finding.split(['[', ']']).nth(1).unwrap_or_default().to_owned();
        findings(path, text).into_iter().map(named).collect()
    }

    const LIBRARY: &str = "crates/engine/src/x.rs";

    #[test]
    fn product_code_is_held_to_the_product_rules() {
        let cases = [
            ("fn f() { todo!() }", "unfinished"),
            ("fn f(mut k: K) { k.zeroize(); }", "zeroize"),
            ("fn f() { let t = std::time::SystemTime::now(); }", "clock"),
            ("fn f() { println!(\"x\"); }", "print"),
            ("fn f() { std::process::exit(1) }", "exit"),
            ("#![allow(clippy::unwrap_used)]", "unwrap"),
            ("#[allow(dead_code)] fn f() {}", "dead-code"),
            ("fn f(c: C) { c.danger_accept_invalid_certs(true); }", "certificates"),
            ("fn f(c: C) { std::mem::forget(c); }", "forget"),
            ("fn f() { rand::random() }", "ambient-random"),
            ("fn f() { unsafe { g() } }", "unsafe"),
        ];
        for (text, rule) in cases {
            assert_eq!(rules(LIBRARY, text), [rule], "{text}");
        }
    }

    #[test]
    fn test_code_is_held_to_the_test_rules() {
        let cases = [
            ("#[test] fn f() { std::thread::sleep(x); }", "sleep"),
            ("#[tokio::test] async fn f() { tokio::time::sleep(x).await; }", "sleep"),
            ("#[test] #[ignore = \"slow\"] fn f() {}", "ignored-test"),
        ];
        for (text, rule) in cases {
            assert_eq!(rules(LIBRARY, text), [rule], "{text}");
        }
    }

    #[test]
    fn places_tests_and_excuses_are_respected() {
        assert!(findings("crates/base/secret/src/x.rs", "fn f(mut k: K) { k.zeroize(); }").is_empty());
        assert!(
            findings("crates/apps/cli/src/main.rs", "fn f() { println!(\"x\"); std::process::exit(1) }").is_empty()
        );
        assert!(findings(LIBRARY, "#![cfg_attr(test, allow(clippy::unwrap_used))]").is_empty());
        assert!(findings(LIBRARY, "#[expect(dead_code, reason = \"held for its drop\")] struct S(G);").is_empty());
        assert!(findings(LIBRARY, "#[test] fn f() { SystemTime::now(); }").is_empty());
        assert!(
            findings(LIBRARY, "// tidy: allow(forget): handed to the C side\nfn f(c: C) { std::mem::forget(c); }")
                .is_empty()
        );
        assert!(findings(LIBRARY, "// SAFETY: g has no preconditions.\nfn f() { unsafe { g() } }").is_empty());
    }

    #[test]
    fn unfinished_comments_are_found() {
        let text = format!("// {} later\nfn f() {{}}\n", UNFINISHED_WORDS[0]);
        assert!(findings(LIBRARY, &text)[0].starts_with("crates/engine/src/x.rs:1: [unfinished]"));
    }
}
