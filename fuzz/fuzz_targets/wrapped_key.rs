//! Keys that come wrapped, and the public keys that keys are wrapped for: what is read is kept, what is wrapped comes
//! back, and bytes from anywhere open nothing.
#![no_main]

use keyreeve_crypto::{Random, TransportPrivate, TransportPublic, WrappingMethod};
use keyreeve_secret::{SecretBytes, SecretString};
use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;

fn keys() -> &'static (Random, Vec<TransportPrivate>) {
    static KEYS: OnceLock<(Random, Vec<TransportPrivate>)> = OnceLock::new();
    KEYS.get_or_init(|| {
        let random = Random::from_module().expect("the module draws");
        let make = |method: &WrappingMethod| TransportPrivate::generate(*method, None, &random).expect("keys are made");
        let made = WrappingMethod::ALL.iter().map(make).collect();
        (random, made)
    })
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, bytes)) = data.split_first() else { return };
    let (random, keys) = keys();
    let key = &keys[usize::from(*choice) % keys.len()];
    // A form that opens is one that somebody made for this key: nobody did.
    assert!(key.unwrap(b"", bytes).is_err());
    let public = key.public().expect("a fresh key has its public half");
    if let Ok(wrapped) = public.wrap(random, b"", &SecretBytes::copy_from(bytes)) {
        assert_eq!(key.unwrap(b"", &wrapped).expect("what is wrapped comes back").expose(), bytes);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = TransportPrivate::from_pem(public.method(), &SecretString::copy_from(text));
    if let Ok(read) = TransportPublic::from_pem(public.method(), text) {
        let again = TransportPublic::from_pem(public.method(), &read.to_pem()).expect("what is written is read back");
        assert_eq!(again, read);
    }
});
