//! The engine over time: starting, opening, sealing, and the work it does by itself.

use futures::future::BoxFuture;
use keyreeve_epochs::EpochId;
use keyreeve_model::record::{BadRecord, RecordSealer, Table, open};
use keyreeve_model::roots::RootRecord;
use keyreeve_model::{DeploymentRecord, DestructionRecord, KeyId, KeyringId, Name, UnixMillis};
use keyreeve_root::SealStatus;
use keyreeve_store::Page;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::access::{AccessSnapshot, Stale};
use crate::core::Engine;
use crate::courier::Filed;
use crate::error::{Code, Error};
use crate::keys::{Hierarchy, KeyRef};
use crate::ops::destruction::{Destroy, VerifyDestruction};
use crate::sealing::{Opened, SystemKeys};

/// Destructions carried out at one tick (count).
const DUE_AT_ONCE: u32 = 100;

/// How long after a failed destruction it is tried again, at first and at most.
const PAUSE_FIRST: Duration = Duration::from_secs(60);
const PAUSE_LONGEST: Duration = Duration::from_secs(6 * 3600);

/// How long an answer to whether the server can do its work stands for all who ask.
const READINESS_STANDS: Duration = Duration::from_secs(1);

/// A destruction that is due and failed.
pub(crate) struct Overdue {
    failures: u32,
    again: UnixMillis,
}

/// Twice as long after each failure.
fn pause(failures: u32) -> Duration {
    PAUSE_LONGEST.min(PAUSE_FIRST * (1 << failures.saturating_sub(1).min(16)))
}

/// Whether the server can do its work, part by part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Where the root of trust stands.
    pub seal: SealStatus,
    /// What is wrong with the root of trust, if anything; nothing is asked of one that is closed.
    pub root: Option<String>,
    /// What is wrong with the store, if anything.
    pub store: Option<String>,
    /// What is wrong with the epoch vault, if anything.
    pub vault: Option<String>,
    /// What is wrong with the audit log, if anything.
    pub journal: Option<String>,
    /// What is wrong with the random generator, if anything.
    pub random: Option<String>,
}

impl Readiness {
    /// Nothing is wrong, and the root of trust stands as `seal` says.
    #[must_use]
    pub const fn well(seal: SealStatus) -> Self {
        Self { seal, root: None, store: None, vault: None, journal: None, random: None }
    }

    /// True when requests will be served.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self == Self::well(SealStatus::Open)
    }
}

/// What the system secret's wrapping is bound to.
pub(crate) fn system_context(deployment: &keyreeve_model::ids::DeploymentId) -> Vec<u8> {
    [b"keyreeve/system/1".as_slice(), deployment.as_bytes()].concat()
}

impl Engine {
    /// Tells the root of trust what the deployment record says, and opens the server where that needs no people.
    ///
    /// # Errors
    /// When the store or the root cannot be used, or what they hold does not fit together.
    pub async fn start(&self) -> Result<(), Error> {
        let Some(record) = self.core.ports.store.deployment().await? else { return Ok(()) };
        // The MAC can be checked only once the root is open, which this very record is needed for: `open` does it.
        let unread = |_| {
            Error::new(Code::Tampered, "the deployment record cannot be read: wrong store, or a newer version wrote it")
        };
        let deployment: DeploymentRecord = serde_json::from_slice(&record.bytes).map_err(unread)?;
        *self.core.opens_with.lock() = Some(deployment.system_secret.under());
        let trouble = self.configure_roots(deployment.roots()).await?;
        match (self.core.root_status(), trouble) {
            (SealStatus::Open, _) => self.open().await,
            (status, Some(error)) if !status.needs_people() => Err(error),
            _ => Ok(()),
        }
    }

    /// Tells each root of trust what the deployment says of it. One that does not answer now is asked again at each
    /// tick; what it opens is refused meanwhile. Returns the first such trouble.
    async fn configure_roots(&self, roots: BTreeMap<Name, RootRecord>) -> Result<Option<Error>, Error> {
        let (core, mut trouble, mut wrong) = (&*self.core, None, None);
        for (name, record) in roots {
            match core.ports.roots.configure(&name, &record).await {
                Ok(()) => {}
                // Another kind than was joined: the configuration is wrong, and waiting does not help. The others are
                // told all the same.
                Err(error) if error.code() == Code::InvalidRequest => wrong = wrong.or(Some(error)),
                Err(error) => {
                    tracing::warn!(root = %name, %error, cause = error.cause(), "a root of trust is not there");
                    core.unconfigured.lock().insert(name, record);
                    trouble = trouble.or(Some(error));
                }
            }
        }
        wrong.map_or(Ok(trouble), Err)
    }

