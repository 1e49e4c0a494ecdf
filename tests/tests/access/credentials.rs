//! Programs log in with service credentials.

use serde_json::{Value, json};

use crate::site::{Site, not_let_in, not_let_in_at_cli};

fn site() -> Site {
    let site = Site::new();
    site.principal("billing", "service", &["application"]);
    site
}

fn issue(site: &Site, body: &Value) -> Value {
    site.api.post("/v1/principals/billing/credentials", body).ok()
}

fn login(site: &Site, secret_id: &Value) -> keyreeve_tests::Answer {
    site.anybody.post("/v1/login/credential", &json!({"role_id": "billing", "secret_id": secret_id}))
}

#[test]
fn a_secret_for_one_use_gives_one_token_even_to_many_at_once() {
    let site = site();
    let issued = issue(&site, &json!({"uses": 1, "description": "nightly run"}));
    let secret = &issued["secret_id"];
    assert!(secret.as_str().unwrap().starts_with("krs_"), "{issued}");
    let answers: Vec<u16> = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..8)
            .map(|_| {
                let anybody = site.dev.endpoint.anonymous();
                let body = json!({"role_id": "billing", "secret_id": secret});
                scope.spawn(move || anybody.api().post("/v1/login/credential", &body).status)
            })
            .collect();
        tries.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1, "{answers:?}");
    let listed = site.api.get("/v1/principals/billing/credentials").ok();
    assert_eq!((&listed["items"][0]["uses_left"], &listed["items"][0]["valid"]), (&json!(0), &json!(false)));
    assert!(!listed.to_string().contains(secret.as_str().unwrap()));
}

#[test]
fn secrets_prove_their_own_principal_from_their_own_networks_until_they_are_revoked() {
    let site = site();
    site.principal("other", "service", &[]);
    let elsewhere = issue(&site, &json!({"networks": ["192.0.2.0/24"]}));
    not_let_in(&login(&site, &elsewhere["secret_id"]));
    let issued = issue(&site, &json!({"networks": ["127.0.0.0/8"], "token_seconds": 60}));
    let as_other = json!({"role_id": "other", "secret_id": issued["secret_id"]});
    not_let_in(&site.anybody.post("/v1/login/credential", &as_other));
    let token = login(&site, &issued["secret_id"]).ok();
    assert_eq!(site.with(&token).get("/v1/tokens/self").ok()["principal"], "billing");
    let id = issued["id"].as_str().unwrap();
    let revoked = site.api.delete(&format!("/v1/principals/billing/credentials/{id}")).ok();
    assert_eq!(revoked["valid"], false);
    not_let_in(&login(&site, &issued["secret_id"]));
    assert_eq!(site.reason(), "revoked");
    let of_another = format!("/v1/principals/other/credentials/{id}");
    site.api.delete(&of_another).refused(404, "not-found");
}

#[test]
fn a_wrapped_secret_opens_once_and_a_second_try_is_told() {
    let site = site();
    let issued = issue(&site, &json!({"wrap_seconds": 600}));
    assert!(issued["secret_id"].is_null(), "{issued}");
    let unwrap = || site.anybody.post("/v1/credentials/unwrap", &json!({"wrapping_token": issued["wrapping_token"]}));
    let opened = unwrap().ok();
    assert_eq!((&opened["credential"], &opened["principal"]), (&issued["id"], &json!("billing")));
    let _ = login(&site, &opened["secret_id"]).ok();
    not_let_in(&unwrap());
    // Somebody had it on the way: it counts for nobody any more.
    not_let_in(&login(&site, &opened["secret_id"]));
    let listed = site.api.get("/v1/principals/billing/credentials").ok();
    assert!(listed["items"][0]["revoked"].is_string(), "{listed}");
}

#[test]
fn the_command_line_issues_and_uses_them() {
    let site = site();
    let words = ["credential", "issue", "billing", "--for", "90d", "--uses", "2", "--network", "127.0.0.0/8"];
    let issued = site.cli.json(&[&words[..], &["-o", "secret-id"]].concat());
    let cli = site.own_profile();
    let login = ["login", "--role-id", "billing", "--secret-id-file", "secret-id"];
    let _ = cli.run(&login).code(0);
    assert_eq!(cli.json(&["token", "self"])["principal"], "billing");
    // The secret of the session stands nowhere on the screen.
    let shown = cli.run(&[&login[..], &["--output", "json"]].concat()).code(0);
    let token = site.read("own.token");
    assert!(!shown.text().contains(token.trim()) && shown.json()["out"].as_str().unwrap().ends_with("own.token"));
    not_let_in_at_cli(&cli.run(&login));
    let _ = cli.run(&["token", "renew"]);
    let _ = cli.ok(&["logout"]);
    assert!(site.cli.ok(&["credential", "list", "billing"]).contains("used up"));
    let _ = site.cli.ok(&["credential", "revoke", "billing", issued["id"].as_str().unwrap()]);
    let _ = site.cli.ok(&["credential", "issue", "billing", "--wrap", "10m", "-o", "wrapping-token"]);
    let _ = site.cli.ok(&["credential", "unwrap", "wrapping-token", "-o", "unwrapped"]);
    let _ = cli.run(&["login", "--role-id", "billing", "--secret-id-file", "unwrapped"]).code(0);
}
