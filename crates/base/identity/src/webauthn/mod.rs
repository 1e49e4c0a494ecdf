//! Registrations and assertions of authenticators, W3C Web Authentication level 3, sections 7.1 and 7.2: the part of
//! the relying party, without input and output.
//!
//! What is demanded: the challenge that was given out, an origin out of the list letter by letter, the relying party's
//! id, no page inside of another's, user presence **and** user verification, flags that agree with each other and with
//! the registration, a signature counter that does not go back, and one of four algorithms. Attestation statements are
//! not evaluated: they would say which model an authenticator is, and nothing here asks.

mod auth_data;
mod client_data;
mod cose;

use ciborium::Value;
use keyreeve_crypto::digest::sha256;
use thiserror::Error;

use auth_data::AuthData;
use client_data::Ceremony;
pub use cose::{CoseKey, WebAuthnAlgorithm};

/// The longest identifier of a credential in bytes (7.1, step 25).
pub const CREDENTIAL_ID_MAX: usize = 1023;
/// The longest `clientDataJSON` in bytes.
pub const CLIENT_DATA_MAX: usize = 4096;
/// The longest attestation object in bytes: statements may carry chains of certificates.
pub const ATTESTATION_MAX: usize = 32 * 1024;
/// The longest authenticator data in bytes.
pub const AUTH_DATA_MAX: usize = 8 * 1024;
/// The longest signature in bytes: RSA with 4096 bits.
pub const SIGNATURE_MAX: usize = 512;

/// Whom authenticators are registered with.
#[derive(Clone, Copy, Debug)]
pub struct Relying<'a> {
    /// The relying party's id: a domain.
    pub id: &'a str,
    /// The origins of its pages, as browsers write them: `https://host` or `https://host:port`.
    pub origins: &'a [String],
}

/// What a browser answers to `navigator.credentials.create`.
#[derive(Clone, Copy, Debug)]
pub struct Registration<'a> {
    /// `clientDataJSON`, as it came.
    pub client_data: &'a [u8],
    /// `attestationObject`, as it came.
    pub attestation: &'a [u8],
}

/// What a browser answers to `navigator.credentials.get`.
#[derive(Clone, Copy, Debug)]
pub struct Assertion<'a> {
    /// `clientDataJSON`, as it came.
    pub client_data: &'a [u8],
    /// `authenticatorData`, as it came.
    pub auth_data: &'a [u8],
    /// `signature`, as it came.
    pub signature: &'a [u8],
}

/// A credential that was registered just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCredential {
    /// The name the authenticator gave it, 1 to [`CREDENTIAL_ID_MAX`] bytes. The caller sees that no other has it.
    pub credential_id: Vec<u8>,
    /// The public key as the authenticator wrote it (RFC 9052).
    pub cose_key: Vec<u8>,
    /// What it signs with.
    pub algorithm: WebAuthnAlgorithm,
    /// The signature counter.
    pub sign_count: u32,
    /// The authenticator may copy it elsewhere (a passkey that is synchronised).
    pub backup_eligible: bool,
    /// It has done so.
    pub backed_up: bool,
    /// The model the authenticator says it is; not proven.
    pub aaguid: [u8; 16],
}

/// What is known of a credential that asserts.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The public key, as registered.
    pub cose_key: &'a [u8],
    /// The signature counter as it was last.
    pub sign_count: u32,
    /// As registered.
    pub backup_eligible: bool,
}

/// What an assertion changes in a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asserted {
    /// The signature counter now.
    pub sign_count: u32,
    /// Whether it is copied elsewhere now.
    pub backed_up: bool,
}

/// Why an answer of an authenticator was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WebAuthnError {
    /// A part is longer than any authenticator makes it.
    #[error("a part of the answer is too long")]
    TooLong,
    /// `clientDataJSON` cannot be read.
    #[error("the client data cannot be read")]
    ClientData,
    /// The answer belongs to the other ceremony.
    #[error("the answer is of another ceremony")]
    Ceremony,
    /// It answers another challenge.
    #[error("the answer is to another challenge")]
    Challenge,
    /// It was given on a page of another origin.
    #[error("the answer comes from an origin that is not configured")]
    Origin,
    /// It was given on a page inside of another site's.
    #[error("the answer comes from a page inside of another site's page")]
    CrossOrigin,
    /// The attestation object cannot be read.
    #[error("the attestation object cannot be read")]
    Attestation,
    /// The authenticator data cannot be read.
    #[error("the authenticator data cannot be read")]
    AuthData,
    /// It is for another relying party.
    #[error("the answer is for another relying party")]
    RelyingParty,
    /// Nobody touched the authenticator.
    #[error("the authenticator saw nobody")]
    NotPresent,
    /// The authenticator did not ask for a PIN or a biometric.
    #[error("the authenticator did not verify the person: set a PIN or a fingerprint on it")]
    NotVerified,
    /// The flags about copies contradict one another, or the registration.
    #[error("the authenticator contradicts itself about copies of the credential")]
    Backup,
    /// The public key cannot be read or is not valid.
    #[error("the public key of the credential cannot be read")]
    Key,
    /// The key is of an algorithm that was not asked for.
    #[error("the authenticator took an algorithm that is not offered")]
    Algorithm,
    /// The signature is wrong.
    #[error("the signature is wrong")]
    Signature,
    /// The signature counter did not grow: there are two authenticators with this credential.
    #[error("the signature counter went back: the credential may have been copied")]
    Cloned,
}

