//! Public keys in SubjectPublicKeyInfo form, and signatures to be checked with them.
#![no_main]

use keyreeve_crypto::{KeyAlgorithm, PublicKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((code, der)) = data.split_first() else { return };
    let Ok(algorithm) = KeyAlgorithm::from_code(*code) else { return };
    let Ok(key) = PublicKey::from_spki(algorithm, der) else { return };
    let again = PublicKey::from_spki(algorithm, key.spki()).expect("what was accepted is accepted again");
    assert_eq!(again.spki(), key.spki());
});
