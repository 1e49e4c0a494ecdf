//! Roots of trust on loan: for a rehearsal beside a server that is open, and goes on with them.

use async_trait::async_trait;
use keyreeve_model::{Custody, Name};
use keyreeve_root::{Initialised, Root, RootError, SealStatus, ShareSet};
use keyreeve_secret::{SecretBytes, SecretString};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::core::Engine;
use crate::error::Error;
use crate::roots::Roots;

/// Wraps and unwraps with a root of somebody else's, and can neither open nor close nor change it. Its device is not
/// lent: what is inside is in no backup, and nothing there is to be touched.
struct OnLoan(Arc<dyn Root>);

fn not_ours<T>() -> Result<T, RootError> {
    Err(RootError::Refused("it is on loan to a rehearsal, which only uses it".to_owned()))
}

#[async_trait]
impl Root for OnLoan {
    fn kind(&self) -> &'static str {
        self.0.kind()
    }

    fn custody(&self) -> Custody {
        self.0.custody()
    }

    fn bound(&self) -> Option<Duration> {
        self.0.bound()
    }

    /// It was told by its own server.
    async fn configure(&self, _public: &serde_json::Value) -> Result<(), RootError> {
        Ok(())
    }

    async fn initialise(&self, _shares: u8, _threshold: u8) -> Result<Initialised, RootError> {
        not_ours()
    }

    fn status(&self) -> SealStatus {
        match self.0.status() {
            SealStatus::Open => SealStatus::Open,
            // Nobody gives shares to a rehearsal beside a server.
            SealStatus::Sealed { .. } | SealStatus::NotInitialised { .. } => {
                SealStatus::Sealed { given: 0, threshold: 0, shares: 0 }
            }
        }
    }

    async fn unseal(&self, _share: &SecretString) -> Result<SealStatus, RootError> {
        not_ours()
    }

    /// Its own server closes it.
    async fn seal(&self) {}

    async fn wrap(&self, context: &[u8], secret: &SecretBytes) -> Result<Vec<u8>, RootError> {
        self.0.wrap(context, secret).await
    }

    async fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<SecretBytes, RootError> {
        self.0.unwrap(context, wrapped).await
    }

    async fn check(&self) -> Result<(), RootError> {
        self.0.check().await
    }

    fn share_set(&self) -> Option<ShareSet> {
        self.0.share_set()
    }
}

impl Engine {
    /// The roots of trust of this server, for a rehearsal beside it: they wrap and unwrap while they are open here, and
    /// what the rehearsal does at its end leaves them as they are.
    ///
    /// # Errors
    /// Never while the configuration names a root, which it does.
    pub fn roots_on_loan(&self) -> Result<Roots, Error> {
        let (core, mut lent) = (&*self.core, BTreeMap::<Name, Arc<dyn Root>>::new());
        for (name, root) in core.ports.roots.iter() {
            lent.insert(name.clone(), Arc::new(OnLoan(Arc::clone(root))));
        }
        Roots::new(lent, Arc::clone(&core.ports.clock))
    }
}
