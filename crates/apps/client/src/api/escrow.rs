//! Escrow: which keys are deposited, under what, and how one comes back.

use keyreeve_secret::SecretString;
use keyreeve_wire::SecretText;
use keyreeve_wire::escrow::{
    AbandonRecovery, AcceptEscrowKey, Deposited, EscrowCampaign, EscrowDeposit, EscrowDone, EscrowPolicy,
    EscrowRecovery, EscrowStatus, GiveEscrowShare, HandInRehearsal, MadeEscrowKey, MakeEscrowKey, RecoverKey,
    RecoveryProgress, SetEscrowPolicy,
};
use keyreeve_wire::page::Page;
use keyreeve_wire::shares::{HandInProof, ProofTaken};
use reqwest::Method;

use super::page;
use crate::error::ClientError;
use crate::transport::{Answer, Client, Repeat};

impl Client {
    /// Everything there is to know of escrow.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn escrow(&self) -> Result<Answer<EscrowStatus>, ClientError> {
        self.get(&["escrow"], &[]).await
    }

    /// Says which keys are escrowed.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_escrow_policy(&self, policy: &SetEscrowPolicy) -> Result<Answer<EscrowPolicy>, ClientError> {
        self.change(Method::PUT, &["escrow", "policy"], policy).await
    }

    /// Makes a key that others are deposited under. The shares are handed out this once.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn make_escrow_key(&self, make: &MakeEscrowKey) -> Result<Answer<MadeEscrowKey>, ClientError> {
        self.change(Method::POST, &["escrow", "keys"], make).await
    }

    /// Begins to deposit keys under the key that waits.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn accept_escrow_key(&self, accept: &AcceptEscrowKey) -> Result<Answer<EscrowDone>, ClientError> {
        self.change(Method::POST, &["escrow", "keys", "accept"], accept).await
    }

    /// Hands in a proof that an agent has a share.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn hand_in_escrow_proof(&self, proof: &HandInProof) -> Result<Answer<ProofTaken>, ClientError> {
        self.change(Method::POST, &["escrow", "proofs"], proof).await
    }

    /// Asks the agents to show their shares, and for a rehearsal.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn open_escrow_campaign(&self) -> Result<Answer<EscrowCampaign>, ClientError> {
        self.send(self.call(Method::POST, &["escrow", "campaigns"])?).await
    }

    /// Hands in the answer of a rehearsal.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn hand_in_rehearsal(&self, answer: &HandInRehearsal) -> Result<Answer<EscrowCampaign>, ClientError> {
        self.change(Method::POST, &["escrow", "rehearsals"], answer).await
    }

    /// Brings the deposits of a key in line with what is escrowed.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn deposit_key(&self, key: &str) -> Result<Answer<Deposited>, ClientError> {
        self.send(self.call(Method::POST, &["keys", key, "escrow"])?).await
    }

    /// A page of deposits, of one key or of all.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn escrow_deposits(
        &self,
        key: Option<&str>,
        after: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Answer<Page<EscrowDeposit>>, ClientError> {
        let [after, limit] = page(after, limit);
        self.get(&["escrow", "deposits"], &[("key", key.map(str::to_owned)), after, limit]).await
    }

    /// Begins to take a key version out of escrow; others have to agree.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn recover_key(&self, key: &str, recover: &RecoverKey) -> Result<Answer<EscrowRecovery>, ClientError> {
        self.change(Method::POST, &["keys", key, "recover"], recover).await
    }

    /// A recovery, and what came of it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn escrow_recovery(&self, id: &str) -> Result<Answer<EscrowRecovery>, ClientError> {
        self.get(&["escrow", "recoveries", id], &[]).await
    }

    /// Gives an agent's share towards a recovery. Never repeated by itself: a share counts once.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn give_escrow_share(
        &self,
        id: &str,
        share: SecretString,
    ) -> Result<Answer<RecoveryProgress>, ClientError> {
        let call = self.call(Method::POST, &["escrow", "recoveries", id, "shares"])?;
        self.send(call.json(&GiveEscrowShare { share: SecretText(share) })?.repeat(Repeat::Never)).await
    }

    /// Gives a recovery up.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn abandon_recovery(&self, id: &str, why: &AbandonRecovery) -> Result<Answer<EscrowDone>, ClientError> {
        self.change(Method::POST, &["escrow", "recoveries", id, "abandon"], why).await
    }
}
