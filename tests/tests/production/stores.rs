//! PostgreSQL as the store, and the rule that one server uses a store at a time.

use keyreeve_tests::{Database, Layout, Production, Server, base64, wait_until};
use serde_json::json;
use std::time::Duration;

#[test]
fn postgres_keeps_everything_across_restarts() {
    let Some(database) = Database::make() else { return };
    let home = tempfile::tempdir().unwrap();
    let layout = Layout { postgres: Some(database.url()), ..Layout::default() };
    let mut production = Production::prepare(home.path(), &layout);
    let up = production.start_new();
    let (keeper, user) = (up.api("all", &production.people.keeper), up.api("all", &production.people.user));
    let key = keeper.make_key("xaes-256-gcm", None);
    let sealed = user.post(&format!("/v1/keys/{key}/encrypt"), &json!({ "plaintext": base64("kept") })).ok();
    let _ = keeper.post(&format!("/v1/keys/{key}/rotate"), &json!({})).ok();
    drop((keeper, user));
    assert!(up.server.terminate().success());
    assert!(!home.path().join("data/store/keyreeve.db").exists());
    let up = production.start_open();
    let back =
        up.api("all", &production.people.user).post("/v1/decrypt", &json!({ "ciphertext": sealed["ciphertext"] }));
    assert_eq!(back.ok()["plaintext"], base64("kept"));
    let shown = up.api("all", &production.people.keeper).get(&format!("/v1/keys/{key}")).ok();
    assert_eq!(shown["version_count"], 2);
}

#[test]
fn a_second_server_on_the_same_postgres_database_is_refused() {
    let Some(database) = Database::make() else { return };
    let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let layout = Layout { postgres: Some(database.url()), ..Layout::default() };
    let mut production = Production::prepare(home.path(), &layout);
    let second = Production::prepare(other.path(), &layout);
    let up = production.start_new();
    let mut waiting = Server::spawn(&mut second.command());
    waiting.wait_line(|line| line.contains("another server uses this store").then_some(()));
    let refusal = waiting.wait_line(|line| line.contains("one server uses a store at a time").then(|| line.to_owned()));
    assert!(refusal.contains("stop it first"), "{refusal}");
    assert_eq!(waiting.wait().code(), Some(2));
    let key = up.api("all", &production.people.keeper).make_key("xaes-256-gcm", None);
    assert!(key.starts_with("key_"));
}

/// The database goes away and comes back: what needs it is refused in between, and nothing has to be restarted.
#[test]
fn a_postgres_outage_is_told_and_survived() {
    let Some(database) = Database::make() else { return };
    let home = tempfile::tempdir().unwrap();
    let layout = Layout { postgres: Some(database.url()), ..Layout::default() };
    let mut production = Production::prepare(home.path(), &layout);
    let mut up = production.start_new();
    let (keeper, user) = (up.api("all", &production.people.keeper), up.api("all", &production.people.user));
    let key = keeper.make_key("xaes-256-gcm", None);
    let path = format!("/v1/keys/{key}/encrypt");
    let sealed = user.post(&path, &json!({ "plaintext": base64("kept") })).ok();
    database.take_away(true);
    let refused = keeper.post("/v1/keys", &json!({}));
    refused.refused(503, "store-unavailable");
    assert!(refused.header("retry-after").is_some());
    keeper.get("/v1/keys").refused(503, "store-unavailable");
    assert_eq!(up.endpoint("all").api().get("/healthz").status, 200);
    database.take_away(false);
    let recovered = wait_until(Duration::from_secs(20), || keeper.post("/v1/keys", &json!({})).status < 300);
    assert!(recovered && up.server.is_running(), "{}", up.server.log());
    let back = user.post("/v1/decrypt", &json!({ "ciphertext": sealed["ciphertext"] })).ok();
    assert_eq!(back["plaintext"], base64("kept"));
    assert_eq!(up.endpoint("all").api().get("/readyz").status, 200);
}

/// The refusal names the part that does not answer.
#[test]
fn a_postgres_server_that_is_not_there_is_told() {
    let home = tempfile::tempdir().unwrap();
    let layout = Layout { postgres: Some("postgres://nobody@127.0.0.1:1/none".to_owned()), ..Layout::default() };
    let production = Production::prepare(home.path(), &layout);
    let mut server = Server::spawn(&mut production.command());
    let told = server.wait_line(|line| line.contains("error:").then(|| line.to_owned()));
    assert!(told.contains("store"), "{told}");
    assert_ne!(server.wait().code(), Some(0));
}
