//! Login methods that are refused, each for one reason.

use super::*;
use crate::ids::CredentialId;
use crate::login::{ClientAuth, Digest, Provision, Reuse, ServiceCredential};
use crate::metadata::Label;
use crate::time::UnixMillis;
use std::collections::BTreeMap;

fn set(values: &[&str]) -> BTreeSet<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn binding() -> Binding {
    Binding {
        name: "ci".parse().unwrap(),
        subject: SubjectRule::Glob("repo:octo/*:ref:refs/heads/**".into()),
        claims: BTreeMap::from([("environment".into(), set(&["production"]))]),
        audiences: set(&["keyreeve"]),
        principal: PrincipalRule::Fixed("deployer".parse().unwrap()),
        roles: BTreeSet::new(),
        group_claim: "groups".into(),
        role_from_group: BTreeMap::new(),
        networks: BTreeSet::new(),
    }
}

fn jwt() -> JwtMethod {
    JwtMethod {
        issuer: "https://token.example".into(),
        keys: JwtKeys::Discovery,
        algorithms: BTreeSet::from([JwsAlgorithm::Es256]),
        skew_s: 60,
        max_life_s: 3600,
        reuse: Reuse::Refused,
        outlast: false,
        ca_pem: None,
    }
}

fn oidc() -> OidcMethod {
    OidcMethod {
        issuer: "https://id.example".into(),
        client_id: "keyreeve".into(),
        client_secret: None,
        client_auth: ClientAuth::Basic,
        redirect_uris: set(&["https://keys.example/console/login/callback"]),
        scopes: set(&["groups"]),
        algorithms: BTreeSet::from([JwsAlgorithm::Rs256]),
        skew_s: 30,
        max_auth_age_s: None,
        mfa_values: BTreeSet::new(),
        ca_pem: None,
    }
}

fn ldap() -> LdapMethod {
    LdapMethod {
        url: "ldaps://ldap.example:636".into(),
        starttls: false,
        ca_pem: None,
        bind_dn: None,
        bind_password: None,
        base: "ou=people,dc=example".into(),
        filter: "(uid={user})".into(),
        user_attribute: "uid".into(),
        groups: LdapGroups::None,
    }
}

fn certificate() -> CertificateMethod {
    let uri_prefixes = set(&["spiffe://prod.example/"]);
    CertificateMethod { uri_prefixes, dns_suffixes: BTreeSet::new(), authorities: BTreeSet::new() }
}

fn method(kind: MethodKind) -> LoginMethod {
    let audiences = if matches!(kind, MethodKind::Jwt(_)) { set(&["keyreeve"]) } else { BTreeSet::new() };
    LoginMethod {
        name: "m".parse().unwrap(),
        kind,
        bindings: vec![Binding { audiences, ..binding() }],
        provision: Provision::Existing,
        ttl_s: 3600,
        renew_s: 43_200,
        networks: BTreeSet::new(),
        disabled: false,
        edition: 0,
        created: UnixMillis(1),
        updated: UnixMillis(1),
        updated_by: "root".parse().unwrap(),
    }
}

fn changed<T: Clone>(base: &T, change: impl FnOnce(&mut T)) -> T {
    let mut copy = base.clone();
    change(&mut copy);
    copy
}

fn refused(method: &LoginMethod) -> String {
    method.check(false).unwrap_err().0
}

#[test]
fn sound_methods_pass_and_are_read_back_as_written() {
    let kinds = [
        MethodKind::Jwt(jwt()),
        MethodKind::Oidc(oidc()),
        MethodKind::Ldap(ldap()),
        MethodKind::Certificate(certificate()),
    ];
    for kind in kinds {
        let method = method(kind);
        assert_eq!(method.check(false), Ok(()), "{}", method.kind.name());
        let text = serde_json::to_string(&method).unwrap();
        assert_eq!(serde_json::from_str::<LoginMethod>(&text).unwrap(), method);
        let more = text.replacen("{\"name\"", "{\"extra\":1,\"name\"", 1);
        assert!(serde_json::from_str::<LoginMethod>(&more).is_err());
    }
}

#[test]
fn whom_to_believe_is_reached_safely() {
    for issuer in ["http://id.example", "https://", "https:///x", "https://a@id.example", "https://id.example/?x", "id"]
    {
        let oidc = changed(&oidc(), |oidc| oidc.issuer = issuer.into());
        assert!(refused(&method(MethodKind::Oidc(oidc))).starts_with("issuer"), "{issuer}");
    }
    let local = changed(&oidc(), |oidc| oidc.issuer = "http://127.0.0.1:8080/x".into());
    assert!(refused(&method(MethodKind::Oidc(local.clone()))).starts_with("issuer"));
    assert_eq!(method(MethodKind::Oidc(local)).check(true), Ok(()));
    for near in ["http://127.0.0.1.evil.example", "http://localhost:1", "http://[::1]x:1", "http://127.0.0.1:1x"] {
        let near = changed(&oidc(), |oidc| oidc.issuer = near.into());
        assert!(method(MethodKind::Oidc(near)).check(true).is_err());
    }
    for (url, starttls) in
        [("ldap://h:389", false), ("ldaps://h:636", true), ("ldaps://", false), ("ldaps://h/x", false)]
    {
        let ldap = changed(&ldap(), |ldap| (ldap.url, ldap.starttls) = (url.into(), starttls));
        assert!(refused(&method(MethodKind::Ldap(ldap))).starts_with("url"), "{url}");
    }
    let upgraded = changed(&ldap(), |ldap| (ldap.url, ldap.starttls) = ("ldap://h:389".into(), true));
    assert_eq!(method(MethodKind::Ldap(upgraded)).check(false), Ok(()));
}

