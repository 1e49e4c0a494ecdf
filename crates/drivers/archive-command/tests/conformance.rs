//! A program keeps the contract of destinations: the one in `deploy/`, and what is asked of any.
#![allow(clippy::unwrap_used)]

use keyreeve_archive::{Archive, ArchiveError, Content};
use keyreeve_archive_command::{CommandArchive, Settings};
use keyreeve_backup::{Object, ObjectName};
use std::collections::BTreeMap;
use std::io::Cursor;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../deploy/backup-command.sh").canonicalize().unwrap()
}

fn settings(program: PathBuf, directory: &Path) -> Settings {
    let arguments = vec![directory.to_str().unwrap().to_owned()];
    Settings { program, arguments, environment: BTreeMap::new(), stall: Duration::from_secs(20) }
}

/// A program made of a few lines.
fn program(directory: &TempDir, lines: &str) -> CommandArchive {
    let path = directory.path().join("program");
    std::fs::write(&path, format!("#!/bin/sh\n{lines}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    let environment = BTreeMap::from([("WHERE".to_owned(), directory.path().to_str().unwrap().to_owned())]);
    let stall = Duration::from_secs(2);
    CommandArchive::new(Settings { environment, stall, ..settings(path, directory.path()) })
}

fn name() -> ObjectName {
    Object::Archive(1).name()
}

fn content(bytes: &[u8]) -> Content {
    Box::new(Cursor::new(bytes.to_vec()))
}

fn said(error: ArchiveError) -> String {
    match error {
        ArchiveError::Unavailable(text) => text,
        other => panic!("{other:?}"),
    }
}

async fn gone(directory: &TempDir, file: &str) {
    let text = std::fs::read_to_string(directory.path().join(file)).unwrap();
    let process = PathBuf::from(format!("/proc/{}", text.trim()));
    let until = Instant::now() + Duration::from_secs(10);
    while process.exists() && !std::fs::read_to_string(process.join("stat")).is_ok_and(|stat| stat.contains(") Z ")) {
        assert!(Instant::now() < until, "process {} lives", text.trim());
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_that_comes_along_passes_the_suite() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("backups");
    keyreeve_archive::conformance::run(|| async {
        let archive: Arc<dyn Archive> = Arc::new(CommandArchive::new(settings(shipped(), &place)));
        archive
    })
    .await;
    for entry in std::fs::read_dir(&place).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "others may read it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_started_without_a_shell_and_without_our_environment() {
    let directory = tempfile::tempdir().unwrap();
    let archive =
        program(&directory, r#"env > "$WHERE/env"; printf '%s\n' "$@" > "$WHERE/args"; pwd >> "$WHERE/args""#);
    let odd = Settings {
        arguments: vec!["$(touch /tmp/never); *".to_owned(), "two words".to_owned()],
        program: directory.path().join("program"),
        environment: BTreeMap::from([("WHERE".to_owned(), directory.path().to_str().unwrap().to_owned())]),
        stall: Duration::from_secs(20),
    };
    drop(archive);
    CommandArchive::new(odd).delete(&name()).await.unwrap();
    let read = |file: &str| std::fs::read_to_string(directory.path().join(file)).unwrap();
    assert_eq!(read("args"), "$(touch /tmp/never); *\ntwo words\ndelete\nbackup-0000000001.krb\n/\n");
    // The shell of this program adds some of its own.
    let mut names: Vec<String> =
        read("env").lines().filter_map(|line| Some(line.split_once('=')?.0.to_owned())).collect();
    names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(&name.as_str()));
    names.sort();
    assert_eq!(names, ["LC_ALL", "PATH", "WHERE"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_does_nothing_is_killed_with_all_it_started() {
    let directory = tempfile::tempdir().unwrap();
    let archive = program(&directory, r#"sleep 600 & echo $! > "$WHERE/child"; echo $$ > "$WHERE/self"; wait"#);
    let began = Instant::now();
    assert!(said(archive.list().await.unwrap_err()).contains("nothing moved for 2 s"));
    assert!(said(archive.put(&name(), content(b"x"), Some(1)).await.unwrap_err()).contains("nothing moved"));
    assert!(began.elapsed() < Duration::from_secs(60));
    gone(&directory, "child").await;
    gone(&directory, "self").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_dropped_ends_its_program_before_its_input() {
    let directory = tempfile::tempdir().unwrap();
    let archive = Arc::new(program(
        &directory,
        r#"echo $$ > "$WHERE/self.new"; mv "$WHERE/self.new" "$WHERE/self"; cat > /dev/null; touch "$WHERE/whole""#,
    ));
    let one = Arc::clone(&archive);
    let (never, end) = tokio::io::duplex(16);
    let asked = tokio::spawn(async move { one.put(&name(), Box::new(end), None).await });
    while !directory.path().join("self").exists() {
        tokio::task::yield_now().await;
    }
    asked.abort();
    assert!(asked.await.unwrap_err().is_cancelled());
    gone(&directory, "self").await;
    assert!(!directory.path().join("whole").exists(), "it took what broke off for all of it");
    drop(never);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_says_and_how_it_ends_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let archive = program(&directory, "echo starting >&2; echo 'no bucket of that name' >&2; exit 9");
    for error in [
        archive.put(&name(), content(b"x"), Some(1)).await.unwrap_err(),
        archive.replace(&name(), b"x").await.unwrap_err(),
        archive.get(&name()).await.err().unwrap(),
        archive.list().await.unwrap_err(),
        archive.delete(&name()).await.unwrap_err(),
    ] {
        assert_eq!(said(error), "the program ended with 9: no bucket of that name");
    }
    let archive = program(&directory, "kill -9 $$");
    assert!(said(archive.list().await.unwrap_err()).contains("was killed"));
    // One that reads nothing and says that all is well did not store it.
    let archive = program(&directory, "exit 0");
    let long = vec![7; 4 * 1024 * 1024];
    let told = said(archive.put(&name(), content(&long), Some(long.len() as u64)).await.unwrap_err());
    assert!(told.contains("before it had read everything"), "{told}");
    // What fails in the middle of giving an object is no end of it.
    let archive = program(&directory, "echo half; exec 1>&-; echo 'the line broke' >&2; exit 1");
    let mut bytes = Vec::new();
    let error = archive.get(&name()).await.unwrap().read_to_end(&mut bytes).await.unwrap_err();
    assert!(error.to_string().contains("the line broke"), "{error}");
    let none = Settings { program: "/nonexistent/program".into(), ..settings(shipped(), directory.path()) };
    assert!(said(CommandArchive::new(none).list().await.unwrap_err()).contains("could not be started"));
}
