//! Damage: looking for it, and what is in quarantine because of it.

use super::{READ, SYSTEM};

super::rows! {
    INTEGRITY_STATUS = "integrity.status", System, [AUDIT, SYSTEM], READ, Open,
        "Shows how much is in quarantine, the last scan, and when the next one is due.";
    INTEGRITY_LIST = "integrity.list", System, [AUDIT, SYSTEM], READ, Open,
        "Lists what is in quarantine, or was.";
    INTEGRITY_DESCRIBE = "integrity.describe", System, [AUDIT, SYSTEM], READ, Open,
        "Shows something in quarantine: what was found, what is wrong with it now, and what can be done.";
    INTEGRITY_SCAN = "integrity.scan", System, [SYSTEM, SCHEDULED], SYSTEM, Open,
        "Looks through everything that is stored, and the audit log, for damage, as a job.";
    INTEGRITY_RELEASE = "integrity.release", System, [SYSTEM], SYSTEM, Open,
        "Takes something out of quarantine that is sound again, or has its damaged row removed.";
    INTEGRITY_QUARANTINE = "integrity.quarantine", System, [SCHEDULED], SYSTEM, Open,
        "Puts into quarantine what was met damaged in other work; by the server itself.";
}
