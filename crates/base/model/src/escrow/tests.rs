//! Which keys a policy names, campaigns and recoveries over time.

use super::*;
use crate::holders::{Holder, Proved, ShareKey, ShareSetId};
use crate::key::{Activation, NewKey, NewVersion, Origin, Provenance, Scope};
use crate::lifecycle::Profile;
use crate::metadata::KeyMetadata;

const DAY: i64 = 24 * 3_600_000;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn key(algorithm: KeyAlgorithm, purpose: Purpose, classification: Classification) -> KeyRecord {
    let labels = BTreeMap::from([(name("type"), "dek".parse().unwrap())]);
    let new = NewKey {
        id: KeyId::from_bytes([1; 16]),
        keyring: KeyringId::from_bytes([2; 16]),
        shard: 0,
        algorithm,
        purpose,
        scope: Scope::Both,
        exportable: false,
        protection: crate::device::Protection::Software,
        activation: Activation::Now,
        deactivates: None,
        deterministic_reason: None,
        metadata: KeyMetadata { labels, classification, ..KeyMetadata::default() },
    };
    let (by, reason, module) = (name("ann"), Label::default(), "module".to_owned());
    let provenance = Provenance { origin: Origin::Generated, module, by, reason };
    let first = NewVersion { public_key: None, fingerprint: "00".to_owned(), provenance, imported: None, device: None };
    KeyRecord::create(new, first, Profile::default(), UnixMillis(0))
}

fn policy(rules: Vec<EscrowRule>) -> EscrowPolicy {
    EscrowPolicy { rules, reason: Label::default(), at: UnixMillis(0), by: name("eve") }
}

#[test]
fn a_rule_names_keys_by_everything_it_says() {
    let (aes, ring) = (KeyAlgorithm::Xaes256Gcm, name("payments"));
    let confidential = key(aes, Purpose::Encrypt, Classification::Confidential);
    let labelled = |value: &str| BTreeMap::from([(name("type"), value.parse().unwrap())]);
    let all = EscrowRule::default();
    let of_ring = |ring: &str| EscrowRule { keyring: Some(name(ring)), ..EscrowRule::default() };
    let of_class = |class| EscrowRule { at_least: Some(class), ..EscrowRule::default() };
    let cases = [
        (vec![], false),
        (vec![all.clone()], true),
        (vec![of_ring("payments")], true),
        (vec![of_ring("other")], false),
        (vec![of_ring("other"), of_ring("payments")], true),
        (vec![of_class(Classification::Confidential)], true),
        (vec![of_class(Classification::Restricted)], false),
        (vec![EscrowRule { labels: labelled("dek"), ..EscrowRule::default() }], true),
        (vec![EscrowRule { labels: labelled("kek"), ..EscrowRule::default() }], false),
        (vec![EscrowRule { labels: labelled("dek"), ..of_ring("other") }], false),
    ];
    for (rules, concerned) in cases {
        assert_eq!(policy(rules.clone()).concerns(&confidential, &ring), concerned, "{rules:?}");
    }
    let signing = key(KeyAlgorithm::EcP256, Purpose::Sign, Classification::Confidential);
    assert!(!policy(vec![all]).concerns(&signing, &ring), "private signature keys never are");
}

fn set(proved: [Option<i64>; 2]) -> ShareHolders {
    let holder = |(share, asked): (u8, Option<i64>)| Holder {
        share,
        person: None,
        recipient: None,
        key: Some(ShareKey([share; 32])),
        proved: asked.map(|asked| Proved { at: UnixMillis(asked + 1), asked: UnixMillis(asked), by: name("eve") }),
        confirmed: None,
    };
    let holders = (1..).zip(proved).map(holder).collect();
    let (set, made) = (ShareSetId([3; 16]), UnixMillis(0));
    ShareHolders { set, version: 1, threshold: 2, made, asked: None, holders }
}

