//! Shares of roots of trust: who holds them, proofs that they are still there, and their exchange for new ones
//! (requirement T4).
//!
//! No share is in an answer: new ones are encrypted to their holders here, and what a holder gives goes to the root
//! alone.

use keyreeve_crypto::recipients::{Recipient, RecipientError};
use keyreeve_crypto::shamir::Share;
use keyreeve_model::filed::file;
use keyreeve_model::holders::{
    Asked, BadShareText, Holder, Person, Planned, RECIPIENT_MAX, RecipientRecord, ShareHolders, ShareKey, ShareProof,
    SharePurpose, ShareSetId, SharesRecord, SharesRefusal, row_id,
};
use keyreeve_model::record::Revision;
use keyreeve_model::roots::Need;
use keyreeve_model::{Facts, Name, UnixMillis};
use keyreeve_root::ShareSet;
use keyreeve_secret::SecretString;
use serde::{Deserialize, Serialize};

use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::{Code, Error};
use crate::pipeline::{Approved, Operation, Outcome, Remember, Target};
use crate::sealing::Opened;

mod exchange;
mod giving;

pub(crate) use exchange::handed;
pub use exchange::{Abandon, Commit, Give, GiveReply, HandedText, Reshare, Show, ShowReply};
pub(crate) use giving::{Given, planned};

impl From<SharesRefusal> for Error {
    fn from(refusal: SharesRefusal) -> Self {
        let code = match refusal {
            SharesRefusal::Numbers
            | SharesRefusal::Twice { .. }
            | SharesRefusal::OneKey { .. }
            | SharesRefusal::NoReason => Code::InvalidRequest,
            SharesRefusal::NoSuchShare { .. } | SharesRefusal::NoSuchHolder { .. } => Code::NotFound,
            SharesRefusal::UnderWay { .. }
            | SharesRefusal::NotUnderWay
            | SharesRefusal::Made
            | SharesRefusal::NotMade
            | SharesRefusal::Unproved { .. }
            | SharesRefusal::TooFewProved { .. }
            | SharesRefusal::NoKeys
            | SharesRefusal::NotAsked => Code::WrongState,
            SharesRefusal::OtherSet | SharesRefusal::NotProved => Code::InvalidShare,
        };
        Self::new(code, refusal.to_string())
    }
}

impl From<BadShareText> for Error {
    fn from(bad: BadShareText) -> Self {
        Self::invalid(bad.to_string())
    }
}

/// Somebody who shall hold a share, and the public key that it will be encrypted to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HolderSpec {
    /// Who.
    pub person: Person,
    /// An age recipient, or an OpenPGP certificate with armor.
    pub key: String,
    /// What people compared: the age recipient itself, or the certificate's fingerprint.
    pub fingerprint: String,
}

impl HolderSpec {
    /// Reads the key, and refuses one that is not the one that was compared.
    pub(crate) fn planned(&self, now: UnixMillis) -> Result<Planned, Error> {
        let name = &self.person.name;
        let refused = |text: String| Error::invalid(format!("the key of `{name}`: {text}"));
        let recipient = recipient(&self.key, now).map_err(|error| refused(error.to_string()))?;
        if !recipient.has_fingerprint(&self.fingerprint) {
            let text = format!("its fingerprint is {}, not what was asked for", recipient.fingerprint());
            return Err(refused(text));
        }
        let user = recipient.user().unwrap_or_default().parse().unwrap_or_default();
        let recipient = RecipientRecord { kind: recipient.kind(), fingerprint: recipient.fingerprint(), user };
        Ok(Planned { person: self.person.clone(), key: self.key.clone(), recipient })
    }
}

/// The recipient in a text.
pub(crate) fn recipient(text: &str, now: UnixMillis) -> Result<Recipient, RecipientError> {
    if text.len() > RECIPIENT_MAX {
        return Err(RecipientError::TooLong);
    }
    // Nobody lived before 1970.
    Recipient::parse(text.as_bytes(), u64::try_from(now.0 / 1000).unwrap_or(0))
}

/// What the holders of a new set are given, in order, and the record of it.
pub(crate) struct Encrypted {
    pub(crate) holders: ShareHolders,
    pub(crate) texts: Vec<String>,
}

/// Encrypts each share of a set to its holder.
pub(crate) fn encrypt(
    core: &Core,
    set: &ShareSet,
    shares: &[SecretString],
    planned: &[Planned],
    now: UnixMillis,
) -> Result<Encrypted, Error> {
    if shares.len() != planned.len() || shares.len() != set.keys.len() {
        return Err(Error::internal("a set of shares has another size than was asked for"));
    }
    let mut texts = Vec::with_capacity(shares.len());
    for (share, planned) in shares.iter().zip(planned) {
        let recipient = recipient(&planned.key, now);
        let recipient = recipient.map_err(|e| Error::invalid(format!("the key of `{}`: {e}", planned.person.name)))?;
        let document = Share::from_text(share.expose()).map_err(Error::internal)?.to_document();
        texts.push(recipient.encrypt(&core.ports.random, &document.into_bytes())?);
    }
    let mut holders = unnamed(set, now);
    for (holder, planned) in holders.holders.iter_mut().zip(planned) {
        (holder.person, holder.recipient) = (Some(planned.person.clone()), Some(planned.recipient.clone()));
    }
    holders.asked = Some(Asked { at: now, nonce: core.ports.random.nonce_array()? });
    Ok(Encrypted { holders, texts })
}

