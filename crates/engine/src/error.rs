//! Errors, sorted by whose fault they are. Each has a stable code, a public text that says what to do, and an internal
//! text that only the server's log sees. Protocols map [`Fault`] to their own statuses, once.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use keyreeve_crypto::CryptoError;
use keyreeve_crypto::RemoteFault;
use keyreeve_crypto::random::RandomError;
use keyreeve_epochs::VaultError;
use keyreeve_journal::JournalError;
use keyreeve_model::ciphertext::InvalidCiphertext;
use keyreeve_model::context::InvalidContext;
use keyreeve_model::metadata::InvalidMetadata;
use keyreeve_model::record::BadRecord;
use keyreeve_model::{Change, Refusal, UnixMillis};
use keyreeve_root::RootError;
use keyreeve_store::StoreError;

/// Whose fault an error is; decides the status on each wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The request is malformed or asks for something impossible.
    Caller,
    /// The request is larger than allowed.
    TooLarge,
    /// Nobody is known to be asking.
    Unauthenticated,
    /// Policy says no.
    Denied,
    /// Too many came, or failed: later.
    Throttled,
    /// Others have to agree first; the request waits for them.
    Waiting,
    /// There is no such thing.
    Absent,
    /// The thing is in a state that forbids it, or somebody else changed it.
    State,
    /// The server is sealed, or a part it needs does not answer.
    Unavailable,
    /// A defect of the server.
    Internal,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $fault:ident;)+) => {
        /// The stable code of an error: part of the interface, never renamed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $variant,)+ }

        impl Code {
            /// All codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name on wires, in audit records and in the documentation.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// Whose fault it is.
            #[must_use]
            pub const fn fault(self) -> Fault {
                match self { $(Self::$variant => Fault::$fault,)+ }
            }
        }
    };
}

codes! {
    /// A field is missing, malformed or out of range.
    InvalidRequest = "invalid-request", Caller;
    /// Bytes that are not a Keyreeve ciphertext.
    InvalidCiphertext = "invalid-ciphertext", Caller;
    /// Decryption failed: altered ciphertext, wrong context or wrong key.
    DecryptionFailed = "decryption-failed", Caller;
    /// The key's algorithm or purpose does not serve the operation.
    WrongKeyUse = "wrong-key-use", Caller;
    /// The algorithm may not be used for this any more, or not yet.
    AlgorithmNotAllowed = "algorithm-not-allowed", Caller;
    /// The root of trust does not keep keys well enough for the class of data.
    Custody = "custody-too-low", Caller;
    /// A policy text does not compile.
    InvalidPolicy = "invalid-policy", Caller;
    /// A share is misspelt, foreign or given twice.
    InvalidShare = "invalid-share", Caller;
    /// The same idempotency key came with another request.
    IdempotencyMismatch = "idempotency-mismatch", Caller;
    /// The request is too large.
    TooLarge = "too-large", TooLarge;
    /// No valid evidence of identity.
    Unauthenticated = "unauthenticated", Unauthenticated;
    /// Policy does not allow it.
    Denied = "denied", Denied;
    /// Policy demands a second factor, or a younger proof of it.
    MfaNeeded = "mfa-needed", Denied;
    /// What was shown as a second factor is not right.
    MfaRefused = "mfa-refused", Denied;
    /// Too many attempts failed: the next one is looked at later.
    TooManyAttempts = "too-many-attempts", Throttled;
    /// The request waits for the approval of others.
    ApprovalNeeded = "approval-needed", Waiting;
    /// No such thing.
    NotFound = "not-found", Absent;
    /// The key's state forbids it.
    WrongState = "wrong-state", State;
    /// A legal hold covers the key.
    UnderHold = "under-hold", State;
    /// Somebody else has to do this: another person, or one with another role.
    OtherPersonNeeded = "other-person-needed", State;
    /// There are not the people who could satisfy the rules of approval.
    Unsatisfiable = "unsatisfiable", State;
    /// A name is taken.
    AlreadyExists = "already-exists", State;
    /// Somebody else changed it at the same time, again and again.
    Conflict = "conflict", State;
    /// The request was done before; its answer held a secret and is not repeated.
    AlreadyDone = "already-done", State;
    /// The root of trust is sealed.
    Sealed = "sealed", Unavailable;
    /// The server is not initialised.
    NotInitialised = "not-initialised", Unavailable;
    /// The audit log cannot be written: nothing is done without it.
    AuditUnavailable = "audit-unavailable", Unavailable;
    /// The store does not answer or cannot write.
    StoreUnavailable = "store-unavailable", Unavailable;
    /// A destination of backups does not answer, or cannot write.
    ArchiveUnavailable = "archive-unavailable", Unavailable;
    /// The store's answer to a change was lost: it was made, or will be, or not.
    OutcomeUnknown = "outcome-unknown", Unavailable;
    /// The identity provider or directory does not answer as it should.
    IdentityUnavailable = "identity-unavailable", Unavailable;
    /// The root of trust does not answer.
    RootUnavailable = "root-unavailable", Unavailable;
    /// The server is older than an anchor remembers: nothing is done before people have decided.
    RolledBack = "rolled-back", Unavailable;
    /// An anchor does not answer that must be heard from before the server opens.
    AnchorUnavailable = "anchor-unavailable", Unavailable;
    /// The clock went back.
    ClockWentBack = "clock-went-back", Unavailable;
    /// What is stored was altered outside Keyreeve.
    Tampered = "tampered", Unavailable;
    /// It was found damaged: nothing is done with it until people release it.
    Quarantined = "quarantined", State;
    /// The generator of random numbers failed its health test.
    EntropyFailed = "entropy-failed", Unavailable;
    /// A defect.
    Internal = "internal", Internal;
}

