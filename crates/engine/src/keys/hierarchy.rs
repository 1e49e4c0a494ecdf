//! The wrapping chain: root of trust → KEK of the keyring → epoch key of the shard → material of a key version.
//!
//! Opened KEKs and epoch keys are kept while the server is open. Only this file turns wrapped bytes into keys and back;
//! the system secret, at the side of this chain, is wrapped where the deployment is made (`ops/system.rs`) and
//! unwrapped where it is opened (`running.rs`).

use keyreeve_crypto::{KeyAlgorithm, LoadedKey, Material, Purpose, Random, digest::sha256};
use keyreeve_epochs::{EpochId, EpochVault};
use keyreeve_model::keyring::KekVersion;
use keyreeve_model::metadata::Name;
use keyreeve_model::{KeyId, KeyRecord, KeyringId, KeyringRecord, MaterialRow, RootUse, UnixMillis};
use keyreeve_secret::SecretBytes;
use keyreeve_store::Store;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::RwLock;

use super::HeldKeyring;
use crate::cache::RowCache;
use crate::core::Core;
use crate::error::{Code, Error};
use crate::roots::Roots;
use crate::sealing::SystemKeys;

const KEK_ALGORITHM: KeyAlgorithm = KeyAlgorithm::Xaes256Gcm;
/// Opened epoch keys kept in memory (count): 1,024 shards are 262,144 keys.
const EPOCHS_KEPT: usize = 1024;
/// Opened KEKs kept in memory (count).
const KEKS_KEPT: usize = 256;

/// Opens and wraps key material.
pub(crate) struct Hierarchy {
    roots: Arc<Roots>,
    store: Arc<dyn Store>,
    vault: Arc<dyn EpochVault>,
    random: Arc<Random>,
    sealer: Arc<SystemKeys>,
    keks: Cache<(KeyringId, u32), Arc<LoadedKey>>,
    epochs: RowCache<EpochId, Arc<LoadedKey>>,
    kek_locks: Arc<KekLocks>,
}

/// Locks by keyring: shared by whoever wraps something under the newest KEK, exclusive for taking older ones away. They
/// outlive closing and opening the server, as whoever holds one may.
#[derive(Default)]
pub(crate) struct KekLocks(Mutex<HashMap<KeyringId, Arc<RwLock<()>>>>);

/// SHA-256, in hexadecimal, of wrapped material, for destruction records.
pub(crate) fn wrapped_digest(row: &MaterialRow) -> String {
    hex::encode(sha256(&row.wrapped))
}

fn kek_context(keyring: KeyringId, version: u32) -> Vec<u8> {
    [b"keyreeve/kek/1".as_slice(), keyring.as_bytes(), &version.to_be_bytes()].concat()
}

fn epoch_context(id: EpochId) -> Vec<u8> {
    [b"keyreeve/epoch/1".as_slice(), id.keyring.as_bytes(), &id.shard.to_be_bytes(), &id.epoch.to_be_bytes()].concat()
}

/// A new KEK for a keyring, wrapped by roots of trust.
pub(crate) async fn new_kek(
    core: &Core,
    (keyring, version): (KeyringId, u32),
    under: &RootUse,
    by: &Name,
    now: UnixMillis,
) -> Result<KekVersion, Error> {
    let random = &core.ports.random;
    let material = Material::generate(KEK_ALGORITHM, random)?;
    let context = kek_context(keyring, version);
    let wrapped = core.ports.roots.wrap(under, &context, &material.serialize(), random).await?;
    Ok(KekVersion { version, created: now, by: by.clone(), wrapped })
}

fn altered() -> Error {
    Error::new(Code::Tampered, "stored key material was altered or moved outside Keyreeve: an operator must look")
}

impl Hierarchy {
    pub(crate) fn new(core: &Core, sealer: &Arc<SystemKeys>) -> Self {
        let ports = &core.ports;
        Self {
            roots: Arc::clone(&ports.roots),
            store: Arc::clone(&ports.store),
            vault: Arc::clone(&ports.vault),
            random: Arc::clone(&ports.random),
            sealer: Arc::clone(sealer),
            keks: Cache::new(KEKS_KEPT),
            epochs: RowCache::new(EPOCHS_KEPT),
            kek_locks: Arc::clone(&core.kek_locks),
        }
    }

    /// The lock of a keyring's KEKs.
    pub(crate) fn kek_lock(&self, keyring: KeyringId) -> Arc<RwLock<()>> {
        Arc::clone(self.kek_locks.0.lock().entry(keyring).or_default())
    }

    /// A keyring as it is stored now: the one that came with a key may be older than its newest KEK.
    async fn stored(&self, keyring: KeyringId) -> Result<KeyringRecord, Error> {
        let row = self.store.keyring(keyring).await?.filter(|row| row.id == keyring).ok_or_else(altered)?;
        Ok(HeldKeyring::open(&self.sealer, &row)?.record)
    }

