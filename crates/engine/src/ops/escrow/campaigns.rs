//! Campaigns: each quarter every agent shows the own share, and a rehearsal shows that enough of them still give the
//! private half of the escrow key, which nobody sees.

use keyreeve_crypto::escrow::{challenge, is_answer};
use keyreeve_model::escrow::{CAMPAIGN_DAYS, Campaign, Rehearsed, Sealed};
use keyreeve_model::filed::file;
use keyreeve_model::holders::ShareHolders;
use keyreeve_model::record::Revision;
use keyreeve_model::{Facts, NoticeKind};

use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::pipeline::{Approved, Operation, Outcome, Remember, Target};

/// A campaign and what it lacks.
#[derive(Clone, Debug)]
pub struct CampaignReply {
    /// The campaign.
    pub campaign: Campaign,
    /// What is missing, in words.
    pub missing: Vec<String>,
    /// What agents answer to show that they have their shares.
    pub challenge: Option<String>,
}

impl Remember for CampaignReply {}

impl CampaignReply {
    pub(super) fn of(campaign: Campaign, set: Option<&ShareHolders>) -> Self {
        let missing = set.filter(|_| campaign.is_open()).map_or_else(Vec::new, |set| campaign.missing(set));
        let challenge = set.and_then(ShareHolders::challenge).map(|challenge| challenge.to_string());
        Self { campaign, missing, challenge }
    }
}

/// Asks all agents to show their shares, and for a rehearsal. A campaign that goes on is closed, unverified.
#[derive(Debug)]
pub struct OpenCampaign;

impl Operation for OpenCampaign {
    const DESCRIPTOR: &'static Descriptor = &catalogue::ESCROW_OPEN_CAMPAIGN;
    type Reply = CampaignReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<CampaignReply>, Error> {
        let (opened, now) = (core.need_open()?, approved.now());
        let none = || {
            let text = "there is no escrow key in use: `keyreeve escrow key make` and `key accept` come first";
            Error::new(Code::WrongState, text)
        };
        let (key, _) = core.active_escrow_key(&opened).await?.ok_or_else(none)?;
        let (shares, known) = core.escrow_shares(&opened, key.version).await?;
        let former = core.newest_campaign(&opened).await?;
        let number = former.as_ref().map_or(1, |(former, _)| former.number + 1);
        let first = former.as_ref().is_none_or(|(former, _)| former.escrow != key.version);
        let context = Campaign::context(number, key.version);
        let asked = challenge(&core.ports.random, &key.public()?, &context)?;
        let shares = shares.ask(now, core.ports.random.nonce_array()?);
        let campaign = Campaign {
            number,
            escrow: key.version,
            opened: now,
            since: if first { key.made } else { now },
            by: approved.principal().name.clone(),
            due: now.plus_days(CAMPAIGN_DAYS),
            challenge: Sealed(asked.sealed),
            expected: asked.expected,
            rehearsed: None,
            closed: None,
            verified: false,
            told: None,
        };
        let reply = CampaignReply::of(campaign.clone(), Some(&shares.current));
        let facts = Facts::default()
            .with("campaign", number)
            .with("due", campaign.due)
            .with("missing", reply.missing.join(", "))
            .with("challenge", reply.challenge.clone().unwrap_or_default());
        let mut outcome = Outcome::reply(reply)
            .changing(file(&opened.keys, Revision::FIRST, &campaign))
            .changing(file(&opened.keys, known.next(), &shares));
        if let Some((former, revision)) = former.filter(|(former, _)| former.is_open()) {
            let closed = Campaign { closed: Some(now), ..former };
            outcome =
                outcome.changing(file(&opened.keys, revision.next(), &closed)).detail("unverified", closed.number);
        }
        Ok(outcome
            .telling(NoticeKind::EscrowCampaign, "escrow agents are asked to show their shares", facts)
            .detail("campaign", number)
            .detail("escrow_key", key.version)
            .detail("due", campaign.due))
    }
}

/// Takes the answer of a rehearsal: whoever has it had the private half together.
#[derive(Debug)]
pub struct HandInRehearsal {
    /// The campaign.
    pub number: u32,
    /// What the sealed process answered.
    pub answer: [u8; 32],
}

impl Operation for HandInRehearsal {
    const DESCRIPTOR: &'static Descriptor = &catalogue::ESCROW_HAND_IN_REHEARSAL;
    type Reply = CampaignReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<CampaignReply>, Error> {
        let (opened, now) = (core.need_open()?, approved.now());
        let newest = core.newest_campaign(&opened).await?;
        let over = || {
            let text = "this campaign is over, or never was: `keyreeve escrow status` shows the one that goes on";
            Error::new(Code::WrongState, text)
        };
        let newest = newest.filter(|(campaign, _)| campaign.number == self.number && campaign.is_open());
        let (campaign, revision) = newest.ok_or_else(over)?;
        if !is_answer(&campaign.expected, &self.answer) {
            let text = "this is not the answer to the rehearsal of this campaign: the shares gave another key";
            return Err(Error::new(Code::InvalidShare, text));
        }
        let by = approved.principal().name.clone();
        let rehearsed = campaign.rehearsed.clone().unwrap_or(Rehearsed { at: now, by });
        let (shares, _) = core.escrow_shares(&opened, campaign.escrow).await?;
        let campaign = Campaign { rehearsed: Some(rehearsed), ..campaign }.complete(&shares.current, now);
        let (number, verified) = (campaign.number, campaign.verified);
        Ok(Outcome::reply(CampaignReply::of(campaign.clone(), Some(&shares.current)))
            .changing(file(&opened.keys, revision.next(), &campaign))
            .detail("campaign", number)
            .detail("escrow_key", campaign.escrow)
            .detail("verified", verified))
    }
}
