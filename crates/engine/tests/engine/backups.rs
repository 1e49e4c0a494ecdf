//! Backups: made while the server works, checked, restored into an empty house; and keys that were destroyed stay so
//! (docs/decisions/0024).

use keyreeve_archive::Archive;
use keyreeve_archive::faulty::FaultyArchive;
use keyreeve_archive_command::{CommandArchive, Settings};
use keyreeve_archive_directory::DirectoryArchive;
use keyreeve_backup::{Keep, Object};
use keyreeve_crypto::{KeyAlgorithm, Purpose};
use keyreeve_engine::ops::backups::{self, Acknowledge, Create, Verify};
use keyreeve_engine::ops::destruction::{DescribeDestruction, Schedule};
use keyreeve_engine::ops::imports::{Import, ImportVersion, Incoming};
use keyreeve_engine::ops::rekey::MigrateRoots;
use keyreeve_engine::ops::signing::Mac;
use keyreeve_engine::ops::{jobs, keys, roots};
use keyreeve_engine::{Backups, Code, Error, KeyRef, Plan, RestoreOptions, RestoredReply};
use keyreeve_model::backup::{BackupRecord, COUNTERS_JUMP};
use keyreeve_model::job::{BackupFound, BackupWork, JobState, JobWork};
use keyreeve_model::{Custody, NoticeKind, RootUse, State};
use keyreeve_secret::SecretString;
use keyreeve_store::faulty::CommitFault;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

use crate::escrow::{Agents, deposits, escrowed, everything};
use crate::support::{Checked, DAY, House, RootKind, Who, create, incoming, key_of, label, name, payloads};

/// Places for backups that outlive the house.
pub(crate) struct Places {
    directory: TempDir,
    pub(crate) disk: Arc<FaultyArchive>,
    vault: Arc<FaultyArchive>,
}

fn plan() -> Plan {
    Plan { every: None, verify_every: None, keep: Keep::default() }
}

impl Places {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let open = |name: &str| {
            let archive = DirectoryArchive::open(&directory.path().join(name)).unwrap();
            Arc::new(FaultyArchive::new(Arc::new(archive)))
        };
        let (disk, vault) = (open("disk"), open("vault"));
        Self { directory, disk, vault }
    }

    /// Lets a house store its backups here.
    fn serve(&self, house: &House, plan: Plan) {
        let local = DirectoryArchive::open(&house.path().join("backup")).unwrap();
        let both = [("disk", &self.disk), ("vault", &self.vault)];
        let destinations = both.map(|(at, archive)| (name(at), Arc::clone(archive) as Arc<dyn Archive>));
        house.engine().keep_backups(Backups {
            local: Arc::new(local),
            destinations: BTreeMap::from(destinations),
            configuration: Some(b"data_dir = \"somewhere\"".to_vec()),
            plan,
        });
    }

    pub(crate) fn path(&self, at: &str) -> PathBuf {
        self.directory.path().join(at)
    }

    pub(crate) fn object(&self, at: &str, object: Object) -> PathBuf {
        self.path(at).join(object.name().as_str())
    }
}

pub(crate) async fn house_with(places: &Places) -> House {
    let house = House::new().await;
    places.serve(&house, plan());
    house
}

/// An empty house on another machine, over the same kind of root; a key file is carried there as people would.
pub(crate) async fn another(kind: RootKind, from: Option<&Path>) -> House {
    let house = House::empty(kind, |_| {}).await;
    if let Some(from) = from {
        let target = house.path().join("root.key");
        std::fs::copy(from.join("root.key"), target).unwrap();
    }
    house
}

async fn restore(
    house: &mut House,
    source: &dyn Archive,
    shares: &[SecretString],
    options: RestoreOptions,
) -> Result<RestoredReply, Error> {
    let engine = house.engine().clone();
    let chosen = engine.begin_restore(source, &options).await?;
    for share in shares {
        if engine.restore_status() != keyreeve_engine::SealStatus::Open {
            let _ = engine.restore_unseal(share).await?;
        }
    }
    let mut reply = engine.restore(source, &chosen, &options).await?;
    if let Some(token) = reply.token.take() {
        house.developer = Who::Bearer(token);
        // That one lasts a day, and some tests take longer.
        house.developer = house.token_for("developer").await;
    }
    Ok(reply)
}

fn for_developer() -> RestoreOptions {
    RestoreOptions { token_for: Some(name("developer")), ..RestoreOptions::default() }
}

/// Makes a backup, and tries each destination once.
async fn make(house: &House) -> BackupRecord {
    let job = house.ask(Create).await.0.id();
    house.engine().work_on_backups().await.unwrap();
    let job = house.ask(jobs::Describe { job }).await.0;
    let JobWork::Backup(BackupWork::Make { sequence: Some(sequence) }) = job.work() else { panic!("{job:?}") };
    let listed = house.ask(backups::List).await.backups;
    listed.into_iter().find(|record| record.sequence == *sequence).unwrap()
}

