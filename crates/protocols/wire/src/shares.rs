//! Shares of roots of trust and who holds them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::names::RecipientKind;
use crate::{SecretText, Timestamp};

/// Somebody who shall hold a share, and the public key that it is encrypted to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewHolder {
    /// What the holder is called; a name like those of principals, and need not be one.
    pub name: String,
    /// For whom the holder works.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub organisation: String,
    /// How the holder is reached.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub contact: String,
    /// The public key: an age recipient (`age1...`), or an OpenPGP certificate with armor; at most 16 KiB.
    pub key: String,
    /// What was compared with the holder: the age recipient itself, or the certificate's fingerprint (40 hexadecimal
    /// digits). A key with another fingerprint is refused.
    pub fingerprint: String,
}

/// The public key that a share was encrypted to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShareRecipient {
    /// Its kind.
    pub kind: RecipientKind,
    /// The age recipient itself, or the certificate's fingerprint.
    pub fingerprint: String,
    /// The name that the certificate gives its owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// One share and who has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShareHolder {
    /// The number of the share.
    pub share: u8,
    /// Who has it, once that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// For whom the holder works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organisation: Option<String>,
    /// How the holder is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// What the share was encrypted to; missing where it was shown at initialisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<ShareRecipient>,
    /// When the holder last showed to have the share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proved: Option<Timestamp>,
    /// When the next proof is due; missing where there can be none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof_due: Option<Timestamp>,
    /// True when that is over.
    pub overdue: bool,
    /// When somebody answered for the holder in place of a proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<Timestamp>,
    /// Who did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_by: Option<String>,
}

/// A set of shares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShareSet {
    /// Its id, which stands in each of its shares.
    pub set: String,
    /// Counts the sets of one root, from 1.
    pub version: u32,
    /// How many shares open the root.
    pub threshold: u8,
    /// When it was made.
    pub made: Timestamp,
    /// What holders answer with `keyreeve share prove`; missing until they were asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<String>,
    /// By number.
    pub holders: Vec<ShareHolder>,
}

/// An exchange of the shares for new ones that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShareExchange {
    /// When it was begun.
    pub begun: Timestamp,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: String,
    /// How many new shares will open the root.
    pub threshold: u8,
    /// Who will hold one, by number.
    pub holders: Vec<String>,
    /// Shares of the present set that were given so far; they are forgotten when the server ends.
    pub given: u8,
    /// The new set, once it was made. It opens nothing until the exchange is committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<ShareSet>,
}

/// The shares of a root of trust.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RootShares {
    /// The root.
    pub root: String,
    /// The set that opens it.
    pub current: ShareSet,
    /// The exchange that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<ShareExchange>,
}

/// Says who has a share.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NameHolder {
    /// The number of the share.
    pub share: u8,
    /// What its holder is called.
    pub name: String,
    /// For whom the holder works.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub organisation: String,
    /// How the holder is reached.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub contact: String,
}

/// Hands in a proof.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HandInProof {
    /// What `keyreeve share prove` printed (`krp1....`).
    pub proof: String,
}

/// Whose share was proved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProofTaken {
    /// The number of the share.
    pub share: u8,
    /// Its holder, as far as known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// The version of the set.
    pub version: u32,
}

/// Begins to exchange the shares of a root.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BeginReshare {
    /// How many of the new shares will open the root (count, at least 2).
    pub threshold: u8,
    /// Who will hold one (2 to 32), in the order of their numbers.
    pub holders: Vec<NewHolder>,
    /// Why.
    pub reason: String,
}

/// Gives one share of the present set.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GiveShare {
    /// The share.
    pub share: SecretText,
    /// The exchange that it is given to: when that was begun. Another one that took its place is refused; whichever is
    /// under way, unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<Timestamp>,
}

/// How far an exchange has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReshareProgress {
    /// Shares given.
    pub given: u8,
    /// Shares needed.
    pub needed: u8,
    /// True once the new shares are made.
    pub made: bool,
}

/// A share that one holder can read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HandedShare {
    /// Its number.
    pub share: u8,
    /// Whose it is.
    pub name: String,
    /// For whom the holder works.
    pub organisation: String,
    /// How the holder is reached.
    pub contact: String,
    /// What it is encrypted to.
    pub recipient: ShareRecipient,
    /// The share, encrypted, with armor: `age -d` or `gpg -d` reads it.
    pub text: String,
}

/// The new shares of an exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HandedShares {
    /// By number.
    pub shares: Vec<HandedShare>,
    /// What holders answer with `keyreeve share prove`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<String>,
}

/// Puts the new shares in the place of the present ones.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CommitReshare {
    /// Holders who did not prove to have their new share, and whom the caller answers for.
    #[serde(default)]
    pub confirmed: Vec<String>,
}

/// Gives up an exchange.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AbandonReshare {
    /// Why.
    pub reason: String,
}
