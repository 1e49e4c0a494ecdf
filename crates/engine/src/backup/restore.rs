//! Restoring: a backup into a server that has nothing yet.
//!
//! Nothing is written before everything was read and checked once. The log and the epoch keys are written next; the
//! store comes last and whole, so a restore that was interrupted leaves no server that could be taken for one.

use keyreeve_archive::Archive;
use keyreeve_backup::{Head, Item, Object, SealedLedger};
use keyreeve_epochs::EpochId;
use keyreeve_journal::Entry;
use keyreeve_model::anchor::Taken;
use keyreeve_model::backup::{BackupKeyRecord, COUNTERS_JUMP, Restored};
use keyreeve_model::device::{DeviceTask, DeviceUse, DeviceWork};
use keyreeve_model::filed::{file, open_filed};
use keyreeve_model::job::Job;
use keyreeve_model::metadata::Label;
use keyreeve_model::record::{RecordSealer, Revision, Table, open, seal};
use keyreeve_model::roots::Need;
use keyreeve_model::{
    Change, FiledRow, KeyRecord, KeyringId, KeyringRecord, MaterialRow, Name, PrincipalRecord, RootUse, SealedRecord,
    StoredRow, UnixMillis,
};
use keyreeve_root::SealStatus;
use keyreeve_secret::SecretString;
use keyreeve_store::{PIECE_ROWS, Piece};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::mpsc;

use super::ledgers::fetch_bytes;
use super::reading::{Begun, Known, contents};
use super::verify::Survey;
use super::work::backup_work;
use crate::core::{Core, Engine};
use crate::error::{Code, Error};
use crate::keys::Hierarchy;
use crate::ops::backups::RecordRestore;
use crate::ops::tokens::{NewToken, issue};
use crate::roots::waits_for_shares;

/// Entries of the log appended at a time (count).
const ENTRIES: usize = 256;
/// How long the token lasts that a restore makes (days).
const TOKEN_DAYS: u32 = 1;

/// Which backup, and what becomes of credentials.
#[derive(Clone, Debug, Default)]
pub struct RestoreOptions {
    /// The number of the backup; the newest unless said.
    pub sequence: Option<u64>,
    /// Whether tokens and service credentials stay as the backup has them: those that were revoked after it are valid
    /// again.
    pub keep_tokens: bool,
    /// For whom a token of one day is made.
    pub token_for: Option<Name>,
}

/// A backup that was chosen and whose roots of trust know that they are to be opened.
#[derive(Debug)]
pub struct RestoreSource {
    sequence: u64,
    head: Head,
    /// The roots of trust that were told.
    roots: Vec<Name>,
}

impl RestoreSource {
    /// The number of the backup.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// When it was made.
    #[must_use]
    pub const fn made(&self) -> UnixMillis {
        self.head.created
    }
}

/// What was restored.
#[derive(Debug)]
pub struct RestoredReply {
    /// As the deployment's record says.
    pub restored: Restored,
    /// Rows of the store (count).
    pub rows: u64,
    /// Versions of keys (count).
    pub materials: u64,
    /// Entries of the audit log, those that came after the backup included.
    pub entries: u64,
    /// Tokens and credentials that are valid no more (count).
    pub credentials_dropped: u64,
    /// Keys that are inside devices, by the root of trust (count): no backup has anything of them.
    pub in_devices: BTreeMap<Name, u64>,
    /// A token, if one was asked for.
    pub token: Option<SecretString>,
}

