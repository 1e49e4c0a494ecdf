//! Keys and keyrings in memory: records that were checked, and the cryptography they open.

mod attrs;
mod devices;
mod epochs;
mod held;
mod hierarchy;
mod neighbours;
mod reference;
mod renewal;

pub use held::{HeldKey, HeldKeyring};
pub use reference::{KeyRef, KeyringRef};

pub(crate) use attrs::attrs_of;
pub(crate) use devices::{ASKING_AT_ONCE, durable};
pub(crate) use hierarchy::{Hierarchy, KekLocks, new_kek, wrapped_digest};
pub(crate) use neighbours::Going;
