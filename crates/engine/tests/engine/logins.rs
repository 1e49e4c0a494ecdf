//! Logging in: who is let in, what a session is, what does not count again, and how failures are answered.

use keyreeve_audit::Record;
use keyreeve_engine::ops::login::credential::{self, HandedOver, IssueSpec};
use keyreeve_engine::ops::login::methods::{self, MethodSpec};
use keyreeve_engine::ops::login::{LoggedIn, certificate, jwt, ldap, oidc, session};
use keyreeve_engine::ops::rules::Enact;
use keyreeve_engine::ops::{mfa, principals, tokens};
use keyreeve_engine::{Arrival, Code, Done, Evidence, Operation, PeerCertificate, Refused};
use keyreeve_model::login::{
    Binding, CertificateMethod, ClientAuth, Digest, JwsAlgorithm, JwtKeys, JwtMethod, LdapGroups, LdapMethod,
    MethodKind, OidcMethod, PrincipalRule, Provision, Reuse, SubjectRule,
};
use keyreeve_model::{Name, Notice, NoticeKind, UnixMillis};
use keyreeve_secret::SecretString;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::cases::mfa::enrol;
use crate::support::{CLIENT, Council, House, ISSUER, Who, label, name, waiting};

fn set(values: &[&str]) -> BTreeSet<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn oidc_kind() -> OidcMethod {
    OidcMethod {
        issuer: ISSUER.into(),
        client_id: CLIENT.into(),
        client_secret: None,
        client_auth: ClientAuth::Basic,
        redirect_uris: set(&["https://keys.example/callback"]),
        scopes: set(&["groups"]),
        algorithms: BTreeSet::from([JwsAlgorithm::EdDsa]),
        skew_s: 60,
        max_auth_age_s: None,
        mfa_values: set(&["otp"]),
        ca_pem: None,
    }
}

fn jwt_kind(keys: JwtKeys) -> JwtMethod {
    JwtMethod {
        issuer: ISSUER.into(),
        keys,
        algorithms: BTreeSet::from([JwsAlgorithm::EdDsa]),
        skew_s: 60,
        max_life_s: 3600,
        reuse: Reuse::Refused,
        outlast: false,
        ca_pem: None,
    }
}

fn ldap_kind() -> LdapMethod {
    LdapMethod {
        url: "ldaps://ldap.example:636".into(),
        starttls: false,
        ca_pem: None,
        bind_dn: Some("cn=search".into()),
        bind_password: None,
        base: "dc=example".into(),
        filter: "(uid={user})".into(),
        user_attribute: "uid".into(),
        groups: LdapGroups::Attribute("memberOf".into()),
    }
}

/// A method of each kind.
pub(crate) fn kinds(house: &House) -> Vec<MethodKind> {
    vec![
        MethodKind::Jwt(jwt_kind(JwtKeys::Static(house.outside.jwks()))),
        MethodKind::Oidc(oidc_kind()),
        MethodKind::Ldap(ldap_kind()),
        MethodKind::Certificate(CertificateMethod {
            uri_prefixes: set(&["spiffe://prod.example/"]),
            dns_suffixes: BTreeSet::new(),
            authorities: BTreeSet::new(),
        }),
    ]
}

/// Whoever it is becomes `alice` if a program, `ann` if a person; they are made when they first come.
pub(crate) fn spec(kind: MethodKind) -> MethodSpec {
    let who = if matches!(kind, MethodKind::Oidc(_) | MethodKind::Ldap(_)) { "ann" } else { "alice" };
    let audiences = if matches!(kind, MethodKind::Jwt(_)) { set(&["keyreeve"]) } else { BTreeSet::new() };
    let binding = Binding {
        name: name("everybody"),
        subject: if matches!(kind, MethodKind::Jwt(_)) { SubjectRule::Glob("*".into()) } else { SubjectRule::Any },
        claims: BTreeMap::new(),
        audiences,
        principal: PrincipalRule::Fixed(name(who)),
        roles: BTreeSet::new(),
        group_claim: "groups".into(),
        role_from_group: BTreeMap::new(),
        networks: BTreeSet::new(),
    };
    MethodSpec {
        name: name(&format!("by-{}", kind.name())),
        kind,
        bindings: vec![binding],
        provision: Provision::Create,
        ttl_s: 3600,
        renew_s: 7200,
        networks: BTreeSet::new(),
        disabled: false,
    }
}

/// Makes a program known.
pub(crate) fn program(text: &str, roles: &[&str]) -> principals::Put {
    principals::Put::new(of_program(text, roles))
}

fn of_program(text: &str, roles: &[&str]) -> principals::PutSpec {
    let kind = keyreeve_model::PrincipalKind::Service;
    principals::PutSpec { kind, ..House::person(text, roles) }
}

/// A credential for a principal.
pub(crate) fn issuing(principal: &str) -> IssueSpec {
    IssueSpec {
        principal: name(principal),
        description: label("for tests"),
        seconds: 86_400,
        uses: None,
        networks: BTreeSet::new(),
        token_seconds: 600,
        wrap_seconds: None,
    }
}

fn now(house: &House) -> i64 {
    keyreeve_engine::Clock::now(&*house.clock).0 / 1000
}

/// Claims that count now, for workloads and for people.
pub(crate) fn claims(house: &House) -> Value {
    let now = now(house);
    json!({"iss": ISSUER, "sub": "alice", "aud": "keyreeve", "iat": now, "exp": now + 300, "auth_time": now - 30})
}

/// What a person does who logs in at the provider.
pub(crate) async fn visited(house: &House, method: &Name, claims: Value) -> oidc::Finish {
    let redirect_uri = format!("http://127.0.0.1:5000/callback/{method}");
    let start = oidc::Start { method: method.clone(), redirect_uri };
    let started = house.call(&Who::Nobody, start).await.unwrap().reply;
    let (state, code) = house.outside.visit(&started.url, claims);
    let returned = oidc::Returned { state, code, issuer: None };
    oidc::Finish::new(method.clone(), started.attempt, started.starter, returned)
}

async fn with_method(change: impl FnOnce(&mut MethodSpec), kind: &str) -> (House, Name) {
    let house = House::new().await;
    let kind = kinds(&house).into_iter().find(|one| one.name() == kind).unwrap();
    let mut spec = spec(kind);
    change(&mut spec);
    let method = house.ask(methods::Put { spec }).await.record.name;
    (house, method)
}

async fn login<O: Operation>(house: &House, operation: O) -> Result<Done<O::Reply>, Refused> {
    house.call(&Who::Nobody, operation).await
}

async fn login_from<O: Operation>(house: &House, source: &str, operation: O) -> Result<Done<O::Reply>, Refused> {
    let source: Option<IpAddr> = Some(source.parse().unwrap());
    house.engine().call(Arrival { source, ..House::arrival(&Who::Nobody) }, operation).await
}

fn by_jwt(house: &House, method: &Name, claims: &Value) -> jwt::Jwt {
    jwt::Jwt { method: method.clone(), token: house.outside.sign(claims) }
}

fn by_password(method: &Name, user: &str, password: &str) -> ldap::Ldap {
    ldap::Ldap::new(method.clone(), user.to_owned(), SecretString::copy_from(password))
}

