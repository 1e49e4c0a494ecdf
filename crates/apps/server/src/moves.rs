//! What happens to the root of trust, told in the server's own log and to the service manager: made, opened, sealed.

use keyreeve_engine::ops::system::RootState;
use keyreeve_engine::{Code, Descriptor, Engine, Observer, catalogue};
use keyreeve_http::CancellationToken;
use keyreeve_model::Name;
use keyreeve_root::SealStatus;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::metrics::Operations;
use crate::service;

/// How often refusals are told at most: some of these operations are open to anybody.
const REFUSALS: Duration = Duration::from_secs(1);

/// Hears of every operation: counts it, and tells of those that move the root of trust.
pub(crate) struct Moves {
    operations: Arc<Operations>,
    moved: Notify,
    refusals: Mutex<Refusals>,
}

/// Refusals that were told, and how many were not.
#[derive(Default)]
struct Refusals {
    told: Option<Instant>,
    untold: u64,
}

impl Refusals {
    /// Whether this refusal is told, with how many before it were not.
    fn next(&mut self) -> Option<u64> {
        if self.told.is_some_and(|told| told.elapsed() < REFUSALS) {
            self.untold += 1;
            return None;
        }
        self.told = Some(Instant::now());
        Some(std::mem::take(&mut self.untold))
    }
}

impl Moves {
    pub(crate) fn new(operations: Arc<Operations>) -> Self {
        Self { operations, moved: Notify::new(), refusals: Mutex::default() }
    }

    /// Tells where the server stands, now and whenever that changed, and each root of trust besides where there are
    /// several. A refused share can change it too: of a set with a forged one none is kept.
    pub(crate) async fn follow(self: Arc<Self>, engine: Engine, stop: CancellationToken) {
        let (mut told, mut told_of) = (None, BTreeMap::new());
        loop {
            let roots = engine.root_states();
            let more = of_each(&mut told_of, &roots);
            let waiting = waiting(&roots, engine.is_open());
            let status = news(&mut told, engine.seal_status()).cloned();
            if let Some(status) = &status {
                tell(status);
            }
            if roots.len() > 1 {
                more.iter().for_each(tell_of);
            }
            if status.is_some() || !more.is_empty() {
                service::status(&format!("{}{waiting}", summary(&engine.seal_status())));
            }
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
            Some(code) => {
                let next = self.refusals.lock().unwrap_or_else(PoisonError::into_inner).next();
                match next {
                    None => {}
                    Some(untold) if init => tracing::warn!(code, untold, "initialising the server was refused"),
                    Some(untold) if unseal => tracing::warn!(code, untold, "a share of the root of trust was refused"),
                    Some(untold) => tracing::warn!(code, untold, "sealing the server was refused"),
                }
            }
        }
        self.moved.notify_one();
    }
}

/// Where the server stands, unless that was told before.
fn news(told: &mut Option<SealStatus>, status: SealStatus) -> Option<&SealStatus> {
    if told.as_ref() == Some(&status) { None } else { Some(told.insert(status)) }
}

fn tell(seal: &SealStatus) {
    match seal {
        SealStatus::Open => tracing::info!("the server is open"),
        SealStatus::NotInitialised { .. } => tracing::info!("the server is not initialised: `keyreeve init` does it"),
        SealStatus::Sealed { .. } if !seal.needs_people() => {
            tracing::info!("the server is sealed and no share opens it: starting it again does");
        }
        SealStatus::Sealed { given, threshold, .. } => {
            tracing::info!(given, needed = threshold, "the server is sealed: `keyreeve unseal` opens it");
        }
    }
}

/// For the service manager.
fn summary(seal: &SealStatus) -> String {
    match seal {
        SealStatus::Open => "open".to_owned(),
        SealStatus::NotInitialised { .. } => "not initialised: `keyreeve init` does it".to_owned(),
        SealStatus::Sealed { .. } if !seal.needs_people() => "sealed: starting it again opens it".to_owned(),
        SealStatus::Sealed { given, threshold, .. } => {
            format!("sealed, {given} of {threshold} shares given: `keyreeve unseal` opens it")
        }
    }
}

/// The same about roots of trust that are sealed while the server is open.
fn waiting(roots: &[RootState], open: bool) -> String {
    let sealed = roots.iter().filter(|root| open && root.is_sealed());
    sealed.map(|root| format!("; root of trust `{}` is sealed", root.name)).collect()
}

/// The roots of trust that stand elsewhere than was told before.
fn of_each(told: &mut BTreeMap<Name, SealStatus>, roots: &[RootState]) -> Vec<RootState> {
    let new = |root: &&RootState| told.insert(root.name.clone(), root.status.clone()).as_ref() != Some(&root.status);
    roots.iter().filter(new).cloned().collect()
}

fn tell_of(root: &RootState) {
    let name = root.name.as_str();
    match root.status {
        SealStatus::Open => tracing::info!(root = name, "this root of trust is open"),
        SealStatus::NotInitialised { .. } => {
            tracing::info!(root = name, "this root of trust is not joined or not there")
        }
        SealStatus::Sealed { threshold: 0, .. } => {
            tracing::warn!(
                root = name,
                "this root of trust is sealed and no share opens it: what is under it is refused"
            );
        }
        SealStatus::Sealed { given, threshold, .. } => tracing::warn!(
            root = name,
            given,
            needed = threshold,
            "this root of trust is sealed, and what is under it is refused: `keyreeve unseal` opens it"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_flood_of_refusals_is_one_line_a_second() {
        tokio::time::pause();
        let mut refusals = Refusals::default();
        assert_eq!(refusals.next(), Some(0));
        assert!((0..1000).all(|_| refusals.next().is_none()));
        tokio::time::advance(REFUSALS).await;
        assert_eq!(refusals.next(), Some(1000), "how many went untold is told");
        assert_eq!(refusals.next(), None);
        tokio::time::advance(REFUSALS).await;
        assert_eq!(refusals.next(), Some(1));
    }

    #[test]
    fn what_did_not_change_is_not_told_again() {
        let sealed = |given| SealStatus::Sealed { given, threshold: 3, shares: 5 };
        let mut told = None;
        assert_eq!(news(&mut told, sealed(0)), Some(&sealed(0)));
        assert_eq!(news(&mut told, sealed(0)), None);
        assert_eq!(news(&mut told, sealed(1)), Some(&sealed(1)));
        assert_eq!(news(&mut told, sealed(0)), Some(&sealed(0)), "shares were forgotten");
        assert_eq!(news(&mut told, SealStatus::Open), Some(&SealStatus::Open));
        assert_eq!(news(&mut told, SealStatus::Open), None);
    }

    #[test]
    fn each_root_is_told_of_when_it_moves() {
        let root = |name: &str, status: SealStatus| RootState {
            name: name.parse().unwrap(),
            kind: "shamir",
            custody: keyreeve_model::Custody::Kms,
            status,
        };
        let sealed = |given| SealStatus::Sealed { given, threshold: 2, shares: 3 };
        let mut told = BTreeMap::new();
        let at_first = [root("main", SealStatus::Open), root("people", sealed(0))];
        assert_eq!(of_each(&mut told, &at_first).len(), 2);
        assert!(of_each(&mut told, &at_first).is_empty());
        let then = [root("main", SealStatus::Open), root("people", sealed(1))];
        assert_eq!(of_each(&mut told, &then), then[1..]);
        assert_eq!(waiting(&then, true), "; root of trust `people` is sealed");
        assert_eq!(waiting(&then, false), "", "the server's own state says enough");
    }
}
