//! What the authenticator signs (6.1): a hash, flags, a counter, and at a registration the new credential.

use super::{AUTH_DATA_MAX, CREDENTIAL_ID_MAX, WebAuthnError, cose};

/// The flags of 6.1. Bits 1 and 5 are reserved and mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flags(u8);

impl Flags {
    pub(super) const fn user_present(self) -> bool {
        self.0 & 0x01 != 0
    }

    pub(super) const fn user_verified(self) -> bool {
        self.0 & 0x04 != 0
    }

    pub(super) const fn backup_eligible(self) -> bool {
        self.0 & 0x08 != 0
    }

    pub(super) const fn backed_up(self) -> bool {
        self.0 & 0x10 != 0
    }

    const fn attested(self) -> bool {
        self.0 & 0x40 != 0
    }

    const fn extensions(self) -> bool {
        self.0 & 0x80 != 0
    }
}

/// A credential as it is made (6.5.1).
pub(super) struct Attested<'a> {
    pub(super) aaguid: [u8; 16],
    pub(super) credential_id: &'a [u8],
    pub(super) cose_key: &'a [u8],
}

pub(super) struct AuthData<'a> {
    pub(super) relying_hash: [u8; 32],
    pub(super) flags: Flags,
    pub(super) sign_count: u32,
    pub(super) attested: Option<Attested<'a>>,
}

impl<'a> AuthData<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, WebAuthnError> {
        if bytes.len() > AUTH_DATA_MAX {
            return Err(WebAuthnError::TooLong);
        }
        Self::read(bytes).ok_or(WebAuthnError::AuthData)
    }

    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (relying_hash, rest) = bytes.split_first_chunk::<32>()?;
        let (&flags, rest) = rest.split_first()?;
        let (count, mut rest) = rest.split_first_chunk::<4>()?;
        let flags = Flags(flags);
        let mut attested = None;
        if flags.attested() {
            let (made, after) = credential(rest)?;
            (attested, rest) = (Some(made), after);
        }
        if flags.extensions() {
            let (value, after) = cose::cbor(rest)?;
            value.as_map()?;
            rest = after;
        }
        let whole = rest.is_empty();
        whole.then_some(Self { relying_hash: *relying_hash, flags, sign_count: u32::from_be_bytes(*count), attested })
    }
}

fn credential(bytes: &[u8]) -> Option<(Attested<'_>, &[u8])> {
    let (aaguid, rest) = bytes.split_first_chunk::<16>()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_be_bytes(*length));
    if length == 0 || length > CREDENTIAL_ID_MAX {
        return None;
    }
    let (credential_id, rest) = rest.split_at_checked(length)?;
    let (_, after) = cose::cbor(rest)?;
    let cose_key = rest.get(..rest.len() - after.len())?;
    Some((Attested { aaguid: *aaguid, credential_id, cose_key }, after))
}
