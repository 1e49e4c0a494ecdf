//! Waiting for the consent of others: `--wait` of every command.

use std::time::{Duration, Instant};

use keyreeve_client::Client;
use keyreeve_wire::approvals::Approval;
use keyreeve_wire::names::ApprovalState;

use super::approvals::{executed, run};
use crate::app::{App, Outcome};
use crate::failure::{Exit, Failure};
use crate::progress::Progress;
use crate::text::Span;

/// The pause before the server is asked for the first time again; it doubles up to the longest.
const FIRST: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(30);

/// Waits until a request that waits for consent is over, and runs it once there is consent. Another failure stays what
/// it is.
pub(crate) async fn until_over(app: &App, failure: Failure, wait: Span) -> Outcome {
    let Some(approval) = failure.approval.clone() else { return Err(failure) };
    let client = app.client()?;
    app.out.note(&format!("waiting for the consent of others to {approval}"));
    let progress = Progress::waiting(app.out, &format!("{approval} waits"));
    let over = over(&client, &approval, Duration::from_secs(wait.seconds), &progress).await;
    progress.finish();
    match over? {
        Some(seen) => ended(app, &client, &seen).await,
        None => Err(failure),
    }
}

/// The request once nobody has to consent any more; nothing when the time is over before.
async fn over(
    client: &Client,
    approval: &str,
    longest: Duration,
    progress: &Progress,
) -> Result<Option<Approval>, Failure> {
    let (begun, mut pause) = (Instant::now(), FIRST);
    loop {
        match client.approval(approval).await.map_err(Failure::from) {
            Ok(answer) if answer.value.state != ApprovalState::Waiting => return Ok(Some(answer.value)),
            Ok(answer) => progress.tell(&format!("{approval} waits for {}", answer.value.missing.join(", "))),
            // A server that is started anew is no reason to give up.
            Err(failure) if failure.exit == Exit::Unavailable => progress.tell(&failure.what),
            Err(failure) => return Err(failure),
        }
        let left = longest.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Ok(None);
        }
        tokio::time::sleep(pause.min(left)).await;
        pause = next_pause(pause);
    }
}

fn next_pause(pause: Duration) -> Duration {
    (pause * 2).min(LONGEST)
}

/// How the command ends.
async fn ended(app: &App, client: &Client, seen: &Approval) -> Outcome {
    let failed = |exit, what: String| Err(Failure::new(exit, what));
    match seen.state {
        ApprovalState::Approved => run(app, client, &seen.id).await,
        ApprovalState::Executed => executed(app, seen),
        ApprovalState::Rejected => {
            let by = seen.rejected_by.as_deref().unwrap_or("somebody who could have agreed");
            failed(Exit::Refused, format!("{} was rejected by {by}", seen.id))
        }
        ApprovalState::Withdrawn => failed(Exit::State, format!("{} was withdrawn", seen.id)),
        ApprovalState::Expired => failed(Exit::State, format!("{} expired before all agreed", seen.id)),
        ApprovalState::Waiting => failed(Exit::Waiting, format!("{} waits", seen.id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_half_a_minute() {
        let pauses: Vec<u64> = std::iter::successors(Some(FIRST), |pause| Some(next_pause(*pause)))
            .take(8)
            .map(|pause| pause.as_secs())
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
    }
}
