//! Backups and drills.

use super::{READ, SYSTEM};

super::rows! {
    BACKUP_CREATE = "backup.create", System, [SYSTEM, SCHEDULED], SYSTEM, Open,
        "Makes a backup and brings it to every destination, as a job.";
    BACKUP_LIST = "backup.list", System, [SYSTEM], READ, Open,
        "Shows the backups that were made, where they are, and what destinations still have to be told.";
    BACKUP_VERIFY = "backup.verify", System, [SYSTEM, SCHEDULED], SYSTEM, Open,
        "Reads a backup again and checks everything about it, as a job.";
    BACKUP_RECORD = "backup.record", System, [SCHEDULED], SYSTEM, Open,
        "Puts on record how far a backup has come; by the server itself.";
    BACKUP_RESTORED = "backup.restored", System, [SCHEDULED], SYSTEM, Open,
        "Puts on record that the server came out of a backup.";
    BACKUP_ACKNOWLEDGE = "backup.acknowledge", System, [SYSTEM], SYSTEM, Open,
        "Takes note that the server came out of a backup.";
    DRILL_RESTORE = "drill.restore", System, [SYSTEM], SYSTEM, Open,
        "Asks the server to restore its newest backup into a scratch instance now.";
    DRILL_RECORD = "drill.record", System, [SYSTEM, SCHEDULED], SYSTEM, Open,
        "Puts on record what came of a drill.";
    DRILL_LIST = "drill.list", System, [SYSTEM], READ, Open,
        "Shows the drills that were held, and which are overdue.";
}
