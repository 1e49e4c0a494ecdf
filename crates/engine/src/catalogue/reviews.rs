//! Going through who has which right.

use super::READ;

super::rows! {
    ACCESS_REPORT = "access.report", System, [ACCESS, AUDIT, REVIEW], READ, Open,
        "Shows who can do what to which key, through what, and when it was last used.";
}
