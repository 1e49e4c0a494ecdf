//! Versions of the policies: applied as a set, compared, put back, and never so that nobody can change them again.

use keyreeve_engine::ops::policies::{Apply, Delete, Diff, History, Put, Rollback, Simulate, Simulated};
use keyreeve_engine::ops::principals::{Put as PutPrincipal, PutSpec};
use keyreeve_engine::ops::rules;
use keyreeve_engine::{Code, Error, Operation};
use keyreeve_model::Name;
use keyreeve_policy::diff::DocumentChange;
use std::collections::BTreeMap;

use crate::cases::{self, Stage};
use crate::support::{House, Who, label, name};

const NOBODY: &str = "forbid (principal in Keyreeve::Role::\"nobody\", action, resource);\n";

/// A policy that lets people with a role sign with any key.
fn signers(role: &str) -> String {
    format!("permit (principal in Keyreeve::Role::\"{role}\", action == Keyreeve::Action::\"key.sign\", resource);\n")
}

fn texts(of: &[(&str, &str)]) -> BTreeMap<Name, String> {
    of.iter().map(|(one, text)| (name(one), (*text).to_owned())).collect()
}

fn apply(of: &[(&str, &str)]) -> Apply {
    Apply { policies: texts(of), delete_others: true, base: None, dry_run: false, comment: label("") }
}

fn rollback(version: u64) -> Rollback {
    Rollback { version, base: None, comment: label("as it was") }
}

async fn stored(house: &House) -> BTreeMap<Name, String> {
    let all = house.ask(keyreeve_engine::ops::policies::List { after: None, limit: 1000 }).await.items;
    all.into_iter().filter(|policy| !policy.built_in).map(|policy| (name(&policy.name), policy.text)).collect()
}

fn words(names: &[Name]) -> Vec<&str> {
    names.iter().map(Name::as_str).collect()
}

#[tokio::test]
async fn a_set_is_applied_in_one_step_and_every_version_stays_known() {
    let house = House::new().await;
    let signing = signers("signer");
    let first = house.ask(apply(&[("a", NOBODY), ("b", &signing)])).await;
    assert_eq!((first.from, first.to), (0, Some(1)));
    assert_eq!(words(&first.changes.added), ["a", "b"]);
    let second = Apply { comment: label("c instead of a"), ..apply(&[("b", NOBODY), ("c", NOBODY)]) };
    let second = house.ask(second).await;
    assert_eq!((second.from, second.to), (1, Some(2)));
    let what = &second.changes;
    assert_eq!((words(&what.added), words(&what.altered), words(&what.removed)), (vec!["c"], vec!["b"], vec!["a"]));
    assert_eq!(stored(&house).await, texts(&[("b", NOBODY), ("c", NOBODY)]));
    // One policy by itself is a version as well.
    house.ask(Put { name: name("d"), text: NOBODY.to_owned() }).await;
    house.ask(Delete { name: name("c"), base: None }).await;
    let history = house.ask(History { before: None, limit: 10 }).await;
    let told: Vec<_> = history
        .items
        .iter()
        .map(|v| {
            let c = &v.changes;
            (v.manifest.n, words(&c.added), words(&c.altered), words(&c.removed))
        })
        .collect();
    let expected = [
        (4, vec![], vec![], vec!["c"]),
        (3, vec!["d"], vec![], vec![]),
        (2, vec!["c"], vec!["b"], vec!["a"]),
        (1, vec!["a", "b"], vec![], vec![]),
    ];
    assert_eq!((told, history.next), (expected.to_vec(), None));
    assert_eq!(history.items[2].manifest.comment, label("c instead of a"));
    assert!(history.items.iter().all(|v| v.manifest.by == Some(name("developer"))));
    let page = house.ask(History { before: Some(4), limit: 2 }).await;
    assert_eq!(page.items.iter().map(|v| v.manifest.n).collect::<Vec<_>>(), [3, 2]);
    assert_eq!(page.next, Some(2));
    let rest = house.ask(History { before: page.next, limit: 2 }).await;
    assert_eq!((rest.items[0].manifest.n, rest.items[0].changes.added.len(), rest.next), (1, 2, None));
}

