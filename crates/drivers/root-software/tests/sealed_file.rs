//! The root in a file: the port's suite, and what is particular to files.
#![allow(clippy::unwrap_used)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use keyreeve_crypto::random::Random;
use keyreeve_root::conformance::{RootFixture, root_suite};
use keyreeve_root::{Root, RootError, SealStatus};
use keyreeve_root_software::SealedFileRoot;
use keyreeve_secret::{SecretBytes, SecretString};
use serde_json::Value;
use tempfile::TempDir;

struct Fixture {
    dir: TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("root.key")
    }

    async fn initialised(&self) -> Value {
        self.start().initialise(0, 0).await.unwrap().public
    }

    /// Why configuring is refused.
    async fn refusal(&self, public: &Value) -> String {
        let root = self.start();
        let refused = root.configure(public).await.unwrap_err();
        assert_eq!(root.status(), SealStatus::NotInitialised { people: false });
        assert!(matches!(refused, RootError::Unavailable(_)));
        refused.to_string()
    }
}

impl RootFixture for Fixture {
    type Root = SealedFileRoot;

    fn start(&self) -> SealedFileRoot {
        SealedFileRoot::new(self.file(), Random::from_module().unwrap())
    }

    fn shares(&self) -> (u8, u8) {
        (0, 0)
    }
}

#[tokio::test]
async fn it_conforms() {
    root_suite(Fixture::new).await;
}

#[tokio::test]
async fn the_file_is_private_and_alone() {
    let fixture = Fixture::new();
    let public = fixture.initialised().await;
    assert_eq!(fs::metadata(fixture.file()).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(fs::read_dir(fixture.dir.path()).unwrap().count(), 1, "nothing unfinished is left");
    let content = fs::read_to_string(fixture.file()).unwrap();
    let key = content.lines().find_map(|line| line.strip_prefix("key ")).unwrap();
    assert!(!public.to_string().contains(key));
    let set = content.lines().find_map(|line| line.strip_prefix("set ")).unwrap();
    assert_eq!(public["set"], set);
}

#[tokio::test]
async fn wider_permissions_are_refused() {
    let fixture = Fixture::new();
    let public = fixture.initialised().await;
    for mode in [0o640, 0o604, 0o660, 0o601] {
        fs::set_permissions(fixture.file(), Permissions::from_mode(mode)).unwrap();
        let refused = fixture.refusal(&public).await;
        assert!(refused.contains("chmod 600") && refused.contains(&format!("{mode:o}")), "{refused}");
        let refused = fixture.start().initialise(0, 0).await.unwrap_err();
        assert!(refused.to_string().contains("chmod 600"), "taking over is refused as well: {refused}");
    }
    fs::set_permissions(fixture.file(), Permissions::from_mode(0o400)).unwrap();
    fixture.start().configure(&public).await.unwrap();
}

#[tokio::test]
async fn damage_absence_and_mix_ups_are_told_apart() {
    let (fixture, other) = (Fixture::new(), Fixture::new());
    let public = fixture.initialised().await;
    other.initialised().await;
    let good = fs::read(fixture.file()).unwrap();
    let mut flipped = good.clone();
    let place = flipped.windows(5).position(|w| w == b"\nkey ").unwrap() + 8;
    flipped[place] = if flipped[place] == b'0' { b'1' } else { b'0' };
    for bad in [&flipped, &good[..good.len() - 1], &[][..], &[good.as_slice(), b"x"].concat()] {
        fs::write(fixture.file(), bad).unwrap();
        let refused = fixture.refusal(&public).await;
        assert!(refused.contains("damaged"), "{refused}");
        assert!(fixture.start().initialise(0, 0).await.is_err(), "a damaged file is not replaced");
        assert_eq!(fs::read(fixture.file()).unwrap(), bad);
    }
    fs::copy(other.file(), fixture.file()).unwrap();
    let refused = fixture.refusal(&public).await;
    assert!(refused.contains("another deployment"), "{refused}");
    fs::remove_file(fixture.file()).unwrap();
    let refused = fixture.refusal(&public).await;
    assert!(refused.contains("missing"), "{refused}");
    fs::write(fixture.file(), &good).unwrap();
    fs::set_permissions(fixture.file(), Permissions::from_mode(0o600)).unwrap();
    fixture.start().configure(&public).await.unwrap();
}

#[tokio::test]
async fn an_interrupted_initialisation_is_taken_up() {
    let fixture = Fixture::new();
    let first = fixture.start();
    let public = first.initialise(0, 0).await.unwrap().public;
    let wrapped = first.wrap(b"context", &SecretBytes::copy_from(b"kek")).await.unwrap();
    let file = fs::read(fixture.file()).unwrap();
    let second = fixture.start();
    assert_eq!(second.initialise(0, 0).await.unwrap().public, public);
    assert_eq!(fs::read(fixture.file()).unwrap(), file);
    assert!(second.unwrap(b"context", &wrapped).await.unwrap().ct_eq(b"kek"));
}

#[tokio::test]
async fn shares_are_not_for_it() {
    let fixture = Fixture::new();
    assert!(matches!(fixture.start().initialise(3, 2).await, Err(RootError::NoShares)));
    assert!(!fixture.file().exists());
    let public = fixture.initialised().await;
    let root = fixture.start();
    root.configure(&public).await.unwrap();
    assert!(matches!(root.unseal(&SecretString::copy_from("share")).await, Err(RootError::NoShares)));
    root.seal().await;
    assert!(matches!(root.configure(&public).await, Err(RootError::Already(_))), "opens at the next start only");
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_told() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().join("missing/root.key"), dir.path().to_owned(), PathBuf::from("/")] {
        let root = SealedFileRoot::new(&path, Random::from_module().unwrap());
        let refused = root.initialise(0, 0).await.unwrap_err().to_string();
        assert!(refused.contains(&path.display().to_string()), "{refused}");
        assert_eq!(root.status(), SealStatus::NotInitialised { people: false });
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
