//! Principals, tokens, policies, and why somebody may not.

use keyreeve_tests::Done;
use serde_json::json;

use crate::Desk;

#[test]
fn principals_get_tokens_that_end_when_they_are_revoked() {
    let desk = Desk::new();
    let words = ["principal", "put", "shop", "--kind", "service", "--role", "application", "--network", "127.0.0.0/8"];
    let put = desk.cli.json(&words);
    assert_eq!(put, desk.cli.json(&["principal", "show", "shop"]));
    assert!(desk.cli.ok(&["principal", "list"]).contains("shop"));
    let made = desk.cli.json(&["token", "create", "shop", "--for", "1h", "-o", "shop.token"]);
    // A token of one's own goes only where a profile says that was named.
    let with = |token: &'static str| ["--profile", ".keyreeve-dev/client.toml", "--token-file", token];
    let as_shop = |words: &[&str]| desk.cli.run(&[&with("shop.token")[..], words].concat());
    assert_eq!(as_shop(&["token", "self", "--output", "json"]).code(0).json()["principal"], "shop");
    let _ = as_shop(&["key", "create"]).code(3);
    desk.key("orders", &["--consumer", "shop"]);
    desk.key("others", &[]);
    let encrypt =
        |key: &str| desk.cli.run_with(&[&with("shop.token")[..], &["encrypt", key, "--small"]].concat(), b"x").code;
    assert_eq!((encrypt("orders"), encrypt("others")), (0, 3));
    assert!(desk.cli.ok(&["token", "list"]).contains("valid"));
    let _ = desk.cli.ok(&["token", "revoke", made["id"].as_str().unwrap()]);
    let _ = as_shop(&["token", "self"]).code(3);
    let _ = desk.cli.ok(&["token", "create", "shop", "--for", "60s", "-o", "second.token"]);
    let _ = desk.cli.ok(&["principal", "delete", "shop"]);
    let _ = desk.cli.run(&[&with("second.token")[..], &["token", "self"]].concat()).code(3);
    let _ = desk.cli.run(&["token", "create", "nobody"]).code(4);
}

#[test]
fn policies_decide_and_are_explained() {
    let desk = Desk::new();
    desk.key("orders", &[]);
    let _ = desk.cli.ok(&["principal", "put", "alice", "--kind", "person", "--role", "helper"]);
    let explain = |action: &str| desk.cli.run(&["policy", "explain", "alice", action, "orders"]);
    let refused = explain("key.encrypt").code(1);
    assert!(refused.text().contains("Refused"), "{refused}");
    desk.write(
        "helper.cedar",
        "permit (principal in Keyreeve::Role::\"helper\", action in Keyreeve::Action::\"encrypt-side\", resource);",
    );
    let _ = desk.cli.ok(&["policy", "put", "helpers", "helper.cedar"]);
    let allowed = explain("key.encrypt").code(0);
    assert!(allowed.text().contains("helpers"), "{allowed}");
    let _ = explain("key.decrypt").code(1);
    desk.key("archive", &[]);
    let moving = ["policy", "explain", "alice", "key.re-encrypt-from", "orders"];
    let _ = desk.cli.run(&moving).code(2);
    let half = desk.cli.run(&[&moving[..], &["--to", "archive"]].concat()).code(1);
    assert!(half.text().contains("key.re-encrypt-to"), "{half}");
    let _ =
        desk.cli.ok(&["principal", "put", "alice", "--kind", "person", "--role", "helper", "--network", "10.0.0.0/8"]);
    let elsewhere = desk.cli.run(&["policy", "explain", "alice", "key.encrypt", "orders", "--source", "192.0.2.1"]);
    assert!(elsewhere.code(1).text().contains("10.0.0.0/8 only"));
    let _ = explain("key.encrypt").code(0);
    assert!(desk.cli.ok(&["policy", "list"]).contains("helpers"));
    assert!(desk.cli.ok(&["policy", "show", "helpers"]).contains("encrypt-side"));
    let actions = desk.cli.json(&["policy", "actions"]);
    assert!(actions["items"].as_array().unwrap().iter().any(|action| action["name"] == json!("key.encrypt")));
    let broken = desk.cli.run_with(&["policy", "put", "broken", "-"], b"permit (").code(2);
    assert!(!broken.stderr.is_empty());
    let _ = desk.cli.run(&["policy", "delete", "operator"]).code(5);
    let _ = desk.cli.ok(&["policy", "delete", "helpers"]);
    let _ = explain("key.encrypt").code(1);
}

