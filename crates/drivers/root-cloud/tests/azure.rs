//! Azure Key Vault as root, against a vault after Microsoft's reference that Microsoft's own clients use as well.
#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keyreeve_crypto::random::Random;
use keyreeve_root::conformance::{RootFixture, root_suite};
use keyreeve_root::{Root, RootError};
use keyreeve_root_cloud::azure::{AzureKeyVault, AzureLogin, AzureSettings};
use keyreeve_root_cloud::{CloudRoot, Limits, RemoteWrap};
use keyreeve_secret::{SecretArray, SecretBytes};
use keyreeve_tests::{Fate, Middle, Pki, Server};
use serde_json::{Value, json};
use tempfile::TempDir;

const TENANT: &str = "9f8a1f0e-3c3b-4f38-9f5c-6ad1a3d2c001";
const CLIENT: &str = "0e4bd5ba-7b7b-4a8f-8d0a-27a2f6a3c002";
const IDENTITY: &str = "5d6a3a2a-10c6-4a2e-8a31-3f8f5e2bc003";

/// The vault in a process of its own.
struct World {
    vault: String,
    metadata: String,
    pki: Pki,
    client: reqwest::Client,
    home: TempDir,
    _server: Server,
}

/// A Python that has Microsoft's libraries, where `cargo xtask test` installs it.
fn python() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..").join(target).join("azure-keyvault/bin/python")
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/counterparts").join(name)
}

