//! The suite every destination passes: one case for each thing the [`Archive`] contract says.

use keyreeve_backup::{Object, ObjectName, Segment};
use keyreeve_model::KeyringId;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use crate::{Archive, ArchiveError, Content, Stored};

/// Longer than any buffer on the way (bytes).
const LONG: usize = 3 * 1024 * 1024 + 17;

fn archive(number: u64) -> ObjectName {
    Object::Archive(number).name()
}

fn ledger() -> ObjectName {
    Object::Ledger { keyring: KeyringId::from_bytes([7; 16]), shard: 3 }.name()
}

fn content(bytes: Vec<u8>) -> Content {
    Box::new(io::Cursor::new(bytes))
}

fn long(seed: u8) -> Vec<u8> {
    (0..LONG).map(|n| (n % 251) as u8 ^ seed).collect()
}

async fn read(archive: &dyn Archive, name: &ObjectName) -> Vec<u8> {
    let mut bytes = Vec::new();
    archive.get(name).await.unwrap().read_to_end(&mut bytes).await.unwrap();
    bytes
}

/// Gives some bytes, then fails.
struct Failing(usize);

impl AsyncRead for Failing {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.0 == 0 {
            return Poll::Ready(Err(io::Error::other("injected")));
        }
        let some = self.0.min(buf.remaining()).min(4096);
        buf.put_slice(&vec![1; some]);
        self.0 -= some;
        Poll::Ready(Ok(()))
    }
}

/// Runs the suite over a fresh, empty destination. `reopen` opens the same one again.
///
/// # Panics
/// When it does not keep the contract.
pub async fn run<F, Fut>(reopen: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Archive>>,
{
    let destination = reopen().await;
    assert!(!destination.place().is_empty() && !destination.kind().is_empty());
    assert_eq!(destination.list().await.unwrap(), []);
    what_was_put_comes_back(&*destination).await;
    nothing_is_put_twice(&*destination).await;
    what_fails_in_the_middle_is_not_stored(&*destination).await;
    what_is_replaced_is_gone(&*destination).await;
    what_is_not_there(&*destination).await;
    let before = destination.list().await.unwrap();
    drop(destination);
    let destination = reopen().await;
    assert_eq!(destination.list().await.unwrap(), before, "opened again it has the same objects");
    assert_eq!(read(&*destination, &archive(2)).await, long(2));
    what_is_deleted_is_gone(&*destination).await;
    many_at_once(&destination).await;
}

async fn what_was_put_comes_back(destination: &dyn Archive) {
    assert_eq!(destination.put(&archive(1), content(b"one".to_vec()), Some(3)).await.unwrap(), 3);
    assert_eq!(destination.put(&archive(2), content(long(2)), Some(LONG as u64)).await.unwrap(), LONG as u64);
    let log = Object::Log(Segment { from: 0, to: 4 }).name();
    let stored = destination.put(&log, content(long(3)), Some(LONG as u64)).await;
    assert_eq!(stored.unwrap(), LONG as u64);
    assert_eq!(read(destination, &archive(1)).await, b"one");
    assert_eq!(read(destination, &archive(2)).await, long(2));
    assert_eq!(read(destination, &log).await, long(3));
    let stored = |name: ObjectName, size| Stored { name, size };
    let listed = [stored(archive(1), 3), stored(archive(2), LONG as u64), stored(log, LONG as u64)];
    assert_eq!(destination.list().await.unwrap(), listed);
}

async fn nothing_is_put_twice(destination: &dyn Archive) {
    let again = destination.put(&archive(1), content(b"two".to_vec()), Some(3)).await;
    assert!(matches!(again, Err(ArchiveError::Exists(name)) if name == archive(1)));
    assert_eq!(read(destination, &archive(1)).await, b"one");
}

async fn what_fails_in_the_middle_is_not_stored(destination: &dyn Archive) {
    let before = destination.list().await.unwrap();
    let failing = destination.put(&archive(9), Box::new(Failing(LONG)), Some(2 * LONG as u64)).await;
    assert!(matches!(failing, Err(ArchiveError::Source(_))), "{failing:?}");
    for wrong in [2, 4] {
        let short = destination.put(&archive(9), content(b"one".to_vec()), Some(wrong)).await;
        assert!(matches!(short, Err(ArchiveError::Source(_))), "{wrong} bytes were promised: {short:?}");
    }
    assert_eq!(destination.list().await.unwrap(), before);
    assert!(matches!(destination.get(&archive(9)).await, Err(ArchiveError::NotFound(_))));
    assert_eq!(destination.put(&archive(9), content(b"whole".to_vec()), Some(5)).await.unwrap(), 5);
    destination.delete(&archive(9)).await.unwrap();
}

async fn what_is_replaced_is_gone(destination: &dyn Archive) {
    destination.replace(&ledger(), b"first").await.unwrap();
    assert_eq!(read(destination, &ledger()).await, b"first");
    destination.replace(&ledger(), &long(4)).await.unwrap();
    assert_eq!(read(destination, &ledger()).await, long(4));
    destination.replace(&ledger(), b"last").await.unwrap();
    assert_eq!(read(destination, &ledger()).await, b"last");
    let count = destination.list().await.unwrap().iter().filter(|stored| stored.name == ledger()).count();
    assert_eq!(count, 1);
}

async fn what_is_not_there(destination: &dyn Archive) {
    assert!(matches!(destination.get(&archive(77)).await, Err(ArchiveError::NotFound(name)) if name == archive(77)));
    destination.delete(&archive(77)).await.unwrap();
}

async fn what_is_deleted_is_gone(destination: &dyn Archive) {
    destination.delete(&archive(2)).await.unwrap();
    assert!(matches!(destination.get(&archive(2)).await, Err(ArchiveError::NotFound(_))));
    assert!(destination.list().await.unwrap().iter().all(|stored| stored.name != archive(2)));
    destination.put(&archive(2), content(b"anew".to_vec()), Some(4)).await.unwrap();
}

async fn many_at_once(destination: &Arc<dyn Archive>) {
    let mut tasks = Vec::new();
    for n in 100..108u64 {
        let one = Arc::clone(destination);
        tasks.push(tokio::spawn(async move {
            let bytes = vec![n as u8; 1000 + n as usize];
            one.put(&archive(n), content(bytes.clone()), Some(bytes.len() as u64)).await.unwrap();
            one.replace(&ledger(), &bytes).await.unwrap();
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    for n in 100..108u64 {
        assert_eq!(read(&**destination, &archive(n)).await, vec![n as u8; 1000 + n as usize]);
    }
    let last = read(&**destination, &ledger()).await;
    assert!(
        last.windows(2).all(|pair| pair[0] == pair[1]) && last.len() == 1000 + last[0] as usize,
        "one of them, whole"
    );
}
