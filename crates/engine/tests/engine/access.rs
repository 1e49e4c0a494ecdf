//! Who comes in and what is allowed: everything that takes a right away works with the very next request.

use keyreeve_engine::ops::principals::{self, Delete, Put, PutSpec};
use keyreeve_engine::ops::tokens::{self, Revoke, WhoAmI};
use keyreeve_engine::ops::{cipher::Encrypt, policies};
use keyreeve_engine::{Arrival, Code, Evidence, KeyRef, PeerCertificate};
use keyreeve_model::access::CertificateRule;
use keyreeve_model::{EncryptionContext, Name, TokenId};
use keyreeve_secret::SecretString;
use std::net::IpAddr;
use std::sync::Arc;

use crate::support::{House, Who, context, label, name, payloads};

fn encrypting(key: &KeyRef, context: EncryptionContext) -> Encrypt {
    Encrypt { key: key.clone(), context, items: payloads(&[b"x"]) }
}

async fn identity(house: &House, who: &Who) -> tokens::Identity {
    house.call(who, WhoAmI).await.unwrap().reply
}

async fn id(house: &House, who: &Who) -> TokenId {
    identity(house, who).await.token.unwrap()
}

#[tokio::test]
async fn a_token_ends_at_its_time_and_not_before() {
    let house = House::new().await;
    house.ask(House::putting("guest", &[])).await;
    let create = |seconds| tokens::Create {
        principal: name("guest"),
        seconds,
        description: label("t"),
        networks: Default::default(),
    };
    for seconds in [0, 59, 366 * 86_400 + 1] {
        assert_eq!(house.code(create(seconds)).await, Code::InvalidRequest);
    }
    let guest = Who::Bearer(house.ask(create(60)).await.token);
    house.clock.turn(59_999);
    identity(&house, &guest).await;
    house.clock.turn(1);
    assert_eq!(house.code_for(&guest, WhoAmI).await, Code::Unauthenticated);
    house.pass(1).await;
    assert_eq!(house.code_for(&guest, WhoAmI).await, Code::Unauthenticated);
    assert_eq!(house.ask(tokens::List { after: None, limit: 10 }).await.items.len(), 1, "ended tokens are tidied up");
}

#[tokio::test]
async fn a_revoked_token_ends_at_once_and_the_others_do_not() {
    let mut house = House::new().await;
    let first = house.welcome(House::person("guest", &[])).await;
    let second = house.token_for("guest").await;
    let token = id(&house, &first).await;
    house.ask(Revoke { token }).await;
    assert_eq!(house.code_for(&first, WhoAmI).await, Code::Unauthenticated);
    identity(&house, &second).await;
    assert_eq!(house.code(Revoke { token }).await, Code::WrongState);
    house.reopen().await;
    assert_eq!(house.code_for(&first, WhoAmI).await, Code::Unauthenticated);
    identity(&house, &second).await;
}

#[tokio::test]
async fn nothing_but_the_whole_right_token_comes_in_and_all_wrong_ones_hear_the_same() {
    let house = House::new().await;
    let guest = house.welcome(House::person("guest", &[])).await;
    let other = house.welcome(House::person("other", &[])).await;
    let (id_part, _) = guest.token().rsplit_once('_').unwrap();
    let (_, foreign) = other.token().rsplit_once('_').unwrap();
    let unknown = format!("krt_{}_{foreign}", "0".repeat(32));
    let wrong = [
        format!("{id_part}_{foreign}"),
        unknown,
        guest.token().to_uppercase(),
        guest.token()[..guest.token().len() - 1].to_owned(),
        format!("{}0", guest.token()),
        String::new(),
        "krt_".to_owned(),
    ];
    let mut texts = std::collections::BTreeSet::new();
    for text in wrong {
        let who = Who::Bearer(SecretString::from(text.clone()));
        let refused = house.call(&who, WhoAmI).await.unwrap_err();
        assert_eq!(refused.error.code(), Code::Unauthenticated, "{text}");
        texts.insert(refused.error.public().to_owned());
    }
    assert_eq!(texts.len(), 1);
    identity(&house, &guest).await;
}

#[tokio::test]
async fn a_disabled_principal_is_out_at_once_and_back_when_enabled() {
    let house = House::new().await;
    let guest = house.welcome(House::person("guest", &[])).await;
    identity(&house, &guest).await;
    house.ask(Put::new(PutSpec { disabled: true, ..House::person("guest", &[]) })).await;
    assert_eq!(house.code_for(&guest, WhoAmI).await, Code::Unauthenticated);
    house.ask(House::putting("guest", &[])).await;
    identity(&house, &guest).await;
}

