//! How connections and requests end: by the clock, by order, or by the client. Nothing here sleeps: each test waits
//! for the event itself, and only the listener's own limits are short.

use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use keyreeve_http::Limits;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bench::{Answer, Bench};

const SHORT: Duration = Duration::from_millis(150);
const WAIT: &[u8] = b"GET /wait HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Everything until the other side closes.
async fn until_closed(stream: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    bytes
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_ended() {
    let bench = Bench::start(Limits { handshake_time: SHORT, ..Limits::default() }, |_| {});
    let mut socket = bench.tcp().await;
    assert!(until_closed(&mut socket).await.is_empty());
    assert_eq!(bench.counters.totals().handshakes_failed, 1);
}

#[tokio::test]
async fn a_head_that_trickles_is_ended() {
    let bench = Bench::start(Limits { head_time: SHORT, ..Limits::default() }, |_| {});
    let mut stream = bench.open().await;
    stream.write_all(b"GET /who HTTP/1.1\r\nHost: loc").await.unwrap();
    let bytes = until_closed(&mut stream).await;
    assert!(!bytes.starts_with(b"HTTP/1.1 200"), "{bytes:?}");
}

#[tokio::test]
async fn a_body_that_trickles_is_refused() {
    let bench = Bench::start(Limits { body_time: SHORT, ..Limits::default() }, |_| {});
    let mut stream = bench.open().await;
    let head =
        "POST /octets HTTP/1.1\r\nHost: l\r\nContent-Type: application/octet-stream\r\nContent-Length: 100\r\n\r\nabc";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = Answer::read(&mut stream).await;
    assert_eq!((answer.status, answer.problem().as_str()), (408, "request-timeout"));
}

#[tokio::test]
async fn a_body_that_ends_early_leaves_no_trace() {
    let bench = Bench::start(Limits::default(), |_| {});
    let mut stream = bench.open().await;
    let head =
        "POST /octets HTTP/1.1\r\nHost: l\r\nContent-Type: application/octet-stream\r\nContent-Length: 100\r\n\r\nabc";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let answer = Answer::read(&mut stream).await;
    assert!(answer.status == 0 || answer.problem() == "invalid-request", "{answer:?}");
    assert_eq!(bench.get("/who", "").await.status, 200);
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_given_up() {
    let bench = Bench::start(Limits { request_time: SHORT, ..Limits::default() }, |_| {});
    let answer = bench.get("/never", "").await;
    assert_eq!((answer.status, answer.problem().as_str()), (503, "timeout"));
}

#[tokio::test]
async fn requests_under_way_are_finished_when_the_listener_ends() {
    let bench = Bench::start(Limits::default(), |_| {});
    let mut busy = bench.open().await;
    let mut idle = bench.open().await;
    busy.write_all(WAIT).await.unwrap();
    bench.gate.begun.notified().await;
    bench.stop.cancel();
    assert!(until_closed(&mut idle).await.is_empty(), "an idle connection is closed at once");
    bench.gate.open.notify_one();
    let answer = Answer::read(&mut busy).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "done"));
    bench.served.await.unwrap();
    assert!(tokio::net::TcpStream::connect(bench.address).await.is_err());
    assert_eq!(bench.counters.totals().open, 0);
}

#[tokio::test]
async fn requests_that_never_end_are_cut_after_the_grace_time() {
    let bench = Bench::start(Limits { grace_time: SHORT, ..Limits::default() }, |_| {});
    let mut stream = bench.open().await;
    stream.write_all(WAIT).await.unwrap();
    bench.gate.begun.notified().await;
    bench.stop.cancel();
    assert!(until_closed(&mut stream).await.is_empty());
    bench.served.await.unwrap();
}

/// The preface of HTTP/2 with empty settings; this client never answers anything.
const SILENT: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A connection over which HTTP/2 is begun by hand.
async fn silent(bench: &Bench) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
    let mut config = bench.authority.client(None, &[&rustls::version::TLS13]);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut stream = bench.connect(config).await.unwrap();
    stream.write_all(SILENT).await.unwrap();
    // The server's settings: it speaks HTTP/2 now.
    let mut frame = [0; 9];
    stream.read_exact(&mut frame).await.unwrap();
    assert_eq!(frame[3], 4);
    stream
}

#[tokio::test]
async fn idle_clients_that_do_not_answer_are_not_waited_for() {
    let bench = Bench::start(Limits { grace_time: Duration::from_secs(3600), ..Limits::default() }, |_| {});
    let mut stream = silent(&bench).await;
    bench.stop.cancel();
    tokio::time::timeout(Duration::from_secs(20), bench.served).await.unwrap().unwrap();
    let told = until_closed(&mut stream).await;
    let goaway = told.windows(9).any(|frame| frame[..4] == [0, 0, 8, 7]);
    assert!(goaway, "the client is told first: {told:?}");
}

