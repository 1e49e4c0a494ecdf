//! The driver against SoftHSM: the contract of the port, and what happens when the library, the token or the PIN fails.

#![allow(clippy::unwrap_used)]

mod token;

use std::sync::Arc;
use std::time::{Duration, Instant};

use keyreeve_crypto::{
    CryptoError, HashAlgorithm, KeyAlgorithm, LoadedKey, Message, Purpose, Random, RemoteFault, SignatureScheme,
};
use keyreeve_root::conformance::{RootFixture, root_suite};
use keyreeve_root::{KeyDevice, Root, RootError};
use keyreeve_root_pkcs11::{PinSource, Pkcs11Root, Settings, examine};
use keyreeve_secret::SecretBytes;
use keyreeve_tests::{Softhsm, wait_until};
use rustix::process::{Pid, Signal};
use token::Token;

impl RootFixture for Token {
    type Root = Pkcs11Root;

    fn start(&self) -> Pkcs11Root {
        root(&self.settings())
    }

    fn shares(&self) -> (u8, u8) {
        (0, 0)
    }
}

fn root(settings: &Settings) -> Pkcs11Root {
    Pkcs11Root::new(settings.clone(), random())
}

fn random() -> Random {
    Random::from_module().unwrap()
}

fn secret() -> SecretBytes {
    SecretBytes::copy_from(b"a key encryption key")
}

fn signal(root: &Pkcs11Root, signal: Signal) {
    let id = i32::try_from(root.worker_id().unwrap()).unwrap();
    rustix::process::kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
}

async fn initialised(token: &Token) -> Pkcs11Root {
    let root = token.start();
    root.initialise(0, 0).await.unwrap();
    root
}

/// Asks until it answers, which it must within seconds.
async fn until_it_answers(root: &Pkcs11Root, wrapped: &[u8]) {
    until(async || match root.unwrap(b"context", wrapped).await {
        Ok(opened) => opened.ct_eq(secret().expose()),
        Err(RootError::Unavailable(_)) => false,
        Err(error) => panic!("{error}"),
    });
}

