//! The root of trust over a service; see the crate.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use keyreeve_crypto::digest::{Sha256, sha256};
use keyreeve_crypto::key::LoadedKey;
use keyreeve_crypto::material::Material;
use keyreeve_crypto::random::Random;
use keyreeve_crypto::{CryptoError, KeyAlgorithm, Purpose};
use keyreeve_model::Custody;
use keyreeve_root::{Initialised, Root, RootError, SealStatus, WRAP_MAX};
use keyreeve_secret::{SecretArray, SecretBytes, SecretString};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use crate::cache::{Cache, Found, Which};
use crate::guard::Guard;
use crate::{Bound, Limits, REMOTE_MAX, RemoteError, RemoteWrap};

const LABEL: &[u8] = b"keyreeve cloud root v1";

/// The place that the check value in the deployment record is bound to, and that of probes.
const CHECK: &[u8] = b"keyreeve cloud root check v1";

/// The form of what `wrap` returns: this byte, the length of what the service returned (2 bytes, big-endian), that, and
/// the XAES-256-GCM message.
const FORM: u8 = 1;

/// A root of trust whose key is a service's.
pub struct CloudRoot<R> {
    shared: Arc<Inner<R>>,
}

struct Inner<R> {
    service: R,
    limits: Limits,
    random: Random,
    guard: Guard,
    state: RwLock<State>,
    cache: Mutex<Cache>,
    /// Requests under way, by what they unwrap.
    asking: Mutex<HashMap<Which, WeakShared<Asking>>>,
    /// Whether something waits to wipe what is too old.
    sweeping: Mutex<bool>,
    /// The last check: when, and how it went.
    checked: tokio::sync::Mutex<Option<(Instant, Result<(), RemoteError>)>>,
}

type Asking = BoxFuture<'static, Result<Arc<LoadedKey>, RemoteError>>;

#[derive(Clone)]
enum State {
    Unconfigured,
    Sealed,
    Open(Arc<Parameters>),
}

/// What the deployment record says. Nothing in it is secret.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    format: Format,
    kind: String,
    /// The service's name of the key.
    key: String,
    /// Names this root: random, bound to all it wraps, so that two deployments on one key do not unwrap each other's.
    #[serde(with = "hex")]
    set: [u8; 16],
    /// Something it wrapped: whoever unwraps it holds the right key.
    #[serde(with = "hex")]
    check: Vec<u8>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Format {
    #[serde(rename = "keyreeve-cloud-root-1")]
    V1,
}

impl<R: RemoteWrap> CloudRoot<R> {
    /// A root over a service. Nothing is asked before it is configured or initialised.
    pub fn new(service: R, limits: Limits, random: Random) -> Self {
        let guard = Guard::new(limits, random.clone());
        let inner = Inner {
            service,
            limits,
            random,
            guard,
            state: RwLock::new(State::Unconfigured),
            cache: Mutex::default(),
            asking: Mutex::default(),
            sweeping: Mutex::new(false),
            checked: tokio::sync::Mutex::new(None),
        };
        Self { shared: Arc::new(inner) }
    }

    /// How many keys that the service unwrapped are in memory.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.shared.cache.lock().len()
    }

    fn open(&self) -> Result<Arc<Parameters>, RootError> {
        match &*self.shared.state.read() {
            State::Unconfigured => Err(RootError::NotInitialised),
            State::Sealed => Err(RootError::Sealed),
            State::Open(parameters) => Ok(parameters.clone()),
        }
    }

    fn said(&self, error: RemoteError) -> RootError {
        error.of(self.shared.service.kind())
    }

    fn unavailable(&self, what: &str) -> RootError {
        RootError::Unavailable(format!("{}: {what}", self.shared.service.kind()))
    }

    fn only_unconfigured(&self, already: &'static str) -> Result<(), RootError> {
        match &*self.shared.state.read() {
            State::Unconfigured => Ok(()),
            State::Sealed | State::Open(_) => Err(RootError::Already(already)),
        }
    }

    /// From unconfigured to open, unless somebody else was faster.
    fn enter(&self, parameters: Parameters, already: &'static str) -> Result<(), RootError> {
        let mut state = self.shared.state.write();
        match &*state {
            State::Unconfigured => *state = State::Open(Arc::new(parameters)),
            State::Sealed | State::Open(_) => return Err(RootError::Already(already)),
        }
        Ok(())
    }

    /// Unwraps the check value, past the cache.
    async fn proves(&self, parameters: &Parameters) -> Result<(), RootError> {
        self.shared.proves(parameters).await.map_err(|error| match error {
            RemoteError::Unwrap => self.unavailable("the key is not the one that this deployment was made with"),
            other => self.said(other),
        })
    }
}

