//! Programs log in with client certificates: of the authority that speaks for their names, until it revokes them.

use keyreeve_tests::{Answer, Api, Cli, Layout, Pki, Production, Up};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

use crate::site::{not_let_in, not_let_in_at_cli};

/// A server that trusts two authorities, of which one speaks for the names of payments.
struct Site {
    up: Up,
    production: Production,
    partners: Pki,
    operator: Api,
    home: TempDir,
}

const NAME: &str = "a.payments.test";
/// Serial numbers of what is used, and of what is revoked.
const GOOD: u64 = 7;
const REVOKED: u64 = 8;

impl Site {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut production =
            Production::prepare(home.path(), &Layout { client_certificates: true, ..Layout::default() });
        let partners = Pki::new("partners");
        let both = format!("{}{}", production.clients.pem(), partners.pem());
        std::fs::write(home.path().join("clients.pem"), both).unwrap();
        let text = std::fs::read_to_string(&production.config).unwrap();
        let lists = "client_auth = \"optional\", client_crl = [\"clients.crl\", \"partners.crl\"]";
        std::fs::write(&production.config, text.replace("client_auth = \"optional\"", lists)).unwrap();
        std::fs::write(home.path().join("clients.crl"), production.clients.revokes(&[])).unwrap();
        std::fs::write(home.path().join("partners.crl"), partners.revokes(&[])).unwrap();
        let up = production.start_new();
        let operator = up.api("all", &production.people.operator);
        let _ = operator.put("/v1/principals/payments", &json!({ "kind": "service", "roles": ["application"] })).ok();
        let method = json!({
            "kind": { "certificate": {
                "dns_suffixes": [".payments.test"], "authorities": [production.clients.key_sha256()],
            } },
            "bindings": [{ "name": "all", "principal": { "fixed": "payments" } }],
        });
        let _ = operator.put("/v1/login-methods/payments", &method).ok();
        Self { up, production, partners, operator, home }
    }

    fn login(&self, pair: &(String, String)) -> Answer {
        self.showing(pair).post("/v1/login/certificate/payments", &Value::Null)
    }

    fn showing(&self, (certificate, key): &(String, String)) -> Api {
        self.up.endpoint("all").with_identity(format!("{certificate}{key}").into_bytes()).api()
    }

    /// The reason in the record of the last login that was refused.
    fn reason(&self) -> Value {
        let auditor = self.up.api("all", &self.production.people.auditor);
        let found = auditor.get("/v1/audit?operation=login.certificate&outcome=refused&limit=1").ok();
        found["items"][0]["details"]["login_refused"].clone()
    }

    fn cli(&self, pair: &(String, String)) -> Cli {
        for (name, text) in [("own.pem", &pair.0), ("own.key", &pair.1)] {
            let path = self.home.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
        }
        std::fs::write(self.home.path().join("server-ca.pem"), self.production.pki.pem()).unwrap();
        let profile = format!(
            "address = '{}'\nca_file = 'server-ca.pem'\nclient_cert = 'own.pem'\nclient_key = 'own.key'\n",
            self.up.endpoint("all").url
        );
        let path = self.home.path().join("own.toml");
        std::fs::write(&path, profile).unwrap();
        Cli::new(self.home.path()).with_profile(&path)
    }
}

#[test]
fn a_certificate_of_the_authority_that_speaks_for_its_name_is_exchanged_for_a_session() {
    let site = Site::new();
    let own = site.production.clients.client_numbered(NAME, GOOD);
    let token = site.login(&own).ok();
    let session = site.up.api("all", token["token"].as_str().unwrap());
    assert_eq!(session.get("/v1/tokens/self").ok()["principal"], "payments");
    let cli = site.cli(&own);
    let words = ["login", "--method", "payments", "--certificate", "-o", "own.token"];
    let _ = cli.run(&words).code(0);
    let text = std::fs::read_to_string(site.home.path().join("own.token")).unwrap();
    assert_eq!(site.up.api("all", text.trim()).get("/v1/tokens/self").ok()["principal"], "payments");
    // The listener trusts the other authority too, and it has not said that name.
    not_let_in(&site.login(&site.partners.client(NAME)));
    assert_eq!(site.reason(), "other-authority");
    not_let_in_at_cli(&site.cli(&site.partners.client(NAME)).run(&words));
    not_let_in(&site.login(&site.production.clients.client("a.payments.test.evil")));
    assert_eq!(site.reason(), "name-not-admitted");
    not_let_in(&site.up.endpoint("all").api().post("/v1/login/certificate/payments", &Value::Null));
    assert_eq!(site.reason(), "no-certificate");
}

#[test]
fn what_the_authority_revokes_does_not_come_in_any_more() {
    let mut site = Site::new();
    let put = json!({ "kind": "service", "roles": ["key-admin"], "certificates": [{ "dns-name": "billing.test" }] });
    let _ = site.operator.put("/v1/principals/billing", &put).ok();
    let good = site.production.clients.client_numbered(NAME, GOOD);
    let lost = site.production.clients.client_numbered("billing.test", REVOKED);
    let open = site.showing(&lost);
    assert_eq!(open.get("/v1/tokens/self").ok()["principal"], "billing");
    std::fs::write(site.home.path().join("clients.crl"), site.production.clients.revokes(&[REVOKED])).unwrap();
    site.up.server.signal(Signal::HUP);
    site.up.server.wait_line(|line| line.contains("read anew").then_some(()));
    let ask = |api: &Api| api.try_call(http::Method::GET, "/v1/tokens/self", &Value::Null);
    assert!(ask(&site.showing(&lost)).is_err(), "no handshake");
    // Nor over the connection that was open, which is being ended.
    assert!(ask(&open).map_or(true, |answer| answer.status == 401));
    let _ = site.login(&good).ok();
    site.showing(&site.partners.client("c.test")).get("/v1/keys").refused(401, "unauthenticated");
    let told = site.cli(&lost).run(&["token", "self"]);
    assert!(told.code != 0 && told.stderr.contains("own.pem"), "{told}");
}
