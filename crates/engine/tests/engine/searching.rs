//! Searching the audit log by what people call things.

use keyreeve_engine::Code;
use keyreeve_engine::ops::SetPatch;
use keyreeve_engine::ops::audit::{AuditQuery, Search};
use keyreeve_engine::ops::keys::{self, MetadataPatch};
use keyreeve_engine::ops::principals::Delete;
use keyreeve_model::UnixMillis;
use std::collections::BTreeSet;

use crate::support::{House, name};

fn about(resource: &str) -> Search {
    let query = AuditQuery { resource: Some(resource.to_owned()), ..AuditQuery::default() };
    Search { query, from: None, until: None, before: None, limit: 100 }
}

async fn operations(house: &House, resource: &str) -> Vec<String> {
    let found = house.ask(about(resource)).await;
    found.records.into_iter().rev().map(|(_, record)| record.operation).collect()
}

#[tokio::test]
async fn an_alias_leads_to_all_records_of_its_key() {
    let house = House::new().await;
    let (key, other) = (house.aead().await, house.aead().await);
    let aliased = |add: &[&str], remove: &[&str]| {
        let set = |texts: &[&str]| texts.iter().map(|text| name(text)).collect::<BTreeSet<_>>();
        MetadataPatch { aliases: SetPatch::Alter { add: set(add), remove: set(remove) }, ..MetadataPatch::default() }
    };
    house.ask(keys::Update { key: key.clone(), patch: aliased(&["orders"], &[]) }).await;
    house.encrypt(&"orders".parse().unwrap(), b"x").await;
    house.encrypt(&other, b"x").await;
    let wanted = ["key.create", "key.update", "key.encrypt"];
    assert_eq!(operations(&house, "orders").await, wanted, "also of the time before the alias");
    assert_eq!(operations(&house, &key.to_string()).await, wanted);
    house.ask(keys::Update { key: key.clone(), patch: aliased(&[], &["orders"]) }).await;
    assert_eq!(operations(&house, "orders").await, ["key.update"; 2], "the comings and goings of the alias stay");
    assert_eq!(operations(&house, &key.to_string()).await.len(), 4);
    let refused = house.call(&house.developer, about("ordres")).await.unwrap_err().error;
    assert_eq!(refused.code(), Code::NotFound);
    assert!(refused.public().contains("key list --text ordres"), "{}", refused.public());
}

#[tokio::test]
async fn a_search_tells_which_key_has_the_alias_now_and_finds_which_had_it() {
    let house = House::new().await;
    let (first, second) = (house.aead().await, house.aead().await);
    let aliased = |aliases: &[&str]| MetadataPatch {
        aliases: SetPatch::Replace(aliases.iter().map(|text| name(text)).collect()),
        ..MetadataPatch::default()
    };
    house.ask(keys::Update { key: first.clone(), patch: aliased(&["orders"]) }).await;
    house.ask(keys::Update { key: first.clone(), patch: aliased(&[]) }).await;
    house.ask(keys::Update { key: second.clone(), patch: aliased(&["orders"]) }).await;
    let found = house.ask(about("orders")).await;
    assert_eq!(found.also_called, [second.to_string()]);
    let keys: BTreeSet<String> = found.records.iter().map(|(_, record)| record.resource.clone().unwrap().id).collect();
    assert_eq!(keys, BTreeSet::from([first.to_string(), second.to_string()]));
    assert!(house.ask(about(&first.to_string())).await.also_called.is_empty(), "an id stands for itself");
}

#[tokio::test]
async fn names_of_other_things_and_of_what_is_gone_are_searched_for_as_they_are() {
    let house = House::new().await;
    house.ask(House::putting("guest", &[])).await;
    house.ask(Delete { name: name("guest") }).await;
    assert_eq!(operations(&house, "guest").await, ["principal.put", "principal.delete"]);
    house.aead().await;
    assert_eq!(operations(&house, "default").await, ["key.create"], "a keyring's name stands for its keys");
    let nothing_yet = Search { until: Some(UnixMillis(0)), ..about("developer") };
    assert!(house.ask(nothing_yet).await.records.is_empty(), "what is known is no error where nothing was done to it");
    assert_eq!(house.code(about("no-such-thing")).await, Code::NotFound);
    let later = Search { before: Some(1), ..about("no-such-thing") };
    assert!(house.ask(later).await.records.is_empty(), "a later page is just empty");
}
