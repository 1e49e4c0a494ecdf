//! A server that runs: from the first part to the last, and back.

use keyreeve_engine::Engine;
use keyreeve_http::CancellationToken;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::assemble::{Parts, assemble};
use crate::config::Config;
use crate::error::ServerError;
use crate::evidence;
use crate::lease::Lease;
use crate::listeners::{self, Reloadable};
use crate::service;

/// How often the work that falls due with time is looked at.
const TICK: Duration = Duration::from_secs(60);
/// How often it is looked whether a revocation list was written anew.
const LISTS: Duration = Duration::from_secs(30);
/// When it is looked at first: what fell due while the server was down should not wait.
const FIRST_TICK: Duration = Duration::from_secs(1);

/// What a server is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Protecting something.
    Production,
    /// Trying things out on one's own machine; the keys are not protected.
    Development,
}

/// Where a server listens: the configured addresses with the ports that were really taken.
#[derive(Clone, Debug)]
pub struct Addresses(Vec<(&'static str, SocketAddr)>);

impl Addresses {
    /// The address of a listener: `all`, `data`, `admin` or `metrics`.
    #[must_use]
    pub fn get(&self, listener: &str) -> Option<SocketAddr> {
        self.0.iter().find(|(name, _)| *name == listener).map(|(_, address)| *address)
    }
}

/// Signals to this process, from before the server says that it is up.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    pub(crate) fn listen() -> Result<Self, ServerError> {
        let listen = |kind| signal(kind).map_err(|error| ServerError::part("signals", error));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// What is begun, unless the process shall end before it is finished.
    pub(crate) async fn unless_ended<T>(
        &mut self,
        begun: impl Future<Output = Result<T, ServerError>>,
    ) -> Result<Option<T>, ServerError> {
        tokio::select! {
            begun = begun => begun.map(Some),
            () = self.end() => Ok(None),
        }
    }

    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A server that runs.
pub struct Running {
    parts: Parts,
    addresses: Addresses,
    reloadable: Vec<Reloadable>,
    listeners: JoinSet<()>,
    lease: JoinHandle<bool>,
    /// Work in the background: the tick, and the courier of each channel.
    ticks: JoinSet<()>,
    stop: CancellationToken,
    /// Ends the renewal of the lease: after everything that works on the store.
    release: CancellationToken,
}

impl Running {
    /// Opens every part, then listens. Within a tokio runtime.
    ///
    /// # Errors
    /// [`ServerError`] says what is wrong and what to do.
    pub async fn start(config: Config, mode: Mode) -> Result<Self, ServerError> {
        let began = Instant::now();
        crate::restore::refuse_half_done(&config)?;
        let looked = config.clone();
        let evidence = tokio::task::spawn_blocking(move || evidence::take(&looked)).await;
        let evidence = evidence.map_err(|error| ServerError::part("program", error))??;
        let parts = assemble(&config, mode).await?;
        parts.engine.started_as(evidence);
        let (store, clock) = (parts.store.clone(), parts.clock.clone());
        let lease = Lease::take(store, clock, parts.holder.clone()).await?;
        parts.engine.start().await.map_err(|error| match parts.engine.pin_refused() {
            true => ServerError::PinRefused(error.to_string()),
            false => ServerError::part("engine", error),
        })?;
        let stop = CancellationToken::new();
        let open = listeners::open(&config, mode, &parts, &stop)?;
        if let Some(id) = &config.webauthn.id {
            parts.engine.serve_origins(config.webauthn.origins(id, &open.addresses));
        }
        let mut ticks = JoinSet::new();
        ticks.spawn(tick(parts.engine.clone(), stop.clone()));
        ticks.spawn(jobs(parts.engine.clone(), stop.clone()));
        ticks.spawn(backups(parts.engine.clone(), stop.clone()));
        ticks.spawn(destroyed(parts.engine.clone(), stop.clone()));
        ticks.spawn(crate::drill::run(parts.engine.clone(), config.clone(), mode, stop.clone()));
        for channel in 0..parts.engine.channels() {
            ticks.spawn(courier(parts.engine.clone(), channel, stop.clone()));
        }
        let release = CancellationToken::new();
        let lease = tokio::spawn(lease.keep(release.clone()));
        for (name, address) in &open.addresses {
            tracing::info!(listener = name, %address, "listening");
        }
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(took_ms, open = parts.engine.is_open(), "keyreeve is up");
        service::ready();
        tokio::spawn(parts.moves.clone().follow(parts.engine.clone(), stop.clone()));
        Ok(Self {
            parts,
            addresses: Addresses(open.addresses),
            reloadable: open.reloadable,
            listeners: open.tasks,
            lease,
            ticks,
            stop,
            release,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The engine inside.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.parts.engine
    }

    /// Reads all certificates anew, as SIGHUP does.
    pub fn reload(&self) {
        for one in &self.reloadable {
            // What could not be read is logged.
            one.reload();
        }
    }

    /// Reads all certificates anew where a list of revoked ones was written since it was read.
    fn look(&mut self) {
        self.reloadable.iter_mut().for_each(Reloadable::look);
    }

    /// Runs until SIGTERM or SIGINT, then ends in good order.
    pub(crate) async fn until_signalled(mut self, mut signals: Signals) -> Result<(), ServerError> {
        let mut lists = tokio::time::interval(LISTS);
        let held = loop {
            tokio::select! {
                Some(ended) = self.ticks.join_next() => if let Err(error) = ended {
                    tracing::error!(%error, "work in the background ended by a defect: the server ends as well");
                    self.stop().await;
                    return Err(ServerError::Background);
                },
                _ = signals.terminate.recv() => break true,
                _ = signals.interrupt.recv() => break true,
                _ = signals.hang_up.recv() => self.reload(),
                _ = lists.tick() => self.look(),
                held = &mut self.lease => break held.unwrap_or(false),
                () = self.parts.engine.lease_lost() => break false,
            }
        };
        if !held {
            tracing::error!("the lease on the store is lost: ending");
            self.lease.abort();
            self.stop.cancel();
            self.parts.engine.stop().await;
            return Err(ServerError::LeaseLost);
        }
        tracing::info!("ending: requests under way are finished first");
        self.stop().await;
        tracing::info!("ended");
        Ok(())
    }

    /// Ends in good order: no new requests, those under way finished, everything closed.
    pub async fn stop(mut self) {
        service::stopping();
        self.stop.cancel();
        // Requests under way and due work write to the store: the lease is kept up until they ended.
        let held = tokio::select! {
            () = ended(&mut self.listeners, &mut self.ticks) => {
                self.release.cancel();
                (&mut self.lease).await.unwrap_or(false)
            }
            held = &mut self.lease => held.unwrap_or(false),
            () = self.parts.engine.lease_lost() => false,
        };
        if held {
            Lease::give_back(&self.parts.store, &*self.parts.clock, &self.parts.holder).await;
        } else {
            tracing::error!("the lease on the store was lost while ending: requests under way are given up");
            self.lease.abort();
            self.listeners.abort_all();
            self.ticks.abort_all();
        }
        self.parts.engine.stop().await;
        // Unlocked last: whoever opens the data directory next finds everything closed.
        drop(self.parts.lock);
    }
}

async fn ended(listeners: &mut JoinSet<()>, ticks: &mut JoinSet<()>) {
    while let Some(ended) = listeners.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a listener ended with an error");
        }
    }
    while let Some(ended) = ticks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "work in the background ended with an error");
        }
    }
}

