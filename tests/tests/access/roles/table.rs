//! The table of roles, read from the engine's own test, so that there is one.

use std::collections::BTreeSet;

const SOURCE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/engine/tests/engine/roles.rs"));

/// What one role may do.
pub(super) struct Row {
    pub(super) role: String,
    /// `person` or `service`.
    pub(super) kind: String,
    pub(super) may: BTreeSet<String>,
}

pub(super) struct Table {
    pub(super) rows: Vec<Row>,
    /// What everybody may.
    pub(super) everybody: BTreeSet<String>,
}

/// What stands between two texts, and what follows.
fn between<'a>(text: &'a str, from: &str, to: &str) -> Option<(&'a str, &'a str)> {
    text.split_once(from)?.1.split_once(to)
}

/// A list of operations by the name of its constant.
fn list(name: &str) -> BTreeSet<String> {
    let (text, _) = between(SOURCE, &format!("const {name}: &str ="), ";").unwrap_or_else(|| panic!("no list {name}"));
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\\')).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

pub(super) fn read() -> Table {
    let (mut rest, _) = between(SOURCE, "const TABLE: ", "\n];").unwrap();
    let mut rows = Vec::new();
    while let Some((row, after)) = between(rest, "row(", "]),") {
        let (role, _) = between(row, "\"", "\"").unwrap();
        let (kind, lists) = between(row, "PrincipalKind::", ",").unwrap();
        let lists = lists.split(|c: char| !c.is_ascii_uppercase() && c != '_').filter(|name| !name.is_empty());
        let may = lists.flat_map(list).collect();
        rows.push(Row { role: role.to_owned(), kind: kind.to_lowercase(), may });
        rest = after;
    }
    assert!(rows.len() >= 16, "{} rows were read", rows.len());
    assert!(rows.iter().filter(|row| row.may.is_empty()).count() == 2, "persons in the roles of services may nothing");
    Table { rows, everybody: list("EVERYBODY") }
}
