//! Everything that is built into the product may be given away with it.

use super::{Context, Finding, Outcome};
use crate::workspace::Graph;

/// Licences that ask for no more than a notice. MPL-2.0 (changes to the file itself must be published) is not among
/// them: a crate under it needs a decision first.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "OpenSSL",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

pub(super) fn run(context: &Context) -> Outcome {
    let note = format!("{} packages", context.graph.packages.len());
    Outcome { findings: check(&context.graph), notes: vec![note] }
}

fn check(graph: &Graph) -> Vec<Finding> {
    let refused = graph.packages.iter().filter(|package| !package.license.as_deref().is_some_and(allowed));
    let findings = refused.map(|package| {
        let licence = package.license.as_deref().unwrap_or("not stated");
        let message = format!("`{}` {}: licence {licence} is not on the list", package.name, package.version);
        Finding::new(
            "Cargo.lock",
            None,
            message,
            "use another crate, or decide on the licence in docs/decisions/ first",
        )
    });
    findings.collect()
}

/// Whether an SPDX expression can be met with allowed licences only.
fn allowed(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    either(&mut rest) && rest.is_empty()
}

fn either(rest: &mut &[&str]) -> bool {
    let mut met = both(rest);
    while let Some((&"OR", after)) = rest.split_first() {
        *rest = after;
        met |= both(rest);
    }
    met
}

fn both(rest: &mut &[&str]) -> bool {
    let mut met = single(rest);
    while let Some((&"AND", after)) = rest.split_first() {
        *rest = after;
        met &= single(rest);
    }
    met
}

fn single(rest: &mut &[&str]) -> bool {
    let Some((first, after)) = rest.split_first() else { return false };
    *rest = after;
    if *first == "(" {
        let met = either(rest);
        let closed = rest.split_first().is_some_and(|(mark, _)| *mark == ")");
        *rest = rest.get(1..).unwrap_or_default();
        return met && closed;
    }
    let exception = match *rest {
        ["WITH", exception, ..] => *exception,
        _ => return ALLOWED.contains(first),
    };
    *rest = &rest[2..];
    ALLOWED.contains(&format!("{first} WITH {exception}").as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Package;

    #[test]
    fn expressions_are_weighed() {
        assert!(allowed("MIT OR GPL-3.0"));
        assert!(allowed("MIT/Apache-2.0"));
        assert!(allowed("ISC AND (Apache-2.0 OR ISC) AND OpenSSL"));
        assert!(allowed("Apache-2.0 WITH LLVM-exception OR GPL-2.0"));
        assert!(!allowed("MIT AND GPL-3.0"));
        assert!(!allowed("(MIT"));
        assert!(!allowed("GPL-2.0 WITH Classpath-exception-2.0"));
        assert!(!allowed(""));
    }

    #[test]
    fn a_missing_or_foreign_licence_is_a_finding() {
        let package = |license: Option<&str>| Package {
            name: "x".into(),
            version: "1.0.0".into(),
            license: license.map(str::to_owned),
        };
        let graph = Graph {
            members: Vec::new(),
            packages: vec![package(None), package(Some("BUSL-1.1")), package(Some("MIT"))],
        };
        assert_eq!(check(&graph).len(), 2);
    }
}
