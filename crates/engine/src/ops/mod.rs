//! The operations, a file for each group that belongs together. Each is a type of the catalogue; none is reachable but
//! through the pipeline.

pub mod access_report;
pub mod anchors;
mod apart;
pub mod approvals;
pub mod audit;
pub mod backups;
pub mod ceremonies;
pub mod cipher;
mod consents;
pub mod data_keys;
pub mod derivation;
pub mod destruction;
pub mod drills;
pub mod emergencies;
pub mod escrow;
pub mod explain;
pub mod exports;
pub mod grants;
pub mod holds;
pub mod imports;
pub mod incidents;
pub mod integrity;
pub mod jobs;
pub mod keyrings;
pub mod keys;
mod last_uses;
pub mod lifecycle;
pub mod login;
mod login_roles;
pub(crate) mod material_ends;
pub mod mfa;
pub mod notices;
pub mod policies;
pub mod principals;
pub mod rekey;
pub mod requests;
pub mod reviews;
pub mod roots;
pub mod rules;
pub mod shares;
pub mod signing;
pub mod system;
pub mod tokens;

pub(crate) mod forms;
mod patch;
mod payload;
mod permissions;
mod replies;
mod scan;
pub(crate) mod usable;

pub use patch::{LabelPatch, SetPatch};
pub use payload::Payload;
pub use replies::{KeyReply, KeyringReply, Listing};

use crate::error::Error;

/// The result of each item of a batch, in the caller's order.
pub type Each<T> = Vec<Result<T, Error>>;

/// The most rows of one page of a listing (count).
pub const PAGE_MAX: u32 = 1000;

/// A request with one item fails as a whole when the item does, so that it is recorded as refused.
fn lone<T>(mut items: Each<T>) -> Result<Each<T>, Error> {
    if items.len() == 1
        && let Some(Err(_)) = items.first()
        && let Some(Err(error)) = items.pop()
    {
        return Err(error);
    }
    Ok(items)
}
