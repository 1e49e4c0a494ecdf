//! Ledgers: read, kept here, taken over where this machine lost them, and brought to each destination.

use keyreeve_archive::{Archive, ArchiveError, REPLACED_MAX, Stored};
use keyreeve_backup::{BackupKey, Ledger, Object, SealedLedger};
use keyreeve_model::Name;
use std::collections::{BTreeSet, HashMap};
use tokio::io::AsyncReadExt;

use super::reading::Known;
use super::{Keeper, Keyed, head};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::sealing::Opened;

/// What a destination is known to have of each ledger: its revision, and the backup key it is under.
pub(super) type Pushed = HashMap<Object, (u64, u32)>;

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

fn is_ledger(stored: &Stored) -> Option<Object> {
    stored.name.object().filter(|object| matches!(object, Object::Ledger { .. }))
}

/// The ledgers at a place.
async fn ledgers_at(archive: &dyn Archive) -> Result<BTreeSet<Object>, Error> {
    Ok(archive.list().await?.iter().filter_map(is_ledger).collect())
}

impl Core {
    async fn open_ledger(&self, opened: &Opened, keyed: &Keyed, sealed: &SealedLedger) -> Result<Ledger, Error> {
        if sealed.head().deployment != opened.deployment.id {
            let text = "a destination has ledgers of another deployment: give each deployment a place of its own";
            return Err(Error::new(Code::WrongState, text));
        }
        if sealed.head().key == keyed.record.version {
            return Ok(sealed.open(&keyed.key)?);
        }
        let key: BackupKey = self.key_of(sealed.head(), &Known::default()).await?;
        Ok(sealed.open(&key)?)
    }

    /// The ledger on this machine; nothing where there is none.
    pub(super) async fn ledger_here(
        &self,
        opened: &Opened,
        (keeper, keyed): (&Keeper, &Keyed),
        object: Object,
    ) -> Result<Option<Ledger>, Error> {
        match fetch(&*keeper.backups.local, object).await? {
            Some(sealed) => Ok(Some(self.open_ledger(opened, keyed, &sealed).await?)),
            None => Ok(None),
        }
    }

    /// The ledger as it stands; a new one for a shard that has none. Ledgers that this machine lost must have been
    /// taken over before: new ones in their place would close every archive that there is.
    pub(super) async fn ledger(
        &self,
        opened: &Opened,
        (keeper, keyed): (&Keeper, &Keyed),
        object: Object,
    ) -> Result<Ledger, Error> {
        match self.ledger_here(opened, (keeper, keyed), object).await? {
            Some(ledger) => Ok(ledger),
            None => Ok(Ledger::create(&self.ports.random)?),
        }
    }

    /// Takes over each ledger that this machine lost: the newest that any destination has. Where one is missing, all
    /// destinations must answer, for the one that is away may have the newest.
    pub(super) async fn take_over_ledgers(
        &self,
        opened: &Opened,
        (keeper, keyed): (&Keeper, &Keyed),
    ) -> Result<(), Error> {
        let here = ledgers_at(&*keeper.backups.local).await?;
        let (mut known, mut away) = (here.clone(), None);
        for (name, destination) in &keeper.backups.destinations {
            match ledgers_at(&**destination).await {
                Ok(there) => known.extend(there),
                Err(error) => away = Some((name, error)),
            }
        }
        let made = self.backups_made(opened).await?;
        let expected = made.first().map_or(0, |(record, _)| record.ledgers);
        let lost: Vec<Object> = known.difference(&here).copied().collect();
        let all_lost = here.is_empty() && !made.is_empty();
        if lost.is_empty() && !all_lost && here.len() as u64 >= expected {
            return Ok(());
        }
        if let Some((name, error)) = away {
            tracing::warn!(destination = %name, "this machine lost ledgers of backups: every destination is needed");
            return Err(error);
        }
        for object in lost {
            self.take_over_ledger(opened, (keeper, keyed), object).await?;
        }
        Ok(())
    }

