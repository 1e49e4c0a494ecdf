//! People with second factors, in a house whose rules of approval are in force.

use data_encoding::BASE32_NOPAD;
use keyreeve_engine::ops::approvals::{ProposalReply, Vote};
use keyreeve_engine::ops::mfa::{Answer, Answered, Invite, TotpFinish, TotpStart};
use keyreeve_engine::ops::rules::Enact;
use keyreeve_engine::{Code, Operation, Refused};
use keyreeve_identity::totp::{self, TotpHash};
use keyreeve_model::approval::{Decision, ProposalState};
use keyreeve_model::ids::ApprovalId;
use keyreeve_model::mfa::TotpAlgorithm;
use keyreeve_secret::SecretString;

use super::{House, Who, label, name};

/// Somebody with a second factor.
pub(crate) struct Member {
    pub(crate) name: &'static str,
    pub(crate) who: Who,
    seed: Vec<u8>,
}

/// Milliseconds after which a new code is shown.
const STEP: i64 = 30_000;

impl Member {
    /// Makes the person and enrols a second factor.
    pub(crate) async fn join(house: &House, person: &'static str, roles: &[&str]) -> Self {
        let who = house.welcome(House::person(person, roles)).await;
        Self::enrol(house, person, who).await
    }

    /// Enrols a second factor of somebody who is there.
    pub(crate) async fn enrol(house: &House, person: &'static str, who: Who) -> Self {
        let invitation = house.ask(Invite { principal: name(person), seconds: 600 }).await.code;
        Self::enrol_with(house, person, who, invitation).await
    }

    /// The same with an invitation.
    pub(crate) async fn enrol_with(house: &House, person: &'static str, who: Who, invitation: SecretString) -> Self {
        let start = TotpStart { label: label("phone"), algorithm: TotpAlgorithm::Sha1, invitation: Some(invitation) };
        let started = house.call(&who, start).await.unwrap().reply;
        let seed = BASE32_NOPAD.decode(started.seed.expose().as_bytes()).unwrap();
        let member = Self { name: person, who, seed };
        let finish = TotpFinish { credential: started.credential, code: member.code(house) };
        match house.call(&member.who, finish).await.unwrap().reply {
            Answered::Right(_) => member,
            Answered::Wrong(error) => panic!("{error:?}"),
        }
    }

    /// The code that is shown now.
    pub(crate) fn code(&self, house: &House) -> SecretString {
        let now = keyreeve_engine::Clock::now(&*house.clock);
        totp::code(&self.seed, TotpHash::Sha1, totp::step(now).unwrap())
    }

    /// Votes on what is shown, with a code that was not used before.
    pub(crate) async fn vote(&self, house: &House, id: ApprovalId, decision: Decision) -> Result<ProposalReply, Code> {
        house.clock.turn(STEP);
        let digest = house.shown(id).await.proposal.digest().to_owned();
        self.vote_on(house, id, decision, &digest, self.code(house)).await
    }

    pub(crate) async fn vote_on(
        &self,
        house: &House,
        approval: ApprovalId,
        decision: Decision,
        digest: &str,
        code: SecretString,
    ) -> Result<ProposalReply, Code> {
        let (digest, reason) = (digest.to_owned(), label("seen"));
        let answer = Answer::Code { credential: None, code };
        match house.call(&self.who, Vote { approval, decision, digest, reason, answer }).await {
            Ok(done) => match done.reply {
                Answered::Right(reply) => Ok(reply),
                Answered::Wrong(error) => Err(error.code()),
            },
            Err(refused) => Err(refused.error.code()),
        }
    }

    pub(crate) async fn approve(&self, house: &House, id: ApprovalId) -> ProposalReply {
        self.vote(house, id, Decision::Approve).await.unwrap_or_else(|code| panic!("{}: {code:?}", self.name))
    }

    /// The approval that a request waits as.
    pub(crate) async fn waits<O: Operation>(&self, house: &House, operation: O) -> ApprovalId {
        waiting(house.call(&self.who, operation).await.map(|_| ()))
    }
}

/// The approval that a refusal speaks of.
pub(crate) fn waiting(result: Result<(), Refused>) -> ApprovalId {
    let refused = result.expect_err("it does not wait");
    assert_eq!(refused.error.code(), Code::ApprovalNeeded, "{:?}", refused.error);
    refused.waiting.unwrap().approval
}

/// A house whose rules are in force, and its people.
pub(crate) struct Council {
    pub(crate) house: House,
    pub(crate) olga: Member,
    pub(crate) otto: Member,
    pub(crate) ann: Member,
    pub(crate) sue: Member,
    pub(crate) carl: Member,
    pub(crate) lea: Member,
    pub(crate) owen: Member,
}

impl Council {
    /// Two operators, a key administrator, and one person each for the roles that the shipped rules ask for.
    pub(crate) async fn gathered() -> Self {
        Self::gathered_in(House::new().await).await
    }

    pub(crate) async fn gathered_in(house: House) -> Self {
        let join = async |person, role| Member::join(&house, person, &[role]).await;
        let mut council = Self {
            olga: join("olga", "operator").await,
            otto: join("otto", "operator").await,
            ann: join("ann", "key-admin").await,
            sue: join("sue", "security-lead").await,
            carl: join("carl", "ciso").await,
            lea: join("lea", "legal").await,
            owen: join("owen", "system-owner").await,
            house,
        };
        // A server that is not one for trying things out. The developer is still there.
        council.house.settings.development = false;
        council.house.reopen().await;
        council
    }

    pub(crate) async fn new() -> Self {
        let council = Self::gathered().await;
        council.house.call(&council.olga.who, Enact).await.unwrap();
        council
    }

    /// What an operator asks for, and the people agree to.
    pub(crate) async fn agreed<O: Operation>(&self, make: impl Fn() -> O) -> O::Reply {
        let house = &self.house;
        let id = self.olga.waits(house, make()).await;
        for member in [&self.sue, &self.carl, &self.otto] {
            if house.shown(id).await.state() == ProposalState::Waiting {
                let _ = member.vote(house, id, Decision::Approve).await;
            }
        }
        match house.call(&self.olga.who, make()).await {
            Ok(done) => done.reply,
            Err(refused) => panic!("{}: {:?}", O::DESCRIPTOR.name, refused.error),
        }
    }
}
