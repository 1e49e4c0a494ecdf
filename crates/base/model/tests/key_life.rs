//! The life of a key under random events at random times: whatever happens in whatever order, the record stays within
//! the table of SP 800-57 part 1 §7. Decades pass in milliseconds, because time is an argument.
#![allow(clippy::unwrap_used)]

use keyreeve_crypto::{KeyAlgorithm, Purpose};
use keyreeve_model::key::{Activation, Cause, NewVersion, Origin, Provenance, Scope};
use keyreeve_model::lifecycle::next;
use keyreeve_model::{
    Event, KeyId, KeyMetadata, KeyRecord, KeyringId, Label, NewKey, Profile, Protection, Refusal, State, UnixMillis,
    Usage,
};
use proptest::prelude::*;
use std::collections::BTreeSet;

const DAY: i64 = 86_400_000;
const START: UnixMillis = UnixMillis(1_700_000_000_000);

/// What may be asked of a key.
#[derive(Clone, Debug)]
enum Step {
    Activate,
    Suspend(bool),
    Deactivate,
    Compromise(Option<u32>, bool),
    Rotate,
    Schedule(u32),
    Cancel,
    Destroy,
    Reserve(u32, u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => Just(Step::Activate),
        1 => any::<bool>().prop_map(Step::Suspend),
        1 => Just(Step::Deactivate),
        1 => (proptest::option::of(0u32..6), any::<bool>()).prop_map(|(version, risk)| Step::Compromise(version, risk)),
        3 => Just(Step::Rotate),
        1 => (0u32..40).prop_map(Step::Schedule),
        1 => Just(Step::Cancel),
        2 => Just(Step::Destroy),
        1 => (0u32..6, any::<u64>()).prop_map(|(version, count)| Step::Reserve(version, count)),
    ]
}

/// Steps with the days that pass before each: sometimes none, sometimes a decade.
fn life() -> impl Strategy<Value = Vec<(i64, Step)>> {
    let wait = prop_oneof![3 => Just(0i64), 3 => 0i64..40 * DAY, 1 => 0i64..3650 * DAY];
    proptest::collection::vec((wait, step()), 1..40)
}

fn activation() -> impl Strategy<Value = Activation> {
    prop_oneof![
        2 => Just(Activation::Now),
        1 => Just(Activation::OnRequest),
        1 => (0i64..400 * DAY).prop_map(|after| Activation::At(UnixMillis(START.0 + after))),
    ]
}

fn period() -> impl Strategy<Value = Option<i64>> {
    proptest::option::of(1i64..4000 * DAY)
}

fn profile() -> impl Strategy<Value = Profile> {
    prop_oneof![Just(Profile::Rev5), Just(Profile::Rev6)]
}

fn cause(now: UnixMillis) -> Cause {
    Cause { by: "keeper".parse().unwrap(), reason: "because".parse().unwrap(), now }
}

fn version_of(number: u32) -> NewVersion {
    let provenance = Provenance {
        origin: Origin::Generated,
        module: "test".into(),
        by: "keeper".parse().unwrap(),
        reason: Label::default(),
    };
    NewVersion {
        public_key: None,
        fingerprint: format!("fingerprint-{number}"),
        provenance,
        imported: None,
        device: None,
    }
}

fn key(profile: Profile, activation: Activation, deactivates: Option<UnixMillis>) -> KeyRecord {
    let new = NewKey {
        id: KeyId::new(START, [1; 10]),
        keyring: KeyringId::new(START, [2; 10]),
        shard: 0,
        algorithm: KeyAlgorithm::Xaes256Gcm,
        purpose: Purpose::Encrypt,
        scope: Scope::Both,
        exportable: false,
        protection: Protection::Software,
        activation,
        deactivates,
        deterministic_reason: None,
        metadata: KeyMetadata::default(),
    };
    KeyRecord::create(new, version_of(1), profile, START)
}

fn active() -> KeyRecord {
    key(Profile::Rev5, Activation::Now, None)
}

