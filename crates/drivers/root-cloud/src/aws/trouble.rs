//! What the SDK reports, sorted by what is to be done.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::RemoteError;
use crate::http::code;

/// An error, and whether other credentials might help.
#[derive(Debug)]
pub(super) struct Sorted {
    pub(super) error: RemoteError,
    pub(super) credentials: bool,
}

pub(super) fn sort<E>(error: &SdkError<E, HttpResponse>) -> Sorted
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match error {
        SdkError::ServiceError(said) => by_code(said.err().code(), said.raw().status().as_u16()),
        SdkError::ResponseError(answer) => by_code(None, answer.raw().status().as_u16()),
        SdkError::TimeoutError(_) => passing("no answer in time"),
        other => by_cause(other),
    }
}

/// Codes of KMS and of requests to AWS in general (AWS KMS API reference: Common errors, Decrypt, Encrypt).
fn by_code(said: Option<&str>, status: u16) -> Sorted {
    let shown = said.and_then(code).unwrap_or_else(|| format!("status {status}"));
    let what = format!("it answered {shown}");
    let error = match said.unwrap_or_default() {
        "InvalidCiphertextException" | "IncorrectKeyException" => RemoteError::Unwrap,
        "ThrottlingException"
        | "Throttling"
        | "ThrottledException"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "SlowDown" => RemoteError::Throttled { said: what, after: None },
        "KMSInternalException"
        | "KeyUnavailableException"
        | "DependencyTimeoutException"
        | "InternalFailure"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "RequestTimeout" => RemoteError::Unreachable(what),
        _ if status == 429 => RemoteError::Throttled { said: what, after: None },
        _ if status >= 500 => RemoteError::Unreachable(what),
        _ if said.is_none() && status < 400 => RemoteError::Malformed("an answer of another form".to_owned()),
        _ => RemoteError::Refused(what),
    };
    let credentials = matches!(
        said.unwrap_or_default(),
        "ExpiredTokenException"
            | "ExpiredToken"
            | "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "IncompleteSignature"
    );
    Sorted { error, credentials }
}

/// What never reached the service: ours, or that of credentials that could not be had.
fn by_cause(error: &(dyn Error + 'static)) -> Sorted {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(ours) = error.downcast_ref::<RemoteError>() {
            return Sorted { error: ours.clone(), credentials: false };
        }
        if let Some(none) = error.downcast_ref::<CredentialsError>() {
            return without_credentials(none);
        }
        cause = error.source();
    }
    passing("the request could not be made")
}

fn without_credentials(error: &CredentialsError) -> Sorted {
    let refused = |what: &str| Sorted { error: RemoteError::Refused(what.to_owned()), credentials: true };
    match error {
        CredentialsError::CredentialsNotLoaded(_) => refused("there are no credentials"),
        CredentialsError::InvalidConfiguration(_) => refused("the credentials' configuration is not valid"),
        CredentialsError::ProviderTimedOut(_) => passing("credentials could not be had in time"),
        _ => passing("credentials could not be had: what gives them refuses, or does not answer"),
    }
}

fn passing(what: &str) -> Sorted {
    Sorted { error: RemoteError::Unreachable(what.to_owned()), credentials: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_by_what_is_to_be_done() {
        let sorted = |code: &str, status| by_code(Some(code), status).error;
        assert_eq!(sorted("IncorrectKeyException", 400), RemoteError::Unwrap);
        assert!(matches!(sorted("ThrottlingException", 400), RemoteError::Throttled { .. }));
        assert!(matches!(sorted("KeyUnavailableException", 500), RemoteError::Unreachable(_)));
        assert!(matches!(sorted("DisabledException", 400), RemoteError::Refused(_)));
        assert!(matches!(sorted("AccessDeniedException", 400), RemoteError::Refused(_)));
        assert!(matches!(sorted("SomethingNew", 503), RemoteError::Unreachable(_)));
        assert!(matches!(by_code(None, 200).error, RemoteError::Malformed(_)));
        assert!(by_code(Some("ExpiredTokenException"), 400).credentials);
        assert!(!by_code(Some("AccessDeniedException"), 400).credentials);
    }

    #[test]
    fn what_the_service_says_is_not_repeated_unlooked_at() {
        let RemoteError::Refused(said) = by_code(Some("a\nlog line"), 400).error else { panic!("not refused") };
        assert_eq!(said, "it answered status 400");
    }
}
