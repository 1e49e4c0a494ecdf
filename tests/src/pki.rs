//! Certificates for one test.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData, RevokedCertParams, SerialNumber, date_time_ymd,
};
use sha2::{Digest, Sha256};

/// A certificate authority.
pub struct Pki {
    pem: String,
    key_sha256: String,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Pki {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pki")
    }
}

impl Pki {
    /// A new one.
    ///
    /// # Panics
    /// When no key can be made.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let digest = Sha256::digest(key.subject_public_key_info());
        let key_sha256 = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { pem, key_sha256, issuer: Issuer::new(params, key) }
    }

    /// SHA-256 of its public key, in hexadecimal.
    #[must_use]
    pub fn key_sha256(&self) -> &str {
        &self.key_sha256
    }

    /// The list of the certificates with these serial numbers, which it revoked; in PEM.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn revokes(&self, serials: &[u64]) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(4000, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// Its own certificate.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    fn issue(&self, names: &[&str], usage: ExtendedKeyUsagePurpose) -> (String, String) {
        self.issue_as(names, usage, |_| ())
    }

    fn issue_as(
        &self,
        names: &[&str],
        usage: ExtendedKeyUsagePurpose,
        alter: impl FnOnce(&mut CertificateParams),
    ) -> (String, String) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        alter(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// Certificate and key of a server on this machine.
    ///
    /// # Panics
    /// When no key can be made.
    #[must_use]
    pub fn server(&self) -> (String, String) {
        self.issue(&["localhost", "127.0.0.1"], ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// The same with other names, or otherwise altered.
    ///
    /// # Panics
    /// When no key can be made.
    #[must_use]
    pub fn server_as(&self, names: &[&str], alter: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        self.issue_as(names, ExtendedKeyUsagePurpose::ServerAuth, alter)
    }

    /// Certificate and key of a client with this DNS name.
    ///
    /// # Panics
    /// When no key can be made.
    #[must_use]
    pub fn client(&self, name: &str) -> (String, String) {
        self.issue(&[name], ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// The same with this serial number.
    ///
    /// # Panics
    /// When no key can be made.
    #[must_use]
    pub fn client_numbered(&self, name: &str, serial: u64) -> (String, String) {
        let number = |params: &mut CertificateParams| params.serial_number = Some(SerialNumber::from(serial));
        self.issue_as(&[name], ExtendedKeyUsagePurpose::ClientAuth, number)
    }
}
