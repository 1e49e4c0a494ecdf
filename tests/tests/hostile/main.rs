//! What strangers and broken clients send: everything is refused with a typed 4xx and a stable code, or the connection
//! is closed; nothing is changed by it, and the server goes on as before, in bounded memory.
#![allow(clippy::unwrap_used)]

mod bodies;
mod http1;
mod http2;
mod mutated;
mod slow;
mod tls;

use keyreeve_tests::{Api, Dev};
use serde_json::Value;

/// A server in trouble may not need more than this (KiB).
const MEMORY_KIB: u64 = 400 * 1024;

/// A server with something to protect.
struct Target {
    dev: Dev,
    api: Api,
    /// An encryption key.
    key: String,
    /// A signing key.
    signer: String,
    _home: tempfile::TempDir,
}

impl Target {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let dev = Dev::start(home.path());
        let api = dev.api();
        let (key, signer) = (api.make_key("xaes-256-gcm", None), api.make_key("ec-p256", Some("sign")));
        Self { dev, api, key, signer, _home: home }
    }

    /// The server is as it was: it answers, has the two keys and no more, and is not swollen.
    fn end_unharmed(mut self) {
        assert!(self.dev.server.is_running(), "{}", self.dev.server.log());
        let listed = self.dev.api().get("/v1/keys").ok();
        let mut ids: Vec<&str> =
            listed["items"].as_array().unwrap().iter().filter_map(|key| key["id"].as_str()).collect();
        ids.sort_unstable();
        assert_eq!(ids, [self.key.as_str(), self.signer.as_str()]);
        let key = self.dev.api().get(&format!("/v1/keys/{}", self.key)).ok();
        assert_eq!((&key["state"], &key["version_count"]), (&Value::from("active"), &Value::from(1)));
        let metrics = String::from_utf8(self.dev.endpoint.anonymous().api().get("/metrics").body).unwrap();
        let panics = metrics.lines().find(|line| line.starts_with("keyreeve_http_handler_panics_total")).unwrap();
        assert!(panics.ends_with(" 0"), "{panics}");
        let failed = metrics.lines().find(|line| line.starts_with("keyreeve_http_requests_failed_total")).unwrap();
        assert!(failed.ends_with(" 0"), "{failed}\n{}", self.dev.server.log());
        // An idle client that does not answer would be waited for.
        drop(self.api);
        let peak = self.dev.server.memory_kib("VmHWM");
        assert!(peak < MEMORY_KIB, "{peak} KiB resident at the worst moment");
        assert!(self.dev.server.terminate().success());
    }
}
