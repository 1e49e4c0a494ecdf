//! The examples of RFC 7515, RFC 7520 and RFC 8037.

use data_encoding::BASE64URL_NOPAD;
use keyreeve_identity::jws::Compact;
use keyreeve_identity::{IdentityError, JwsAlgorithm, KeySet};
use std::collections::BTreeMap;

type Case = BTreeMap<&'static str, &'static str>;

fn cases() -> Vec<Case> {
    let file = include_str!("../../../../../vectors/rfc/jws.txt");
    let blocks = file.split("\n\n").map(|block| {
        let lines = block.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        lines.map(|line| line.split_once(" = ").unwrap()).collect::<Case>()
    });
    blocks.filter(|case| !case.is_empty()).collect()
}

fn keys(case: &Case) -> KeySet {
    KeySet::parse(format!(r#"{{"keys":[{}]}}"#, case["jwk"]).as_bytes()).unwrap()
}

#[test]
fn examples_of_our_algorithms_verify_and_any_change_is_noticed() {
    let cases: Vec<Case> = cases().into_iter().filter(|case| case["algorithm"] != "none-of-ours").collect();
    assert_eq!(cases.len(), 5);
    for case in cases {
        let algorithm: JwsAlgorithm = case["algorithm"].parse().unwrap();
        let (token, keys) = (case["token"], keys(&case));
        let parts: Vec<&str> = token.split('.').collect();
        let payload = Compact::parse(token).unwrap().verify(&keys, &[algorithm]).unwrap().to_vec();
        assert_eq!(BASE64URL_NOPAD.encode(&payload), parts[1], "{}", case["name"]);
        let others: Vec<JwsAlgorithm> = JwsAlgorithm::ALL.into_iter().filter(|other| *other != algorithm).collect();
        assert_eq!(Compact::parse(token).unwrap().verify(&keys, &others), Err(IdentityError::Algorithm));
        let mut changed = payload.clone();
        changed[0] ^= 1;
        let changed = format!("{}.{}.{}", parts[0], BASE64URL_NOPAD.encode(&changed), parts[2]);
        let verified = Compact::parse(&changed).unwrap().verify(&keys, &[algorithm]).map(<[u8]>::to_vec);
        assert_eq!(verified, Err(IdentityError::Signature), "{}", case["name"]);
    }
}

#[test]
fn examples_without_a_signature_of_ours_are_refused_before_any_key_is_looked_at() {
    let cases: Vec<Case> = cases().into_iter().filter(|case| case["algorithm"] == "none-of-ours").collect();
    let refused: BTreeMap<&str, IdentityError> =
        cases.iter().map(|case| (case["name"], Compact::parse(case["token"]).unwrap_err())).collect();
    let expected = [
        ("rfc7515-a1", IdentityError::Algorithm),
        ("rfc7515-a5", IdentityError::Algorithm),
        ("crit", IdentityError::Critical),
    ];
    assert_eq!(refused, BTreeMap::from(expected));
    assert!(keys(&cases[0]).is_empty(), "a symmetric key is never taken");
    assert_eq!(keys(&cases[0]).skipped(), 1);
}
