//! The engine's parts: ports, settings, what is held in memory, and the door.

use arc_swap::{ArcSwap, ArcSwapOption};
use keyreeve_crypto::{Random, Registry};
use keyreeve_epochs::EpochVault;
use keyreeve_identity::throttle::Throttle;
use keyreeve_identity_port::{Directory, OidcProvider};
use keyreeve_journal::Journal;
use keyreeve_model::ids::KeyringId;
use keyreeve_model::quarantine::Place;
use keyreeve_model::record::Table;
use keyreeve_model::roots::{Need, RootRecord};
use keyreeve_model::{DeploymentRecord, KeyId, MaterialRow, Name, Profile, RecordId, RootUse, TokenId, UnixMillis};
use keyreeve_policy::DecisionCache;
use keyreeve_root::SealStatus;
use keyreeve_secret::SecretBytes;
use keyreeve_store::Store;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;
use tokio::sync::RwLock;

use crate::access::{Compiler, Freshness, HeldToken};
use crate::cache::RowCache;
use crate::catalogue::Descriptor;
use crate::clock::{Clock, Latest};
use crate::courier::{Channel, Courier};
use crate::due::Overdue;
use crate::error::{Code, Error};
use crate::integrity::Noted;
use crate::issuers::Issuers;
use crate::keys::{HeldKey, HeldKeyring, KekLocks, KeyRef, KeyringRef};
use crate::readiness::Readiness;
use crate::roots::Roots;
use crate::sealing::Opened;

/// Sees every operation when it is over, for metrics.
pub trait Observer: Send + Sync {
    /// One operation ended: with no code when it was done.
    fn observed(&self, operation: &'static Descriptor, code: Option<Code>, items: usize, took: Duration);
}

/// What the engine stands on.
pub struct Ports {
    /// Records and wrapped material.
    pub store: Arc<dyn Store>,
    /// The roots of trust.
    pub roots: Arc<Roots>,
    /// Epoch keys.
    pub vault: Arc<dyn EpochVault>,
    /// The audit log.
    pub journal: Arc<dyn Journal>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness, health-tested.
    pub random: Arc<Random>,
    /// Metrics.
    pub observer: Arc<dyn Observer>,
    /// OpenID providers, and whoever else publishes the keys of tokens.
    pub oidc: Arc<dyn OidcProvider>,
    /// Directories that know passwords.
    pub directory: Arc<dyn Directory>,
    /// The channels on which people are told of what happened.
    pub notifiers: Vec<Channel>,
}

/// What an operator decides about the engine.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Algorithms with their dates.
    pub algorithms: Registry,
    /// Which revision of SP 800-57 part 1 rules new keys.
    pub profile: Profile,
    /// Shipped policies of the server's mode, besides those of every mode: name and text. The one that demands a second
    /// factor of people, except in development mode.
    pub extra_policies: Vec<(String, String)>,
    /// Keys held in memory (count).
    pub keys_kept: usize,
    /// Tokens held in memory (count).
    pub tokens_kept: usize,
    /// Decisions of policy that are remembered (count); roughly 500 bytes each.
    pub decisions_kept: usize,
    /// The most items of one batch.
    pub batch_max: usize,
    /// The most rows of material that a destruction wraps anew in one transaction; 1 to 1,000.
    pub rewrap_step: u32,
    /// The origin line of the audit log's checkpoints for a new deployment.
    pub log_origin: String,
    /// Open even though the store refers to epoch keys that the vault does not hold; keys under them stay unusable. For
    /// recovery, after a person has made sure that they are lost.
    pub accept_missing_epochs: bool,
    /// The relying party's id, a domain, under which authenticators are registered (W3C WebAuthn); none where there are
    /// none.
    pub relying: Option<String>,
    /// The origins of the pages on which they are used; [`Engine::serve_origins`] replaces them.
    pub origins: Vec<String>,
    /// Development mode: initialisation also makes a principal that may do everything.
    pub development: bool,
    /// How often everything that is stored is looked through for damage; never where there is nothing.
    pub scan_every: Option<Duration>,
    /// Rows and entries that such a scan looks at in a second at most; 0 for as fast as it goes.
    pub scan_pace: u32,
}

