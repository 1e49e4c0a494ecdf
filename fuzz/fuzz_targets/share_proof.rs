//! Challenges to holders of shares, and what holders answer.
#![no_main]

use keyreeve_model::holders::{Challenge, ShareProof};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(challenge) = text.parse::<Challenge>() {
        assert_eq!(challenge.to_string().parse(), Ok(challenge));
    }
    if let Ok(proof) = text.parse::<ShareProof>() {
        assert_eq!(proof.to_string().parse(), Ok(proof));
    }
});