#[tokio::test]
async fn a_request_over_http_2_is_finished_when_the_listener_ends() {
    let bench = Bench::start(Limits { grace_time: Duration::from_secs(3600), ..Limits::default() }, |_| {});
    let mut stream = silent(&bench).await;
    // GET /wait, in HPACK without compression of the path.
    let block = [&[0x82, 0x87, 0x04, 5][..], b"/wait"].concat();
    let frame = [&[0, 0, block.len() as u8, 1, 5, 0, 0, 0, 1][..], &block].concat();
    stream.write_all(&frame).await.unwrap();
    bench.gate.begun.notified().await;
    bench.stop.cancel();
    // Longer than an idle connection has.
    let early = tokio::time::timeout(Duration::from_secs(1), until_closed(&mut stream)).await;
    assert!(early.is_err(), "the connection was closed under a request");
    bench.gate.open.notify_one();
    let told = until_closed(&mut stream).await;
    assert!(told.windows(4).any(|bytes| bytes == b"done"), "{told:?}");
    tokio::time::timeout(Duration::from_secs(20), bench.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn connections_do_not_grow_old() {
    let limits = Limits { connection_time: SHORT, head_time: Duration::from_secs(3600), ..Limits::default() };
    let bench = Bench::start(limits, |_| {});
    let mut idle = bench.open().await;
    let mut old = silent(&bench).await;
    let mut busy = bench.open().await;
    busy.write_all(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    bench.gate.begun.notified().await;
    assert!(until_closed(&mut idle).await.is_empty());
    until_closed(&mut old).await;
    bench.gate.open.notify_one();
    let answer = Answer::read(&mut busy).await;
    assert_eq!((answer.status, answer.body.as_str(), answer.header("connection")), (200, "done", Some("close")));
    assert_eq!(bench.get("/who", "").await.status, 200);
}

/// A connection that is old lets its request take as long as any other: the grace time is for the listener's end.
#[tokio::test]
async fn requests_on_old_connections_may_take_their_time() {
    let bench = Bench::start(Limits { connection_time: SHORT, grace_time: SHORT, ..Limits::default() }, |_| {});
    let mut busy = bench.open().await;
    busy.write_all(WAIT).await.unwrap();
    bench.gate.begun.notified().await;
    // Longer than the age and the grace time together.
    let mut first = [0];
    let early = tokio::time::timeout(Duration::from_secs(1), busy.read(&mut first)).await;
    assert!(early.is_err(), "the connection was cut under a request");
    bench.gate.open.notify_one();
    let answer = Answer::read(&mut busy).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "done"));
}

#[tokio::test]
async fn the_end_of_the_listener_is_the_end_of_its_patience() {
    let hour = Duration::from_secs(3600);
    let limits = Limits { connection_time: SHORT, grace_time: SHORT, request_time: hour, ..Limits::default() };
    let bench = Bench::start(limits, |_| {});
    let mut busy = bench.open().await;
    busy.write_all(WAIT).await.unwrap();
    bench.gate.begun.notified().await;
    let mut younger = bench.open().await;
    assert!(until_closed(&mut younger).await.is_empty(), "old by now, and so is the other");
    bench.stop.cancel();
    assert!(until_closed(&mut busy).await.is_empty());
    tokio::time::timeout(Duration::from_secs(20), bench.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_source_has_so_many_connections_and_no_more() {
    let bench = Bench::start(Limits { connections_per_source: 2, ..Limits::default() }, |_| {});
    let first = bench.open().await;
    let second = bench.open().await;
    assert!(until_closed(&mut bench.tcp().await).await.is_empty(), "a third is closed at once");
    let totals = bench.counters.totals();
    assert_eq!((totals.connections, totals.turned_away), (2, 1));
    drop((first, second));
    while bench.counters.totals().open > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.get("/who", "").await.status, 200);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_their_turn() {
    let bench = Bench::start(Limits { connections: 1, ..Limits::default() }, |_| {});
    let first = bench.open().await;
    let second = bench.tcp().await;
    assert_eq!(bench.counters.totals().connections, 1);
    drop(first);
    drop(second);
    assert_eq!(bench.get("/who", "").await.status, 200);
}

#[tokio::test]
async fn http_2_is_spoken_and_idle_connections_end() {
    let bench = Bench::start(Limits { idle_time: SHORT * 2, ..Limits::default() }, |_| {});
    let mut config = bench.authority.client(None, &[&rustls::version::TLS13]);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = bench.connect(config).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let ended = tokio::spawn(connection);
    let request = http::Request::get("https://localhost/who").body(Empty::<bytes::Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.version(), http::Version::HTTP_2);
    assert!(response.headers().contains_key("x-request-id"));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "none");
    let request = http::Request::get("https://localhost/nowhere").body(Empty::<bytes::Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    // Held open by the client, ended by the server.
    ended.await.unwrap().unwrap();
}

#[tokio::test]
async fn plain_http_is_served_where_there_is_no_tls() {
    let bench = Bench::plain(Limits::default());
    let mut socket = bench.tcp().await;
    socket.write_all(b"GET /who HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    assert_eq!(Answer::read(&mut socket).await.body, "none");
}
