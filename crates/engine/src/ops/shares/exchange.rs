//! The exchange of a root's shares for new ones, in two steps: the new set is made under a quorum of the present one
//! and handed out, and takes its place in one transaction. A crash at any point leaves exactly one set that opens.

use keyreeve_crypto::digest::sha256;
use keyreeve_model::DeploymentRecord;
use keyreeve_model::filed::file;
use keyreeve_model::holders::{
    Exchange, HandedOut, Holder, Person, Planned, RecipientRecord, ShareHolders, SharesRecord,
};
use keyreeve_model::metadata::Label;
use keyreeve_model::record::{Table, open, seal};
use keyreeve_model::{Change, Name, NoticeKind, UnixMillis};
use keyreeve_root::{Exchanging, Gathering};
use keyreeve_secret::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

use super::{HolderSpec, SharesReply, encrypt, facts, outcome};
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::pipeline::{Approved, Operation, Outcome, Remember, Target};
use crate::sealing::{Effect, Opened};

/// Begins an exchange. The present set goes on opening the root until [`Commit`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reshare {
    /// Which root; the first, unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Name>,
    /// How many of the new shares will be needed.
    pub threshold: u8,
    /// Who will hold one, in the order of their numbers.
    pub holders: Vec<HolderSpec>,
    /// Why.
    pub reason: Label,
}

fn named(planned: &[Planned]) -> String {
    let called = |planned: &Planned| format!("{} ({})", planned.person.name, planned.recipient.fingerprint);
    planned.iter().map(called).collect::<Vec<_>>().join(", ")
}

impl Operation for Reshare {
    const DESCRIPTOR: &'static Descriptor = &catalogue::ROOT_RESHARE;
    type Reply = SharesReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    fn form(&self) -> Option<Value> {
        serde_json::to_value(self).ok()
    }

    fn reason(&self) -> Option<&Label> {
        Some(&self.reason)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<SharesReply>, Error> {
        let (opened, now, root) = (core.need_open()?, approved.now(), core.meant(self.root.as_ref()));
        let (record, revision) = core.shares_of(&opened, &root).await?;
        if core.ports.roots.named(&root)?.share_set().is_none() {
            return Err(Error::invalid(format!("the shares of the root of trust `{root}` cannot be exchanged")));
        }
        SharesRecord::check_numbers(self.holders.len(), self.threshold)?;
        let planned: Vec<Planned> = self.holders.iter().map(|holder| holder.planned(now)).collect::<Result<_, _>>()?;
        let holders = named(&planned);
        let (by, reason) = (approved.principal().name.clone(), self.reason.clone());
        let threshold = self.threshold;
        let record = record.begin(Exchange { begun: now, by, reason, threshold, planned, handed_out: None })?;
        Ok(outcome(core, &opened, &record, revision, now)
            // Shares given to an exchange that was abandoned do not count for this one.
            .then(Effect::ForgetShares(root))
            .telling(NoticeKind::SharesChanged, "an exchange of shares began", facts(&record).with("holders", &holders))
            .detail("shares", self.holders.len())
            .detail("threshold", self.threshold)
            .detail("holders", holders)
            .detail("reason", &self.reason))
    }
}

/// What tells an exchange from another one: when and by whom it was begun, and who will hold which share.
fn exchanging(exchange: &Exchange) -> Result<Exchanging, Error> {
    let agreed = (exchange.begun, &exchange.by, exchange.threshold, &exchange.planned);
    let id = sha256(&serde_json::to_vec(&agreed).map_err(Error::internal)?);
    Ok(Exchanging { id, shares: exchange.shares(), threshold: exchange.threshold })
}

/// Gives one share of the present set towards an exchange. The last one needed makes the new set.
#[derive(Debug)]
pub struct Give {
    /// Which root; the first, unless said.
    pub root: Option<Name>,
    /// The share.
    pub share: SecretString,
    /// The exchange that it is given to, as when it was begun: another one that took its place is refused. Whichever is
    /// under way, unless said.
    pub exchange: Option<UnixMillis>,
}

/// How far an exchange has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GiveReply {
    /// Shares given.
    pub given: u8,
    /// Shares needed.
    pub needed: u8,
    /// Whether the new shares are made.
    pub made: bool,
}

impl Remember for GiveReply {}