/// The set that shares are of.
pub(crate) fn set_of(shares: &[SecretString]) -> Result<ShareSet, Error> {
    let read = |text: &SecretString| Share::from_text(text.expose()).map_err(Error::internal);
    let shares: Vec<Share> = shares.iter().map(read).collect::<Result<_, _>>()?;
    let first = shares.first().ok_or_else(|| Error::internal("a set without shares"))?;
    Ok(ShareSet {
        set: first.set_id(),
        version: first.set_version(),
        threshold: first.threshold(),
        shares: first.count(),
        keys: shares.iter().map(Share::verification_key).collect::<Result<_, _>>()?,
    })
}

/// A set of which nobody said who has its shares.
pub(crate) fn unnamed(set: &ShareSet, made: UnixMillis) -> ShareHolders {
    let holder = |share: u8| Holder {
        share,
        person: None,
        recipient: None,
        key: set.keys.get(usize::from(share) - 1).copied().map(ShareKey),
        proved: None,
        confirmed: None,
    };
    let holders = (1..=set.shares).map(holder).collect();
    let (id, version, threshold) = (ShareSetId(set.set), set.version, set.threshold);
    ShareHolders { set: id, version, threshold, made, asked: None, holders }
}

/// The record of a root that was initialised just now.
pub(crate) fn first_record(of: &Name, current: ShareHolders) -> SharesRecord {
    SharesRecord { purpose: SharePurpose::Root, of: of.clone(), current, exchange: None, kept: None, reminded: None }
}

impl Core {
    /// The record of a root's shares, and the revision of the next one. A root from before there were such records has
    /// one without names.
    pub(super) async fn shares_of(&self, opened: &Opened, root: &Name) -> Result<(SharesRecord, Revision), Error> {
        let set = self.ports.roots.named(root)?.share_set();
        let found = self.filed::<SharesRecord>(opened, row_id(SharePurpose::Root, root)).await?;
        if let Some((record, revision)) = found {
            return match set.is_none_or(|set| set.set == record.current.set.0) {
                true => Ok((record, revision.next())),
                false => Err(Error::internal("the record of a root's shares is about another set")),
            };
        }
        let set = set.ok_or_else(|| Error::invalid(format!("the root of trust `{root}` is not opened by shares")))?;
        let joined = opened.rooted().roots().get(root).map_or(opened.deployment.created, |root| root.joined);
        Ok((first_record(root, unnamed(&set, joined)), Revision::FIRST))
    }

    /// Refuses a root of shares that would be lost with this process as far as anybody knows: nobody has shown to have
    /// its shares. What the server itself hangs on is as lost without them as what is under it.
    pub(super) async fn refuse_unproved(&self, opened: &Opened, root: &Name) -> Result<(), Error> {
        let own = opened.rooted().system_secret.under();
        let hangs_on_it = own.names(root) && (own.roots().len() == 1 || own.need() == Need::All);
        if hangs_on_it || self.ports.roots.named(root)?.share_set().is_none() {
            return Ok(());
        }
        let (record, _) = self.shares_of(opened, root).await?;
        let threshold = record.current.threshold;
        let proved = record.current.holders.iter().filter(|holder| holder.proved.is_some()).count();
        if proved >= usize::from(threshold) {
            return Ok(());
        }
        let text = format!(
            "of the root of trust `{root}` {proved} holders have proved to have their share, and {threshold} open it: \
             nothing comes under it before so many have. `keyreeve root challenge --root {root}` asks them, `keyreeve \
             root verify-share --root {root}` takes their proofs"
        );
        Err(Error::new(Code::WrongState, text))
    }

    /// The root that is meant: the one that was named, or the first.
    fn meant(&self, root: Option<&Name>) -> Name {
        root.unwrap_or_else(|| self.ports.roots.first()).clone()
    }
}

/// What is known of the shares of a root.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SharesReply {
    /// The record, without the encrypted shares.
    pub record: SharesRecord,
    /// The challenge to the present set, if there is one.
    pub challenge: Option<String>,
    /// The challenge to the new set.
    pub new_challenge: Option<String>,
    /// Shares of the present set that were given towards an exchange, since the server started.
    pub given: u8,
    /// The instant.
    pub at: UnixMillis,
}

super::replies::remember_as_json!(SharesReply);

impl SharesReply {
    fn of(core: &Core, mut record: SharesRecord, at: UnixMillis) -> Self {
        if let Some(kept) = &mut record.kept {
            kept.texts.clear();
        }
        let new = record.exchange.as_mut().and_then(|exchange| exchange.handed_out.as_mut());
        let new_challenge = new.and_then(|new| {
            new.texts.clear();
            new.holders.challenge()
        });
        let given = core.ports.roots.get(&record.of).map_or(0, |root| root.exchange_given());
        let challenge = record.current.challenge().map(|challenge| challenge.to_string());
        Self { challenge, new_challenge: new_challenge.map(|challenge| challenge.to_string()), record, given, at }
    }
}