pub(crate) async fn backup(house: &House) -> BackupRecord {
    let record = make(house).await;
    assert!(record.is_well(), "{record:?}");
    record
}

/// Reads a backup again: what it was found to be, or what is wrong.
async fn check(house: &House, sequence: u64, at: &str) -> Result<BackupFound, String> {
    let job = house.ask(Verify { sequence, destination: name(at) }).await.0.id();
    house.engine().work_on_backups().await.unwrap();
    let job = house.ask(jobs::Describe { job }).await.0;
    match (job.state(), job.work()) {
        (JobState::Done, JobWork::Backup(BackupWork::Check { found: Some(found), .. })) => Ok(*found),
        (JobState::Failed, _) => Err(job.trouble().unwrap().0.to_owned()),
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn destroy(house: &House, key: &KeyRef) {
    house.ask(Schedule { key: key.clone(), days: 7, reason: label("no longer needed") }).await;
    house.pass(8 * DAY).await;
    let state = house.ask(keys::Describe { key: key.clone() }).await.state();
    assert_eq!(state, State::Destroyed);
}

/// Deposits in escrow lie under epochs that no backup has: they are made anew of what was restored.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_server_deposits_anew_what_lives() {
    let (places, agents) = (Places::new(), Agents::new(&["alice", "bob", "carol"]));
    let house = house_with(&places).await;
    house.ask(everything()).await;
    escrowed(&house, &agents).await;
    let (gone, kept) = (house.aead().await, house.aead().await);
    backup(&house).await;
    destroy(&house, &gone).await;
    let mut new = another(RootKind::SealedFile, Some(house.path())).await;
    places.serve(&new, plan());
    drop(house);
    restore(&mut new, &*places.disk, &[], for_developer()).await.unwrap();
    assert!(deposits(&new, &kept).await.is_empty());
    new.pass(60_000).await;
    assert_eq!(deposits(&new, &kept).await.len(), 1);
    assert!(deposits(&new, &gone).await.is_empty());
}

/// The heart of it: yesterday's backup, with a key that was destroyed today.
#[tokio::test(flavor = "multi_thread")]
async fn a_destroyed_key_stays_destroyed_when_yesterdays_backup_is_restored_and_its_neighbours_live() {
    let places = Places::new();
    let house = house_with(&places).await;
    let (gone, kept) = (house.aead().await, house.aead().await);
    let counted = key_of(&house.make(create(KeyAlgorithm::Aes256Gcm)).await);
    let (lost, found) = (house.encrypt(&gone, b"lost").await, house.encrypt(&kept, b"found").await);
    let short = house.encrypt(&counted, b"counted").await;
    let record = backup(&house).await;
    assert_eq!((record.materials, record.unopened), (3, 0));
    destroy(&house, &gone).await;
    let later = house.aead().await;
    let shown = house.ask(DescribeDestruction { key: gone.clone() }).await.0;
    assert!(shown.verified.iter().any(|check| check.contains("cut key")), "{:?}", shown.verified);
    let verified = check(&house, record.sequence, "disk").await.unwrap();
    assert_eq!((verified.materials, verified.destroyed), (2, 1));
    let entries = keyreeve_journal::Journal::size(house.journal());

    // The machine burns; a day later its key file and the backup are all there is.
    let mut new = another(RootKind::SealedFile, Some(house.path())).await;
    places.serve(&new, plan());
    let old_token = Who::Bearer(SecretString::copy_from(house.developer.token()));
    let vkeys = house.vkeys.clone();
    drop(house);
    let reply = restore(&mut new, &*places.vault, &[], for_developer()).await.unwrap();
    new.vkeys = vkeys;
    assert_eq!((reply.materials, reply.restored.kept_destroyed), (2, 1));
    assert!(reply.entries <= entries && reply.credentials_dropped > 0);

    assert_eq!(new.decrypt(&kept, &found).await, b"found");
    assert_eq!(new.decrypt(&counted, &short).await, b"counted");
    assert_eq!(new.code(House::decrypting(&gone, &lost)).await, Code::WrongState);
    assert_eq!(new.ask(keys::Describe { key: gone.clone() }).await.state(), State::Destroyed);
    new.ask(DescribeDestruction { key: gone.clone() }).await;
    assert_eq!(new.code(keys::Describe { key: later }).await, Code::NotFound, "it was made after the backup");
    assert_eq!(new.code_for(&old_token, keys::Describe { key: kept.clone() }).await, Code::Unauthenticated);
    let described = new.ask(keys::Describe { key: counted.clone() }).await.key;
    let reserved = described.versions().iter().map(|version| version.reserved_messages()).max().unwrap();
    assert!(reserved >= COUNTERS_JUMP, "{reserved}");

    // It is a server like any other: keys are made, used, destroyed, and backed up.
    let fresh = new.aead().await;
    let text = new.encrypt(&fresh, b"fresh").await;
    destroy(&new, &kept).await;
    assert_eq!(new.decrypt(&fresh, &text).await, b"fresh");
    assert_eq!(new.decrypt(&counted, &short).await, b"counted");
    let next = backup(&new).await;
    assert!(next.sequence > record.sequence, "numbers only go up");
    new.verify_log().await;

    // It says that it came out of a backup until somebody takes note.
    let listed = new.ask(backups::List).await;
    assert_eq!(listed.restored.as_ref().map(|restored| restored.sequence), Some(record.sequence));
    assert!(new.records().await.iter().any(|record| record.operation == "backup.restored"));
    new.ask(Acknowledge { reason: label("went through the log") }).await;
    assert_eq!(new.code(Acknowledge { reason: label("again") }).await, Code::WrongState);
    new.reopen().await;
    assert_eq!(new.decrypt(&fresh, &text).await, b"fresh");
}

/// Nothing is left but a backup and the shares that people hold.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_and_the_holders_of_shares_bring_back_every_key() {
    let places = Places::new();
    let house = House::with(RootKind::Shamir(3, 2), |_| {}).await;
    places.serve(&house, plan());
    let mut tried = Vec::new();
    for algorithm in [KeyAlgorithm::Xaes256Gcm, KeyAlgorithm::Aes256Gcm, KeyAlgorithm::Rsa2048] {
        let key = key_of(&house.make(keys::CreateSpec { purpose: Some(Purpose::Encrypt), ..create(algorithm) }).await);
        let text = house.encrypt(&key, b"before the fire").await;
        tried.push((key, text));
    }
    let maced = key_of(&house.make(create(KeyAlgorithm::HmacSha256)).await);
    let mac = || Mac { key: maced.clone(), items: payloads(&[b"message"]) };
    let tag = house.ask(mac()).await.items.remove(0).unwrap();
    backup(&house).await;
    let (shares, vkeys) = (house.shares.iter().map(SecretString::duplicate).collect::<Vec<_>>(), house.vkeys.clone());
    drop(house);

    let mut new = another(RootKind::Shamir(3, 2), None).await;
    let sealed = restore(&mut new, &*places.disk, &[], for_developer()).await.unwrap_err();
    assert_eq!(sealed.code(), Code::Sealed);
    restore(&mut new, &*places.disk, &shares[1..], for_developer()).await.unwrap();
    new.vkeys = vkeys;
    for (key, text) in &tried {
        assert_eq!(new.decrypt(key, text).await, b"before the fire");
    }
    assert_eq!(new.ask(mac()).await.items.remove(0).unwrap(), tag);
    new.verify_log().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_ledger_or_with_an_old_one_nothing_is_restored() {
    let places = Places::new();
    let house = house_with(&places).await;
    house.aead().await;
    backup(&house).await;
    let KeyRef::Id(_) = house.aead().await else { panic!("an id") };
    let first: Vec<_> = places.disk.list().await.unwrap();
    let ledger = first.iter().find_map(|stored| match stored.name.object() {
        Some(object @ Object::Ledger { .. }) => Some(object),
        _ => None,
    });
    let ledger = places.object("disk", ledger.unwrap());
    let old = std::fs::read(&ledger).unwrap();
    let newest = backup(&house).await;

    std::fs::write(&ledger, &old).unwrap();
    let mut new = another(RootKind::SealedFile, Some(house.path())).await;
    let refused = restore(&mut new, &*places.disk, &[], for_developer()).await.unwrap_err();
    assert!(refused.to_string().contains("older than the backup"), "{refused}");
    std::fs::remove_file(&ledger).unwrap();
    let refused = restore(&mut new, &*places.disk, &[], for_developer()).await.unwrap_err();
    assert!(refused.to_string().contains("from another destination"), "{refused}");
    // Nothing was written, so that another destination serves at once.
    let reply = restore(&mut new, &*places.vault, &[], for_developer()).await.unwrap();
    assert_eq!(reply.restored.sequence, newest.sequence);
    assert_eq!(reply.materials, 2);
    let again = restore(&mut new, &*places.vault, &[], for_developer()).await.unwrap_err();
    assert_eq!(again.code(), Code::WrongState, "only an empty house is restored into");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_backup_is_noticed_and_told() {
    let places = Places::new();
    let house = house_with(&places).await;
    house.aead().await;
    let record = backup(&house).await;
    let damage = async |what: String| {
        let trouble = check(&house, record.sequence, "disk").await.expect_err(&what);
        assert!(!trouble.contains("does not answer"), "{what}: {trouble}");
    };
    check(&house, record.sequence, "disk").await.unwrap();
    let objects: Vec<PathBuf> =
        places.disk.list().await.unwrap().iter().map(|stored| places.path("disk").join(stored.name.as_str())).collect();
    assert_eq!(objects.len(), 3, "an archive, a piece of the log, a ledger");
    for path in objects {
        let whole = std::fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 23 + 1).chain([whole.len() - 1]) {
            let mut altered = whole.clone();
            altered[at] ^= 0x10;
            std::fs::write(&path, &altered).unwrap();
            damage(format!("byte {at} of {}", path.display())).await;
        }
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        damage(format!("half of {}", path.display())).await;
        std::fs::write(&path, &whole).unwrap();
    }
    let listed = house.ask(backups::List).await.backups;
    assert!(listed[0].destinations[&name("disk")].trouble.is_some(), "it is said of the backup");
    let _ = house.engine().deliver(0).await;
    assert!(house.posts[0].taken().iter().any(|notice| notice.kind == NoticeKind::BackupTrouble));
    check(&house, record.sequence, "disk").await.unwrap();
}

/// A destination that is away when a key is destroyed is told as soon as it is back, also after a crash.
#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_was_away_learns_of_destructions_later() {
    let places = Places::new();
    let mut house = house_with(&places).await;
    let (gone, kept) = (house.aead().await, house.aead().await);
    let text = house.encrypt(&kept, b"kept").await;
    let record = backup(&house).await;
    house.ask(Schedule { key: gone.clone(), days: 7, reason: label("no longer needed") }).await;
    places.vault.set_down(true);
    house.clock.turn(8 * DAY);
    assert!(house.engine().tick().await.is_empty(), "a destination is not the tick's affair");
    house.engine().tell_of_destroyed().await.unwrap_err();
    assert_eq!(house.ask(keys::Describe { key: gone.clone() }).await.state(), State::Destroyed);
    let pending = house.ask(backups::List).await.cuts;
    assert_eq!(pending.len(), 1);
    assert_eq!(pending[0].places, [(places.vault.place(), name("vault"))].into());
    let shown = house.ask(DescribeDestruction { key: gone.clone() }).await.0;
    assert!(!shown.verified.iter().any(|check| check.contains("cut key")), "it claims what is not so");
    let verified = check(&house, record.sequence, "disk").await.unwrap();
    assert_eq!(verified.destroyed, 1);

    house.reopen().await;
    places.serve(&house, plan());
    places.vault.set_down(false);
    house.pass(1).await;
    assert!(house.ask(backups::List).await.cuts.is_empty());
    let verified = check(&house, record.sequence, "vault").await.unwrap();
    assert_eq!((verified.destroyed, verified.materials), (1, 1));
    let shown = house.ask(DescribeDestruction { key: gone.clone() }).await.0;
    assert!(shown.verified.iter().any(|check| check.contains("cut key")));
    assert_eq!(house.decrypt(&kept, &text).await, b"kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_goes_where_it_can_and_people_hear_of_the_rest() {
    let places = Places::new();
    let house = house_with(&places).await;
    house.aead().await;
    places.disk.set_down(true);
    let record = make(&house).await;
    assert!(!record.is_well());
    assert!(record.destinations[&name("disk")].trouble.is_some());
    assert!(record.destinations[&name("vault")].stored.is_some());
    let _ = house.engine().deliver(0).await;
    let told = house.posts[0].taken().iter().any(|notice| notice.kind == NoticeKind::BackupTrouble);
    assert!(told, "nobody was told");
    assert_eq!(house.code(Create).await, Code::WrongState, "one at a time");
    let job = house.ask(jobs::List { ended: false, after: None, limit: 10 }).await.items.remove(0).0;
    assert!(job.trouble().is_some_and(|(trouble, failures)| trouble.contains("does not answer") && failures == 1));
    // It is tried again, later and later, and what is there already is not sent again.
    let calls = places.vault.calls();
    house.pass(4000).await;
    assert_eq!(house.ask(jobs::Describe { job: job.id() }).await.0.trouble().unwrap().1, 1, "not yet");
    house.pass(2000).await;
    assert_eq!(house.ask(jobs::Describe { job: job.id() }).await.0.trouble().unwrap().1, 2);
    assert_eq!(house.code(Verify { sequence: record.sequence, destination: name("nowhere") }).await, Code::NotFound);
    assert!(check(&house, 77, "vault").await.unwrap_err().contains("backup-0000000077"));
    places.disk.set_down(false);
    house.pass(20_000).await;
    assert_eq!(house.ask(jobs::Describe { job: job.id() }).await.0.state(), JobState::Done);
    assert!(
        house
            .ask(backups::List)
            .await
            .backups
            .iter()
            .find(|known| known.sequence == record.sequence)
            .unwrap()
            .is_well()
    );
    check(&house, record.sequence, "disk").await.unwrap();
    assert!(places.vault.calls() > calls);
}

/// Backups by themselves: made when due, checked when due, and old ones removed.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_makes_checks_and_removes_backups_by_itself() {
    let places = Places::new();
    let house = House::new().await;
    let day = Duration::from_secs(24 * 3600);
    let keep = Keep { last: 2, daily: 0, weekly: 0, monthly: 0 };
    places.serve(&house, Plan { every: Some(day), verify_every: Some(day / 2), keep });
    house.aead().await;
    for round in 0..5 {
        house.pass(DAY + 1).await;
        assert_eq!(house.ask(backups::List).await.backups.len(), round + 1);
        house.pass(DAY / 2 + 1).await;
    }
    let listed = house.ask(backups::List).await.backups;
    let at = |record: &BackupRecord| record.destinations[&name("disk")].clone();
    assert!(at(&listed[0]).verified.is_some() && at(&listed[0]).removed.is_none());
    assert!(listed[2..].iter().all(|record| at(record).removed.is_some()), "{listed:?}");
    let archives = places.disk.list().await.unwrap();
    let archives = archives.iter().filter(|stored| matches!(stored.name.object(), Some(Object::Archive(_)))).count();
    assert_eq!(archives, 2);
    let server = house.records().await.into_iter().filter(|record| record.operation == "backup.create").count();
    assert_eq!(server, 5);
}