impl Engine {
    /// Chooses a backup, and tells the roots of trust what it says of them. Ones that need no people are open then.
    ///
    /// # Errors
    /// When the destination has no such backup, or this server has data already.
    pub async fn begin_restore(&self, source: &dyn Archive, options: &RestoreOptions) -> Result<RestoreSource, Error> {
        let core = &*self.core;
        core.need_empty().await?;
        let newest = async {
            let (archives, _) = contents(source).await?;
            let newest = archives.iter().map(|(sequence, _)| *sequence).max();
            newest.ok_or_else(|| Error::new(Code::NotFound, "there is no backup at this destination"))
        };
        let sequence = match options.sequence {
            Some(sequence) => sequence,
            None => newest.await?,
        };
        let head = Begun::open(source, &Object::Archive(sequence).name()).await?.head;
        let known = Known::at(source, &head).await?;
        let wanted = core.roots_wanted(&head, &known);
        let again = core.opens_with.lock().replace(wanted.clone()).is_some();
        let mut roots: BTreeSet<Name> = head.roots.keys().cloned().collect();
        roots.extend(wanted.roots().iter().cloned());
        roots.retain(|name| head.wrapped.names(name) || core.ports.roots.get(name).is_some());
        for name in &roots {
            // Shares may have been exchanged since: those that people have now are what counts.
            let Some(record) = known.root(name) else { continue };
            match core.ports.roots.configure(name, record).await {
                // Told when it was tried before, from this destination or another.
                Err(error) if again && error.code() == Code::WrongState => {}
                told => told?,
            }
        }
        Ok(RestoreSource { sequence, head, roots: roots.into_iter().collect() })
    }

    /// Where opening the roots stands that the backup needs.
    #[must_use]
    pub fn restore_status(&self) -> SealStatus {
        self.core.root_status()
    }

    /// The roots of the backup that wait for shares, and where each stands.
    #[must_use]
    pub fn restore_waiting(&self, source: &RestoreSource) -> Vec<(Name, SealStatus)> {
        let states = self.core.ports.roots.states().into_iter();
        let waiting = states.filter(|root| source.roots.contains(&root.name) && waits_for_shares(&root.status));
        waiting.map(|root| (root.name, root.status)).collect()
    }

    /// Gives a share to the root that it is of, and says which one that is and where it stands now.
    ///
    /// # Errors
    /// As [`keyreeve_root::Root::unseal`]; [`Code::WrongState`] when its root is open already.
    pub async fn restore_unseal(&self, share: &SecretString) -> Result<(Name, SealStatus), Error> {
        self.core.ports.roots.give(share).await
    }

    /// Restores the backup, starts the server over it and puts the restore on record.
    ///
    /// # Errors
    /// When anything about the backup is not as it must be; then the store is as empty as before.
    pub async fn restore(
        &self,
        source: &dyn Archive,
        chosen: &RestoreSource,
        options: &RestoreOptions,
    ) -> Result<RestoredReply, Error> {
        let core = &*self.core;
        core.need_empty().await?;
        let survey = core.survey_backup(source, chosen.sequence, core.other_places(source)).await?;
        let reply = core.load_backup(source, survey, options).await?;
        self.start().await?;
        self.record_restore().await?;
        Ok(reply)
    }

    /// Puts a restore on record that is not yet.
    pub(crate) async fn record_restore(&self) -> Result<(), Error> {
        let Some(opened) = self.core.opened() else { return Ok(()) };
        let newest = self.core.restored_from(&opened).await?;
        *self.core.restored.lock() = newest.as_ref().map(|(restored, _)| restored.clone());
        if newest.is_none_or(|(restored, _)| restored.recorded) {
            return Ok(());
        }
        let recorded = self.call_as_server("restore", RecordRestore).await;
        recorded.map(|_| ()).map_err(|refused| refused.error)
    }
}

/// Rows on their way into the store.
struct Loading<'a> {
    core: &'a Core,
    survey: &'a Survey,
    options: &'a RestoreOptions,
    hierarchy: Hierarchy,
    now: UnixMillis,
    to: mpsc::Sender<Piece>,
    piece: Vec<StoredRow>,
    keyrings: HashMap<KeyringId, KeyringRecord>,
    /// Shards that have their new epoch.
    made: HashSet<(KeyringId, u32)>,
    /// Destruction records that the backup has already.
    destroyed: HashSet<keyreeve_model::KeyId>,
    found_principal: bool,
    dropped: u64,
    rows: u64,
    materials: u64,
    in_devices: BTreeMap<Name, u64>,
    token: Option<SecretString>,
}

