//! Self-tests at start-up (in the manner of FIPS 140-3, 10.3): for each family of algorithms a known answer, and for
//! key pairs that what one half does the other undoes. The whole takes some milliseconds.
//!
//! The tests go the same way as the operations do later, so they check this crate along with the module behind it.

use data_encoding::HEXLOWER;
use keyreeve_secret::{SecretArray, SecretBytes};

use crate::aead::{AeadKey, NumberedAead};
use crate::algorithm::{HashAlgorithm, KeyAlgorithm, Purpose, SignatureScheme};
use crate::digest::{digest, sha256};
use crate::error::CryptoError;
use crate::fips::FipsStatus;
use crate::kdf::{hkdf, kbkdf108_fixed};
use crate::key::LoadedKey;
use crate::mac::MacKey;
use crate::material::Material;
use crate::public::PublicKey;
use crate::random::Random;
use crate::signature::Message;
use crate::wrap::{WrapKey, WrapMode};

/// The known answers, with their sources.
const ANSWERS: &str = include_str!("selftest.txt");

/// What was tested, all of it passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfTestReport {
    /// Names of the tests.
    pub passed: Vec<&'static str>,
    /// The cryptographic module that was tested.
    pub module: FipsStatus,
}

/// A self-test failed: nothing may be encrypted, signed or handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the self-test \"{test}\" failed; do not use this build on this machine")]
pub struct SelfTestError {
    /// Name of the test.
    pub test: &'static str,
}

type Outcome = Result<(), CryptoError>;
type Test = fn(&Answers<'_>, &Random) -> Outcome;

const TESTS: &[(&str, Test)] = &[
    ("sha-2", sha2),
    ("hmac", hmac),
    ("hkdf", hkdf_expands),
    ("sp800-108", kbkdf),
    ("xaes-256-gcm", xaes),
    ("aes-256-gcm", |answers, _| numbered(answers, "gcm", KeyAlgorithm::Aes256Gcm)),
    ("aes-256-gcm-siv", |answers, _| numbered(answers, "siv", KeyAlgorithm::Aes256GcmSiv)),
    ("chacha20-poly1305", |answers, _| numbered(answers, "chacha", KeyAlgorithm::ChaCha20Poly1305)),
    ("aes-256-kw", |answers, _| wrap(answers, "kw", WrapMode::Kw)),
    ("aes-256-kwp", |answers, _| wrap(answers, "kwp", WrapMode::Kwp)),
    ("rsa signatures", rsa_signatures),
    ("rsa-oaep", rsa_oaep),
    ("ecdsa p-256", |a, r| ecdsa(a, r, "p256", "ecdh256", KeyAlgorithm::EcP256)),
    ("ecdsa p-384", |a, r| ecdsa(a, r, "p384", "ecdh384", KeyAlgorithm::EcP384)),
    ("ecdsa p-521", |a, r| ecdsa(a, r, "p521", "ecdh521", KeyAlgorithm::EcP521)),
    ("ed25519", ed25519),
    ("ecdh p-256", |answers, _| agreement(answers, "ecdh256", KeyAlgorithm::EcP256)),
    ("ecdh p-384", |answers, _| agreement(answers, "ecdh384", KeyAlgorithm::EcP384)),
    ("ecdh p-521", |answers, _| agreement(answers, "ecdh521", KeyAlgorithm::EcP521)),
    ("x25519", |answers, _| agreement(answers, "x25519", KeyAlgorithm::X25519)),
    ("ml-dsa-44", |a, r| ml_dsa(a, r, "mldsa44", KeyAlgorithm::MlDsa44)),
    ("ml-dsa-65", |a, r| ml_dsa(a, r, "mldsa65", KeyAlgorithm::MlDsa65)),
    ("ml-dsa-87", |a, r| ml_dsa(a, r, "mldsa87", KeyAlgorithm::MlDsa87)),
    ("ml-kem-768", |_, random| ml_kem(random, KeyAlgorithm::MlKem768)),
    ("ml-kem-1024", |_, random| ml_kem(random, KeyAlgorithm::MlKem1024)),
    ("entropy", |_, random| Ok(random.test_on_demand()?)),
];

/// Runs all self-tests.
///
/// # Errors
/// The first one that fails.
pub fn run(random: &Random) -> Result<SelfTestReport, SelfTestError> {
    run_against(ANSWERS, random)
}

fn run_against(answers: &str, random: &Random) -> Result<SelfTestReport, SelfTestError> {
    let answers = Answers { text: answers };
    let mut passed = Vec::with_capacity(TESTS.len());
    for &(test, check) in TESTS {
        check(&answers, random).map_err(|_| SelfTestError { test })?;
        passed.push(test);
    }
    Ok(SelfTestReport { passed, module: FipsStatus::current() })
}

/// The answers by name, `group.name = hex` on a line each.
struct Answers<'a> {
    text: &'a str,
}

