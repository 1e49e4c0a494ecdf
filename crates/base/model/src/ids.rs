//! Typed identifiers: a key's id cannot be passed where a token's is wanted.
//!
//! All are UUIDs of version 7 (RFC 9562), so that ids sort by creation. They name things; they are never secret and
//! never key material. Text form: a prefix that says the type, then 32 hexadecimal digits, for example `key_0199a7…`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;
use uuid::{Builder, Uuid};

use crate::time::UnixMillis;

/// A text that is not an identifier of the wanted type.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("not the id of a thing of this kind ({wanted}): expected `{prefix}` followed by 32 hexadecimal digits")]
pub struct InvalidId {
    wanted: &'static str,
    prefix: &'static str,
}

macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $wanted:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name(Uuid);

        impl $name {
            /// The text prefix of this type.
            pub const PREFIX: &'static str = $prefix;

            /// A new id from the current time and 10 random bytes (RFC 9562 §5.7).
            #[must_use]
            pub fn new(now: UnixMillis, random: [u8; 10]) -> Self {
                let millis = u64::try_from(now.0).unwrap_or(0);
                Self(Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
            }

            /// The 16 bytes as they stand in ciphertext headers and database rows.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// The 16 bytes of this id.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $prefix, self.0.as_simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let refusal = InvalidId { wanted: $wanted, prefix: $prefix };
                let digits = text.strip_prefix($prefix).filter(|rest| rest.len() == 32).ok_or(refusal.clone())?;
                Uuid::try_parse(digits).map(Self).map_err(|_| refusal)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }
    };
}

typed_id!(
    /// A key: all its versions share it.
    KeyId, "key_", "key"
);
typed_id!(
    /// A keyring: the unit of separation, with its own key-encryption key.
    KeyringId, "krg_", "keyring"
);
typed_id!(
    /// A bearer token's public name; the secret part is stored only as a hash.
    TokenId, "tok_", "token"
);
typed_id!(
    /// An audit record.
    RecordId, "rec_", "audit record"
);
typed_id!(
    /// One installation of Keyreeve, for ever.
    DeploymentId, "dep_", "deployment"
);
typed_id!(
    /// A legal hold.
    HoldId, "hld_", "hold"
);
typed_id!(
    /// An incident.
    IncidentId, "inc_", "incident"
);
typed_id!(
    /// A declared emergency.
    EmergencyId, "emg_", "emergency"
);
typed_id!(
    /// A proposal that waits for approval, or has waited.
    ApprovalId, "apr_", "approval"
);
typed_id!(
    /// A grant: a right for a time.
    GrantId, "grt_", "grant"
);
typed_id!(
    /// A second factor of a principal, or a challenge for one.
    MfaId, "mfa_", "second factor"
);
typed_id!(
    /// A review campaign.
    ReviewId, "rvw_", "review"
);
typed_id!(
    /// A login under way.
    LoginId, "lgn_", "login"
);
typed_id!(
    /// A service credential.
    CredentialId, "crd_", "credential"
);
typed_id!(
    /// A wrapping key that waits for an import.
    ImportId, "imp_", "import"
);
typed_id!(
    /// A notice on its way.
    NoticeId, "ntc_", "notice"
);
typed_id!(
    /// Long work.
    JobId, "job_", "job"
);
typed_id!(
    /// A recovery of a key from escrow.
    RecoveryId, "rcv_", "recovery"
);

/// The prefixes of all identifiers; no name may begin with one, so that the two are never mistaken for each other.
pub(crate) const PREFIXES: [&str; 18] = [
    RecoveryId::PREFIX,
    JobId::PREFIX,
    KeyId::PREFIX,
    KeyringId::PREFIX,
    TokenId::PREFIX,
    RecordId::PREFIX,
    DeploymentId::PREFIX,
    GrantId::PREFIX,
    ApprovalId::PREFIX,
    MfaId::PREFIX,
    HoldId::PREFIX,
    IncidentId::PREFIX,
    EmergencyId::PREFIX,
    ReviewId::PREFIX,
    LoginId::PREFIX,
    CredentialId::PREFIX,
    NoticeId::PREFIX,
    ImportId::PREFIX,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_is_typed() {
        let id = KeyId::new(UnixMillis(1_795_338_000_123), [7; 10]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(id.to_string().parse::<TokenId>().is_err());
        assert!("key_123".parse::<KeyId>().is_err());
        assert!("key_zz99a7b2c3d4e5f60718293a4b5c6d7e".parse::<KeyId>().is_err());
    }

    #[test]
    fn ids_sort_by_creation() {
        assert!(KeyId::new(UnixMillis(1), [255; 10]) < KeyId::new(UnixMillis(2), [0; 10]));
    }
}
