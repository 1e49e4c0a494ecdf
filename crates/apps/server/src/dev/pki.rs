//! The certificates of development mode: an authority of one's own and a server certificate for this machine.

use keyreeve_model::UnixMillis;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, NameConstraints, SanType,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use time::OffsetDateTime;
use x509_parser::pem::parse_x509_pem;

use super::Paths;
use crate::error::ServerError;
use crate::files;

/// How long the authority lasts (days).
const AUTHORITY_DAYS: u32 = 3650;
/// How long a server certificate lasts (days).
const SERVER_DAYS: u32 = 397;
/// How long before its end a certificate is made anew (days).
const RENEWAL_DAYS: u32 = 30;

/// Makes what is missing or near its end.
pub(super) fn ensure(paths: &Paths, now: UnixMillis) -> Result<(), ServerError> {
    let soon = now.plus_days(RENEWAL_DAYS);
    if !lasts(&paths.ca, soon) || !paths.ca_key.exists() {
        make_authority(paths, now)?;
        make_server(paths, now)
    } else if !lasts(&paths.cert, soon) || !paths.key.exists() {
        make_server(paths, now)
    } else {
        Ok(())
    }
}

/// Whether there is a certificate that is still good at `at`.
fn lasts(path: &Path, at: UnixMillis) -> bool {
    let Ok(bytes) = files::read_public(path) else { return false };
    let Ok((_, pem)) = parse_x509_pem(&bytes) else { return false };
    pem.parse_x509().is_ok_and(|certificate| certificate.validity().not_after.timestamp() > at.0 / 1000)
}

fn failed(error: rcgen::Error) -> ServerError {
    ServerError::part("development certificates", error)
}

fn write(path: &Path, pem: &str) -> Result<(), ServerError> {
    files::write_private(path, pem.as_bytes()).map_err(|trouble| ServerError::part("development certificates", trouble))
}

fn instant(at: UnixMillis) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at.0 / 1000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn params(name: &str, now: UnixMillis, days: u32) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    // A little earlier, for clocks in containers that are behind.
    params.not_before = instant(UnixMillis(now.0 - 3_600_000));
    params.not_after = instant(now.plus_days(days));
    params.use_authority_key_identifier_extension = true;
    params
}

/// An authority that can vouch for this machine only: whoever steals its key gains nothing elsewhere.
fn make_authority(paths: &Paths, now: UnixMillis) -> Result<(), ServerError> {
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = params("Keyreeve development authority", now, AUTHORITY_DAYS);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![
            GeneralSubtree::DnsName("localhost".to_owned()),
            GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([127, 0, 0, 0], 8)),
            GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix(Ipv6Addr::LOCALHOST.octets(), 128)),
        ],
        excluded_subtrees: Vec::new(),
    });
    let certificate = params.self_signed(&key).map_err(failed)?;
    write(&paths.ca_key, &key.serialize_pem())?;
    write(&paths.ca, &certificate.pem())
}

fn make_server(paths: &Paths, now: UnixMillis) -> Result<(), ServerError> {
    let read = |path: &Path| {
        files::read_private(path).map_err(|trouble| ServerError::part("development certificates", trouble))
    };
    let (ca_key, ca) = (read(&paths.ca_key)?, read(&paths.ca)?);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let ca_key = KeyPair::from_pem(&text(ca_key.expose())).map_err(failed)?;
    let issuer = Issuer::from_ca_cert_pem(&text(ca.expose()), ca_key).map_err(failed)?;
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = params("Keyreeve development server", now, SERVER_DAYS);
    let localhost = "localhost".try_into().map_err(failed)?;
    params.subject_alt_names = vec![
        SanType::DnsName(localhost),
        SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)),
    ];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.signed_by(&key, &issuer).map_err(failed)?;
    write(&paths.key, &key.serialize_pem())?;
    write(&paths.cert, &certificate.pem())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_made_once_and_again_before_they_end() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::in_directory(dir.path());
        let now = UnixMillis(1_800_000_000_000);
        let read = |path: &Path| std::fs::read(path).unwrap();
        ensure(&paths, now).unwrap();
        let (ca, cert) = (read(&paths.ca), read(&paths.cert));
        ensure(&paths, now.plus_days(300)).unwrap();
        assert_eq!((read(&paths.ca), read(&paths.cert)), (ca.clone(), cert.clone()));
        ensure(&paths, now.plus_days(SERVER_DAYS - 5)).unwrap();
        assert_eq!(read(&paths.ca), ca);
        assert_ne!(read(&paths.cert), cert);
        ensure(&paths, now.plus_days(AUTHORITY_DAYS - 5)).unwrap();
        assert_ne!(read(&paths.ca), ca);
    }
}
