//! Restore drills: by the server itself as scheduled or asked for, and by people with the roots of trust they hold
//! (requirement T8).

mod scratch;

use keyreeve_archive::{Archive, ReadOnly};
use keyreeve_crypto::Random;
use keyreeve_engine::{Clock, Engine, HeldDrill, SealStatus};
use keyreeve_http::CancellationToken;
use keyreeve_model::Name;
use keyreeve_model::drill::DrillStep;
use keyreeve_secret::SecretString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::assemble::{open_destination, open_roots};
use crate::config::Config;
use crate::error::ServerError;
use crate::harden;
use crate::machine::{SystemClock, SystemEntropy};
use crate::restore::{FoundBackup, Taken, open_by_people};
use crate::running::Mode;
use scratch::{Place, Steps, choose, compare, label, lost_ms, rehearse};

/// How often it is looked whether a drill is due.
const LOOK: Duration = Duration::from_secs(60);

/// Holds restore drills beside a running server, as they fall due and as they are asked for.
pub(crate) async fn run(engine: Engine, config: Config, mode: Mode, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = engine.drill_asked() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
        let turn = match engine.drill_due().await {
            Ok(Some(turn)) => turn,
            Ok(None) => continue,
            Err(error) => {
                tracing::error!(%error, cause = error.cause(), "it is not known whether a drill is due");
                continue;
            }
        };
        let held = tokio::select! {
            // What was begun is removed, and begun anew when the server is there again.
            () = stop.cancelled() => return,
            held = hold(&engine, &config, mode, turn) => held,
        };
        match &held.trouble {
            None => tracing::info!(took_ms = held.took_ms, "a restore drill went well"),
            Some(trouble) => tracing::error!(%trouble, "a restore drill failed"),
        }
        if let Err(error) = engine.record_drill(held).await {
            tracing::error!(%error, cause = error.cause(), "a restore drill could not be put on record");
        }
    }
}

async fn hold(engine: &Engine, config: &Config, mode: Mode, turn: u64) -> HeldDrill {
    let mut steps = Steps::begin();
    let mut held = HeldDrill { backup: None, lost_ms: None, took_ms: 0, steps: Vec::new(), trouble: None };
    if let Err(trouble) = beside(engine, (config, mode), turn, &mut steps, &mut held).await {
        held.trouble = Some(label(&trouble));
    }
    (held.took_ms, held.steps) = (steps.took_ms(), steps.done);
    held
}

/// Beside a server that is open: its roots of trust are lent for the time.
async fn beside(
    engine: &Engine,
    (config, mode): (&Config, Mode),
    turn: u64,
    steps: &mut Steps,
    held: &mut HeldDrill,
) -> Result<(), String> {
    let told = |error: keyreeve_engine::Error| error.to_string();
    let source = engine.drill_source(turn).await.map_err(told)?;
    let sequence = source.record.sequence;
    held.backup = Some((sequence, source.destination.clone()));
    let place = Place::make(config.drill_dir()).map_err(|error| error.to_string())?;
    let random = Random::start(Box::new(SystemEntropy)).map_err(|error| error.to_string())?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let parts = (engine.roots_on_loan().map_err(told)?, random, Arc::clone(&clock));
    let scratch = scratch::open(config, mode, &place, parts).await.map_err(|error| error.to_string())?;
    steps.add(
        "open a scratch instance",
        true,
        "empty store and log, an epoch vault in memory; nobody is told, nothing is signed",
    );
    let archive: &dyn Archive = &*source.archive;
    let tried = async {
        let chosen = choose(&scratch, archive, Some(sequence)).await?;
        held.lost_ms = Some(lost_ms(clock.now(), chosen.made()));
        steps.add(
            "choose the newest backup",
            true,
            &format!("{sequence} at {}, of {}", source.destination, chosen.made()),
        );
        let found = rehearse(&scratch, archive, &chosen, &config.drills.samples, steps).await?;
        compare(&source, &found, steps)
    };
    let tried = tried.await;
    scratch.stop().await;
    tried
}

/// A restore drill that people hold, with the roots of trust they have.
#[derive(Debug)]
pub struct RestoreDrill<'a> {
    /// The configuration that says where the backup is and what the roots of trust are.
    pub config: &'a Path,
    /// The destination.
    pub from: Name,
    /// The number of the backup; the newest unless said.
    pub sequence: Option<u64>,
    /// A private directory that is there and empty; what is in it afterwards is removed.
    pub place: PathBuf,
}

/// What came of one.
#[derive(Debug)]
pub struct RehearsedRestore {
    /// The backup.
    pub sequence: u64,
    /// How much would have been lost (milliseconds).
    pub lost_ms: u64,
    /// From the first look at the backup to the last key (milliseconds), with the time that people took.
    pub took_ms: u64,
    /// What was done.
    pub steps: Vec<DrillStep>,
    /// Why it failed.
    pub trouble: Option<String>,
}

/// Restores a backup into a scratch instance and looks at everything that came back; nothing else is touched. `found`
/// and `share` are as for [`restore`](crate::restore()).
///
/// # Errors
/// [`ServerError`] when there is no backup that could be tried. What is wrong with one is told in its drill.
pub fn drill_restore(
    drill: &RestoreDrill<'_>,
    found: impl FnOnce(&FoundBackup),
    share: impl FnMut(&[(Name, SealStatus)], Taken) -> Result<SecretString, ServerError>,
) -> Result<RehearsedRestore, ServerError> {
    let _ = harden::apply();
    let config = Config::load(drill.config)?;
    crate::runtime()?.block_on(by_hand(&config, drill, found, share))
}

async fn by_hand(
    config: &Config,
    drill: &RestoreDrill<'_>,
    found: impl FnOnce(&FoundBackup),
    share: impl FnMut(&[(Name, SealStatus)], Taken) -> Result<SecretString, ServerError>,
) -> Result<RehearsedRestore, ServerError> {
    let mut steps = Steps::begin();
    let destination = config.backup.as_ref().and_then(|backup| backup.destinations.get(&drill.from));
    let destination = destination.ok_or_else(|| {
        ServerError::Refused(format!("the configuration has no `[backup.destinations.{}]`", drill.from))
    })?;
    let source = ReadOnly::new(open_destination(config, &drill.from, destination)?);
    let random = Random::start(Box::new(SystemEntropy));
    let random = random.map_err(|error| ServerError::part("random generator", error))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let roots = open_roots(config, Mode::Production, &random, &clock)?;
    let place = Place::make(drill.place.join("scratch"))?;
    let engine = scratch::open(config, Mode::Production, &place, (roots, random, Arc::clone(&clock))).await?;
    steps.add("open a scratch instance", true, "empty store and log, an epoch vault in memory");
    let chosen = choose(&engine, &source, drill.sequence).await.map_err(ServerError::Refused)?;
    found(&FoundBackup { sequence: chosen.sequence(), made: chosen.made() });
    let lost_ms = lost_ms(clock.now(), chosen.made());
    let text = format!("{} at {}, of {}", chosen.sequence(), drill.from, chosen.made());
    steps.add("choose the backup", true, &text);
    open_by_people(&engine, &chosen, share).await?;
    steps.add("open the root of trust", true, "as for a real restore");
    let trouble = rehearse(&engine, &source, &chosen, &config.drills.samples, &mut steps).await.err();
    engine.stop().await;
    let took_ms = steps.took_ms();
    Ok(RehearsedRestore { sequence: chosen.sequence(), lost_ms, took_ms, steps: steps.done, trouble })
}
