//! Backups: made while the server works, stored at destinations, checked there, and restored into an empty server
//! (requirement T8, docs/decisions/0024).
//!
//! - `create`: a copy of the store with key material under cut keys, the log's new entries, both to each destination
//! - `ledgers`: the cut keys, kept here and at each destination; destroying a key takes its entry away everywhere
//! - `reading`: objects read back; `verify`: everything that can be checked of them without writing anything
//! - `restore`: into an empty store, vault and log
//! - `rehearse`: into an engine that is thrown away, to see that it would work
//! - `work`: makes and checks them as jobs, beside everything else: a slow destination holds up nothing but backups
//! - `cuts`: takes destroyed keys out of ledgers, here at once and at each destination as soon as that answers
//! - `due`: begins what falls due

mod create;
mod cuts;
mod due;
mod ledgers;
mod loan;
mod reading;
mod rehearse;
mod restore;
mod scratch_vault;
mod verify;
mod work;

use keyreeve_archive::{Archive, ArchiveError};
use keyreeve_backup::{BackupError, BackupKey, Head, Keep, Kind, Object};
use keyreeve_model::backup::BackupKeyRecord;
use keyreeve_model::filed::file;
use keyreeve_model::ids::DeploymentId;
use keyreeve_model::record::Revision;
use keyreeve_model::{Change, Name, RootUse, UnixMillis, Wrapped};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

pub use rehearse::{DrillSource, Rehearsed};
pub use restore::{RestoreOptions, RestoreSource, RestoredReply};
pub use scratch_vault::ScratchVault;
pub use verify::Verified;
pub(crate) use work::backup_work;

use crate::commit::Durable;
use crate::core::{Core, Engine};
use crate::error::{Code, Error};
use crate::sealing::Opened;
use cuts::Rest;
use ledgers::Pushed;
use reading::Known;

/// What an operator decides about backups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How often one is made; never by itself where there is nothing.
    pub every: Option<Duration>,
    /// How often the newest at each destination is read again and checked.
    pub verify_every: Option<Duration>,
    /// What is kept at each destination.
    pub keep: Keep,
}

/// Where backups go.
pub struct Backups {
    /// On this machine: the server's own copy of the ledgers, and what is on its way to the destinations.
    pub local: Arc<dyn Archive>,
    /// The destinations, by name.
    pub destinations: BTreeMap<Name, Arc<dyn Archive>>,
    /// The configuration file, to be taken along; it has no secret in it.
    pub configuration: Option<Vec<u8>>,
    /// When, and how many.
    pub plan: Plan,
}

/// The same with what goes on.
pub(crate) struct Keeper {
    /// For what goes on without whoever asked for it.
    core: Weak<Core>,
    pub(crate) backups: Backups,
    /// One at a time makes a backup or reads one.
    working: tokio::sync::Mutex<()>,
    /// One at a time changes the ledgers on this machine. Never held while a destination is asked.
    ledgers: tokio::sync::Mutex<()>,
    /// One at a time brings ledgers to a destination. What that is known to have of each.
    pushed: BTreeMap<Name, tokio::sync::Mutex<Pushed>>,
    /// One at a time tells destinations of destroyed keys.
    cutting: Arc<tokio::sync::Mutex<()>>,
    /// Destinations that did not take a ledger lately, and until when they are left alone.
    resting: Mutex<HashMap<Name, Rest>>,
    /// Rings when a backup is to be made or read.
    bell: tokio::sync::Notify,
    /// Rings when destinations are to be told of a destroyed key.
    cut_bell: tokio::sync::Notify,
    /// As far as a destination's pieces of the log are known to be of this server's log.
    agreed: tokio::sync::Mutex<HashMap<Name, u64>>,
    /// Until when troubles that were told are not told again.
    told: tokio::sync::Mutex<Option<UnixMillis>>,
}

impl Engine {
    /// Says where backups go; once, before the engine is started.
    pub fn keep_backups(&self, backups: Backups) {
        let pushed = backups.destinations.keys().map(|name| (name.clone(), tokio::sync::Mutex::default()));
        let keeper = Keeper {
            core: Arc::downgrade(&self.core),
            pushed: pushed.collect(),
            backups,
            working: tokio::sync::Mutex::default(),
            ledgers: tokio::sync::Mutex::default(),
            cutting: Arc::default(),
            resting: Mutex::default(),
            bell: tokio::sync::Notify::new(),
            cut_bell: tokio::sync::Notify::new(),
            agreed: tokio::sync::Mutex::default(),
            told: tokio::sync::Mutex::default(),
        };
        // A second call changes nothing: destinations belong to a running server like its store.
        let _ = self.core.backups.set(keeper);
    }
}