/// A restore that fails in the middle leaves a house that nobody takes for a server.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_fails_leaves_no_server() {
    let places = Places::new();
    let house = house_with(&places).await;
    house.aead().await;
    backup(&house).await;
    let mut new = another(RootKind::SealedFile, Some(house.path())).await;
    new.store().set_read_only(true);
    restore(&mut new, &*places.disk, &[], for_developer()).await.unwrap_err();
    new.store().set_read_only(false);
    assert!(!new.engine().is_open());
    assert_eq!(new.code_for(&Who::Nobody, House::encrypting(&"x".parse().unwrap(), b"x")).await, Code::Sealed);

    // A crash between the load and its record: the next start puts it on record.
    let mut third = another(RootKind::SealedFile, Some(house.path())).await;
    third.store().fail_next_commit(CommitFault::Failed);
    restore(&mut third, &*places.disk, &[], for_developer()).await.unwrap_err();
    third.reopen().await;
    third.pass(1).await;
    assert!(third.records().await.iter().any(|record| record.operation == "backup.restored"));
}

/// What lies at a destination tells nothing but its head.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_readable_lies_at_a_destination() {
    let places = Places::new();
    let house = house_with(&places).await;
    let alias = "very-telling-alias";
    let mut spec = create(KeyAlgorithm::Xaes256Gcm);
    spec.metadata.aliases = [name(alias)].into();
    let key = key_of(&house.make(spec).await);
    house.encrypt(&key, b"canary of the plaintext").await;
    backup(&house).await;
    let token = house.developer.token().to_owned();
    for place in ["disk", "vault"] {
        for entry in std::fs::read_dir(places.path(place)).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            let has = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
            for needle in [alias.as_bytes(), b"developer", b"canary of", token.as_bytes(), b"key.create"] {
                assert!(!has(needle), "{}", String::from_utf8_lossy(needle));
            }
        }
    }
}

