//! Encryption contexts from request bodies: equal contexts, and only those, have equal canonical bytes.
#![no_main]

use keyreeve_model::EncryptionContext;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(context) = serde_json::from_slice::<EncryptionContext>(data) else { return };
    let text = serde_json::to_vec(&context).expect("a context serialises");
    let again: EncryptionContext = serde_json::from_slice(&text).expect("what was accepted is accepted again");
    assert_eq!(context, again);
    assert_eq!(context.canonical(), again.canonical());
});