#[tokio::test]
async fn a_removed_principals_tokens_stay_dead_whoever_takes_the_name() {
    let mut house = House::new().await;
    let guest = house.welcome(House::person("guest", &[])).await;
    identity(&house, &guest).await;
    house.ask(Delete { name: name("guest") }).await;
    assert_eq!(house.code_for(&guest, WhoAmI).await, Code::Unauthenticated);
    let issue =
        tokens::Create { principal: name("guest"), seconds: 60, description: label("t"), networks: Default::default() };
    assert_eq!(house.code(issue).await, Code::NotFound);
    house.clock.turn(1);
    let namesake = house.welcome(House::person("guest", &["developer"])).await;
    assert_eq!(identity(&house, &namesake).await.roles, ["developer"]);
    for _ in 0..2 {
        assert_eq!(house.code_for(&guest, WhoAmI).await, Code::Unauthenticated, "a token of somebody who is gone");
        house.reopen().await;
    }
    assert_eq!(house.code(Delete { name: name("developer") }).await, Code::WrongState, "nobody removes themselves");
}

#[tokio::test]
async fn roles_taken_away_are_gone_with_the_next_request() {
    let house = House::new().await;
    let key = house.aead().await;
    let guest = house.welcome(House::person("guest", &["key-user-encrypt"])).await;
    for _ in 0..3 {
        house.call(&guest, encrypting(&key, EncryptionContext::default())).await.unwrap();
        house.ask(House::putting("guest", &[])).await;
        assert_eq!(house.code_for(&guest, encrypting(&key, EncryptionContext::default())).await, Code::Denied);
        house.ask(House::putting("guest", &["key-user-encrypt"])).await;
    }
}

#[tokio::test]
async fn a_principal_bound_to_networks_comes_from_them_only() {
    let house = House::new().await;
    let mut bound = House::person("guest", &[]);
    bound.networks = ["10.1.0.0/16".to_owned(), "2001:db8::/32".to_owned()].into();
    let guest = house.welcome(bound).await;
    let from = async |source: Option<&str>| {
        let source: Option<IpAddr> = source.map(|text| text.parse().unwrap());
        house.engine().call(Arrival { source, ..House::arrival(&guest) }, WhoAmI).await.is_ok()
    };
    assert!(from(Some("10.1.255.255")).await && from(Some("2001:db8::1")).await);
    for elsewhere in [Some("10.2.0.0"), Some("2001:db9::1"), Some("127.0.0.1"), None] {
        assert!(!from(elsewhere).await, "{elsewhere:?}");
    }
    let mut wrong = House::person("wrong", &[]);
    wrong.networks = ["10.1.0.0/33".to_owned()].into();
    assert_eq!(house.code(Put::new(wrong)).await, Code::InvalidRequest);
}

fn certificate(fingerprint: u8, dns_names: &[&str], uris: &[&str]) -> PeerCertificate {
    let texts = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
    let valid = (keyreeve_model::UnixMillis(0), keyreeve_model::UnixMillis(i64::MAX));
    PeerCertificate {
        fingerprint: [fingerprint; 32],
        dns_names: texts(dns_names),
        uris: texts(uris),
        authorities: Vec::new(),
        valid,
    }
}

async fn certified(house: &House, certificate: PeerCertificate) -> Result<Name, Code> {
    let arrival = Arrival { evidence: Evidence::Certificate(Arc::new(certificate)), ..House::arrival(&Who::Nobody) };
    let called = house.engine().call(arrival, WhoAmI).await;
    called.map(|done| done.reply.principal).map_err(|refused| refused.error.code())
}

#[tokio::test]
async fn certificates_prove_whom_they_were_given_to() {
    let house = House::new().await;
    let holder =
        |text: &str, rule: CertificateRule| PutSpec { certificates: [rule].into(), ..House::person(text, &[]) };
    house.ask(Put::new(holder("pinned", CertificateRule::Fingerprint("07".repeat(32))))).await;
    house.ask(Put::new(holder("service", CertificateRule::DnsName("shop.example".into())))).await;
    house.ask(Put::new(holder("workload", CertificateRule::Uri("spiffe://example/shop".into())))).await;
    assert_eq!(certified(&house, certificate(7, &[], &[])).await, Ok(name("pinned")));
    assert_eq!(certified(&house, certificate(1, &["a.example", "shop.example"], &[])).await, Ok(name("service")));
    assert_eq!(certified(&house, certificate(1, &[], &["spiffe://example/shop"])).await, Ok(name("workload")));
    let all = certificate(7, &["shop.example"], &["spiffe://example/shop"]);
    assert_eq!(certified(&house, all).await, Ok(name("pinned")), "the most particular rule goes first");
    for stranger in [certificate(1, &[], &[]), certificate(1, &["SHOP.example.evil"], &["spiffe://example/shop/x"])] {
        assert_eq!(certified(&house, stranger).await, Err(Code::Unauthenticated));
    }
    let thief = holder("thief", CertificateRule::DnsName("shop.example".into()));
    assert_eq!(house.code(Put::new(thief)).await, Code::AlreadyExists);
    let malformed = holder("x", CertificateRule::Fingerprint("07".into()));
    assert_eq!(house.code(Put::new(malformed)).await, Code::InvalidRequest);
    let rule = CertificateRule::DnsName("shop.example".into());
    house.ask(Put::new(PutSpec { disabled: true, ..holder("service", rule) })).await;
    assert_eq!(certified(&house, certificate(1, &["shop.example"], &[])).await, Err(Code::Unauthenticated));
    let record = house.records().await.into_iter().rfind(|record| record.actor.principal == "pinned").unwrap();
    assert_eq!(record.actor.method, keyreeve_audit::Method::Mtls);
}

