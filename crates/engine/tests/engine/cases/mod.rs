//! One case for every operation of the catalogue: how it is asked for, in a house where it can be done. The coverage
//! and role tests run all of them, so an operation without a case fails there.

use futures::future::BoxFuture;
use keyreeve_crypto::{KeyAlgorithm, Purpose};
use keyreeve_engine::ops::{KeyReply, destruction, keys as key_ops};
use keyreeve_engine::{Code, KeyRef, Operation};
use keyreeve_model::{EncryptionContext, Label, RecordId};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::{House, Who, create, key_of, label};

macro_rules! cases {
    ($($operation:literal => |$stage:ident, $who:ident| $body:expr;)+) => {
        pub(super) static CASES: &[Case] = &[
            $(Case { name: $operation, run: |$stage, $who| Box::pin(async move { $body }) },)+
        ];
    };
}

mod access;
mod approvals;
mod backups;
#[allow(clippy::module_inception, reason = "the group is called so everywhere")]
mod cases;
mod escrow;
mod grants;
mod integrity;
mod jobs;
mod keys;
mod login;
pub(crate) mod mfa;
mod notices;
mod policy;
mod reviews;
mod roots;
mod shares;
mod system;
mod uses;

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
    /// Seeds of the one-time codes of whoever has such, by their tokens.
    seeds: std::sync::Mutex<std::collections::HashMap<String, String>>,
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
        Self::in_house(House::new().await).await
    }

    pub(crate) async fn in_house(house: House) -> Self {
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
            seeds: Default::default(),
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

fn spec(algorithm: KeyAlgorithm, purpose: Purpose) -> key_ops::CreateSpec {
    let mut spec = key_ops::CreateSpec { purpose: Some(purpose), ..create(algorithm) };
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

/// A list in each file.
const FILES: &[&[Case]] = &[
    system::CASES,
    keys::CASES,
    uses::CASES,
    access::CASES,
    login::CASES,
    grants::CASES,
    reviews::CASES,
    shares::CASES,
    roots::CASES,
    jobs::CASES,
    policy::CASES,
    approvals::CASES,
    mfa::CASES,
    notices::CASES,
    backups::CASES,
    integrity::CASES,
    escrow::CASES,
    cases::CASES,
];

/// Every case.
pub(crate) fn all() -> impl Iterator<Item = &'static Case> {
    FILES.iter().copied().flatten()
}