#[async_trait]
impl<R: RemoteWrap> Root for CloudRoot<R> {
    fn kind(&self) -> &'static str {
        self.shared.service.kind()
    }

    fn custody(&self) -> Custody {
        Custody::Kms
    }

    fn bound(&self) -> Option<Duration> {
        Some(self.shared.limits.keep)
    }

    async fn configure(&self, public: &Value) -> Result<(), RootError> {
        self.only_unconfigured("configured")?;
        let parameters = Parameters::deserialize(public).map_err(|error| {
            self.unavailable(&format!("the deployment record describes another kind of root, or is damaged: {error}"))
        })?;
        let Format::V1 = parameters.format;
        if parameters.kind != self.kind() {
            let kind = &parameters.kind;
            return Err(self.unavailable(&format!("the deployment was made with a root of the kind {kind:?}")));
        }
        let shared = &self.shared;
        let means = shared.guard.call(|| shared.service.means(&parameters.key)).await;
        if !means.map_err(|error| self.said(error))? {
            let key = &parameters.key;
            return Err(self.unavailable(&format!(
                "the configuration names another key than the deployment was made with, which is {key}"
            )));
        }
        self.proves(&parameters).await?;
        self.enter(parameters, "configured")
    }

    async fn initialise(&self, shares: u8, threshold: u8) -> Result<Initialised, RootError> {
        self.only_unconfigured("initialised")?;
        if (shares, threshold) != (0, 0) {
            return Err(RootError::NoShares);
        }
        let shared = &self.shared;
        let key = shared.guard.call(|| shared.service.resolve()).await.map_err(|error| self.said(error))?;
        let set = shared.random.nonce_array().map_err(broken)?;
        let kind = self.kind().to_owned();
        let mut parameters = Parameters { format: Format::V1, kind, key, set, check: Vec::new() };
        parameters.check = self.shared.wrap(&parameters, CHECK, &SecretBytes::copy_from(CHECK)).await?;
        // What cannot be unwrapped must not become the root of anything.
        self.proves(&parameters).await?;
        let public = serde_json::to_value(&parameters).map_err(|error| self.unavailable(&error.to_string()))?;
        self.enter(parameters, "initialised")?;
        Ok(Initialised { public, shares: Vec::new() })
    }

    fn status(&self) -> SealStatus {
        match &*self.shared.state.read() {
            State::Unconfigured => SealStatus::NotInitialised { people: false },
            State::Sealed => SealStatus::Sealed { given: 0, threshold: 0, shares: 0 },
            State::Open(_) => SealStatus::Open,
        }
    }

    async fn unseal(&self, _share: &SecretString) -> Result<SealStatus, RootError> {
        Err(RootError::NoShares)
    }

    async fn seal(&self) {
        let mut state = self.shared.state.write();
        if matches!(*state, State::Open(_)) {
            *state = State::Sealed;
        }
        self.shared.cache.lock().clear();
        self.shared.asking.lock().clear();
    }

    async fn wrap(&self, context: &[u8], secret: &SecretBytes) -> Result<Vec<u8>, RootError> {
        let parameters = self.open()?;
        self.shared.wrap(&parameters, context, secret).await
    }

    async fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<SecretBytes, RootError> {
        let parameters = self.open()?;
        let (remote, sealed) = split(wrapped).ok_or(RootError::Unwrap)?;
        let key = self.shared.key(&parameters, context, remote).await.map_err(|error| self.said(error))?;
        key.open(&additional(&parameters.set, remote, context), sealed).map_err(|_| RootError::Unwrap)
    }

    async fn check(&self) -> Result<(), RootError> {
        let parameters = self.open()?;
        // Held while asking: whoever checks meanwhile gets the same answer.
        let mut checked = self.shared.checked.lock().await;
        if let Some((when, outcome)) = checked.as_ref()
            && when.elapsed() < self.shared.limits.check
        {
            return outcome.clone().map_err(|error| self.said(error));
        }
        // To its end, whether somebody waits for it or not: who comes next finds the breaker as it should be.
        let (inner, with) = (self.shared.clone(), parameters.clone());
        let asked = tokio::spawn(async move { inner.probe(&with).await });
        let broken = |_| Err(RemoteError::Malformed("the check did not come to its end".to_owned()));
        let outcome = asked.await.unwrap_or_else(broken);
        *checked = Some((Instant::now(), outcome.clone()));
        // Sealed meanwhile: what was found out is not about a root in use.
        self.open()?;
        outcome.map_err(|error| self.said(error))
    }
}

