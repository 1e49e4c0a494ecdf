//! People log in at a provider, with a browser.

use keyreeve_tests::{Answer, Callback, Idp, long, wait_until};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::time::Duration;

use crate::site::{Site, not_let_in};

const REDIRECT: &str = "http://127.0.0.1/callback/corp";

/// A server that believes a provider.
struct House {
    site: Site,
    idp: Idp,
}

impl House {
    fn new() -> Option<Self> {
        let idp = Idp::start()?;
        let site = Site::new();
        let house = Self { site, idp };
        house.site.method("corp", &house.method(&json!({})));
        house.set_secret(house.idp.client().1);
        house.site.principal("alice", "person", &[]);
        house.site.principal("bob", "person", &[]);
        Some(house)
    }

    fn method(&self, besides: &Value) -> Value {
        let mut method = json!({
            "kind": {"oidc": {
                "issuer": self.idp.issuer(),
                "client_id": self.idp.client().0,
                "scopes": ["groups", "email"],
                "mfa_values": ["mfa"],
                "ca_pem": self.idp.ca_pem(),
            }},
            "bindings": [{
                "name": "everybody",
                "principal": {"from-claim": {"claim": "sub"}},
                "role_from_group": {"keys": "key-admin"},
            }],
        });
        for (name, value) in besides.as_object().unwrap() {
            method[name] = value.clone();
        }
        method
    }

    fn set_secret(&self, secret: &str) {
        let set = self.site.api.put("/v1/login-methods/corp/secret", &json!({"secret": secret})).ok();
        assert_eq!(set["has_secret"], true);
        assert!(!set.to_string().contains(secret), "{set}");
    }

    fn start(&self) -> Value {
        self.site.anybody.post("/v1/login/oidc/corp/start", &json!({"redirect_uri": REDIRECT})).ok()
    }

    fn finish(&self, started: &Value, callback: &Callback) -> Answer {
        let body = json!({
            "attempt": started["attempt"],
            "starter": started["starter"],
            "state": callback.fields["state"],
            "code": callback.fields["code"],
            "iss": callback.fields["iss"],
        });
        self.finish_with(&body)
    }

    fn finish_with(&self, body: &Value) -> Answer {
        self.site.anybody.post("/v1/login/oidc/corp/finish", body)
    }

    /// A whole login.
    fn login(&self, user: &str, second_factor: bool) -> Answer {
        let started = self.start();
        let url = started["authorization_url"].as_str().unwrap();
        self.finish(&started, &self.idp.login(url, user, second_factor))
    }
}

#[test]
fn a_login_gives_a_session_with_the_roles_of_groups() {
    let Some(house) = House::new() else { return };
    let alice = house.login("alice", false).ok();
    assert_eq!((&alice["principal"], &alice["mfa"]), (&json!("alice"), &json!(false)));
    assert_eq!(alice["roles"], json!(["key-admin"]));
    let api = house.site.with(&alice);
    let itself = api.get("/v1/tokens/self").ok();
    assert_eq!(itself["principal"], "alice");
    assert!(itself["roles"].as_array().unwrap().contains(&json!("key-admin")), "{itself}");
    let _ = api.post("/v1/keys", &json!({"aliases": ["of-alice"]})).ok();
    // The same provider and method, and no such group.
    let bob = house.login("bob", false).ok();
    house.site.with(&bob).post("/v1/keys", &json!({"aliases": ["of-bob"]})).refused(403, "denied");
    assert_eq!(house.login("alice", true).ok()["mfa"], true, "the provider's word on the second factor is taken");
}

#[test]
fn what_came_back_counts_once_and_for_whoever_began() {
    let Some(house) = House::new() else { return };
    let started = house.start();
    let callback = house.idp.login(started["authorization_url"].as_str().unwrap(), "alice", false);
    let body = |attempt: &Value, starter: &Value, state: &str, code: &str| {
        let (id, by) = (attempt, starter);
        json!({"attempt": id, "starter": by, "state": state, "code": code})
    };
    let (state, code) = (callback.fields["state"].as_str(), callback.fields["code"].as_str());
    let other = house.start();
    // Neither another's secret, nor another state, nor another attempt's; and each leaves the attempt as it was.
    not_let_in(&house.finish_with(&body(&started["attempt"], &other["starter"], state, code)));
    not_let_in(&house.finish_with(&body(&started["attempt"], &started["starter"], "another", code)));
    not_let_in(&house.finish_with(&body(&other["attempt"], &other["starter"], state, code)));
    let _ = house.finish(&started, &callback).ok();
    not_let_in(&house.finish(&started, &callback));
    // Nor is a code of one attempt good for another one.
    let (first, second) = (house.start(), house.start());
    let code = house.idp.login(first["authorization_url"].as_str().unwrap(), "alice", false).fields["code"].clone();
    let state = house.idp.login(second["authorization_url"].as_str().unwrap(), "bob", false).fields["state"].clone();
    not_let_in(&house.finish_with(&body(&second["attempt"], &second["starter"], &state, &code)));
}

#[test]
fn keys_of_the_provider_may_change_and_clocks_go_wrong_a_little() {
    let Some(house) = House::new() else { return };
    let _ = house.login("alice", false).ok();
    house.idp.skew(-40);
    let _ = house.login("alice", false).ok();
    for seconds in [-3600, 120] {
        house.idp.skew(seconds);
        not_let_in(&house.login("alice", false));
    }
    house.idp.skew(0);
    // A key that is not known sends nobody to the provider who was there a moment ago: anybody can make keys up.
    house.idp.rotate();
    not_let_in(&house.login("alice", false));
    assert_eq!(house.site.reason(), "unknown-key");
    if long() {
        assert!(wait_until(Duration::from_secs(90), || house.login("alice", false).status == 200));
    }
}

