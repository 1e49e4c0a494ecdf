//! The keys of token issuers, as they were last fetched.

use keyreeve_identity::oidc::{Endpoints, parse_discovery};
use keyreeve_identity::{IdentityError, KeySet};
use keyreeve_identity_port::{OidcProvider, OutsideError, Trust};
use keyreeve_model::UnixMillis;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

use crate::error::{Code, Error};

/// How long keys and addresses are taken without asking again: for so long a key counts that its issuer withdrew.
const KEPT_MS: i64 = 600_000;
/// How long keys and addresses are taken when the issuer does not answer.
const KEPT_WITHOUT_ANSWER_MS: i64 = 3_600_000;
/// How often an issuer is asked for a key that it did not have: tokens with made-up keys must not send us there.
const AGAIN_MS: i64 = 60_000;
/// How often an issuer is asked that did not answer.
const AFTER_FAILURE_MS: i64 = 5_000;
/// Issuers remembered (count); there are as many as login methods, and those that methods named before.
const ISSUERS_MAX: usize = 256;

/// Where an issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) issuer: String,
    /// Where its keys are, if the discovery document is not to be asked.
    pub(crate) keys: Option<String>,
    pub(crate) trust: Trust,
}

/// What one issuer said last.
#[derive(Default)]
struct Known {
    endpoints: Option<(Endpoints, UnixMillis)>,
    keys: Option<(Arc<KeySet>, UnixMillis)>,
    failed: Option<UnixMillis>,
}

/// Who asks wants keys that are younger than those that did not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Those that are known will do.
    Known,
    /// A token names a key that is not among them.
    Newer,
}

/// What issuers said last.
#[derive(Default)]
pub(crate) struct Issuers {
    known: Mutex<HashMap<Place, Arc<tokio::sync::Mutex<Known>>>>,
}

fn unavailable(cause: OutsideError) -> Error {
    let text = "the identity provider or directory does not answer as it should: the server's log tells more";
    Error::new(Code::IdentityUnavailable, text).because(cause)
}

fn not_understood(cause: IdentityError) -> Error {
    unavailable(OutsideError::Malformed(cause.to_string()))
}

/// What did not come from outside is the same for everybody who asks.
pub(crate) fn outside(cause: OutsideError) -> Error {
    unavailable(cause)
}

impl Issuers {
    fn at(&self, place: &Place) -> Arc<tokio::sync::Mutex<Known>> {
        let mut known = self.known.lock();
        if known.len() >= ISSUERS_MAX && !known.contains_key(place) {
            known.clear();
        }
        Arc::clone(known.entry(place.clone()).or_default())
    }

    /// Where an issuer is reached.
    pub(crate) async fn endpoints(
        &self,
        port: &dyn OidcProvider,
        place: &Place,
        now: UnixMillis,
    ) -> Result<Endpoints, Error> {
        let known = self.at(place);
        let mut known = known.lock().await;
        known.endpoints(port, place, now).await
    }

    /// An issuer's keys.
    pub(crate) async fn keys(
        &self,
        port: &dyn OidcProvider,
        place: &Place,
        wanted: Wanted,
        now: UnixMillis,
    ) -> Result<Arc<KeySet>, Error> {
        let known = self.at(place);
        // Whoever comes meanwhile waits for the answer instead of asking too.
        let mut known = known.lock().await;
        let kept = if wanted == Wanted::Newer { AGAIN_MS } else { KEPT_MS };
        if let Some((keys, at)) = &known.keys
            && now.since(*at) < kept
        {
            return Ok(Arc::clone(keys));
        }
        let fetched = known.fetch(port, place, now).await;
        match (fetched, &known.keys) {
            (Ok(keys), _) => Ok(keys),
            (Err(_), Some((keys, at))) if now.since(*at) < KEPT_WITHOUT_ANSWER_MS => Ok(Arc::clone(keys)),
            (Err(error), _) => Err(error),
        }
    }
}

impl Known {
    async fn endpoints(&mut self, port: &dyn OidcProvider, place: &Place, now: UnixMillis) -> Result<Endpoints, Error> {
        if let Some((endpoints, at)) = &self.endpoints
            && now.since(*at) < KEPT_MS
        {
            return Ok(endpoints.clone());
        }
        self.not_just_failed(now)?;
        let asked = async {
            let document = port.discover(&place.issuer, &place.trust).await.map_err(unavailable)?;
            parse_discovery(&document, &place.issuer).map_err(not_understood)
        };
        let asked = asked.await;
        match (asked, &self.endpoints) {
            (Ok(endpoints), _) => {
                self.endpoints = Some((endpoints.clone(), now));
                Ok(endpoints)
            }
            (Err(_), Some((endpoints, at))) if now.since(*at) < KEPT_WITHOUT_ANSWER_MS => Ok(endpoints.clone()),
            (Err(error), _) => {
                self.failed = Some(now);
                Err(error)
            }
        }
    }

    async fn fetch(&mut self, port: &dyn OidcProvider, place: &Place, now: UnixMillis) -> Result<Arc<KeySet>, Error> {
        self.not_just_failed(now)?;
        let url = match &place.keys {
            Some(url) => url.clone(),
            None => self.endpoints(port, place, now).await?.keys,
        };
        let answer = match port.keys(&url, &place.trust, None).await {
            Ok(answer) => KeySet::parse(&answer).map_err(not_understood),
            Err(error) => Err(unavailable(error)),
        };
        match answer {
            Ok(keys) => {
                let keys = Arc::new(keys);
                self.keys = Some((Arc::clone(&keys), now));
                Ok(keys)
            }
            Err(error) => {
                self.failed = Some(now);
                Err(error)
            }
        }
    }

    /// One who asks an issuer that does not answer waits for it; those after him do not.
    fn not_just_failed(&self, now: UnixMillis) -> Result<(), Error> {
        match self.failed {
            Some(at) if now.since(at) < AFTER_FAILURE_MS => {
                Err(unavailable(OutsideError::Unreachable("it did not answer a moment ago".to_owned())))
            }
            _ => Ok(()),
        }
    }
}
