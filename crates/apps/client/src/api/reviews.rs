//! Going through who has which right.

use keyreeve_wire::reviews::AccessReport;

use crate::error::ClientError;
use crate::transport::{Answer, Client};

impl Client {
    /// A page of the report on who can do what to which key.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn access_report(
        &self,
        principal: Option<&str>,
        key: Option<&str>,
        after: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Answer<AccessReport>, ClientError> {
        let [after, limit] = super::page(after, limit);
        let about = [("principal", principal.map(str::to_owned)), ("key", key.map(str::to_owned)), after, limit];
        self.get(&["access", "report"], &about).await
    }
}
