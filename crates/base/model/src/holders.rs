//! People who hold shares of a secret: who has which, how the share was given to them, and when each last showed to
//! still have it (requirements T4, T7).
//!
//! A share set belongs to a root of trust or to a version of the escrow key. Its record says nothing secret: of each
//! share the public half of the key that is derived from it, and of each holder a name, a contact, and the fingerprint
//! of the key that the share was encrypted to.
//!
//! A set is exchanged for another in two steps, each of which is one change of this record: the new set is made and
//! handed out ([`SharesRecord::hand_out`]), and takes the place of the present one when its holders have shown to have
//! it ([`SharesRecord::commit`]). Until then the present set is the one that counts.

use data_encoding::BASE64URL_NOPAD;
use keyreeve_crypto::recipients::RecipientKind;
use keyreeve_crypto::shamir::{MAX_SHARES, verify_proof};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

use crate::filed::{FiledRecord, RowId};
use crate::metadata::{Label, Name};
use crate::record::Table;
use crate::time::UnixMillis;

/// After so many days a holder shows again to have the share: quarterly.
pub const PROOF_DAYS: u32 = 90;
/// Days between two reminders of proofs that are overdue.
const REMINDED_DAYS: u32 = 7;
/// The longest public key of a holder, in bytes: certificates without the signatures of others are shorter.
pub const RECIPIENT_MAX: usize = 16 * 1024;

const CHALLENGE: &str = "krc1.";
const PROOF: &str = "krp1.";

/// What the shares of a set are parts of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SharePurpose {
    /// A root of trust.
    Root,
    /// A version of the escrow key.
    Escrow,
}

impl SharePurpose {
    /// The name on wires and in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Escrow => "escrow",
        }
    }
}

/// Names a set of shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShareSetId(#[serde(with = "hex::serde")] pub [u8; 16]);

/// Hexadecimal.
impl fmt::Display for ShareSetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// The public half of the key that is derived from a share (Ed25519).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShareKey(#[serde(with = "hex::serde")] pub [u8; 32]);

/// Somebody who holds a share, and where they are found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// What they are called here.
    pub name: Name,
    /// For whom they work; may be empty.
    #[serde(default)]
    pub organisation: Label,
    /// How they are reached; may be empty.
    #[serde(default)]
    pub contact: Label,
}

/// The public key that a share was encrypted to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipientRecord {
    /// Its kind.
    pub kind: RecipientKind,
    /// What people compare: the age recipient itself, or the certificate's fingerprint.
    pub fingerprint: String,
    /// The name that the certificate gives its owner; may be empty.
    #[serde(default)]
    pub user: Label,
}

/// That a holder showed to have the share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proved {
    /// When it was shown here.
    pub at: UnixMillis,
    /// When the challenge was made that it answered: the share was there at some time in between.
    pub asked: UnixMillis,
    /// Who brought it here.
    pub by: Name,
}

/// That somebody says so, without proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmed {
    /// When.
    pub at: UnixMillis,
    /// Who.
    pub by: Name,
}

/// One share and who has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    /// The number of the share, from 1.
    pub share: u8,
    /// Who has it, once that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<Person>,
    /// What it was encrypted to; nothing where it was shown to whoever initialised the deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<RecipientRecord>,
    /// What proofs are checked with; nothing for sets from before there were proofs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<ShareKey>,
    /// The newest proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proved: Option<Proved>,
    /// Where there was no proof when the set took effect, who answered for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<Confirmed>,
}

impl Holder {
    /// What the holder is called: by name, or by the number of the share.
    #[must_use]
    pub fn called(&self) -> String {
        self.person.as_ref().map_or_else(|| format!("share {}", self.share), |person| person.name.to_string())
    }
}

/// A challenge to all holders of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// When it was made.
    pub at: UnixMillis,
    /// Random.
    #[serde(with = "hex::serde")]
    pub nonce: [u8; 16],
}