fn bearer(done: &Done<LoggedIn>) -> Who {
    Who::Bearer(done.reply.issued.token.duplicate())
}

/// What people were told since they were last asked.
async fn told(house: &House) -> Vec<Notice> {
    house.engine().deliver(0).await;
    house.posts[0].taken()
}

async fn last(house: &House) -> Record {
    house.records().await.pop().unwrap()
}

/// The reason in the record of the last refused login; the caller heard the same as always.
async fn reason<T>(house: &House, result: Result<T, Refused>) -> String {
    let refused = result.err().expect("refused");
    assert_eq!(refused.error.code(), Code::Unauthenticated, "{:?}", refused.error);
    assert_eq!(refused.error.public(), "this login was not accepted: the audit log tells an administrator why");
    let record = last(house).await;
    assert_eq!(Some(record.id), refused.record);
    assert_eq!((record.actor.principal.as_str(), record.outcome.code()), ("anonymous", Some("unauthenticated")));
    record.details["login_refused"].clone()
}

#[tokio::test]
async fn a_workloads_token_is_exchanged_once_for_a_session_of_its_principal() {
    let (house, method) = with_method(
        |spec| {
            spec.bindings[0].roles.insert(name("key-auditor"));
        },
        "jwt",
    )
    .await;
    let mut claims = claims(&house);
    claims["jti"] = "one".into();
    let token = by_jwt(&house, &method, &claims);
    let copy = jwt::Jwt { method: method.clone(), token: token.token.duplicate() };
    let done = login(&house, token).await.unwrap();
    let record = last(&house).await;
    for (detail, value) in [("method", "by-jwt"), ("binding", "everybody"), ("grantee", "alice"), ("jti", "one")] {
        assert_eq!(record.details[detail], value);
    }
    assert!(record.details.contains_key("subject_sha256") && record.details.contains_key("provisioned"));
    let alice = bearer(&done);
    let known = house.call(&alice, tokens::WhoAmI).await.unwrap().reply;
    assert_eq!((known.principal.as_str(), known.roles), ("alice", vec!["key-auditor".to_owned()]));
    assert_eq!(known.login, Some(method.clone()));
    assert_eq!(last(&house).await.details["login"], "by-jwt");
    let held = house.ask(principals::Describe { name: name("alice") }).await.record;
    assert!(held.roles.is_empty(), "the session has the role, not the principal");
    assert_eq!(reason(&house, login(&house, copy).await).await, "replayed");
    // What proves nothing any more is forgotten, and proves nothing all the same.
    let again = jwt::Jwt { method: method.clone(), token: house.outside.sign(&claims) };
    house.clock.turn(361_000);
    assert_eq!(reason(&house, login(&house, again).await).await, "expired");
}

#[tokio::test]
async fn of_many_who_bring_one_token_at_once_one_is_let_in() {
    let (house, method) = with_method(|_| (), "jwt").await;
    let token = house.outside.sign(&claims(&house));
    let tries = (0..8).map(|_| login(&house, jwt::Jwt { method: method.clone(), token: token.duplicate() }));
    let results = futures::future::join_all(tries).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    let codes: BTreeSet<&str> =
        results.iter().filter_map(|result| result.as_ref().err()).map(|refused| refused.error.code().name()).collect();
    assert_eq!(codes, BTreeSet::from(["unauthenticated"]));
}

#[tokio::test]
async fn tokens_that_are_not_good_are_all_answered_alike() {
    let (house, method) = with_method(|spec| spec.networks = set(&["10.0.0.0/8"]), "jwt").await;
    let with = |member: &str, value: Value| {
        let mut claims = claims(&house);
        claims[member] = value;
        by_jwt(&house, &method, &claims)
    };
    let now = now(&house);
    for (operation, expected) in [
        (with("exp", json!(now - 61)), "expired"),
        (with("nbf", json!(now + 61)), "not-yet-valid"),
        (with("aud", json!("other")), "other-audience"),
        (with("iss", json!("https://evil.example")), "other-issuer"),
        (with("exp", json!(now + 3601)), "too-long-lived"),
        (with("sub", json!("a:b")), "no-binding"),
        (jwt::Jwt { method: method.clone(), token: SecretString::copy_from("x") }, "malformed"),
    ] {
        assert_eq!(reason(&house, login(&house, operation).await).await, expected);
    }
    let elsewhere = login_from(&house, "192.0.2.1", with("sub", json!("alice"))).await;
    assert_eq!(reason(&house, elsewhere).await, "other-network");
    let forged = {
        let other = crate::support::Outside::new();
        jwt::Jwt { method: method.clone(), token: other.sign(&claims(&house)) }
    };
    assert_eq!(reason(&house, login(&house, forged).await).await, "wrong-signature");
    let unknown = login(&house, by_jwt(&house, &name("nowhere"), &claims(&house))).await.unwrap_err();
    assert_eq!(unknown.error.code(), Code::NotFound);
}

#[tokio::test]
async fn keys_of_an_issuer_are_fetched_when_needed_and_not_for_every_stranger() {
    let (house, method) = with_method(|spec| spec.kind = MethodKind::Jwt(jwt_kind(JwtKeys::Discovery)), "jwt").await;
    let fetched = || house.outside.fetched.load(Ordering::SeqCst);
    let mut count = 0;
    let mut fresh = |house: &House| {
        count += 1;
        let mut claims = claims(house);
        claims["jti"] = count.into();
        claims["jti"] = format!("{count}").into();
        by_jwt(house, &method, &claims)
    };
    login(&house, fresh(&house)).await.unwrap();
    login(&house, fresh(&house)).await.unwrap();
    assert_eq!(fetched(), 1);
    let old = fresh(&house);
    house.outside.rotate("second");
    house.clock.turn(61_000);
    login(&house, fresh(&house)).await.unwrap();
    assert_eq!(fetched(), 2, "a new key is looked for");
    assert_eq!(reason(&house, login(&house, old).await).await, "unknown-key");
    let made_up = crate::support::Outside::new();
    made_up.rotate("made-up");
    for _ in 0..5 {
        let forged = jwt::Jwt { method: method.clone(), token: made_up.sign(&claims(&house)) };
        assert_eq!(reason(&house, login(&house, forged).await).await, "unknown-key");
    }
    assert_eq!(fetched(), 2, "made-up keys send nobody there within a minute");
    // While the issuer does not answer, what it said lately counts for an hour.
    house.outside.down.store(true, Ordering::SeqCst);
    house.clock.turn(700_000);
    login(&house, fresh(&house)).await.unwrap();
    house.clock.turn(3_600_000);
    let refused = login(&house, fresh(&house)).await.unwrap_err();
    assert_eq!(refused.error.code(), Code::IdentityUnavailable);
}

