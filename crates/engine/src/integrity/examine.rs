//! A second look at one place: whether it is damaged now, and what can be done about it.

use keyreeve_epochs::EpochId;
use keyreeve_model::filed::open_filed;
use keyreeve_model::policy_version::{PolicyManifest, PolicyText};
use keyreeve_model::quarantine::{Place, Why};
use keyreeve_model::record::{RecordSealer, Table, open, seal};
use keyreeve_model::rules::RuleBook;
use keyreeve_model::{
    Change, KeyId, KeyRecord, KeyringId, Name, PolicyRecord, Revision, RowId, TokenId, UnixMillis, change::NamedRow,
};
use keyreeve_store::Store;

use super::rows;
use crate::core::Core;
use crate::error::{Code, Error};
use crate::ops::usable::key_row;
use crate::sealing::Opened;

/// What the history of the policies has under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// This text.
    Text(String),
    /// There is no such policy.
    Nothing,
    /// It cannot be read, or there is none.
    Unknown,
}

/// The newest version of the policies, unless it cannot be read.
async fn newest(store: &dyn Store, sealer: &dyn RecordSealer) -> Result<Option<PolicyManifest>, Error> {
    let count = store.filed_count(Table::PolicyManifests, "").await?;
    let row = store.filed(Table::PolicyManifests, &PolicyManifest::row_of(count)).await?;
    Ok(row.and_then(|row| open_filed::<PolicyManifest>(sealer, &row).ok()).map(|(manifest, _)| manifest))
}

/// What the history of the policies says of one: versions and texts have MACs of their own, and texts are named by
/// their digest.
pub(crate) async fn from_history(store: &dyn Store, sealer: &dyn RecordSealer, name: &Name) -> Result<Told, Error> {
    let Some(manifest) = newest(store, sealer).await? else { return Ok(Told::Unknown) };
    let Some(digest) = manifest.entries.get(name) else { return Ok(Told::Nothing) };
    let row = store.filed(Table::PolicyTexts, &RowId::from(digest.0)).await?;
    let text = row.and_then(|row| open_filed::<PolicyText>(sealer, &row).ok());
    Ok(text.map_or(Told::Unknown, |(text, _)| Told::Text(text.text)))
}

fn id<T>(row: &RowId, id: impl Fn([u8; 16]) -> T) -> Option<T> {
    row.as_bytes().try_into().ok().map(id)
}

fn name(row: &RowId) -> Option<Name> {
    std::str::from_utf8(row.as_bytes()).ok()?.parse().ok()
}

/// Whether people may have a damaged row of a kind removed. Not what would be needed to know what was destroyed, what
/// the policies were, who has shares or what opens backups; not the rules either, which bind those who would remove
/// them.
fn is_removable(table: Table) -> bool {
    match table {
        Table::Principals | Table::Policies => true,
        Table::Rules
        | Table::PolicyManifests
        | Table::PolicyTexts
        | Table::KnownMaterial
        | Table::BackupKeys
        | Table::Shares
        | Table::Restores => false,
        other => rows::filed(other).is_some(),
    }
}

impl Core {
    /// The newest version of the policies, unless it cannot be read.
    pub(super) async fn newest_policies(&self, opened: &Opened) -> Result<Option<PolicyManifest>, Error> {
        newest(&*self.ports.store, &*opened.keys).await
    }

    /// What is wrong with a place now; nothing where all is well, or where there is nothing any more that could be.
    pub(crate) async fn examine_place(&self, opened: &Opened, place: &Place) -> Result<Option<Why>, Error> {
        let looked = match place {
            Place::Row(table, row) => self.examine_row(opened, place, (*table, row)).await,
            Place::Material(key, _) => self.examine_key(opened, place, *key).await,
            Place::Epoch(keyring, shard, epoch) => self.examine_epoch((*keyring, *shard, *epoch)).await,
            Place::Log(from, to) => self.examine_log(*from, *to).await,
            // Nothing but a scan can tell that its whole table can be read again.
            Place::Unread(_) => Ok(None),
        };
        match looked {
            Err(error) if error.is_damaged_store() => Ok(Some(Why::Unreadable)),
            looked => looked,
        }
    }

