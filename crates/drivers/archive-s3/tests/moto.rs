//! A bucket as a destination, against moto's: the port's suite, rights, pages, parts, throttling, outages.
#![allow(clippy::unwrap_used)]

use keyreeve_archive::{Archive, ArchiveError, Content};
use keyreeve_archive_s3::{PART, S3Archive, Settings};
use keyreeve_backup::{Object, ObjectName};
use keyreeve_tests::{Fate, Middle, Moto, Pki};
use serde_json::json;
use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;
use tokio::io::AsyncReadExt;

/// The rights that docs/operations.md names.
const ACTIONS: [&str; 6] = [
    "s3:GetBucketVersioning",
    "s3:ListBucket",
    "s3:GetObject",
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:AbortMultipartUpload",
];

fn settings(moto: &Moto) -> Settings {
    Settings {
        bucket: "backups".to_owned(),
        prefix: "prod/keyreeve/".to_owned(),
        region: "eu-central-1".to_owned(),
        endpoint: Some(moto.address()),
        credentials_file: moto.credentials(),
        authorities_pem: None,
        accept_versions: false,
    }
}

fn over(settings: Settings) -> S3Archive {
    S3Archive::new(settings, Arc::new(SystemTime::now)).unwrap()
}

/// moto with a bucket, and with credentials of anybody's.
fn moto() -> Option<Moto> {
    let moto = Moto::start()?;
    moto.write(&("someone".to_owned(), "something".to_owned()));
    moto.ask(json!({ "do": "bucket", "name": "backups" }));
    Some(moto)
}

fn name(number: u64) -> ObjectName {
    Object::Archive(number).name()
}

fn content(bytes: &[u8]) -> Content {
    Box::new(Cursor::new(bytes.to_vec()))
}

async fn read(archive: &S3Archive, name: &ObjectName) -> Vec<u8> {
    let mut bytes = Vec::new();
    archive.get(name).await.unwrap().read_to_end(&mut bytes).await.unwrap();
    bytes
}