#[tokio::test]
async fn a_session_is_renewed_as_long_as_its_login_allows_and_ended_by_its_bearer() {
    let outlasting = |spec: &mut MethodSpec| {
        let MethodKind::Jwt(jwt) = &mut spec.kind else { panic!("another kind") };
        jwt.outlast = true;
    };
    let (house, method) = with_method(outlasting, "jwt").await;
    let done = login(&house, by_jwt(&house, &method, &claims(&house))).await.unwrap();
    let began = done.reply.issued.record.created;
    assert_eq!(done.reply.issued.record.expires, UnixMillis(began.0 + 3_600_000));
    assert_eq!(done.reply.renew_until, Some(UnixMillis(began.0 + 7_200_000)));
    let alice = bearer(&done);
    house.clock.turn(3_000_000);
    let renewed = house.call(&alice, session::Renew).await.unwrap().reply;
    assert_eq!(renewed.record.expires, UnixMillis(began.0 + 6_600_000));
    house.clock.turn(3_000_000);
    let renewed = house.call(&alice, session::Renew).await.unwrap().reply;
    assert_eq!(renewed.record.expires, UnixMillis(began.0 + 7_200_000), "not beyond what the login allows");
    assert_eq!(house.code_for(&alice, session::Renew).await, Code::WrongState);
    house.call(&alice, tokens::WhoAmI).await.unwrap();
    assert!(!house.call(&alice, session::RevokeSelf).await.unwrap().reply.valid);
    assert_eq!(house.code_for(&alice, tokens::WhoAmI).await, Code::Unauthenticated);
    assert_eq!(last(&house).await.details["credential_refused"], "revoked");
    assert_eq!(house.code(session::Renew).await, Code::WrongState, "an issued token ends when it was said to");
}

#[tokio::test]
async fn no_session_outlasts_the_token_of_its_platform_unless_the_method_says_so() {
    let (house, method) = with_method(|_| (), "jwt").await;
    let done = login(&house, by_jwt(&house, &method, &claims(&house))).await.unwrap();
    let began = done.reply.issued.record.created;
    // The token says five minutes, and the issuer's clock may be off by one.
    assert_eq!(done.reply.issued.record.expires, UnixMillis(began.0 + 360_000));
    assert_eq!(done.reply.renew_until, None);
    house.clock.turn(359_000);
    assert_eq!(house.code_for(&bearer(&done), session::Renew).await, Code::WrongState);
    house.clock.turn(1_000);
    assert_eq!(house.code_for(&bearer(&done), tokens::WhoAmI).await, Code::Unauthenticated);
}

#[tokio::test]
async fn sessions_of_bindings_that_are_not_those_of_now_do_not_go_on() {
    let (house, method) = with_method(
        |spec| {
            spec.bindings[0].roles.insert(name("key-auditor"));
        },
        "jwt",
    )
    .await;
    let mut count = 0;
    let mut fresh = || {
        count += 1;
        let mut claims = claims(&house);
        claims["jti"] = format!("{count}").into();
        by_jwt(&house, &method, &claims)
    };
    let with = |change: &dyn Fn(&mut MethodSpec)| {
        let mut spec = spec(kinds(&house).remove(0));
        spec.bindings[0].roles.insert(name("key-auditor"));
        change(&mut spec);
        methods::Put { spec }
    };
    let auditor = bearer(&login(&house, fresh()).await.unwrap());
    house.ask(with(&|spec| spec.ttl_s = 60)).await;
    assert_eq!(last(&house).await.details["sessions"], "kept");
    house.call(&auditor, tokens::WhoAmI).await.expect("nobody is believed who was not before");
    let narrower: [&dyn Fn(&mut MethodSpec); 4] = [
        &|spec| spec.bindings[0].roles.clear(),
        &|spec| spec.bindings[0].principal = PrincipalRule::Fixed(name("bob")),
        &|spec| spec.networks = set(&["10.0.0.0/8"]),
        &|spec| {
            let MethodKind::Jwt(jwt) = &mut spec.kind else { panic!("another kind") };
            jwt.issuer = "https://other.example".into();
        },
    ];
    for change in narrower {
        house.ask(with(&|_| ())).await;
        let session = bearer(&login(&house, fresh()).await.unwrap());
        house.ask(with(change)).await;
        assert_eq!(last(&house).await.details["sessions"], "ended");
        assert_eq!(house.code_for(&session, tokens::WhoAmI).await, Code::Unauthenticated);
        assert_eq!(last(&house).await.details["credential_refused"], "login-method-changed");
        assert_eq!(house.code_for(&session, session::Renew).await, Code::Unauthenticated);
    }
    assert_eq!(house.code_for(&auditor, tokens::WhoAmI).await, Code::Unauthenticated, "nor when they are back");
}

#[tokio::test]
async fn a_session_ends_with_its_method_and_stays_in_its_networks() {
    let bounds = |spec: &mut MethodSpec| {
        spec.networks = set(&["10.0.0.0/8"]);
        spec.bindings[0].networks = set(&["10.1.0.0/16", "192.0.2.0/24"]);
    };
    let (house, method) = with_method(bounds, "jwt").await;
    let done = login(&house, by_jwt(&house, &method, &claims(&house))).await.unwrap();
    assert_eq!(done.reply.issued.record.networks, set(&["10.1.0.0/16"]), "what both allow");
    let evidence = || Arrival { source: Some([10, 2, 0, 1].into()), ..House::arrival(&bearer(&done)) };
    let refused = house.engine().call(evidence(), tokens::WhoAmI).await.unwrap_err();
    assert_eq!(refused.error.code(), Code::Unauthenticated);
    let alice = bearer(&done);
    house.call(&alice, tokens::WhoAmI).await.unwrap();
    let spec = || {
        let mut described = spec(kinds(&house).remove(0));
        bounds(&mut described);
        described
    };
    house.ask(methods::Put { spec: MethodSpec { disabled: true, ..spec() } }).await;
    assert_eq!(house.code_for(&alice, tokens::WhoAmI).await, Code::Unauthenticated);
    assert_eq!(last(&house).await.details["credential_refused"], "login-method-gone");
    assert_eq!(login(&house, by_jwt(&house, &method, &claims(&house))).await.unwrap_err().error.code(), Code::NotFound);
    house.ask(methods::Put { spec: spec() }).await;
    house.call(&alice, tokens::WhoAmI).await.unwrap();
    house.ask(methods::Delete { method: method.clone() }).await;
    assert_eq!(house.code_for(&alice, tokens::WhoAmI).await, Code::Unauthenticated);
    house.clock.turn(1);
    house.ask(methods::Put { spec: spec() }).await;
    assert_eq!(house.code_for(&alice, tokens::WhoAmI).await, Code::Unauthenticated, "another method of that name");
}

#[tokio::test]
async fn only_who_is_known_comes_in_unless_the_method_makes_people() {
    let (house, method) = with_method(|spec| spec.provision = Provision::Existing, "jwt").await;
    let attempt = |n: u32| {
        let mut claims = claims(&house);
        claims["jti"] = n.to_string().into();
        by_jwt(&house, &method, &claims)
    };
    assert_eq!(reason(&house, login(&house, attempt(1)).await).await, "principal-missing");
    house.ask(program("alice", &["operator"])).await;
    let done = login(&house, attempt(2)).await.unwrap();
    assert_eq!(house.call(&bearer(&done), tokens::WhoAmI).await.unwrap().reply.roles, ["operator"]);
    let patch = principals::PrincipalPatch { disabled: Some(true), ..Default::default() };
    house.ask(principals::Update { name: name("alice"), patch }).await;
    assert_eq!(reason(&house, login(&house, attempt(3)).await).await, "principal-disabled");
    assert_eq!(house.code_for(&bearer(&done), tokens::WhoAmI).await, Code::Unauthenticated);
}

