//! Proofs that an operation is in the log, as a caller hands them to the offline verifier.
#![no_main]

use keyreeve_audit::TlogProof;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(proof) = TlogProof::parse(text) {
        assert!(proof.hashes.len() <= 64);
    }
});
