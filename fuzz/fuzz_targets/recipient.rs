//! Public keys of people that texts are encrypted to: age recipients, OpenPGP certificates with and without armor.
#![no_main]

use keyreeve_crypto::recipients::Recipient;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // In 2026, when the certificates among the seeds were made.
    if let Ok(recipient) = Recipient::parse(bytes, 1_795_474_200) {
        assert!(recipient.has_fingerprint(&recipient.fingerprint()));
        assert!(recipient.user().is_none_or(|user| !user.chars().any(char::is_control)));
    }
});
