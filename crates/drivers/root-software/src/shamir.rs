//! A root key that is split between people (Shamir, "How to Share a Secret", CACM 22, 1979; requirement T4).
//!
//! The root key has an id for life, which goes into everything that is derived from it; the set of shares has an id and
//! a version of its own, so that the shares can be exchanged under a root that stays. In deployments from before shares
//! could be exchanged the two ids are the same.

use async_trait::async_trait;
use keyreeve_crypto::random::Random;
use keyreeve_crypto::shamir::{self, MAX_SHARES, Share, SplitError};
use keyreeve_model::{Custody, UnixMillis};
use keyreeve_root::root_key::{RootKey, unavailable};
use keyreeve_root::{Exchanging, Gathering, Initialised, NewShares, Root, RootError, SealStatus, ShareSet};
use keyreeve_secret::{SecretArray, SecretBytes, SecretString};
use parking_lot::RwLock;
use serde_json::Value;

use crate::parameters::Parameters;

/// A root of trust that opens when as many holders as were agreed have given their shares, and closes for good when the
/// process ends or [`Root::seal`] is called.
///
/// The root key is made at initialisation, split, and forgotten; while the root is open, memory holds what is derived
/// from it. Fewer shares than needed say nothing about the key, whoever computes for however long.
pub struct ShamirRoot {
    random: Random,
    state: RwLock<State>,
}

enum State {
    Unconfigured,
    Closed(Parameters, Vec<Share>),
    Open(Parameters, Box<RootKey>, Option<Exchange>),
}

/// Shares on their way to being exchanged for others.
struct Exchange {
    of: Exchanging,
    stage: Stage,
}

enum Stage {
    Gathering(Vec<Share>),
    Made(Parameters, Vec<Share>),
}

impl Exchange {
    const fn new(of: Exchanging) -> Self {
        Self { of, stage: Stage::Gathering(Vec::new()) }
    }
}

impl ShamirRoot {
    /// A root that is not initialised or configured yet.
    pub fn new(random: Random) -> Self {
        Self { random, state: RwLock::new(State::Unconfigured) }
    }

    /// Splits a root key: the parameters of version `version`, and the shares, which were seen to open.
    fn split(
        &self,
        key: &SecretArray<32>,
        before: Option<&Parameters>,
        (shares, threshold): (u8, u8),
    ) -> Result<(Parameters, Vec<Share>, RootKey), RootError> {
        let version = before
            .map_or(Some(1), |before| before.version.checked_add(1))
            .ok_or_else(|| RootError::Unavailable("the shares were exchanged as often as can be counted".to_owned()))?;
        let made = shamir::split(&self.random, &key.duplicate().into(), (threshold, shares), version);
        let made = made.map_err(not_split)?;
        let parameters = Parameters::new(key, before, &made)?;
        // What does not open again must not become the root of anything.
        let needed = usize::from(threshold);
        let again = |share: &Share| Share::from_bytes(share.to_bytes().expose()).map_err(|_| RootError::WrongShares);
        parameters.open(made.iter().take(needed).map(again).collect::<Result<_, _>>()?)?;
        let (_, root) = parameters.open(made.iter().rev().take(needed).map(again).collect::<Result<_, _>>()?)?;
        Ok((parameters, made, root))
    }
}

/// Between 2 and 32 shares of which at least 2 are needed; or a single one, which is the key itself.
pub(crate) fn check_numbers(shares: u8, threshold: u8) -> Result<(), RootError> {
    let shared = (2..=MAX_SHARES).contains(&shares) && (2..=shares).contains(&threshold);
    if shared || (shares, threshold) == (1, 1) { Ok(()) } else { Err(RootError::Shares { threshold, shares }) }
}

fn not_split(error: SplitError) -> RootError {
    RootError::Unavailable(error.to_string())
}

