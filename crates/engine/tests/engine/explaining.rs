//! Why somebody may or may not: the answer is the one that the pipeline gives.

use keyreeve_engine::ops::cipher::ReEncrypt;
use keyreeve_engine::ops::explain::{Explain, Explained};
use keyreeve_engine::ops::policies;
use keyreeve_engine::ops::principals::{Put, PutSpec};
use keyreeve_engine::ops::tokens::WhoAmI;
use keyreeve_engine::{Arrival, Code, KeyRef};
use keyreeve_model::{EncryptionContext, PrincipalKind};
use keyreeve_policy::Method;

use crate::support::{House, context, name};

pub(crate) fn about(action: &str, resource: Option<String>) -> Explain {
    Explain {
        principal: name("writer"),
        action: action.to_owned(),
        resource,
        to: None,
        source: None,
        time: None,
        mfa_age_seconds: None,
        login: None,
        method: Method::Token,
        context: EncryptionContext::default(),
    }
}

fn on(action: &str, key: &KeyRef) -> Explain {
    about(action, Some(key.to_string()))
}

fn forbidding(policy: &str, condition: &str) -> policies::Put {
    let text =
        format!("forbid (principal, action == Keyreeve::Action::\"key.encrypt\", resource) when {{ {condition} }};");
    policies::Put { name: name(policy), text }
}

const TENANT_B: &str =
    r#"context.encryption_context.hasTag("tenant") && context.encryption_context.getTag("tenant") == "b""#;

#[tokio::test]
async fn policies_are_named_that_permit_or_forbid() {
    let house = House::new().await;
    let key = house.aead().await;
    house.ask(House::putting("writer", &["key-user-encrypt"])).await;
    let yes = house.ask(on("key.encrypt", &key)).await;
    assert!(yes.allowed && yes.missing.is_empty());
    let [(action, explanation)] = &yes.decisions[..] else { panic!("one decision") };
    assert_eq!((*action, explanation.decision.reasons[0].to_string()), ("key.encrypt", "key-user-encrypt".to_owned()));
    let no = house.ask(on("key.decrypt", &key)).await;
    assert!(!no.allowed && !no.missing.is_empty(), "{}", no.answer);
    house.ask(forbidding("tenants", TENANT_B)).await;
    let forbidden = house.ask(Explain { context: context(&[("tenant", "b")]), ..on("key.encrypt", &key) }).await;
    let by: Vec<String> = forbidden.decisions[0].1.decision.denied_by.iter().map(ToString::to_string).collect();
    assert_eq!((forbidden.allowed, &by[..]), (false, &["tenants".to_owned()][..]));
    assert_eq!(house.code(on("key.fly", &key)).await, Code::InvalidRequest);
    assert_eq!(house.code(about("key.encrypt", None)).await, Code::InvalidRequest);
    let vote = house.ask(about("approval.vote", Some(format!("apr_{}", "0".repeat(32))))).await;
    assert!(vote.answer.contains("There is no such approval"), "{}", vote.answer);
    assert_eq!(house.code(about("approval.vote", Some("first".to_owned()))).await, Code::InvalidRequest);
    let unknown = Explain { principal: name("nobody"), ..on("key.encrypt", &key) };
    assert_eq!(house.code(unknown).await, Code::NotFound);
}

#[tokio::test]
async fn networks_are_considered_as_at_the_door() {
    let house = House::new().await;
    let key = house.aead().await;
    let networks = ["10.1.0.0/16".to_owned(), "2001:db8::/32".to_owned()].into();
    let writer = house.welcome(PutSpec { networks, ..House::person("writer", &["key-user-encrypt"]) }).await;
    for source in ["10.1.2.3", "2001:db8::1", "10.2.0.1", "192.0.2.1"] {
        let source = source.parse().unwrap();
        let explained = house.ask(Explain { source: Some(source), ..on("key.encrypt", &key) }).await;
        let arrival = Arrival { source: Some(source), ..House::arrival(&writer) };
        let called = house.engine().call(arrival, House::encrypting(&key, b"x")).await;
        assert_eq!(explained.allowed, called.is_ok(), "{source}: {}", explained.answer);
        if !explained.allowed {
            assert!(explained.answer.contains("10.1.0.0/16, 2001:db8::/32 only"), "{}", explained.answer);
            assert!(explained.answer.contains(&source.to_string()) && explained.missing.len() == 1);
        }
    }
    let unsaid = house.ask(on("key.encrypt", &key)).await;
    assert!(unsaid.allowed && unsaid.answer.contains("Assumed to come from 10.1.0.0"), "{}", unsaid.answer);
    assert!(!house.ask(on("key.decrypt", &key)).await.allowed, "its own network permits nothing by itself");
}