/// A set of shares and who has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareHolders {
    /// Names the set.
    pub set: ShareSetId,
    /// Counts the sets of one secret, from 1.
    pub version: u32,
    /// How many shares are needed.
    pub threshold: u8,
    /// When it was made.
    pub made: UnixMillis,
    /// The newest challenge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// By the number of the share.
    pub holders: Vec<Holder>,
}

impl ShareHolders {
    /// The challenge to this set, if there is one.
    #[must_use]
    pub fn challenge(&self) -> Option<Challenge> {
        let Asked { at, nonce } = self.asked?;
        Some(Challenge { set: self.set, version: self.version, asked: at, nonce })
    }

    /// Since when nobody has seen a holder's share: the newest proof, or when the set was made.
    #[must_use]
    pub fn unseen_since(&self, holder: &Holder) -> UnixMillis {
        holder.proved.as_ref().map_or(self.made, |proved| proved.at.max(self.made))
    }

    /// When a holder's next proof is due; never where there can be none.
    #[must_use]
    pub fn proof_due(&self, holder: &Holder) -> Option<UnixMillis> {
        holder.key.map(|_| self.unseen_since(holder).plus_days(PROOF_DAYS))
    }

    /// The holders whose proof is overdue.
    pub fn overdue(&self, now: UnixMillis) -> impl Iterator<Item = &Holder> {
        self.holders.iter().filter(move |holder| self.proof_due(holder).is_some_and(|due| due <= now))
    }

    /// Takes the set as one that its holders have: as many as open the secret have proved to have their share; every
    /// other one has as well, or is among `confirmed`, for whom somebody answers.
    ///
    /// # Errors
    /// [`SharesRefusal::NoSuchHolder`], [`SharesRefusal::Unproved`], [`SharesRefusal::TooFewProved`].
    pub fn accept(&mut self, confirmed: &BTreeSet<Name>, now: UnixMillis, by: &Name) -> Result<(), SharesRefusal> {
        let named = |holder: &Holder| holder.person.as_ref().map(|person| person.name.clone());
        if let Some(name) = confirmed.iter().find(|name| !self.holders.iter().filter_map(named).any(|n| n == **name)) {
            return Err(SharesRefusal::NoSuchHolder { name: name.clone() });
        }
        let mut missing = Vec::new();
        for holder in self.holders.iter_mut().filter(|holder| holder.proved.is_none()) {
            match named(holder).is_some_and(|name| confirmed.contains(&name)) {
                true => holder.confirmed = Some(Confirmed { at: now, by: by.clone() }),
                false => missing.push(holder.called()),
            }
        }
        if !missing.is_empty() {
            return Err(SharesRefusal::Unproved { who: missing.join(", ") });
        }
        // Shares that nobody has shown may exist nowhere, and the former ones are refused from here on.
        let (proved, threshold) = (self.holders.iter().filter(|h| h.proved.is_some()).count(), self.threshold);
        if proved < usize::from(threshold) {
            return Err(SharesRefusal::TooFewProved { proved, threshold });
        }
        Ok(())
    }

    /// Whoever has not shown the share since an instant.
    pub fn unproved_since(&self, since: UnixMillis) -> impl Iterator<Item = &Holder> {
        let shown = move |holder: &&Holder| holder.proved.as_ref().is_none_or(|proved| proved.asked < since);
        self.holders.iter().filter(shown)
    }

    fn prove(&mut self, proof: &ShareProof, now: UnixMillis, by: &Name) -> Result<u8, SharesRefusal> {
        let challenge = self.challenge().ok_or(SharesRefusal::NotAsked)?;
        let holder = self.holders.iter_mut().find(|holder| holder.share == proof.share);
        let holder = holder.ok_or(SharesRefusal::NoSuchShare { share: proof.share })?;
        let ShareKey(key) = holder.key.ok_or(SharesRefusal::NoKeys)?;
        verify_proof(&key, &challenge.bytes(), &proof.signature).map_err(|_| SharesRefusal::NotProved)?;
        // The same proof again says nothing new.
        if holder.proved.as_ref().is_none_or(|proved| proved.asked < challenge.asked) {
            holder.proved = Some(Proved { at: now, asked: challenge.asked, by: by.clone() });
        }
        Ok(proof.share)
    }
}

