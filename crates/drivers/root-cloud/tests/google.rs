//! Google Cloud KMS as root, against a service built on Google's published messages and libraries: the port's suite,
//! every way to authenticate, and what may happen on the way.
#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keyreeve_crypto::random::Random;
use keyreeve_root::conformance::{RootFixture, root_suite};
use keyreeve_root::{Root, RootError};
use keyreeve_root_cloud::google::{Credentials, GoogleKms, GoogleOptions};
use keyreeve_root_cloud::http::Https;
use keyreeve_root_cloud::{CloudRoot, Limits};
use keyreeve_secret::SecretBytes;
use keyreeve_tests::GoogleCloud;
use serde_json::{Value, json};

fn kms(cloud: &GoogleCloud, key: &str, credentials: Credentials) -> GoogleKms {
    let https = Https::new(Some(cloud.ca_pem().as_bytes())).unwrap().with_plain_loopback();
    let options = GoogleOptions { key: cloud.key(key), credentials, endpoint: Some(cloud.address().to_owned()) };
    GoogleKms::new(options, https, Arc::new(SystemTime::now), Random::from_module().unwrap()).unwrap()
}

fn account(cloud: &GoogleCloud) -> Credentials {
    Credentials::File(cloud.file("service-account.json"))
}

fn over(kms: GoogleKms, keep: Duration) -> CloudRoot<GoogleKms> {
    CloudRoot::new(kms, Limits { keep, check: Duration::ZERO, ..Limits::default() }, Random::from_module().unwrap())
}

/// A root that keeps nothing, so that each unwrap is asked for; and something that it wrapped.
async fn root(cloud: &GoogleCloud) -> (CloudRoot<GoogleKms>, Vec<u8>) {
    let root = over(kms(cloud, "root", account(cloud)), Duration::ZERO);
    root.initialise(0, 0).await.unwrap();
    let wrapped = root.wrap(b"here", &secret()).await.unwrap();
    (root, wrapped)
}

fn secret() -> SecretBytes {
    SecretBytes::copy_from(b"the kek")
}

async fn opens(root: &CloudRoot<GoogleKms>, wrapped: &[u8]) {
    assert!(root.unwrap(b"here", wrapped).await.unwrap().ct_eq(b"the kek"));
}

fn why(outcome: Result<SecretBytes, RootError>) -> String {
    match outcome {
        Err(RootError::Unavailable(why)) => why,
        other => panic!("{other:?}"),
    }
}

async fn asked(cloud: &GoogleCloud, what: &str) -> u64 {
    cloud.control(json!({})).await[what].as_u64().unwrap_or_default()
}

struct Fixture<'a>(&'a GoogleCloud, String);

impl RootFixture for Fixture<'_> {
    type Root = CloudRoot<GoogleKms>;

    fn start(&self) -> Self::Root {
        over(kms(self.0, &self.1, account(self.0)), Duration::from_secs(60))
    }

    fn shares(&self) -> (u8, u8) {
        (0, 0)
    }
}

mod cloudkms {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn it_passes_the_suite() {
        let Some(cloud) = GoogleCloud::start() else { return };
        let keys = Cell::new(0);
        root_suite(|| Fixture(&cloud, format!("root-{}", keys.replace(keys.get() + 1)))).await;
    }

    #[tokio::test]
    async fn every_way_to_authenticate_gets_a_token() {
        let Some(cloud) = GoogleCloud::start() else { return };
        for (credentials, asks) in [
            (account(&cloud), "/token"),
            (Credentials::File(cloud.file("federated.json")), "/sts/v1/token"),
            (Credentials::File(cloud.file("impersonating.json")), "generateAccessToken"),
            (Credentials::Metadata(Some(cloud.metadata().to_owned())), "metadata"),
        ] {
            let before = asked(&cloud, asks).await;
            let root = over(kms(&cloud, "root", credentials), Duration::ZERO);
            root.initialise(0, 0).await.unwrap();
            let wrapped = root.wrap(b"here", &secret()).await.unwrap();
            opens(&root, &wrapped).await;
            assert_eq!(asked(&cloud, asks).await, before + 1, "{asks}: one token for all of it");
        }
    }

    #[tokio::test]
    async fn credentials_that_are_not_accepted_are_refused_at_once() {
        let Some(cloud) = GoogleCloud::start() else { return };
        let root = over(kms(&cloud, "root", Credentials::File(cloud.file("stranger.json"))), Duration::ZERO);
        let refused = root.initialise(0, 0).await.unwrap_err().to_string();
        assert!(refused.contains("no access token: it answered 400 invalid_grant"), "{refused}");
        assert_eq!(asked(&cloud, "/token").await, 1);
        let root = over(kms(&cloud, "root", Credentials::File(cloud.file("missing.json"))), Duration::ZERO);
        assert!(root.initialise(0, 0).await.unwrap_err().to_string().contains("missing.json"));
    }

