//! Destroyed keys are taken out of ledgers: here at once, at each destination as soon as that answers.

use keyreeve_backup::{Ledger, Object, Tombstone};
use keyreeve_model::backup::{BackupCut, BackupRecord, EndedVersion};
use keyreeve_model::filed::{FiledRecord, RowId, file, unfile};
use keyreeve_model::record::{Table, open};
use keyreeve_model::{DestructionRecord, DestructionRow, KeyId, KeyringId, Name, UnixMillis};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::{Keeper, Keyed};
use crate::commit::Durable;
use crate::core::{Core, Engine};
use crate::error::{Code, Error};
use crate::sealing::Opened;

/// How long a destruction waits for destinations; then they are told by themselves.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a destination that did not take a ledger is left alone, at first and at most.
const REST_FIRST: Duration = Duration::from_secs(60);
const REST_LONGEST: Duration = Duration::from_secs(3600);

/// A destination that did not take a ledger.
#[derive(Clone, Copy)]
pub(super) struct Rest {
    failures: u32,
    until: UnixMillis,
}

impl Keeper {
    fn rests(&self, at: &Name, now: UnixMillis) -> bool {
        self.resting.lock().get(at).is_some_and(|rest| now < rest.until)
    }

    fn let_rest(&self, at: &Name, now: UnixMillis) {
        let mut resting = self.resting.lock();
        let failures = resting.get(at).map_or(0, |rest| rest.failures);
        let pause = REST_LONGEST.min(REST_FIRST * (1 << failures.min(8)));
        resting.insert(at.clone(), Rest { failures: failures.saturating_add(1), until: now.plus(pause) });
    }

    /// The destination that leads to a place now.
    fn leads_to(&self, place: &str) -> Option<&Name> {
        self.backups.destinations.iter().find(|(_, archive)| archive.place() == place).map(|(name, _)| name)
    }
}

impl Engine {
    /// Tells destinations of destroyed keys whose entries their ledgers still have. One that does not answer is left
    /// alone for a while, ever longer.
    ///
    /// # Errors
    /// When one of them could not be told.
    pub async fn tell_of_destroyed(&self) -> Result<(), Error> {
        let core = &*self.core;
        let (Some(opened), Some(keeper), None) = (core.opened(), core.backups.get(), core.held()) else {
            return Ok(());
        };
        let _one = keeper.cutting.lock().await;
        let mut last = Ok(());
        for (cut, _) in core.filed_all::<BackupCut>(&opened, None).await? {
            if let Err(error) = core.carry_out_cut(cut.row_id()).await {
                tracing::warn!(key = %cut.key, %error, "a destroyed key's entry is still in a ledger");
                last = Err(error);
            }
        }
        last
    }

    /// Waits until destinations are to be told of a destroyed key.
    pub async fn destroyed_one(&self) {
        match self.core.backups.get() {
            Some(keeper) => keeper.cut_bell.notified().await,
            None => std::future::pending().await,
        }
    }
}

impl Core {
    /// What a destruction files when backups may have the key, and what the end of a version's material does: which
    /// places are to be reached.
    pub(crate) async fn cut_of(
        &self,
        opened: &Opened,
        (key, keyring, shard): (KeyId, KeyringId, u32),
        ended: Option<EndedVersion>,
        now: UnixMillis,
    ) -> Result<Option<BackupCut>, Error> {
        let (mut places, mut pending) = (BTreeMap::new(), BTreeSet::new());
        for (name, archive) in self.backups.get().iter().flat_map(|keeper| &keeper.backups.destinations) {
            places.insert(archive.place(), name.clone());
        }
        // Also those that are not configured any more: they keep what they have.
        for (record, _) in self.filed_all::<BackupRecord>(opened, None).await? {
            for (name, placed) in record.destinations.into_iter().filter(|(_, placed)| placed.stored.is_some()) {
                match placed.place {
                    Some(place) => drop(places.entry(place).or_insert(name)),
                    None if places.values().any(|known| *known == name) => {}
                    None => drop(pending.insert(name)),
                }
            }
        }
        let cut = BackupCut { key, keyring, shard, destroyed: now, ended, pending, places };
        Ok((!cut.is_done()).then_some(cut))
    }