/// Somebody who shall hold a share of a new set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planned {
    /// Who.
    pub person: Person,
    /// The public key that the share will be encrypted to, as text.
    pub key: String,
    /// What it is.
    pub recipient: RecipientRecord,
}

/// A new set on its way to its holders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandedOut {
    /// What the root of trust, or whatever the secret is, takes as its parameters; no secret.
    pub public: serde_json::Value,
    /// The set.
    pub holders: ShareHolders,
    /// Each share, encrypted to its holder, in order. [`SharesRecord::kept`] once the set takes effect.
    pub texts: Vec<String>,
}

/// An exchange of the set for another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// When it was begun.
    pub begun: UnixMillis,
    /// By whom.
    pub by: Name,
    /// Why.
    pub reason: Label,
    /// How many shares of the new set will be needed.
    pub threshold: u8,
    /// Who will hold one, in the order of their numbers.
    pub planned: Vec<Planned>,
    /// The new set, once enough shares of the present one were given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handed_out: Option<HandedOut>,
}

impl Exchange {
    /// How many shares there will be.
    #[must_use]
    pub fn shares(&self) -> u8 {
        // At most 32, which `begin` checks.
        u8::try_from(self.planned.len()).unwrap_or(u8::MAX)
    }
}

/// Shares of the set that counts, encrypted to their holders: kept until it has opened the secret, for a holder who did
/// not get the own one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// Since when the set counts.
    pub since: UnixMillis,
    /// In the order of the shares' numbers.
    pub texts: Vec<String>,
}

/// The shares of one secret: who has them, and the set that may come next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharesRecord {
    /// What they are shares of.
    pub purpose: SharePurpose,
    /// Which of these.
    pub of: Name,
    /// The set that counts.
    pub current: ShareHolders,
    /// The exchange that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<Exchange>,
    /// The encrypted shares of the set that counts, as long as it never opened the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
    /// When people were last told of proofs that are overdue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reminded: Option<UnixMillis>,
}

/// Why something is not done with shares.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SharesRefusal {
    /// The numbers are not possible.
    #[error("2 to {MAX_SHARES} holders are needed, and 2 of them at least to open; or 1 of 1")]
    Numbers,
    /// Two holders have one name.
    #[error("two holders are called `{name}`")]
    Twice {
        /// The name.
        name: Name,
    },
    /// Two holders have one key.
    #[error("two holders would get their shares under the same key, {fingerprint}: one person would have two shares")]
    OneKey {
        /// The key.
        fingerprint: String,
    },
    /// There is no reason.
    #[error("an exchange of shares says why it is made")]
    NoReason,
    /// An exchange is under way.
    #[error("an exchange of these shares is under way since {begun}: commit it or abandon it first")]
    UnderWay {
        /// Since when.
        begun: UnixMillis,
    },
    /// None is.
    #[error("no exchange of these shares is under way")]
    NotUnderWay,
    /// The new set was handed out already.
    #[error("the new shares were made already: hand them out, then commit the exchange")]
    Made,
    /// The new set does not exist yet.
    #[error("the new shares are not made yet: the holders of the present ones give theirs first")]
    NotMade,
    /// Holders have not shown to have their shares.
    #[error("these holders have not shown to have their new share: {who}")]
    Unproved {
        /// Their names.
        who: String,
    },
    /// Fewer holders have shown to have their shares than open the secret.
    #[error(
        "{proved} holders have proved to have their new share, and {threshold} are needed to open: so many must have \
         proved theirs before the present shares are given up, nobody can answer for them"
    )]
    TooFewProved {
        /// How many have.
        proved: usize,
        /// How many must.
        threshold: u8,
    },
    /// There is no such share.
    #[error("there is no share {share} in this set")]
    NoSuchShare {
        /// Its number.
        share: u8,
    },
    /// There is no such holder.
    #[error("no holder of this set is called `{name}`")]
    NoSuchHolder {
        /// The name.
        name: Name,
    },
    /// The set is from before there were proofs.
    #[error("this set of shares is from before there were proofs: exchange the shares to have them")]
    NoKeys,
    /// There is no challenge.
    #[error("the holders of this set were not asked yet")]
    NotAsked,
    /// The proof is of a set that is not known here.
    #[error("the proof is of another set of shares")]
    OtherSet,
    /// The proof does not fit.
    #[error("the proof does not fit the newest challenge, or not the share: make it anew from the newest challenge")]
    NotProved,
}