/// Why an operation was not done.
pub struct Error {
    code: Code,
    public: Cow<'static, str>,
    internal: Option<Box<dyn std::error::Error + Send + Sync>>,
    /// Lost the race for a row: worth computing again.
    retry: bool,
    /// How long to wait before the next attempt.
    wait: Option<Duration>,
    /// What is stored and recorded with the refusal.
    aftermath: Option<Box<Aftermath>>,
}

/// What a refusal leads to: it becomes durable with the refusal's record.
#[derive(Default)]
pub(crate) struct Aftermath {
    /// Facts for the audit record.
    pub(crate) details: BTreeMap<String, String>,
    /// What is stored: notices, and what a refusal puts an end to. Nothing that the caller asked for.
    pub(crate) changes: Vec<Change>,
}

impl Error {
    /// An error with a text for the caller: what is wrong and what to do.
    pub fn new(code: Code, public: impl Into<Cow<'static, str>>) -> Self {
        Self { code, public: public.into(), internal: None, retry: false, wait: None, aftermath: None }
    }

    /// The same with its cause, for the server's log only.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.internal = Some(cause.into());
        self
    }

    /// A request that cannot be understood or is out of range.
    pub fn invalid(public: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidRequest, public)
    }

    /// There is no such thing.
    pub fn not_found(what: &'static str) -> Self {
        Self::new(Code::NotFound, format!("there is no such {what}"))
    }

    /// A defect of the server.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(Code::Internal, "an internal error occurred: the server's log tells more").because(cause)
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// The text for the caller.
    #[must_use]
    pub fn public(&self) -> &str {
        &self.public
    }

    /// The cause, for the server's log.
    #[must_use]
    pub fn cause(&self) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
        self.internal.as_deref()
    }

    /// How long to wait before the next attempt, where that is known.
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        self.wait
    }

    /// The same for who may try again after a while.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }

    /// The same with what else is stored and recorded.
    #[must_use]
    pub(crate) fn leading_to(mut self, more: Aftermath) -> Self {
        let aftermath = self.aftermath.get_or_insert_default();
        aftermath.details.extend(more.details);
        aftermath.changes.extend(more.changes);
        self
    }

    /// What else is stored and recorded, once.
    pub(crate) fn take_aftermath(&mut self) -> Aftermath {
        self.aftermath.take().map(|aftermath| *aftermath).unwrap_or_default()
    }

    /// Whether the database gave something back that is in none of its forms.
    pub(crate) fn is_damaged_store(&self) -> bool {
        let store = self.internal.as_ref().and_then(|cause| cause.downcast_ref::<StoreError>());
        matches!(store, Some(StoreError::Damaged(_)))
    }

    pub(crate) fn is_retryable(&self) -> bool {
        self.retry
    }

    pub(crate) fn clock_went_back(seen: UnixMillis, now: UnixMillis) -> Self {
        let text = format!("the clock went back from {seen} to {now}: set it right, then try again");
        Self::new(Code::ClockWentBack, text)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.public)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("code", &self.code)
            .field("public", &self.public)
            .field("internal", &self.internal)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.internal.as_deref().map(|cause| cause as &(dyn std::error::Error + 'static))
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Conflict { .. } => {
                let mut conflict = Self::new(Code::Conflict, "somebody else changed it at the same time: try again");
                conflict.retry = true;
                conflict
            }
            StoreError::Taken { what, name } => {
                Self::new(Code::AlreadyExists, format!("the {what} `{name}` exists already: choose another name"))
            }
            StoreError::ReadOnly(_) => Self::new(
                Code::StoreUnavailable,
                "the store cannot write now (disk full or read-only): nothing was changed",
            )
            .because(error),
            StoreError::Unavailable(_) => {
                Self::new(Code::StoreUnavailable, "the store does not answer: nothing was changed, try again")
                    .because(error)
            }
            StoreError::InDoubt(_) => Self::new(
                Code::OutcomeUnknown,
                "the store's answer was lost, it is not known whether the change was made: look, or try again with the \
                 same idempotency key",
            )
            .because(error),
            StoreError::LeaseLost => Self::new(
                Code::StoreUnavailable,
                "another server has taken the store over: nothing was changed; ask that one",
            )
            .because(error),
            StoreError::NotEmpty => Self::new(Code::WrongState, error.to_string()),
            StoreError::Damaged(_) => {
                Self::new(Code::Tampered, "the store is damaged: an operator must look").because(error)
            }
        }
    }
}

