//! Whether the server can do its work, part by part.

use keyreeve_root::SealStatus;
use std::time::Duration;

use crate::core::Engine;

/// How long an answer to whether the server can do its work stands for all who ask.
const READINESS_STANDS: Duration = Duration::from_secs(1);

/// Whether the server can do its work, part by part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Where the root of trust stands.
    pub seal: SealStatus,
    /// What is wrong with the root of trust, if anything; nothing is asked of one that is closed.
    pub root: Option<String>,
    /// What is wrong with the store, if anything.
    pub store: Option<String>,
    /// What is wrong with the epoch vault, if anything.
    pub vault: Option<String>,
    /// What is wrong with the audit log, if anything.
    pub journal: Option<String>,
    /// What is wrong with the random generator, if anything.
    pub random: Option<String>,
    /// Which anchor the server waits for before it opens.
    pub anchor: Option<String>,
    /// That the server is older than an anchor remembers.
    pub rolled_back: Option<String>,
    /// What is damaged and in quarantine, if anything. The rest is served: it stands in nobody's way.
    pub integrity: Option<String>,
}

impl Readiness {
    /// Nothing is wrong, and the root of trust stands as `seal` says.
    #[must_use]
    pub const fn well(seal: SealStatus) -> Self {
        Self {
            seal,
            root: None,
            store: None,
            vault: None,
            journal: None,
            random: None,
            anchor: None,
            rolled_back: None,
            integrity: None,
        }
    }

    /// True when requests will be served.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        Self { integrity: None, ..self.clone() } == Self::well(SealStatus::Open)
    }
}

impl Engine {
    /// Whether the server can do its work, part by part; for readiness probes. The parts are looked at once a second at
    /// most, whoever asks how often: anybody may, and looking writes to the store.
    pub async fn readiness(&self) -> Readiness {
        let engine = self.clone();
        // On a task of its own: one who goes away must not make the next one look again.
        let looked = tokio::spawn(async move {
            let clock = &engine.core.ports.clock;
            let (seal, asked) = (engine.seal_status(), clock.elapsed());
            let mut last = engine.core.readiness.lock().await;
            match &*last {
                Some((at, known)) if known.seal == seal && asked < *at + READINESS_STANDS => known.clone(),
                _ => {
                    let known = engine.look(seal).await;
                    // Looked at is when it came out: those who waited for it take it.
                    *last = Some((clock.elapsed(), known.clone()));
                    known
                }
            }
        });
        match looked.await {
            Ok(readiness) => readiness,
            Err(error) => Readiness { store: Some(error.to_string()), ..Readiness::well(self.seal_status()) },
        }
    }

    async fn look(&self, seal: SealStatus) -> Readiness {
        let ports = &self.core.ports;
        let journal = match ports.journal.health() {
            keyreeve_journal::Health::Ok => None,
            keyreeve_journal::Health::ReadOnly { why } => Some(why),
        };
        let ills = if seal == SealStatus::Open { ports.roots.ills().await } else { Vec::new() };
        Readiness {
            seal,
            root: (!ills.is_empty()).then(|| ills.join("; ")),
            store: ports.store.check().await.err().map(|error| error.to_string()),
            vault: ports.vault.check().await.err().map(|error| error.to_string()),
            journal,
            random: ports.random.status().err().map(|error| error.to_string()),
            anchor: self.core.waits_for_anchor(),
            rolled_back: self.rolled_back().map(|found| found.join("; ")),
            integrity: (self.quarantined() > 0).then(|| format!("{} places in quarantine", self.quarantined())),
        }
    }
}
