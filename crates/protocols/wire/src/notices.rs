//! Notices to people.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Pairs, Timestamp};

/// The channels on which people are told, and the notices that wait or were given up.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Notices {
    /// The channels of the server's configuration.
    pub channels: Vec<Channel>,
    /// Notices that wait for their channel, or were given up. What was delivered is not kept.
    pub items: Vec<Notice>,
    /// Give this as `after` for the next page; missing at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A channel; no secret.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Channel {
    /// Its name.
    pub name: String,
    /// What it is: `webhook`, `smtp`.
    pub kind: String,
    /// Where it leads.
    pub destination: String,
    /// The kinds of notices that go there; all where it is missing. Emergencies go everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Vec<String>>,
}

/// A notice for one channel.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Notice {
    /// Its id: `ntc_…`.
    pub id: String,
    /// The channel it goes to.
    pub channel: String,
    /// What it is about; docs/formats.md lists the kinds.
    pub kind: String,
    /// One line that says what happened.
    pub subject: String,
    /// What there is to know, by name.
    pub facts: Pairs,
    /// The audit record of its cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// When it happened.
    pub created: Timestamp,
    /// Attempts that failed (count).
    pub attempts: u32,
    /// When it is tried next; missing where it was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
    /// What the last attempt ended with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// When it was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up: Option<Timestamp>,
}

/// Sends a notice that says nothing, to see whether a channel works.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestNotices {
    /// The channel; all of them unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
}

/// The notices that are on their way.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct FiledNotices {
    /// One for each channel.
    pub notices: Vec<FiledNotice>,
}

/// A notice that was filed for a channel.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct FiledNotice {
    /// The channel.
    pub channel: String,
    /// The notice's id. While it is listed it was not taken.
    pub id: String,
}