    async fn kek(&self, keyring: &KeyringRecord, version: u32) -> Result<Arc<LoadedKey>, Error> {
        let of = |record: &KeyringRecord| record.keks.iter().find(|kek| kek.version == version).cloned();
        let stored = match of(keyring) {
            Some(kek) => kek,
            // It was made after the record was read.
            None => of(&self.stored(keyring.id).await?).ok_or_else(altered)?,
        };
        if let Some(kek) = self.keks.get(&(keyring.id, version)) {
            self.roots.still_good(&stored.wrapped)?;
            return Ok(kek);
        }
        let bytes = self.roots.unwrap(&stored.wrapped, &kek_context(keyring.id, version)).await?;
        let kek = load(KEK_ALGORITHM, Purpose::Encrypt, bytes)?;
        self.keks.insert((keyring.id, version), Arc::clone(&kek));
        Ok(kek)
    }

    /// Forgets the KEKs of a keyring; they are unwrapped again when they are needed and still there.
    pub(crate) fn forget_keks(&self, keyring: KeyringId) {
        self.keks.retain(|(of, _), _| *of != keyring);
    }

    /// Whether an epoch is under a version of its keyring's KEK; one that is gone is under any.
    pub(crate) async fn is_under(&self, id: EpochId, version: u32) -> Result<bool, Error> {
        let Some(wrapped) = self.vault.get(id).await? else { return Ok(true) };
        let (under, _) = wrapped.split_first_chunk::<4>().ok_or_else(altered)?;
        Ok(u32::from_be_bytes(*under) == version)
    }

    /// Brings an epoch under a version of its keyring's KEK: the same epoch key, so that nothing beneath it changes.
    /// Whoever reads it meanwhile finds it under one or the other, and both are there. An epoch that is erased
    /// meanwhile stays erased.
    pub(crate) async fn rewrap_epoch(&self, keyring: &KeyringRecord, id: EpochId, version: u32) -> Result<(), Error> {
        let Some(wrapped) = self.vault.get(id).await? else { return Ok(()) };
        let (under, sealed) = wrapped.split_first_chunk::<4>().ok_or_else(altered)?;
        let under = u32::from_be_bytes(*under);
        if under == version {
            return Ok(());
        }
        let (from, to) = (self.kek(keyring, under).await?, self.kek(keyring, version).await?);
        let key = from.open(&epoch_context(id), sealed).map_err(|_| altered())?;
        self.vault.replace(id, &self.under(version, &to, id, &key)?).await?;
        Ok(())
    }

    /// Vault form: 4 bytes KEK version, big-endian, then what the KEK's AEAD returned.
    fn under(&self, version: u32, kek: &LoadedKey, id: EpochId, key: &SecretBytes) -> Result<Vec<u8>, Error> {
        let mut wrapped = version.to_be_bytes().to_vec();
        wrapped.extend(kek.seal(&self.random, &epoch_context(id), key.expose())?);
        Ok(wrapped)
    }

    /// Makes the key of an epoch and puts it into the vault, wrapped by the keyring's newest KEK. To its end, also when
    /// whoever asked goes away: what is put into the vault after the locks were given back would be under a KEK that
    /// was taken away meanwhile. What is `held` is given back then.
    pub(crate) async fn make_epoch(
        self: &Arc<Self>,
        (keyring, shard, epoch): (KeyringId, u32, u64),
        held: impl Send + 'static,
    ) -> Result<EpochId, Error> {
        let this = Arc::clone(self);
        let made = tokio::spawn(async move {
            // No KEK is taken away between looking which one is the newest and using it.
            let lock = this.kek_lock(keyring);
            let _shared = lock.read().await;
            let stored = this.stored(keyring).await?;
            let made = this.make_epoch_of(&stored, shard, epoch).await;
            drop(held);
            made
        });
        made.await.map_err(Error::internal)?
    }

