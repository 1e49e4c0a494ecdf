//! Everything that can be checked of a backup without writing anything: hashes and signatures, every row's MAC, every
//! key's material under its cut key, and the log against the checkpoint.

use keyreeve_archive::Archive;
use keyreeve_audit::merkle::leaf_hash;
use keyreeve_audit::{Checkpoint, Frontier, VerifierKey};
use keyreeve_backup::{BackupKey, Head, Item, Ledger, Object, SealedLedger, Segment};
use keyreeve_journal::Entry;
use keyreeve_model::record::{Table, open};
use keyreeve_model::{DeploymentRecord, KeyringId, MaterialRow, Name, StoredRow};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use tokio::sync::mpsc;

use super::ledgers::fetch;
use super::reading::{Begun, Known, chain, contents};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::integrity::rows::check_row;
use crate::running::system_context;
use crate::sealing::SystemKeys;

/// What a backup was found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Its number.
    pub sequence: u64,
    /// Rows of the store, each as it was sealed (count).
    pub rows: u64,
    /// Versions of keys whose material opens (count).
    pub materials: u64,
    /// Versions of keys that were destroyed since, so that nobody opens them (count).
    pub destroyed: u64,
    /// Entries of the audit log that the backup covers, found at the destination and as the checkpoint says.
    pub log_size: u64,
    /// Entries that came later, in pieces of later backups.
    pub log_later: u64,
}

/// What was learned of a backup by reading it once.
pub(super) struct Survey {
    pub(super) head: Head,
    pub(super) key: Arc<BackupKey>,
    /// What the destination's objects say without being opened.
    pub(super) known: Known,
    /// Backup keys that were opened.
    opened: tokio::sync::Mutex<HashMap<u32, Arc<BackupKey>>>,
    pub(super) deployment: DeploymentRecord,
    pub(super) keys: Arc<SystemKeys>,
    pub(super) ledgers: HashMap<Object, Ledger>,
    /// Other places that may have newer ledgers, and those of them that could not be asked.
    pub(super) others: Vec<(Name, Arc<dyn Archive>)>,
    pub(super) unasked: parking_lot::Mutex<BTreeSet<Name>>,
    /// The highest epoch that something in the backup or in a ledger names, by shard.
    pub(super) epochs: HashMap<(KeyringId, u32), u64>,
    pub(super) log: Checkpoint,
    pub(super) rows: u64,
    pub(super) materials: u64,
    pub(super) destroyed: u64,
}

impl Survey {
    pub(super) fn vkeys(&self) -> Vec<VerifierKey> {
        self.keys.signers.iter().map(|signer| signer.verifier().clone()).collect()
    }

    fn note_epoch(&mut self, keyring: KeyringId, shard: u32, epoch: u64) {
        let known = self.epochs.entry((keyring, shard)).or_default();
        *known = epoch.max(*known);
    }
}

fn bad() -> Error {
    Error::new(Code::Tampered, "the backup is not as this program writes them")
}

impl Core {
    /// Reads a backup from end to end and checks everything but the log. The root of trust must be open.
    ///
    /// Of each ledger the newest counts that the source or any of `others` has.
    pub(super) async fn survey_backup(
        &self,
        source: &dyn Archive,
        sequence: u64,
        others: Vec<(Name, Arc<dyn Archive>)>,
    ) -> Result<Survey, Error> {
        let begun = Begun::open(source, &Object::Archive(sequence).name()).await?;
        let head = begun.head.clone();
        let known = Known::at(source, &head).await?;
        let key = Arc::new(self.key_of(&head, &known).await?);
        let mut reading = begun.read(&key)?;
        let (mut found, mut log) = (None, None);
        let mut begin = Some((head, key, known));
        while let Some(item) = reading.next().await? {
            match item {
                Item::Configuration(_) => {}
                Item::Row(row) => match &mut found {
                    None => {
                        let mut survey = self.first_row(begin.take().ok_or_else(bad)?, &row).await?;
                        survey.others.clone_from(&others);
                        found = Some(survey);
                    }
                    Some(survey) => self.surveyed(survey, source, &row).await?,
                },
                Item::Checkpoint(note) => {
                    let survey: &Survey = found.as_ref().ok_or_else(bad)?;
                    let checkpoint = Checkpoint::open(note.as_bytes(), &survey.vkeys());
                    log = Some(checkpoint.map_err(|_| bad())?);
                }
                Item::Entry(_) => return Err(bad()),
            }
        }
        let mut survey = found.ok_or_else(bad)?;
        reading.manifest()?.verify(&survey.deployment.log_origin, &survey.vkeys())?;
        survey.log = log.filter(|log: &Checkpoint| log.origin == survey.deployment.log_origin).ok_or_else(bad)?;
        Ok(survey)
    }