/// Checks a registration (7.1). The challenge has to be one that was given out for this purpose and is used up now.
///
/// # Errors
/// [`WebAuthnError`], which says what did not fit.
pub fn register(
    relying: &Relying<'_>,
    challenge: &[u8; 32],
    answer: &Registration<'_>,
) -> Result<NewCredential, WebAuthnError> {
    registered(relying, challenge, answer)
}

/// Checks an assertion (7.2) of a credential that is known. As for [`register`], the challenge is used up.
///
/// # Errors
/// [`WebAuthnError`], which says what did not fit.
pub fn assert(
    relying: &Relying<'_>,
    challenge: &[u8; 32],
    known: &Known<'_>,
    answer: &Assertion<'_>,
) -> Result<Asserted, WebAuthnError> {
    asserted(relying, challenge, known, answer)
}

fn registered(
    relying: &Relying<'_>,
    challenge: &[u8],
    answer: &Registration<'_>,
) -> Result<NewCredential, WebAuthnError> {
    client_data::check(answer.client_data, Ceremony::Create, challenge, relying.origins)?;
    let bytes = auth_data_of(answer.attestation)?;
    let data = AuthData::parse(&bytes)?;
    demanded(&data, relying)?;
    let made = data.attested.ok_or(WebAuthnError::AuthData)?;
    let key = CoseKey::parse(made.cose_key)?;
    Ok(NewCredential {
        credential_id: made.credential_id.to_vec(),
        cose_key: made.cose_key.to_vec(),
        algorithm: key.algorithm(),
        sign_count: data.sign_count,
        backup_eligible: data.flags.backup_eligible(),
        backed_up: data.flags.backed_up(),
        aaguid: made.aaguid,
    })
}

fn asserted(
    relying: &Relying<'_>,
    challenge: &[u8],
    known: &Known<'_>,
    answer: &Assertion<'_>,
) -> Result<Asserted, WebAuthnError> {
    client_data::check(answer.client_data, Ceremony::Get, challenge, relying.origins)?;
    let data = AuthData::parse(answer.auth_data)?;
    demanded(&data, relying)?;
    if data.attested.is_some() {
        return Err(WebAuthnError::AuthData);
    }
    if data.flags.backup_eligible() != known.backup_eligible {
        return Err(WebAuthnError::Backup);
    }
    signed(known.cose_key, answer)?;
    // 7.2, step 22: authenticators without a counter say 0 for ever.
    if (data.sign_count != 0 || known.sign_count != 0) && data.sign_count <= known.sign_count {
        return Err(WebAuthnError::Cloned);
    }
    Ok(Asserted { sign_count: data.sign_count, backed_up: data.flags.backed_up() })
}

/// The signature is over the authenticator data and the digest of the client data, as they came.
fn signed(cose_key: &[u8], answer: &Assertion<'_>) -> Result<(), WebAuthnError> {
    if answer.signature.len() > SIGNATURE_MAX {
        return Err(WebAuthnError::TooLong);
    }
    let message = [answer.auth_data, &sha256(answer.client_data)].concat();
    CoseKey::parse(cose_key)?.verify(&message, answer.signature)
}

/// What is asked of every answer, whichever the ceremony.
fn demanded(data: &AuthData<'_>, relying: &Relying<'_>) -> Result<(), WebAuthnError> {
    if data.relying_hash != sha256(relying.id.as_bytes()) {
        return Err(WebAuthnError::RelyingParty);
    }
    if !data.flags.user_present() {
        return Err(WebAuthnError::NotPresent);
    }
    if !data.flags.user_verified() {
        return Err(WebAuthnError::NotVerified);
    }
    if data.flags.backed_up() && !data.flags.backup_eligible() {
        return Err(WebAuthnError::Backup);
    }
    Ok(())
}

/// The authenticator data out of an attestation object (6.5.4): a map with exactly `fmt`, `attStmt` and `authData`.
fn auth_data_of(object: &[u8]) -> Result<Vec<u8>, WebAuthnError> {
    if object.len() > ATTESTATION_MAX {
        return Err(WebAuthnError::TooLong);
    }
    let (value, rest) = cose::cbor(object).ok_or(WebAuthnError::Attestation)?;
    let Value::Map(entries) = value else { return Err(WebAuthnError::Attestation) };
    if !rest.is_empty() || entries.len() != 3 {
        return Err(WebAuthnError::Attestation);
    }
    let (mut format, mut statement, mut data) = (None, None, None);
    for (name, value) in entries {
        match (name.as_text(), value) {
            (Some("fmt"), Value::Text(text)) => format = Some(text),
            (Some("attStmt"), Value::Map(entries)) => statement = Some(entries),
            (Some("authData"), Value::Bytes(bytes)) => data = Some(bytes),
            (Some(_) | None, _) => return Err(WebAuthnError::Attestation),
        }
    }
    // 8.7: "none" says nothing more.
    let nothing = format.ok_or(WebAuthnError::Attestation)? == "none";
    if nothing && !statement.ok_or(WebAuthnError::Attestation)?.is_empty() {
        return Err(WebAuthnError::Attestation);
    }
    data.ok_or(WebAuthnError::Attestation)
}

#[cfg(test)]
mod tests;