/// Fails the first so many requests.
fn failing(times: usize, status: u16, body: &'static str) -> (Arc<AtomicUsize>, impl FnMut() -> Option<Fate>) {
    let left = Arc::new(AtomicUsize::new(times));
    let counted = left.clone();
    let fate = move || {
        let fails = counted.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        fails.then(|| Fate::Answer(status, "", body.to_owned()))
    };
    (left, fate)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_passes_the_suite() {
    let Some(moto) = moto() else { return };
    keyreeve_archive::conformance::run(|| async {
        let archive: Arc<dyn Archive> = Arc::new(over(settings(&moto)));
        archive
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_objects_go_by_parts_and_what_fails_is_taken_back() {
    let Some(moto) = moto() else { return };
    let archive = over(settings(&moto));
    let long: Vec<u8> = (0..2 * PART + 17).map(|n| (n % 251) as u8).collect();
    let size = Some(long.len() as u64);
    assert_eq!(archive.put(&name(1), content(&long), size).await.unwrap(), long.len() as u64);
    assert_eq!(archive.put(&name(2), content(&long), None).await.unwrap(), long.len() as u64);
    assert!(read(&archive, &name(1)).await == long && read(&archive, &name(2)).await == long);
    assert!(matches!(archive.put(&name(1), content(&long), size).await, Err(ArchiveError::Exists(_))));
    let more = archive.put(&name(3), content(&long), Some(long.len() as u64 + 1)).await;
    assert!(matches!(more, Err(ArchiveError::Source(_))), "{more:?}");
    assert_eq!(archive.list().await.unwrap().len(), 2);
    assert_eq!(moto.ask(json!({ "do": "uploads", "name": "backups" }))["uploads"], 0);

    // Somebody stores another one while this one is on its way: that stays.
    let middle = Middle::before(&moto.address(), Pki::new("nobody").pem()).await;
    let through = over(Settings { endpoint: Some(middle.address().to_owned()), ..settings(&moto) });
    middle.rule(|passing| match passing.method.as_str() {
        "HEAD" => Fate::Answer(404, "", String::new()),
        _ => Fate::Pass,
    });
    for bytes in [&long[..], b"short"] {
        let late = through.put(&name(1), content(bytes), Some(bytes.len() as u64)).await;
        assert!(matches!(late, Err(ArchiveError::Exists(_))), "{late:?}");
    }
    assert!(read(&archive, &name(1)).await == long);
    assert_eq!(moto.ask(json!({ "do": "uploads", "name": "backups" }))["uploads"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_has_every_page() {
    let Some(moto) = moto() else { return };
    let archive = Arc::new(over(settings(&moto)));
    let puts = (1..=1100).map(|number| {
        let archive = archive.clone();
        async move { archive.put(&name(number), content(b"x"), Some(1)).await.map(drop) }
    });
    let mut puts = futures::stream::iter(puts.map(tokio::spawn));
    while let Some(put) = futures::StreamExt::next(&mut puts).await {
        put.await.unwrap().unwrap();
    }
    let found = archive.list().await.unwrap();
    assert_eq!((found.len(), &found[0].name, &found[1099].name), (1100, &name(1), &name(1100)));
    let beside = over(Settings { prefix: "other/".to_owned(), ..settings(&moto) });
    assert_eq!(beside.list().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_keeps_versions_is_refused_unless_it_is_meant() {
    let Some(moto) = moto() else { return };
    for status in ["Enabled", "Suspended"] {
        moto.ask(json!({ "do": "versions", "name": "backups", "status": status }));
        let archive = over(settings(&moto));
        let refusals =
            [archive.put(&name(1), content(b"x"), Some(1)).await.map(drop), archive.replace(&name(1), b"x").await];
        for refused in refusals {
            let Err(ArchiveError::ReadOnly(why)) = refused else { panic!("{refused:?}") };
            assert!(why.contains("accept_versions"), "{why}");
        }
        assert_eq!(archive.list().await.unwrap(), []);
    }
    let meant = over(Settings { accept_versions: true, ..settings(&moto) });
    meant.replace(&name(1), b"x").await.unwrap();
    assert_eq!(read(&meant, &name(1)).await, b"x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_needs_these_rights_and_new_credentials_are_taken_up() {
    let Some(moto) = moto() else { return };
    let (archive, long) = (over(settings(&moto)), vec![7; PART + 1]);
    let good = moto.user("keyreeve", &ACTIONS);
    let bad = moto.user("reader", &["s3:ListBucket"]);
    moto.ask(json!({ "do": "enforce" }));
    moto.write(&bad);
    let refused = archive.put(&name(1), content(b"x"), Some(1)).await;
    assert!(refused.is_err(), "{refused:?}");
    moto.write(&good);
    archive.put(&name(1), content(&long), Some(long.len() as u64)).await.unwrap();
    archive.replace(&name(2), b"ledger").await.unwrap();
    assert_eq!(archive.list().await.unwrap().len(), 2);
    assert!(read(&archive, &name(1)).await == long);
    archive.delete(&name(1)).await.unwrap();
    // A key that signs for nobody.
    moto.write(&(good.0, "another secret".to_owned()));
    let Err(ArchiveError::ReadOnly(said)) = archive.replace(&name(2), b"x").await else { panic!("taken") };
    assert!(said.contains("403"), "{said}");
    std::fs::remove_file(moto.credentials()).unwrap();
    assert!(matches!(archive.list().await, Err(ArchiveError::Unavailable(why)) if why.contains("credentials")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttling_and_failures_in_between_are_ridden_out() {
    let Some(moto) = moto() else { return };
    let middle = Middle::before(&moto.address(), Pki::new("nobody").pem()).await;
    let archive = over(Settings { endpoint: Some(middle.address().to_owned()), ..settings(&moto) });
    let answers = [
        (503, "<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"),
        (500, "<Error><Code>InternalError</Code></Error>"),
        (503, "<html>Service Unavailable</html>"),
        (429, ""),
    ];
    for (number, (status, body)) in (1..).zip(answers) {
        let (left, mut fate) = failing(3, status, body);
        middle.rule(move |_| fate().unwrap_or(Fate::Pass));
        archive.put(&name(number), content(b"bytes"), Some(5)).await.unwrap();
        assert_eq!(left.load(Ordering::SeqCst), 0, "{status} {body}");
        assert_eq!(read(&archive, &name(number)).await, b"bytes");
    }
    middle.rule(|_| Fate::Answer(403, "", "<Error><Code>AccessDenied</Code></Error>".to_owned()));
    let before = middle.seen("/");
    assert!(matches!(archive.list().await, Err(ArchiveError::ReadOnly(said)) if said.contains("AccessDenied")));
    assert_eq!(middle.seen("/"), before + 1, "a refusal is not asked for again");
    middle.rule(|_| Fate::Answer(301, "location: http://169.254.169.254/\r\n", String::new()));
    assert!(archive.list().await.is_err(), "no redirect is followed");
    // An upload whose end the service says in an answer that began well.
    let long = vec![7; PART + 1];
    middle.rule(|passing| match passing.method.as_str() {
        "POST" if passing.path.contains("uploadId") => {
            Fate::Answer(200, "", "<Error><Code>InternalError</Code></Error>".to_owned())
        }
        _ => Fate::Pass,
    });
    let put = archive.put(&name(50), content(&long), Some(long.len() as u64)).await;
    assert!(matches!(put, Err(ArchiveError::Unavailable(ref why)) if why.contains("InternalError")), "{put:?}");
    middle.rule(|_| Fate::Pass);
    archive.put(&name(50), content(&long), Some(long.len() as u64)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_told_and_passes() {
    let Some(moto) = moto() else { return };
    let archive = over(settings(&moto));
    archive.put(&name(1), content(b"x"), Some(1)).await.unwrap();
    moto.ask(json!({ "do": "stop" }));
    for refused in [
        archive.put(&name(2), content(b"x"), Some(1)).await.map(drop),
        archive.list().await.map(drop),
        archive.get(&name(1)).await.map(drop),
    ] {
        assert!(matches!(refused, Err(ArchiveError::Unavailable(_))), "{refused:?}");
    }
    moto.ask(json!({ "do": "start" }));
    archive.put(&name(2), content(b"x"), Some(1)).await.unwrap();
    assert_eq!(archive.list().await.unwrap().len(), 2, "moto keeps what it had");
}
