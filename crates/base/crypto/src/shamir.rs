//! Splitting a secret into shares of which some number is needed to put it together again (Shamir 1979, over GF(2^8)).
//!
//! Shamir's scheme by itself puts together a wrong secret from a wrong share without noticing. So a share here carries
//! what is needed to tell four mistakes apart: a share that was mistyped (its own checksum), a share of another set
//! (the set's id), the same share twice (its number), and shares that look right but do not give the secret that was
//! split (the set's check).
//!
//! What is split is `blinder || secret`, the blinder being 16 random bytes; the set's check is a hash over the set's
//! parameters and this extended secret. Thanks to the blinder the check in a single share says nothing about the
//! secret, however easy to guess that may be.
//!
//! Bytes of a share: form (1, here 2), shares needed (1), shares made (1), number of this share (1), version of the set
//! (4, big-endian), id of the set (16), check of the set (16), value (16 + length of the secret), checksum (4: the
//! beginning of SHA-256 over everything before). As text: `krs2-` and the bytes in base 32 (Crockford's alphabet) in
//! groups of four. Reading is forgiving: case, spaces, line breaks and the placing of hyphens do not matter, `i` and
//! `l` count as 1 and `o` as 0, and lines that begin with `#` are for people. The first form, `krs1-`, had no version
//! of the set; it is read for ever, as of a set of version 1.
//!
//! One secret can be split again: the new set has another id and a higher version. Shares of two sets do not mix.
//! **Enough shares of one old set still give the secret**, for whoever computes by themselves: splitting anew changes
//! who is asked, not what was handed out.
//!
//! From each share an Ed25519 key is derived. Its public half can be kept, and then the holder shows with a signature
//! over a challenge that the share is there, without showing the share.

use std::convert::Infallible;
use std::fmt;
use std::sync::LazyLock;

use data_encoding::{Encoding, Specification};
use keyreeve_secret::{SecretArray, SecretBuffer, SecretBytes, SecretString};
use rand_core::{TryCryptoRng, TryRng};
use vsss_rs::Gf256;
use zeroize::Zeroizing;

use crate::digest::{Sha256, sha256};
use crate::error::{CryptoError, KeyError};
use crate::kdf;
use crate::random::{Random, RandomError};
use crate::seeded::SeededEd25519;

/// Most shares in a set.
pub const MAX_SHARES: u8 = 32;

/// Longest secret that is split, in bytes.
pub const MAX_SECRET: usize = 1024;

const BLINDER: usize = 16;
/// Bytes before the value, in the longer form.
const HEADER: usize = 4 + 4 + 16 + 16;
const CHECKSUM: usize = 4;
const GROUP: usize = 4;

/// Longest text that is read: the longest share, with room for spaces and line breaks.
const MAX_TEXT: usize = 4 * (HEADER + BLINDER + MAX_SECRET + CHECKSUM);

/// Crockford's base 32, in lower case.
static BASE32: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification.symbols.push_str("0123456789abcdefghjkmnpqrstvwxyz");
    specification.translate.from.push_str("ABCDEFGHJKMNPQRSTVWXYZiIlLoO");
    specification.translate.to.push_str("abcdefghjkmnpqrstvwxyz111100");
    specification.ignore.push_str("- \t\r\n");
    specification.encoding().expect("the alphabet is fixed and well-formed")
});

/// What a share proves with, and what its challenges are told from other signed texts by.
const PROOF: &[u8] = b"keyreeve share proof v1";

/// How a share is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Without the version of the set, which is 1.
    First,
    Second,
}

impl Form {
    const ALL: [Self; 2] = [Self::First, Self::Second];

    const fn byte(self) -> u8 {
        match self {
            Self::First => 1,
            Self::Second => 2,
        }
    }

    const fn prefix(self) -> &'static str {
        match self {
            Self::First => "krs1-",
            Self::Second => "krs2-",
        }
    }

    const fn header(self) -> usize {
        match self {
            Self::First => HEADER - 4,
            Self::Second => HEADER,
        }
    }
}

/// One share of a secret. Debug shows what is not secret: its number and its set.
pub struct Share {
    form: Form,
    version: u32,
    threshold: u8,
    count: u8,
    index: u8,
    set: [u8; 16],
    check: [u8; 16],
    value: SecretBytes,
}

