//! People at an OpenID Connect provider: authorization code flow with PKCE, in two steps with the browser between them.

use data_encoding::BASE64URL_NOPAD;
use keyreeve_crypto::digest::sha256;
use keyreeve_identity::oidc::{
    AuthRequest, TokenAnswer, authorization_url, may_return_to, parse_token_answer, pkce_challenge,
};
use keyreeve_identity::{Claims, Expect, ExpectId, bind};
use keyreeve_identity_port::{ClientProof, Exchange, OutsideError, Trust};
use keyreeve_model::access::{MfaKind, MfaProof};
use keyreeve_model::filed::{FiledRecord, file, unfile};
use keyreeve_model::ids::LoginId;
use keyreeve_model::login::{
    ClientAuth, Digest, JwsAlgorithm, LOGIN_TIME, LoginAttempt, LoginMethod, MethodKind, OidcMethod,
};
use keyreeve_model::record::Revision;
use keyreeve_model::{Name, UnixMillis};
use keyreeve_secret::{SecretString, ct_eq};
use std::time::Duration;
use tokio::sync::OnceCell;

use super::jwt::verify_with_fetched;
use super::subject::recognise;
use super::{Attempt, Details, LoggedIn, Proven, Stop, Terms, usable_method};
use crate::access::HeldMethod;
use crate::catalogue::{self, Descriptor};
use crate::core::Core;
use crate::error::Error;
use crate::issuers::{Place, outside};
use crate::pipeline::{Approved, Operation, Outcome, Remember, Target};

/// The longest code that a provider sends back, in bytes.
const CODE_MAX: usize = 4096;

fn place(method: &OidcMethod) -> Place {
    Place { issuer: method.issuer.clone(), keys: None, trust: Trust { ca_pem: method.ca_pem.clone() } }
}

fn random_text(core: &Core) -> Result<SecretString, Error> {
    Ok(SecretString::from(BASE64URL_NOPAD.encode(core.ports.random.secret_array::<32>()?.expose())))
}

fn digest(text: &SecretString) -> Digest {
    Digest(sha256(text.expose().as_bytes()))
}

fn verifier_place(id: &LoginId) -> (keyreeve_model::record::Table, &[u8], &'static str) {
    (LoginAttempt::TABLE, id.as_bytes(), "pkce_verifier")
}

/// Begins to log in at a provider.
#[derive(Debug)]
pub struct Start {
    /// The method.
    pub method: Name,
    /// Where the provider sends the browser afterwards.
    pub redirect_uri: String,
}

/// What the caller does next.
#[derive(Debug)]
pub struct Started {
    /// The attempt.
    pub attempt: LoginId,
    /// What the person opens in a browser.
    pub url: String,
    /// Known to whoever began alone, and shown when the attempt is finished: what comes back through the browser alone
    /// lets nobody in.
    pub starter: SecretString,
    /// Until when it can be finished.
    pub expires: UnixMillis,
}

impl Remember for Started {}

impl Operation for Start {
    const DESCRIPTOR: &'static Descriptor = &catalogue::LOGIN_OIDC_START;
    const OF_STRANGERS: bool = true;
    type Reply = Started;

