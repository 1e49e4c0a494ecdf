//! Being logged in: a token is got, renewed before half of its life is over, and got anew when it cannot be renewed.
//!
//! Renewing does not wait for a request to come by: a token in a file could not be got again once it has run out.

use std::sync::Arc;
use std::time::Duration;

use keyreeve_secret::{SecretBuffer, SecretBytes, SecretString};
use reqwest::Method;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout};

use super::answer::{self, Granted, Operation};
use super::{Api, Login, check_path};
use crate::http::Answer;
use crate::{RemoteError, read_secret};

/// However short a token lives, and when a renewal failed: not more often than this.
const AT_MOST_EVERY: Duration = Duration::from_secs(5);
/// Longer than Vault gives by default; keeps sums within what the clock can say.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// The token of one service.
pub(super) struct Session {
    api: Arc<Api>,
    login: Login,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    token: Option<Kept>,
    /// What came out of a wrapping that opens only once.
    secret_id: Option<SecretString>,
    /// Whether a task renews.
    renewing: bool,
}

struct Kept {
    text: Arc<SecretString>,
    /// How long it lived when it was new.
    full: Option<Duration>,
    renewable: bool,
    /// When to renew it, and its end; none for a token without end.
    times: Option<(Instant, Instant)>,
}

impl Kept {
    fn new(text: Arc<SecretString>, lifetime: Option<Duration>, renewable: bool) -> Self {
        let mut kept = Self { text, full: lifetime, renewable, times: None };
        kept.begin(lifetime);
        kept
    }

    fn begin(&mut self, lifetime: Option<Duration>) {
        let now = Instant::now();
        let lifetime = lifetime.map(|lifetime| lifetime.min(LONGEST));
        self.times = lifetime.map(|lifetime| (now + (lifetime / 2).max(AT_MOST_EVERY).min(lifetime), now + lifetime));
    }

    fn is_due(&self) -> bool {
        self.times.is_some_and(|(renew, _)| renew <= Instant::now())
    }

    fn has_ended(&self) -> bool {
        self.times.is_some_and(|(_, end)| end <= Instant::now())
    }
}

impl Session {
    pub(super) fn new(api: Arc<Api>, login: Login) -> Result<Arc<Self>, RemoteError> {
        match &login {
            Login::Token { .. } => {}
            Login::AppRole { mount, .. } | Login::Kubernetes { mount, .. } | Login::Certificate { mount, .. } => {
                check_path(mount)?;
            }
        }
        Ok(Arc::new(Self { api, login, held: Mutex::default() }))
    }

    /// A token that holds now. When it cannot be renewed for now it serves to its end.
    pub(super) async fn token(self: &Arc<Self>) -> Result<Arc<SecretString>, RemoteError> {
        // Held while asking: whoever comes meanwhile waits for the same answer.
        let mut held = self.held.lock().await;
        self.freshen(&mut held).await?;
        let token = held.token.as_ref().map(|kept| (kept.text.clone(), kept.times));
        let (token, times) = token.ok_or_else(|| RemoteError::Refused("no token".to_owned()))?;
        if times.is_some() && !std::mem::replace(&mut held.renewing, true) {
            drop(tokio::spawn(keep_fresh(Arc::downgrade(self))));
        }
        Ok(token)
    }

