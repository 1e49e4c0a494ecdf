//! The house: everything that a server holds on disk, and an engine over it that can be dropped and made again.

use keyreeve_audit::verify::{Report, verify_log};
use keyreeve_audit::{Record, VerifierKey};
use keyreeve_crypto::{KeyAlgorithm, Random};
use keyreeve_engine::ops::anchors::StartFacts;
use keyreeve_engine::ops::cipher::{Decrypt, Encrypt, Format};
use keyreeve_engine::ops::keys::CreateSpec;
use keyreeve_engine::ops::system::{Init, InitReply, Unseal};
use keyreeve_engine::ops::{KeyReply, principals, tokens};
use keyreeve_engine::{
    AnchorAt, Arrival, Channel, Code, Descriptor, Done, Engine, Error, Evidence, Idempotency, KeyRef, Observer,
    Operation, Ports, Refused, Roots, Settings,
};
use keyreeve_epochs::EpochVault;
use keyreeve_epochs_file::FileEpochVault;
use keyreeve_journal::faulty::FaultyJournal;
use keyreeve_journal::{Journal, Scan};
use keyreeve_journal_file::{FileJournal, LogDirectory, Options};
use keyreeve_model::{Custody, EncryptionContext, Name, NoticeKind, PrincipalKind, UnixMillis};
use keyreeve_root::Root;
use keyreeve_root::anchor_suite::MemoryAnchor;
use keyreeve_root::faulty::FaultyRoot;
use keyreeve_root::soft_device::SoftDevice;
use keyreeve_root_software::{SealedFileRoot, ShamirRoot};
use keyreeve_secret::SecretString;
use keyreeve_store::Store;
use keyreeve_store::faulty::FaultyStore;
use keyreeve_store_postgres::{PostgresOptions, PostgresStore};
use keyreeve_store_sqlite::SqliteStore;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

use super::ask::{Checked, create, key_of, name, payloads};
use super::clock::HandClock;
use super::outside::Outside;
use super::post::Post;
use super::vault::FaultyVault;

/// What the house stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RootKind {
    SealedFile,
    /// Shares, and how many of them open it.
    Shamir(u8, u8),
}

/// Somebody who may ask.
#[derive(Debug)]
pub(crate) enum Who {
    Nobody,
    Bearer(SecretString),
}

impl Who {
    pub(crate) fn evidence(&self) -> Evidence {
        match self {
            Self::Nobody => Evidence::None,
            Self::Bearer(token) => Evidence::Bearer(token.duplicate()),
        }
    }

    pub(crate) fn token(&self) -> &str {
        match self {
            Self::Nobody => "",
            Self::Bearer(token) => token.expose(),
        }
    }
}

