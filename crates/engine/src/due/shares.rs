//! Shares that were given to their holders: the encrypted texts go once the set has opened its root.

use keyreeve_model::UnixMillis;
use keyreeve_model::filed::file;
use keyreeve_model::holders::{ShareSetId, SharesRecord};
use keyreeve_root::SealStatus;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::commit::Durable;
use crate::core::Engine;
use crate::error::Error;

impl Engine {
    /// Forgets encrypted shares of sets that were seen to open. A root of shares that is open since the server was
    /// opened was opened by them: sealing closes it, and joining or exchanging comes later.
    pub(crate) async fn forget_handed_shares(&self) -> Result<(), Error> {
        let core = &*self.core;
        let opened = core.need_open()?;
        let since = UnixMillis(core.opened_since.load(Ordering::Acquire));
        let mut changes = Vec::new();
        for (record, revision) in core.filed_all::<SharesRecord>(&opened, None).await? {
            let root = core.ports.roots.get(&record.of).filter(|root| root.status() == SealStatus::Open);
            let Some(set) = root.and_then(|root| root.share_set()) else { continue };
            if let Some(next) = record.opened(ShareSetId(set.set), since) {
                changes.push(file(&opened.keys, revision.next(), &next));
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        let sealer = Some(Arc::clone(&opened.keys));
        core.commit(Durable { name: "shares-opened", changes, entry: None, sealer }).await
    }
}
