//! What went wrong.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::approvals::Waiting;

/// Problem details (RFC 9457), media type `application/problem+json`: the body of every answer that is not a success,
/// and of 202, which says that a request waits for the consent of others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `urn:keyreeve:error:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code as a short sentence.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong and what to do, for people.
    pub detail: String,
    /// The stable code, for programs: `denied`, `wrong-state`, `decryption-failed`, …
    pub code: String,
    /// The id of the request, as in the header `X-Request-Id` and in the audit log.
    #[serde(default)]
    pub request_id: String,
    /// The audit record of the refusal, if it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_record: Option<String>,
    /// What the request waits for, where others have to agree first (code `approval-needed`, status 202).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    pub approval: Option<Waiting>,
}

/// Why one item of a batch was not done; the others were.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ItemError {
    /// The stable code.
    pub code: String,
    /// What is wrong and what to do.
    pub detail: String,
}