    async fn freshen(&self, held: &mut Held) -> Result<(), RemoteError> {
        if let Some(kept) = held.token.as_mut().filter(|kept| !kept.has_ended()) {
            if !kept.is_due() {
                return Ok(());
            }
            match self.renew(kept).await {
                Ok(true) => return Ok(()),
                Err(error) if error.is_passing() => return Ok(()),
                // It cannot be renewed, or not for long any more.
                Ok(false) | Err(_) => {}
            }
        }
        // The old one stays until there is a new one: whoever asks may go away in the middle.
        match self.enter(held).await {
            Ok(kept) => held.token = Some(kept),
            Err(error) if error.is_passing() && held.token.as_ref().is_some_and(|kept| !kept.has_ended()) => {}
            Err(error) => {
                held.token = None;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Whether it was renewed for long enough to go on with it.
    async fn renew(&self, kept: &mut Kept) -> Result<bool, RemoteError> {
        if !kept.renewable {
            return Ok(false);
        }
        let body = Some(SecretBytes::copy_from(b"{}"));
        let answer = self.api.call(Method::POST, "auth/token/renew-self", Some(kept.text.expose()), body).await?;
        let granted = Granted::read(&answer, Operation::Renew)?;
        kept.renewable = granted.renewable;
        kept.begin(granted.lifetime);
        // Close to the longest life that Vault gives a token each renewal gives less.
        let enough = granted.lifetime.is_none() || granted.lifetime >= kept.full.map(|full| full / 2);
        Ok(enough || matches!(self.login, Login::Token { .. }))
    }

    async fn enter(&self, held: &mut Held) -> Result<Kept, RemoteError> {
        let (path, body) = match &self.login {
            Login::Token { file } => return self.enter_with(read_secret(file)?).await,
            Login::AppRole { mount, role_id_file, secret_id_file, wrapped } => {
                let role_id = read_secret(role_id_file)?;
                let secret_id = match (&held.secret_id, wrapped) {
                    (_, false) => read_secret(secret_id_file)?,
                    (Some(known), true) => known.duplicate(),
                    (None, true) => {
                        let secret_id = self.unwrap_secret_id(mount, &read_secret(secret_id_file)?).await?;
                        held.secret_id.insert(secret_id).duplicate()
                    }
                };
                let body = members(&[("role_id", role_id.expose()), ("secret_id", secret_id.expose())])?;
                (format!("auth/{mount}/login"), body)
            }
            Login::Kubernetes { mount, role, jwt_file } => {
                let jwt = read_secret(jwt_file)?;
                (format!("auth/{mount}/login"), members(&[("role", role), ("jwt", jwt.expose())])?)
            }
            Login::Certificate { mount, role } => {
                let role: Vec<_> = role.iter().map(|role| ("name", role.as_str())).collect();
                (format!("auth/{mount}/login"), members(&role)?)
            }
        };
        let answer = self.api.call(Method::POST, &path, None, Some(body)).await?;
        let granted = Granted::read(&answer, Operation::Login)?;
        let none = || RemoteError::Malformed("it logged us in without a token".to_owned());
        Ok(Kept::new(Arc::new(granted.token.ok_or_else(none)?), granted.lifetime, granted.renewable))
    }

    async fn enter_with(&self, token: SecretString) -> Result<Kept, RemoteError> {
        let answer = self.look_up(&token).await?;
        let granted = Granted::own(&answer)?;
        Ok(Kept::new(Arc::new(token), granted.lifetime, granted.renewable))
    }

    async fn look_up(&self, token: &SecretString) -> Result<Answer, RemoteError> {
        self.api.call(Method::GET, "auth/token/lookup-self", Some(token.expose()), None).await
    }

    /// Opens the wrapping, after a look at who made it: somebody who took the secret id could wrap another in its
    /// place.
    async fn unwrap_secret_id(&self, mount: &str, wrapping: &SecretString) -> Result<SecretString, RemoteError> {
        let body = members(&[("token", wrapping.expose())])?;
        let looked = self.api.call(Method::POST, "sys/wrapping/lookup", None, Some(body)).await?;
        let made_at = answer::creation_path(&looked)?;
        let role =
            made_at.strip_prefix(&format!("auth/{mount}/role/")).and_then(|rest| rest.strip_suffix("/secret-id"));
        if role.is_none_or(str::is_empty) {
            let what = "the wrapping token does not come from the role's secret ids: somebody put another in its place";
            return Err(RemoteError::Refused(what.to_owned()));
        }
        let token = Some(wrapping.expose());
        answer::secret_id(&self.api.call(Method::POST, "sys/wrapping/unwrap", token, None).await?)
    }

    /// Whether Vault knows a token that it did not permit something with.
    pub(super) async fn still_knows(&self, token: &SecretString) -> Result<bool, RemoteError> {
        Ok(self.look_up(token).await?.status.as_u16() != 403)
    }

    /// Forgets a token that is none any longer, unless it was replaced already.
    pub(super) async fn forget(&self, refused: &Arc<SecretString>) {
        let mut held = self.held.lock().await;
        if held.token.as_ref().is_some_and(|kept| Arc::ptr_eq(&kept.text, refused)) {
            held.token = None;
        }
    }
}

/// Renews at the time when it is due, as long as the session is in use and its token has an end.
async fn keep_fresh(session: std::sync::Weak<Session>) {
    loop {
        let due = {
            let Some(session) = session.upgrade() else { return };
            let mut held = session.held.lock().await;
            match held.token.as_ref().and_then(|kept| kept.times) {
                Some((due, _)) => due,
                None => {
                    held.renewing = false;
                    return;
                }
            }
        };
        let now = Instant::now();
        sleep_until(if due <= now { now + AT_MOST_EVERY } else { due }).await;
        let Some(session) = session.upgrade() else { return };
        let mut held = session.held.lock().await;
        let late = RemoteError::Unreachable("no answer in time".to_owned());
        let outcome = timeout(AT_MOST_EVERY, session.freshen(&mut held)).await.unwrap_or(Err(late));
        if let Err(error) = outcome {
            tracing::warn!("vault-transit: the token cannot be renewed: {error}");
        }
    }
}

/// An object of texts, in memory that is wiped.
fn members(pairs: &[(&str, &str)]) -> Result<SecretBytes, RemoteError> {
    let mut body = SecretBuffer::with_capacity(4096);
    body.push(b'{');
    for (index, (name, value)) in pairs.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        let wrong = |_| RemoteError::Refused("a credential is no text".to_owned());
        serde_json::to_writer(&mut body, name).map_err(wrong)?;
        body.push(b':');
        serde_json::to_writer(&mut body, value).map_err(wrong)?;
    }
    body.push(b'}');
    Ok(body.finish())
}