#[tokio::test]
async fn the_record_tells_the_versions_and_the_names() {
    let house = House::new().await;
    house.ask(apply(&[("a", NOBODY)])).await;
    house.ask(apply(&[("b", NOBODY)])).await;
    let records = house.records().await;
    let record = records.iter().rfind(|record| record.operation == "policy.apply").unwrap();
    for (detail, value) in [("former_version", "1"), ("version", "2"), ("added", "b"), ("removed", "a")] {
        assert_eq!(record.details.get(detail).map(String::as_str), Some(value), "{detail}");
    }
}

#[tokio::test]
async fn what_does_not_compile_changes_nothing_and_says_where() {
    let house = House::new().await;
    house.ask(apply(&[("a", NOBODY)])).await;
    for dry_run in [true, false] {
        let wrong =
            Apply { dry_run, ..apply(&[("a", NOBODY), ("b", "permit (principal, action, resource);\nforbid")]) };
        let refused = house.call(&house.developer, wrong).await.unwrap_err();
        assert_eq!(refused.error.code(), Code::InvalidPolicy);
        assert!(refused.error.public().contains("policy `b`, line 2"), "{}", refused.error.public());
    }
    assert_eq!(house.code(apply(&[("key-admin", NOBODY)])).await, Code::AlreadyExists);
    assert_eq!(house.code(apply(&[("long", &" ".repeat(65 * 1024))])).await, Code::TooLarge);
    assert_eq!(stored(&house).await, texts(&[("a", NOBODY)]));
    assert_eq!(house.ask(History { before: None, limit: 10 }).await.items.len(), 1);
}

#[tokio::test]
async fn a_dry_run_tells_what_would_change_in_text_and_meaning() {
    let house = House::new().await;
    house.ask(apply(&[("a", NOBODY)])).await;
    let signing = signers("signer");
    let told = house.ask(Apply { dry_run: true, ..apply(&[("b", &signing)]) }).await;
    assert_eq!((told.from, told.to), (1, None));
    let documents: Vec<_> = told.compared.documents.iter().map(|d| (d.name.as_str(), d.change)).collect();
    assert_eq!(documents, [("a", DocumentChange::Removed), ("b", DocumentChange::Added)]);
    assert!(told.compared.documents[1].unified.contains("+permit"));
    let meaning = told.compared.meaning.unwrap();
    let signers: Vec<_> = meaning.changes.iter().filter(|c| c.role.as_deref() == Some("signer")).collect();
    assert!(!signers.is_empty() && signers.iter().all(|c| c.action == "key.sign" && c.allowed), "{signers:?}");
    assert_eq!(stored(&house).await, texts(&[("a", NOBODY)]), "nothing was done");
    assert_eq!(house.ask(History { before: None, limit: 10 }).await.items.len(), 1);
}

#[tokio::test]
async fn others_that_are_not_named_stay_unless_they_shall_go() {
    let house = House::new().await;
    house.ask(apply(&[("a", NOBODY), ("b", NOBODY)])).await;
    let signing = signers("signer");
    house.ask(Apply { delete_others: false, ..apply(&[("b", &signing)]) }).await;
    assert_eq!(stored(&house).await, texts(&[("a", NOBODY), ("b", &signing)]));
    let same = house.ask(Apply { delete_others: false, ..apply(&[("b", &signing)]) }).await;
    assert_eq!((same.from, same.to), (2, None), "no version where nothing differs");
}

#[tokio::test]
async fn whoever_builds_on_a_version_is_told_when_another_one_applies() {
    let house = House::new().await;
    house.ask(apply(&[("a", NOBODY)])).await;
    house.ask(Apply { base: Some(1), ..apply(&[("b", NOBODY)]) }).await;
    assert_eq!(house.code(Apply { base: Some(1), ..apply(&[("c", NOBODY)]) }).await, Code::Conflict);
    assert_eq!(house.code(Rollback { base: Some(1), ..rollback(1) }).await, Code::Conflict);
    assert_eq!(stored(&house).await, texts(&[("b", NOBODY)]));
}

