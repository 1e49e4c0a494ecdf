//! What the browser says of the page that asked (5.8.1): JSON that may have more members in future, so unknown ones
//! pass.

use data_encoding::BASE64URL_NOPAD;
use keyreeve_secret::ct_eq;
use serde::Deserialize;

use super::{CLIENT_DATA_MAX, WebAuthnError};

/// Which of the two ceremonies an answer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ceremony {
    Create,
    Get,
}

impl Ceremony {
    const fn name(self) -> &'static str {
        match self {
            Self::Create => "webauthn.create",
            Self::Get => "webauthn.get",
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientData {
    #[serde(rename = "type")]
    ceremony: String,
    challenge: String,
    origin: String,
    #[serde(default)]
    cross_origin: Option<bool>,
    #[serde(default)]
    top_origin: Option<String>,
}

pub(super) fn check(
    json: &[u8],
    ceremony: Ceremony,
    challenge: &[u8],
    origins: &[String],
) -> Result<(), WebAuthnError> {
    if json.len() > CLIENT_DATA_MAX {
        return Err(WebAuthnError::TooLong);
    }
    // The bytes are UTF-8 (7.1 step 5), also in members that are not looked at and would be skipped unread.
    let json = std::str::from_utf8(json).map_err(|_| WebAuthnError::ClientData)?;
    let data: ClientData = serde_json::from_str(json).map_err(|_| WebAuthnError::ClientData)?;
    if data.ceremony != ceremony.name() {
        return Err(WebAuthnError::Ceremony);
    }
    // Compared as text: one challenge has one encoding.
    if !ct_eq(data.challenge.as_bytes(), BASE64URL_NOPAD.encode(challenge).as_bytes()) {
        return Err(WebAuthnError::Challenge);
    }
    if data.cross_origin == Some(true) || data.top_origin.is_some() {
        return Err(WebAuthnError::CrossOrigin);
    }
    if !origins.contains(&data.origin) {
        return Err(WebAuthnError::Origin);
    }
    Ok(())
}
