//! One case for every operation of the catalogue: how it is asked for, in a house where it can be done. The coverage
//! and role tests run all of them, so an operation without a case fails there.

use futures::future::BoxFuture;
use keyreeve_crypto::{HashAlgorithm, KeyAlgorithm, Purpose, WrapMode};
use keyreeve_engine::ops::signing::{Claim, Mac, MessageForm, Sign, Verify, VerifyMac};
use keyreeve_engine::ops::{
    KeyReply, Payload, audit, cipher, data_keys, derivation, destruction, explain, keyrings, keys, lifecycle, policies,
    principals, requests, system, tokens,
};
use keyreeve_engine::{Code, KeyRef, Operation};
use keyreeve_model::{Classification, EncryptionContext, Environment, Label, RecordId};
use keyreeve_secret::SecretString;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::{Checked, DAY, House, Who, context, create, key_of, keyring, label, name, payloads};

/// A house with keys of every kind.
pub(crate) struct Stage {
    pub(crate) house: House,
    pub(crate) aead: KeyRef,
    other: KeyRef,
    mac: KeyRef,
    signing: KeyRef,
    wrapping: KeyRef,
    deriving: KeyRef,
    kem: KeyRef,
    agreeing: KeyRef,
    peer: Vec<u8>,
    ciphertext: Vec<u8>,
    names: AtomicU32,
}

/// What one call led to.
#[derive(Debug)]
pub(crate) struct Run {
    /// Why not, if not.
    pub(crate) code: Option<Code>,
    pub(crate) record: Option<RecordId>,
    /// Entries of the log before and after.
    pub(crate) entries: std::ops::Range<u64>,
    /// What the record must say it was about; empty where only the operation knows.
    pub(crate) about: String,
}

/// How one operation is asked for.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) run: for<'a> fn(&'a Stage, &'a Who) -> BoxFuture<'a, Run>,
}

/// The services that the keys of a stage name as consumers.
pub(crate) const CONSUMERS: [&str; 2] = ["ci", "shop"];

impl Stage {
    pub(crate) async fn new() -> Self {
        let house = House::new().await;
        let make = async |algorithm: KeyAlgorithm, purpose: Purpose| house.make(spec(algorithm, purpose)).await;
        let aead = key_of(&make(KeyAlgorithm::Xaes256Gcm, Purpose::Encrypt).await);
        let agreeing = make(KeyAlgorithm::EcP256, Purpose::Agree).await;
        let ciphertext = house.encrypt(&aead, b"known").await;
        Self {
            other: key_of(&make(KeyAlgorithm::Xaes256Gcm, Purpose::Encrypt).await),
            mac: key_of(&make(KeyAlgorithm::HmacSha256, Purpose::Mac).await),
            signing: key_of(&make(KeyAlgorithm::Ed25519, Purpose::Sign).await),
            wrapping: key_of(&make(KeyAlgorithm::Aes256Kw, Purpose::Wrap).await),
            deriving: key_of(&make(KeyAlgorithm::Kdk256, Purpose::Derive).await),
            kem: key_of(&make(KeyAlgorithm::MlKem768, Purpose::Encapsulate).await),
            peer: public_half(&agreeing),
            agreeing: key_of(&agreeing),
            aead,
            ciphertext,
            house,
            names: AtomicU32::new(0),
        }
    }

    fn fresh_name(&self, start: &str) -> String {
        format!("{start}-{}", self.names.fetch_add(1, Ordering::Relaxed))
    }

    /// A key of its own for an operation that alters it.
    async fn fresh(&self) -> KeyRef {
        key_of(&self.house.make(spec(KeyAlgorithm::Xaes256Gcm, Purpose::Encrypt)).await)
    }

    async fn scheduled(&self) -> KeyRef {
        let key = self.fresh().await;
        self.house.ask(destruction::Schedule { key: key.clone(), days: 7, reason: label("gone") }).await;
        key
    }

    async fn run<O: Operation>(&self, who: &Who, about: impl ToString, operation: O) -> Run {
        let before = self.size();
        let (code, record) = match self.house.call(who, operation).await {
            Ok(done) => (None, done.record),
            Err(refused) => (Some(refused.error.code()), refused.record),
        };
        Run { code, record, entries: before..self.size(), about: about.to_string() }
    }

    fn size(&self) -> u64 {
        keyreeve_journal::Journal::size(self.house.journal())
    }
}

fn spec(algorithm: KeyAlgorithm, purpose: Purpose) -> keys::CreateSpec {
    let mut spec = keys::CreateSpec { purpose: Some(purpose), ..create(algorithm) };
    spec.metadata.consumers = CONSUMERS.iter().map(|consumer| label(consumer)).collect();
    spec
}

