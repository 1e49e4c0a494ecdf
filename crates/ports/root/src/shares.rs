//! What roots that people open with shares tell of their shares, and how the shares are exchanged for new ones.

use keyreeve_secret::SecretString;

use crate::root_key::SetId;

/// The set of shares that opens a root; no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareSet {
    /// Names the set.
    pub set: SetId,
    /// Which set of this root it is, from 1.
    pub version: u32,
    /// How many of the shares open the root.
    pub threshold: u8,
    /// How many there are.
    pub shares: u8,
    /// By which each holder proves to have a share: Ed25519, in the order of the shares' numbers. Empty for sets made
    /// before there were such proofs.
    pub keys: Vec<[u8; 32]>,
}

/// An exchange of shares that was agreed upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchanging {
    /// Tells it from every other one, of the same numbers too: shares that were given to one do not count for another.
    pub id: [u8; 32],
    /// How many shares there will be.
    pub shares: u8,
    /// How many of them will open the root.
    pub threshold: u8,
}

/// A new set, which opens nothing until its parameters are stored and adopted.
#[derive(Debug)]
pub struct NewShares {
    /// The set.
    pub set: ShareSet,
    /// What [`Root::replacement`](crate::Root::replacement) takes; no secret.
    pub public: serde_json::Value,
    /// The shares, in order, each for one holder.
    pub shares: Vec<SecretString>,
}

/// How far the exchange has come after a share.
#[derive(Debug)]
pub enum Gathering {
    /// More shares of the present set are needed.
    Given {
        /// Shares given.
        given: u8,
        /// Shares needed.
        threshold: u8,
    },
    /// The new set. It is returned again whenever another share is given, until [`Root::forget_shares`] is called.
    ///
    /// [`Root::forget_shares`]: crate::Root::forget_shares
    Made(NewShares),
}