impl Settings {
    /// For development mode: initialisation also makes a principal that may do everything, a policy lets it, and no
    /// second factor is demanded of people.
    #[must_use]
    pub fn development() -> Self {
        Self {
            extra_policies: vec![owned(keyreeve_policy::shipped::development())],
            development: true,
            relying: Some("localhost".to_owned()),
            origins: vec!["https://localhost:7433".to_owned()],
            ..Self::default()
        }
    }
}

fn owned((name, text): (keyreeve_policy::PolicyName, &str)) -> (String, String) {
    (name.to_string(), text.to_owned())
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            algorithms: Registry::shipped(),
            profile: Profile::default(),
            extra_policies: vec![owned(keyreeve_policy::shipped::require_mfa())],
            keys_kept: 16 * 1024,
            tokens_kept: 16 * 1024,
            decisions_kept: 64 * 1024,
            batch_max: 1000,
            rewrap_step: 500,
            log_origin: "keyreeve.local/audit".to_owned(),
            accept_missing_epochs: false,
            relying: None,
            origins: Vec::new(),
            development: false,
            scan_every: None,
            scan_pace: 0,
        }
    }
}

/// Locks by shard of a keyring, see [`crate::sealing::Guard`].
type ShardLocks = Mutex<HashMap<(KeyringId, u32), Arc<RwLock<()>>>>;