impl SharesRecord {
    /// Whether these are numbers that a secret can be split by.
    ///
    /// # Errors
    /// [`SharesRefusal::Numbers`].
    pub fn check_numbers(shares: usize, threshold: u8) -> Result<(), SharesRefusal> {
        let shared = (2..=usize::from(MAX_SHARES)).contains(&shares) && (2..=shares).contains(&usize::from(threshold));
        if shared || (shares, threshold) == (1, 1) { Ok(()) } else { Err(SharesRefusal::Numbers) }
    }

    /// Whether these can be the holders of one set.
    ///
    /// # Errors
    /// [`SharesRefusal::Numbers`], [`SharesRefusal::Twice`], [`SharesRefusal::OneKey`].
    pub fn check_planned(planned: &[Planned], threshold: u8) -> Result<(), SharesRefusal> {
        Self::check_numbers(planned.len(), threshold)?;
        let (mut names, mut keys) = (BTreeSet::new(), BTreeSet::new());
        for Planned { person, recipient, .. } in planned {
            if !names.insert(&person.name) {
                return Err(SharesRefusal::Twice { name: person.name.clone() });
            }
            if !keys.insert(&recipient.fingerprint) {
                return Err(SharesRefusal::OneKey { fingerprint: recipient.fingerprint.clone() });
            }
        }
        Ok(())
    }

    /// Begins an exchange. One that is under way is in the way.
    ///
    /// # Errors
    /// [`SharesRefusal`].
    pub fn begin(mut self, exchange: Exchange) -> Result<Self, SharesRefusal> {
        if let Some(before) = &self.exchange {
            return Err(SharesRefusal::UnderWay { begun: before.begun });
        }
        if exchange.reason.is_empty() {
            return Err(SharesRefusal::NoReason);
        }
        Self::check_planned(&exchange.planned, exchange.threshold)?;
        self.exchange = Some(Exchange { handed_out: None, ..exchange });
        Ok(self)
    }

    /// The exchange that waits for shares of the present set.
    ///
    /// # Errors
    /// [`SharesRefusal::NotUnderWay`], [`SharesRefusal::Made`].
    pub fn gathering(&self) -> Result<&Exchange, SharesRefusal> {
        match &self.exchange {
            None => Err(SharesRefusal::NotUnderWay),
            Some(Exchange { handed_out: Some(_), .. }) => Err(SharesRefusal::Made),
            Some(exchange) => Ok(exchange),
        }
    }

    /// Keeps the new set for its holders.
    ///
    /// # Errors
    /// As [`gathering`](Self::gathering).
    pub fn hand_out(mut self, new: HandedOut) -> Result<Self, SharesRefusal> {
        self.gathering()?;
        if let Some(exchange) = &mut self.exchange {
            exchange.handed_out = Some(new);
        }
        Ok(self)
    }

    /// The new set.
    ///
    /// # Errors
    /// [`SharesRefusal::NotUnderWay`], [`SharesRefusal::NotMade`].
    pub fn handed_out(&self) -> Result<&HandedOut, SharesRefusal> {
        let exchange = self.exchange.as_ref().ok_or(SharesRefusal::NotUnderWay)?;
        exchange.handed_out.as_ref().ok_or(SharesRefusal::NotMade)
    }

