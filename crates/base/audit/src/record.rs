//! One audit record and its canonical form: compact JSON with a fixed field order, `"v":1` first.

use keyreeve_model::RecordId;
use keyreeve_model::time::UnixMillis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use thiserror::Error;

use crate::fit;
use crate::tile::MAX_ENTRY_BYTES;

/// How the actor showed who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// A bearer token.
    Token,
    /// A client certificate (mutual TLS).
    Mtls,
    /// A share of the root of trust. Part of the form and not written yet: while the server is sealed nobody can be
    /// known, so whoever gives a share is anonymous.
    Share,
    /// The server itself, for example a destruction that fell due.
    System,
    /// Nothing: nobody was identified.
    Anonymous,
}

/// Who acted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// The principal's name; `unknown` where nobody was recognised.
    pub principal: String,
    /// How it was identified.
    pub method: Method,
}

/// What kind of act it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Something was looked at.
    Read,
    /// A key was used.
    Use,
    /// A key or keyring was changed.
    Change,
    /// Tokens, principals and policies were changed; a request was refused before it was an operation.
    Access,
    /// The server was initialised, sealed or unsealed.
    System,
}

/// What was acted on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// Its type, for example `key`.
    pub kind: String,
    /// Its id, or what the caller named when nothing of the kind was found.
    pub id: String,
    /// The key version, when one was involved.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<u32>,
    /// The keyring it belongs to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub keyring: Option<String>,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Done.
    Ok,
    /// Not allowed, or not valid: nothing was done.
    Refused {
        /// Stable error code.
        code: String,
    },
    /// Allowed, but something broke.
    Failed {
        /// Stable error code.
        code: String,
    },
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OutcomeName {
    Ok,
    Refused,
    Failed,
}

impl Outcome {
    /// The stable error code of a refusal or a failure.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Ok => None,
            Self::Refused { code } | Self::Failed { code } => Some(code),
        }
    }

    const fn name(&self) -> OutcomeName {
        match self {
            Self::Ok => OutcomeName::Ok,
            Self::Refused { .. } => OutcomeName::Refused,
            Self::Failed { .. } => OutcomeName::Failed,
        }
    }

    fn from_parts(name: OutcomeName, code: Option<String>) -> Result<Self, RecordError> {
        match (name, code) {
            (OutcomeName::Ok, None) => Ok(Self::Ok),
            (OutcomeName::Refused, Some(code)) => Ok(Self::Refused { code }),
            (OutcomeName::Failed, Some(code)) => Ok(Self::Failed { code }),
            (OutcomeName::Ok, Some(_)) | (OutcomeName::Refused | OutcomeName::Failed, None) => Err(RecordError::Code),
        }
    }
}

/// One audit record: who did what to which resource, when, from where, and how it ended. Never secret data: no
/// plaintext, no key material, no token secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Given by the caller; its first 48 bits are the time of creation (UUID version 7).
    pub id: RecordId,
    /// When.
    pub time: UnixMillis,
    /// The request it belongs to.
    pub request: String,
    /// Who.
    pub actor: Actor,
    /// The address of the peer, when there was one.
    pub source: Option<String>,
    /// The operation's name in the catalogue, for example `key.encrypt`.
    pub operation: String,
    /// The audit class the catalogue gives the operation.
    pub class: Class,
    /// What was acted on, when the operation has an object.
    pub resource: Option<Resource>,
    /// How it ended.
    pub outcome: Outcome,
    /// Items in the batch; 1 for a single operation.
    pub count: u32,
    /// The encryption context. It is bound to ciphertexts but is not secret: callers are told to put no secrets in it.
    pub context: Option<BTreeMap<String, String>>,
    /// What else matters, such as `old_version`, `reason` or `grantee`; docs/formats.md lists the names.
    pub details: BTreeMap<String, String>,
}

/// Bytes that are not an audit record in canonical form.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// Longer than a log entry can be.
    #[error("an audit record has at most {MAX_ENTRY_BYTES} bytes, this has {0}")]
    TooLong(usize),
    /// Not the JSON object wanted; what is wrong and where.
    #[error("not an audit record: {0}")]
    Form(String),
    /// A version this code does not know.
    #[error("audit record of version {0}; this verifier knows version 1")]
    Version(u32),
    /// `code` belongs to refused and failed outcomes, and to those only.
    #[error("an audit record has a `code` exactly when its outcome is not `ok`")]
    Code,
    /// The right object in another spelling: space, order of fields, escapes.
    #[error("an audit record that is not in canonical form")]
    NotCanonical,
}

