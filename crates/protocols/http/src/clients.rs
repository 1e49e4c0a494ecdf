//! Client certificates: whose are trusted, which were revoked, and by which authorities one that TLS has verified came
//! to be trusted.

use keyreeve_crypto::digest::sha256;
use keyreeve_engine::PeerCertificate;
use keyreeve_model::UnixMillis;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, SignatureVerificationAlgorithm, UnixTime};
use std::sync::Arc;
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList, RevocationCheckDepth,
    RevocationOptionsBuilder, UnknownStatusPolicy,
};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;

use crate::tls::{ClientAuth, TlsError, TlsMaterial, Unsure, certificates, provider};

/// What verifies clients during the handshake, and what is asked about them after it.
type Verifying = (Arc<dyn ClientCertVerifier>, Clients);

/// A list as TLS wants it, and as it is looked up.
type List = (CertificateRevocationListDer<'static>, CertRevocationList<'static>);

/// The authorities of clients, and what they revoked.
pub(crate) struct Clients {
    issuers: Arc<RootCertStore>,
    /// SHA-256 of the public key of each, in the same order.
    keys: Vec<[u8; 32]>,
    lists: Vec<CertRevocationList<'static>>,
    /// When the first of the lists is out of date that must not be (seconds since 1970).
    due: Option<u64>,
    expired: Unsure,
    missing: Unsure,
    algorithms: &'static [&'static dyn SignatureVerificationAlgorithm],
}

impl Clients {
    /// Nothing where they are not asked for certificates.
    pub(crate) fn of(material: &TlsMaterial) -> Result<Option<Verifying>, TlsError> {
        if material.client_auth == ClientAuth::None {
            return Ok(None);
        }
        let pem = material.client_ca_pem.as_deref().ok_or(TlsError::NoClientCa)?;
        let (mut issuers, mut keys) = (RootCertStore::empty(), Vec::new());
        for issuer in certificates(pem).map_err(TlsError::ClientCa)? {
            keys.push(public_key(&issuer).ok_or_else(|| TlsError::ClientCa("one cannot be read".to_owned()))?);
            issuers.add(issuer).map_err(|error| TlsError::ClientCa(error.to_string()))?;
        }
        let (issuers, provider) = (Arc::new(issuers), provider());
        let lists = revocation_lists(&material.client_crls)?;
        let algorithms = provider.signature_verification_algorithms.all;
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(&issuers), provider);
        builder = builder.with_crls(lists.iter().map(|(der, _)| der.clone()));
        if material.client_auth == ClientAuth::Optional {
            builder = builder.allow_unauthenticated();
        }
        if material.expired_crl == Unsure::Refused {
            builder = builder.enforce_revocation_expiration();
        }
        if material.missing_crl == Unsure::Accepted {
            builder = builder.allow_unknown_revocation_status();
        }
        let verifier = builder.build().map_err(|error| TlsError::ClientCa(error.to_string()))?;
        let due = lists.iter().filter_map(|(der, _)| due(der)).min();
        let due = due.filter(|_| material.expired_crl == Unsure::Refused);
        let lists = lists.into_iter().map(|(_, list)| list).collect();
        let (expired, missing) = (material.expired_crl, material.missing_crl);
        Ok(Some((verifier, Self { issuers, keys, lists, due, expired, missing, algorithms })))
    }

    /// The authorities by which a certificate is trusted, from the one that issued it to the one that is named in the
    /// configuration: SHA-256 of their public keys. What else the client sent along is not among them.
    ///
    /// TLS has verified the certificate and does not tell how; so it is done again, in the same way.
    fn authorities(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<Vec<[u8; 32]>, webpki::Error> {
        let (own, others) = chain.split_first().ok_or(webpki::Error::UnknownIssuer)?;
        let lists: Vec<&CertRevocationList<'_>> = self.lists.iter().collect();
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            let options = options.with_depth(RevocationCheckDepth::Chain);
            let options = options.with_status_policy(match self.missing {
                Unsure::Refused => UnknownStatusPolicy::Deny,
                Unsure::Accepted => UnknownStatusPolicy::Allow,
            });
            let options = options.with_expiration_policy(match self.expired {
                Unsure::Refused => ExpirationPolicy::Enforce,
                Unsure::Accepted => ExpirationPolicy::Ignore,
            });
            options.build()
        });
        let certificate = EndEntityCert::try_from(own)?;
        let (anchors, usage) = (&self.issuers.roots, KeyUsage::client_auth());
        let path = certificate.verify_for_usage(self.algorithms, anchors, others, now, usage, revocation, None)?;
        let between = path.intermediate_certificates().map(|authority| sha256(&authority.subject_public_key_info()));
        let trusted = anchors.iter().position(|anchor| anchor == path.anchor());
        let trusted = trusted.and_then(|at| self.keys.get(at)).ok_or(webpki::Error::UnknownIssuer)?;
        Ok(between.chain([*trusted]).collect())
    }

    /// Whether all lists are up to date that must be: a certificate that was good by them may be so no more.
    pub(crate) fn are_sure(&self, now: UnixTime) -> bool {
        self.due.is_none_or(|due| now.as_secs() < due)
    }

    /// What the pipeline wants to know of a client certificate that TLS has verified, or why it is of no use.
    pub(crate) fn peer(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<PeerCertificate, String> {
        let unreadable = || "it cannot be read".to_owned();
        let peer = chain.first().and_then(|own| read(own)).ok_or_else(unreadable)?;
        let authorities = self.authorities(chain, now).map_err(|error| error.to_string())?;
        Ok(PeerCertificate { authorities, ..peer })
    }
}

