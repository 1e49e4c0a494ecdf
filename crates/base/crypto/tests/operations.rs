//! Every operation on every algorithm: what works, and what is refused.

#![allow(clippy::unwrap_used)]

use keyreeve_crypto::{
    CryptoError, DeriveParams, HashAlgorithm, KeyAlgorithm, LoadedKey, Material, Message, Purpose, Random,
    SignatureScheme, WrapMode,
};
use proptest::prelude::*;

fn random() -> Random {
    Random::from_module().unwrap()
}

fn key(algorithm: KeyAlgorithm, purpose: Purpose) -> LoadedKey {
    LoadedKey::load(&Material::generate(algorithm, &random()).unwrap(), purpose).unwrap()
}

fn with_purpose(purpose: Purpose) -> impl Iterator<Item = KeyAlgorithm> {
    KeyAlgorithm::ALL.iter().copied().filter(move |algorithm| algorithm.offers(purpose))
}

fn aead() -> impl Iterator<Item = KeyAlgorithm> {
    with_purpose(Purpose::Encrypt).filter(|algorithm| !algorithm.is_asymmetric())
}

#[test]
fn sealed_messages_open_and_nothing_else_does() {
    let random = random();
    let mut algorithms = 0;
    for algorithm in aead() {
        let key = key(algorithm, Purpose::Encrypt);
        for len in [0, 1, 15, 16, 17, 1000, 70_000] {
            let plaintext = vec![0x5a; len];
            let sealed = key.seal(&random, b"context", &plaintext).unwrap();
            assert_eq!(sealed.len(), len + key.seal_overhead().unwrap(), "{algorithm}");
            assert!(key.open(b"context", &sealed).unwrap().ct_eq(&plaintext));
            assert_eq!(key.open(b"other", &sealed).unwrap_err(), CryptoError::Open);
            assert_eq!(key.open(b"context", &sealed[..sealed.len() - 1]).unwrap_err(), CryptoError::Open);
            for at in [0, sealed.len() / 2, sealed.len() - 1] {
                let mut changed = sealed.clone();
                changed[at] ^= 1;
                assert_eq!(key.open(b"context", &changed).unwrap_err(), CryptoError::Open, "{algorithm} {at}");
            }
        }
        for len in 0..40 {
            assert_eq!(key.open(b"", &vec![0; len]).unwrap_err(), CryptoError::Open);
        }
        algorithms += 1;
    }
    assert_eq!(algorithms, 4);
}

#[test]
fn only_the_deterministic_mode_repeats_itself() {
    let random = random();
    for algorithm in aead() {
        let key = key(algorithm, Purpose::Encrypt);
        let a = key.seal(&random, b"aad", b"same").unwrap();
        let b = key.seal(&random, b"aad", b"same").unwrap();
        let deterministic = algorithm == KeyAlgorithm::Aes256GcmSiv;
        assert_eq!(a == b, deterministic, "{algorithm}");
        assert_ne!(key.seal(&random, b"bad", b"same").unwrap()[..], a[..]);
    }
}

