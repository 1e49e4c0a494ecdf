//! What a protocol hands to the pipeline, and what it gets back.

use keyreeve_model::ids::ApprovalId;
use keyreeve_model::{RecordId, UnixMillis};
use keyreeve_secret::SecretString;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Error;

/// A client certificate that TLS has verified against the trusted issuers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    /// SHA-256 of its DER.
    pub fingerprint: [u8; 32],
    /// DNS subject alternative names.
    pub dns_names: Vec<String>,
    /// URI subject alternative names.
    pub uris: Vec<String>,
    /// The authorities by which TLS has verified it, from the one that issued it to the one that is trusted: SHA-256 of
    /// their public keys (SubjectPublicKeyInfo in DER).
    pub authorities: Vec<[u8; 32]>,
    /// The first and the last instant at which it is valid. TLS looks at them once, at the beginning of a connection.
    pub valid: (UnixMillis, UnixMillis),
}

/// What a caller shows to prove who it is.
#[derive(Debug)]
pub enum Evidence {
    /// Nothing.
    None,
    /// A bearer token.
    Bearer(SecretString),
    /// A client certificate.
    Certificate(Arc<PeerCertificate>),
}

/// A caller's wish that a retry shall not do things twice.
#[derive(Clone, Debug)]
pub struct Idempotency {
    /// The caller's key: 1 to 128 visible ASCII characters, checked by the protocol.
    pub key: String,
    /// SHA-256 of the request as it came, to tell a retry from another request.
    pub request: [u8; 32],
}

/// Whether a caller proved who it is, told to the protocol that kept a handle: neither the answer nor the refusal of an
/// operation for anybody would tell.
#[derive(Clone, Debug, Default)]
pub struct Proof(Arc<AtomicBool>);

impl Proof {
    /// Says that a token or certificate was accepted.
    pub fn accept(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether one was.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A request on its way in: everything about it but what it asks for.
#[derive(Debug)]
pub struct Arrival {
    /// Who says it is asking.
    pub evidence: Evidence,
    /// From which address.
    pub source: Option<IpAddr>,
    /// The request's id, for records and logs.
    pub request: String,
    /// Against doing things twice.
    pub idempotency: Option<Idempotency>,
    /// Learns whether the evidence was accepted.
    pub proof: Proof,
}

impl Arrival {
    /// The same arrival without the wish against repetition, for the first of two operations that one request makes.
    #[must_use]
    pub fn without_idempotency(&self) -> Self {
        let evidence = match &self.evidence {
            Evidence::None => Evidence::None,
            Evidence::Bearer(token) => Evidence::Bearer(token.duplicate()),
            Evidence::Certificate(peer) => Evidence::Certificate(Arc::clone(peer)),
        };
        let (source, request, proof) = (self.source, self.request.clone(), self.proof.clone());
        Self { evidence, source, request, idempotency: None, proof }
    }
}

/// An operation that was done, recorded and made durable.
#[derive(Debug)]
pub struct Done<R> {
    /// The answer.
    pub reply: R,
    /// Its audit record; none for operations that are only counted.
    pub record: Option<RecordId>,
}

/// An operation that was not done. Refusals are recorded too.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub error: Error,
    /// Its audit record; none when the log could not be written or the operation is only counted.
    pub record: Option<RecordId>,
    /// Where the request waits for others (code `approval-needed`): what it waits for.
    pub waiting: Option<Box<Waiting>>,
}

/// A request that waits until others have approved it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The proposal that was made of it, or stood already.
    pub approval: ApprovalId,
    /// SHA-256 of the request as it will be carried out.
    pub digest: [u8; 32],
    /// Until when it waits.
    pub expires: UnixMillis,
    /// Who has to agree yet, in words.
    pub missing: Vec<String>,
    /// The proposal that this one takes the place of, because others are asked for now.
    pub replaces: Option<ApprovalId>,
}
