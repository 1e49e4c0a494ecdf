//! What the deployment record says about a root in shares; no secret.

use std::collections::VecDeque;

use keyreeve_crypto::shamir::{self, Share};
use keyreeve_model::UnixMillis;
use keyreeve_root::root_key::{RootKey, SetId, check_value, fits, parameters, unavailable};
use keyreeve_root::{RootError, SealStatus, ShareSet};
use keyreeve_secret::{SecretArray, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::shamir::check_numbers;

/// How many former sets are remembered by name; shares of older ones are merely foreign.
const REMEMBERED: usize = 16;

/// A root key in shares, and the set of shares that opens it now.
#[derive(Clone)]
pub(crate) struct Parameters {
    form: Form,
    /// Names the root key, for ever.
    root: SetId,
    /// Names the set of shares.
    set: SetId,
    pub(crate) version: u32,
    pub(crate) threshold: u8,
    shares: u8,
    /// By which each share is proved to be there, in order.
    keys: Vec<[u8; 32]>,
    /// Tells the right root key from others, and fixes everything above.
    check: [u8; 32],
    replaced: VecDeque<Replaced>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    First,
    Second,
}

/// A set of shares of before.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Replaced {
    #[serde(with = "hex::serde")]
    set: SetId,
    version: u32,
    at: UnixMillis,
}

