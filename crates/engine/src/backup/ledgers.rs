//! Ledgers: read, kept here, brought to each destination, and cut when a key is destroyed.

use keyreeve_archive::{Archive, ArchiveError, REPLACED_MAX, Stored};
use keyreeve_backup::{BackupKey, Ledger, Object, SealedLedger, Tombstone};
use keyreeve_model::backup::{BackupCut, BackupRecord};
use keyreeve_model::filed::{file, unfile};
use keyreeve_model::record::{Revision, Table, open};
use keyreeve_model::{Change, DestructionRecord, DestructionRow, KeyId, KeyringId, Name, UnixMillis};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use tokio::io::AsyncReadExt;

use super::reading::Known;
use super::{Keeper, Keyed, head};
use crate::commit::Durable;
use crate::core::Core;
use crate::error::{Code, Error};
use crate::sealing::Opened;

/// What a destination is known to have, by destination and ledger: its revision, and the backup key it is under.
pub(super) type Pushed = HashMap<(Name, Object), (u64, u32)>;

/// The bytes of a ledger at a place; nothing where there is none.
pub(super) async fn fetch_bytes(archive: &dyn Archive, object: Object) -> Result<Option<Vec<u8>>, Error> {
    let content = match archive.get(&object.name()).await {
        Ok(content) => content,
        Err(ArchiveError::NotFound(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = Vec::new();
    let read = content.take(REPLACED_MAX as u64 + 1).read_to_end(&mut bytes).await;
    read.map_err(|error| ArchiveError::Unavailable(error.to_string()))?;
    Ok(Some(bytes))
}

/// A ledger at a place; nothing where there is none.
pub(super) async fn fetch(archive: &dyn Archive, object: Object) -> Result<Option<SealedLedger>, Error> {
    let Some(bytes) = fetch_bytes(archive, object).await? else { return Ok(None) };
    let sealed = SealedLedger::parse(&bytes)?;
    // One under another's name would be another shard's.
    if sealed.head().object() == Some(object) { Ok(Some(sealed)) } else { Err(misplaced()) }
}

fn misplaced() -> Error {
    Error::new(Code::Tampered, "a ledger of backups lies under the name of another: an operator must look")
}

impl Core {
    async fn open_ledger(&self, opened: &Opened, sealed: &SealedLedger) -> Result<Ledger, Error> {
        if sealed.head().deployment != opened.deployment.id {
            let text = "a destination has ledgers of another deployment: give each deployment a place of its own";
            return Err(Error::new(Code::WrongState, text));
        }
        let key: BackupKey = self.key_of(sealed.head(), &Known::default()).await?;
        Ok(sealed.open(&key)?)
    }

    /// The ledger as it stands. When this machine lost its ledgers, those of a destination are taken over: new ones in
    /// their place would close every archive that there is.
    pub(super) async fn ledger(&self, opened: &Opened, keeper: &Keeper, object: Object) -> Result<Ledger, Error> {
        if let Some(sealed) = fetch(&*keeper.backups.local, object).await? {
            return self.open_ledger(opened, &sealed).await;
        }
        let is_ledger = |stored: &Stored| matches!(stored.name.object(), Some(Object::Ledger { .. }));
        if !keeper.backups.local.list().await?.iter().any(is_ledger) && !self.backups_made(opened).await?.is_empty() {
            self.take_over_ledgers(opened, keeper).await?;
            if let Some(sealed) = fetch(&*keeper.backups.local, object).await? {
                return self.open_ledger(opened, &sealed).await;
            }
        }
        Ok(Ledger::create(&self.ports.random)?)
    }

    /// Takes over the newest of each ledger that any destination has; all destinations must answer.
    async fn take_over_ledgers(&self, opened: &Opened, keeper: &Keeper) -> Result<(), Error> {
        let mut newest: BTreeMap<Object, (u64, Vec<u8>)> = BTreeMap::new();
        for destination in keeper.backups.destinations.values() {
            for stored in destination.list().await? {
                let Some(object @ Object::Ledger { .. }) = stored.name.object() else { continue };
                let Some(bytes) = fetch_bytes(&**destination, object).await? else { continue };
                let revision = self.open_ledger(opened, &SealedLedger::parse(&bytes)?).await?.revision();
                if newest.get(&object).is_none_or(|(known, _)| *known < revision) {
                    newest.insert(object, (revision, bytes));
                }
            }
        }
        tracing::warn!(ledgers = newest.len(), "this machine had no ledgers of backups: taken over from destinations");
        for (object, (_, bytes)) in newest {
            keeper.backups.local.replace(&object.name(), &bytes).await?;
        }
        Ok(())
    }

    /// Keeps a ledger on this machine.
    pub(super) async fn keep_ledger(
        &self,
        opened: &Opened,
        (keeper, keyed): (&Keeper, &Keyed),
        (object, ledger): (Object, &Ledger),
    ) -> Result<(), Error> {
        let bytes = self.sealed_ledger(opened, keyed, object, ledger)?;
        Ok(keeper.backups.local.replace(&object.name(), &bytes).await?)
    }

    fn sealed_ledger(&self, opened: &Opened, keyed: &Keyed, object: Object, ledger: &Ledger) -> Result<Vec<u8>, Error> {
        let head = head(opened, keyed, object, ledger.revision(), self.now()?);
        Ok(ledger.seal(&head, &keyed.key, &self.ports.random)?)
    }

    /// Brings a ledger to a destination, unless that has it. The caller holds the ledgers.
    pub(super) async fn push_ledger(
        &self,
        opened: &Opened,
        (keyed, pushed): (&Keyed, &mut Pushed),
        (name, destination): (&Name, &dyn Archive),
        (object, ledger): (Object, &Ledger),
    ) -> Result<(), Error> {
        let (place, this) = ((name.clone(), object), (ledger.revision(), keyed.record.version));
        if pushed.get(&place) == Some(&this) {
            return Ok(());
        }
        if let Some(there) = fetch(destination, object).await? {
            let there = self.open_ledger(opened, &there).await?;
            if !there.is_same(ledger) || there.revision() > ledger.revision() {
                let text = format!(
                    "the destination `{name}` has a newer ledger than this server, or another one: another server \
                     stores its backups there, or this one lost its own; docs/operations.md says what to do"
                );
                return Err(Error::new(Code::WrongState, text));
            }
        }
        let bytes = self.sealed_ledger(opened, keyed, object, ledger)?;
        destination.replace(&object.name(), &bytes).await?;
        // One that was asked for earlier, by somebody who did not wait for its end, may still have come after it.
        if fetch_bytes(destination, object).await?.is_none_or(|there| there != bytes) {
            pushed.remove(&place);
            let text = format!("the destination `{name}` has another ledger than it was given just now");
            return Err(Error::new(Code::StoreUnavailable, text));
        }
        pushed.insert(place, this);
        Ok(())
    }

    /// Brings the ledgers on this machine under the present backup key: it is another one since everything moved to
    /// another root of trust.
    pub(super) async fn reseal_ledgers(&self, opened: &Opened, keeper: &Keeper, keyed: &Keyed) -> Result<(), Error> {
        for stored in keeper.backups.local.list().await? {
            let Some(object @ Object::Ledger { .. }) = stored.name.object() else { continue };
            let _ledgers = keeper.ledgers.lock().await;
            let Some(sealed) = fetch(&*keeper.backups.local, object).await? else { continue };
            if sealed.head().key != keyed.record.version {
                let ledger = self.open_ledger(opened, &sealed).await?;
                self.keep_ledger(opened, (keeper, keyed), (object, &ledger)).await?;
            }
        }
        Ok(())
    }

    /// What a destruction files when backups may have the key: which destinations are to be reached.
    pub(crate) async fn cut_of(
        &self,
        opened: &Opened,
        (key, keyring, shard): (KeyId, KeyringId, u32),
        now: UnixMillis,
    ) -> Result<Option<Change>, Error> {
        let mut pending: BTreeSet<Name> =
            self.backups.get().map(|keeper| keeper.backups.destinations.keys().cloned().collect()).unwrap_or_default();
        // Also those that are not configured any more: they keep what they have.
        for (record, _) in self.filed_all::<BackupRecord>(opened, None).await? {
            let stored = record.destinations.into_iter().filter(|(_, placed)| placed.stored.is_some());
            pending.extend(stored.map(|(name, _)| name));
        }
        if pending.is_empty() {
            return Ok(None);
        }
        let cut = BackupCut { key, keyring, shard, destroyed: now, pending };
        Ok(Some(file(&opened.keys, Revision::FIRST, &cut)))
    }

    /// Takes a destroyed key out of the ledgers here and at every destination that is still to be reached.
    pub(crate) async fn carry_out_cut(&self, key: KeyId) -> Result<(), Error> {
        let (opened, now) = (self.need_open()?, self.now()?);
        let Some((cut, revision)) = self.filed::<BackupCut>(&opened, key).await? else { return Ok(()) };
        let (keeper, keyed) = (self.keeper()?, self.backup_key(&opened, now).await?);
        let mut pushed = keeper.ledgers.lock().await;
        let object = Object::Ledger { keyring: cut.keyring, shard: cut.shard };
        let mut ledger = self.ledger(&opened, keeper, object).await?;
        if ledger.cut(key, self.tombstone(&cut).await?, now) {
            self.keep_ledger(&opened, (keeper, &keyed), (object, &ledger)).await?;
        }
        let (mut left, mut trouble) = (cut.clone(), None);
        for name in &cut.pending {
            let reached = match keeper.backups.destinations.get(name) {
                None => Err(Error::new(Code::NotFound, format!("the destination `{name}` is not configured any more"))),
                Some(destination) => {
                    let at = (name, &**destination);
                    self.push_ledger(&opened, (&keyed, &mut pushed), at, (object, &ledger)).await
                }
            };
            match reached {
                Ok(()) => drop(left.pending.remove(name)),
                Err(error) => trouble = Some(error),
            }
        }
        drop(pushed);
        if left.pending != cut.pending {
            let change = match left.pending.is_empty() {
                true => unfile(revision, &left),
                false => file(&opened.keys, revision.next(), &left),
            };
            let sealer = Some(Arc::clone(&opened.keys));
            self.commit(Durable { name: "backup-cut", changes: vec![change], entry: None, sealer }).await?;
        }
        trouble.map_or(Ok(()), Err)
    }

    async fn tombstone(&self, cut: &BackupCut) -> Result<Tombstone, Error> {
        let lost = || Error::new(Code::Tampered, "the record of a destroyed key is missing: an operator must look");
        let key = self.ports.store.key(cut.key).await?.ok_or_else(lost)?;
        let record = self.ports.store.destruction(cut.key).await?.ok_or_else(lost)?;
        let opened = self.need_open()?;
        let destroyed: DestructionRecord = open(&opened.keys, Table::Destructions, cut.key.as_bytes(), &record)?;
        let (keyring, shard, epoch) = (destroyed.keyring, destroyed.shard, destroyed.erased_epoch);
        let destruction = DestructionRow { key: cut.key, keyring, shard, epoch, record };
        Ok(Tombstone { destroyed: cut.destroyed, key, destruction })
    }

    /// Destinations whose ledgers may still have the entry of a destroyed key.
    pub(crate) async fn pending_cuts(&self, opened: &Opened, key: KeyId) -> Result<BTreeSet<Name>, Error> {
        let cut = self.filed::<BackupCut>(opened, key).await?;
        Ok(cut.map(|(cut, _)| cut.pending).unwrap_or_default())
    }
}
