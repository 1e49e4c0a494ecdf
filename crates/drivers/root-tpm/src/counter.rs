//! A counter that never goes back: an NV index of the TPM (part 1, 37.2.4).
//!
//! It is an anchor against old copies. Whoever puts yesterday's disks into the machine does not put yesterday's counter
//! into its TPM. Whoever is `root` on the machine can move it forwards, or remove it; a new one begins above the
//! highest count that the TPM ever had, so not even that takes it back. What is at the index and is no counter as it is
//! made here is refused.
//!
//! Each step writes to memory that wears out: a TPM takes some hundred thousand of them, so a step an hour is for ever
//! and a step a second is for a day.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keyreeve_crypto::random::Random;
use keyreeve_root::{Anchor, AnchorError, Held};
use parking_lot::Mutex;
use tpm2_protocol::data::{TpmRcBase, TpmSe};

use crate::bench::Trouble;
use crate::commands::{Parent, Tpm};
use crate::transport::Device;

/// What a counter in a TPM needs to know.
#[derive(Clone, Debug)]
pub struct CounterOptions {
    /// The TPM.
    pub device: Device,
    /// Where the counter is, in the owner's range (`0x01800000` to `0x01bfffff`).
    pub index: u32,
    /// How long the TPM may take for all that is asked of it at once.
    pub limit: Duration,
}

/// A counter in the TPM.
pub struct TpmCounter {
    inner: Arc<Inner>,
    one: Arc<tokio::sync::Mutex<()>>,
}

struct Inner {
    options: CounterOptions,
    random: Random,
    /// What the TPM calls its storage key, once it was heard from: sessions are salted to that key, so whoever stands
    /// in between needs one of another name.
    known: Mutex<Option<Vec<u8>>>,
}

impl TpmCounter {
    /// The index that is taken unless another one is wanted.
    pub const INDEX: u32 = 0x0180_4b52;

    /// The counter of these options. Nothing is asked of the TPM yet.
    #[must_use]
    pub fn new(options: CounterOptions, random: Random) -> Self {
        Self { inner: Arc::new(Inner { options, random, known: Mutex::default() }), one: Arc::default() }
    }

    async fn talk<T: Send + 'static>(
        &self,
        about: impl FnOnce(&Inner) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Trouble> {
        let (inner, one, limit) = (Arc::clone(&self.inner), Arc::clone(&self.one), self.inner.options.limit);
        let talk = async {
            let alone = one.lock_owned().await;
            let talk = move || {
                let _alone = alone;
                about(&inner)
            };
            tokio::task::spawn_blocking(talk).await
        };
        let late = |_| Trouble::Silent(format!("the TPM did not answer within {} seconds", limit.as_secs()));
        tokio::time::timeout(limit, talk).await.map_err(late)?.map_err(Trouble::unexpected)?
    }
}

fn sorted(trouble: &Trouble) -> AnchorError {
    match trouble {
        Trouble::NotOurs(_) | Trouble::OtherTpm | Trouble::Impostor => AnchorError::Damaged(trouble.to_string()),
        _ => AnchorError::Unavailable(trouble.to_string()),
    }
}

#[async_trait]
impl Anchor for TpmCounter {
    fn kind(&self) -> &'static str {
        "tpm-counter"
    }

    fn place(&self) -> String {
        format!("{} {:#010x}", self.inner.options.device, self.inner.options.index)
    }

    fn keeps_statements(&self) -> bool {
        false
    }

    async fn read(&self) -> Result<Held, AnchorError> {
        let read = self.talk(|inner| {
            let mut tpm = inner.tpm()?;
            let count = inner.count(&mut tpm)?;
            Ok((count, inner.known.lock().as_ref().map(hex::encode)))
        });
        let (count, device) = read.await.map_err(|trouble| sorted(&trouble))?;
        Ok(Held { count, statement: None, device })
    }

    async fn advance(&self, from: Option<u64>, _statement: &[u8]) -> Result<u64, AnchorError> {
        let stepped = self.talk(move |inner| inner.step(from)).await;
        stepped.map_err(|trouble| sorted(&trouble))?.map_err(|found| AnchorError::Moved { found })
    }
}

impl Inner {
    fn tpm(&self) -> Result<Tpm, Trouble> {
        Tpm::open(&self.options.device, &self.random, self.options.limit)
    }

    fn parent(&self, tpm: &mut Tpm) -> Result<Parent, Trouble> {
        let parent = tpm.parent()?;
        let mut known = self.known.lock();
        match &*known {
            Some(name) if *name != parent.name => Err(Trouble::OtherTpm),
            _ => {
                *known = Some(parent.name.clone());
                Ok(parent)
            }
        }
    }

    /// The count; none when there is no counter yet.
    fn count(&self, tpm: &mut Tpm) -> Result<Option<u64>, Trouble> {
        let index = self.options.index;
        let parent = self.parent(tpm)?;
        let Some(name) = tpm.nv_counter(index)? else {
            tpm.flush(parent.handle)?;
            return Ok(None);
        };
        let mut session = tpm.session(&parent, TpmSe::Hmac)?;
        let read = tpm.nv_read_counter(index, &name, &mut session);
        tpm.flush(parent.handle)?;
        match read {
            // Made, and never counted yet. The refused command left the session open.
            Err(Trouble::Refused(_, TpmRcBase::NvUninitialized)) => {
                tpm.flush(session.handle)?;
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// Counts one further, and makes the counter first if there is none; or says where it stands.
    fn step(&self, from: Option<u64>) -> Result<Result<u64, Option<u64>>, Trouble> {
        let (mut tpm, index) = (self.tpm()?, self.options.index);
        let found = self.count(&mut tpm)?;
        if found != from {
            return Ok(Err(found));
        }
        let parent = self.parent(&mut tpm)?;
        let name = match tpm.nv_counter(index)? {
            Some(name) => name,
            None => tpm.nv_define_counter(index)?,
        };
        let mut session = tpm.session(&parent, TpmSe::Hmac)?;
        tpm.nv_increment(index, &name, &mut session)?;
        tpm.flush(parent.handle)?;
        self.count(&mut tpm)?.map(Ok).ok_or_else(|| Trouble::unexpected("the counter is gone"))
    }
}
