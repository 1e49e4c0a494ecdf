//! Holders of shares: exchanges, proofs, reminders; time as a value.

use super::*;
use keyreeve_crypto::random::Random;
use keyreeve_crypto::shamir::{self, Share};
use keyreeve_secret::SecretBytes;
use proptest::prelude::*;

const NOW: UnixMillis = UnixMillis(1_795_390_000_000);

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn person(text: &str) -> Person {
    Person { name: name(text), organisation: Label::default(), contact: Label::default() }
}

/// A set of `names.len()` shares.
fn set(names: &[&str], version: u32) -> (Vec<Share>, ShareHolders) {
    let secret = SecretBytes::copy_from(b"root key");
    let count = u8::try_from(names.len()).unwrap();
    let shares = shamir::split(&Random::from_module().unwrap(), &secret, (2, count), version).unwrap();
    let holder = |(share, name): (&Share, &&str)| Holder {
        share: share.index(),
        person: Some(person(name)),
        recipient: None,
        key: Some(ShareKey(share.verification_key().unwrap())),
        proved: None,
        confirmed: None,
    };
    let holders = shares.iter().zip(names).map(holder).collect();
    let set = ShareSetId(shares[0].set_id());
    (shares, ShareHolders { set, version, threshold: 2, made: NOW, asked: None, holders })
}

fn record(names: &[&str]) -> (Vec<Share>, SharesRecord) {
    let (shares, current) = set(names, 1);
    (
        shares,
        SharesRecord {
            purpose: SharePurpose::Root,
            of: name("main"),
            current,
            exchange: None,
            kept: None,
            reminded: None,
        },
    )
}

fn planned(text: &str) -> Planned {
    let recipient =
        RecipientRecord { kind: RecipientKind::Age, fingerprint: format!("age1{text}"), user: Label::default() };
    Planned { person: person(text), key: format!("age1{text}"), recipient }
}

fn exchange(names: &[&str]) -> Exchange {
    let planned = names.iter().map(|name| planned(name)).collect();
    let reason = "carol left".parse().unwrap();
    Exchange { begun: NOW, by: name("operator"), reason, threshold: 2, planned, handed_out: None }
}

fn proof(share: &Share, challenge: &Challenge) -> ShareProof {
    let signature = share.prove(&challenge.bytes()).unwrap().try_into().unwrap();
    ShareProof { set: ShareSetId(share.set_id()), share: share.index(), signature }
}