    /// The deployment's row comes first: it has what all other rows are checked with.
    async fn first_row(
        &self,
        (head, key, known): (Head, Arc<BackupKey>, Known),
        row: &StoredRow,
    ) -> Result<Survey, Error> {
        let StoredRow::Deployment(record) = row else { return Err(bad()) };
        let claimed: DeploymentRecord = serde_json::from_slice(&record.bytes).map_err(|_| bad())?;
        let keys = self.keys_of(&claimed).await?;
        let deployment: DeploymentRecord = open(&keys, Table::Deployment, claimed.id.as_bytes(), record)?;
        if deployment.id != head.deployment {
            return Err(bad());
        }
        let opened = tokio::sync::Mutex::new(HashMap::from([(head.key, Arc::clone(&key))]));
        Ok(Survey {
            head,
            key,
            known,
            opened,
            log: Checkpoint::new(&deployment.log_origin, 0, keyreeve_audit::merkle::empty_root()),
            deployment,
            keys,
            ledgers: HashMap::new(),
            others: Vec::new(),
            unasked: parking_lot::Mutex::default(),
            epochs: HashMap::new(),
            rows: 1,
            materials: 0,
            destroyed: 0,
        })
    }

    /// What the rows of a deployment are checked with. A server that is open knows its own, whatever root of trust its
    /// secret was under when the backup was made.
    async fn keys_of(&self, claimed: &DeploymentRecord) -> Result<Arc<SystemKeys>, Error> {
        if let Some(opened) = self.opened().filter(|opened| opened.deployment.id == claimed.id) {
            return Ok(Arc::clone(&opened.keys));
        }
        let secret = self.ports.roots.unwrap(&claimed.system_secret, &system_context(&claimed.id)).await?;
        Ok(Arc::new(SystemKeys::derive(&secret, &claimed.log_origin)?))
    }

    async fn surveyed(&self, survey: &mut Survey, source: &dyn Archive, row: &StoredRow) -> Result<(), Error> {
        check_row(&survey.keys, row)?;
        survey.rows += 1;
        match row {
            StoredRow::Deployment(_) => return Err(bad()),
            StoredRow::Destruction(row) => survey.note_epoch(row.keyring, row.shard, row.epoch),
            StoredRow::Material(row) => {
                survey.note_epoch(row.keyring, row.shard, row.epoch);
                self.survey_material(survey, source, row).await?;
            }
            _ => {}
        }
        Ok(())
    }

    async fn survey_material(&self, survey: &mut Survey, source: &dyn Archive, row: &MaterialRow) -> Result<(), Error> {
        let object = Object::Ledger { keyring: row.keyring, shard: row.shard };
        if !survey.ledgers.contains_key(&object) {
            let ledger = self.ledger_for(survey, source, object).await?;
            let epochs = ledger.tombstones().map(|(_, tombstone)| tombstone.destruction.epoch).max();
            survey.note_epoch(row.keyring, row.shard, epochs.unwrap_or(0).max(ledger.last_ended()));
            survey.ledgers.insert(object, ledger);
        }
        let ledger = survey.ledgers.get(&object).ok_or_else(bad)?;
        if ledger.open(row)?.is_some() {
            survey.materials += 1;
            return Ok(());
        }
        if ledger.is_ended(row) {
            survey.destroyed += 1;
            return Ok(());
        }
        match ledger.tombstone(&row.key) {
            Some(tombstone) => {
                check_row(&survey.keys, &StoredRow::Key(tombstone.key.clone()))?;
                check_row(&survey.keys, &StoredRow::Destruction(tombstone.destruction.clone()))?;
                survey.destroyed += 1;
                Ok(())
            }
            None => {
                let text = format!(
                    "the ledger `{}` knows nothing of the key {}: it is older than the backup. Take the ledger from \
                     another destination",
                    object.name(),
                    row.key
                );
                Err(Error::new(Code::WrongState, text))
            }
        }
    }

    async fn ledger_for(&self, survey: &Survey, source: &dyn Archive, object: Object) -> Result<Ledger, Error> {
        let mut newest = match fetch(source, object).await? {
            Some(sealed) if sealed.head().deployment != survey.deployment.id => return Err(bad()),
            Some(sealed) => {
                let key = self.survey_key(survey, sealed.head()).await?;
                Some(sealed.open(&key)?)
            }
            None => None,
        };
        for (name, archive) in &survey.others {
            let sealed = match fetch(&**archive, object).await {
                Ok(Some(sealed)) if sealed.head().deployment == survey.deployment.id => sealed,
                Ok(_) => continue,
                Err(error) => {
                    tracing::warn!(destination = %name, %error, "it was not asked for newer ledgers");
                    survey.unasked.lock().insert(name.clone());
                    continue;
                }
            };
            if newest.as_ref().is_some_and(|known| known.revision() >= sealed.head().sequence) {
                continue;
            }
            newest = Some(self.newer_ledger(survey, (name, &sealed), newest.as_ref()).await?);
        }
        newest.ok_or_else(|| {
            let text = format!(
                "the destination lacks the ledger `{}`, without which nobody opens the keys of that shard: take it \
                 from another destination, or from the directory `backup` of the lost server",
                object.name()
            );
            Error::new(Code::WrongState, text)
        })
    }

