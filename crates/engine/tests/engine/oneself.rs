//! Who alters themselves is asked about as any other: for what they would become.

use keyreeve_engine::Code;
use keyreeve_engine::ops::principals::{Describe, PrincipalPatch, Update};
use keyreeve_engine::ops::{LabelPatch, SetPatch, policies};
use std::collections::{BTreeMap, BTreeSet};

use crate::support::{Council, House, label, name};

fn with_role(person: &str, role: &str) -> Update {
    let roles = SetPatch::Alter { add: [name(role)].into(), remove: BTreeSet::new() };
    Update { name: name(person), patch: PrincipalPatch { roles, ..PrincipalPatch::default() } }
}

#[tokio::test]
async fn nobody_gets_a_role_of_governance_more_easily_for_themselves() {
    let council = Council::new().await;
    let (house, olga) = (&council.house, &council.olga);
    let wanted = ["ciso", "security-lead", "peer of the proposer"];
    let altered = olga.waits(house, with_role("olga", "ciso")).await;
    assert_eq!(house.shown(altered).await.proposal.missing(), wanted);
    let replaced = olga.waits(house, House::putting("olga", &["operator", "ciso"])).await;
    assert_eq!(house.shown(replaced).await.proposal.missing(), wanted);
    let plain = olga.waits(house, with_role("olga", "key-auditor")).await;
    assert_eq!(house.shown(plain).await.proposal.missing(), wanted[1..], "as for anybody else");
}

#[tokio::test]
async fn policies_about_what_a_principal_becomes_hold_for_oneself_too() {
    let house = House::new().await;
    let text = r#"permit (principal in Keyreeve::Role::"helper", action == Keyreeve::Action::"principal.put", resource)
        unless { resource in Keyreeve::Role::"operator" };
        forbid (principal, action == Keyreeve::Action::"principal.put", resource)
        when { resource.hasTag("trusted") };"#;
    house.ask(policies::Put { name: name("helpers"), text: text.to_owned() }).await;
    let helper = house.welcome(House::person("helper", &["helper"])).await;
    assert_eq!(house.code_for(&helper, with_role("helper", "operator")).await, Code::Denied);
    let spec = House::putting("helper", &["helper", "operator"]);
    assert_eq!(house.code_for(&helper, spec).await, Code::Denied);
    let set = BTreeMap::from([(name("trusted"), label("yes"))]);
    let labels = LabelPatch::Alter { set, remove: BTreeSet::new() };
    let trusted = Update { name: name("helper"), patch: PrincipalPatch { labels, ..PrincipalPatch::default() } };
    assert_eq!(house.code_for(&helper, trusted).await, Code::Denied);
    house.call(&helper, with_role("helper", "key-auditor")).await.expect("what may be done to anybody");
    let own = Describe { name: name("helper") };
    assert_eq!(house.code_for(&helper, own).await, Code::Denied, "no policy says so");
}
