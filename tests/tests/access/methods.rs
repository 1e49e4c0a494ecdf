//! Login methods, as docs/operations.md teaches them.

use serde_json::json;
use std::path::Path;

use crate::site::Site;

/// The TOML in the section on logging in.
fn examples() -> Vec<String> {
    let book = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let text = std::fs::read_to_string(book).unwrap();
    let section = text.split_once("\n## Logging in\n").unwrap().1.split("\n## ").next().unwrap();
    section.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn every_method_that_is_taught_is_accepted() {
    let site = Site::new();
    let examples = examples();
    assert_eq!(examples.len(), 5, "one for each kind, and Kubernetes");
    for (number, example) in examples.iter().enumerate() {
        let name = format!("example-{number}");
        site.write("method.toml", example);
        let _ = site.cli.ok(&["login-method", "put", &name, "method.toml"]);
        let shown = site.cli.ok(&["login-method", "show", &name]);
        assert!(shown.contains(&name), "{shown}");
    }
    assert_eq!(site.anybody.get("/v1/login/methods").ok()["items"].as_array().unwrap().len(), 5);
    site.write("secret", "what the provider gave");
    let set = site.cli.json(&["login-method", "set-secret", "example-0", "secret"]);
    assert_eq!(set["has_secret"], true);
    assert!(!set.to_string().contains("what the provider gave"), "{set}");
    let _ = site.cli.ok(&["login-method", "set-secret", "example-0", "--remove"]);
    let _ = site.cli.ok(&["login-method", "delete", "example-0"]);
    site.api.get("/v1/login-methods/example-0").refused(404, "not-found");
}

#[test]
fn what_would_be_open_to_others_is_refused() {
    let site = Site::new();
    let refused = |kind: serde_json::Value| {
        let answer = site.api.put(
            "/v1/login-methods/bad",
            &json!({"kind": kind, "bindings": [
            {"name": "a", "audiences": ["x"], "principal": {"fixed": "somebody"}}]}),
        );
        answer.refused(400, "invalid-request");
    };
    refused(json!({"oidc": {"issuer": "http://login.example.com", "client_id": "c"}}));
    refused(json!({"oidc": {"issuer": "https://login.example.com", "client_id": "c", "algorithms": ["none"]}}));
    refused(json!({"oidc": {"issuer": "https://login.example.com", "client_id": "c", "algorithms": ["HS256"]}}));
    let plain = json!({"url": "ldap://h", "base": "dc=x", "filter": "(uid={user})", "user_attribute": "uid"});
    refused(json!({"ldap": plain}));
    let everybody = json!({"url": "ldaps://h", "base": "dc=x", "filter": "(uid=*)", "user_attribute": "uid"});
    refused(json!({"ldap": everybody}));
}
