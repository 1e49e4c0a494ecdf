//! Names of the files in the vault.

use keyreeve_epochs::EpochId;
use keyreeve_model::KeyringId;

/// Ends the names of files that are being written; they start with a dot.
const WRITING: &str = ".writing";

/// Ends the names of files that are being erased; they start with a dot.
const ERASING: &str = ".erasing";

/// What the name of a file in the directory of a keyring says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FileName {
    /// An epoch.
    Epoch(EpochId),
    /// Being written, or left behind by a process that was killed doing so: nobody relies on the content.
    Writing,
    /// Being erased, or left behind by a process that was killed doing so.
    Erasing,
    /// Nothing of ours.
    Foreign,
}

/// The name of the file of `id` in the directory of its keyring.
pub(crate) fn epoch(id: EpochId) -> String {
    format!("{}-{}.key", id.shard, id.epoch)
}

/// A name for the file of `id` while it is written; `process` and `count` make it unique.
pub(crate) fn writing(id: EpochId, process: u32, count: u64) -> String {
    format!(".{}.{process}-{count}{WRITING}", epoch(id))
}

/// A name for the file of `id` while it is erased; `process` and `count` make it unique.
pub(crate) fn erasing(id: EpochId, process: u32, count: u64) -> String {
    format!(".{}.{process}-{count}{ERASING}", epoch(id))
}

/// Reads a file name in the directory of `keyring`.
pub(crate) fn parse(keyring: KeyringId, name: &str) -> FileName {
    if name.starts_with('.') && name.ends_with(WRITING) {
        return FileName::Writing;
    }
    if name.starts_with('.') && name.ends_with(ERASING) {
        return FileName::Erasing;
    }
    let numbers = name.strip_suffix(".key").and_then(|stem| stem.split_once('-'));
    let id = numbers
        .and_then(|(shard, epoch)| Some(EpochId { keyring, shard: shard.parse().ok()?, epoch: epoch.parse().ok()? }));
    // Only the one spelling: "+1" and "01" are numbers too.
    id.filter(|id| epoch(*id) == name).map_or(FileName::Foreign, FileName::Epoch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEYRING: KeyringId = KeyringId::from_bytes([7; 16]);

    proptest! {
        #[test]
        fn names_are_read_back(shard: u32, number: u64, process: u32, count: u64) {
            let id = EpochId { keyring: KEYRING, shard, epoch: number };
            prop_assert_eq!(parse(KEYRING, &epoch(id)), FileName::Epoch(id));
            prop_assert_eq!(parse(KEYRING, &writing(id, process, count)), FileName::Writing);
            prop_assert_eq!(parse(KEYRING, &erasing(id, process, count)), FileName::Erasing);
        }

        #[test]
        fn whatever_is_read_has_one_spelling(name in "[0-9+.key~-]{0,9}") {
            if let FileName::Epoch(id) = parse(KEYRING, &name) {
                prop_assert_eq!(epoch(id), name);
            }
        }
    }

    #[test]
    fn other_names_are_foreign() {
        for name in ["", "1-1", "01-1.key", "+1-1.key", "1-1.key~", "1-1-1.key", "-1-1.key", "4294967296-1.key", "a"] {
            assert_eq!(parse(KEYRING, name), FileName::Foreign, "{name}");
        }
    }
}
