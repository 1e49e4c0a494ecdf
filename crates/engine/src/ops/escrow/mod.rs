//! Escrow: which keys are deposited with agents, the key that they are deposited under, campaigns in which agents show
//! their shares, and keys that come back (requirement T7, docs/decisions/0025).
//!
//! No share and no private half is in an answer: shares are encrypted to their agents here, and what an agent gives is
//! in memory only while a recovery waits for others.

use keyreeve_crypto::TransportPublic;
use keyreeve_model::escrow::{Campaign, EscrowKey, EscrowKeyState, EscrowPolicy, EscrowRule, RULES_MAX};
use keyreeve_model::filed::file;
use keyreeve_model::holders::{ShareHolders, SharePurpose, SharesRecord, row_id};
use keyreeve_model::metadata::Label;
use keyreeve_model::record::Revision;
use keyreeve_model::{Facts, NoticeKind, UnixMillis};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::forms::written;
use super::replies::remember_as_json;
use crate::catalogue::{self, Descriptor};
use crate::core::{Core, Engine};
use crate::error::{Code, Error};
use crate::escrow::EscrowHealth;
use crate::pipeline::{Approved, Operation, Outcome, Remember, Target};
use crate::sealing::Opened;

mod campaigns;
mod deposits;
mod keys;
mod recovery;

pub use campaigns::{CampaignReply, HandInRehearsal, OpenCampaign};
pub use deposits::{Deposit, DepositReply, Deposits};
pub use keys::{AcceptKey, MadeKey, MakeKey, VerifyReply, VerifyShare};
pub use recovery::{
    AbandonRecovery, Give, GiveReply, RECOVERY_CONSENTS, Recover, RecoverSpec, RecoveryReply, ShowRecovery,
};

pub(crate) use recovery::{RecoverForm, recover_form};

/// What keys are deposited under, and which.
pub(crate) struct Escrowing {
    pub(crate) policy: EscrowPolicy,
    pub(crate) key: EscrowKey,
    pub(crate) public: TransportPublic,
}

impl Core {
    /// Versions of the escrow key, by number.
    pub(crate) async fn escrow_keys(&self, opened: &Opened) -> Result<Vec<(EscrowKey, Revision)>, Error> {
        let mut keys = self.filed_all::<EscrowKey>(opened, None).await?;
        keys.sort_by_key(|(key, _)| key.version);
        Ok(keys)
    }

    /// The version that keys are deposited under, if there is one.
    pub(crate) async fn active_escrow_key(&self, opened: &Opened) -> Result<Option<(EscrowKey, Revision)>, Error> {
        let keys = self.escrow_keys(opened).await?;
        Ok(keys.into_iter().rfind(|(key, _)| key.state == EscrowKeyState::Active))
    }

    pub(crate) async fn escrow_policy(&self, opened: &Opened) -> Result<Option<(EscrowPolicy, Revision)>, Error> {
        self.filed::<EscrowPolicy>(opened, EscrowPolicy::row()).await
    }

    /// Which keys are deposited, and under what; nothing where one of the two is not said.
    pub(crate) async fn escrowing(&self, opened: &Opened) -> Result<Option<Escrowing>, Error> {
        let Some((policy, _)) = self.escrow_policy(opened).await? else { return Ok(None) };
        let Some((key, _)) = self.active_escrow_key(opened).await? else { return Ok(None) };
        let public = key.public()?;
        Ok(Some(Escrowing { policy, key, public }))
    }

    /// Who holds the shares of a version, and the revision of that record.
    pub(crate) async fn escrow_shares(&self, opened: &Opened, version: u32) -> Result<(SharesRecord, Revision), Error> {
        let row = row_id(SharePurpose::Escrow, &EscrowKey::shares_of(version));
        let found = self.filed::<SharesRecord>(opened, row).await?;
        found.ok_or_else(|| Error::internal("a version of the escrow key without a record of its shares"))
    }

    /// The newest campaign, if there was one.
    pub(crate) async fn newest_campaign(&self, opened: &Opened) -> Result<Option<(Campaign, Revision)>, Error> {
        let all = self.filed_all::<Campaign>(opened, None).await?;
        Ok(all.into_iter().max_by_key(|(campaign, _)| campaign.number))
    }
}

impl Engine {
    /// How escrow stood when it was last looked at.
    #[must_use]
    pub fn escrow_health(&self) -> EscrowHealth {
        self.core.escrow.health.lock().clone()
    }
}

