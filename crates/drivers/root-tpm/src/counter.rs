//! A counter that never goes back: an NV index of the TPM (part 1, 37.2.4).
//!
//! It is a witness against old copies. Whoever puts yesterday's disks into the machine does not put yesterday's counter
//! into its TPM. Whoever is `root` on the machine can move it forwards, or remove it; a new one begins above the
//! highest count that the TPM ever had, so not even that takes it back. What is at the index and is no counter as it is
//! made here is refused.

use std::sync::Arc;

use keyreeve_crypto::random::Random;
use keyreeve_root::RootError;
use tpm2_protocol::data::{TpmRcBase, TpmSe};

use crate::bench::{Bench, Options, Trouble};
use crate::commands::Tpm;

/// A counter in the TPM.
pub struct TpmCounter {
    bench: Arc<Bench>,
    index: u32,
    one: tokio::sync::Mutex<()>,
}

impl TpmCounter {
    /// The index that is taken unless another one is wanted: in the owner's range (`0x01800000` to `0x01bfffff`).
    pub const INDEX: u32 = 0x0180_4b52;

    /// The counter at `index` of the TPM of these options. Nothing is asked of it yet.
    #[must_use]
    pub fn new(options: Options, index: u32, random: Random) -> Self {
        Self { bench: Arc::new(Bench { options, random }), index, one: tokio::sync::Mutex::new(()) }
    }

    /// The count; none when there is no counter yet.
    ///
    /// # Errors
    /// [`RootError::Unavailable`].
    pub async fn read(&self) -> Result<Option<u64>, RootError> {
        self.talk(|bench, tpm, index| bench.count(tpm, index)).await
    }

    /// Counts one further, and makes the counter first if there is none. The count afterwards, which is durable.
    ///
    /// # Errors
    /// [`RootError::Unavailable`]. It may have counted all the same.
    pub async fn increment(&self) -> Result<u64, RootError> {
        self.talk(|bench, tpm, index| {
            let parent = bench.known_parent(tpm)?;
            let name = match tpm.nv_counter(index)? {
                Some(name) => name,
                None => tpm.nv_define_counter(index)?,
            };
            let mut session = tpm.session(&parent, TpmSe::Hmac)?;
            tpm.nv_increment(index, &name, &mut session)?;
            tpm.flush(parent.handle)?;
            bench.count(tpm, index)?.ok_or_else(|| Trouble::unexpected("the counter is gone"))
        })
        .await
    }

    async fn talk<T: Send + 'static>(
        &self,
        about: impl FnOnce(&Bench, &mut Tpm, u32) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, RootError> {
        let _one = self.one.lock().await;
        let (bench, index) = (Arc::clone(&self.bench), self.index);
        Bench::within_limit(bench, move |bench| about(bench, &mut bench.tpm()?, index))
            .await
            .map_err(|trouble| RootError::Unavailable(trouble.to_string()))
    }
}

impl Bench {
    fn count(&self, tpm: &mut Tpm, index: u32) -> Result<Option<u64>, Trouble> {
        let Some(name) = tpm.nv_counter(index)? else { return Ok(None) };
        let parent = self.known_parent(tpm)?;
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
}