    /// Puts the new set in the place of the present one. As many holders as open the secret have proved to have the new
    /// share; every other one has as well, or is among `confirmed`, for whom somebody answers. Returns what the
    /// secret's parameters become as well.
    ///
    /// # Errors
    /// [`SharesRefusal`].
    pub fn commit(
        mut self,
        confirmed: &BTreeSet<Name>,
        now: UnixMillis,
        by: &Name,
    ) -> Result<(Self, serde_json::Value), SharesRefusal> {
        let HandedOut { public, mut holders, texts } = self.handed_out()?.clone();
        holders.accept(confirmed, now, by)?;
        (self.current, self.exchange, self.reminded) = (holders, None, None);
        self.kept = Some(Kept { since: now, texts });
        Ok((self, public))
    }

    /// The record once the set that counts has opened the secret, which is open since `opened`: its holders have their
    /// shares, and nothing of them stays here. Nothing where nothing changes.
    #[must_use]
    pub fn opened(mut self, set: ShareSetId, opened: UnixMillis) -> Option<Self> {
        let kept = self.kept.take()?;
        (self.current.set == set && kept.since < opened).then_some(self)
    }

    /// Gives an exchange up: the present set stays, and the new one never opens anything.
    ///
    /// # Errors
    /// [`SharesRefusal::NotUnderWay`].
    pub fn abandon(mut self) -> Result<Self, SharesRefusal> {
        self.exchange.take().map(|_| self).ok_or(SharesRefusal::NotUnderWay)
    }

    /// Asks the holders of the present set anew, and those of the new one where there is one.
    #[must_use]
    pub fn ask(mut self, now: UnixMillis, nonce: [u8; 16]) -> Self {
        let asked = Some(Asked { at: now, nonce });
        self.current.asked = asked;
        if let Some(new) = self.exchange.as_mut().and_then(|exchange| exchange.handed_out.as_mut()) {
            new.holders.asked = asked;
        }
        self
    }

    /// Takes a proof of a holder of the present set or of the new one; returns the number of the share.
    ///
    /// # Errors
    /// [`SharesRefusal`].
    pub fn prove(mut self, proof: &ShareProof, now: UnixMillis, by: &Name) -> Result<(Self, u8), SharesRefusal> {
        let new = self.exchange.as_mut().and_then(|exchange| exchange.handed_out.as_mut());
        let sets = [Some(&mut self.current), new.map(|new| &mut new.holders)];
        let set = sets.into_iter().flatten().find(|set| set.set == proof.set).ok_or(SharesRefusal::OtherSet)?;
        let share = set.prove(proof, now, by)?;
        Ok((self, share))
    }

    /// Says who has a share of the present set.
    ///
    /// # Errors
    /// [`SharesRefusal::NoSuchShare`], [`SharesRefusal::Twice`].
    pub fn name(mut self, share: u8, person: Person) -> Result<Self, SharesRefusal> {
        let others = self.current.holders.iter().filter(|holder| holder.share != share);
        let mut names = others.filter_map(|holder| holder.person.as_ref()).map(|person| &person.name);
        if names.any(|name| *name == person.name) {
            return Err(SharesRefusal::Twice { name: person.name });
        }
        let holder = self.current.holders.iter_mut().find(|holder| holder.share == share);
        holder.ok_or(SharesRefusal::NoSuchShare { share })?.person = Some(person);
        Ok(self)
    }

    /// The record once people are told now of overdue proofs; nothing if they need not be.
    #[must_use]
    pub fn remind(mut self, now: UnixMillis) -> Option<Self> {
        let due = self.due().is_some_and(|due| due <= now);
        if due {
            self.reminded = Some(now);
        }
        due.then_some(self)
    }
}

impl FiledRecord for SharesRecord {
    const TABLE: Table = Table::Shares;

