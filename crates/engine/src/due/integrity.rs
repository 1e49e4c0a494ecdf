//! Damage: what was met comes into quarantine, and scans begin when they are due.

use std::time::Duration;

use crate::core::Engine;
use crate::error::Error;
use crate::ops::integrity::{FIRST, QuarantineNoted, Scan};

/// How often it is looked whether a scan that is under way has ended.
const LOOK: Duration = Duration::from_secs(60);

impl Engine {
    /// Puts into quarantine what was met damaged, and begins a scan where one is due.
    pub(super) async fn look_after_integrity(&self) -> Vec<Error> {
        let noted = self.quarantine_noted().await.err();
        noted.into_iter().chain(self.begin_scan().await.err()).collect()
    }

    async fn quarantine_noted(&self) -> Result<(), Error> {
        let noted = self.core.noted.all();
        if noted.is_empty() {
            return Ok(());
        }
        self.call_as_server("damage", QuarantineNoted).await.map_err(|refused| refused.error)?;
        self.core.noted.done(&noted);
        Ok(())
    }

    async fn begin_scan(&self) -> Result<(), Error> {
        let (core, now) = (&*self.core, self.core.now()?);
        let (Some(every), Some(opened)) = (core.settings.scan_every, core.opened()) else { return Ok(()) };
        if core.next_scan.lock().is_some_and(|next| now < next) {
            return Ok(());
        }
        let newest = core.scans(&opened).await?.pop();
        // The first one waits until whoever made the server has settled in.
        let first = core.opened_since().plus(every.min(FIRST));
        let next = newest.as_ref().map_or(first, |job| job.begun().plus(every));
        // One that is under way goes on; the next one begins when it is over.
        if now < next || newest.is_some_and(|job| job.ended().is_none()) {
            *core.next_scan.lock() = Some(next.max(now.plus(LOOK)));
            return Ok(());
        }
        let scan = Scan { pace: core.settings.scan_pace, reason: "it was due".parse()? };
        self.call_as_server("scheduled-scan", scan).await.map_err(|refused| refused.error)?;
        *core.next_scan.lock() = Some(now.plus(every));
        Ok(())
    }

    /// Places in quarantine (count), as far as is known: none while the server is sealed.
    #[must_use]
    pub fn quarantined(&self) -> usize {
        self.core.opened().map_or(0, |opened| opened.access().quarantined().open())
    }
}
