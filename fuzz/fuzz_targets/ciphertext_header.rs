//! Ciphertexts that callers hand back: header, key id and version.
#![no_main]

use keyreeve_model::ciphertext::Header;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok((header, body)) = Header::decode(data) {
        assert_eq!([&header.encode()[..], body].concat(), data);
    }
});
