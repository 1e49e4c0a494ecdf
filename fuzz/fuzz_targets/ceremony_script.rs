//! Scripts of ceremonies that somebody wrote: refused with a reason or read, looked at, and begun or refused; never a
//! panic.
#![no_main]

use keyreeve_ceremony::event::{Opened, Program};
use keyreeve_ceremony::lint::lint;
use keyreeve_ceremony::participant::ParticipantFile;
use keyreeve_ceremony::script::Script;
use keyreeve_ceremony::state::{Ceremony, Next};
use keyreeve_ceremony::word::Line;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(error) = ParticipantFile::parse(text) {
        assert!(!error.to_string().is_empty(), "refused without a reason");
    }
    let script = match Script::parse(text) {
        Ok(script) => script,
        Err(error) => return assert!(!error.to_string().is_empty(), "refused without a reason"),
    };
    let wrong = lint(&script).iter().any(|found| found.wrong);
    let hash = Line::hexadecimal(&keyreeve_crypto::digest::sha256(text.as_bytes()));
    let opened = Opened {
        script_sha256: hash.clone(),
        script: text.to_owned(),
        dry_run: true,
        place: Line::cleaned("here"),
        program: Program { version: Line::cleaned("0"), sha256: hash },
        server: None,
    };
    match Ceremony::open(&opened) {
        Ok(ceremony) => assert!(!wrong && ceremony.next() != Next::Over, "what cannot be followed was begun"),
        Err(error) => assert!(wrong, "what can be followed was refused: {error}"),
    }
});
