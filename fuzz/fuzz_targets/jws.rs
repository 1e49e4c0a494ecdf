//! Tokens of other issuers: what is taken apart is one spelling, and nothing verifies without a key.
#![no_main]

use keyreeve_identity::jws::Compact;
use keyreeve_identity::{JwsAlgorithm, KeySet};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &str| {
    if let Ok(compact) = Compact::parse(data) {
        assert!(data.starts_with(compact.signed));
        assert!(compact.verify(&KeySet::default(), &JwsAlgorithm::ALL).is_err());
    }
});
