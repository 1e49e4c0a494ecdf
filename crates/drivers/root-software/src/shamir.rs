//! A root key that is split between people (Shamir, "How to Share a Secret", CACM 22, 1979; requirement T4).

use async_trait::async_trait;
use keyreeve_crypto::random::Random;
use keyreeve_crypto::shamir::{self, MAX_SHARES, Share, SplitError};
use keyreeve_model::Custody;
use keyreeve_root::root_key::{RootKey, SetId, check_value, fits, parameters, unavailable};
use keyreeve_root::{Initialised, Root, RootError, SealStatus};
use keyreeve_secret::{SecretArray, SecretBytes, SecretString};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A root of trust that opens when as many holders as were agreed have given their shares, and closes for good when the
/// process ends or [`Root::seal`] is called.
///
/// The root key is made at initialisation, split, and forgotten; while the root is open, memory holds the wrapping key
/// that is derived from it. Fewer shares than needed say nothing about the key, whoever computes for however long.
pub struct ShamirRoot {
    random: Random,
    state: RwLock<State>,
}

enum State {
    Unconfigured,
    Closed(Parameters, Vec<Share>),
    Open(Parameters, RootKey),
}

/// What the deployment record says; no secret.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    format: Format,
    #[serde(with = "hex::serde")]
    set: SetId,
    threshold: u8,
    shares: u8,
    /// Tells the right root key from others, see [`fits`].
    #[serde(with = "hex::serde")]
    check: [u8; 32],
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Format {
    #[serde(rename = "keyreeve-shamir-1")]
    V1,
}

impl Parameters {
    fn new(key: &SecretArray<32>, set: SetId, shares: u8, threshold: u8) -> Result<Self, RootError> {
        let check = check_value(key, &set, &[threshold, shares])?;
        Ok(Self { format: Format::V1, set, threshold, shares, check })
    }

    fn sealed(&self, given: usize) -> SealStatus {
        // Never above the threshold, which fits.
        let given = u8::try_from(given).unwrap_or(self.threshold);
        SealStatus::Sealed { given, threshold: self.threshold, shares: self.shares }
    }

    /// The share in `text`, if it is one of this set that was not given before.
    fn accept(&self, given: &[Share], text: &SecretString) -> Result<Share, RootError> {
        let share = Share::from_text(text.expose()).map_err(|_| RootError::NotAShare)?;
        if share.set_id() != self.set {
            return Err(RootError::ForeignShare);
        }
        if given.iter().any(|before| before.index() == share.index()) {
            return Err(RootError::DuplicateShare(share.index()));
        }
        Ok(share)
    }

    /// The root key, if it is what the shares combine to.
    fn open(&self, given: Vec<Share>) -> Result<RootKey, RootError> {
        let key = shamir::combine(given).ok().and_then(|key| key.to_array().ok()).ok_or(RootError::WrongShares)?;
        if !fits(&key, &self.set, &[self.threshold, self.shares], &self.check)? {
            return Err(RootError::WrongShares);
        }
        RootKey::new(&key, &self.set)
    }

    /// As [`open`](Self::open), from shares as their holders will type them.
    fn open_texts<'a>(&self, texts: impl Iterator<Item = &'a SecretString>) -> Result<RootKey, RootError> {
        let mut given = Vec::new();
        for text in texts.take(usize::from(self.threshold)) {
            given.push(self.accept(&given, text)?);
        }
        self.open(given)
    }
}

impl ShamirRoot {
    /// A root that is not initialised or configured yet.
    pub fn new(random: Random) -> Self {
        Self { random, state: RwLock::new(State::Unconfigured) }
    }
}

/// Between 2 and 32 shares of which at least 2 are needed; or a single one, which is the key itself.
fn check_numbers(shares: u8, threshold: u8) -> Result<(), RootError> {
    let shared = (2..=MAX_SHARES).contains(&shares) && (2..=shares).contains(&threshold);
    if shared || (shares, threshold) == (1, 1) { Ok(()) } else { Err(RootError::Shares { threshold, shares }) }
}