#[tokio::test]
async fn a_former_version_is_put_back_as_a_new_one() {
    let house = House::new().await;
    let signing = signers("signer");
    house.ask(apply(&[("a", &signing)])).await;
    house.ask(apply(&[("a", NOBODY), ("b", NOBODY)])).await;
    let back = house.ask(rollback(1)).await;
    assert_eq!((back.from, back.to), (2, Some(3)));
    assert_eq!(stored(&house).await, texts(&[("a", &signing)]));
    let history = house.ask(History { before: None, limit: 1 }).await;
    assert_eq!(history.items[0].manifest.restores, Some(1));
    assert_eq!(house.code(rollback(9)).await, Code::NotFound);
    let compared = house.ask(Diff { from: Some(1), to: Some(3) }).await;
    assert!(compared.documents.is_empty(), "{compared:?}");
    let last = house.ask(Diff { from: None, to: None }).await;
    assert_eq!((last.from, last.to, last.documents.len()), (2, 3, 2));
    assert_eq!(house.code(Diff { from: Some(1), to: Some(8) }).await, Code::NotFound);
}

#[tokio::test]
async fn policies_apply_and_end_with_their_version() {
    let house = House::new().await;
    let signing = signers("signer");
    let kim = house.welcome(House::person("kim", &["signer"])).await;
    let may_sign = async || {
        let explain = crate::explaining::about("key.sign", Some(house.aead().await.to_string()));
        let explain = keyreeve_engine::ops::explain::Explain { principal: name("kim"), ..explain };
        house.ask(explain).await.allowed
    };
    assert!(!may_sign().await);
    house.ask(apply(&[("a", NOBODY)])).await;
    house.ask(apply(&[("signers", &signing)])).await;
    assert!(may_sign().await);
    house.ask(rollback(1)).await;
    assert!(!may_sign().await);
    assert_eq!(house.code_for(&kim, rollback(2)).await, Code::Denied);
}

/// Who may not write a policy alone may not write it in a set either.
#[tokio::test]
async fn a_set_needs_the_right_to_each_policy_in_it() {
    let house = House::new().await;
    let kept = "forbid (principal, action in [Keyreeve::Action::\"policy.put\", Keyreeve::Action::\"policy.delete\"], \
                resource == Keyreeve::Policy::\"kept\") when { principal.name == \"olga\" };\n";
    house.ask(apply(&[("guards", kept), ("kept", NOBODY)])).await;
    let olga = house.welcome(House::person("olga", &["operator"])).await;
    let signing = signers("signer");
    let others = |of: &[(&str, &str)]| Apply { delete_others: false, ..apply(of) };
    assert_eq!(house.code_for(&olga, others(&[("kept", &signing)])).await, Code::Denied);
    assert_eq!(house.code_for(&olga, apply(&[("guards", kept)])).await, Code::Denied);
    house.call(&olga, others(&[("another", &signing), ("kept", NOBODY)])).await.unwrap();
}

#[tokio::test]
async fn nobody_is_locked_out_of_the_policies() {
    let house = House::new().await;
    let lock = "forbid (principal, action in Keyreeve::Action::\"access\", resource);\n";
    let from = |people: &str| format!("forbid (principal, action, resource) when {{ {people} }};\n");
    // One person can change policies: she cannot take that from herself.
    for text in [lock.to_owned(), from("principal.name == \"developer\"")] {
        let refused = house.call(&house.developer, apply(&[("lock", &text)])).await.unwrap_err();
        assert_eq!(refused.error.code(), Code::InvalidPolicy, "{text}");
        assert!(refused.error.public().contains("nobody could change policies"), "{}", refused.error.public());
        assert_eq!(house.code(Put { name: name("lock"), text }).await, Code::InvalidPolicy);
    }
    // Three can: two of them stay, not one. Services and the disabled do not count.
    for operator in ["olga", "oscar"] {
        house.ask(House::putting(operator, &["operator"])).await;
    }
    let disabled = PutSpec { disabled: true, ..House::person("otto", &["operator"]) };
    house.ask(PutPrincipal::new(disabled)).await;
    house.ask(apply(&[("one", &from("principal.name == \"olga\""))])).await;
    let two = from("principal.name == \"olga\" || principal.name == \"oscar\"");
    let refused = house.call(&house.developer, apply(&[("two", &two)])).await.unwrap_err();
    assert!(refused.error.public().contains("only 1 could change policies"), "{}", refused.error.public());
}