/// Objects at destinations name the root of trust of their time; the server's own record of their key moved on.
#[tokio::test(flavor = "multi_thread")]
async fn backups_are_checked_and_cut_after_everything_moved_to_another_root() {
    let places = Places::new();
    let mut house = House::new().await;
    house.more_roots.insert("second", (Custody::Kms, None));
    house.reopen().await;
    places.serve(&house, plan());
    house
        .ask(roots::Join {
            name: name("second"),
            shares: 0,
            threshold: 0,
            holders: Vec::new(),
            reason: label("another"),
        })
        .await;
    let (gone, kept) = (house.aead().await, house.aead().await);
    let record = backup(&house).await;
    let retire = || roots::Retire { name: name("main"), reason: label("moved") };
    let to = RootUse::one(name("second"));
    let migrate = MigrateRoots { from: Some(name("main")), to, pace: 0, reason: label("a new device") };
    let job = house.ask(migrate).await.0.id();
    assert_eq!(house.code(retire()).await, Code::WrongState);
    house.engine().work_on_jobs().await.unwrap();
    assert_eq!(house.ask(jobs::Describe { job }).await.0.state(), JobState::Done);
    house.ask(retire()).await;
    house.crash();
    let (main, second) = (house.path().join("root.key"), house.path().join("second.root"));
    let lost = house.path().join("lost.key");
    std::fs::rename(&main, &lost).unwrap();
    house.reopen().await;
    places.serve(&house, plan());
    let verified = check(&house, record.sequence, "disk").await.unwrap();
    assert_eq!((verified.materials, verified.destroyed), (2, 0));
    destroy(&house, &gone).await;
    let next = backup(&house).await;
    assert_eq!((record.key, next.key), (1, 2), "who has the former root has no backup of later");
    assert_eq!(house.round_trip(&kept).await, b"plaintext");
    let text = house.encrypt(&kept, b"moved").await;
    for place in ["disk", "vault"] {
        for stored in places.disk.list().await.unwrap() {
            let bytes = std::fs::read(places.path(place).join(stored.name.as_str())).unwrap();
            let (head, _) = keyreeve_backup::split_head(&bytes).unwrap().unwrap();
            let is_ledger = matches!(stored.name.object(), Some(Object::Ledger { .. }));
            assert!(!is_ledger || head.key == 2 && head.wrapped.names(&name("second")), "{head:?}");
        }
    }

    // The machine burns as well: the root that is left opens everything, also pieces of the log of before.
    let moved = |lost: Option<PathBuf>| {
        let second = second.clone();
        async move {
            let mut new = another(RootKind::SealedFile, None).await;
            new.more_roots.insert("second", (Custody::Kms, None));
            std::fs::copy(second, new.path().join("second.root")).unwrap();
            if let Some(lost) = lost {
                std::fs::copy(lost, new.path().join("root.key")).unwrap();
            }
            new.reopen().await;
            new
        }
    };
    let mut new = moved(None).await;
    places.serve(&new, plan());
    let reply = restore(&mut new, &*places.disk, &[], for_developer()).await.unwrap();
    assert_eq!((reply.restored.sequence, reply.materials), (next.sequence, 1));
    assert_eq!(new.decrypt(&kept, &text).await, b"moved");
    drop(new);

    // The backup of before needs both; what it was restored into goes on with the newest key.
    let mut old = moved(Some(lost)).await;
    places.serve(&old, plan());
    let options = RestoreOptions { sequence: Some(record.sequence), ..for_developer() };
    let reply = restore(&mut old, &*places.vault, &[], options).await.unwrap();
    assert_eq!((reply.materials, reply.restored.kept_destroyed), (1, 1));
    assert_eq!(old.decrypt(&kept, &text).await, b"moved");
    old.reopen().await;
    places.serve(&old, plan());
    assert_eq!(backup(&old).await.key, 2);
}

