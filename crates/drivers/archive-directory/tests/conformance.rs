//! The directory keeps the contract of destinations, and what only a directory promises.
#![allow(clippy::unwrap_used)]

use keyreeve_archive::Archive;
use keyreeve_archive_directory::{DirectoryArchive, OpenError};
use keyreeve_backup::Object;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread")]
async fn the_directory_passes_the_suite() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("backups");
    keyreeve_archive::conformance::run(|| async {
        let archive: Arc<dyn Archive> = Arc::new(DirectoryArchive::open(&path).unwrap());
        archive
    })
    .await;
    let left: Vec<_> = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with('.')), "{left:?}");
}

#[tokio::test]
async fn files_are_private_and_what_a_crash_left_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("backups");
    let archive = DirectoryArchive::open(&path).unwrap();
    let name = Object::Archive(1).name();
    archive.put(&name, Box::new(std::io::Cursor::new(b"one".to_vec())), None).await.unwrap();
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o700);
    assert_eq!(path.join(name.as_str()).metadata().unwrap().mode() & 0o777, 0o600);
    drop(archive);
    std::fs::write(path.join(".writing-1-1"), b"half").unwrap();
    // A crash before a replaced object got its new content left a second name of the old one.
    std::fs::hard_link(path.join(name.as_str()), path.join(".writing-1-2")).unwrap();
    std::fs::write(path.join("README"), b"not ours").unwrap();
    let archive = DirectoryArchive::open(&path).unwrap();
    assert!(!path.join(".writing-1-1").exists());
    assert_eq!(archive.list().await.unwrap().len(), 1);
    assert_eq!(std::fs::read(path.join(name.as_str())).unwrap(), b"one");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o750)).unwrap();
    assert!(matches!(DirectoryArchive::open(&path), Err(OpenError::Permissions { mode: 0o750, .. })));
}

/// Of the old ledger nothing is left, not even in another name of the same file.
#[tokio::test]
async fn the_bytes_of_a_replaced_object_are_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("backups");
    let archive = DirectoryArchive::open(&path).unwrap();
    let name = Object::Probe.name();
    archive.replace(&name, b"secret of yesterday").await.unwrap();
    // Somebody holds on to the old file.
    let held = dir.path().join("held");
    std::fs::hard_link(path.join(name.as_str()), &held).unwrap();
    archive.replace(&name, b"today").await.unwrap();
    assert_eq!(std::fs::read(&held).unwrap(), vec![0; 19]);
    assert_eq!(std::fs::read(path.join(name.as_str())).unwrap(), b"today");
}
