//! Nothing refers to the machine it was written on: a clone works anywhere.

use super::{Context, Finding, Outcome};
use crate::source::Tree;

/// Written so that this file does not contain them.
const NAMES: &[&str] =
    &[concat!("/wo", "rk/"), concat!("../sh", "ared"), concat!("/ro", "ot/"), concat!("/home/", "user")];
const WORDS: &[&str] = &[concat!("fa", "rm")];

pub(super) fn run(context: &Context) -> Outcome {
    check(&context.tree).into()
}

fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        for (index, line) in file.text.lines().enumerate() {
            if let Some(name) = named(line) {
                let remedy = "say it without naming a place on one machine";
                findings.push(Finding::new(&file.path, index + 1, format!("names `{name}`"), remedy));
            }
        }
    }
    findings
}

fn named(line: &str) -> Option<&'static str> {
    let lower = line.to_lowercase();
    let is_word = |word: &str| lower.split(|mark: char| !mark.is_alphanumeric()).any(|part| part == word);
    let name =
        NAMES.iter().find(|name| at_start_of_path(line, name)).or_else(|| WORDS.iter().find(|word| is_word(word)));
    name.copied()
}

/// `/x/` is meant, `/a/x/` is not.
fn at_start_of_path(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        !before.is_some_and(|mark| mark.is_alphanumeric() || matches!(mark, '_' | '-' | '}' | '.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> usize {
        check(&Tree::of([("docs/x.md", text)])).len()
    }

    #[test]
    fn places_and_words_are_found_but_not_their_lookalikes() {
        assert_eq!(lines(&format!("see {}file", NAMES[0])), 1);
        assert_eq!(lines(&format!("read {}/x", NAMES[1])), 1);
        assert_eq!(lines(&format!("the {} did", WORDS[0].to_uppercase())), 1);
        assert_eq!(lines(&format!("a/b{}c and {}ers", NAMES[0], WORDS[0])), 0);
    }
}