async fn tick(engine: Engine, stop: CancellationToken) {
    let mut times = interval_at(Instant::now() + FIRST_TICK, TICK);
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = times.tick() => {}
        }
        for error in engine.tick().await {
            tracing::error!(%error, cause = error.cause(), "work that fell due was not done");
        }
    }
}

/// Does the steps of jobs, as they are begun and as they fall due.
async fn jobs(engine: Engine, stop: CancellationToken) {
    loop {
        let worked = tokio::select! {
            // A step that is dropped half-way is done again.
            () = stop.cancelled() => return,
            worked = engine.work_on_jobs() => worked,
        };
        let wait = worked.unwrap_or_else(|error| {
            tracing::error!(%error, cause = error.cause(), "jobs could not be worked on");
            Some(TICK)
        });
        tokio::select! {
            () = stop.cancelled() => return,
            () = engine.job_begun() => {}
            // Opening the server rings no bell: it is looked at once in a while.
            () = tokio::time::sleep(wait.unwrap_or(TICK).min(TICK)) => {}
        }
    }
}

/// Makes and reads backups, as that is asked for and as it falls due. It may take hours, and nothing else waits for it.
async fn backups(engine: Engine, stop: CancellationToken) {
    loop {
        let worked = tokio::select! {
            // What is dropped half-way is taken up by the next server.
            () = stop.cancelled() => return,
            worked = engine.work_on_backups() => worked,
        };
        let wait = worked.unwrap_or_else(|error| {
            tracing::error!(%error, cause = error.cause(), "backups could not be worked on");
            Some(TICK)
        });
        tokio::select! {
            () = stop.cancelled() => return,
            () = engine.backup_begun() => {}
            () = tokio::time::sleep(wait.unwrap_or(TICK).min(TICK)) => {}
        }
    }
}

