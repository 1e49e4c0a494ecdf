//! Any text may be handed to the compiler: it answers with problems, it does not panic and does not run out of stack.

use crate::sample::{compile, name};
use keyreeve_policy::{ActionSpec, MAX_NESTING, MAX_OPERATORS, PolicySet, ResourceKind, Schema};
use proptest::prelude::*;
use std::sync::LazyLock;

static SMALL: LazyLock<Schema> = LazyLock::new(|| {
    let spec = ActionSpec { name: "key.sign", resource: ResourceKind::Key, groups: &["sign-side"] };
    Schema::generate(&[spec]).unwrap()
});

fn try_small(text: &str) -> bool {
    PolicySet::compile(&SMALL, [(name("fuzz"), text)]).is_ok()
}

fn word() -> impl Strategy<Value = String> {
    let words = [
        "permit",
        "forbid",
        "(",
        ")",
        "{",
        "}",
        "[",
        "]",
        ",",
        ";",
        ".",
        "principal",
        "action",
        "resource",
        "context",
        "when",
        "unless",
        "==",
        "!=",
        "in",
        "is",
        "has",
        "like",
        "&&",
        "||",
        "!",
        "-",
        "+",
        "*",
        "<",
        "\"a\"",
        "\"*\"",
        "1",
        "9223372036854775808",
        "if",
        "then",
        "else",
        "true",
        "Keyreeve::Key",
        "Keyreeve::Action::\"key.sign\"",
        "?principal",
        "@id",
        "@id(\"x\")",
        "// c\n",
        "// c\r",
        "// c\r\n",
        "// c\u{2028}",
        "\"",
        "\\",
        "ip(\"1.2.3.4\")",
        "datetime(\"x\")",
        "é",
        "\u{202e}",
        ".getTag(\"a\")",
        ".hasTag(\"a\")",
        ".name",
        "[\"x\"]",
        "{a: 1}",
        "::",
        "@",
        "\u{0}",
    ];
    prop::sample::select(words.to_vec()).prop_map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        try_small(&text);
    }

    #[test]
    fn arbitrary_words_never_panic(words in prop::collection::vec(word(), 0..60)) {
        try_small(&words.join(" "));
        let body = words.join(" ");
        try_small(&format!("permit (principal, action, resource) when {{ {body} }};"));
    }
}

/// The deepest texts that the limits let through, on the stack a spawned thread gets.
#[test]
fn the_deepest_admitted_text_fits_the_stack() {
    // The frame of the policy has two brackets before the body.
    let n = MAX_OPERATORS - 2;
    let bodies = [
        format!("{}true", "true && ".repeat(n)),
        format!("{}true", "false || ".repeat(n)),
        format!("{}1 == 1", "1 + ".repeat(n - 1)),
        format!("1 * {}1 == 1", "1 * ".repeat(n - 2)),
        format!("{}true", "if true then true else ".repeat(n)),
        format!("{}true{}", "if ".repeat(n), " then true else true".repeat(n)),
        format!("context{}", ".a".repeat(n)),
        format!("{}true{}", "(".repeat(MAX_NESTING - 2), ")".repeat(MAX_NESTING - 2)),
        format!("{}1{} == []", "[".repeat(MAX_NESTING - 2), "]".repeat(MAX_NESTING - 2)),
        format!("context has {}a", "a.".repeat(n - 2)),
        format!("{}true", "!".repeat(n)),
        format!("{}1 == 1", "-".repeat(n - 2)),
        format!("context{}", "[\"a\"]".repeat(n)),
        format!("true {}", "} when { true".repeat(n)),
        "ip(".repeat(MAX_NESTING - 2),
    ];
    let run = move || {
        for body in bodies {
            let text = format!("permit (principal, action, resource) when {{ {body} }};");
            let beyond_limits = |p: &keyreeve_policy::PolicyProblem| p.message.contains("operators");
            match compile(&text) {
                Ok(set) => drop(set),
                Err(problems) => assert!(!problems.iter().any(beyond_limits), "{body}: {problems:?}"),
            }
        }
    };
    std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(run).unwrap().join().unwrap();
}

#[test]
fn what_is_beyond_the_limits_is_refused_before_parsing() {
    let deep = format!("permit (principal, action, resource) when {{ {}true }};", "(".repeat(20_000));
    let long = format!("permit (principal, action, resource) when {{ {}true }};", "true && ".repeat(5_000));
    let big = "// x\n".repeat(20_000);
    // A bare carriage return ends a comment.
    let behind = ["\r", "\r\n", "\n"].map(|end| (format!("// x{end}{deep}"), "nested"));
    let found = [(deep, "nested"), (long, "operators"), (big, "limit")];
    for (text, words) in found.into_iter().chain(behind) {
        let found = compile(&text).unwrap_err();
        assert!(found.len() == 1 && found[0].message.contains(words), "{found:?}");
    }
}

#[test]
fn a_comment_ends_where_the_parser_ends_it() {
    for end in ["\n", "\r", "\r\n"] {
        assert_eq!(compile(&format!("// x{end}permit (principal, action, resource);")).unwrap().len(), 1, "{end:?}");
    }
    for no_end in ["\u{2028}", "\u{2029}", "\u{85}", "\u{b}", "\u{c}", "\0"] {
        let text = format!("// x{no_end}permit (principal, action, resource);");
        assert_eq!(compile(&text).map_or(0, |set| set.len()), 0, "{no_end:?}");
    }
}
