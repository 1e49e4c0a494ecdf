//! Audit records as read back from the journal: what decodes is exactly what would be written.
#![no_main]

use keyreeve_audit::Record;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let decoded = Record::decode(data);
    if let Ok(record) = &decoded {
        assert_eq!(record.encode(), data);
    }
    if let (Ok(record), Some((id, time))) = (decoded, Record::peek(data)) {
        assert_eq!((record.id, record.time), (id, time));
    }
});
