//! Keys that are brought in from outside: what is accepted keeps one stored form.
#![no_main]

use keyreeve_crypto::{KeyAlgorithm, Material};
use keyreeve_secret::SecretBytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((code, bytes)) = data.split_first() else { return };
    let Ok(algorithm) = KeyAlgorithm::from_code(*code) else { return };
    let Ok(material) = Material::import(algorithm, &SecretBytes::copy_from(bytes)) else { return };
    let stored = material.serialize();
    let again = Material::parse(algorithm, stored.duplicate()).expect("what is stored is read back");
    assert_eq!(again.serialize().expose(), stored.expose());
});
