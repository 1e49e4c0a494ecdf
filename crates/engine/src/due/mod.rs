//! The work that falls due with time, and that the server does by itself: each sort in a file of its own here, or
//! beside the operations that it belongs to.
//!
//! Nothing here waits long: what does is a job (`ops/jobs.rs`), which goes on by steps on a task of its own.

mod destructions;
mod devices;
mod drills;
mod epochs;
mod escrow;
mod integrity;
mod reminders;
mod roots;
mod shares;

use crate::core::Engine;
use crate::error::Error;

pub(crate) use destructions::Overdue;
pub(crate) use drills::Drills;
pub use drills::{DrillStanding, HeldDrill};

impl Engine {
    /// The work that falls due with time: destructions whose waiting period is over, epochs a crash left behind,
    /// settled and expired rows. Called about once a minute; every part is also safe to repeat. Returns what went
    /// wrong, part by part.
    pub async fn tick(&self) -> Vec<Error> {
        let mut errors = Vec::new();
        errors.extend(self.look_after_roots().await.err());
        if self.core.opened().is_some() {
            // First: what falls due is not done on an old copy.
            errors.extend(self.tend_anchors().await.err());
        }
        if self.is_open() {
            errors.extend(self.record_start().await.err());
            errors.extend(self.destroy_due().await.err());
            errors.extend(self.sweep_epochs().await.err());
            errors.extend(self.remind_of_incidents().await.err());
            errors.extend(self.close_expired().await.err());
            errors.extend(self.look_after_emergencies().await.err());
            errors.extend(self.remind_of_reviews().await.err());
            errors.extend(self.remind_of_proofs().await.err());
            errors.extend(self.forget_handed_shares().await.err());
            errors.extend(self.tell_of_ends().await.err());
            errors.extend(self.give_up_orphans().await.err());
            errors.extend(self.look_after_backups().await);
            errors.extend(self.look_after_material().await.err());
            errors.extend(self.look_after_devices().await.err());
            errors.extend(self.look_after_integrity().await);
            errors.extend(self.look_after_escrow().await.err());
            errors.extend(self.look_after_drills().await.err());
        }
        if let (Some(opened), true) = (self.core.opened(), self.is_open()) {
            errors.extend(self.core.write_uses(&opened).await.err());
        }
        match self.core.now() {
            Ok(now) => errors.extend(self.core.settle(now).await.err()),
            Err(error) => errors.push(error),
        }
        errors.extend(self.core.look_for_late_records().await.err());
        errors
    }
}
