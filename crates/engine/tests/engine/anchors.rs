//! Anchors: a server over an old copy of its store or log notices, does nothing, and goes on when people say so; and
//! what runs is on record.

use keyreeve_crypto::KeyAlgorithm;
use keyreeve_engine::ops::anchors::{AcceptRollback, Info, StartFacts};
use keyreeve_engine::ops::destruction::Schedule;
use keyreeve_engine::ops::rules::Enact;
use keyreeve_engine::ops::{backups, keys};
use keyreeve_engine::{Backups, Code, KeyRef, Plan, RestoreOptions};
use keyreeve_journal::Journal;
use keyreeve_model::NoticeKind;
use keyreeve_model::anchor::{Placed, Statement};
use keyreeve_model::backup::COUNTERS_JUMP;
use keyreeve_root::Held;
use keyreeve_root::anchor_suite::{AnchorFault, MemoryAnchor};
use keyreeve_store::faulty::CommitFault;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::support::{Council, DAY, House, RootKind, create, key_of, label, name};

const MINUTE: i64 = 60_000;

/// A house with one anchor, initialised.
async fn house_with(anchor: &MemoryAnchor, required: bool) -> House {
    let mut house = House::empty(RootKind::SealedFile, |_| {}).await;
    house.anchors.insert("usb", (anchor.clone(), required));
    house.reopen().await;
    let reply = house.init().await.unwrap();
    house.move_in(reply);
    assert!(house.engine().is_open());
    house
}

/// A copy of a directory, permissions included.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    std::fs::set_permissions(to, from.metadata().unwrap().permissions()).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (entry, target) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if entry.is_dir() {
            copy(&entry, &target);
        } else {
            std::fs::copy(entry, target).unwrap();
        }
    }
}

/// What somebody copied of a house that was switched off in good order.
struct Copied(tempfile::TempDir);

/// Ends the house in good order, copies parts of its disks, and starts it again.
async fn copied(house: &mut House, parts: &[&str]) -> Copied {
    house.engine().stop().await;
    house.crash();
    let kept = tempfile::tempdir().unwrap();
    for part in parts {
        copy(&house.path().join(part), &kept.path().join(part));
    }
    house.reopen().await;
    Copied(kept)
}

impl Copied {
    /// Puts the copy where it came from, behind the back of a server that is down, and starts that.
    async fn put_back(&self, house: &mut House) {
        house.crash();
        for entry in std::fs::read_dir(self.0.path()).unwrap() {
            let part = house.path().join(entry.as_ref().unwrap().file_name());
            std::fs::remove_dir_all(&part).unwrap();
            copy(&entry.unwrap().path(), &part);
        }
        house.reopen().await;
    }
}

fn found(house: &House) -> String {
    house.engine().rolled_back().unwrap_or_default().join("; ")
}

async fn accept(house: &House) {
    house.ask(AcceptRollback { reason: label("the disk was put back on purpose") }).await;
    assert!(house.engine().is_open());
}

async fn reserved(house: &House, key: &KeyRef) -> u64 {
    let described = house.ask(keys::Describe { key: key.clone() }).await.key;
    described.versions().iter().map(|version| version.reserved_messages()).max().unwrap()
}

