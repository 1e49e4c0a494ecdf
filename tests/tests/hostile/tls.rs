//! Everything that is not a proper TLS 1.3 handshake.

use keyreeve_tests::{Chance, Wire};
use std::io::{Read, Write};

use crate::Target;

fn turned_away(target: &Target, bytes: &[u8]) {
    let mut stream = Wire::tcp(&target.dev.endpoint).unwrap();
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let waiting = read.as_ref().err().is_some_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
    assert!(!waiting, "left waiting after {:?}", &bytes[..bytes.len().min(20)]);
    // An alert at most: never a byte of HTTP in the clear.
    assert!(!answer.windows(4).any(|window| window == b"HTTP"), "plain HTTP on the TLS port");
}

#[test]
fn what_is_not_tls_is_turned_away() {
    let target = Target::start();
    let mut chance = Chance::new(1);
    turned_away(&target, b"");
    turned_away(&target, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    turned_away(&target, b"\x16\x03\x01");
    turned_away(&target, b"\x16\x03\x01\xff\xff\x01\xff\xff\xff");
    turned_away(&target, b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00");
    turned_away(&target, &[0x80, 0x2e, 0x01, 0x03, 0x01, 0x00]);
    for _ in 0..200 {
        let length = chance.below(2000);
        let mut bytes = chance.bytes(length);
        if chance.below(2) == 0 {
            bytes.splice(0..0, [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03]);
        }
        turned_away(&target, &bytes);
    }
    target.end_unharmed();
}

/// Connections that say nothing do not keep others out. Fewer than one address may hold, as all come from one here.
#[test]
fn silent_connections_do_not_keep_others_out() {
    let target = Target::start();
    let silent: Vec<_> = (0..200).map(|_| Wire::tcp(&target.dev.endpoint).unwrap()).collect();
    assert_eq!(target.dev.api().get("/v1/algorithms").status, 200);
    drop(silent);
    target.end_unharmed();
}
