//! The right to be the one server of a store: taken at the start, renewed while running, given back at the end.

use keyreeve_engine::Clock;
use keyreeve_http::CancellationToken;
use keyreeve_model::UnixMillis;
use keyreeve_store::{Store, StoreError};
use std::sync::Arc;
use std::time::Duration;

use crate::error::ServerError;

/// How long a lease lasts without being renewed.
const TERM: Duration = Duration::from_secs(30);
/// How often it is renewed.
const RENEWAL: Duration = Duration::from_secs(8);
/// How long before its end the server stops to use it, for clocks that differ.
const MARGIN: Duration = Duration::from_secs(6);
/// How often another server's lease is looked at, while waiting for its end.
const LOOK: Duration = Duration::from_millis(500);

/// A lease that was taken.
pub(crate) struct Lease {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    holder: String,
    renewed: Duration,
}

impl Lease {
    /// Takes the lease. One of a server that ended without giving it back is waited for.
    pub(crate) async fn take(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        holder: String,
    ) -> Result<Self, ServerError> {
        let mut lease = Self { store, clock, holder, renewed: Duration::ZERO };
        let give_up = lease.clock.elapsed() + TERM + LOOK;
        let mut told = false;
        loop {
            match lease.renew().await {
                Ok(true) => return Ok(lease),
                Ok(false) if lease.clock.elapsed() < give_up => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::info!("another server uses this store: waiting for its lease to end");
                    }
                    tokio::time::sleep(LOOK).await;
                }
                Ok(false) => {
                    let text = "another server uses this store: stop it first; one server uses a store at a time";
                    return Err(ServerError::Refused(text.to_owned()));
                }
                Err(error) => return Err(ServerError::part("store", error)),
            }
        }
    }

    async fn renew(&mut self) -> Result<bool, StoreError> {
        let (now, at) = (self.clock.now(), self.clock.elapsed());
        let until = UnixMillis(now.0 + i64::try_from(TERM.as_millis()).unwrap_or(0));
        let held = self.store.lease(&self.holder, now, until).await?;
        if held {
            self.renewed = at;
        }
        Ok(held)
    }

    /// Renews until `stop`. Returns false when the lease was lost.
    pub(crate) async fn keep(mut self, stop: CancellationToken) -> bool {
        let mut pause = RENEWAL;
        loop {
            tokio::select! {
                () = stop.cancelled() => return true,
                () = tokio::time::sleep(pause) => {}
            }
            match self.renew().await {
                Ok(true) => pause = RENEWAL,
                Ok(false) => return false,
                // A full or read-only disk: nobody can take the lease there either. Asked often, so that this server is
                // the first to know when that ends.
                Err(error @ StoreError::ReadOnly(_)) => {
                    if std::mem::replace(&mut pause, LOOK) != LOOK {
                        tracing::warn!(%error, "the lease on the store cannot be renewed now");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the lease on the store was not renewed");
                    if self.clock.elapsed().saturating_sub(self.renewed) + RENEWAL + MARGIN > TERM {
                        return false;
                    }
                }
            }
        }
    }

    /// Gives the lease back, so that the next server need not wait.
    pub(crate) async fn give_back(store: &dyn Store, clock: &dyn Clock, holder: &str) {
        let now = clock.now();
        if let Err(error) = store.lease(holder, now, now).await {
            tracing::debug!(%error, "the lease on the store was not given back");
        }
    }
}