/// Why a secret cannot be split like this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// The numbers make no sense.
    #[error("of at most 32 shares, 2 to all must be needed; a single share is only possible alone (1 of 1)")]
    Numbers,
    /// The secret is empty or too long.
    #[error("a secret of 1 to 1024 bytes can be split")]
    Length,
    /// Versions of a set begin with 1.
    #[error("the version of a set of shares is 1 or more")]
    Version,
    /// There are no random values.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The sharing code refused.
    #[error("the secret could not be split")]
    Failed,
}

/// Why something is not a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// The text does not begin as a share does.
    #[error("this is not a share: a share begins with \"krs1-\" or \"krs2-\"")]
    NotAShare,
    /// A character that is in no share, or a number of characters that no share has.
    #[error(
        "the share contains a character that does not belong there, or is incomplete; compare it with the original"
    )]
    Encoding,
    /// A later version of the format.
    #[error("the share is written in form {0}, this program reads forms 1 and 2")]
    Version(u8),
    /// The checksum does not match: mistyped or damaged.
    #[error("the share is mistyped or damaged (its checksum does not match); compare it with the original")]
    Checksum,
    /// The checksum matches, the content makes no sense.
    #[error("the share has contradictory content")]
    Content,
}

/// Why shares cannot be put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CombineError {
    /// The share is of another set than those before it.
    #[error("share {index} belongs to another set of shares")]
    OtherSet {
        /// Number of the share in its own set.
        index: u8,
    },
    /// The share was given already.
    #[error("share {index} was given already")]
    Duplicate {
        /// Its number.
        index: u8,
    },
    /// Shares are missing.
    #[error("{have} of {need} shares are here")]
    NotEnough {
        /// Distinct shares given.
        have: u8,
        /// Shares needed; 0 while none was given.
        need: u8,
    },
    /// The shares are of one set and unhurt by their checksums, but do not give the secret that was split: at least one
    /// was made up.
    #[error("the shares do not give the secret they were made from; at least one of them is forged")]
    Mismatch,
}

/// How far collecting shares has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Distinct shares given.
    pub have: u8,
    /// Shares needed; 0 while none was given.
    pub need: u8,
}

/// Splits `secret` into `count` shares of which `threshold` are needed; `version` counts the sets that were made of one
/// secret, from 1.
///
/// # Errors
/// [`SplitError`].
pub fn split(
    random: &Random,
    secret: &SecretBytes,
    (threshold, count): (u8, u8),
    version: u32,
) -> Result<Vec<Share>, SplitError> {
    let alone = threshold == 1 && count == 1;
    if !alone && (threshold < 2 || threshold > count || count > MAX_SHARES) {
        return Err(SplitError::Numbers);
    }
    if secret.is_empty() || secret.len() > MAX_SECRET {
        return Err(SplitError::Length);
    }
    if version == 0 {
        return Err(SplitError::Version);
    }
    let mut extended = SecretBuffer::with_capacity(BLINDER + secret.len());
    extended.extend_from_slice(random.secret_array::<BLINDER>()?.expose());
    extended.extend_from_slice(secret.expose());
    let extended = extended.finish();
    let (set, form) = (random.nonce_array()?, Form::Second);
    let check = set_check(&set, (form, version), (threshold, count), extended.expose());
    let values = if alone { vec![extended] } else { split_values(random, &extended, threshold, count)? };
    let shares = values.into_iter().zip(1u8..);
    Ok(shares.map(|(value, index)| Share { form, version, threshold, count, index, set, check, value }).collect())
}

/// Puts a secret together again from exactly the shares needed or more; of more, the first ones are used.
///
/// # Errors
/// [`CombineError`].
pub fn combine(shares: impl IntoIterator<Item = Share>) -> Result<SecretBytes, CombineError> {
    let mut collector = Collector::new();
    for share in shares {
        collector.add(share)?;
    }
    collector.finish()
}

/// Takes shares one by one, as their holders bring them.
#[derive(Debug, Default)]
pub struct Collector {
    shares: Vec<Share>,
}