/// As it is stored.
#[derive(Serialize, Deserialize)]
#[serde(tag = "format", deny_unknown_fields)]
enum Stored {
    /// From before shares could be exchanged: the set names the root key.
    #[serde(rename = "keyreeve-shamir-1")]
    First {
        #[serde(with = "hex::serde")]
        set: SetId,
        threshold: u8,
        shares: u8,
        #[serde(with = "hex::serde")]
        check: [u8; 32],
    },
    #[serde(rename = "keyreeve-shamir-2")]
    Second {
        #[serde(with = "hex::serde")]
        root: SetId,
        #[serde(with = "hex::serde")]
        set: SetId,
        version: u32,
        threshold: u8,
        shares: u8,
        keys: Vec<PublicHalf>,
        #[serde(with = "hex::serde")]
        check: [u8; 32],
        #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
        replaced: VecDeque<Replaced>,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct PublicHalf(#[serde(with = "hex::serde")] [u8; 32]);

impl Parameters {
    /// The parameters of a set that was made just now, of a root key that is new or has had sets before.
    pub(crate) fn new(key: &SecretArray<32>, before: Option<&Self>, made: &[Share]) -> Result<Self, RootError> {
        let first = made.first().ok_or(RootError::WrongShares)?;
        let keys = made.iter().map(Share::verification_key).collect::<Result<_, _>>().map_err(unavailable)?;
        let mut parameters = Self {
            form: Form::Second,
            root: before.map_or(first.set_id(), |before| before.root),
            set: first.set_id(),
            version: first.set_version(),
            threshold: first.threshold(),
            shares: first.count(),
            keys,
            check: [0; 32],
            replaced: VecDeque::new(),
        };
        parameters.check = check_value(key, &parameters.root, &parameters.fixed())?;
        Ok(parameters)
    }

    pub(crate) fn read(public: &Value) -> Result<Self, RootError> {
        let read = match parameters(public)? {
            Stored::First { set, threshold, shares, check } => {
                let (keys, replaced) = (Vec::new(), VecDeque::new());
                let (form, version) = (Form::First, 1);
                Self { form, root: set, set, version, threshold, shares, keys, check, replaced }
            }
            Stored::Second { root, set, version, threshold, shares, keys, check, replaced } => {
                let keys = keys.into_iter().map(|PublicHalf(key)| key).collect();
                Self { form: Form::Second, root, set, version, threshold, shares, keys, check, replaced }
            }
        };
        check_numbers(read.shares, read.threshold)?;
        let complete = read.form == Form::First || read.keys.len() == usize::from(read.shares);
        if complete && read.version > 0 {
            return Ok(read);
        }
        Err(RootError::Unavailable("the deployment record contradicts itself about the shares".to_owned()))
    }

    pub(crate) fn public(&self) -> Result<Value, RootError> {
        let Self { form, root, set, version, threshold, shares, ref keys, check, ref replaced } = *self;
        let keys = keys.iter().copied().map(PublicHalf).collect();
        let stored = match form {
            Form::First => Stored::First { set, threshold, shares, check },
            Form::Second => {
                let replaced = replaced.clone();
                Stored::Second { root, set, version, threshold, shares, keys, check, replaced }
            }
        };
        serde_json::to_value(stored).map_err(|error| RootError::Unavailable(error.to_string()))
    }

    /// What the check covers besides the root key and its id.
    fn fixed(&self) -> Vec<u8> {
        match self.form {
            Form::First => vec![self.threshold, self.shares],
            Form::Second => {
                let head = [&b"shares v2"[..], &self.set, &self.version.to_be_bytes(), &[self.threshold, self.shares]];
                [head.concat(), self.keys.concat()].concat()
            }
        }
    }

    pub(crate) fn sealed(&self, given: usize) -> SealStatus {
        // Never above the threshold, which fits.
        let given = u8::try_from(given).unwrap_or(self.threshold);
        SealStatus::Sealed { given, threshold: self.threshold, shares: self.shares }
    }

    pub(crate) fn share_set(&self) -> ShareSet {
        let Self { set, version, threshold, shares, ref keys, .. } = *self;
        ShareSet { set, version, threshold, shares, keys: keys.clone() }
    }

    /// The share in `text`, if it is one of this set that was not given before.
    pub(crate) fn accept(&self, given: &[Share], text: &SecretString) -> Result<Share, RootError> {
        let share = Share::from_text(text.expose()).map_err(|_| RootError::NotAShare)?;
        if share.set_id() != self.set {
            let before = self.replaced.iter().find(|before| before.set == share.set_id());
            return Err(before.map_or(RootError::ForeignShare, |before| RootError::ReplacedShare {
                version: before.version,
                current: self.version,
                at: before.at,
            }));
        }
        // Before anything is said about who gave one: whoever knows the set's id, which is no secret, can forge a share
        // that fits in everything but this, and would take the others with it. Sets of before have no such keys.
        if !self.keys.is_empty() {
            let nth = usize::from(share.index()).checked_sub(1);
            let made = nth.and_then(|nth| self.keys.get(nth));
            if made != Some(&share.verification_key().map_err(unavailable)?) {
                return Err(RootError::ForgedShare(share.index()));
            }
        }
        if given.iter().any(|before| before.index() == share.index()) {
            return Err(RootError::DuplicateShare(share.index()));
        }
        Ok(share)
    }

    /// The root key, if it is what the shares combine to; bare, and in use.
    pub(crate) fn open(&self, given: Vec<Share>) -> Result<(SecretArray<32>, RootKey), RootError> {
        let key = shamir::combine(given).ok().and_then(|key| key.to_array().ok()).ok_or(RootError::WrongShares)?;
        if !fits(&key, &self.root, &self.fixed(), &self.check)? {
            return Err(RootError::WrongShares);
        }
        let root = RootKey::new(&key, &self.root)?;
        Ok((key, root))
    }

    /// Whether the root key that is open fixed these parameters.
    pub(crate) fn check_against(&self, key: &RootKey) -> Result<(), RootError> {
        if key.fits(&self.fixed(), &self.check) { Ok(()) } else { Err(RootError::WrongShares) }
    }

    /// Whether `new` can come after these.
    pub(crate) fn check_successor(&self, new: &Self) -> Result<(), RootError> {
        let follows = new.form == Form::Second && self.version.checked_add(1) == Some(new.version);
        if follows && new.root == self.root && new.set != self.set {
            return Ok(());
        }
        Err(RootError::ForeignShare)
    }

    /// `new`, remembering what it replaced and when.
    pub(crate) fn replaced_by(&self, mut new: Self, key: &RootKey, at: UnixMillis) -> Result<Self, RootError> {
        self.check_successor(&new)?;
        new.check_against(key)?;
        new.replaced = self.replaced.clone();
        new.replaced.push_back(Replaced { set: self.set, version: self.version, at });
        while new.replaced.len() > REMEMBERED {
            new.replaced.pop_front();
        }
        Ok(new)
    }
}
