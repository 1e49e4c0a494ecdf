//! Request heads that never become a request: hyper answers them by itself, and still the answer is a problem document.

use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use keyreeve_http::{Limits, Rate, Rates};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::bench::{Answer, Bench};

fn small() -> Limits {
    Limits { head: 8192, head_fields: 20, ..Limits::default() }
}

/// Heads with the status and code of their refusal.
fn heads() -> Vec<(String, u16, &'static str)> {
    let fields = |text: &str| format!("GET /who HTTP/1.1\r\nHost: l\r\n{text}\r\n");
    vec![
        ("\u{0}\u{1}\u{2}\r\n\r\n".to_owned(), 400, "invalid-request"),
        ("GET\r\n\r\n".to_owned(), 400, "invalid-request"),
        ("GET /who\r\n\r\n".to_owned(), 400, "invalid-request"),
        ("GET /who HTTP/9.9\r\n\r\n".to_owned(), 400, "invalid-request"),
        ("GET /w ho HTTP/1.1\r\nHost: l\r\n\r\n".to_owned(), 400, "invalid-request"),
        (fields("X : a\r\n"), 400, "invalid-request"),
        (fields("X: a\u{0}b\r\n"), 400, "invalid-request"),
        (fields("Content-Length: -1\r\n"), 400, "invalid-request"),
        (fields("Content-Length: 4\r\nContent-Length: 5\r\n"), 400, "invalid-request"),
        (fields("Transfer-Encoding: gzip\r\n"), 400, "invalid-request"),
        (fields(&format!("X: {}\r\n", "a".repeat(20_000))), 431, "head-too-large"),
        (fields(&format!("Connection: close\r\n{}", "X: a\r\n".repeat(50))), 431, "head-too-large"),
        (fields(&"X: a\r\n".repeat(150)), 431, "head-too-large"),
        (format!("GET /{} HTTP/1.1\r\nHost: l\r\n\r\n", "a".repeat(20_000)), 431, "head-too-large"),
    ]
}

async fn refused(stream: &mut (impl AsyncReadExt + AsyncWrite + Unpin), head: &str, status: u16, code: &str) {
    // A server that ends the connection early may stop reading.
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.flush().await;
    let answer = Answer::read(stream).await;
    let shown = &head[..head.len().min(60)];
    assert_eq!((answer.status, answer.problem().as_str()), (status, code), "{shown:?}");
    assert_eq!(answer.header("connection"), Some("close"), "{shown:?}");
    assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()), "{shown:?}");
    assert!(answer.header("date").is_some(), "{shown:?}");
}

#[tokio::test]
async fn unreadable_heads_are_problems_over_tls_and_plain() {
    let (tls, plain) = (Bench::start(small(), |_| {}), Bench::plain(small()));
    for (head, status, code) in heads() {
        refused(&mut tls.open().await, &head, status, code).await;
        refused(&mut plain.tcp().await, &head, status, code).await;
    }
    let count = heads().len() as u64;
    for bench in [tls, plain] {
        let totals = bench.counters.totals();
        assert_eq!((totals.requests, totals.refused, totals.failed), (count, count, 0));
    }
}

#[tokio::test]
async fn the_second_request_of_a_connection_too() {
    let (tls, plain) = (Bench::start(small(), |_| {}), Bench::plain(small()));
    let good = "GET /who HTTP/1.1\r\nHost: l\r\n\r\n";
    for (head, status, code) in heads() {
        second(&mut tls.open().await, good, &head, (status, code)).await;
        second(&mut plain.tcp().await, good, &head, (status, code)).await;
    }
}

/// The good request is answered before the bad one is sent.
async fn second(
    stream: &mut (impl AsyncReadExt + AsyncWrite + Unpin),
    good: &str,
    bad: &str,
    (status, code): (u16, &str),
) {
    stream.write_all(good.as_bytes()).await.unwrap();
    let mut first = Vec::new();
    while !first.ends_with(b"\r\n\r\nnone") {
        first.push(stream.read_u8().await.unwrap());
    }
    assert!(first.starts_with(b"HTTP/1.1 200"));
    refused(stream, bad, status, code).await;
}

#[tokio::test]
async fn good_and_bad_in_one_go_are_answered_in_order() {
    let bench = Bench::plain(small());
    let mut stream = bench.tcp().await;
    let good = "GET /who HTTP/1.1\r\nHost: l\r\n\r\n";
    stream.write_all(format!("{good}{good}{good}GET\r\n\r\n").as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let statuses: Vec<&str> = text.match_indices("HTTP/1.1 ").map(|(at, _)| &text[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "200", "200", "400"], "{text}");
    assert!(text.contains(r#""code":"invalid-request""#), "{text}");
}

/// An answer that looks like a refusal of hyper's own passes untouched, over and over.
#[tokio::test]
async fn answers_are_never_taken_for_hypers_own() {
    let bench = Bench::plain(Limits::default());
    let mut stream = bench.tcp().await;
    for _ in 0..20 {
        stream.write_all(b"POST /bare HTTP/1.1\r\nHost: l\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        let mut told = Vec::new();
        while !told.ends_with(b"content-length: 0\r\ndate: now\r\n\r\n") {
            told.push(stream.read_u8().await.unwrap());
        }
        assert!(told.starts_with(b"HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn whoever_sends_rubbish_is_slowed_down() {
    let rates = Rates { per_source: Rate { per_second: 1, burst: 2 }, ..Rates::default() };
    let bench = Bench::plain(Limits { rates, ..Limits::default() });
    for _ in 0..2 {
        refused(&mut bench.tcp().await, "GET\r\n\r\n", 400, "invalid-request").await;
    }
    refused(&mut bench.tcp().await, "GET\r\n\r\n", 429, "rate-limited").await;
}

#[tokio::test]
async fn heads_of_http_2_are_limited_alike() {
    let bench = Bench::start(small(), |_| {});
    let mut config = bench.authority.client(None, &[&rustls::version::TLS13]);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = bench.connect(config).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let ended = tokio::spawn(connection);
    for (count, length, status) in [(1, 10, 200), (1, 9000, 431), (30, 1, 431), (15, 1, 200)] {
        let mut request = http::Request::get("https://localhost/who").body(Empty::<bytes::Bytes>::new()).unwrap();
        for number in 0..count {
            let name: http::HeaderName = format!("x-{number}").parse().unwrap();
            request.headers_mut().insert(name, "a".repeat(length).parse().unwrap());
        }
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), status, "{count} of {length}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(String::from_utf8_lossy(&body).contains(r#""code":"head-too-large""#), status == 431);
    }
    drop(sender);
    ended.await.unwrap().unwrap();
}