    async fn examine_row(
        &self,
        opened: &Opened,
        place: &Place,
        (table, row): (Table, &RowId),
    ) -> Result<Option<Why>, Error> {
        let (store, keys) = (&self.ports.store, &opened.keys);
        let looked = match table {
            Table::Keys => match id(row, KeyId::from_bytes) {
                Some(key) => return self.examine_key(opened, place, key).await,
                None => None,
            },
            Table::Keyrings => match id(row, KeyringId::from_bytes) {
                Some(id) => store.keyring(id).await?.map(|row| rows::keyring(keys, &row)),
                None => None,
            },
            Table::Destructions => match id(row, KeyId::from_bytes) {
                Some(key) => self.examine_destruction(opened, place, key).await?,
                None => None,
            },
            Table::Tokens => match id(row, TokenId::from_bytes) {
                Some(id) => store.token(id).await?.map(|row| rows::token(keys, &row)),
                None => None,
            },
            Table::Principals => match name(row) {
                Some(name) => store.principal(&name).await?.map(|row| rows::principal(keys, &row)),
                None => None,
            },
            Table::Policies => match name(row) {
                Some(name) => return self.examine_policy(opened, &name).await,
                None => None,
            },
            Table::Deployment | Table::Outbox | Table::Idempotency => None,
            other => match rows::filed(other) {
                Some(check) => store.filed(other, row).await?.map(|row| check(&**keys, &row)),
                None => None,
            },
        };
        Ok(looked.and_then(Result::err))
    }

    /// A key with its material; what is wrong elsewhere is another place.
    async fn examine_key(&self, opened: &Opened, place: &Place, key: KeyId) -> Result<Option<Why>, Error> {
        let Some(row) = self.ports.store.key(key).await? else {
            let gone = self.ports.store.destruction(key).await?.is_some() && matches!(place, Place::Row(..));
            return Ok(gone.then_some(Why::Missing));
        };
        let look = self.look_at_key(opened, row).await?;
        Ok(look.found.into_iter().find(|(found, _)| found == place).map(|(_, why)| why))
    }

    async fn examine_destruction(
        &self,
        opened: &Opened,
        place: &Place,
        key: KeyId,
    ) -> Result<Option<Result<(), Why>>, Error> {
        let Some(record) = self.ports.store.destruction(key).await? else {
            return Ok(self.examine_key(opened, place, key).await?.map(Err));
        };
        Ok(Some(
            match open::<keyreeve_model::DestructionRecord>(&opened.keys, Table::Destructions, key.as_bytes(), &record)
            {
                Ok(_) => Ok(()),
                Err(_) => Err(Why::Altered),
            },
        ))
    }

    async fn examine_policy(&self, opened: &Opened, name: &Name) -> Result<Option<Why>, Error> {
        let store = &self.ports.store;
        let told = from_history(&**store, &*opened.keys, name).await?;
        let Some(row) = store.policy(name).await? else {
            return Ok(matches!(told, Told::Text(_)).then_some(Why::Missing));
        };
        if let Err(why) = rows::policy(&opened.keys, &row) {
            return Ok(Some(why));
        }
        let record: PolicyRecord = open(&opened.keys, Table::Policies, name.as_str().as_bytes(), &row.record)?;
        let older = match told {
            Told::Text(text) => text != record.text,
            Told::Nothing => true,
            Told::Unknown => false,
        };
        Ok(older.then_some(Why::Older))
    }

    async fn examine_epoch(&self, (keyring, shard, epoch): (KeyringId, u32, u64)) -> Result<Option<Why>, Error> {
        let needed = self.ports.store.shard_epochs(keyring, shard).await?.contains(&epoch);
        let there = self.ports.vault.get(EpochId { keyring, shard, epoch }).await?.is_some();
        Ok((needed && !there).then_some(Why::NoEpoch))
    }

    /// Whether entries can be read. That they add up to what was signed is for a whole scan to say.
    async fn examine_log(&self, from: u64, to: u64) -> Result<Option<Why>, Error> {
        let (mut at, to) = (from, to.min(self.ports.journal.size()));
        while at < to {
            match self.ports.journal.read(at..to).await {
                Ok(entries) if entries.is_empty() => return Ok(Some(Why::Broken)),
                Ok(entries) if entries.iter().any(|(_, bytes)| keyreeve_audit::Record::decode(bytes).is_err()) => {
                    return Ok(Some(Why::Broken));
                }
                Ok(entries) => at += entries.len() as u64,
                Err(keyreeve_journal::JournalError::Tampered { .. }) => return Ok(Some(Why::Broken)),
                Err(error) => {
                    return Err(Error::new(Code::AuditUnavailable, "the audit log cannot be read").because(error));
                }
            }
        }
        Ok(None)
    }