    /// Asks for roots that were not there, and hears from those that want to be heard from. What came out of one that
    /// stays away for longer than its bound is wiped.
    async fn look_after_roots(&self) -> Result<(), Error> {
        let core = &*self.core;
        let missing = std::mem::take(&mut *core.unconfigured.lock());
        if !missing.is_empty() {
            self.configure_roots(missing).await?;
        }
        if core.ports.roots.look_after().await
            && let Some(opened) = core.opened()
        {
            opened.hierarchy.forget();
            core.keys.clear();
        }
        if core.opened().is_none() && core.root_status() == SealStatus::Open && core.opens_with.lock().is_some() {
            self.open().await?;
        }
        Ok(())
    }

    /// Opens the server once the root of trust is open. Why it could not is for its log too: whoever gave the last
    /// share may not be who runs it.
    pub(crate) async fn open(&self) -> Result<(), Error> {
        let opened = self.try_open().await;
        if let Err(error) = &opened {
            tracing::error!(%error, cause = error.cause(), "the server cannot open");
        } else if let Err(error) = self.look_after_emergencies().await {
            tracing::warn!(%error, "emergencies are looked after at the next tick");
        }
        opened
    }

    async fn try_open(&self) -> Result<(), Error> {
        let core = &*self.core;
        let _one = core.transition.lock().await;
        if core.opened().is_some() {
            return Ok(());
        }
        let not_initialised = || Error::new(Code::NotInitialised, "the server is not initialised: run `keyreeve init`");
        let record = core.ports.store.deployment().await?.ok_or_else(not_initialised)?;
        let unread = |_| Error::new(Code::Tampered, "the deployment record cannot be read");
        let deployment: DeploymentRecord = serde_json::from_slice(&record.bytes).map_err(unread)?;
        let context = system_context(&deployment.id);
        let secret = core.ports.roots.unwrap(&deployment.system_secret, &context).await?;
        *core.opens_with.lock() = Some(deployment.system_secret.under());
        let keys = Arc::new(SystemKeys::derive(&secret, &deployment.log_origin)?);
        let deployment: DeploymentRecord = open(&keys, Table::Deployment, deployment.id.as_bytes(), &record)?;
        let access = AccessSnapshot::load((&*core.ports.store, &keys), &core.compiler, core.now()?).await?;
        self.learn_epochs().await?;
        core.ports.journal.set_signers(keys.signers.clone())?;
        let hierarchy = Hierarchy::new(core, &keys);
        core.opened_since.store(core.now()?.0, Ordering::Release);
        core.set_opened(Some(Arc::new(Opened::new(deployment, keys, hierarchy, access))));
        core.courier.ring(Filed::Urgent);
        core.mend_outbox().await
    }

    /// Learns the newest epoch of each shard, and refuses to open over a vault that lacks epochs the store refers to:
    /// making new ones of the same number would bury the keys under them.
    async fn learn_epochs(&self) -> Result<(), Error> {
        let core = &*self.core;
        let vault: BTreeSet<EpochId> = core.ports.vault.list().await?.into_iter().collect();
        let used = core.ports.store.epochs_in_use().await?;
        let missing: Vec<_> = used
            .into_iter()
            .map(|(keyring, shard, epoch)| EpochId { keyring, shard, epoch })
            .filter(|id| !vault.contains(id))
            .collect();
        if let Some(first) = missing.first()
            && !core.settings.accept_missing_epochs
        {
            let text = format!(
                "the store refers to {} epoch keys that are not in the epoch vault (the first: keyring {}, shard {}, \
                 epoch {}): is the vault's directory mounted, and are vault and store of the same time? \
                 `epochs.accept_missing` in the configuration opens without them; docs/operations.md says when",
                missing.len(),
                first.keyring,
                first.shard,
                first.epoch
            );
            return Err(Error::new(Code::Tampered, text));
        }
        let mut newest = core.newest_epochs.lock();
        newest.clear();
        for id in vault {
            let known = newest.entry((id.keyring, id.shard)).or_default();
            *known = id.epoch.max(*known);
        }
        Ok(())
    }