/// What operations work with.
pub struct Core {
    pub(crate) ports: Ports,
    pub(crate) settings: Settings,
    pub(crate) compiler: Arc<Compiler>,
    shipped: DecisionCache,
    /// The origins of the pages on which authenticators are used.
    pub(crate) origins: ArcSwap<Vec<String>>,
    latest: Latest,
    opened: ArcSwapOption<Opened>,
    pub(crate) keys: RowCache<KeyId, Arc<HeldKey>>,
    pub(crate) aliases: RowCache<Name, KeyId>,
    pub(crate) keyrings: RowCache<KeyringId, Arc<HeldKeyring>>,
    pub(crate) tokens: RowCache<TokenId, Arc<HeldToken>>,
    shard_locks: ShardLocks,
    /// Messages that key versions may still protect under what is reserved for them.
    pub(crate) allowances: Mutex<HashMap<(KeyId, u32), Arc<AtomicU64>>>,
    /// The newest epoch of each shard, as the vault knows it.
    pub(crate) newest_epochs: Mutex<HashMap<(KeyringId, u32), u64>>,
    /// The shard that takes a keyring's next key, and how many keys it has.
    pub(crate) shard_fill: Mutex<HashMap<KeyringId, (u32, u32)>>,
    /// Destructions that are due and failed.
    pub(crate) overdue: Mutex<HashMap<KeyId, Overdue>>,
    /// Audit records that reached the journal and may leave the outbox with the next transaction.
    pub(crate) settled: Mutex<Vec<RecordId>>,
    /// Whether some outbox record may not have reached the journal.
    pub(crate) outbox_dirty: std::sync::atomic::AtomicBool,
    /// Shared by commits from their store transaction to their journal entry; exclusive for mending the outbox, which
    /// must not take a record under way for a lost one.
    pub(crate) committing: RwLock<()>,
    /// One at a time replaces the access snapshot, so that an older one never follows a newer one.
    pub(crate) reloading: tokio::sync::Mutex<()>,
    /// One at a time gives certificates to principals, until others see it: no certificate proves two of them.
    pub(crate) claiming: Arc<RwLock<()>>,
    /// Since when the server is open (milliseconds).
    pub(crate) opened_since: AtomicI64,
    /// Held shared by destructions and alone by whoever places a hold: none comes between the look and the erasure.
    pub(crate) holding: Arc<RwLock<()>>,
    /// Whether what decisions about access are made from is as it was stored.
    pub(crate) access: Freshness,
    /// Becomes true when a commit was refused because another server has the store.
    pub(crate) lease_lost: tokio::sync::watch::Sender<bool>,
    /// What readiness was, and when it was looked at.
    pub(crate) readiness: tokio::sync::Mutex<Option<(Duration, Readiness)>>,
    /// Tells people.
    pub(crate) courier: Courier,
    /// How often logins failed.
    pub(crate) throttle: Mutex<Throttle>,
    /// When requests began to wait, by who asked.
    pub(crate) requests: Mutex<HashMap<Name, VecDeque<UnixMillis>>>,
    /// The keys of token issuers.
    pub(crate) issuers: Issuers,
    /// When rights were last used.
    pub(crate) uses: crate::uses::Uses,
    /// Held shared by whoever brings something under roots of trust, from the look whether they were joined until it is
    /// stored, and alone by whoever joins or retires one: nothing comes under a root that was retired meanwhile.
    pub(crate) rooting: Arc<RwLock<()>>,
    /// Of the key-encryption keys of keyrings.
    pub(crate) kek_locks: Arc<KekLocks>,
    /// One at a time begins to give new key-encryption keys, until others see it.
    pub(crate) rekeying: Arc<RwLock<()>>,
    /// Rings when a job was begun.
    pub(crate) job_bell: tokio::sync::Notify,
    /// The roots that open the server's own secret, once it is known.
    pub(crate) opens_with: Mutex<Option<RootUse>>,
    /// Roots of the deployment that could not be told what it says of them when the server started.
    pub(crate) unconfigured: Mutex<BTreeMap<Name, RootRecord>>,
    /// Where backups go, if anywhere.
    pub(crate) backups: std::sync::OnceLock<crate::backup::Keeper>,
    /// Held shared by destructions and alone by whoever copies key material for a backup: no epoch goes meanwhile.
    pub(crate) backing: Arc<RwLock<()>>,
    /// What is known of escrow in memory.
    pub(crate) escrow: crate::escrow::Memory,
    /// When drills are wanted, and how they stand.
    pub(crate) drills: crate::due::Drills,
    /// That this server came out of a backup.
    pub(crate) restored: Mutex<Option<keyreeve_model::backup::Restored>>,
    /// Damage that was met and is not in quarantine yet.
    pub(crate) noted: Noted,
    /// When it is looked again whether a scan is due.
    pub(crate) next_scan: Mutex<Option<UnixMillis>>,
    /// One at a time opens or seals the server.
    pub(crate) transition: tokio::sync::Mutex<()>,
    /// What remembers elsewhere how far this server had come, if anything does.
    pub(crate) anchors: std::sync::OnceLock<crate::anchors::Anchors>,
    /// That it is older than one of those remembers: nothing is done but what people need to decide.
    pub(crate) rolled_back: ArcSwapOption<crate::anchors::RolledBack>,
    /// Until when an anchor's trouble is not told again.
    pub(crate) anchors_told: Mutex<BTreeMap<Name, UnixMillis>>,
    /// What runs, and whether that is on record.
    pub(crate) start_facts: std::sync::OnceLock<crate::ops::anchors::StartFacts>,
    pub(crate) start_recorded: std::sync::atomic::AtomicBool,
}

/// The engine. [`Engine::call`] is the only door to an operation; the rest starts, tends and stops it.
#[derive(Clone)]
pub struct Engine {
    pub(crate) core: Arc<Core>,
}

