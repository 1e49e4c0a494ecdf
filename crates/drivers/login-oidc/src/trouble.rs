//! What went wrong on the way, sorted: a server that is not there, or one that is not the one that was meant.

use std::error::Error;
use std::io;

use keyreeve_identity_port::OutsideError;

/// Sorts an error of the HTTP library.
pub(crate) fn sort(error: &reqwest::Error) -> OutsideError {
    let said = words(error);
    if error.is_timeout() {
        OutsideError::Unreachable("no answer in time".to_owned())
    } else if in_tls(error) {
        OutsideError::Untrusted(said)
    } else if error.is_redirect() || error.is_decode() {
        OutsideError::Malformed(said)
    } else {
        OutsideError::Unreachable(said)
    }
}

/// The innermost cause, which says most; the outer ones repeat the address.
pub(crate) fn words(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

fn in_tls(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<rustls::Error>() {
            return true;
        }
        // What an error of I/O was made from is not among its sources.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if inner.is_some_and(|inner| in_tls(inner)) {
            return true;
        }
        cause = error.source();
    }
    false
}