/// SubjectPublicKeyInfo of a key's first version.
fn public_half(reply: &KeyReply) -> Vec<u8> {
    hex::decode(reply.key.version(1).unwrap().public_key().unwrap()).unwrap()
}

fn nothing() -> EncryptionContext {
    EncryptionContext::default()
}

fn reason() -> Label {
    label("because")
}

const SERVER: &str = "server";
const LOG: &str = "log";

macro_rules! cases {
    ($name:ident: $($operation:literal => |$stage:ident, $who:ident| $body:expr;)+) => {
        pub(crate) static $name: &[Case] = &[
            $(Case { name: $operation, run: |$stage, $who| Box::pin(async move { $body }) },)+
        ];
    };
}

cases! { SYSTEM:
    "system.health" => |stage, who| stage.run(who, "", system::Health).await;
    "system.status" => |stage, who| stage.run(who, "", system::Status).await;
    "system.metrics" => |stage, who| stage.run(who, "", system::Metrics).await;
    "request.refuse" => |stage, who| {
        stage.run(who, SERVER, requests::Refuse::one("unknown-route", requests::Seen::default())).await
    };
    "system.init" => |stage, who| stage.run(who, SERVER, system::Init { shares: 0, threshold: 0 }).await;
    "system.unseal" => |stage, who| {
        stage.run(who, SERVER, system::Unseal { share: SecretString::copy_from("share") }).await
    };
    "system.seal" => |stage, who| stage.run(who, SERVER, system::Seal).await;
    "random.generate" => |stage, who| stage.run(who, SERVER, derivation::GenerateRandom { bytes: 32 }).await;
    "algorithm.list" => |stage, who| stage.run(who, SERVER, keys::ListAlgorithms).await;
    "audit.search" => |stage, who| {
        let query = audit::AuditQuery::default();
        let search = audit::Search { query, from: None, until: None, before: None, limit: 5 };
        stage.run(who, LOG, search).await
    };
    "audit.prove" => |stage, who| {
        // Of one's own record, which everybody may prove.
        let own = stage.run(who, SERVER, derivation::GenerateRandom { bytes: 1 }).await;
        stage.run(who, LOG, audit::Prove { record: own.record.unwrap() }).await
    };
    "audit.read" => |stage, who| stage.run(who, LOG, audit::Read { file: audit::LogFile::Checkpoint }).await;
}

cases! { KEYS:
    "keyring.create" => |stage, who| {
        let made = keyrings::Create {
            name: name(&stage.fresh_name("ring")),
            owner: label("owner"),
            description: label(""),
            classification: Classification::Internal,
            environment: Environment::Staging,
            allow_deterministic: false,
        };
        stage.run(who, "", made).await
    };
    "keyring.list" => |stage, who| stage.run(who, SERVER, keyrings::List { after: None, limit: 10 }).await;
    "keyring.describe" => |stage, who| {
        stage.run(who, "", keyrings::Describe { keyring: keyring("default") }).await
    };
    "key.create" => |stage, who| {
        stage.run(who, "", spec(KeyAlgorithm::Xaes256Gcm, Purpose::Encrypt).checked()).await
    };
    "key.list" => |stage, who| {
        stage.run(who, SERVER, keys::List { query: keys::KeyQuery::default(), after: None, limit: 3 }).await
    };
    "key.describe" => |stage, who| stage.run(who, &stage.aead, keys::Describe { key: stage.aead.clone() }).await;
    "key.update" => |stage, who| {
        let patch = keys::MetadataPatch { owner: Some(label("new")), ..keys::MetadataPatch::default() };
        let key = stage.fresh().await;
        stage.run(who, &key, keys::Update { key: key.clone(), patch }).await
    };
    "key.activate" => |stage, who| {
        let key = stage.fresh().await;
        let halt = lifecycle::Suspend { key: key.clone(), risk_accepted: false, reason: reason() };
        stage.house.ask(halt).await;
        stage.run(who, &key, lifecycle::Activate { key: key.clone(), reason: reason() }).await
    };
    "key.suspend" => |stage, who| {
        let key = stage.fresh().await;
        let halt = lifecycle::Suspend { key: key.clone(), risk_accepted: false, reason: reason() };
        stage.run(who, &key, halt).await
    };
    "key.deactivate" => |stage, who| {
        let key = stage.fresh().await;
        stage.run(who, &key, lifecycle::Deactivate { key: key.clone(), reason: reason() }).await
    };
    "key.compromise" => |stage, who| {
        let key = stage.fresh().await;
        let known =
            lifecycle::Compromise { key: key.clone(), version: None, risk_accepted: false, reason: reason() };
        stage.run(who, &key, known).await
    };
    "key.rotate" => |stage, who| {
        let key = stage.fresh().await;
        stage.run(who, &key, lifecycle::Rotate { key: key.clone(), reason: reason() }).await
    };
    "key.schedule-destruction" => |stage, who| {
        let key = stage.fresh().await;
        stage.run(who, &key, destruction::Schedule { key: key.clone(), days: 7, reason: reason() }).await
    };
    "key.cancel-destruction" => |stage, who| {
        let key = stage.scheduled().await;
        stage.run(who, &key, destruction::Cancel { key: key.clone(), reason: reason() }).await
    };
    "key.destroy" => |stage, who| {
        let key = stage.scheduled().await;
        stage.house.clock.turn(8 * DAY);
        stage.run(who, &key, destruction::Destroy { key: key.clone() }).await
    };
    "key.destruction" => |stage, who| {
        let key = stage.scheduled().await;
        stage.house.clock.turn(8 * DAY);
        stage.house.ask(destruction::Destroy { key: key.clone() }).await;
        stage.run(who, &key, destruction::DescribeDestruction { key: key.clone() }).await
    };
}

