//! The root of trust over all this.

use std::sync::Arc;

use async_trait::async_trait;
use keyreeve_crypto::random::Random;
use keyreeve_crypto::shamir::{self, MAX_SHARES, Share};
use keyreeve_model::Custody;
use keyreeve_root::root_key::{RootKey, SetId, check_value, fits, parameters};
use keyreeve_root::{Initialised, Root, RootError, SealStatus};
use keyreeve_secret::{SecretArray, SecretBytes, SecretString};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bench::{Bench, Mended, Options, Trouble};

/// A root of trust that the TPM opens at the start, and people with recovery shares where it does not.
///
/// Once open the TPM is not needed any more: memory holds the wrapping key, as with every root whose key is opened
/// rather than used inside of a device. Requirement S4 3.4 counts it as level 2.
pub struct TpmRoot {
    bench: Arc<Bench>,
    /// One talk with the TPM at a time, and one change of state.
    one: tokio::sync::Mutex<()>,
    state: RwLock<State>,
}

enum State {
    Unconfigured,
    Closed(Parameters, Vec<Share>),
    Open(Parameters, Box<RootKey>),
}

/// What the deployment record says; no secret.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    format: Format,
    #[serde(with = "hex::serde")]
    set: SetId,
    /// Tells the right root key from others, see [`fits`].
    #[serde(with = "hex::serde")]
    check: [u8; 32],
    recovery: Option<Recovery>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Format {
    #[serde(rename = "keyreeve-tpm-1")]
    V1,
}

/// The shares that open it without the TPM.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recovery {
    #[serde(with = "hex::serde")]
    set: SetId,
    threshold: u8,
    shares: u8,
}

impl Recovery {
    /// As the check value fixes it.
    fn fixed(recovery: Option<&Self>) -> Vec<u8> {
        recovery.map_or_else(Vec::new, |one| [&one.set[..], &[one.threshold, one.shares]].concat())
    }
}

impl Parameters {
    fn new(key: &SecretArray<32>, set: SetId, recovery: Option<Recovery>) -> Result<Self, RootError> {
        let check = check_value(key, &set, &Recovery::fixed(recovery.as_ref()))?;
        Ok(Self { format: Format::V1, set, check, recovery })
    }

    fn opened_by(&self, key: &SecretArray<32>) -> Result<bool, RootError> {
        fits(key, &self.set, &Recovery::fixed(self.recovery.as_ref()), &self.check)
    }

    fn sealed(&self, given: usize) -> SealStatus {
        let (threshold, shares) = self.recovery.map_or((0, 0), |one| (one.threshold, one.shares));
        // Never above the threshold, which fits.
        SealStatus::Sealed { given: u8::try_from(given).unwrap_or(threshold), threshold, shares }
    }

    /// The share in `text`, if it is one of this set that was not given before.
    fn accept(&self, given: &[Share], text: &SecretString) -> Result<Share, RootError> {
        let recovery = self.recovery.ok_or(RootError::NoShares)?;
        let share = Share::from_text(text.expose()).map_err(|_| RootError::NotAShare)?;
        if share.set_id() != recovery.set {
            return Err(RootError::ForeignShare);
        }
        if given.iter().any(|before| before.index() == share.index()) {
            return Err(RootError::DuplicateShare(share.index()));
        }
        Ok(share)
    }

    /// The root key, if it is what the shares combine to.
    fn combine(&self, given: Vec<Share>) -> Result<SecretArray<32>, RootError> {
        let key = shamir::combine(given).ok().and_then(|key| key.to_array().ok()).ok_or(RootError::WrongShares)?;
        if self.opened_by(&key)? { Ok(key) } else { Err(RootError::WrongShares) }
    }
}

/// None; or between 2 and 32 shares of which at least 2 are needed; or a single one, which is the key itself.
fn check_numbers(shares: u8, threshold: u8) -> Result<(), RootError> {
    let shared = (2..=MAX_SHARES).contains(&shares) && (2..=shares).contains(&threshold);
    let fits = shared || [(0, 0), (1, 1)].contains(&(shares, threshold));
    if fits { Ok(()) } else { Err(RootError::Shares { threshold, shares }) }
}

impl TpmRoot {
    /// A root that is not initialised or configured yet. Nothing is asked of the TPM before that.
    #[must_use]
    pub fn new(options: Options, random: Random) -> Self {
        let bench = Arc::new(Bench { options, random });
        Self { bench, one: tokio::sync::Mutex::new(()), state: RwLock::new(State::Unconfigured) }
    }

    /// Talks to the TPM on a thread that may block, for as long as the options allow.
    async fn talk<T: Send + 'static>(
        &self,
        about: impl FnOnce(&Bench) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Trouble> {
        Bench::within_limit(Arc::clone(&self.bench), about).await
    }

    /// Opens by the TPM: the key of these parameters.
    async fn by_tpm(&self, parameters: &Parameters) -> Result<SecretArray<32>, Trouble> {
        let (set, key) = self.talk(Bench::open).await?;
        let fits = set == parameters.set && parameters.opened_by(&key).map_err(Trouble::unexpected)?;
        if fits { Ok(key) } else { Err(Trouble::OtherDeployment(self.bench.options.sealed.display().to_string())) }
    }

    fn shares(&self, key: &SecretArray<32>, (shares, threshold): (u8, u8)) -> Result<Vec<Share>, RootError> {
        if shares == 0 {
            return Ok(Vec::new());
        }
        let split = shamir::split(&self.bench.random, &key.duplicate().into(), (threshold, shares), 1);
        split.map_err(|error| RootError::Unavailable(error.to_string()))
    }

