//! What a library's error codes mean for the request.

use cryptoki::error::{Error, RvError};

use crate::wire::{Failure, Reply};

/// Why something did not work.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The session, its login or a handle went stale: a new one may help, at once.
    Stale(String),
    /// Something to answer.
    Final(Failure, String),
}

impl Trouble {
    pub(super) fn new(failure: Failure, text: impl Into<String>) -> Self {
        Self::Final(failure, text.into())
    }

    pub(super) fn missing() -> Self {
        Self::new(Failure::Missing, "there is no such key in the token")
    }

    pub(super) fn into_reply(self) -> Reply {
        match self {
            Self::Stale(text) => Reply::Failed(Failure::Unavailable, text),
            Self::Final(failure, text) => Reply::Failed(failure, text),
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        let Error::Pkcs11(code, _) = error else { return Self::Final(Failure::Unavailable, text) };
        match code {
            RvError::SessionClosed
            | RvError::SessionHandleInvalid
            | RvError::UserNotLoggedIn
            | RvError::KeyHandleInvalid
            | RvError::ObjectHandleInvalid
            | RvError::OperationActive
            | RvError::OperationNotInitialized => Self::Stale(text),
            RvError::PinIncorrect
            | RvError::PinInvalid
            | RvError::PinLenRange
            | RvError::PinExpired
            | RvError::PinLocked
            | RvError::UserPinNotInitialized => Self::Final(Failure::Pin, text),
            // Those about the data as well: one caller's message is no reason to give up the worker of all.
            RvError::MechanismInvalid
            | RvError::MechanismParamInvalid
            | RvError::DataInvalid
            | RvError::DataLenRange
            | RvError::FunctionRejected
            | RvError::FunctionNotSupported
            | RvError::ArgumentsBad
            | RvError::KeyTypeInconsistent
            | RvError::KeyFunctionNotPermitted
            | RvError::KeySizeRange
            | RvError::CurveNotSupported
            | RvError::DomainParamsInvalid
            | RvError::AttributeTypeInvalid
            | RvError::AttributeValueInvalid
            | RvError::AttributeReadOnly
            | RvError::TemplateInconsistent
            | RvError::TemplateIncomplete => Self::Final(Failure::NotOffered, text),
            _ => Self::Final(Failure::Unavailable, text),
        }
    }
}

/// Whether an error of decrypting says for certain that the ciphertext is to blame.
pub(super) fn blames_input(error: &Error) -> bool {
    /// `CKR_AEAD_DECRYPT_FAILED`, new in PKCS #11 3.0.
    const AEAD_DECRYPT_FAILED: u64 = 0x42;
    match error {
        Error::Pkcs11(RvError::EncryptedDataInvalid | RvError::EncryptedDataLenRange, _) => true,
        Error::Pkcs11(RvError::UnknownErrorCode(code), _) => *code == AEAD_DECRYPT_FAILED,
        _ => false,
    }
}

/// Whether an error of decrypting leaves open whether the ciphertext or the device is to blame: what libraries say when
/// they do not know better. SoftHSM says `CKR_GENERAL_ERROR` of a tag that does not fit.
pub(super) fn is_vague(error: &Error) -> bool {
    matches!(
        error,
        Error::Pkcs11(
            RvError::GeneralError
                | RvError::FunctionFailed
                | RvError::DataInvalid
                | RvError::DataLenRange
                | RvError::SignatureInvalid
                | RvError::DeviceError
                | RvError::ArgumentsBad
                | RvError::VendorDefined(_)
                | RvError::UnknownErrorCode(_),
            _
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use cryptoki::context::Function;

    #[test]
    fn a_broken_device_is_not_taken_for_a_bad_ciphertext() {
        let error = |code| Error::Pkcs11(code, Function::Decrypt);
        assert!(blames_input(&error(RvError::EncryptedDataInvalid)));
        assert!(blames_input(&error(RvError::UnknownErrorCode(0x42))));
        for code in [RvError::GeneralError, RvError::DeviceError, RvError::DeviceRemoved, RvError::TokenNotPresent] {
            assert!(!blames_input(&error(code)));
        }
        assert!(is_vague(&error(RvError::GeneralError)) && is_vague(&error(RvError::DeviceError)));
        assert!(!is_vague(&error(RvError::DeviceRemoved)) && !is_vague(&error(RvError::TokenNotPresent)));
    }

    #[test]
    fn codes_become_what_the_server_can_act_on() {
        let failure = |code| match Trouble::from(Error::Pkcs11(code, Function::Sign)) {
            Trouble::Stale(_) => None,
            Trouble::Final(failure, _) => Some(failure),
        };
        assert_eq!(failure(RvError::UserNotLoggedIn), None);
        assert_eq!(failure(RvError::SessionHandleInvalid), None);
        assert_eq!(failure(RvError::PinIncorrect), Some(Failure::Pin));
        assert_eq!(failure(RvError::PinLocked), Some(Failure::Pin));
        assert_eq!(failure(RvError::MechanismInvalid), Some(Failure::NotOffered));
        for code in [RvError::DataInvalid, RvError::DataLenRange, RvError::FunctionRejected] {
            assert_eq!(failure(code), Some(Failure::NotOffered));
        }
        assert_eq!(failure(RvError::DeviceRemoved), Some(Failure::Unavailable));
        assert_eq!(failure(RvError::GeneralError), Some(Failure::Unavailable));
        assert_eq!(failure(RvError::HostMemory), Some(Failure::Unavailable));
    }
}