#[test]
fn bounds_hold() {
    let base = method(MethodKind::Jwt(jwt()));
    for ttl in [0, 59, 43_201] {
        assert!(changed(&base, |m| m.ttl_s = ttl).check(false).is_err());
    }
    assert!(changed(&base, |m| m.renew_s = 43_201).check(false).is_err());
    assert!(changed(&base, |m| m.bindings.clear()).check(false).is_err());
    assert!(changed(&base, |m| m.bindings.push(m.bindings[0].clone())).check(false).is_err());
    assert!(refused(&method(MethodKind::Jwt(changed(&jwt(), |jwt| jwt.skew_s = 61)))).starts_with("skew"));
    assert!(refused(&method(MethodKind::Jwt(changed(&jwt(), |jwt| jwt.algorithms.clear())))).starts_with("algorithms"));
    assert!(refused(&method(MethodKind::Jwt(changed(&jwt(), |jwt| jwt.max_life_s = 0)))).starts_with("max_life"));
    let huge = changed(&jwt(), |jwt| jwt.keys = JwtKeys::Static("x".repeat(DOCUMENT_MAX + 1)));
    assert!(refused(&method(MethodKind::Jwt(huge))).starts_with("keys"));
}

#[test]
fn a_binding_names_somebody() {
    let jwt = MethodKind::Jwt(jwt());
    let wrong = |change: &dyn Fn(&mut Binding)| changed(&binding(), |b| change(b)).check(&jwt).unwrap_err().0;
    assert!(wrong(&|b| b.audiences.clear()).starts_with("audiences"));
    assert!(wrong(&|b| (b.subject, b.claims) = (SubjectRule::Any, BTreeMap::new())).starts_with("subject"));
    assert!(wrong(&|b| b.claims.values_mut().for_each(BTreeSet::clear)).starts_with("claims"));
    for glob in ["repo:octo*", "*x:y", "a:**:b", "a/**/b", "a:***", ""] {
        assert!(wrong(&|b| b.subject = SubjectRule::Glob(glob.into())).starts_with("subject"), "{glob}");
    }
    assert!(binding().check(&MethodKind::Oidc(oidc())).is_err(), "audiences are for workloads");
}

#[test]
fn certificates_count_by_whole_names() {
    let wrong = |change: &dyn Fn(&mut CertificateMethod)| changed(&certificate(), |c| change(c)).check().is_err();
    assert!(wrong(&|c| c.uri_prefixes = set(&["spiffe://prod"])));
    assert!(wrong(&|c| c.uri_prefixes.clear()));
    assert!(wrong(&|c| c.dns_suffixes = set(&["payments.example"])));
}

#[test]
fn directories_are_asked_completely() {
    let wrong = |change: &dyn Fn(&mut LdapMethod)| changed(&ldap(), |c| change(c)).check(false).is_err();
    assert!(wrong(&|l| l.filter = "(uid=admin)".into()));
    let search = |filter: &str| {
        let (base, filter, attribute) = ("ou=groups".to_owned(), filter.to_owned(), "cn".to_owned());
        LdapGroups::Search { base, filter, attribute }
    };
    assert!(wrong(&|l| l.groups = search("(cn=all)")));
    assert!(wrong(&|l| l.groups = LdapGroups::Attribute(String::new())));
    assert!(wrong(&|l| l.bind_password = Some(crate::SealedField::new(vec![1]))));
    assert!(!wrong(&|l| l.groups = search("(member={dn})")));
    assert!(!wrong(&|l| l.bind_dn = Some("cn=search".into())));
}

#[test]
fn algorithms_have_their_registered_names_and_no_others() {
    for algorithm in JwsAlgorithm::ALL {
        assert_eq!(algorithm.name().parse(), Ok(algorithm));
    }
    for other in ["none", "None", "HS256", "HS512", "es256", "ES512", "ES256K", "RS1", ""] {
        assert!(other.parse::<JwsAlgorithm>().is_err(), "{other}");
    }
}

#[test]
fn a_credential_of_one_use_is_used_once() {
    let credential = ServiceCredential {
        id: CredentialId::new(UnixMillis(1), [1; 10]),
        principal: "app".parse().unwrap(),
        description: Label::default(),
        secret: Digest([0; 32]),
        uses_left: Some(1),
        networks: BTreeSet::new(),
        token_ttl_s: 3600,
        created: UnixMillis(10),
        created_by: "root".parse().unwrap(),
        expires: UnixMillis(20),
        last_used: None,
        revoked: None,
    };
    assert_eq!(credential.used(UnixMillis(9)), None);
    assert_eq!(credential.used(UnixMillis(20)), None);
    let once = credential.used(UnixMillis(10)).unwrap();
    assert_eq!((once.uses_left, once.last_used), (Some(0), Some(UnixMillis(10))));
    assert_eq!(once.used(UnixMillis(11)), None);
    let revoked = ServiceCredential { revoked: Some(UnixMillis(10)), uses_left: None, ..credential.clone() };
    assert_eq!(revoked.used(UnixMillis(11)), None);
    let endless = ServiceCredential { uses_left: None, ..credential };
    assert_eq!(endless.used(UnixMillis(19)).unwrap().uses_left, None);
}