#[test]
fn sealing_appends_to_a_header() {
    let random = random();
    for algorithm in aead() {
        let key = key(algorithm, Purpose::Encrypt);
        let mut out = b"header".to_vec();
        key.seal_into(&random, b"header", b"plaintext", &mut out).unwrap();
        let (header, sealed) = out.split_at(6);
        assert_eq!(header, b"header");
        assert_eq!(key.open(header, sealed).unwrap().expose(), b"plaintext");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_message_survives_the_round_trip(aad: Vec<u8>, plaintext: Vec<u8>, noise: Vec<u8>) {
        let random = random();
        for algorithm in aead() {
            let key = key(algorithm, Purpose::Encrypt);
            let sealed = key.seal(&random, &aad, &plaintext).unwrap();
            prop_assert!(key.open(&aad, &sealed).unwrap().ct_eq(&plaintext));
            prop_assert_eq!(key.open(&aad, &noise).unwrap_err(), CryptoError::Open);
        }
    }

    #[test]
    fn wrapped_keys_unwrap(words in 2usize..20, odd in proptest::collection::vec(any::<u8>(), 1..200)) {
        let wrapping = key(KeyAlgorithm::Aes256Kw, Purpose::Wrap);
        let even = vec![3; words * 8];
        for (mode, inner) in [(WrapMode::Kw, &even), (WrapMode::Kwp, &even), (WrapMode::Kwp, &odd)] {
            let wrapped = wrapping.wrap_key(mode, inner).unwrap();
            prop_assert!(wrapping.unwrap_key(mode, &wrapped).unwrap().ct_eq(inner));
            let mut changed = wrapped.clone();
            changed[0] ^= 1;
            prop_assert_eq!(wrapping.unwrap_key(mode, &changed).unwrap_err(), CryptoError::Open);
        }
    }
}

#[test]
fn lengths_that_cannot_be_wrapped_are_refused() {
    let wrapping = key(KeyAlgorithm::Aes256Kw, Purpose::Wrap);
    for len in [0, 8, 15, 17, 20] {
        assert_eq!(wrapping.wrap_key(WrapMode::Kw, &vec![0; len]).unwrap_err(), CryptoError::WrapLength);
    }
    assert_eq!(wrapping.wrap_key(WrapMode::Kwp, b"").unwrap_err(), CryptoError::WrapLength);
    assert!(matches!(
        wrapping.wrap_key(WrapMode::Kwp, &vec![0; 70_000]).unwrap_err(),
        CryptoError::InputTooLong { max: 65_536, actual: 70_000 }
    ));
    for len in [0, 8, 9, 16, 23, 100_000] {
        assert_eq!(wrapping.unwrap_key(WrapMode::Kw, &vec![0; len]).unwrap_err(), CryptoError::Open);
        assert_eq!(wrapping.unwrap_key(WrapMode::Kwp, &vec![0; len]).unwrap_err(), CryptoError::Open);
    }
}

#[test]
fn tags_verify_in_full_length_only() {
    for (algorithm, len) in
        [(KeyAlgorithm::HmacSha256, 32), (KeyAlgorithm::HmacSha384, 48), (KeyAlgorithm::HmacSha512, 64)]
    {
        let key = key(algorithm, Purpose::Mac);
        let tag = key.mac(b"data").unwrap();
        assert_eq!(tag.len(), len);
        key.verify_mac(b"data", &tag).unwrap();
        assert_eq!(key.verify_mac(b"date", &tag), Err(CryptoError::NotVerified));
        assert_eq!(key.verify_mac(b"data", &tag[..len - 1]), Err(CryptoError::NotVerified));
        assert_eq!(key.verify_mac(b"data", b""), Err(CryptoError::NotVerified));
    }
}

#[test]
fn every_scheme_signs_messages_and_digests() {
    let random = random();
    let mut tried = 0;
    for algorithm in with_purpose(Purpose::Sign) {
        let key = key(algorithm, Purpose::Sign);
        for &scheme in SignatureScheme::ALL {
            if !scheme.fits(algorithm) {
                let refused = CryptoError::SchemeMismatch { algorithm, scheme };
                assert_eq!(key.sign(&random, scheme, Message::Raw(b"m")).unwrap_err(), refused);
                assert_eq!(key.verify(scheme, Message::Raw(b"m"), b"s").unwrap_err(), refused);
                continue;
            }
            sign_and_verify(&random, &key, scheme);
            tried += 1;
        }
    }
    assert_eq!(tried, 3 * 6 + 3 + 1 + 3);
}

fn sign_and_verify(random: &Random, key: &LoadedKey, scheme: SignatureScheme) {
    let raw = Message::Raw(b"message");
    let signature = key.sign(random, scheme, raw).unwrap();
    key.verify(scheme, raw, &signature).unwrap();
    key.public_key().unwrap().verify(scheme, raw, &signature).unwrap();
    let not_verified = Err(CryptoError::NotVerified);
    assert_eq!(key.verify(scheme, Message::Raw(b"massage"), &signature), not_verified);
    assert_eq!(key.verify(scheme, raw, &signature[1..]), not_verified);
    let Some(hash) = scheme.hash() else {
        let refused = CryptoError::DigestNotOffered { scheme };
        assert_eq!(key.sign(random, scheme, Message::Digest(&[0; 32])).unwrap_err(), refused);
        assert_eq!(key.verify(scheme, Message::Digest(&[0; 32]), &signature).unwrap_err(), refused);
        return;
    };
    let digest = keyreeve_crypto::digest::digest(hash, b"message");
    key.verify(scheme, Message::Digest(&digest), &signature).unwrap();
    let signature = key.sign(random, scheme, Message::Digest(&digest)).unwrap();
    key.verify(scheme, raw, &signature).unwrap();
    let refused = CryptoError::InputLength { expected: hash.output_len(), actual: 5 };
    assert_eq!(key.sign(random, scheme, Message::Digest(b"short")).unwrap_err(), refused);
    assert_eq!(key.verify(scheme, Message::Digest(b"short"), &signature).unwrap_err(), refused);
}

#[test]
fn oaep_round_trips_with_each_hash() {
    let random = random();
    let key = key(KeyAlgorithm::Rsa2048, Purpose::Encrypt);
    for &hash in HashAlgorithm::ALL {
        let max = 256 - 2 * hash.output_len() - 2;
        let longest = vec![7; max];
        for (label, plaintext) in [(&b""[..], &longest[..]), (b"label", b"key"), (b"label", b"")] {
            let ciphertext = key.oaep_encrypt(&random, hash, label, plaintext).unwrap();
            assert!(key.oaep_decrypt(hash, label, &ciphertext).unwrap().ct_eq(plaintext));
            assert_eq!(key.oaep_decrypt(hash, b"wrong", &ciphertext).unwrap_err(), CryptoError::Open);
            assert_eq!(key.oaep_decrypt(hash, label, &ciphertext[1..]).unwrap_err(), CryptoError::Open);
            let by_public = key.public_key().unwrap().oaep_encrypt(&random, hash, label, plaintext).unwrap();
            assert!(key.oaep_decrypt(hash, label, &by_public).unwrap().ct_eq(plaintext));
        }
        let too_long = CryptoError::InputTooLong { max: max as u64, actual: max as u64 + 1 };
        assert_eq!(key.oaep_encrypt(&random, hash, b"", &vec![0; max + 1]).unwrap_err(), too_long);
    }
    let refused = CryptoError::WrongAlgorithm { algorithm: KeyAlgorithm::Rsa2048, operation: "seal" };
    assert_eq!(key.seal(&random, b"", b"").unwrap_err(), refused);
}

#[test]
fn both_sides_agree() {
    let mut algorithms = 0;
    for algorithm in with_purpose(Purpose::Agree) {
        let (a, b) = (key(algorithm, Purpose::Agree), key(algorithm, Purpose::Agree));
        let secret = a.agree(b.public_key().unwrap()).unwrap();
        assert!(b.agree(a.public_key().unwrap()).unwrap().ct_eq(secret.expose()));
        assert!(!a.agree(a.public_key().unwrap()).unwrap().ct_eq(secret.expose()));
        let other = if algorithm == KeyAlgorithm::X25519 { KeyAlgorithm::EcP256 } else { KeyAlgorithm::X25519 };
        assert!(matches!(a.agree(key(other, Purpose::Agree).public_key().unwrap()), Err(CryptoError::Key(_))));
        algorithms += 1;
    }
    assert_eq!(algorithms, 4);
}

#[test]
fn encapsulated_secrets_come_out() {
    let random = random();
    for algorithm in with_purpose(Purpose::Encapsulate) {
        let key = key(algorithm, Purpose::Encapsulate);
        let (ciphertext, secret) = key.encapsulate(&random).unwrap();
        assert_eq!(secret.len(), 32);
        assert!(key.decapsulate(&ciphertext).unwrap().ct_eq(secret.expose()));
        let (other_ciphertext, other) = key.public_key().unwrap().encapsulate(&random).unwrap();
        assert!(key.decapsulate(&other_ciphertext).unwrap().ct_eq(other.expose()));
        assert!(!secret.ct_eq(other.expose()));
        let mut changed = ciphertext.clone();
        changed[0] ^= 1;
        assert!(!key.decapsulate(&changed).unwrap().ct_eq(secret.expose()));
        assert_eq!(key.decapsulate(&ciphertext[1..]).unwrap_err(), CryptoError::Open);
    }
}

type Attempt<'a> = &'a dyn Fn(&LoadedKey) -> Option<CryptoError>;

/// K3: for every pair of purposes, a key made for one refuses the operations of the other.
#[test]
fn a_key_does_only_what_it_was_made_for() {
    let random = random();
    let attempts: [(Purpose, Attempt<'_>); 14] = [
        (Purpose::Encrypt, &|key| key.seal(&random, b"", b"").err()),
        (Purpose::Encrypt, &|key| key.seal_into(&random, b"", b"", &mut Vec::new()).err()),
        (Purpose::Encrypt, &|key| key.open(b"", &[0; 64]).err()),
        (Purpose::Encrypt, &|key| key.oaep_encrypt(&random, HashAlgorithm::Sha256, b"", b"").err()),
        (Purpose::Encrypt, &|key| key.oaep_decrypt(HashAlgorithm::Sha256, b"", &[0; 256]).err()),
        (Purpose::Sign, &|key| key.sign(&random, SignatureScheme::Ed25519, Message::Raw(b"")).err()),
        (Purpose::Sign, &|key| key.verify(SignatureScheme::Ed25519, Message::Raw(b""), b"").err()),
        (Purpose::Mac, &|key| key.mac(b"").err()),
        (Purpose::Mac, &|key| key.verify_mac(b"", b"").err()),
        (Purpose::Wrap, &|key| key.wrap_key(WrapMode::Kwp, b"key").err()),
        (Purpose::Wrap, &|key| key.unwrap_key(WrapMode::Kwp, &[0; 24]).err()),
        (Purpose::Derive, &|key| {
            key.derive(DeriveParams::Hkdf { hash: HashAlgorithm::Sha256, salt: b"", info: b"" }, 32).err()
        }),
        (Purpose::Encapsulate, &|key| key.encapsulate(&random).err()),
        (Purpose::Encapsulate, &|key| key.decapsulate(&[0; 10]).err()),
    ];
    let peer = key(KeyAlgorithm::X25519, Purpose::Agree);
    for &algorithm in KeyAlgorithm::ALL.iter().filter(|a| !matches!(a, KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096)) {
        let material = Material::generate(algorithm, &random).unwrap();
        for &has in Purpose::ALL {
            let Ok(key) = LoadedKey::load(&material, has) else {
                assert!(!algorithm.offers(has), "{algorithm} for {has}");
                continue;
            };
            assert!(algorithm.offers(has));
            for (needed, attempt) in &attempts {
                let wrong = attempt(&key) == Some(CryptoError::WrongPurpose { has, needed: *needed });
                assert_eq!(wrong, has != *needed, "{algorithm}: {has} key asked to {needed}");
            }
            let wrong = key.agree(peer.public_key().unwrap()).err()
                == Some(CryptoError::WrongPurpose { has, needed: Purpose::Agree });
            assert_eq!(wrong, has != Purpose::Agree);
        }
    }
}

#[test]
fn loaded_keys_are_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>(_: &T) {}
    let random = random();
    let key = key(KeyAlgorithm::EcP256, Purpose::Sign);
    shared(&key);
    let work = |i: u8| {
        for j in 0..50 {
            let message = [i, j];
            let signature = key.sign(&random, SignatureScheme::EcdsaSha256, Message::Raw(&message)).unwrap();
            key.verify(SignatureScheme::EcdsaSha256, Message::Raw(&message), &signature).unwrap();
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|i| drop(scope.spawn(move || work(i)))));
    assert_eq!(format!("{key:?}"), "LoadedKey { algorithm: EcP256, purpose: Sign, .. }");
}