impl Collector {
    /// Without shares.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a share.
    ///
    /// # Errors
    /// [`CombineError::OtherSet`], [`CombineError::Duplicate`]; the shares taken before stay.
    pub fn add(&mut self, share: Share) -> Result<Progress, CombineError> {
        if let Some(first) = self.shares.first()
            && !first.same_set(&share)
        {
            return Err(CombineError::OtherSet { index: share.index });
        }
        if self.shares.iter().any(|taken| taken.index == share.index) {
            return Err(CombineError::Duplicate { index: share.index });
        }
        self.shares.push(share);
        Ok(self.progress())
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        // At most 32 distinct shares are taken.
        let have = u8::try_from(self.shares.len()).unwrap_or(u8::MAX);
        Progress { have, need: self.shares.first().map_or(0, |share| share.threshold) }
    }

    /// Whether enough shares are here.
    pub fn is_complete(&self) -> bool {
        let Progress { have, need } = self.progress();
        need > 0 && have >= need
    }

    /// The id of the set, once a share is here.
    pub fn set_id(&self) -> Option<[u8; 16]> {
        self.shares.first().map(|share| share.set)
    }

    /// The secret.
    ///
    /// # Errors
    /// [`CombineError::NotEnough`], [`CombineError::Mismatch`].
    pub fn finish(self) -> Result<SecretBytes, CombineError> {
        let Progress { have, need } = self.progress();
        let Some(first) = self.shares.first().filter(|_| have >= need) else {
            return Err(CombineError::NotEnough { have, need });
        };
        let extended = match need {
            1 => first.value.duplicate(),
            _ => combine_values(&self.shares[..usize::from(need)])?,
        };
        let check =
            set_check(&first.set, (first.form, first.version), (first.threshold, first.count), extended.expose());
        if check != first.check {
            return Err(CombineError::Mismatch);
        }
        Ok(SecretBytes::copy_from(&extended.expose()[BLINDER..]))
    }
}

impl Share {
    /// Number of the share, from 1.
    pub fn index(&self) -> u8 {
        self.index
    }

    /// How many shares are needed.
    pub fn threshold(&self) -> u8 {
        self.threshold
    }

    /// How many shares were made.
    pub fn count(&self) -> u8 {
        self.count
    }

    /// The id of the set it belongs to; not secret.
    pub fn set_id(&self) -> [u8; 16] {
        self.set
    }

    /// The version of that set: how often the secret was split, this time included.
    pub fn set_version(&self) -> u32 {
        self.version
    }

    /// The check of the set: a digest over its parameters and the blinded secret, the same in all its shares; not
    /// secret.
    pub fn set_check(&self) -> [u8; 16] {
        self.check
    }

    /// The public key by which [`prove`](Self::prove) is verified.
    ///
    /// # Errors
    /// [`CryptoError::Module`].
    pub fn verification_key(&self) -> Result<[u8; 32], CryptoError> {
        self.proof_key()?.public_key().try_into().map_err(|_| CryptoError::Module)
    }

    /// Signs a challenge: shows that the share is here, and nothing else about it (64 bytes).
    ///
    /// # Errors
    /// [`CryptoError::Module`].
    pub fn prove(&self, challenge: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.proof_key()?.sign(&proven(challenge))
    }

    fn proof_key(&self) -> Result<SeededEd25519, CryptoError> {
        let place = [PROOF, &self.version.to_be_bytes(), &[self.index]].concat();
        let seed: SecretArray<32> = kdf::hkdf_sha256(self.value.expose(), &self.set, &place)?;
        SeededEd25519::from_seed(seed.expose())
    }

    /// The bytes of the share, see the module.
    pub fn to_bytes(&self) -> SecretBytes {
        let mut out = SecretBuffer::with_capacity(HEADER + self.value.len() + CHECKSUM);
        out.extend_from_slice(&[self.form.byte(), self.threshold, self.count, self.index]);
        if self.form == Form::Second {
            out.extend_from_slice(&self.version.to_be_bytes());
        }
        out.extend_from_slice(&self.set);
        out.extend_from_slice(&self.check);
        out.extend_from_slice(self.value.expose());
        let checksum = sha256(out.expose());
        out.extend_from_slice(&checksum[..CHECKSUM]);
        out.finish()
    }