    /// Takes a destroyed key out of the ledger here, and out of those at destinations if they answer soon. What is left
    /// to do is filed and done later.
    pub(crate) async fn cut_now(&self, row: RowId) -> Result<(), Error> {
        let opened = self.need_open()?;
        let Some((cut, _)) = self.filed::<BackupCut>(&opened, row.clone()).await? else { return Ok(()) };
        let keeper = self.keeper()?;
        let keyed = self.backup_key(&opened, self.now()?).await?;
        self.cut_here(&opened, (keeper, &keyed), &cut).await?;
        drop((opened, keyed));
        // Whoever is at it may be waiting for a destination that does not answer: the bell has the rest done.
        let Ok(one) = Arc::clone(&keeper.cutting).try_lock_owned() else {
            keeper.cut_bell.notify_one();
            return Ok(());
        };
        let core = keeper.core.upgrade().ok_or_else(|| Error::internal("the server is no more"))?;
        // On a task of its own: were it dropped half-way, a ledger on its way could arrive after a later one.
        let reaching = tokio::spawn(async move {
            let reached = core.carry_out_cut(row).await;
            drop(one);
            reached
        });
        match tokio::time::timeout(PATIENCE, reaching).await {
            Ok(reached) => reached.map_err(Error::internal)?,
            Err(_) => Err(Error::new(Code::ArchiveUnavailable, "a destination of backups takes its time")),
        }
    }

    /// Takes the cut key away on this machine, where there is a ledger. True when there was one.
    async fn cut_here(
        &self,
        opened: &Opened,
        (keeper, keyed): (&Keeper, &Keyed),
        cut: &BackupCut,
    ) -> Result<bool, Error> {
        let object = Object::Ledger { keyring: cut.keyring, shard: cut.shard };
        let tombstone = self.tombstone(cut).await?;
        let _ledgers = keeper.ledgers.lock().await;
        let Some(mut ledger) = self.ledger_here(opened, (keeper, keyed), object).await? else { return Ok(false) };
        self.cut_in(opened, (keeper, keyed), (object, &mut ledger), (cut, tombstone)).await?;
        Ok(true)
    }

    async fn cut_in(
        &self,
        opened: &Opened,
        (keeper, keyed): (&Keeper, &Keyed),
        (object, ledger): (Object, &mut Ledger),
        (cut, tombstone): (&BackupCut, Option<Tombstone>),
    ) -> Result<(), Error> {
        let now = self.now()?;
        let ended = cut.ended.is_some_and(|ended| ledger.end((cut.key, ended.version), ended.epoch, now));
        let destroyed = tombstone.is_some_and(|tombstone| ledger.cut(cut.key, tombstone, now));
        if ended || destroyed {
            self.keep_ledger(opened, (keeper, keyed), (object, ledger)).await?;
        }
        Ok(())
    }