/// A destination that has more of the lost server's log than what was restored, and one with a name of nobody's.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_stored_behind_pieces_of_another_log() {
    let places = Places::new();
    let house = house_with(&places).await;
    let key = house.aead().await;
    let far = places.path("disk").join("backup-18446744073709551615.krb");
    std::fs::write(&far, b"nobody's").unwrap();
    assert_eq!(backup(&house).await.sequence, 1);
    std::fs::remove_file(&far).unwrap();
    house.encrypt(&key, b"more").await;
    places.disk.set_down(true);
    let more = make(&house).await;
    assert!(more.destinations[&name("vault")].stored.is_some());
    places.disk.set_down(false);

    let mut new = another(RootKind::SealedFile, Some(house.path())).await;
    drop(house);
    places.serve(&new, plan());
    restore(&mut new, &*places.disk, &[], for_developer()).await.unwrap();
    let mut sizes = Vec::new();
    for _ in 0..3 {
        let record = make(&new).await;
        assert!(record.destinations[&name("disk")].stored.is_some(), "{record:?}");
        let trouble = record.destinations[&name("vault")].trouble.clone().unwrap_or_default();
        assert!(trouble.contains("another audit log"), "{trouble}");
        check(&new, record.sequence, "disk").await.unwrap();
        sizes.push(record.log_size);
    }
    assert!(sizes.iter().any(|size| *size > more.log_size), "{sizes:?} {}", more.log_size);
}

