//! Long work.

use super::{CHANGE, READ};

super::rows! {
    JOB_LIST = "job.list", System, [READ, SYSTEM], READ, Open, "Lists jobs.";
    JOB_DESCRIBE = "job.describe", System, [READ, SYSTEM], READ, Open, "Shows a job and how far it has come.";
    JOB_CANCEL = "job.cancel", System, [LIFECYCLE, SYSTEM], CHANGE, Open,
        "Stops a job; what it has done stays.";
    JOB_STEP = "job.step", System, [SCHEDULED], CHANGE, Open, "Does the next step of a job; by the server itself.";
}