fn not_split(error: SplitError) -> RootError {
    RootError::Unavailable(error.to_string())
}

#[async_trait]
impl Root for ShamirRoot {
    fn kind(&self) -> &'static str {
        "shamir"
    }

    fn custody(&self) -> Custody {
        Custody::Kms
    }

    async fn configure(&self, public: &Value) -> Result<(), RootError> {
        let mut state = self.state.write();
        if !matches!(*state, State::Unconfigured) {
            return Err(RootError::Already("configured"));
        }
        let parameters: Parameters = parameters(public)?;
        check_numbers(parameters.shares, parameters.threshold)?;
        *state = State::Closed(parameters, Vec::new());
        Ok(())
    }

    async fn initialise(&self, shares: u8, threshold: u8) -> Result<Initialised, RootError> {
        let mut state = self.state.write();
        if !matches!(*state, State::Unconfigured) {
            return Err(RootError::Already("initialised"));
        }
        check_numbers(shares, threshold)?;
        let key = self.random.secret_array::<32>().map_err(unavailable)?;
        let made = shamir::split(&self.random, &key.duplicate().into(), threshold, shares).map_err(not_split)?;
        let set = made.first().map(Share::set_id).ok_or_else(|| not_split(SplitError::Failed))?;
        let parameters = Parameters::new(&key, set, shares, threshold)?;
        let shares: Vec<SecretString> = made.iter().map(Share::to_text).collect();
        // What does not open again must not become the root of anything.
        parameters.open_texts(shares.iter())?;
        let root = parameters.open_texts(shares.iter().rev())?;
        let public = serde_json::to_value(&parameters).map_err(|error| RootError::Unavailable(error.to_string()))?;
        *state = State::Open(parameters, root);
        Ok(Initialised { public, shares })
    }

    fn status(&self) -> SealStatus {
        match &*self.state.read() {
            State::Unconfigured => SealStatus::NotInitialised { people: true },
            State::Closed(parameters, given) => parameters.sealed(given.len()),
            State::Open(..) => SealStatus::Open,
        }
    }

    async fn unseal(&self, share: &SecretString) -> Result<SealStatus, RootError> {
        let mut state = self.state.write();
        let (parameters, given) = match &mut *state {
            State::Unconfigured => return Err(RootError::NotInitialised),
            State::Open(..) => return Err(RootError::Already("open")),
            State::Closed(parameters, given) => (parameters, given),
        };
        given.push(parameters.accept(given, share)?);
        if given.len() < usize::from(parameters.threshold) {
            return Ok(parameters.sealed(given.len()));
        }
        let (parameters, given) = (parameters.clone(), std::mem::take(given));
        let root = parameters.open(given)?;
        *state = State::Open(parameters, root);
        Ok(SealStatus::Open)
    }

    async fn seal(&self) {
        let mut state = self.state.write();
        if let State::Closed(parameters, _) | State::Open(parameters, _) = &*state {
            *state = State::Closed(parameters.clone(), Vec::new());
        }
    }

    async fn wrap(&self, context: &[u8], secret: &SecretBytes) -> Result<Vec<u8>, RootError> {
        match &*self.state.read() {
            State::Unconfigured => Err(RootError::NotInitialised),
            State::Closed(..) => Err(RootError::Sealed),
            State::Open(_, key) => key.wrap(&self.random, context, secret),
        }
    }

    async fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<SecretBytes, RootError> {
        match &*self.state.read() {
            State::Unconfigured => Err(RootError::NotInitialised),
            State::Closed(..) => Err(RootError::Sealed),
            State::Open(_, key) => key.unwrap(context, wrapped),
        }
    }

    async fn check(&self) -> Result<(), RootError> {
        match &*self.state.read() {
            State::Unconfigured => Err(RootError::NotInitialised),
            State::Closed(..) => Err(RootError::Sealed),
            State::Open(_, key) => key.check(&self.random),
        }
    }
}
