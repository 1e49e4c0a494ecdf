//! Damage: bytes of the database and of the log's files that somebody altered while the server was down.

use keyreeve_tests::{Api, Layout, Production, Up, wait_until};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

const PLAINTEXT: &str = "YmVmb3JlIHRoZSBmaXJl";

fn database(site: &Production) -> PathBuf {
    let found = |folder: &Path| {
        let all = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        all.filter(|path| path.is_file()).find(|path| std::fs::read(path).unwrap().starts_with(b"SQLite format 3"))
    };
    let data = site.home.join("data");
    found(&data).or_else(|| found(&data.join("store"))).unwrap()
}

/// Changes one byte in each record of something, or puts it right again. The server must be down.
fn spoil(site: &Production, id: &str) {
    let path = database(site);
    let mut bytes = std::fs::read(&path).unwrap();
    let text = format!("\"id\":\"{id}\"");
    let places: Vec<usize> =
        (0..bytes.len() - text.len()).filter(|at| bytes[*at..].starts_with(text.as_bytes())).collect();
    assert!(!places.is_empty(), "{id} stands nowhere in {}", path.display());
    for at in places {
        // The quote before the id.
        bytes[at + 5] ^= 1;
    }
    std::fs::write(&path, bytes).unwrap();
}

/// The same, found again by what it was made of.
fn mend(site: &Production, id: &str) {
    let path = database(site);
    let mut bytes = std::fs::read(&path).unwrap();
    let spoilt = [b"\"id\":#".as_slice(), id.as_bytes()].concat();
    let places: Vec<usize> = (0..bytes.len() - spoilt.len()).filter(|at| bytes[*at..].starts_with(&spoilt)).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at + 5] = b'"';
    }
    std::fs::write(&path, bytes).unwrap();
}

fn scanned(operator: &Api, job: &str) -> Value {
    let done = || operator.get(&format!("/v1/jobs/{job}")).ok()["state"] == "done";
    assert!(wait_until(Duration::from_secs(60), done), "{}", operator.get(&format!("/v1/jobs/{job}")).ok());
    let status = operator.get("/v1/integrity").ok();
    assert_eq!(status["finished"]["job"], job, "{status}");
    status
}

fn scan(operator: &Api, pace: u32) -> String {
    let job = operator.post("/v1/integrity/scans", &json!({ "pace": pace, "reason": "a look" })).ok();
    job["id"].as_str().unwrap().to_owned()
}

fn decrypt(site: &Production, up: &Up, (key, ciphertext): (&str, &str)) -> keyreeve_tests::Answer {
    let user = up.api("data", &site.people.user);
    user.post(&format!("/v1/keys/{key}/decrypt"), &json!({ "ciphertext": ciphertext }))
}

#[test]
fn a_server_with_a_damaged_key_opens_and_serves_the_others_and_two_restarts_later_it_is_mended() {
    let home = tempfile::tempdir().unwrap();
    let mut site = Production::prepare(home.path(), &Layout::default());
    let up = site.start_new();
    let (keeper, user) = (up.api("admin", &site.people.keeper), up.api("data", &site.people.user));
    let made: Vec<(String, String)> = (0..2)
        .map(|_| {
            let id = keeper.make_key("xaes-256-gcm", None);
            let text = user.post(&format!("/v1/keys/{id}/encrypt"), &json!({ "plaintext": PLAINTEXT })).ok();
            (id, text["ciphertext"].as_str().unwrap().to_owned())
        })
        .collect();
    let [hurt, well] = [0, 1].map(|n| (made[n].0.as_str(), made[n].1.as_str()));
    assert!(up.server.terminate().success());

    spoil(&site, hurt.0);
    let up = site.start_open();
    assert_eq!(decrypt(&site, &up, well).ok()["plaintext"], PLAINTEXT);
    decrypt(&site, &up, hurt).refused(503, "tampered");
    let listed = up.api("admin", &site.people.keeper).get("/v1/keys").ok();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed}");
    let operator = up.api("admin", &site.people.operator);
    let status = scanned(&operator, &scan(&operator, 0));
    assert_eq!((&status["quarantined"], &status["finished"]["materials"]), (&json!(1), &json!(1)), "{status}");
    decrypt(&site, &up, hurt).refused(409, "quarantined");
    let ready = up.endpoint("admin").api().get("/readyz");
    assert_eq!(ready.json(), json!({ "ready": true, "reasons": [], "warnings": ["quarantine"] }));
    let place = format!("keys/{}", hurt.0);
    let release = json!({ "place": place, "reason": "put back" });
    operator.post("/v1/integrity/release", &release).refused(409, "wrong-state");
    // A scan that is cut off goes on by itself.
    let slow = scan(&operator, 1);
    up.server.kill();

    mend(&site, hurt.0);
    let up = site.start_open();
    let operator = up.api("admin", &site.people.operator);
    decrypt(&site, &up, hurt).refused(409, "quarantined");
    assert_eq!(operator.get(&format!("/v1/jobs/{slow}")).ok()["state"], "running");
    let _ = operator.post(&format!("/v1/jobs/{slow}/cancel"), &json!({ "reason": "too slow" })).ok();
    let shown = operator.get(&format!("/v1/integrity/quarantine?place={place}")).ok();
    assert_eq!((&shown["why"], &shown["now"]), (&json!("altered"), &json!("sound")), "{shown}");
    let released = operator.post("/v1/integrity/release", &release).ok();
    assert_eq!(released["released"]["how"], "sound", "{released}");
    for key in [hurt, well] {
        assert_eq!(decrypt(&site, &up, key).ok()["plaintext"], PLAINTEXT);
    }
    assert_eq!(scanned(&operator, &scan(&operator, 0))["quarantined"], 0);
    assert!(up.server.terminate().success());
}
