//! Policies as sets: applied as a whole, compared, put back.

use keyreeve_wire::Page;
use keyreeve_wire::policies::{
    AppliedPolicies, ApplyPolicies, ComparedPolicies, PolicyVersion, RollBackPolicies, ShadowReport, SimulatePolicies,
    SimulatedPolicies, StartShadow, StartedShadow,
};
use reqwest::Method;

use crate::error::ClientError;
use crate::transport::{Answer, Client};

impl Client {
    /// Makes the deployment's own policies be these, in one step, or tells what would change.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn apply_policies(&self, request: &ApplyPolicies) -> Result<Answer<AppliedPolicies>, ClientError> {
        self.change(Method::POST, &["policy-versions"], request).await
    }

    /// Puts back the policies of a former version.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn roll_back_policies(&self, request: &RollBackPolicies) -> Result<Answer<AppliedPolicies>, ClientError> {
        self.change(Method::POST, &["policy-versions", "rollback"], request).await
    }

    /// Puts requests of the past to a draft of the policies: a page of the log.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn simulate_policies(
        &self,
        request: &SimulatePolicies,
    ) -> Result<Answer<SimulatedPolicies>, ClientError> {
        self.apply(&["policy-simulations"], request).await
    }

    /// Puts a draft of the policies on trial beside those that apply, instead of one that is.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn start_policy_shadow(&self, request: &StartShadow) -> Result<Answer<StartedShadow>, ClientError> {
        self.change(Method::PUT, &["policy-shadow"], request).await
    }

    /// Ends the trial of a draft.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn stop_policy_shadow(&self) -> Result<Answer<()>, ClientError> {
        self.send_for_nothing(self.call(Method::DELETE, &["policy-shadow"])?).await
    }

    /// What a draft on trial would have decided otherwise.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn policy_shadow(&self) -> Result<Answer<ShadowReport>, ClientError> {
        self.get(&["policy-shadow"], &[]).await
    }

    /// A page of the versions of the policies, newest first; `before` is `next` of the former page.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn policy_versions(
        &self,
        before: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Answer<Page<PolicyVersion>>, ClientError> {
        let limit = limit.map(|limit| limit.to_string());
        self.get(&["policy-versions"], &[("before", before.map(str::to_owned)), ("limit", limit)]).await
    }

    /// Compares two versions of the policies; the newest with the one before, unless said.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn compare_policies(
        &self,
        from: Option<u64>,
        to: Option<u64>,
    ) -> Result<Answer<ComparedPolicies>, ClientError> {
        let text = |n: Option<u64>| n.map(|n| n.to_string());
        self.get(&["policy-versions", "diff"], &[("from", text(from)), ("to", text(to))]).await
    }
}
