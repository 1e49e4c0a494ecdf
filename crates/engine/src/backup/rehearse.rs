//! Rehearsing a restore: the newest backup into an engine over empty, private places that are thrown away afterwards
//! (requirement T8).
//!
//! Nothing of the real deployment changes. The scratch engine signs nothing: its copy of the log would otherwise be a
//! second history under the deployment's own keys. It tells nobody, answers nobody, and its roots of trust are either
//! on loan from the open server or opened by people for this alone.

use keyreeve_archive::{Archive, ReadOnly};
use keyreeve_audit::merkle::leaf_hash;
use keyreeve_audit::{Checkpoint, Frontier};
use keyreeve_crypto::{
    DeriveParams, HashAlgorithm, KeyAlgorithm, LoadedKey, Material, Message, Purpose, Random, SignatureScheme, WrapMode,
};
use keyreeve_model::backup::BackupRecord;
use keyreeve_model::record::{Table, open};
use keyreeve_model::{DeploymentRecord, KeyringId, MaterialRow, Name, StoredRow, UnixMillis};
use keyreeve_store::Piece;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::mpsc;

use super::restore::{RestoreOptions, RestoreSource};
use crate::access::AccessSnapshot;
use crate::core::{Core, Engine};
use crate::error::{Code, Error};
use crate::integrity::rows::check_row;
use crate::keys::{Hierarchy, KeyRef};
use crate::ops::cipher::open_sample;
use crate::running::system_context;
use crate::sealing::{Opened, SystemKeys};

/// What a key is tried with.
const SAMPLE: &[u8] = b"a sample of a rehearsal";

/// A backup to rehearse with, and what its own server has on record about it.
pub struct DrillSource {
    /// Where it is, by name.
    pub destination: Name,
    /// The destination, to be read.
    pub archive: Arc<dyn Archive>,
    /// What was written down when it was made.
    pub record: BackupRecord,
}

/// What a rehearsal found. All of it is as it should be: anything else is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rehearsed {
    /// The number of the backup.
    pub sequence: u64,
    /// When it was made.
    pub made: UnixMillis,
    /// Rows that the backup has (count).
    pub archived: u64,
    /// Rows that the scratch store took and gave back (count).
    pub rows: u64,
    /// Versions of keys whose material is the one that their record names (count).
    pub materials: u64,
    /// Versions of keys that were destroyed since and stayed so (count).
    pub destroyed: u64,
    /// Keys that were used: for each keyring, algorithm and purpose one (count).
    pub tried: u64,
    /// Keyrings that those are in (count).
    pub keyrings: u64,
    /// Sample ciphertexts that were opened (count).
    pub samples: u64,
    /// Entries of the audit log that the backup's checkpoint covers.
    pub log_size: u64,
    /// The root of the log there, in base64.
    pub log_root: String,
    /// Entries that came later.
    pub log_later: u64,
}

fn differs(text: String) -> Error {
    Error::new(Code::Tampered, text)
}

impl Engine {
    /// The newest backup that a destination has, at one destination after the other from drill to drill.
    ///
    /// # Errors
    /// When no backups are configured, or there is none that a destination has.
    pub async fn drill_source(&self, turn: u64) -> Result<DrillSource, Error> {
        let core = &*self.core;
        let (opened, keeper) = (core.need_open()?, core.keeper()?);
        for (record, _) in core.backups_made(&opened).await? {
            let there: Vec<_> = keeper.backups.destinations.iter().filter(|(name, _)| held(&record, name)).collect();
            let turn = usize::try_from(turn).unwrap_or_default();
            if let Some((name, archive)) = there.get(turn % there.len().max(1)) {
                let archive = Arc::new(ReadOnly::new(Arc::clone(archive)));
                return Ok(DrillSource { destination: (*name).clone(), archive, record });
            }
        }
        Err(Error::new(Code::WrongState, "no destination has a backup yet: make one with `keyreeve backup create`"))
    }

