//! Commits whose answer gets lost on the way, and servers that were superseded: what is reported is what is true.
//!
//! `KEYREEVE_TEST_POSTGRES` holds the URL of a server where the user may create schemas.
#![allow(clippy::unwrap_used, missing_docs)]

use keyreeve_model::change::NamedRow;
use keyreeve_model::{Change, Outbox, RecordId, Revision, SealedRecord, Transaction, UnixMillis};
use keyreeve_store::{Store, StoreError};
use keyreeve_store_postgres::{PostgresOptions, PostgresStore};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

const VARIABLE: &str = "KEYREEVE_TEST_POSTGRES";

/// What the way to the database does with the next COMMIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Fate {
    /// It arrives, and so does its answer.
    Delivered,
    /// It arrives; then the connection breaks.
    AnswerLost,
    /// The connection breaks before it arrives.
    Lost,
    /// It does not arrive and nobody hears of it: the database goes on waiting until its own limit.
    Swallowed,
    /// It arrives; no answer comes back.
    Silent,
}

const FATES: [Fate; 5] = [Fate::Delivered, Fate::AnswerLost, Fate::Lost, Fate::Swallowed, Fate::Silent];

/// Where the database listens.
enum Server {
    Address(String),
    Socket(String),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Server {
    /// Of a URL, whose parameter `host` may name the directory of a Unix socket.
    fn of(url: &str) -> Self {
        let (place, parameters) = url.split_once('?').unwrap_or((url, ""));
        let socket = parameters.split('&').find_map(|parameter| parameter.strip_prefix("host=/"));
        if let Some(directory) = socket {
            return Self::Socket(format!("/{directory}/.s.PGSQL.5432"));
        }
        let host = place.rsplit_once('@').unwrap().1.split('/').next().unwrap();
        Self::Address(if host.contains(':') { host.to_owned() } else { format!("{host}:5432") })
    }

    async fn connect(&self) -> Box<dyn Stream> {
        match self {
            Self::Address(address) => Box::new(TcpStream::connect(address).await.unwrap()),
            Self::Socket(path) => Box::new(UnixStream::connect(path).await.unwrap()),
        }
    }
}

/// A way to the database that loses things.
struct Way {
    fate: AtomicU8,
    database: Server,
}

impl Way {
    fn take(&self) -> Fate {
        FATES[usize::from(self.fate.swap(0, Ordering::SeqCst))]
    }