    /// Takes a destroyed key out of the ledgers here and at every place that is still to be reached. The caller is the
    /// only one who does.
    async fn carry_out_cut(&self, row: RowId) -> Result<(), Error> {
        let (opened, now) = (self.need_open()?, self.now()?);
        let Some((cut, _)) = self.filed::<BackupCut>(&opened, row).await? else { return Ok(()) };
        let (keeper, keyed) = (self.keeper()?, self.backup_key(&opened, now).await?);
        if !self.cut_here(&opened, (keeper, &keyed), &cut).await? {
            // Lost with this machine's other ledgers, or the shard never had one.
            self.take_over_ledgers(&opened, (keeper, &keyed)).await?;
            if !self.cut_here(&opened, (keeper, &keyed), &cut).await? {
                let object = Object::Ledger { keyring: cut.keyring, shard: cut.shard };
                let tombstone = self.tombstone(&cut).await?;
                let _ledgers = keeper.ledgers.lock().await;
                let mut ledger = self.ledger(&opened, (keeper, &keyed), object).await?;
                self.cut_in(&opened, (keeper, &keyed), (object, &mut ledger), (&cut, tombstone)).await?;
            }
        }
        drop(opened);
        let (mut left, mut trouble) = (cut.clone(), None);
        for (place, name) in &cut.places {
            match self.reach(&keyed, (name, Some(place)), &cut).await {
                Ok(()) => drop(left.places.remove(place)),
                Err(error) => trouble = Some(error),
            }
        }
        for name in &cut.pending {
            match self.reach(&keyed, (name, None), &cut).await {
                Ok(()) => drop(left.pending.remove(name)),
                Err(error) => trouble = Some(error),
            }
        }
        if left != cut {
            self.note_reached(&left).await?;
        }
        trouble.map_or(Ok(()), Err)
    }

    /// Brings the ledger of a destroyed key's shard to a place.
    async fn reach(&self, keyed: &Keyed, (name, place): (&Name, Option<&str>), cut: &BackupCut) -> Result<(), Error> {
        let (keeper, now) = (self.keeper()?, self.now()?);
        let at = match place {
            Some(place) => keeper.leads_to(place),
            None => keeper.backups.destinations.get_key_value(name).map(|(name, _)| name),
        };
        let Some(at) = at else {
            let place = place.map(|place| format!(" at {place}")).unwrap_or_default();
            let text = format!("the destination `{name}`{place} is not configured any more");
            return Err(Error::new(Code::NotFound, text));
        };
        if keeper.rests(at, now) {
            return Err(Error::new(Code::ArchiveUnavailable, format!("the destination `{at}` did not answer lately")));
        }
        let object = Object::Ledger { keyring: cut.keyring, shard: cut.shard };
        // Until it answered: others need not wait for it as well.
        keeper.let_rest(at, now);
        self.push_newest(keyed, at, object).await?;
        keeper.resting.lock().remove(at);
        Ok(())
    }

    async fn note_reached(&self, left: &BackupCut) -> Result<(), Error> {
        let opened = self.need_open()?;
        let Some((_, revision)) = self.filed::<BackupCut>(&opened, left.row_id()).await? else { return Ok(()) };
        let change = match left.is_done() {
            true => unfile(revision, left),
            false => file(&opened.keys, revision.next(), left),
        };
        let sealer = Some(Arc::clone(&opened.keys));
        self.commit(Durable { name: "backup-cut", changes: vec![change], entry: None, sealer }).await
    }

    /// What is left of a destroyed key; nothing of one that lives on.
    async fn tombstone(&self, cut: &BackupCut) -> Result<Option<Tombstone>, Error> {
        if cut.ended.is_some() {
            return Ok(None);
        }
        let lost = || Error::new(Code::Tampered, "the record of a destroyed key is missing: an operator must look");
        let key = self.ports.store.key(cut.key).await?.ok_or_else(lost)?;
        let record = self.ports.store.destruction(cut.key).await?.ok_or_else(lost)?;
        let opened = self.need_open()?;
        let destroyed: DestructionRecord = open(&opened.keys, Table::Destructions, cut.key.as_bytes(), &record)?;
        let (keyring, shard, epoch) = (destroyed.keyring, destroyed.shard, destroyed.erased_epoch);
        let destruction = DestructionRow { key: cut.key, keyring, shard, epoch, record };
        Ok(Some(Tombstone { destroyed: cut.destroyed, key, destruction }))
    }

    /// Destinations whose ledgers may still have the entry of a destroyed key.
    pub(crate) async fn pending_cuts(&self, opened: &Opened, key: KeyId) -> Result<BTreeSet<Name>, Error> {
        let cut = self.filed::<BackupCut>(opened, key).await?;
        Ok(cut.map(|(cut, _)| cut.names()).unwrap_or_default())
    }
}
