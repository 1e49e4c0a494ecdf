//! The root of trust in a token.
//!
//! The root key has the `CKA_ID` `KRV1` and 16 random bytes, which also stand in the deployment's record. What it
//! wrapped is a byte 1 and `nonce || ciphertext || tag` of AES-256-GCM, with the id and the context as additional data.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use keyreeve_crypto::Random;
use keyreeve_model::Custody;
use keyreeve_root::{Initialised, KeyDevice, Root, RootError, SealStatus, WRAP_MAX};
use keyreeve_secret::{SecretBytes, SecretString};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::device::Device;
use crate::link::{Link, Problem};
use crate::settings::Settings;
use crate::survey::Survey;
use crate::wire::{Failure, KeyRef, Kind, Reply, Request};

/// Begins the `CKA_ID` of everything that is ours.
const MARK: &[u8; 4] = b"KRV1";
const ID_LEN: usize = 16;
/// The form of what was wrapped.
const FORM: u8 = 1;
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;
const DOMAIN: &[u8] = b"keyreeve/root/pkcs11/1\0";
/// What the check value is wrapped for; no context of the engine begins so.
const CHECK_CONTEXT: &[u8] = b"\0check";
/// A place that nothing is wrapped for.
const OTHER_CONTEXT: &[u8] = b"\0elsewhere";
const CHECK: &[u8] = b"keyreeve";
/// How long an answer of [`Root::check`] is given again.
const CHECK_AGAIN: Duration = Duration::from_secs(1);

/// A root of trust in a PKCS #11 token. It opens by itself, with the PIN that it reads where the settings say.
pub struct Pkcs11Root {
    token: Arc<Token>,
}

/// What the root and the keys in the device share.
pub(crate) struct Token {
    pub(crate) link: Link,
    pub(crate) random: Random,
    state: RwLock<State>,
    /// One at a time opens.
    opening: tokio::sync::Mutex<()>,
    checked: tokio::sync::Mutex<Option<(Instant, Option<String>)>>,
}

#[derive(Clone)]
enum State {
    Unconfigured,
    Sealed,
    Open(Arc<RootKey>),
}

/// Which key is the root, and something it wrapped.
pub(crate) struct RootKey {
    id: [u8; ID_LEN],
    check: Vec<u8>,
}

/// What the deployment record says.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    format: Format,
    #[serde(with = "hex::serde")]
    key: [u8; ID_LEN],
    #[serde(with = "hex::serde")]
    check: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
enum Format {
    #[serde(rename = "keyreeve-pkcs11-1")]
    V1,
}

/// What a token says about itself, without logging in unless `login` is set. Blocks until it answered.
///
/// # Errors
/// [`RootError::Unavailable`] if the library, the token, or with `login` the PIN does not work.
pub fn examine(settings: &Settings, login: bool) -> Result<Survey, RootError> {
    let pin = if login { Some(settings.pin.read()?) } else { None };
    Ok(crate::link::open(settings, pin)?)
}

impl Pkcs11Root {
    /// A root in the token that `settings` name; nothing is opened before it is configured.
    #[must_use]
    pub fn new(settings: Settings, random: Random) -> Self {
        let token = Token {
            link: Link::new(settings),
            random,
            state: RwLock::new(State::Unconfigured),
            opening: tokio::sync::Mutex::new(()),
            checked: tokio::sync::Mutex::new(None),
        };
        Self { token: Arc::new(token) }
    }

    /// What the token said when it was opened last.
    #[must_use]
    pub fn survey(&self) -> Option<Arc<Survey>> {
        self.token.link.survey()
    }

    /// Process id of the worker that holds the library, if one runs.
    #[must_use]
    pub fn worker_id(&self) -> Option<u32> {
        self.token.link.worker_id()
    }

    async fn open(
        &self,
        find: impl FnOnce(&Token) -> Result<RootKey, RootError> + Send + 'static,
    ) -> Result<Arc<RootKey>, RootError> {
        let opened = self
            .token
            .blocking(move |token| {
                token.link.unlock(token.link.settings().pin.read()?);
                find(token)
            })
            .await;
        match opened {
            Ok(key) => {
                let key = Arc::new(key);
                *self.token.state.write() = State::Open(Arc::clone(&key));
                Ok(key)
            }
            Err(error) => {
                self.token.link.close();
                Err(error)
            }
        }
    }

    fn unconfigured(&self, already: &'static str) -> Result<(), RootError> {
        match *self.token.state.read() {
            State::Unconfigured => Ok(()),
            State::Sealed | State::Open(_) => Err(RootError::Already(already)),
        }
    }
}

