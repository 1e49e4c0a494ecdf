//! Second factors.

use keyreeve_wire::mfa::{
    Challenge, Factor, Factors, FinishTotp, FinishWebAuthn, Invitation, Invite, MfaAnswer, MfaShown, MfaStatus,
    NewChallenge, RecoveryCodes, StartTotp, StartWebAuthn, StartedTotp, StartedWebAuthn,
};
use reqwest::Method;

use crate::error::ClientError;
use crate::transport::{Answer, Client};

impl Client {
    /// The caller's second factors, and what its token proves.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn mfa_status(&self) -> Result<Answer<MfaStatus>, ClientError> {
        self.get(&["mfa"], &[]).await
    }

    /// Makes the seed of one-time codes for the caller.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn start_totp(&self, start: &StartTotp) -> Result<Answer<StartedTotp>, ClientError> {
        self.change(Method::POST, &["mfa", "totp"], start).await
    }

    /// Confirms one-time codes with one of them.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn finish_totp(&self, finish: &FinishTotp) -> Result<Answer<Factor>, ClientError> {
        self.change(Method::POST, &["mfa", "totp", "finish"], finish).await
    }

    /// A challenge to register an authenticator.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn start_webauthn(&self, start: &StartWebAuthn) -> Result<Answer<StartedWebAuthn>, ClientError> {
        self.change(Method::POST, &["mfa", "webauthn"], start).await
    }

    /// Registers an authenticator.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn finish_webauthn(&self, finish: &FinishWebAuthn) -> Result<Answer<Factor>, ClientError> {
        self.change(Method::POST, &["mfa", "webauthn", "finish"], finish).await
    }

    /// A challenge for the caller's authenticators.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn mfa_challenge(&self, new: &NewChallenge) -> Result<Answer<Challenge>, ClientError> {
        self.change(Method::POST, &["mfa", "challenge"], new).await
    }

    /// Shows a second factor: the token that this client comes with carries the proof from then on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn verify_mfa(&self, answer: &MfaAnswer) -> Result<Answer<MfaShown>, ClientError> {
        self.change(Method::POST, &["mfa", "verify"], answer).await
    }

    /// Makes the caller's recovery codes anew.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn recovery_codes(&self) -> Result<Answer<RecoveryCodes>, ClientError> {
        self.send(self.call(Method::POST, &["mfa", "recovery-codes"])?).await
    }

    /// Removes one of the caller's second factors.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove_factor(&self, id: &str) -> Result<Answer<()>, ClientError> {
        self.send_for_nothing(self.call(Method::DELETE, &["mfa", id])?).await
    }

    /// The second factors of a person.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn factors_of(&self, principal: &str) -> Result<Answer<Factors>, ClientError> {
        self.get(&["principals", principal, "mfa"], &[]).await
    }

    /// Invites a person to enrol a first factor.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn invite(&self, principal: &str, invite: &Invite) -> Result<Answer<Invitation>, ClientError> {
        self.change(Method::POST, &["principals", principal, "mfa", "invitation"], invite).await
    }

    /// Removes all second factors of a person.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn reset_factors(&self, principal: &str) -> Result<Answer<()>, ClientError> {
        self.send_for_nothing(self.call(Method::DELETE, &["principals", principal, "mfa"])?).await
    }
}
