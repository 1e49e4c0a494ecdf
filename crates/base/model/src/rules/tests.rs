//! Tests of rules: what may be written, and what several rules ask for together.

use super::*;

const GUARD: &str = r#"
[[rule]]
name = "rules"
operations = ["rules.put"]
seats = [{ role = "security-lead" }, { role = "ciso" }]
"#;

fn book(more: &str) -> Result<Rules, InvalidRules> {
    Rules::parse(&format!("{GUARD}{more}"))
}

fn problem(more: &str) -> String {
    book(more).unwrap_err().to_string()
}

fn party(name: &str, roles: &[&str]) -> Party {
    Party {
        name: name.parse().unwrap(),
        person: name.parse().unwrap(),
        roles: roles.iter().map(|role| role.parse().unwrap()).collect(),
        counts: true,
    }
}

fn needed(rules: &Rules, proposer: &Party, hold: bool, widens: bool) -> Result<Option<Requirement>, NoWay> {
    let asking = Asking { proposer, hold, incident: false, widens };
    Requirement::of(rules.iter().filter(|rule| rule.name.as_str() != "rules"), &asking)
}

fn seats(requirement: &Requirement) -> Vec<String> {
    requirement.seats.iter().map(ToString::to_string).collect()
}

/// The example of docs/formats.md, which shows every field.
const EXAMPLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/formats.md"));

#[test]
fn the_example_of_the_paper_is_a_rule_book() {
    let (_, section) = EXAMPLE.split_once("## Rule books").unwrap();
    let (_, text) = section.split_once("```toml\n").unwrap();
    let (text, table) = text.split_once("```").unwrap();
    let rules = Rules::parse(text).unwrap();
    assert_eq!(Rules::parse(&rules.to_toml()).unwrap(), rules);
    // What the form has, the table names.
    let form = serde_json::to_value(RuleForm::from(rules.iter().next().unwrap().clone())).unwrap();
    let mut fields: Vec<String> = form.as_object().unwrap().keys().cloned().collect();
    fields.extend(["only_widening", "seats", "overrides", "opens_incident", "confirm"].map(str::to_owned));
    fields.extend(["expires_hours", "expires_minutes", "valid_hours", "valid_minutes"].map(str::to_owned));
    for field in fields {
        assert!(table.contains(&format!("`{field}`")), "{field}");
    }
}

#[test]
fn every_field_is_read_and_written_back() {
    let text = r#"
[[rule]]
name = "all"
operations = ["key.rotate", "key.create"]
when = "resource.purpose == \"wrap\""
only_widening = true
opens_incident = true
overrides = ["other"]
expires_minutes = 90
valid_hours = 2
mfa_minutes = 3
confirm = { role = ["ciso", "dpo"], within_hours = 24 }
ways = [
  { proposers = ["security-lead"], seats = [{ role = "ciso" }] },
  { seats = [{ role = ["a", "b"] }, { owner = true, only_if = "incident" }, { peer = true, only_if = "hold" }] },
]
[[rule]]
name = "other"
operations = ["key.rotate"]
seats = [{ role = "ciso" }]
"#;
    let rules = book(text).unwrap();
    let rule = rules.find("all").unwrap();
    assert_eq!(rule.expires, Some(Duration::from_secs(90 * 60)));
    assert_eq!(rule.valid, Some(Duration::from_secs(2 * 3600)));
    assert_eq!(rule.mfa, Some(Duration::from_secs(180)));
    assert_eq!(rule.ways[1].seats[1].only_if, Some(Fact::Incident));
    assert_eq!(Rules::parse(&rules.to_toml()), Ok(rules.clone()));
    let stored = serde_json::to_string(&rules).unwrap();
    assert_eq!(serde_json::from_str::<Rules>(&stored).unwrap(), rules);
    let roles: Vec<String> = rules.roles().iter().map(ToString::to_string).collect();
    assert_eq!(roles, ["a", "b", "ciso", "dpo", "security-lead", "system-owner"]);
}

#[test]
fn what_no_rule_can_say_is_refused_with_a_reason() {
    let rule = |rest: &str| format!("[[rule]]\nname = \"r\"\noperations = [\"key.rotate\"]\n{rest}\n");
    for (text, wanted) in [
        (rule("seats = [{ role = \"ciso\", owner = true }]"), "a seat is one of"),
        (rule("seats = [{}]"), "a seat is one of"),
        (rule("seats = [{ role = [] }]"), "a seat is one of"),
        (rule("seats = [{ rol = \"ciso\" }]"), "unknown field"),
        (rule("seats = [{ role = \"ciso\", only_if = \"friday\" }]"), "unknown variant"),
        (rule("seat = []"), "unknown field"),
        (rule(""), "say either `seats` or `ways`"),
        (rule("seats = []\nways = []"), "say either `seats` or `ways`"),
        (rule("ways = []"), "no way"),
        (rule("seats = []"), "asks for nobody's consent"),
        (rule("seats = [{ peer = true }]\nexpires_hours = 1\nexpires_minutes = 1"), "not both"),
        (rule("seats = [{ peer = true }]\nexpires_minutes = 0"), "at least 1 minute"),
        (rule("seats = [{ peer = true }]\nvalid_hours = 2161"), "at most"),
        (rule("seats = [{ peer = true }]\nmfa_minutes = 61"), "at most"),
        (rule("seats = [{ peer = true }]\noverrides = [\"r\"]"), "overrides itself"),
        (rule("seats = [{ peer = true }]\noverrides = [\"none\"]"), "no rule of the book"),
        (rule("seats = [{ peer = true }]\nconfirm = { role = [], within_hours = 1 }"), "`confirm` names a role"),
        (rule("seats = [{ peer = true }]").repeat(2), "two rules of this name"),
        (
            ["r", "q"]
                .map(|name| {
                    rule("seats = []\nconfirm = { role = \"ciso\", within_hours = 1 }")
                        .replace("\"r\"", &format!("\"{name}\""))
                })
                .concat(),
            "names `key.rotate` too",
        ),
        (rule("seats = [{ peer = true }]").replace("[\"key.rotate\"]", "[]"), "names no operation"),
        (rule(&format!("seats = [{}]", "{ peer = true },".repeat(9))), "at most 8"),
        ("[[rules]]\n".to_owned(), "unknown field"),
        ("rule = 1\n[".to_owned(), "cannot be read"),
    ] {
        let problem = problem(&text);
        assert!(problem.contains(wanted), "{text}\n{problem}");
    }
    assert!(Rules::parse(&" ".repeat(BOOK_MAX + 1)).is_err());
}