    /// Sees to it that the next start needs no shares. What cannot be done is told of: the root is open all the same.
    async fn mend(&self, set: SetId, key: &SecretArray<32>) {
        let key = key.duplicate();
        match self.talk(move |bench| bench.mend(set, &key)).await {
            Ok(Mended::Anew) => tracing::warn!("the root key was sealed anew, to the TPM that is there now"),
            Ok(Mended::Kept) => tracing::info!("the sealed root key is good for the TPM that is there"),
            Err(trouble) => {
                tracing::error!(%trouble, "the root key could not be sealed to the TPM: the next start needs shares");
                return;
            }
        }
        if let Err(trouble) = self.talk(Bench::would_open).await {
            tracing::warn!(%trouble, "the TPM would not open the root as things are: the next start needs shares");
        }
    }
}

fn told(trouble: Trouble) -> RootError {
    RootError::Unavailable(trouble.to_string())
}

#[async_trait]
impl Root for TpmRoot {
    fn kind(&self) -> &'static str {
        "tpm"
    }

    fn custody(&self) -> Custody {
        Custody::Kms
    }

    async fn configure(&self, public: &Value) -> Result<(), RootError> {
        let _one = self.one.lock().await;
        if !matches!(*self.state.read(), State::Unconfigured) {
            return Err(RootError::Already("configured"));
        }
        let parameters: Parameters = parameters(public)?;
        if let Some(recovery) = &parameters.recovery {
            check_numbers(recovery.shares, recovery.threshold)?;
        }
        let state = match self.by_tpm(&parameters).await {
            Ok(key) => {
                let key = Box::new(RootKey::new(&key, &parameters.set)?);
                State::Open(parameters, key)
            }
            // With another deployment's key, shares would not help: somebody mixed up files.
            Err(trouble @ Trouble::OtherDeployment(_)) => return Err(told(trouble)),
            Err(trouble) if parameters.recovery.is_some() => {
                tracing::error!(%trouble, "the TPM does not open the root; recovery shares do");
                State::Closed(parameters, Vec::new())
            }
            Err(trouble) => return Err(told(trouble)),
        };
        *self.state.write() = state;
        Ok(())
    }

    async fn initialise(&self, shares: u8, threshold: u8) -> Result<Initialised, RootError> {
        let _one = self.one.lock().await;
        if !matches!(*self.state.read(), State::Unconfigured) {
            return Err(RootError::Already("initialised"));
        }
        check_numbers(shares, threshold)?;
        let (set, key) = self.talk(Bench::open_or_make).await.map_err(told)?;
        let made = self.shares(&key, (shares, threshold))?;
        let recovery = made.first().map(|share| Recovery { set: share.set_id(), threshold, shares });
        if recovery.is_none() {
            tracing::warn!("this root has no recovery shares: with the TPM everything is lost");
        }
        let parameters = Parameters::new(&key, set, recovery)?;
        let texts: Vec<SecretString> = made.iter().map(Share::to_text).collect();
        // What does not open again must not become the recovery of anything.
        for texts in [texts.iter().collect::<Vec<_>>(), texts.iter().rev().collect()] {
            let mut given = Vec::new();
            for text in texts.into_iter().take(usize::from(threshold)) {
                given.push(parameters.accept(&given, text)?);
            }
            if recovery.is_some() {
                parameters.combine(given)?;
            }
        }
        let public = serde_json::to_value(&parameters).map_err(|error| RootError::Unavailable(error.to_string()))?;
        let root = Box::new(RootKey::new(&key, &set)?);
        *self.state.write() = State::Open(parameters, root);
        Ok(Initialised { public, shares: texts })
    }

    fn status(&self) -> SealStatus {
        match &*self.state.read() {
            State::Unconfigured => SealStatus::NotInitialised { people: false },
            State::Closed(parameters, given) => parameters.sealed(given.len()),
            State::Open(..) => SealStatus::Open,
        }
    }

    async fn unseal(&self, share: &SecretString) -> Result<SealStatus, RootError> {
        let _one = self.one.lock().await;
        let (set, key) = {
            let mut state = self.state.write();
            let (parameters, given) = match &mut *state {
                State::Unconfigured => return Err(RootError::NotInitialised),
                State::Open(..) => return Err(RootError::Already("open")),
                State::Closed(parameters, given) => (parameters, given),
            };
            given.push(parameters.accept(given, share)?);
            if given.len() < parameters.recovery.map_or(usize::MAX, |one| usize::from(one.threshold)) {
                return Ok(parameters.sealed(given.len()));
            }
            let key = parameters.combine(std::mem::take(given))?;
            let root = Box::new(RootKey::new(&key, &parameters.set)?);
            let parameters = parameters.clone();
            let set = parameters.set;
            *state = State::Open(parameters, root);
            (set, key)
        };
        self.mend(set, &key).await;
        Ok(SealStatus::Open)
    }

    async fn seal(&self) {
        let _one = self.one.lock().await;
        let mut state = self.state.write();
        if let State::Closed(parameters, _) | State::Open(parameters, _) = &*state {
            *state = State::Closed(parameters.clone(), Vec::new());
        }
    }

    async fn wrap(&self, context: &[u8], secret: &SecretBytes) -> Result<Vec<u8>, RootError> {
        match &*self.state.read() {
            State::Unconfigured => Err(RootError::NotInitialised),
            State::Closed(..) => Err(RootError::Sealed),
            State::Open(_, key) => key.wrap(&self.bench.random, context, secret),
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
            State::Open(_, key) => key.check(&self.bench.random),
        }
    }
}