    fn row_id(&self) -> RowId {
        row_id(self.purpose, &self.of)
    }

    fn parent(&self) -> String {
        self.purpose.name().to_owned()
    }

    /// When people are told of an overdue proof: once it is, and every seven days from then on.
    fn due(&self) -> Option<UnixMillis> {
        let first = self.current.holders.iter().filter_map(|holder| self.current.proof_due(holder)).min()?;
        let again = self.reminded.map(|at| at.plus_days(REMINDED_DAYS));
        Some(again.map_or(first, |again| again.max(first)))
    }
}

/// Where the shares of something are filed.
#[must_use]
pub fn row_id(purpose: SharePurpose, of: &Name) -> RowId {
    // A digest, because the two together may be longer than an id.
    keyreeve_crypto::digest::sha256(format!("{} {of}", purpose.name()).as_bytes()).into()
}

/// Why a text is not a challenge or a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadShareText {
    /// Not a challenge.
    #[error("this is not a challenge, which begins with \"krc1.\"; copy it whole")]
    Challenge,
    /// Not a proof.
    #[error("this is not a proof, which begins with \"krp1.\"; copy it whole")]
    Proof,
}

/// What the holders of a set are asked to sign; no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The set.
    pub set: ShareSetId,
    /// Its version.
    pub version: u32,
    /// When it was made.
    pub asked: UnixMillis,
    /// Random.
    pub nonce: [u8; 16],
}

impl Challenge {
    const LEN: usize = 16 + 4 + 8 + 16;

    /// What is signed: set (16), version (4), time (8, milliseconds), nonce (16), all big-endian.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        [&self.set.0[..], &self.version.to_be_bytes(), &self.asked.0.to_be_bytes(), &self.nonce].concat()
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{CHALLENGE}{}", BASE64URL_NOPAD.encode(&self.bytes()))
    }
}

impl FromStr for Challenge {
    type Err = BadShareText;

    fn from_str(text: &str) -> Result<Self, BadShareText> {
        let read = || -> Option<Self> {
            let bytes = decoded::<{ Self::LEN }>(text, CHALLENGE)?;
            let (set, rest) = bytes.split_first_chunk::<16>()?;
            let (version, rest) = rest.split_first_chunk::<4>()?;
            let (asked, rest) = rest.split_first_chunk::<8>()?;
            let (version, asked) = (u32::from_be_bytes(*version), UnixMillis(i64::from_be_bytes(*asked)));
            Some(Self { set: ShareSetId(*set), version, asked, nonce: rest.try_into().ok()? })
        };
        read().ok_or(BadShareText::Challenge)
    }
}

/// What a holder answers to a challenge; no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareProof {
    /// The set.
    pub set: ShareSetId,
    /// The number of the share.
    pub share: u8,
    /// Over the challenge, with the key that is derived from the share.
    pub signature: [u8; 64],
}

impl fmt::Display for ShareProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.set.0[..], &[self.share], &self.signature].concat();
        write!(f, "{PROOF}{}", BASE64URL_NOPAD.encode(&bytes))
    }
}

impl FromStr for ShareProof {
    type Err = BadShareText;

    fn from_str(text: &str) -> Result<Self, BadShareText> {
        let read = || -> Option<Self> {
            let bytes = decoded::<{ 16 + 1 + 64 }>(text, PROOF)?;
            let (set, rest) = bytes.split_first_chunk::<16>()?;
            let (&share, signature) = rest.split_first()?;
            Some(Self { set: ShareSetId(*set), share, signature: signature.try_into().ok()? })
        };
        read().ok_or(BadShareText::Proof)
    }
}

fn decoded<const N: usize>(text: &str, prefix: &str) -> Option<[u8; N]> {
    // Longer than any of these, with room for line breaks at its ends.
    let digits = text.trim().strip_prefix(prefix).filter(|digits| digits.len() <= 2 * N)?;
    BASE64URL_NOPAD.decode(digits.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests;
