//! Requests that wait for consent, and the rules that make them wait.

use keyreeve_wire::Page;
use keyreeve_wire::approvals::{Approval, CastVote, Executed, PutRules, RuleBook, RulesProblems};
use reqwest::Method;

use crate::error::ClientError;
use crate::transport::{Answer, Client};

impl Client {
    /// A page of the requests that wait or waited: one's own, or all for whoever consents.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn approvals(
        &self,
        state: Option<&str>,
        after: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Answer<Page<Approval>>, ClientError> {
        let [after, limit] = super::page(after, limit);
        self.get(&["approvals"], &[("state", state.map(str::to_owned)), after, limit]).await
    }

    /// Shows a request that waits.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn approval(&self, id: &str) -> Result<Answer<Approval>, ClientError> {
        self.get(&["approvals", id], &[]).await
    }

    /// Consents to a request, or refuses it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn vote(&self, id: &str, vote: &CastVote) -> Result<Answer<Approval>, ClientError> {
        self.change(Method::POST, &["approvals", id, "votes"], vote).await
    }

    /// Takes one's own request back.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn withdraw_approval(&self, id: &str) -> Result<Answer<Approval>, ClientError> {
        self.send(self.call(Method::DELETE, &["approvals", id])?).await
    }

    /// Runs one's own request that others consented to.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn execute_approval(&self, id: &str) -> Result<Answer<Executed>, ClientError> {
        self.send(self.call(Method::POST, &["approvals", id, "execute"])?).await
    }

    /// Shows the rules of approval.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn rules(&self) -> Result<Answer<RuleBook>, ClientError> {
        self.get(&["rules"], &[]).await
    }

    /// Looks whether rules could be put.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn check_rules(&self, rules: &PutRules) -> Result<Answer<RulesProblems>, ClientError> {
        self.change(Method::POST, &["rules", "check"], rules).await
    }

    /// Replaces the rules of approval.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn put_rules(&self, rules: &PutRules) -> Result<Answer<RuleBook>, ClientError> {
        self.change(Method::PUT, &["rules"], rules).await
    }

    /// Brings the rules of approval into force.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn enact_rules(&self) -> Result<Answer<RuleBook>, ClientError> {
        self.send(self.call(Method::POST, &["governance", "enact"])?).await
    }
}
