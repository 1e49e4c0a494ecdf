//! Every way in which a token can be wrong, one at a time.

use keyreeve_crypto::KeyAlgorithm;
use keyreeve_identity::jws::Compact;
use keyreeve_identity::{Claims, Expect, ExpectId, Facts, IdentityError, JwsAlgorithm, KeySet, verify_jwt};
use serde_json::{Value, json};
use std::time::Duration;

use crate::issuer::{NOW, at, claims, encode, issuer, kid, with};

const ALGORITHM: JwsAlgorithm = JwsAlgorithm::Es256;

fn expect() -> Expect<'static> {
    Expect {
        issuer: "https://id.example",
        audiences: &["keyreeve"],
        algorithms: &JwsAlgorithm::ALL,
        skew: Duration::from_secs(60),
        max_life: Some(Duration::from_secs(300)),
        max_auth_age: None,
        id_token: None,
    }
}

fn expect_id() -> Expect<'static> {
    let id_token = Some(ExpectId { client_id: "keyreeve", nonce: "n-1", access_token: Some("at") });
    Expect { id_token, max_life: None, max_auth_age: Some(Duration::from_secs(600)), ..expect() }
}

fn id_claims() -> Value {
    with(with(claims(), "nonce", "n-1".into()), "auth_time", (NOW - 100).into())
}

fn verify(claims: &Value, expect: &Expect<'_>) -> Result<Claims, IdentityError> {
    verify_jwt(&issuer().sign(ALGORITHM, claims), &issuer().key_set(), expect, at(NOW))
}

fn refusal(name: &str, value: Value) -> IdentityError {
    verify(&with(claims(), name, value), &expect()).unwrap_err()
}

fn id_refusal(name: &str, value: Value) -> IdentityError {
    verify(&with(id_claims(), name, value), &expect_id()).unwrap_err()
}

#[test]
fn a_sound_token_of_every_algorithm_is_read() {
    for algorithm in JwsAlgorithm::ALL {
        let token = issuer().sign(algorithm, &claims());
        let read = verify_jwt(&token, &issuer().key_set(), &expect(), at(NOW)).unwrap();
        assert_eq!((read.subject(), read.issuer(), read.expires()), ("alice", "https://id.example", at(NOW + 290)));
    }
    assert!(verify(&id_claims(), &expect_id()).is_ok());
}

#[test]
fn times_hold_with_the_skew_and_not_a_second_more() {
    let token = issuer().sign(ALGORITHM, &with(claims(), "nbf", (NOW - 10).into()));
    let judge = |now: i64| verify_jwt(&token, &issuer().key_set(), &expect(), at(now)).map(drop);
    assert_eq!(judge(NOW + 290 + 59), Ok(()));
    assert_eq!(judge(NOW + 290 + 60), Err(IdentityError::Expired));
    assert_eq!(judge(NOW + 290 + 61), Err(IdentityError::Expired));
    assert_eq!(judge(NOW - 10 - 60), Ok(()));
    assert_eq!(judge(NOW - 10 - 61), Err(IdentityError::NotYetValid));
    assert_eq!(refusal("nbf", (NOW + 61).into()), IdentityError::NotYetValid);
    assert_eq!(refusal("iat", (NOW + 61).into()), IdentityError::NotYetValid);
    let wide = Expect { skew: Duration::from_secs(3600), ..expect() };
    let late = verify_jwt(&token, &issuer().key_set(), &wide, at(NOW + 290 + 61)).map(drop);
    assert_eq!(late, Err(IdentityError::Expired), "no method gets more than 60 seconds");
}

#[test]
fn claims_that_matter_are_there_and_right() {
    assert_eq!(refusal("iss", "https://id.example/".into()), IdentityError::Issuer);
    assert_eq!(refusal("iss", Value::Null), IdentityError::Missing("iss"));
    assert_eq!(refusal("sub", Value::Null), IdentityError::Missing("sub"));
    assert_eq!(refusal("sub", "".into()), IdentityError::Missing("sub"));
    assert_eq!(refusal("exp", Value::Null), IdentityError::Missing("exp"));
    assert_eq!(refusal("iat", Value::Null), IdentityError::Missing("iat"));
    assert_eq!(refusal("aud", Value::Null), IdentityError::Audience);
    assert_eq!(refusal("aud", "keyreeve2".into()), IdentityError::Audience);
    assert_eq!(refusal("aud", json!(["a", "b"])), IdentityError::Audience);
    assert_eq!(refusal("exp", (NOW + 291).into()), IdentityError::TooLongLived);
    for (name, value) in [
        ("exp", json!("1800000290")),
        ("exp", json!(-1)),
        ("exp", json!(1e300)),
        ("iat", json!([])),
        ("nbf", json!(true)),
        ("aud", json!([1])),
        ("aud", json!({})),
        ("sub", json!(1)),
        ("jti", json!(1)),
    ] {
        assert!(matches!(refusal(name, value.clone()), IdentityError::Malformed { .. }), "{name} {value}");
    }
    assert!(verify(&with(claims(), "aud", json!(["other", "keyreeve"])), &expect()).is_ok());
    assert!(verify(&with(claims(), "iat", json!(NOW as f64 - 9.5)), &expect()).is_ok());
}