/// Lists in PEM, any number in a file, or one in DER.
fn revocation_lists(files: &[Vec<u8>]) -> Result<Vec<List>, TlsError> {
    let wrong = |error: String| TlsError::ClientCrl(error);
    let mut lists = Vec::new();
    for file in files {
        let in_pem: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(file).collect();
        let mut found = in_pem.map_err(|error| wrong(error.to_string()))?;
        if found.is_empty() {
            found.push(CertificateRevocationListDer::from(file.clone()));
        }
        for der in found {
            let list = OwnedCertRevocationList::from_der(&der).map_err(|error| wrong(error.to_string()))?;
            lists.push((der, list.into()));
        }
    }
    Ok(lists)
}

/// When the next list of the same authority is due, in seconds since 1970.
fn due(der: &[u8]) -> Option<u64> {
    let (_, list) = CertificateRevocationList::from_der(der).ok()?;
    u64::try_from(list.next_update()?.timestamp()).ok()
}

/// SHA-256 of a certificate's public key; none when it cannot be read.
fn public_key(der: &[u8]) -> Option<[u8; 32]> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(sha256(certificate.public_key().raw))
}

/// What a certificate says; none when it cannot be read.
fn read(der: &[u8]) -> Option<PeerCertificate> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let validity = certificate.validity();
    let instant = |seconds: i64| UnixMillis(seconds.saturating_mul(1000));
    // The last second counts whole (RFC 5280 section 4.1.2.5).
    let last = UnixMillis(instant(validity.not_after.timestamp()).0.saturating_add(999));
    let mut peer = PeerCertificate {
        fingerprint: sha256(der),
        dns_names: Vec::new(),
        uris: Vec::new(),
        authorities: Vec::new(),
        valid: (instant(validity.not_before.timestamp()), last),
    };
    if let Some(names) = certificate.subject_alternative_name().ok()? {
        for name in &names.value.general_names {
            match name {
                GeneralName::DNSName(name) => peer.dns_names.push((*name).to_owned()),
                GeneralName::URI(uri) => peer.uris.push((*uri).to_owned()),
                _ => {}
            }
        }
    }
    Some(peer)
}