    /// A ledger of another place, which says that it is newer than what is known.
    async fn newer_ledger(
        &self,
        survey: &Survey,
        (name, sealed): (&Name, &SealedLedger),
        known: Option<&Ledger>,
    ) -> Result<Ledger, Error> {
        let refuse = |what: &str| {
            let ledger = sealed.head().name.clone();
            let text = format!(
                "`{ledger}` at the destination `{name}` {what}: keys may have been destroyed that the others still \
                 have. Take `{name}` out of the configuration to restore without it"
            );
            Error::new(Code::WrongState, text)
        };
        let opened = match self.survey_key(survey, sealed.head()).await {
            Ok(key) => sealed.open(&key).map_err(Error::from),
            Err(error) => Err(error),
        };
        let ledger = opened.map_err(|error| refuse("is newer and does not open").because(error))?;
        match known {
            Some(known) if !known.is_same(&ledger) => Err(refuse("is another one, and newer")),
            _ => Ok(ledger),
        }
    }

    /// The key of another object of the same deployment. Each version is asked for once.
    pub(super) async fn survey_key(&self, survey: &Survey, head: &Head) -> Result<Arc<BackupKey>, Error> {
        let mut opened = survey.opened.lock().await;
        if let Some(key) = opened.get(&head.key) {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(self.key_of(head, &survey.known).await?);
        opened.insert(head.key, Arc::clone(&key));
        Ok(key)
    }

    /// Reads the log's pieces, checks them against the checkpoint of the backup, and gives each entry to `to`, in
    /// order. Pieces that came after the backup are read too. Returns how many entries there are.
    pub(super) async fn survey_log(
        &self,
        survey: &Survey,
        source: &dyn Archive,
        to: Option<&mpsc::Sender<Entry>>,
    ) -> Result<u64, Error> {
        let (_, segments) = contents(source).await?;
        let (mut frontier, vkeys) = (Frontier::new(), survey.vkeys());
        for segment in chain(segments) {
            self.read_segment(survey, source, (segment, &vkeys), &mut frontier, to).await?;
        }
        if frontier.size() < survey.log.size {
            let text = format!(
                "the audit log at this destination ends at entry {}, the backup covers {}: pieces `log-…` are missing",
                frontier.size(),
                survey.log.size
            );
            return Err(Error::new(Code::Tampered, text));
        }
        Ok(frontier.size())
    }

    async fn read_segment(
        &self,
        survey: &Survey,
        source: &dyn Archive,
        (segment, vkeys): (Segment, &[VerifierKey]),
        frontier: &mut Frontier,
        to: Option<&mpsc::Sender<Entry>>,
    ) -> Result<(), Error> {
        let begun = Begun::open(source, &Object::Log(segment).name()).await?;
        if begun.head.deployment != survey.deployment.id {
            return Err(bad());
        }
        let key = self.survey_key(survey, &begun.head).await?;
        let mut reading = begun.read(&key)?;
        let mut index = segment.from;
        while let Some(item) = reading.next().await? {
            let Item::Entry(entry) = item else { return Err(bad()) };
            // Two pieces may have some entries both.
            if index == frontier.size() {
                frontier.append(leaf_hash(&entry));
                if frontier.size() == survey.log.size && frontier.root() != survey.log.root {
                    let text = "the audit log at this destination is not the one that the backup's checkpoint signs";
                    return Err(Error::new(Code::Tampered, text));
                }
                if let Some(to) = to {
                    let entry = Entry::new(entry).map_err(|_| bad())?;
                    to.send(entry).await.map_err(|_| Error::internal("nobody takes the log"))?;
                }
            }
            index += 1;
        }
        reading.manifest()?.verify(&survey.deployment.log_origin, vkeys)?;
        if index == segment.to { Ok(()) } else { Err(bad()) }
    }

    /// Checks everything about a backup at a destination.
    pub(crate) async fn verify_backup(&self, at: &Name, sequence: u64) -> Result<Verified, Error> {
        let destination = Arc::clone(self.destination(at)?);
        let survey = self.survey_backup(&*destination, sequence, Vec::new()).await?;
        let entries = self.survey_log(&survey, &*destination, None).await?;
        Ok(Verified {
            sequence,
            rows: survey.rows,
            materials: survey.materials,
            destroyed: survey.destroyed,
            log_size: survey.log.size,
            log_later: entries - survey.log.size,
        })
    }
}
