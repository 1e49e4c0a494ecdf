//! Load: connections that each send one request after the other, for a fixed time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::Failure;
use crate::http::Target;
use crate::process::CpuTime;

/// What a run of load measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// Requests in a second.
    pub(crate) per_second: f64,
    /// CPU time of the server for one request, in microseconds.
    pub(crate) cpu_us: f64,
    /// Half of the requests took at most so long, in microseconds.
    pub(crate) p50_us: f64,
    /// 99 of 100 requests took at most so long, in microseconds.
    pub(crate) p99_us: f64,
}

/// How to load.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) connections: usize,
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

struct Shared {
    next: AtomicUsize,
    counting: AtomicBool,
    stop: AtomicBool,
}

/// Sends the requests in turn over kept connections and measures the server's process.
pub(crate) async fn load(
    target: &Target,
    pid: u32,
    requests: Arc<Vec<Vec<u8>>>,
    shape: Shape,
) -> Result<Measured, Failure> {
    let shared = Arc::new(Shared { next: 0.into(), counting: false.into(), stop: false.into() });
    let mut tasks = Vec::new();
    for _ in 0..shape.connections {
        let (connection, requests, shared) = (target.connect().await?, Arc::clone(&requests), Arc::clone(&shared));
        tasks.push(tokio::spawn(client(connection, requests, shared)));
    }
    tokio::time::sleep(shape.warm_up).await;
    let (cpu, started) = (CpuTime::of(pid)?, Instant::now());
    shared.counting.store(true, Ordering::Relaxed);
    tokio::time::sleep(shape.measured).await;
    shared.counting.store(false, Ordering::Relaxed);
    let (used, took) = (CpuTime::of(pid)?.since(cpu), started.elapsed());
    shared.stop.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    latencies.sort_unstable();
    let count = latencies.len().max(1);
    let at = |share: usize| latencies.get(count * share / 100).copied().unwrap_or_default().as_secs_f64() * 1e6;
    Ok(Measured {
        per_second: count as f64 / took.as_secs_f64(),
        cpu_us: used.as_secs_f64() * 1e6 / count as f64,
        p50_us: at(50),
        p99_us: at(99),
    })
}

async fn client(
    mut connection: crate::http::Connection,
    requests: Arc<Vec<Vec<u8>>>,
    shared: Arc<Shared>,
) -> Result<Vec<Duration>, Failure> {
    let mut latencies = Vec::with_capacity(64 * 1024);
    while !shared.stop.load(Ordering::Relaxed) {
        let turn = shared.next.fetch_add(1, Ordering::Relaxed) % requests.len();
        let sent = Instant::now();
        let status = connection.fire(&requests[turn]).await?;
        if status != 200 {
            return Err(format!("a request under load was answered with {status}").into());
        }
        if shared.counting.load(Ordering::Relaxed) {
            latencies.push(sent.elapsed());
        }
    }
    Ok(latencies)
}

/// Sends every request once, over as many connections, and returns how long that took.
pub(crate) async fn once(
    target: &Target,
    requests: Arc<Vec<Vec<u8>>>,
    connections: usize,
) -> Result<Duration, Failure> {
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..connections {
        let (mut connection, requests, next) = (target.connect().await?, Arc::clone(&requests), Arc::clone(&next));
        tasks.push(tokio::spawn(async move {
            while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                let (status, body) = connection.exchange(request).await?;
                if !(200..300).contains(&status) {
                    return Err::<_, Failure>(format!("{status}: {}", String::from_utf8_lossy(&body)).into());
                }
            }
            Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(started.elapsed())
}
