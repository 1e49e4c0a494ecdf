//! Every parser of outside bytes has a fuzz target, and every target is built; the target of request bodies reads every
//! type that a route takes.

use std::collections::BTreeSet;

use super::{Context, Finding, Outcome, cells, quoted};
use crate::source::Tree;

const MANIFEST: &str = "fuzz/Cargo.toml";
const PARSERS: &str = "fuzz/PARSERS.md";
const FOLDER: &str = "fuzz/fuzz_targets/";
/// The target that reads bodies, and where routes say what they take.
const BODIES: &str = "fuzz/fuzz_targets/request_body.rs";
const ROUTES: &str = "crates/protocols/rest/src/handlers/";

pub(super) fn run(context: &Context) -> Outcome {
    check(&context.tree)
}

/// The targets fuzz/Cargo.toml names, each with its file.
pub(crate) fn targets(manifest: &str) -> Vec<(String, String)> {
    let table: toml::Table = manifest.parse().unwrap_or_default();
    let bins = table.get("bin").and_then(toml::Value::as_array).into_iter().flatten();
    let text = |bin: &toml::Value, key: &str| bin.get(key).and_then(toml::Value::as_str).unwrap_or_default().to_owned();
    bins.map(|bin| (text(bin, "name"), text(bin, "path"))).collect()
}

fn check(tree: &Tree) -> Outcome {
    let targets = targets(tree.file(MANIFEST).map_or("", |file| &file.text));
    let mut findings = Vec::new();
    for (name, path) in &targets {
        if tree.file(&format!("fuzz/{path}")).is_none() {
            let message = format!("target `{name}` has no file fuzz/{path}");
            findings.push(Finding::new(MANIFEST, None, message, "write it or remove the [[bin]]"));
        }
    }
    let known: BTreeSet<&str> = targets.iter().map(|(name, _)| name.as_str()).collect();
    let files = tree.files.iter().filter_map(|file| file.path.strip_prefix(FOLDER)?.strip_suffix(".rs"));
    findings.extend(files.filter(|name| !known.contains(name)).map(|name| {
        Finding::new(&format!("{FOLDER}{name}.rs"), None, "the target is not built", "add a [[bin]] to fuzz/Cargo.toml")
    }));
    findings.extend(parsers(tree, &known));
    findings.extend(bodies(tree));
    Outcome { findings, notes: vec![format!("{} targets", targets.len())] }
}

/// PARSERS.md: | parser | where | target |.
fn parsers(tree: &Tree, known: &BTreeSet<&str>) -> Vec<Finding> {
    let Some(page) = tree.file(PARSERS) else {
        return vec![Finding::new(PARSERS, None, "the file is missing", "list every parser of outside bytes in it")];
    };
    let mut findings = Vec::new();
    let mut named = BTreeSet::new();
    let rows = page.text.lines().enumerate().filter_map(|(index, line)| Some((index + 1, cells(line)?)));
    for (line, cells) in rows.skip(1) {
        let target = cells.last().and_then(|cell| quoted(cell).next()).unwrap_or_default();
        named.insert(target);
        if !known.contains(target) {
            let message = format!("parser {} has no fuzz target", cells.first().copied().unwrap_or_default());
            findings.push(Finding::new(PARSERS, line, message, "add the target to fuzz/ and name it in the last cell"));
        }
    }
    findings.extend(known.difference(&named).map(|name| {
        Finding::new(PARSERS, None, format!("target `{name}` is named by no parser"), "add the row of what it parses")
    }));
    findings
}

/// Types that a route takes (`.takes::<Type>`) and the target of bodies does not read.
fn bodies(tree: &Tree) -> Vec<Finding> {
    let read = tree.file(BODIES).and_then(|file| file.rust.as_ref());
    let read: BTreeSet<&str> = read.iter().flat_map(|rust| &rust.tokens).map(|token| token.text.as_str()).collect();
    let routes = tree.files.iter().filter(|file| file.path.starts_with(ROUTES));
    let mut findings = Vec::new();
    for file in routes {
        for (index, line) in file.text.lines().enumerate() {
            let taken = line.split_once(".takes::<").and_then(|(_, rest)| rest.split_once('>'));
            if let Some((name, _)) = taken.filter(|(name, _)| !read.contains(name)) {
                let message = format!("bodies of type `{name}` are not fuzzed");
                findings.push(Finding::new(&file.path, index + 1, message, format!("read it in {BODIES}")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(manifest: &str, page: &str, files: &[&str]) -> Vec<String> {
        let listed = files.iter().map(|name| (format!("{FOLDER}{name}.rs"), "//! X"));
        let tree = Tree::of(listed.chain([(MANIFEST.to_owned(), manifest), (PARSERS.to_owned(), page)]));
        check(&tree).findings.iter().map(ToString::to_string).collect()
    }

    const BIN: &str = "[[bin]]\nname = \"a\"\npath = \"fuzz_targets/a.rs\"\n";
    const PAGE: &str = "| parser | where | target |\n|---|---|---|\n| A | `x::a` | `a` |\n";

    #[test]
    fn parsers_targets_and_files_agree() {
        assert!(findings(BIN, PAGE, &["a"]).is_empty());
        assert!(findings(BIN, PAGE, &[])[0].contains("has no file"));
        assert!(findings(BIN, PAGE, &["a", "b"])[0].contains("is not built"));
        assert!(findings(BIN, &PAGE.replace("`a`", "-"), &["a"])[0].contains("parser A has no fuzz target"));
        assert!(findings(BIN, "| parser | where | target |\n", &["a"])[0].contains("named by no parser"));
    }

    #[test]
    fn every_body_that_a_route_takes_is_read_by_the_target() {
        let route = "fn table() {\n    route().takes::<One>(\"{}\");\n    route().takes::<Two>(\"{}\");\n}\n";
        let found = |target: &str| {
            let files = [(BODIES.to_owned(), target), (format!("{ROUTES}keys.rs"), route)];
            bodies(&Tree::of(files)).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert!(found("//! X\nfn read() { body::<One>(); body::<Two>(); }\n").is_empty());
        let missing = found("//! X\nfn read() { body::<One>(); }\n// Two\n");
        assert!(missing.len() == 1 && missing[0].contains("keys.rs:3") && missing[0].contains("`Two`"), "{missing:?}");
    }
}