/// A destination that does not go on holds up backups to it and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_hangs_holds_up_nothing_but_backups() {
    let places = Places::new();
    let house = house_with(&places).await;
    let (gone, kept) = (house.aead().await, house.aead().await);
    backup(&house).await;
    places.vault.set_stuck(true);
    let job = house.ask(Create).await.0.id();
    let engine = house.engine().clone();
    let working = tokio::spawn(async move { engine.work_on_backups().await });
    while house.ask(jobs::Describe { job }).await.0.progress().0 < 2 {
        tokio::task::yield_now().await;
    }
    assert!(!working.is_finished(), "it brings the backup to the one that hangs");
    // Keys are made, used and destroyed; what falls due is done; the server can be sealed, opened and stopped.
    house.round_trip(&kept).await;
    house.ask(Schedule { key: gone.clone(), days: 7, reason: label("no longer needed") }).await;
    house.clock.turn(8 * DAY);
    assert!(house.engine().tick().await.is_empty());
    assert_eq!(house.ask(keys::Describe { key: gone.clone() }).await.state(), State::Destroyed);
    assert!(house.engine().tick().await.is_empty());
    let cut = house.ask(backups::List).await.cuts.remove(0);
    assert!(cut.names().contains(&name("vault")));
    house.engine().stop().await;
    working.abort();
}

/// Whoever goes away while a backup is made changes nothing: it is made all the same, once.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_dropped_changes_nothing() {
    let places = Places::new();
    let house = house_with(&places).await;
    house.aead().await;
    for polls in 0..40 {
        let mut asking = Box::pin(house.ask(Create));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        for _ in 0..polls * 100 {
            if asking.as_mut().poll(&mut context).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(asking);
        // What was on its way to the store is there before what comes after it.
        house.aead().await;
        // Begun or not; when it was, it is made by itself, whole and at both destinations.
        house.engine().work_on_backups().await.unwrap();
    }
    let running = house.ask(jobs::List { ended: false, after: None, limit: 10 }).await.items;
    assert!(running.is_empty(), "{running:?}");
    let begun = house.ask(jobs::List { ended: true, after: None, limit: 100 }).await.items.len();
    let listed = house.ask(backups::List).await.backups;
    assert_eq!(listed.len(), begun);
    assert!(begun > 0, "not one was begun");
    assert!(listed.iter().all(BackupRecord::is_well), "{listed:?}");
    for record in listed.iter().take(3) {
        check(&house, record.sequence, "vault").await.unwrap();
    }
}

