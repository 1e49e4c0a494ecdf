//! The vectors of the standard, and answers with one thing wrong each.

use std::collections::BTreeMap;

use data_encoding::BASE64URL_NOPAD;
use keyreeve_crypto::{KeyAlgorithm, LoadedKey, Material, Purpose, Random};
use proptest::prelude::*;

use super::*;

const VECTORS: &str = include_str!("../../../../../vectors/w3c/webauthn-l3.txt");

struct Case(BTreeMap<&'static str, &'static str>);

impl Case {
    fn bytes(&self, name: &str) -> Vec<u8> {
        hex::decode(self.0.get(name).unwrap()).unwrap()
    }

    fn register(&self) -> Result<NewCredential, WebAuthnError> {
        let (client_data, attestation) = (self.bytes("client_data"), self.bytes("attestation_object"));
        let answer = Registration { client_data: &client_data, attestation: &attestation };
        registered(&relying(), &self.bytes("challenge"), &answer)
    }

    fn assert(&self, cose_key: &[u8], backup_eligible: bool) -> Result<Asserted, WebAuthnError> {
        let (client_data, auth_data) = (self.bytes("assertion_client_data"), self.bytes("authenticator_data"));
        let signature = self.bytes("signature");
        let answer = Assertion { client_data: &client_data, auth_data: &auth_data, signature: &signature };
        let known = Known { cose_key, sign_count: 0, backup_eligible };
        asserted(&relying(), &self.bytes("assertion_challenge"), &known, &answer)
    }

    /// The public key, and whether copies may exist, whatever else the registration lacks.
    fn credential(&self) -> (Vec<u8>, bool) {
        let bytes = auth_data_of(&self.bytes("attestation_object")).unwrap();
        let data = AuthData::parse(&bytes).unwrap();
        (data.attested.unwrap().cose_key.to_vec(), data.flags.backup_eligible())
    }
}

fn cases() -> Vec<Case> {
    let blocks = VECTORS.split("\n\n").map(|block| {
        let lines = block.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        Case(lines.map(|line| line.split_once(" = ").unwrap()).collect())
    });
    blocks.filter(|case| !case.0.is_empty()).collect()
}

fn relying() -> Relying<'static> {
    static ORIGINS: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    Relying { id: "example.org", origins: ORIGINS.get_or_init(|| vec!["https://example.org".to_owned()]) }
}

/// What each published case comes to here: user verification is demanded, pages inside of others are refused, and the
/// algorithm or the size of the key may not be offered.
#[test]
fn the_published_ceremonies_end_as_they_should() {
    use WebAuthnError as E;
    let expected: [(&str, Option<E>, Option<E>); 10] = [
        ("none-es256", Some(E::NotVerified), Some(E::NotVerified)),
        ("packed-self-es256", None, Some(E::NotVerified)),
        ("cross-origin", Some(E::CrossOrigin), Some(E::CrossOrigin)),
        ("top-origin", Some(E::CrossOrigin), Some(E::CrossOrigin)),
        ("long-id", Some(E::NotVerified), None),
        ("es256", None, None),
        ("es384", Some(E::NotVerified), None),
        ("es512", Some(E::Algorithm), Some(E::NotVerified)),
        ("rs256", Some(E::Key), Some(E::NotVerified)),
        ("ed25519", Some(E::NotVerified), Some(E::NotVerified)),
    ];
    let cases = cases();
    assert_eq!(cases.len(), expected.len());
    for (case, (name, registration, assertion)) in cases.iter().zip(expected) {
        assert_eq!(case.0["name"], name);
        assert_eq!(case.register().err(), registration, "{name}");
        let (key, copies) = case.credential();
        assert_eq!(case.assert(&key, copies).err(), assertion, "{name}");
    }
}

