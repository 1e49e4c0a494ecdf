//! The directory vault: the port's suite, and what is particular to files.
#![allow(clippy::unwrap_used)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use keyreeve_crypto::random::Random;
use keyreeve_epochs::conformance::{VaultFixture, vault_suite};
use keyreeve_epochs::{EpochId, EpochVault, VaultError};
use keyreeve_epochs_file::{FileEpochVault, OpenError};
use keyreeve_model::KeyringId;
use tempfile::TempDir;

struct Fixture {
    dir: TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn vault(&self) -> PathBuf {
        self.dir.path().join("epochs")
    }

    fn keyring(&self) -> PathBuf {
        self.vault().join(KEYRING.to_string())
    }

    fn open(&self) -> Result<FileEpochVault, OpenError> {
        FileEpochVault::open(&self.vault(), Random::from_module().unwrap())
    }
}

impl VaultFixture for Fixture {
    type Vault = FileEpochVault;

    fn start(&self) -> FileEpochVault {
        self.open().unwrap()
    }
}

const KEYRING: KeyringId = KeyringId::from_bytes([1; 16]);
const ID: EpochId = EpochId { keyring: KEYRING, shard: 3, epoch: 14 };

async fn with_epoch() -> (Fixture, PathBuf) {
    let fixture = Fixture::new();
    fixture.start().put(ID, b"wrapped epoch key").await.unwrap();
    let file = fixture.keyring().join("3-14.key");
    assert!(file.is_file());
    (fixture, file)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_conforms() {
    vault_suite(Fixture::new).await;
}

#[tokio::test]
async fn only_the_owner_can_read_what_it_writes() {
    let (fixture, file) = with_epoch().await;
    assert_eq!((mode(&fixture.vault()), mode(&fixture.keyring()), mode(&file)), (0o700, 0o700, 0o600));
    assert_eq!(names(&fixture.keyring()), ["3-14.key"], "nothing but the epoch is left");
}

#[tokio::test]
async fn what_others_can_read_is_refused() {
    let (fixture, file) = with_epoch().await;
    for (path, right) in [(fixture.vault(), 0o700), (fixture.keyring(), 0o700), (file, 0o600)] {
        for wrong in [right | 0o040, right | 0o007, right | 0o010] {
            fs::set_permissions(&path, Permissions::from_mode(wrong)).unwrap();
            let refused = fixture.open().err().unwrap();
            assert!(matches!(&refused, OpenError::Permissions { path: p, mode } if *p == path && *mode == wrong));
            assert!(refused.to_string().contains("chmod go-rwx"), "{refused}");
        }
        fs::set_permissions(&path, Permissions::from_mode(right)).unwrap();
    }
    fixture.open().unwrap();
}

#[tokio::test]
async fn damage_is_told_from_absence() {
    let (fixture, file) = with_epoch().await;
    let good = fs::read(&file).unwrap();
    let vault = fixture.start();
    for bad in [&good[..0], &good[..20], &good[1..], &vec![0; good.len()], &vec![7; 1 << 20]] {
        fs::write(&file, bad).unwrap();
        assert!(matches!(vault.get(ID).await, Err(VaultError::Damaged(id)) if id == ID));
        assert!(matches!(vault.put(ID, b"another").await, Err(VaultError::Exists(_))));
    }
    fs::write(&file, &good).unwrap();
    assert_eq!(vault.get(ID).await.unwrap().unwrap(), b"wrapped epoch key");
    fs::rename(&file, file.with_file_name("3-15.key")).unwrap();
    assert!(matches!(vault.get(EpochId { epoch: 15, ..ID }).await, Err(VaultError::Damaged(_))));
    assert_eq!(vault.get(ID).await.unwrap(), None);
}

#[tokio::test]
async fn erasing_overwrites_the_content() {
    let (fixture, file) = with_epoch().await;
    let other_name = fixture.dir.path().join("copy");
    fs::hard_link(&file, &other_name).unwrap();
    let len = fs::read(&file).unwrap().len();
    fixture.start().erase(ID).await.unwrap();
    assert_eq!(fs::read(&other_name).unwrap(), vec![0; len]);
    assert!(names(&fixture.keyring()).is_empty());
}

#[tokio::test]
async fn the_next_start_finishes_what_was_begun() {
    let (fixture, file) = with_epoch().await;
    let (erasing, writing) =
        (file.with_file_name(".3-9.key.77-0.erasing"), file.with_file_name(".3-15.key.77-1.writing"));
    let other_name = fixture.dir.path().join("copy");
    fs::write(&erasing, b"wrapped epoch key").unwrap();
    fs::hard_link(&erasing, &other_name).unwrap();
    // As a crash between giving the new name and taking the old one leaves it.
    fs::hard_link(&file, &writing).unwrap();
    // While another process uses the vault it may be that one's unfinished work.
    let vault = fixture.start();
    fs::write(&erasing, b"wrapped epoch key").unwrap();
    fs::hard_link(&file, &writing).unwrap();
    let second = fixture.start();
    assert_eq!(names(&fixture.keyring()).len(), 3);
    assert_eq!(vault.list().await.unwrap(), [ID]);
    drop((vault, second));
    let vault = fixture.start();
    assert_eq!(names(&fixture.keyring()), ["3-14.key"]);
    assert_eq!(fs::read(&other_name).unwrap(), [0; 17]);
    assert_eq!(vault.get(ID).await.unwrap().unwrap(), b"wrapped epoch key");
}

#[tokio::test]
async fn what_does_not_belong_is_refused() {
    let (fixture, file) = with_epoch().await;
    fs::create_dir(fixture.vault().join("lost+found")).unwrap();
    fixture.open().unwrap();
    let strays = [
        fixture.vault().join("notes.txt"),
        fixture.keyring().join("3-14.key~"),
        fixture.keyring().join("03-14.key"),
        fixture.vault().join(KeyringId::from_bytes([2; 16]).to_string()),
    ];
    for stray in strays {
        fs::copy(&file, &stray).unwrap();
        let refused = fixture.open().err().unwrap();
        assert!(matches!(&refused, OpenError::Foreign { path } if *path == stray), "{refused}");
        fs::remove_file(&stray).unwrap();
    }
    fs::rename(&file, fixture.dir.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(fixture.dir.path().join("elsewhere"), &file).unwrap();
    assert!(matches!(fixture.open(), Err(OpenError::Foreign { .. })), "a symbolic link");
}

#[tokio::test]
async fn a_vault_that_was_removed_is_not_ready() {
    let (fixture, _) = with_epoch().await;
    let vault = fixture.start();
    vault.check().await.unwrap();
    fs::remove_dir_all(fixture.vault()).unwrap();
    let told = vault.check().await.unwrap_err();
    assert!(matches!(told, VaultError::Unavailable(_)) && told.to_string().contains("was removed"), "{told}");
    assert!(vault.put(ID, b"key").await.is_err(), "and it cannot work, either");
}

#[tokio::test]
async fn a_missing_parent_is_told() {
    let fixture = Fixture::new();
    let path = fixture.dir.path().join("a/b");
    let refused = FileEpochVault::open(&path, Random::from_module().unwrap()).err().unwrap();
    assert!(matches!(&refused, OpenError::Io { path: p, .. } if *p == path), "{refused}");
    let file = fixture.dir.path().join("file");
    fs::write(&file, b"").unwrap();
    assert!(matches!(FileEpochVault::open(&file, Random::from_module().unwrap()), Err(OpenError::Io { .. })));
}