/// A version of the escrow key and its shares.
#[derive(Clone, Debug)]
pub struct EscrowKeyReply {
    /// The version.
    pub key: EscrowKey,
    /// Who holds its shares.
    pub holders: ShareHolders,
    /// What agents answer to show that they have theirs.
    pub challenge: Option<String>,
}

/// Everything there is to know of escrow.
#[derive(Clone, Debug)]
pub struct EscrowReply {
    /// Which keys are escrowed; none where nobody said.
    pub policy: Option<EscrowPolicy>,
    /// Versions of the escrow key, oldest first.
    pub keys: Vec<EscrowKeyReply>,
    /// The newest campaign.
    pub campaign: Option<CampaignReply>,
    /// How the deposits were when they were last gone through.
    pub health: EscrowHealth,
    /// The instant.
    pub at: UnixMillis,
}

impl Remember for EscrowReply {}

/// Shows everything there is to know of escrow.
#[derive(Debug)]
pub struct Describe;

impl Operation for Describe {
    const DESCRIPTOR: &'static Descriptor = &catalogue::ESCROW_DESCRIBE;
    type Reply = EscrowReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<EscrowReply>, Error> {
        let opened = core.need_open()?;
        let mut keys = Vec::new();
        for (key, _) in core.escrow_keys(&opened).await? {
            let (shares, _) = core.escrow_shares(&opened, key.version).await?;
            let challenge = shares.current.challenge().map(|challenge| challenge.to_string());
            keys.push(EscrowKeyReply { key, holders: shares.current, challenge });
        }
        let set = |version: u32| keys.iter().find(|reply| reply.key.version == version).map(|reply| &reply.holders);
        let newest = core.newest_campaign(&opened).await?;
        let campaign = newest.map(|(campaign, _)| CampaignReply::of(campaign.clone(), set(campaign.escrow)));
        let policy = core.escrow_policy(&opened).await?.map(|(policy, _)| policy);
        let health = core.escrow.health.lock().clone();
        Ok(Outcome::reply(EscrowReply { policy, keys, campaign, health, at: approved.now() }))
    }
}

/// Says which keys are escrowed, in place of what was said before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetPolicy {
    /// A key is escrowed if one of them names it; none names none.
    pub rules: Vec<EscrowRule>,
    /// Why.
    pub reason: Label,
}

/// The policy as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyReply(pub EscrowPolicy);

remember_as_json!(PolicyReply);

impl Operation for SetPolicy {
    const DESCRIPTOR: &'static Descriptor = &catalogue::ESCROW_SET_POLICY;
    type Reply = PolicyReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    fn form(&self) -> Option<Value> {
        written(self)
    }

    fn reason(&self) -> Option<&Label> {
        Some(&self.reason)
    }

    async fn replaces(&self, core: &Core) -> Result<Option<i64>, Error> {
        let opened = core.need_open()?;
        Ok(Some(core.escrow_policy(&opened).await?.map_or(0, |(_, revision)| revision.0)))
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<PolicyReply>, Error> {
        if self.rules.len() > RULES_MAX {
            return Err(Error::invalid(format!("an escrow policy has at most {RULES_MAX} rules")));
        }
        if self.reason.is_empty() {
            return Err(Error::invalid("`reason` is needed: why are these keys escrowed, or are no more?"));
        }
        let opened = core.need_open()?;
        for named in self.rules.iter().filter_map(|rule| rule.keyring.as_ref()) {
            let found = core.ports.store.keyring_named(named).await?;
            found.ok_or_else(|| Error::new(Code::NotFound, format!("there is no keyring called `{named}`")))?;
        }
        let revision = core.escrow_policy(&opened).await?.map_or(Revision::FIRST, |(_, known)| known.next());
        let (at, by) = (approved.now(), approved.principal().name.clone());
        let policy = EscrowPolicy { rules: self.rules.clone(), reason: self.reason.clone(), at, by };
        let facts = Facts::default().with("by", &policy.by).with("rules", policy.rules.len());
        Ok(Outcome::reply(PolicyReply(policy.clone()))
            .changing(file(&opened.keys, revision, &policy))
            .telling(NoticeKind::EscrowChanged, "which keys are escrowed was changed", facts)
            .detail("rules", policy.rules.len())
            .detail("reason", &self.reason))
    }
}