/// The heart of it: yesterday's whole data directory, with an anchor that was not in it.
#[tokio::test(flavor = "multi_thread")]
async fn yesterdays_disks_are_noticed_and_nothing_is_done_until_people_agree() {
    for anchor in [MemoryAnchor::keeping(), MemoryAnchor::counting(4711)] {
        let mut house = house_with(&anchor, true).await;
        let (key, counted) = (house.aead().await, key_of(&house.make(create(KeyAlgorithm::Aes256Gcm)).await));
        let text = house.encrypt(&counted, b"counted").await;
        let yesterday = copied(&mut house, &["store", "journal", "epochs"]).await;
        house.encrypt(&counted, b"today").await;
        house.ask(Schedule { key: key.clone(), days: 7, reason: label("no longer needed") }).await;
        house.pass(DAY).await;
        house.engine().stop().await;

        yesterday.put_back(&mut house).await;
        assert!(!house.engine().is_open(), "it must not open");
        assert!(found(&house).contains("usb (memory): the store is older than it"), "{}", found(&house));
        assert_eq!(house.code(keys::Describe { key: key.clone() }).await, Code::RolledBack);
        assert_eq!(house.code(House::decrypting(&counted, &text)).await, Code::RolledBack);
        let readiness = house.engine().readiness().await;
        assert!(readiness.rolled_back.is_some() && !readiness.is_ready());
        let info = house.ask(Info).await;
        assert_eq!(info.rolled_back.len(), 1);
        // People are told, the log has it, and nothing falls due on the old copy.
        assert!(house.records().await.iter().any(|record| record.operation == "system.rolled-back"));
        house.engine().deliver(0).await;
        assert!(house.posts[0].taken().iter().any(|notice| notice.kind == NoticeKind::RolledBack));
        assert!(house.engine().tick().await.is_empty());
        let stands = anchor.held();
        house.engine().stop().await;
        assert_eq!(anchor.held(), stands, "an old copy does not move the anchor");
        house.reopen().await;
        assert!(!house.engine().is_open(), "not the next time either");

        let before = 1 << 20;
        accept(&house).await;
        assert!(reserved(&house, &counted).await >= COUNTERS_JUMP + before, "no number is used twice");
        assert_eq!(house.decrypt(&counted, &text).await, b"counted");
        house.encrypt(&counted, b"goes on").await;
        let records = house.records().await;
        let accepted = records.iter().find(|record| record.operation == "system.accept-rollback").unwrap();
        assert!(accepted.details["found"].contains("older"), "{accepted:?}");
        let info = house.ask(Info).await;
        assert!(info.rolled_back.is_empty() && info.accepted.is_some_and(|accepted| accepted.done));
        assert_eq!(house.code(AcceptRollback { reason: label("again") }).await, Code::WrongState);
        // The anchors know this one now, and counters do not jump again.
        let once = reserved(&house, &counted).await;
        house.engine().stop().await;
        house.reopen().await;
        assert!(house.engine().is_open(), "{}", found(&house));
        assert_eq!(reserved(&house, &counted).await, once);
    }
}

