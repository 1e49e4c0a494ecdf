//! Public keys in PEM form.

use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;

/// The first `PUBLIC KEY` in a PEM text (RFC 7468 section 13) as DER, a SubjectPublicKeyInfo of RFC 5280. `None` where
/// there is none, or it is not well formed.
#[must_use]
pub fn public_key_from_pem(pem: &[u8]) -> Option<Vec<u8>> {
    SubjectPublicKeyInfoDer::from_pem_slice(pem).ok().map(|der| der.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_keys_are_read() {
        let text = |label: &str| format!("-----BEGIN {label}-----\nAAEC\n-----END {label}-----\n");
        assert_eq!(public_key_from_pem(text("PUBLIC KEY").as_bytes()), Some(vec![0, 1, 2]));
        assert_eq!(public_key_from_pem(text("CERTIFICATE").as_bytes()), None);
        assert_eq!(public_key_from_pem(b"-----BEGIN PUBLIC KEY-----\n*\n"), None);
    }
}
