//! Putting a drill on record that was held without this program.

use clap::Args;
use keyreeve_model::drill::DrillKind;
use keyreeve_wire::drills::{DrillStep, RecordDrill};

use super::details;
use crate::app::{App, Outcome};
use crate::text::Span;

/// Put a drill on record that was held without this program
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve drill record share-holder --took 25m --step 'Berta proved her share' --step 'shares exchanged'\n  \
        $ keyreeve drill record hsm-loss --took 2h --failed 'nobody knew where the second token is'")]
pub(crate) struct Record {
    /// Which: the name of the runbook
    kind: DrillKind,
    /// From the loss until keys worked again (90s, 15m, 12h)
    #[arg(long, value_name = "SPAN")]
    took: Span,
    /// How much would have been lost, where something was restored
    #[arg(long, value_name = "SPAN")]
    lost: Option<Span>,
    /// What was done; may be said more than once
    #[arg(long = "step", value_name = "TEXT")]
    steps: Vec<String>,
    /// That it failed, and why
    #[arg(long, value_name = "WHY")]
    failed: Option<String>,
}

impl Record {
    pub(super) async fn run(self, app: &App) -> Outcome {
        let step = |name: String| DrillStep { name, passed: true, found: String::new(), took_ms: 0 };
        let request = RecordDrill {
            kind: self.kind.to_string(),
            passed: self.failed.is_none(),
            took_ms: self.took.seconds.saturating_mul(1000),
            lost_ms: self.lost.map(|lost| lost.seconds.saturating_mul(1000)),
            backup: None,
            destination: None,
            steps: self.steps.into_iter().map(step).collect(),
            trouble: self.failed,
        };
        let answer = app.client()?.record_drill(&request).await?;
        app.note_record("on record", answer.audit_record.as_ref());
        app.show_made(&answer.value, &answer.value.number.to_string(), details)
    }
}