fn policy(text: &str, cedar: &str) -> policies::Put {
    policies::Put { name: name(text), text: cedar.to_owned() }
}

const NO_EXPORT_OF_B: &str = r#"forbid (principal, action == Keyreeve::Action::"key.encrypt", resource)
    when { context.encryption_context.hasTag("tenant") && context.encryption_context.getTag("tenant") == "b" };"#;

#[tokio::test]
async fn a_policy_takes_effect_with_the_very_next_request() {
    let mut house = House::new().await;
    let key = house.aead().await;
    let (a, b) = (context(&[("tenant", "a")]), context(&[("tenant", "b")]));
    for _ in 0..3 {
        for allowed in [&a, &b] {
            house.ask(encrypting(&key, allowed.clone())).await;
        }
        house.ask(policy("tenants", NO_EXPORT_OF_B)).await;
        house.ask(encrypting(&key, a.clone())).await;
        assert_eq!(house.code(encrypting(&key, b.clone())).await, Code::Denied);
        house.ask(policies::Delete { name: name("tenants"), base: None }).await;
    }
    house.ask(policy("tenants", NO_EXPORT_OF_B)).await;
    house.reopen().await;
    assert_eq!(house.code(encrypting(&key, b)).await, Code::Denied, "and stays");
}

#[tokio::test]
async fn a_policy_that_does_not_hold_is_refused_and_the_old_ones_stay() {
    let house = House::new().await;
    let key = house.aead().await;
    house.ask(policy("tenants", NO_EXPORT_OF_B)).await;
    for wrong in [
        "permit (principal, action, resource",
        "permit (principal, action == Keyreeve::Action::\"key.steal\", resource);",
        "permit (principal, action, resource) when { resource.colour == \"red\" };",
        "permit (principal, action, resource) when { context.time > \"noon\" };",
    ] {
        assert_eq!(house.code(policy("tenants", wrong)).await, Code::InvalidPolicy, "{wrong}");
    }
    assert_eq!(house.code(policy("tenants", &" ".repeat(65 * 1024))).await, Code::TooLarge);
    let refused = house.code(encrypting(&key, context(&[("tenant", "b")]))).await;
    assert_eq!(refused, Code::Denied, "the old policy is in force");
    let stored = house.ask(policies::Describe { name: name("tenants") }).await;
    assert_eq!(stored.text, NO_EXPORT_OF_B);
    for shipped in ["key-admin", "self", "bootstrap", "development"] {
        assert_eq!(house.code(policy(shipped, NO_EXPORT_OF_B)).await, Code::AlreadyExists, "{shipped}");
        assert_eq!(
            house.code(policies::Delete { name: name(shipped), base: None }).await,
            Code::AlreadyExists,
            "{shipped}"
        );
    }
}

#[tokio::test]
async fn what_is_not_there_looks_like_what_is_not_allowed() {
    let house = House::new().await;
    let key = house.aead().await;
    let guest = house.welcome(House::person("guest", &[])).await;
    let absent: KeyRef = "no-such-key".parse().unwrap();
    for wanted in [&key, &absent] {
        let refused = house.call(&guest, House::encrypting(wanted, b"x")).await.unwrap_err();
        assert_eq!(refused.error.code(), Code::Denied);
    }
    assert_eq!(house.code(House::encrypting(&absent, b"x")).await, Code::NotFound);
    assert_eq!(house.code(principals::Describe { name: name("no-one") }).await, Code::NotFound);
}

#[tokio::test]
async fn names_with_a_meaning_of_their_own_are_not_given_away() {
    let house = House::new().await;
    for reserved in ["system", "anonymous", "unknown"] {
        assert_eq!(house.code(House::putting(reserved, &["developer"])).await, Code::InvalidRequest);
    }
}

#[tokio::test]
async fn nobody_takes_away_their_own_roles() {
    let house = House::new().await;
    // The house's first principal is the developer, who asks here.
    assert_eq!(house.code(House::putting("developer", &["key-admin"])).await, Code::WrongState);
    assert_eq!(house.code(House::putting("developer", &[])).await, Code::WrongState);
    house.ask(House::putting("developer", &["developer", "operator"])).await;
}
