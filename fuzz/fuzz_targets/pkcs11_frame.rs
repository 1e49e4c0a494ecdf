//! What the server and the process with the library of a hardware security module say to each other.
#![no_main]

use keyreeve_root_pkcs11::wire::{Reply, Request, read_frame};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok((number, request)) = Request::decode(bytes) {
        assert!(request.encode(number).ct_eq(bytes));
    }
    if let Ok((number, reply)) = Reply::decode(bytes) {
        assert!(reply.encode(number).ct_eq(bytes));
    }
    let mut pipe = bytes;
    while let Ok(Some(_)) = read_frame(&mut pipe) {}
});
