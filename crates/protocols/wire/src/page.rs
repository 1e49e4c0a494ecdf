//! Pages of listings.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A page of a listing. A page may be short, even empty, with more to come: only a missing `next` is the end.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Give this as `after` (as `before` when searching the audit log) for the next page; missing at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