impl Answers<'_> {
    fn get(&self, group: &str, name: &str) -> Result<Vec<u8>, CryptoError> {
        let value = self.text.lines().find_map(|line| {
            let (key, value) = line.split_once(" = ")?;
            (key.split_once('.')? == (group, name)).then_some(value)
        });
        let decoded = value.and_then(|value| HEXLOWER.decode(value.as_bytes()).ok());
        decoded.ok_or(CryptoError::Module)
    }

    fn key(&self, group: &str, name: &str) -> Result<SecretArray<32>, CryptoError> {
        SecretArray::copy_from(&self.get(group, name)?).map_err(|_| CryptoError::Module)
    }

    fn load(&self, group: &str, algorithm: KeyAlgorithm, purpose: Purpose) -> Result<LoadedKey, CryptoError> {
        let bytes = SecretBytes::from_vec(self.get(group, "private")?);
        LoadedKey::load(&Material::parse(algorithm, bytes)?, purpose)
    }
}

fn check(holds: bool) -> Outcome {
    if holds { Ok(()) } else { Err(CryptoError::Module) }
}

/// Passes if what must be refused was refused.
fn refused<T>(outcome: Result<T, CryptoError>) -> Outcome {
    check(outcome.is_err())
}

fn sha2(answers: &Answers<'_>, _: &Random) -> Outcome {
    let data = answers.get("sha", "data")?;
    HashAlgorithm::ALL.iter().try_for_each(|&hash| check(digest(hash, &data) == answers.get("sha", hash.name())?))
}

fn hmac(answers: &Answers<'_>, _: &Random) -> Outcome {
    let (key, data) = (answers.get("hmac", "key")?, answers.get("hmac", "data")?);
    HashAlgorithm::ALL.iter().try_for_each(|&hash| {
        let (mac, tag) = (MacKey::new(hash, &key), answers.get("hmac", hash.name())?);
        check(mac.mac(&data) == tag)?;
        mac.verify(&data, &tag)?;
        refused(mac.verify(&[], &tag))
    })
}

fn hkdf_expands(answers: &Answers<'_>, _: &Random) -> Outcome {
    let get = |name| answers.get("hkdf", name);
    let okm = get("okm")?;
    check(hkdf(HashAlgorithm::Sha256, &get("ikm")?, &get("salt")?, &get("info")?, okm.len())?.ct_eq(&okm))
}

fn kbkdf(answers: &Answers<'_>, _: &Random) -> Outcome {
    let get = |name| answers.get("kbkdf", name);
    let output = get("output")?;
    check(kbkdf108_fixed(HashAlgorithm::Sha256, &get("key")?, &get("fixed")?, output.len())?.ct_eq(&output))
}

fn xaes(answers: &Answers<'_>, _: &Random) -> Outcome {
    let get = |name| answers.get("xaes", name);
    let key = answers.key("xaes", "key")?;
    let key = AeadKey::new(KeyAlgorithm::Xaes256Gcm, key.expose())?.ok_or(CryptoError::Module)?;
    let (nonce, aad, plaintext) = (get("nonce")?, get("aad")?, get("plaintext")?);
    let expected = [nonce.as_slice(), &get("sealed")?].concat();
    let mut sealed = Vec::new();
    key.seal_with(&nonce, &aad, &plaintext, &mut sealed)?;
    check(sealed == expected)?;
    check(key.open(&aad, &sealed)?.ct_eq(&plaintext))?;
    refused(key.open(&plaintext, &sealed))
}

fn numbered(answers: &Answers<'_>, group: &str, algorithm: KeyAlgorithm) -> Outcome {
    let get = |name| answers.get(group, name);
    let key = NumberedAead::with_algorithm(algorithm, &answers.key(group, "key")?)?;
    let nonce = get("nonce")?.try_into().map_err(|_| CryptoError::Module)?;
    let (aad, plaintext) = (get("aad")?, get("plaintext")?);
    let mut sealed = Vec::new();
    key.seal_into(nonce, &aad, &plaintext, &mut sealed)?;
    check(sealed == get("sealed")?)?;
    check(key.open(nonce, &aad, &sealed)?.ct_eq(&plaintext))?;
    refused(key.open(nonce, &plaintext, &sealed))
}

fn wrap(answers: &Answers<'_>, group: &str, mode: WrapMode) -> Outcome {
    let kek = WrapKey::new(answers.key(group, "kek")?.expose());
    let (key, mut wrapped) = (answers.get(group, "key")?, answers.get(group, "wrapped")?);
    check(kek.wrap(mode, &key)? == wrapped)?;
    check(kek.unwrap(mode, &wrapped)?.ct_eq(&key))?;
    wrapped[0] ^= 1;
    refused(kek.unwrap(mode, &wrapped))
}

/// Signs and verifies, and does not verify another message.
fn pairwise(key: &LoadedKey, random: &Random, scheme: SignatureScheme) -> Outcome {
    let signature = key.sign(random, scheme, Message::Raw(b"abc"))?;
    key.verify(scheme, Message::Raw(b"abc"), &signature)?;
    refused(key.verify(scheme, Message::Raw(b"abd"), &signature))
}