    /// Reads the bytes of a share.
    ///
    /// # Errors
    /// [`ShareError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ShareError> {
        let (&first, _) = bytes.split_first().ok_or(ShareError::Encoding)?;
        let form = Form::ALL.into_iter().find(|form| form.byte() == first).ok_or(ShareError::Version(first))?;
        let value_len = bytes.len().checked_sub(form.header() + CHECKSUM).ok_or(ShareError::Encoding)?;
        let (body, checksum) = bytes.split_at(form.header() + value_len);
        if sha256(body)[..CHECKSUM] != *checksum {
            return Err(ShareError::Checksum);
        }
        let (header, value) = body.split_at(form.header());
        let [_, threshold, count, index, ids @ ..] = header else { return Err(ShareError::Encoding) };
        let (version, ids) = ids.split_at_checked(form.header() - Form::First.header()).ok_or(ShareError::Encoding)?;
        let version = match form {
            Form::First => 1,
            Form::Second => u32::from_be_bytes(version.try_into().map_err(|_| ShareError::Encoding)?),
        };
        let (set, check) = ids.split_at_checked(16).ok_or(ShareError::Encoding)?;
        let share = Self {
            form,
            version,
            threshold: *threshold,
            count: *count,
            index: *index,
            set: set.try_into().map_err(|_| ShareError::Encoding)?,
            check: check.try_into().map_err(|_| ShareError::Encoding)?,
            value: SecretBytes::copy_from(value),
        };
        if share.makes_sense() { Ok(share) } else { Err(ShareError::Content) }
    }

    /// The share as people keep and type it.
    pub fn to_text(&self) -> SecretString {
        let bytes = self.to_bytes();
        let digits = SecretBytes::init_with(BASE32.encode_len(bytes.len()), |out| {
            BASE32.encode_mut(bytes.expose(), out);
        });
        let prefix = self.form.prefix();
        let mut text = SecretBuffer::with_capacity(prefix.len() + digits.len() * (GROUP + 1) / GROUP);
        text.extend_from_slice(prefix.as_bytes());
        for (at, group) in digits.expose().chunks(GROUP).enumerate() {
            if at > 0 {
                text.push(b'-');
            }
            text.extend_from_slice(group);
        }
        // All of it is ASCII.
        SecretString::from_utf8(text.finish()).unwrap_or_else(|_| SecretString::copy_from(""))
    }

    /// As [`to_text`](Self::to_text), after lines that begin with `#` and say what is not secret.
    pub fn to_document(&self) -> SecretString {
        let (set, check) = (data_encoding::HEXLOWER.encode(&self.set), data_encoding::HEXLOWER.encode(&self.check));
        let Self { threshold, count, index, version, .. } = self;
        let head = format!(
            "# Keyreeve share {index} of {count}; {threshold} are needed\n# set {set}\n# version {version}, check \
             {check}\n# Keep it from everybody. `keyreeve share show` reads it.\n"
        );
        let share = self.to_text();
        let mut text = SecretBuffer::with_capacity(head.len() + share.len() + 1);
        text.extend_from_slice(head.as_bytes());
        text.extend_from_slice(share.expose().as_bytes());
        text.push(b'\n');
        // All of it is ASCII.
        SecretString::from_utf8(text.finish()).unwrap_or_else(|_| SecretString::copy_from(""))
    }

    /// Reads a share as people type it, or with the lines of [`to_document`](Self::to_document).
    ///
    /// # Errors
    /// [`ShareError`].
    pub fn from_text(text: &str) -> Result<Self, ShareError> {
        if text.len() > MAX_TEXT {
            return Err(ShareError::Encoding);
        }
        let mut own = SecretBuffer::with_capacity(text.len());
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            own.extend_from_slice(line.as_bytes());
        }
        let text = own.expose();
        let mut forms = Form::ALL.into_iter();
        let begins = |form: &Form| {
            let prefix = form.prefix().as_bytes();
            text.get(..prefix.len()).is_some_and(|at| at.eq_ignore_ascii_case(prefix))
        };
        let prefix = forms.find(begins).ok_or(ShareError::NotAShare)?.prefix();
        let digits = &text[prefix.len()..];
        let room = BASE32.decode_len(digits.len()).map_err(|_| ShareError::Encoding)?;
        let mut len = 0;
        let bytes = SecretBytes::try_init_with(room, |out| {
            len = BASE32.decode_mut(digits, out).map_err(|_| ShareError::Encoding)?;
            Ok::<_, ShareError>(())
        })?;
        let share = Self::from_bytes(&bytes.expose()[..len])?;
        if share.form.prefix() == prefix { Ok(share) } else { Err(ShareError::Content) }
    }

    fn makes_sense(&self) -> bool {
        let numbers = match self.threshold {
            0 => false,
            1 => self.count == 1,
            threshold => threshold <= self.count && self.count <= MAX_SHARES,
        };
        let lengths = BLINDER + 1..=BLINDER + MAX_SECRET;
        numbers && self.version > 0 && (1..=self.count).contains(&self.index) && lengths.contains(&self.value.len())
    }

    fn same_set(&self, other: &Self) -> bool {
        let parameters = |share: &Self| {
            let numbers = (share.threshold, share.count, share.value.len());
            (share.form, share.version, share.set, share.check, numbers)
        };
        parameters(self) == parameters(other)
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share")
            .field("index", &self.index)
            .field("threshold", &self.threshold)
            .field("count", &self.count)
            .field("set", &self.set)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// Whether `signature` is what the share behind `verification_key` says to `challenge`, see [`Share::prove`].
///
/// # Errors
/// [`CryptoError::NotVerified`].
pub fn verify_proof(verification_key: &[u8; 32], challenge: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
    let key = crate::PublicKey::from_raw(crate::KeyAlgorithm::Ed25519, verification_key);
    let key = key.map_err(|_| CryptoError::from(KeyError::Malformed))?;
    key.verify(crate::SignatureScheme::Ed25519, crate::Message::Raw(&proven(challenge)), signature)
}

fn proven(challenge: &[u8]) -> Vec<u8> {
    [PROOF, b" challenge ", challenge].concat()
}

fn set_check(set: &[u8; 16], (form, version): (Form, u32), (threshold, count): (u8, u8), extended: &[u8]) -> [u8; 16] {
    let mut hash = Sha256::new();
    match form {
        Form::First => hash.update(b"keyreeve share set v1"),
        Form::Second => hash.update(&[&b"keyreeve share set v2"[..], &version.to_be_bytes()].concat()),
    }
    hash.update(set);
    hash.update(&[threshold, count]);
    hash.update(extended);
    let mut check = [0; 16];
    check.copy_from_slice(&hash.finish()[..16]);
    check
}

fn split_values(
    random: &Random,
    extended: &SecretBytes,
    threshold: u8,
    count: u8,
) -> Result<Vec<SecretBytes>, SplitError> {
    let mut rng = WatchedRng { random, failure: None };
    let made = Gf256::split_bytes(threshold.into(), count.into(), extended.expose(), &mut rng);
    let made = Zeroizing::new(made.map_err(|_| SplitError::Failed)?);
    if let Some(failure) = rng.failure {
        return Err(failure.into());
    }
    made.iter()
        .zip(1u8..)
        .map(|(share, index)| match share.split_first() {
            Some((x, value)) if *x == index && value.len() == extended.len() => Ok(SecretBytes::copy_from(value)),
            _ => Err(SplitError::Failed),
        })
        .collect()
}

fn combine_values(shares: &[Share]) -> Result<SecretBytes, CombineError> {
    let points = shares.iter().map(|share| [&[share.index], share.value.expose()].concat()).collect::<Vec<_>>();
    let points = Zeroizing::new(points);
    Gf256::combine_bytes(&*points).map(SecretBytes::from_vec).map_err(|_| CombineError::Mismatch)
}

/// Our generator for the sharing code, which cannot take a failure: it gets zeros, and the result is thrown away.
struct WatchedRng<'a> {
    random: &'a Random,
    failure: Option<RandomError>,
}