#[test]
fn an_id_token_belongs_to_this_login() {
    assert_eq!(id_refusal("nonce", "n-2".into()), IdentityError::Nonce);
    assert_eq!(id_refusal("nonce", Value::Null), IdentityError::Missing("nonce"));
    assert_eq!(id_refusal("azp", "other".into()), IdentityError::AuthorizedParty);
    assert_eq!(id_refusal("aud", json!(["keyreeve", "other"])), IdentityError::AuthorizedParty);
    assert_eq!(id_refusal("iat", Value::Null), IdentityError::Missing("iat"));
    assert_eq!(id_refusal("at_hash", "AAAA".into()), IdentityError::AccessTokenHash);
    assert_eq!(id_refusal("auth_time", Value::Null), IdentityError::Missing("auth_time"));
    assert_eq!(id_refusal("auth_time", (NOW - 661).into()), IdentityError::AuthenticationTooOld);
    assert_eq!(id_refusal("auth_time", (NOW + 61).into()), IdentityError::NotYetValid);
    let several = with(with(id_claims(), "aud", json!(["keyreeve", "other"])), "azp", "keyreeve".into());
    assert!(verify(&several, &expect_id()).is_ok());
    // The left half of SHA-256("at").
    let hash = encode(&keyreeve_crypto::digest::sha256(b"at")[..16]);
    assert!(verify(&with(id_claims(), "at_hash", hash.into()), &expect_id()).is_ok());
    let ed = with(id_claims(), "at_hash", encode(&keyreeve_crypto::digest::sha512(b"at")[..32]).into());
    let token = issuer().sign(JwsAlgorithm::EdDsa, &ed);
    assert!(verify_jwt(&token, &issuer().key_set(), &expect_id(), at(NOW)).is_ok());
}

fn judge_header(header: &Value, keys: &KeySet) -> Result<(), IdentityError> {
    let token = issuer().sign_raw(ALGORITHM, header.to_string().as_bytes(), claims().to_string().as_bytes());
    verify_jwt(&token, keys, &expect(), at(NOW)).map(drop)
}

#[test]
fn the_header_decides_nothing_that_it_may_not() {
    let keys = issuer().key_set();
    let judge = |header: Value| judge_header(&header, &keys);
    assert_eq!(judge(json!({"alg": "ES256", "kid": "ec-p256"})), Ok(()));
    for alg in ["none", "NONE", "HS256", "HS384", "HS512", "es256", "ES256K", ""] {
        assert_eq!(judge(json!({"alg": alg, "kid": "ec-p256"})), Err(IdentityError::Algorithm), "{alg}");
    }
    assert_eq!(judge(json!({"kid": "ec-p256"})), Err(IdentityError::Algorithm));
    assert_eq!(judge(json!({"alg": "ES256", "kid": "ec-p256", "crit": []})), Err(IdentityError::Critical));
    assert_eq!(
        judge(json!({"alg": "ES256", "kid": "ec-p256", "crit": ["b64"], "b64": false})),
        Err(IdentityError::Critical)
    );
    // Confusion of key types: the key says what it can do.
    for alg in ["RS256", "PS512", "ES384", "EdDSA"] {
        assert_eq!(judge(json!({"alg": alg, "kid": "ec-p256"})), Err(IdentityError::KeyMisfit), "{alg}");
    }
    assert_eq!(judge(json!({"alg": "ES256", "kid": "gone"})), Err(IdentityError::UnknownKey(Some("gone".into()))));
    let own_key = json!({"alg": "ES256", "kid": "gone", "jwk": issuer().jwk(KeyAlgorithm::EcP256)});
    assert!(matches!(judge(own_key), Err(IdentityError::UnknownKey(_))), "a key in the token is not looked at");
    for typ in ["logout+jwt", "dpop+jwt", "secevent+jwt", ""] {
        assert_eq!(judge(json!({"alg": "ES256", "kid": "ec-p256", "typ": typ})), Err(IdentityError::Type), "{typ}");
    }
    for typ in ["jwt", "JWT", "application/at+jwt", "JOSE"] {
        assert_eq!(judge(json!({"alg": "ES256", "kid": "ec-p256", "typ": typ})), Ok(()), "{typ}");
    }
    for odd in [json!({"alg": 1}), json!({"alg": "ES256", "kid": 1}), json!({"alg": "ES256", "typ": []})] {
        assert!(matches!(judge(odd), Err(IdentityError::Malformed { .. })));
    }
}

