//! People log in with the password of a directory.

use keyreeve_tests::{Answer, Slapd};
use serde_json::json;

use crate::site::{Site, not_let_in, not_let_in_at_cli};

pub(crate) struct House {
    pub(crate) site: Site,
    slapd: Slapd,
}

impl House {
    pub(crate) fn new() -> Option<Self> {
        let slapd = Slapd::start()?;
        let house = Self { site: Site::new(), slapd };
        let base = house.slapd.base();
        house.site.method(
            "ad",
            &json!({
                "kind": {"ldap": {
                    "url": house.slapd.ldaps(),
                    "ca_pem": house.slapd.ca_pem(),
                    "base": format!("ou=people,{base}"),
                    "filter": "(uid={user})",
                    "user_attribute": "uid",
                    "groups": {"search": {
                        "base": format!("ou=groups,{base}"), "filter": "(member={dn})", "attribute": "cn",
                    }},
                }},
                "bindings": [{
                    "name": "everybody",
                    "principal": {"from-claim": {"claim": "user"}},
                    "role_from_group": {"keys": "key-admin"},
                }],
            }),
        );
        Some(house)
    }

    /// Says as whom the directory is searched.
    pub(crate) fn searched_by_service(self) -> Self {
        let (dn, password) = self.slapd.service();
        let mut method = self.site.api.get("/v1/login-methods/ad").ok();
        let fields = method.as_object_mut().unwrap();
        for name in ["name", "has_secret", "created", "updated", "updated_by"] {
            fields.remove(name);
        }
        method["kind"]["ldap"]["bind_dn"] = json!(dn);
        self.site.method("ad", &method);
        let _ = self.site.api.put("/v1/login-methods/ad/secret", &json!({"secret": password})).ok();
        self.site.principal("alice", "person", &[]);
        self.site.principal("bob", "person", &[]);
        self
    }

    fn login(&self, user: &str, password: &str) -> Answer {
        self.site.anybody.post("/v1/login/ldap/ad", &json!({"user": user, "password": password}))
    }
}

#[test]
fn the_password_of_the_directory_lets_in_with_the_roles_of_groups() {
    let Some(house) = House::new() else { return };
    let house = house.searched_by_service();
    let alice = house.login("Alice", "alice knows this").ok();
    assert_eq!((&alice["principal"], &alice["roles"]), (&json!("alice"), &json!(["key-admin"])));
    let _ = house.site.with(&alice).post("/v1/keys", &json!({})).ok();
    let bob = house.login("bob", "bob knows this").ok();
    house.site.with(&bob).post("/v1/keys", &json!({})).refused(403, "denied");
    let shown = house.site.api.get("/v1/login-methods/ad").ok();
    assert!(!shown.to_string().contains(house.slapd.service().1), "{shown}");
}

#[test]
fn everything_else_ends_alike() {
    let Some(house) = House::new() else { return };
    let house = house.searched_by_service();
    let wrong = house.login("alice", "wrong");
    not_let_in(&wrong);
    for (user, password) in [
        ("nobody", "wrong"),
        ("alice", ""),
        ("", "alice knows this"),
        ("*", "alice knows this"),
        ("alice)(uid=*", "alice knows this"),
        ("star*", "alice knows this"),
        // In the directory, and unknown here.
        ("star*", "star* knows this"),
    ] {
        let answer = house.login(user, password);
        not_let_in(&answer);
        assert_eq!(answer.json()["detail"], wrong.json()["detail"], "{user}");
    }
}

#[test]
fn guessing_is_slowed_down_for_known_and_unknown_names_alike() {
    let Some(house) = House::new() else { return };
    let house = house.searched_by_service();
    for user in ["alice", "nobody"] {
        for _ in 0..5 {
            not_let_in(&house.login(user, "wrong"));
        }
        let slowed = house.login(user, "wrong");
        slowed.refused(429, "too-many-attempts");
        assert!(slowed.header("retry-after").is_some(), "{slowed}");
    }
    // The same person from elsewhere is not shut out; here: another one from the same address is not, either.
    let _ = house.login("bob", "bob knows this").ok();
}

#[test]
fn the_command_line_asks_for_the_password() {
    let Some(house) = House::new() else { return };
    let house = house.searched_by_service();
    let cli = house.site.own_profile();
    let words = ["login", "--method", "ad", "--user", "alice"];
    not_let_in_at_cli(&cli.run_with(&words, b"wrong\n"));
    assert!(!house.site.exists("own.token"));
    let _ = cli.run_with(&words, b"alice knows this\n").code(0);
    assert_eq!(cli.json(&["token", "self"])["principal"], "alice");
    // In development mode the profile that is found is not a place for anybody's session.
    let refused = house.site.cli.run_with(&words, b"alice knows this\n").code(2);
    assert!(refused.stderr.contains("--out FILE"), "{refused}");
}

#[test]
fn a_directory_that_cannot_be_asked_is_told_apart() {
    let Some(house) = House::new() else { return };
    // People cannot be searched anonymously there.
    let refused = house.login("alice", "alice knows this");
    assert!(refused.status >= 500, "{refused}");
    assert!(!refused.json().to_string().contains("alice knows"), "{refused}");
}
