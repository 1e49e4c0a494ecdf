//! Sizes every floor agrees on. All are bytes unless the name says otherwise.

/// A name, alias, owner, custodian, consumer or label key.
pub const NAME_MAX: usize = 128;
/// A label value, description or reason.
pub const TEXT_MAX: usize = 1024;
/// Labels on one key or principal (count).
pub const LABELS_MAX: usize = 64;
/// Aliases of one key (count); AWS KMS allows 50.
pub const ALIASES_MAX: usize = 50;
/// Members of a custodian, consumer or holder list (count).
pub const LIST_MAX: usize = 64;
/// Pairs in an encryption context (count).
pub const CONTEXT_PAIRS_MAX: usize = 32;
/// An encryption context in canonical form.
pub const CONTEXT_MAX: usize = 8 * 1024;
/// A policy's text.
pub const POLICY_MAX: usize = 64 * 1024;
/// Keys in one shard of a keyring (count): what is re-wrapped when one of them is destroyed.
pub const SHARD_KEYS: u32 = 256;
/// Versions of one key (count).
pub const VERSIONS_MAX: u32 = 1_000;
/// All that people say about one key: names, labels, lists and texts together.
pub const METADATA_MAX: usize = 32 * 1024;
/// A key's stored record, above which it is not rotated any more, and above twice of which not suspended any more.
/// What ends a key is never refused for its size; the states admit only few such transitions for each version, so that
/// the record stays below six times this.
pub const KEY_RECORD_MAX: usize = 1024 * 1024;
/// Destruction waiting period, shortest (days; requirement R8).
pub const DESTRUCTION_WAIT_MIN_DAYS: u32 = 7;
/// Destruction waiting period, longest (days; requirement R8).
pub const DESTRUCTION_WAIT_MAX_DAYS: u32 = 30;
