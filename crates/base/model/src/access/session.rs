//! Sessions: what a token knows of the login it came from.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

use crate::ids::{CredentialId, MfaId};
use crate::metadata::Name;
use crate::time::UnixMillis;

/// The longest a session can be renewed for, from the login on.
pub const SESSION_MAX: Duration = Duration::from_secs(12 * 3600);

/// How somebody showed a second factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MfaKind {
    /// A code by time (RFC 6238).
    Totp,
    /// A key of the person's own that signs (W3C WebAuthn level 3).
    Webauthn,
    /// One of the codes kept for when the factors are lost.
    Recovery,
    /// The identity provider says it asked for one (RFC 8176, `amr`).
    Provider,
}

impl MfaKind {
    /// The name in policies, records and on wires.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Totp => "totp",
            Self::Webauthn => "webauthn",
            Self::Recovery => "recovery",
            Self::Provider => "provider",
        }
    }
}

/// That a second factor was shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MfaProof {
    /// When.
    pub at: UnixMillis,
    /// How.
    pub kind: MfaKind,
    /// With which factor of the deployment's own; none where the provider asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<MfaId>,
}

impl MfaProof {
    /// How old the proof is, in whole seconds rounded up: never younger than true. None for one from the future, which
    /// proves nothing.
    #[must_use]
    pub fn age_seconds(&self, now: UnixMillis) -> Option<u64> {
        let millis = u64::try_from(now.0.checked_sub(self.at.0)?).ok()?;
        Some(millis.div_ceil(1000))
    }
}

/// The login that a token came from. Tokens that somebody issued have none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// The login method, by its name in the deployment.
    pub login: Name,
    /// The method's edition at the login: another one has other bindings, and this session does not count there.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub edition: u32,
    /// SHA-256 of issuer and subject as the other side names them, in hexadecimal; empty where there is neither.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject_sha256: String,
    /// The service credential that was shown, where one was: the session is renewed while it is not revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialId>,
    /// Roles that the login gives besides those of the principal.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub roles: BTreeSet<Name>,
    /// When the person or program proved itself.
    pub authenticated: UnixMillis,
    /// The last proof by a second factor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mfa: Option<MfaProof>,
    /// No renewal goes beyond this; at most [`SESSION_MAX`] after the login.
    pub renew_until: UnixMillis,
    /// How long the token lives after a login or renewal, in seconds.
    pub ttl_seconds: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(edition: &u32) -> bool {
    *edition == 0
}

/// The login of a token that was issued and not logged in for; no login method has this name.
pub const ISSUED: &str = "token";

impl Session {
    /// The session of a token that somebody issued: for the proofs of second factors that it carries.
    #[must_use]
    pub fn issued(created: UnixMillis, expires: UnixMillis) -> Self {
        // Unwrap safety: it is a well-formed name.
        #[allow(clippy::expect_used)]
        let login = ISSUED.parse().expect("a well-formed name");
        Self {
            login,
            edition: 0,
            subject_sha256: String::new(),
            credential: None,
            roles: BTreeSet::new(),
            authenticated: created,
            mfa: None,
            renew_until: expires,
            ttl_seconds: 0,
        }
    }

    /// True for the session of a token that somebody issued.
    #[must_use]
    pub fn is_issued(&self) -> bool {
        self.login.as_str() == ISSUED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(at: i64) -> MfaProof {
        MfaProof { at: UnixMillis(at), kind: MfaKind::Totp, credential: None }
    }

    #[test]
    fn the_age_of_a_proof_is_rounded_up_and_one_from_the_future_has_none() {
        assert_eq!(proof(1000).age_seconds(UnixMillis(1000)), Some(0));
        assert_eq!(proof(1000).age_seconds(UnixMillis(1001)), Some(1));
        assert_eq!(proof(1000).age_seconds(UnixMillis(2000)), Some(1));
        assert_eq!(proof(1000).age_seconds(UnixMillis(999)), None);
        assert_eq!(proof(i64::MIN).age_seconds(UnixMillis(1)), None);
    }

    #[test]
    fn what_a_session_does_not_know_is_not_read() {
        let text = r#"{"login":"sso","authenticated":1,"renew_until":2,"ttl_seconds":3,"admin":true}"#;
        assert!(serde_json::from_str::<Session>(text).is_err());
        let session: Session = serde_json::from_str(&text.replace(r#","admin":true"#, "")).unwrap();
        assert_eq!((session.mfa, session.roles.len()), (None, 0));
    }
}
