//! Objects of a backup's destination of anybody's making: heads and rows round-trip, and nothing opens that no key
//! holder wrote.
#![no_main]

use keyreeve_backup::{BackupKey, ObjectName, Reader, SealedLedger, decode_row, encode_row, split_head};
use keyreeve_secret::SecretBytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(row) = decode_row(data) {
        assert_eq!(encode_row(&row), data);
    }
    if let Some(name) = std::str::from_utf8(data).ok().and_then(|text| text.parse::<ObjectName>().ok()) {
        assert_eq!(name.object().map(|object| object.name()), Some(name));
    }
    let Ok(key) = BackupKey::from_secret(1, SecretBytes::copy_from(&[7; 32])) else { return };
    if let Ok(sealed) = SealedLedger::parse(data) {
        assert!(sealed.open(&key).is_err());
    }
    let Ok(Some((head, len))) = split_head(data) else { return };
    let Ok(mut reader) = Reader::begin(head, &data[..len], &key) else { return };
    let mut items = Vec::new();
    assert!(reader.feed(&data[len..], &mut items).is_err() || reader.finish(&mut items).is_err());
    assert!(items.is_empty());
});
