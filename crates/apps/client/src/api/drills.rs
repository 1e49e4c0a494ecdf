//! Drills.

use keyreeve_wire::drills::{AskedDrill, Drill, Drills, RecordDrill};
use reqwest::Method;

use crate::error::ClientError;
use crate::transport::{Answer, Client};

impl Client {
    /// The drills that were held, and how each kind stands.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn drills(&self) -> Result<Answer<Drills>, ClientError> {
        self.get(&["drills"], &[]).await
    }

    /// Puts a drill on record.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn record_drill(&self, request: &RecordDrill) -> Result<Answer<Drill>, ClientError> {
        self.change(Method::POST, &["drills"], request).await
    }

    /// Asks the server to restore its newest backup into a scratch instance now.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn ask_for_drill(&self) -> Result<Answer<AskedDrill>, ClientError> {
        self.send(self.call(Method::POST, &["drills", "restore"])?).await
    }
}