    async fn take_over_ledger(
        &self,
        opened: &Opened,
        (keeper, keyed): (&Keeper, &Keyed),
        object: Object,
    ) -> Result<(), Error> {
        let mut newest: Option<(u64, Vec<u8>)> = None;
        for destination in keeper.backups.destinations.values() {
            let Some(bytes) = fetch_bytes(&**destination, object).await? else { continue };
            let revision = self.open_ledger(opened, keyed, &SealedLedger::parse(&bytes)?).await?.revision();
            if newest.as_ref().is_none_or(|(known, _)| *known < revision) {
                newest = Some((revision, bytes));
            }
        }
        let Some((revision, bytes)) = newest else { return Ok(()) };
        tracing::warn!(ledger = %object.name(), revision, "this machine had lost a ledger: taken over");
        let _ledgers = keeper.ledgers.lock().await;
        match self.ledger_here(opened, (keeper, keyed), object).await? {
            Some(_) => Ok(()),
            None => Ok(keeper.backups.local.replace(&object.name(), &bytes).await?),
        }
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

    /// Brings a ledger as it is here now to a destination, unless that has it.
    pub(super) async fn push_newest(&self, keyed: &Keyed, at: &Name, object: Object) -> Result<(), Error> {
        let (opened, keeper, destination) = (self.need_open()?, self.keeper()?, self.destination(at)?);
        let pushed = keeper.pushed.get(at).ok_or_else(|| Error::not_found("destination"))?;
        let mut pushed = pushed.lock().await;
        let ledger = {
            let _ledgers = keeper.ledgers.lock().await;
            self.ledger_here(&opened, (keeper, keyed), object).await?
        };
        let Some(ledger) = ledger else { return Ok(()) };
        self.push_ledger(&opened, (keyed, &mut pushed), (at, &**destination), (object, &ledger)).await
    }

    async fn push_ledger(
        &self,
        opened: &Opened,
        (keyed, pushed): (&Keyed, &mut Pushed),
        (name, destination): (&Name, &dyn Archive),
        (object, ledger): (Object, &Ledger),
    ) -> Result<(), Error> {
        let this = (ledger.revision(), keyed.record.version);
        if pushed.get(&object) == Some(&this) {
            return Ok(());
        }
        if let Some(there) = fetch(destination, object).await? {
            let there = self.open_ledger(opened, keyed, &there).await?;
            if !there.is_same(ledger) || there.revision() > ledger.revision() {
                let text = format!(
                    "the destination `{name}` has a newer ledger than this server, or another one: another server \
                     stores its backups there, or this one lost its own; docs/operations.md says what to do"
                );
                return Err(Error::new(Code::WrongState, text));
            }
        }
        let bytes = self.sealed_ledger(opened, keyed, object, ledger)?;
        // Until it was read back nobody knows what is there.
        pushed.remove(&object);
        destination.replace(&object.name(), &bytes).await?;
        // One that was asked for earlier, by somebody who did not wait for its end, may still have come after it.
        if fetch_bytes(destination, object).await?.is_none_or(|there| there != bytes) {
            let text = format!("the destination `{name}` has another ledger than it was given just now");
            return Err(Error::new(Code::ArchiveUnavailable, text));
        }
        pushed.insert(object, this);
        Ok(())
    }

    /// Brings the ledgers on this machine under the present backup key: it is another one since everything moved to
    /// another root of trust.
    pub(super) async fn reseal_ledgers(&self, opened: &Opened, keeper: &Keeper, keyed: &Keyed) -> Result<(), Error> {
        for object in ledgers_at(&*keeper.backups.local).await? {
            let _ledgers = keeper.ledgers.lock().await;
            let Some(sealed) = fetch(&*keeper.backups.local, object).await? else { continue };
            if sealed.head().key != keyed.record.version {
                let ledger = self.open_ledger(opened, keyed, &sealed).await?;
                self.keep_ledger(opened, (keeper, keyed), (object, &ledger)).await?;
            }
        }
        Ok(())
    }
}