impl Engine {
    /// An engine over its ports, sealed until somebody opens it or [`Engine::start`] does.
    ///
    /// # Errors
    /// When the shipped policies do not fit the catalogue, which is a defect.
    pub fn new(mut ports: Ports, settings: Settings) -> Result<Self, Error> {
        let compiler = Arc::new(Compiler::new(&settings.extra_policies, settings.decisions_kept)?);
        let set = compiler.compile(std::iter::empty())?;
        let core = Core {
            shipped: DecisionCache::new(Arc::new(set), settings.decisions_kept),
            compiler,
            origins: ArcSwap::from_pointee(settings.origins.clone()),
            latest: Latest::new(UnixMillis(0)),
            opened: ArcSwapOption::empty(),
            keys: RowCache::new(settings.keys_kept),
            aliases: RowCache::new(settings.keys_kept),
            keyrings: RowCache::new(1024),
            tokens: RowCache::new(settings.tokens_kept),
            shard_locks: Mutex::default(),
            allowances: Mutex::default(),
            newest_epochs: Mutex::default(),
            shard_fill: Mutex::default(),
            overdue: Mutex::default(),
            settled: Mutex::default(),
            outbox_dirty: true.into(),
            committing: RwLock::new(()),
            reloading: tokio::sync::Mutex::new(()),
            claiming: Arc::default(),
            opened_since: AtomicI64::new(i64::MAX),
            holding: Arc::default(),
            access: Freshness::default(),
            lease_lost: tokio::sync::watch::Sender::new(false),
            readiness: tokio::sync::Mutex::default(),
            requests: Mutex::default(),
            throttle: Mutex::new(Throttle::new(ports.random.secret_array()?)),
            issuers: Issuers::default(),
            uses: crate::uses::Uses::default(),
            rooting: Arc::default(),
            kek_locks: Arc::default(),
            escrow: crate::escrow::Memory::default(),
            rekeying: Arc::default(),
            job_bell: tokio::sync::Notify::new(),
            opens_with: Mutex::default(),
            unconfigured: Mutex::default(),
            backups: std::sync::OnceLock::new(),
            backing: Arc::default(),
            restored: Mutex::default(),
            noted: Noted::default(),
            next_scan: Mutex::default(),
            drills: crate::due::Drills::default(),
            transition: tokio::sync::Mutex::new(()),
            anchors: std::sync::OnceLock::new(),
            rolled_back: ArcSwapOption::empty(),
            anchors_told: Mutex::default(),
            start_facts: std::sync::OnceLock::new(),
            start_recorded: false.into(),
            courier: Courier::new(std::mem::take(&mut ports.notifiers)),
            ports,
            settings,
        };
        Ok(Self { core: Arc::new(core) })
    }

    /// The origins of the pages on which authenticators are used, once it is known on which ports the server listens.
    pub fn serve_origins(&self, origins: Vec<String>) {
        self.core.origins.store(Arc::new(origins));
    }

    /// True while the root of trust is open, and the server works: not where it is older than an anchor remembers.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.core.opened.load().is_some() && self.core.rolled_back.load().is_none()
    }
}

impl Core {
    /// The present; refuses when the clock went far back.
    pub(crate) fn now(&self) -> Result<UnixMillis, Error> {
        self.latest.now(&*self.ports.clock)
    }

    /// What exists while the server is open.
    pub(crate) fn opened(&self) -> Option<Arc<Opened>> {
        self.opened.load_full()
    }

    /// What exists while the server is open, or the refusal that says it is not.
    pub(crate) fn need_open(&self) -> Result<Arc<Opened>, Error> {
        self.opened().ok_or_else(|| match self.root_status() {
            SealStatus::NotInitialised { .. } => {
                Error::new(Code::NotInitialised, "the server is not initialised: run `keyreeve init`")
            }
            status if status.needs_people() => {
                Error::new(Code::Sealed, "the server is sealed: `keyreeve unseal` with enough shares opens it")
            }
            SealStatus::Sealed { .. } => Error::new(
                Code::Sealed,
                "the server is sealed: its root of trust has no shares, it opens when the server is started again",
            ),
            SealStatus::Open => Error::new(
                Code::Sealed,
                "the server is not open: its root of trust is, and the server's log tells more",
            ),
        })
    }

