//! Public keys in SubjectPublicKeyInfo form (RFC 5280, 4.1.2.7).
//!
//! For every algorithm except RSA this is a fixed prefix, which names the algorithm, followed by the raw key. So the
//! encoding is compared, not parsed: one key has exactly one encoding here.

use crate::algorithm::KeyAlgorithm;

/// RFC 5480: id-ecPublicKey with the named curve, then the uncompressed point.
const EC_P256: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const EC_P384: &[u8] = &[
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00,
    0x22, 0x03, 0x62, 0x00,
];
const EC_P521: &[u8] = &[
    0x30, 0x81, 0x9b, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04,
    0x00, 0x23, 0x03, 0x81, 0x86, 0x00,
];
/// RFC 8410.
const ED25519: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const X25519: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x03, 0x21, 0x00];
/// RFC 9935.
const ML_KEM_768: &[u8] = &nist(0x04b2, 0x04, 0x02, 0x04a1);
const ML_KEM_1024: &[u8] = &nist(0x0632, 0x04, 0x03, 0x0621);
/// RFC 9881.
const ML_DSA_44: &[u8] = &nist(0x0532, 0x03, 0x11, 0x0521);
const ML_DSA_65: &[u8] = &nist(0x07b2, 0x03, 0x12, 0x07a1);
const ML_DSA_87: &[u8] = &nist(0x0a32, 0x03, 0x13, 0x0a21);

/// Prefix for the algorithms under 2.16.840.1.101.3.4, without parameters: outer length, the last two arcs, and the
/// length of the bit string.
const fn nist(outer: u16, family: u8, member: u8, bits: u16) -> [u8; 22] {
    let (outer, bits) = (outer.to_be_bytes(), bits.to_be_bytes());
    [
        0x30, 0x82, outer[0], outer[1], 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, family,
        member, 0x03, 0x82, bits[0], bits[1], 0x00,
    ]
}

/// The prefix and the length of the raw key after it, for public keys of fixed length; `None` for RSA and for symmetric
/// keys.
pub(crate) const fn layout(algorithm: KeyAlgorithm) -> Option<(&'static [u8], usize)> {
    use KeyAlgorithm as K;
    match algorithm {
        K::EcP256 => Some((EC_P256, 65)),
        K::EcP384 => Some((EC_P384, 97)),
        K::EcP521 => Some((EC_P521, 133)),
        K::Ed25519 => Some((ED25519, 32)),
        K::X25519 => Some((X25519, 32)),
        K::MlKem768 => Some((ML_KEM_768, 1184)),
        K::MlKem1024 => Some((ML_KEM_1024, 1568)),
        K::MlDsa44 => Some((ML_DSA_44, 1312)),
        K::MlDsa65 => Some((ML_DSA_65, 1952)),
        K::MlDsa87 => Some((ML_DSA_87, 2592)),
        K::Rsa2048 | K::Rsa3072 | K::Rsa4096 => None,
        K::Xaes256Gcm | K::Aes256Gcm | K::Aes256GcmSiv | K::ChaCha20Poly1305 | K::Aes256Kw | K::Kdk256 => None,
        K::HmacSha256 | K::HmacSha384 | K::HmacSha512 => None,
    }
}
