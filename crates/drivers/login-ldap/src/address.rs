//! Addresses of directories, and the TLS they are spoken to with.

use std::sync::Arc;

use keyreeve_identity_port::{DirectoryPlace, OutsideError, Trust};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// An address with which nothing goes in the clear.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) url: String,
    pub(crate) starttls: bool,
}

impl Address {
    /// The library takes more than this and falls back to plain LDAP; so only what is meant gets through.
    pub(crate) fn of(place: &DirectoryPlace) -> Result<Self, OutsideError> {
        let wrong = |why: &str| OutsideError::Untrusted(format!("its address {why}"));
        let (rest, starttls) = match (place.url.split_once("://"), place.starttls) {
            (Some(("ldaps", rest)), false) => (rest, false),
            (Some(("ldap", rest)), true) => (rest, true),
            (Some(("ldaps", _)), true) => return Err(wrong("is ldaps, where StartTLS has no place")),
            (Some(("ldap", _)), false) => return Err(wrong("is ldap without StartTLS")),
            (Some(_) | None, _) => return Err(wrong("is not ldaps://HOST:PORT")),
        };
        let place = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = place.rsplit_once(':').unwrap_or((place, if starttls { "389" } else { "636" }));
        let of_a_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if host.is_empty() || !host.bytes().all(of_a_name) || port.parse::<u16>().is_err() {
            return Err(wrong("is not ldaps://HOST:PORT"));
        }
        let scheme = if starttls { "ldap" } else { "ldaps" };
        Ok(Self { url: format!("{scheme}://{host}:{port}"), starttls })
    }
}

/// TLS with only these authorities; `None` leaves it to the library, which trusts what the machine trusts.
pub(crate) fn tls(trust: &Trust) -> Result<Option<Arc<ClientConfig>>, OutsideError> {
    // The process may have one already: any of them will do, and there is only this one in our programs.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let Some(pem) = &trust.ca_pem else { return Ok(None) };
    let unfit = || OutsideError::Untrusted("`ca_pem` holds no certificate in PEM form".to_owned());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.map_err(|_| unfit())?).map_err(|_| unfit())?;
    }
    if roots.is_empty() {
        return Err(unfit());
    }
    Ok(Some(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_identity_port::Groups;

    fn place(url: &str, starttls: bool) -> DirectoryPlace {
        DirectoryPlace {
            url: url.to_owned(),
            starttls,
            trust: Trust::default(),
            bind_dn: None,
            base: "dc=example".to_owned(),
            filter: "(uid={user})".to_owned(),
            user_attr: "uid".to_owned(),
            groups: Groups::None,
        }
    }

    #[test]
    fn every_address_means_tls() {
        let of = |url: &str, starttls| Address::of(&place(url, starttls)).map(|address| address.url);
        assert_eq!(of("ldaps://ldap.example.com", false).unwrap(), "ldaps://ldap.example.com:636");
        assert_eq!(of("ldaps://10.1.2.3:1636/", false).unwrap(), "ldaps://10.1.2.3:1636");
        assert_eq!(of("ldap://ldap.example.com", true).unwrap(), "ldap://ldap.example.com:389");
        for (bad, starttls) in [
            ("ldap://ldap.example.com", false),
            ("ldaps://ldap.example.com", true),
            ("ldapi://%2fvar%2frun%2fldapi", false),
            ("LDAP://ldap.example.com", false),
            ("ldaps://", false),
            ("ldaps:///dc=example", false),
            ("ldaps://user@host", false),
            ("ldaps://host:port", false),
            ("ldaps://host:70000", false),
            ("ldaps://host/dc=example?uid", false),
            ("ldap.example.com", false),
            ("", true),
        ] {
            assert!(matches!(of(bad, starttls), Err(OutsideError::Untrusted(_))), "{bad} {starttls}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        assert!(tls(&Trust::default()).unwrap().is_none());
        for bad in ["", "nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(matches!(tls(&Trust::only(bad)), Err(OutsideError::Untrusted(_))), "{bad}");
        }
    }
}
