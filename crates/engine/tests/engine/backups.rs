//! Backups: made while the server works, checked, restored into an empty house; and keys that were destroyed stay so
//! (docs/decisions/0024).

use keyreeve_archive::Archive;
use keyreeve_archive::faulty::FaultyArchive;
use keyreeve_archive_directory::DirectoryArchive;
use keyreeve_backup::{Keep, Object};
use keyreeve_crypto::{KeyAlgorithm, Purpose};
use keyreeve_engine::ops::backups::{self, Acknowledge, Create, Verify};
use keyreeve_engine::ops::destruction::{DescribeDestruction, Schedule};
use keyreeve_engine::ops::rekey::MigrateRoots;
use keyreeve_engine::ops::signing::Mac;
use keyreeve_engine::ops::{jobs, keys, roots};
use keyreeve_engine::{Backups, Code, Error, KeyRef, Plan, RestoreOptions, RestoredReply};
use keyreeve_model::backup::{BackupRecord, COUNTERS_JUMP};
use keyreeve_model::job::JobState;
use keyreeve_model::{Custody, NoticeKind, RootUse, State};
use keyreeve_secret::SecretString;
use keyreeve_store::faulty::CommitFault;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

use crate::support::{DAY, House, RootKind, Who, create, key_of, label, name, payloads};

/// Places for backups that outlive the house.
struct Places {
    directory: TempDir,
    disk: Arc<FaultyArchive>,
    vault: Arc<FaultyArchive>,
}

fn plan() -> Plan {
    Plan { every: None, verify_every: None, keep: Keep::default() }
}

impl Places {
    fn new() -> Self {
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

    fn path(&self, at: &str) -> PathBuf {
        self.directory.path().join(at)
    }

    fn object(&self, at: &str, object: Object) -> PathBuf {
        self.path(at).join(object.name().as_str())
    }
}

async fn house_with(places: &Places) -> House {
    let house = House::new().await;
    places.serve(&house, plan());
    house
}

/// An empty house on another machine, over the same kind of root; a key file is carried there as people would.
async fn another(kind: RootKind, from: Option<&Path>) -> House {
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
            engine.restore_unseal(&chosen, share).await?;
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

async fn backup(house: &House) -> BackupRecord {
    let record = house.ask(Create).await.0;
    assert!(record.is_well(), "{record:?}");
    record
}

async fn destroy(house: &House, key: &KeyRef) {
    house.ask(Schedule { key: key.clone(), days: 7, reason: label("no longer needed") }).await;
    house.pass(8 * DAY).await;
    let state = house.ask(keys::Describe { key: key.clone() }).await.state();
    assert_eq!(state, State::Destroyed);
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
    let verified = house.ask(Verify { sequence: record.sequence, destination: name("disk") }).await;
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
    let verify = || Verify { sequence: record.sequence, destination: name("disk") };
    house.ask(verify()).await;
    let objects: Vec<PathBuf> =
        places.disk.list().await.unwrap().iter().map(|stored| places.path("disk").join(stored.name.as_str())).collect();
    assert_eq!(objects.len(), 3, "an archive, a piece of the log, a ledger");
    for path in objects {
        let whole = std::fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 23 + 1).chain([whole.len() - 1]) {
            let mut altered = whole.clone();
            altered[at] ^= 0x10;
            std::fs::write(&path, &altered).unwrap();
            assert_eq!(house.code(verify()).await, Code::Tampered, "byte {at} of {}", path.display());
        }
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert_eq!(house.code(verify()).await, Code::Tampered, "half of {}", path.display());
        std::fs::write(&path, &whole).unwrap();
    }
    house.ask(verify()).await;
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
    let errors = house.engine().tick().await;
    assert!(!errors.is_empty(), "one destination does not answer");
    assert_eq!(house.ask(keys::Describe { key: gone.clone() }).await.state(), State::Destroyed);
    let pending = house.ask(backups::List).await.cuts;
    assert_eq!(pending.len(), 1);
    assert_eq!(pending[0].pending, [name("vault")].into());
    let shown = house.ask(DescribeDestruction { key: gone.clone() }).await.0;
    assert!(!shown.verified.iter().any(|check| check.contains("cut key")), "it claims what is not so");
    let verified = house.ask(Verify { sequence: record.sequence, destination: name("disk") }).await;
    assert_eq!(verified.destroyed, 1);

    house.reopen().await;
    places.serve(&house, plan());
    places.vault.set_down(false);
    house.pass(1).await;
    assert!(house.ask(backups::List).await.cuts.is_empty());
    let verified = house.ask(Verify { sequence: record.sequence, destination: name("vault") }).await;
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
    let record = house.ask(Create).await.0;
    assert!(!record.is_well());
    assert!(record.destinations[&name("disk")].trouble.is_some());
    assert!(record.destinations[&name("vault")].stored.is_some());
    let _ = house.engine().deliver(0).await;
    let told = house.posts[0].taken().iter().any(|notice| notice.kind == NoticeKind::BackupTrouble);
    assert!(told, "nobody was told");
    places.disk.set_down(false);
    let next = backup(&house).await;
    house.ask(Verify { sequence: next.sequence, destination: name("disk") }).await;
    assert_eq!(house.code(Verify { sequence: record.sequence, destination: name("disk") }).await, Code::NotFound);
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
    let verified = house.ask(Verify { sequence: record.sequence, destination: name("disk") }).await;
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
    let more = house.ask(Create).await.0;
    assert!(more.destinations[&name("vault")].stored.is_some());
    places.disk.set_down(false);

    let mut new = another(RootKind::SealedFile, Some(house.path())).await;
    drop(house);
    places.serve(&new, plan());
    restore(&mut new, &*places.disk, &[], for_developer()).await.unwrap();
    let mut sizes = Vec::new();
    for _ in 0..3 {
        let record = new.ask(Create).await.0;
        assert!(record.destinations[&name("disk")].stored.is_some(), "{record:?}");
        let trouble = record.destinations[&name("vault")].trouble.clone().unwrap_or_default();
        assert!(trouble.contains("another audit log"), "{trouble}");
        new.ask(Verify { sequence: record.sequence, destination: name("disk") }).await;
        sizes.push(record.log_size);
    }
    assert!(sizes.iter().any(|size| *size > more.log_size), "{sizes:?} {}", more.log_size);
}