/// Tells destinations of backups of keys that were destroyed, until each has heard of it.
async fn destroyed(engine: Engine, stop: CancellationToken) {
    loop {
        let told = tokio::select! {
            () = stop.cancelled() => return,
            told = engine.tell_of_destroyed() => told,
        };
        if let Err(error) = told {
            tracing::error!(%error, cause = error.cause(), "destinations of backups have entries of destroyed keys");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = engine.destroyed_one() => {}
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

/// Delivers what people are told on one channel, as it is filed and as it falls due.
async fn courier(engine: Engine, channel: usize, stop: CancellationToken) {
    let mut filed = engine.notices_filed();
    loop {
        filed.mark_unchanged();
        let wait = tokio::select! {
            // What was taken and not noted goes out once more, under the same id.
            () = stop.cancelled() => return,
            wait = engine.deliver(channel) => wait,
        };
        tokio::select! {
            () = stop.cancelled() => return,
            _ = filed.changed() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::{self, DevOptions};
    use keyreeve_model::UnixMillis;
    use tokio::time::timeout;

    async fn start(directory: &std::path::Path) -> Running {
        let options =
            DevOptions { data_dir: directory.join("dev"), listen: ([127, 0, 0, 1], 0).into(), verbose: false };
        dev::start(options).await.unwrap().0
    }

    /// Another server takes the lease over, behind the back of the handle that the server commits through.
    async fn take_over(running: &Running) {
        let far = UnixMillis(i64::MAX / 2);
        assert!(running.parts.store.lease("other", far, far.plus(Duration::from_secs(1))).await.unwrap());
        // The handle goes by the holder it was told last.
        let (clock, holder) = (&running.parts.clock, &running.parts.holder);
        assert!(!running.parts.store.lease(holder, clock.now(), clock.now()).await.unwrap());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_whose_work_in_the_background_panics_ends_and_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let mut running = start(directory.path()).await;
        running.ticks.spawn(async { panic!("a defect") });
        let ended = timeout(Duration::from_secs(20), running.until_signalled(Signals::listen().unwrap())).await;
        assert!(matches!(ended.unwrap(), Err(ServerError::Background)));
        // It ended in good order: the next one finds everything closed.
        start(directory.path()).await.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_first_commit_without_the_lease_ends_the_server() {
        let directory = tempfile::tempdir().unwrap();
        let running = start(directory.path()).await;
        take_over(&running).await;
        assert!(!running.engine().tick().await.is_empty());
        // Long before it is renewed again.
        let ended = timeout(Duration::from_secs(5), running.until_signalled(Signals::listen().unwrap())).await;
        assert!(matches!(ended.unwrap(), Err(ServerError::LeaseLost)));
    }
}
