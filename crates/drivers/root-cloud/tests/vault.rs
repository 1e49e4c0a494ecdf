//! The transit engine of a genuine Vault as root: the port's suite, every way in, and what may happen on the way.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keyreeve_crypto::random::Random;
use keyreeve_root::conformance::{RootFixture, root_suite};
use keyreeve_root::{Root, RootError};
use keyreeve_root_cloud::http::Https;
use keyreeve_root_cloud::vault::{Login, VaultOptions, VaultTransit};
use keyreeve_root_cloud::{CloudRoot, Limits};
use keyreeve_secret::SecretBytes;
use keyreeve_tests::{Fate, Middle, Passing, Vault};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The rights that docs/operations.md names, on keys whose names begin with `root-`.
const POLICY: &str = r#"
path "transit/keys/root-*" { capabilities = ["read"] }
path "transit/encrypt/root-*" { capabilities = ["update"] }
path "transit/decrypt/root-*" { capabilities = ["update"] }
"#;

struct World {
    vault: Vault,
    home: TempDir,
    keys: AtomicUsize,
}

impl World {
    async fn new() -> Option<Self> {
        let vault = Vault::start().await?;
        vault.post("sys/policies/acl/keyreeve", json!({ "policy": POLICY })).await;
        Some(Self { vault, home: tempfile::tempdir().unwrap(), keys: AtomicUsize::new(0) })
    }

