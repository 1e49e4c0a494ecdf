//! Going through who has which right.

use super::{ACCESS, CHANGE, READ};

super::rows! {
    ACCESS_REPORT = "access.report", System, [ACCESS, AUDIT, REVIEW], READ, Open,
        "Shows who can do what to which key, through what, and when it was last used.";
    REVIEW_OPEN = "review.open", Case, [REVIEW], CHANGE, Open, "Opens a review of who has which right.";
    REVIEW_LIST = "review.list", Case, [REVIEW, AUDIT], READ, Open, "Lists reviews.";
    REVIEW_DESCRIBE = "review.describe", Case, [REVIEW, AUDIT], READ, Open, "Shows a review with its items.";
    REVIEW_DECIDE = "review.decide", Case, [REVIEW], ACCESS, Open,
        "Keeps a right that a review is about, or takes it away.";
    REVIEW_CLOSE = "review.close", Case, [REVIEW], CHANGE, Open, "Closes a review whose items are all decided.";
}
