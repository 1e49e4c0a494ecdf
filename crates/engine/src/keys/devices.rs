//! Keys inside devices of roots of trust: made there, opened there, erased there (requirements T1, K18).
//!
//! A device and the store cannot change together. So a key is written down before it is made, in a transaction of its
//! own, and whatever stores it takes that note away; what nobody took away was lost on the way and is erased
//! (`Engine::look_after_devices`). Likewise what is to be erased is filed with the change that ends the key.

use keyreeve_crypto::{KeyAlgorithm, LoadedKey, PublicKey, Purpose};
use keyreeve_model::device::{DeviceUse, DeviceWork};
use keyreeve_model::filed::{file, unfile};
use keyreeve_model::record::{Revision, Table, open};
use keyreeve_model::{Change, InDevice, KeyId, KeyRecord, Name, RootUse, UnixMillis, VersionRecord};
use keyreeve_root::{KeyDevice, RootError};
use keyreeve_store::{KeyFilter, Page};
use std::sync::Arc;
use std::time::Duration;

use super::KeyRef;
use crate::commit::Durable;
use crate::core::Core;
use crate::error::{Code, Error};
use crate::roots::Roots;
use crate::sealing::Opened;

/// Calls to devices that may wait for their answer at a time (count): each keeps a thread.
pub(crate) const ASKING_AT_ONCE: usize = 64;
/// How long a call waits for its turn.
const TURN: Duration = Duration::from_secs(30);
/// Records looked through at a time (count).
const RECORDS: u32 = 200;

/// A key that a device has just made and that is not stored yet.
pub(crate) struct MadeInDevice {
    pub(crate) place: InDevice,
    pub(crate) public: Option<PublicKey>,
    /// Identifies it without revealing it.
    pub(crate) fingerprint: String,
    /// The device, for the record of where the key came from.
    pub(crate) module: String,
    /// Belongs into the transaction that stores the key.
    pub(crate) settle: Change,
}

fn busy() -> Error {
    Error::new(Code::RootUnavailable, "the devices that hold keys are busy: ask again in a moment")
}

fn gone(root: &Name) -> Error {
    let text = format!(
        "the device of the root of trust `{root}` does not have this key: it was erased there, or this is another \
         device; what the key protected opens nowhere else"
    );
    Error::new(Code::Tampered, text)
}

/// The public half of a version, where it has one.
pub(crate) fn public_half(algorithm: KeyAlgorithm, version: &VersionRecord) -> Result<Option<PublicKey>, Error> {
    let Some(half) = version.public_key() else { return Ok(None) };
    let der = hex::decode(half).map_err(Error::internal)?;
    Ok(Some(PublicKey::from_spki(algorithm, &der)?))
}

impl Roots {
    /// Runs work that waits for a device on a thread that may wait; so many at a time, so that a device that hangs
    /// keeps no more threads than that from other work.
    pub(crate) async fn ask<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let turn = tokio::time::timeout(TURN, Arc::clone(&self.asking).acquire_owned());
        let turn = turn.await.map_err(|_| busy())?.map_err(Error::internal)?;
        let worked = tokio::task::spawn_blocking(move || {
            // Given back when the device has answered, not when somebody stopped waiting.
            let _turn = turn;
            work()
        });
        worked.await.map_err(Error::internal)
    }

    fn device(&self, root: &Name) -> Result<Arc<dyn KeyDevice>, Error> {
        let device = self.need(root).map(|root| root.device()).map_err(|error| {
            let text = format!("the key is inside the device of the root of trust `{root}` and nowhere else: {error}");
            Error::new(Code::RootUnavailable, text)
        })?;
        device.ok_or_else(|| {
            let text = format!("the key is inside a device, and the root of trust `{root}` of this server has none");
            Error::new(Code::RootUnavailable, text)
        })
    }

    /// The one device among roots of trust that makes keys of a kind.
    pub(crate) fn device_for(
        &self,
        under: &RootUse,
        algorithm: KeyAlgorithm,
        purpose: Purpose,
    ) -> Result<(Name, Arc<dyn KeyDevice>), Error> {
        let devices = under.roots().iter().filter_map(|name| Some((name.clone(), self.get(name)?.device()?)));
        let devices: Vec<_> = devices.collect();
        let mut able = devices.iter().filter(|(_, device)| device.supports(algorithm, purpose));
        match (able.next(), able.next(), devices.is_empty()) {
            (Some(one), None, _) => Ok(one.clone()),
            (Some(_), Some(_), _) => Err(Error::invalid(format!(
                "a key inside a device is in one device, and several of the keyring's roots of trust ({under}) have \
                 one: use a keyring under one of them"
            ))),
            (None, _, true) => Err(Error::new(
                Code::Custody,
                format!(
                    "keys inside a device need a root of trust with one, a PKCS #11 token, and the keyring's ({under}) \
                     has none: use a keyring under such a root"
                ),
            )),
            (None, _, false) => Err(Error::new(
                Code::AlgorithmNotAllowed,
                format!(
                    "the device of the keyring's root of trust ({under}) makes no `{algorithm}` keys for `{purpose}`: \
                     `keyreeve root check` lists what it makes"
                ),
            )),
        }
    }

    /// A key inside a device, ready for use.
    pub(crate) async fn open_key(
        &self,
        place: &InDevice,
        (algorithm, purpose): (KeyAlgorithm, Purpose),
        public: Option<PublicKey>,
    ) -> Result<Arc<LoadedKey>, Error> {
        let device = self.device(&place.root)?;
        let reference = place.reference().ok_or_else(|| gone(&place.root))?;
        let key = device.open(&reference, algorithm, purpose).await.map_err(|error| in_device(&place.root, error))?;
        let loaded = self.ask(move || LoadedKey::remote(key, algorithm, purpose, public)).await?;
        Ok(Arc::new(loaded?))
    }

    /// Erases a key inside a device; one that is not there is no error.
    async fn erase_key(&self, place: &InDevice) -> Result<(), Error> {
        let device = self.device(&place.root)?;
        let reference = place.reference().ok_or_else(|| gone(&place.root))?;
        device.erase(&reference).await.map_err(|error| in_device(&place.root, error))
    }
}