    /// Seals the server: closes the root of trust and wipes what came out of it.
    pub(crate) async fn seal(&self) {
        let core = &*self.core;
        let _one = core.transition.lock().await;
        if let Some(opened) = core.opened() {
            opened.hierarchy.forget();
        }
        if let Err(error) = core.ports.journal.flush().await {
            tracing::warn!(%error, "no checkpoint was published before sealing");
        }
        if let Err(error) = core.ports.journal.set_signers(Vec::new()) {
            tracing::error!(%error, "the journal's signing keys could not be taken away");
        }
        core.set_opened(None);
        core.forget();
        core.ports.roots.seal().await;
    }

    /// Reads anew what changed of all that decisions about access are made from. Until that worked nothing is decided.
    pub(crate) async fn reload_access(&self, stale: Stale) -> Result<(), Error> {
        self.core.access.changed(stale);
        self.ensure_fresh_access().await
    }

    /// Waits for principals and policies as they are after every change so far. Safe to be dropped half-way.
    pub(crate) async fn ensure_fresh_access(&self) -> Result<(), Error> {
        let core = &*self.core;
        if !core.access.is_behind() {
            return Ok(());
        }
        let _one = core.reloading.lock().await;
        let (Some(opened), true) = (core.opened(), core.access.is_behind()) else { return Ok(()) };
        // Noted before reading: a change from here on is read by the next round.
        let reading = core.access.begin();
        let known = opened.access().clone();
        let from = (&*core.ports.store, &opened.keys as &dyn RecordSealer);
        let next = known.refreshed(&reading.stale, from, &core.compiler, core.now()?).await?;
        opened.replace_access(next);
        // Sealed and opened again meanwhile: what was read went to the one that is gone, and the new one read earlier.
        if core.opened().is_some_and(|now| Arc::ptr_eq(&now, &opened)) {
            core.access.done(&reading);
        }
        Ok(())
    }

    /// Erases epochs of one shard, whose lock the caller holds, after making sure that nothing needs them.
    pub(crate) async fn erase_epochs(&self, old: &[EpochId], next: EpochId) -> Result<(), Error> {
        let opened = self.core.need_open()?;
        self.core.newest_epochs.lock().insert((next.keyring, next.shard), next.epoch);
        let used = self.core.ports.store.shard_epochs(next.keyring, next.shard).await?;
        for id in old {
            if used.contains(&id.epoch) && self.core.ports.vault.get(*id).await?.is_some() {
                return Err(Error::internal("an epoch that is in use was about to be erased"));
            }
            opened.hierarchy.erase(*id).await?;
        }
        Ok(())
    }

