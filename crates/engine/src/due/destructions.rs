//! Destructions whose waiting period is over.

use futures::future::BoxFuture;
use keyreeve_model::{KeyId, UnixMillis};
use keyreeve_store::Page;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::core::Engine;
use crate::error::Error;
use crate::keys::KeyRef;
use crate::ops::destruction::{Destroy, VerifyDestruction};

/// Destructions carried out at one tick (count).
const DUE_AT_ONCE: u32 = 100;

/// How long after a failed destruction it is tried again, at first and at most.
const PAUSE_FIRST: Duration = Duration::from_secs(60);
const PAUSE_LONGEST: Duration = Duration::from_secs(6 * 3600);

/// A destruction that is due and failed.
pub(crate) struct Overdue {
    failures: u32,
    again: UnixMillis,
}

/// Twice as long after each failure.
fn pause(failures: u32) -> Duration {
    PAUSE_LONGEST.min(PAUSE_FIRST * (1 << failures.saturating_sub(1).min(16)))
}

impl Engine {
    /// Carries out destructions that are due, at most [`DUE_AT_ONCE`] of them. One that failed is tried again ever more
    /// rarely, so that it does not take the turn of those behind it.
    pub(super) async fn destroy_due(&self) -> Result<(), Error> {
        let (mut seen, mut after, mut tried) = (BTreeSet::new(), None, 0);
        while tried < DUE_AT_ONCE {
            let (now, page) = self.due_page(after).await?;
            if page.is_empty() {
                // All that are due were seen: what failed and is not among them was cancelled or is done.
                self.core.overdue.lock().retain(|key, _| seen.contains(key));
                break;
            }
            after = page.last().copied();
            for (_, key) in page {
                seen.insert(key);
                let waits = self.core.overdue.lock().get(&key).is_some_and(|overdue| now < overdue.again);
                if !waits && tried < DUE_AT_ONCE {
                    tried += 1;
                    self.destroy_one(key, now).await;
                }
            }
        }
        Ok(())
    }

    async fn due_page(
        &self,
        after: Option<(UnixMillis, KeyId)>,
    ) -> Result<(UnixMillis, Vec<(UnixMillis, KeyId)>), Error> {
        let now = self.core.now()?;
        let page = Page { after, limit: DUE_AT_ONCE };
        Ok((now, self.core.ports.store.destructions_due(now, page).await?))
    }

    /// Whether a hold keeps a key from being destroyed: nothing is tried, so nothing fails.
    async fn is_held(&self, key: KeyId) -> bool {
        match (self.core.opened(), self.core.find_key(&KeyRef::Id(key)).await) {
            (Some(opened), Ok(Some(held))) => self.core.hold_against(&opened, &held).is_some(),
            _ => false,
        }
    }

    async fn destroy_one(&self, key: KeyId, now: UnixMillis) {
        if self.is_held(key).await {
            self.core.overdue.lock().remove(&key);
            return;
        }
        let outcome = self.call_as_server("scheduled-destruction", Destroy { key: KeyRef::Id(key) }).await;
        let mut overdue = self.core.overdue.lock();
        let Err(refused) = outcome else {
            overdue.remove(&key);
            return;
        };
        let failures = overdue.get(&key).map_or(1, |before| before.failures.saturating_add(1));
        overdue.insert(key, Overdue { failures, again: now.plus(pause(failures)) });
        tracing::error!(%key, failures, error = %refused.error, "a scheduled destruction was not carried out");
    }

    /// Keys whose destruction is due and failed when it was last tried.
    #[must_use]
    pub fn overdue_destructions(&self) -> usize {
        self.core.overdue.lock().len()
    }

    /// Boxed, because it goes through the pipeline from inside of it.
    pub(crate) fn verify_destruction(&self, key: KeyId) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let operation = VerifyDestruction { key: KeyRef::Id(key) };
            let verified = self.call_as_server(&format!("destruction-of-{key}"), operation).await;
            verified.map(|_| ()).map_err(|refused| refused.error)
        })
    }
}
