//! What all services have in common: the port's suite over a service in this process, and what becomes of callers when
//! it is slow, out, or refuses.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use keyreeve_crypto::key::LoadedKey;
use keyreeve_crypto::material::Material;
use keyreeve_crypto::random::Random;
use keyreeve_crypto::{KeyAlgorithm, Purpose};
use keyreeve_root::conformance::{RootFixture, root_suite};
use keyreeve_root::{Root, RootError, SealStatus};
use keyreeve_root_cloud::{Bound, CloudRoot, Limits, RemoteError, RemoteWrap};
use keyreeve_secret::{SecretArray, SecretBytes};
use parking_lot::Mutex;
use tokio::time::{Instant, advance, sleep};

/// What a service is doing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Well,
    /// Answers after this long.
    Slow(Duration),
    Out,
    Silent,
    Refusing,
}

/// A service in this process.
struct Service {
    name: Mutex<String>,
    key: LoadedKey,
    random: Random,
    mood: Mutex<Mood>,
    unwraps: AtomicUsize,
    wraps: AtomicUsize,
}

impl Service {
    fn new() -> Arc<Self> {
        let random = Random::from_module().unwrap();
        let material = Material::parse(KeyAlgorithm::Xaes256Gcm, random.secret_array::<32>().unwrap().into()).unwrap();
        Arc::new(Self {
            name: Mutex::new(hex::encode(random.nonce_array::<8>().unwrap())),
            key: LoadedKey::load(&material, Purpose::Encrypt).unwrap(),
            random,
            mood: Mutex::new(Mood::Well),
            unwraps: AtomicUsize::new(0),
            wraps: AtomicUsize::new(0),
        })
    }

    fn be(&self, mood: Mood) {
        *self.mood.lock() = mood;
    }

    fn unwrapped(&self) -> usize {
        self.unwraps.load(Ordering::SeqCst)
    }

    async fn answers(&self) -> Result<(), RemoteError> {
        let mood = *self.mood.lock();
        match mood {
            Mood::Well => Ok(()),
            Mood::Slow(long) => {
                sleep(long).await;
                Ok(())
            }
            Mood::Out => Err(RemoteError::Unreachable("connection refused".to_owned())),
            Mood::Silent => std::future::pending().await,
            Mood::Refusing => Err(RemoteError::Refused("it answered 403 AccessDenied".to_owned())),
        }
    }
}

struct Client(Arc<Service>);

#[async_trait]
impl RemoteWrap for Client {
    fn kind(&self) -> &'static str {
        "in-process"
    }

    async fn resolve(&self) -> Result<String, RemoteError> {
        self.0.answers().await?;
        Ok(self.0.name.lock().clone())
    }

    async fn wrap(&self, recorded: &str, bound: &Bound, key: &SecretArray<32>) -> Result<Vec<u8>, RemoteError> {
        self.0.wraps.fetch_add(1, Ordering::SeqCst);
        self.0.answers().await?;
        assert_eq!(recorded, *self.0.name.lock());
        Ok(self.0.key.seal(&self.0.random, bound, key.expose()).unwrap())
    }

    async fn unwrap(&self, _: &str, bound: &Bound, wrapped: &[u8]) -> Result<SecretArray<32>, RemoteError> {
        self.0.unwraps.fetch_add(1, Ordering::SeqCst);
        self.0.answers().await?;
        let opened = self.0.key.open(bound, wrapped).map_err(|_| RemoteError::Unwrap)?;
        opened.to_array().map_err(|_| RemoteError::Malformed("its length".to_owned()))
    }
}

struct Fixture {
    service: Arc<Service>,
    limits: Limits,
}

impl Fixture {
    fn new() -> Self {
        Self { service: Service::new(), limits: Limits::default() }
    }

    /// An initialised root and something that it wrapped.
    async fn used(&self) -> (CloudRoot<Client>, Vec<u8>) {
        let root = self.start();
        root.initialise(0, 0).await.unwrap();
        let wrapped = root.wrap(b"place", &SecretBytes::copy_from(b"kek")).await.unwrap();
        self.service.unwraps.store(0, Ordering::SeqCst);
        (root, wrapped)
    }
}