fn until(mut so: impl AsyncFnMut() -> bool) {
    let runtime = tokio::runtime::Handle::current();
    let came = tokio::task::block_in_place(|| wait_until(Duration::from_secs(20), || runtime.block_on(so())));
    assert!(came, "it did not come back");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_conforms() {
    if Token::start().is_some() {
        root_suite(|| Token::start().unwrap()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_in_the_token_is_taken_over_and_never_a_second_one_made() {
    let Some(token) = Token::start() else { return };
    let first = token.start();
    let made = first.initialise(0, 0).await.unwrap().public;
    let wrapped = first.wrap(b"context", &secret()).await.unwrap();
    drop(first);
    let second = token.start();
    let again = second.initialise(0, 0).await.unwrap().public;
    assert_eq!(made["key"], again["key"]);
    assert!(second.unwrap(b"context", &wrapped).await.unwrap().ct_eq(secret().expose()));
    // Another label is another root.
    let other = root(&Settings { key_label: "other-root".to_owned(), ..token.settings() });
    assert_ne!(other.initialise(0, 0).await.unwrap().public["key"], made["key"]);
    assert!(matches!(other.unwrap(b"context", &wrapped).await, Err(RootError::Unwrap)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_costs_one_reconnect() {
    let Some(token) = Token::start() else { return };
    let root = initialised(&token).await;
    let wrapped = root.wrap(b"context", &secret()).await.unwrap();
    for _ in 0..3 {
        let before = root.worker_id().unwrap();
        signal(&root, Signal::KILL);
        until_it_answers(&root, &wrapped).await;
        assert_ne!(root.worker_id().unwrap(), before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_in_the_middle_of_a_call_is_an_unavailable_token() {
    let Some(token) = Token::start() else { return };
    let root = Arc::new(initialised(&token).await);
    let wrapped = root.wrap(b"context", &secret()).await.unwrap();
    // Stopped first, so that the call is certainly on its way when the worker is killed.
    signal(&root, Signal::STOP);
    let asked = Arc::clone(&root);
    let bytes = wrapped.clone();
    let call = tokio::spawn(async move { asked.unwrap(b"context", &bytes).await });
    let answered = tokio::task::block_in_place(|| wait_until(Duration::from_millis(100), || call.is_finished()));
    assert!(!answered, "a worker that is stopped answers nothing");
    signal(&root, Signal::KILL);
    assert!(matches!(call.await.unwrap(), Err(RootError::Unavailable(_))));
    until_it_answers(&root, &wrapped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_hangs_is_given_up_after_the_time_limit() {
    let Some(token) = Token::start() else { return };
    let root = root(&Settings { timeout: Duration::from_millis(1500), ..token.settings() });
    root.initialise(0, 0).await.unwrap();
    let wrapped = root.wrap(b"context", &secret()).await.unwrap();
    signal(&root, Signal::STOP);
    let begun = Instant::now();
    let hung = root.unwrap(b"context", &wrapped).await;
    assert!(matches!(&hung, Err(RootError::Unavailable(text)) if text.contains("did not answer")), "{hung:?}");
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    until_it_answers(&root, &wrapped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_taken_out_works_again_when_it_is_put_back() {
    let Some(token) = Token::start() else { return };
    let root = initialised(&token).await;
    let wrapped = root.wrap(b"context", &secret()).await.unwrap();
    token.take_out();
    signal(&root, Signal::KILL);
    for _ in 0..5 {
        let gone = root.unwrap(b"context", &wrapped).await;
        assert!(matches!(gone, Err(RootError::Unavailable(_))), "{gone:?}");
        assert!(root.check().await.is_err());
    }
    token.put_back();
    until_it_answers(&root, &wrapped).await;
    until(async || root.check().await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_taken_out_under_a_living_worker_is_no_bad_ciphertext() {
    let Some(token) = Token::start() else { return };
    let root = initialised(&token).await;
    let wrapped = root.wrap(b"context", &secret()).await.unwrap();
    token.take_out();
    for _ in 0..5 {
        match root.unwrap(b"context", &wrapped).await {
            // The library may go on with what it has in memory.
            Ok(opened) => assert!(opened.ct_eq(secret().expose())),
            Err(RootError::Unavailable(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    token.put_back();
    until_it_answers(&root, &wrapped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_pin_is_not_tried_again() {
    let Some(token) = Token::start() else { return };
    let root = root(&Settings { pin: PinSource::File(token.write_pin("wrong", "00000000")), ..token.settings() });
    let first = root.initialise(0, 0).await.unwrap_err().to_string();
    assert!(first.contains("PIN"), "{first}");
    assert!(root.worker_id().is_none());
    // Even with the right PIN now: a person who looks comes before the next try.
    token.write_pin("wrong", Softhsm::PIN);
    let second = root.initialise(0, 0).await.unwrap_err().to_string();
    assert!(second.contains("not tried again"), "{second}");
    assert!(root.worker_id().is_none(), "no worker was started");
}

/// A worker that is a shell: it says what `frames` are, and then does `last`.
fn scripted(token: &Token, log: &std::path::Path, frames: &[Vec<u8>], last: &str) -> Settings {
    let bytes: Vec<u8> = frames
        .iter()
        .flat_map(|body| [&u32::try_from(body.len()).unwrap().to_le_bytes()[..], body.as_slice()].concat())
        .collect();
    let octal: String = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
    let script = format!("env >> {}; printf '{octal}'; {last}", log.display());
    let mut settings = Settings { timeout: Duration::from_millis(1500), ..token.settings() };
    settings.launch.program = "/bin/sh".into();
    settings.launch.arguments = vec!["-c".into(), script.into()];
    settings
}

/// The notice of a login that begins, or was answered.
fn notice(begins: bool) -> Vec<u8> {
    [&[0; 8][..], &[8, u8::from(begins)]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_not_answered_counts_as_a_refused_pin() {
    let Some(token) = Token::start() else { return };
    let log = token.pin_file().with_file_name("starts");
    let starts = || std::fs::read_to_string(&log).unwrap().matches("SOFTHSM2_CONF=").count();
    for last in ["exit 139", "exec sleep 60"] {
        let _ = std::fs::remove_file(&log);
        let root = root(&scripted(&token, &log, &[notice(true)], last));
        let first = root.initialise(0, 0).await.unwrap_err().to_string();
        assert!(first.contains("looking at the PIN"), "{last}: {first}");
        let second = root.initialise(0, 0).await.unwrap_err().to_string();
        assert!(second.contains("not tried again"), "{last}: {second}");
        assert_eq!(starts(), 1, "{last}");
    }
    // One that ended before, or after the answer, used up nothing.
    for frames in [vec![], vec![notice(true), notice(false)]] {
        let _ = std::fs::remove_file(&log);
        let root = root(&scripted(&token, &log, &frames, "exit 139"));
        for _ in 0..2 {
            let told = root.initialise(0, 0).await.unwrap_err().to_string();
            assert!(!told.contains("PIN"), "{told}");
        }
        assert_eq!(starts(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worker_gets_few_variables() {
    let Some(token) = Token::start() else { return };
    let log = token.pin_file().with_file_name("variables");
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some(), "there is something to keep away");
    assert!(root(&scripted(&token, &log, &[], "exit 1")).initialise(0, 0).await.is_err());
    let seen = std::fs::read_to_string(&log).unwrap();
    // The shell's own besides.
    let fine = ["PATH", "HOME", "TZ", "LANG", "LC_ALL", "LC_CTYPE", "SOFTHSM2_CONF", "PWD", "SHLVL", "OLDPWD", "_"];
    for line in seen.lines() {
        assert!(fine.contains(&line.split('=').next().unwrap()), "{line}");
    }
    assert!(seen.contains("SOFTHSM2_CONF="));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_wrong_pin_a_person_logs_in_first() {
    let Some(token) = Token::start() else { return };
    let wrong = root(&Settings { pin: PinSource::File(token.write_pin("wrong", "00000000")), ..token.settings() });
    assert!(wrong.initialise(0, 0).await.is_err());
    // As a service that is started anew.
    let refused = token.start().initialise(0, 0).await.unwrap_err().to_string();
    assert!(refused.contains("maker's tool"), "{refused}");
    assert!(token.tool(&["--list-objects"]).status.success());
    initialised(&token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_library_or_token_is_named() {
    let Some(token) = Token::start() else { return };
    for (settings, said) in [
        (Settings { library: "/nonexistent.so".into(), ..token.settings() }, "nonexistent"),
        (Settings { token: "other".to_owned(), ..token.settings() }, "no token"),
        (Settings { serial: "0000".to_owned(), ..token.settings() }, "no token"),
        (Settings { pin: PinSource::File("/nonexistent".into()), ..token.settings() }, "PIN"),
    ] {
        let error = root(&settings).initialise(0, 0).await.unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    let mut broken = token.settings();
    broken.launch.program = "/nonexistent".into();
    assert!(matches!(root(&broken).initialise(0, 0).await, Err(RootError::Unavailable(_))));
    // A worker that says nothing, and one that says nonsense.
    for program in ["/bin/true", "/bin/cat"] {
        broken.launch.program = program.into();
        assert!(matches!(root(&broken).initialise(0, 0).await, Err(RootError::Unavailable(_))), "{program}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_share_few_sessions() {
    let Some(token) = Token::start() else { return };
    let root = Arc::new(root(&Settings { sessions: 2, ..token.settings() }));
    root.initialise(0, 0).await.unwrap();
    let callers: Vec<_> = (0..32u8)
        .map(|n| {
            let root = Arc::clone(&root);
            tokio::spawn(async move {
                for round in 0..10 {
                    let plain = SecretBytes::init_with(32, |bytes| bytes.fill(n ^ round));
                    let wrapped = root.wrap(&[n], &plain).await.unwrap();
                    assert!(root.unwrap(&[n], &wrapped).await.unwrap().ct_eq(plain.expose()));
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
}

async fn made(device: &Arc<dyn KeyDevice>, algorithm: KeyAlgorithm, purpose: Purpose) -> (Vec<u8>, Arc<LoadedKey>) {
    assert!(device.supports(algorithm, purpose), "{algorithm} {purpose}");
    let reference = device.draw(algorithm, purpose).unwrap();
    let public = device.generate(&reference, algorithm, purpose, "a test").await.unwrap();
    let remote = device.open(&reference, algorithm, purpose).await.unwrap();
    let key = tokio::task::spawn_blocking(move || LoadedKey::remote(remote, algorithm, purpose, public).unwrap());
    (reference, Arc::new(key.await.unwrap()))
}

async fn used<T: Send + 'static>(key: &Arc<LoadedKey>, work: impl FnOnce(&LoadedKey) -> T + Send + 'static) -> T {
    let key = Arc::clone(key);
    tokio::task::spawn_blocking(move || work(&key)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_in_the_device_sign_as_everybody_verifies() {
    let Some(token) = Token::start() else { return };
    let root = initialised(&token).await;
    let device = root.device().unwrap();
    for algorithm in [
        KeyAlgorithm::EcP256,
        KeyAlgorithm::EcP384,
        KeyAlgorithm::EcP521,
        KeyAlgorithm::Ed25519,
        KeyAlgorithm::Rsa2048,
        KeyAlgorithm::Rsa3072,
        KeyAlgorithm::Rsa4096,
    ] {
        let (_, key) = made(&device, algorithm, Purpose::Sign).await;
        for &scheme in SignatureScheme::ALL.iter().filter(|scheme| scheme.fits(algorithm)) {
            // Several, so that numbers with leading zeros occur.
            for round in 0..8u8 {
                let signature = used(&key, move |key| key.sign(&random(), scheme, Message::Raw(&[round]))).await;
                let signature = signature.unwrap_or_else(|error| panic!("{algorithm} {scheme}: {error}"));
                key.public_key().unwrap().verify(scheme, Message::Raw(&[round]), &signature).unwrap();
                assert!(key.verify(scheme, Message::Raw(b"other"), &signature).is_err());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_in_the_device_encrypt_commit_and_make_tags() {
    let Some(token) = Token::start() else { return };
    let root = initialised(&token).await;
    let device = root.device().unwrap();
    let (reference, key) = made(&device, KeyAlgorithm::Aes256Gcm, Purpose::Encrypt).await;
    let sealed = used(&key, |key| key.seal(&random(), b"aad", &[7; 100_000]).unwrap()).await;
    let bytes = sealed.clone();
    assert!(used(&key, move |key| key.open(b"aad", &bytes).unwrap()).await.ct_eq(&[7; 100_000]));
    let bytes = sealed.clone();
    assert_eq!(used(&key, move |key| key.open(b"other", &bytes).unwrap_err()).await, CryptoError::Open);
    let mut bytes = sealed.clone();
    bytes[20] ^= 1;
    assert_eq!(used(&key, move |key| key.open(b"aad", &bytes).unwrap_err()).await, CryptoError::Open);
    // The same commitments whenever it is opened, and others for another key.
    let commitment = key.commitment(b"message").unwrap();
    let again = device.open(&reference, KeyAlgorithm::Aes256Gcm, Purpose::Encrypt).await.unwrap();
    let again = tokio::task::spawn_blocking(|| {
        LoadedKey::remote(again, KeyAlgorithm::Aes256Gcm, Purpose::Encrypt, None).unwrap()
    });
    assert_eq!(again.await.unwrap().commitment(b"message").unwrap(), commitment);
    let (_, other) = made(&device, KeyAlgorithm::Aes256Gcm, Purpose::Encrypt).await;
    assert_ne!(other.commitment(b"message").unwrap(), commitment);
    for algorithm in [KeyAlgorithm::HmacSha256, KeyAlgorithm::HmacSha384, KeyAlgorithm::HmacSha512] {
        let (_, key) = made(&device, algorithm, Purpose::Mac).await;
        used(&key, |key| {
            let tag = key.mac(b"data").unwrap();
            key.verify_mac(b"data", &tag).unwrap();
            assert_eq!(key.verify_mac(b"other", &tag).unwrap_err(), CryptoError::NotVerified);
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_token_cannot_do_is_not_promised() {
    let Some(token) = Token::start() else { return };
    let root = initialised(&token).await;
    let device = root.device().unwrap();
    // SoftHSM has OAEP with SHA-1 only; the rest nobody has.
    for (algorithm, purpose) in [
        (KeyAlgorithm::Rsa2048, Purpose::Encrypt),
        (KeyAlgorithm::Xaes256Gcm, Purpose::Encrypt),
        (KeyAlgorithm::MlDsa65, Purpose::Sign),
        (KeyAlgorithm::EcP256, Purpose::Agree),
    ] {
        assert!(!device.supports(algorithm, purpose));
        assert!(matches!(device.draw(algorithm, purpose), Err(RootError::Refused(_))));
    }
    assert!(device.list().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_listed_erased_and_found_after_a_restart() {
    let Some(token) = Token::start() else { return };
    let first = token.start();
    let public = first.initialise(0, 0).await.unwrap().public;
    let device = first.device().unwrap();
    let (signing, _) = made(&device, KeyAlgorithm::EcP256, Purpose::Sign).await;
    let (cipher, key) = made(&device, KeyAlgorithm::Aes256Gcm, Purpose::Encrypt).await;
    let sealed = used(&key, |key| key.seal(&random(), b"", b"text").unwrap()).await;
    // A second root on the same token neither sees nor reaches them.
    let other = root(&Settings { key_label: "other-root".to_owned(), ..token.settings() });
    other.initialise(0, 0).await.unwrap();
    let foreign = other.device().unwrap();
    assert!(foreign.list().await.unwrap().is_empty());
    let reached = foreign.open(&cipher, KeyAlgorithm::Aes256Gcm, Purpose::Encrypt).await.err().unwrap();
    assert!(matches!(reached, RootError::Missing));
    first.seal().await;
    let closed = used(&key, |key| key.seal(&random(), b"", b"x").unwrap_err()).await;
    assert_eq!(closed, CryptoError::Remote(RemoteFault::Unavailable));
    assert!(matches!(device.list().await, Err(RootError::Sealed)));
    let second = token.start();
    second.configure(&public).await.unwrap();
    let device = second.device().unwrap();
    let mut listed = device.list().await.unwrap();
    listed.sort();
    let mut expected = vec![signing.clone(), cipher.clone()];
    expected.sort();
    assert_eq!(listed, expected);
    let opened = device.open(&cipher, KeyAlgorithm::Aes256Gcm, Purpose::Encrypt).await.unwrap();
    let text = tokio::task::spawn_blocking(move || opened.open(b"", &sealed).unwrap()).await.unwrap();
    assert!(text.ct_eq(b"text"));
    let wrong = device.open(&cipher, KeyAlgorithm::EcP256, Purpose::Sign).await.err().unwrap();
    assert!(matches!(wrong, RootError::Unwrap));
    assert!(matches!(device.open(b"", KeyAlgorithm::EcP256, Purpose::Sign).await.err().unwrap(), RootError::Unwrap));
    for _ in 0..2 {
        device.erase(&cipher).await.unwrap();
        device.erase(&signing).await.unwrap();
    }
    assert!(device.list().await.unwrap().is_empty());
    let gone = device.open(&cipher, KeyAlgorithm::Aes256Gcm, Purpose::Encrypt).await.err().unwrap();
    assert!(matches!(gone, RootError::Missing));
    second.wrap(b"", &secret()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_in_the_device_outlive_the_worker() {
    let Some(token) = Token::start() else { return };
    let root = initialised(&token).await;
    let device = root.device().unwrap();
    let (_, key) = made(&device, KeyAlgorithm::EcP256, Purpose::Sign).await;
    signal(&root, Signal::KILL);
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let signed = used(&key, |key| key.sign(&random(), SignatureScheme::EcdsaSha256, Message::Raw(b"m"))).await;
        match signed {
            Ok(_) => break,
            Err(error) => assert_eq!(error, CryptoError::Remote(RemoteFault::Unavailable)),
        }
        assert!(Instant::now() < end);
    }
}

/// With the maker's own tools, as somebody with the PIN would try it.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_a_key_out() {
    let Some(token) = Token::start() else { return };
    let root = initialised(&token).await;
    let device = root.device().unwrap();
    made(&device, KeyAlgorithm::Rsa2048, Purpose::Sign).await;
    made(&device, KeyAlgorithm::Aes256Gcm, Purpose::Encrypt).await;
    made(&device, KeyAlgorithm::HmacSha256, Purpose::Mac).await;
    let (looked_at, taken) = token.try_to_export();
    assert_eq!(looked_at, 4, "the root key and three others");
    assert_eq!(taken, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_could_be_taken_out_is_refused() {
    let Some(token) = Token::start() else { return };
    let first = token.start();
    let public = first.initialise(0, 0).await.unwrap().public;
    drop(first);
    // Somebody with the PIN replaces the root key by one that they know.
    let id = format!("4b525631{}", public["key"].as_str().unwrap());
    token.replace_by_an_exportable_key(&id, "keyreeve-root");
    let second = token.start();
    let refused = second.configure(&public).await.unwrap_err();
    assert!(matches!(&refused, RootError::Refused(text) if text.contains("does not confirm")), "{refused}");
    let third = token.start();
    assert!(matches!(third.initialise(0, 0).await, Err(RootError::Refused(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_tells_what_it_does() {
    let Some(token) = Token::start() else { return };
    let settings = token.settings();
    let survey = tokio::task::spawn_blocking(move || examine(&settings, false)).await.unwrap().unwrap();
    assert!(survey.library.contains("SoftHSM") && survey.model.contains("SoftHSM"));
    assert_eq!(survey.label, Softhsm::LABEL);
    assert!(survey.lacks_for_root().is_empty());
    assert!(survey.offers(KeyAlgorithm::Rsa4096, Purpose::Sign));
    assert!(!survey.takes_oaep(HashAlgorithm::Sha256));
    assert!(survey.login_forbidden().is_none());
}