fn campaign() -> Campaign {
    Campaign {
        number: 1,
        escrow: 1,
        opened: UnixMillis(10 * DAY),
        since: UnixMillis(10 * DAY),
        by: name("eve"),
        due: UnixMillis(24 * DAY),
        challenge: Sealed(vec![1, 2]),
        expected: [4; 32],
        rehearsed: None,
        closed: None,
        verified: false,
        told: None,
    }
}

#[test]
fn a_campaign_is_over_when_everybody_showed_and_the_shares_combined() {
    let (open, now) = (campaign(), UnixMillis(11 * DAY));
    let before = set([Some(9 * DAY), Some(10 * DAY)]);
    assert_eq!(open.missing(&before), ["proof of share 1", "rehearsal"], "an older proof does not count");
    let all = set([Some(10 * DAY), Some(10 * DAY)]);
    assert!(open.clone().complete(&all, now).is_open());
    let rehearsed = Campaign { rehearsed: Some(Rehearsed { at: now, by: name("eve") }), ..open };
    assert!(rehearsed.clone().complete(&before, now).is_open());
    let done = rehearsed.complete(&all, now);
    assert!(done.verified && done.closed == Some(now));
    assert_eq!(done.remind(UnixMillis(99 * DAY)), None);
}

#[test]
fn an_overdue_campaign_is_told_of_each_week() {
    let mut open = campaign();
    let mut told = Vec::new();
    for day in 10..40 {
        if let Some(next) = open.clone().remind(UnixMillis(day * DAY)) {
            told.push(day);
            open = next;
        }
    }
    assert_eq!(told, [24, 31, 38]);
    assert_eq!(campaign().next(), UnixMillis(100 * DAY));
}

#[test]
fn a_recovery_takes_shares_for_its_time() {
    let open = Recovery {
        id: RecoveryId::from_bytes([7; 16]),
        key: KeyId::from_bytes([1; 16]),
        version: 1,
        escrow: 1,
        to: RecoverTo::Server,
        reason: Label::default(),
        by: name("eve"),
        begun: UnixMillis(0),
        expires: UnixMillis(DAY),
        state: RecoveryState::Open,
        agents: BTreeSet::new(),
        wrapped: None,
    };
    assert_eq!(open.need_open(UnixMillis(DAY - 1)), Ok(()));
    assert_eq!(open.need_open(UnixMillis(DAY)), Err(RecoveryRefusal::Expired));
    assert_eq!((open.standing(UnixMillis(0)), open.standing(UnixMillis(DAY))), ("open", "expired"));
    let done = Recovery { state: RecoveryState::Done { at: UnixMillis(5) }, ..open };
    assert_eq!(done.need_open(UnixMillis(6)), Err(RecoveryRefusal::Over));
}

#[test]
fn records_come_back_as_they_were() {
    let kept = campaign();
    let text = serde_json::to_string(&kept).unwrap();
    assert!(text.contains(r#""challenge":"AQI=""#), "{text}");
    assert_eq!(serde_json::from_str::<Campaign>(&text).unwrap(), kept);
    assert!(serde_json::from_str::<Campaign>(&text.replace("AQI=", "AQI")).is_err());
    let to: RecoverTo = serde_json::from_str(r#""server""#).unwrap();
    assert_eq!(to, RecoverTo::Server);
    assert!(serde_json::from_str::<RecoverTo>(r#""anywhere""#).is_err());
}

#[test]
fn what_is_wrapped_is_bound_to_its_place() {
    let (key, ring) = (KeyId::from_bytes([1; 16]), KeyringId::from_bytes([2; 16]));
    let contexts = [
        Deposit::context(key, 1, ring, 1),
        Deposit::context(key, 2, ring, 1),
        Deposit::context(key, 1, ring, 2),
        Deposit::context(KeyId::from_bytes([3; 16]), 1, ring, 1),
    ];
    let distinct: BTreeSet<&Vec<u8>> = contexts.iter().collect();
    assert_eq!(distinct.len(), contexts.len());
    assert_eq!(EscrowKey::shares_of(12).as_str(), "escrow-12");
}