impl<R: RemoteWrap> Inner<R> {
    async fn wrap(&self, with: &Parameters, context: &[u8], secret: &SecretBytes) -> Result<Vec<u8>, RootError> {
        if secret.len() > WRAP_MAX {
            return Err(RootError::TooLong);
        }
        let kind = self.service.kind();
        let key: SecretArray<32> = self.random.secret_array().map_err(broken)?;
        let bound = bound(&with.set, context);
        let asked = self.guard.call(|| self.service.wrap(&with.key, &bound, &key)).await;
        let remote = self.heed(asked).map_err(|error| error.of(kind))?;
        let length = u16::try_from(remote.len()).ok().filter(|length| usize::from(*length) <= REMOTE_MAX);
        let length = length.ok_or_else(|| RootError::Unavailable(format!("{kind}: its answer is too long")))?;
        let mut out = vec![FORM];
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&remote);
        let additional = additional(&with.set, &remote, context);
        load(key)?.seal_into(&self.random, &additional, secret.expose(), &mut out).map_err(broken)?;
        Ok(out)
    }

    /// The key inside `remote`: from memory, from a request that is under way, or from the service.
    async fn key(
        self: &Arc<Self>,
        with: &Arc<Parameters>,
        context: &[u8],
        remote: &[u8],
    ) -> Result<Arc<LoadedKey>, RemoteError> {
        let bound = bound(&with.set, context);
        let which = which(&bound, remote);
        let found = self.cache.lock().find(&which, self.limits.keep);
        match found {
            Found::Fresh(key) => Ok(key),
            Found::Nothing => self.asked(with, bound, which, remote).await,
            Found::Aging(key) => {
                // Nobody waits for it. Its refusal wipes the cache; its silence leaves what is there to its end.
                drop(tokio::spawn(self.asked(with, bound, which, remote)));
                Ok(key)
            }
        }
    }

    /// The one request for `which`, begun now unless it is under way.
    fn asked(self: &Arc<Self>, with: &Arc<Parameters>, bound: Bound, which: Which, remote: &[u8]) -> Shared<Asking> {
        let mut asking = self.asking.lock();
        // One that all its callers left is gone, and one that is over is as good as gone.
        asking.retain(|_, other| other.upgrade().is_some_and(|other| other.peek().is_none()));
        if let Some(under_way) = asking.get(&which).and_then(WeakShared::upgrade) {
            return under_way;
        }
        let (inner, with, remote) = (self.clone(), with.clone(), remote.to_vec());
        let asked = async move {
            let begun = (Instant::now(), inner.cache.lock().wipes());
            let key = inner.ask(&with, &bound, &remote).await?;
            inner.keep(which, &key, begun);
            Ok(key)
        };
        let asked = asked.boxed().shared();
        if let Some(weak) = asked.downgrade() {
            asking.insert(which, weak);
        }
        asked
    }

    /// Asks the service to unwrap. Some services answer what was altered as they answer what is forbidden; if the check
    /// value still opens, it was altered.
    async fn ask(&self, with: &Parameters, bound: &Bound, remote: &[u8]) -> Result<Arc<LoadedKey>, RemoteError> {
        let asked = self.guard.call(|| self.service.unwrap(&with.key, bound, remote)).await;
        if matches!(asked, Err(RemoteError::Refused(_))) && self.proves(with).await.is_ok() {
            return Err(RemoteError::Unwrap);
        }
        let key = self.heed(asked)?;
        load(key).map(Arc::new).map_err(|error| RemoteError::Malformed(error.to_string()))
    }

    /// Whether the check value opens.
    async fn proves(&self, with: &Parameters) -> Result<(), RemoteError> {
        let damaged = || RemoteError::Malformed("the check value in the deployment record is damaged".to_owned());
        let (remote, sealed) = split(&with.check).ok_or_else(damaged)?;
        let bound = bound(&with.set, CHECK);
        let asked = self.guard.call(|| self.service.unwrap(&with.key, &bound, remote)).await;
        let key = load(self.heed(asked)?).map_err(|error| RemoteError::Malformed(error.to_string()))?;
        let value = key.open(&additional(&with.set, remote, CHECK), sealed).map_err(|_| damaged())?;
        if value.ct_eq(CHECK) { Ok(()) } else { Err(damaged()) }
    }

    /// A service that refuses us means it for what we kept as well.
    fn heed<T>(&self, outcome: Result<T, RemoteError>) -> Result<T, RemoteError> {
        if let Err(RemoteError::Refused(said)) = &outcome {
            tracing::warn!(kind = self.service.kind(), said, "the root's service refuses; what it unwrapped is wiped");
            self.cache.lock().clear();
        }
        outcome
    }

    /// Wraps and unwraps something new.
    async fn probe(&self, with: &Parameters) -> Result<(), RemoteError> {
        let failed = |error: CryptoError| RemoteError::Malformed(error.to_string());
        let key: SecretArray<32> = self.random.secret_array().map_err(|error| failed(error.into()))?;
        let bound = bound(&with.set, CHECK);
        let wrapped = self.heed(self.guard.call(|| self.service.wrap(&with.key, &bound, &key)).await)?;
        let unwrapped = self.heed(self.guard.call(|| self.service.unwrap(&with.key, &bound, &wrapped)).await)?;
        let same = unwrapped.ct_eq(key.expose());
        if same { Ok(()) } else { Err(RemoteError::Malformed("it unwraps to something else".to_owned())) }
    }

    /// Keeps a key, unless the root was sealed or the service refused meanwhile, and sees to it that it goes in time.
    fn keep(self: &Arc<Self>, which: Which, key: &Arc<LoadedKey>, (since, wipes): (Instant, u64)) {
        let state = self.state.read();
        if !matches!(*state, State::Open(_)) {
            return;
        }
        self.cache.lock().keep(which, key.clone(), since, wipes);
        if !std::mem::replace(&mut *self.sweeping.lock(), true) {
            drop(tokio::spawn(sweep(Arc::downgrade(self))));
        }
    }
}