impl Operation for Give {
    const DESCRIPTOR: &'static Descriptor = &catalogue::ROOT_RESHARE_GIVE;
    type Reply = GiveReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<GiveReply>, Error> {
        let (opened, now, name) = (core.need_open()?, approved.now(), core.meant(self.root.as_ref()));
        let (record, revision) = core.shares_of(&opened, &name).await?;
        let exchange = record.gathering()?;
        if self.exchange.is_some_and(|wanted| wanted != exchange.begun) {
            let text = format!(
                "the exchange that is under way was begun at {}, not the one that this share is given to: look who \
                 will hold the new shares before you give yours",
                exchange.begun
            );
            return Err(Error::new(Code::WrongState, text));
        }
        let root = core.ports.roots.named(&name)?;
        let gathered = root.exchange_share(exchanging(exchange)?, &self.share).await?;
        let new = match gathered {
            Gathering::Given { given, threshold } => {
                let outcome = Outcome::reply(GiveReply { given, needed: threshold, made: false });
                return Ok(outcome.detail("root", &name).detail("given", given).detail("needed", threshold));
            }
            Gathering::Made(new) => new,
        };
        let made = encrypt(core, &new.set, &new.shares, &exchange.planned, now)?;
        let needed = record.current.threshold;
        let record = record.hand_out(HandedOut { public: new.public, holders: made.holders, texts: made.texts })?;
        Ok(Outcome::reply(GiveReply { given: needed, needed, made: true })
            .changing(file(&opened.keys, revision, &record))
            .then(Effect::ForgetShares(name.clone()))
            .telling(NoticeKind::SharesChanged, "new shares were made and wait to be handed out", facts(&record))
            .detail("root", &name)
            .detail("given", needed)
            .detail("share_set_version", new.set.version))
    }
}

/// Hands out the new shares, each encrypted to its holder: those of an exchange, and those of the set that counts until
/// that has opened the root.
#[derive(Debug)]
pub struct Show {
    /// Which root; the first, unless said.
    pub root: Option<Name>,
}

/// A share for one holder, whom alone it can be read by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandedText {
    /// The number of the share.
    pub share: u8,
    /// Whose it is.
    pub person: Person,
    /// What it is encrypted to.
    pub recipient: RecipientRecord,
    /// The share, with armor.
    pub text: String,
}

/// Texts in the order of their numbers.
pub(crate) fn handed(planned: &[Planned], texts: &[String]) -> Vec<HandedText> {
    let numbered = (1..).zip(planned.iter().zip(texts));
    let one = |(share, (planned, text)): (u8, (&Planned, &String))| HandedText {
        share,
        person: planned.person.clone(),
        recipient: planned.recipient.clone(),
        text: text.clone(),
    };
    numbered.map(one).collect()
}

/// The texts of a set that has taken effect.
fn again(set: &ShareHolders, texts: &[String]) -> Vec<HandedText> {
    let one = |(holder, text): (&Holder, &String)| {
        let (person, recipient) = holder.person.clone().zip(holder.recipient.clone())?;
        Some(HandedText { share: holder.share, person, recipient, text: text.clone() })
    };
    set.holders.iter().zip(texts).filter_map(one).collect()
}

/// The new shares.
#[derive(Clone, Debug)]
pub struct ShowReply {
    /// A text for each holder.
    pub shares: Vec<HandedText>,
    /// What holders answer to show that they have theirs.
    pub challenge: Option<String>,
}

impl Remember for ShowReply {}

impl Operation for Show {
    const DESCRIPTOR: &'static Descriptor = &catalogue::ROOT_RESHARE_SHOW;
    type Reply = ShowReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, _approved: &Approved<Self>, core: &Core) -> Result<Outcome<ShowReply>, Error> {
        let (opened, root) = (core.need_open()?, core.meant(self.root.as_ref()));
        let (record, _) = core.shares_of(&opened, &root).await?;
        let (shares, set) = match (record.handed_out(), &record.kept) {
            (Ok(new), _) => {
                let planned = record.exchange.as_ref().map_or(&[][..], |exchange| &exchange.planned);
                (handed(planned, &new.texts), &new.holders)
            }
            (Err(_), Some(kept)) => (again(&record.current, &kept.texts), &record.current),
            (Err(refusal), None) => return Err(refusal.into()),
        };
        let (count, version) = (shares.len(), set.version);
        let challenge = set.challenge().map(|challenge| challenge.to_string());
        Ok(Outcome::reply(ShowReply { shares, challenge })
            .detail("root", &root)
            .detail("shares", count)
            .detail("share_set_version", version))
    }
}

