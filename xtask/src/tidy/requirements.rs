//! docs/features.md tells the truth about every requirement: one row each, and a test that shows what works.

use std::collections::BTreeMap;

use super::{Context, Finding, Outcome, cells, quoted};
use crate::source::{Rust, Tree};

const FEATURES: &str = "docs/features.md";
const FAMILIES: &[(char, usize)] =
    &[('K', 20), ('R', 13), ('A', 9), ('T', 10), ('C', 12), ('I', 12), ('U', 6), ('N', 16), ('D', 8), ('E', 4)];
const TOTAL: usize = 110;
const NOT_YET: &str = "not yet";
const STATUSES: [&str; 3] = ["works", "partial", NOT_YET];

pub(super) fn run(context: &Context) -> Outcome {
    check(&context.tree)
}

struct Row<'a> {
    id: &'a str,
    line: usize,
    status: Option<&'a str>,
    /// The last cell: where the tests are named.
    shown_by: &'a str,
}

fn check(tree: &Tree) -> Outcome {
    let Some(file) = tree.file(FEATURES) else {
        let remedy = "write one row per requirement: | id | what it is | works, partial or not yet | `test` |";
        return vec![Finding::new(FEATURES, None, "the file is missing", remedy)].into();
    };
    let ids: Vec<String> =
        FAMILIES.iter().flat_map(|(letter, count)| (1..=*count).map(move |n| format!("{letter}{n}"))).collect();
    debug_assert_eq!(ids.len(), TOTAL);
    let rows: Vec<Row<'_>> =
        file.text.lines().enumerate().filter_map(|(index, line)| row(index + 1, line, &ids)).collect();
    let mut findings = counted(&ids, &rows);
    let tests = tests(tree);
    findings.extend(rows.iter().flat_map(|row| untrue(row, tree, &tests)));
    Outcome { findings, notes: vec![tally(&rows)] }
}

fn row<'a>(line: usize, text: &'a str, ids: &[String]) -> Option<Row<'a>> {
    let cells = cells(text)?;
    let id = *cells.first().filter(|cell| ids.iter().any(|id| id == *cell))?;
    let status = cells.iter().skip(1).find_map(|cell| STATUSES.into_iter().find(|status| status == cell));
    Some(Row { id, line, status, shown_by: cells.last().copied().unwrap_or_default() })
}