    /// What writes a damaged row anew from what the server has of it besides: a policy from the history of policies,
    /// and the columns of a key from its sealed record. Nothing where it has nothing.
    pub(crate) async fn rewritten(
        &self,
        opened: &Opened,
        place: &Place,
        (why, by, now): (Why, &Name, UnixMillis),
    ) -> Result<Option<Change>, Error> {
        let Place::Row(table, row) = place else { return Ok(None) };
        match (table, why) {
            (Table::Keys, Why::Columns) => {
                let Some(key) = id(row, KeyId::from_bytes) else { return Ok(None) };
                let Some(row) = self.ports.store.key(key).await? else { return Ok(None) };
                let record: KeyRecord = open(&opened.keys, Table::Keys, key.as_bytes(), &row.record)?;
                Ok(Some(Change::PutKey(key_row(opened, &record, row.record.revision.next(), now))))
            }
            (Table::Policies, Why::Altered | Why::Missing | Why::Older) => {
                let Some(name) = name(row) else { return Ok(None) };
                let told = from_history(&*self.ports.store, &*opened.keys, &name).await?;
                let stored = self.ports.store.policy(&name).await?;
                let Told::Text(text) = told else { return Ok(None) };
                let revision = stored.map_or(Revision::FIRST, |row| row.record.revision.next());
                let record = PolicyRecord { name: name.clone(), text, updated: now, updated_by: by.clone() };
                let sealed = seal(&opened.keys, Table::Policies, name.as_str().as_bytes(), revision, &record);
                Ok(Some(Change::PutPolicy(NamedRow { name, record: sealed })))
            }
            _ => Ok(None),
        }
    }

    /// What removes a damaged row.
    ///
    /// # Errors
    /// [`Code::WrongState`] where no such row is ever removed.
    pub(crate) async fn discarded(&self, place: &Place) -> Result<Option<Change>, Error> {
        let never = || {
            let text =
                format!("`{place}` cannot be discarded: put it back as it was, docs/operations.md (Damage) says how");
            Error::new(Code::WrongState, text)
        };
        let Place::Row(table, row) = place else { return Err(never()) };
        if !is_removable(*table) || (*table == Table::Rules && *row == RuleBook::current_row()) {
            return Err(never());
        }
        let store = &self.ports.store;
        Ok(match (table, name(row)) {
            (Table::Principals, Some(name)) => {
                let stored = store.principal(&name).await?;
                stored.map(|row| Change::DeletePrincipal { name, revision: row.record.revision })
            }
            (Table::Policies, Some(name)) => {
                let stored = store.policy(&name).await?;
                stored.map(|row| Change::DeletePolicy { name, revision: row.record.revision })
            }
            _ => {
                let stored = store.filed(*table, row).await?;
                stored.map(|row| Change::Unfile { table: row.table, id: row.id, revision: row.record.revision })
            }
        })
    }

    /// What people can do about a place that is damaged, in words.
    pub(crate) fn advice(place: &Place) -> &'static str {
        match place {
            Place::Row(Table::Policies, _) => {
                "release it: it is written anew from the newest version of the policies; where that is damaged too, \
                 put the row back from a copy of the database, or discard it"
            }
            Place::Row(table, _) if is_removable(*table) => {
                "put the row back from a copy of the database and release it; or discard it, where it was made up or \
                 can be made again"
            }
            Place::Row(..) => "put the row back from a copy of the database, then release it",
            Place::Material(..) => {
                "put the key's row of material back from a copy of the database of after the last destruction in its \
                 shard, then release it; or restore a backup"
            }
            Place::Epoch(..) => "put the epoch's file back from the vault's mirror, then release it",
            Place::Log(..) => {
                "keep the files as they are for whoever looks into it, put them back from a copy (`keyreeve audit \
                 verify` tells which are right), then release it"
            }
            Place::Unread(_) => {
                "a row of this table is in no form the database gives back: look at the server's log, mend the \
                 database from a copy, scan again, then release it"
            }
        }
    }
}