fn in_device(root: &Name, error: RootError) -> Error {
    match error {
        RootError::Missing | RootError::Unwrap => gone(root).because(error),
        RootError::Unavailable(_) => {
            let text = format!("the device of the root of trust `{root}` does not answer, and the key is inside it");
            Error::new(Code::RootUnavailable, text).because(error)
        }
        other => other.into(),
    }
}

impl Core {
    /// Makes a key inside the device of a keyring's roots of trust. The caller holds `rooting` until it is stored.
    pub(crate) async fn make_in_device(
        &self,
        opened: &Opened,
        under: &RootUse,
        (algorithm, purpose): (KeyAlgorithm, Purpose),
        of: DeviceUse,
    ) -> Result<MadeInDevice, Error> {
        let roots = &self.ports.roots;
        let (root, device) = roots.device_for(under, algorithm, purpose)?;
        let reference = device.draw(algorithm, purpose)?;
        let place = InDevice::new(root.clone(), &reference);
        let work = DeviceWork::making(place.clone(), of, self.now()?);
        self.commit(durable("device-key", vec![file(&opened.keys, Revision::FIRST, &work)], opened)).await?;
        let label = match of {
            DeviceUse::Key(key) => format!("keyreeve {key}"),
            DeviceUse::Kek(keyring) => format!("keyreeve KEK of {keyring}"),
        };
        let made = device.generate(&reference, algorithm, purpose, &label).await;
        let public = made.map_err(|error| in_device(&root, error))?;
        let loaded = roots.open_key(&place, (algorithm, purpose), public.clone()).await?;
        let fingerprint = roots.ask(move || loaded.remote_fingerprint()).await??.to_string();
        let module = format!("device of the root of trust `{root}`: {}", device.describe());
        Ok(MadeInDevice { place, public, fingerprint, module, settle: unfile(Revision::FIRST, &work) })
    }

    /// A version inside a device, ready for use.
    pub(crate) async fn open_version(&self, key: &KeyRecord, version: u32) -> Result<Option<Arc<LoadedKey>>, Error> {
        let stored = key.version(version)?;
        let Some(place) = stored.device() else { return Ok(None) };
        let public = public_half(key.algorithm(), stored)?;
        self.ports.roots.open_key(place, (key.algorithm(), key.purpose()), public).await.map(Some)
    }

    /// The keys that have a version inside the device of a root of trust, and are not destroyed.
    pub(crate) async fn keys_in_device(&self, root: &Name) -> Result<Vec<KeyId>, Error> {
        let (opened, now) = (self.need_open()?, self.now()?);
        let (mut inside, mut after) = (Vec::new(), None);
        loop {
            let rows = self.ports.store.keys(&KeyFilter::default(), Page { after, limit: RECORDS }).await?;
            let Some(last) = rows.last() else { return Ok(inside) };
            after = Some(last.id);
            for row in &rows {
                let record: KeyRecord = open(&opened.keys, Table::Keys, row.id.as_bytes(), &row.record)?;
                if !record.state(now).is_destroyed() && record.devices().any(|place| place.root == *root) {
                    inside.push(record.id());
                }
            }
        }
    }

    /// What files the erasure of all versions of a key inside devices.
    pub(crate) fn erasures_of(&self, opened: &Opened, key: &KeyRecord, now: UnixMillis) -> Vec<Change> {
        let work = |place: &InDevice| DeviceWork::erasing(place.clone(), DeviceUse::Key(key.id()), now);
        key.devices().map(|place| file(&opened.keys, Revision::FIRST, &work(place))).collect()
    }

    /// Whether something that is filed to be erased is in use after all: never, and erasing is final.
    async fn is_in_use(&self, work: &DeviceWork) -> Result<bool, Error> {
        let DeviceUse::Key(key) = work.of else { return Ok(false) };
        let found = self.find_key(&KeyRef::Id(key)).await?;
        let lives =
            |key: &KeyRecord| !key.state(work.since).is_destroyed() && key.devices().any(|at| *at == work.place);
        Ok(found.is_some_and(|key| lives(&key.record)))
    }

    /// Erases one key in its device.
    pub(crate) async fn erase_in_device(&self, work: &DeviceWork) -> Result<(), Error> {
        if self.is_in_use(work).await? {
            tracing::error!(root = %work.place.root, of = ?work.of, "a key in use was about to be erased");
            return Err(Error::internal("a key in use was about to be erased in its device"));
        }
        self.ports.roots.erase_key(&work.place).await
    }
}

/// Changes that no operation made.
pub(crate) fn durable(name: &'static str, changes: Vec<Change>, opened: &Opened) -> Durable {
    Durable { name, changes, entry: None, sealer: Some(Arc::clone(&opened.keys)) }
}
