//! What the process does to itself before it touches a secret.

use rustix::fs::Mode;
use rustix::mm::MlockAllFlags;
use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// The number of the capability to lock any amount of memory (capabilities(7)).
const CAP_IPC_LOCK: u32 = 14;

/// No core dumps, no reading by other processes of the same user, memory locked where that is permitted, new files for
/// us alone. Returns what could not be done, which is no error: a container may forbid it for good reasons of its own.
/// To be called before threads are started.
pub(crate) fn apply() -> Vec<String> {
    rustix::process::umask(Mode::from_bits_truncate(0o077));
    let mut remarks = Vec::new();
    if let Err(error) = rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        remarks.push(format!("core dumps could not be switched off ({error}): set `LimitCORE=0` for the service"));
    }
    if let Err(error) = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        remarks.push(format!("the process stays readable for debuggers of the same user ({error})"));
    }
    remarks.extend(lock_memory().err());
    remarks
}

/// Locks pages as they come into use, so that keys are never swapped out. With a limit on locked memory nothing is
/// locked: an allocation beyond it would end the process.
fn lock_memory() -> Result<(), String> {
    let limited = rustix::process::getrlimit(Resource::Memlock).current.is_some();
    if limited && !may_lock_any() {
        let remedy = "set `LimitMEMLOCK=infinity` for the service, or encrypt the swap space";
        return Err(format!("memory is not locked and may be swapped out: {remedy}"));
    }
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    let remedy = "grant CAP_IPC_LOCK, or encrypt the swap space";
    rustix::mm::mlockall(all)
        .map_err(|error| format!("memory is not locked and may be swapped out ({error}): {remedy}"))
}

/// Whether the limit on locked memory is none for this process: user 0 in a container commonly lacks the capability.
fn may_lock_any() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| has_ipc_lock(&status))
}

/// Reads the effective capabilities out of a `status` file (proc(5)).
fn has_ipc_lock(status: &str) -> bool {
    let field = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = field.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    set.is_some_and(|set| set & (1 << CAP_IPC_LOCK) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_capability_to_lock_memory_is_read_from_the_effective_set() {
        let status = |set: &str| format!("Name:\tkeyreeve\nCapPrm:\t000001ffffffffff\nCapEff:\t{set}\nCapBnd:\t0\n");
        assert!(has_ipc_lock(&status("0000000000004000")));
        assert!(has_ipc_lock(&status("000001ffffffffff")));
        assert!(!has_ipc_lock(&status("00000000a80425fb")), "a container's usual set");
        assert!(!has_ipc_lock(&status("0000000000000000")));
        assert!(!has_ipc_lock(&status("none")));
        assert!(!has_ipc_lock(""));
    }

    #[test]
    fn afterwards_there_are_no_core_dumps_and_new_files_are_private() {
        apply();
        assert_eq!(rustix::process::getrlimit(Resource::Core).current, Some(0));
        assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        assert_eq!(rustix::process::umask(Mode::from_bits_truncate(0o077)), Mode::from_bits_truncate(0o077));
    }
}
