//! Shares of roots of trust and who holds them.

use keyreeve_secret::SecretString;
use keyreeve_wire::shares::{
    AbandonReshare, BeginReshare, CommitReshare, GiveShare, HandInProof, HandedShares, NameHolder, ProofTaken,
    ReshareProgress, RootShares,
};
use keyreeve_wire::{SecretText, Timestamp};
use reqwest::Method;

use crate::error::ClientError;
use crate::transport::{Answer, Client, Repeat};

impl Client {
    /// Who holds the shares of a root of trust.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn root_holders(&self, root: &str) -> Result<Answer<RootShares>, ClientError> {
        self.get(&["roots", root, "holders"], &[]).await
    }

    /// Writes down who holds a share.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn name_holder(&self, root: &str, holder: &NameHolder) -> Result<Answer<RootShares>, ClientError> {
        self.change(Method::POST, &["roots", root, "holders"], holder).await
    }

    /// Asks the holders of shares to show that they have them.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn challenge_holders(&self, root: &str) -> Result<Answer<RootShares>, ClientError> {
        self.send(self.call(Method::POST, &["roots", root, "challenge"])?).await
    }

    /// Hands in a proof that a holder has a share.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn hand_in_proof(&self, root: &str, proof: &HandInProof) -> Result<Answer<ProofTaken>, ClientError> {
        self.change(Method::POST, &["roots", root, "proofs"], proof).await
    }

    /// Begins to exchange the shares of a root.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn begin_reshare(&self, root: &str, begin: &BeginReshare) -> Result<Answer<RootShares>, ClientError> {
        self.change(Method::POST, &["roots", root, "reshare"], begin).await
    }

    /// Gives one present share towards an exchange, that which was begun at the time that is said or any. Never
    /// repeated by itself: a share counts once.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn give_share(
        &self,
        root: &str,
        share: SecretString,
        exchange: Option<Timestamp>,
    ) -> Result<Answer<ReshareProgress>, ClientError> {
        let call = self.call(Method::POST, &["roots", root, "reshare", "shares"])?;
        self.send(call.json(&GiveShare { share: SecretText(share), exchange })?.repeat(Repeat::Never)).await
    }

    /// The new shares, each encrypted to its holder.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn new_shares(&self, root: &str) -> Result<Answer<HandedShares>, ClientError> {
        self.get(&["roots", root, "reshare"], &[]).await
    }

    /// Puts the new shares in the place of the present ones.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn commit_reshare(&self, root: &str, commit: &CommitReshare) -> Result<Answer<RootShares>, ClientError> {
        self.change(Method::POST, &["roots", root, "reshare", "commit"], commit).await
    }

    /// Gives up an exchange of shares.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn abandon_reshare(
        &self,
        root: &str,
        abandon: &AbandonReshare,
    ) -> Result<Answer<RootShares>, ClientError> {
        self.change(Method::POST, &["roots", root, "reshare", "abandon"], abandon).await
    }
}
