//! Paths below the log's prefix, and the files there: one path has one spelling, tiles and bundles have one length.
#![no_main]

use keyreeve_audit::tile::{LogPath, decode_hashes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(hashes) = decode_hashes(data) {
        assert_eq!(hashes.len() * 32, data.len());
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(path) = LogPath::parse(text) {
        assert_eq!(path.to_string(), text);
    }
});
