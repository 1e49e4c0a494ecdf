//! What can go wrong between a program and the server.

use keyreeve_envelope::{EnvelopeError, StreamError};
use keyreeve_wire::Problem;

use crate::tls::{self, TlsTrouble};

/// Why an operation was not done, or why it is not known whether it was.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The client cannot be set up as it was told to.
    #[error("{0}")]
    Setup(String),
    /// The server did not answer.
    #[error("{address} does not answer: {reason}")]
    Unreachable {
        /// Where it was expected.
        address: String,
        /// What was seen of the failure, innermost cause last.
        reason: String,
    },
    /// Somebody answers, and there is no connection that can be trusted: trying again changes nothing.
    #[error("no trusted connection to {address}: {trouble} ({reason})")]
    Untrusted {
        /// Where the server was expected.
        address: String,
        /// What is wrong.
        trouble: TlsTrouble,
        /// What was seen of it, innermost cause last.
        reason: String,
    },
    /// The server answered that it will not or cannot.
    #[error("{} ({})", .0.detail, .0.code)]
    Refused(Box<Problem>),
    /// Others have to agree first: it waits, and was not done. The problem's `approval` says as what.
    #[error("{}", .0.detail)]
    Waiting(Box<Problem>),
    /// The answer is not one of Keyreeve's.
    #[error("the answer is not one that Keyreeve gives: {0}")]
    Answer(String),
    /// A name that cannot stand in a path.
    #[error("`{0}` cannot be the name of anything")]
    Name(String),
    /// An envelope file is not in order, or a stream broke.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// Randomness for a header or an idempotency key was not to be had.
    #[error("no randomness: {0}")]
    Random(#[from] keyreeve_crypto::RandomError),
}

impl From<EnvelopeError> for ClientError {
    fn from(error: EnvelopeError) -> Self {
        Self::Stream(StreamError::Envelope(error))
    }
}

impl ClientError {
    /// The problem the server told of, if it was one.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) | Self::Waiting(problem) => Some(problem),
            Self::Setup(_)
            | Self::Unreachable { .. }
            | Self::Untrusted { .. }
            | Self::Answer(_)
            | Self::Name(_)
            | Self::Stream(_)
            | Self::Random(_) => None,
        }
    }

    /// The stable code the server gave, if it gave one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.problem().map(|problem| problem.code.as_str())
    }

    /// A transport failure, told with all its causes: the outermost text alone says nothing.
    pub(crate) fn transport(address: &str, error: &reqwest::Error) -> Self {
        let address = address.to_owned();
        let reason = reason(error);
        match tls::trouble(error, &reason) {
            Some(trouble) => Self::Untrusted { address, trouble, reason: innermost(&reason) },
            None if error.is_timeout() => Self::Unreachable { address, reason: "it took too long".to_owned() },
            None => Self::Unreachable { address, reason },
        }
    }
}

fn reason(error: &reqwest::Error) -> String {
    let mut reason = String::new();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !reason.ends_with(&text) {
            let between = if reason.is_empty() { "" } else { ": " };
            reason = format!("{reason}{between}{text}");
        }
        cause = inner.source();
    }
    if reason.is_empty() { error.to_string() } else { reason }
}

/// What TLS said, without the layers around it.
fn innermost(reason: &str) -> String {
    ["invalid peer certificate: ", "received fatal alert: "]
        .iter()
        .find_map(|mark| reason.find(mark).map(|start| reason[start..].to_owned()))
        .unwrap_or_else(|| reason.to_owned())
}
