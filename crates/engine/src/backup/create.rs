//! Making a backup. The copy is made on this machine first, so that destructions wait for that alone and never for a
//! slow destination.

use keyreeve_archive::{Archive, ArchiveError};
use keyreeve_audit::{Checkpoint, SignedNote};
use keyreeve_backup::{Item, Ledger, Object, ObjectName, Segment, Writer, expendable};
use keyreeve_model::backup::{BackupRecord, Placed};
use keyreeve_model::imports::MaterialEnd;
use keyreeve_model::record::{Revision, Table, open};
use keyreeve_model::{KeyId, KeyringId, KeyringRecord, MaterialRow, Name, StoredRow, UnixMillis};
use keyreeve_store::Piece;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

use super::reading::{Begun, Known, chain, contents};
use super::{Keeper, Keyed, head};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::integrity::rows::check_row;
use crate::sealing::Opened;

/// Bytes on their way from the copy to the disk.
const PIPE: usize = 256 * 1024;
/// Entries of the log in one segment (count), and read at a time.
const SEGMENT: u64 = 100_000;
const ENTRIES: u64 = 256;
/// Bytes of an object by which it is known again: its head and the first of what is encrypted.
const FRONT: u64 = 256 * 1024;
/// The highest number of a backup that is taken for one.
const SEQUENCE_MAX: u64 = 1 << 48;

/// What a copy has in it.
struct Copied {
    rows: u64,
    materials: u64,
    unopened: u64,
    log: Checkpoint,
}

/// Why there is no copy.
enum Ended {
    /// The store gave no more rows; it says why.
    Early,
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// The ledger of the shard that is being copied.
struct Current {
    object: Object,
    ledger: Ledger,
    kept: u64,
}

/// A copy under way.
struct Copying<'a> {
    core: &'a Core,
    opened: &'a Opened,
    keeper: &'a Keeper,
    keyed: &'a Keyed,
    now: UnixMillis,
    keyrings: HashMap<KeyringId, KeyringRecord>,
    /// Versions whose material has an end.
    lent: HashSet<(KeyId, u32)>,
    current: Option<Current>,
    materials: u64,
    unopened: u64,
}

