//! Bytes that are not, or hardly, HTTP/1.1.

use keyreeve_tests::Wire;

use crate::Target;

impl Target {
    fn wire(&self) -> Wire {
        Wire::connect(&self.dev.endpoint, "http/1.1").unwrap()
    }

    /// Header lines of the developer.
    fn authority(&self) -> String {
        format!("Host: localhost\r\nAuthorization: Bearer {}\r\n", self.dev.endpoint.token.as_ref().unwrap())
    }
}

/// What a hostile request may lead to: a 4xx, or a closed connection. Never a success, never a 5xx.
fn turned_away(target: &Target, request: &[u8]) {
    let shown = String::from_utf8_lossy(&request[..request.len().min(120)]).into_owned();
    let mut wire = target.wire();
    let _ = wire.send(request);
    match wire.answer() {
        Ok(answer) => {
            assert!((400..500).contains(&answer.status), "{shown:?}: {answer}");
            assert!(!answer.problem().is_empty(), "{shown:?}: {answer}");
        }
        Err(error) => assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "{shown:?} was left waiting"),
    }
}

#[test]
fn what_is_not_http_is_turned_away() {
    let target = Target::start();
    let auth = target.authority();
    let requests: Vec<Vec<u8>> = vec![
        b"\x00\x01\x02\x03\r\n\r\n".to_vec(),
        b"GET\r\n\r\n".to_vec(),
        b"GET /v1/keys\r\n\r\n".to_vec(),
        b"GET /v1/keys HTTP/9.9\r\n\r\n".to_vec(),
        b"get /v1/keys HTTP/1.1\r\n\r\n\x00".to_vec(),
        format!("GET /v1/keys HTTP/1.1\r\n{auth}X: a\r\n b\r\n\r\n").into_bytes(),
        format!("GET /v1/keys HTTP/1.1\r\n{auth}X : a\r\n\r\n").into_bytes(),
        format!("GET /v1/keys HTTP/1.1\r\n{auth}X: a\x00b\r\n\r\n").into_bytes(),
        format!("GET /v1/ke ys HTTP/1.1\r\n{auth}\r\n").into_bytes(),
        format!("GET http://evil.example/../v1/keys HTTP/1.1\r\n{auth}\r\n").into_bytes(),
        format!("GET /v1/audit/log/../../../../etc/passwd HTTP/1.1\r\n{auth}\r\n").into_bytes(),
        format!("GET /v1/audit/log/tile/../checkpoint HTTP/1.1\r\n{auth}\r\n").into_bytes(),
        format!("GET /{} HTTP/1.1\r\n{auth}\r\n", "a".repeat(20_000)).into_bytes(),
        format!("GET /v1/keys HTTP/1.1\r\n{auth}X-Long: {}\r\n\r\n", "a".repeat(20_000)).into_bytes(),
        format!("GET /v1/keys HTTP/1.1\r\n{auth}{}\r\n", "X-Many: a\r\n".repeat(100)).into_bytes(),
        format!("CONNECT evil.example:443 HTTP/1.1\r\n{auth}\r\n").into_bytes(),
        format!("POST /v1/random HTTP/1.1\r\n{auth}Content-Length: -1\r\n\r\n").into_bytes(),
        format!("POST /v1/random HTTP/1.1\r\n{auth}Content-Length: 99999999999999999999\r\n\r\n").into_bytes(),
        format!("POST /v1/random HTTP/1.1\r\n{auth}Content-Length: 4\r\nContent-Length: 5\r\n\r\n{{}}").into_bytes(),
        format!("POST /v1/random HTTP/1.1\r\n{auth}Transfer-Encoding: gzip\r\n\r\n").into_bytes(),
        format!("POST /v1/random HTTP/1.1\r\n{auth}Transfer-Encoding: chunked\r\n\r\nzz\r\n").into_bytes(),
        format!("POST /v1/random HTTP/1.1\r\n{auth}Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n")
            .into_bytes(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
    ];
    for request in requests {
        turned_away(&target, &request);
    }
    target.end_unharmed();
}

/// Where two readers of one connection could see different requests, the connection ends.
#[test]
fn requests_cannot_be_smuggled() {
    let target = Target::start();
    let auth = target.authority();
    let hidden =
        format!("POST /v1/keys HTTP/1.1\r\n{auth}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}");
    for framing in [
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", hidden.len() + 5),
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n".to_owned(),
        "Transfer-Encoding: identity, chunked\r\nContent-Length: 3\r\n".to_owned(),
    ] {
        let head = format!("POST /v1/random HTTP/1.1\r\n{auth}Content-Type: application/json\r\n{framing}\r\n");
        let mut wire = target.wire();
        let _ = wire.send(format!("{head}0\r\n\r\n{hidden}").as_bytes());
        let mut answers = 0;
        while let Ok(answer) = wire.answer() {
            answers += 1;
            assert!((400..500).contains(&answer.status), "{framing:?}: {answer}");
        }
        assert!(answers <= 2, "{framing:?}");
    }
    target.end_unharmed();
}

/// Answers never carry what a request would like to inject.
#[test]
fn headers_cannot_be_injected() {
    let target = Target::start();
    let auth = target.authority();
    let mut wire = target.wire();
    for path in ["/v1/keys/a%0d%0aX-Evil:%20yes", "/v1/%0d%0aX-Evil:%20yes", "/v1/keys?x=%0d%0aX-Evil:yes"] {
        let answer = wire.exchange(format!("GET {path} HTTP/1.1\r\n{auth}\r\n").as_bytes()).unwrap();
        assert!((400..500).contains(&answer.status) && answer.header("x-evil").is_none(), "{path}: {answer}");
        let _ = answer.problem();
    }
    let request = format!("GET /v1/keys/none HTTP/1.1\r\n{auth}X-Request-Id: a\tb\r\n\r\n");
    let answer = wire.exchange(request.as_bytes()).unwrap();
    assert_ne!(answer.header("x-request-id"), Some("a\tb"));
    target.end_unharmed();
}

/// A body that ends early is refused, and is no request.
#[test]
fn bodies_that_end_early_do_nothing() {
    let target = Target::start();
    let auth = target.authority();
    for body in ["", "{", "{\"algorithm\":"] {
        let mut wire = target.wire();
        let head = "POST /v1/keys HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 2000\r\n";
        wire.send(format!("{head}{auth}\r\n{body}").as_bytes()).unwrap();
        drop(wire);
    }
    target.end_unharmed();
}

/// Many requests in one go are answered in order.
#[test]
fn pipelined_requests_are_answered_in_order() {
    let target = Target::start();
    let auth = target.authority();
    let mut wire = target.wire();
    let requests: String =
        (0..50).map(|n| format!("GET /v1/algorithms HTTP/1.1\r\nX-Request-Id: p-{n}\r\n{auth}\r\n")).collect();
    wire.send(requests.as_bytes()).unwrap();
    for n in 0..50 {
        let answer = wire.answer().unwrap();
        assert_eq!((answer.status, answer.header("x-request-id")), (200, Some(format!("p-{n}").as_str())));
    }
    target.end_unharmed();
}

/// A head that hyper itself refuses is answered in the one form, and is on record.
#[test]
fn unreadable_heads_are_on_record() {
    let target = Target::start();
    let mut wire = target.wire();
    let answer = wire.exchange(b"GET /v1/keys HTTP/9.9\r\nSecret: CANARY\r\n\r\n").unwrap();
    let record = answer.record().unwrap().to_owned();
    answer.refused(400, "invalid-request");
    let found = target.api.get("/v1/audit?operation=request.refuse").ok();
    let newest = &found["items"][0];
    assert_eq!((newest["id"].as_str(), newest["source"].as_str()), (Some(record.as_str()), Some("127.0.0.1")));
    assert!(!found.to_string().contains("CANARY"));
    target.end_unharmed();
}
