//! Workloads: a signed token of their platform.

use keyreeve_identity::{Claims, Expect, Facts, IdentityError, KeySet, bind, verify_jwt};
use keyreeve_identity_port::Trust;
use keyreeve_model::filed::{RowId, file};
use keyreeve_model::login::{Digest, JwsAlgorithm, JwtKeys, JwtMethod, MethodKind, Reuse, Seen};
use keyreeve_model::record::Revision;
use keyreeve_model::{Change, Name, UnixMillis};
use keyreeve_secret::SecretString;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::subject::recognise;
use super::{Attempt, Details, LoggedIn, Proven, Stop, Terms, usable_method};
use crate::access::HeldMethod;
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::Error;
use crate::issuers::{Place, Wanted};
use crate::pipeline::{Approved, Operation, Outcome, Target};

/// Logs in with a token of somebody else's.
#[derive(Debug)]
pub struct Jwt {
    /// The method.
    pub method: Name,
    /// The token, in compact form.
    pub token: SecretString,
}

impl Operation for Jwt {
    const DESCRIPTOR: &'static Descriptor = &catalogue::LOGIN_JWT;
    const OF_STRANGERS: bool = true;
    const PROVES: bool = true;
    type Reply = LoggedIn;

    fn target(&self) -> Target<'_> {
        Target::Login(&self.method)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<LoggedIn>, Error> {
        let opened = core.need_open()?;
        let held = usable_method(&opened, &self.method)?;
        let attempt = Attempt::begin(core, &opened, approved, &self.method, ("", false))?;
        let judged = self.judge(&attempt, &held).await;
        attempt.end(&Terms::of(&held.record), judged)
    }
}

impl Jwt {
    async fn judge(&self, attempt: &Attempt<'_>, held: &HeldMethod) -> Result<Proven, Stop> {
        let MethodKind::Jwt(method) = &held.record.kind else { return Err("other-kind".into()) };
        let claims = self.verify(attempt, held, method).await?;
        let subject = (claims.issuer().to_owned(), claims.subject().to_owned());
        let bound = bind(&held.record.bindings, &claims).ok_or("no-binding")?;
        let mut details = Details::new();
        let mut changes: Vec<_> = recognise(attempt, &held.record, &bound, &subject).await?.into_iter().collect();
        if let Some(jti) = claims.values("jti").first() {
            details.insert("jti".to_owned(), jti.chars().take(128).collect());
        }
        let until = claims.expires().plus(Duration::from_secs(method.skew_s.into()));
        if method.reuse == Reuse::Refused {
            changes.push(self.spent(attempt, (&claims, until), &details).await?);
        }
        let until = Some(until).filter(|_| !method.outlast);
        Ok(Proven { bound, subject: Some(subject), credential: None, until, mfa: None, changes, details })
    }

    /// What keeps the token from being used again, unless it was used.
    async fn spent(
        &self,
        attempt: &Attempt<'_>,
        (claims, until): (&Claims, UnixMillis),
        details: &Details,
    ) -> Result<Change, Stop> {
        let evidence = Digest(claims.replay_key());
        let seen = attempt.core.filed::<Seen>(attempt.opened, RowId::from(evidence.0)).await?;
        if seen.is_some() {
            return Err(Stop::Doubt("replayed", details.clone()));
        }
        let seen = Seen { evidence, method: self.method.clone(), until };
        // Inserted, never replaced: of two who bring the same token at once one conflicts and finds it above.
        Ok(file(&*attempt.opened.keys, Revision::FIRST, &seen))
    }

    async fn verify(&self, attempt: &Attempt<'_>, held: &HeldMethod, method: &JwtMethod) -> Result<Claims, Stop> {
        let audiences: BTreeSet<&str> =
            held.record.bindings.iter().flat_map(|binding| binding.audiences.iter().map(String::as_str)).collect();
        let audiences: Vec<&str> = audiences.into_iter().collect();
        let algorithms: Vec<JwsAlgorithm> = method.algorithms.iter().copied().collect();
        let expect = Expect {
            issuer: &method.issuer,
            audiences: &audiences,
            algorithms: &algorithms,
            skew: Duration::from_secs(method.skew_s.into()),
            max_life: Some(Duration::from_secs(method.max_life_s.into())),
            max_auth_age: None,
            id_token: None,
        };
        let url = match &method.keys {
            JwtKeys::Static(_) => {
                let keys = held.keys.clone().unwrap_or_default();
                return judge(&self.token, &keys, &expect, attempt).map_err(|error| error.reason().into());
            }
            JwtKeys::Url(url) => Some(url.clone()),
            JwtKeys::Discovery => None,
        };
        let trust = Trust { ca_pem: method.ca_pem.clone() };
        verify_with_fetched(attempt, &Place { issuer: method.issuer.clone(), keys: url, trust }, &self.token, &expect)
            .await
    }
}

fn judge(
    token: &SecretString,
    keys: &Arc<KeySet>,
    expect: &Expect<'_>,
    attempt: &Attempt<'_>,
) -> Result<Claims, IdentityError> {
    verify_jwt(token.expose(), keys, expect, attempt.now)
}

/// Verifies a token with the keys that its issuer publishes; with a key that is not known, they are asked for again.
pub(super) async fn verify_with_fetched(
    attempt: &Attempt<'_>,
    place: &Place,
    token: &SecretString,
    expect: &Expect<'_>,
) -> Result<Claims, Stop> {
    let fetch = async |wanted| attempt.core.issuers.keys(&*attempt.core.ports.oidc, place, wanted, attempt.now).await;
    let known = fetch(Wanted::Known).await?;
    let judged = match judge(token, &known, expect, attempt) {
        Err(IdentityError::UnknownKey(_)) => judge(token, &fetch(Wanted::Newer).await?, expect, attempt),
        judged => judged,
    };
    judged.map_err(|error| error.reason().into())
}