impl Token {
    /// Runs on a thread that may wait.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, RootError> + Send + 'static,
    ) -> Result<T, RootError> {
        let token = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&token)).await;
        done.unwrap_or_else(|error| Err(RootError::Unavailable(error.to_string())))
    }

    /// The root key, while it is open.
    pub(crate) fn root(&self) -> Result<Arc<RootKey>, RootError> {
        match &*self.state.read() {
            State::Unconfigured => Err(RootError::NotInitialised),
            State::Sealed => Err(RootError::Sealed),
            State::Open(key) => Ok(Arc::clone(key)),
        }
    }

    /// One call within the usual time.
    pub(crate) fn call(&self, request: &Request) -> Result<Reply, Problem> {
        self.link.call(request, self.link.settings().timeout)
    }

    /// A call with the root key. That it is missing says that the token was taken out or another one put in: the next
    /// call looks anew.
    fn call_root(&self, request: &Request) -> Result<Reply, RootError> {
        self.call(request).map_err(|problem| {
            if problem.failure != Failure::Missing {
                return problem.into();
            }
            let text = "the root key is not in the token: is it the token that the deployment was made with?";
            self.link.renew(text);
            RootError::Unavailable(text.to_owned())
        })
    }

    /// Whether the root key is where it should be, so that a missing key is really missing.
    pub(crate) fn root_is_there(&self) -> Result<(), RootError> {
        let root = self.root()?;
        self.call_root(&Request::Look(root.reference())).map(drop)
    }

    fn wrap(&self, root: &RootKey, context: &[u8], secret: SecretBytes) -> Result<Vec<u8>, RootError> {
        let nonce = self.random.nonce_array().map_err(|error| RootError::Unavailable(error.to_string()))?;
        let len = NONCE_LEN + secret.len() + TAG_LEN;
        match self.call_root(&Request::Seal(root.reference(), nonce, root.bound(context), secret))? {
            Reply::Bytes(sealed) if sealed.len() == len => Ok([&[FORM], sealed.as_slice()].concat()),
            _ => Err(wrong_answer()),
        }
    }

    fn unwrap(&self, root: &RootKey, context: &[u8], wrapped: &[u8]) -> Result<SecretBytes, RootError> {
        let sealed = wrapped.strip_prefix(&[FORM]).ok_or(RootError::Unwrap)?;
        let len = sealed.len().checked_sub(NONCE_LEN + TAG_LEN).filter(|&len| len <= WRAP_MAX);
        let len = len.ok_or(RootError::Unwrap)?;
        match self.call_root(&Request::Unseal(root.reference(), root.bound(context), sealed.to_vec()))? {
            Reply::Secret(secret) if secret.len() == len => Ok(secret),
            _ => Err(wrong_answer()),
        }
    }

    fn find(&self, parameters: Parameters) -> Result<RootKey, RootError> {
        let root = RootKey { id: parameters.key, check: parameters.check };
        self.call_root(&Request::Look(root.reference()))?;
        let checked = self.unwrap(&root, CHECK_CONTEXT, &root.check).map_err(|error| match error {
            RootError::Unwrap => RootError::Unavailable("the key in this token is not this deployment's".to_owned()),
            other => other,
        })?;
        if !checked.ct_eq(CHECK) {
            return Err(wrong_answer());
        }
        self.binds(&root)?;
        Ok(root)
    }

    /// Takes over the root key that is in the token, or makes one.
    fn find_or_make(&self) -> Result<RootKey, RootError> {
        let label = &self.link.settings().key_label;
        let lacks = self.link_survey()?.lacks_for_root();
        if !lacks.is_empty() {
            return Err(RootError::Refused(format!("the token cannot be a root: {}", lacks.join(", "))));
        }
        let Reply::Ids(ids) = self.call(&Request::Find(label.clone()))? else { return Err(wrong_answer()) };
        let id = match ids.as_slice() {
            [] => self.make(label)?,
            [one] => root_id(one).ok_or_else(|| {
                RootError::Refused(format!("a key \"{label}\" is in the token that Keyreeve did not make"))
            })?,
            _ => {
                let text = format!(
                    "several keys are called \"{label}\" in the token: which one is the root? Give this \
                     deployment a key label of its own"
                );
                return Err(RootError::Refused(text));
            }
        };
        let mut root = RootKey { id, check: Vec::new() };
        self.call_root(&Request::Look(root.reference()))?;
        root.check = self.wrap(&root, CHECK_CONTEXT, SecretBytes::copy_from(CHECK))?;
        // What does not unwrap must not become the root of anything.
        self.unwrap(&root, CHECK_CONTEXT, &root.check)?;
        self.binds(&root)?;
        Ok(root)
    }

    /// Whether the token binds what it seals to where it belongs: libraries are known that leave the additional data
    /// out, and wrapped keys could change places.
    fn binds(&self, root: &RootKey) -> Result<(), RootError> {
        match self.unwrap(root, OTHER_CONTEXT, &root.check) {
            Err(RootError::Unwrap) => Ok(()),
            Err(other) => Err(other),
            Ok(_) => Err(RootError::Refused(
                "the token opens what was sealed for another place: its AES-GCM leaves the additional data out, and it \
                 cannot be a root"
                    .to_owned(),
            )),
        }
    }

    fn link_survey(&self) -> Result<Arc<Survey>, RootError> {
        // Any call opens the token.
        self.call(&Request::Find(self.link.settings().key_label.clone()))?;
        self.link.survey().ok_or_else(wrong_answer)
    }

    fn make(&self, label: &str) -> Result<[u8; ID_LEN], RootError> {
        let id = self.random.nonce_array().map_err(|error| RootError::Unavailable(error.to_string()))?;
        let root = RootKey { id, check: Vec::new() };
        let limit = self.link.settings().making;
        self.link.call(&Request::Generate(root.reference(), label.to_owned()), limit)?;
        Ok(id)
    }
}

