//! AWS KMS as root, against moto's: the port's suite, keys that are not usable, credentials that change, outages.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use keyreeve_crypto::random::Random;
use keyreeve_root::conformance::{RootFixture, root_suite};
use keyreeve_root::{Root, RootError, SealStatus};
use keyreeve_root_cloud::aws::{AwsKms, AwsSettings};
use keyreeve_root_cloud::{CloudRoot, Limits};
use keyreeve_secret::SecretBytes;
use keyreeve_tests::{Fate, Middle, Moto, Pki};
use serde_json::json;

/// The rights that docs/operations.md names.
const ACTIONS: [&str; 3] = ["kms:DescribeKey", "kms:Encrypt", "kms:Decrypt"];

/// What tests of KMS ask moto for.
trait Kms {
    fn key(&self) -> String;
    fn settings(&self, key: &str) -> AwsSettings;
    fn root(&self, key: &str) -> CloudRoot<AwsKms>;
}

impl Kms for Moto {
    fn key(&self) -> String {
        self.ask(json!({ "do": "key" }))["arn"].as_str().unwrap().to_owned()
    }

    fn settings(&self, key: &str) -> AwsSettings {
        AwsSettings {
            key: key.to_owned(),
            region: Some("eu-central-1".to_owned()),
            endpoint: Some(self.address()),
            credentials_file: Some(self.credentials()),
            authorities_pem: None,
        }
    }

    fn root(&self, key: &str) -> CloudRoot<AwsKms> {
        over(self.settings(key), Duration::from_secs(60))
    }
}

fn over(settings: AwsSettings, keep: Duration) -> CloudRoot<AwsKms> {
    let limits = Limits { keep, check: Duration::ZERO, ..Limits::default() };
    CloudRoot::new(AwsKms::new(settings, Arc::new(SystemTime::now)), limits, Random::from_module().unwrap())
}

fn kek() -> SecretBytes {
    SecretBytes::copy_from(b"the kek")
}

async fn works(root: &CloudRoot<AwsKms>) {
    let wrapped = root.wrap(b"here", &kek()).await.unwrap();
    assert!(root.unwrap(b"here", &wrapped).await.unwrap().ct_eq(b"the kek"));
    assert!(matches!(root.unwrap(b"there", &wrapped).await, Err(RootError::Unwrap)));
}

fn why<T: std::fmt::Debug>(outcome: Result<T, RootError>) -> String {
    match outcome {
        Err(RootError::Unavailable(why)) => why,
        other => panic!("{other:?}"),
    }
}

struct Fixture<'a> {
    moto: &'a Moto,
    key: String,
}