    /// Boxed, because it goes through the pipeline from inside of it.
    pub(crate) fn verify_destruction(&self, key: KeyId) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let operation = VerifyDestruction { key: KeyRef::Id(key) };
            let verified = self.call_as_server(&format!("destruction-of-{key}"), operation).await;
            verified.map(|_| ()).map_err(|refused| refused.error)
        })
    }

    /// The work that falls due with time: destructions whose waiting period is over, epochs a crash left behind,
    /// settled and expired rows. Called about once a minute; every part is also safe to repeat. Returns what went
    /// wrong, part by part.
    pub async fn tick(&self) -> Vec<Error> {
        let mut errors = Vec::new();
        errors.extend(self.look_after_roots().await.err());
        if self.core.opened().is_some() {
            errors.extend(self.destroy_due().await.err());
            errors.extend(self.sweep_epochs().await.err());
            errors.extend(self.remind_of_incidents().await.err());
            errors.extend(self.close_expired().await.err());
            errors.extend(self.look_after_emergencies().await.err());
            errors.extend(self.remind_of_reviews().await.err());
            errors.extend(self.remind_of_proofs().await.err());
            errors.extend(self.tell_of_ends().await.err());
            errors.extend(self.give_up_orphans().await.err());
            errors.extend(self.look_after_backups().await);
            errors.extend(self.look_after_material().await.err());
        }
        if let Some(opened) = self.core.opened() {
            errors.extend(self.core.write_uses(&opened).await.err());
        }
        match self.core.now() {
            Ok(now) => errors.extend(self.core.settle(now).await.err()),
            Err(error) => errors.push(error),
        }
        errors.extend(self.core.look_for_late_records().await.err());
        errors
    }

    /// Carries out destructions that are due, at most [`DUE_AT_ONCE`] of them. One that failed is tried again ever more
    /// rarely, so that it does not take the turn of those behind it.
    async fn destroy_due(&self) -> Result<(), Error> {
        let (mut seen, mut after, mut tried) = (BTreeSet::new(), None, 0);
        while tried < DUE_AT_ONCE {
            let (now, page) = self.due_page(after).await?;
            if page.is_empty() {
                // All that are due were seen: what failed and is not among them was cancelled or is done.
                self.core.overdue.lock().retain(|key, _| seen.contains(key));
                break;
            }
            after = page.last().copied();
            for (_, key) in page {
                seen.insert(key);
                let waits = self.core.overdue.lock().get(&key).is_some_and(|overdue| now < overdue.again);
                if !waits && tried < DUE_AT_ONCE {
                    tried += 1;
                    self.destroy_one(key, now).await;
                }
            }
        }
        Ok(())
    }

    async fn due_page(
        &self,
        after: Option<(UnixMillis, KeyId)>,
    ) -> Result<(UnixMillis, Vec<(UnixMillis, KeyId)>), Error> {
        let now = self.core.now()?;
        let page = Page { after, limit: DUE_AT_ONCE };
        Ok((now, self.core.ports.store.destructions_due(now, page).await?))
    }

    /// Whether a hold keeps a key from being destroyed: nothing is tried, so nothing fails.
    async fn is_held(&self, key: KeyId) -> bool {
        match (self.core.opened(), self.core.find_key(&KeyRef::Id(key)).await) {
            (Some(opened), Ok(Some(held))) => self.core.hold_against(&opened, &held).is_some(),
            _ => false,
        }
    }

    async fn destroy_one(&self, key: KeyId, now: UnixMillis) {
        if self.is_held(key).await {
            self.core.overdue.lock().remove(&key);
            return;
        }
        let outcome = self.call_as_server("scheduled-destruction", Destroy { key: KeyRef::Id(key) }).await;
        let mut overdue = self.core.overdue.lock();
        let Err(refused) = outcome else {
            overdue.remove(&key);
            return;
        };
        let failures = overdue.get(&key).map_or(1, |before| before.failures.saturating_add(1));
        overdue.insert(key, Overdue { failures, again: now.plus(pause(failures)) });
        tracing::error!(%key, failures, error = %refused.error, "a scheduled destruction was not carried out");
    }

    /// Keys whose destruction is due and failed when it was last tried.
    #[must_use]
    pub fn overdue_destructions(&self) -> usize {
        self.core.overdue.lock().len()
    }

    /// Erases epochs whose key was destroyed but whose file outlived a crash. An epoch nobody refers to is left alone
    /// unless a destruction record names it: the store may be an old copy. A shard with one epoch has none too many.
    async fn sweep_epochs(&self) -> Result<(), Error> {
        let mut shards: BTreeMap<(KeyringId, u32), Vec<EpochId>> = BTreeMap::new();
        for id in self.core.ports.vault.list().await? {
            shards.entry((id.keyring, id.shard)).or_default().push(id);
        }
        for epochs in shards.into_values().filter(|epochs| epochs.len() > 1) {
            for id in epochs {
                self.sweep_epoch(id).await?;
            }
        }
        Ok(())
    }

    async fn sweep_epoch(&self, id: EpochId) -> Result<(), Error> {
        let (core, opened) = (&*self.core, self.core.need_open()?);
        let found = core.ports.store.destruction_of_epoch(id.keyring, id.shard, id.epoch).await?;
        let Some((key, sealed)) = found else { return self.sweep_ended(&opened, id).await };
        // What erases keys must be beyond doubt: the columns that led here are not, the sealed record is.
        let record: DestructionRecord = open(&opened.keys, Table::Destructions, key.as_bytes(), &sealed)?;
        if (record.keyring, record.shard) != (id.keyring, id.shard) || record.erased_epoch < id.epoch {
            return Err(BadRecord::Tampered { table: Table::Destructions.name() }.into());
        }
        let lock = core.shard_lock(id.keyring, id.shard);
        let _alone = lock.write().await;
        if core.ports.store.shard_epochs(id.keyring, id.shard).await?.contains(&id.epoch) {
            return Ok(());
        }
        opened.hierarchy.erase(id).await?;
        core.newest_epochs.lock().retain(|place, newest| *place != (id.keyring, id.shard) || *newest != id.epoch);
        self.verify_destruction(record.key).await
    }

    /// Erases an epoch that went with imported material whose time was over, and whose file outlived a crash.
    async fn sweep_ended(&self, opened: &Opened, id: EpochId) -> Result<(), Error> {
        let core = &*self.core;
        if !core.is_erased_epoch(opened, id).await? {
            return Ok(());
        }
        let lock = core.shard_lock(id.keyring, id.shard);
        let _alone = lock.write().await;
        if core.ports.store.shard_epochs(id.keyring, id.shard).await?.contains(&id.epoch) {
            return Ok(());
        }
        opened.hierarchy.erase(id).await
    }

    /// Where the root of trust stands; open only while the engine is. Costs nothing.
    #[must_use]
    pub fn seal_status(&self) -> SealStatus {
        match (self.core.root_status(), self.is_open()) {
            (SealStatus::Open, false) => SealStatus::Sealed { given: 0, threshold: 0, shares: 0 },
            (status, _) => status,
        }
    }

    /// Waits until a commit is refused because another server has the store: from then on nothing here can change, and
    /// what is read may be old.
    pub async fn lease_lost(&self) {
        // The sender lives as long as this engine.
        let _ = self.core.lease_lost.subscribe().wait_for(|lost| *lost).await;
    }

    /// Whether the server can do its work, part by part; for readiness probes. The parts are looked at once a second at
    /// most, whoever asks how often: anybody may, and looking writes to the store.
    pub async fn readiness(&self) -> Readiness {
        let engine = self.clone();
        // On a task of its own: one who goes away must not make the next one look again.
        let looked = tokio::spawn(async move {
            let clock = &engine.core.ports.clock;
            let (seal, asked) = (engine.seal_status(), clock.elapsed());
            let mut last = engine.core.readiness.lock().await;
            match &*last {
                Some((at, known)) if known.seal == seal && asked < *at + READINESS_STANDS => known.clone(),
                _ => {
                    let known = engine.look(seal).await;
                    // Looked at is when it came out: those who waited for it take it.
                    *last = Some((clock.elapsed(), known.clone()));
                    known
                }
            }
        });
        match looked.await {
            Ok(readiness) => readiness,
            Err(error) => Readiness { store: Some(error.to_string()), ..Readiness::well(self.seal_status()) },
        }
    }

    async fn look(&self, seal: SealStatus) -> Readiness {
        let ports = &self.core.ports;
        let journal = match ports.journal.health() {
            keyreeve_journal::Health::Ok => None,
            keyreeve_journal::Health::ReadOnly { why } => Some(why),
        };
        let ills = if seal == SealStatus::Open { ports.roots.ills().await } else { Vec::new() };
        Readiness {
            seal,
            root: (!ills.is_empty()).then(|| ills.join("; ")),
            store: ports.store.check().await.err().map(|error| error.to_string()),
            vault: ports.vault.check().await.err().map(|error| error.to_string()),
            journal,
            random: ports.random.status().err().map(|error| error.to_string()),
        }
    }

    /// Ends the engine: seals it and closes its ports. Nothing acknowledged is lost without this either.
    pub async fn stop(&self) {
        if let Ok(now) = self.core.now()
            && let Err(error) = self.core.settle(now).await
        {
            tracing::warn!(%error, "settled rows stay until the next start");
        }
        self.seal().await;
        if let Err(error) = self.core.ports.journal.close().await {
            tracing::warn!(%error, "the audit log was closed without a last checkpoint");
        }
        self.core.ports.store.close().await;
    }
}
