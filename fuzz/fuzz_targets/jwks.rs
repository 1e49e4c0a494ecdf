//! Key sets of other issuers, their discovery documents and the answers of their token endpoints.
#![no_main]

use keyreeve_identity::{KeySet, oidc};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(set) = KeySet::parse(data) {
        assert_eq!(set.is_empty(), set.len() == 0);
    }
    if let Ok(endpoints) = oidc::parse_discovery(data, "https://id.example") {
        assert!(endpoints.keys.starts_with("https://"));
    }
    let _ = oidc::parse_token_answer(data);
    let _ = oidc::parse_token_error(data);
});
