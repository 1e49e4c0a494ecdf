//! Policies that an administrator uploads: refused with a reason or compiled, never a panic, never a deep stack.
#![no_main]

use std::sync::LazyLock;

use keyreeve_policy::{ActionSpec, PolicyName, PolicySet, ResourceKind, Schema};
use libfuzzer_sys::fuzz_target;

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let encrypt = ActionSpec { name: "key.encrypt", resource: ResourceKind::Key, groups: &["encrypt-side"] };
    Schema::generate(&[encrypt]).expect("one action makes a schema")
});

fuzz_target!(|text: &str| {
    let name = PolicyName::new("fuzzed").expect("a plain name");
    if let Err(problems) = PolicySet::compile(&SCHEMA, [(name, text)]) {
        assert!(!problems.is_empty(), "refused without a reason");
    }
});