#[test]
fn only_those_who_are_known_are_let_in_unless_the_method_makes_them() {
    let Some(house) = House::new() else { return };
    not_let_in(&house.login("mallory", false));
    assert_eq!(house.site.reason(), "principal-missing");
    // Somebody's e-mail address is only a name once the provider has verified it.
    let by_address = json!([{"name": "mail", "principal": {"from-claim": {"claim": "email"}}}]);
    house.site.method("corp", &house.method(&json!({"provision": "create", "bindings": by_address})));
    not_let_in(&house.login("mallory", false));
    house.site.method("corp", &house.method(&json!({"provision": "create"})));
    let made = house.login("mallory", false).ok();
    assert_eq!((&made["principal"], &made["roles"]), (&json!("mallory"), &json!([])));
    assert_eq!(house.site.api.get("/v1/principals/mallory").ok()["kind"], "person");
}

#[test]
fn sessions_are_renewed_and_end_with_their_method() {
    let Some(house) = House::new() else { return };
    house.site.method("corp", &house.method(&json!({"ttl_s": 60, "renew_s": 600})));
    let login = house.login("alice", false).ok();
    let api = house.site.with(&login);
    let renewed = api.post("/v1/tokens/self/renew", &Value::Null);
    // Renewed at once it may end at the same second: then there is nothing to renew.
    assert!(renewed.status == 200 || renewed.problem() == "wrong-state", "{renewed}");
    let _ = api.delete("/v1/tokens/self").ok();
    assert_eq!(api.get("/v1/tokens/self").status, 401);
    let other = house.site.with(&house.login("alice", false).ok());
    assert_eq!(other.get("/v1/tokens/self").status, 200);
    let _ = house.site.api.delete("/v1/login-methods/corp").ok();
    assert_eq!(other.get("/v1/tokens/self").status, 401, "no token counts of a method that is gone");
    let gone = house.site.anybody.post("/v1/login/oidc/corp/start", &json!({"redirect_uri": REDIRECT}));
    gone.refused(404, "not-found");
}

#[test]
fn a_provider_that_is_not_the_one_that_was_meant_is_not_asked() {
    let Some(house) = House::new() else { return };
    house.set_secret("not the secret");
    not_let_in(&house.login("alice", false));
    house.set_secret(house.idp.client().1);
    // Its certificate is checked against what the method says, here: against the machine's own authorities.
    let mut method = house.method(&json!({}));
    method["kind"]["oidc"]["ca_pem"] = Value::Null;
    house.site.method("corp", &method);
    let refused = house.site.anybody.post("/v1/login/oidc/corp/start", &json!({"redirect_uri": REDIRECT}));
    assert_eq!(refused.status / 100, 5, "{refused}");
    let elsewhere = json!({"redirect_uri": "https://attacker.example/callback"});
    house.site.method("corp", &house.method(&json!({})));
    assert!(house.site.anybody.post("/v1/login/oidc/corp/start", &elsewhere).status >= 400);
}

/// What the command line says, up to the address at which somebody logs in.
fn address_in(stderr: &mut impl BufRead) -> String {
    let mut said = String::new();
    while stderr.read_line(&mut said).unwrap() > 0 {
        if let Some(address) = said.split_whitespace().find(|word| word.starts_with("https://")) {
            return address.to_owned();
        }
    }
    panic!("no address: {said}");
}

#[test]
fn the_command_line_waits_for_the_browser() {
    let Some(house) = House::new() else { return };
    let cli = house.site.own_profile();
    let listed = cli.json(&["login", "--list"]);
    assert_eq!(listed["items"], json!([{"name": "corp", "kind": "oidc"}]));
    let mut command = cli.command(&["login", "--method", "corp"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let callback = house.idp.login(&address_in(&mut stderr), "alice", false);
    // A connection that is opened and not used, as browsers do, holds nobody up.
    let place = callback.url.strip_prefix("http://").unwrap().split('/').next().unwrap().to_owned();
    let _silent = std::net::TcpStream::connect(&place).unwrap();
    let mut stream = std::net::TcpStream::connect(&place).unwrap();
    let path = callback.url.split_once(&place).unwrap().1;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {place}\r\n\r\n").unwrap();
    let mut shown = String::new();
    stream.read_to_string(&mut shown).unwrap();
    assert!(shown.starts_with("HTTP/1.1 200 OK"), "{shown}");
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success(), "{said}");
    assert!(house.site.read("own.token").starts_with("krt_"));
    assert_eq!(cli.json(&["token", "self"])["principal"], "alice");
    let _ = cli.ok(&["logout"]);
    assert!(!house.site.exists("own.token"));
}

#[test]
fn a_browser_elsewhere_will_do() {
    let Some(house) = House::new() else { return };
    let cli = house.site.own_profile();
    let mut command = cli.command(&["login", "--method", "corp", "--no-browser"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let callback = house.idp.login(&address_in(&mut stderr), "alice", false);
    child.stdin.take().unwrap().write_all(format!("{}\n", callback.url).as_bytes()).unwrap();
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success(), "{said}");
    assert_eq!(cli.json(&["token", "self"])["principal"], "alice");
}
