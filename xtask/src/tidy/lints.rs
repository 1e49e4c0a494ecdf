//! Every member inherits the workspace's lints; the base floor forbids `unsafe` for good.

use super::{Context, Finding, Outcome};
use crate::source::Tree;
use crate::workspace::Graph;

pub(super) fn run(context: &Context) -> Outcome {
    check(&context.tree, &context.graph).into()
}

fn check(tree: &Tree, graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in &graph.members {
        let manifest = format!("{}/Cargo.toml", member.folder);
        if !inherits_lints(tree.file(&manifest).map_or("", |file| &file.text)) {
            let remedy = "add `[lints]` with `workspace = true`";
            findings.push(Finding::new(&manifest, None, "the workspace's lints are not inherited", remedy));
        }
        if member.folder.starts_with("crates/base/") {
            findings.extend(forbids_unsafe(tree, &format!("{}/src/lib.rs", member.folder)));
        }
    }
    findings
}

fn inherits_lints(manifest: &str) -> bool {
    let table: toml::Table = manifest.parse().unwrap_or_default();
    let inherited = table.get("lints").and_then(|lints| lints.get("workspace"));
    inherited.and_then(toml::Value::as_bool) == Some(true)
}

fn forbids_unsafe(tree: &Tree, path: &str) -> Option<Finding> {
    let rust = tree.file(path).and_then(|file| file.rust.as_ref());
    let forbidden = rust.is_some_and(|rust| !rust.find("# ! [ forbid ( unsafe_code )").is_empty());
    let message = "a crate of the base floor does not forbid `unsafe`";
    (!forbidden)
        .then(|| Finding::new(path, None, message, "add `#![forbid(unsafe_code)]` below the crate's `//!` text"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Member;

    fn complaints(manifest: &str, library: &str) -> usize {
        let folder = "crates/base/x".to_owned();
        let tree = Tree::of([("crates/base/x/Cargo.toml", manifest), ("crates/base/x/src/lib.rs", library)]);
        let member = Member { folder, ..Member::default() };
        check(&tree, &Graph { members: vec![member], packages: Vec::new() }).len()
    }

    #[test]
    fn both_are_asked_for() {
        assert_eq!(complaints("[lints]\nworkspace = true\n", "//! X\n#![forbid(unsafe_code)]\n"), 0);
        assert_eq!(complaints("[lints.rust]\nunsafe_code = \"deny\"\n", "//! X\n#![forbid(unsafe_code)]\n"), 1);
        assert_eq!(complaints("[lints]\nworkspace = true\n", "//! #![forbid(unsafe_code)]\n"), 1);
    }
}