impl RootKey {
    fn reference(&self) -> KeyRef {
        KeyRef { id: self.prefix(), kind: Kind::Root }
    }

    /// With what the ids of this root's own key and of the keys below it begin.
    pub(crate) fn prefix(&self) -> Vec<u8> {
        [&MARK[..], &self.id].concat()
    }

    fn bound(&self, context: &[u8]) -> Vec<u8> {
        [DOMAIN, &self.id, context].concat()
    }
}

fn root_id(id: &[u8]) -> Option<[u8; ID_LEN]> {
    id.strip_prefix(MARK)?.try_into().ok()
}

pub(crate) fn wrong_answer() -> RootError {
    RootError::Unavailable("the token gave a wrong answer".to_owned())
}

#[async_trait]
impl Root for Pkcs11Root {
    fn kind(&self) -> &'static str {
        "pkcs11"
    }

    fn custody(&self) -> Custody {
        Custody::Hsm
    }

    async fn configure(&self, public: &Value) -> Result<(), RootError> {
        let _one = self.token.opening.lock().await;
        self.unconfigured("configured")?;
        let parameters = Parameters::deserialize(public).map_err(|error| {
            RootError::Unavailable(format!("the deployment's record of its root is not for a PKCS #11 token: {error}"))
        })?;
        self.open(move |token| token.find(parameters)).await.map(drop)
    }

    async fn initialise(&self, shares: u8, threshold: u8) -> Result<Initialised, RootError> {
        let _one = self.token.opening.lock().await;
        self.unconfigured("initialised")?;
        if (shares, threshold) != (0, 0) {
            return Err(RootError::NoShares);
        }
        let root = self.open(Token::find_or_make).await?;
        let parameters = Parameters { format: Format::V1, key: root.id, check: root.check.clone() };
        let public = serde_json::to_value(parameters).map_err(|error| RootError::Unavailable(error.to_string()))?;
        Ok(Initialised { public, shares: Vec::new() })
    }

    fn pin_refused(&self) -> bool {
        self.token.link.refused()
    }

    fn status(&self) -> SealStatus {
        match *self.token.state.read() {
            State::Unconfigured => SealStatus::NotInitialised { people: false },
            State::Sealed => SealStatus::Sealed { given: 0, threshold: 0, shares: 0 },
            State::Open(_) => SealStatus::Open,
        }
    }

    async fn unseal(&self, _share: &SecretString) -> Result<SealStatus, RootError> {
        Err(RootError::NoShares)
    }

    async fn seal(&self) {
        {
            let mut state = self.token.state.write();
            if matches!(*state, State::Open(_)) {
                *state = State::Sealed;
            }
        }
        let closed = self.token.blocking(|token| {
            token.link.close();
            Ok(())
        });
        // Only a runtime that ends refuses, and then the worker ends with the process.
        let _ = closed.await;
    }

    async fn wrap(&self, context: &[u8], secret: &SecretBytes) -> Result<Vec<u8>, RootError> {
        let root = self.token.root()?;
        if secret.len() > WRAP_MAX {
            return Err(RootError::TooLong);
        }
        let (context, secret) = (context.to_vec(), secret.duplicate());
        self.token.blocking(move |token| token.wrap(&root, &context, secret)).await
    }

    async fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<SecretBytes, RootError> {
        let root = self.token.root()?;
        let (context, wrapped) = (context.to_vec(), wrapped.to_vec());
        self.token.blocking(move |token| token.unwrap(&root, &context, &wrapped)).await
    }

    async fn check(&self) -> Result<(), RootError> {
        let root = self.token.root()?;
        let mut checked = self.token.checked.lock().await;
        let fresh = checked.as_ref().filter(|(when, _)| when.elapsed() < CHECK_AGAIN);
        let problem = match fresh {
            Some((_, problem)) => problem.clone(),
            None => {
                let asked = self.token.blocking(move |token| token.unwrap(&root, CHECK_CONTEXT, &root.check)).await;
                let problem = asked.err().map(|error| match error {
                    RootError::Unavailable(text) => text,
                    other => other.to_string(),
                });
                *checked = Some((Instant::now(), problem.clone()));
                problem
            }
        };
        problem.map_or(Ok(()), |text| Err(RootError::Unavailable(text)))
    }

    fn device(&self) -> Option<Arc<dyn KeyDevice>> {
        Some(Arc::new(Device(Arc::clone(&self.token))))
    }
}

impl Drop for Pkcs11Root {
    /// The worker ends with the root, also while keys of the device are still referred to.
    fn drop(&mut self) {
        self.token.link.close();
    }
}