/// The signature of every published assertion, whatever its flags; and none of them over one other bit.
#[test]
fn the_published_signatures_verify() {
    let mut verified = 0;
    for case in cases() {
        let (key, _) = case.credential();
        let (client_data, mut auth_data) = (case.bytes("assertion_client_data"), case.bytes("authenticator_data"));
        let signature = case.bytes("signature");
        let signed =
            |auth_data: &[u8]| signed(&key, &Assertion { client_data: &client_data, auth_data, signature: &signature });
        match CoseKey::parse(&key) {
            Ok(_) => {
                assert_eq!(signed(&auth_data), Ok(()), "{}", case.0["name"]);
                auth_data[32] ^= 0x10;
                assert_eq!(signed(&auth_data), Err(WebAuthnError::Signature));
                verified += 1;
            }
            Err(error) => assert_eq!(signed(&auth_data), Err(error)),
        }
    }
    assert_eq!(verified, 8);
}

#[test]
fn a_published_registration_is_read_in_full() {
    let case = cases().into_iter().find(|case| case.0["name"] == "es256").unwrap();
    let made = case.register().unwrap();
    assert_eq!(hex::encode(made.aaguid), "876ca4f52071c3e9b25509ef2cdf7ed6");
    let id = "c9a6f5b3462d02873fea0c56862234f99f081728084e511bb7760201a89054a5";
    assert_eq!(hex::encode(&made.credential_id), id);
    assert_eq!((made.algorithm, made.sign_count), (WebAuthnAlgorithm::Es256, 0));
    assert!(made.backup_eligible && !made.backed_up);
    let long = cases().into_iter().find(|case| case.0["name"] == "long-id").unwrap();
    let bytes = auth_data_of(&long.bytes("attestation_object")).unwrap();
    assert_eq!(AuthData::parse(&bytes).unwrap().attested.unwrap().credential_id.len(), CREDENTIAL_ID_MAX);
}

/// An authenticator of our own that can be told to lie.
struct Authenticator {
    key: LoadedKey,
    algorithm: KeyAlgorithm,
    relying: &'static str,
    flags: u8,
    count: u32,
    extensions: Option<Value>,
}

impl Authenticator {
    fn new(algorithm: KeyAlgorithm) -> Self {
        let random = Random::from_module().unwrap();
        let material = Material::generate(algorithm, &random).unwrap();
        let key = LoadedKey::load(&material, Purpose::Sign).unwrap();
        Self { key, algorithm, relying: "example.org", flags: 0x05, count: 1, extensions: None }
    }

    fn cose_key(&self) -> Vec<u8> {
        let public = self.key.public_key().unwrap();
        let pair = |name: i64, value: Value| (Value::from(name), value);
        let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
        let members = match (self.algorithm, public.raw()) {
            (KeyAlgorithm::Ed25519, Some(raw)) => {
                vec![pair(1, 1.into()), pair(3, (-8).into()), pair(-1, 6.into()), pair(-2, bytes(raw))]
            }
            (KeyAlgorithm::EcP256, Some(raw)) => {
                let (x, y) = raw[1..].split_at(32);
                vec![
                    pair(1, 2.into()),
                    pair(3, (-7).into()),
                    pair(-1, 1.into()),
                    pair(-2, bytes(x)),
                    pair(-3, bytes(y)),
                ]
            }
            _ => {
                // 2048 bits: the modulus is the 256 bytes before the exponent, which ends the encoding.
                let spki = public.spki();
                let modulus = &spki[spki.len() - 256 - 5..spki.len() - 5];
                let exponent = bytes(&spki[spki.len() - 3..]);
                vec![pair(1, 3.into()), pair(3, (-257).into()), pair(-1, bytes(modulus)), pair(-2, exponent)]
            }
        };
        cbor_of(&Value::Map(members))
    }

    fn auth_data(&self, made: bool) -> Vec<u8> {
        let extensions = if self.extensions.is_some() { 0x80 } else { 0 };
        let flags = self.flags | extensions | if made { 0x40 } else { 0 };
        let mut out = sha256(self.relying.as_bytes()).to_vec();
        out.push(flags);
        out.extend_from_slice(&self.count.to_be_bytes());
        if made {
            out.extend_from_slice(&[9; 16]);
            out.extend_from_slice(&[0, 4, 1, 2, 3, 4]);
            out.extend(self.cose_key());
        }
        out.extend(self.extensions.as_ref().map(cbor_of).unwrap_or_default());
        out
    }