    async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let way = Arc::clone(&self);
            tokio::spawn(async move { way.carry(client).await });
        }
    }

    async fn carry(&self, mut client: TcpStream) {
        let mut database = self.database.connect().await;
        let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        loop {
            tokio::select! {
                read = client.read(&mut up) => {
                    let Ok(count @ 1..) = read else { return };
                    let is_commit = up[..count].windows(6).any(|window| window == b"COMMIT");
                    match if is_commit { self.take() } else { Fate::Delivered } {
                        Fate::Delivered => database.write_all(&up[..count]).await.unwrap(),
                        Fate::AnswerLost => {
                            database.write_all(&up[..count]).await.unwrap();
                            // The answer is here, so it was applied.
                            let _ = database.read(&mut down).await;
                            return;
                        }
                        Fate::Lost => return,
                        Fate::Swallowed => return hold(client, database).await,
                        Fate::Silent => {
                            database.write_all(&up[..count]).await.unwrap();
                            return hold(client, database).await;
                        }
                    }
                }
                read = database.read(&mut down) => {
                    let Ok(count @ 1..) = read else { return };
                    if client.write_all(&down[..count]).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// Lets the client go when it wants, and keeps the database's end open until the database closes it.
async fn hold(client: TcpStream, mut database: Box<dyn Stream>) {
    drop(client);
    let mut rest = Vec::new();
    let _ = database.read_to_end(&mut rest).await;
}

struct Place {
    direct: String,
    schema: String,
    through: String,
    way: Arc<Way>,
}

impl Place {
    /// A schema of its own, with a way to it; none when there is no server.
    #[allow(clippy::print_stderr)]
    async fn new(test: &str) -> Option<Self> {
        let Some(url) = std::env::var(VARIABLE).ok().filter(|url| !url.is_empty()) else {
            let why = format!("{test}: {VARIABLE} is not set, so there is no PostgreSQL to test with");
            assert!(std::env::var("KEYREEVE_TEST_ALL").as_deref() != Ok("1"), "{why}");
            eprintln!("not run: {why}");
            return None;
        };
        let schema = format!("d{}_{test}", std::process::id());
        run(&url, format!("CREATE SCHEMA {schema}")).await;
        let (user, after) = url.split_once('@').unwrap();
        let name = after.split_once('/').unwrap().1.split('?').next().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = format!("sslmode=disable&options=-csearch_path%3D{schema}");
        let through = format!("{user}@{}/{name}?{options}", listener.local_addr().unwrap());
        let direct = format!("{url}{}{options}", if url.contains('?') { '&' } else { '?' });
        let way = Arc::new(Way { fate: AtomicU8::new(0), database: Server::of(&url) });
        tokio::spawn(Arc::clone(&way).serve(listener));
        Some(Self { direct, schema, through, way })
    }

    async fn end(self) {
        run(&self.direct, format!("DROP SCHEMA {} CASCADE", self.schema)).await;
    }
}

async fn run(url: &str, sql: String) {
    let mut db = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut db).await.unwrap();
    db.close().await.unwrap();
}

fn marker(n: u8) -> Outbox {
    Outbox { id: RecordId::from_bytes([n; 16]), bytes: vec![n] }
}

fn put(revision: u8) -> Transaction {
    let record = SealedRecord { revision: Revision(revision.into()), bytes: b"{}".to_vec(), mac: [0; 32] };
    let row = NamedRow { name: "policy".parse().unwrap(), record };
    Transaction {
        name: "put",
        changes: vec![Change::PutPolicy(row)],
        outbox: vec![marker(revision)],
        ..Transaction::default()
    }
}

async fn revision(store: &PostgresStore) -> i64 {
    store.policy(&"policy".parse().unwrap()).await.unwrap().unwrap().record.revision.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_without_an_answer_is_found_out() {
    let Some(place) = Place::new("found_out").await else { return };
    let options = PostgresOptions { operation_timeout: Duration::from_millis(500), ..PostgresOptions::default() };
    let store = PostgresStore::connect(&place.through, options).await.unwrap();
    store.commit(put(1)).await.unwrap();
    let fates = [(Fate::AnswerLost, true), (Fate::Lost, false), (Fate::Swallowed, false), (Fate::Silent, true)];
    for (next, (fate, applied)) in (2..).zip(fates) {
        place.way.fate.store(fate as u8, Ordering::SeqCst);
        let outcome = store.commit(put(next)).await;
        assert_eq!(place.way.fate.load(Ordering::SeqCst), 0, "{fate:?} happened");
        match (applied, &outcome) {
            (true, Ok(())) | (false, Err(StoreError::Unavailable(_))) => {}
            _ => panic!("{fate:?}: {outcome:?}"),
        }
        assert_eq!(revision(&store).await, i64::from(next) - i64::from(!applied), "{fate:?}");
        let outbox = store.outbox(100).await.unwrap();
        assert_eq!(outbox.last().unwrap() == &marker(next), applied, "{fate:?}: looking leaves nothing behind");
        if !applied {
            store.commit(put(next)).await.unwrap();
        }
    }
    store.close().await;
    place.end().await;
}

/// Without an audit record there is nothing to find the outcome by.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_found_out_is_said_to_be_in_doubt() {
    let Some(place) = Place::new("in_doubt").await else { return };
    let store = PostgresStore::connect(&place.through, PostgresOptions::default()).await.unwrap();
    place.way.fate.store(Fate::AnswerLost as u8, Ordering::SeqCst);
    let outcome = store.commit(Transaction { outbox: vec![], ..put(1) }).await;
    assert!(matches!(outcome, Err(StoreError::InDoubt(_))), "{outcome:?}");
    assert_eq!(revision(&store).await, 1);
    store.close().await;
    place.end().await;
}

/// The old server does not know that its time is over; the database does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_superseded_server_commits_nothing() {
    let Some(place) = Place::new("superseded").await else { return };
    let old = PostgresStore::connect(&place.direct, PostgresOptions::default()).await.unwrap();
    let new = PostgresStore::connect(&place.direct, PostgresOptions::default()).await.unwrap();
    assert!(old.lease("old", UnixMillis(0), UnixMillis(100)).await.unwrap());
    old.commit(put(1)).await.unwrap();
    assert!(!new.lease("new", UnixMillis(99), UnixMillis(200)).await.unwrap());
    assert!(matches!(new.commit(put(2)).await, Err(StoreError::LeaseLost)));
    assert!(new.lease("new", UnixMillis(100), UnixMillis(200)).await.unwrap());
    assert!(matches!(old.commit(put(2)).await, Err(StoreError::LeaseLost)));
    new.commit(put(2)).await.unwrap();
    assert!(!old.lease("old", UnixMillis(101), UnixMillis(201)).await.unwrap());
    assert!(matches!(old.commit(put(3)).await, Err(StoreError::LeaseLost)));
    assert_eq!(revision(&old).await, 2, "it may still read");
    old.close().await;
    new.close().await;
    place.end().await;
}

/// A takeover waits for commits under way: none of them ends after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_takes_the_lease_in_the_midst_of_a_commit() {
    let Some(place) = Place::new("midst").await else { return };
    let options = PostgresOptions { operation_timeout: Duration::from_millis(500), ..PostgresOptions::default() };
    let old = PostgresStore::connect(&place.direct, PostgresOptions::default()).await.unwrap();
    let new = PostgresStore::connect(&place.direct, options).await.unwrap();
    assert!(old.lease("old", UnixMillis(0), UnixMillis(100)).await.unwrap());
    old.commit(put(1)).await.unwrap();
    // Somebody keeps the row locked that the old server wants to write: its commit is under way and waits.
    let mut other = PgConnection::connect(&place.direct).await.unwrap();
    let mut lock = other.begin().await.unwrap();
    sqlx::query("UPDATE policies SET revision = revision").execute(&mut *lock).await.unwrap();
    let committing = {
        let (old, second) = (Arc::new(old), put(2));
        tokio::spawn(async move { old.commit(second).await })
    };
    let mut watcher = PgConnection::connect(&place.direct).await.unwrap();
    let waiting = "SELECT COUNT(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid' \
                   AND pid IN (SELECT pid FROM pg_stat_activity WHERE query LIKE 'UPDATE policies%')";
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut watcher).await.unwrap() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(new.lease("new", UnixMillis(100), UnixMillis(200)).await.is_err(), "not while a commit is under way");
    lock.rollback().await.unwrap();
    committing.await.unwrap().unwrap();
    assert!(new.lease("new", UnixMillis(100), UnixMillis(200)).await.unwrap());
    new.close().await;
    place.end().await;
}
