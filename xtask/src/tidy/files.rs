//! Files have one subject, say what it is, and fit on a screen.

use super::{Context, Finding, Outcome, percentile};
use crate::source::{Source, Tree};

const LONGEST_FILE: usize = 1500;
const LONGEST_FILE_P90: usize = 700;
const WIDEST_LINE: usize = 120;
/// A longer word (an address, a test vector) cannot be wrapped: such a line is let through.
const WRAPPABLE_WORD: usize = 80;

pub(super) fn run(context: &Context) -> Outcome {
    check(&context.tree)
}

fn check(tree: &Tree) -> Outcome {
    let mut findings = Vec::new();
    let mut lengths = Vec::new();
    for (file, _) in tree.rust() {
        let lines = file.text.lines().count();
        lengths.push(lines);
        if lines > LONGEST_FILE {
            let message = format!("{lines} lines, at most {LONGEST_FILE} are allowed");
            findings.push(Finding::new(&file.path, None, message, "split the file by subject"));
        }
        findings.extend(undescribed(file));
        findings.extend(wide(file));
    }
    lengths.sort_unstable();
    let p90 = percentile(&lengths, 90);
    if p90 > LONGEST_FILE_P90 {
        let message =
            format!("the 90th percentile of file length is {p90} lines, at most {LONGEST_FILE_P90} are allowed");
        findings.push(Finding::new("crates", None, message, "split the long files by subject"));
    }
    let note = format!("{} files, {} lines, p90 {p90}", lengths.len(), lengths.iter().sum::<usize>());
    Outcome { findings, notes: vec![note] }
}

fn undescribed(file: &Source) -> Option<Finding> {
    let first = file.text.lines().find(|line| !line.trim().is_empty())?;
    let described = first.starts_with("//!");
    let message = "the file does not say what it is for";
    (!described).then(|| Finding::new(&file.path, 1, message, "begin it with a `//!` sentence"))
}

fn wide(file: &Source) -> impl Iterator<Item = Finding> {
    let numbered = file.text.lines().enumerate();
    let too_wide = numbered.filter(|(_, line)| {
        let width = line.chars().count();
        width > WIDEST_LINE && line.split_whitespace().all(|word| word.chars().count() <= WRAPPABLE_WORD)
    });
    too_wide.map(|(index, line)| {
        let message = format!("{} columns, at most {WIDEST_LINE} are allowed", line.chars().count());
        Finding::new(&file.path, index + 1, message, "wrap the line (`cargo fmt` does not wrap comments and strings)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        check(&Tree::of([("a/src/x.rs", text)])).findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_file_says_what_it_is_for() {
        assert!(findings("//! About.\n").is_empty());
        assert!(findings("use x;\n")[0].starts_with("a/src/x.rs:1: "));
    }

    #[test]
    fn wide_lines_are_found_unless_they_cannot_be_wrapped() {
        assert!(findings(&format!("//! X\n// {}\n", "word ".repeat(30)))[0].starts_with("a/src/x.rs:2: 153 columns"));
        assert!(findings(&format!("//! X\n// see https://example.org/{}\n", "a".repeat(120))).is_empty());
    }

    #[test]
    fn long_files_are_found() {
        let found = findings(&format!("//! X\n{}", "//\n".repeat(1500)));
        assert!(found[0].contains("1501 lines"));
        assert!(found[1].contains("90th percentile"));
    }
}
