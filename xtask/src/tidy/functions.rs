//! Functions stay short enough to be read at once.
//!
//! An exemption is recorded with the length it was granted for. It can only shrink: the check asks for the line to be
//! lowered when the function got shorter and removed when it is short enough or gone.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Context, Finding, Outcome, percentile};
use crate::source::Tree;

const EXEMPTIONS: &str = "xtask/tidy-exemptions.toml";
const LONGEST: usize = 70;
const LONGEST_P90: usize = 35;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Exemptions {
    #[serde(default)]
    function: Vec<Exemption>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exemption {
    path: String,
    name: String,
    lines: usize,
}

pub(super) fn run(context: &Context) -> Outcome {
    check(&context.tree)
}

fn check(tree: &Tree) -> Outcome {
    let text = tree.file(EXEMPTIONS).map_or("", |file| file.text.as_str());
    let exemptions: Exemptions = match toml::from_str(text) {
        Ok(exemptions) => exemptions,
        Err(error) => {
            return vec![Finding::new(EXEMPTIONS, None, error.to_string(), "see the head of the file")].into();
        }
    };
    let mut lengths = Vec::new();
    let mut long = BTreeMap::new();
    for (file, rust) in tree.rust().filter(|(_, rust)| !rust.test_file) {
        for function in rust.functions.iter().filter(|function| !function.test) {
            lengths.push(function.lines);
            if function.lines > LONGEST {
                long.insert((file.path.as_str(), function.name.as_str()), (function.line, function.lines));
            }
        }
    }
    lengths.sort_unstable();
    let mut findings = too_long(&long, &exemptions);
    findings.extend(stale(&long, &exemptions));
    findings.extend(tree.rust().filter_map(|(file, rust)| {
        let error = rust.error.as_ref()?;
        Some(Finding::new(&file.path, None, format!("cannot be parsed: {error}"), "make it valid Rust"))
    }));
    Outcome { findings, notes: Vec::new() }.with_percentiles(&lengths)
}

impl Outcome {
    fn with_percentiles(mut self, sorted: &[usize]) -> Self {
        let [p50, p90, p99] = [50, 90, 99].map(|percent| percentile(sorted, percent));
        self.notes.push(format!("{} functions, lines p50 {p50}, p90 {p90}, p99 {p99}", sorted.len()));
        if p90 > LONGEST_P90 {
            let message =
                format!("the 90th percentile of function length is {p90} lines, at most {LONGEST_P90} are allowed");
            self.findings.push(Finding::new("crates", None, message, "split the long functions by what they do"));
        }
        self
    }
}

type Long<'a> = BTreeMap<(&'a str, &'a str), (usize, usize)>;

fn too_long(long: &Long<'_>, exemptions: &Exemptions) -> Vec<Finding> {
    let unexcused = long.iter().filter_map(|((path, name), (line, lines))| {
        let granted = exemptions.function.iter().find(|entry| entry.path == *path && entry.name == *name);
        let limit = granted.map_or(LONGEST, |entry| entry.lines);
        let message = format!("fn {name} has {lines} lines, {limit} are allowed");
        (*lines > limit).then(|| Finding::new(path, *line, message, "split it by what it does"))
    });
    unexcused.collect()
}

fn stale(long: &Long<'_>, exemptions: &Exemptions) -> Vec<Finding> {
    let shrunk = exemptions.function.iter().filter_map(|entry| {
        let message = match long.get(&(entry.path.as_str(), entry.name.as_str())) {
            Some((_, lines)) if *lines >= entry.lines => return None,
            Some((_, lines)) => format!("{}: fn {} is down to {lines} lines: lower the entry", entry.path, entry.name),
            None => format!("{}: fn {} needs no exemption any more: remove the entry", entry.path, entry.name),
        };
        Some(Finding::new(EXEMPTIONS, None, message, "an exemption only shrinks"))
    });
    shrunk.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(lines: usize, exempt: Option<usize>) -> Vec<String> {
        let long = format!("//! X\nfn f() {{\n{}}}\n", "    g();\n".repeat(lines - 2));
        let short = "fn g() {}\n".repeat(20);
        let entry = exempt.map(|lines| format!("[[function]]\npath = \"a/src/x.rs\"\nname = \"f\"\nlines = {lines}\n"));
        let tree = Tree::of([("a/src/x.rs", format!("{long}{short}")), (EXEMPTIONS, entry.unwrap_or_default())]);
        check(&tree).findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn seventy_lines_are_the_limit() {
        assert!(findings(70, None).is_empty());
        assert!(findings(71, None)[0].starts_with("a/src/x.rs:2: fn f has 71 lines"));
    }

    #[test]
    fn an_exemption_holds_and_only_shrinks() {
        assert!(findings(80, Some(80)).is_empty());
        assert!(findings(81, Some(80))[0].contains("80 are allowed"));
        assert!(findings(75, Some(80))[0].contains("lower the entry"));
        assert!(findings(60, Some(80))[0].contains("remove the entry"));
    }

    #[test]
    fn the_ninetieth_percentile_is_limited() {
        let body = format!("fn f() {{\n{}}}\n", "    g();\n".repeat(40));
        let outcome = check(&Tree::of([("a/src/x.rs", body)]));
        assert!(outcome.findings[0].to_string().contains("90th percentile"));
        assert!(outcome.notes[0].contains("p90 42"));
    }

    #[test]
    fn test_code_is_not_measured() {
        let body = format!("#[test]\nfn f() {{\n{}}}\n", "    g();\n".repeat(90));
        assert!(check(&Tree::of([("a/src/x.rs", body)])).findings.is_empty());
    }
}