    /// Restores a backup into this engine, whose places are empty and thrown away afterwards, and looks at everything
    /// that came back. `samples` are ciphertexts (`KR1`, without context) that people made with keys of theirs.
    ///
    /// # Errors
    /// What is not as it should be, or could not be tried.
    pub async fn rehearse(
        &self,
        source: &dyn Archive,
        chosen: &RestoreSource,
        samples: &[Vec<u8>],
    ) -> Result<Rehearsed, Error> {
        let core = &*self.core;
        core.need_empty().await?;
        let survey = core.survey_backup(source, chosen.sequence(), Vec::new()).await?;
        let (log, archived) = (survey.log.clone(), survey.rows);
        let (materials, destroyed) = (survey.materials, survey.destroyed);
        let options = RestoreOptions { keep_tokens: true, ..RestoreOptions::default() };
        let reply = core.load_backup(source, survey, &options).await?;
        self.open_scratch().await?;
        let found = core.look_through().await?;
        if (found.rows, found.materials) != (reply.rows, materials) {
            return Err(differs(format!(
                "{} rows with {materials} key versions were restored, the store has {} with {}",
                reply.rows, found.rows, found.materials
            )));
        }
        core.compare_rehearsed_log(&log, reply.entries).await?;
        for sample in samples {
            open_sample(core, sample).await?;
        }
        Ok(Rehearsed {
            sequence: chosen.sequence(),
            made: chosen.made(),
            archived,
            rows: found.rows,
            materials,
            destroyed,
            tried: found.tried.len() as u64,
            keyrings: found.tried.iter().map(|(keyring, ..)| *keyring).collect::<BTreeSet<_>>().len() as u64,
            samples: samples.len() as u64,
            log_size: log.size,
            log_root: log.root.to_string(),
            log_later: reply.entries - log.size,
        })
    }

    /// Opens the scratch engine as far as keys need it: nobody signs its log, no courier runs.
    async fn open_scratch(&self) -> Result<(), Error> {
        let core = &*self.core;
        let lost = || Error::new(Code::Tampered, "the backup has no deployment");
        let record = core.ports.store.deployment().await?.ok_or_else(lost)?;
        let claimed: DeploymentRecord = serde_json::from_slice(&record.bytes).map_err(|_| lost())?;
        let secret = core.ports.roots.unwrap(&claimed.system_secret, &system_context(&claimed.id)).await?;
        let keys = Arc::new(SystemKeys::derive(&secret, &claimed.log_origin)?);
        let deployment: DeploymentRecord = open(&keys, Table::Deployment, claimed.id.as_bytes(), &record)?;
        let access =
            AccessSnapshot::load((&*core.ports.store, &keys, &core.noted), &core.compiler, core.now()?).await?;
        self.learn_epochs().await?;
        let hierarchy = Hierarchy::new(core, &keys);
        core.set_opened(Some(Arc::new(Opened::new(deployment, keys, hierarchy, access))));
        Ok(())
    }
}

fn held(record: &BackupRecord, at: &Name) -> bool {
    record.destinations.get(at).is_some_and(|placed| placed.stored.is_some() && placed.removed.is_none())
}

impl DrillSource {
    /// Compares what came back with what was written down when the backup was made.
    ///
    /// # Errors
    /// [`Code::Tampered`] says what differs.
    pub fn compare(&self, found: &Rehearsed) -> Result<(), Error> {
        let made = &self.record;
        if (made.log_size, &made.log_root) != (found.log_size, &found.log_root) {
            return Err(differs(format!(
                "the backup's log is another than this server's: {} entries with root {}, on record {} with {}",
                found.log_size, found.log_root, made.log_size, made.log_root
            )));
        }
        let materials = found.materials + found.destroyed;
        if (made.rows, made.materials) != (found.archived, materials) {
            return Err(differs(format!(
                "the backup was made of {} rows with {} key versions, {} with {materials} came back",
                made.rows, made.materials, found.archived
            )));
        }
        Ok(())
    }
}

/// What was found in the scratch store.
#[derive(Default)]
struct Found {
    rows: u64,
    materials: u64,
    /// What was used.
    tried: BTreeSet<(KeyringId, KeyAlgorithm, Purpose)>,
}

impl Core {
    /// Reads every row of the scratch store, and looks at each key's material.
    async fn look_through(&self) -> Result<Found, Error> {
        let (to, mut from) = mpsc::channel(2);
        let look = async {
            let mut found = Found::default();
            while let Some(Piece::Rows(rows)) = from.recv().await {
                for row in rows {
                    self.look_at(&mut found, row).await?;
                }
            }
            Ok::<_, Error>(found)
        };
        let (given, found) = tokio::join!(self.ports.store.snapshot(to), look);
        let found = found?;
        given?;
        Ok(found)
    }

