//! Whoever is woken by a notice finds a runbook: every kind of notice that somebody should look at now is named in one,
//! and every runbook comes with the program.

use super::{Context, Finding, Outcome, quoted};
use crate::source::Tree;

const KINDS: &str = "crates/base/model/src/notice.rs";
const FOLDER: &str = "docs/runbooks/";
const SHIPPED: &str = "crates/apps/cli/src/runbook/mod.rs";
/// Urgencies of notices that wake people.
const URGENT: [&str; 2] = ["Alert", "Emergency"];

pub(super) fn run(context: &Context) -> Outcome {
    check(&context.tree)
}

fn check(tree: &Tree) -> Outcome {
    let books: Vec<_> = tree.files.iter().filter(|file| file.path.starts_with(FOLDER)).collect();
    let urgent = urgent(tree.file(KINDS).map_or("", |file| &file.text));
    let mut findings = Vec::new();
    if urgent.is_empty() || books.is_empty() {
        findings.push(Finding::new(KINDS, None, "no urgent notices or no runbooks were found", "mend this check"));
    }
    let unnamed = urgent.iter().filter(|kind| !books.iter().any(|book| quoted(&book.text).any(|name| name == **kind)));
    findings.extend(unnamed.map(|kind| {
        let message = format!("no runbook names the notice `{kind}`, which somebody should look at now");
        Finding::new(FOLDER, None, message, "say under Signs of the runbook that helps that it is one")
    }));
    let shipped = tree.file(SHIPPED).map_or("", |file| &file.text);
    let names = books.iter().filter_map(|book| book.path.strip_prefix(FOLDER)?.strip_suffix(".md"));
    findings.extend(names.filter(|name| !shipped.contains(&format!("\"{name}\""))).map(|name| {
        Finding::new(&format!("{FOLDER}{name}.md"), None, "it does not come with the program", "name it in RUNBOOKS")
    }));
    Outcome { findings, notes: vec![format!("{} runbooks for {} notices", books.len(), urgent.len())] }
}

/// The names of urgent kinds: rows `Kind = "name", Urgency;`.
fn urgent(text: &str) -> Vec<&str> {
    let row = |line: &str| -> Option<(usize, usize)> {
        let (start, rest) = (line.find(" = \"")? + 4, line.strip_suffix(';')?);
        let (before, urgency) = rest.rsplit_once(", ")?;
        URGENT.contains(&urgency).then_some((start, before.len().checked_sub(1)?))
    };
    text.lines().filter_map(|line| row(line).and_then(|(start, end)| line.get(start..end))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "    A = \"a-kind\", Alert;\n    /// doc\n    B = \"b-kind\", Information;\n    \
        C = \"c-kind\", Emergency;\n";

    #[test]
    fn urgent_kinds_are_found_and_others_not() {
        assert_eq!(urgent(TEXT), ["a-kind", "c-kind"]);
    }

    #[test]
    fn an_alert_without_a_runbook_and_a_runbook_that_is_not_shipped_are_findings() {
        let tree = Tree::of([
            (KINDS, TEXT),
            ("docs/runbooks/one.md", "# One\n\nSigns: `a-kind`\n"),
            (SHIPPED, "shipped![\"two\"]"),
        ]);
        let found: Vec<String> = check(&tree).findings.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("`c-kind`") && found[1].contains("does not come"), "{found:?}");
    }
}