    fn target(&self) -> Target<'_> {
        Target::Login(&self.method)
    }

    async fn execute(&self, approved: &Approved<Self>, core: &Core) -> Result<Outcome<Started>, Error> {
        let opened = core.need_open()?;
        let held = usable_method(&opened, &self.method)?;
        let MethodKind::Oidc(method) = &held.record.kind else {
            return Err(Error::invalid("this login method has no page to open: it is of another kind"));
        };
        if !may_return_to(&self.redirect_uri, &method.redirect_uris, self.method.as_str()) {
            let here = &self.method;
            let text = format!("redirect_uri: one of the method's own, or http://127.0.0.1:PORT/callback/{here}");
            return Err(Error::invalid(text));
        }
        let now = approved.now();
        let endpoints = core.issuers.endpoints(&*core.ports.oidc, &place(method), now).await?;
        let id = LoginId::new(now, core.id_random()?);
        let (state, nonce, starter) = (random_text(core)?, random_text(core)?, random_text(core)?);
        let verifier = random_text(core)?;
        let challenge = pkce_challenge(&verifier);
        let request = AuthRequest {
            client_id: &method.client_id,
            redirect_uri: &self.redirect_uri,
            scopes: &method.scopes,
            state: state.expose(),
            nonce: nonce.expose(),
            challenge: &challenge,
            max_auth_age_s: method.max_auth_age_s,
        };
        let not_said = |error: keyreeve_identity::IdentityError| outside(OutsideError::Malformed(error.to_string()));
        let url = authorization_url(&endpoints, &request).map_err(not_said)?;
        let sealed = opened.keys.seal_field(&core.ports.random, verifier_place(&id), verifier.expose().as_bytes())?;
        let attempt = LoginAttempt {
            id,
            method: self.method.clone(),
            state: digest(&state),
            starter: digest(&starter),
            nonce: nonce.declassify("it goes to the provider in the address of its page"),
            pkce_verifier: sealed,
            redirect_uri: self.redirect_uri.clone(),
            created: now,
        };
        let change = file(&*opened.keys, Revision::FIRST, &attempt);
        let expires = now.plus(LOGIN_TIME);
        Ok(Outcome::reply(Started { attempt: id, url, starter, expires })
            .changing(change)
            .detail("method", &self.method)
            .detail("attempt", id))
    }
}

/// What came back through the browser.
#[derive(Debug)]
pub struct Returned {
    /// The state, as the provider gave it back.
    pub state: SecretString,
    /// The code.
    pub code: SecretString,
    /// The provider's name for itself (RFC 9207), if it gave one.
    pub issuer: Option<String>,
}

/// Finishes to log in at a provider.
#[derive(Debug)]
pub struct Finish {
    /// The method.
    pub method: Name,
    /// The attempt.
    pub attempt: LoginId,
    /// What only whoever began has.
    pub starter: SecretString,
    /// What came back.
    pub returned: Returned,
    /// What the provider answered: a code is sent once, however often the operation is computed.
    answer: OnceCell<TokenAnswer>,
}

impl Finish {
    /// The operation.
    #[must_use]
    pub fn new(method: Name, attempt: LoginId, starter: SecretString, returned: Returned) -> Self {
        Self { method, attempt, starter, returned, answer: OnceCell::new() }
    }

    async fn judge(&self, attempt: &Attempt<'_>, held: &HeldMethod) -> Result<Proven, Stop> {
        let MethodKind::Oidc(method) = &held.record.kind else { return Err("other-kind".into()) };
        let (begun, revision) = self.begun(attempt).await?;
        let endpoints = attempt.core.issuers.endpoints(&*attempt.core.ports.oidc, &place(method), attempt.now).await?;
        match &self.returned.issuer {
            Some(issuer) if *issuer != method.issuer => return Err("other-issuer".into()),
            None if endpoints.names_itself => return Err("issuer-missing".into()),
            _ => {}
        }
        let token_endpoint = endpoints.token.ok_or("no-token-endpoint")?;
        let answer = self.answer.get_or_try_init(|| self.exchange(attempt, (method, &begun), &token_endpoint)).await?;
        let claims = verify(attempt, (method, &begun), answer).await?;
        let subject = (claims.issuer().to_owned(), claims.subject().to_owned());
        let bound = bind(&held.record.bindings, &claims).ok_or("no-binding")?;
        let mfa = second_factor(method, &claims, attempt.now);
        // With the token it yields: of two who finish at once one conflicts, and finds the attempt gone.
        let mut changes = vec![unfile(revision, &begun)];
        changes.extend(recognise(attempt, &held.record, &bound, &subject).await?);
        let details = Details::from([("attempt".to_owned(), self.attempt.to_string())]);
        Ok(Proven { bound, subject: Some(subject), credential: None, until: None, mfa, changes, details })
    }