impl Core {
    /// The roots that open a backup; when everything moved to others since, those too: ledgers and pieces of the log of
    /// later are under them.
    fn roots_wanted(&self, head: &Head, known: &Known) -> RootUse {
        let wanted = head.wrapped.under();
        let Some(newest) = known.newest().filter(|newest| newest.key != head.key) else { return wanted };
        let later = newest.wrapped.under();
        let all = |these: &RootUse| these.need() == Need::All || these.roots().len() == 1;
        let here = later.roots().iter().all(|name| self.ports.roots.get(name).is_some());
        if !all(&wanted) || !all(&later) || !here {
            return wanted;
        }
        let both = wanted.roots().union(later.roots()).cloned().collect();
        RootUse::new(Need::All, both).unwrap_or(wanted)
    }

    /// Refuses where there is anything that a restore would meet.
    pub(super) async fn need_empty(&self) -> Result<(), Error> {
        let (store, vault, journal) = (&self.ports.store, &self.ports.vault, &self.ports.journal);
        let what = if store.deployment().await?.is_some() {
            "the store"
        } else if !vault.list().await?.is_empty() {
            "the epoch vault"
        } else if journal.size() > 0 {
            "the audit log"
        } else {
            return Ok(());
        };
        let text = format!("{what} is not empty: a backup is restored into a fresh server, so that nothing is lost");
        Err(Error::new(Code::WrongState, text))
    }

    pub(super) async fn load_backup(
        &self,
        source: &dyn Archive,
        survey: Survey,
        options: &RestoreOptions,
    ) -> Result<RestoredReply, Error> {
        let now = self.now()?;
        // Once to see that it is whole, and once more to write it: nothing false ever gets into the new log.
        self.survey_log(&survey, source, None).await?;
        let entries = self.load_log(source, &survey).await?;
        let restored = Restored {
            sequence: survey.head.sequence,
            made: survey.head.created,
            at: now,
            log_size: survey.log.size,
            kept_destroyed: survey.destroyed,
            unasked: survey.unasked.lock().clone(),
            recorded: false,
            acknowledged: None,
        };
        let (to, from) = mpsc::channel(2);
        let loading = Loading {
            core: self,
            survey: &survey,
            options,
            hierarchy: Hierarchy::new(self, &survey.keys),
            now,
            to,
            piece: Vec::new(),
            keyrings: HashMap::new(),
            made: HashSet::new(),
            destroyed: HashSet::new(),
            found_principal: false,
            dropped: 0,
            rows: 0,
            materials: 0,
            in_devices: BTreeMap::new(),
            token: None,
        };
        let (loaded, given) = tokio::join!(self.ports.store.load(from), loading.all(source, &restored));
        // Why nothing was loaded is known by whoever gave the rows, unless the store itself refused them.
        let loading = match (given, loaded) {
            (Ok(loading), Ok(())) => loading,
            (Err(error), _) if error.code() != Code::Internal => return Err(error),
            (_, Err(error)) => return Err(error.into()),
            (Err(error), Ok(())) => return Err(error),
        };
        self.copy_ledgers(source, &survey).await?;
        let Given { rows, materials, dropped, in_devices, token } = loading;
        let credentials_dropped = dropped;
        Ok(RestoredReply { restored, rows, materials, entries, credentials_dropped, in_devices, token })
    }

    /// Appends every entry to the new log, as fast as that takes them.
    async fn load_log(&self, source: &dyn Archive, survey: &Survey) -> Result<u64, Error> {
        let (give, mut take) = mpsc::channel::<Entry>(4 * ENTRIES);
        let read = async move {
            let entries = self.survey_log(survey, source, Some(&give)).await;
            drop(give);
            entries
        };
        let append = async {
            let mut batch = Vec::new();
            while take.recv_many(&mut batch, ENTRIES).await > 0 {
                self.ports.journal.append(std::mem::take(&mut batch)).await?;
            }
            Ok::<_, Error>(())
        };
        let (read, appended) = tokio::join!(read, append);
        appended?;
        let entries = read?;
        if self.ports.journal.size() == entries { Ok(entries) } else { Err(Error::internal("the log was not taken")) }
    }

