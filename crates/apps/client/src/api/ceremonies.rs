//! Key ceremonies on record.

use keyreeve_wire::ceremony::RecordCeremony;
use reqwest::Method;

use crate::error::ClientError;
use crate::transport::{Answer, Client};

impl Client {
    /// Puts the outcome of a key ceremony into the audit log; the record's id is that of the answer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn record_ceremony(&self, request: &RecordCeremony) -> Result<Answer<()>, ClientError> {
        self.send_for_nothing(self.call(Method::POST, &["ceremonies"])?.json(request)?).await
    }
}