fn rsa_signatures(answers: &Answers<'_>, random: &Random) -> Outcome {
    let key = answers.load("rsa", KeyAlgorithm::Rsa2048, Purpose::Sign)?;
    let message = Message::Raw(b"abc");
    let pkcs1 = key.sign(random, SignatureScheme::RsaPkcs1Sha256, message)?;
    check(pkcs1 == answers.get("rsa", "pkcs1_sha256")?)?;
    key.verify(SignatureScheme::RsaPkcs1Sha256, message, &pkcs1)?;
    key.verify(SignatureScheme::RsaPssSha256, message, &answers.get("rsa", "pss_sha256")?)?;
    pairwise(&key, random, SignatureScheme::RsaPssSha384)
}

fn rsa_oaep(answers: &Answers<'_>, random: &Random) -> Outcome {
    let get = |name| answers.get("rsa", name);
    let key = answers.load("rsa", KeyAlgorithm::Rsa2048, Purpose::Encrypt)?;
    let (label, plaintext) = (get("label")?, get("plaintext")?);
    check(key.oaep_decrypt(HashAlgorithm::Sha256, &label, &get("ciphertext")?)?.ct_eq(&plaintext))?;
    let ciphertext = key.oaep_encrypt(random, HashAlgorithm::Sha512, &label, &plaintext)?;
    check(key.oaep_decrypt(HashAlgorithm::Sha512, &label, &ciphertext)?.ct_eq(&plaintext))?;
    refused(key.oaep_decrypt(HashAlgorithm::Sha512, &plaintext, &ciphertext))
}

fn ecdsa(answers: &Answers<'_>, random: &Random, group: &str, private: &str, algorithm: KeyAlgorithm) -> Outcome {
    let get = |name| answers.get(group, name);
    let scheme = SignatureScheme::default_for(algorithm).ok_or(CryptoError::Module)?;
    let public = PublicKey::from_spki(algorithm, &get("public")?)?;
    public.verify(scheme, Message::Raw(&get("message")?), &get("signature")?)?;
    refused(public.verify(scheme, Message::Raw(b""), &get("signature")?))?;
    pairwise(&answers.load(private, algorithm, Purpose::Sign)?, random, scheme)
}

fn ed25519(answers: &Answers<'_>, random: &Random) -> Outcome {
    let key = answers.load("ed25519", KeyAlgorithm::Ed25519, Purpose::Sign)?;
    let signature = key.sign(random, SignatureScheme::Ed25519, Message::Raw(b""))?;
    check(signature == answers.get("ed25519", "signature")?)?;
    pairwise(&key, random, SignatureScheme::Ed25519)
}

fn agreement(answers: &Answers<'_>, group: &str, algorithm: KeyAlgorithm) -> Outcome {
    let key = answers.load(group, algorithm, Purpose::Agree)?;
    let peer = PublicKey::from_raw(algorithm, &answers.get(group, "public")?)?;
    check(key.agree(&peer)?.ct_eq(&answers.get(group, "shared")?))
}

fn ml_dsa(answers: &Answers<'_>, random: &Random, group: &str, algorithm: KeyAlgorithm) -> Outcome {
    let scheme = SignatureScheme::default_for(algorithm).ok_or(CryptoError::Module)?;
    let key = answers.load(group, algorithm, Purpose::Sign)?;
    let public = key.public_key().and_then(PublicKey::raw).unwrap_or_default();
    check(sha256(public).as_slice() == answers.get(group, "public_sha256")?)?;
    pairwise(&key, random, scheme)
}

fn ml_kem(random: &Random, algorithm: KeyAlgorithm) -> Outcome {
    let key = LoadedKey::load(&Material::generate(algorithm, random)?, Purpose::Encapsulate)?;
    let (mut ciphertext, secret) = key.encapsulate(random)?;
    check(key.decapsulate(&ciphertext)?.ct_eq(secret.expose()))?;
    ciphertext[0] ^= 1;
    check(!key.decapsulate(&ciphertext)?.ct_eq(secret.expose()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_passes() {
        let report = run(&Random::from_module().unwrap()).unwrap();
        assert_eq!(report.passed.len(), TESTS.len());
        assert_eq!(report.module, FipsStatus::current());
    }

    /// Every answer is looked at: changing any one of them makes a test of its group fail.
    #[test]
    fn every_changed_answer_is_noticed() {
        let random = Random::from_module().unwrap();
        let lines: Vec<&str> = ANSWERS.lines().collect();
        let mut changed = 0;
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.contains(" = ")) {
            let mut line = line.to_string();
            let last = line.pop().unwrap();
            line.push(if last == '0' { '1' } else { '0' });
            let mut answers = lines.clone();
            answers[at] = &line;
            let outcome = run_against(&answers.join("\n"), &random);
            assert!(outcome.is_err(), "{line}");
            changed += 1;
        }
        assert_eq!(changed, 77);
    }

    #[test]
    fn every_missing_answer_is_noticed() {
        let random = Random::from_module().unwrap();
        assert_eq!(run_against("", &random), Err(SelfTestError { test: "sha-2" }));
    }
}
