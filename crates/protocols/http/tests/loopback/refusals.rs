//! Whatever is wrong with a request, the answer is a problem document with a stable code.

use keyreeve_http::{Limits, Rate, Rates};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bench::{Answer, Bench};

fn small() -> Limits {
    Limits { json_body: 1024, octet_body: 200 << 10, ..Limits::default() }
}

const JSON: &str = "Content-Type: application/json\r\n";
const OCTETS: &str = "Content-Type: application/octet-stream\r\n";

#[tokio::test]
async fn good_requests_pass() {
    let bench = Bench::start(small(), |_| {});
    assert_eq!(
        bench.post("/json", "Content-Type: Application/JSON; charset=utf-8\r\n", r#"{"number":7}"#).await.body,
        "7"
    );
    assert_eq!(bench.post("/octets", OCTETS, &"x".repeat(100)).await.body, "100");
    assert_eq!(bench.post("/octets", OCTETS, &"x".repeat(200 << 10)).await.body, (200 << 10).to_string());
    let answer = bench.get("/who", "Authorization: Bearer krt_a_b\r\nX-Request-Id: mine-1\r\n").await;
    assert_eq!((answer.body.as_str(), answer.header("x-request-id")), ("bearer krt_a_b", Some("mine-1")));
    let ids =
        [bench.get("/who", "").await, bench.get("/who", "").await].map(|a| a.header("x-request-id").map(str::to_owned));
    assert_ne!(ids[0], ids[1]);
    assert_eq!(answer.header("content-security-policy"), Some("default-src 'none'; frame-ancestors 'none'"));
}

#[tokio::test]
async fn every_rejection_is_a_problem() {
    let bench = Bench::start(small(), |_| {});
    let long = format!(r#"{{"number":1,"x":"{}"}}"#, "x".repeat(2000));
    let long_key = format!("Idempotency-Key: {}\r\n", "k".repeat(200));
    let cases = [
        (bench.get("/nowhere", "").await, 404, "unknown-route"),
        (bench.get("/json", "").await, 405, "method-not-allowed"),
        (bench.post("/json", JSON, "{").await, 400, "invalid-request"),
        (bench.post("/json", JSON, r#"{"number":"CANARY"}"#).await, 400, "invalid-request"),
        (bench.post("/json", JSON, r#"{"number":1,"other":2}"#).await, 400, "invalid-request"),
        (bench.post("/json", "", "{}").await, 415, "unsupported-media-type"),
        (bench.post("/json", "", "").await, 400, "invalid-request"),
        (bench.post("/json", OCTETS, r#"{"number":7}"#).await, 415, "unsupported-media-type"),
        (bench.post("/octets", JSON, "x").await, 415, "unsupported-media-type"),
        (bench.post("/json", JSON, &long).await, 413, "too-large"),
        (bench.get("/path/abc", "").await, 400, "invalid-request"),
        (bench.get("/path/%ff", "").await, 400, "invalid-request"),
        (bench.get("/query?a=b", "").await, 400, "invalid-request"),
        (bench.get("/who", "Authorization: Basic dTpw\r\n").await, 401, "unauthenticated"),
        (bench.get("/who", "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n").await, 400, "invalid-request"),
        (bench.get("/who", "Authorization: Bearer \u{e9}\r\n").await, 401, "unauthenticated"),
        (bench.get("/who", &long_key).await, 400, "invalid-request"),
        (bench.get("/refuse", "").await, 401, "unauthenticated"),
        (bench.get("/panic", "").await, 500, "internal"),
    ];
    for (answer, status, code) in cases {
        assert_eq!((answer.status, answer.problem().as_str()), (status, code), "{answer:?}");
        assert!(!answer.body.contains("CANARY"), "{answer:?}");
        assert_eq!(answer.header("www-authenticate").is_some(), status == 401);
    }
    assert_eq!(bench.get("/json", "").await.header("allow"), Some("post"));
    let totals = bench.counters.totals();
    assert_eq!((totals.panics, totals.failed, totals.rate_limited), (1, 1, 0));
}

#[tokio::test]
async fn invalid_utf8_in_json_is_a_problem() {
    let bench = Bench::start(small(), |_| {});
    let mut stream = bench.open().await;
    let head = "POST /json HTTP/1.1\r\nHost: l\r\nConnection: close\r\n\
        Content-Type: application/json\r\nContent-Length: 13\r\n\r\n";
    stream.write_all(&[head.as_bytes(), b"{\"numb\xff\xfe\":1 }"].concat()).await.unwrap();
    let answer = Answer::read(&mut stream).await;
    assert_eq!((answer.status, answer.problem().as_str()), (400, "invalid-request"));
}

#[tokio::test]
async fn a_body_without_announced_length_is_limited_too() {
    let bench = Bench::start(small(), |_| {});
    let mut stream = bench.open().await;
    let head = "POST /json HTTP/1.1\r\nHost: l\r\nConnection: close\r\n\
        Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..3 {
        stream.write_all(format!("200\r\n{}\r\n", " ".repeat(0x200)).as_bytes()).await.unwrap();
    }
    let answer = Answer::read(&mut stream).await;
    assert_eq!((answer.status, answer.problem().as_str()), (413, "too-large"));
}

/// Most clients write their whole request before they read.
#[tokio::test]
async fn a_refusal_reaches_a_client_that_writes_on() {
    let bench = Bench::start(small(), |_| {});
    let length = 8 << 20;
    for (path, framing, status, code) in [
        ("/json", format!("Content-Length: {length}"), 413, "too-large"),
        ("/none", format!("Content-Length: {length}"), 404, "unknown-route"),
        ("/json", "Transfer-Encoding: chunked".to_owned(), 413, "too-large"),
    ] {
        let mut stream = bench.open().await;
        let fields = format!("Host: l\r\nConnection: close\r\n{JSON}{framing}\r\n");
        let head = format!("POST {path} HTTP/1.1\r\n{fields}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let chunked = framing.ends_with("chunked");
        let piece = if chunked { format!("10000\r\n{}\r\n", " ".repeat(1 << 16)) } else { " ".repeat(1 << 16) };
        for _ in 0..length >> 16 {
            stream.write_all(piece.as_bytes()).await.unwrap();
        }
        if chunked {
            stream.write_all(b"0\r\n\r\n").await.unwrap();
        }
        let answer = Answer::read(&mut stream).await;
        assert_eq!((answer.status, answer.problem().as_str()), (status, code));
    }
}

/// A refusal before the body was read does not end a connection that could go on.
#[tokio::test]
async fn a_body_that_comes_late_keeps_the_connection() {
    let bench = Bench::start(small(), |_| {});
    let mut stream = bench.open().await;
    for _ in 0..3 {
        let head = format!("POST /none HTTP/1.1\r\nHost: l\r\n{JSON}Content-Length: 2\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        tokio::task::yield_now().await;
        stream.write_all(b"{}").await.unwrap();
    }
    let last = "GET /who HTTP/1.1\r\nHost: l\r\nConnection: close\r\n\r\n";
    stream.write_all(last.as_bytes()).await.unwrap();
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).await.unwrap();
    let answers = String::from_utf8(answers).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 404").count(), 3, "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 1, "{answers}");
}

#[tokio::test]
async fn large_bodies_together_are_limited() {
    let bench = Bench::start(Limits { all_bodies: 128 << 10, ..small() }, |_| {});
    let answer = bench.post("/octets", OCTETS, &"x".repeat(190 << 10)).await;
    assert_eq!((answer.status, answer.problem().as_str()), (503, "overloaded"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(bench.post("/octets", OCTETS, &"x".repeat(100 << 10)).await.status, 200);
}

/// Two clients of one source together get no more than its share, also when all of it is small pieces.
#[tokio::test]
async fn bodies_of_one_source_together_are_limited() {
    let bench = Bench::start(Limits { bodies_per_source: 8 << 10, ..small() }, |_| {});
    let head =
        format!("POST /octets HTTP/1.1\r\nHost: l\r\nConnection: close\r\n{OCTETS}Content-Length: 5000\r\n\r\nx");
    assert_eq!(bench.post("/octets", OCTETS, &"x".repeat(20 << 10)).await.problem(), "overloaded");
    let (mut first, mut second) = (bench.open().await, bench.open().await);
    for stream in [&mut first, &mut second] {
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
    }
    // Whichever is read first has the room; which one that is, is up to the scheduler.
    let (mut one, mut other) = ([0], [0]);
    let (mut refused, mut accepted) = tokio::select! {
        read = first.read_exact(&mut one) => { read.unwrap(); (first, second) }
        read = second.read_exact(&mut other) => { read.unwrap(); (second, first) }
    };
    let answer = Answer::read(&mut refused).await;
    assert!(answer.head.starts_with("ttp/1.1 503") && answer.body.contains("overloaded"), "{answer:?}");
    accepted.write_all("x".repeat(4999).as_bytes()).await.unwrap();
    assert_eq!(Answer::read(&mut accepted).await.body, "5000");
    assert_eq!(bench.post("/octets", OCTETS, &"x".repeat(5000)).await.status, 200);
}

/// Bodies that are only announced do not keep out those that come.
#[tokio::test]
async fn announced_bodies_take_no_room_until_they_come() {
    let bench = Bench::start(Limits { all_bodies: 400 << 10, bodies_per_source: 400 << 10, ..small() }, |_| {});
    let length = 200 << 10;
    let head =
        format!("POST /octets HTTP/1.1\r\nHost: l\r\nConnection: close\r\n{OCTETS}Content-Length: {length}\r\n\r\nx");
    let mut streams = Vec::new();
    for _ in 0..8 {
        let mut stream = bench.open().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        streams.push(stream);
    }
    for stream in &mut streams {
        // A refusal may have come before the rest.
        let _ = stream.write_all("x".repeat(length - 1).as_bytes()).await;
        let answer = Answer::read(stream).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "204800"));
    }
}

#[tokio::test]
async fn a_credential_has_one_rate_however_it_is_spelt() {
    let rates = Rates { per_credential: Rate { per_second: 1, burst: 1 }, ..Rates::default() };
    let bench = Bench::start(Limits { rates, ..Limits::default() }, |_| {});
    assert_eq!(bench.get("/who", "Authorization: Bearer krt_0a\r\n").await.status, 200);
    for spelt in ["bearer krt_0a", "BEARER  krt_0a", "Bearer   krt_0A"] {
        let answer = bench.get("/who", &format!("Authorization: {spelt}\r\n")).await;
        assert_eq!((answer.status, answer.problem().as_str()), (429, "rate-limited"), "{spelt}");
    }
    assert_eq!(bench.get("/who", "Authorization: Bearer krt_0b\r\n").await.status, 200);
}

#[tokio::test]
async fn request_ids_of_the_servers_own_work_are_not_taken_over() {
    let bench = Bench::start(small(), |_| {});
    for id in ["scheduled-destruction", "destruction-of-key_0123"] {
        let answer = bench.get("/who", &format!("X-Request-Id: {id}\r\n")).await;
        assert_eq!(answer.status, 200);
        assert!(answer.header("x-request-id").is_some_and(|given| given != id), "{answer:?}");
    }
}

#[tokio::test]
async fn too_many_requests_are_told_to_wait() {
    let rates = Rates { per_source: Rate { per_second: 1, burst: 3 }, ..Rates::default() };
    let bench = Bench::start(Limits { rates, ..Limits::default() }, |_| {});
    for _ in 0..3 {
        assert_eq!(bench.get("/who", "").await.status, 200);
    }
    let answer = bench.get("/who", "").await;
    assert_eq!((answer.status, answer.problem().as_str()), (429, "rate-limited"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(bench.counters.totals().rate_limited, 1);
}

#[tokio::test]
async fn strangers_are_slowed_down_and_friends_are_not() {
    let rates = Rates { unauthenticated: Rate { per_second: 1, burst: 2 }, ..Rates::default() };
    let bench = Bench::start(Limits { rates, ..Limits::default() }, |_| {});
    assert_eq!(bench.get("/proven", "Authorization: Bearer friend\r\n").await.status, 200);
    for _ in 0..2 {
        assert_eq!(bench.get("/refuse", "Authorization: Bearer guess\r\n").await.status, 401);
    }
    assert_eq!(bench.get("/refuse", "Authorization: Bearer another\r\n").await.status, 429);
    assert_eq!(bench.get("/who", "Authorization: Bearer friend\r\n").await.status, 200);
}

#[tokio::test]
async fn garbage_that_goes_on_record_unproven_is_slowed_down() {
    let rates = Rates { unauthenticated: Rate { per_second: 1, burst: 2 }, ..Rates::default() };
    let bench = Bench::start(Limits { rates, ..Limits::default() }, |_| {});
    let garbage = "Authorization: Bearer garbage\r\n";
    for _ in 0..4 {
        assert_eq!(bench.get("/who", garbage).await.status, 200, "what leaves no record does not count");
    }
    for _ in 0..2 {
        assert_eq!(bench.post("/recorded", garbage, "").await.status, 200);
    }
    assert_eq!(bench.post("/recorded", garbage, "").await.status, 429, "a success is no proof of who asks");
    assert_eq!(bench.post("/recorded", "", "").await.status, 429);
}

#[tokio::test]
async fn what_web_pages_send_is_refused_unless_it_only_reads() {
    let bench = Bench::start(small(), |_| {});
    let pages = [
        "Origin: https://evil.example\r\n",
        "Origin: https://localhost\r\n",
        "Origin: null\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n",
        "Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site\r\n",
    ];
    for headers in pages {
        let answer = bench.post("/json", &format!("{JSON}{headers}"), r#"{"number":7}"#).await;
        assert_eq!((answer.status, answer.problem().as_str()), (403, "denied"), "{headers}");
        assert_eq!(bench.get("/who", headers).await.status, 200, "{headers}");
    }
    for headers in ["Sec-Fetch-Site: same-origin\r\n", "Sec-Fetch-Site: none\r\n"] {
        let answer = bench.post("/json", &format!("{JSON}{headers}"), r#"{"number":7}"#).await;
        assert_eq!(answer.status, 200, "{headers}");
    }
}