#[test]
fn principals_are_altered_in_part_and_told_what_is_probably_not_meant() {
    let desk = Desk::new();
    let put = desk.cli.run(&["principal", "put", "shop", "--role", "application", "--role", "aplication"]).code(0);
    assert!(put.stderr.contains("warning: the role `application` gives nothing without a network"), "{put}");
    assert!(put.stderr.contains("warning: no policy speaks of the role `aplication`"), "{put}");
    let alter = |words: &[&str]| desk.cli.run(&[&["principal", "update", "shop"], words].concat());
    let altered = alter(&["--remove-role", "aplication", "--add-network", "127.0.0.0/8", "--add-label", "tier=gold"]);
    assert!(!altered.code(0).stderr.contains("warning"));
    let shown = desk.cli.json(&["principal", "show", "shop"]);
    assert_eq!(
        (&shown["roles"], &shown["networks"], &shown["labels"]),
        (&json!(["application"]), &json!(["127.0.0.0/8"]), &json!({"tier": "gold"}))
    );
    let _ = desk.cli.ok(&["token", "create", "shop", "--for", "1h", "-o", "shop.token"]);
    let comes_in = || {
        let with = ["--profile", ".keyreeve-dev/client.toml", "--token-file", "shop.token"];
        desk.cli.run(&[&with[..], &["token", "self"]].concat()).code
    };
    assert_eq!(comes_in(), 0);
    let _ = alter(&["--disable"]).code(0);
    assert_eq!(comes_in(), 3);
    let _ = alter(&["--enable", "--replace-network", "192.0.2.0/24"]).code(0);
    assert_eq!(comes_in(), 3);
    let _ = alter(&["--replace-network", ""]).code(0);
    assert_eq!(comes_in(), 0);
    let absent = alter(&["--remove-role", "operator"]).code(5);
    assert!(absent.stderr.contains("is not among the roles"), "{absent}");
    let _ = alter(&["--replace-role", "pipeline", "--add-role", "operator"]).code(2);
}

#[test]
fn lists_of_keys_are_altered_in_part_or_made_anew() {
    let desk = Desk::new();
    desk.key("orders", &["--label", "team=shop", "--consumer", "shop", "--consumer", "till"]);
    let alter = |words: &[&str]| desk.cli.json(&[&["key", "update", "orders"], words].concat());
    let altered = alter(&["--add-label", "tier=gold", "--add-consumer", "billing", "--remove-consumer", "till"]);
    assert_eq!(altered["labels"], json!({"team": "shop", "tier": "gold"}));
    assert_eq!(altered["consumers"], json!(["billing", "shop"]));
    let altered = alter(&["--remove-label", "team", "--replace-consumer", "till", "--add-custodian", "carol"]);
    assert_eq!(altered["labels"], json!({"tier": "gold"}));
    assert_eq!((&altered["consumers"], &altered["custodians"]), (&json!(["till"]), &json!(["carol"])));
    assert_eq!(alter(&["--replace-label", ""])["labels"], json!({}));
    let absent = desk.cli.run(&["key", "update", "orders", "--remove-consumer", "shop"]).code(5);
    assert!(absent.stderr.contains("`shop` is not among the consumers of the key"), "{absent}");
    let _ = desk.cli.run(&["key", "update", "orders", "--consumer", "shop"]).code(2);
}

#[test]
fn an_alias_finds_the_records_of_its_key_and_a_key_to_be_destroyed_is_not_called_active() {
    let desk = Desk::new();
    desk.key("orders", &[]);
    desk.key("others", &[]);
    let _ = desk.cli.ok(&["key", "destroy", "schedule", "orders", "--days", "7"]);
    let found = desk.cli.json(&["audit", "search", "--resource", "orders"]);
    let operations: Vec<&str> =
        found["items"].as_array().unwrap().iter().map(|record| record["operation"].as_str().unwrap()).collect();
    assert_eq!(operations, ["key.schedule-destruction", "key.create"]);
    let told = desk.cli.run(&["audit", "search", "--resource", "orders"]).code(0);
    assert!(told.stderr.contains("`orders` is key_"), "{told}");
    let unknown = desk.cli.run(&["audit", "search", "--resource", "ordres"]).code(4);
    assert!(unknown.stderr.contains("keyreeve key list --text ordres"), "{unknown}");
    for shown in [desk.cli.ok(&["key", "show", "orders"]), desk.cli.ok(&["key", "list"])] {
        let lines: Vec<&str> = shown.lines().filter(|line| line.contains("pending destruction")).collect();
        assert!(!lines.is_empty() && lines[0].contains(", due 20"), "{shown}");
    }
    let refused = desk.cli.run(&["principal", "delete", "developer"]).code(5);
    assert!(refused.stderr.contains("next: `keyreeve principal list`"), "{refused}");
    let shipped = desk.cli.run(&["policy", "delete", "operator"]).code(5);
    assert!(shipped.stderr.contains("next: `keyreeve policy list`"), "{shipped}");
    let purpose = desk.cli.run(&["key", "create", "--algorithm", "ec-p256", "--purpose", "encrypt"]).code(2);
    assert!(purpose.stderr.contains("next: `keyreeve algorithms`"), "{purpose}");
}

#[test]
fn an_address_on_the_command_line_is_not_joined_with_another_servers_in_the_environment() {
    let desk = Desk::new();
    let profile = String::from_utf8(desk.read(".keyreeve-dev/client.toml")).unwrap();
    let address = profile.lines().find_map(|line| line.strip_prefix("address = ")).unwrap().trim_matches('"');
    let beside = ["--ca-file", ".keyreeve-dev/ca.pem", "--token-file", ".keyreeve-dev/token", "principal", "list"];
    // Nobody listens there; somebody who did would be given the token.
    let other = "https://127.0.0.1:1";
    let run = |words: &[&str]| {
        let mut command = desk.cli.command(&[words, &beside].concat());
        Done::of(command.env("KEYREEVE_ADMIN_ADDRESS", other), b"").unwrap()
    };
    let _ = run(&["--address", address]).code(0);
    let _ = run(&["--address", address, "--admin-address", other]).code(6);
}
