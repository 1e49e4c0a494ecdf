//! Claims of tokens, and the filter that a typed name is put into.
#![no_main]

use keyreeve_identity::{Claims, Facts, ldap};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let filter = ldap::filter("(uid={user})", &text, "");
    assert_eq!(filter.matches(['(', ')']).count(), 2);
    if let Ok(claims) = Claims::parse(data, "") {
        assert!(!claims.subject().is_empty());
        for path in ["groups", "/a/b", "email", "/"] {
            assert!(claims.values(path).len() <= data.len());
        }
        let _ = (claims.auth_time(), claims.methods());
    }
});
