//! Roots of trust that were not there, and that want to be heard from.

use keyreeve_root::SealStatus;

use crate::core::Engine;
use crate::error::Error;

impl Engine {
    /// Asks for roots that were not there, and hears from those that want to be heard from. What came out of one that
    /// stays away for longer than its bound is wiped.
    pub(super) async fn look_after_roots(&self) -> Result<(), Error> {
        let core = &*self.core;
        let missing = std::mem::take(&mut *core.unconfigured.lock());
        if !missing.is_empty() {
            self.configure_roots(missing).await?;
        }
        if core.ports.roots.look_after().await
            && let Some(opened) = core.opened()
        {
            opened.hierarchy.forget();
            core.keys.clear();
        }
        if core.opened().is_none() && core.root_status() == SealStatus::Open && core.opens_with.lock().is_some() {
            self.open().await?;
        }
        Ok(())
    }
}