impl From<JournalError> for Error {
    fn from(error: JournalError) -> Self {
        Self::new(Code::AuditUnavailable, "the audit log cannot be written now: nothing is done without it")
            .because(error)
    }
}

impl From<RootError> for Error {
    fn from(error: RootError) -> Self {
        let code = match &error {
            RootError::Sealed => Code::Sealed,
            RootError::NotInitialised => Code::NotInitialised,
            RootError::Already(_) => Code::WrongState,
            RootError::NotAShare
            | RootError::ForeignShare
            | RootError::ReplacedShare { .. }
            | RootError::DuplicateShare(_)
            | RootError::ForgedShare(_)
            | RootError::WrongShares => Code::InvalidShare,
            RootError::Shares { .. } | RootError::NoShares => Code::InvalidRequest,
            RootError::Unwrap => Code::Tampered,
            RootError::TooLong => return Self::internal(error),
            RootError::Unavailable(_) => {
                return Self::new(Code::RootUnavailable, "the root of trust does not answer").because(error);
            }
            RootError::Refused(_) => {
                let text = "the device behind the root does not do this: `keyreeve root check` shows what it does";
                return Self::new(Code::RootUnavailable, text).because(error);
            }
            RootError::Missing => Code::Tampered,
        };
        Self::new(code, error.to_string())
    }
}

impl From<VaultError> for Error {
    fn from(error: VaultError) -> Self {
        if let VaultError::Damaged(_) = &error {
            let text =
                "an epoch key in the epoch vault is damaged: keys under it cannot be used; restore it from its mirror";
            return Self::new(Code::Tampered, text).because(error);
        }
        Self::new(Code::StoreUnavailable, "the epoch vault cannot be used now: nothing was changed").because(error)
    }
}

impl From<BadRecord> for Error {
    fn from(error: BadRecord) -> Self {
        let text = "what is stored was altered outside Keyreeve: it is not used; an operator looks with `keyreeve \
                    integrity status`";
        Self::new(Code::Tampered, text).because(error)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::NoVersion { .. } => Code::NotFound,
            Refusal::WaitingPeriod { .. } => Code::InvalidRequest,
            Refusal::NotExportable | Refusal::InDevice => Code::WrongKeyUse,
            Refusal::Transition { .. }
            | Refusal::Rotation { .. }
            | Refusal::Use { .. }
            | Refusal::Retired { .. }
            | Refusal::PendingDestruction { .. }
            | Refusal::MaterialEnded { .. }
            | Refusal::NotImported { .. }
            | Refusal::NotScheduled
            | Refusal::TooEarly { .. }
            | Refusal::TooManyVersions
            | Refusal::RecordFull => Code::WrongState,
        };
        Self::new(code, refusal.to_string())
    }
}

impl From<InvalidMetadata> for Error {
    fn from(error: InvalidMetadata) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<InvalidContext> for Error {
    fn from(error: InvalidContext) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<InvalidCiphertext> for Error {
    fn from(error: InvalidCiphertext) -> Self {
        Self::new(Code::InvalidCiphertext, error.to_string())
    }
}

impl From<CryptoError> for Error {
    fn from(error: CryptoError) -> Self {
        let code = match &error {
            CryptoError::Open => Code::DecryptionFailed,
            CryptoError::WrongPurpose { .. }
            | CryptoError::WrongAlgorithm { .. }
            | CryptoError::PurposeNotOffered { .. }
            | CryptoError::SchemeMismatch { .. }
            | CryptoError::DigestNotOffered { .. } => Code::WrongKeyUse,
            CryptoError::NotVerified
            | CryptoError::InputLength { .. }
            | CryptoError::InputTooLong { .. }
            | CryptoError::WrapLength
            | CryptoError::OutputLength { .. }
            | CryptoError::Label
            | CryptoError::Key(_) => Code::InvalidRequest,
            CryptoError::Random(error) => return (*error).into(),
            CryptoError::Remote(RemoteFault::NotOffered) => {
                let text = "the device that holds this key does not do this with it, or not with so much at once";
                return Self::new(Code::WrongKeyUse, text).because(error);
            }
            CryptoError::Remote(RemoteFault::Missing) => {
                let text = "the device does not have this key: it was erased there, or this is another device";
                return Self::new(Code::Tampered, text).because(error);
            }
            CryptoError::Remote(RemoteFault::Unavailable | RemoteFault::WrongAnswer) => {
                let text = "the device that holds this key did not do it: see the server's log, and ask again";
                return Self::new(Code::RootUnavailable, text).because(error);
            }
            CryptoError::Module => return Self::internal(error),
        };
        Self::new(code, error.to_string())
    }
}

impl From<RandomError> for Error {
    fn from(error: RandomError) -> Self {
        Self::new(Code::EntropyFailed, "the random generator failed its health test: the server must be restarted")
            .because(error)
    }
}
