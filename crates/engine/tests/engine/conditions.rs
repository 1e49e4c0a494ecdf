//! Conditions that policies can set, each on a request that meets it and on one that does not.

use keyreeve_crypto::KeyAlgorithm;
use keyreeve_engine::ops::explain::Explain;
use keyreeve_engine::ops::policies::Put;
use keyreeve_engine::{Arrival, Code, KeyRef};
use keyreeve_model::{Classification, KeyMetadata};

use crate::support::{House, Who, context, create, key_of, label, name, payloads};

/// Forbids encryption unless the condition holds.
async fn only_when(house: &House, condition: &str) {
    let action = "action == Keyreeve::Action::\"key.encrypt\"";
    let text = format!("forbid (principal, {action}, resource) unless {{ {condition} }};");
    house.ask(Put { name: name("condition"), text }).await;
}

async fn writer(house: &House) -> Who {
    house.welcome(House::person("writer", &["key-user-encrypt"])).await
}

async fn encrypts(house: &House, who: &Who, key: &KeyRef) -> bool {
    match house.call(who, House::encrypting(key, b"x")).await {
        Ok(_) => true,
        Err(refused) => {
            assert_eq!(refused.error.code(), Code::Denied);
            false
        }
    }
}

#[tokio::test]
async fn time_of_day() {
    let house = House::new().await;
    let (key, who) = (house.aead().await, writer(&house).await);
    // Every house begins at 08:00 in UTC, which is 09:00 in its office.
    let local = "context.time.offset(duration(\"1h\")).toTime()";
    only_when(&house, &format!("{local} >= duration(\"9h\") && {local} < duration(\"18h\")")).await;
    let hour = 3_600_000;
    for (passes, open) in [(0, true), (9 * hour - 1, true), (1, false), (14 * hour, false), (hour, true)] {
        house.clock.turn(passes);
        assert_eq!(encrypts(&house, &who, &key).await, open, "{passes}");
    }
}

#[tokio::test]
async fn source_network() {
    let house = House::new().await;
    let (key, who) = (house.aead().await, writer(&house).await);
    only_when(&house, "context has source_ip && context.source_ip.isInRange(ip(\"10.1.0.0/16\"))").await;
    for (source, inside) in [("10.1.2.3", true), ("10.2.0.1", false), ("2001:db8::1", false)] {
        let arrival = Arrival { source: Some(source.parse().unwrap()), ..House::arrival(&who) };
        let called = house.engine().call(arrival, House::encrypting(&key, b"x")).await;
        assert_eq!(called.is_ok(), inside, "{source}");
    }
    let nowhere = Arrival { source: None, ..House::arrival(&who) };
    assert!(house.engine().call(nowhere, House::encrypting(&key, b"x")).await.is_err());
}

async fn key_with(house: &House, metadata: KeyMetadata) -> KeyRef {
    key_of(&house.make(keyreeve_engine::ops::keys::CreateSpec { metadata, ..create(KeyAlgorithm::Xaes256Gcm) }).await)
}

#[tokio::test]
async fn labels() {
    let house = House::new().await;
    let who = writer(&house).await;
    let labelled =
        |value: &str| KeyMetadata { labels: [(name("tier"), label(value))].into(), ..KeyMetadata::default() };
    let (gold, lead) = (key_with(&house, labelled("gold")).await, key_with(&house, labelled("lead")).await);
    let plain = house.aead().await;
    only_when(&house, "resource.hasTag(\"tier\") && resource.getTag(\"tier\") == \"gold\"").await;
    assert!(encrypts(&house, &who, &gold).await);
    assert!(!encrypts(&house, &who, &lead).await && !encrypts(&house, &who, &plain).await);
}

#[tokio::test]
async fn classification() {
    let house = House::new().await;
    let who = writer(&house).await;
    let classed = |classification| KeyMetadata { classification, ..KeyMetadata::default() };
    let low = key_with(&house, classed(Classification::Internal)).await;
    let high = key_with(&house, classed(Classification::Confidential)).await;
    only_when(&house, "resource.classification < 3").await;
    assert!(encrypts(&house, &who, &low).await && !encrypts(&house, &who, &high).await);
}

#[tokio::test]
async fn encryption_context() {
    let house = House::new().await;
    let (key, who) = (house.aead().await, writer(&house).await);
    let tenant = "context.encryption_context.hasTag(\"tenant\") &&
                  context.encryption_context.getTag(\"tenant\") == \"a\"";
    only_when(&house, tenant).await;
    for (pairs, fits) in [(&[("tenant", "a")][..], true), (&[("tenant", "b")], false), (&[], false)] {
        let items = payloads(&[b"x"]);
        let encrypt = keyreeve_engine::ops::cipher::Encrypt { key: key.clone(), context: context(pairs), items };
        assert_eq!(house.call(&who, encrypt).await.is_ok(), fits, "{pairs:?}");
    }
}

/// The age of the second factor and the login method, asked about: sessions with real ones are tested where people log
/// in.
#[tokio::test]
async fn age_of_the_second_factor_and_login_method() {
    let house = House::new().await;
    let (key, _) = (house.aead().await, writer(&house).await);
    only_when(&house, "context has mfa_age_seconds && context.mfa_age_seconds <= 900").await;
    let asked = |mfa_age_seconds, login: Option<&str>| Explain {
        mfa_age_seconds,
        login: login.map(name),
        ..crate::explaining::about("key.encrypt", Some(key.to_string()))
    };
    for (age, young) in [(Some(0), true), (Some(900), true), (Some(901), false), (Some(u64::MAX), false), (None, false)]
    {
        assert_eq!(house.ask(asked(age, None)).await.allowed, young, "{age:?}");
    }
    only_when(&house, "context has login && context.login == \"sso\"").await;
    for (login, fits) in [(Some("sso"), true), (Some("ldap"), false), (None, false)] {
        assert_eq!(house.ask(asked(None, login)).await.allowed, fits, "{login:?}");
    }
}

/// A policy about what a principal is given sees it as it shall be, also when it is made.
#[tokio::test]
async fn networks_that_a_principal_is_given() {
    use keyreeve_engine::ops::SetPatch;
    use keyreeve_engine::ops::principals::{PrincipalPatch, Put as PutPrincipal, PutSpec, Update};
    let house = House::new().await;
    let text = "forbid (principal, action == Keyreeve::Action::\"principal.put\", resource)
        when { resource.networks.contains(ip(\"0.0.0.0/0\")) };";
    house.ask(Put { name: name("no-open-doors"), text: text.to_owned() }).await;
    let from = |network: &str| {
        PutPrincipal::new(PutSpec { networks: [network.to_owned()].into(), ..House::person("writer", &[]) })
    };
    assert_eq!(house.code(from("0.0.0.0/0")).await, Code::Denied);
    house.ask(from("10.0.0.0/8")).await;
    let networks = SetPatch::Replace(["0.0.0.0/0".to_owned()].into());
    let patch = PrincipalPatch { networks, ..PrincipalPatch::default() };
    assert_eq!(house.code(Update { name: name("writer"), patch }).await, Code::Denied);
    assert_eq!(house.code(from("anywhere")).await, Code::InvalidRequest);
}