impl Copying<'_> {
    /// A row as it goes into the archive; material that cannot be opened does not.
    async fn row(&mut self, row: StoredRow) -> Result<Option<StoredRow>, Error> {
        match row {
            StoredRow::Keyring(row) => {
                let record: KeyringRecord = open(&self.opened.keys, Table::Keyrings, row.id.as_bytes(), &row.record)?;
                self.keyrings.insert(row.id, record);
                Ok(Some(StoredRow::Keyring(row)))
            }
            StoredRow::Material(row) => Ok(self.material(row).await?.map(StoredRow::Material)),
            other => {
                // A restore refuses what was altered: a backup that has it would be worth nothing, and is told of.
                check_row(&self.opened.keys, &other)?;
                Ok(Some(other))
            }
        }
    }

    async fn material(&mut self, row: MaterialRow) -> Result<Option<MaterialRow>, Error> {
        let keyring = self.keyrings.get(&row.keyring);
        let opened = match keyring {
            Some(keyring) => self.opened.hierarchy.unwrap(keyring, &row).await,
            None => Err(Error::new(Code::Tampered, "a keyring is missing")),
        };
        let material = match opened {
            Ok(material) => material,
            Err(error) if error.code() == Code::Tampered => {
                tracing::error!(key = %row.key, version = row.version, "not in the backup: its material does not open");
                self.unopened += 1;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let (core, now) = (self.core, self.now);
        let (random, lent) = (&core.ports.random, self.lent.contains(&(row.key, row.version)));
        let ledger = self.ledger(row.keyring, row.shard).await?;
        let cut = match lent {
            true => ledger.ensure_lent((row.key, row.version), random, now)?,
            false => ledger.ensure(row.key, random, now)?,
        };
        let Some(cut) = cut else {
            tracing::error!(key = %row.key, "not in the backup: a ledger says that the key was destroyed");
            self.unopened += 1;
            return Ok(None);
        };
        let sealed = cut.seal(random, &row, &material)?;
        self.materials += 1;
        Ok(Some(sealed))
    }

    /// The ledger of a shard; the one before is kept first.
    async fn ledger(&mut self, keyring: KeyringId, shard: u32) -> Result<&mut Ledger, Error> {
        let object = Object::Ledger { keyring, shard };
        if self.current.as_ref().is_none_or(|current| current.object != object) {
            self.keep().await?;
            let ledger = self.core.ledger(self.opened, (self.keeper, self.keyed), object).await?;
            let kept = ledger.revision();
            self.current = Some(Current { object, ledger, kept });
        }
        let current = self.current.as_mut().ok_or_else(|| Error::internal("no ledger"))?;
        Ok(&mut current.ledger)
    }

    async fn keep(&mut self) -> Result<(), Error> {
        match self.current.take() {
            Some(Current { object, ledger, kept }) if ledger.revision() > kept => {
                self.core.keep_ledger(self.opened, (self.keeper, self.keyed), (object, &ledger)).await
            }
            _ => Ok(()),
        }
    }
}

async fn flush(pipe: &mut DuplexStream, out: &mut Vec<u8>) -> Result<(), Error> {
    pipe.write_all(out).await.map_err(Error::internal)?;
    out.clear();
    Ok(())
}

impl Core {
    /// Copies the store to this machine. The record that comes of it says of no destination that it has the copy.
    pub(super) async fn copy_backup(&self, now: UnixMillis) -> Result<BackupRecord, Error> {
        let (opened, keeper) = (self.need_open()?, self.keeper()?);
        let keyed = self.backup_key(&opened, now).await?;
        self.clear_spool(keeper).await?;
        self.take_over_ledgers(&opened, (keeper, &keyed)).await?;
        self.reseal_ledgers(&opened, keeper, &keyed).await?;
        let sequence = self.next_sequence(&opened, keeper).await?;
        let name = Object::Archive(sequence).name();
        let copied = self.copy_to_spool(&opened, (keeper, &keyed), sequence, now).await;
        let (copied, size) = match copied {
            Ok(copied) => copied,
            Err(error) => {
                keeper.backups.local.delete(&name).await?;
                return Err(error);
            }
        };
        let listed = keeper.backups.local.list().await?;
        let ledgers =
            listed.iter().filter(|stored| matches!(stored.name.object(), Some(Object::Ledger { .. }))).count();
        Ok(BackupRecord {
            sequence,
            created: now,
            key: keyed.record.version,
            size,
            rows: copied.rows,
            materials: copied.materials,
            unopened: copied.unopened,
            log_size: copied.log.size,
            log_root: copied.log.root.to_string(),
            ledgers: ledgers as u64,
            destinations: keeper.backups.destinations.keys().map(|at| (at.clone(), Placed::default())).collect(),
        })
    }

    /// The record of a backup that was copied to this machine and is there still, on its way to destinations.
    pub(super) async fn copied_backup(&self, sequence: u64) -> Result<Option<BackupRecord>, Error> {
        let (opened, keeper) = (self.need_open()?, self.keeper()?);
        let name = Object::Archive(sequence).name();
        if !keeper.backups.local.list().await?.iter().any(|stored| stored.name == name) {
            return Ok(None);
        }
        Ok(self.filed::<BackupRecord>(&opened, sequence.to_be_bytes()).await?.map(|(record, _)| record))
    }

    /// Removes what is on its way: everything on this machine but the ledgers.
    pub(super) async fn clear_spool(&self, keeper: &Keeper) -> Result<(), Error> {
        for stored in keeper.backups.local.list().await? {
            if !matches!(stored.name.object(), Some(Object::Ledger { .. })) {
                keeper.backups.local.delete(&stored.name).await?;
            }
        }
        Ok(())
    }

    /// The number after every one that is known of, here or at a destination that answers.
    async fn next_sequence(&self, opened: &Opened, keeper: &Keeper) -> Result<u64, Error> {
        let known = self.filed_all::<BackupRecord>(opened, None).await?;
        let mut last = known.iter().map(|(record, _)| record.sequence).max().unwrap_or(0);
        for (name, destination) in &keeper.backups.destinations {
            match contents(&**destination).await {
                Ok((archives, _)) => {
                    // A number that no server comes to is nobody's backup: it would leave none for those to come.
                    let (near, far): (Vec<_>, Vec<_>) =
                        archives.iter().map(|(sequence, _)| *sequence).partition(|sequence| *sequence <= SEQUENCE_MAX);
                    if !far.is_empty() {
                        tracing::warn!(destination = %name, numbers = ?far, "names of backups that no server wrote");
                    }
                    last = near.into_iter().fold(last, u64::max);
                }
                Err(error) => tracing::warn!(destination = %name, %error, "a destination of backups does not answer"),
            }
        }
        last.checked_add(1).ok_or_else(|| Error::internal("no more numbers of backups"))
    }

    async fn copy_to_spool(
        &self,
        opened: &Opened,
        (keeper, keyed): (&Keeper, &Keyed),
        sequence: u64,
        now: UnixMillis,
    ) -> Result<(Copied, u64), Error> {
        // Nobody erases an epoch while rows under it are opened, and nobody cuts a ledger that is written here.
        let _no_destruction = self.backing.write().await;
        let _ledgers = keeper.ledgers.lock().await;
        let (to, from) = mpsc::channel(2);
        let (pipe, end) = tokio::io::duplex(PIPE);
        let name = Object::Archive(sequence).name();
        let put = keeper.backups.local.put(&name, Box::new(end), None);
        let copy = self.copy(opened, (keeper, keyed), (sequence, now), from, pipe);
        let (given, copied, stored) = tokio::join!(self.ports.store.snapshot(to), copy, put);
        let size = stored?;
        match (copied, given) {
            (Ok(copied), Ok(())) => Ok((copied, size)),
            (Err(Ended::Failed(error)), _) => Err(error),
            (_, Err(error)) => Err(error.into()),
            (Err(Ended::Early), Ok(())) => Err(Error::internal("the store ended its copy early")),
        }
    }

    async fn copy(
        &self,
        opened: &Opened,
        (keeper, keyed): (&Keeper, &Keyed),
        (sequence, now): (u64, UnixMillis),
        mut from: mpsc::Receiver<Piece>,
        mut pipe: DuplexStream,
    ) -> Result<Copied, Ended> {
        // Read before the first row: nothing ends while the copy is made.
        let lent = self.filed_all::<MaterialEnd>(opened, None).await?;
        let mut copying = Copying {
            core: self,
            opened,
            keeper,
            keyed,
            now,
            keyrings: HashMap::new(),
            lent: lent.into_iter().map(|(end, _)| (end.key, end.version)).collect(),
            current: None,
            materials: 0,
            unopened: 0,
        };
        let mut out = Vec::new();
        let head = head(opened, keyed, Object::Archive(sequence), sequence, now);
        let mut writer = Writer::begin(head, &keyed.key, &self.ports.random, &mut out)?;
        if let Some(text) = &keeper.backups.configuration {
            writer.configuration(text, &mut out)?;
        }
        loop {
            let rows = match from.recv().await.ok_or(Ended::Early)? {
                Piece::Rows(rows) => rows,
                Piece::End => break,
            };
            for row in rows {
                if let Some(row) = copying.row(row).await? {
                    writer.row(&row, &mut out)?;
                }
            }
            flush(&mut pipe, &mut out).await?;
        }
        copying.keep().await?;
        // After the copy: every change that is in it is in the log or in the copied outbox.
        let note = self.ports.journal.checkpoint().await?;
        let log = SignedNote::parse(note.as_bytes()).map_err(Error::internal)?;
        let log = Checkpoint::parse(&log.text).map_err(Error::internal)?;
        writer.checkpoint(&note, &mut out)?;
        let signer = opened.keys.signers.first().ok_or_else(|| Error::internal("no signer"))?;
        let manifest = writer.finish(signer, now, &mut out)?;
        flush(&mut pipe, &mut out).await?;
        pipe.shutdown().await.map_err(Error::internal)?;
        let Copying { materials, unopened, .. } = copying;
        Ok(Copied { rows: manifest.counts.rows, materials, unopened, log })
    }

    /// Brings ledgers, the log and the archive to a destination, in this order: an archive that is there can be
    /// restored. What was opened for it is let go before each object is sent, which may take hours: a server that is
    /// sealed meanwhile keeps nothing for a destination's sake.
    pub(super) async fn bring(&self, at: &Name, record: &BackupRecord) -> Result<(), Error> {
        let (keeper, destination) = (self.keeper()?, Arc::clone(self.destination(at)?));
        let last = {
            let opened = self.need_open()?;
            let keyed = self.backup_key(&opened, self.now()?).await?;
            for stored in keeper.backups.local.list().await? {
                if let Some(object @ Object::Ledger { .. }) = stored.name.object() {
                    self.push_newest(&keyed, at, object).await?;
                }
            }
            let (_, segments) = contents(&*destination).await?;
            let last = chain(segments).last().copied();
            if let Some(last) = last {
                self.check_history(&opened, keeper, (at, &*destination), (last, record.log_size)).await?;
            }
            last
        };
        let mut covered = last.map_or(0, |segment| segment.to);
        while covered < record.log_size {
            let segment = Segment { from: covered, to: record.log_size.min(covered + SEGMENT) };
            self.segment_to_spool(keeper, segment, record).await?;
            send(&*keeper.backups.local, &*destination, &Object::Log(segment).name()).await?;
            covered = segment.to;
            keeper.agreed.lock().await.insert(at.clone(), covered);
        }
        let name = Object::Archive(record.sequence).name();
        match send(&*keeper.backups.local, &*destination, &name).await {
            // It came there when an answer was lost; one of another server is never taken for it.
            Err(error) if error.code() == Code::AlreadyExists && self.is_there(&*destination, &name).await? => Ok(()),
            sent => sent,
        }
    }

    /// Whether a destination has the very object that lies on this machine, as its head tells: that has a random salt.
    async fn is_there(&self, destination: &dyn Archive, name: &ObjectName) -> Result<bool, Error> {
        let local = &*self.keeper()?.backups.local;
        let size = async |archive: &dyn Archive| {
            let listed = archive.list().await?;
            Ok::<_, Error>(listed.into_iter().find(|stored| stored.name == *name).map(|stored| stored.size))
        };
        let mut fronts = Vec::new();
        for archive in [local, destination] {
            let mut front = Vec::new();
            let read = archive.get(name).await?.take(FRONT).read_to_end(&mut front).await;
            read.map_err(|error| ArchiveError::Unavailable(error.to_string()))?;
            fronts.push(front);
        }
        Ok(fronts[0] == fronts[1] && size(local).await? == size(destination).await?)
    }

    /// Refuses to go on behind a piece of another log: of the server that this one was restored from, when it went on
    /// for longer, or of anybody's making. Each destination is asked once, and again when it got new pieces.
    async fn check_history(
        &self,
        opened: &Opened,
        keeper: &Keeper,
        (at, destination): (&Name, &dyn Archive),
        (last, log_size): (Segment, u64),
    ) -> Result<(), Error> {
        let other = || {
            let text = format!(
                "the destination `{at}` has pieces of another audit log than this server's, of the time before it \
                 was restored: leave what is there, and give its backups another place"
            );
            Error::new(Code::WrongState, text)
        };
        if keeper.agreed.lock().await.get(at) == Some(&last.to) {
            return Ok(());
        }
        if last.to > log_size {
            return Err(other());
        }
        let begun = Begun::open(destination, &Object::Log(last).name()).await?;
        if begun.head.deployment != opened.deployment.id {
            return Err(other());
        }
        let key = self.key_of(&begun.head, &Known::default()).await?;
        let (mut reading, mut own, mut next) = (begun.read(&key)?, VecDeque::new(), last.from);
        while let Some(item) = reading.next().await? {
            if own.is_empty() && next < last.to {
                own.extend(self.ports.journal.read(next..last.to.min(next + ENTRIES)).await?);
            }
            match (item, own.pop_front()) {
                (Item::Entry(there), Some((index, here))) if there == here => next = index + 1,
                _ => return Err(other()),
            }
        }
        if next != last.to {
            return Err(other());
        }
        keeper.agreed.lock().await.insert(at.clone(), last.to);
        Ok(())
    }

    /// Writes entries of the log to this machine, unless they are there for another destination.
    async fn segment_to_spool(&self, keeper: &Keeper, segment: Segment, record: &BackupRecord) -> Result<(), Error> {
        let opened = self.need_open()?;
        let keyed = self.backup_key(&opened, self.now()?).await?;
        let (object, local) = (Object::Log(segment), &keeper.backups.local);
        if local.list().await?.iter().any(|stored| stored.name == object.name()) {
            return Ok(());
        }
        let (mut pipe, end) = tokio::io::duplex(PIPE);
        let name = object.name();
        let put = local.put(&name, Box::new(end), None);
        let write = async {
            let mut out = Vec::new();
            let head = head(&opened, &keyed, object, record.sequence, record.created);
            let mut writer = Writer::begin(head, &keyed.key, &self.ports.random, &mut out)?;
            let mut next = segment.from;
            while next < segment.to {
                let entries = self.ports.journal.read(next..segment.to.min(next + ENTRIES)).await?;
                next =
                    entries.last().map(|(index, _)| index + 1).ok_or_else(|| Error::internal("the log is shorter"))?;
                for (_, entry) in entries {
                    writer.entry(&entry, &mut out)?;
                }
                flush(&mut pipe, &mut out).await?;
            }
            let signer = opened.keys.signers.first().ok_or_else(|| Error::internal("no signer"))?;
            writer.finish(signer, record.created, &mut out)?;
            flush(&mut pipe, &mut out).await?;
            drop(pipe);
            Ok::<_, Error>(())
        };
        let (stored, written) = tokio::join!(put, write);
        stored?;
        if let Err(error) = written {
            local.delete(&name).await?;
            return Err(error);
        }
        Ok(())
    }

    /// Removes from a destination what the plan does not keep, and returns the numbers of what went. Of the log and the
    /// ledgers nothing is ever removed.
    pub(super) async fn prune(&self, at: &Name) -> Result<BTreeSet<u64>, Error> {
        let (opened, keeper, destination) = (self.need_open()?, self.keeper()?, self.destination(at)?);
        let known = self.filed_all::<BackupRecord>(&opened, None).await?;
        drop(opened);
        let times: HashMap<u64, UnixMillis> =
            known.iter().map(|(record, _)| (record.sequence, record.created)).collect();
        let (archives, _) = contents(&**destination).await?;
        // One that this server knows nothing of came from before a restore, or from another server: it stays.
        let dated: BTreeSet<(u64, UnixMillis)> =
            archives.iter().filter_map(|(sequence, _)| Some((*sequence, *times.get(sequence)?))).collect();
        let gone = expendable(&dated, keeper.backups.plan.keep);
        for sequence in &gone {
            destination.delete(&Object::Archive(*sequence).name()).await?;
        }
        Ok(gone.into_iter().collect())
    }

    /// Every backup with its revision, newest first.
    pub(crate) async fn backups_made(&self, opened: &Opened) -> Result<Vec<(BackupRecord, Revision)>, Error> {
        let mut all = self.filed_all::<BackupRecord>(opened, None).await?;
        all.reverse();
        Ok(all)
    }
}

/// Copies an object from this machine to a destination.
async fn send(local: &dyn Archive, destination: &dyn Archive, name: &ObjectName) -> Result<(), Error> {
    let listed = local.list().await?;
    let size = listed.iter().find(|stored| stored.name == *name).map(|stored| stored.size);
    let size = size.ok_or_else(|| Error::internal("what should be stored is not there"))?;
    destination.put(name, local.get(name).await?, Some(size)).await?;
    Ok(())
}
