//! The small words of every interface: ids, names, labels, algorithms, networks, places in quarantine, times. What
//! parses prints the same.
#![no_main]

use std::fmt::Display;
use std::str::FromStr;

use keyreeve_crypto::KeyAlgorithm;
use keyreeve_model::anchor::{Placed, Statement};
use keyreeve_model::quarantine::Place;
use keyreeve_model::{KeyId, KeyringId, Label, Name, RecordId, TokenId, UnixMillis};
use keyreeve_policy::{Network, PolicyName};
use libfuzzer_sys::fuzz_target;

/// What parses, parses again from what it prints as, to the same.
fn settles<T: FromStr + Display>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let printed = value.to_string();
        assert_eq!(printed.parse::<T>().ok().map(|again| again.to_string()), Some(printed));
    }
}

fuzz_target!(|text: &str| {
    settles::<KeyId>(text);
    settles::<KeyringId>(text);
    settles::<RecordId>(text);
    settles::<TokenId>(text);
    settles::<Name>(text);
    settles::<Label>(text);
    settles::<KeyAlgorithm>(text);
    settles::<Network>(text);
    settles::<PolicyName>(text);
    settles::<Place>(text);
    let _ = UnixMillis::parse_rfc3339(text);
    let _ = Statement::read(text.as_bytes(), |_, _| true);
    if let Ok(placed) = Placed::read(text.as_bytes()) {
        assert_eq!(placed.write(), text.as_bytes());
    }
});
