//! Signed tokens in compact form (JSON Web Signature, RFC 7515; best practice of RFC 8725).

use data_encoding::BASE64URL_NOPAD;
use keyreeve_model::login::JwsAlgorithm;
use serde_json::{Map, Value};

use crate::error::IdentityError;
use crate::json;
use crate::jwks::{KID_MAX, KeySet};

/// The longest token in bytes.
pub const TOKEN_MAX: usize = 16 * 1024;
const HEADER_MAX: usize = 4 * 1024;
const WHAT: &str = "token";
const HEADER: &str = "token's header";

/// What the header of a token says. Keys and addresses in it (`jwk`, `jku`, `x5c`, `x5u`) are never looked at: whoever
/// made the token wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// How it is signed.
    pub algorithm: JwsAlgorithm,
    /// Which key signed it.
    pub kid: Option<String>,
    /// The media type, in lower case and without `application/`.
    pub typ: Option<String>,
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, IdentityError> {
        let header = json::object(HEADER, bytes, HEADER_MAX)?;
        if header.contains_key("crit") {
            return Err(IdentityError::Critical);
        }
        let algorithm = text(&header, "alg")?.ok_or(IdentityError::Algorithm)?;
        let kid = text(&header, "kid")?;
        if kid.is_some_and(|kid| kid.len() > KID_MAX) {
            return Err(IdentityError::TooLarge { what: "key id", max: KID_MAX });
        }
        let typ = text(&header, "typ")?.map(str::to_ascii_lowercase);
        Ok(Self {
            algorithm: algorithm.parse().map_err(|_| IdentityError::Algorithm)?,
            kid: kid.map(str::to_owned),
            typ: typ.map(|typ| typ.strip_prefix("application/").unwrap_or(&typ).to_owned()),
        })
    }
}

fn text<'a>(header: &'a Map<String, Value>, member: &str) -> Result<Option<&'a str>, IdentityError> {
    match header.get(member) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(IdentityError::Malformed { what: HEADER }),
    }
}

/// A token taken apart; nothing in it is believed yet.
#[derive(Clone, Debug)]
pub struct Compact<'a> {
    /// The header.
    pub header: Header,
    /// What is signed: the first two parts with the dot between them.
    pub signed: &'a str,
    payload: Vec<u8>,
    signature: &'a str,
}

impl<'a> Compact<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`IdentityError::TooLarge`], [`IdentityError::Malformed`], [`IdentityError::Duplicate`],
    /// [`IdentityError::Critical`]; [`IdentityError::Algorithm`] for `none`, the HMAC algorithms and unknown ones.
    pub fn parse(token: &'a str) -> Result<Self, IdentityError> {
        if token.len() > TOKEN_MAX {
            return Err(IdentityError::TooLarge { what: WHAT, max: TOKEN_MAX });
        }
        let malformed = IdentityError::Malformed { what: WHAT };
        let parts: Vec<&str> = token.split('.').collect();
        let &[header, payload, signature] = parts.as_slice() else { return Err(malformed) };
        // Strict: of one token there is one spelling, without padding and with nothing in the last bits.
        let decode = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| malformed.clone());
        let (bytes, payload, _) = (decode(header)?, decode(payload)?, decode(signature)?);
        let signed = token.get(..token.len() - signature.len() - 1).ok_or(malformed)?;
        Ok(Self { header: Header::parse(&bytes)?, signed, payload, signature })
    }

    /// Verifies the signature and gives the payload out.
    ///
    /// # Errors
    /// [`IdentityError::Algorithm`] unless the token's algorithm is among `admitted`; [`IdentityError::UnknownKey`]
    /// when the keys should be fetched anew; [`IdentityError::KeyMisfit`], [`IdentityError::Signature`].
    pub fn verify(&self, keys: &KeySet, admitted: &[JwsAlgorithm]) -> Result<&[u8], IdentityError> {
        if !admitted.contains(&self.header.algorithm) {
            return Err(IdentityError::Algorithm);
        }
        keys.verify(self.header.kid.as_deref(), self.header.algorithm, self.signed, self.signature)?;
        Ok(&self.payload)
    }
}