    async fn key(&self, settings: Value) -> String {
        let name = format!("root-{}", self.keys.fetch_add(1, Ordering::SeqCst));
        self.vault.post(&format!("transit/keys/{name}"), settings).await;
        name
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.home.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    async fn token(&self) -> Login {
        let token = self.vault.token(&["keyreeve"], "1h").await;
        Login::Token { file: self.file("token", &token) }
    }

    fn https(&self) -> Https {
        Https::new(Some(self.vault.pki().pem().as_bytes())).unwrap().with_plain_loopback()
    }

    fn transit(&self, address: &str, key: &str, login: Login) -> VaultTransit {
        self.transit_over(self.https(), address, key, login)
    }

    fn transit_over(&self, https: Https, address: &str, key: &str, login: Login) -> VaultTransit {
        let options = VaultOptions {
            address: address.to_owned(),
            namespace: None,
            mount: "transit".to_owned(),
            key: key.to_owned(),
            login,
        };
        VaultTransit::new(options, https).unwrap()
    }

    /// A root that keeps nothing, so that each unwrap is asked for.
    async fn root(&self, address: &str, login: Login) -> CloudRoot<VaultTransit> {
        let root = over(self.transit(address, &self.key(json!({})).await, login), Duration::ZERO);
        root.initialise(0, 0).await.unwrap();
        root
    }

    async fn middle(&self) -> Middle {
        Middle::before(self.vault.address(), self.vault.pki().pem()).await
    }
}

fn over(transit: VaultTransit, keep: Duration) -> CloudRoot<VaultTransit> {
    CloudRoot::new(transit, Limits { keep, check: Duration::ZERO, ..Limits::default() }, Random::from_module().unwrap())
}

fn secret() -> SecretBytes {
    SecretBytes::copy_from(b"the kek")
}

async fn works(root: &CloudRoot<VaultTransit>) {
    let wrapped = root.wrap(b"here", &secret()).await.unwrap();
    assert!(root.unwrap(b"here", &wrapped).await.unwrap().ct_eq(b"the kek"));
    assert!(matches!(root.unwrap(b"there", &wrapped).await, Err(RootError::Unwrap)));
}

fn why(outcome: Result<SecretBytes, RootError>) -> String {
    match outcome {
        Err(RootError::Unavailable(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// What servers before 1.10 did: they did not know the parameter, and left it alone.
fn without_associated_data(request: &Passing) -> Fate {
    let Ok(mut body) = serde_json::from_slice::<Value>(&request.body) else { return Fate::Pass };
    match body.as_object_mut().and_then(|body| body.remove("associated_data")) {
        Some(_) => Fate::PassWith(body.to_string().into_bytes()),
        None => Fate::Pass,
    }
}

struct Fixture<'a> {
    world: &'a World,
    address: &'a str,
    key: String,
    login: Login,
}

impl RootFixture for Fixture<'_> {
    type Root = CloudRoot<VaultTransit>;

    fn start(&self) -> Self::Root {
        over(self.world.transit(self.address, &self.key, self.login.clone()), Duration::from_secs(60))
    }

    fn shares(&self) -> (u8, u8) {
        (0, 0)
    }
}

/// The suite makes its fixtures itself, and is not asynchronous there: the keys are made beforehand.
async fn suite(world: &World, address: &str) {
    let login = world.token().await;
    let mut keys = Vec::new();
    for _ in 0..32 {
        keys.push(world.key(json!({})).await);
    }
    let keys = std::cell::RefCell::new(keys);
    let fixture = || Fixture { world, address, key: keys.borrow_mut().pop().unwrap(), login: login.clone() };
    root_suite(fixture).await;
}

mod transit {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_genuine_vault_passes_the_suite() {
        let Some(world) = World::new().await else { return };
        suite(&world, world.vault.address()).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_server_that_does_not_know_associated_data_passes_it_too() {
        let Some(world) = World::new().await else { return };
        let middle = world.middle().await;
        middle.rule(without_associated_data);
        suite(&world, middle.address()).await;
    }

    #[tokio::test]
    async fn what_an_old_server_wrapped_opens_after_it_was_upgraded() {
        let Some(world) = World::new().await else { return };
        let middle = world.middle().await;
        middle.rule(without_associated_data);
        let root = world.root(middle.address(), world.token().await).await;
        let wrapped = root.wrap(b"here", &secret()).await.unwrap();
        middle.rule(|_| Fate::Pass);
        assert!(root.unwrap(b"here", &wrapped).await.unwrap().ct_eq(b"the kek"));
        works(&root).await;
    }

    #[tokio::test]
    async fn it_logs_in_with_an_approle() {
        let Some(world) = World::new().await else { return };
        let (role_id_file, secret_id_file) = approle(&world, false).await;
        let login = Login::AppRole { mount: "approle".to_owned(), role_id_file, secret_id_file, wrapped: false };
        works(&world.root(world.vault.address(), login).await).await;
    }

    #[tokio::test]
    async fn it_opens_the_wrapping_of_a_secret_id_once() {
        let Some(world) = World::new().await else { return };
        let (role_id_file, secret_id_file) = approle(&world, true).await;
        let login = Login::AppRole { mount: "approle".to_owned(), role_id_file, secret_id_file, wrapped: true };
        let root = world.root(world.vault.address(), login.clone()).await;
        works(&root).await;
        // A second process finds the wrapping open: it may have been anybody.
        let second = over(world.transit(world.vault.address(), "root-0", login), Duration::ZERO);
        let refused = second.initialise(0, 0).await.unwrap_err().to_string();
        assert!(refused.contains("take the secret id for stolen"), "{refused}");
    }

    #[tokio::test]
    async fn a_wrapping_that_somebody_else_made_is_not_opened() {
        let Some(world) = World::new().await else { return };
        let (role_id_file, _) = approle(&world, false).await;
        let theirs = world.vault.call_wrapped("sys/wrapping/wrap", &json!({ "secret_id": "theirs" })).await;
        let secret_id_file = world.file("theirs", &theirs);
        let login = Login::AppRole { mount: "approle".to_owned(), role_id_file, secret_id_file, wrapped: true };
        let root = over(world.transit(world.vault.address(), "root-0", login), Duration::ZERO);
        let refused = root.initialise(0, 0).await.unwrap_err().to_string();
        assert!(refused.contains("somebody put another in its place"), "{refused}");
    }

    async fn approle(world: &World, wrapped: bool) -> (PathBuf, PathBuf) {
        world.vault.post("sys/auth/approle", json!({ "type": "approle" })).await;
        let role = json!({ "token_policies": ["keyreeve"], "token_ttl": "1h" });
        world.vault.post("auth/approle/role/keyreeve", role).await;
        let get = http_get();
        let id = world.vault.call(get, "auth/approle/role/keyreeve/role-id", &Value::Null).await;
        let path = "auth/approle/role/keyreeve/secret-id";
        let secret = if wrapped {
            world.vault.call_wrapped(path, &json!({})).await
        } else {
            world.vault.post(path, json!({})).await["data"]["secret_id"].as_str().unwrap().to_owned()
        };
        (world.file("role-id", id["data"]["role_id"].as_str().unwrap()), world.file("secret-id", &secret))
    }

    fn http_get() -> keyreeve_tests::Method {
        keyreeve_tests::Method::GET
    }

    #[tokio::test]
    async fn it_logs_in_with_a_certificate() {
        let Some(world) = World::new().await else { return };
        world.vault.post("sys/auth/cert", json!({ "type": "cert" })).await;
        let role = json!({
            "certificate": world.vault.pki().pem(), "allowed_dns_sans": ["kms.example.com"],
            "token_policies": ["keyreeve"], "token_ttl": "1h",
        });
        world.vault.post("auth/cert/certs/keyreeve", role).await;
        for (name, role, fits) in [
            ("kms.example.com", Some("keyreeve".to_owned()), true),
            ("kms.example.com", None, true),
            ("other.example.com", None, false),
        ] {
            let (certificate, key) = world.vault.pki().client(name);
            let identity = SecretBytes::from_vec([certificate, key].concat().into_bytes());
            let https = Https::with_identity(Some(world.vault.pki().pem().as_bytes()), Some(&identity)).unwrap();
            let login = Login::Certificate { mount: "cert".to_owned(), role };
            let key = world.key(json!({})).await;
            let transit = world.transit_over(https, world.vault.address(), &key, login);
            let root = over(transit, Duration::ZERO);
            assert_eq!(root.initialise(0, 0).await.is_ok(), fits, "{name}");
            if fits {
                works(&root).await;
            }
        }
    }

    #[tokio::test]
    async fn it_logs_in_with_the_token_of_a_pod() {
        let Some(world) = World::new().await else { return };
        let cluster = cluster().await;
        world.vault.post("sys/auth/kubernetes", json!({ "type": "kubernetes" })).await;
        let config = json!({
            "kubernetes_host": cluster.address(), "token_reviewer_jwt": pod_token("vault"),
            "disable_local_ca_jwt": true, "kubernetes_ca_cert": world.vault.pki().pem(),
        });
        world.vault.post("auth/kubernetes/config", config).await;
        let role = json!({
            "bound_service_account_names": ["keyreeve"], "bound_service_account_namespaces": ["keys"],
            "token_policies": ["keyreeve"], "token_ttl": "1h",
        });
        world.vault.post("auth/kubernetes/role/keyreeve", role).await;
        for (pod, fits) in [("keyreeve", true), ("other", false)] {
            let jwt_file = world.file(pod, &pod_token(pod));
            let (mount, role) = ("kubernetes".to_owned(), "keyreeve".to_owned());
            let login = Login::Kubernetes { mount, role, jwt_file };
            let key = world.key(json!({})).await;
            let root = over(world.transit(world.vault.address(), &key, login), Duration::ZERO);
            assert_eq!(root.initialise(0, 0).await.is_ok(), fits, "{pod}");
        }
    }

    /// The API server of a cluster, as far as Vault asks it: whose token this is (TokenReview).
    async fn cluster() -> Middle {
        let cluster = Middle::alone().await;
        cluster.rule(|request| {
            let asked: Value = serde_json::from_slice(&request.body).unwrap();
            let token = asked["spec"]["token"].as_str().unwrap();
            let claims: Value =
                serde_json::from_slice(&keyreeve_tests::unbase64url(token.split('.').nth(1).unwrap())).unwrap();
            let account = claims["kubernetes.io"]["serviceaccount"].clone();
            let user = json!({
                "username": format!("system:serviceaccount:keys:{}", account["name"].as_str().unwrap()),
                "uid": account["uid"], "groups": ["system:serviceaccounts"],
            });
            let status = json!({ "authenticated": true, "user": user, "audiences": claims["aud"] });
            let body = json!({ "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "status": status });
            Fate::Answer(201, "content-type: application/json\r\n", body.to_string())
        });
        cluster
    }

    /// The form of such tokens; the signature is the cluster's business.
    fn pod_token(account: &str) -> String {
        let part = |value: Value| keyreeve_tests::base64url(value.to_string());
        let claims = json!({
            "iss": "https://kubernetes.default.svc", "sub": format!("system:serviceaccount:keys:{account}"),
            "exp": 4_000_000_000_u64, "iat": 1_700_000_000, "aud": ["https://kubernetes.default.svc"],
            "kubernetes.io": {
                "namespace": "keys",
                "serviceaccount": { "name": account, "uid": "5a1a7cf3-6f2f-4a0f-8ad6-1b2c3d4e5f60" },
            },
        });
        format!("{}.{}.{}", part(json!({ "alg": "RS256", "typ": "JWT" })), part(claims), "c2lnbmF0dXJl")
    }

    #[tokio::test]
    async fn a_sealed_server_is_an_outage_and_ends() {
        let Some(world) = World::new().await else { return };
        let root = world.root(world.vault.address(), world.token().await).await;
        let wrapped = root.wrap(b"here", &secret()).await.unwrap();
        world.vault.seal().await;
        let said = why(root.unwrap(b"here", &wrapped).await);
        assert!(said.contains("sealed"), "{said}");
        assert!(root.check().await.is_err());
        world.vault.unseal().await;
        returns(&root, &wrapped).await;
    }

    /// Asks until the root works again: it leaves the service alone for a while after an outage.
    async fn returns(root: &CloudRoot<VaultTransit>, wrapped: &[u8]) {
        let end = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            match root.unwrap(b"here", wrapped).await {
                Ok(plain) => break assert!(plain.ct_eq(b"the kek")),
                Err(error) => assert!(tokio::time::Instant::now() < end, "{error}"),
            }
            tokio::task::yield_now().await;
        }
        root.check().await.unwrap();
    }

    #[tokio::test]
    async fn what_was_unwrapped_serves_through_an_outage_for_the_stated_time() {
        let Some(world) = World::new().await else { return };
        let (middle, keep) = (world.middle().await, Duration::from_secs(3));
        let key = world.key(json!({})).await;
        let root = over(world.transit(middle.address(), &key, world.token().await), keep);
        root.initialise(0, 0).await.unwrap();
        let wrapped = root.wrap(b"here", &secret()).await.unwrap();
        let unwrapped = tokio::time::Instant::now();
        root.unwrap(b"here", &wrapped).await.unwrap();
        middle.out(true);
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
        middle.out(false);
        returns(&root, &wrapped).await;
    }

    #[tokio::test]
    async fn it_waits_when_it_is_asked_to_slow_down() {
        let Some(world) = World::new().await else { return };
        let middle = world.middle().await;
        let root = world.root(middle.address(), world.token().await).await;
        let wrapped = root.wrap(b"here", &secret()).await.unwrap();
        let mut left = 2;
        middle.rule(move |request| {
            if left > 0 && request.path.contains("/decrypt/") {
                left -= 1;
                return Fate::Answer(429, "retry-after: 1\r\n", json!({ "errors": ["rate limit quota"] }).to_string());
            }
            Fate::Pass
        });
        let (before, begun) = (middle.seen("/decrypt/"), tokio::time::Instant::now());
        assert!(root.unwrap(b"here", &wrapped).await.unwrap().ct_eq(b"the kek"));
        assert_eq!(middle.seen("/decrypt/") - before, 3);
        assert!(begun.elapsed() >= Duration::from_secs(2), "it asked before the time that it was told");
    }

    #[tokio::test]
    async fn what_is_not_permitted_is_refused_at_once() {
        let Some(world) = World::new().await else { return };
        let middle = world.middle().await;
        let root = world.root(middle.address(), world.token().await).await;
        let wrapped = root.wrap(b"here", &secret()).await.unwrap();
        let less = POLICY.replace("transit/decrypt", "transit/nothing");
        world.vault.post("sys/policies/acl/keyreeve", json!({ "policy": less })).await;
        let before = middle.seen("/decrypt/");
        let said = why(root.unwrap(b"here", &wrapped).await);
        assert!(said.contains("does not permit"), "{said}");
        // Once for it, and once for the check value, which tells a refusal from something that was altered.
        assert_eq!(middle.seen("/decrypt/") - before, 2);
        assert_eq!(middle.seen("/login"), 0);
    }

    #[tokio::test]
    async fn a_token_that_was_revoked_is_replaced() {
        let Some(world) = World::new().await else { return };
        let (role_id_file, secret_id_file) = approle(&world, false).await;
        let login = Login::AppRole { mount: "approle".to_owned(), role_id_file, secret_id_file, wrapped: false };
        let middle = world.middle().await;
        let root = world.root(middle.address(), login).await;
        let wrapped = root.wrap(b"here", &secret()).await.unwrap();
        assert_eq!(middle.seen("auth/approle/login"), 1);
        world.vault.post("sys/leases/revoke-prefix/auth/approle", json!({})).await;
        assert!(root.unwrap(b"here", &wrapped).await.unwrap().ct_eq(b"the kek"));
        assert_eq!(middle.seen("auth/approle/login"), 2);
        // The same for a token in a file, once somebody wrote another there.
        let login = world.token().await;
        let root = world.root(middle.address(), login).await;
        let wrapped = root.wrap(b"here", &secret()).await.unwrap();
        let old = std::fs::read_to_string(world.home.path().join("token")).unwrap();
        world.vault.post("auth/token/revoke", json!({ "token": old })).await;
        assert!(why(root.unwrap(b"here", &wrapped).await).contains("does not accept the credentials"));
        world.token().await;
        assert!(root.unwrap(b"here", &wrapped).await.unwrap().ct_eq(b"the kek"));
    }

    #[tokio::test]
    async fn a_token_is_renewed_though_nobody_asks() {
        let Some(world) = World::new().await else { return };
        let middle = world.middle().await;
        let token = world.vault.token(&["keyreeve"], "10s").await;
        let root = world.root(middle.address(), Login::Token { file: world.file("short", &token) }).await;
        let wrapped = root.wrap(b"here", &secret()).await.unwrap();
        let begun = tokio::time::Instant::now();
        // Twice: past the end that it had at first.
        while middle.seen("renew-self") < 2 {
            assert!(begun.elapsed() < Duration::from_secs(60), "it is not renewed");
            tokio::task::yield_now().await;
        }
        assert!(root.unwrap(b"here", &wrapped).await.unwrap().ct_eq(b"the kek"));
    }

    #[tokio::test]
    async fn keys_that_are_no_roots_are_refused_at_initialisation() {
        let Some(world) = World::new().await else { return };
        let login = world.token().await;
        for (settings, config, said) in [
            (json!({ "exportable": true }), json!({}), "taken out of Vault"),
            (json!({ "allow_plaintext_backup": true }), json!({}), "taken out of Vault"),
            (json!({}), json!({ "deletion_allowed": true }), "can be deleted"),
            (json!({ "derived": true }), json!({}), "derived"),
            (json!({ "type": "rsa-4096" }), json!({}), "another type"),
        ] {
            let key = world.key(settings).await;
            world.vault.post(&format!("transit/keys/{key}/config"), config).await;
            let root = over(world.transit(world.vault.address(), &key, login.clone()), Duration::ZERO);
            let refused = root.initialise(0, 0).await.unwrap_err().to_string();
            assert!(refused.contains(said), "{refused}");
        }
        let root = over(world.transit(world.vault.address(), "root-missing", login), Duration::ZERO);
        let refused = root.initialise(0, 0).await.unwrap_err().to_string();
        assert!(refused.contains("there is no such key"), "{refused}");
    }

    #[tokio::test]
    async fn a_key_made_anew_under_the_same_name_opens_nothing() {
        let Some(world) = World::new().await else { return };
        let (key, login) = (world.key(json!({})).await, world.token().await);
        let root = over(world.transit(world.vault.address(), &key, login.clone()), Duration::ZERO);
        let public = root.initialise(0, 0).await.unwrap().public;
        let wrapped = root.wrap(b"here", &secret()).await.unwrap();
        world.vault.post(&format!("transit/keys/{key}/config"), json!({ "deletion_allowed": true })).await;
        let delete = keyreeve_tests::Method::DELETE;
        world.vault.call(delete, &format!("transit/keys/{key}"), &Value::Null).await;
        assert!(why(root.unwrap(b"here", &wrapped).await).contains("there is no such key"));
        world.vault.post(&format!("transit/keys/{key}"), json!({})).await;
        assert!(matches!(root.unwrap(b"here", &wrapped).await, Err(RootError::Unwrap)));
        let next = over(world.transit(world.vault.address(), &key, login), Duration::ZERO);
        let refused = next.configure(&public).await.unwrap_err().to_string();
        assert!(refused.contains("not the one that this deployment was made with"), "{refused}");
    }

    #[tokio::test]
    async fn a_rotated_key_opens_what_it_wrapped_and_a_moved_server_is_the_same() {
        let Some(world) = World::new().await else { return };
        let (key, login) = (world.key(json!({})).await, world.token().await);
        let root = over(world.transit(world.vault.address(), &key, login.clone()), Duration::ZERO);
        let public = root.initialise(0, 0).await.unwrap().public;
        let wrapped = root.wrap(b"here", &secret()).await.unwrap();
        world.vault.post(&format!("transit/keys/{key}/rotate"), json!({})).await;
        assert!(root.unwrap(b"here", &wrapped).await.unwrap().ct_eq(b"the kek"));
        let middle = world.middle().await;
        let moved = over(world.transit(middle.address(), &key, login), Duration::ZERO);
        moved.configure(&public).await.unwrap();
        assert!(moved.unwrap(b"here", &wrapped).await.unwrap().ct_eq(b"the kek"));
    }

    #[tokio::test]
    async fn nothing_of_a_key_is_in_what_is_said_or_sent_in_clear() {
        let Some(world) = World::new().await else { return };
        let middle = world.middle().await;
        let root = world.root(middle.address(), world.token().await).await;
        let bodies = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let seen = bodies.clone();
        middle.rule(move |request| {
            seen.lock().unwrap().push(request.body.clone());
            Fate::Pass
        });
        root.wrap(b"here", &secret()).await.unwrap();
        let bodies = bodies.lock().unwrap();
        let wraps = keyreeve_tests::base64(b"the kek");
        assert!(!bodies.is_empty());
        assert!(bodies.iter().all(|body| !String::from_utf8_lossy(body).contains(wraps.trim_end_matches('='))));
    }
}
