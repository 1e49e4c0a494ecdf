//! Transcripts of ceremonies: refused with a line and a reason or read; what is read is put on paper and checked; never
//! a panic.
#![no_main]

use keyreeve_ceremony::paper::{document, markdown};
use keyreeve_ceremony::transcript::Transcript;
use keyreeve_ceremony::verify::{Against, verify};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let report = verify(bytes, &Against::default());
    assert!(!report.checks.is_empty(), "nothing was checked");
    match Transcript::read(bytes) {
        Ok(transcript) => {
            assert_eq!(transcript.length(), bytes.len(), "something was left over");
            assert!(!report.is_broken(), "read and broken");
            assert!(!markdown::render(&document(&transcript, bytes)).is_empty());
        }
        Err(broken) => {
            assert!(!broken.to_string().is_empty(), "refused without a reason");
            assert!(report.is_broken() || report.is_unfinished(), "not read and not broken");
        }
    }
});