    /// Places besides the source that may have newer ledgers: destinations, and what was brought from the lost machine.
    fn other_places(&self, source: &dyn Archive) -> Vec<(Name, Arc<dyn Archive>)> {
        let Some(keeper) = self.backups.get() else { return Vec::new() };
        let there = source.place();
        let destinations = keeper.backups.destinations.iter().filter(|(_, archive)| archive.place() != there);
        let here = "this-machine".parse().ok().map(|name| (name, Arc::clone(&keeper.backups.local)));
        destinations.map(|(name, archive)| (name.clone(), Arc::clone(archive))).chain(here).collect()
    }

    /// Keeps the newest ledgers on this machine, as the lost server did.
    async fn copy_ledgers(&self, source: &dyn Archive, survey: &Survey) -> Result<(), Error> {
        let Some(keeper) = self.backups.get() else { return Ok(()) };
        let others = survey.others.iter().map(|(_, archive)| &**archive);
        let mut newest: BTreeMap<Object, (u64, Vec<u8>)> = BTreeMap::new();
        for (n, place) in std::iter::once(source).chain(others).enumerate() {
            let listed = match place.list().await {
                // Another place that does not answer is one that was not asked.
                Err(_) if n > 0 => continue,
                listed => listed?,
            };
            for stored in listed {
                let Some(object @ Object::Ledger { .. }) = stored.name.object() else { continue };
                let Ok(Some(bytes)) = fetch_bytes(place, object).await else { continue };
                let Some(revision) = self.revision_of(survey, &bytes).await else { continue };
                if newest.get(&object).is_none_or(|(known, _)| *known < revision) {
                    newest.insert(object, (revision, bytes));
                }
            }
        }
        for (object, (_, bytes)) in newest {
            keeper.backups.local.replace(&object.name(), &bytes).await?;
        }
        Ok(())
    }

    /// The revision of a ledger of this deployment that opens.
    async fn revision_of(&self, survey: &Survey, bytes: &[u8]) -> Option<u64> {
        let sealed = SealedLedger::parse(bytes).ok().filter(|s| s.head().deployment == survey.deployment.id)?;
        let key = self.survey_key(survey, sealed.head()).await.ok()?;
        sealed.open(&key).ok().map(|ledger| ledger.revision())
    }
}

/// What went into the store.
struct Given {
    rows: u64,
    materials: u64,
    dropped: u64,
    in_devices: BTreeMap<Name, u64>,
    token: Option<SecretString>,
}