#[derive(Serialize)]
struct Out<'a> {
    v: u32,
    id: RecordId,
    time: UnixMillis,
    request: &'a str,
    actor: &'a Actor,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    operation: &'a str,
    class: Class,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<&'a Resource>,
    outcome: OutcomeName,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    count: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    details: &'a BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct In {
    v: u32,
    id: RecordId,
    time: UnixMillis,
    request: String,
    actor: Actor,
    source: Option<String>,
    operation: String,
    class: Class,
    resource: Option<Resource>,
    outcome: OutcomeName,
    code: Option<String>,
    count: u32,
    context: Option<BTreeMap<String, String>>,
    #[serde(default)]
    details: BTreeMap<String, String>,
}

const HEAD: &[u8] = b"{\"v\":1,\"id\":\"";
const AFTER_ID: &[u8] = b"\",\"time\":";

impl Record {
    /// The canonical bytes, at most [`MAX_ENTRY_BYTES`] long. Where a record would be longer, its longest strings are
    /// cut to their beginning plus the SHA-256 and length of the whole, so that a record always fits and what was cut
    /// can be compared with its original.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let bytes = self.to_json();
        if bytes.len() <= MAX_ENTRY_BYTES { bytes } else { fit::shortened(self) }
    }

    /// The canonical bytes without a limit.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let out = Out {
            v: 1,
            id: self.id,
            time: self.time,
            request: &self.request,
            actor: &self.actor,
            source: self.source.as_deref(),
            operation: &self.operation,
            class: self.class,
            resource: self.resource.as_ref(),
            outcome: self.outcome.name(),
            code: self.outcome.code(),
            count: self.count,
            context: self.context.as_ref(),
            details: &self.details,
        };
        let mut bytes = Vec::with_capacity(512);
        // Unwrap safety: strings, integers and maps with string keys into memory; serde_json fails on none of these.
        #[allow(clippy::expect_used)]
        serde_json::to_writer(&mut bytes, &out).expect("records serialise");
        bytes
    }

    /// Reads the canonical form; strict: unknown, missing, repeated or reordered fields and any other spelling are
    /// refused.
    ///
    /// # Errors
    /// [`RecordError`] says what is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(RecordError::TooLong(bytes.len()));
        }
        let form = |e: serde_json::Error| RecordError::Form(e.to_string());
        let read: In = serde_json::from_slice(bytes).map_err(form)?;
        if read.v != 1 {
            return Err(RecordError::Version(read.v));
        }
        let record = Self {
            id: read.id,
            time: read.time,
            request: read.request,
            actor: read.actor,
            source: read.source,
            operation: read.operation,
            class: read.class,
            resource: read.resource,
            outcome: Outcome::from_parts(read.outcome, read.code)?,
            count: read.count,
            context: read.context,
            details: read.details,
        };
        if record.to_json() == bytes { Ok(record) } else { Err(RecordError::NotCanonical) }
    }

    /// Id and time of an encoded record, without decoding the rest; `None` when it does not begin like one.
    #[must_use]
    pub fn peek(bytes: &[u8]) -> Option<(RecordId, UnixMillis)> {
        let rest = bytes.strip_prefix(HEAD)?;
        let (id, rest) = rest.split_at_checked(36)?;
        let rest = rest.strip_prefix(AFTER_ID)?;
        let end = rest.iter().position(|b| *b == b',')?;
        let time = std::str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
        let id = std::str::from_utf8(id).ok()?.parse().ok()?;
        Some((id, UnixMillis(time)))
    }
}

