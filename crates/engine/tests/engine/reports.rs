//! Who can do what to which key, and when it was last used.

use keyreeve_crypto::KeyAlgorithm;
use keyreeve_engine::ops::access_report::{FindingKind, Report, ReportReply};
use keyreeve_engine::ops::grants::{Create, Wanted};
use keyreeve_engine::ops::keys::Describe;
use keyreeve_engine::ops::{policies, principals, rules};
use keyreeve_engine::{Clock, Code, KeyRef};
use keyreeve_model::grant::Constraints;
use keyreeve_model::usage::day_of;
use keyreeve_model::{PrincipalKind, UnixMillis};

use crate::support::{DAY, House, context, create, key_of, label, name};

fn all() -> Report {
    Report { principal: None, key: None, after: None, limit: 1000, from_audit: false }
}

/// `principal key group through`, a line each.
fn lines(reply: &ReportReply) -> Vec<String> {
    let line = |row: &keyreeve_engine::ops::access_report::AccessRow| {
        row.rights
            .iter()
            .map(|right| format!("{} {} {} {}", row.principal, row.key, right.group, right.through.join(",")))
            .collect::<Vec<_>>()
    };
    reply.rows.iter().flat_map(line).collect()
}

async fn service(house: &House, text: &str, roles: &[&str]) {
    let mut program = House::person(text, roles);
    program.kind = PrincipalKind::Service;
    house.ask(principals::Put::new(program)).await;
}

async fn grant(house: &House, principal: &str, key: &KeyRef, constraints: Constraints) -> String {
    let what = Wanted::Key { key: key.clone(), operations: [name("key.decrypt")].into() };
    let seconds = 300 * 86_400;
    let reason = label("test");
    let operation = Create { principal: name(principal), what, constraints, not_before: None, seconds, reason };
    house.ask(operation).await.record.id.to_string()
}

/// Roles, consumers, grants and forbids as they add up, not as they are written.
#[tokio::test]
async fn rights_are_told_as_they_add_up() {
    let house = House::new().await;
    let mut spec = create(KeyAlgorithm::Xaes256Gcm);
    spec.metadata.consumers = [label("ci")].into();
    let key = key_of(&house.make(spec).await);
    house.clock.turn(1);
    let signing = key_of(&house.make(create(KeyAlgorithm::Ed25519)).await);
    service(&house, "ci", &["pipeline"]).await;
    service(&house, "off", &["key-user-encrypt"]).await;
    service(&house, "batch", &[]).await;
    let mut off = House::person("off", &["key-user-encrypt"]);
    off.disabled = true;
    house.ask(principals::Put::new(off)).await;
    house.ask(House::putting("ann", &["key-admin", "key-user-encrypt"])).await;
    let tenant = Constraints { context_includes: context(&[("tenant", "a")]), ..Constraints::default() };
    let id = grant(&house, "batch", &key, tenant).await;
    let report = house.ask(all()).await;
    let told: Vec<String> = lines(&report).into_iter().filter(|line| !line.starts_with("developer")).collect();
    let expected = [
        format!("ann {key} lifecycle policy:key-admin"),
        format!("ann {key} read policy:key-admin"),
        format!("batch {key} decrypt-side grant:{id}"),
        format!("ci {key} encrypt-side policy:pipeline"),
        format!("ann {signing} lifecycle policy:key-admin"),
        format!("ann {signing} read policy:key-admin"),
    ];
    assert_eq!(told, expected);
    let text = r#"forbid(principal == Keyreeve::Principal::"batch", action, resource);"#;
    house.ask(policies::Put { name: name("stop"), text: text.to_owned() }).await;
    let report = house.ask(Report { principal: Some(name("batch")), ..all() }).await;
    assert_eq!(lines(&report), [""; 0]);
    assert_eq!(house.code(Report { principal: Some(name("nobody")), ..all() }).await, Code::NotFound);
    assert_eq!(house.code(Report { after: Some("nonsense".to_owned()), ..all() }).await, Code::InvalidRequest);
}

