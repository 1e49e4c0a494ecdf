//! Signed notes, the checkpoints in them, and verifier keys, as the offline verifier gets them from anybody.
#![no_main]

use keyreeve_audit::{Checkpoint, SignedNote, VerifierKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(note) = SignedNote::parse(data) {
        assert!(note.text.ends_with('\n'));
        assert!(!note.signatures.is_empty());
        let _ = Checkpoint::parse(&note.text);
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(key) = text.parse::<VerifierKey>() {
        assert_eq!(key.to_string(), text);
    }
});