    #[tokio::test]
    async fn a_token_is_renewed_before_its_end_and_when_it_is_not_accepted() {
        let Some(cloud) = GoogleCloud::start() else { return };
        let (root, wrapped) = root(&cloud).await;
        assert_eq!(asked(&cloud, "/token").await, 1);
        cloud.control(json!({ "forget": true })).await;
        opens(&root, &wrapped).await;
        assert_eq!(asked(&cloud, "/token").await, 2);
        // One that is over at once is never used twice.
        cloud.control(json!({ "forget": true, "lifetime": 1 })).await;
        opens(&root, &wrapped).await;
        let begun = tokio::time::Instant::now();
        while asked(&cloud, "/token").await < 4 {
            opens(&root, &wrapped).await;
            assert!(begun.elapsed() < Duration::from_secs(60), "it is not renewed");
        }
    }

    #[tokio::test]
    async fn what_is_damaged_on_the_way_is_neither_stored_nor_used() {
        let Some(cloud) = GoogleCloud::start() else { return };
        let (root, wrapped) = root(&cloud).await;
        for damage in ["answer", "request"] {
            // Once: asked again, and well.
            cloud.control(json!({ "damage": damage, "times": 1 })).await;
            opens(&root, &wrapped).await;
            cloud.control(json!({ "damage": damage, "times": 1 })).await;
            let again = root.wrap(b"here", &secret()).await.unwrap();
            opens(&root, &again).await;
        }
        cloud.control(json!({ "damage": "answer", "times": 1_000_000 })).await;
        let said = why(root.unwrap(b"here", &wrapped).await);
        assert!(said.contains("damaged on the way"), "{said}");
    }

    #[tokio::test]
    async fn it_waits_when_the_quota_is_used_up() {
        let Some(cloud) = GoogleCloud::start() else { return };
        let (root, wrapped) = root(&cloud).await;
        let before = asked(&cloud, "decrypt").await;
        cloud.control(json!({ "throttle": 2 })).await;
        opens(&root, &wrapped).await;
        assert_eq!(asked(&cloud, "decrypt").await - before, 3);
    }

    #[tokio::test]
    async fn what_is_refused_is_not_tried_again() {
        let Some(cloud) = GoogleCloud::start() else { return };
        let (root, wrapped) = root(&cloud).await;
        for (told, said) in [(json!({ "deny": true }), "PERMISSION_DENIED"), (json!({ "disabled": true }), "disabled")]
        {
            let before = cloud.control(told).await["decrypt"].as_u64().unwrap_or_default();
            let why = why(root.unwrap(b"here", &wrapped).await);
            assert!(why.contains(said), "{why}");
            // Once for it, and once for the check value, which tells a refusal from something that was altered.
            assert_eq!(asked(&cloud, "decrypt").await - before, 2, "{said}");
            cloud.control(json!({ "deny": false, "disabled": false })).await;
            opens(&root, &wrapped).await;
        }
    }

    #[tokio::test]
    async fn an_outage_is_bridged_for_the_stated_time_and_ends() {
        let Some(cloud) = GoogleCloud::start() else { return };
        let keep = Duration::from_secs(3);
        let root = over(kms(&cloud, "root", account(&cloud)), keep);
        root.initialise(0, 0).await.unwrap();
        let wrapped = root.wrap(b"here", &secret()).await.unwrap();
        let unwrapped = tokio::time::Instant::now();
        opens(&root, &wrapped).await;
        cloud.control(json!({ "down": true })).await;
        let mut served = 0;
        let refused = loop {
            match root.unwrap(b"here", &wrapped).await {
                Ok(_) => served += 1,
                Err(error) => break error,
            }
            assert!(unwrapped.elapsed() < keep * 4, "kept for longer than stated");
            tokio::task::yield_now().await;
        };
        assert!(served > 0 && matches!(refused, RootError::Unavailable(_)), "{served}, {refused}");
        cloud.control(json!({ "down": false })).await;
        let begun = tokio::time::Instant::now();
        while let Err(error) = root.unwrap(b"here", &wrapped).await {
            assert!(begun.elapsed() < Duration::from_secs(60), "{error}");
            tokio::task::yield_now().await;
        }
        root.check().await.unwrap();
    }

    #[tokio::test]
    async fn a_configuration_that_names_another_key_is_refused() {
        let Some(cloud) = GoogleCloud::start() else { return };
        let first = over(kms(&cloud, "root", account(&cloud)), Duration::ZERO);
        let public: Value = first.initialise(0, 0).await.unwrap().public;
        let other = over(kms(&cloud, "other", account(&cloud)), Duration::ZERO);
        let refused = other.configure(&public).await.unwrap_err().to_string();
        assert!(refused.contains("names another key") && refused.contains("cryptoKeys/root"), "{refused}");
    }
}
