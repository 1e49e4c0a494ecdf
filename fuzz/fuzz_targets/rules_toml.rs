//! Rule books that somebody puts: refused with a reason or read, written back and read the same, conditions compiled;
//! never a panic, never a deep stack.
#![no_main]

use std::sync::LazyLock;

use keyreeve_model::rules::Rules;
use keyreeve_policy::rules::{RuleSet, RuleText};
use keyreeve_policy::{ActionSpec, ResourceKind, Schema};
use libfuzzer_sys::fuzz_target;

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let rotate = ActionSpec { name: "key.rotate", resource: ResourceKind::Key, groups: &[] };
    let put = ActionSpec { name: "rules.put", resource: ResourceKind::System, groups: &[] };
    Schema::generate(&[rotate, put]).expect("two actions make a schema")
});

fuzz_target!(|text: &str| {
    let rules = match Rules::parse(text) {
        Ok(rules) => rules,
        Err(problem) => return assert!(!problem.to_string().is_empty(), "refused without a reason"),
    };
    assert_eq!(Rules::parse(&rules.to_toml()), Ok(rules.clone()), "written and read back");
    let operations: Vec<Vec<&str>> =
        rules.iter().map(|rule| rule.operations.iter().map(|name| name.as_str()).collect()).collect();
    let texts = rules.iter().zip(&operations).map(|(rule, operations)| RuleText {
        name: rule.name.as_str(),
        operations,
        when: rule.when.as_deref(),
    });
    if let Err(problems) = RuleSet::compile(&SCHEMA, texts) {
        assert!(!problems.is_empty(), "refused without a reason");
    }
});
