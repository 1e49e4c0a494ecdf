//! Going on with a server that is older than its anchors, once people agreed to it. What was protected since the copy
//! was made is not known here: counters of keys jump ahead first, so that no number that was used is used again.

use keyreeve_model::anchor::AcceptedRollback;
use keyreeve_model::backup::COUNTERS_JUMP;
use keyreeve_model::filed::file;
use keyreeve_model::record::{Revision, Table, open};
use keyreeve_model::{Change, KeyRecord, Transaction, UnixMillis};
use keyreeve_store::{KeyFilter, Page};

use super::stepping::Which;
use crate::core::{Core, Engine};
use crate::error::Error;
use crate::ops::usable::key_row;
use crate::sealing::Opened;

/// Keys whose counters jump in one transaction (count).
const AT_ONCE: u32 = 200;

impl Core {
    /// Lets the counters of all keys jump that have not yet, since people agreed to go on with an old copy. Each key
    /// once, whatever happens in between: how far it has come is stored with the keys.
    pub(crate) async fn finish_rollback(&self, opened: &Opened) -> Result<(), Error> {
        let far = UnixMillis(i64::MAX);
        let waiting: Vec<(AcceptedRollback, Revision)> = self.filed_due(opened, far, AT_ONCE).await?;
        for (mut accepted, mut revision) in waiting {
            while !accepted.done {
                self.jump_some(opened, &mut accepted, &mut revision).await?;
            }
            tracing::info!(agreed = %accepted.at, "the counters of all keys have jumped ahead");
        }
        Ok(())
    }

    async fn jump_some(
        &self,
        opened: &Opened,
        accepted: &mut AcceptedRollback,
        revision: &mut Revision,
    ) -> Result<(), Error> {
        let (now, page) = (self.now()?, Page { after: accepted.jumped, limit: AT_ONCE });
        let rows = self.ports.store.keys(&KeyFilter::default(), page).await?;
        match rows.last() {
            Some(last) => accepted.jumped = Some(last.id),
            None => accepted.done = true,
        }
        *revision = revision.next();
        let mut changes = vec![file(&opened.keys, *revision, accepted)];
        for row in rows {
            let record = open::<KeyRecord>(&opened.keys, Table::Keys, row.id.as_bytes(), &row.record);
            let Ok(mut record) = record else {
                // Nothing is done with such a key anyhow.
                tracing::error!(key = %row.id, "a key's record was altered: its counters are as they are");
                continue;
            };
            if record.jump_counters(COUNTERS_JUMP) {
                changes.push(Change::PutKey(key_row(opened, &record, row.record.revision.next(), now)));
            }
        }
        self.store(Transaction { name: "jump-counters", changes, ..Transaction::default() }).await?;
        Ok(())
    }
}

impl Engine {
    /// Serves again, once that people agreed is durable.
    pub(crate) async fn leave_hold(&self) -> Result<(), Error> {
        let core = &*self.core;
        {
            let _one = core.transition.lock().await;
            let opened = core.need_open()?;
            core.finish_rollback(&opened).await?;
            self.learn_epochs().await?;
            core.ports.journal.set_signers(opened.keys.signers.clone())?;
            core.forget();
            core.allowances.lock().clear();
            core.access_is_old();
            core.rolled_back.store(None);
        }
        tracing::warn!("people agreed to go on with an old copy: the server works again");
        // The anchors are taken as they stand: until this worked the next start does so too.
        if let Err(error) = self.look_after_anchors(Which::All).await {
            tracing::warn!(%error, "anchors are moved on at the next tick");
        }
        Ok(())
    }

    /// Goes on where people agreed and something failed then.
    pub(super) async fn go_on_leaving(&self) -> Result<(), Error> {
        let opened = self.core.need_open()?;
        let far = UnixMillis(i64::MAX);
        if self.core.filed_due::<AcceptedRollback>(&opened, far, 1).await?.is_empty() {
            return Ok(());
        }
        self.leave_hold().await
    }
}