impl From<ArchiveError> for Error {
    fn from(error: ArchiveError) -> Self {
        match &error {
            ArchiveError::NotFound(name) => Self::new(Code::NotFound, format!("the destination has no `{name}`")),
            ArchiveError::Exists(name) => {
                Self::new(Code::AlreadyExists, format!("the destination has a `{name}` already, of another server?"))
            }
            ArchiveError::Source(_) | ArchiveError::ReadOnly(_) | ArchiveError::Unavailable(_) => {
                let text = "a destination of backups does not answer or cannot write; the server's log tells more";
                Self::new(Code::ArchiveUnavailable, text).because(error)
            }
        }
    }
}

impl From<BackupError> for Error {
    fn from(error: BackupError) -> Self {
        match &error {
            BackupError::Altered(_) | BackupError::Cut | BackupError::Unsigned => {
                Self::new(Code::Tampered, error.to_string())
            }
            BackupError::Newer(_) | BackupError::TooLarge(_) => Self::new(Code::WrongState, error.to_string()),
            BackupError::Crypto(_) | BackupError::Signing(_) => Self::internal(error),
        }
    }
}

/// What the wrapping of a backup key is bound to.
fn key_context(deployment: &DeploymentId, version: u32) -> Vec<u8> {
    [b"keyreeve/backup-key/1".as_slice(), deployment.as_bytes(), &version.to_be_bytes()].concat()
}

/// The backup key with its record.
struct Keyed {
    record: BackupKeyRecord,
    key: BackupKey,
    /// Its former versions, as they are wrapped now.
    older: BTreeMap<u32, Wrapped>,
}

impl Core {
    pub(crate) fn keeper(&self) -> Result<&Keeper, Error> {
        self.backups.get().ok_or_else(|| {
            let text = "no backups are configured: add `[backup]` with a destination to the server's configuration";
            Error::new(Code::WrongState, text)
        })
    }

    /// A destination by its name.
    pub(crate) fn destination(&self, name: &Name) -> Result<&Arc<dyn Archive>, Error> {
        self.keeper()?.backups.destinations.get(name).ok_or_else(|| Error::not_found("destination"))
    }

    /// The newest backup key; the first one is made now.
    async fn backup_key(&self, opened: &Opened, now: UnixMillis) -> Result<Keyed, Error> {
        let known = self.filed_all::<BackupKeyRecord>(opened, None).await?;
        let mut known: BTreeMap<u32, _> = known.into_iter().map(|(record, _)| (record.version, record)).collect();
        if let Some((_, record)) = known.pop_last() {
            let key = self.open_backup_key(&opened.deployment.id, (record.version, &record.wrapped)).await?;
            let older = known.into_iter().map(|(version, record)| (version, record.wrapped)).collect();
            return Ok(Keyed { record, key, older });
        }
        let key = BackupKey::generate(1, &self.ports.random)?;
        // Held until it is stored: the roots that it comes under are not retired meanwhile.
        let _joined = self.rooting.read().await;
        let under = opened.rooted().system_secret.under();
        let wrapped = self.wrap_backup_key(&opened.deployment.id, &key, &under).await?;
        let record = BackupKeyRecord { version: 1, created: now, wrapped };
        let changes = vec![file(&opened.keys, Revision::FIRST, &record)];
        let sealer = Some(Arc::clone(&opened.keys));
        self.commit(Durable { name: "backup-key", changes, entry: None, sealer }).await?;
        Ok(Keyed { record, key, older: BTreeMap::new() })
    }

    async fn open_backup_key(
        &self,
        deployment: &DeploymentId,
        (version, wrapped): (u32, &Wrapped),
    ) -> Result<BackupKey, Error> {
        let secret = self.ports.roots.unwrap(wrapped, &key_context(deployment, version)).await?;
        Ok(BackupKey::from_secret(version, secret)?)
    }

