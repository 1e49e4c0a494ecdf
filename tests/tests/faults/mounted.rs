//! Tests that mount file systems: `cargo xtask test` leaves them out by this name where that is not permitted.

use keyreeve_tests::{Answer, Api, Dev, base64, log, wait_until};
use serde_json::json;
use std::time::Duration;

use crate::disk::Disk;

/// Requests after which a full disk must have been noticed: more than fit into the log's segments.
const MOST_REQUESTS: usize = 40_000;
/// How long recovery may take.
const RECOVERY: Duration = Duration::from_secs(30);

/// What was acknowledged.
#[derive(Default)]
struct Kept {
    records: Vec<String>,
    keys: Vec<String>,
    ciphertexts: Vec<(String, String)>,
}

impl Kept {
    /// Notes a success; the refusal otherwise.
    fn note(&mut self, answer: Answer) -> Result<serde_json::Value, Box<Answer>> {
        if answer.status >= 300 {
            return Err(Box::new(answer));
        }
        self.records.push(answer.record().unwrap().to_owned());
        Ok(answer.ok())
    }

    fn make_key(&mut self, api: &Api) -> Result<(), Box<Answer>> {
        let made = self.note(api.post("/v1/keys", &json!({})))?;
        self.keys.push(made["id"].as_str().unwrap().to_owned());
        Ok(())
    }

    fn encrypt(&mut self, api: &Api, number: usize) -> Result<(), Box<Answer>> {
        let plaintext = base64(format!("value {number}"));
        let path = format!("/v1/keys/{}/encrypt", self.keys[0]);
        let made = self.note(api.post(&path, &json!({ "plaintext": plaintext })))?;
        self.ciphertexts.push((made["ciphertext"].as_str().unwrap().to_owned(), plaintext));
        Ok(())
    }

    /// Everything that was acknowledged is there.
    fn check(&self, dev: &Dev, log_dir: &std::path::Path) {
        let api = dev.api();
        for key in &self.keys {
            assert_eq!(api.get(&format!("/v1/keys/{key}")).ok()["state"], "active");
        }
        for (ciphertext, plaintext) in self.ciphertexts.iter().step_by(97) {
            let back = api.post("/v1/decrypt", &json!({ "ciphertext": ciphertext })).ok();
            assert_eq!(back["plaintext"], plaintext.as_str());
        }
        assert_eq!(api.get("/v1/audit/checkpoint").status, 200);
        let verified = log::verify(log_dir, &dev.log_keys(), None);
        for record in &self.records {
            assert!(
                verified.places.contains_key(record),
                "the record {record} of an acknowledged operation is missing"
            );
        }
    }
}

#[track_caller]
fn refused_for_want_of_room(answer: &Answer) {
    let code = answer.problem();
    assert_eq!(answer.status, 503, "{answer}");
    assert!(["store-unavailable", "audit-unavailable", "root-unavailable"].contains(&code.as_str()), "{answer}");
    assert!(answer.header("retry-after").is_some(), "{answer}");
}

#[test]
fn a_full_disk_refuses_and_recovers_by_itself() {
    let Some((disk, mut dev)) = Disk::start(96) else { return };
    let api = dev.api();
    let mut kept = Kept::default();
    kept.make_key(&api).unwrap();
    for _ in 0..2 {
        disk.fill();
        // What changes the store is refused soon, what only goes on record when the log is full.
        let refusal = (0..MOST_REQUESTS).find_map(|_| kept.make_key(&api).err());
        refused_for_want_of_room(&refusal.expect("a full disk was not noticed"));
        let refusal = (0..MOST_REQUESTS).find_map(|number| kept.encrypt(&api, number).err());
        refused_for_want_of_room(&refusal.expect("a full disk under the audit log was not noticed"));
        refused_for_want_of_room(&api.get("/v1/keys"));
        let ready = api.get("/readyz");
        assert_eq!((ready.status, api.get("/healthz").status), (503, 200), "{ready}");
        assert!(dev.server.is_running());
        disk.free();
        let recovered = wait_until(RECOVERY, || kept.make_key(&api).is_ok() && kept.encrypt(&api, 0).is_ok());
        assert!(recovered, "no recovery after there was room again:\n{}", dev.server.log());
        assert!(wait_until(RECOVERY, || api.get("/readyz").status == 200), "not ready again");
        kept.check(&dev, &disk.path("audit/log"));
    }
    drop(api);
    // A restart finds everything, too.
    assert!(dev.server.terminate().success());
    let dev = disk.restart();
    kept.check(&dev, &disk.path("audit/log"));
}

/// A server that is killed while its disk is full starts again when there is room.
#[test]
fn a_crash_on_a_full_disk_loses_nothing() {
    let Some((disk, dev)) = Disk::start(96) else { return };
    let api = dev.api();
    let mut kept = Kept::default();
    kept.make_key(&api).unwrap();
    disk.fill();
    let _ = (0..MOST_REQUESTS).find_map(|_| kept.make_key(&api).err()).unwrap();
    for number in 0..50 {
        let _ = kept.encrypt(&api, number);
    }
    dev.server.kill();
    disk.free();
    let dev = disk.restart();
    kept.check(&dev, &disk.path("audit/log"));
    kept.make_key(&dev.api()).unwrap();
}

/// The disk of the epoch vault is read-only: what needs a new epoch is refused, everything else goes on.
#[test]
fn a_read_only_vault_refuses_what_needs_it() {
    let Some((disk, dev)) = Disk::start(96) else { return };
    let api = dev.api();
    let mut kept = Kept::default();
    kept.make_key(&api).unwrap();
    disk.make_vault_read_only(true);
    let refused = api.post("/v1/keyrings", &json!({ "name": "new" }));
    let made = if refused.status < 300 { api.post("/v1/keys", &json!({ "keyring": "new" })) } else { refused };
    refused_for_want_of_room(&made);
    kept.encrypt(&api, 1).unwrap();
    kept.make_key(&api).unwrap();
    disk.make_vault_read_only(false);
    let recovered = wait_until(RECOVERY, || {
        let ring = api.post("/v1/keyrings", &json!({ "name": "new" })).status;
        matches!(ring, 200 | 201 | 409) && api.post("/v1/keys", &json!({ "keyring": "new" })).status < 300
    });
    assert!(recovered, "no recovery after the vault was writable again:\n{}", dev.server.log());
    kept.check(&dev, &disk.path("audit/log"));
}

/// A server does not start on a read-only disk, says why, and starts on the same data when it is writable.
#[test]
fn a_read_only_disk_is_told_at_the_start() {
    let Some((disk, dev)) = Disk::start(96) else { return };
    let mut kept = Kept::default();
    kept.make_key(&dev.api()).unwrap();
    assert!(dev.server.terminate().success());
    disk.make_read_only(true);
    let mut server = disk.spawn();
    let told = server.wait_line(|line| line.contains("error:").then(|| line.to_owned()));
    assert!(told.to_lowercase().contains("read-only"), "{told}");
    assert_ne!(server.wait().code(), Some(0));
    disk.make_read_only(false);
    let dev = disk.restart();
    kept.check(&dev, &disk.path("audit/log"));
}
