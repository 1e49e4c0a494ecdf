//! How many audit records per second become durable: `cargo run --release -p keyreeve-journal-file --example
//! append_speed`. Arguments: directory, number of tasks, seconds.
#![allow(clippy::print_stdout)]
// tidy: allow(unwrap): an example ends at the first thing that goes wrong
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use keyreeve_audit::{Actor, Class, Ed25519Signer, Method, MlDsa44Cosigner, Outcome, Record, Resource};
use keyreeve_journal::{Entry, Journal};
use keyreeve_journal_file::{FileJournal, Options};
use keyreeve_model::RecordId;
use keyreeve_model::time::UnixMillis;

fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UnixMillis(i64::try_from(since.as_millis()).unwrap())
}

fn record(task: u64, n: u64) -> Record {
    let mut random = [0; 10];
    random[..2].copy_from_slice(&(task as u16).to_be_bytes());
    random[2..].copy_from_slice(&n.to_be_bytes());
    Record {
        id: RecordId::new(now(), random),
        time: now(),
        request: "req_0199a7b2c3d4e5f60718293a4b5c6d7e".into(),
        actor: Actor { principal: "billing-service".into(), method: Method::Token },
        source: Some("10.1.2.3:40000".into()),
        operation: "key.encrypt".into(),
        class: Class::Use,
        resource: Some(Resource {
            kind: "key".into(),
            id: "key_0199a7b2c3d4e5f60718293a4b5c6d7e".into(),
            version: Some(2),
            keyring: Some("krg_0199a7b2c3d4e5f60718293a4b5c6d7e".into()),
        }),
        outcome: Outcome::Ok,
        count: 1,
        context: Some(BTreeMap::from([("tenant".into(), "acme".into())])),
        details: BTreeMap::new(),
    }
}

fn status(field: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or("?").trim().to_owned()
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory: PathBuf = arguments.next().unwrap_or_else(|| "append-speed-journal".into()).into();
    let tasks: u64 = arguments.next().map_or(64, |text| text.parse().unwrap());
    let seconds: u64 = arguments.next().map_or(5, |text| text.parse().unwrap());
    let opening = Instant::now();
    let journal = Arc::new(FileJournal::open(&directory, Options::new(Arc::new(now))).await.unwrap());
    println!("opened in {:?}: {:?}", opening.elapsed(), journal.recovery());
    let ed = Ed25519Signer::from_seed("log.example/speed", &[1; 32]).unwrap();
    let ml = MlDsa44Cosigner::from_seed("log.example/speed", &[2; 32]).unwrap();
    journal.set_signers(vec![Arc::new(ed), Arc::new(ml)]).unwrap();
    let done = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let end = start + Duration::from_secs(seconds);
    let running: Vec<_> = (0..tasks)
        .map(|task| {
            let (journal, done) = (journal.clone(), done.clone());
            tokio::spawn(async move {
                let mut n = 0;
                while Instant::now() < end {
                    journal.append(vec![Entry::of(&record(task, n))]).await.unwrap();
                    n += 1;
                }
                done.fetch_add(n, Ordering::Relaxed);
            })
        })
        .collect();
    for task in running {
        task.await.unwrap();
    }
    let (elapsed, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds());
    let n = done.load(Ordering::Relaxed) as f64;
    println!("{tasks} tasks: {:.0} records/s, {:.2} us CPU each", n / elapsed, cpu * 1e6 / n);
    println!("RSS {} (peak {})", status("VmRSS:"), status("VmHWM:"));
    let closing = Instant::now();
    journal.close().await.unwrap();
    println!("closed in {:?} with {} entries", closing.elapsed(), journal.size());
}