    /// Where the root stands that keeps the server from opening, or the first one.
    pub(crate) fn root_status(&self) -> SealStatus {
        let of = |name| self.ports.roots.get(name).map(|root| root.status());
        let wanted = self.opens_with.lock().clone();
        let Some(wanted) = wanted else {
            return of(self.ports.roots.first()).unwrap_or(SealStatus::NotInitialised { people: false });
        };
        let open = |status: &SealStatus| *status == SealStatus::Open;
        // One that is not configured is neither open nor can it be opened.
        let (opened, closed): (Vec<_>, Vec<_>) = wanted.roots().iter().filter_map(of).partition(open);
        let enough = match wanted.need() {
            Need::Any => !opened.is_empty(),
            Need::All => opened.len() == wanted.roots().len(),
        };
        if enough {
            return SealStatus::Open;
        }
        // One that waits for people says best what to do.
        let people = closed.iter().find(|status| status.needs_people()).or(closed.first());
        people.cloned().unwrap_or(SealStatus::Sealed { given: 0, threshold: 0, shares: 0 })
    }

    /// The deployment has other roots of trust, or its secret is under others.
    pub(crate) fn rooted(&self, deployment: DeploymentRecord) {
        *self.opens_with.lock() = Some(deployment.system_secret.under());
        if let Some(opened) = self.opened() {
            opened.replace_roots(deployment);
        }
    }

    /// Key-encryption keys of a keyring are no more.
    pub(crate) fn forget_keks(&self, keyring: KeyringId) {
        if let Some(opened) = self.opened() {
            opened.hierarchy.forget_keks(keyring);
        }
    }

    pub(crate) fn set_opened(&self, opened: Option<Arc<Opened>>) {
        self.opened.store(opened);
    }

    /// The decisions that hold while no stored policy can be read.
    pub(crate) fn shipped_policies(&self) -> &DecisionCache {
        &self.shipped
    }

    /// A new id of any type from the present and the generator.
    pub(crate) fn id_random(&self) -> Result<[u8; 10], Error> {
        let mut random = [0; 10];
        self.ports.random.nonce(&mut random)?;
        Ok(random)
    }

    /// A keyring that may exist.
    pub(crate) async fn find_keyring(&self, wanted: &KeyringRef) -> Result<Option<Arc<HeldKeyring>>, Error> {
        let opened = self.need_open()?;
        match wanted {
            KeyringRef::Id(id) => self.keyring(&opened, *id).await,
            KeyringRef::Name(name) => match self.ports.store.keyring_named(name).await? {
                Some(row) => {
                    opened.access().quarantined().refuse(Table::Keyrings, row.id.as_bytes())?;
                    let keyring = HeldKeyring::open(&opened.keys, &row).map_err(Error::from);
                    let keyring = self.note_if_damaged(|| Place::row(Table::Keyrings, row.id.as_bytes()), keyring)?;
                    Ok(Some(Arc::new(keyring)))
                }
                None => Ok(None),
            },
        }
    }

    pub(crate) async fn keyring(&self, opened: &Opened, id: KeyringId) -> Result<Option<Arc<HeldKeyring>>, Error> {
        opened.access().quarantined().refuse(Table::Keyrings, id.as_bytes())?;
        let load = async {
            let row = self.ports.store.keyring(id).await?;
            if row.as_ref().is_some_and(|row| row.id != id) {
                return Err(misplaced());
            }
            row.map(|row| HeldKeyring::open(&opened.keys, &row).map(Arc::new)).transpose().map_err(Error::from)
        };
        let found = self.keyrings.get_or_load(&id, load).await;
        self.note_if_damaged(|| Place::row(Table::Keyrings, id.as_bytes()), found)
    }

