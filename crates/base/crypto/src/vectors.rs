//! The published vectors in `vectors/`, for the operations that are not reachable from outside with the inputs they
//! need.

use std::collections::BTreeMap;

use sha3::Shake128;
use sha3::digest::{ExtendableOutput, Update, XofReader};

use crate::aead::AeadKey;
use crate::algorithm::{HashAlgorithm, KeyAlgorithm};
use crate::kdf::{hkdf, hkdf_expand, kbkdf108_fixed};
use crate::wrap::{WrapKey, WrapMode};

/// One case: names and values.
struct Case<'a>(BTreeMap<&'a str, &'a str>);

impl Case<'_> {
    fn text(&self, name: &str) -> &str {
        self.0.get(name).unwrap()
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        hex::decode(self.text(name)).unwrap()
    }

    fn hash(&self) -> HashAlgorithm {
        self.text("hash").parse().unwrap()
    }
}

fn cases(file: &str) -> Vec<Case<'_>> {
    let blocks = file.split("\n\n").map(|block| {
        let lines = block.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        Case(lines.map(|line| line.split_once('=').unwrap()).map(|(name, value)| (name.trim(), value.trim())).collect())
    });
    blocks.filter(|case| !case.0.is_empty()).collect()
}

fn xaes(key: &[u8]) -> AeadKey {
    AeadKey::new(KeyAlgorithm::Xaes256Gcm, key.try_into().unwrap()).unwrap().unwrap()
}

#[test]
fn xaes_256_gcm() {
    let cases = cases(include_str!("../../../../vectors/c2sp/xaes-256-gcm.txt"));
    assert_eq!(cases.len(), 2);
    for case in cases {
        let key = xaes(&case.bytes("key"));
        let (nonce, aad, plaintext) = (case.bytes("nonce"), case.bytes("aad"), case.bytes("plaintext"));
        let expected = [nonce.clone(), case.bytes("ciphertext")].concat();
        let mut sealed = Vec::new();
        key.seal_with(&nonce, &aad, &plaintext, &mut sealed).unwrap();
        assert_eq!(sealed, expected);
        assert!(key.open(&aad, &expected).unwrap().ct_eq(&plaintext));
    }
}

#[test]
fn xaes_256_gcm_accumulated() {
    let cases = cases(include_str!("../../../../vectors/c2sp/xaes-256-gcm-accumulated.txt"));
    assert_eq!(cases.len(), 1);
    let iterations: u32 = cases[0].text("iterations").parse().unwrap();
    assert_eq!(iterations, 10_000);
    let mut rng = Shake128::default().finalize_xof();
    let mut read = |len: usize| {
        let mut bytes = vec![0; len];
        rng.read(&mut bytes);
        bytes
    };
    let mut outputs = Shake128::default();
    for _ in 0..iterations {
        let (key, nonce) = (xaes(&read(32)), read(24));
        let len = read(1)[0];
        let plaintext = read(len.into());
        let len = read(1)[0];
        let aad = read(len.into());
        let mut sealed = Vec::new();
        key.seal_with(&nonce, &aad, &plaintext, &mut sealed).unwrap();
        assert!(key.open(&aad, &sealed).unwrap().ct_eq(&plaintext));
        outputs.update(&sealed[24..]);
    }
    let mut hash = [0; 32];
    outputs.finalize_xof().read(&mut hash);
    assert_eq!(hash.as_slice(), cases[0].bytes("hash"));
}

#[test]
fn hkdf_rfc_5869() {
    let cases = cases(include_str!("../../../../vectors/rfc/hkdf-rfc5869.txt"));
    assert_eq!(cases.len(), 3);
    for case in cases {
        let (salt, info, okm) = (case.bytes("salt"), case.bytes("info"), case.bytes("okm"));
        assert!(hkdf(case.hash(), &case.bytes("ikm"), &salt, &info, okm.len()).unwrap().ct_eq(&okm));
        assert!(hkdf_expand(case.hash(), &case.bytes("prk"), &info, okm.len()).unwrap().ct_eq(&okm));
    }
}

#[test]
fn key_wrap_rfc_3394() {
    let cases = cases(include_str!("../../../../vectors/rfc/key-wrap-rfc3394.txt"));
    assert_eq!(cases.len(), 3);
    for case in cases {
        let kek = WrapKey::new(case.bytes("kek").as_slice().try_into().unwrap());
        let (key, wrapped) = (case.bytes("key"), case.bytes("wrapped"));
        assert_eq!(kek.wrap(WrapMode::Kw, &key).unwrap(), wrapped);
        assert!(kek.unwrap(WrapMode::Kw, &wrapped).unwrap().ct_eq(&key));
    }
}

#[test]
fn kbkdf_counter_mode() {
    let cases = cases(include_str!("../../../../vectors/nist/kbkdf-counter-hmac.txt"));
    assert_eq!(cases.len(), 12);
    for case in cases {
        let output = case.bytes("output");
        let derived = kbkdf108_fixed(case.hash(), &case.bytes("key"), &case.bytes("fixed"), output.len()).unwrap();
        assert!(derived.ct_eq(&output));
    }
}