/// A row of policies that somebody with the database put back is not built upon.
#[tokio::test]
async fn nobody_locks_out_those_whose_roles_come_with_a_login() {
    use keyreeve_engine::ops::login::methods;
    use keyreeve_model::login::PrincipalRule;
    let house = House::new().await;
    let kind = crate::logins::kinds(&house).into_iter().find(|kind| kind.name() == "oidc").unwrap();
    let mut spec = crate::logins::spec(kind);
    let binding = &mut spec.bindings[0];
    (binding.principal, binding.roles) = (PrincipalRule::Fixed(name("gina")), [name("operator")].into());
    let method = house.ask(methods::Put { spec }).await.record.name;
    house.ask(House::putting("gina", &[])).await;
    let login = crate::logins::visited(&house, &method, crate::logins::claims(&house)).await;
    let gina = Who::Bearer(house.call(&Who::Nobody, login).await.unwrap().reply.issued.token);
    house.call(&gina, keyreeve_engine::ops::principals::Delete { name: name("developer") }).await.unwrap();
    // Nobody is left who could change policies by what is on record.
    for text in [
        "forbid (principal, action in Keyreeve::Action::\"access\", resource);\n",
        "forbid (principal, action, resource);",
    ] {
        assert_eq!(house.code_for(&gina, Put { name: name("lock"), text: text.to_owned() }).await, Code::InvalidPolicy);
    }
    house.call(&gina, Put { name: name("fine"), text: NOBODY.to_owned() }).await.unwrap();
}

