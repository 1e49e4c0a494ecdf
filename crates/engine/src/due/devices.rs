//! Keys in devices of roots of trust that no record has any more, or never had: erased there.

use keyreeve_model::KeyId;
use keyreeve_model::device::{DeviceTask, DeviceUse, DeviceWork};
use keyreeve_model::filed::{file, unfile};

use crate::core::Engine;
use crate::error::Error;
use crate::keys::{KeyRef, durable};

/// Keys in devices looked after at one tick (count).
const AT_ONCE: u32 = 100;

impl Engine {
    /// Erases in devices what is filed to be of one key; then shows that it is gone, if the key is destroyed.
    pub(crate) async fn erase_in_devices(&self, of: DeviceUse) -> Result<(), Error> {
        let core = &*self.core;
        let (opened, now) = (core.need_open()?, core.now()?);
        let parent = match of {
            DeviceUse::Key(key) => key.to_string(),
            DeviceUse::Kek(keyring) => keyring.to_string(),
        };
        let (mut changes, mut trouble) = (Vec::new(), None);
        for (work, revision) in core.filed_all::<DeviceWork>(&opened, Some(&parent)).await? {
            if work.task == DeviceTask::Making {
                continue;
            }
            match core.erase_in_device(&work).await {
                Ok(()) => changes.push(unfile(revision, &work)),
                Err(error) => {
                    tracing::warn!(root = %work.place.root, of = ?work.of, %error, "a key is still in its device");
                    changes.push(file(&opened.keys, revision.next(), &work.failed(now)));
                    trouble = Some(error);
                }
            }
        }
        // Before it is noted as done: a crash in between only does it again.
        if let (None, DeviceUse::Key(key), false) = (&trouble, of, changes.is_empty()) {
            self.verify_if_destroyed(key).await?;
        }
        core.commit(durable("device-erased", changes, &opened)).await?;
        trouble.map_or(Ok(()), Err)
    }

    async fn verify_if_destroyed(&self, key: KeyId) -> Result<(), Error> {
        let found = self.core.find_key(&KeyRef::Id(key)).await?;
        let now = self.core.now()?;
        if found.is_some_and(|key| key.record.state(now).is_destroyed()) {
            return self.verify_destruction(key).await;
        }
        Ok(())
    }

    /// Erases in devices what is due: what was destroyed and is still there, and what was begun and never stored.
    pub(crate) async fn look_after_devices(&self) -> Result<(), Error> {
        let core = &*self.core;
        let (now, opened) = (core.now()?, core.need_open()?);
        let mut last = Ok(());
        for (work, revision) in core.filed_due::<DeviceWork>(&opened, now, AT_ONCE).await? {
            if work.task == DeviceTask::Making {
                // From here on whoever still makes it cannot store it any more: that took this very revision away.
                let lost = DeviceWork::erasing(work.place.clone(), work.of, now);
                let change = file(&opened.keys, revision.next(), &lost);
                core.commit(durable("device-lost", vec![change], &opened)).await?;
                tracing::warn!(root = %work.place.root, of = ?work.of, "a key was made in a device and not stored");
            }
            if let Err(error) = self.erase_in_devices(work.of).await {
                last = Err(error);
            }
        }
        last
    }
}
