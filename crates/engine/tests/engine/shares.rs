//! Shares of a root of trust: who holds them, proofs, and their exchange for new ones. What is encrypted is looked into
//! by `age` and `gpg` in tests/tests/production; here the root is listened to.

use keyreeve_crypto::shamir::Share;
use keyreeve_engine::ops::rules::Enact;
use keyreeve_engine::ops::shares::{
    Abandon, Challenge, Commit, Give, HolderSpec, Holders, NameHolder, Reshare, SharesReply, Show, VerifyShare,
};
use keyreeve_engine::ops::system::{Init, Unseal};
use keyreeve_engine::{Code, SealStatus};
use keyreeve_model::NoticeKind;
use keyreeve_model::holders::{self, Person, ShareProof, ShareSetId};
use keyreeve_secret::SecretString;
use keyreeve_store::faulty::CommitFault;

use crate::support::{Council, House, RootKind, Who, label, name};

const DAY: i64 = 86_400_000;
const RECIPIENTS: [&str; 4] = [
    "age1n4edku3ehf53952g53l7hq34f6ke6hg2c6ede3hscm26cua0cufqtvh34a",
    "age1hqcy8w9krzlq4ncqpux8pvemvp6n0jjlm5xc0szm87xhe8gv7vfqqdntux",
    "age1k9pa0rtcuwtf6carrfdsmmxk0zrghd79xrvgh6cyr6p8n2pnxcnstcm8e7",
    "age1x95ngflr2mmxrq97ccj95xx829wvlfd4d5rqvn9kr2hdhux669dscev8xe",
];

pub(crate) fn holder(n: usize) -> HolderSpec {
    let who = ["alice", "bob", "carol", "dave"][n];
    let person = Person { name: name(who), organisation: label("Example"), contact: label("+43 1") };
    HolderSpec { person, key: RECIPIENTS[n].to_owned(), fingerprint: RECIPIENTS[n].to_owned() }
}

fn reshare(holders: &[usize], threshold: u8) -> Reshare {
    let holders = holders.iter().map(|n| holder(*n)).collect();
    Reshare { root: None, threshold, holders, reason: label("carol left") }
}

fn give(share: &SecretString) -> Give {
    Give { root: None, share: share.duplicate(), exchange: None }
}

async fn house() -> House {
    House::with(RootKind::Shamir(3, 2), |_| {}).await
}

pub(crate) fn proof(share: &SecretString, challenge: &str) -> VerifyShare {
    let share = Share::from_text(share.expose()).unwrap();
    let challenge: holders::Challenge = challenge.parse().unwrap();
    let signature = share.prove(&challenge.bytes()).unwrap().try_into().unwrap();
    let proof = ShareProof { set: ShareSetId(share.set_id()), share: share.index(), signature };
    VerifyShare { root: None, proof }
}

async fn shares(house: &House) -> SharesReply {
    house.ask(Holders { root: None }).await
}

/// Begins an exchange and gives two shares: the new shares.
async fn handed_out(house: &House, to: &[usize], threshold: u8) -> Vec<SecretString> {
    house.ask(reshare(to, threshold)).await;
    assert!(!house.ask(give(&house.shares[0])).await.made);
    assert!(house.ask(give(&house.shares[2])).await.made);
    house.root().heard()
}

async fn prove_all(house: &House, new: &[SecretString]) {
    let challenge = shares(house).await.new_challenge.unwrap();
    for share in new {
        house.ask(proof(share, &challenge)).await;
    }
}

fn commit() -> Commit {
    Commit { root: None, confirmed: Default::default() }
}

/// Starts anew and says which of two sets opens: exactly one.
async fn opens(house: &mut House, sets: [&[SecretString]; 2]) -> usize {
    let mut opened = Vec::new();
    for (n, set) in sets.into_iter().enumerate() {
        house.reopen().await;
        for share in set {
            if !house.engine().is_open() {
                let _ = house.call(&Who::Nobody, Unseal { share: share.duplicate() }).await;
            }
        }
        if house.engine().is_open() {
            opened.push(n);
        }
    }
    assert_eq!(opened.len(), 1, "exactly one set opens");
    if opened[0] == 0 {
        house.reopen().await;
        for share in sets[0].iter().take(2) {
            house.call(&Who::Nobody, Unseal { share: share.duplicate() }).await.unwrap();
        }
    }
    opened[0]
}

