//! Every crate of other people that a member asks for is accounted for in docs/dependencies.md.

use std::collections::BTreeSet;

use super::{Context, Finding, Outcome, cells, quoted};
use crate::source::Tree;
use crate::workspace::Graph;

const PAGE: &str = "docs/dependencies.md";
const ROOT_MANIFEST: &str = "Cargo.toml";

pub(super) fn run(context: &Context) -> Outcome {
    check(&context.tree, &context.graph)
}

fn check(tree: &Tree, graph: &Graph) -> Outcome {
    let Some(page) = tree.file(PAGE) else {
        let remedy = "write the table: | crate | why | considered | kept by |";
        return vec![Finding::new(PAGE, None, "the file is missing", remedy)].into();
    };
    let used = used(graph);
    let offered = manifest_dependencies(tree, ROOT_MANIFEST, &["workspace", "dependencies"]);
    let rows: Vec<(usize, &str, bool)> =
        page.text.lines().enumerate().filter_map(|(index, line)| row(index + 1, line)).collect();
    let mut findings = Vec::new();
    for name in used.iter().chain(&offered).collect::<BTreeSet<_>>() {
        if !rows.iter().any(|(_, row, _)| row == name) {
            let remedy = format!("add a row to {PAGE}: why, what else was considered, who keeps it");
            findings.push(Finding::new(ROOT_MANIFEST, None, format!("`{name}` is not accounted for"), remedy));
        }
    }
    for name in offered.difference(&used) {
        let remedy = "remove it from [workspace.dependencies]";
        findings.push(Finding::new(ROOT_MANIFEST, None, format!("no member uses `{name}`"), remedy));
    }
    findings.extend(rows.iter().filter_map(|(line, name, complete)| bad_row(*line, name, *complete, &used, &offered)));
    Outcome { findings, notes: vec![format!("{} crates of other people", used.len())] }
}

fn bad_row(
    line: usize,
    name: &str,
    complete: bool,
    used: &BTreeSet<String>,
    offered: &BTreeSet<String>,
) -> Option<Finding> {
    if !used.contains(name) && !offered.contains(name) {
        return Some(Finding::new(PAGE, line, format!("`{name}` is not used any more"), "remove the row"));
    }
    let message = format!("the row of `{name}` leaves a cell empty");
    (!complete).then(|| Finding::new(PAGE, line, message, "fill in why, considered, kept by"))
}

fn row(line: usize, text: &str) -> Option<(usize, &str, bool)> {
    let cells = cells(text)?;
    let name = quoted(cells.first()?).next()?;
    Some((line, name, cells.len() == 4 && cells.iter().all(|cell| !cell.is_empty())))
}

fn used(graph: &Graph) -> BTreeSet<String> {
    let all = graph.members.iter().flat_map(|member| &member.dependencies);
    all.filter(|dependency| dependency.folder.is_none()).map(|dependency| dependency.name.clone()).collect()
}

fn manifest_dependencies(tree: &Tree, path: &str, table: &[&str]) -> BTreeSet<String> {
    let text = tree.file(path).map_or("", |file| &file.text);
    let manifest: toml::Table = text.parse().unwrap_or_default();
    let mut value = toml::Value::Table(manifest);
    for key in table {
        value = value.get(key).cloned().unwrap_or_else(|| toml::Value::Table(toml::Table::new()));
    }
    let entries = value.as_table().into_iter().flatten();
    entries.filter(|(_, entry)| entry.get("path").is_none()).map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::{Dependency, Member};

    fn findings(page: &str, offered: &str) -> Vec<String> {
        let manifest = format!("[workspace.dependencies]\nours = {{ path = \"x\" }}\n{offered}");
        let tree = Tree::of([(PAGE, page), (ROOT_MANIFEST, &manifest)]);
        let dependency = Dependency { name: "serde".into(), development: false, folder: None };
        let member = Member { dependencies: vec![dependency], ..Member::default() };
        let found = check(&tree, &Graph { members: vec![member], packages: Vec::new() });
        found.findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_crate_has_a_full_row_and_each_row_a_crate() {
        let row = "| `serde` | why | what else | who |\n";
        assert!(findings(row, "serde = \"1\"").is_empty());
        assert!(findings("| crate |\n", "serde = \"1\"")[0].contains("`serde` is not accounted for"));
        assert!(findings("| `serde` | why | | who |\n", "serde = \"1\"")[0].contains("leaves a cell empty"));
        assert!(findings(&format!("{row}| `gone` | a | b | c |\n"), "serde = \"1\"")[0].contains("`gone` is not used"));
        let unused = findings(&format!("{row}| `idle` | a | b | c |\n"), "serde = \"1\"\nidle = \"1\"");
        assert!(unused[0].contains("no member uses `idle`"));
    }
}