#[test]
fn an_access_token_is_no_persons_login() {
    let header = json!({"alg": "ES256", "kid": "ec-p256", "typ": "at+jwt"}).to_string();
    let token = issuer().sign_raw(ALGORITHM, header.as_bytes(), id_claims().to_string().as_bytes());
    let judged = verify_jwt(&token, &issuer().key_set(), &expect_id(), at(NOW)).map(drop);
    assert_eq!(judged, Err(IdentityError::Type));
}

#[test]
fn a_token_has_one_spelling_and_names_everything_once() {
    let good = issuer().sign(ALGORITHM, &claims());
    let keys = issuer().key_set();
    let judge = |token: &str| verify_jwt(token, &keys, &expect(), at(NOW)).map(drop);
    assert_eq!(judge(&good), Ok(()));
    let head = good.rsplit_once('.').unwrap().0.to_owned();
    for odd in [
        String::new(),
        "..".into(),
        head.clone(),
        format!("{good}."),
        format!("{good}="),
        format!(" {good}"),
        format!("{good}\n"),
        good.replace('.', ".."),
        format!("{head}.{}", "A".repeat(85)),
    ] {
        assert!(matches!(judge(&odd), Err(IdentityError::Malformed { .. })), "{odd}");
    }
    assert_eq!(judge(&format!("{head}.")), Err(IdentityError::Signature));
    let long = format!("{head}.{}", "A".repeat(17_000));
    assert!(matches!(judge(&long), Err(IdentityError::TooLarge { .. })));
    let header = r#"{"alg":"ES256","alg":"none","kid":"ec-p256"}"#;
    let twice = issuer().sign_raw(ALGORITHM, header.as_bytes(), b"{}");
    assert!(matches!(judge(&twice), Err(IdentityError::Duplicate { .. })));
    let payload = claims().to_string().replacen('{', r#"{"sub":"root","#, 1);
    let header = json!({"alg": "ES256", "kid": "ec-p256"}).to_string();
    let twice = issuer().sign_raw(ALGORITHM, header.as_bytes(), payload.as_bytes());
    assert!(matches!(judge(&twice), Err(IdentityError::Duplicate { .. })));
}

#[test]
fn keys_that_cannot_be_trusted_are_skipped_or_refused() {
    let parse = |keys: Value| KeySet::parse(json!({"keys": keys}).to_string().as_bytes());
    let ec = issuer().jwk(KeyAlgorithm::EcP256);
    let odd = [
        with(ec.clone(), "use", "enc".into()),
        with(ec.clone(), "key_ops", json!(["sign"])),
        with(ec.clone(), "alg", "RS256".into()),
        with(ec.clone(), "alg", "HS256".into()),
        with(ec.clone(), "crv", "P-521".into()),
        with(ec.clone(), "crv", "secp256k1".into()),
        with(ec.clone(), "x", ec["y"].clone()),
        with(ec.clone(), "x", "AAAA".into()),
        with(ec.clone(), "kid", 1.into()),
        with(ec.clone(), "kid", "k".repeat(257).into()),
        with(ec.clone(), "kty", "oct".into()),
        json!({"kty": "oct", "k": "AAAA", "kid": "x"}),
        json!({"kty": "RSA", "n": encode(&[0xff; 128]), "e": "AQAB"}),
        with(issuer().jwk(KeyAlgorithm::Rsa2048), "e", "Aw".into()),
        with(issuer().jwk(KeyAlgorithm::Rsa2048), "e", "AQAA".into()),
        json!({"kty": "OKP", "crv": "X25519", "x": encode(&[9; 32])}),
        json!({}),
    ];
    for jwk in odd {
        let set = parse(json!([jwk])).unwrap();
        assert_eq!((set.len(), set.skipped()), (0, 1), "{jwk}");
    }
    assert_eq!(parse(json!([with(ec.clone(), "d", "AAAA".into())])).unwrap_err(), IdentityError::PrivateKey);
    assert!(matches!(parse(json!([1])), Err(IdentityError::Malformed { .. })));
    assert!(matches!(parse(json!({})), Err(IdentityError::Malformed { .. })));
    assert!(matches!(parse(Value::from(vec![ec.clone(); 101])), Err(IdentityError::TooLarge { .. })));
    let huge = format!(r#"{{"keys":[],"x":"{}"}}"#, "x".repeat(300_000));
    assert!(matches!(KeySet::parse(huge.as_bytes()), Err(IdentityError::TooLarge { .. })));
    let set = issuer().key_set();
    assert_eq!((set.len(), set.skipped(), set.is_empty()), (4, 0, false));
    assert!(set.has("ec-p256") && !set.has("ec-p521"));
}

#[test]
fn without_a_key_id_there_is_no_doubt_which_key_is_meant() {
    let header = json!({"alg": "ES256"});
    assert_eq!(judge_header(&header, &issuer().key_set()), Ok(()), "one key fits");
    let ec = issuer().jwk(KeyAlgorithm::EcP256);
    let two = json!({"keys": [ec, with(ec.clone(), "kid", "second".into())]});
    let two = KeySet::parse(two.to_string().as_bytes()).unwrap();
    assert_eq!(judge_header(&header, &two), Err(IdentityError::UnknownKey(None)));
    let only = with(ec, "alg", "ES256".into());
    let only = KeySet::parse(json!({"keys": [only]}).to_string().as_bytes()).unwrap();
    assert_eq!(judge_header(&header, &only), Ok(()));
}

#[test]
fn a_replayed_token_is_known_by_its_id_or_by_what_is_signed() {
    let key = |claims: &Value, algorithm| {
        let token = issuer().sign(algorithm, claims);
        verify_jwt(&token, &issuer().key_set(), &expect(), at(NOW)).unwrap().replay_key()
    };
    let es = JwsAlgorithm::Es256;
    assert_eq!(key(&claims(), es), key(&with(claims(), "iat", (NOW - 9).into()), es), "one id is one token");
    assert_ne!(key(&claims(), es), key(&with(claims(), "jti", "2".into()), es));
    // ECDSA signs differently each time: the same content is the same token all the same.
    let without = with(claims(), "jti", Value::Null);
    assert_ne!(issuer().sign(es, &without), issuer().sign(es, &without));
    assert_eq!(key(&without, es), key(&without, es));
    assert_ne!(key(&without, es), key(&with(without.clone(), "sub", "bob".into()), es));
    // An id that looks like another token's content does not become it.
    let token = issuer().sign(es, &without);
    let signed = Compact::parse(&token).unwrap().signed.to_owned();
    assert_ne!(key(&without, es), key(&with(claims(), "jti", signed.into()), es));
}

#[test]
fn values_are_found_by_name_or_pointer() {
    let nested = json!({"namespace": "prod", "a/b": {"c~d": [1, "x", true, 1.5, null, {}]}});
    let mut claims = with(with(claims(), "kubernetes.io", nested), "groups", json!(["a", "b"]));
    claims = with(claims, "email", "alice@example.com".into());
    let read = verify(&claims, &expect()).unwrap();
    assert_eq!(read.at("/kubernetes.io/namespace"), ["prod"]);
    assert_eq!(read.at("/kubernetes.io/a~1b/c~0d"), ["1", "x", "true"]);
    assert_eq!(read.at("groups"), ["a", "b"]);
    for nothing in ["kubernetes.io", "namespace", "/", "//", "/groups/0", ""] {
        assert!(read.at(nothing).is_empty(), "{nothing}");
    }
    let unsure = with(claims.clone(), "email_verified", false.into());
    let sure = with(claims.clone(), "email_verified", true.into());
    for (claims, count) in [(&claims, 0), (&unsure, 0), (&sure, 1)] {
        let read = verify(claims, &expect()).unwrap();
        assert_eq!((read.values("email").len(), read.values("/email").len()), (count, count));
    }
    let shown = with(with(claims, "amr", json!(["pwd", "otp"])), "acr", "phr".into());
    assert_eq!(verify(&shown, &expect()).unwrap().methods(), ["pwd", "otp", "phr"]);
    assert_eq!(kid(JwsAlgorithm::Ps512), kid(JwsAlgorithm::Rs256));
}