fn plain(issued: &credential::IssuedCredential) -> SecretString {
    match &issued.secret {
        HandedOver::Plain(secret) | HandedOver::Wrapped(secret, _) => secret.duplicate(),
    }
}

#[tokio::test]
async fn a_service_credential_gives_as_many_tokens_as_it_has_uses() {
    let house = House::new().await;
    house.ask(program("app", &[])).await;
    let spec = IssueSpec { uses: Some(3), ..issuing("app") };
    let issued = house.ask(credential::Issue { spec }).await;
    assert!(
        last(&house)
            .await
            .details
            .values()
            .all(|value| !plain(&issued).expose().contains(value.as_str()) || value.len() < 40)
    );
    let tries = (0..7).map(|_| login(&house, credential::Login::new(name("app"), plain(&issued))));
    let results = futures::future::join_all(tries).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 3);
    let one = results.into_iter().find_map(Result::ok).unwrap();
    assert_eq!(house.call(&bearer(&one), tokens::WhoAmI).await.unwrap().reply.principal.as_str(), "app");
    let spent = login(&house, credential::Login::new(name("app"), plain(&issued))).await;
    assert_eq!(reason(&house, spent).await, "used-up");
}

#[tokio::test]
async fn credentials_that_do_not_count_are_answered_alike_and_the_record_tells_why() {
    let house = House::new().await;
    house.ask(program("app", &[])).await;
    house.ask(program("other", &[])).await;
    let issue = async |spec| house.ask(credential::Issue { spec }).await;
    let bound = issue(IssueSpec { networks: set(&["192.0.2.0/24"]), ..issuing("app") }).await;
    let good = issue(issuing("app")).await;
    let try_as = |who: &str, issued: &credential::IssuedCredential| {
        login(&house, credential::Login::new(name(who), plain(issued)))
    };
    assert_eq!(reason(&house, try_as("app", &bound).await).await, "other-network");
    assert_eq!(reason(&house, try_as("other", &good).await).await, "other-principal");
    let text = plain(&good);
    let wrong = format!("{}{}", &text.expose()[..text.len() - 1], if text.expose().ends_with('0') { '1' } else { '0' });
    for (secret, expected) in [(wrong.as_str(), "wrong-secret"), ("krs_x", "malformed")] {
        let refused = login(&house, credential::Login::new(name("app"), SecretString::copy_from(secret))).await;
        assert_eq!(reason(&house, refused).await, expected);
    }
    house.clock.turn(120_000);
    let done = try_as("app", &good).await.unwrap();
    assert_eq!(done.reply.issued.record.expires.since(done.reply.issued.record.created), 600_000);
    let listed = house.ask(credential::List { principal: name("app"), after: None, limit: 10 }).await.items;
    assert_eq!(listed.iter().filter(|one| one.valid).count(), 2);
    house.ask(credential::Revoke { principal: name("app"), credential: good.record.id }).await;
    assert_eq!(reason(&house, try_as("app", &good).await).await, "revoked");
    house.ask(principals::Delete { name: name("app") }).await;
    house.clock.turn(1);
    house.ask(program("app", &[])).await;
    let earlier = login_from(&house, "192.0.2.7", credential::Login::new(name("app"), plain(&bound))).await;
    assert_eq!(reason(&house, earlier).await, "wrong-secret", "it went with the principal it was for");
}

#[tokio::test]
async fn a_wrapped_secret_is_opened_once_and_a_second_try_revokes_it() {
    let house = House::new().await;
    house.ask(program("app", &[])).await;
    let spec = || IssueSpec { wrap_seconds: Some(60), ..issuing("app") };
    let issued = house.ask(credential::Issue { spec: spec() }).await;
    let open = |issued: &credential::IssuedCredential| login(&house, credential::Unwrap { token: plain(issued) });
    let secret = open(&issued).await.unwrap().reply;
    assert_eq!((secret.credential, secret.principal.as_str()), (issued.record.id, "app"));
    let session = bearer(&login(&house, credential::Login::new(name("app"), secret.secret.duplicate())).await.unwrap());
    house.call(&session, tokens::WhoAmI).await.unwrap();
    told(&house).await;
    assert_eq!(reason(&house, open(&issued).await).await, "opened-before");
    let record = last(&house).await;
    assert_eq!(
        (record.details["revoked"].as_str(), record.details["credential"].clone()),
        ("true", issued.record.id.to_string())
    );
    let kinds: Vec<NoticeKind> = told(&house).await.iter().map(|notice| notice.kind).collect();
    assert_eq!(kinds, [NoticeKind::CredentialReused]);
    // Whoever it was that had the secret has no session of it either.
    assert_eq!(house.code_for(&session, tokens::WhoAmI).await, Code::Unauthenticated);
    assert_eq!(last(&house).await.details["credential_refused"], "revoked");
    let stolen = login(&house, credential::Login::new(name("app"), secret.secret)).await;
    assert_eq!(reason(&house, stolen).await, "revoked");
    let late = house.ask(credential::Issue { spec: spec() }).await;
    house.clock.turn(60_000);
    assert_eq!(reason(&house, open(&late).await).await, "expired");
    let made_up = SecretString::from(format!("krw_{}", "0".repeat(64)));
    assert_eq!(reason(&house, login(&house, credential::Unwrap { token: made_up }).await).await, "unknown-wrapping");
}

#[tokio::test]
async fn a_revoked_credential_takes_its_sessions_along() {
    let house = House::new().await;
    house.ask(program("app", &[])).await;
    let sessions = async |issued: &credential::IssuedCredential| {
        let done = login(&house, credential::Login::new(name("app"), plain(issued))).await.unwrap();
        bearer(&done)
    };
    let [revoked, other] = [issuing("app"), issuing("app")];
    let revoked = house.ask(credential::Issue { spec: revoked }).await;
    let other = house.ask(credential::Issue { spec: other }).await;
    let (first, second, third) = (sessions(&revoked).await, sessions(&revoked).await, sessions(&other).await);
    house.ask(credential::Revoke { principal: name("app"), credential: revoked.record.id }).await;
    assert_eq!(last(&house).await.details["tokens"], "2");
    for ended in [&first, &second] {
        assert_eq!(house.code_for(ended, tokens::WhoAmI).await, Code::Unauthenticated);
    }
    house.clock.turn(60_000);
    house.call(&third, session::Renew).await.expect("another credential's");
    // A credential that is not there any more keeps nothing alive either.
    let db = house.sql();
    db.execute("DELETE FROM filed WHERE kind = 'credentials'", []).unwrap();
    house.clock.turn(60_000);
    assert_eq!(house.code_for(&third, session::Renew).await, Code::WrongState);
}

#[tokio::test]
async fn credentials_that_ended_are_forgotten_and_leave_room() {
    let house = House::new().await;
    house.ask(program("app", &[])).await;
    let short = || credential::Issue { spec: IssueSpec { seconds: 60, ..issuing("app") } };
    for _ in 0..1000 {
        house.ask(short()).await;
    }
    assert_eq!(house.code(short()).await, Code::WrongState);
    house.clock.turn(60_000);
    house.ask(short()).await;
}

