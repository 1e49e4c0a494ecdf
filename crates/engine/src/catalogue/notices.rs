//! Telling people.

use super::{READ, SYSTEM};

super::rows! {
    NOTICE_LIST = "notice.list", System, [SYSTEM], READ, Open,
        "Shows the channels on which people are told, and the notices that wait or were given up.";
    NOTICE_TEST = "notice.test", System, [SYSTEM], SYSTEM, Open,
        "Sends a notice that says nothing, to see whether a channel works.";
}
