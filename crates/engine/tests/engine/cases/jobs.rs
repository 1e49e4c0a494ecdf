//! Long work.

use keyreeve_engine::ops::jobs;
use keyreeve_model::ids::JobId;

use super::{Case, reason};

/// None is there: who may not ask is refused before that is looked at.
const UNKNOWN: JobId = JobId::from_bytes([9; 16]);

cases! {
    "job.list" => |stage, who| stage.run(who, "", jobs::List { ended: true, after: None, limit: 10 }).await;
    "job.describe" => |stage, who| stage.run(who, "", jobs::Describe { job: UNKNOWN }).await;
    "job.cancel" => |stage, who| stage.run(who, "", jobs::Cancel { job: UNKNOWN, reason: reason() }).await;
}
