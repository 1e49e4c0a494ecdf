//! Legal holds: what they cover cannot be destroyed without Legal (requirement A6).

use keyreeve_model::approval::{Decision, Proposal, Vote};
use keyreeve_model::hold::{Hold, HoldRefusal, HoldScope, Release as Released};
use keyreeve_model::ids::HoldId;
use keyreeve_model::metadata::Label;
use keyreeve_model::record::Revision;
use keyreeve_model::{Facts, KeyId, KeyringId, NoticeKind, UnixMillis, filed};
use keyreeve_store::Page;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Listing, PAGE_MAX};
use crate::access::Stale;
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::keys::{HeldKey, KeyRef, KeyringRef};
use crate::pipeline::{Approved, CaseKind, CaseRef, Operation, Outcome, Target};
use crate::sealing::{Effect, Guard, Opened};

/// The role whose consent a destruction under a hold needs.
const LEGAL: &str = "legal";

impl From<HoldRefusal> for Error {
    fn from(refusal: HoldRefusal) -> Self {
        let code = match refusal {
            HoldRefusal::NoMatter | HoldRefusal::NoReason => Code::InvalidRequest,
            HoldRefusal::Released { .. } => Code::WrongState,
        };
        Self::new(code, refusal.to_string())
    }
}

/// A hold.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HoldReply(pub Hold);

super::replies::remember_as_json!(HoldReply);

/// Places a hold on a key.
#[derive(Debug)]
pub struct Place {
    /// The key.
    pub key: KeyRef,
    /// The case it is for.
    pub matter: Label,
}

/// Places a hold on every key of a keyring.
#[derive(Debug)]
pub struct PlaceOnKeyring {
    /// The keyring.
    pub keyring: KeyringRef,
    /// The case it is for.
    pub matter: Label,
}

impl Core {
    async fn place<O: Operation<Reply = HoldReply>>(
        &self,
        approved: &Approved<O>,
        scope: HoldScope,
        matter: &Label,
    ) -> Result<Outcome<HoldReply>, Error> {
        let (opened, now) = (self.need_open()?, approved.now());
        self.refuse_borrowed(approved)?;
        // A destruction that is under way ends first; the next one sees this hold.
        let alone = Arc::clone(&self.holding).write_owned().await;
        let id = HoldId::new(now, self.id_random()?);
        let hold = Hold::place(id, scope, matter.clone(), self.actor_of(approved.principal())?, now)?;
        let what = match scope {
            HoldScope::Key(key) => key.to_string(),
            HoldScope::Keyring(ring) => ring.to_string(),
        };
        let facts = Facts::default().with("hold", id).with("on", &what).with("matter", matter);
        let facts = facts.with("by", &approved.principal().name);
        Ok(Outcome::reply(HoldReply(hold.clone()))
            .changing(filed::file(&opened.keys, Revision::FIRST, &hold))
            .then(Effect::Reload(Stale::cases()))
            .then(Effect::Hold(Guard::Exclusive(alone)))
            .telling(NoticeKind::HoldChanged, format!("a hold was placed on {what}"), facts)
            .detail("hold", id)
            .detail("matter", matter))
    }
}

impl Operation for Place {
    const DESCRIPTOR: &'static Descriptor = &catalogue::HOLD_PLACE;
    type Reply = HoldReply;

    fn target(&self) -> Target<'_> {
        Target::Key(&self.key)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<HoldReply>, Error> {
        let key = approved.key()?;
        if key.record.state(approved.now()).is_destroyed() {
            return Err(Error::new(Code::WrongState, "the key is destroyed: there is nothing left to hold"));
        }
        core.place(approved, HoldScope::Key(key.record.id()), &self.matter).await
    }
}

impl Operation for PlaceOnKeyring {
    const DESCRIPTOR: &'static Descriptor = &catalogue::HOLD_PLACE_ON_KEYRING;
    type Reply = HoldReply;

    fn target(&self) -> Target<'_> {
        Target::Keyring(&self.keyring)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<HoldReply>, Error> {
        let keyring = approved.resource().keyring()?.record.id;
        core.place(approved, HoldScope::Keyring(keyring), &self.matter).await
    }
}

/// Ends a hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The hold.
    pub hold: HoldId,
    /// Why.
    pub reason: Label,
}

impl Operation for Release {
    const DESCRIPTOR: &'static Descriptor = &catalogue::HOLD_RELEASE;
    type Reply = HoldReply;

    fn target(&self) -> Target<'_> {
        Target::Case(CaseRef::Hold(self.hold))
    }

    fn form(&self) -> Option<serde_json::Value> {
        serde_json::to_value(self).ok()
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<HoldReply>, Error> {
        let (opened, now) = (core.need_open()?, approved.now());
        core.refuse_borrowed(approved)?;
        let found = core.filed::<Hold>(&opened, self.hold).await?;
        let (hold, revision) = found.ok_or_else(|| Error::not_found("hold"))?;
        let by = core.actor_of(approved.principal())?;
        let released = Released { at: now, by, reason: self.reason.clone(), approval: None };
        let hold = hold.release(released)?;
        let facts = Facts::default().with("hold", self.hold).with("matter", hold.matter());
        let facts = facts.with("by", &approved.principal().name).with("reason", &self.reason);
        Ok(Outcome::reply(HoldReply(hold.clone()))
            .changing(filed::file(&opened.keys, revision.next(), &hold))
            .then(Effect::Reload(Stale::cases()))
            .telling(NoticeKind::HoldChanged, format!("the hold {} was released", self.hold), facts)
            .detail("hold", self.hold)
            .detail("matter", hold.matter())
            .detail("reason", &self.reason))
    }
}