    /// A backup key under roots of trust, which `wrap` has seen to give it back.
    async fn wrap_backup_key(
        &self,
        deployment: &DeploymentId,
        key: &BackupKey,
        under: &RootUse,
    ) -> Result<Wrapped, Error> {
        let (context, roots) = (key_context(deployment, key.version()), &self.ports.roots);
        roots.wrap(under, &context, key.secret(), &self.ports.random).await
    }

    /// Backup keys whose wrapping is to move, under other roots of trust; and a new version when the newest one moves:
    /// whoever can open the former root has the backups that were made until now, and none that are made from now on.
    pub(crate) async fn rewrapped_backup_keys(
        &self,
        opened: &Opened,
        moves: impl Fn(&Wrapped) -> bool,
        to: impl Fn(&Wrapped) -> Result<RootUse, Error>,
    ) -> Result<Vec<Change>, Error> {
        let (mut changes, mut newest) = (Vec::new(), None::<(_, Option<RootUse>)>);
        let deployment = &opened.deployment.id;
        for (record, revision) in self.filed_all::<BackupKeyRecord>(opened, None).await? {
            let to = if moves(&record.wrapped) { Some(to(&record.wrapped)?) } else { None };
            if newest.as_ref().is_none_or(|(version, _)| record.version > *version) {
                newest = Some((record.version, to.clone()));
            }
            if let Some(to) = &to {
                let key = self.open_backup_key(deployment, (record.version, &record.wrapped)).await?;
                let wrapped = self.wrap_backup_key(deployment, &key, to).await?;
                changes.push(file(&opened.keys, revision.next(), &BackupKeyRecord { wrapped, ..record }));
            }
        }
        if let Some((last, Some(to))) = newest {
            let version = last.checked_add(1).ok_or_else(|| Error::internal("too many backup keys"))?;
            let key = BackupKey::generate(version, &self.ports.random)?;
            let wrapped = self.wrap_backup_key(deployment, &key, &to).await?;
            let record = BackupKeyRecord { version, created: self.now()?, wrapped };
            changes.push(file(&opened.keys, Revision::FIRST, &record));
        }
        Ok(changes)
    }

    /// How many backup keys are under a root of trust.
    pub(crate) async fn backup_keys_under(&self, opened: &Opened, root: &Name) -> Result<usize, Error> {
        let known = self.filed_all::<BackupKeyRecord>(opened, None).await?;
        Ok(known.iter().filter(|(record, _)| record.wrapped.names(root)).count())
    }

    /// The key that an object names in its head. The server's own record of it is asked first: it follows when
    /// everything moves to another root of trust, which an object at a destination does not. Without a server it is
    /// what later objects say of it.
    async fn key_of(&self, head: &Head, known: &Known) -> Result<BackupKey, Error> {
        if let Some(opened) = self.opened().filter(|opened| opened.deployment.id == head.deployment)
            && let Some((record, _)) = self.filed::<BackupKeyRecord>(&opened, head.key.to_be_bytes()).await?
        {
            return self.open_backup_key(&opened.deployment.id, (record.version, &record.wrapped)).await;
        }
        for wrapped in known.wrappings(head.key).filter(|wrapped| **wrapped != head.wrapped) {
            match self.open_backup_key(&head.deployment, (head.key, wrapped)).await {
                Ok(key) => return Ok(key),
                Err(error) => tracing::debug!(%error, version = head.key, "a wrapping of a backup key does not open"),
            }
        }
        self.open_backup_key(&head.deployment, (head.key, &head.wrapped)).await
    }
}

/// The head of an object.
fn head(opened: &Opened, keyed: &Keyed, object: Object, sequence: u64, now: UnixMillis) -> Head {
    let key = &keyed.record;
    let kind = match object {
        Object::Archive(_) | Object::Probe => Kind::Archive,
        Object::Log(_) => Kind::Log,
        Object::Ledger { .. } => Kind::Ledger,
    };
    Head {
        v: 1,
        kind,
        name: object.name().to_string(),
        deployment: opened.deployment.id,
        program: concat!("keyreeve ", env!("CARGO_PKG_VERSION")).to_owned(),
        created: now,
        sequence,
        origin: opened.deployment.log_origin.clone(),
        key: key.version,
        wrapped: key.wrapped.clone(),
        roots: opened.rooted().roots(),
        older: if kind == Kind::Archive { keyed.older.clone() } else { BTreeMap::new() },
    }
}