cases! { USE:
    "key.encrypt" => |stage, who| stage.run(who, &stage.aead, House::encrypting(&stage.aead, b"text")).await;
    "key.decrypt" => |stage, who| {
        stage.run(who, &stage.aead, House::decrypting(&stage.aead, &stage.ciphertext)).await
    };
    "key.re-encrypt-from" => |stage, who| {
        let moved = cipher::ReEncrypt {
            from: stage.aead.clone(),
            to: stage.other.clone(),
            from_context: nothing(),
            to_context: context(&[("to", "other")]),
            items: [stage.ciphertext.clone()].into(),
        };
        stage.run(who, &stage.aead, moved).await
    };
    "key.rewrap" => |stage, who| {
        let items = [stage.ciphertext.clone()].into();
        let rewrap = cipher::Rewrap { key: stage.aead.clone(), context: nothing(), items };
        stage.run(who, &stage.aead, rewrap).await
    };
    "key.generate-data-key" => |stage, who| {
        let wanted = data_keys::NewDataKeys { key: stage.aead.clone(), context: nothing(), bytes: 32, count: 1 };
        stage.run(who, &stage.aead, data_keys::GenerateDataKey(wanted)).await
    };
    "key.generate-data-key-without-plaintext" => |stage, who| {
        let wanted = data_keys::NewDataKeys { key: stage.aead.clone(), context: nothing(), bytes: 32, count: 1 };
        stage.run(who, &stage.aead, data_keys::GenerateDataKeyWithoutPlaintext(wanted)).await
    };
    "key.unwrap-data-key" => |stage, who| {
        let wanted = data_keys::NewDataKeys { key: stage.aead.clone(), context: nothing(), bytes: 32, count: 1 };
        let wrapped = stage.house.ask(data_keys::GenerateDataKey(wanted)).await.items.remove(0).wrapped;
        let unwrap = data_keys::UnwrapDataKey { key: stage.aead.clone(), context: nothing(), items: [wrapped].into() };
        stage.run(who, &stage.aead, unwrap).await
    };
    "key.sign" => |stage, who| stage.run(who, &stage.signing, signing(stage)).await;
    "key.verify" => |stage, who| {
        let proof = stage.house.ask(signing(stage)).await.items.remove(0).unwrap();
        let items = [Claim { message: Payload::from(b"text".to_vec()), proof }].into();
        let verify = Verify { key: stage.signing.clone(), version: None, scheme: None, form: MessageForm::Raw, items };
        stage.run(who, &stage.signing, verify).await
    };
    "key.mac" => |stage, who| {
        stage.run(who, &stage.mac, Mac { key: stage.mac.clone(), items: payloads(&[b"text"]) }).await
    };
    "key.verify-mac" => |stage, who| {
        let mac = Mac { key: stage.mac.clone(), items: payloads(&[b"text"]) };
        let proof = stage.house.ask(mac).await.items.remove(0).unwrap();
        let items = [Claim { message: Payload::from(b"text".to_vec()), proof }].into();
        stage.run(who, &stage.mac, VerifyMac { key: stage.mac.clone(), version: None, items }).await
    };
    "key.derive" => |stage, who| {
        let (salt, info) = (Vec::new(), b"use".to_vec());
        let derivation = derivation::Derivation::Hkdf { hash: HashAlgorithm::Sha256, salt, info };
        let derive = derivation::Derive { key: stage.deriving.clone(), version: None, derivation, bytes: 32 };
        stage.run(who, &stage.deriving, derive).await
    };
    "key.wrap" => |stage, who| stage.run(who, &stage.wrapping, wrapping(stage)).await;
    "key.unwrap" => |stage, who| {
        let wrapped = stage.house.ask(wrapping(stage)).await.items.remove(0).unwrap();
        let (key, items) = (stage.wrapping.clone(), [wrapped].into());
        let unwrap = derivation::Unwrap { key, version: None, mode: WrapMode::Kw, items };
        stage.run(who, &stage.wrapping, unwrap).await
    };
    "key.encapsulate" => |stage, who| {
        stage.run(who, &stage.kem, derivation::Encapsulate { key: stage.kem.clone() }).await
    };
    "key.decapsulate" => |stage, who| {
        let ciphertext = stage.house.ask(derivation::Encapsulate { key: stage.kem.clone() }).await.ciphertext;
        stage.run(who, &stage.kem, derivation::Decapsulate { key: stage.kem.clone(), version: None, ciphertext }).await
    };
    "key.agree" => |stage, who| {
        let agree = derivation::Agree {
            key: stage.agreeing.clone(),
            version: None,
            peer: stage.peer.clone(),
            hash: HashAlgorithm::Sha256,
            salt: Vec::new(),
            info: b"use".to_vec(),
            bytes: 32,
        };
        stage.run(who, &stage.agreeing, agree).await
    };
}

