//! Clients that take their time, on a server whose patience is short, and clients that are too many.

use keyreeve_tests::{Layout, Production, Up, Wire};
use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

/// A server that waits for one second everywhere.
fn impatient(home: &std::path::Path) -> (Production, Up) {
    let more = "[limits]\nhandshake_seconds = 1\nhead_seconds = 1\nbody_seconds = 1\nrequest_seconds = 5\n\
        idle_seconds = 2\ngrace_seconds = 1\njson_body_bytes = 1048576\noctet_body_bytes = 8388608\n\
        all_bodies_bytes = 16777216\n\
        [limits.rates]\nunauthenticated = { per_second = 1, burst = 5 }\n";
    let mut production = Production::prepare(home, &Layout { more: more.to_owned(), ..Layout::default() });
    let up = production.start_new();
    (production, up)
}

#[test]
fn slow_clients_are_cut_off() {
    let home = tempfile::tempdir().unwrap();
    let (production, up) = impatient(home.path());
    let endpoint = up.endpoint("all").with_token(&production.people.keeper);
    let began = Instant::now();
    // A handshake that does not begin, a head that does not end, a body that does not come.
    let mut silent = Wire::tcp(&endpoint).unwrap();
    let mut head = Wire::connect(&endpoint, "http/1.1").unwrap();
    head.send(b"GET /v1/keys HTTP/1.1\r\nHost: local").unwrap();
    let mut body = Wire::connect(&endpoint, "http/1.1").unwrap();
    let token = &production.people.keeper;
    let request = format!(
        "POST /v1/keys HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    );
    body.send(request.as_bytes()).unwrap();
    body.answer().unwrap().refused(408, "request-timeout");
    match head.answer() {
        Ok(answer) => assert_eq!(answer.status, 408, "{answer}"),
        Err(error) => assert_ne!(error.kind(), ErrorKind::WouldBlock),
    }
    let closed = silent.read(&mut [0; 100]);
    assert!(!closed.is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(endpoint.api().get("/v1/keys").ok()["items"], serde_json::json!([]));
    assert!(up.server.terminate().success());
}

/// Many large bodies at once: some are told to come back, and memory stays within what was allowed.
#[test]
fn many_large_bodies_do_not_fill_memory() {
    let home = tempfile::tempdir().unwrap();
    let (production, up) = impatient(home.path());
    let endpoint = up.endpoint("all").with_token(&production.people.user);
    let before = up.server.memory_kib("VmRSS");
    let request = format!(
        "POST /v1/decrypt HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: 8000000\r\n\r\n",
        production.people.user
    );
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..12)
            .map(|_| {
                scope.spawn(|| {
                    let mut wire = Wire::connect(&endpoint, "http/1.1").unwrap();
                    let _ = wire.send(request.as_bytes());
                    for _ in 0..100 {
                        if wire.send(&[0u8; 80_000]).is_err() {
                            break;
                        }
                    }
                    wire.answer().map(|answer| answer.status)
                })
            })
            .collect();
        for sender in senders {
            if let Ok(status) = sender.join().unwrap() {
                assert!(matches!(status, 400 | 404 | 408 | 503), "{status}");
            }
        }
    });
    let peak = up.server.memory_kib("VmHWM");
    assert!(peak < before + 120 * 1024, "{before} KiB before, {peak} KiB at the worst moment");
    assert!(up.server.terminate().success());
}

/// Whoever guesses is slowed down; whoever is known is not.
#[test]
fn guessing_is_limited_and_others_go_on() {
    let home = tempfile::tempdir().unwrap();
    let (production, up) = impatient(home.path());
    let known = up.api("all", &production.people.keeper);
    assert_eq!(known.get("/v1/keys").status, 200);
    let stranger = up.api("all", &format!("krt_{}_{}", "0".repeat(32), "0".repeat(64)));
    let statuses: Vec<u16> = (0..30).map(|_| stranger.get("/v1/keys").status).collect();
    assert!(statuses.contains(&401) && statuses.contains(&429), "{statuses:?}");
    let limited = stranger.get("/v1/keys");
    limited.refused(429, "rate-limited");
    assert!(limited.header("retry-after").is_some());
    assert_eq!(known.get("/v1/keys").status, 200);
    assert!(up.server.terminate().success());
}