    fn attestation(&self) -> Vec<u8> {
        object("none", vec![], &self.auth_data(true))
    }

    fn signature(&self, auth_data: &[u8], client_data: &[u8]) -> Vec<u8> {
        let message = [auth_data, &sha256(client_data)].concat();
        let scheme = match self.algorithm {
            KeyAlgorithm::Ed25519 => keyreeve_crypto::SignatureScheme::Ed25519,
            KeyAlgorithm::EcP256 => keyreeve_crypto::SignatureScheme::EcdsaSha256,
            _ => keyreeve_crypto::SignatureScheme::RsaPkcs1Sha256,
        };
        let random = Random::from_module().unwrap();
        self.key.sign(&random, scheme, keyreeve_crypto::Message::Raw(&message)).unwrap()
    }

    fn answers(&self, known: &Known<'_>, client_data: &str) -> Result<Asserted, WebAuthnError> {
        let auth_data = self.auth_data(false);
        let signature = self.signature(&auth_data, client_data.as_bytes());
        let answer = Assertion { client_data: client_data.as_bytes(), auth_data: &auth_data, signature: &signature };
        assert(&relying(), &CHALLENGE, known, &answer)
    }
}

const CHALLENGE: [u8; 32] = [0xfb; 32];

fn cbor_of(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(value, &mut out).unwrap();
    out
}

fn object(format: &str, statement: Vec<(Value, Value)>, auth_data: &[u8]) -> Vec<u8> {
    let entry = |name: &str, value| (Value::from(name), value);
    cbor_of(&Value::Map(vec![
        entry("fmt", format.into()),
        entry("attStmt", Value::Map(statement)),
        entry("authData", Value::Bytes(auth_data.to_vec())),
    ]))
}