fn take(key: &mut KeyRecord, step: &Step, now: UnixMillis) -> Result<(), Refusal> {
    let cause = cause(now);
    match step {
        Step::Activate => key.activate(&cause),
        Step::Suspend(risk) => key.suspend(*risk, &cause),
        Step::Deactivate => key.deactivate(&cause),
        Step::Compromise(version, risk) => key.compromise(*version, *risk, &cause),
        Step::Rotate => key.rotate(version_of(key.versions().len() as u32 + 1), &cause).map(|_| ()),
        Step::Schedule(days) => key.schedule_destruction(*days, &cause).map(|_| ()),
        Step::Cancel => key.cancel_destruction().map(|_| ()),
        Step::Destroy => key.destroy(&cause).map(|_| ()),
        Step::Reserve(version, count) => key.reserve_messages(*version, *count).map(|_| ()),
    }
}

fn states(key: &KeyRecord, now: UnixMillis) -> Vec<State> {
    key.versions().iter().map(|version| key.version_state(version.version(), now).unwrap()).collect()
}

/// Every arrow of the table for a revision.
fn arrows(profile: Profile) -> BTreeSet<(State, State)> {
    let all = State::ALL.into_iter().flat_map(|from| Event::ALL.into_iter().map(move |event| (from, event)));
    all.filter_map(|(from, event)| next(profile, from, event).ok().map(|to| (from, to))).collect()
}

/// What one step may do to the state of one version. The halt of a key covers versions that only process, and they come
/// back to where they were: the two ways off the table, and only while a suspension begins or ends. A key that is
/// activated after the end of its period takes two arrows at once.
fn may_move(profile: Profile, step: &Step, from: State, to: State) -> bool {
    let halting = matches!(step, Step::Suspend(_)) && (from, to) == (State::Deactivated, State::Suspended);
    let lifting = matches!(step, Step::Activate) && (from, to) == (State::Suspended, State::Deactivated);
    let late = matches!(step, Step::Activate) && (from, to) == (State::PreActivation, State::Deactivated);
    from == to || arrows(profile).contains(&(from, to)) || halting || lifting || late
}

fn check_step(profile: Profile, step: &Step, before: &KeyRecord, after: &KeyRecord, now: UnixMillis) {
    let (old, new) = (states(before, now), states(after, now));
    for (place, from) in old.iter().enumerate() {
        assert!(
            may_move(profile, step, *from, new[place]),
            "{step:?} moved version {}: {from} to {}",
            place + 1,
            new[place]
        );
        if from.is_destroyed() {
            assert!(new[place].is_destroyed(), "{step:?} brought a destroyed version back");
        }
    }
    assert!(new.len() == old.len() || (matches!(step, Step::Rotate) && new.len() == old.len() + 1), "{step:?}");
    assert!(after.history().starts_with(before.history()), "history is only added to");
    for (old, new) in before.versions().iter().zip(after.versions()) {
        assert!(new.reserved_messages() >= old.reserved_messages(), "a count of messages went back");
        assert_eq!(
            (new.version(), new.fingerprint(), new.created()),
            (old.version(), old.fingerprint(), old.created())
        );
    }
}

fn check_record(profile: Profile, key: &KeyRecord, now: UnixMillis) {
    let numbers: Vec<u32> = key.versions().iter().map(|version| version.version()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u32).collect::<Vec<_>>(), "numbered from 1 without gaps");
    assert_eq!(key.primary() as usize, numbers.len(), "the newest version is the primary one");
    let mut allowed = arrows(profile);
    // The end of a suspension may fall after the end of the period.
    allowed.insert((State::Suspended, State::Deactivated));
    // The risk of a compromise is seen in another way, and that is noted.
    allowed.insert((State::Compromised, State::Compromised));
    for entry in key.history() {
        assert!(allowed.contains(&(entry.from, entry.to)), "history tells of {} to {}", entry.from, entry.to);
    }
    assert!(key.history().iter().all(|entry| entry.at <= now));
    if profile == Profile::Rev6 {
        assert!(!states(key, now).contains(&State::Deactivated), "revision 6 has no deactivated state");
    }
    for usage in [Usage::Apply, Usage::Process] {
        for version in &numbers {
            check_permit(key, *version, usage, now);
        }
    }
    let json = serde_json::to_vec(key).unwrap();
    let again: KeyRecord = serde_json::from_slice(&json).unwrap();
    assert_eq!(&again, key);
    assert_eq!(serde_json::to_vec(&again).unwrap(), json, "the stored form is stable");
}