#[tokio::test]
async fn shares_are_exchanged_and_the_root_stays() {
    let mut house = house().await;
    let key = house.aead().await;
    let ciphertext = house.encrypt(&key, b"kept").await;
    let new = handed_out(&house, &[0, 1, 3], 3).await;
    assert_eq!((new.len(), shares(&house).await.record.current.version), (3, 1));
    let shown = house.ask(Show { root: None }).await;
    let whose: Vec<&str> = shown.shares.iter().map(|text| text.person.name.as_str()).collect();
    assert_eq!(whose, ["alice", "bob", "dave"]);
    assert!(shown.shares.iter().all(|text| text.text.starts_with("-----BEGIN AGE ENCRYPTED FILE-----")));
    prove_all(&house, &new[..2]).await;
    assert_eq!(house.code(commit()).await, Code::WrongState, "dave has not shown to have his");
    prove_all(&house, &new[2..]).await;
    let done = house.ask(commit()).await;
    assert_eq!((done.record.current.version, done.record.current.threshold), (2, 3));
    assert!(done.record.exchange.is_none());
    assert_eq!(house.decrypt(&key, &ciphertext).await, b"kept", "the server never closed");
    let old: Vec<SecretString> = house.shares.iter().map(SecretString::duplicate).collect();
    assert_eq!(opens(&mut house, [&old, &new]).await, 1);
    assert_eq!(house.decrypt(&key, &ciphertext).await, b"kept");
    house.reopen().await;
    let refused = house.call(&Who::Nobody, Unseal { share: old[0].duplicate() }).await.unwrap_err();
    assert_eq!(refused.error.code(), Code::InvalidShare);
    let told = refused.error.public();
    assert!(told.contains("version 1") && told.contains("version 2 opens") && told.contains("replaced at"), "{told}");
    let records = house.records().await;
    let committed =
        records.iter().find(|record| record.operation == "root.reshare-commit" && record.outcome.code().is_none());
    let details = &committed.unwrap().details;
    assert_eq!((&*details["replaced_version"], &*details["share_set_version"]), ("1", "2"));
    for text in old.iter().chain(&new) {
        let text = &text.expose()[60..];
        assert!(records.iter().all(|record| !format!("{record:?}").contains(text)), "a share is in the log");
    }
}

#[tokio::test]
async fn a_share_given_to_an_exchange_does_not_count_for_the_next_one() {
    let house = house().await;
    let begun = |reply: &SharesReply| reply.record.exchange.as_ref().unwrap().begun;
    let first = begun(&house.ask(reshare(&[0, 1, 2], 2)).await);
    house.ask(Abandon { root: None, reason: label("the wrong people") }).await;
    house.clock.turn(1000);
    let second = begun(&house.ask(reshare(&[0, 1, 3], 2)).await);
    let give = |exchange| Give { exchange: Some(exchange), ..give(&house.shares[0]) };
    assert_eq!(house.code(give(first)).await, Code::WrongState);
    assert_eq!(shares(&house).await.given, 0);
    assert_eq!(house.ask(give(second)).await.given, 1);
}

/// Whatever the store does at each step, and after a crash right then: one of the two sets opens, and never both.
#[tokio::test]
async fn a_crash_at_any_point_leaves_one_set() {
    for fault in [CommitFault::Failed, CommitFault::FailedButPersisted, CommitFault::Conflict] {
        for step in ["begin", "give", "commit"] {
            let mut house = house().await;
            let key = house.aead().await;
            let ciphertext = house.encrypt(&key, b"kept").await;
            let fail = |at: &str| {
                at == step && {
                    house.store().fail_next_commit(fault);
                    true
                }
            };
            fail("begin");
            let begun = house.call(&house.developer, reshare(&[0, 1, 2, 3], 2)).await;
            let mut committed = false;
            let mut new = Vec::new();
            if begun.is_ok() {
                house.ask(give(&house.shares[0])).await;
                fail("give");
                let given = house.call(&house.developer, give(&house.shares[1])).await;
                new = house.root().heard();
                if given.is_ok() {
                    prove_all(&house, &new).await;
                    fail("commit");
                    committed = house.call(&house.developer, commit()).await.is_ok()
                        || fault == CommitFault::FailedButPersisted;
                }
            }
            let old: Vec<SecretString> = house.shares.iter().map(SecretString::duplicate).collect();
            let opened = opens(&mut house, [&old, &new]).await;
            assert_eq!(opened == 1, committed, "{fault:?} at {step}");
            assert_eq!(house.decrypt(&key, &ciphertext).await, b"kept", "{fault:?} at {step}");
            house.verify_log().await;
        }
    }
}

