//! Envelope files of anybody's making: the header round-trips, and no file opens that no key holder wrote.
#![no_main]

use keyreeve_envelope::{FileHeader, decrypt_stream, read_header};
use keyreeve_secret::SecretBytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    let streamed = read_header(&mut rest);
    let Ok((header, length)) = FileHeader::decode(data) else {
        assert!(streamed.is_err());
        return;
    };
    assert_eq!(header.encode(), data[..length]);
    assert_eq!(streamed.ok().as_ref(), Some(&header));
    let key = SecretBytes::copy_from(&[7; 32]);
    assert!(decrypt_stream(&key, &header, rest, std::io::sink(), |_| ()).is_err());
});
