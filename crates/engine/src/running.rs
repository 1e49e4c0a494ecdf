//! The engine over time: starting, opening, sealing, and the work it does by itself.

use keyreeve_epochs::EpochId;
use keyreeve_model::record::{RecordSealer, Table, open};
use keyreeve_model::roots::RootRecord;
use keyreeve_model::{DeploymentRecord, Name};
use keyreeve_root::SealStatus;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::access::{AccessSnapshot, Stale};
use crate::anchors::Which;
use crate::core::Engine;
use crate::courier::Filed;
use crate::error::{Code, Error};
use crate::keys::Hierarchy;
use crate::sealing::{Opened, SystemKeys};

/// How long sealing waits for anchors.
const ANCHORS_AT_SEAL: Duration = Duration::from_secs(5);

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
            (SealStatus::Open, _) => match self.open().await {
                // It is asked again at each tick.
                Err(error) if error.code() == Code::AnchorUnavailable => Ok(()),
                opened => opened,
            },
            (status, Some(error)) if !status.needs_people() => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether a device refused what was shown to be let in: starting again may lock it.
    #[must_use]
    pub fn pin_refused(&self) -> bool {
        self.core.ports.roots.iter().any(|(_, root)| root.pin_refused())
    }

    /// Tells each root of trust what the deployment says of it. One that does not answer now is asked again at each
    /// tick; what it opens is refused meanwhile. Returns the first such trouble.
    pub(crate) async fn configure_roots(&self, roots: BTreeMap<Name, RootRecord>) -> Result<Option<Error>, Error> {
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

    /// Opens the server once the root of trust is open. Why it could not is for its log too: whoever gave the last
    /// share may not be who runs it.
    pub(crate) async fn open(&self) -> Result<(), Error> {
        let opened = self.try_open().await;
        match &opened {
            Err(error) => tracing::error!(%error, cause = error.cause(), "the server cannot open"),
            Ok(()) => self.after_opening().await,
        }
        opened
    }

    /// What is done once the server is open, and tried again by the tick where it fails.
    async fn after_opening(&self) {
        if self.core.held().is_some() {
            if let Err(error) = self.record_rollback().await {
                tracing::error!(%error, "it is not on record that this server is older than an anchor remembers");
            }
            return;
        }
        if let Err(error) = self.record_start().await {
            tracing::warn!(%error, "what runs is put on record at the next tick");
        }
        if let Err(error) = self.look_after_anchors(Which::All).await {
            tracing::warn!(%error, "anchors are moved on at the next tick");
        }
        if let Err(error) = self.look_after_emergencies().await {
            tracing::warn!(%error, "emergencies are looked after at the next tick");
        }
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
        let access =
            AccessSnapshot::load((&*core.ports.store, &keys, &core.noted), &core.compiler, core.now()?).await?;
        let hierarchy = Hierarchy::new(core, &keys);
        let opened = Arc::new(Opened::new(deployment, keys, hierarchy, access));
        match core.compare_before_opening(&opened).await? {
            Some(found) => core.keep_held(found),
            None => {
                core.finish_rollback(&opened).await?;
                self.learn_epochs().await?;
                core.ports.journal.set_signers(opened.keys.signers.clone())?;
                core.rolled_back.store(None);
            }
        }
        core.opened_since.store(core.now()?.0, Ordering::Release);
        core.set_opened(Some(opened));
        core.courier.ring(Filed::Urgent);
        core.mend_outbox().await
    }

    /// Learns the newest epoch of each shard, and refuses to open over a vault that lacks epochs the store refers to:
    /// making new ones of the same number would bury the keys under them.
    pub(crate) async fn learn_epochs(&self) -> Result<(), Error> {
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
        // While the keys of statements and of the log are there still; but whoever seals wants the keys gone.
        match tokio::time::timeout(ANCHORS_AT_SEAL, self.look_after_anchors(Which::All)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "an anchor was not moved on before sealing"),
            Err(_) => tracing::warn!("an anchor did not answer in time and was not moved on before sealing"),
        }
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
        core.rolled_back.store(None);
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
        let from = (&*core.ports.store, &opened.keys as &dyn RecordSealer, &core.noted);
        let next = known.refreshed(&reading.stale, from, &core.compiler, core.now()?).await?;
        opened.replace_access(next);
        // Sealed and opened again meanwhile: what was read went to the one that is gone, and the new one read earlier.
        if core.opened().is_some_and(|now| Arc::ptr_eq(&now, &opened)) {
            core.access.done(&reading);
        }
        Ok(())
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
