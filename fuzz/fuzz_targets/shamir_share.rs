//! Shares of the root of trust, as holders type them.
#![no_main]

use keyreeve_crypto::shamir::Share;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(share) = Share::from_text(text) {
        let again = share.to_text();
        assert!(Share::from_text(again.expose()).is_ok());
    }
});
