//! How a server ends: requests under way are finished, nothing new is begun.

use keyreeve_tests::{Layout, Production, Wire, log};
use rustix::process::Signal;
use std::io::ErrorKind;
use std::time::Duration;

#[test]
fn a_request_under_way_is_finished() {
    let home = tempfile::tempdir().unwrap();
    let mut production = Production::prepare(home.path(), &Layout::default());
    let mut up = production.start_new();
    let endpoint = up.endpoint("all").with_token(&production.people.keeper);
    let mut wire = Wire::connect(&endpoint, "http/1.1").unwrap();
    let body = b"{\"aliases\":[\"the-last\"]}";
    let head = format!(
        "POST /v1/keys HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        production.people.keeper,
        body.len()
    );
    wire.send(head.as_bytes()).unwrap();
    // The server says that it waits for the body: the request is under way.
    assert_eq!(wire.answer().unwrap().status, 100);
    up.server.signal(Signal::TERM);
    up.server.wait_line(|line| line.contains("ending").then_some(()));
    let refused = keyreeve_tests::wait_until(Duration::from_secs(10), || {
        Wire::tcp(&endpoint).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
    assert!(refused, "new connections are still taken");
    wire.send(body).unwrap();
    let answer = wire.answer().unwrap();
    let record = answer.record().unwrap().to_owned();
    let made = answer.ok();
    assert!(up.server.wait().success());
    let verified = log::verify(&production.log_dir(), &production.log_keys, None);
    assert!(verified.places.contains_key(&record), "the last record is not in the log");
    let up = production.start_open();
    assert_eq!(up.api("all", &production.people.keeper).get("/v1/keys/the-last").ok()["id"], made["id"]);
}

/// A server that ended in good order leaves a whole log, up to its last record.
#[test]
fn the_log_is_complete_after_an_end_in_good_order() {
    let home = tempfile::tempdir().unwrap();
    let mut production = Production::prepare(home.path(), &Layout::default());
    let up = production.start_new();
    let keeper = up.api("all", &production.people.keeper);
    let records: Vec<String> = (0..300).map(|_| keeper.get("/v1/keys").record().unwrap().to_owned()).collect();
    drop(keeper);
    assert!(up.server.terminate().success());
    let verified = log::verify(&production.log_dir(), &production.log_keys, None);
    assert!(records.iter().all(|record| verified.places.contains_key(record)));
}