    /// A key that may exist.
    pub(crate) async fn find_key(&self, wanted: &KeyRef) -> Result<Option<Arc<HeldKey>>, Error> {
        let opened = self.need_open()?;
        match wanted {
            KeyRef::Id(id) => self.key(&opened, *id).await,
            KeyRef::Alias(alias) => self.key_aliased(&opened, alias).await,
        }
    }

    async fn key(&self, opened: &Opened, id: KeyId) -> Result<Option<Arc<HeldKey>>, Error> {
        opened.access().quarantined().refuse(Table::Keys, id.as_bytes())?;
        let load = async {
            match self.ports.store.key_with_material(id).await? {
                Some((row, _)) if row.id != id => Err(misplaced()),
                Some((row, material)) => self.hold(opened, &row, material).await.map(Some),
                None => Ok(None),
            }
        };
        let found = self.keys.get_or_load(&id, load).await;
        let found = self.note_if_damaged(|| Place::row(Table::Keys, id.as_bytes()), found)?;
        if let Some(key) = &found {
            // It may be in memory from before its keyring came into quarantine.
            opened.access().quarantined().refuse_key(id, key.keyring.record.id)?;
        }
        Ok(found)
    }

    async fn key_aliased(&self, opened: &Opened, alias: &Name) -> Result<Option<Arc<HeldKey>>, Error> {
        let load = async { Ok::<_, Error>(self.ports.store.key_aliased(alias).await?.map(|row| row.id)) };
        let Some(id) = self.aliases.get_or_load(alias, load).await? else { return Ok(None) };
        let key = self.key(opened, id).await?;
        // The alias column only helps to find the key; whose alias it is, the sealed record says.
        Ok(key.filter(|key| key.record.metadata.aliases.contains(alias)))
    }

    /// A row checked and put together with its keyring, and with wrapped material for its first use if that was read.
    pub(crate) async fn hold(
        &self,
        opened: &Opened,
        row: &keyreeve_model::change::KeyRow,
        material: Option<MaterialRow>,
    ) -> Result<Arc<HeldKey>, Error> {
        let orphan = || Error::new(Code::Tampered, "a key's keyring is missing from the store: an operator must look");
        let keyring = self.keyring(opened, row.keyring).await?.ok_or_else(orphan)?;
        Ok(Arc::new(HeldKey::open(&opened.keys, row, keyring)?.with_wrapped(material)))
    }