impl WatchedRng<'_> {
    fn draw<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }

    fn fill(&mut self, out: &mut [u8]) {
        if let Err(failure) = self.random.fill(out) {
            out.fill(0);
            self.failure = Some(failure);
        }
    }
}

impl TryRng for WatchedRng<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.draw()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.draw()))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.fill(out);
        Ok(())
    }
}

impl TryCryptoRng for WatchedRng<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn random() -> Random {
        Random::from_module().unwrap()
    }

    fn made(secret: &[u8], threshold: u8, count: u8) -> Vec<Share> {
        split(&random(), &SecretBytes::copy_from(secret), (threshold, count), 1).unwrap()
    }

    fn copy(share: &Share) -> Share {
        Share::from_bytes(share.to_bytes().expose()).unwrap()
    }

    fn picked(shares: &[Share], indices: &[usize]) -> Vec<Share> {
        indices.iter().map(|&i| copy(&shares[i])).collect()
    }

    #[test]
    fn every_choice_of_three_out_of_five_gives_the_secret() {
        let shares = made(b"root key", 3, 5);
        let mut choices = 0;
        for a in 0..5 {
            for b in 0..5 {
                for c in 0..5 {
                    if HashSet::from([a, b, c]).len() == 3 {
                        assert_eq!(combine(picked(&shares, &[a, b, c])).unwrap().expose(), b"root key");
                        choices += 1;
                    }
                }
            }
        }
        assert_eq!(choices, 60);
        assert_eq!(combine(picked(&shares, &[4, 1])).unwrap_err(), CombineError::NotEnough { have: 2, need: 3 });
        assert_eq!(combine(picked(&shares, &[0, 1, 2, 3, 4])).unwrap().expose(), b"root key");
        assert_eq!(combine([]).unwrap_err(), CombineError::NotEnough { have: 0, need: 0 });
    }

    #[test]
    fn one_of_one_is_possible_and_nothing_else_below_two() {
        let shares = made(b"s", 1, 1);
        assert_eq!(combine(shares).unwrap().expose(), b"s");
        let secret = SecretBytes::copy_from(b"s");
        for (threshold, count) in [(0, 0), (0, 3), (1, 2), (1, 32), (3, 2), (2, 33), (33, 33), (2, 1)] {
            assert_eq!(split(&random(), &secret, (threshold, count), 1).unwrap_err(), SplitError::Numbers);
        }
        for len in [0, MAX_SECRET + 1] {
            let secret = SecretBytes::copy_from(&vec![0; len]);
            assert_eq!(split(&random(), &secret, (2, 3), 1).unwrap_err(), SplitError::Length);
        }
    }

    #[test]
    fn mistakes_are_told_apart() {
        let (ours, theirs) = (made(b"ours!", 2, 3), made(b"other", 2, 3));
        let mut collector = Collector::new();
        assert_eq!(collector.progress(), Progress { have: 0, need: 0 });
        assert_eq!(collector.add(copy(&ours[1])).unwrap(), Progress { have: 1, need: 2 });
        assert_eq!(collector.add(copy(&ours[1])).unwrap_err(), CombineError::Duplicate { index: 2 });
        assert_eq!(collector.add(copy(&theirs[2])).unwrap_err(), CombineError::OtherSet { index: 3 });
        assert!(!collector.is_complete());
        assert_eq!(collector.add(copy(&ours[2])).unwrap(), Progress { have: 2, need: 2 });
        assert!(collector.is_complete());
        assert_eq!(collector.set_id(), Some(ours[0].set_id()));
        assert_eq!(collector.finish().unwrap().expose(), b"ours!");
    }

    /// A share whose value was changed and whose checksum was made anew: somebody wants a wrong secret to come out.
    #[test]
    fn a_forged_share_never_gives_a_secret() {
        let shares = made(b"root key", 2, 3);
        let mut forged = copy(&shares[1]);
        forged.value.expose_mut()[3] ^= 1;
        let forged = copy(&forged);
        assert_eq!(combine([copy(&shares[0]), forged]).unwrap_err(), CombineError::Mismatch);
        let mut renumbered = copy(&shares[1]);
        renumbered.index = 3;
        assert_eq!(combine([copy(&shares[0]), copy(&renumbered)]).unwrap_err(), CombineError::Mismatch);
    }

    #[test]
    fn shares_of_one_secret_from_two_ceremonies_do_not_mix() {
        let (first, second) = (made(b"same secret", 2, 3), made(b"same secret", 2, 3));
        assert_eq!(combine([copy(&first[0]), copy(&second[1])]).unwrap_err(), CombineError::OtherSet { index: 2 });
        assert_ne!(first[0].check, second[0].check);
        assert_ne!(first[0].value.expose(), second[0].value.expose());
    }

    #[test]
    fn text_is_read_in_spite_of_how_it_was_typed() {
        let share = &made(b"typed by hand", 2, 2)[0];
        let text = share.to_text();
        let text = text.expose();
        assert!(text.starts_with("krs2-"));
        assert!(text[5..].split('-').all(|group| (1..=4).contains(&group.len())));
        let original = share.to_bytes();
        let reads = |variant: &str| Share::from_text(variant).map(|read| read.to_bytes().ct_eq(original.expose()));
        assert_eq!(reads(text), Ok(true));
        assert_eq!(reads(&text.to_uppercase()), Ok(true));
        assert_eq!(reads(&format!("  {}\n", text[..5].to_owned() + &text[5..].replace('-', " \n"))), Ok(true));
        assert_eq!(reads(&(text[..5].to_owned() + &text[5..].replace('1', "l").replace('0', "O"))), Ok(true));
        assert_eq!(reads(&text[5..]), Err(ShareError::NotAShare));
        assert_eq!(reads(""), Err(ShareError::NotAShare));
        assert_eq!(reads("krs1-"), Err(ShareError::Encoding));
        assert_eq!(reads("krs1-ü"), Err(ShareError::Encoding));
        assert_eq!(reads(&format!("krs1-{}", "0".repeat(100_000))), Err(ShareError::Encoding));
        assert_eq!(Share::from_bytes(&[3; 90]).unwrap_err(), ShareError::Version(3));
        assert_eq!(reads(share.to_document().expose()), Ok(true));
        let renamed = text.replacen("krs2-", "krs1-", 1);
        assert_eq!(reads(&renamed), Err(ShareError::Content));
    }

    #[test]
    fn contradictory_content_is_refused() {
        let share = &made(b"secret", 2, 3)[0];
        let changes: [fn(&mut Share); 6] = [
            |share| share.version = 0,
            |share| share.threshold = 0,
            |share| share.threshold = 4,
            |share| share.count = 33,
            |share| share.index = 0,
            |share| share.value.truncate(BLINDER),
        ];
        for change in changes {
            let mut changed = copy(share);
            change(&mut changed);
            assert_eq!(Share::from_bytes(changed.to_bytes().expose()).unwrap_err(), ShareError::Content);
        }
        assert!(!format!("{share:?}").contains("value"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn any_secret_survives_as_text(
            secret in proptest::collection::vec(any::<u8>(), 1..80),
            (threshold, count) in (2u8..=8).prop_flat_map(|threshold| (Just(threshold), threshold..=12)),
        ) {
            let shares = made(&secret, threshold, count);
            prop_assert_eq!(shares.len(), usize::from(count));
            let typed = shares.iter().rev().take(threshold.into());
            let typed = typed.map(|share| Share::from_text(share.to_text().expose()));
            let typed: Result<Vec<_>, _> = typed.collect();
            let combined = combine(typed.unwrap()).unwrap();
            prop_assert_eq!(combined.expose(), secret.as_slice());
        }

        /// One wrong character anywhere: never read as a share, and never a panic.
        #[test]
        fn a_mistyped_share_is_noticed(at: proptest::sample::Index, letter in "[0-9a-z]") {
            let share = &made(b"a secret of some length", 2, 3)[0];
            let text = share.to_text();
            let mut typed = text.expose().to_owned();
            let at = at.index(typed.len());
            let same = |a: char, b: char| matches!((a, b), ('1', 'i' | 'l') | ('0', 'o'));
            let (old, new) = (typed.as_bytes()[at] as char, letter.chars().next().unwrap());
            prop_assume!(old != new && !same(old, new));
            typed.replace_range(at..=at, &letter);
            prop_assert!(Share::from_text(&typed).is_err());
        }

        #[test]
        fn noise_is_no_share(noise: Vec<u8>, text: String) {
            prop_assert!(Share::from_bytes(&noise).is_err());
            prop_assert!(Share::from_text(&text).is_err());
            for form in Form::ALL {
                let prefixed = form.prefix().to_owned() + &text;
                prop_assert!(Share::from_text(&prefixed).is_err());
            }
        }
    }

    /// Made by the version before there was a second form.
    const FIRST_FORM: [&str; 3] = [
        "krs1-0410-60c9-sx06-5w7f-z93w-k1dn-7k3z-81n8-cazj-ppkc-54ve-19q3-450q-a5sx-a70n-xakm-t217-1zjj-7fdv-psg9-\
         875v-80ak-11hr-g5rk-2yy4-sh2r-hgga-hpbd-kc4e-1qkg-p2nz-rnye-tnnk-kyf1-nbcm-6",
        "krs1-0410-60m9-sx06-5w7f-z93w-k1dn-7k3z-81n8-cazj-ppkc-54ve-19q3-450q-a5sx-a7cw-phfa-hy7z-qaw5-eb34-bkp8-\
         25at-g5hx-bgwg-cw2n-009c-5ezk-ckhd-hmq4-e2jf-jmea-hssq-df5v-85t8-4anx-5ceh-2",
        "krs1-0410-60w9-sx06-5w7f-z93w-k1dn-7k3z-81n8-cazj-ppkc-54ve-19q3-450q-a5sx-a78v-htb9-q9yr-5668-qk6y-cqvy-\
         47b5-a6ze-k47q-s94y-1p0v-gsv3-7hag-28ka-5700-fqan-dmxz-ksb1-rj4e-q4mz-knaa-w",
    ];

    #[test]
    fn shares_of_the_first_form_are_read_for_ever() {
        let read = |n: usize| Share::from_text(FIRST_FORM[n]).unwrap();
        for (n, text) in FIRST_FORM.iter().enumerate() {
            let share = read(n);
            assert_eq!(share.to_text().expose(), *text);
            let numbers = (share.index(), share.threshold(), share.count(), share.set_version());
            assert_eq!(numbers, (u8::try_from(n).unwrap() + 1, 2, 3, 1));
        }
        let secret = combine([read(0), read(1)]).unwrap();
        assert_eq!(secret.len(), 32);
        assert!(combine([read(2), read(0)]).unwrap().ct_eq(secret.expose()));
        // The same secret in a new set: neither mixes with the other.
        let anew = split(&random(), &secret, (2, 2), 2).unwrap();
        assert_eq!(combine([read(0), copy(&anew[1])]).unwrap_err(), CombineError::OtherSet { index: 2 });
        assert!(combine(anew).unwrap().ct_eq(secret.expose()));
        assert_eq!(split(&random(), &secret, (2, 2), 0).unwrap_err(), SplitError::Version);
    }

    /// Everything that stands in a share is covered by the set's check: also the version.
    #[test]
    fn the_version_cannot_be_changed() {
        let mut shares = made(b"root key", 2, 3);
        shares.iter_mut().for_each(|share| share.version = 7);
        assert_eq!(combine(shares).unwrap_err(), CombineError::Mismatch);
    }

    #[test]
    fn what_stands_before_a_share_says_what_is_not_secret() {
        let share = &split(&random(), &SecretBytes::copy_from(b"root key"), (2, 3), 5).unwrap()[2];
        let document = share.to_document();
        let (head, rest) = document.expose().split_at(document.expose().find("krs2-").unwrap());
        assert_eq!(rest.trim_end(), share.to_text().expose());
        let set = data_encoding::HEXLOWER.encode(&share.set);
        for part in ["share 3 of 3", "2 are needed", "version 5", &set] {
            assert!(head.contains(part), "{head}");
        }
        assert!(head.lines().all(|line| line.starts_with('#')));
    }

    #[test]
    fn a_holder_proves_and_nobody_else_does() {
        let shares = made(b"root key", 2, 3);
        let keys: Vec<[u8; 32]> = shares.iter().map(|share| share.verification_key().unwrap()).collect();
        let proof = shares[0].prove(b"challenge 1").unwrap();
        assert_eq!(verify_proof(&keys[0], b"challenge 1", &proof), Ok(()));
        assert_eq!(copy(&shares[0]).verification_key().unwrap(), keys[0], "the same each time");
        for (key, challenge) in [(&keys[1], &b"challenge 1"[..]), (&keys[0], b"challenge 2"), (&keys[0], b"")] {
            assert!(verify_proof(key, challenge, &proof).is_err());
        }
        for at in 0..proof.len() {
            let mut bad = proof.clone();
            bad[at] ^= 1;
            assert!(verify_proof(&keys[0], b"challenge 1", &bad).is_err(), "{at}");
        }
        assert!(verify_proof(&[0; 32], b"challenge 1", &proof).is_err());
    }

    #[test]
    fn fewer_shares_say_nothing() {
        // With one share of two fixed, each value of a byte of the secret remains possible: over many splits of the
        // same secret a byte of a single share takes many values, zero among them.
        let bytes: HashSet<u8> = (0..2000).map(|_| made(&[0xff], 2, 2)[0].value.expose()[BLINDER]).collect();
        assert!(bytes.len() > 200, "{}", bytes.len());
    }
}
