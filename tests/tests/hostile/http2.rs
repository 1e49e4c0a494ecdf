//! Frames that are not, or hardly, HTTP/2 (RFC 9113).

use keyreeve_tests::Wire;

use crate::Target;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A GET of `/`, in static table entries of HPACK: `:method`, `:scheme`, `:path`.
const GET: &[u8] = &[0x82, 0x87, 0x84];

impl Target {
    fn h2(&self) -> Wire {
        let mut wire = Wire::connect(&self.dev.endpoint, "h2").unwrap();
        wire.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).unwrap();
        wire
    }
}

/// The server ends such a connection by itself.
#[test]
fn broken_frames_end_the_connection() {
    let target = Target::start();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("garbage", vec![0xff; 200]),
        ("a frame that is too large", frame(DATA, 0, 1, &vec![0; 20_000])),
        ("data on stream 0", frame(DATA, 0, 0, b"x")),
        ("headers on an even stream", frame(HEADERS, 5, 2, GET)),
        ("broken HPACK", frame(HEADERS, 5, 1, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff])),
        ("settings of a wrong length", frame(SETTINGS, 0, 0, &[0; 5])),
        ("a ping of a wrong length", frame(PING, 0, 0, &[0; 3])),
        ("an empty window update", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("a continuation of nothing", frame(CONTINUATION, 4, 1, GET)),
        ("data on an idle stream", frame(DATA, 1, 99, b"x")),
    ];
    for (what, bytes) in cases {
        let mut wire = target.h2();
        let _ = wire.send(&bytes);
        let ended = wire.read_to_end();
        let waiting = ended.as_ref().err().is_some_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!waiting, "after {what} the connection stays open");
    }
    target.end_unharmed();
}

/// CVE-2023-44487: requests that are cancelled at once.
#[test]
fn rapid_resets_do_not_tie_it_up() {
    let target = Target::start();
    let mut wire = target.h2();
    for stream in (1..20_001u32).step_by(2) {
        let both = [frame(HEADERS, 5, stream, GET), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat();
        if wire.send(&both).is_err() {
            break;
        }
    }
    assert_eq!(target.dev.api().get("/healthz").status, 200);
    drop(wire);
    target.end_unharmed();
}

/// CVE-2024-27316 and its like: header blocks that never end.
#[test]
fn endless_header_blocks_do_not_fill_memory() {
    let target = Target::start();
    let mut wire = target.h2();
    let field = [&[0x00, 0x01, b'x', 0x7f, 0x81, 0x7d][..], &[b'a'; 16_000]].concat();
    wire.send(&frame(HEADERS, 1, 1, &field)).unwrap();
    let mut sent = 0u64;
    while sent < 64 << 20 && wire.send(&frame(CONTINUATION, 0, 1, &field)).is_ok() {
        sent += field.len() as u64;
    }
    assert!(sent < 64 << 20, "an endless header block was read");
    target.end_unharmed();
}

/// Pings and settings that each ask for an answer nobody reads.
#[test]
fn floods_of_control_frames_do_not_fill_memory() {
    let target = Target::start();
    let mut wire = target.h2();
    let flood: Vec<u8> =
        (0..2000).flat_map(|_| [frame(PING, 0, 0, &[7; 8]), frame(SETTINGS, 0, 0, &[])].concat()).collect();
    for _ in 0..50 {
        if wire.send(&flood).is_err() {
            break;
        }
    }
    assert_eq!(target.dev.api().get("/healthz").status, 200);
    drop(wire);
    target.end_unharmed();
}
