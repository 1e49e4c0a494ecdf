//! The operations, one method each, in the groups of the HTTP interface.

mod access;
mod approvals;
mod audit;
mod backups;
mod cases;
mod ceremonies;
mod cipher;
mod derivation;
mod drills;
mod escrow;
mod grants;
mod integrity;
mod jobs;
mod keyrings;
mod keys;
mod login;
mod mfa;
mod notices;
mod policies;
mod reviews;
mod roots;
mod shares;
mod signing;
mod system;
mod transport;

pub use audit::AuditFilter;
pub use grants::GrantFilter;
pub use keys::KeyFilter;

use crate::error::ClientError;

/// The single form of an answer, which was asked for.
fn single<T>(value: Option<T>, name: &str) -> Result<T, ClientError> {
    value.ok_or_else(|| ClientError::Answer(format!("`{name}` is missing")))
}

fn page(after: Option<&str>, limit: Option<u32>) -> [(&'static str, Option<String>); 2] {
    [("after", after.map(str::to_owned)), ("limit", limit.map(|limit| limit.to_string()))]
}
