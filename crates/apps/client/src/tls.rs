//! What went wrong with TLS, told apart: each has another remedy, and none passes by itself.

use std::error::Error;
use std::fmt;
use std::io;

use rustls::{CertificateError, InvalidMessage};

/// How rustls tells of what the other side refused.
const ALERT: &str = "received fatal alert: ";

/// Why there is no trusted connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsTrouble {
    /// The server's certificate is from none of the authorities that are trusted.
    UnknownIssuer,
    /// The server's certificate is for other names.
    WrongName,
    /// The server's certificate is no longer valid.
    Expired,
    /// The server's certificate is not valid yet.
    NotYetValid,
    /// The server shows the certificate of an authority as its own.
    Authority,
    /// The server wants to see a certificate, and none was shown.
    ClientCertificateMissing,
    /// The server does not accept the certificate that was shown.
    ClientCertificateRefused,
    /// What answers does not speak TLS.
    NotTls,
    /// Anything else in the handshake.
    Handshake,
}

impl fmt::Display for TlsTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownIssuer => "the server's certificate is not from an authority that is trusted here",
            Self::WrongName => "the server's certificate is for other names",
            Self::Expired => "the server's certificate is no longer valid",
            Self::NotYetValid => "the server's certificate is not valid yet",
            Self::Authority => "the server shows the certificate of an authority (CA:TRUE) as its own",
            Self::ClientCertificateMissing => "the server asks for a client certificate",
            Self::ClientCertificateRefused => "the server does not accept the client certificate",
            Self::NotTls => "what answers there does not speak TLS",
            Self::Handshake => "TLS failed",
        })
    }
}

/// What is wrong with TLS, if it is that; `reason` is the same error in words, with all its causes.
pub(crate) fn trouble(error: &(dyn Error + 'static), reason: &str) -> Option<TlsTrouble> {
    match find(error) {
        Some(found) => Some(of(found)),
        // Once HTTP/2 is spoken, what is left of the error of TLS is its text.
        None => reason.split_once(ALERT).map(|(_, alert)| of_alert(alert)),
    }
}

fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        // What an error of I/O was made from is not among its sources.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(found) = inner.and_then(|inner| find(inner)) {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

fn of(error: &rustls::Error) -> TlsTrouble {
    match error {
        rustls::Error::InvalidCertificate(error) => of_certificate(error),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => TlsTrouble::NotTls,
        rustls::Error::AlertReceived(alert) => of_alert(&format!("{alert:?}")),
        _ => TlsTrouble::Handshake,
    }
}

fn of_certificate(error: &CertificateError) -> TlsTrouble {
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsTrouble::UnknownIssuer,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => TlsTrouble::WrongName,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsTrouble::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => TlsTrouble::NotYetValid,
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => TlsTrouble::Authority,
        _ => TlsTrouble::Handshake,
    }
}

/// RFC 8446, section 6.2. Anything may stand behind the name.
fn of_alert(alert: &str) -> TlsTrouble {
    const REFUSED: [&str; 7] = [
        "AccessDenied",
        "BadCertificate",
        "CertificateExpired",
        "CertificateRevoked",
        "CertificateUnknown",
        "UnknownCA",
        "UnsupportedCertificate",
    ];
    let name = alert.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    match name {
        "CertificateRequired" => TlsTrouble::ClientCertificateMissing,
        name if REFUSED.contains(&name) => TlsTrouble::ClientCertificateRefused,
        _ => TlsTrouble::Handshake,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::AlertDescription;

    #[test]
    fn alerts_about_certificates_are_known_by_the_names_that_rustls_prints() {
        let of_received = |alert| of(&rustls::Error::AlertReceived(alert));
        assert_eq!(of_received(AlertDescription::CertificateRequired), TlsTrouble::ClientCertificateMissing);
        for alert in [
            AlertDescription::AccessDenied,
            AlertDescription::BadCertificate,
            AlertDescription::CertificateExpired,
            AlertDescription::CertificateRevoked,
            AlertDescription::CertificateUnknown,
            AlertDescription::UnknownCA,
            AlertDescription::UnsupportedCertificate,
        ] {
            assert_eq!(of_received(alert), TlsTrouble::ClientCertificateRefused, "{alert:?}");
        }
        assert_eq!(of_received(AlertDescription::ProtocolVersion), TlsTrouble::Handshake);
        assert_eq!(of_alert("UnknownCA (in the middle of it)"), TlsTrouble::ClientCertificateRefused);
    }

    #[test]
    fn an_error_of_tls_is_found_inside_of_one_of_io() {
        let inner = rustls::Error::InvalidCertificate(CertificateError::Expired);
        let outer = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, inner));
        assert_eq!(find(&outer).map(of), Some(TlsTrouble::Expired));
        assert!(find(&io::Error::from(io::ErrorKind::ConnectionRefused)).is_none());
    }
}