    /// Whether an epoch in the vault opens; what does not takes nothing new.
    pub(crate) async fn opens(&self, keyring: &KeyringRecord, id: EpochId) -> Result<bool, Error> {
        match self.epoch(keyring, id).await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Code::Tampered => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The same for a keyring that nobody else changes, or that is not stored yet.
    pub(crate) async fn make_epoch_of(
        &self,
        keyring: &KeyringRecord,
        shard: u32,
        epoch: u64,
    ) -> Result<EpochId, Error> {
        let id = EpochId { keyring: keyring.id, shard, epoch };
        let version = keyring.current_kek().ok_or_else(altered)?.version;
        let kek = self.kek(keyring, version).await?;
        let material = Material::generate(KEK_ALGORITHM, &self.random)?;
        self.vault.put(id, &self.under(version, &kek, id, &material.serialize())?).await?;
        Ok(id)
    }

    /// The key of an epoch.
    async fn epoch(&self, keyring: &KeyringRecord, id: EpochId) -> Result<Arc<LoadedKey>, Error> {
        self.still_good(keyring)?;
        let missing = || {
            Error::new(Code::Tampered, "the epoch key of this key is not in the epoch vault: see docs/operations.md")
        };
        self.epochs.get_or_load(&id, self.open_epoch(keyring, id)).await?.ok_or_else(missing)
    }

    async fn open_epoch(&self, keyring: &KeyringRecord, id: EpochId) -> Result<Option<Arc<LoadedKey>>, Error> {
        let Some(wrapped) = self.vault.get(id).await? else { return Ok(None) };
        let (version, sealed) = wrapped.split_first_chunk::<4>().ok_or_else(altered)?;
        let kek = self.kek(keyring, u32::from_be_bytes(*version)).await?;
        let bytes = kek.open(&epoch_context(id), sealed).map_err(|_| altered())?;
        load(KEK_ALGORITHM, Purpose::Encrypt, bytes).map(Some)
    }

    /// Wraps the material of a key version under an epoch.
    pub(crate) async fn wrap(
        &self,
        keyring: &KeyringRecord,
        epoch: EpochId,
        (key, version): (KeyId, u32),
        material: &SecretBytes,
    ) -> Result<MaterialRow, Error> {
        let loaded = self.epoch(keyring, epoch).await?;
        let aad = MaterialRow::associated_data(key, version, keyring.id, epoch.shard, epoch.epoch);
        let wrapped = loaded.seal(&self.random, &aad, material.expose())?;
        Ok(MaterialRow { key, version, keyring: keyring.id, shard: epoch.shard, epoch: epoch.epoch, wrapped })
    }

    /// Refuses a keyring whose roots of trust were not heard from within their bound, where they have one.
    pub(crate) fn still_good(&self, keyring: &KeyringRecord) -> Result<(), Error> {
        keyring.current_kek().map_or(Ok(()), |kek| self.roots.still_good(&kek.wrapped))
    }

    /// Puts a secret beside the material of a shard, under one of its epochs: it cannot be opened for longer than that
    /// material.
    pub(crate) async fn seal_beside(
        &self,
        keyring: &KeyringRecord,
        epoch: EpochId,
        associated_data: &[u8],
        secret: &SecretBytes,
    ) -> Result<Vec<u8>, Error> {
        Ok(self.epoch(keyring, epoch).await?.seal(&self.random, associated_data, secret.expose())?)
    }

    /// Opens what [`Hierarchy::seal_beside`] made. Nothing if the epoch is gone.
    pub(crate) async fn open_beside(
        &self,
        keyring: &KeyringRecord,
        epoch: EpochId,
        associated_data: &[u8],
        sealed: &[u8],
    ) -> Result<Option<SecretBytes>, Error> {
        self.still_good(keyring)?;
        let Some(key) = self.epochs.get_or_load(&epoch, self.open_epoch(keyring, epoch)).await? else {
            return Ok(None);
        };
        key.open(associated_data, sealed).map(Some).map_err(|_| altered())
    }

    /// The material of a row, in serialised form.
    pub(crate) async fn unwrap(&self, keyring: &KeyringRecord, row: &MaterialRow) -> Result<SecretBytes, Error> {
        let id = EpochId { keyring: row.keyring, shard: row.shard, epoch: row.epoch };
        let epoch = self.epoch(keyring, id).await?;
        let aad = MaterialRow::associated_data(row.key, row.version, keyring.id, row.shard, row.epoch);
        epoch.open(&aad, &row.wrapped).map_err(|_| altered())
    }

    /// A key version ready for use.
    pub(crate) async fn load(
        &self,
        keyring: &KeyringRecord,
        key: &KeyRecord,
        row: &MaterialRow,
    ) -> Result<Arc<LoadedKey>, Error> {
        let bytes = self.unwrap(keyring, row).await?;
        load(key.algorithm(), key.purpose(), bytes)
    }

    /// Erases an epoch from vault and memory.
    pub(crate) async fn erase(&self, id: EpochId) -> Result<(), Error> {
        self.epochs.changing(&id);
        let erased = self.vault.erase(id).await;
        // Again: who was reading meanwhile must not keep what is gone.
        self.epochs.changing(&id);
        Ok(erased?)
    }

    /// True while the key of an epoch is in memory.
    pub(crate) async fn holds(&self, id: EpochId) -> bool {
        let absent = async { Ok::<_, std::convert::Infallible>(None) };
        self.epochs.get_or_load(&id, absent).await.is_ok_and(|held| held.is_some())
    }

    /// Wipes every key from memory.
    pub(crate) fn forget(&self) {
        self.keks.clear();
        self.epochs.clear();
    }
}

fn load(algorithm: KeyAlgorithm, purpose: Purpose, bytes: SecretBytes) -> Result<Arc<LoadedKey>, Error> {
    let material = Material::parse(algorithm, bytes)?;
    Ok(Arc::new(LoadedKey::load(&material, purpose)?))
}