#[test]
fn a_new_set_counts_once_every_holder_has_it() {
    let (_, old) = record(&["alice", "bob", "carol"]);
    let before = old.current.clone();
    assert_eq!(old.clone().abandon().unwrap_err(), SharesRefusal::NotUnderWay);
    let begun = old.begin(exchange(&["alice", "bob", "dave"])).unwrap();
    assert_eq!(begun.gathering().unwrap().shares(), 3);
    assert!(matches!(begun.clone().begin(exchange(&["a", "b"])), Err(SharesRefusal::UnderWay { .. })));
    assert_eq!(begun.handed_out().unwrap_err(), SharesRefusal::NotMade);
    let (shares, holders) = set(&["alice", "bob", "dave"], 2);
    let new = HandedOut { public: serde_json::json!({"v": 2}), holders, texts: vec!["x".to_owned(); 3] };
    let out = begun.hand_out(new.clone()).unwrap().ask(NOW, [7; 16]);
    assert_eq!(out.clone().hand_out(new).unwrap_err(), SharesRefusal::Made);
    assert_eq!(out.current.set, before.set, "the present set still counts");
    let operator = name("operator");
    let commit = |record: &SharesRecord, confirmed: &[&str]| {
        record.clone().commit(&confirmed.iter().map(|text| name(text)).collect(), NOW, &operator)
    };
    let challenge = out.handed_out().unwrap().holders.challenge().unwrap();
    let mut out = out;
    let refused = commit(&out, &["alice", "bob", "dave"]).unwrap_err();
    assert_eq!(refused, SharesRefusal::TooFewProved { proved: 0, threshold: 2 }, "nobody's word opens anything");
    out = out.prove(&proof(&shares[0], &challenge), NOW, &operator).unwrap().0;
    let refused = commit(&out, &["bob", "dave"]).unwrap_err();
    assert_eq!(refused, SharesRefusal::TooFewProved { proved: 1, threshold: 2 });
    for share in &shares[..2] {
        out = out.prove(&proof(share, &challenge), NOW, &operator).unwrap().0;
    }
    assert_eq!(commit(&out, &[]).unwrap_err(), SharesRefusal::Unproved { who: "dave".to_owned() });
    assert_eq!(commit(&out, &["carol"]).unwrap_err(), SharesRefusal::NoSuchHolder { name: name("carol") });
    let (done, public) = commit(&out, &["dave"]).unwrap();
    assert_eq!((public, done.exchange.is_none(), done.current.version), (serde_json::json!({"v": 2}), true, 2));
    assert_eq!(done.current.holders[2].confirmed.as_ref().unwrap().by, operator);
    assert!(done.current.holders[0].confirmed.is_none() && done.current.holders[0].proved.is_some());
    let new = done.current.set;
    assert_eq!(done.kept.as_ref().map(|kept| kept.texts.len()), Some(3), "until they have opened it");
    assert_eq!(done.clone().opened(new, NOW), None, "it is open since before");
    assert_eq!(done.clone().opened(before.set, NOW.plus_days(1)), None, "another set opened it");
    let seen = done.opened(new, NOW.plus_days(1)).unwrap();
    assert!(!serde_json::to_string(&seen).unwrap().contains("texts"), "no share stays");
    let given_up = out.abandon().unwrap();
    assert_eq!((given_up.current.set, given_up.exchange), (before.set, None));
}

#[test]
fn only_the_holder_proves_and_once_for_each_challenge() {
    let (shares, record) = record(&["alice", "bob"]);
    let (stranger, _) = set(&["mallory", "eve"], 1);
    let by = name("operator");
    let unasked = Challenge { set: record.current.set, version: 1, asked: NOW, nonce: [1; 16] };
    assert_eq!(record.clone().prove(&proof(&shares[0], &unasked), NOW, &by).unwrap_err(), SharesRefusal::NotAsked);
    let record = record.ask(NOW, [1; 16]);
    let challenge = record.current.challenge().unwrap();
    let good = proof(&shares[0], &challenge);
    let refused = |proof: &ShareProof| record.clone().prove(proof, NOW, &by).unwrap_err();
    assert_eq!(refused(&proof(&stranger[0], &challenge)), SharesRefusal::OtherSet);
    let posing = ShareProof { set: record.current.set, ..proof(&stranger[0], &challenge) };
    assert_eq!(refused(&posing), SharesRefusal::NotProved);
    assert_eq!(refused(&ShareProof { share: 2, ..good }), SharesRefusal::NotProved);
    assert_eq!(refused(&ShareProof { share: 9, ..good }), SharesRefusal::NoSuchShare { share: 9 });
    let (proved, share) = record.clone().prove(&good, NOW, &by).unwrap();
    assert_eq!((share, proved.current.holders[0].proved.as_ref().unwrap().at), (1, NOW));
    let later = NOW.plus_days(30);
    let (again, _) = proved.clone().prove(&good, later, &by).unwrap();
    assert_eq!(again, proved, "an old proof is not a newer one");
    let asked = proved.ask(later, [2; 16]);
    assert_eq!(asked.clone().prove(&good, later, &by).unwrap_err(), SharesRefusal::NotProved);
    let fresh = proof(&shares[0], &asked.current.challenge().unwrap());
    assert_eq!(asked.prove(&fresh, later, &by).unwrap().0.current.holders[0].proved.as_ref().unwrap().at, later);
}

