//! The key that others are deposited under: made, split, encrypted to its agents, and forgotten; used once they have
//! shown to have their shares.

use keyreeve_crypto::escrow::{METHOD, NewEscrowKey};
use keyreeve_crypto::shamir;
use keyreeve_model::escrow::{EscrowKey, EscrowKeyState, Sealed};
use keyreeve_model::filed::{file, unfile};
use keyreeve_model::holders::{Planned, ShareProof, SharePurpose, SharesRecord, SharesRefusal};
use keyreeve_model::metadata::Label;
use keyreeve_model::record::Revision;
use keyreeve_model::{Change, Facts, Name, NoticeKind};
use keyreeve_secret::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::forms::written;
use super::super::shares::{HandedText, HolderSpec, encrypt, handed, set_of};
use super::super::usable::{compute, not_allowed};
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::pipeline::{Approved, Operation, Outcome, Remember, Target};
use crate::sealing::Opened;

/// Makes a new version of the escrow key. Keys are deposited under it once it is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MakeKey {
    /// How many agents it takes to open what is deposited.
    pub threshold: u8,
    /// The agents, in the order of their shares' numbers.
    pub agents: Vec<HolderSpec>,
    /// Why.
    pub reason: Label,
}

/// A version that was made, and the shares for its agents, whom alone they can be read by.
#[derive(Clone, Debug)]
pub struct MadeKey {
    /// The version.
    pub version: u32,
    /// SHA-256 of the public half, in hexadecimal.
    pub fingerprint: String,
    /// A text for each agent.
    pub shares: Vec<HandedText>,
    /// What agents answer to show that they have theirs.
    pub challenge: Option<String>,
}

/// Not kept: the shares are handed out once.
impl Remember for MadeKey {}

/// What a new version consists of.
struct New {
    key: EscrowKey,
    shares: SharesRecord,
    texts: Vec<String>,
}

impl MakeKey {
    fn planned(&self, approved: &Approved<Self>) -> Result<Vec<Planned>, Error> {
        let now = approved.now();
        let planned: Vec<Planned> = self.agents.iter().map(|agent| agent.planned(now)).collect::<Result<_, _>>()?;
        SharesRecord::check_planned(&planned, self.threshold)?;
        if planned.len() < 2 {
            return Err(Error::invalid("an escrow has 2 agents at least: nobody opens deposits alone"));
        }
        if self.reason.is_empty() {
            return Err(Error::invalid("`reason` is needed: why is a new escrow key made?"));
        }
        Ok(planned)
    }

    /// Makes the key. What opens its private half is in the encrypted shares from here on, and nowhere else.
    async fn make(
        &self,
        approved: &Approved<Self>,
        core: &Core,
        version: u32,
        planned: &[Planned],
    ) -> Result<New, Error> {
        let (now, random) = (approved.now(), Arc::clone(&core.ports.random));
        let (threshold, count) = (self.threshold, u8::try_from(planned.len()).unwrap_or(u8::MAX));
        let made = compute(true, move || {
            let new = NewEscrowKey::generate(&random)?;
            let fingerprint = new.public.fingerprint().to_string();
            let private = new.sealed(&random, &EscrowKey::context(version, &fingerprint))?;
            let shares = shamir::split(&random, &new.secret, (threshold, count), version);
            Ok::<_, keyreeve_crypto::CryptoError>((new.public, fingerprint, private, shares))
        });
        let (public, fingerprint, private, shares) = made.await??;
        let shares = shares.map_err(|error| Error::invalid(error.to_string()))?;
        let shares: Vec<SecretString> = shares.iter().map(shamir::Share::to_text).collect();
        let made = encrypt(core, &set_of(&shares)?, &shares, planned, now)?;
        let (by, reason) = (approved.principal().name.clone(), self.reason.clone());
        let key = EscrowKey {
            version,
            state: EscrowKeyState::Waiting,
            method: METHOD,
            public: public.to_pem(),
            fingerprint,
            private: Sealed(private),
            made: now,
            by,
            reason,
            accepted: None,
        };
        let (purpose, of) = (SharePurpose::Escrow, EscrowKey::shares_of(version));
        let shares = SharesRecord { purpose, of, current: made.holders, exchange: None, reminded: None, kept: None };
        Ok(New { key, shares, texts: made.texts })
    }
}

impl Core {
    /// What takes versions away that nobody accepted.
    async fn unaccepted_gone(&self, opened: &Opened, keys: &[(EscrowKey, Revision)]) -> Result<Vec<Change>, Error> {
        let mut changes = Vec::new();
        for (key, revision) in keys.iter().filter(|(key, _)| key.state == EscrowKeyState::Waiting) {
            let (shares, known) = self.escrow_shares(opened, key.version).await?;
            changes.extend([unfile(*revision, key), unfile(known, &shares)]);
        }
        Ok(changes)
    }
}

impl Operation for MakeKey {
    const DESCRIPTOR: &'static Descriptor = &catalogue::ESCROW_MAKE_KEY;
    type Reply = MadeKey;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    fn form(&self) -> Option<Value> {
        written(self)
    }

    fn reason(&self) -> Option<&Label> {
        Some(&self.reason)
    }