/// Lists holds, oldest first.
#[derive(Debug)]
pub struct List {
    /// Only those placed on this key, or on its keyring.
    pub key: Option<KeyRef>,
    /// Those that were released as well.
    pub released: bool,
    /// Only those after this one.
    pub after: Option<HoldId>,
    /// 1 to 1,000.
    pub limit: u32,
}

impl List {
    /// What a hold must cover to be listed.
    async fn covering(&self, core: &Core) -> Result<Option<(KeyId, KeyringId)>, Error> {
        let Some(wanted) = &self.key else { return Ok(None) };
        let key = core.find_key(wanted).await?.ok_or_else(|| Error::not_found("key"))?;
        Ok(Some((key.record.id(), key.keyring.record.id)))
    }
}

impl Operation for List {
    const DESCRIPTOR: &'static Descriptor = &catalogue::HOLD_LIST;
    type Reply = Listing<HoldReply>;

    fn target(&self) -> Target<'_> {
        Target::Case(CaseRef::All(CaseKind::Hold))
    }

    async fn execute(&self, _approved: &Approved<Self>, core: &Core) -> Result<Outcome<Listing<HoldReply>>, Error> {
        let (opened, limit) = (core.need_open()?, self.limit.clamp(1, PAGE_MAX));
        let covering = self.covering(core).await?;
        let wanted = |hold: &Hold| {
            (self.released || hold.is_in_force())
                && covering.is_none_or(|(key, keyring)| hold.scope().covers(key, keyring))
        };
        let (mut items, mut after) = (Vec::new(), self.after.map(Into::into));
        // Rows that are not wanted do not count: the page is full, or there are no more.
        let next = loop {
            let page = Page { after, limit: PAGE_MAX };
            let (rows, next) = core.filed_page::<Hold>(&opened, None, page).await?;
            items.extend(rows.into_iter().map(|(hold, _)| hold).filter(&wanted).map(HoldReply));
            if items.len() > limit as usize {
                items.truncate(limit as usize);
                break items.last().map(|hold: &HoldReply| hold.0.id().to_string());
            }
            after = next;
            if after.is_none() {
                break None;
            }
        };
        let count = items.len();
        Ok(Outcome::reply(Listing { items, next }).detail("listed", count))
    }
}

impl Core {
    /// Refuses to destroy what a hold covers, and keeps new holds waiting until the destruction is done. The holds that
    /// Legal knew of when it consented to this destruction do not count.
    pub(crate) async fn refuse_under_hold(&self, opened: &Opened, key: &HeldKey) -> Result<Guard, Error> {
        let none_comes = Arc::clone(&self.holding).read_owned().await;
        if let Some(hold) = self.hold_against(opened, key) {
            return Err(under_hold(hold));
        }
        Ok(Guard::Shared(none_comes))
    }

    /// The holds in spite of which a destruction may be scheduled: those in force when Legal consented to it.
    ///
    /// # Errors
    /// [`Code::UnderHold`] where there is one that Legal did not consent in spite of.
    pub(crate) async fn despite_holds<O: Operation>(
        &self,
        opened: &Opened,
        key: &HeldKey,
        approved: &Approved<O>,
    ) -> Result<BTreeSet<HoldId>, Error> {
        let access = opened.access();
        let holds: BTreeSet<HoldId> = access.cases().holds_on(key.record.id(), key.keyring.record.id).collect();
        if holds.is_empty() {
            return Ok(holds);
        }
        let consented = match approved.approval() {
            Some(approval) => legal_consented(&self.proposal(opened, approval).await?.0),
            None => None,
        };
        for id in &holds {
            let placed = self.filed::<Hold>(opened, *id).await?.map(|(hold, _)| hold.placed());
            if placed.is_none() || placed > consented {
                return Err(under_hold(*id));
            }
        }
        Ok(holds)
    }

    /// A hold that keeps a key from being destroyed as it was scheduled.
    pub(crate) fn hold_against(&self, opened: &Opened, key: &HeldKey) -> Option<HoldId> {
        let access = opened.access();
        let known = key.record.destruction().map(|pending| &pending.holds);
        let mut holds = access.cases().holds_on(key.record.id(), key.keyring.record.id);
        holds.find(|hold| known.is_none_or(|known| !known.contains(hold)))
    }
}

/// When Legal consented, if it did.
fn legal_consented(proposal: &Proposal) -> Option<UnixMillis> {
    let counts = |vote: &&Vote| {
        vote.decision == Decision::Approve
            && !vote.superseded
            && vote.by.roles.iter().any(|role| role.as_str() == LEGAL)
    };
    proposal.votes().iter().filter(counts).map(|vote| vote.at).max()
}

fn under_hold(hold: HoldId) -> Error {
    let text = format!("the key is under the hold {hold}: it is destroyed with the consent of Legal, or once released");
    Error::new(Code::UnderHold, text)
}
