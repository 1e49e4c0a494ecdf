//! Encryption contexts from request bodies and from the header `Keyreeve-Context`: equal contexts, and only those, have
//! equal canonical bytes.
#![no_main]

use keyreeve_model::EncryptionContext;
use keyreeve_wire::{Base64, Pairs};
use libfuzzer_sys::fuzz_target;

fn header(data: &[u8]) -> Option<EncryptionContext> {
    let json = std::str::from_utf8(data).ok()?.parse::<Base64>().ok()?;
    let pairs: Pairs = serde_json::from_slice(&json.0).ok()?;
    EncryptionContext::try_from(pairs.0).ok()
}

fuzz_target!(|data: &[u8]| {
    let _ = header(data);
    let Ok(context) = serde_json::from_slice::<EncryptionContext>(data) else { return };
    let text = serde_json::to_vec(&context).expect("a context serialises");
    let again: EncryptionContext = serde_json::from_slice(&text).expect("what was accepted is accepted again");
    assert_eq!(context, again);
    assert_eq!(context.canonical(), again.canonical());
});