impl RootFixture for Fixture<'_> {
    type Root = CloudRoot<AwsKms>;

    fn start(&self) -> Self::Root {
        self.moto.root(&self.key)
    }

    fn shares(&self) -> (u8, u8) {
        (0, 0)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_conforms() {
    let Some(moto) = Moto::start() else { return };
    moto.write(&("someone".to_owned(), "something".to_owned()));
    root_suite(|| Fixture { moto: &moto, key: moto.key() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_rights_are_enough_and_each_is_needed() {
    let Some(moto) = Moto::start() else { return };
    let key = moto.key();
    let all = moto.user("keyreeve", &ACTIONS);
    let missing: Vec<_> = ACTIONS
        .iter()
        .map(|left_out| {
            let rest: Vec<_> = ACTIONS.into_iter().filter(|action| action != left_out).collect();
            moto.user(&format!("without-{}", &left_out[4..]), &rest)
        })
        .collect();
    moto.ask(json!({ "do": "enforce" }));
    moto.write(&all);
    let root = moto.root(&key);
    let public = root.initialise(0, 0).await.unwrap().public;
    assert_eq!((root.kind(), &public["key"]), ("aws-kms", &json!(key)));
    works(&root).await;
    for (left_out, credentials) in ACTIONS.iter().zip(&missing) {
        moto.write(credentials);
        let why = why(moto.root(&key).initialise(0, 0).await);
        assert_eq!(why, "aws-kms: it answered AccessDeniedException", "{left_out}");
    }
    moto.write(&("AKIAIOSFODNN7EXAMPLE".to_owned(), "not-the-secret".to_owned()));
    assert_eq!(why(moto.root(&key).initialise(0, 0).await), "aws-kms: it answered UnrecognizedClientException");
    moto.write(&(all.0.clone(), "not-the-secret-at-all".to_owned()));
    assert_eq!(why(moto.root(&key).initialise(0, 0).await), "aws-kms: it answered InvalidSignatureException");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotated_credentials_are_read_without_a_restart() {
    let Some(moto) = Moto::start() else { return };
    let key = moto.key();
    let (old, new) = (moto.user("old", &ACTIONS), moto.user("new", &ACTIONS));
    moto.ask(json!({ "do": "enforce" }));
    moto.write(&old);
    let root = over(moto.settings(&key), Duration::ZERO);
    root.initialise(0, 0).await.unwrap();
    let wrapped = root.wrap(b"here", &kek()).await.unwrap();
    moto.ask(json!({ "do": "drop-credentials", "name": "old", "id": old.0 }));
    assert_eq!(why(root.unwrap(b"here", &wrapped).await), "aws-kms: it answered UnrecognizedClientException");
    moto.write(&new);
    assert!(root.unwrap(b"here", &wrapped).await.unwrap().ct_eq(b"the kek"));
    root.check().await.unwrap();
    std::fs::remove_file(moto.credentials()).unwrap();
    assert!(why(over(moto.settings(&key), Duration::ZERO).initialise(0, 0).await).contains("credentials"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alias_is_recorded_as_the_key_it_names() {
    let Some(moto) = Moto::start() else { return };
    moto.write(&("someone".to_owned(), "something".to_owned()));
    let (key, other) = (moto.key(), moto.key());
    moto.ask(json!({ "do": "alias", "name": "alias/keyreeve", "arn": key }));
    let public = moto.root("alias/keyreeve").initialise(0, 0).await.unwrap().public;
    assert_eq!(public["key"], json!(key));
    moto.root("alias/keyreeve").configure(&public).await.unwrap();
    moto.root(&key).configure(&public).await.unwrap();
    assert!(why(moto.root(&other).configure(&public).await).contains("another key than the deployment was made with"));
    moto.ask(json!({ "do": "move-alias", "name": "alias/keyreeve", "arn": other }));
    let moved = moto.root("alias/keyreeve");
    assert!(why(moved.configure(&public).await).contains("another key than the deployment was made with"));
    assert_eq!(moved.status(), SealStatus::NotInitialised { people: false });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_disabled_or_about_to_go_is_not_used() {
    let Some(moto) = Moto::start() else { return };
    moto.write(&("someone".to_owned(), "something".to_owned()));
    let key = moto.key();
    let root = moto.root(&key);
    let public = root.initialise(0, 0).await.unwrap().public;
    let wrapped = root.wrap(b"here", &kek()).await.unwrap();
    root.unwrap(b"here", &wrapped).await.unwrap();
    for (what, answer) in [("disable", "DisabledException"), ("delete-later", "KMSInvalidStateException")] {
        moto.ask(json!({ "do": what, "arn": key }));
        assert_eq!(why(root.check().await), format!("aws-kms: it answered {answer}"));
        assert_eq!(root.kept(), 0, "the refusal wipes what was kept");
        assert_eq!(why(root.unwrap(b"here", &wrapped).await), format!("aws-kms: it answered {answer}"));
        assert!(why(root.wrap(b"here", &kek()).await).contains(answer));
        assert!(why(moto.root(&key).configure(&public).await).contains(answer));
        assert_eq!(why(moto.root(&key).initialise(0, 0).await), "aws-kms: the key is not enabled");
        if what == "disable" {
            moto.ask(json!({ "do": "enable", "arn": key }));
            assert!(root.unwrap(b"here", &wrapped).await.unwrap().ct_eq(b"the kek"));
        }
    }
    let asymmetric = moto.ask(json!({ "do": "key", "spec": "RSA_2048" }));
    let refused = why(moto.root(asymmetric["arn"].as_str().unwrap()).initialise(0, 0).await);
    assert!(refused.contains("SYMMETRIC_DEFAULT"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_passes_and_nothing_is_lost() {
    let Some(moto) = Moto::start() else { return };
    moto.write(&("someone".to_owned(), "something".to_owned()));
    let key = moto.key();
    let root = moto.root(&key);
    root.initialise(0, 0).await.unwrap();
    let (kept, fresh) = (root.wrap(b"1", &kek()).await.unwrap(), root.wrap(b"2", &kek()).await.unwrap());
    root.unwrap(b"1", &kept).await.unwrap();
    moto.ask(json!({ "do": "stop" }));
    root.unwrap(b"1", &kept).await.unwrap();
    why(root.unwrap(b"2", &fresh).await);
    let begun = std::time::Instant::now();
    assert!(why(root.unwrap(b"2", &fresh).await).contains("asked again within"));
    assert!(begun.elapsed() < Duration::from_secs(1), "callers fail at once");
    moto.ask(json!({ "do": "start" }));
    let back = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        while root.unwrap(b"2", &fresh).await.is_err() {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(40), back).await.unwrap();
    root.check().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttling_and_failures_in_between_are_ridden_out() {
    let Some(moto) = Moto::start() else { return };
    moto.write(&("someone".to_owned(), "something".to_owned()));
    let key = moto.key();
    let middle = Middle::before(&moto.address(), Pki::new("nobody").pem()).await;
    let root = over(AwsSettings { endpoint: Some(middle.address().to_owned()), ..moto.settings(&key) }, Duration::ZERO);
    root.initialise(0, 0).await.unwrap();
    let answers = [
        (400, r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#),
        (500, r#"{"__type":"KMSInternalException"}"#),
        (503, "<html>Service Unavailable</html>"),
    ];
    for (status, body) in answers {
        let left = Arc::new(AtomicUsize::new(3));
        let counted = left.clone();
        middle.rule(move |_| {
            let failing = counted.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            if failing { Fate::Answer(status, "", body.to_owned()) } else { Fate::Pass }
        });
        works(&root).await;
        assert_eq!(left.load(Ordering::SeqCst), 0, "{body}");
    }
    middle.rule(|_| Fate::Answer(400, "", r#"{"__type":"AccessDeniedException"}"#.to_owned()));
    let before = middle.seen("/");
    assert!(why(root.wrap(b"here", &kek()).await).contains("AccessDeniedException"));
    assert_eq!(middle.seen("/"), before + 1, "a refusal is not asked for again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_another_form_are_refused() {
    let Some(moto) = Moto::start() else { return };
    moto.write(&("someone".to_owned(), "something".to_owned()));
    let key = moto.key();
    let middle = Middle::before(&moto.address(), Pki::new("nobody").pem()).await;
    let root = over(AwsSettings { endpoint: Some(middle.address().to_owned()), ..moto.settings(&key) }, Duration::ZERO);
    root.initialise(0, 0).await.unwrap();
    let wrapped = root.wrap(b"here", &kek()).await.unwrap();
    let long = format!(r#"{{"Plaintext":"{}"}}"#, "A".repeat(100_000));
    let other_key = r#"{"KeyId":"arn:aws:kms:eu-central-1:1:key/x","Plaintext":"AAAA"}"#.to_owned();
    for body in ["{}".to_owned(), "[]".to_owned(), "no json".to_owned(), other_key, long] {
        let answer = body.clone();
        middle.rule(move |_| Fate::Answer(200, "content-type: application/x-amz-json-1.1\r\n", answer.clone()));
        assert!(root.unwrap(b"here", &wrapped).await.is_err(), "{body}");
    }
    middle.rule(|_| Fate::Answer(302, "location: http://169.254.169.254/\r\n", String::new()));
    assert!(root.unwrap(b"here", &wrapped).await.is_err(), "no redirect is followed");
    middle.rule(|_| Fate::Pass);
    root.unwrap(b"here", &wrapped).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_is_assumed_with_a_web_identity() {
    let Some(moto) = Moto::start() else { return };
    let key = moto.key();
    let role = moto.ask(json!({ "do": "role", "name": "keyreeve" }));
    let token = moto.home().join("token");
    // What moto reads of it: it does not verify the signature.
    std::fs::write(&token, "eyJhbGciOiJub25lIn0.eyJzdWIiOiJrZXlyZWV2ZSJ9.").unwrap();
    let text = format!(
        "[default]\nregion = eu-central-1\nendpoint_url = {}\nrole_arn = {}\nweb_identity_token_file = {}\n\
         role_session_name = keyreeve\n",
        moto.address(),
        role["arn"].as_str().unwrap(),
        token.display()
    );
    std::fs::write(moto.credentials(), text).unwrap();
    let root = moto.root(&key);
    root.initialise(0, 0).await.unwrap();
    works(&root).await;
    std::fs::remove_file(&token).unwrap();
    assert!(why(moto.root(&key).initialise(0, 0).await).contains("credentials"));
}