fn tally(rows: &[Row<'_>]) -> String {
    let count = |wanted: &str| rows.iter().filter(|row| row.status == Some(wanted)).count();
    STATUSES.map(|status| format!("{} {status}", count(status))).join(", ")
}

fn counted(ids: &[String], rows: &[Row<'_>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for id in ids {
        let mut found = rows.iter().filter(|row| row.id == id);
        let Some(_) = found.next() else {
            findings.push(Finding::new(FEATURES, None, format!("{id} has no row"), "add it with its true status"));
            continue;
        };
        if let Some(second) = found.next() {
            let message = format!("{id} has a second row");
            findings.push(Finding::new(FEATURES, second.line, message, "keep one row per requirement"));
        }
    }
    findings
}

fn untrue(row: &Row<'_>, tree: &Tree, tests: &BTreeMap<String, Vec<Vec<String>>>) -> Vec<Finding> {
    let finding = |message: String, remedy: &str| vec![Finding::new(FEATURES, row.line, message, remedy)];
    let Some(status) = row.status else {
        return finding(format!("{} has no status", row.id), "one cell is exactly `works`, `partial` or `not yet`");
    };
    if status == NOT_YET {
        return Vec::new();
    }
    let named: Vec<&str> = quoted(row.shown_by).collect();
    if named.is_empty() {
        return finding(
            format!("{} {status}, but no test is named", row.id),
            "name it in back quotes in the last cell",
        );
    }
    let missing = named.into_iter().filter(|name| !exists(name, tree, tests));
    let remedy = "name a test function as `crate::module::function`, or a test file by its path";
    missing.flat_map(|name| finding(format!("{}: there is no test `{name}`", row.id), remedy)).collect()
}

/// A named test exists: `path/file.rs`, `path/file.rs::function`, or `crate::module::function` with modules left out.
fn exists(name: &str, tree: &Tree, tests: &BTreeMap<String, Vec<Vec<String>>>) -> bool {
    if name.contains(".rs") {
        let (path, function) = name.split_once("::").unwrap_or((name, ""));
        let rust = tree.file(path).and_then(|file| file.rust.as_ref());
        let named = rust.map(test_names).unwrap_or_default();
        return if function.is_empty() { !named.is_empty() } else { named.iter().any(|test| test == function) };
    }
    let claimed: Vec<&str> = name.split("::").filter(|part| *part != "tests").collect();
    let Some((function, modules)) = claimed.split_last() else { return false };
    let places = tests.get(*function).map_or(&[][..], Vec::as_slice);
    places.iter().any(|place| {
        let mut parts = place.iter();
        modules.iter().all(|module| parts.any(|part| part == module))
    })
}

/// Every test function, with the crates and modules it stands in.
fn tests(tree: &Tree) -> BTreeMap<String, Vec<Vec<String>>> {
    let mut found: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
    for (file, rust) in tree.rust() {
        let place = place(&file.path);
        for name in test_names(rust) {
            found.entry(name).or_default().push(place.clone());
        }
    }
    found
}

/// `crates/base/model/src/lifecycle/table.rs` is `keyreeve_model::lifecycle::table`.
fn place(path: &str) -> Vec<String> {
    let stem = path.strip_suffix(".rs").unwrap_or(path);
    let parts: Vec<&str> = stem.split('/').collect();
    let inner = parts.iter().position(|part| matches!(*part, "src" | "tests")).unwrap_or(0);
    let package = match parts.get(inner.wrapping_sub(1)) {
        Some(&"cli") => "keyreeve".to_owned(),
        Some(folder) => format!("keyreeve_{}", folder.replace('-', "_")),
        None => "keyreeve_tests".to_owned(),
    };
    let modules = parts[inner..].iter().filter(|part| !matches!(**part, "src" | "tests" | "lib" | "main" | "mod"));
    std::iter::once(package).chain(modules.map(|part| (*part).to_owned())).collect()
}

/// Names of functions marked `#[test]` or the like, also those inside of `proptest!`.
fn test_names(rust: &Rust) -> Vec<String> {
    let mut names = Vec::new();
    let mut marked = false;
    let texts: Vec<&str> = rust.tokens.iter().map(|token| token.text.as_str()).collect();
    for window in texts.windows(3) {
        match window {
            ["[" | ":", "test", "]" | "("] => marked = true,
            ["fn", name, _] if std::mem::take(&mut marked) => names.push((*name).to_owned()),
            _ => {}
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST_FILE: (&str, &str) = (
        "crates/base/model/src/lifecycle.rs",
        "fn helper() {}\n#[cfg(test)]\nmod tests {\n#[test]\nfn every_move() {}\nproptest! {\n\
     #[test]\nfn any(x in 0..9) {}\n}\n}",
    );

    fn features(change: impl Fn(&str) -> Option<String>) -> Vec<String> {
        let ids = FAMILIES.iter().flat_map(|(letter, count)| (1..=*count).map(move |n| format!("{letter}{n}")));
        let rows = ids.map(|id| change(&id).unwrap_or_else(|| format!("| {id} | words | not yet | |\n")));
        let tree = Tree::of([(FEATURES, rows.collect::<String>().as_str()), TEST_FILE]);
        check(&tree).findings.iter().map(ToString::to_string).collect()
    }

    fn with(row: &'static str) -> Vec<String> {
        features(|id| (id == "K5").then(|| row.to_owned()))
    }

    #[test]
    fn there_are_a_hundred_and_ten() {
        assert_eq!(FAMILIES.iter().map(|(_, count)| count).sum::<usize>(), TOTAL);
        assert!(features(|_| None).is_empty());
    }

    #[test]
    fn missing_and_double_rows_are_found() {
        assert!(with("")[0].contains("K5 has no row"));
        assert!(with("| K5 | a | not yet | |\n| K5 | b | not yet | |\n")[0].contains("second row"));
        assert!(with("| K5 | a | soon | |\n")[0].contains("no status"));
        assert!(check(&Tree::default()).findings[0].to_string().contains("the file is missing"));
    }

    #[test]
    fn what_works_names_a_test_that_exists() {
        assert!(with("| K5 | a | works | |\n")[0].contains("no test is named"));
        assert!(with("| K5 | a | partial | `keyreeve_model::nothing` |\n")[0].contains("there is no test"));
        assert!(
            with("| K5 | a | works | `keyreeve_engine::lifecycle::every_move` |\n")[0].contains("there is no test")
        );
        assert!(with("| K5 | a | works | `keyreeve_model::helper` |\n")[0].contains("there is no test"));
        assert!(with("| K5 | a | works | `keyreeve_model::lifecycle::tests::every_move`, `any` |\n").is_empty());
        assert!(with("| K5 | a | works | `crates/base/model/src/lifecycle.rs::every_move` |\n").is_empty());
        assert!(with("| K5 | a | works | `crates/base/model/src/lifecycle.rs` |\n").is_empty());
        assert!(with("| K5 | a | works | `tests/tests/gone.rs` |\n")[0].contains("there is no test"));
    }
}
