//! What is out of the ordinary: legal holds, incidents, emergencies.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::names::{EmergencyState, IncidentKind};
use crate::{Pairs, Timestamp};

/// Places a legal hold.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlaceHold {
    /// The case it is for, as a file number: 1 to 1,024 bytes.
    pub matter: String,
}

/// Says why.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseHold {
    /// Why: 1 to 1,024 bytes.
    pub reason: String,
}

/// A legal hold.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Hold {
    /// Its id: `hld_…`.
    pub id: String,
    /// The key it covers, where it covers one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The keyring it covers, where it covers a whole one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyring: Option<String>,
    /// The case it is for.
    pub matter: String,
    /// When it was placed.
    pub placed: Timestamp,
    /// By whom.
    pub placed_by: String,
    /// When it was released, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<Timestamp>,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_by: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_reason: Option<String>,
}

/// Opens an incident.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenIncident {
    /// What it is about.
    pub kind: IncidentKind,
    /// The keys it touches, by id or alias: at most 256.
    #[serde(default)]
    pub keys: Vec<String>,
    /// The ticket in the organisation's own system: at most 1,024 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// What happened: 1 to 1,024 bytes.
    pub reason: String,
}

/// Something to be kept with an incident.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IncidentText {
    /// The text: 1 to 1,024 bytes.
    pub text: String,
}

/// Confirms what somebody else did.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmIncident {
    /// The number of the confirmation, from 1.
    pub number: u32,
}

/// An incident.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Incident {
    /// Its id: `inc_…`.
    pub id: String,
    /// What it is about.
    pub kind: IncidentKind,
    /// The ids of the keys it touches.
    pub keys: Vec<String>,
    /// The ticket in the organisation's own system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// What happened.
    pub reason: String,
    /// When it was opened.
    pub opened: Timestamp,
    /// By whom.
    pub opened_by: String,
    /// What was done since, oldest first.
    pub events: Vec<IncidentEvent>,
    /// What a second person confirms, or has confirmed.
    pub confirmations: Vec<Confirmation>,
    /// When it was closed, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<Timestamp>,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_by: Option<String>,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conclusion: Option<String>,
}

/// One entry of an incident's history.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct IncidentEvent {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// What, in words.
    pub what: String,
}

/// Something done on one person's authority, which a second one confirms.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Confirmation {
    /// Its number, from 1.
    pub number: u32,
    /// The operation that was done.
    pub operation: String,
    /// The id of the key it was done on.
    pub key: String,
    /// Who did it.
    pub by: String,
    /// Somebody with one of these roles confirms.
    pub roles: Vec<String>,
    /// When it is overdue.
    pub due: Timestamp,
    /// Is it owed and late?
    pub overdue: bool,
    /// When it was confirmed, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<Timestamp>,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_by: Option<String>,
}

/// Declares an emergency. Keys and keyrings are named by their ids: what people consent to must not lead elsewhere
/// later.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeclareEmergency {
    /// The id of the open incident it belongs to.
    pub incident: String,
    /// The ids of the keys: at most 64.
    #[serde(default)]
    pub keys: Vec<String>,
    /// The ids of keyrings, all of whose keys are meant: at most 8.
    #[serde(default)]
    pub keyrings: Vec<String>,
    /// The operations on them, by their names as actions, such as `key.decrypt`: 1 to 16.
    pub operations: Vec<String>,
    /// The names of the people who may do them: 1 to 8.
    pub participants: Vec<String>,
    /// For how many minutes from the moment it is in force: 1 to 240.
    pub minutes: u16,
    /// Why nothing less will do: 1 to 1,024 bytes.
    pub why: String,
}

/// Signs the review of an emergency.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReviewEmergency {
    /// What was found: 1 to 1,024 bytes.
    pub text: String,
    /// For each key that was used, by its id, what becomes of it: 1 to 1,024 bytes.
    #[serde(default)]
    pub dispositions: Pairs,
}

/// An emergency.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Emergency {
    /// Its id: `emg_…`.
    pub id: String,
    /// Where it stands.
    pub state: EmergencyState,
    /// The incident it belongs to.
    pub incident: String,
    /// The ids of the keys.
    pub keys: Vec<String>,
    /// The ids of the keyrings.
    pub keyrings: Vec<String>,
    /// What may be done with them.
    pub operations: Vec<String>,
    /// Who may.
    pub participants: Vec<String>,
    /// Why.
    pub why: String,
    /// When it was declared.
    pub declared: Timestamp,
    /// By whom.
    pub declared_by: String,
    /// Who consented.
    pub voters: Vec<String>,
    /// The approval it is in force by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
    /// When its time is or was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// When it ended, if it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// What ended it: `time`, `person` or `seal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<String>,
    /// What was done, the first time of each kind; every time is in the audit log.
    pub uses: Vec<EmergencyUse>,
    /// What the participants could come in with until its end, and cannot any more.
    #[serde(default)]
    pub revoked: Vec<EmergencyRevoked>,
    /// What is to be renewed afterwards.
    pub owed: Vec<EmergencyOwed>,
    /// When the review is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review_due: Option<Timestamp>,
    /// Is the review overdue?
    pub overdue: bool,
    /// When the review was signed, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewed: Option<Timestamp>,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewed_by: Option<String>,
    /// What was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<String>,
    /// What becomes of each key that was used, by its id.
    #[serde(default, skip_serializing_if = "Pairs::is_empty")]
    pub dispositions: Pairs,
}

/// The first use of an operation on a key by a participant.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct EmergencyUse {
    /// The id of the key.
    pub key: String,
    /// The operation.
    pub operation: String,
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// The audit record.
    pub record: String,
}

/// A way to come in that ended with an emergency.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct EmergencyRevoked {
    /// What: `certificate`, `credential`, `token`, or `session` for the token of a login.
    pub what: String,
    /// Which: an id, or what was known of the certificate.
    pub id: String,
    /// Whose.
    pub of: String,
}

/// Something to be renewed after an emergency.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct EmergencyOwed {
    /// A key, by its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Or the credentials of somebody, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_of: Option<String>,
    /// When it was found done, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<Timestamp>,
    /// How.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub how: Option<String>,
}
