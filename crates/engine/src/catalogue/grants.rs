//! Rights for a time.

use super::{ACCESS, READ};

super::rows! {
    GRANT_CREATE = "grant.create", Grant, [GRANT], ACCESS, Open,
        "Gives a principal operations on a key or keyring, or a role, for a time.";
    GRANT_REQUEST = "grant.request", Grant, [SELF], ACCESS, Open,
        "Asks for a right for a time for oneself; others must agree.";
    GRANT_REVOKE = "grant.revoke", Grant, [GRANT], ACCESS, Open, "Takes a grant back at once.";
    GRANT_LIST = "grant.list", System, [GRANT, AUDIT], READ, Open, "Lists grants.";
    GRANT_DESCRIBE = "grant.describe", Grant, [GRANT, AUDIT], READ, Open, "Shows a grant.";
    GRANT_SELF = "grant.self", System, [SELF], READ, Open, "Shows the caller's own grants.";
}
