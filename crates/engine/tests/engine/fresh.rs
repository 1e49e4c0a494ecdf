//! No decision outlives a change of what it was made from by a single request.

use keyreeve_engine::ops::grants::{Create as GrantCreate, Revoke, Wanted};
use keyreeve_engine::ops::policies::{Apply, Delete, Put};
use keyreeve_engine::ops::principals::{Put as PutPrincipal, PutSpec};
use keyreeve_engine::{Engine, KeyRef};
use keyreeve_model::PrincipalKind;
use keyreeve_model::grant::Constraints;
use keyreeve_model::ids::GrantId;
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::support::{House, Who, label, name};

/// What can change.
#[derive(Clone, Copy, Debug)]
enum Step {
    Forbid(bool),
    ForbidInASet(bool),
    Role(bool),
    Disabled(bool),
    Granted(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<bool>().prop_map(Step::Forbid),
        any::<bool>().prop_map(Step::ForbidInASet),
        any::<bool>().prop_map(Step::Role),
        any::<bool>().prop_map(Step::Disabled),
        any::<bool>().prop_map(Step::Granted),
    ]
}

/// What is so after the steps so far.
#[derive(Default)]
struct State {
    forbidden: bool,
    role: bool,
    disabled: bool,
    grant: Option<GrantId>,
}

impl State {
    fn allows(&self) -> bool {
        !self.disabled && !self.forbidden && (self.role || self.grant.is_some())
    }
}

const FORBID: &str = "forbid (principal == Keyreeve::Principal::\"writer\", action, resource);";

async fn change(house: &House, key: &KeyRef, state: &mut State, step: Step) {
    let writer = |role: bool, disabled| {
        let roles: &[&str] = if role { &["key-user-encrypt"] } else { &[] };
        // A service: grants of people demand a second factor besides.
        PutPrincipal::new(PutSpec { disabled, kind: PrincipalKind::Service, ..House::person("writer", roles) })
    };
    match step {
        Step::Forbid(true) => drop(house.ask(Put { name: name("stop"), text: FORBID.to_owned() }).await),
        Step::Forbid(false) if state.forbidden => house.ask(Delete { name: name("stop"), base: None }).await,
        Step::ForbidInASet(forbidden) => {
            let policies = if forbidden { [(name("stop"), FORBID.to_owned())].into() } else { Default::default() };
            let comment = label("");
            let apply = Apply { policies, delete_others: true, base: None, dry_run: false, comment };
            drop(house.ask(apply).await);
        }
        Step::Role(role) => drop(house.ask(writer(role, state.disabled)).await),
        Step::Disabled(disabled) => drop(house.ask(writer(state.role, disabled)).await),
        Step::Granted(true) if state.grant.is_none() => {
            let operations = [name("key.encrypt")].into();
            let what = Wanted::Key { key: key.clone(), operations };
            let (constraints, reason) = (Constraints::default(), label("test"));
            let principal = name("writer");
            let create = GrantCreate { principal, what, constraints, not_before: None, seconds: 3600, reason };
            state.grant = Some(house.ask(create).await.record.id);
        }
        Step::Granted(false) => {
            if let Some(grant) = state.grant.take() {
                drop(house.ask(Revoke { grant, reason: label("done") }).await);
            }
        }
        Step::Forbid(false) | Step::Granted(true) => {}
    }
    match step {
        Step::Forbid(forbidden) | Step::ForbidInASet(forbidden) => state.forbidden = forbidden,
        Step::Role(role) => state.role = role,
        Step::Disabled(disabled) => state.disabled = disabled,
        Step::Granted(_) => {}
    }
}

/// What those who ask all the time may rely on: an odd number while something changes, and what is then allowed.
#[derive(Default)]
struct Board {
    changes: AtomicU64,
    allowed: AtomicBool,
    checked: AtomicU64,
    over: AtomicBool,
}

async fn asks(engine: &Engine, who: &Who, key: &KeyRef) -> bool {
    engine.call(House::arrival(who), House::encrypting(key, b"x")).await.is_ok()
}

/// Asks until all is over. A request between two equal even numbers ran while nothing changed.
async fn ask_on(engine: Engine, who: Who, key: KeyRef, board: Arc<Board>) {
    while !board.over.load(Ordering::SeqCst) {
        let before = board.changes.load(Ordering::SeqCst);
        let expected = board.allowed.load(Ordering::SeqCst);
        let allowed = asks(&engine, &who, &key).await;
        if before.is_multiple_of(2) && board.changes.load(Ordering::SeqCst) == before {
            assert_eq!(allowed, expected, "after {} changes", before / 2);
            board.checked.fetch_add(1, Ordering::SeqCst);
        }
        tokio::task::yield_now().await;
    }
}

async fn history(steps: Vec<Step>) {
    let house = House::new().await;
    let key = house.aead().await;
    change(&house, &key, &mut State::default(), Step::Role(false)).await;
    let board = Arc::new(Board::default());
    let mut asking = Vec::new();
    for _ in 0..3 {
        let who = house.token_for("writer").await;
        asking.push(tokio::spawn(ask_on(house.engine().clone(), who, key.clone(), Arc::clone(&board))));
    }
    let (who, mut state) = (house.token_for("writer").await, State::default());
    for step in steps {
        board.changes.fetch_add(1, Ordering::SeqCst);
        change(&house, &key, &mut state, step).await;
        board.allowed.store(state.allows(), Ordering::SeqCst);
        board.changes.fetch_add(1, Ordering::SeqCst);
        // The very next request, twice: as it is decided, and as it is remembered.
        for _ in 0..2 {
            assert_eq!(asks(house.engine(), &who, &key).await, state.allows(), "{step:?}");
        }
    }
    while board.checked.load(Ordering::SeqCst) == 0 && !asking.iter().any(tokio::task::JoinHandle::is_finished) {
        tokio::task::yield_now().await;
    }
    board.over.store(true, Ordering::SeqCst);
    for task in asking {
        task.await.unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    /// Some decide all the time while another changes policies, principals and grants: what starts after the answer to
    /// a change follows it.
    #[test]
    fn a_decision_that_starts_after_a_change_follows_it(steps in prop::collection::vec(step(), 4..14)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build().unwrap();
        runtime.block_on(history(steps));
    }
}