/// Where rules of approval are in force two others have to agree, and they can while nothing else is done.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_copy_goes_on_with_the_consent_of_two_others() {
    let anchor = MemoryAnchor::keeping();
    let mut council = Council::gathered_in(house_with(&anchor, true).await).await;
    council.house.call(&council.olga.who, Enact).await.unwrap();
    let old = copied(&mut council.house, &["store", "journal", "epochs"]).await;
    council.house.aead().await;
    council.house.pass(DAY).await;
    old.put_back(&mut council.house).await;
    let Council { house, olga, sue, carl, ann, .. } = &council;
    let asked = || AcceptRollback { reason: label("put back on purpose") };
    assert_eq!(house.code_for(&ann.who, asked()).await, Code::Denied);
    let id = olga.waits(house, asked()).await;
    let shown = house.shown(id).await.proposal;
    assert!(shown.shown().iter().any(|shown| shown.value.contains("older")), "{shown:?}");
    sue.approve(house, id).await;
    assert!(!house.engine().is_open(), "one is not enough");
    carl.approve(house, id).await;
    house.engine().execute_approved(House::arrival(&olga.who), id).await.unwrap();
    assert!(house.engine().is_open());
    house.aead().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_database_or_an_old_log_alone_is_noticed() {
    let anchor = MemoryAnchor::keeping();
    for (parts, says) in [(["store"], "the store is older than it"), (["journal"], "the audit log is older")] {
        anchor.put(Held::default());
        let mut house = house_with(&anchor, true).await;
        let old = copied(&mut house, &parts).await;
        house.aead().await;
        house.pass(DAY).await;
        old.put_back(&mut house).await;
        assert!(found(&house).contains(says), "{parts:?}: {}", found(&house));
        assert!(!house.engine().is_open());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_counter_and_the_store_together_know_an_old_log() {
    let anchor = MemoryAnchor::counting(9);
    let mut house = house_with(&anchor, true).await;
    let old = copied(&mut house, &["journal"]).await;
    house.aead().await;
    house.pass(DAY).await;
    old.put_back(&mut house).await;
    assert!(found(&house).contains("the audit log is older"), "{}", found(&house));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_from_before_the_anchor_was_used_is_noticed() {
    let anchor = MemoryAnchor::counting(1);
    let mut house = House::new().await;
    let before = copied(&mut house, &["store"]).await;
    house.anchors.insert("usb", (anchor.clone(), true));
    house.reopen().await;
    assert!(house.engine().is_open(), "an anchor that is new is taken in");
    assert_eq!(anchor.held().count, Some(1));
    before.put_back(&mut house).await;
    assert!(found(&house).contains("the store knows nothing of it"), "{}", found(&house));
    // And with another's counter at that place the same is said.
    let mut other = House::new().await;
    other.anchors.insert("usb", (anchor, true));
    other.reopen().await;
    assert!(!other.engine().is_open());
    accept(&other).await;
}

/// The anchor follows the store: whatever dies in between, the same server opens again.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_the_store_and_the_anchor_is_no_rollback() {
    for anchor in [MemoryAnchor::keeping(), MemoryAnchor::counting(7)] {
        let mut house = house_with(&anchor, true).await;
        for fault in [AnchorFault::Failed, AnchorFault::FailedButDone] {
            for _ in 0..3 {
                house.aead().await;
                house.clock.turn(10 * MINUTE);
                anchor.fail_next(fault);
                assert_eq!(house.engine().tick().await.len(), 1, "{fault:?}");
                house.crash();
                house.reopen().await;
                assert!(house.engine().is_open(), "{fault:?}: {}", found(&house));
            }
        }
        // The store fails first: the anchor stays.
        house.aead().await;
        house.clock.turn(10 * MINUTE);
        let stood = anchor.held().count;
        house.store().fail_next_commit(CommitFault::Failed);
        assert!(!house.engine().tick().await.is_empty());
        assert_eq!(anchor.held().count, stood);
        house.crash();
        house.reopen().await;
        assert!(house.engine().is_open());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_in_the_very_first_step_is_no_rollback() {
    for anchor in [MemoryAnchor::keeping(), MemoryAnchor::counting(40)] {
        for fault in [AnchorFault::Failed, AnchorFault::FailedButDone] {
            anchor.put(Held::default());
            let mut house = House::empty(RootKind::SealedFile, |_| {}).await;
            house.anchors.insert("usb", (anchor.clone(), true));
            house.reopen().await;
            anchor.fail_next(fault);
            let reply = house.init().await.unwrap();
            house.move_in(reply);
            house.crash();
            house.reopen().await;
            assert!(house.engine().is_open(), "{fault:?}: {}", found(&house));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_exchanged_under_a_running_server_is_noticed_by_the_tick() {
    let anchor = MemoryAnchor::keeping();
    let house = house_with(&anchor, true).await;
    let key = house.aead().await;
    // Somebody with access to the database puts the row of the anchor back.
    let row: (i64, Vec<u8>, Vec<u8>) = house
        .sql()
        .query_row("SELECT revision, record, mac FROM filed WHERE kind = 'anchors'", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    house.pass(10 * MINUTE).await;
    house.encrypt(&key, b"goes on").await;
    house.pass(10 * MINUTE).await;
    let sql = "UPDATE filed SET revision = ?1, record = ?2, mac = ?3 WHERE kind = 'anchors'";
    house.sql().execute(sql, rusqlite::params![row.0, row.1, row.2]).unwrap();
    house.engine().tick().await;
    assert!(!house.engine().is_open() && found(&house).contains("older"), "{}", found(&house));
    assert_eq!(house.code(House::encrypting(&key, b"x")).await, Code::RolledBack);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anchor_moves_only_when_something_happened_and_its_time_has_come() {
    let anchor = MemoryAnchor::keeping();
    let house = house_with(&anchor, true).await;
    house.pass(10 * MINUTE).await;
    let count = || anchor.held().count.unwrap();
    let first = count();
    for _ in 0..5 {
        house.pass(10 * MINUTE).await;
    }
    assert_eq!(count(), first, "nothing happened");
    house.aead().await;
    house.pass(MINUTE).await;
    assert_eq!(count(), first + 1, "after a long rest it does not wait");
    house.aead().await;
    house.pass(MINUTE).await;
    assert_eq!(count(), first + 1, "not yet");
    house.pass(5 * MINUTE).await;
    assert_eq!(count(), first + 2);
    let statement = anchor.held().statement.unwrap();
    let statement = Statement::read(&statement, |_, _| true).unwrap();
    assert_eq!(statement.count, first + 2);
    assert_eq!(statement.log_size, house.journal().size());
    assert!(statement.checkpoint.starts_with("keyreeve.local/audit\n"), "{}", statement.checkpoint);
    assert_eq!(Placed { count: 1, statement: Vec::new() }.write(), b"keyreeve-anchor 1 1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_waits_for_an_anchor_that_it_needs_and_for_no_other() {
    for (required, opens) in [(true, false), (false, true)] {
        let anchor = MemoryAnchor::keeping();
        let mut house = house_with(&anchor, required).await;
        anchor.lose(true);
        house.reopen().await;
        assert_eq!(house.engine().is_open(), opens);
        assert_eq!(house.engine().readiness().await.anchor.is_some(), required);
        let code = house.call(&house.developer, keys::Describe { key: KeyRef::Alias(name("none")) }).await;
        let wanted = if required { Code::Sealed } else { Code::NotFound };
        assert_eq!(code.err().map(|refused| refused.error.code()), Some(wanted));
        if !required {
            house.pass(2 * DAY).await;
            house.engine().deliver(0).await;
            let told = house.posts[0].taken();
            assert!(told.iter().any(|notice| notice.kind == NoticeKind::AnchorTrouble), "{told:?}");
        }
        anchor.lose(false);
        assert!(house.engine().tick().await.is_empty());
        assert!(house.engine().is_open(), "it is asked again at each tick");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_this_deployments_is_never_taken_for_an_anchor() {
    let anchor = MemoryAnchor::keeping();
    let mut first = house_with(&anchor, true).await;
    // Another deployment does not begin with it ...
    let mut second = House::empty(RootKind::SealedFile, |_| {}).await;
    second.anchors.insert("usb", (anchor.clone(), true));
    second.reopen().await;
    let refused = second.init().await.unwrap_err().error;
    assert!(refused.to_string().contains("of another deployment"), "{refused}");
    // ... nor does one that is there take it over, whoever agrees.
    let mut third = House::new().await;
    third.anchors.insert("usb", (anchor.clone(), true));
    third.reopen().await;
    assert!(found(&third).contains("of another deployment, or was altered"), "{}", found(&third));
    assert_eq!(third.code(AcceptRollback { reason: label("mine now") }).await, Code::WrongState);
    // Its own, altered.
    first.engine().stop().await;
    let held = anchor.held();
    let mut altered = held.statement.clone().unwrap();
    altered[20] ^= 1;
    anchor.put(Held { statement: Some(altered), ..held.clone() });
    first.reopen().await;
    assert!(!first.engine().is_open());
    anchor.put(held);
    first.reopen().await;
    assert!(first.engine().is_open());
    // Emptied, as by somebody who wants an old copy to go unnoticed.
    anchor.put(Held::default());
    first.reopen().await;
    assert!(found(&first).contains("it is empty"), "{}", found(&first));
    accept(&first).await;
    // Taken out of the configuration: people are told once.
    first.anchors.clear();
    first.reopen().await;
    first.pass(MINUTE).await;
    first.pass(3 * DAY).await;
    first.engine().deliver(0).await;
    let told = first.posts[0].taken();
    assert_eq!(told.iter().filter(|notice| notice.kind == NoticeKind::AnchorTrouble).count(), 1, "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_server_takes_its_anchors_as_they_stand() {
    let places = tempfile::tempdir().unwrap();
    let archive = |at: &str| {
        let opened = keyreeve_archive_directory::DirectoryArchive::open(&places.path().join(at)).unwrap();
        Arc::new(opened) as Arc<dyn keyreeve_archive::Archive>
    };
    let serve = |house: &House| {
        house.engine().keep_backups(Backups {
            local: archive("local"),
            destinations: BTreeMap::from([(name("vault"), archive("vault"))]),
            configuration: None,
            plan: Plan { every: None, verify_every: None, keep: Default::default() },
        });
    };
    let anchor = MemoryAnchor::keeping();
    let house = house_with(&anchor, true).await;
    serve(&house);
    let counted = key_of(&house.make(create(KeyAlgorithm::Aes256Gcm)).await);
    house.encrypt(&counted, b"x").await;
    house.ask(backups::Create).await;
    house.pass(DAY).await;
    house.engine().stop().await;
    let stood = anchor.held().count.unwrap();

    let mut new = House::empty(RootKind::SealedFile, |_| {}).await;
    std::fs::copy(house.path().join("root.key"), new.path().join("root.key")).unwrap();
    drop(house);
    new.anchors.insert("usb", (anchor.clone(), true));
    new.reopen().await;
    serve(&new);
    let options = RestoreOptions { token_for: Some(name("developer")), ..RestoreOptions::default() };
    let source = archive("vault");
    let chosen = new.engine().begin_restore(&*source, &options).await.unwrap();
    let mut reply = new.engine().restore(&*source, &chosen, &options).await.unwrap();
    new.developer = crate::support::Who::Bearer(reply.token.take().unwrap());
    assert!(new.engine().is_open(), "{}", found(&new));
    assert_eq!(anchor.held().count, Some(stood + 1), "the anchor follows the restored server");
    assert!(reserved(&new, &counted).await >= COUNTERS_JUMP);
    new.engine().stop().await;
    new.reopen().await;
    assert!(new.engine().is_open());
}

/// A rehearsal of a restore is over a copy: it is told of no anchors, and touches none.
#[tokio::test(flavor = "multi_thread")]
async fn without_anchors_nothing_outside_is_touched() {
    let anchor = MemoryAnchor::keeping();
    let mut house = house_with(&anchor, true).await;
    house.anchors.clear();
    let stood = anchor.held();
    house.reopen().await;
    house.aead().await;
    house.pass(DAY).await;
    house.engine().stop().await;
    assert_eq!(anchor.held(), stood);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_on_record_and_a_change_of_it_is_told() {
    let facts = |binary: &str, configuration: &str, expected: Option<&str>| StartFacts {
        version: "1.2.3".to_owned(),
        binary: binary.repeat(32),
        configuration: Some(configuration.repeat(32)),
        expected_binary: expected.map(|digest| digest.repeat(32)),
    };
    let mut house = House::new().await;
    house.start_facts = Some(facts("aa", "cc", None));
    house.reopen().await;
    house.reopen().await;
    let starts = async |house: &House| {
        let records = house.records().await;
        records.into_iter().filter(|record| record.operation == "system.started").collect::<Vec<_>>()
    };
    let told = async |house: &House| {
        house.engine().deliver(0).await;
        let taken = house.posts[0].taken();
        taken.into_iter().filter(|notice| notice.kind == NoticeKind::ServerChanged).collect::<Vec<_>>()
    };
    let records = starts(&house).await;
    assert_eq!(records.len(), 2, "once for each process");
    assert_eq!(records[1].details["binary_sha256"], "aa".repeat(32));
    assert_eq!(records[1].details["configuration_sha256"], "cc".repeat(32));
    assert!(records[1].details["module"].contains("AWS-LC") && records[1].details["version"] == "1.2.3");
    assert!(told(&house).await.is_empty(), "the same program with the same configuration");
    house.start_facts = Some(facts("aa", "dd", None));
    house.reopen().await;
    assert_eq!(starts(&house).await[2].details["former_configuration_sha256"], "cc".repeat(32));
    assert_eq!(told(&house).await[0].subject.to_string(), "the server was started with another configuration_sha256");
    house.start_facts = Some(facts("bb", "dd", Some("aa")));
    house.reopen().await;
    assert_eq!(starts(&house).await[3].details["expected_sha256"], "aa".repeat(32));
    assert!(
        told(&house)
            .await
            .iter()
            .any(|notice| notice.subject.to_string().contains("not the one the configuration expects"))
    );
    let info = house.ask(Info).await;
    assert_eq!(info.facts.unwrap().binary, "bb".repeat(32));
    assert!(info.last_start.is_some() && info.anchors.is_empty());
}