/// What every answer about an exchange tells besides.
fn outcome(
    core: &Core,
    opened: &Opened,
    record: &SharesRecord,
    revision: Revision,
    at: UnixMillis,
) -> Outcome<SharesReply> {
    Outcome::reply(SharesReply::of(core, record.clone(), at))
        .changing(file(&opened.keys, revision, record))
        .detail("root", &record.of)
}

/// Shows who holds the shares of a root.
#[derive(Debug)]
pub struct Holders {
    /// Which root; the first, unless said.
    pub root: Option<Name>,
}

impl Operation for Holders {
    const DESCRIPTOR: &'static Descriptor = &catalogue::ROOT_HOLDERS;
    type Reply = SharesReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<SharesReply>, Error> {
        let root = core.meant(self.root.as_ref());
        let (record, _) = core.shares_of(&*core.need_open()?, &root).await?;
        Ok(Outcome::reply(SharesReply::of(core, record, approved.now())).detail("root", root))
    }
}

/// Writes down who holds a share of the present set.
#[derive(Debug)]
pub struct NameHolder {
    /// Which root; the first, unless said.
    pub root: Option<Name>,
    /// The number of the share.
    pub share: u8,
    /// Who has it.
    pub person: Person,
}

impl Operation for NameHolder {
    const DESCRIPTOR: &'static Descriptor = &catalogue::ROOT_NAME_HOLDER;
    type Reply = SharesReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<SharesReply>, Error> {
        let (opened, root) = (core.need_open()?, core.meant(self.root.as_ref()));
        let (record, revision) = core.shares_of(&opened, &root).await?;
        let record = record.name(self.share, self.person.clone())?;
        Ok(outcome(core, &opened, &record, revision, approved.now())
            .detail("share", self.share)
            .detail("holder", &self.person.name))
    }
}

/// Asks the holders to show that they have their shares: the answer holds the challenge for them.
#[derive(Debug)]
pub struct Challenge {
    /// Which root; the first, unless said.
    pub root: Option<Name>,
}

impl Operation for Challenge {
    const DESCRIPTOR: &'static Descriptor = &catalogue::ROOT_CHALLENGE;
    type Reply = SharesReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<SharesReply>, Error> {
        let (opened, root) = (core.need_open()?, core.meant(self.root.as_ref()));
        let (record, revision) = core.shares_of(&opened, &root).await?;
        if record.current.holders.iter().all(|holder| holder.key.is_none()) && record.handed_out().is_err() {
            return Err(SharesRefusal::NoKeys.into());
        }
        let record = record.ask(approved.now(), core.ports.random.nonce_array()?);
        let version = record.current.version;
        Ok(outcome(core, &opened, &record, revision, approved.now()).detail("share_set_version", version))
    }
}

/// Takes a proof; whoever brings it, it speaks for itself.
#[derive(Debug)]
pub struct VerifyShare {
    /// Which root; the first, unless said.
    pub root: Option<Name>,
    /// The proof.
    pub proof: ShareProof,
}

/// Whose share was proved.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VerifyReply {
    /// The number of the share.
    pub share: u8,
    /// Its holder, as far as known.
    pub holder: Option<Name>,
    /// The version of the set.
    pub version: u32,
}

impl Remember for VerifyReply {}

impl Operation for VerifyShare {
    const DESCRIPTOR: &'static Descriptor = &catalogue::ROOT_VERIFY_SHARE;
    type Reply = VerifyReply;

    fn target(&self) -> Target<'_> {
        Target::System
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<VerifyReply>, Error> {
        let (opened, root) = (core.need_open()?, core.meant(self.root.as_ref()));
        let (record, revision) = core.shares_of(&opened, &root).await?;
        let (record, share) = record.prove(&self.proof, approved.now(), &approved.principal().name)?;
        let new = record.handed_out().ok().map(|new| &new.holders);
        let set = new.filter(|new| new.set == self.proof.set).unwrap_or(&record.current);
        let holder = set.holders.iter().find(|holder| holder.share == share);
        let holder = holder.and_then(|holder| holder.person.as_ref()).map(|person| person.name.clone());
        let (version, called) = (set.version, holder.as_ref().map_or_else(String::new, Name::to_string));
        Ok(Outcome::reply(VerifyReply { share, holder, version })
            .changing(file(&opened.keys, revision, &record))
            .detail("root", &root)
            .detail("share", share)
            .detail("share_set_version", version)
            .detail("holder", called))
    }
}

pub(crate) fn facts(record: &SharesRecord) -> Facts {
    let what = match record.purpose {
        SharePurpose::Root => "root",
        SharePurpose::Escrow => "escrow_key",
    };
    Facts::default()
        .with(what, &record.of)
        .with("share_set_version", record.current.version)
        .with("shares", record.current.holders.len())
        .with("threshold", record.current.threshold)
}