/// A crash between two steps: the next server goes on where that one was.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_goes_on_after_a_crash_with_what_was_copied() {
    let places = Places::new();
    let mut house = house_with(&places).await;
    house.aead().await;
    places.vault.set_down(true);
    let record = make(&house).await;
    house.crash();
    house.reopen().await;
    places.serve(&house, plan());
    places.vault.set_down(false);
    house.pass(6000).await;
    let listed = house.ask(backups::List).await.backups;
    assert_eq!(listed.len(), 1, "no second one was made");
    assert!(listed[0].is_well() && listed[0].sequence == record.sequence);
    let recorded = house.records().await.iter().filter(|record| record.operation == "backup.record").count();
    assert!(recorded >= 4, "the copy, two destinations, the end: {recorded}");
    check(&house, record.sequence, "vault").await.unwrap();
}

/// What a destination can never take is not tried for ever; the next one is begun later and later.
#[tokio::test(flavor = "multi_thread")]
async fn failed_backups_are_begun_ever_more_rarely() {
    let places = Places::new();
    let house = House::new().await;
    let day = Duration::from_secs(24 * 3600);
    places.serve(&house, Plan { every: Some(day), verify_every: None, keep: Keep::default() });
    house.aead().await;
    for archive in [&places.disk, &places.vault] {
        archive.set_down(true);
    }
    for _ in 0..12 * 60 {
        house.pass(60_000).await;
    }
    let made = house.ask(jobs::List { ended: true, after: None, limit: 1000 }).await.items;
    assert!((3..=9).contains(&made.len()), "{} in twelve hours", made.len());
    for archive in [&places.disk, &places.vault] {
        archive.set_down(false);
    }
    house.pass(DAY).await;
    assert!(house.ask(backups::List).await.backups[0].is_well());
}