/// The new set was handed out, then the server crashed: nothing is lost, and the exchange goes on.
#[tokio::test]
async fn an_exchange_goes_on_after_a_restart() {
    let mut house = house().await;
    house.ask(reshare(&[0, 1], 2)).await;
    house.ask(give(&house.shares[0])).await;
    assert_eq!(shares(&house).await.given, 1);
    house.reopen().await;
    house.unseal().await;
    assert_eq!(shares(&house).await.given, 0, "shares that were given are in memory only");
    house.ask(give(&house.shares[1])).await;
    house.ask(give(&house.shares[2])).await;
    let new = house.root().heard();
    assert_eq!(house.code(give(&house.shares[0])).await, Code::WrongState, "they are made");
    house.reopen().await;
    house.unseal().await;
    assert_eq!(house.ask(Show { root: None }).await.shares.len(), 2);
    prove_all(&house, &new).await;
    house.ask(commit()).await;
    assert_eq!(house.ask(Show { root: None }).await.shares.len(), 2, "until they have opened it");
    house.shares = new;
    house.clock.turn(1000);
    house.reopen().await;
    house.unseal().await;
    assert!(house.engine().tick().await.is_empty());
    assert_eq!(house.code(Show { root: None }).await, Code::WrongState, "no share stays behind");
}

#[tokio::test]
async fn an_exchange_is_given_up_and_begun_anew() {
    let mut house = house().await;
    let first = handed_out(&house, &[0, 1], 2).await;
    assert_eq!(house.code(reshare(&[0, 1, 2], 2)).await, Code::WrongState);
    house.ask(Abandon { root: None, reason: label("bob lost his key") }).await;
    assert_eq!(house.code(commit()).await, Code::WrongState);
    assert_eq!(house.code(Abandon { root: None, reason: label("again") }).await, Code::WrongState);
    let second = handed_out(&house, &[0, 2], 2).await;
    let challenge = shares(&house).await.new_challenge.unwrap();
    assert_eq!(house.code(proof(&first[0], &challenge)).await, Code::InvalidShare, "of the set that was given up");
    prove_all(&house, &second).await;
    let unknown = Commit { root: None, confirmed: [name("bob")].into() };
    assert_eq!(house.code(unknown).await, Code::NotFound);
    house.ask(commit()).await;
    house.shares = second;
    house.reopen().await;
    assert_eq!(house.code_for(&Who::Nobody, Unseal { share: first[0].duplicate() }).await, Code::InvalidShare);
    house.unseal().await;
}

/// One operator who answers for everybody cannot make the server impossible to open.
#[tokio::test]
async fn as_many_as_open_the_root_prove_theirs_first() {
    let mut house = house().await;
    let new = handed_out(&house, &[0, 1, 3], 2).await;
    let confirm = |names: &[&str]| Commit { root: None, confirmed: names.iter().map(|who| name(who)).collect() };
    assert_eq!(house.code(confirm(&["alice", "bob", "dave"])).await, Code::WrongState);
    prove_all(&house, &new[..1]).await;
    let refused = house.call(&house.developer, confirm(&["bob", "dave"])).await.unwrap_err();
    assert!(refused.error.public().contains("1 holders have proved"), "{}", refused.error.public());
    prove_all(&house, &new[1..2]).await;
    let done = house.ask(confirm(&["dave"])).await;
    assert!(done.record.current.holders[2].confirmed.is_some());
    house.shares = new;
    house.reopen().await;
    house.unseal().await;
}

#[tokio::test]
async fn forged_foreign_and_repeated_shares_do_not_exchange() {
    let (house, other) = (house().await, house().await);
    assert_eq!(house.code(give(&house.shares[0])).await, Code::WrongState, "nothing was begun");
    house.ask(reshare(&[0, 1], 2)).await;
    assert_eq!(house.code(give(&other.shares[0])).await, Code::InvalidShare);
    house.ask(give(&house.shares[0])).await;
    assert_eq!(house.code(give(&house.shares[0])).await, Code::InvalidShare);
    assert_eq!(shares(&house).await.given, 1);
    let mut twice = reshare(&[0, 1], 2);
    twice.holders[1].key = RECIPIENTS[0].to_owned();
    twice.holders[1].fingerprint = RECIPIENTS[0].to_owned();
    house.ask(Abandon { root: None, reason: label("a test") }).await;
    assert_eq!(shares(&house).await.given, 0);
    assert_eq!(house.code(twice).await, Code::InvalidRequest, "one person with two shares");
    let mut other_key = reshare(&[0, 1], 2);
    other_key.holders[1].fingerprint = RECIPIENTS[2].to_owned();
    assert_eq!(house.code(other_key).await, Code::InvalidRequest, "not the key that was compared");
    assert_eq!(house.code(reshare(&[0, 1], 3)).await, Code::InvalidRequest);
}