/// What is permitted follows from state, pending destruction and being the primary version, and from nothing else.
fn check_permit(key: &KeyRecord, version: u32, usage: Usage, now: UnixMillis) {
    let state = key.version_state(version, now).unwrap();
    let permitted = key.permit(version, usage, now);
    let pending = key.destruction().is_some();
    if pending && !state.is_destroyed() {
        assert!(matches!(permitted, Err(Refusal::PendingDestruction { .. })), "{permitted:?}");
    } else if usage == Usage::Apply {
        assert!(permitted.is_err() || (state == State::Active && version == key.primary()), "{state} protects");
    } else {
        match state {
            State::Active | State::Deactivated => assert!(permitted.is_ok(), "{state} does not process"),
            State::Suspended | State::Compromised => {}
            State::PreActivation | State::Destroyed | State::DestroyedCompromised => {
                assert_eq!(permitted.unwrap_err(), Refusal::Use { state, usage });
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_life_leaves_the_table(
        profile in profile(), activation in activation(), period in period(), life in life(),
    ) {
        let mut key = key(profile, activation, period.map(|period| UnixMillis(START.0 + period)));
        let mut now = START;
        for (wait, step) in life {
            now = UnixMillis(now.0 + wait);
            let before = key.clone();
            let outcome = take(&mut key, &step, now);
            if outcome.is_err() {
                prop_assert_eq!(&key, &before, "a refused step changed the key: {:?}", step);
            }
            check_step(profile, &step, &before, &key, now);
            check_record(profile, &key, now);
        }
    }

    #[test]
    fn dates_move_states_forward_only_and_reading_writes_nothing(
        activation in activation(), period in period(), days in proptest::collection::vec(0i64..5000, 1..50),
    ) {
        let key = key(Profile::Rev5, activation, period.map(|period| UnixMillis(START.0 + period)));
        let untouched = key.clone();
        let at = |day: &i64| UnixMillis(START.0 + day * DAY);
        let asked: Vec<State> = days.iter().map(|day| key.state(at(day))).collect();
        // Asked again in another order, at the same instants, the answers are the same.
        let again: Vec<State> = days.iter().rev().map(|day| key.state(at(day))).collect();
        prop_assert_eq!(asked.iter().rev().copied().collect::<Vec<_>>(), again);
        prop_assert_eq!(key, untouched);
        let mut sorted = days;
        sorted.sort_unstable();
        let states: Vec<State> = sorted.iter().map(|day| active_at(&activation, period, at(day))).collect();
        prop_assert!(states.windows(2).all(|pair| pair[0] <= pair[1]), "{:?}", states);
    }

    #[test]
    fn a_cancelled_destruction_leaves_the_key_bit_for_bit_as_it_was(life in life(), days in 7u32..=30) {
        let (mut key, mut now) = (active(), START);
        for (wait, step) in life {
            now = UnixMillis(now.0 + wait);
            let _ = take(&mut key, &step, now);
        }
        let before = serde_json::to_vec(&key).unwrap();
        if key.schedule_destruction(days, &cause(now)).is_ok() {
            for refused in [Step::Activate, Step::Suspend(true), Step::Deactivate, Step::Rotate, Step::Schedule(7)] {
                prop_assert!(
                    matches!(take(&mut key, &refused, now), Err(Refusal::PendingDestruction { .. })), "{:?}", refused
                );
            }
            key.cancel_destruction().unwrap();
            prop_assert_eq!(serde_json::to_vec(&key).unwrap(), before);
        }
    }

    #[test]
    fn a_destroyed_key_stays_destroyed(life in life(), after in life()) {
        let (mut key, mut now) = (active(), START);
        for (wait, step) in life {
            now = UnixMillis(now.0 + wait);
            let _ = take(&mut key, &step, now);
        }
        let _ = key.cancel_destruction();
        if !key.state(now).is_destroyed() {
            now = key.schedule_destruction(7, &cause(now)).unwrap();
            key.destroy(&cause(now)).unwrap();
        }
        for (wait, step) in after {
            now = UnixMillis(now.0 + wait);
            let _ = take(&mut key, &step, now);
            prop_assert!(states(&key, now).iter().all(|state| state.is_destroyed()), "{:?}", step);
            prop_assert!(key.permit(key.primary(), Usage::Process, now).is_err());
        }
    }

    #[test]
    fn waiting_periods_have_bounds_and_end_to_the_millisecond(days in 0u32..100, early in 1i64..30 * DAY) {
        let mut key = active();
        let scheduled = key.schedule_destruction(days, &cause(START));
        if !(7..=30).contains(&days) {
            prop_assert_eq!(scheduled, Err(Refusal::WaitingPeriod { days }));
            prop_assert!(key.destruction().is_none());
            return Ok(());
        }
        let due = scheduled.unwrap();
        prop_assert_eq!(due, UnixMillis(START.0 + i64::from(days) * DAY));
        let before = UnixMillis((due.0 - early).max(START.0));
        prop_assert_eq!(key.destroy(&cause(before)), Err(Refusal::TooEarly { due }));
        prop_assert_eq!(key.destroy(&cause(UnixMillis(due.0 - 1))), Err(Refusal::TooEarly { due }));
        prop_assert_eq!(key.destruction_due(), Some(due));
        prop_assert!(!key.is_due(UnixMillis(due.0 - 1)) && key.is_due(due));
        let done = key.destroy(&cause(due)).unwrap();
        prop_assert_eq!((done.requested, done.due), (START, due));
        prop_assert!(!key.is_due(due), "what is destroyed is due no more");
    }
}

/// The state of a fresh key at an instant, from its dates alone.
fn active_at(activation: &Activation, period: Option<i64>, at: UnixMillis) -> State {
    key(Profile::Rev5, *activation, period.map(|period| UnixMillis(START.0 + period))).state(at)
}

fn versions(profile: Profile, count: u32) -> KeyRecord {
    let mut key = key(profile, Activation::Now, None);
    for _ in 1..count {
        take(&mut key, &Step::Rotate, START).unwrap();
    }
    key
}

#[test]
fn rotation_ends_protection_by_the_former_version_in_both_revisions() {
    for (profile, former) in [(Profile::Rev5, State::Deactivated), (Profile::Rev6, State::Active)] {
        let key = versions(profile, 3);
        assert_eq!(states(&key, START), [former, former, State::Active], "{profile:?}");
        assert!(key.permit(3, Usage::Apply, START).is_ok());
        for old in [1, 2] {
            assert!(key.permit(old, Usage::Process, START).is_ok(), "{profile:?}");
            let refused = key.permit(old, Usage::Apply, START).unwrap_err();
            match profile {
                Profile::Rev5 => assert_eq!(refused, Refusal::Use { state: former, usage: Usage::Apply }),
                Profile::Rev6 => assert_eq!(refused, Refusal::Retired { version: old }),
            }
        }
    }
}

#[test]
fn the_end_of_the_period_ends_protection_in_both_revisions() {
    let end = UnixMillis(START.0 + 365 * DAY);
    for profile in [Profile::Rev5, Profile::Rev6] {
        let key = key(profile, Activation::Now, Some(end));
        let before = UnixMillis(end.0 - 1);
        assert!(key.permit(1, Usage::Apply, before).is_ok());
        assert!(key.permit(1, Usage::Apply, end).is_err(), "{profile:?}");
        assert!(
            key.permit(1, Usage::Process, UnixMillis(end.0 + 36_500 * DAY)).is_ok(),
            "a century later it still decrypts"
        );
    }
}

#[test]
fn a_suspension_halts_every_version_and_lifting_it_restores_each() {
    let mut key = versions(Profile::Rev5, 3);
    let before = states(&key, START);
    key.suspend(false, &cause(START)).unwrap();
    assert_eq!(states(&key, START), [State::Suspended; 3]);
    for version in 1..=3 {
        let refused = Refusal::Use { state: State::Suspended, usage: Usage::Process };
        assert_eq!(key.permit(version, Usage::Process, START), Err(refused));
    }
    assert!(key.rotate(version_of(4), &cause(START)).is_err());
    key.activate(&cause(START)).unwrap();
    assert_eq!(states(&key, START), before);
    key.suspend(true, &cause(START)).unwrap();
    assert!(key.permit(1, Usage::Process, START).is_ok(), "the risk was accepted");
    assert!(key.permit(3, Usage::Apply, START).is_err(), "for processing only");
}

#[test]
fn a_compromise_is_not_lifted_like_a_suspension() {
    let mut key = versions(Profile::Rev5, 2);
    key.suspend(false, &cause(START)).unwrap();
    key.compromise(None, false, &cause(START)).unwrap();
    let refused = Refusal::Transition { from: State::Compromised, event: Event::Activate };
    assert_eq!(key.activate(&cause(START)), Err(refused));
    assert_eq!(states(&key, START), [State::Compromised; 2]);
}

#[test]
fn a_compromised_primary_can_be_replaced_once_the_suspension_is_lifted() {
    let mut key = versions(Profile::Rev5, 2);
    key.suspend(false, &cause(START)).unwrap();
    key.compromise(Some(2), false, &cause(START)).unwrap();
    assert_eq!(states(&key, START), [State::Suspended, State::Compromised]);
    assert_eq!(key.can_rotate(START), Err(Refusal::Rotation { from: State::Suspended }));
    key.activate(&cause(START)).unwrap();
    assert_eq!(key.rotate(version_of(3), &cause(START)), Ok(3));
    assert_eq!(states(&key, START), [State::Deactivated, State::Compromised, State::Active]);
}

#[test]
fn a_risk_is_accepted_for_the_versions_it_was_accepted_for() {
    let process = |key: &KeyRecord, version| key.permit(version, Usage::Process, START).is_ok();
    let mut key = versions(Profile::Rev5, 4);
    key.compromise(Some(1), false, &cause(START)).unwrap();
    key.compromise(Some(2), true, &cause(START)).unwrap();
    assert!(!process(&key, 1), "accepting the risk of another version did not open this one");
    assert!(process(&key, 2));
    key.compromise(Some(3), false, &cause(START)).unwrap();
    assert!(process(&key, 2), "what was accepted stands");
    assert!(!process(&key, 3));
    key.compromise(None, true, &cause(START)).unwrap();
    assert!((1..=4).all(|version| process(&key, version)), "of all versions is of every one");
}

#[test]
fn the_risk_of_what_is_compromised_already_can_be_accepted_later_and_no_longer() {
    let process = |key: &KeyRecord, version| key.permit(version, Usage::Process, START).is_ok();
    let mut key = versions(Profile::Rev5, 2);
    key.compromise(None, false, &cause(START)).unwrap();
    let refused = key.permit(1, Usage::Process, START).unwrap_err().to_string();
    assert!(refused.contains("--accept-risk"), "{refused}");
    assert!(key.compromise(None, false, &cause(START)).is_err(), "as before: nothing to do");
    key.compromise(Some(2), true, &cause(START)).unwrap();
    assert!(!process(&key, 1) && process(&key, 2), "of the version named");
    key.compromise(None, true, &cause(START)).unwrap();
    assert!(process(&key, 1) && process(&key, 2));
    assert!(key.permit(2, Usage::Apply, START).is_err(), "for processing only");
    let noted = key.history().last().unwrap();
    assert_eq!((noted.version, noted.from, noted.to), (None, State::Compromised, State::Compromised));
    key.compromise(None, false, &cause(START)).unwrap();
    assert!(!process(&key, 1) && !process(&key, 2), "no longer");
    // Of a key with a version that is not compromised, all of it is compromised.
    key.rotate(version_of(3), &cause(START)).unwrap();
    key.compromise(None, true, &cause(START)).unwrap();
    assert_eq!(key.state(START), State::Compromised);
    let later = Cause { now: START.plus_days(8), ..cause(START) };
    key.schedule_destruction(7, &cause(START)).unwrap();
    assert!(key.compromise(None, false, &cause(START)).is_ok(), "the safer way is always open");
    key.destroy(&later).unwrap();
    assert!(key.compromise(None, true, &later).is_err(), "there is nothing to process with");
}

/// Records once held one flag for all versions of a key.
#[test]
fn a_record_with_one_flag_for_all_versions_means_what_it_meant() {
    for accepted in [true, false] {
        let mut key = versions(Profile::Rev5, 3);
        key.compromise(Some(1), !accepted, &cause(START)).unwrap();
        let mut stored = serde_json::to_value(&key).unwrap();
        stored["versions"][0].as_object_mut().unwrap().remove("compromise_risk_accepted").unwrap();
        stored["compromised_risk_accepted"] = accepted.into();
        let mut old: KeyRecord = serde_json::from_value(stored).unwrap();
        assert_eq!(old.permit(1, Usage::Process, START).is_ok(), accepted);
        old.compromise(Some(2), !accepted, &cause(START)).unwrap();
        assert_eq!(old.permit(1, Usage::Process, START).is_ok(), accepted, "a later compromise leaves it");
        assert_eq!(old.permit(2, Usage::Process, START).is_ok(), !accepted);
    }
}

#[test]
fn a_key_that_cannot_be_rotated_is_told_what_to_do_instead() {
    let mut ended = active();
    ended.deactivate(&cause(START)).unwrap();
    let refusal = ended.can_rotate(START).unwrap_err();
    assert_eq!(refusal.to_string(), "a key that is deactivated cannot be rotated: create a new key");
    let waiting = key(Profile::Rev5, Activation::OnRequest, None);
    let refusal = waiting.can_rotate(START).unwrap_err();
    assert_eq!(refusal.to_string(), "a key that is pre-activation cannot be rotated: activate it first");
}

#[test]
fn versions_have_a_limit() {
    let mut key = versions(Profile::Rev5, 1000);
    assert_eq!(key.rotate(version_of(1001), &cause(START)), Err(Refusal::TooManyVersions));
    assert_eq!(key.versions().len(), 1000);
}

fn bytes(key: &KeyRecord) -> usize {
    serde_json::to_vec(key).unwrap().len()
}

/// Suspending and lifting it could go on for ever; with the longest reasons the record fills up soonest.
#[test]
fn a_record_does_not_grow_without_bound() {
    let reason: Label = "\"\\".repeat(512).parse().unwrap();
    let cause = Cause { reason, ..cause(START) };
    let mut key = versions(Profile::Rev5, 100);
    let mut cycles = 0;
    let refused = loop {
        match key.suspend(false, &cause) {
            Ok(()) => key.activate(&cause).unwrap(),
            Err(refusal) => break refusal,
        }
        cycles += 1;
        assert!(cycles < 10_000, "it goes on for ever");
    };
    assert_eq!(refused, Refusal::RecordFull);
    assert!(refused.to_string().contains("1048576"), "{refused}");
    assert!(cycles > 150, "there is room for {cycles}");
    assert!((1_600_000..2_110_000).contains(&bytes(&key)), "{}", bytes(&key));
    assert_eq!(key.can_rotate(START), Err(Refusal::RecordFull));
    // What ends a key goes on, with reasons as long as they may be.
    key.deactivate(&cause).unwrap();
    key.compromise(None, false, &cause).unwrap();
    key.schedule_destruction(7, &cause).unwrap();
    let later = Cause { now: cause.now.plus_days(7), ..cause };
    key.destroy(&later).unwrap();
    assert!(bytes(&key) < 6 * keyreeve_model::limits::KEY_RECORD_MAX, "{}", bytes(&key));
}

/// The emergency brake works when there is no room for another version.
#[test]
fn a_record_that_is_full_for_rotation_can_be_suspended() {
    let reason: Label = "\"\\".repeat(512).parse().unwrap();
    let cause = Cause { reason, ..cause(START) };
    let mut key = versions(Profile::Rev5, 100);
    while key.can_rotate(START).is_ok() {
        key.suspend(false, &cause).unwrap();
        key.activate(&cause).unwrap();
    }
    assert_eq!(key.can_rotate(START), Err(Refusal::RecordFull));
    key.suspend(false, &cause).unwrap();
    assert_eq!(key.state(START), State::Suspended);
}

/// A thousand versions of an ordinary key fit.
#[test]
fn a_key_of_many_versions_has_room() {
    let key = versions(Profile::Rev5, 999);
    assert!(key.can_rotate(START).is_ok(), "{} bytes", bytes(&key));
}

#[test]
fn a_stored_key_with_an_unknown_field_or_state_is_not_read() {
    let good = serde_json::to_string(&active()).unwrap();
    assert!(serde_json::from_str::<KeyRecord>(&good).is_ok());
    for (from, to) in [("\"state\":\"active\"", "\"state\":\"revived\""), ("\"primary\":1", "\"primary\":1,\"x\":1")] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good);
        assert!(serde_json::from_str::<KeyRecord>(&bad).is_err(), "{to}");
    }
}
