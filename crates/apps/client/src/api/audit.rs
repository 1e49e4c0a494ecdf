//! The audit log.

use keyreeve_wire::audit::{AuditPage, AuditProof};
use keyreeve_wire::names::Outcome;
use reqwest::Method;

use crate::error::ClientError;
use crate::transport::{Answer, Client};

/// What a search is narrowed by; everything given must fit.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Records of this principal.
    pub principal: Option<String>,
    /// Records of this operation; a trailing `*` stands for any ending.
    pub operation: Option<String>,
    /// Records about this resource: its id or name, an alias of the key, or its keyring.
    pub resource: Option<String>,
    /// Records that ended so.
    pub outcome: Option<Outcome>,
    /// Records with this error code.
    pub code: Option<String>,
    /// Records of this request.
    pub request: Option<String>,
    /// Records of this instant and later, RFC 3339.
    pub from: Option<String>,
    /// Records before this instant, RFC 3339.
    pub until: Option<String>,
}

impl AuditFilter {
    fn query(&self) -> Vec<(&'static str, Option<String>)> {
        vec![
            ("principal", self.principal.clone()),
            ("operation", self.operation.clone()),
            ("resource", self.resource.clone()),
            ("outcome", self.outcome.map(|outcome| outcome.name().to_owned())),
            ("code", self.code.clone()),
            ("request", self.request.clone()),
            ("from", self.from.clone()),
            ("until", self.until.clone()),
        ]
    }
}

impl Client {
    /// A page of the records that fit, newest first; `before` is where the former page ended.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn search_audit(
        &self,
        filter: &AuditFilter,
        before: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Answer<AuditPage>, ClientError> {
        let mut query = filter.query();
        query.push(("before", before.map(str::to_owned)));
        query.push(("limit", limit.map(|limit| limit.to_string())));
        self.get(&["audit"], &query).await
    }

    /// A proof that a record is in the log.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn prove_audit(&self, record: &str) -> Result<Answer<AuditProof>, ClientError> {
        self.get(&["audit", "records", record, "proof"], &[]).await
    }

    /// A fresh signed checkpoint that covers everything done so far: a signed note.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn audit_checkpoint(&self) -> Result<Vec<u8>, ClientError> {
        let call = self.call(Method::GET, &["audit", "checkpoint"])?.accept("text/plain, */*;q=0.1");
        Ok(public(self.send_for_bytes(call).await?))
    }

    /// A file of the log, by its path in the layout of C2SP tlog-tiles; none where there is no such file.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn audit_file(&self, path: &str) -> Result<Option<Vec<u8>>, ClientError> {
        let segments: Vec<&str> = ["audit", "log"].into_iter().chain(path.split('/')).collect();
        let call = self.call(Method::GET, &segments)?.accept("application/octet-stream, */*;q=0.1");
        match self.send_for_bytes(call).await {
            Ok(answer) => Ok(Some(public(answer))),
            Err(error) if error.code() == Some("not-found") => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn public(answer: Answer<keyreeve_secret::SecretBytes>) -> Vec<u8> {
    answer.value.declassify("the audit log holds no secrets")
}