#[tokio::test]
async fn pages_put_together_are_the_whole() {
    let house = House::new().await;
    for _ in 0..3 {
        house.aead().await;
    }
    for text in ["a", "b", "c/d", "e"] {
        service(&house, text, &["key-user-encrypt"]).await;
    }
    let whole = lines(&house.ask(all()).await);
    assert!(whole.len() >= 12, "{}", whole.len());
    for limit in [1, 2, 3, 7] {
        let (mut pages, mut after) = (Vec::new(), None);
        loop {
            let page = house.ask(Report { after, limit, ..all() }).await;
            pages.extend(lines(&page));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(pages, whole, "{limit}");
    }
}

#[tokio::test]
async fn what_the_store_does_not_know_is_found_in_the_audit_log() {
    let mut house = House::new().await;
    let key = house.aead().await;
    house.aead().await;
    let who = house.welcome(House::person("eve", &["key-user-decrypt"])).await;
    let auditor = house.welcome(House::person("dan", &["key-auditor"])).await;
    let ciphertext = house.encrypt(&key, b"x").await;
    let used = UnixMillis(day_of(house.clock.now()) * DAY);
    for _ in 0..3 {
        house.call(&who, House::decrypting(&key, &ciphertext)).await.unwrap();
    }
    let refused = House::decrypting(&key, b"nothing");
    let _ = house.call(&who, refused).await;
    house.call(&auditor, Describe { key: key.clone() }).await.unwrap();
    service(&house, "batch", &[]).await;
    let batch = house.token_for("batch").await;
    let id = grant(&house, "batch", &key, Constraints::default()).await;
    house.pass(1).await;
    // The server falls over before it has written when the rights were used.
    house.clock.turn(89 * DAY);
    let batch_decrypts = async |house: &House| house.call(&batch, House::decrypting(&key, &ciphertext)).await;
    batch_decrypts(&house).await.unwrap();
    house.reopen().await;
    house.clock.turn(2 * DAY);
    let report = async |from_audit: bool| {
        let key = Some(key.clone());
        let reply = house.ask(Report { key, from_audit, ..all() }).await;
        let of = |who: &str, group: &str| {
            let row = reply.rows.iter().find(|row| row.principal == name(who)).unwrap();
            row.rights.iter().find(|right| right.group == group).unwrap().last_used
        };
        let unused = reply.findings.iter().any(|finding| finding.about == id);
        ((of("eve", "decrypt-side"), of("dan", "read")), unused)
    };
    assert_eq!(report(false).await, ((Some(used), None), true));
    assert_eq!(report(true).await, ((Some(used), Some(used)), false));
}

#[tokio::test]
async fn last_uses_are_known_to_the_day_and_outlive_the_server() {
    let mut house = House::new().await;
    let key = house.aead().await;
    let who = house.welcome(House::person("eve", &["key-user-encrypt"])).await;
    let only = || Report { principal: Some(name("eve")), key: Some(key.clone()), ..all() };
    let last = async |house: &House| house.ask(only()).await.rows[0].rights[0].last_used;
    assert_eq!(last(&house).await, None);
    house.call(&who, House::encrypting(&key, b"x")).await.unwrap();
    let today = UnixMillis(day_of(house.clock.now()) * DAY);
    assert_eq!(last(&house).await, Some(today), "before it is written");
    house.pass(1).await;
    house.call(&who, House::encrypting(&key, b"x")).await.unwrap();
    house.pass(1).await;
    house.reopen().await;
    assert_eq!(last(&house).await, Some(today));
    let revision = |house: &House| -> i64 {
        house
            .sql()
            .query_row("SELECT revision FROM filed WHERE kind = 'uses' AND parent = 'eve'", [], |row| row.get(0))
            .unwrap()
    };
    assert_eq!(revision(&house), 1, "written once a day at most");
    assert_eq!(house.code_for(&who, House::decrypting(&key, b"x")).await, Code::Denied);
    house.pass(1).await;
    assert_eq!(revision(&house), 1, "what was refused was not used");
}

#[tokio::test]
async fn grants_that_nobody_uses_are_told_of() {
    let house = House::new().await;
    let key = house.aead().await;
    let ciphertext = house.encrypt(&key, b"x").await;
    service(&house, "batch", &[]).await;
    service(&house, "idle", &[]).await;
    let used = grant(&house, "batch", &key, Constraints::default()).await;
    let unused = grant(&house, "idle", &key, Constraints::default()).await;
    let batch = house.token_for("batch").await;
    house.call(&batch, House::decrypting(&key, &ciphertext)).await.unwrap();
    house.pass(1).await;
    let about = async |house: &House, kind| -> Vec<String> {
        let found = house.ask(all()).await.findings.into_iter().filter(|finding| finding.kind == kind);
        found.map(|finding| finding.about).collect()
    };
    assert_eq!(about(&house, FindingKind::GovernanceFounding).await, ["rules"]);
    assert_eq!(about(&house, FindingKind::GrantUnused).await, [""; 0]);
    house.ask(House::putting("ann", &["key-admin"])).await;
    assert!(about(&house, FindingKind::NoSecondFactor).await.contains(&"ann".to_owned()));
    let token = keyreeve_engine::ops::tokens::Create {
        networks: Default::default(),
        principal: name("developer"),
        seconds: 200 * 86_400,
        description: label("long"),
    };
    let developer = crate::support::Who::Bearer(house.ask(token).await.token);
    house.clock.turn(90 * DAY);
    let report = house.call(&developer, all()).await.unwrap().reply;
    let told: Vec<_> = report.findings.iter().filter(|finding| finding.kind == FindingKind::GrantUnused).collect();
    let abouts: Vec<&str> = told.iter().map(|finding| finding.about.as_str()).collect();
    assert_eq!(abouts, [used.as_str(), unused.as_str()]);
    assert!(told[0].text.contains("last used") && told[1].text.contains("never used"), "{told:?}");
}

/// A stored book takes the place of the shipped one, also of what later versions ship.
#[tokio::test]
async fn shipped_rules_that_the_book_lacks_are_told_of() {
    let house = House::new().await;
    let missing = async || {
        let found = house.ask(all()).await.findings.into_iter();
        found.filter(|finding| finding.kind == FindingKind::RuleMissing).collect::<Vec<_>>()
    };
    assert_eq!(missing().await, []);
    let shipped = keyreeve_policy::rules::SHIPPED;
    let fewer: Vec<&str> = shipped.split("[[rule]]\n").filter(|rule| !rule.starts_with("name = \"destroy\"")).collect();
    house.ask(rules::Put { text: fewer.join("[[rule]]\n") }).await;
    let found = missing().await;
    let [finding] = &found[..] else { panic!("{found:?}") };
    assert!(finding.text.contains("shipped rules: destroy;"), "{finding:?}");
    house.ask(rules::Put { text: shipped.to_owned() }).await;
    assert_eq!(missing().await, []);
}