    async fn look_at(&self, found: &mut Found, row: StoredRow) -> Result<(), Error> {
        found.rows += 1;
        let opened = self.need_open()?;
        check_row(&opened.keys, &row)?;
        match row {
            StoredRow::Material(row) => self.look_at_material(&opened, found, &row).await,
            _ => Ok(()),
        }
    }

    /// The material must be the one that the record named when it was made, and one key of each kind must work.
    async fn look_at_material(&self, opened: &Opened, found: &mut Found, row: &MaterialRow) -> Result<(), Error> {
        let orphan = || differs(format!("material of the key {} came back without the key", row.key));
        let held = self.find_key(&KeyRef::Id(row.key)).await?.ok_or_else(orphan)?;
        let key = &held.record;
        let bytes = opened.hierarchy.unwrap(&held.keyring.record, row).await?;
        let material = Material::parse(key.algorithm(), bytes)?;
        let named = key.version(row.version)?;
        if material.fingerprint()?.to_string() != named.fingerprint() {
            let (key, version) = (row.key, row.version);
            return Err(differs(format!("version {version} of the key {key} came back as another key than it was")));
        }
        found.materials += 1;
        let kind = (row.keyring, key.algorithm(), key.purpose());
        if !found.tried.contains(&kind) {
            let loaded = LoadedKey::load(&material, key.purpose())?;
            let works = try_out(&loaded, named.public_key(), &self.ports.random)?;
            if !works {
                return Err(differs(format!("the key {} came back and does not do its work", row.key)));
            }
            found.tried.insert(kind);
        }
        Ok(())
    }

    /// The scratch log, read back, must be the one that the checkpoint of the backup signs.
    async fn compare_rehearsed_log(&self, signed: &Checkpoint, entries: u64) -> Result<(), Error> {
        let (journal, mut frontier) = (&self.ports.journal, Frontier::new());
        while frontier.size() < signed.size.min(entries) {
            let read = journal.read(frontier.size()..signed.size).await?;
            if read.is_empty() {
                break;
            }
            for (_, entry) in read {
                frontier.append(leaf_hash(&entry));
            }
        }
        if frontier.size() == signed.size && frontier.root() == signed.root && journal.size() == entries {
            return Ok(());
        }
        Err(differs("the log that came back is not the one that the backup's checkpoint signs".to_owned()))
    }
}

/// Uses a key for what it is there for, against the public half that its record has.
fn try_out(key: &LoadedKey, public: Option<&str>, random: &Random) -> Result<bool, Error> {
    let same = || match (public, key.public_key()) {
        (Some(public), Some(own)) => hex::encode(own.spki()) == public,
        (None, None) => true,
        _ => false,
    };
    let hash = HashAlgorithm::Sha256;
    let works = match key.purpose() {
        Purpose::Encrypt if key.seal_overhead().is_none() => {
            let sealed = key.oaep_encrypt(random, hash, b"", SAMPLE)?;
            key.oaep_decrypt(hash, b"", &sealed)?.ct_eq(SAMPLE)
        }
        Purpose::Encrypt => key.open(b"", &key.seal(random, b"", SAMPLE)?)?.ct_eq(SAMPLE),
        Purpose::Sign => match SignatureScheme::default_for(key.algorithm()) {
            Some(scheme) => {
                let signature = key.sign(random, scheme, Message::Raw(SAMPLE))?;
                key.verify(scheme, Message::Raw(SAMPLE), &signature).is_ok()
            }
            None => false,
        },
        Purpose::Mac => key.verify_mac(SAMPLE, &key.mac(SAMPLE)?).is_ok(),
        Purpose::Derive => {
            let params = DeriveParams::Hkdf { hash, salt: b"", info: SAMPLE };
            key.derive(params, 32)?.ct_eq(key.derive(params, 32)?.expose())
        }
        Purpose::Wrap => {
            let wrapped = key.wrap_key(WrapMode::Kwp, SAMPLE)?;
            key.unwrap_key(WrapMode::Kwp, &wrapped)?.ct_eq(SAMPLE)
        }
        Purpose::Agree => match key.public_key() {
            Some(own) => !key.agree(own)?.is_empty(),
            None => false,
        },
        Purpose::Encapsulate => {
            let (ciphertext, secret) = key.encapsulate(random)?;
            key.decapsulate(&ciphertext)?.ct_eq(secret.expose())
        }
    };
    Ok(works && same())
}
