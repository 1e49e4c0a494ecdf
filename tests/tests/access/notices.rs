//! People are told on real channels: a webhook receiver that checks signatures, and a mail server of other people.

pub(crate) mod aiosmtpd;
mod python;

use keyreeve_notify::receiver::Program;
use keyreeve_tests::{Layout, Pki, Production, Up};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub(crate) fn private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("access").join(name)
}

/// Certificates for a receiver in a directory; that of the authority is `receivers.pem`.
pub(crate) fn certify(home: &Path) {
    let pki = Pki::new("receivers");
    let (certificate, key) = pki.server();
    private(&home.join("receiver.pem"), &certificate);
    private(&home.join("receiver.key"), &key);
    private(&home.join("receivers.pem"), pki.pem());
}

/// A deployment that was initialised, with these channels.
fn deployment(home: &Path, channels: String) -> (Production, Up) {
    let mut production = Production::prepare(home, &Layout { more: channels, ..Layout::default() });
    let up = production.start_new();
    (production, up)
}

/// A policy that changes nothing; the record of its change.
fn put_policy(production: &Production, up: &Up, name: &str) -> String {
    let text = "forbid (principal, action, resource) when { 1 == 2 };";
    let operator = up.api("all", &production.people.operator);
    let answer = operator.put(&format!("/v1/policies/{name}"), &json!({ "text": text }));
    let record = answer.record().unwrap().to_owned();
    let _ = answer.ok();
    record
}

/// The next thing that tells of this resource.
fn about(receiver: &Program, resource: &str) -> Value {
    receiver.next_that(|told| told.to_string().contains(resource))
}