    /// Without making the key.
    async fn rehearse(&self, approved: &Approved<Self>, _core: &Core) -> Result<bool, Error> {
        self.planned(approved).map(|_| true)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<MadeKey>, Error> {
        let (opened, planned) = (core.need_open()?, self.planned(approved)?);
        let keys = core.escrow_keys(&opened).await?;
        let version = keys.last().map_or(1, |(key, _)| key.version + 1);
        let New { key, shares, texts } = self.make(approved, core, version, &planned).await?;
        let algorithm = key.public()?.algorithm();
        if !core.settings.algorithms.may_apply(algorithm, approved.now().0) {
            return Err(not_allowed(algorithm));
        }
        let agents: Vec<&str> = planned.iter().map(|planned| planned.person.name.as_str()).collect();
        let agents = agents.join(", ");
        let challenge = shares.current.challenge().map(|challenge| challenge.to_string());
        let facts = Facts::default().with("version", version).with("agents", &agents).with("by", &key.by);
        let fingerprint = key.fingerprint.clone();
        let reply = MadeKey { version, fingerprint: fingerprint.clone(), shares: handed(&planned, &texts), challenge };
        let mut outcome = Outcome::reply(reply);
        outcome.changes = core.unaccepted_gone(&opened, &keys).await?;
        Ok(outcome
            .changing(file(&opened.keys, Revision::FIRST, &key))
            .changing(file(&opened.keys, Revision::FIRST, &shares))
            .telling(NoticeKind::EscrowChanged, "a new escrow key was made and waits for its agents", facts)
            .detail("escrow_key", version)
            .detail("fingerprint", fingerprint)
            .detail("shares", planned.len())
            .detail("threshold", self.threshold)
            .detail("holders", agents)
            .detail("reason", &self.reason))
    }
}

/// Begins to deposit keys under the version that waits. As many agents as open it have proved to have their shares;
/// deposits under the version before are made anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptKey {
    /// Agents who did not prove to have their share, and whom the caller answers for.
    pub confirmed: BTreeSet<Name>,
}

impl Operation for AcceptKey {
    const DESCRIPTOR: &'static Descriptor = &catalogue::ESCROW_ACCEPT_KEY;
    type Reply = ();

    fn target(&self) -> Target<'_> {
        Target::System
    }

    fn form(&self) -> Option<Value> {
        written(self)
    }

    async fn replaces(&self, core: &Core) -> Result<Option<i64>, Error> {
        let opened = core.need_open()?;
        Ok(core.escrow_keys(&opened).await?.last().map(|(key, _)| i64::from(key.version)))
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<()>, Error> {
        let (opened, now) = (core.need_open()?, approved.now());
        let keys = core.escrow_keys(&opened).await?;
        let waiting = keys.iter().find(|(key, _)| key.state == EscrowKeyState::Waiting);
        let none = || {
            let text = "no escrow key waits to be accepted: `keyreeve escrow key make` makes one";
            Error::new(Code::WrongState, text)
        };
        let (waiting, revision) = waiting.ok_or_else(none)?;
        let (mut shares, known) = core.escrow_shares(&opened, waiting.version).await?;
        shares.current.accept(&self.confirmed, now, &approved.principal().name)?;
        let active = EscrowKey { state: EscrowKeyState::Active, accepted: Some(now), ..waiting.clone() };
        let mut outcome = Outcome::reply(()).changing(file(&opened.keys, revision.next(), &active)).changing(file(
            &opened.keys,
            known.next(),
            &shares,
        ));
        for (before, revision) in keys.iter().filter(|(key, _)| key.state == EscrowKeyState::Active) {
            let replaced = EscrowKey { state: EscrowKeyState::Replaced, ..before.clone() };
            outcome = outcome
                .changing(file(&opened.keys, revision.next(), &replaced))
                .detail("replaced_version", before.version);
        }
        let confirmed: Vec<&str> = self.confirmed.iter().map(Name::as_str).collect();
        let facts = Facts::default().with("version", active.version).with("by", &approved.principal().name);
        Ok(outcome
            .telling(NoticeKind::EscrowChanged, "keys are deposited under a new escrow key", facts)
            .detail("escrow_key", active.version)
            .detail("confirmed", confirmed.join(", ")))
    }
}

/// Takes a proof of an agent; whoever brings it, it speaks for itself.
#[derive(Debug)]
pub struct VerifyShare {
    /// The proof.
    pub proof: ShareProof,
}

/// Whose share was proved.
#[derive(Clone, Debug)]
pub struct VerifyReply {
    /// The number of the share.
    pub share: u8,
    /// Its agent.
    pub agent: Option<Name>,
    /// The version of the escrow key.
    pub version: u32,
}

impl Remember for VerifyReply {}

impl Operation for VerifyShare {
    const DESCRIPTOR: &'static Descriptor = &catalogue::ESCROW_VERIFY_SHARE;
    type Reply = VerifyReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<VerifyReply>, Error> {
        let (opened, now) = (core.need_open()?, approved.now());
        let mut found = None;
        for (key, _) in core.escrow_keys(&opened).await? {
            let (shares, revision) = core.escrow_shares(&opened, key.version).await?;
            if shares.current.set == self.proof.set {
                found = Some((key.version, shares, revision));
            }
        }
        let (version, shares, revision) = found.ok_or(SharesRefusal::OtherSet)?;
        let (shares, share) = shares.prove(&self.proof, now, &approved.principal().name)?;
        let agent = shares.current.holders.iter().find(|holder| holder.share == share);
        let agent = agent.and_then(|holder| holder.person.as_ref()).map(|person| person.name.clone());
        let called = agent.as_ref().map_or_else(String::new, Name::to_string);
        let mut outcome = Outcome::reply(VerifyReply { share, agent, version }).changing(file(
            &opened.keys,
            revision.next(),
            &shares,
        ));
        if let Some((campaign, known)) = core.newest_campaign(&opened).await?
            && campaign.escrow == version
            && campaign.is_open()
        {
            let next = campaign.complete(&shares.current, now);
            if !next.is_open() {
                outcome = outcome.changing(file(&opened.keys, known.next(), &next)).detail("verified", true);
            }
        }
        Ok(outcome.detail("escrow_key", version).detail("share", share).detail("holder", called))
    }
}