    /// The same of a listing; nothing where the row or its keyring's is damaged or in quarantine.
    pub(crate) async fn hold_sound(
        &self,
        opened: &Opened,
        row: &keyreeve_model::change::KeyRow,
    ) -> Result<Option<Arc<HeldKey>>, Error> {
        if opened.access().quarantined().refuse_key(row.id, row.keyring).is_err() {
            return Ok(None);
        }
        let held = self.hold(opened, row, None).await;
        match self.note_if_damaged(|| Place::row(Table::Keys, row.id.as_bytes()), held) {
            Ok(held) => Ok(Some(held)),
            Err(error) if matches!(error.code(), Code::Tampered | Code::Quarantined) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A token that may exist.
    pub(crate) async fn token(&self, opened: &Opened, id: TokenId) -> Result<Option<Arc<HeldToken>>, Error> {
        opened.access().quarantined().refuse(Table::Tokens, id.as_bytes())?;
        let load = async {
            let row = self.ports.store.token(id).await?;
            if row.as_ref().is_some_and(|row| row.id != id) {
                return Err(misplaced());
            }
            row.map(|row| HeldToken::open(&opened.keys, &row).map(Arc::new)).transpose().map_err(Error::from)
        };
        let found = self.tokens.get_or_load(&id, load).await;
        self.note_if_damaged(|| Place::row(Table::Tokens, id.as_bytes()), found)
    }

    /// A key version ready for use. The caller has asked the lifecycle before.
    pub(crate) async fn load(&self, key: &HeldKey, version: u32) -> Result<Arc<keyreeve_crypto::LoadedKey>, Error> {
        let opened = self.need_open()?;
        opened.access().quarantined().refuse_material(key.record.id(), version)?;
        if let Some(loaded) = key.loaded(version) {
            return Ok(loaded);
        }
        if let Some(loaded) = self.open_version(&key.record, version).await? {
            key.keep_loaded(version, &loaded);
            return Ok(loaded);
        }
        let mut row = match key.take_wrapped(version) {
            Some(row) => in_place(key, row)?,
            None => self.material(key, version).await?,
        };
        loop {
            let failed = match opened.hierarchy.load(&key.keyring.record, &key.record, &row).await {
                Ok(loaded) => {
                    key.keep_loaded(version, &loaded);
                    return Ok(loaded);
                }
                Err(error) => error,
            };
            // A destruction in the same shard may have replaced the epoch after the row was read. Epochs only go up.
            let fresh = self.material(key, version).await?;
            if fresh.epoch <= row.epoch {
                return self.note_if_damaged(|| Place::Material(row.key, row.version), Err(failed));
            }
            row = fresh;
        }
    }

    /// The material of a key version in serialised form. The caller has asked the lifecycle before.
    pub(crate) async fn unwrap_material(&self, key: &HeldKey, version: u32) -> Result<SecretBytes, Error> {
        let opened = self.need_open()?;
        opened.access().quarantined().refuse_material(key.record.id(), version)?;
        let mut row = self.material(key, version).await?;
        loop {
            let failed = match opened.hierarchy.unwrap(&key.keyring.record, &row).await {
                Ok(material) => return Ok(material),
                Err(error) => error,
            };
            // As in `load`: a destruction in the same shard may have come between.
            let fresh = self.material(key, version).await?;
            if fresh.epoch <= row.epoch {
                return self.note_if_damaged(|| Place::Material(row.key, row.version), Err(failed));
            }
            row = fresh;
        }
    }

    async fn material(&self, key: &HeldKey, version: u32) -> Result<MaterialRow, Error> {
        let missing =
            || Error::new(Code::Tampered, "the key's material is missing from the store: an operator must look");
        let row = self.ports.store.material(key.record.id(), version).await?.ok_or_else(missing);
        let row = row.and_then(|row| if row.version == version { in_place(key, row) } else { Err(misplaced()) });
        self.note_if_damaged(|| Place::Material(key.record.id(), version), row)
    }

    /// Refuses empty and oversized batches.
    pub(crate) fn check_batch(&self, items: usize) -> Result<(), Error> {
        let max = self.settings.batch_max;
        match items {
            0 => Err(Error::invalid("nothing to do: give at least one item")),
            _ if items > max => Err(Error::new(
                Code::TooLarge,
                format!("a batch has at most {max} items, this one has {items}: split it"),
            )),
            _ => Ok(()),
        }
    }

    /// The lock of a shard.
    pub(crate) fn shard_lock(&self, keyring: KeyringId, shard: u32) -> Arc<RwLock<()>> {
        Arc::clone(self.shard_locks.lock().entry((keyring, shard)).or_default())
    }

    /// Forgets everything that came out of an open root of trust.
    pub(crate) fn forget(&self) {
        self.keys.clear();
        self.aliases.clear();
        self.keyrings.clear();
        self.tokens.clear();
        self.shard_fill.lock().clear();
        self.escrow.clear();
    }
}

/// Material where its key says it is.
fn in_place(key: &HeldKey, row: MaterialRow) -> Result<MaterialRow, Error> {
    let wanted = (key.record.id(), key.record.keyring(), key.record.shard());
    if (row.key, row.keyring, row.shard) == wanted { Ok(row) } else { Err(misplaced()) }
}

/// The store answered with another row than the one that was asked for.
fn misplaced() -> Error {
    Error::new(Code::Tampered, "the store answered with another row than was asked for: an operator must look")
}