impl World {
    /// None, said aloud, where the libraries are missing.
    fn new() -> Option<Self> {
        if !python().is_file() {
            keyreeve_tests::not_run("azure-keyvault-keys is missing: `cargo xtask test` installs it");
            return None;
        }
        let (home, pki) = (tempfile::tempdir().unwrap(), Pki::new("of Microsoft"));
        let (certificate, key) = pki.server();
        let (at, of) = (home.path().join("certificate.pem"), home.path().join("key.pem"));
        std::fs::write(&at, certificate).unwrap();
        std::fs::write(&of, key).unwrap();
        std::fs::write(home.path().join("ca.pem"), pki.pem()).unwrap();
        let mut command = Command::new(python());
        command.arg(script("azure_keyvault.py")).arg(at).arg(of).arg(home.path()).stdin(Stdio::piped());
        let mut server = Server::spawn(&mut command);
        let ready: String = server.wait_line(|line| line.strip_prefix("ready ").map(str::to_owned));
        let (vault, metadata) = ready.split_once(' ').unwrap();
        let (vault, metadata) = (vault.to_owned(), metadata.to_owned());
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let authority = reqwest::Certificate::from_pem(pki.pem().as_bytes()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([authority]).no_proxy().build().unwrap();
        Some(Self { vault, metadata, pki, client, home, _server: server })
    }

    async fn control(&self, told: Value) -> Value {
        let asked = self.client.post(format!("{}/control", self.vault)).body(told.to_string());
        serde_json::from_str(&asked.send().await.unwrap().text().await.unwrap()).unwrap()
    }

    /// How many tokens were given.
    async fn tokens(&self) -> u64 {
        let asked = self.client.get(format!("{}/control", self.vault)).send().await.unwrap();
        serde_json::from_str::<Value>(&asked.text().await.unwrap()).unwrap()["tokens"].as_u64().unwrap()
    }

    /// Makes a key, and says its address without version.
    async fn key(&self, name: &str) -> String {
        self.control(json!({ "do": "key", "name": name })).await;
        format!("{}/keys/{name}", self.vault)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn secret(&self) -> AzureLogin {
        AzureLogin::Secret { tenant: TENANT.to_owned(), client: CLIENT.to_owned(), file: self.file("client-secret") }
    }

    fn federated(&self) -> AzureLogin {
        let file = self.file("federated-token");
        AzureLogin::Federated { tenant: TENANT.to_owned(), client: CLIENT.to_owned(), file }
    }

    fn settings(&self, key: &str, login: AzureLogin) -> AzureSettings {
        AzureSettings {
            key: key.to_owned(),
            login,
            authority: Some(self.vault.clone()),
            resource: Some("https://vault.azure.net".to_owned()),
            identity_endpoint: Some(self.metadata.clone()),
            authorities_pem: Some(self.pki.pem().as_bytes().to_vec()),
        }
    }

    /// A root that keeps nothing, so that each unwrap is asked for.
    fn root(&self, key: &str, login: AzureLogin) -> CloudRoot<AzureKeyVault> {
        over(self.settings(key, login), Duration::ZERO)
    }

    /// A root whose requests go through something in between, which passes everything for now.
    async fn between(&self, name: &str) -> (Middle, CloudRoot<AzureKeyVault>) {
        self.key(name).await;
        let middle = Middle::before(&self.vault, self.pki.pem()).await;
        self.pass(&middle);
        let root = self.root(&format!("{}/keys/{name}", middle.address()), self.secret());
        root.initialise(0, 0).await.unwrap();
        (middle, root)
    }

    /// The vault names keys by its own address.
    fn pass(&self, middle: &Middle) {
        let (these, those) = (self.vault.clone().into_bytes(), middle.address().as_bytes().to_vec());
        middle.rule(move |_| Fate::AnswerWith(these.clone(), those.clone()));
    }
}

fn over(settings: AzureSettings, keep: Duration) -> CloudRoot<AzureKeyVault> {
    let limits = Limits { keep, check: Duration::ZERO, ..Limits::default() };
    CloudRoot::new(AzureKeyVault::new(settings).unwrap(), limits, Random::from_module().unwrap())
}

fn kek() -> SecretBytes {
    SecretBytes::copy_from(b"the kek")
}

async fn works(root: &CloudRoot<AzureKeyVault>) {
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
    world: &'a World,
    key: String,
}

impl RootFixture for Fixture<'_> {
    type Root = CloudRoot<AzureKeyVault>;

    fn start(&self) -> Self::Root {
        over(self.world.settings(&self.key, self.world.secret()), Duration::from_secs(60))
    }

    fn shares(&self) -> (u8, u8) {
        (0, 0)
    }
}

mod microsoft {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn it_conforms() {
        let Some(world) = World::new() else { return };
        // The suite makes its fixtures itself, and is not asynchronous there.
        let mut keys = Vec::new();
        for n in 0..13 {
            keys.push(world.key(&format!("root-{n}")).await);
        }
        let keys = RefCell::new(keys);
        root_suite(|| Fixture { world: &world, key: keys.borrow_mut().pop().unwrap() }).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn its_own_clients_agree() {
        let Some(world) = World::new() else { return };
        let key = world.key("root").await;
        let ours = AzureKeyVault::new(world.settings(&key, world.secret())).unwrap();
        let recorded = ours.resolve().await.unwrap();
        let secret = SecretArray::init_with(|bytes| bytes.fill(0x5a));
        let wrapped = ours.wrap(&recorded, &[0; 32], &secret).await.unwrap();
        let mut command = Command::new(python());
        command.arg(script("azure_client.py")).args([&world.vault, &world.metadata]).arg(world.home.path());
        command.arg(&recorded).arg(hex::encode(&wrapped)).env("REQUESTS_CA_BUNDLE", world.file("ca.pem"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            said["unwrapped"],
            json!([hex::encode([0x5a; 32]), hex::encode([0x5a; 32]), hex::encode([0x5a; 32])])
        );
        let theirs = hex::decode(said["wrapped"].as_str().unwrap()).unwrap();
        let unwrapped = ours.unwrap(&recorded, &[0; 32], &theirs).await.unwrap();
        assert_eq!(hex::encode(unwrapped.expose()), said["key"].as_str().unwrap());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_way_in_works_and_wrong_ones_are_told() {
        let Some(world) = World::new() else { return };
        let key = world.key("root").await;
        let managed = |client: Option<&str>| AzureLogin::Managed { client: client.map(str::to_owned) };
        for login in [world.secret(), world.federated(), managed(None), managed(Some(IDENTITY))] {
            let root = world.root(&key, login);
            root.initialise(0, 0).await.unwrap();
            works(&root).await;
        }
        let refused = async |login: AzureLogin| why(world.root(&key, login).initialise(0, 0).await);
        assert_eq!(refused(managed(Some(CLIENT))).await, "azure-key-vault: no token: it answered 400 invalid_request");
        let secret = std::fs::read_to_string(world.file("client-secret")).unwrap();
        std::fs::write(world.file("client-secret"), "forged-secret").unwrap();
        let said = refused(world.secret()).await;
        assert_eq!(said, "azure-key-vault: no token: it answered 401 invalid_client (AADSTS7000215)");
        // The file is read anew: whoever rotates it only writes it.
        std::fs::write(world.file("client-secret"), secret).unwrap();
        let root = world.root(&key, world.secret());
        root.initialise(0, 0).await.unwrap();
        let token = std::fs::read_to_string(world.file("federated-token")).unwrap();
        let (signed, _) = token.trim().rsplit_once('.').unwrap();
        std::fs::write(world.file("federated-token"), format!("{signed}.AAAA")).unwrap();
        let said = refused(world.federated()).await;
        assert_eq!(said, "azure-key-vault: no token: it answered 401 invalid_client (AADSTS700027)");
        std::fs::remove_file(world.file("federated-token")).unwrap();
        assert!(refused(world.federated()).await.contains("federated-token: No such file"));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_token_is_used_until_it_ends_or_is_refused() {
        let Some(world) = World::new() else { return };
        let key = world.key("root").await;
        let root = world.root(&key, world.secret());
        root.initialise(0, 0).await.unwrap();
        for _ in 0..5 {
            works(&root).await;
        }
        assert_eq!(world.tokens().await, 1);
        world.control(json!({ "do": "revoke" })).await;
        works(&root).await;
        assert_eq!(world.tokens().await, 2);
        world.control(json!({ "do": "lifetime", "seconds": 0 })).await;
        world.control(json!({ "do": "revoke" })).await;
        let said = why(root.wrap(b"here", &kek()).await);
        assert_eq!(said, "azure-key-vault: it answered 401 Unauthorized", "once more, and not for ever");
        world.control(json!({ "do": "lifetime", "seconds": 60 })).await;
        works(&root).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_key_that_is_disabled_deleted_or_not_ours_is_not_used() {
        let Some(world) = World::new() else { return };
        let key = world.key("root").await;
        let root = over(world.settings(&key, world.secret()), Duration::from_secs(60));
        let public = root.initialise(0, 0).await.unwrap().public;
        let wrapped = root.wrap(b"here", &kek()).await.unwrap();
        for (what, back, code) in [
            ("disable", Some("enable"), "403 Forbidden (KeyDisabled)"),
            ("deny", Some("allow"), "403 Forbidden (ForbiddenByRbac)"),
            ("delete", None, "404 KeyNotFound"),
        ] {
            root.unwrap(b"here", &wrapped).await.unwrap();
            world.control(json!({ "do": what, "name": "root" })).await;
            let told = format!("azure-key-vault: it answered {code}");
            assert_eq!(why(root.check().await), told);
            assert_eq!(root.kept(), 0, "the refusal wipes what was kept");
            assert_eq!(why(root.unwrap(b"here", &wrapped).await), told);
            assert_eq!(why(root.wrap(b"here", &kek()).await), told);
            assert_eq!(why(world.root(&key, world.secret()).configure(&public).await), told);
            if let Some(back) = back {
                world.control(json!({ "do": back, "name": "root" })).await;
            }
        }
        world.control(json!({ "do": "key", "name": "short", "bits": 2048 })).await;
        let short = format!("{}/keys/short", world.vault);
        assert!(why(world.root(&short, world.secret()).initialise(0, 0).await).contains("3072 or 4096 bits"));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_recorded_version_stays_in_use() {
        let Some(world) = World::new() else { return };
        let key = world.key("root").await;
        let root = world.root(&key, world.secret());
        let public = root.initialise(0, 0).await.unwrap().public;
        let first = public["key"].as_str().unwrap().to_owned();
        assert_eq!(first.strip_prefix(&key).unwrap().len(), 33, "{first}");
        let wrapped = root.wrap(b"here", &kek()).await.unwrap();
        let second = world.control(json!({ "do": "rotate", "name": "root" })).await;
        let second = format!("{key}/{}", second["version"].as_str().unwrap());
        for named in [&key, &first] {
            let root = world.root(named, world.secret());
            root.configure(&public).await.unwrap();
            assert!(root.unwrap(b"here", &wrapped).await.unwrap().ct_eq(b"the kek"));
        }
        assert!(why(world.root(&second, world.secret()).configure(&public).await).contains("another key"));
        assert_eq!(world.root(&key, world.secret()).initialise(0, 0).await.unwrap().public["key"], json!(second));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn outages_and_throttling_are_ridden_out() {
        let Some(world) = World::new() else { return };
        let (middle, root) = world.between("root").await;
        let (these, those) = (world.vault.clone().into_bytes(), middle.address().as_bytes().to_vec());
        for (status, headers) in [(429, "retry-after: 1\r\n"), (429, ""), (503, ""), (500, "")] {
            let (left, these, those) = (Arc::new(AtomicUsize::new(2)), these.clone(), those.clone());
            let counted = left.clone();
            middle.rule(move |_| {
                match counted.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
                    Ok(_) => Fate::Answer(status, headers, r#"{"error":{"code":"Throttled"}}"#.to_owned()),
                    Err(_) => Fate::AnswerWith(these.clone(), those.clone()),
                }
            });
            works(&root).await;
            assert_eq!(left.load(Ordering::SeqCst), 0, "{status}");
        }
        middle.out(true);
        why(root.wrap(b"here", &kek()).await);
        assert!(why(root.wrap(b"here", &kek()).await).contains("asked again within"));
        middle.out(false);
        world.pass(&middle);
        let back = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(100));
            while root.wrap(b"here", &kek()).await.is_err() {
                ticks.tick().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(40), back).await.unwrap();
        works(&root).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn answers_of_another_form_are_refused() {
        let Some(world) = World::new() else { return };
        let (middle, root) = world.between("root").await;
        let wrapped = root.wrap(b"here", &kek()).await.unwrap();
        let long = json!({ "kid": "x", "value": "A".repeat(100_000) }).to_string();
        let other = json!({ "kid": "https://localhost/keys/other/1", "value": "AAAA" }).to_string();
        for body in ["{}".to_owned(), "[]".to_owned(), "no json".to_owned(), other, long] {
            let answer = body.clone();
            middle.rule(move |_| Fate::Answer(200, "", answer.clone()));
            let said = why(root.unwrap(b"here", &wrapped).await);
            assert!(!said.contains("AAAA"), "{said}");
        }
        middle.rule(|_| Fate::Answer(302, "location: http://169.254.169.254/\r\n", String::new()));
        assert!(why(root.unwrap(b"here", &wrapped).await).contains("302"), "no redirect is followed");
        world.pass(&middle);
        works(&root).await;
    }
}
