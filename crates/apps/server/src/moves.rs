//! What happens to the root of trust, told in the server's own log and to the service manager: made, opened, sealed.

use keyreeve_engine::{Code, Descriptor, Engine, Observer, catalogue};
use keyreeve_http::CancellationToken;
use keyreeve_root::SealStatus;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

use crate::metrics::Operations;
use crate::service;

/// Hears of every operation: counts it, and tells of those that move the root of trust.
pub(crate) struct Moves {
    operations: Arc<Operations>,
    moved: Notify,
}

impl Moves {
    pub(crate) fn new(operations: Arc<Operations>) -> Self {
        Self { operations, moved: Notify::new() }
    }

    /// Tells where the server stands, now and after each move.
    pub(crate) async fn follow(self: Arc<Self>, engine: Engine, stop: CancellationToken) {
        loop {
            tell(&engine.readiness().await.seal);
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.moved.notified() => {}
            }
        }
    }
}

impl Observer for Moves {
    fn observed(&self, operation: &'static Descriptor, code: Option<Code>, items: usize, took: Duration) {
        self.operations.observed(operation, code, items, took);
        let init = operation.name == catalogue::SYSTEM_INIT.name;
        let unseal = operation.name == catalogue::SYSTEM_UNSEAL.name;
        if !(init || unseal || operation.name == catalogue::SYSTEM_SEAL.name) {
            return;
        }
        match code.map(|code| code.name()) {
            None if init => tracing::info!("the root of trust was made"),
            None if unseal => tracing::info!("a share of the root of trust was given"),
            None => tracing::warn!("the server was sealed: every key is wiped from memory"),
            Some(code) if init => tracing::warn!(code, "initialising the server was refused"),
            Some(code) if unseal => tracing::warn!(code, "a share of the root of trust was refused"),
            Some(code) => tracing::warn!(code, "sealing the server was refused"),
        }
        self.moved.notify_one();
    }
}

fn tell(seal: &SealStatus) {
    match seal {
        SealStatus::Open => {
            tracing::info!("the server is open");
            service::status("open");
        }
        SealStatus::NotInitialised { .. } => {
            tracing::info!("the server is not initialised: `keyreeve init` does it");
            service::status("not initialised: `keyreeve init` does it");
        }
        SealStatus::Sealed { .. } if !seal.needs_people() => {
            tracing::info!("the server is sealed and no share opens it: starting it again does");
            service::status("sealed: starting it again opens it");
        }
        SealStatus::Sealed { given, threshold, .. } => {
            tracing::info!(given, needed = threshold, "the server is sealed: `keyreeve unseal` opens it");
            service::status(&format!("sealed, {given} of {threshold} shares given: `keyreeve unseal` opens it"));
        }
    }
}