#[tokio::test]
async fn who_is_disabled_is_refused_whatever_policies_say() {
    let house = House::new().await;
    let key = house.aead().await;
    let writer = || House::person("writer", &["key-user-encrypt"]);
    let who = house.welcome(writer()).await;
    for disabled in [false, true] {
        house.ask(Put::new(PutSpec { disabled, ..writer() })).await;
        let Explained { allowed, answer, missing, .. } = house.ask(on("key.encrypt", &key)).await;
        assert_eq!(allowed, house.call(&who, WhoAmI).await.is_ok());
        assert_eq!(allowed, !disabled);
        assert_eq!(answer.contains("principal-disabled"), disabled, "{answer}");
        assert_eq!(missing.iter().any(|entry| entry.contains("enabled")), disabled);
    }
}

#[tokio::test]
async fn both_halves_of_re_encryption_must_be_allowed() {
    let house = House::new().await;
    let (from, to) = (house.aead().await, house.aead().await);
    let ciphertext = house.encrypt(&from, b"x").await;
    for (roles, allowed) in [
        (&["key-user-encrypt"][..], false),
        (&["key-user-decrypt"], false),
        (&["key-user-encrypt", "key-user-decrypt"], true),
    ] {
        let who = house.welcome(House::person("writer", roles)).await;
        let question = Explain { to: Some(to.to_string()), ..on("key.re-encrypt-from", &from) };
        let explained = house.ask(question).await;
        let actions: Vec<&str> = explained.decisions.iter().map(|(action, _)| *action).collect();
        assert_eq!(actions, ["key.re-encrypt-from", "key.re-encrypt-to"]);
        assert_eq!(explained.allowed, allowed, "{roles:?}: {}", explained.answer);
        assert_eq!(explained.missing.is_empty(), allowed);
        let moved = ReEncrypt {
            from: from.clone(),
            to: to.clone(),
            from_context: EncryptionContext::default(),
            to_context: EncryptionContext::default(),
            items: [ciphertext.clone()].into(),
        };
        assert_eq!(house.call(&who, moved).await.is_ok(), allowed, "{roles:?}");
    }
    assert_eq!(house.code(on("key.re-encrypt-from", &from)).await, Code::InvalidRequest, "half an answer is none");
    let superfluous = Explain { to: Some(to.to_string()), ..on("key.encrypt", &from) };
    assert_eq!(house.code(superfluous).await, Code::InvalidRequest);
}

#[tokio::test]
async fn the_way_of_proof_and_what_does_not_exist_yet_are_considered() {
    let house = House::new().await;
    let key = house.aead().await;
    house.ask(House::putting("writer", &["key-user-encrypt", "operator"])).await;
    house.ask(forbidding("no-tokens", "context.method == \"token\"")).await;
    assert!(!house.ask(on("key.encrypt", &key)).await.allowed);
    assert!(house.ask(Explain { method: Method::MutualTls, ..on("key.encrypt", &key) }).await.allowed);
    let token = house.ask(about("token.create", Some("somebody".to_owned()))).await;
    assert!(token.allowed, "{}", token.answer);
    let update = house.ask(on("key.update", &key)).await;
    assert!(update.answer.contains("what the change would make of it"), "{}", update.answer);
    let absent = house.ask(about("key.decrypt", Some("no-such-key".to_owned()))).await;
    assert!(!absent.allowed && absent.answer.contains("no such key"), "{}", absent.answer);
    house.ask(Put::new(PutSpec { kind: PrincipalKind::Person, ..House::person("writer", &["key-admin"]) })).await;
    let made = house.ask(about("key.create", Some("default".to_owned()))).await;
    assert!(made.allowed && !made.answer.contains("no such"), "{}", made.answer);
    let made = house.ask(about("key.create", Some("nowhere".to_owned()))).await;
    assert!(made.answer.contains("no such keyring"), "{}", made.answer);
}