#[test]
fn overdue_proofs_are_told_of_weekly() {
    let (shares, record) = record(&["alice", "bob"]);
    assert_eq!(record.due(), Some(NOW.plus_days(90)));
    assert_eq!(record.clone().remind(NOW.plus_days(89)), None);
    let late = NOW.plus_days(91);
    assert_eq!(record.current.overdue(late).count(), 2);
    let told = record.ask(NOW, [0; 16]).remind(late).unwrap();
    assert_eq!(told.due(), Some(late.plus_days(7)));
    assert_eq!(told.clone().remind(late.plus_days(6)), None);
    let challenge = told.current.challenge().unwrap();
    let mut shown = told;
    for share in &shares {
        shown = shown.prove(&proof(share, &challenge), late, &name("operator")).unwrap().0;
    }
    assert_eq!(shown.due(), Some(late.plus_days(90)));
    assert_eq!(shown.current.overdue(late.plus_days(8)).count(), 0);
    for holder in &mut shown.current.holders {
        holder.key = None;
    }
    assert_eq!(shown.due(), None, "where there are no proofs none is overdue");
}

#[test]
fn impossible_holders_are_refused() {
    let (_, record) = record(&["alice", "bob"]);
    let refused = |exchange: Exchange| record.clone().begin(exchange).unwrap_err();
    assert!(matches!(refused(exchange(&["a", "a"])), SharesRefusal::Twice { .. }));
    let mut shared_key = exchange(&["a", "b"]);
    shared_key.planned[1].recipient = shared_key.planned[0].recipient.clone();
    assert!(matches!(refused(shared_key), SharesRefusal::OneKey { .. }));
    assert_eq!(refused(exchange(&[])), SharesRefusal::Numbers);
    assert_eq!(refused(Exchange { threshold: 1, ..exchange(&["a", "b"]) }), SharesRefusal::Numbers);
    assert_eq!(refused(Exchange { threshold: 3, ..exchange(&["a", "b"]) }), SharesRefusal::Numbers);
    assert_eq!(refused(Exchange { reason: Label::default(), ..exchange(&["a", "b"]) }), SharesRefusal::NoReason);
    let named = record.clone().name(2, person("bert")).unwrap();
    assert_eq!(named.current.holders[1].called(), "bert");
    assert_eq!(named.clone().name(2, person("alice")).unwrap_err(), SharesRefusal::Twice { name: name("alice") });
    assert_eq!(named.name(3, person("x")).unwrap_err(), SharesRefusal::NoSuchShare { share: 3 });
}

#[test]
fn records_survive_storage() {
    let (_, record) = record(&["alice", "bob"]);
    let (_, holders) = set(&["alice", "carol"], 2);
    let new = HandedOut { public: serde_json::json!({}), holders, texts: vec!["t".to_owned()] };
    let record = record.begin(exchange(&["alice", "carol"])).unwrap().hand_out(new).unwrap().ask(NOW, [3; 16]);
    let text = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<SharesRecord>(&text).unwrap(), record);
}

proptest! {
    #[test]
    fn challenges_and_proofs_are_read_as_they_are_written(
        set in any::<[u8; 16]>(),
        (version, at, share) in any::<(u32, i64, u8)>(),
        nonce in any::<[u8; 16]>(),
        signature in proptest::collection::vec(any::<u8>(), 64),
    ) {
        let challenge = Challenge { set: ShareSetId(set), version, asked: UnixMillis(at), nonce };
        prop_assert_eq!(format!(" {challenge}\n").parse(), Ok(challenge));
        let proof = ShareProof { set: ShareSetId(set), share, signature: signature.try_into().unwrap() };
        prop_assert_eq!(proof.to_string().parse(), Ok(proof));
        prop_assert_eq!(challenge.to_string().parse::<ShareProof>(), Err(BadShareText::Proof));
    }

    #[test]
    fn noise_is_neither(text: String) {
        prop_assert!(text.parse::<Challenge>().is_err());
        let prefixed = "krp1.".to_owned() + &text;
        prop_assert!(prefixed.parse::<ShareProof>().is_err());
    }
}