/// What the engine told of each operation, in order.
#[derive(Default)]
pub(crate) struct Counter(Mutex<Vec<(&'static str, Option<Code>)>>);

impl Observer for Counter {
    fn observed(&self, operation: &'static Descriptor, code: Option<Code>, _items: usize, _took: Duration) {
        self.0.lock().unwrap().push((operation.name, code));
    }
}

impl Counter {
    pub(crate) fn seen(&self) -> Vec<(&'static str, Option<Code>)> {
        self.0.lock().unwrap().clone()
    }
}

/// The parts of a running house that tests reach into.
pub(crate) struct Parts {
    pub(crate) engine: Engine,
    pub(crate) store: Arc<FaultyStore<dyn Store>>,
    pub(crate) journal: Arc<FaultyJournal>,
    pub(crate) vault: Arc<FaultyVault>,
    pub(crate) root: Arc<FaultyRoot>,
    /// Besides `main`.
    pub(crate) more_roots: BTreeMap<Name, Arc<FaultyRoot>>,
    pub(crate) observer: Arc<Counter>,
}

pub(crate) struct House {
    directory: TempDir,
    /// The PostgreSQL database that is the store, in place of a file.
    postgres: Option<String>,
    kind: RootKind,
    /// Roots of trust besides `main`: how well they keep keys, and for how long they answer.
    pub(crate) more_roots: BTreeMap<&'static str, (Custody, Option<Duration>)>,
    /// Devices of roots of trust, by the root: hardware that stays where it is when a server ends.
    pub(crate) devices: BTreeMap<&'static str, Arc<SoftDevice>>,
    /// Roots of trust besides, in shares.
    pub(crate) shared_roots: Vec<&'static str>,
    pub(crate) settings: Settings,
    pub(crate) clock: Arc<HandClock>,
    /// Whom the server asks who somebody is.
    pub(crate) outside: Arc<Outside>,
    parts: Option<Parts>,
    pub(crate) developer: Who,
    pub(crate) shares: Vec<SecretString>,
    pub(crate) vkeys: Vec<String>,
    /// Channels: one for everything, one for requests that wait.
    pub(crate) posts: Vec<Arc<Post>>,
    /// What remembers apart from the house how far it had come; whether the house waits for it.
    pub(crate) anchors: BTreeMap<&'static str, (MemoryAnchor, bool)>,
    /// What runs, as the next engine says.
    pub(crate) start_facts: Option<StartFacts>,
}

impl House {
    /// A house with a developer who may do everything.
    pub(crate) async fn new() -> Self {
        Self::with(RootKind::SealedFile, |_| {}).await
    }

    /// A house, initialised.
    pub(crate) async fn with(kind: RootKind, alter: impl FnOnce(&mut Settings)) -> Self {
        let mut house = Self::empty(kind, alter).await;
        let reply = house.init().await.unwrap();
        house.move_in(reply);
        house
    }

    /// A house nobody has initialised.
    pub(crate) async fn empty(kind: RootKind, alter: impl FnOnce(&mut Settings)) -> Self {
        Self::over(None, kind, alter).await
    }

    /// A house whose store is a PostgreSQL database, initialised.
    pub(crate) async fn on_postgres(url: String) -> Self {
        let mut house = Self::over(Some(url), RootKind::SealedFile, |_| {}).await;
        let reply = house.init().await.unwrap();
        house.move_in(reply);
        house
    }

    async fn over(postgres: Option<String>, kind: RootKind, alter: impl FnOnce(&mut Settings)) -> Self {
        super::logs::capture();
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o700)).unwrap();
        let mut settings = Settings::development();
        alter(&mut settings);
        let mut house = Self {
            directory,
            postgres,
            kind,
            more_roots: BTreeMap::new(),
            devices: BTreeMap::new(),
            shared_roots: Vec::new(),
            settings,
            clock: Arc::new(HandClock::new()),
            outside: Arc::new(Outside::new()),
            parts: None,
            developer: Who::Nobody,
            shares: Vec::new(),
            vkeys: Vec::new(),
            posts: ["first", "second"].map(|name| Arc::new(Post::new(name))).to_vec(),
            anchors: BTreeMap::new(),
            start_facts: None,
        };
        house.open().await.unwrap();
        house
    }

    pub(crate) async fn init(&self) -> Result<InitReply, Refused> {
        let (shares, threshold) = match self.kind {
            RootKind::SealedFile => (0, 0),
            RootKind::Shamir(shares, threshold) => (shares, threshold),
        };
        Ok(self.call(&Who::Nobody, Init { shares, threshold, holders: Vec::new() }).await?.reply)
    }

    /// Remembers what initialisation showed once.
    pub(crate) fn move_in(&mut self, reply: InitReply) {
        self.developer = Who::Bearer(reply.token);
        self.shares = reply.shares;
        self.vkeys = reply.log_vkeys;
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path().join("store").join("keyreeve.db")
    }

    /// Another connection to the database, as somebody with access to the file has it.
    pub(crate) fn sql(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.database()).unwrap()
    }

    fn parts(&self) -> &Parts {
        self.parts.as_ref().unwrap()
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.parts().engine
    }

    pub(crate) fn store(&self) -> &FaultyStore<dyn Store> {
        &self.parts().store
    }

    pub(crate) fn journal(&self) -> &FaultyJournal {
        &self.parts().journal
    }

    pub(crate) fn vault(&self) -> &FaultyVault {
        &self.parts().vault
    }

    pub(crate) fn root(&self) -> &FaultyRoot {
        &self.parts().root
    }

    /// A root of trust besides `main`.
    pub(crate) fn another_root(&self, name: &str) -> &FaultyRoot {
        &self.parts().more_roots[name]
    }

    /// Each has its key in a file of its own, but for those that people open.
    fn open_more_roots(&self, random: &Random) -> BTreeMap<Name, Arc<FaultyRoot>> {
        let open = |(name, (custody, bound)): (&&str, &(Custody, Option<Duration>))| {
            let root: Arc<dyn Root> = match name.starts_with("people") {
                true => Arc::new(ShamirRoot::new(random.clone())),
                false => Arc::new(SealedFileRoot::new(self.path().join(format!("{name}.root")), random.clone())),
            };
            let root = self.with_device(name, FaultyRoot::new(root).posing_as(*custody, *bound));
            (name.parse().unwrap(), Arc::new(root))
        };
        let shared =
            |name: &&str| (name.parse().unwrap(), Arc::new(FaultyRoot::new(Arc::new(ShamirRoot::new(random.clone())))));
        self.more_roots.iter().map(open).chain(self.shared_roots.iter().map(shared)).collect()
    }

    fn with_device(&self, name: &str, root: FaultyRoot) -> FaultyRoot {
        match self.devices.get(name) {
            Some(device) => root.with_device(Arc::clone(device)),
            None => root,
        }
    }

    pub(crate) fn observed(&self) -> Vec<(&'static str, Option<Code>)> {
        self.parts().observer.seen()
    }

    fn channels(&self) -> Vec<Channel> {
        let only = [None, Some([NoticeKind::ApprovalNeeded].into())];
        let channel = |(post, only): (&Arc<Post>, _)| Channel { notifier: Arc::clone(post) as _, only };
        self.posts.iter().zip(only).map(channel).collect()
    }

    /// The store, as one server is connected to it.
    async fn connected(&self) -> Arc<FaultyStore<dyn Store>> {
        let store: Arc<dyn Store> = match &self.postgres {
            Some(url) => Arc::new(PostgresStore::connect(url, PostgresOptions::default()).await.unwrap()),
            None => Arc::new(SqliteStore::open(&self.database()).unwrap()),
        };
        Arc::new(FaultyStore::new(store))
    }

    /// Makes an engine over what is in the directory.
    async fn open(&mut self) -> Result<(), Error> {
        let random = Random::from_module().unwrap();
        let store = self.connected().await;
        let clock = Arc::clone(&self.clock);
        let options = Options {
            segment_bytes: 256 * 1024,
            ..Options::new(Arc::new(move || keyreeve_engine::Clock::now(&*clock)))
        };
        let journal = FileJournal::open(&self.path().join("journal"), options).await.unwrap();
        let journal = Arc::new(FaultyJournal::new(Arc::new(journal)));
        let inner = FileEpochVault::open(&self.path().join("epochs"), random.clone()).unwrap();
        let vault = Arc::new(FaultyVault::new(Arc::new(inner)));
        let root: Arc<dyn Root> = match self.kind {
            RootKind::SealedFile => Arc::new(SealedFileRoot::new(self.path().join("root.key"), random.clone())),
            RootKind::Shamir(..) => Arc::new(ShamirRoot::new(random.clone())),
        };
        let root = Arc::new(self.with_device("main", FaultyRoot::new(root)));
        let more_roots = self.open_more_roots(&random);
        let all = [(keyreeve_model::roots::main(), Arc::clone(&root) as Arc<dyn Root>)];
        let more = more_roots.iter().map(|(name, root)| (name.clone(), Arc::clone(root) as Arc<dyn Root>));
        let roots = all.into_iter().chain(more).collect();
        let roots = Roots::new(roots, Arc::clone(&self.clock) as _)?;
        let observer = Arc::new(Counter::default());
        let ports = Ports {
            store: Arc::clone(&store) as Arc<dyn Store>,
            roots: Arc::new(roots),
            vault: Arc::clone(&vault) as Arc<dyn EpochVault>,
            journal: Arc::clone(&journal) as Arc<dyn Journal>,
            clock: Arc::clone(&self.clock) as Arc<dyn keyreeve_engine::Clock>,
            random: Arc::new(random),
            observer: Arc::clone(&observer) as Arc<dyn Observer>,
            oidc: Arc::clone(&self.outside) as _,
            directory: Arc::clone(&self.outside) as _,
            notifiers: self.channels(),
        };
        let engine = Engine::new(ports, self.settings.clone())?;
        self.anchor(&engine);
        let started = engine.start().await;
        self.parts = Some(Parts { engine, store, journal, vault, root, more_roots, observer });
        started
    }

    /// Tells an engine what remembers, and what runs.
    fn anchor(&self, engine: &Engine) {
        let at = |(name, (anchor, required)): (&&str, &(MemoryAnchor, bool))| {
            let (every, entries) = (Duration::from_secs(300), 1000);
            let anchor = Arc::new(anchor.clone());
            (name.parse().unwrap(), AnchorAt { anchor, every, entries, required: *required })
        };
        engine.anchor_to(self.anchors.iter().map(at).collect());
        if let Some(facts) = &self.start_facts {
            engine.started_as(facts.clone());
        }
    }

    /// Another engine over the same store, journal and vault, as a second server would be. It has its own connections
    /// to a database; of a file there is one user.
    pub(crate) async fn beside(&self) -> Engine {
        let (parts, random) = (self.parts(), Random::from_module().unwrap());
        let store = if self.postgres.is_some() { self.connected().await } else { Arc::clone(&parts.store) };
        let ports = Ports {
            store: store as Arc<dyn Store>,
            roots: Arc::new(Roots::single(
                Arc::new(SealedFileRoot::new(self.path().join("root.key"), random.clone())),
                Arc::clone(&self.clock) as _,
            )),
            vault: Arc::clone(&parts.vault) as Arc<dyn EpochVault>,
            journal: Arc::clone(&parts.journal) as Arc<dyn Journal>,
            clock: Arc::clone(&self.clock) as Arc<dyn keyreeve_engine::Clock>,
            random: Arc::new(random),
            observer: Arc::clone(&parts.observer) as Arc<dyn Observer>,
            oidc: Arc::clone(&self.outside) as _,
            directory: Arc::clone(&self.outside) as _,
            notifiers: self.channels(),
        };
        let engine = Engine::new(ports, self.settings.clone()).unwrap();
        engine.start().await.unwrap();
        engine
    }

    /// Drops everything without saying goodbye, as a crash does, and begins again in the same directory.
    pub(crate) async fn reopen(&mut self) {
        self.try_reopen().await.unwrap();
    }

    pub(crate) async fn try_reopen(&mut self) -> Result<(), Error> {
        self.crash();
        self.open().await
    }

    /// Drops the engine.
    pub(crate) fn crash(&mut self) {
        self.parts = None;
    }

    /// Gives shares until the house is open.
    pub(crate) async fn unseal(&self) {
        for share in &self.shares {
            if self.engine().is_open() {
                return;
            }
            self.call(&Who::Nobody, Unseal { share: share.duplicate() }).await.unwrap();
        }
        assert!(self.engine().is_open());
    }

    pub(crate) fn arrival(who: &Who) -> Arrival {
        Arrival {
            evidence: who.evidence(),
            source: Some([10, 1, 2, 3].into()),
            request: "req-test".to_owned(),
            idempotency: None,
            proof: Default::default(),
        }
    }

    pub(crate) async fn call<O: Operation>(&self, who: &Who, operation: O) -> Result<Done<O::Reply>, Refused> {
        self.engine().call(Self::arrival(who), operation).await
    }

    /// Calls with an idempotency key.
    pub(crate) async fn retry<O: Operation>(
        &self,
        who: &Who,
        key: &str,
        operation: O,
    ) -> Result<Done<O::Reply>, Refused> {
        let idempotency = Some(Idempotency { key: key.to_owned(), request: [7; 32] });
        self.engine().call(Arrival { idempotency, ..Self::arrival(who) }, operation).await
    }

    /// What the developer asks must work.
    pub(crate) async fn ask<O: Operation>(&self, operation: O) -> O::Reply {
        match self.call(&self.developer, operation).await {
            Ok(done) => done.reply,
            Err(refused) => panic!("{} was refused: {:?}", O::DESCRIPTOR.name, refused.error),
        }
    }

    /// The code with which the developer is refused.
    pub(crate) async fn code<O: Operation>(&self, operation: O) -> Code {
        self.code_for(&self.developer, operation).await
    }

    pub(crate) async fn code_for<O: Operation>(&self, who: &Who, operation: O) -> Code {
        match self.call(who, operation).await {
            Ok(_) => panic!("{} was not refused", O::DESCRIPTOR.name),
            Err(refused) => refused.error.code(),
        }
    }

    pub(crate) async fn make(&self, spec: CreateSpec) -> KeyReply {
        self.ask(spec.checked()).await
    }

    /// A plain key to encrypt with.
    pub(crate) async fn aead(&self) -> KeyRef {
        key_of(&self.make(create(KeyAlgorithm::Xaes256Gcm)).await)
    }

    /// A key in a keyring.
    pub(crate) async fn aead_in(&self, keyring: &str) -> KeyRef {
        let keyring = keyring.parse().unwrap();
        key_of(&self.make(CreateSpec { keyring, ..create(KeyAlgorithm::Xaes256Gcm) }).await)
    }

    /// What comes back of `plaintext`.
    pub(crate) async fn round_trip(&self, key: &KeyRef) -> Vec<u8> {
        let sealed = self.encrypt(key, b"plaintext").await;
        self.decrypt(key, &sealed).await
    }

    /// Why a key encrypts nothing, if it does not.
    pub(crate) async fn round_trip_code(&self, key: &KeyRef) -> Option<Code> {
        let done = self.call(&self.developer, Self::encrypting(key, b"plaintext")).await;
        done.err().map(|refused| refused.error.code())
    }

    pub(crate) fn encrypting(key: &KeyRef, plaintext: &[u8]) -> Encrypt {
        Encrypt { key: key.clone(), context: EncryptionContext::default(), items: payloads(&[plaintext]) }
    }

    pub(crate) fn decrypting(key: &KeyRef, ciphertext: &[u8]) -> Decrypt {
        Decrypt {
            key: key.clone(),
            context: EncryptionContext::default(),
            format: Format::Keyreeve,
            items: [ciphertext.to_vec()].into(),
        }
    }

    pub(crate) async fn encrypt(&self, key: &KeyRef, plaintext: &[u8]) -> Vec<u8> {
        self.ask(Self::encrypting(key, plaintext)).await.items.remove(0).unwrap()
    }

    pub(crate) async fn decrypt(&self, key: &KeyRef, ciphertext: &[u8]) -> Vec<u8> {
        let (_, plaintext) = self.ask(Self::decrypting(key, ciphertext)).await.items.remove(0).unwrap();
        plaintext.expose().to_vec()
    }

    pub(crate) fn person(text: &str, roles: &[&str]) -> principals::PutSpec {
        principals::PutSpec {
            name: name(text),
            kind: PrincipalKind::Person,
            roles: roles.iter().map(|role| name(role)).collect(),
            labels: BTreeMap::new(),
            networks: BTreeSet::new(),
            certificates: BTreeSet::new(),
            disabled: false,
            person: None,
        }
    }

    /// The operation that makes such a principal.
    pub(crate) fn putting(text: &str, roles: &[&str]) -> principals::Put {
        principals::Put::new(Self::person(text, roles))
    }

    /// Makes a principal and a token for it.
    pub(crate) async fn welcome(&self, principal: principals::PutSpec) -> Who {
        let who = principal.name.clone();
        self.ask(principals::Put::new(principal)).await;
        self.token_for(who.as_str()).await
    }

    pub(crate) async fn token_for(&self, principal: &str) -> Who {
        let create = tokens::Create {
            principal: name(principal),
            seconds: 366 * 86_400,
            description: super::label("t"),
            networks: Default::default(),
        };
        Who::Bearer(self.ask(create).await.token)
    }

    /// Every record of the log, oldest first.
    pub(crate) async fn records(&self) -> Vec<Record> {
        let journal = self.journal();
        let (mut records, mut before) = (Vec::new(), None);
        loop {
            let page = journal.scan(Scan { before, ..Scan::newest(1000) }).await.unwrap();
            records.extend(page.entries.iter().map(|(_, bytes)| Record::decode(bytes).unwrap()));
            match page.next {
                Some(next) => before = Some(next),
                None => break,
            }
        }
        records.reverse();
        records
    }

    /// Brings the log's files up to date.
    pub(crate) async fn journal_flush(&self) {
        self.journal().flush().await.unwrap();
    }

    /// Verifies the log as an auditor does: from the files and the public keys alone.
    pub(crate) async fn verify_log(&self) -> Report {
        self.journal().flush().await.unwrap();
        let keys: Vec<VerifierKey> = self.vkeys.iter().map(|key| key.parse().unwrap()).collect();
        let source = LogDirectory::new(&self.path().join("journal"));
        let mut ids = BTreeSet::new();
        let report = verify_log(&source, &keys, None, |index, record| {
            assert!(ids.insert(record.id), "record {} is twice in the log, the second time at {index}", record.id);
        });
        assert!(report.is_sound(), "{:?}", report.problems);
        assert_eq!(report.records, self.journal().size(), "the checkpoint covers all that was acknowledged");
        report
    }

    /// Turns the clock and lets the server do what fell due.
    pub(crate) async fn pass(&self, millis: i64) -> UnixMillis {
        self.clock.turn(millis);
        let errors = self.engine().tick().await;
        assert!(errors.is_empty(), "{errors:?}");
        self.engine().work_on_backups().await.unwrap();
        // The server tries again as well; a test that wants no trouble looks at what is left.
        let _ = self.engine().tell_of_destroyed().await;
        keyreeve_engine::Clock::now(&*self.clock)
    }
}