#[tokio::test]
async fn what_ended_is_listed_for_a_week_and_then_forgotten() {
    const DAY: i64 = 86_400_000;
    let house = House::new().await;
    house.ask(program("app", &[])).await;
    let issue = |seconds: u64| credential::Issue { spec: IssueSpec { seconds, ..issuing("app") } };
    let brief = house.ask(issue(60)).await.record.id;
    let revoked = house.ask(issue(30 * 86_400)).await.record.id;
    let lasting = house.ask(issue(30 * 86_400)).await.record.id;
    house.ask(credential::Revoke { principal: name("app"), credential: revoked }).await;
    let listed = async || -> BTreeSet<_> {
        let list = credential::List { principal: name("app"), after: None, limit: 10 };
        house.ask(list).await.items.into_iter().map(|one| one.record.id).collect()
    };
    house.pass(7 * DAY - 1).await;
    assert_eq!(listed().await, BTreeSet::from([brief, revoked, lasting]));
    house.pass(2).await;
    assert_eq!(listed().await, BTreeSet::from([brief, lasting]));
    house.pass(60_000).await;
    assert_eq!(listed().await, BTreeSet::from([lasting]));
}

#[tokio::test]
async fn one_strangers_key_of_idempotency_is_in_no_others_way() {
    let (house, method) = with_method(|_| (), "jwt").await;
    for n in 0..2 {
        let mut claims = claims(&house);
        claims["jti"] = format!("{n}").into();
        let idempotency = Some(keyreeve_engine::Idempotency { key: "the same".into(), request: [n; 32] });
        let arrival = Arrival { idempotency, ..House::arrival(&Who::Nobody) };
        house.engine().call(arrival, by_jwt(&house, &method, &claims)).await.unwrap();
    }
}

