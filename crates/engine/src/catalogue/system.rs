//! The server itself, its audit log, and what everybody may ask.

use super::{ACCESS, AuditClass, READ, SYSTEM, USE};

super::rows! {
    SYSTEM_HEALTH = "system.health", System, [BOOTSTRAP], AuditClass::Counted, Nothing,
        "Tells whether the server is alive and ready.";
    SYSTEM_STATUS = "system.status", System, [BOOTSTRAP, SYSTEM], AuditClass::Counted, Nothing,
        "Tells whether the server is initialised and open, and how many shares are missing.";
    SYSTEM_METRICS = "system.metrics", System, [BOOTSTRAP, SYSTEM], AuditClass::Counted, Nothing,
        "Shows the server's counters for monitoring.";
    REQUEST_REFUSE = "request.refuse", System, [BOOTSTRAP], ACCESS, Nothing,
        "Puts on record what was refused before it became an operation: unreadable, too large, of no route.";
    SYSTEM_INIT = "system.init", System, [BOOTSTRAP], SYSTEM, Nothing,
        "Makes the root of trust and the first administrator; once.";
    SYSTEM_UNSEAL = "system.unseal", System, [BOOTSTRAP], SYSTEM, Nothing,
        "Gives one share of the root of trust.";
    SYSTEM_SEAL = "system.seal", System, [SYSTEM], SYSTEM, Open,
        "Closes the root of trust and wipes every key from memory.";
    SYSTEM_INFO = "system.info", System, [SYSTEM], READ, Open,
        "Shows what runs, and how the server stands towards its anchors.";
    SYSTEM_STARTED = "system.started", System, [SCHEDULED], SYSTEM, Open,
        "Puts on record which program runs with which configuration.";
    SYSTEM_ROLLED_BACK = "system.rolled-back", System, [SCHEDULED], SYSTEM, Open,
        "Puts on record that the server is older than an anchor remembers.";
    SYSTEM_ACCEPT_ROLLBACK = "system.accept-rollback", System, [SYSTEM], SYSTEM, Open,
        "Goes on with a server that is older than its anchors remember.";
    CEREMONY_RECORD = "ceremony.record", System, [SYSTEM], SYSTEM, Open,
        "Puts the outcome of a key ceremony on record, with the hash of its transcript.";
    RANDOM_GENERATE = "random.generate", System, [SELF], USE, Open, "Returns random bytes.";
    ALGORITHM_LIST = "algorithm.list", System, [SELF], READ, Open,
        "Lists algorithms with strength, status and sunset.";
    AUDIT_SEARCH = "audit.search", Audit, [AUDIT], READ, Open, "Searches the audit log.";
    AUDIT_PROVE = "audit.prove", Audit, [AUDIT, SELF], READ, Open,
        "Proves that an operation is in the audit log.";
    AUDIT_READ = "audit.read", Audit, [AUDIT], READ, Open, "Hands out the audit log's checkpoint and tiles.";
}