#[test]
fn rules_stand_under_a_rule_that_always_asks() {
    for (from, to) in [
        ("\"rules.put\"", "\"policy.put\""),
        ("seats", "when = \"true\"\nseats"),
        ("seats", "only_widening = true\nseats"),
        ("seats = [{ role = \"security-lead\" }, { role = \"ciso\" }]", "seats = []\nopens_incident = true"),
        (
            "seats = [{ role = \"security-lead\" }, { role = \"ciso\" }]",
            "ways = [{ proposers = [\"x\"], seats = [] }, { seats = [{ role = \"ciso\" }] }]",
        ),
    ] {
        let text = GUARD.replace(from, to);
        assert_eq!(Rules::parse(&text), Err(InvalidRules::Unguarded("rules.put")), "{text}");
    }
    let overriding = "[[rule]]\nname = \"o\"\noperations = [\"rules.put\"]\nseats = []\noverrides = [\"rules\"]\n";
    assert_eq!(book(overriding), Err(InvalidRules::Unguarded("rules.put")));
}

#[test]
fn the_first_way_that_admits_the_proposer_counts() {
    let rules = book(
        r#"
[[rule]]
name = "kek"
operations = ["key.rotate"]
ways = [
  { proposers = ["security-lead"], seats = [{ role = "ciso" }] },
  { proposers = ["key-admin"], seats = [{ role = "security-lead" }, { role = "ciso" }] },
]
"#,
    )
    .unwrap();
    let of = |roles: &[&str]| needed(&rules, &party("p", roles), false, true);
    assert_eq!(seats(&of(&["security-lead", "key-admin"]).unwrap().unwrap()), ["ciso"]);
    assert_eq!(seats(&of(&["key-admin"]).unwrap().unwrap()), ["ciso", "security-lead"]);
    let refused = of(&["operator"]).unwrap_err();
    assert_eq!(refused.to_string(), "rule `kek` lets only key-admin or security-lead ask for this");
}

#[test]
fn several_rules_are_united() {
    let rules = book(
        r#"
[[rule]]
name = "one"
operations = ["key.rotate"]
seats = [{ role = "ciso" }, { role = "ciso" }, { role = "legal", only_if = "hold" }]
expires_hours = 10
valid_hours = 1
[[rule]]
name = "two"
operations = ["key.rotate"]
seats = [{ role = "ciso" }, { peer = true }]
expires_hours = 5
mfa_minutes = 2
[[rule]]
name = "widening"
operations = ["key.rotate"]
only_widening = true
seats = [{ owner = true }]
"#,
    )
    .unwrap();
    let proposer = party("p", &["x"]);
    let plain = needed(&rules, &proposer, false, false).unwrap().unwrap();
    assert_eq!(seats(&plain), ["ciso", "ciso", "peer of the proposer"]);
    assert_eq!((plain.expires.as_secs(), plain.valid.as_secs(), plain.mfa.as_secs()), (5 * 3600, 3600, 120));
    assert_eq!(plain.rules.len(), 2);
    let all = needed(&rules, &proposer, true, true).unwrap().unwrap();
    assert_eq!(seats(&all), ["ciso", "ciso", "legal", "system owner", "peer of the proposer"]);
}

#[test]
fn what_is_overridden_does_not_count_and_what_fell_away_overrides_nothing() {
    let rules = book(
        r#"
[[rule]]
name = "kek"
operations = ["key.rotate"]
seats = [{ role = "ciso" }]
[[rule]]
name = "emergency"
operations = ["key.rotate"]
only_widening = true
overrides = ["kek"]
seats = []
confirm = { role = "ciso", within_hours = 24 }
"#,
    )
    .unwrap();
    let proposer = party("p", &[]);
    let overridden = needed(&rules, &proposer, false, true).unwrap().unwrap();
    assert_eq!((overridden.seats.len(), overridden.confirm.len()), (0, 1));
    let not = needed(&rules, &proposer, false, false).unwrap().unwrap();
    assert_eq!((seats(&not), not.confirm.len()), (vec!["ciso".to_owned()], 0));
    assert_eq!(
        Requirement::of([], &Asking { proposer: &proposer, hold: true, incident: true, widens: true }),
        Ok(None)
    );
}

#[test]
fn the_rows_of_books_are_apart() {
    let mut book = RuleBook {
        version: 7,
        current: true,
        rules: book("").unwrap(),
        enacted: None,
        updated: UnixMillis(1),
        updated_by: "alice".parse().unwrap(),
        approval: None,
    };
    assert_eq!(book.row_id(), RuleBook::current_row());
    book.current = false;
    assert_eq!(book.row_id().as_bytes(), b"book/\0\0\0\x07");
}