#[tokio::test]
async fn many_alarms_of_one_method_are_one_notice() {
    let (house, method) = with_method(|_| (), "ldap").await;
    for person in ["a", "b", "c"] {
        answers(&house, &method, person, 4).await;
    }
    let failures = |notices: Vec<Notice>| -> Vec<String> {
        let of = notices.into_iter().filter(|notice| notice.kind == NoticeKind::AccessFailures);
        of.map(|notice| notice.facts.get("alarms").unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(failures(told(&house).await), ["1"]);
    house.clock.turn(300_000);
    answers(&house, &method, "d", 4).await;
    assert_eq!(failures(told(&house).await), ["3"], "of b, c and d");
}

#[tokio::test]
async fn a_person_logs_in_at_the_provider_once_per_attempt() {
    let (house, method) = with_method(
        |spec| {
            spec.bindings[0].role_from_group.insert("crypto".into(), name("key-auditor"));
        },
        "oidc",
    )
    .await;
    house.ask(methods::SetSecret { method: method.clone(), secret: Some(SecretString::copy_from("s3cret")) }).await;
    let mut said = claims(&house);
    said["groups"] = json!(["staff", "crypto"]);
    said["amr"] = json!(["pwd", "otp"]);
    let finish = visited(&house, &method, said).await;
    let copy = || {
        let returned = oidc::Returned {
            state: finish.returned.state.duplicate(),
            code: finish.returned.code.duplicate(),
            issuer: None,
        };
        oidc::Finish::new(method.clone(), finish.attempt, finish.starter.duplicate(), returned)
    };
    let (second, third) = (copy(), copy());
    let (one, other) = tokio::join!(login(&house, second), login(&house, third));
    assert_eq!(one.is_ok() as u8 + other.is_ok() as u8, 1);
    let done = one.or(other).unwrap();
    assert!(done.reply.mfa, "the provider asked for a second factor");
    assert_eq!(house.outside.shown.lock().unwrap().as_deref(), Some("s3cret"));
    let known = house.call(&bearer(&done), tokens::WhoAmI).await.unwrap().reply;
    assert_eq!(known.roles, ["key-auditor"]);
    assert_eq!(last(&house).await.details["mfa"], "provider");
    assert_eq!(reason(&house, login(&house, finish).await).await, "unknown-attempt");
}

#[tokio::test]
async fn the_word_of_a_provider_enrols_removes_and_makes_no_factors() {
    let (house, method) = with_method(|_| (), "oidc").await;
    let ann = async || {
        let mut said = claims(&house);
        (said["amr"], said["auth_time"]) = (json!(["otp"]), json!(now(&house)));
        let done = login(&house, visited(&house, &method, said).await).await.unwrap();
        assert!(done.reply.mfa);
        bearer(&done)
    };
    let start = |invitation: Option<&str>| mfa::TotpStart {
        label: label("phone"),
        algorithm: keyreeve_model::mfa::TotpAlgorithm::Sha1,
        invitation: invitation.map(SecretString::copy_from),
    };
    let stolen = ann().await;
    assert_eq!(house.code_for(&stolen, start(None)).await, Code::WrongState, "a first one needs an invitation");
    let invitation = house.ask(mfa::Invite { principal: name("ann"), seconds: 3600 }).await;
    let (only, _) = enrol(&house, &stolen, start(Some(invitation.code.expose()))).await.unwrap();
    let again = ann().await;
    assert_eq!(house.code_for(&again, start(None)).await, Code::MfaNeeded);
    assert_eq!(house.code_for(&again, mfa::Remove { credential: only }).await, Code::MfaNeeded);
    assert_eq!(house.code_for(&again, mfa::RecoveryCodes).await, Code::MfaNeeded);
}

#[tokio::test]
async fn people_come_in_as_people_and_programs_as_programs() {
    let house = House::new().await;
    house.ask(program("alice", &[])).await;
    let issued = house.ask(credential::Issue { spec: issuing("alice") }).await;
    house.ask(House::putting("alice", &[])).await;
    house.ask(program("ann", &[])).await;
    for kind in kinds(&house) {
        house.ask(methods::Put { spec: spec(kind) }).await;
    }
    let refused = "other-kind-of-principal";
    assert_eq!(reason(&house, login(&house, by_jwt(&house, &name("by-jwt"), &claims(&house))).await).await, refused);
    house.outside.person("ann", "right", &[]);
    let typed = by_password(&name("by-ldap"), "ann", "right");
    assert_eq!(reason(&house, login(&house, typed).await).await, refused);
    let visited = visited(&house, &name("by-oidc"), claims(&house)).await;
    assert_eq!(reason(&house, login(&house, visited).await).await, refused);
    assert_eq!(house.code(credential::Issue { spec: issuing("alice") }).await, Code::WrongState, "for programs only");
    let by_secret = credential::Login::new(name("alice"), plain(&issued));
    assert_eq!(reason(&house, login(&house, by_secret).await).await, refused);
    let peer = PeerCertificate {
        fingerprint: [5; 32],
        dns_names: Vec::new(),
        uris: vec!["spiffe://prod.example/x".into()],
        authorities: Vec::new(),
        valid: (UnixMillis(0), UnixMillis(i64::MAX)),
    };
    let peer = Some(Arc::new(peer));
    let with = certificate::Certificate { method: name("by-certificate"), peer };
    login(&house, with).await.expect("a certificate is of either");
}

#[tokio::test]
async fn nobody_else_comes_as_a_principal_whatever_name_the_claim_says() {
    let rule =
        PrincipalRule::FromClaim { claim: "preferred_username".into(), strip: String::new(), prefix: String::new() };
    let (house, method) = with_method(|spec| spec.bindings[0].principal = rule, "oidc").await;
    let visit = async |subject: &str| {
        let mut said = claims(&house);
        (said["sub"], said["preferred_username"]) = (json!(subject), json!("carla"));
        visited(&house, &method, said).await
    };
    for subject in ["1001", "1001"] {
        login(&house, visit(subject).await).await.unwrap();
    }
    assert_eq!(reason(&house, login(&house, visit("6666").await).await).await, "other-subject");
    login(&house, visit("1001").await).await.unwrap();
    // Another principal of the same name is another one's.
    house.ask(principals::Delete { name: name("carla") }).await;
    house.clock.turn(1);
    login(&house, visit("6666").await).await.unwrap();
    assert_eq!(reason(&house, login(&house, visit("1001").await).await).await, "other-subject");
}

#[tokio::test]
async fn workloads_and_people_of_a_directory_are_remembered_as_well() {
    let by = |claim: &str| PrincipalRule::FromClaim { claim: claim.into(), strip: String::new(), prefix: "x-".into() };
    let (house, method) = with_method(|spec| spec.bindings[0].principal = by("project"), "jwt").await;
    let mut count = 0;
    let mut job = |subject: &str| {
        count += 1;
        let mut said = claims(&house);
        (said["sub"], said["project"], said["jti"]) = (json!(subject), json!("shop"), json!(format!("{count}")));
        by_jwt(&house, &method, &said)
    };
    login(&house, job("1001")).await.unwrap();
    login(&house, job("1001")).await.unwrap();
    assert_eq!(reason(&house, login(&house, job("6666")).await).await, "other-subject");

    let mut spec = spec(MethodKind::Ldap(ldap_kind()));
    spec.bindings[0].principal = by("user");
    let method = house.ask(methods::Put { spec }).await.record.name;
    house.outside.entry("carla", "right", &[], "first");
    login(&house, by_password(&method, "carla", "right")).await.unwrap();
    login(&house, by_password(&method, "carla", "right")).await.unwrap();
    // She left, and somebody else got her name.
    house.outside.entry("carla", "another", &[], "second");
    assert_eq!(reason(&house, login(&house, by_password(&method, "carla", "another")).await).await, "other-subject");
}

#[tokio::test]
async fn a_binding_of_one_person_by_name_remembers_who_that_was() {
    let exact = |spec: &mut MethodSpec| spec.bindings[0].subject = SubjectRule::Exact("carla".into());
    let (house, method) = with_method(exact, "ldap").await;
    house.outside.entry("carla", "right", &["staff"], "first");
    for _ in 0..2 {
        login(&house, by_password(&method, "carla", "right")).await.unwrap();
    }
    house.outside.entry("carla", "another", &["staff"], "second");
    assert_eq!(reason(&house, login(&house, by_password(&method, "carla", "another")).await).await, "other-subject");

    let people = async |house: &House, method: &Name, subject: &str| {
        let mut said = claims(house);
        (said["sub"], said["nick"], said["groups"]) = (json!(subject), json!("carla"), json!(["staff"]));
        let back = visited(house, method, said).await;
        login(house, back).await
    };
    let by = |claim: &'static str, value: &'static str| {
        move |spec: &mut MethodSpec| drop(spec.bindings[0].claims.insert(claim.into(), set(&[value])))
    };
    let (house, method) = with_method(by("nick", "carla"), "oidc").await;
    for _ in 0..2 {
        people(&house, &method, "1001").await.unwrap();
    }
    assert_eq!(reason(&house, people(&house, &method, "6666").await).await, "other-subject");
    // Who is in a group may be several people, and `sub` is nobody else's whatever stands besides.
    let (house, method) = with_method(by("groups", "staff"), "oidc").await;
    for subject in ["1001", "6666"] {
        people(&house, &method, subject).await.unwrap();
    }
    let (house, method) = with_method(by("sub", "1001"), "oidc").await;
    people(&house, &method, "1001").await.unwrap();
    assert_eq!(reason(&house, people(&house, &method, "6666").await).await, "no-binding");
}

#[tokio::test]
async fn nobody_learns_that_a_password_was_right_but_by_being_let_in() {
    let (house, method) = with_method(
        |spec| {
            spec.bindings[0].claims.insert("groups".into(), set(&["staff"]));
            spec.provision = Provision::Existing;
        },
        "ldap",
    )
    .await;
    house.outside.unfit("una", "right");
    house.outside.person("olaf", "right", &["guests"]);
    house.outside.person("stan", "right", &["staff"]);
    for (user, password, expected) in [
        ("una", "wrong", "wrong-password"),
        ("una", "right", "entry-without-name"),
        ("olaf", "right", "no-binding"),
        ("stan", "right", "principal-missing"),
        ("nobody", "right", "wrong-password"),
    ] {
        // Code, text and the count of attempts: `reason` compares the first two.
        let refused = login(&house, by_password(&method, user, password)).await;
        assert_eq!(refused.as_ref().err().and_then(|refused| refused.error.wait()), None);
        assert_eq!(reason(&house, refused).await, expected);
    }
    for user in ["una", "stan"] {
        for _ in 0..3 {
            let _ = login(&house, by_password(&method, user, "right")).await;
        }
    }
    let codes = async |user| login(&house, by_password(&method, user, "right")).await.unwrap_err().error.code();
    assert_eq!(codes("stan").await, Code::Unauthenticated);
    assert_eq!(
        codes("stan").await,
        Code::TooManyAttempts,
        "a right password that lets nobody in is slowed like a wrong one"
    );
}

#[tokio::test]
async fn what_comes_back_for_another_attempt_lets_nobody_in() {
    let (house, method) = with_method(|_| (), "oidc").await;
    let fresh = || visited(&house, &method, claims(&house));
    let text = |text: &str| SecretString::copy_from(text);
    let mut wrong_starter = fresh().await;
    wrong_starter.starter = text("x");
    assert_eq!(reason(&house, login(&house, wrong_starter).await).await, "other-attempt");
    let mut wrong_state = fresh().await;
    wrong_state.returned.state = text("x");
    assert_eq!(reason(&house, login(&house, wrong_state).await).await, "other-attempt");
    let mut other_issuer = fresh().await;
    other_issuer.returned.issuer = Some("https://evil.example".into());
    assert_eq!(reason(&house, login(&house, other_issuer).await).await, "other-issuer");
    let mut wrong_code = fresh().await;
    wrong_code.returned.code = text("made-up");
    assert_eq!(reason(&house, login(&house, wrong_code).await).await, "code-refused");
    for (member, value, expected) in [
        ("nonce", json!("other"), "other-nonce"),
        ("aud", json!("other"), "other-audience"),
        ("exp", json!(now(&house) - 61), "expired"),
    ] {
        let mut said = claims(&house);
        said[member] = value;
        let finish = visited(&house, &method, said).await;
        assert_eq!(reason(&house, login(&house, finish).await).await, expected);
    }
    let late = fresh().await;
    house.clock.turn(600_000);
    assert_eq!(reason(&house, login(&house, late).await).await, "expired");
    let other_method = "http://127.0.0.1:5000/callback/another";
    for elsewhere in ["https://evil.example/", "http://localhost:1/", "https://keys.example/callback/x", other_method] {
        let start = oidc::Start { method: method.clone(), redirect_uri: elsewhere.into() };
        assert_eq!(login(&house, start).await.unwrap_err().error.code(), Code::InvalidRequest);
    }
}

#[tokio::test]
async fn a_password_is_asked_of_the_directory_and_groups_give_roles() {
    let (house, method) = with_method(
        |spec| {
            spec.bindings[0].role_from_group.insert("crypto".into(), name("key-auditor"));
            spec.bindings[0].principal =
                PrincipalRule::FromClaim { claim: "user".into(), strip: String::new(), prefix: "ldap/".into() };
        },
        "ldap",
    )
    .await;
    house.ask(methods::SetSecret { method: method.clone(), secret: Some(SecretString::copy_from("search")) }).await;
    house.outside.person("alice", "right", &["crypto"]);
    let done = login(&house, by_password(&method, "alice", "right")).await.unwrap();
    assert_eq!(house.outside.shown.lock().unwrap().as_deref(), Some("search"));
    let known = house.call(&bearer(&done), tokens::WhoAmI).await.unwrap().reply;
    assert_eq!((known.principal.as_str(), known.roles), ("ldap/alice", vec!["key-auditor".to_owned()]));
    assert_eq!(reason(&house, login(&house, by_password(&method, "alice", "wrong")).await).await, "wrong-password");
    assert_eq!(reason(&house, login(&house, by_password(&method, "nobody", "right")).await).await, "wrong-password");
    let asked = house.outside.tried.load(Ordering::SeqCst);
    assert_eq!(reason(&house, login(&house, by_password(&method, "alice", "")).await).await, "malformed");
    assert_eq!(house.outside.tried.load(Ordering::SeqCst), asked, "an empty password is not asked about");
    house.outside.down.store(true, Ordering::SeqCst);
    let down = login(&house, by_password(&method, "alice", "right")).await.unwrap_err();
    assert_eq!(down.error.code(), Code::IdentityUnavailable);
    let records = house.records().await;
    let told = |text: &str| records.iter().any(|record| String::from_utf8_lossy(&record.encode()).contains(text));
    assert!(!told("right") && !told("\"nobody\""), "what was typed is in no record");
}

/// The answers to `tries` wrong passwords in a row: code, text and how long to wait.
async fn answers(house: &House, method: &Name, user: &str, tries: u32) -> Vec<(Code, String, Option<u64>)> {
    let mut all = Vec::new();
    for _ in 0..tries {
        let refused = login(house, by_password(method, user, "wrong")).await.unwrap_err();
        let wait = refused.error.wait().map(|wait| wait.as_secs());
        all.push((refused.error.code(), refused.error.public().to_owned(), wait));
    }
    all
}

#[tokio::test]
async fn failures_are_slowed_alike_for_names_that_exist_and_that_do_not() {
    let sequence = async |user: &str| {
        let (house, method) = with_method(|_| (), "ldap").await;
        house.outside.person("alice", "right", &[]);
        let answers = answers(&house, &method, user, 8).await;
        (answers, house.outside.tried.load(Ordering::SeqCst))
    };
    let (known, unknown) = (sequence("alice").await, sequence("nobody").await);
    assert_eq!(known, unknown);
    let codes: Vec<Code> = known.0.iter().map(|(code, ..)| *code).collect();
    assert_eq!(codes[..5], [Code::Unauthenticated; 5]);
    assert_eq!(codes[5..], [Code::TooManyAttempts; 3]);
    assert_eq!((known.0[5].2, known.1), (Some(1), 5), "the directory is not asked while one has to wait");
}

#[tokio::test]
async fn another_spelling_of_a_name_has_no_attempts_of_its_own() {
    let (house, method) = with_method(|_| (), "ldap").await;
    for spelling in ["alice", "Alice", "ALICE", " alice", "al ice"] {
        let refused = login(&house, by_password(&method, spelling, "wrong")).await.unwrap_err();
        assert_eq!(refused.error.code(), Code::Unauthenticated);
    }
    let refused = login(&house, by_password(&method, "aLICE", "wrong")).await.unwrap_err();
    assert_eq!(refused.error.code(), Code::TooManyAttempts);
}

#[tokio::test]
async fn a_login_proves_its_caller_and_an_unknown_certificate_is_in_nobodys_way() {
    let (house, method) = with_method(|_| (), "jwt").await;
    let valid = (UnixMillis(0), UnixMillis(i64::MAX));
    let peer = PeerCertificate {
        fingerprint: [3; 32],
        dns_names: Vec::new(),
        uris: Vec::new(),
        authorities: Vec::new(),
        valid,
    };
    let arrival = || {
        let evidence = Evidence::Certificate(Arc::new(peer.clone()));
        Arrival { evidence, ..House::arrival(&Who::Nobody) }
    };
    for (operation, accepted) in [
        (by_jwt(&house, &method, &claims(&house)), true),
        (jwt::Jwt { method: method.clone(), token: SecretString::copy_from("x") }, false),
    ] {
        let arrival = arrival();
        let proof = arrival.proof.clone();
        assert_eq!(house.engine().call(arrival, operation).await.is_ok(), accepted);
        assert_eq!(proof.is_accepted(), accepted, "who is not let in stays a stranger");
    }
}

#[tokio::test]
async fn others_cannot_lock_somebody_out() {
    let (house, method) = with_method(|_| (), "ldap").await;
    house.outside.person("alice", "right", &[]);
    login(&house, by_password(&method, "alice", "right")).await.unwrap();
    for n in 0..60 {
        let _ = login_from(&house, &format!("192.0.2.{n}"), by_password(&method, "alice", "wrong")).await;
    }
    login(&house, by_password(&method, "alice", "right")).await.unwrap();
}

#[tokio::test]
async fn the_fourth_failure_in_five_minutes_is_told() {
    let (house, method) = with_method(|_| (), "ldap").await;
    answers(&house, &method, "alice", 4).await;
    let records = house.records().await;
    let alarms: Vec<bool> = records
        .iter()
        .filter(|record| record.operation == "login.ldap")
        .map(|record| record.details.get("alarm").is_some_and(|alarm| alarm == "access.failures"))
        .collect();
    assert_eq!(alarms, [false, false, false, true]);
    assert!(told(&house).await.iter().any(|notice| notice.kind == NoticeKind::AccessFailures));
}

#[tokio::test]
async fn a_certificate_of_a_pattern_is_exchanged_for_a_session() {
    let rule = || PrincipalRule::FromClaim {
        claim: "uri".into(),
        strip: "spiffe://prod.example/".into(),
        prefix: "wl/".into(),
    };
    let (house, method) = with_method(|spec| spec.bindings[0].principal = rule(), "certificate").await;
    let peer = |uri: &str, valid: (i64, i64)| {
        let valid = (UnixMillis(valid.0), UnixMillis(valid.1));
        Some(Arc::new(PeerCertificate {
            fingerprint: [7; 32],
            dns_names: Vec::new(),
            uris: vec![uri.to_owned()],
            authorities: vec![[4; 32], [5; 32]],
            valid,
        }))
    };
    let always = (0, i64::MAX);
    let with = |peer| certificate::Certificate { method: method.clone(), peer };
    let done = login(&house, with(peer("spiffe://prod.example/ns/web", always))).await.unwrap();
    let known = house.call(&bearer(&done), tokens::WhoAmI).await.unwrap().reply;
    assert_eq!(known.principal.as_str(), "wl/ns/web");
    assert_eq!(last(&house).await.details["login"], "by-certificate");
    for (peer, expected) in [
        (None, "no-certificate"),
        (peer("spiffe://prod.example.evil/ns/web", always), "name-not-admitted"),
        (peer("spiffe://prod.example/ns/web", (0, 1)), "expired"),
        (peer("spiffe://prod.example/ns/web", (i64::MAX - 1, i64::MAX)), "not-yet-valid"),
    ] {
        assert_eq!(reason(&house, login(&house, with(peer)).await).await, expected);
    }
    let of = |authority: [u8; 32]| {
        let mut spec = spec(kinds(&house).pop().unwrap());
        spec.bindings[0].principal = rule();
        let MethodKind::Certificate(certificate) = &mut spec.kind else { panic!("another kind") };
        certificate.authorities.insert(Digest(authority));
        methods::Put { spec }
    };
    house.ask(of([6; 32])).await;
    let other = login(&house, with(peer("spiffe://prod.example/ns/web", always))).await;
    assert_eq!(reason(&house, other).await, "other-authority", "it does not speak for these names");
    house.ask(of([5; 32])).await;
    let soon = now(&house) * 1000 + 90_000;
    let done = login(&house, with(peer("spiffe://prod.example/ns/web", (0, soon)))).await.unwrap();
    assert_eq!(done.reply.issued.record.expires, UnixMillis(soon), "no session outlasts the certificate");
    assert_eq!(done.reply.renew_until, None);
    let mut exact = House::person("bob", &[]);
    exact.certificates.insert(keyreeve_model::access::CertificateRule::Uri("spiffe://prod.example/ns/web".into()));
    house.ask(principals::Put::new(exact)).await;
    let of_bob = login(&house, with(peer("spiffe://prod.example/ns/web", always))).await;
    assert_eq!(reason(&house, of_bob).await, "of-another-principal");
}

#[tokio::test]
async fn a_methods_secret_stays_with_the_other_side_it_is_for() {
    let (house, method) = with_method(|_| (), "oidc").await;
    let secret = Some(SecretString::copy_from("s3cret"));
    house.ask(methods::SetSecret { method: method.clone(), secret }).await;
    let put = async |change: &dyn Fn(&mut OidcMethod)| {
        let mut kind = oidc_kind();
        change(&mut kind);
        house.ask(methods::Put { spec: spec(MethodKind::Oidc(kind)) }).await
    };
    let kept = put(&|oidc| oidc.skew_s = 10).await;
    assert!(kept.has_secret);
    let MethodKind::Oidc(shown) = kept.record.kind else { panic!("another kind") };
    assert_eq!(shown.client_secret, None, "nobody is shown even its sealed form");
    assert!(!put(&|oidc| oidc.issuer = "https://evil.example".into()).await.has_secret);
    assert_eq!(last(&house).await.details["secret"], "dropped");
    let workload = kinds(&house).remove(0);
    let by_other = MethodSpec { name: method.clone(), ..spec(workload) };
    assert_eq!(house.code(methods::Put { spec: by_other }).await, Code::WrongState);
    for reserved in ["credential", "token"] {
        let named = MethodSpec { name: name(reserved), ..spec(kinds(&house).remove(0)) };
        assert_eq!(house.code(methods::Put { spec: named }).await, Code::InvalidRequest);
    }
    let offered = login(&house, methods::Offered).await.unwrap().reply;
    let returns_to = set(&["https://keys.example/callback"]);
    assert_eq!(offered, [methods::OfferedMethod { name: method, kind: "oidc", returns_to }]);
}

#[tokio::test]
async fn two_providers_have_no_address_to_come_back_to_in_common() {
    let (house, _) = with_method(|_| (), "oidc").await;
    let put = |called: &str, issuer: &str, back: &str| {
        let kind = OidcMethod { issuer: issuer.into(), redirect_uris: set(&[back]), ..oidc_kind() };
        methods::Put { spec: MethodSpec { name: name(called), ..spec(MethodKind::Oidc(kind)) } }
    };
    let (evil, back) = ("https://evil.example", "https://keys.example/callback");
    assert_eq!(house.code(put("evil", evil, back)).await, Code::InvalidRequest);
    house.ask(put("evil", evil, "https://keys.example/callback/evil")).await;
    assert_eq!(house.code(put("evil", evil, back)).await, Code::InvalidRequest);
    // The same provider under another name, and the same method elsewhere.
    house.ask(put("again", ISSUER, back)).await;
    house.ask(methods::Delete { method: name("again") }).await;
    house.ask(put("by-oidc", evil, back)).await;
}

#[tokio::test]
async fn login_methods_are_under_the_rules_of_approval() {
    let council = Council::new().await;
    let house = &council.house;
    let put = || methods::Put { spec: spec(kinds(house).remove(0)) };
    let waits = council.olga.waits(house, put()).await;
    council.sue.approve(house, waits).await;
    council.carl.approve(house, waits).await;
    let method = house.call(&council.olga.who, put()).await.unwrap().reply.record.name;
    let done = login(house, by_jwt(house, &method, &claims(house))).await.unwrap();
    house.call(&bearer(&done), tokens::WhoAmI).await.unwrap();
    council.olga.waits(house, methods::Delete { method }).await;
    council.olga.waits(house, credential::Issue { spec: issuing("alice") }).await;
}

#[tokio::test]
async fn what_outlives_a_login_takes_consent_also_for_oneself() {
    let council = Council::gathered().await;
    let house = &council.house;
    let spec = principals::PutSpec { person: Some(label("olga")), ..of_program("robot", &["operator"]) };
    let issued_token = house.welcome(spec).await;
    let secret = house.ask(credential::Issue { spec: issuing("robot") }).await;
    house.call(&council.olga.who, Enact).await.unwrap();
    let done = login(house, credential::Login::new(name("robot"), plain(&secret))).await.unwrap();
    let session = bearer(&done);
    let token = || tokens::Create {
        principal: name("robot"),
        seconds: 86_400,
        description: label("for later"),
        networks: BTreeSet::new(),
    };
    let issue = || credential::Issue { spec: issuing("robot") };
    for waits in [house.call(&session, token()).await.map(|_| ()), house.call(&session, issue()).await.map(|_| ())] {
        let shown = house.shown(waiting(waits)).await.proposal;
        assert_eq!(shown.missing(), ["security-lead", "peer of the proposer"]);
    }
    house.call(&issued_token, token()).await.expect("whoever has a token can have another");
    house.call(&issued_token, issue()).await.expect("and another way to be the same");
}

#[tokio::test]
async fn logins_and_what_was_used_survive_a_restart() {
    let (mut house, method) = with_method(|_| (), "jwt").await;
    let token = house.outside.sign(&claims(&house));
    let again = || jwt::Jwt { method: method.clone(), token: token.duplicate() };
    let done = login(&house, again()).await.unwrap();
    house.reopen().await;
    house.call(&bearer(&done), tokens::WhoAmI).await.unwrap();
    assert_eq!(reason(&house, login(&house, again()).await).await, "replayed");
}