impl Loading<'_> {
    async fn all(mut self, source: &dyn Archive, restored: &Restored) -> Result<Given, Error> {
        let begun = Begun::open(source, &Object::Archive(self.survey.head.sequence).name()).await?;
        if begun.head != self.survey.head {
            return Err(Error::new(Code::Tampered, "the backup was exchanged while it was read"));
        }
        let mut reading = begun.read(&self.survey.key)?;
        while let Some(item) = reading.next().await? {
            if let Item::Row(row) = item {
                self.row(*row, restored).await?;
            }
        }
        reading.manifest()?.verify(&self.survey.deployment.log_origin, &self.survey.vkeys())?;
        self.later_keys().await?;
        self.new_token().await?;
        self.flush().await?;
        self.to.send(Piece::End).await.map_err(|_| Error::internal("the store takes no rows"))?;
        let (rows, materials, dropped) = (self.rows, self.materials, self.dropped);
        Ok(Given { rows, materials, dropped, in_devices: self.in_devices, token: self.token })
    }

    async fn put(&mut self, row: StoredRow) -> Result<(), Error> {
        self.piece.push(row);
        self.rows += 1;
        if self.piece.len() == PIECE_ROWS { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), Error> {
        let rows = std::mem::take(&mut self.piece);
        if rows.is_empty() {
            return Ok(());
        }
        self.to.send(Piece::Rows(rows)).await.map_err(|_| Error::internal("the store takes no rows"))
    }

    async fn row(&mut self, row: StoredRow, restored: &Restored) -> Result<(), Error> {
        let keys = &self.survey.keys;
        // Read a second time: what is written is what was checked.
        crate::integrity::rows::check_row(keys, &row)?;
        match row {
            StoredRow::Deployment(record) => {
                self.put(StoredRow::Deployment(record)).await?;
                // What anchors remember is later than any backup: they are taken as they stand.
                for taken in self.core.taking_anchors(Taken::Restored, self.now) {
                    if let Change::File(row) = file(keys, Revision::FIRST, &taken) {
                        self.put(StoredRow::Filed(row)).await?;
                    }
                }
                match file(keys, Revision::FIRST, restored) {
                    Change::File(row) => self.put(StoredRow::Filed(row)).await,
                    _ => Err(Error::internal("a filed record that is none")),
                }
            }
            StoredRow::Keyring(row) => {
                let record: KeyringRecord = open(keys, Table::Keyrings, row.id.as_bytes(), &row.record)?;
                self.keyrings.insert(row.id, record);
                self.put(StoredRow::Keyring(row)).await
            }
            StoredRow::Destruction(row) => {
                self.destroyed.insert(row.key);
                self.put(StoredRow::Destruction(row)).await
            }
            StoredRow::Key(row) => self.key(row).await,
            StoredRow::Material(row) => self.material(row).await,
            StoredRow::Token(row) if !self.options.keep_tokens => {
                drop(row);
                self.dropped += 1;
                Ok(())
            }
            StoredRow::Filed(row) if !self.options.keep_tokens && proves_somebody(row.table) => {
                self.dropped += 1;
                Ok(())
            }
            StoredRow::Filed(row) if row.table == Table::DeviceWork => {
                // What was being made then was stored since, or not: nobody here may erase it.
                let (work, _) = open_filed::<DeviceWork>(keys, &row)?;
                if work.task == DeviceTask::Making { Ok(()) } else { self.put(StoredRow::Filed(row)).await }
            }
            // The backup was being made when it was made: the lost server's work on backups is not taken up.
            StoredRow::Filed(row) if row.table == Table::Jobs && is_about_backups(keys, &row)? => Ok(()),
            // Of the time of the backup; what holds now was written with the deployment.
            StoredRow::Filed(row) if row.table == Table::Anchors => Ok(()),
            // Under an epoch that is not here: what is escrowed is deposited anew.
            StoredRow::Filed(row) if row.table == Table::Deposits => {
                drop(row);
                Ok(())
            }
            // What was answered then is no answer to what is asked now.
            StoredRow::Answer(_) => Ok(()),
            StoredRow::Principal(row) => {
                if self.options.token_for.as_ref() == Some(&row.name) {
                    let record: PrincipalRecord =
                        open(keys, Table::Principals, row.name.as_str().as_bytes(), &row.record)?;
                    self.found_principal = !record.disabled;
                }
                self.put(StoredRow::Principal(row)).await
            }
            other => self.put(other).await,
        }
    }

    /// A key that was destroyed since is as it was left then; another one's counters jump.
    async fn key(&mut self, mut row: keyreeve_model::change::KeyRow) -> Result<(), Error> {
        let keys = &self.survey.keys;
        let record: KeyRecord = open(keys, Table::Keys, row.id.as_bytes(), &row.record)?;
        let object = Object::Ledger { keyring: row.keyring, shard: record.shard() };
        let tombstone = self.survey.ledgers.get(&object).and_then(|ledger| ledger.tombstone(&row.id)).cloned();
        if let Some(tombstone) = tombstone {
            // Aliases that others got meanwhile went back to whom the backup says.
            let aliases = tombstone.key.aliases.into_iter().filter(|alias| row.aliases.contains(alias)).collect();
            self.put(StoredRow::Key(keyreeve_model::change::KeyRow { aliases, ..tombstone.key })).await?;
            if !record.state(self.now).is_destroyed() {
                self.erase_in_devices(&record).await?;
            }
            if self.destroyed.insert(row.id) {
                self.put(StoredRow::Destruction(tombstone.destruction)).await?;
            }
            return Ok(());
        }
        if !record.state(self.now).is_destroyed() {
            for root in record.devices().map(|place| &place.root).collect::<BTreeSet<_>>() {
                *self.in_devices.entry(root.clone()).or_default() += 1;
            }
        }
        let mut jumped = record;
        if jumped.jump_counters(COUNTERS_JUMP) {
            let revision: Revision = row.record.revision.next();
            let sealed: SealedRecord = seal(keys, Table::Keys, row.id.as_bytes(), revision, &jumped);
            row.record = sealed;
        }
        self.put(StoredRow::Key(row)).await
    }

    /// What a destruction after the backup may have left in a device is erased there, once more or at last.
    async fn erase_in_devices(&mut self, record: &KeyRecord) -> Result<(), Error> {
        for place in record.devices() {
            let work = DeviceWork::erasing(place.clone(), DeviceUse::Key(record.id()), self.now);
            match file(&self.survey.keys, Revision::FIRST, &work) {
                Change::File(row) => self.put(StoredRow::Filed(row)).await?,
                _ => return Err(Error::internal("a filed record that is none")),
            }
        }
        Ok(())
    }

    /// Material under a new epoch of its shard, above every number that was ever known; none of a destroyed key.
    async fn material(&mut self, row: MaterialRow) -> Result<(), Error> {
        let survey = self.survey;
        let (keyring, shard) = (row.keyring, row.shard);
        let lost = || Error::new(Code::Tampered, "the backup is not as this program writes them");
        let ledger = survey.ledgers.get(&Object::Ledger { keyring, shard }).ok_or_else(lost)?;
        let Some(material) = ledger.open(&row)? else { return Ok(()) };
        let record = self.keyrings.get(&keyring).ok_or_else(lost)?;
        let epoch = survey.epochs.get(&(keyring, shard)).copied().unwrap_or(0) + 1;
        let id = EpochId { keyring, shard, epoch };
        if self.made.insert((keyring, shard)) {
            self.hierarchy.make_epoch_of(record, shard, epoch).await?;
        }
        let wrapped = self.hierarchy.wrap(record, id, (row.key, row.version), &material).await?;
        self.materials += 1;
        self.put(StoredRow::Material(wrapped)).await
    }

    /// Backup keys that were made after the backup: what is at destinations is under them, and no other key may ever
    /// have their versions.
    async fn later_keys(&mut self) -> Result<(), Error> {
        let (core, survey) = (self.core, self.survey);
        let (deployment, under) = (&survey.deployment.id, survey.head.wrapped.under());
        for (version, head) in survey.known.later_than(&survey.head) {
            let key = match core.survey_key(survey, head).await {
                Ok(key) => key,
                Err(error) => {
                    tracing::warn!(version, %error, "a backup key of after this backup does not open");
                    continue;
                }
            };
            let wrapped = core.wrap_backup_key(deployment, &key, &under).await?;
            let record = BackupKeyRecord { version, created: head.created, wrapped };
            match file(&survey.keys, Revision::FIRST, &record) {
                Change::File(row) => self.put(StoredRow::Filed(row)).await?,
                _ => return Err(Error::internal("a filed record that is none")),
            }
        }
        Ok(())
    }

    async fn new_token(&mut self) -> Result<(), Error> {
        let Some(principal) = &self.options.token_for else { return Ok(()) };
        if !self.found_principal {
            let text = format!("the backup has no principal `{principal}` that a token could be made for");
            return Err(Error::new(Code::NotFound, text));
        }
        let description: Label = "made by a restore".parse().map_err(Error::internal)?;
        let life = (self.now, self.now.plus_days(TOKEN_DAYS));
        let networks = BTreeSet::new();
        let new = NewToken {
            principal,
            description: &description,
            created_by: principal,
            life,
            networks: &networks,
            session: None,
        };
        let (issued, change) = issue(self.core, &*self.survey.keys, new)?;
        self.token = Some(issued.token);
        match change {
            Change::PutToken(row) => self.put(StoredRow::Token(row)).await,
            _ => Err(Error::internal("a token that is no token")),
        }
    }
}

fn is_about_backups(keys: &dyn RecordSealer, row: &FiledRow) -> Result<bool, Error> {
    let (job, _): (Job, Revision) = open_filed(keys, row)?;
    Ok(backup_work(&job).is_some())
}

/// Records that prove somebody: one that was taken back after the backup would be valid again.
const fn proves_somebody(table: Table) -> bool {
    matches!(table, Table::Credentials | Table::Wrapped | Table::Logins | Table::MfaChallenges)
}