cases! { ACCESS:
    "token.create" => |stage, who| {
        let create = tokens::Create { principal: name("developer"), seconds: 60, description: label("t") };
        stage.run(who, "", create).await
    };
    "token.list" => |stage, who| stage.run(who, SERVER, tokens::List { after: None, limit: 10 }).await;
    "token.revoke" => |stage, who| {
        let create = tokens::Create { principal: name("developer"), seconds: 60, description: label("t") };
        let token = stage.house.ask(create).await.record.id;
        stage.run(who, token, tokens::Revoke { token }).await
    };
    "token.self" => |stage, who| stage.run(who, SERVER, tokens::WhoAmI).await;
    "principal.put" => |stage, who| {
        let put = House::putting(&stage.fresh_name("person"), &[]);
        stage.run(who, put.name.clone(), put).await
    };
    "principal.list" => |stage, who| stage.run(who, SERVER, principals::List { after: None, limit: 10 }).await;
    "principal.describe" => |stage, who| {
        stage.run(who, "developer", principals::Describe { name: name("developer") }).await
    };
    "principal.delete" => |stage, who| {
        let put = House::putting(&stage.fresh_name("person"), &[]);
        let gone = put.name.clone();
        stage.house.ask(put).await;
        stage.run(who, &gone, principals::Delete { name: gone.clone() }).await
    };
    "policy.put" => |stage, who| {
        let put = policy(&stage.fresh_name("policy"));
        stage.run(who, put.name.clone(), put).await
    };
    "policy.list" => |stage, who| stage.run(who, SERVER, policies::List { after: None, limit: 10 }).await;
    "policy.describe" => |stage, who| {
        stage.run(who, "key-admin", policies::Describe { name: name("key-admin") }).await
    };
    "policy.delete" => |stage, who| {
        let put = policy(&stage.fresh_name("policy"));
        let gone = put.name.clone();
        stage.house.ask(put).await;
        stage.run(who, &gone, policies::Delete { name: gone.clone() }).await
    };
    "policy.explain" => |stage, who| {
        let explain = explain::Explain {
            principal: name("developer"),
            action: "key.encrypt".into(),
            resource: Some(stage.aead.to_string()),
            to: None,
            method: keyreeve_policy::Method::Token,
            source: None,
            time: None,
            context: nothing(),
        };
        stage.run(who, SERVER, explain).await
    };
}

fn signing(stage: &Stage) -> Sign {
    Sign { key: stage.signing.clone(), scheme: None, form: MessageForm::Raw, items: payloads(&[b"text"]) }
}

fn wrapping(stage: &Stage) -> derivation::Wrap {
    derivation::Wrap { key: stage.wrapping.clone(), mode: WrapMode::Kw, items: payloads(&[&[7; 32]]) }
}

/// A policy that alters nothing for anybody.
fn policy(text: &str) -> policies::Put {
    let cedar = format!("@id(\"{text}.none\")\nforbid (principal in Keyreeve::Role::\"nobody\", action, resource);");
    policies::Put { name: name(text), text: cedar }
}

/// Every case.
pub(crate) fn all() -> impl Iterator<Item = &'static Case> {
    [SYSTEM, KEYS, USE, ACCESS].into_iter().flatten()
}