fn gathered(parameters: &Parameters, shares: &[Share]) -> Result<Gathering, RootError> {
    let (public, set) = (parameters.public()?, parameters.share_set());
    Ok(Gathering::Made(NewShares { set, public, shares: shares.iter().map(Share::to_text).collect() }))
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
        *state = State::Closed(Parameters::read(public)?, Vec::new());
        Ok(())
    }

    async fn initialise(&self, shares: u8, threshold: u8) -> Result<Initialised, RootError> {
        let mut state = self.state.write();
        if !matches!(*state, State::Unconfigured) {
            return Err(RootError::Already("initialised"));
        }
        check_numbers(shares, threshold)?;
        let key = self.random.secret_array::<32>().map_err(unavailable)?;
        let (parameters, made, root) = self.split(&key, None, (shares, threshold))?;
        let public = parameters.public()?;
        *state = State::Open(parameters, Box::new(root), None);
        Ok(Initialised { public, shares: made.iter().map(Share::to_text).collect() })
    }

    async fn disown(&self) {
        *self.state.write() = State::Unconfigured;
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
        let (_, root) = parameters.open(given)?;
        *state = State::Open(parameters, Box::new(root), None);
        Ok(SealStatus::Open)
    }

    async fn seal(&self) {
        let mut state = self.state.write();
        if let State::Closed(parameters, _) | State::Open(parameters, ..) = &*state {
            *state = State::Closed(parameters.clone(), Vec::new());
        }
    }

    async fn wrap(&self, context: &[u8], secret: &SecretBytes) -> Result<Vec<u8>, RootError> {
        match &*self.state.read() {
            State::Unconfigured => Err(RootError::NotInitialised),
            State::Closed(..) => Err(RootError::Sealed),
            State::Open(_, key, _) => key.wrap(&self.random, context, secret),
        }
    }

    async fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<SecretBytes, RootError> {
        match &*self.state.read() {
            State::Unconfigured => Err(RootError::NotInitialised),
            State::Closed(..) => Err(RootError::Sealed),
            State::Open(_, key, _) => key.unwrap(context, wrapped),
        }
    }

    async fn check(&self) -> Result<(), RootError> {
        match &*self.state.read() {
            State::Unconfigured => Err(RootError::NotInitialised),
            State::Closed(..) => Err(RootError::Sealed),
            State::Open(_, key, _) => key.check(&self.random),
        }
    }

    fn share_set(&self) -> Option<ShareSet> {
        match &*self.state.read() {
            State::Unconfigured => None,
            State::Closed(parameters, _) | State::Open(parameters, ..) => Some(parameters.share_set()),
        }
    }

    async fn exchange_share(&self, of: Exchanging, share: &SecretString) -> Result<Gathering, RootError> {
        let Exchanging { shares, threshold, .. } = of;
        check_numbers(shares, threshold)?;
        let mut state = self.state.write();
        let (parameters, exchange) = match &mut *state {
            State::Unconfigured => return Err(RootError::NotInitialised),
            State::Closed(..) => return Err(RootError::Sealed),
            State::Open(parameters, _, exchange) => (parameters, exchange),
        };
        if exchange.as_ref().is_some_and(|exchange| exchange.of != of) {
            *exchange = None;
        }
        let current = exchange.get_or_insert_with(|| Exchange::new(of));
        let given = match &mut current.stage {
            Stage::Made(made, shares) => {
                parameters.accept(&[], share)?;
                return gathered(made, shares);
            }
            Stage::Gathering(given) => given,
        };
        given.push(parameters.accept(given, share)?);
        if given.len() < usize::from(parameters.threshold) {
            let given = u8::try_from(given.len()).unwrap_or(parameters.threshold);
            return Ok(Gathering::Given { given, threshold: parameters.threshold });
        }
        let (key, _) = parameters.open(std::mem::take(given))?;
        let (made, new, _) = self.split(&key, Some(parameters), (shares, threshold))?;
        let reply = gathered(&made, &new)?;
        current.stage = Stage::Made(made, new);
        Ok(reply)
    }

    fn exchange_given(&self) -> u8 {
        match &*self.state.read() {
            State::Open(_, _, Some(Exchange { stage: Stage::Gathering(given), .. })) => {
                u8::try_from(given.len()).unwrap_or(u8::MAX)
            }
            _ => 0,
        }
    }

    async fn forget_shares(&self) {
        if let State::Open(_, _, exchange) = &mut *self.state.write() {
            *exchange = None;
        }
    }

    fn replacement(&self, public: &Value, at: UnixMillis) -> Result<Value, RootError> {
        match &*self.state.read() {
            State::Unconfigured => Err(RootError::NotInitialised),
            State::Closed(..) => Err(RootError::Sealed),
            State::Open(parameters, key, _) => parameters.replaced_by(Parameters::read(public)?, key, at)?.public(),
        }
    }

    async fn adopt_shares(&self, public: &Value) -> Result<(), RootError> {
        let new = Parameters::read(public)?;
        let mut state = self.state.write();
        match &mut *state {
            State::Unconfigured => Err(RootError::NotInitialised),
            // Sealed between the commit and now: what was given was of the set before.
            State::Closed(parameters, given) => {
                parameters.check_successor(&new)?;
                (*parameters, *given) = (new, Vec::new());
                Ok(())
            }
            State::Open(parameters, key, exchange) => {
                parameters.check_successor(&new)?;
                new.check_against(key)?;
                (*parameters, *exchange) = (new, None);
                Ok(())
            }
        }
    }
}
