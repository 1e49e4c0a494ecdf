//! A crate's `clippy.toml` replaces the root's: the copies on the base floor agree and hold the root's bans.

use std::collections::BTreeSet;

use super::{Context, Finding, Outcome};
use crate::source::Tree;
use crate::workspace::Graph;

const ROOT: &str = "clippy.toml";

/// What makes a crate impure. The files may ban more, not less.
const BASE_BANS: &[&str] = &[
    "std::time::SystemTime::now",
    "std::time::Instant::now",
    "std::env::var",
    "std::env::var_os",
    "std::env::vars",
    "std::env::vars_os",
    "std::fs::read",
    "std::fs::read_to_string",
    "std::fs::write",
    "std::fs::File::open",
    "std::fs::File::create",
    "std::thread::sleep",
];

pub(super) fn run(context: &Context) -> Outcome {
    check(&context.tree, &context.graph).into()
}

fn check(tree: &Tree, graph: &Graph) -> Vec<Finding> {
    let Some(root) = tree.file(ROOT) else {
        return vec![Finding::new(ROOT, None, "the file is missing", "it holds the bans of the whole workspace")];
    };
    let mut wanted = bans(&root.text);
    wanted.extend(BASE_BANS.iter().map(|ban| (*ban).to_owned()));
    let folders = graph.members.iter().map(|member| &member.folder).filter(|folder| folder.starts_with("crates/base/"));
    let copies: Vec<(String, Option<&str>)> = folders
        .map(|folder| format!("{folder}/clippy.toml"))
        .map(|path| (path.clone(), tree.file(&path).map(|file| file.text.as_str())))
        .collect();
    let model = copies.iter().find_map(|(_, text)| *text);
    copies.iter().filter_map(|(path, text)| complaint(path, *text, model, &wanted)).collect()
}

fn complaint(path: &str, text: Option<&str>, model: Option<&str>, wanted: &BTreeSet<String>) -> Option<Finding> {
    let remedy = "copy crates/base/secret/clippy.toml; the copies are identical";
    let Some(text) = text else {
        return Some(Finding::new(
            path,
            None,
            "the file is missing, so the bans of the base floor do not hold",
            remedy,
        ));
    };
    if model != Some(text) {
        return Some(Finding::new(path, None, "the copy differs from those of the other base crates", remedy));
    }
    let held = bans(text);
    let missing: Vec<&str> = wanted.difference(&held).map(String::as_str).collect();
    let message = format!("not banned here: {}", missing.join(", "));
    (!missing.is_empty())
        .then(|| Finding::new(path, None, message, "add them, with reason and substitute, to every copy"))
}

/// The paths a `clippy.toml` bans, methods and types, that state a reason.
fn bans(text: &str) -> BTreeSet<String> {
    let table: toml::Table = text.parse().unwrap_or_default();
    let lists = ["disallowed-methods", "disallowed-types", "disallowed-macros"];
    let entries = lists.iter().filter_map(|list| table.get(*list)?.as_array()).flatten();
    let reasoned = entries.filter(|entry| entry.get("reason").is_some());
    reasoned.filter_map(|entry| Some(entry.get("path")?.as_str()?.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Member;

    fn file(bans: &[&str]) -> String {
        let entries = bans.iter().map(|ban| format!("{{ path = \"{ban}\", reason = \"r\" }},"));
        format!("disallowed-methods = [{}]", entries.collect::<String>())
    }

    fn complaints(a: &str, b: &str) -> Vec<String> {
        let tree = Tree::of([
            (ROOT, file(&["x::y"]).as_str()),
            ("crates/base/a/clippy.toml", a),
            ("crates/base/b/clippy.toml", b),
        ]);
        let member = |folder: &str| Member { folder: folder.to_owned(), ..Member::default() };
        let graph = Graph { members: vec![member("crates/base/a"), member("crates/base/b")], packages: Vec::new() };
        check(&tree, &graph).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn copies_agree_and_hold_every_ban() {
        let all: Vec<&str> = BASE_BANS.iter().copied().chain(["x::y"]).collect();
        assert!(complaints(&file(&all), &file(&all)).is_empty());
        assert!(complaints(&file(&all), &file(BASE_BANS))[0].contains("differs"));
        assert!(complaints(&file(BASE_BANS), &file(BASE_BANS))[0].contains("not banned here: x::y"));
    }

    #[test]
    fn a_ban_without_a_reason_does_not_count() {
        assert!(bans("disallowed-methods = [\"a::b\", { path = \"c::d\" }]").is_empty());
    }
}