fn client_data(ceremony: &str) -> String {
    let challenge = BASE64URL_NOPAD.encode(&CHALLENGE);
    format!(r#"{{"type":"{ceremony}","challenge":"{challenge}","origin":"https://example.org","crossOrigin":false}}"#)
}

fn registers(attestation: &[u8], client_data: &str) -> Result<NewCredential, WebAuthnError> {
    register(&relying(), &CHALLENGE, &Registration { client_data: client_data.as_bytes(), attestation })
}

#[test]
fn every_algorithm_registers_and_asserts() {
    for algorithm in [KeyAlgorithm::Ed25519, KeyAlgorithm::EcP256, KeyAlgorithm::Rsa2048] {
        let device = Authenticator::new(algorithm);
        let made = registers(&device.attestation(), &client_data("webauthn.create")).unwrap();
        assert_eq!((made.credential_id.as_slice(), made.sign_count), (&[1, 2, 3, 4][..], 1));
        let known = Known { cose_key: &made.cose_key, sign_count: 0, backup_eligible: false };
        let asserted = device.answers(&known, &client_data("webauthn.get"));
        assert_eq!(asserted, Ok(Asserted { sign_count: 1, backed_up: false }));
        let other = Authenticator::new(algorithm);
        assert_eq!(other.answers(&known, &client_data("webauthn.get")), Err(WebAuthnError::Signature));
    }
}

#[test]
fn client_data_of_something_else_is_refused() {
    use WebAuthnError as E;
    let device = Authenticator::new(KeyAlgorithm::Ed25519);
    let attestation = device.attestation();
    let right = client_data("webauthn.create");
    let wrong = |from: &str, to: &str| registers(&attestation, &right.replace(from, to)).unwrap_err();
    assert_eq!(wrong("webauthn.create", "webauthn.get"), E::Ceremony);
    assert_eq!(wrong("-_v7-_v7", "-_v7-_v6"), E::Challenge);
    for origin in ["https://example.org/", "https://example.org:443", "http://example.org", "https://a.example.org"] {
        assert_eq!(wrong("https://example.org", origin), E::Origin, "{origin}");
    }
    assert_eq!(wrong(":false", ":true"), E::CrossOrigin);
    assert_eq!(wrong(":false", r#":false,"topOrigin":"https://example.org""#), E::CrossOrigin);
    assert_eq!(wrong(":false", r#":false,"origin":"https://example.org""#), E::ClientData);
    assert_eq!(wrong("{", "["), E::ClientData);
    assert_eq!(wrong(":false", &format!(r#":false,"more":"{}""#, "x".repeat(CLIENT_DATA_MAX))), E::TooLong);
    let more = right.replace(":false", r#":false,"a future member":["e"]"#);
    assert!(registers(&attestation, &more).is_ok());
    let mut no_text = more.into_bytes();
    *no_text.iter_mut().rev().find(|byte| **byte == b'e').unwrap() |= 0x80;
    let answer = Registration { client_data: &no_text, attestation: &attestation };
    assert_eq!(register(&relying(), &CHALLENGE, &answer).unwrap_err(), E::ClientData);
}

#[test]
fn flags_are_demanded_and_must_agree() {
    use WebAuthnError as E;
    let mut device = Authenticator::new(KeyAlgorithm::Ed25519);
    for (flags, refused) in [
        (0x04, Some(E::NotPresent)),
        (0x01, Some(E::NotVerified)),
        (0x15, Some(E::Backup)),
        (0x0d, None),
        (0x1d, None),
        (0x27, None),
    ] {
        device.flags = flags;
        assert_eq!(registers(&device.attestation(), &client_data("webauthn.create")).err(), refused, "{flags:#x}");
        let cose_key = device.cose_key();
        let known = Known { cose_key: &cose_key, sign_count: 0, backup_eligible: flags & 0x08 != 0 };
        assert_eq!(device.answers(&known, &client_data("webauthn.get")).err(), refused, "{flags:#x}");
        let other = Known { backup_eligible: !known.backup_eligible, ..known };
        assert!(device.answers(&other, &client_data("webauthn.get")).is_err(), "{flags:#x}");
    }
    device.flags = 0x05;
    device.relying = "example.com";
    let error = registers(&device.attestation(), &client_data("webauthn.create")).unwrap_err();
    assert_eq!(error, E::RelyingParty);
}

#[test]
fn the_counter_must_grow_unless_there_is_none() {
    let mut device = Authenticator::new(KeyAlgorithm::EcP256);
    let cose_key = device.cose_key();
    for (before, now, fits) in [(0, 0, true), (0, 1, true), (5, 6, true), (5, 5, false), (5, 4, false), (5, 0, false)] {
        device.count = now;
        let known = Known { cose_key: &cose_key, sign_count: before, backup_eligible: false };
        let expected = if fits { Ok(now) } else { Err(WebAuthnError::Cloned) };
        let asserted = device.answers(&known, &client_data("webauthn.get"));
        assert_eq!(asserted.map(|asserted| asserted.sign_count), expected, "{before} then {now}");
    }
}

#[test]
fn extensions_are_read_over_and_nothing_else_may_follow() {
    let mut device = Authenticator::new(KeyAlgorithm::Ed25519);
    device.extensions = Some(Value::Map(vec![(Value::from("credProtect"), Value::from(2))]));
    assert!(registers(&device.attestation(), &client_data("webauthn.create")).is_ok());
    let cose_key = device.cose_key();
    let known = Known { cose_key: &cose_key, sign_count: 0, backup_eligible: false };
    assert!(device.answers(&known, &client_data("webauthn.get")).is_ok());
    device.extensions = Some(Value::from(7));
    assert_eq!(device.answers(&known, &client_data("webauthn.get")), Err(WebAuthnError::AuthData));
    device.extensions = None;
    let mut long = device.auth_data(true);
    long.push(0);
    let error = registers(&object("none", vec![], &long), &client_data("webauthn.create")).unwrap_err();
    assert_eq!(error, WebAuthnError::AuthData);
}

#[test]
fn attestation_objects_of_another_shape_are_refused() {
    let device = Authenticator::new(KeyAlgorithm::Ed25519);
    let data = device.auth_data(true);
    let tried = |object: &[u8]| registers(object, &client_data("webauthn.create")).err();
    let statement = || vec![(Value::from("alg"), Value::from(-7))];
    assert_eq!(tried(&object("none", statement(), &data)), Some(WebAuthnError::Attestation));
    assert_eq!(tried(&object("packed", statement(), &data)), None);
    let mut longer = object("none", vec![], &data);
    longer.push(0);
    assert_eq!(tried(&longer), Some(WebAuthnError::Attestation));
    assert_eq!(tried(&object("none", vec![], &device.auth_data(false))), Some(WebAuthnError::AuthData));
    assert_eq!(tried(&vec![0; ATTESTATION_MAX + 1]), Some(WebAuthnError::TooLong));
    // Nested deeper than anything real, and a length that is not there.
    assert_eq!(tried(&[0x81; 2000]), Some(WebAuthnError::Attestation));
    assert_eq!(tried(&[0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), Some(WebAuthnError::Attestation));
}

#[test]
fn keys_that_are_none_are_refused() {
    let pair = |name: i64, value: Value| (Value::from(name), value);
    let key = |members: Vec<(Value, Value)>| CoseKey::parse(&cbor_of(&Value::Map(members))).map(|key| key.algorithm());
    let point =
        |x: Value| vec![pair(1, 2.into()), pair(3, (-7).into()), pair(-1, 1.into()), pair(-2, x.clone()), pair(-3, x)];
    assert_eq!(key(point(Value::Bytes(vec![1; 32]))), Err(WebAuthnError::Key), "a point off the curve");
    assert_eq!(key(point(Value::Bytes(vec![1; 31]))), Err(WebAuthnError::Key));
    assert_eq!(key(point(Value::Bool(true))), Err(WebAuthnError::Key));
    let edwards = |algorithm: i64, curve: i64| {
        let x = Value::Bytes(vec![0x58; 32]);
        vec![pair(1, 1.into()), pair(3, algorithm.into()), pair(-1, curve.into()), pair(-2, x)]
    };
    assert_eq!(key(edwards(-8, 7)), Err(WebAuthnError::Key));
    assert_eq!(key(edwards(-36, 6)), Err(WebAuthnError::Algorithm));
    let mut twice = edwards(-8, 6);
    twice.push(pair(3, (-7).into()));
    assert_eq!(key(twice), Err(WebAuthnError::Key));
    let rsa = |len| {
        vec![
            pair(1, 3.into()),
            pair(3, (-257).into()),
            pair(-1, Value::Bytes(vec![0xff; len])),
            pair(-2, Value::Bytes(vec![1, 0, 1])),
        ]
    };
    assert_eq!(key(rsa(128)), Err(WebAuthnError::Key), "1024 bits");
    assert_eq!(key(rsa(256)), Ok(WebAuthnAlgorithm::Rs256));
}

proptest! {
    /// Whatever comes, it is refused without a panic, and one changed byte never passes.
    #[test]
    fn changed_answers_are_refused(
        at in 0..10_000usize,
        bit in 0..8u8,
        noise in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let case = cases().into_iter().find(|case| case.0["name"] == "es256").unwrap();
        let (key, copies) = case.credential();
        let known = Known { cose_key: &key, sign_count: 0, backup_eligible: copies };
        let challenge = case.bytes("assertion_challenge");
        let (mut client_data, mut auth_data) = (case.bytes("assertion_client_data"), case.bytes("authenticator_data"));
        let mut signature = case.bytes("signature");
        let parts = [&mut client_data, &mut auth_data, &mut signature];
        let lengths: usize = parts.iter().map(|part| part.len()).sum();
        let mut at = at % lengths;
        for part in parts {
            if at < part.len() {
                part[at] ^= 1 << bit;
                break;
            }
            at -= part.len();
        }
        let answer = Assertion { client_data: &client_data, auth_data: &auth_data, signature: &signature };
        prop_assert!(asserted(&relying(), &challenge, &known, &answer).is_err());
        let _ = CoseKey::parse(&noise);
        let _ = registers(&noise, &self::client_data("webauthn.create"));
        prop_assert!(AuthData::parse(&noise).is_err() || noise.len() >= 37);
    }
}