#[tokio::test]
async fn initialisation_encrypts_to_holders_and_shows_no_share() {
    let house = House::empty(RootKind::Shamir(3, 2), |_| {}).await;
    let init = |alter: fn(&mut Vec<HolderSpec>)| {
        let mut holders = vec![holder(0), holder(1), holder(2)];
        alter(&mut holders);
        Init { shares: 3, threshold: 2, holders }
    };
    let wrong: [fn(&mut Vec<HolderSpec>); 3] = [
        |holders| holders[0].fingerprint = RECIPIENTS[3].to_owned(),
        |holders| holders[1].person.name = name("alice"),
        |holders| drop(holders.pop()),
    ];
    for alter in wrong {
        assert_eq!(house.code_for(&Who::Nobody, init(alter)).await, Code::InvalidRequest);
    }
    let reply = house.call(&Who::Nobody, init(|_| ())).await.unwrap().reply;
    assert_eq!((reply.shares.len(), reply.handed.len()), (0, 3));
    assert!(reply.challenge.unwrap().starts_with("krc1."));
    let holders = house.call(&Who::Bearer(reply.token), Holders { root: None }).await.unwrap().reply.record.current;
    let fingerprints: Vec<String> = holders.holders.into_iter().map(|h| h.recipient.unwrap().fingerprint).collect();
    assert_eq!(fingerprints, RECIPIENTS[..3]);
    let record = house.records().await.into_iter().rfind(|record| record.operation == "system.init").unwrap();
    assert_eq!(record.details["holders"], "alice, bob, carol");
}

#[tokio::test]
async fn proofs_are_kept_and_missed() {
    let house = house().await;
    let named = NameHolder { root: None, share: 2, person: holder(1).person };
    assert_eq!(house.ask(named).await.record.current.holders[1].called(), "bob");
    let missed = async || {
        assert!(house.engine().tick().await.is_empty());
        house.engine().deliver(0).await;
        let taken = house.posts[0].taken();
        let kinds = taken.iter().filter(|notice| notice.kind == NoticeKind::ShareProofsOverdue);
        kinds.map(|notice| notice.facts.get("holders").unwrap().to_owned()).collect::<Vec<_>>()
    };
    house.pass(80 * DAY).await;
    assert_eq!(missed().await, [""; 0]);
    let challenge = house.ask(Challenge { root: None }).await.challenge.unwrap();
    let stranger = house.welcome(House::person("courier", &[])).await;
    let proved = house.call(&stranger, proof(&house.shares[1], &challenge)).await.unwrap().reply;
    assert_eq!((proved.share, proved.holder), (2, Some(name("bob"))));
    house.pass(10 * DAY).await;
    assert_eq!(missed().await, ["share 1, share 3"]);
    let told = missed().await.len();
    house.pass(6 * DAY).await;
    assert_eq!(missed().await.len(), told, "not before a week is over");
    let other = self::house().await;
    assert_eq!(house.code(proof(&other.shares[0], &challenge)).await, Code::InvalidShare);
    house.ask(proof(&house.shares[0], &challenge)).await;
    house.ask(proof(&house.shares[2], &challenge)).await;
    house.pass(30 * DAY).await;
    assert_eq!(missed().await.len(), told, "all have shown theirs");
}

#[tokio::test]
async fn two_people_agree_to_an_exchange() {
    let mut council = Council::gathered_in(House::with(RootKind::Shamir(1, 1), |_| {}).await).await;
    council.house.unseal().await;
    let house = &council.house;
    house.call(&council.olga.who, Enact).await.unwrap();
    let id = council.olga.waits(house, reshare(&[0, 1], 2)).await;
    let given = house.call(&council.ann.who, give(&house.shares[0])).await.unwrap_err();
    assert_eq!(given.error.code(), Code::WrongState, "nobody agreed yet");
    council.sue.approve(house, id).await;
    council.carl.approve(house, id).await;
    house.call(&council.olga.who, reshare(&[0, 1], 2)).await.unwrap();
    assert!(house.call(&council.ann.who, give(&house.shares[0])).await.unwrap().reply.made);
    let new = house.root().heard();
    let challenge = house.call(&council.olga.who, Holders { root: None }).await.unwrap().reply.new_challenge.unwrap();
    for share in &new {
        house.call(&council.ann.who, proof(share, &challenge)).await.unwrap();
    }
    let id = council.olga.waits(house, commit()).await;
    council.sue.approve(house, id).await;
    let early = house.code_for(&council.olga.who, commit()).await;
    assert_eq!(early, Code::ApprovalNeeded, "nor does one say when the present shares are given up");
    council.carl.approve(house, id).await;
    house.call(&council.olga.who, commit()).await.unwrap();
    council.house.shares = new;
    council.house.reopen().await;
    council.house.unseal().await;
    assert_eq!(council.house.engine().seal_status(), SealStatus::Open);
}
