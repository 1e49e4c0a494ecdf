//! Legal holds, incidents, emergencies.

use keyreeve_wire::Page;
use keyreeve_wire::cases::{
    ConfirmIncident, DeclareEmergency, Emergency, Hold, Incident, IncidentText, OpenIncident, PlaceHold, ReleaseHold,
    ReviewEmergency,
};
use keyreeve_wire::names::EmergencyState;
use reqwest::Method;

use super::page;
use crate::error::ClientError;
use crate::transport::{Answer, Client};

impl Client {
    /// Places a legal hold on a key, by id or alias.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn place_hold(&self, key: &str, hold: &PlaceHold) -> Result<Answer<Hold>, ClientError> {
        self.change(Method::POST, &["keys", key, "holds"], hold).await
    }

    /// Places a legal hold on every key of a keyring, by id or name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn place_hold_on_keyring(&self, keyring: &str, hold: &PlaceHold) -> Result<Answer<Hold>, ClientError> {
        self.change(Method::POST, &["keyrings", keyring, "holds"], hold).await
    }

    /// A page of the holds: those in force, or those that were released as well; of all keys or of one.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn holds(
        &self,
        key: Option<&str>,
        released: bool,
        (after, limit): (Option<&str>, Option<u32>),
    ) -> Result<Answer<Page<Hold>>, ClientError> {
        let [after, limit] = page(after, limit);
        let released = released.then(|| "true".to_owned());
        self.get(&["holds"], &[("key", key.map(str::to_owned)), ("released", released), after, limit]).await
    }

    /// Releases a hold.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn release_hold(&self, id: &str, release: &ReleaseHold) -> Result<Answer<Hold>, ClientError> {
        self.change(Method::POST, &["holds", id, "release"], release).await
    }

    /// Opens an incident.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn open_incident(&self, new: &OpenIncident) -> Result<Answer<Incident>, ClientError> {
        self.change(Method::POST, &["incidents"], new).await
    }

    /// A page of the incidents: all, the open ones or the closed ones.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn incidents(
        &self,
        open: Option<bool>,
        (after, limit): (Option<&str>, Option<u32>),
    ) -> Result<Answer<Page<Incident>>, ClientError> {
        let [after, limit] = page(after, limit);
        self.get(&["incidents"], &[("open", open.map(|open| open.to_string())), after, limit]).await
    }

    /// Shows an incident.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn incident(&self, id: &str) -> Result<Answer<Incident>, ClientError> {
        self.get(&["incidents", id], &[]).await
    }

    /// Writes something down in an incident.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn note_incident(&self, id: &str, text: &IncidentText) -> Result<Answer<Incident>, ClientError> {
        self.change(Method::POST, &["incidents", id, "notes"], text).await
    }

    /// Confirms, as a second person, what was done in an incident.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn confirm_incident(&self, id: &str, confirm: &ConfirmIncident) -> Result<Answer<Incident>, ClientError> {
        self.change(Method::POST, &["incidents", id, "confirm"], confirm).await
    }

    /// Closes an incident that owes nothing.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn close_incident(&self, id: &str, text: &IncidentText) -> Result<Answer<Incident>, ClientError> {
        self.change(Method::POST, &["incidents", id, "close"], text).await
    }

    /// Declares an emergency; it waits for the consent of several people first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn declare_emergency(&self, new: &DeclareEmergency) -> Result<Answer<Emergency>, ClientError> {
        self.change(Method::POST, &["emergencies"], new).await
    }

    /// A page of the emergencies, all or those in one state.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn emergencies(
        &self,
        state: Option<EmergencyState>,
        (after, limit): (Option<&str>, Option<u32>),
    ) -> Result<Answer<Page<Emergency>>, ClientError> {
        let [after, limit] = page(after, limit);
        self.get(&["emergencies"], &[("state", state.map(|state| state.to_string())), after, limit]).await
    }

    /// Shows an emergency.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn emergency(&self, id: &str) -> Result<Answer<Emergency>, ClientError> {
        self.get(&["emergencies", id], &[]).await
    }

    /// Ends an emergency before its time.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn end_emergency(&self, id: &str) -> Result<Answer<Emergency>, ClientError> {
        self.send(self.call(Method::POST, &["emergencies", id, "end"])?).await
    }

    /// Signs the review of an emergency.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn review_emergency(&self, id: &str, review: &ReviewEmergency) -> Result<Answer<Emergency>, ClientError> {
        self.change(Method::POST, &["emergencies", id, "review"], review).await
    }
}