/// The time of creation that a record's id carries (RFC 9562 §5.7).
#[must_use]
pub fn id_time(id: &RecordId) -> UnixMillis {
    let bytes = id.as_bytes();
    UnixMillis(bytes[..6].iter().fold(0, |millis, byte| millis << 8 | i64::from(*byte)))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn sample(n: u64) -> Record {
        let time = UnixMillis(1_795_338_000_000 + i64::try_from(n).unwrap());
        let mut random = [0; 10];
        random[2..].copy_from_slice(&n.to_be_bytes());
        Record {
            id: RecordId::new(time, random),
            time,
            request: format!("req-{n}"),
            actor: Actor { principal: "billing".into(), method: Method::Token },
            source: Some("10.1.2.3:40000".into()),
            operation: "key.encrypt".into(),
            class: Class::Use,
            resource: Some(Resource { kind: "key".into(), id: "key_0199a7".into(), version: Some(2), keyring: None }),
            outcome: Outcome::Ok,
            count: 1,
            context: Some(BTreeMap::from([("tenant".into(), "a\"b".into())])),
            details: BTreeMap::new(),
        }
    }

    #[test]
    fn the_form_is_fixed() {
        let mut record = sample(7);
        let text = String::from_utf8(record.encode()).unwrap();
        let id = record.id;
        assert_eq!(
            text,
            format!(
                "{{\"v\":1,\"id\":\"{id}\",\"time\":1795338000007,\"request\":\"req-7\",\
                 \"actor\":{{\"principal\":\"billing\",\"method\":\"token\"}},\"source\":\"10.1.2.3:40000\",\
                 \"operation\":\"key.encrypt\",\"class\":\"use\",\
                 \"resource\":{{\"kind\":\"key\",\"id\":\"key_0199a7\",\"version\":2}},\"outcome\":\"ok\",\"count\":1,\
                 \"context\":{{\"tenant\":\"a\\\"b\"}}}}"
            )
        );
        assert_eq!(Record::decode(text.as_bytes()), Ok(record.clone()));
        assert_eq!(Record::peek(text.as_bytes()), Some((id, record.time)));
        assert_eq!(id_time(&id), record.time);
        record.outcome = Outcome::Refused { code: "denied".into() };
        record.context = None;
        record.resource = None;
        record.source = None;
        record.details.insert("reason".into(), "policy".into());
        assert!(String::from_utf8(record.encode()).unwrap().ends_with(
            "\"class\":\"use\",\"outcome\":\"refused\",\"code\":\"denied\",\"count\":1,\
             \"details\":{\"reason\":\"policy\"}}"
        ));
        assert_eq!(Record::decode(&record.encode()), Ok(record));
    }

    #[test]
    fn other_spellings_are_refused() {
        let good = String::from_utf8(sample(1).encode()).unwrap();
        for (from, to) in [
            ("\"v\":1", "\"v\":2"),
            ("\"v\":1", "\"v\": 1"),
            ("\"count\":1", "\"count\":1,\"count\":1"),
            ("\"count\":1", "\"count\":1,\"extra\":1"),
            ("\"count\":1", "\"count\":-1"),
            ("\"outcome\":\"ok\"", "\"outcome\":\"ok\",\"code\":\"x\""),
            ("\"outcome\":\"ok\"", "\"outcome\":\"refused\""),
            ("\"outcome\":\"ok\"", "\"outcome\":\"fine\""),
            ("\"method\":\"token\"", "\"method\":\"magic\""),
            ("tenant", "t\\u0065nant"),
            ("\"version\":2", "\"version\":2,\"owner\":\"x\""),
            ("\"context\":{", "\"context\":{\"tenant\":\"first\","),
            ("\"count\":1", "\"count\":1,\"details\":{}"),
        ] {
            let wrong = good.replacen(from, to, 1);
            assert_ne!(wrong, good, "{from}");
            assert!(Record::decode(wrong.as_bytes()).is_err(), "{to}");
        }
        assert!(Record::decode(&good.as_bytes()[..good.len() - 1]).is_err());
        assert_eq!(Record::decode(&vec![b' '; 65_536]), Err(RecordError::TooLong(65_536)));
    }

    proptest! {
        // Few cases: making long random strings is slow.
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn records_of_any_size_fit_and_decode(
            request in ".{0,400}", principal in ".{0,300}", operation in ".{0,50}",
            context in proptest::collection::btree_map(".{0,40}", ".{0,3000}", 0..60),
            details in proptest::collection::btree_map(".{0,40}", ".{0,9000}", 0..12),
            count: u32, time: i64,
        ) {
            let record = Record {
                time: UnixMillis(time), request, operation, count, details, context: Some(context),
                actor: Actor { principal, method: Method::Mtls }, ..sample(3)
            };
            let bytes = record.encode();
            prop_assert!(bytes.len() <= MAX_ENTRY_BYTES);
            let back = Record::decode(&bytes).unwrap();
            prop_assert_eq!(back.encode(), &bytes[..]);
            prop_assert_eq!(Record::peek(&bytes), Some((record.id, record.time)));
            if record.to_json().len() <= MAX_ENTRY_BYTES {
                prop_assert_eq!(back, record);
            }
        }
    }

    proptest! {
        #[test]
        fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Record::peek(&bytes);
            prop_assert!(Record::decode(&bytes).is_err());
        }
    }
}