#[tokio::test]
async fn rows_put_back_from_outside_are_noticed_and_can_be_mended() {
    let mut house = House::new().await;
    house.ask(apply(&[("a", NOBODY)])).await;
    let old = "SELECT record, mac, revision FROM policies WHERE name = 'a'";
    let row: (Vec<u8>, Vec<u8>, i64) =
        house.sql().query_row(old, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    house.ask(apply(&[("a", &signers("signer"))])).await;
    house.crash();
    house.sql().execute("UPDATE policies SET record = ?1, mac = ?2, revision = ?3", (row.0, row.1, row.2)).unwrap();
    house.reopen().await;
    assert_eq!(house.code(Put { name: name("b"), text: NOBODY.to_owned() }).await, Code::Tampered);
    assert_eq!(house.code(apply(&[("b", NOBODY)])).await, Code::Tampered);
    house.ask(rollback(2)).await;
    assert_eq!(stored(&house).await, texts(&[("a", &signers("signer"))]));
    house.ask(Put { name: name("b"), text: NOBODY.to_owned() }).await;
}

fn simulate(of: &[(&str, &str)]) -> Simulate {
    Simulate { policies: texts(of), delete_others: false, days: 30, before: None, limit: 50_000 }
}

/// All pages of a simulation, with the changed decisions of each.
async fn simulated(house: &House, simulate: Simulate) -> Vec<Simulated> {
    let (mut pages, mut before) = (Vec::new(), None);
    loop {
        let page = house.ask(Simulate { before, policies: simulate.policies.clone(), ..simulate }).await;
        before = page.next;
        pages.push(page);
        if before.is_none() {
            return pages;
        }
    }
}

#[tokio::test]
async fn a_draft_is_tried_on_the_requests_of_the_past() {
    let house = House::new().await;
    let key = house.aead().await;
    let writer = house.welcome(House::person("writer", &["key-user-encrypt"])).await;
    for _ in 0..3 {
        house.call(&writer, House::encrypting(&key, b"x")).await.unwrap();
    }
    assert_eq!(house.code_for(&writer, House::decrypting(&key, b"x")).await, Code::Denied);
    let no_writing = "forbid (principal in Keyreeve::Role::\"key-user-encrypt\", action, resource);\n";
    let reading = "permit (principal, action == Keyreeve::Action::\"key.decrypt\", resource)
        when { principal.name == \"writer\" };\n";
    let pages = simulated(&house, Simulate { limit: 4, ..simulate(&[("no-writing", no_writing)]) }).await;
    assert!(pages.len() > 1, "{pages:?}");
    let changed: u64 = pages.iter().map(|page| page.simulation.changed).sum();
    let groups: Vec<_> = pages.iter().flat_map(|page| &page.simulation.groups).collect();
    assert_eq!(changed, 3);
    assert_eq!(groups.iter().map(|group| group.count).sum::<u64>(), 3);
    for group in groups {
        assert_eq!((group.principal.as_str(), group.action.as_str(), group.kind), ("writer", "key.encrypt", "Key"));
        assert!(group.was.allowed && group.was.policies == ["key-user-encrypt"], "{group:?}");
        assert!(!group.would.allowed && group.would.policies == ["no-writing"], "{group:?}");
    }
    let [page] = &simulated(&house, simulate(&[("reading", reading)])).await[..] else { panic!("one page") };
    let [group] = &page.simulation.groups[..] else { panic!("{page:?}") };
    assert_eq!((group.action.as_str(), group.would.allowed, group.count), ("key.decrypt", true, 1));
    assert_eq!(page.simulation.differ_from_record, 0, "policies have not changed since");
    assert_eq!(stored(&house).await, BTreeMap::new(), "nothing was applied");
    // Roles change: what the present policies say now differs from what is on record.
    house.ask(House::putting("writer", &[])).await;
    let [page] = &simulated(&house, simulate(&[])).await[..] else { panic!("one page") };
    assert_eq!((page.simulation.differ_from_record, page.simulation.changed), (3, 0));
    assert_eq!(page.records, page.simulation.decided + page.not_rebuilt.values().sum::<u64>(), "{page:?}");
}

#[tokio::test]
async fn what_cannot_be_rebuilt_is_counted_and_days_are_days() {
    let house = House::new().await;
    let key = house.aead().await;
    let writer = house.welcome(House::person("writer", &["key-user-encrypt"])).await;
    house.call(&writer, House::encrypting(&key, b"x")).await.unwrap();
    house.ask(keyreeve_engine::ops::principals::Delete { name: name("writer") }).await;
    let [page] = &simulated(&house, simulate(&[])).await[..] else { panic!("one page") };
    assert_eq!(page.not_rebuilt.get("principal-unknown-now"), Some(&1), "{:?}", page.not_rebuilt);
    for days in [0, 91] {
        assert_eq!(house.code(Simulate { days, ..simulate(&[]) }).await, Code::InvalidRequest);
    }
    assert_eq!(house.code(simulate(&[("a", "permit (")])).await, Code::InvalidPolicy);
    house.pass(2 * 86_400_000).await;
    let before = simulated(&house, Simulate { days: 1, ..simulate(&[]) }).await;
    let records: u64 = before.iter().map(|page| page.records).sum();
    assert!(records < page.records, "{records} of {}", page.records);
}

#[tokio::test]
async fn requests_about_every_kind_of_thing_are_rebuilt() {
    let stage = Stage::new().await;
    let about =
        ["grant.describe", "incident.open", "incident.list", "hold.release", "login-method.put", "token.create"];
    for case in cases::all().filter(|case| about.contains(&case.name)) {
        assert_eq!((case.run)(&stage, &stage.house.developer).await.code, None, "{}", case.name);
    }
    let stop = "forbid (principal, action, resource);\n";
    let pages = simulated(&stage.house, simulate(&[("stop", stop)])).await;
    let groups: Vec<_> = pages.iter().flat_map(|page| &page.simulation.groups).collect();
    for (action, kind) in [
        ("grant.create", "Grant"),
        ("grant.describe", "Grant"),
        ("incident.open", "Case"),
        ("incident.list", "Case"),
        ("hold.release", "Case"),
        ("login-method.put", "Login"),
        ("token.create", "Token"),
    ] {
        let found = groups.iter().any(|group| group.action == action && group.kind == kind);
        assert!(found, "{action}: {groups:?}");
    }
}

#[tokio::test]
async fn what_a_grant_allowed_is_rebuilt_as_allowed() {
    use keyreeve_engine::ops::grants::{Create, Wanted};
    let house = House::new().await;
    let key = house.aead().await;
    let kind = keyreeve_model::PrincipalKind::Service;
    let batch = house.welcome(PutSpec { kind, ..House::person("batch", &[]) }).await;
    let what = Wanted::Key { key: key.clone(), operations: [name("key.encrypt")].into() };
    let (constraints, reason) = (Default::default(), label("test"));
    house.ask(Create { principal: name("batch"), what, constraints, not_before: None, seconds: 60, reason }).await;
    house.call(&batch, House::encrypting(&key, b"x")).await.unwrap();
    let [page] = &simulated(&house, simulate(&[])).await[..] else { panic!("one page") };
    assert_eq!((page.simulation.differ_from_record, page.simulation.changed), (0, 0), "{page:?}");
    let stop = "forbid (principal == Keyreeve::Principal::\"batch\", action, resource);\n";
    let [page] = &simulated(&house, simulate(&[("stop", stop)])).await[..] else { panic!("one page") };
    assert_eq!((page.simulation.changed, page.simulation.groups[0].action.as_str()), (1, "key.encrypt"));
}

async fn refusal<O: Operation>(house: &House, operation: O) -> Error {
    match house.call(&house.developer, operation).await {
        Ok(_) => panic!("{} was not refused", O::DESCRIPTOR.name),
        Err(refused) => refused.error,
    }
}

/// Texts that look like others on a screen: people would consent to what they do not see.
#[tokio::test]
async fn texts_that_mislead_whoever_reads_them_are_refused() {
    let house = House::new().await;
    for (hidden, told) in [("\r", "U+000D"), ("\u{202e}", "U+202E"), ("\u{2028}", "U+2028"), ("\u{200b}", "U+200B")] {
        let text = format!("// office hours, as agreed.{hidden}permit (principal, action, resource);\n{NOBODY}");
        let simulate =
            Simulate { policies: texts(&[("hours", &text)]), delete_others: true, days: 1, before: None, limit: 1 };
        let book = |more: &str| {
            let rule = |name: &str, operation: &str, more: &str| {
                let seats = "seats = [{ role = \"ciso\" }]";
                format!("[[rule]]\nname = \"{name}\"\noperations = [\"{operation}\"]\n{more}{seats}\n")
            };
            rule("rules", "rules.put", "") + &rule("r", "key.rotate", more)
        };
        let escaped = format!("when = \"// x\\u{:04X}(true)\"\n", u32::from(hidden.chars().next().unwrap()));
        let commented = format!("# x{hidden}y\n");
        let put = Put { name: name("hours"), text: text.clone() };
        for refused in [
            refusal(&house, put).await,
            refusal(&house, apply(&[("hours", &text)])).await,
            refusal(&house, simulate).await,
            refusal(&house, rules::Check { text: book(&escaped) }).await,
            refusal(&house, rules::Check { text: book(&commented) }).await,
        ] {
            assert_eq!(refused.code(), Code::InvalidRequest, "{refused:?}");
            assert!(refused.public().contains(told), "{refused:?}");
        }
    }
    house
        .ask(Put { name: name("hours"), text: format!("// office hours\r\n\t{}", NOBODY.replace('\n', "\r\n")) })
        .await;
}

/// What stands behind a comment that ends with a bare carriage return is counted, before anything recurses over it.
#[tokio::test]
async fn no_end_of_a_comment_gets_past_the_limits() {
    let house = House::new().await;
    let deep = "(".repeat(20_000);
    for end in ["\r", "\n", "\r\n"] {
        let text = format!("// x{end}permit (principal, action, resource) when {{ {deep}true }};");
        let code = house.code(Put { name: name("deep"), text }).await;
        assert!([Code::InvalidRequest, Code::InvalidPolicy].contains(&code), "{end:?}: {code:?}");
    }
}
