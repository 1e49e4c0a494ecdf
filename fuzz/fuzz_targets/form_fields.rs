//! Forms and queries: what is read is text, no longer than what was sent, and a field counts only where it is alone.
#![no_main]

use keyreeve_wire::form::Fields;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(fields) = Fields::parse(data) else { return };
    if let Some(value) = fields.one("a") {
        assert!(fields.has("a") && value.len() < data.len());
        let twice = [data, b"&a=again"].concat();
        assert!(Fields::parse(&twice).is_some_and(|fields| fields.one("a").is_none()));
    }
    let known = Fields::of_form(data, &["a"]).is_some();
    assert!(!known || !fields.has("b"));
});
