//! Scripts: what is refused when they are read, and what is found when they are looked at.

use keyreeve_ceremony::lint::lint;
use keyreeve_ceremony::script::Script;
use keyreeve_ceremony::shipped::SCRIPTS;
use proptest::prelude::*;

use crate::stage::SCRIPT;

fn findings(from: &str, to: &str) -> Vec<String> {
    let text = SCRIPT.replacen(from, to, 1);
    assert_ne!(text, SCRIPT, "{from}");
    let script = Script::parse(&text).unwrap_or_else(|error| panic!("{to}: {error}"));
    lint(&script).into_iter().filter(|found| found.wrong).map(|found| found.what).collect()
}

#[test]
fn what_is_not_known_is_refused() {
    for (from, to) in [
        ("purpose =", "porpoise ="),
        ("count = 1", "count = 1\ncolour = \"red\""),
        ("form = \"sha256\"", "form = \"sha1\""),
        ("key-show = { key", "key-steal = { key"),
        ("key-show = { key", "key-show = { force = true, key"),
        ("keyreeve_ceremony = 1", "keyreeve_ceremony = 2"),
        ("id = \"hash\"", "id = \"Hash!\""),
        ("count = 2", "count = -2"),
        ("do = { verify = ", "do = { attach = { name = \"a\", what = \"b\" }, verify = "),
    ] {
        let text = SCRIPT.replacen(from, to, 1);
        assert_ne!(text, SCRIPT, "{from}");
        assert!(Script::parse(&text).is_err(), "{to}");
    }
    assert!(Script::parse(&" ".repeat(300 * 1024)).is_err());
}

#[test]
fn what_a_script_cannot_mean_is_found() {
    assert!(lint(&Script::parse(SCRIPT).unwrap()).iter().all(|found| !found.wrong));
    for (from, to, expected) in [
        ("by = [\"witness\"]\n\n[[equipment]]", "by = [\"nobody\"]\n\n[[equipment]]", "no role `nobody`"),
        ("id = \"compare\"", "id = \"hash\"", "there twice"),
        ("equals = \"digest\"", "equals = \"video-hash\"", "not written down before"),
        ("key = \"{serial}\"", "key = \"{later}\"", "`later` is not written down before"),
        ("key = \"{serial}\"", "key = \"{serial\"", "brace"),
        ("name = \"choice\"", "name = \"serial\"", "written down twice"),
        ("choices = [\"yes\", \"no\"]", "choices = [\"yes\", \"yes\"]", "different choices"),
        ("server = true", "server = false", "needs a server"),
        ("count = 2", "count = 0", "1 to 32 holders"),
        ("organisations_at_least = 2", "organisations_at_least = 9", "so many organisations"),
        ("[\"witness\"]\n\n[[roles]]", "[\"administrator\"]\n\n[[roles]]", "excludes itself"),
        ("deviations_accepted_by = [\"witness\"]", "deviations_accepted_by = [\"x\"]", "no role `x`"),
        ("by = [\"custodian\"]", "by = []", "nobody does it"),
    ] {
        let found = findings(from, to);
        assert!(found.iter().any(|what| what.contains(expected)), "{to}: {found:?}");
    }
}

#[test]
fn advice_is_given_and_stops_nothing() {
    let script = Script::parse(SCRIPT).unwrap();
    let advice: Vec<String> = lint(&script).into_iter().map(|found| found.place).collect();
    assert_eq!(advice, ["compare", "video"], "one person alone does these");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_script_with_a_line_less_is_read_or_refused(number in 0..400_usize, which in 0..SCRIPTS.len()) {
        let mut lines: Vec<&str> = SCRIPTS[which].text.lines().collect();
        lines.remove(number % lines.len());
        if let Ok(script) = Script::parse(&lines.join("\n")) {
            let _ = lint(&script);
        }
    }
}
