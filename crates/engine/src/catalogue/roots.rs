//! Roots of trust, and moving what is under them.

use super::{CHANGE, READ, SYSTEM};

super::rows! {
    ROOT_LIST = "root.list", System, [READ, SYSTEM], READ, Open,
        "Lists the roots of trust and what is under each.";
    ROOT_JOIN = "root.join", System, [SYSTEM], SYSTEM, Open,
        "Makes a root of trust that the configuration names one of the deployment's.";
    ROOT_RETIRE = "root.retire", System, [SYSTEM], SYSTEM, Open,
        "Takes a root of trust that nothing is under out of the deployment.";
    ROOT_MIGRATE = "root.migrate", System, [LIFECYCLE], SYSTEM, Open,
        "Moves what roots of trust wrap to others, as a job.";
    KEYRING_ROTATE_KEK = "keyring.rotate-kek", Keyring, [LIFECYCLE], CHANGE, Open,
        "Makes a new key-encryption key for a keyring and brings all beneath it under that, as a job.";
}