/// A ledger that this machine lost, one of several: it comes back from a destination.
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_was_lost_is_taken_over() {
    let places = Places::new();
    let house = house_with(&places).await;
    let key = house.aead().await;
    let text = house.encrypt(&key, b"kept").await;
    let record = backup(&house).await;
    let here: Vec<PathBuf> =
        std::fs::read_dir(house.path().join("backup")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(here.len(), 1);
    std::fs::remove_file(&here[0]).unwrap();
    // One that is away may have a newer one.
    places.vault.set_down(true);
    house.ask(Create).await;
    house.engine().work_on_backups().await.unwrap();
    assert!(house.ask(backups::List).await.backups.len() == 1, "nothing was copied under new cut keys");
    places.vault.set_down(false);
    house.pass(6000).await;
    assert_eq!(house.ask(backups::List).await.backups.len(), 2);
    for sequence in [record.sequence, record.sequence + 1] {
        check(&house, sequence, "disk").await.unwrap();
    }
    assert_eq!(house.decrypt(&key, &text).await, b"kept");
}

/// A name that leads to another place since says nothing of the place of before.
#[tokio::test(flavor = "multi_thread")]
async fn destroyed_keys_are_taken_out_where_they_are_not_where_a_name_leads() {
    let places = Places::new();
    let mut house = house_with(&places).await;
    let gone = house.aead().await;
    backup(&house).await;
    house.reopen().await;
    let elsewhere = Places::new();
    elsewhere.serve(&house, plan());
    destroy(&house, &gone).await;
    let left: Vec<String> = house.ask(backups::List).await.cuts.remove(0).places.into_keys().collect();
    let mut wanted = vec![places.disk.place(), places.vault.place()];
    wanted.sort();
    assert_eq!(left, wanted, "the former places are still to be reached");
    house.reopen().await;
    places.serve(&house, plan());
    house.pass(1).await;
    assert!(house.ask(backups::List).await.cuts.is_empty());
}

/// A destination that was away at a destruction is the one that is restored from; another one knows better.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_asks_every_destination_for_the_newest_ledger() {
    let places = Places::new();
    let house = house_with(&places).await;
    let (gone, kept) = (house.aead().await, house.aead().await);
    let text = house.encrypt(&kept, b"kept").await;
    backup(&house).await;
    places.vault.set_down(true);
    destroy(&house, &gone).await;
    places.vault.set_down(false);
    let mut new = another(RootKind::SealedFile, Some(house.path())).await;
    places.serve(&new, plan());
    let reply = restore(&mut new, &*places.vault, &[], for_developer()).await.unwrap();
    assert_eq!((reply.materials, reply.restored.kept_destroyed), (1, 1));
    assert!(reply.restored.unasked.is_empty());
    assert_eq!(new.ask(keys::Describe { key: gone.clone() }).await.state(), State::Destroyed);
    assert_eq!(new.decrypt(&kept, &text).await, b"kept");
    // What it goes on with is the newer one, also where the old one lies.
    let next = backup(&new).await;
    assert_eq!(check(&new, next.sequence, "vault").await.unwrap().materials, 1);

    // Where nobody knows better the key is back, and it is said who was not asked.
    let mut old = another(RootKind::SealedFile, Some(house.path())).await;
    let alone = Places::new();
    std::fs::remove_dir_all(alone.path("vault")).unwrap();
    copy_all(&places.path("vault"), &alone.path("vault"));
    alone.serve(&old, plan());
    alone.disk.set_down(true);
    // Later than the restore that is on record in this backup.
    old.clock.turn(DAY);
    let reply = restore(&mut old, &*alone.vault, &[], for_developer()).await.unwrap();
    assert_eq!(reply.restored.unasked, [name("disk")].into());
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Canary keys: after backups, a destruction and another backup nothing of their bytes lies anywhere at a destination,
/// nor among what the server keeps for backups.
#[tokio::test(flavor = "multi_thread")]
async fn no_canary_key_lies_at_any_destination() {
    let places = Places::new();
    let house = House::new().await;
    let program = places.path("program");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/backup-command.sh");
    let command = CommandArchive::new(Settings {
        program: script.canonicalize().unwrap(),
        arguments: vec![program.to_str().unwrap().to_owned()],
        environment: BTreeMap::new(),
        stall: Duration::from_secs(60),
    });
    let destinations: [(_, Arc<dyn Archive>); 2] = [("disk", places.disk.clone()), ("program", Arc::new(command))];
    house.engine().keep_backups(Backups {
        local: Arc::new(DirectoryArchive::open(&house.path().join("backup")).unwrap()),
        destinations: destinations.map(|(at, archive)| (name(at), archive)).into(),
        configuration: None,
        plan: plan(),
    });
    let canaries: Vec<[u8; 32]> =
        (0..4u8).map(|n| std::array::from_fn(|at| 0xa5 ^ (at as u8).wrapping_mul(37).wrapping_add(n))).collect();
    let mut brought = Vec::new();
    for canary in &canaries {
        let incoming = incoming(&house, &house.developer, None, canary).await;
        let import = Import { create: create(KeyAlgorithm::Xaes256Gcm).checked(), incoming };
        brought.push(key_of(&house.ask(import).await));
    }
    backup(&house).await;
    destroy(&house, &brought[0]).await;
    backup(&house).await;
    let mut looked = 0;
    for place in [places.path("disk"), program, house.path().join("backup")] {
        for entry in std::fs::read_dir(place).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            looked += 1;
            for canary in &canaries {
                let hex: String = canary.iter().map(|byte| format!("{byte:02x}")).collect();
                // Half a key is a find as well.
                let needles: [&[u8]; 4] = [&canary[..16], &canary[16..], &hex.as_bytes()[..32], &hex.as_bytes()[32..]];
                for needle in needles {
                    assert!(!bytes.windows(needle.len()).any(|window| window == needle), "a key lies there");
                }
            }
        }
    }
    assert!(looked > 2 * 4, "{looked} objects: two backups, pieces of the log and a ledger each, and a ledger here");
    assert_eq!(house.round_trip(&brought[1]).await, b"plaintext");
}

/// Imported material whose time is over is in no backup any more, while another version of its key is.
#[tokio::test(flavor = "multi_thread")]
async fn material_that_ended_comes_back_from_no_backup_and_its_key_lives() {
    let places = Places::new();
    let house = house_with(&places).await;
    let expires = Some(keyreeve_engine::Clock::now(&*house.clock).plus_days(2));
    let lent = Incoming { expires, ..incoming(&house, &house.developer, None, &[0x51; 32]).await };
    let import = Import { create: create(KeyAlgorithm::Xaes256Gcm).checked(), incoming: lent };
    let key = key_of(&house.ask(import).await);
    let old = house.encrypt(&key, b"lent").await;
    let next = incoming(&house, &house.developer, Some(&key), &[0x52; 32]).await;
    house.ask(ImportVersion { key: key.clone(), incoming: next, reason: label("ours") }).await;
    let text = house.encrypt(&key, b"kept").await;
    let record = backup(&house).await;
    assert_eq!(check(&house, record.sequence, "disk").await.unwrap().materials, 2);
    house.pass(3 * DAY).await;
    let found = check(&house, record.sequence, "vault").await.unwrap();
    assert_eq!((found.materials, found.destroyed), (1, 1), "the version that ended is closed for ever");
    assert!(house.ask(backups::List).await.cuts.is_empty());

    let mut new = another(RootKind::SealedFile, Some(house.path())).await;
    places.serve(&new, plan());
    new.clock.turn(3 * DAY);
    let reply = restore(&mut new, &*places.disk, &[], for_developer()).await.unwrap();
    assert_eq!(reply.materials, 1);
    assert_eq!(new.decrypt(&key, &text).await, b"kept");
    assert_eq!(new.code(House::decrypting(&key, &old)).await, Code::WrongState);
    new.pass(1).await;
    assert_eq!(new.decrypt(&key, &text).await, b"kept");
    backup(&new).await;
}