/// Puts the new set in the place of the present one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commit {
    /// Which root; the first, unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Name>,
    /// Holders who did not prove to have their new share, and whom the caller answers for; besides as many as open the
    /// root, who must have.
    pub confirmed: BTreeSet<Name>,
}

impl Commit {
    /// The deployment's record with the root's new parameters.
    async fn deployment(
        &self,
        core: &Core,
        opened: &Opened,
        root: &Name,
        public: Value,
    ) -> Result<(Change, DeploymentRecord), Error> {
        let sealed = core.ports.store.deployment().await?;
        let sealed = sealed.ok_or_else(|| Error::internal("an open server without a deployment"))?;
        let id = opened.deployment.id;
        let mut record: DeploymentRecord = open(&opened.keys, Table::Deployment, id.as_bytes(), &sealed)?;
        let mut roots = record.roots();
        let joined = roots.get_mut(root);
        joined
            .ok_or_else(|| Error::new(Code::NotFound, format!("no root of trust called `{root}` was joined")))?
            .public = public;
        record.set_roots(roots);
        let revision = sealed.revision.next();
        let sealed = seal(&opened.keys, Table::Deployment, id.as_bytes(), revision, &record);
        Ok((Change::PutDeployment(sealed), record))
    }
}

impl Operation for Commit {
    const DESCRIPTOR: &'static Descriptor = &catalogue::ROOT_RESHARE_COMMIT;
    type Reply = SharesReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    fn form(&self) -> Option<Value> {
        serde_json::to_value(self).ok()
    }

    /// The exchange, as its beginning: consent to one is none to another that took its place.
    async fn replaces(&self, core: &Core) -> Result<Option<i64>, Error> {
        let (record, _) = core.shares_of(&*core.need_open()?, &core.meant(self.root.as_ref())).await?;
        Ok(record.exchange.map(|exchange| exchange.begun.0))
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<SharesReply>, Error> {
        let (opened, now, name) = (core.need_open()?, approved.now(), core.meant(self.root.as_ref()));
        let (record, revision) = core.shares_of(&opened, &name).await?;
        let before = record.current.version;
        let (record, public) = record.commit(&self.confirmed, now, &approved.principal().name)?;
        let public = core.ports.roots.named(&name)?.replacement(&public, now)?;
        let (change, deployment) = self.deployment(core, &opened, &name, public.clone()).await?;
        let confirmed: Vec<&str> = self.confirmed.iter().map(Name::as_str).collect();
        let (text, facts) = ("the shares of a root of trust were exchanged", facts(&record));
        let facts = facts.with("by", &approved.principal().name).with("confirmed", confirmed.join(", "));
        Ok(outcome(core, &opened, &record, revision, now)
            .changing(change)
            // Heads of backups name the new set from now on.
            .then(Effect::Rooted(Box::new(deployment)))
            .then(Effect::AdoptShares(name, public))
            .telling(NoticeKind::SharesChanged, text, facts)
            .detail("share_set_version", record.current.version)
            .detail("replaced_version", before)
            .detail("shares", record.current.holders.len())
            .detail("threshold", record.current.threshold)
            .detail("confirmed", confirmed.join(", ")))
    }
}

/// Gives an exchange up: the present set stays.
#[derive(Debug)]
pub struct Abandon {
    /// Which root; the first, unless said.
    pub root: Option<Name>,
    /// Why.
    pub reason: Label,
}

impl Operation for Abandon {
    const DESCRIPTOR: &'static Descriptor = &catalogue::ROOT_RESHARE_ABANDON;
    type Reply = SharesReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    fn reason(&self) -> Option<&Label> {
        Some(&self.reason)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<SharesReply>, Error> {
        let (opened, now, root) = (core.need_open()?, approved.now(), core.meant(self.root.as_ref()));
        let (record, revision) = core.shares_of(&opened, &root).await?;
        let record = record.abandon()?;
        Ok(outcome(core, &opened, &record, revision, now)
            .then(Effect::ForgetShares(root))
            .telling(NoticeKind::SharesChanged, "an exchange of shares was given up", facts(&record))
            .detail("reason", &self.reason))
    }
}

impl Core {
    /// Lets a root follow what was committed, or forget what was given.
    pub(crate) async fn adopt_shares(&self, root: &Name, public: Option<&Value>) -> Result<(), Error> {
        let root = self.ports.roots.named(root)?;
        match public {
            Some(public) => Ok(root.adopt_shares(public).await?),
            None => {
                root.forget_shares().await;
                Ok(())
            }
        }
    }
}