impl RootFixture for Fixture {
    type Root = CloudRoot<Client>;

    fn start(&self) -> CloudRoot<Client> {
        CloudRoot::new(Client(self.service.clone()), self.limits, Random::from_module().unwrap())
    }

    fn shares(&self) -> (u8, u8) {
        (0, 0)
    }
}

async fn opens(root: &CloudRoot<Client>, wrapped: &[u8]) -> Result<(), RootError> {
    let unwrapped = root.unwrap(b"place", wrapped).await?;
    assert!(unwrapped.ct_eq(b"kek"));
    Ok(())
}

#[tokio::test]
async fn it_conforms() {
    root_suite(Fixture::new).await;
}

#[tokio::test(start_paused = true)]
async fn a_hundred_callers_are_one_request() {
    let fixture = Fixture::new();
    let (root, wrapped) = fixture.used().await;
    fixture.service.be(Mood::Slow(Duration::from_millis(50)));
    for opened in join_all((0..100).map(|_| opens(&root, &wrapped))).await {
        opened.unwrap();
    }
    assert_eq!(fixture.service.unwrapped(), 1);
    opens(&root, &wrapped).await.unwrap();
    assert_eq!(fixture.service.unwrapped(), 1, "and none when it is in memory");
}

#[tokio::test(start_paused = true)]
async fn callers_that_leave_do_not_take_the_request_with_them() {
    let fixture = Fixture::new();
    let (root, wrapped) = fixture.used().await;
    fixture.service.be(Mood::Slow(Duration::from_millis(500)));
    let impatient = tokio::time::timeout(Duration::from_millis(100), opens(&root, &wrapped));
    let (gone, patient) = tokio::join!(impatient, opens(&root, &wrapped));
    assert!(gone.is_err());
    patient.unwrap();
    assert_eq!(fixture.service.unwrapped(), 1);
    // A request that everybody left is not waited for by those who come later.
    let wrapped = root.wrap(b"place", &SecretBytes::copy_from(b"kek")).await.unwrap();
    fixture.service.be(Mood::Silent);
    assert!(tokio::time::timeout(Duration::from_secs(1), opens(&root, &wrapped)).await.is_err());
    fixture.service.be(Mood::Well);
    let begun = Instant::now();
    opens(&root, &wrapped).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_bridged_for_the_stated_time_and_then_refused() {
    let fixture = Fixture::new();
    let (root, wrapped) = fixture.used().await;
    let keep = fixture.limits.keep;
    opens(&root, &wrapped).await.unwrap();
    fixture.service.be(Mood::Out);
    advance(keep - Duration::from_secs(1)).await;
    opens(&root, &wrapped).await.unwrap();
    assert!(root.check().await.is_err(), "readiness tells of it at once");
    advance(Duration::from_secs(2)).await;
    let begun = Instant::now();
    let refused = opens(&root, &wrapped).await.unwrap_err();
    assert!(matches!(&refused, RootError::Unavailable(_)), "{refused}");
    assert!(begun.elapsed() <= fixture.limits.budget);
    let begun = Instant::now();
    for _ in 0..100 {
        assert!(opens(&root, &wrapped).await.is_err());
        assert!(root.wrap(b"place", &SecretBytes::copy_from(b"kek")).await.is_err());
    }
    assert_eq!(begun.elapsed(), Duration::ZERO, "callers fail at once");
    fixture.service.be(Mood::Well);
    advance(Duration::from_secs(31)).await;
    opens(&root, &wrapped).await.unwrap();
    root.check().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_used_is_asked_for_anew_before_it_ends() {
    let fixture = Fixture::new();
    let (root, wrapped) = fixture.used().await;
    opens(&root, &wrapped).await.unwrap();
    advance(fixture.limits.keep / 2 + Duration::from_secs(1)).await;
    opens(&root, &wrapped).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(fixture.service.unwrapped(), 2, "in the background");
    fixture.service.be(Mood::Silent);
    advance(fixture.limits.keep - Duration::from_secs(2)).await;
    opens(&root, &wrapped).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_refusal_ends_what_was_kept() {
    let fixture = Fixture::new();
    let (root, wrapped) = fixture.used().await;
    opens(&root, &wrapped).await.unwrap();
    fixture.service.be(Mood::Refusing);
    opens(&root, &wrapped).await.unwrap();
    assert!(matches!(root.check().await, Err(RootError::Unavailable(_))));
    assert!(matches!(opens(&root, &wrapped).await, Err(RootError::Unavailable(_))), "the key was disabled");
    fixture.service.be(Mood::Well);
    opens(&root, &wrapped).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_answer_from_before_a_refusal_is_not_kept() {
    let fixture = Fixture::new();
    let (root, wrapped) = fixture.used().await;
    fixture.service.be(Mood::Slow(Duration::from_millis(500)));
    let late = opens(&root, &wrapped);
    let refused = async {
        sleep(Duration::from_millis(100)).await;
        fixture.service.be(Mood::Refusing);
        root.check().await
    };
    let (late, refused) = tokio::join!(late, refused);
    late.unwrap();
    assert!(refused.is_err());
    assert_eq!(root.kept(), 0);
    assert!(opens(&root, &wrapped).await.is_err());
    fixture.service.be(Mood::Well);
    opens(&root, &wrapped).await.unwrap();
    assert_eq!(root.kept(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_check_is_answered_again_for_a_while() {
    let fixture = Fixture::new();
    let (root, _) = fixture.used().await;
    for checked in join_all((0..100).map(|_| root.check())).await {
        checked.unwrap();
    }
    assert_eq!(fixture.service.unwrapped(), 1);
    fixture.service.be(Mood::Refusing);
    root.check().await.unwrap();
    advance(fixture.limits.check).await;
    assert!(root.check().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn who_does_not_wait_for_a_check_spares_the_next_the_waiting() {
    let fixture = Fixture::new();
    let (root, _) = fixture.used().await;
    fixture.service.be(Mood::Silent);
    assert!(tokio::time::timeout(Duration::from_secs(1), root.check()).await.is_err());
    sleep(fixture.limits.budget).await;
    let begun = Instant::now();
    assert!(root.check().await.is_err());
    assert!(begun.elapsed() <= fixture.limits.request, "one request at most, to see whether it is back");
}

#[tokio::test(start_paused = true)]
async fn the_key_is_the_recorded_one_or_nothing() {
    let fixture = Fixture::new();
    let public = fixture.start().initialise(0, 0).await.unwrap().public;
    assert_eq!(public["key"], *fixture.service.name.lock());
    *fixture.service.name.lock() = "another".to_owned();
    let root = fixture.start();
    let refused = root.configure(&public).await.unwrap_err().to_string();
    assert!(refused.contains("another key than the deployment was made with"), "{refused}");
    assert_eq!(root.status(), SealStatus::NotInitialised { people: false });
    // The name alone is not enough: a key of the same name that is another one.
    let imposter = Fixture::new();
    imposter.service.name.lock().clone_from(&public["key"].as_str().unwrap().to_owned());
    let refused = imposter.start().configure(&public).await.unwrap_err().to_string();
    assert!(refused.contains("not the one that this deployment was made with"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_start_during_an_outage_can_be_repeated() {
    let fixture = Fixture::new();
    let public = fixture.start().initialise(0, 0).await.unwrap().public;
    let root = fixture.start();
    fixture.service.be(Mood::Out);
    assert!(matches!(root.configure(&public).await, Err(RootError::Unavailable(_))));
    fixture.service.be(Mood::Well);
    advance(Duration::from_secs(31)).await;
    root.configure(&public).await.unwrap();
    assert_eq!(root.status(), SealStatus::Open);
}

#[tokio::test(start_paused = true)]
async fn nothing_stays_in_memory_beyond_its_time() {
    let fixture = Fixture::new();
    let (root, wrapped) = fixture.used().await;
    opens(&root, &wrapped).await.unwrap();
    assert_eq!(root.kept(), 1);
    advance(fixture.limits.keep + Duration::from_secs(1)).await;
    tokio::task::yield_now().await;
    assert_eq!(root.kept(), 0, "without anybody asking");
    opens(&root, &wrapped).await.unwrap();
    root.seal().await;
    assert_eq!(root.kept(), 0);
}