    /// The attempt, if it was begun by whoever finishes it, not too long ago, and not finished before.
    async fn begun(&self, attempt: &Attempt<'_>) -> Result<(LoginAttempt, Revision), Stop> {
        let found = attempt.core.filed::<LoginAttempt>(attempt.opened, self.attempt).await?;
        let (begun, revision) = found.ok_or("unknown-attempt")?;
        let right =
            ct_eq(&digest(&self.starter).0, &begun.starter.0) & ct_eq(&digest(&self.returned.state).0, &begun.state.0);
        if !right || begun.method != self.method {
            return Err("other-attempt".into());
        }
        if !begun.is_open(attempt.now) {
            return Err("expired".into());
        }
        if self.returned.code.is_empty() || self.returned.code.len() > CODE_MAX {
            return Err("malformed".into());
        }
        Ok((begun, revision))
    }

    async fn exchange(
        &self,
        attempt: &Attempt<'_>,
        (method, begun): (&OidcMethod, &LoginAttempt),
        token_endpoint: &str,
    ) -> Result<TokenAnswer, Stop> {
        let keys = &attempt.opened.keys;
        let text = |secret| SecretString::from_utf8(secret).map_err(Error::internal);
        let verifier = text(keys.open_field(verifier_place(&begun.id), &begun.pkce_verifier)?)?;
        let stands = (LoginMethod::TABLE, self.method.as_str().as_bytes(), "client_secret");
        let secret = match &method.client_secret {
            Some(sealed) => Some(text(keys.open_field(stands, sealed)?)?),
            None => None,
        };
        let proof = match (&secret, method.client_auth) {
            (None, _) => ClientProof::Public,
            (Some(secret), ClientAuth::Basic) => ClientProof::Basic(secret),
            (Some(secret), ClientAuth::Post) => ClientProof::Post(secret),
        };
        let exchange = Exchange {
            token_endpoint,
            client_id: &method.client_id,
            proof,
            code: &self.returned.code,
            verifier: &verifier,
            redirect_uri: &begun.redirect_uri,
        };
        let trust = Trust { ca_pem: method.ca_pem.clone() };
        match attempt.core.ports.oidc.exchange(&exchange, &trust).await {
            Ok(body) => parse_token_answer(body.expose()).map_err(|error| error.reason().into()),
            Err(OutsideError::Refused(_)) => Err("code-refused".into()),
            Err(error) => Err(outside(error).into()),
        }
    }
}

async fn verify(
    attempt: &Attempt<'_>,
    (method, begun): (&OidcMethod, &LoginAttempt),
    answer: &TokenAnswer,
) -> Result<Claims, Stop> {
    let algorithms: Vec<JwsAlgorithm> = method.algorithms.iter().copied().collect();
    let audiences = [method.client_id.as_str()];
    let expect = Expect {
        issuer: &method.issuer,
        audiences: &audiences,
        algorithms: &algorithms,
        skew: Duration::from_secs(method.skew_s.into()),
        max_life: None,
        max_auth_age: method.max_auth_age_s.map(|seconds| Duration::from_secs(seconds.into())),
        id_token: Some(ExpectId {
            client_id: &method.client_id,
            nonce: &begun.nonce,
            access_token: answer.access_token.as_ref().map(SecretString::expose),
        }),
    };
    verify_with_fetched(attempt, &place(method), &answer.id_token, &expect).await
}

/// The second factor that the provider says it asked for, where the method takes its word. Without a time there is
/// none: nobody could say how old it is.
fn second_factor(method: &OidcMethod, claims: &Claims, now: UnixMillis) -> Option<MfaProof> {
    let shown = claims.methods().iter().any(|value| method.mfa_values.contains(value.as_ref()));
    let at = claims.auth_time().ok().flatten().filter(|_| shown)?;
    Some(MfaProof { at: at.min(now), kind: MfaKind::Provider, credential: None })
}

impl Operation for Finish {
    const DESCRIPTOR: &'static Descriptor = &catalogue::LOGIN_OIDC_FINISH;
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