/// Wipes what is too old at the time when it is, until nothing is left.
async fn sweep<R: RemoteWrap>(inner: Weak<Inner<R>>) {
    loop {
        let next = {
            let Some(inner) = inner.upgrade() else { return };
            let mut sweeping = inner.sweeping.lock();
            let next = inner.cache.lock().expire(inner.limits.keep);
            *sweeping = next.is_some();
            next
        };
        match next {
            Some(next) => sleep_until(next).await,
            None => return,
        }
    }
}

/// What the service returned, and the message under the key in it.
fn split(wrapped: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&FORM, rest) = wrapped.split_first()? else { return None };
    let (length, rest) = rest.split_first_chunk()?;
    let length = usize::from(u16::from_be_bytes(*length));
    (length <= REMOTE_MAX).then(|| rest.split_at_checked(length)).flatten()
}

/// What the service binds. The label and the set have fixed lengths, so no two contexts give the same.
fn bound(set: &[u8; 16], context: &[u8]) -> Bound {
    let mut hash = Sha256::new();
    for part in [LABEL, set, context] {
        hash.update(part);
    }
    hash.finish()
}

/// What the message binds, whether the service binds anything or not.
fn additional(set: &[u8; 16], remote: &[u8], context: &[u8]) -> Vec<u8> {
    [LABEL, set, &sha256(remote), context].concat()
}

fn which(bound: &Bound, remote: &[u8]) -> Which {
    let mut hash = Sha256::new();
    hash.update(bound);
    hash.update(remote);
    hash.finish()
}

fn load(key: SecretArray<32>) -> Result<LoadedKey, RootError> {
    let material = Material::parse(KeyAlgorithm::Xaes256Gcm, key.into()).map_err(broken)?;
    LoadedKey::load(&material, Purpose::Encrypt).map_err(broken)
}

fn broken(error: impl Into<CryptoError>) -> RootError {
    RootError::Unavailable(error.into().to_string())
}
