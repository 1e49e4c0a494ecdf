//! Going through who has which right.

use keyreeve_engine::ops::access_report::Report;

use keyreeve_engine::ops::reviews::{Close, Decide, Describe, List, Open};
use keyreeve_model::ids::ReviewId;
use keyreeve_model::review::{Scope, Subject, Verdict};

use super::{Case, SERVER, Stage, reason};

cases! {
    "access.report" => |stage, who| {
        stage.run(who, SERVER, Report { principal: None, key: None, after: None, limit: 10, from_audit: false }).await
    };
    "review.open" => |stage, who| stage.run(who, "", opening()).await;
    "review.list" => |stage, who| stage.run(who, "all", List { open: None, after: None, limit: 10 }).await;
    "review.describe" => |stage, who| {
        let review = review(stage).await;
        stage.run(who, review, Describe { review, undecided: true, after: None, limit: 10 }).await
    };
    "review.decide" => |stage, who| {
        let review = review(stage).await;
        stage.run(who, review, Decide { review, item: 1, verdict: Verdict::Keep, reason: reason() }).await
    };
    "review.close" => |stage, who| {
        let review = review(stage).await;
        stage.run(who, review, Close { review, text: reason() }).await
    };
}

/// Of grants, of which there are few.
fn opening() -> Open {
    let scope = Scope { subjects: [Subject::Grants].into(), principal: None };
    Open { scope, reviewers: Default::default(), days: 30, reason: reason() }
}

async fn review(stage: &Stage) -> ReviewId {
    stage.house.ask(opening()).await.campaign.id()
}
