//! The closed lists: key algorithms, purposes, signature schemes, hash functions, with their names on the wire.

use crate::error::UnknownName;

/// Makes an enum whose variants have a stable name on the wire, and its parsing, printing and serialising.
macro_rules! wire_enum {
    (
        $(#[$meta:meta])*
        $name:ident, $kind:literal {
            $($(#[$vmeta:meta])* $variant:ident = $wire:literal, $code:literal;)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$vmeta])* $variant = $code,)+
        }

        impl $name {
            /// Every value, in the order of the codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name on the wire, in configuration and in the audit log. Never changes.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $wire,)+
                }
            }

            /// The code in binary headers. Never changes and is never used again for something else.
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// The value with this code.
            ///
            /// # Errors
            /// [`UnknownName`] if there is none.
            pub const fn from_code(code: u8) -> Result<Self, UnknownName> {
                match code {
                    $($code => Ok(Self::$variant),)+
                    _ => Err(UnknownName { kind: $kind }),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownName;

            fn from_str(text: &str) -> Result<Self, UnknownName> {
                Self::ALL.iter().copied().find(|value| value.name() == text).ok_or(UnknownName { kind: $kind })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

wire_enum! {
    /// Everything a key can be.
    #[derive(Default)]
    KeyAlgorithm, "key algorithm" {
        /// XAES-256-GCM (C2SP): AES-256-GCM with random 192-bit nonces, 2^80 messages per key. The default.
        #[default]
        Xaes256Gcm = "xaes-256-gcm", 1;
        /// AES-256-GCM (SP 800-38D) with random 96-bit nonces, at most 2^32 messages per key.
        Aes256Gcm = "aes-256-gcm", 2;
        /// AES-256-GCM-SIV (RFC 8452) with an all-zero nonce: deterministic encryption.
        Aes256GcmSiv = "aes-256-gcm-siv", 3;
        /// ChaCha20-Poly1305 (RFC 8439) with random 96-bit nonces, at most 2^32 messages per key.
        ChaCha20Poly1305 = "chacha20-poly1305", 4;
        /// HMAC with SHA-256 (FIPS 198-1).
        HmacSha256 = "hmac-sha256", 16;
        /// HMAC with SHA-384.
        HmacSha384 = "hmac-sha384", 17;
        /// HMAC with SHA-512.
        HmacSha512 = "hmac-sha512", 18;
        /// RSA with a 2048-bit modulus (FIPS 186-5, RFC 8017).
        Rsa2048 = "rsa-2048", 32;
        /// RSA with a 3072-bit modulus.
        Rsa3072 = "rsa-3072", 33;
        /// RSA with a 4096-bit modulus.
        Rsa4096 = "rsa-4096", 34;
        /// The curve P-256 (SP 800-186), for ECDSA or ECDH.
        EcP256 = "ec-p256", 48;
        /// The curve P-384.
        EcP384 = "ec-p384", 49;
        /// The curve P-521.
        EcP521 = "ec-p521", 50;
        /// Ed25519 (RFC 8032, FIPS 186-5).
        Ed25519 = "ed25519", 51;
        /// X25519 (RFC 7748).
        X25519 = "x25519", 52;
        /// ML-KEM-768 (FIPS 203).
        MlKem768 = "ml-kem-768", 64;
        /// ML-KEM-1024.
        MlKem1024 = "ml-kem-1024", 65;
        /// ML-DSA-44 (FIPS 204).
        MlDsa44 = "ml-dsa-44", 80;
        /// ML-DSA-65.
        MlDsa65 = "ml-dsa-65", 81;
        /// ML-DSA-87.
        MlDsa87 = "ml-dsa-87", 82;
        /// AES-256 key wrapping, without and with padding (SP 800-38F; RFC 3394, RFC 5649).
        Aes256Kw = "aes-256-kw", 96;
        /// A 256-bit key-derivation key, for HKDF (RFC 5869) and SP 800-108r1.
        Kdk256 = "kdk-256", 112;
    }
}

wire_enum! {
    /// What a key is for. A key has exactly one purpose (K3; SP 800-57 part 1, 5.2).
    Purpose, "purpose" {
        /// Encrypting and decrypting data.
        Encrypt = "encrypt", 1;
        /// Signing and verifying.
        Sign = "sign", 2;
        /// Making and verifying authentication tags.
        Mac = "mac", 3;
        /// Wrapping and unwrapping other keys.
        Wrap = "wrap", 4;
        /// Deriving other keys.
        Derive = "derive", 5;
        /// Agreeing on a shared secret.
        Agree = "agree", 6;
        /// Encapsulating and decapsulating a shared secret.
        Encapsulate = "encapsulate", 7;
    }
}

wire_enum! {
    /// How a signature is made.
    SignatureScheme, "signature scheme" {
        /// RSASSA-PSS with SHA-256, MGF1-SHA-256 and a 32-byte salt (RFC 8017).
        RsaPssSha256 = "rsa-pss-sha256", 1;
        /// RSASSA-PSS with SHA-384, MGF1-SHA-384 and a 48-byte salt.
        RsaPssSha384 = "rsa-pss-sha384", 2;
        /// RSASSA-PSS with SHA-512, MGF1-SHA-512 and a 64-byte salt.
        RsaPssSha512 = "rsa-pss-sha512", 3;
        /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017).
        RsaPkcs1Sha256 = "rsa-pkcs1-sha256", 4;
        /// RSASSA-PKCS1-v1_5 with SHA-384.
        RsaPkcs1Sha384 = "rsa-pkcs1-sha384", 5;
        /// RSASSA-PKCS1-v1_5 with SHA-512.
        RsaPkcs1Sha512 = "rsa-pkcs1-sha512", 6;
        /// ECDSA on P-256 with SHA-256, the signature in ASN.1 DER (FIPS 186-5, RFC 3279).
        EcdsaSha256 = "ecdsa-sha256", 16;
        /// ECDSA on P-384 with SHA-384, in ASN.1 DER.
        EcdsaSha384 = "ecdsa-sha384", 17;
        /// ECDSA on P-521 with SHA-512, in ASN.1 DER.
        EcdsaSha512 = "ecdsa-sha512", 18;
        /// Ed25519 (RFC 8032), pure.
        Ed25519 = "ed25519", 32;
        /// ML-DSA-44 (FIPS 204), pure, with empty context.
        MlDsa44 = "ml-dsa-44", 48;
        /// ML-DSA-65, pure, with empty context.
        MlDsa65 = "ml-dsa-65", 49;
        /// ML-DSA-87, pure, with empty context.
        MlDsa87 = "ml-dsa-87", 50;
    }
}

wire_enum! {
    /// How key material is wrapped on its way in or out, see [`transport`](crate::transport).
    WrappingMethod, "wrapping method" {
        /// RSA-OAEP with SHA-256 of the material itself: for material that fits.
        RsaOaepSha256 = "rsa-oaep-sha256", 1;
        /// RSA-OAEP with SHA-256 of an ephemeral AES-256 key, and AES-KWP of the material under that.
        RsaAesKwp = "rsa-aes-kwp", 2;
        /// X25519 and ML-KEM-768 together, and AES-KWP of the material.
        X25519MlKem768 = "x25519-ml-kem-768", 16;
        /// ECDH on P-384 and ML-KEM-1024 together, and AES-KWP of the material.
        P384MlKem1024 = "p384-ml-kem-1024", 17;
    }
}

wire_enum! {
    /// A hash function (FIPS 180-4), where an operation lets one choose.
    HashAlgorithm, "hash function" {
        /// SHA-256, 32 bytes.
        Sha256 = "sha256", 1;
        /// SHA-384, 48 bytes.
        Sha384 = "sha384", 2;
        /// SHA-512, 64 bytes.
        Sha512 = "sha512", 3;
    }
}

impl HashAlgorithm {
    /// Bytes of a digest.
    pub const fn output_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

impl KeyAlgorithm {
    /// The purposes a key of this algorithm can be made for.
    pub const fn purposes(self) -> &'static [Purpose] {
        match self {
            Self::Xaes256Gcm | Self::Aes256Gcm | Self::Aes256GcmSiv | Self::ChaCha20Poly1305 => &[Purpose::Encrypt],
            Self::HmacSha256 | Self::HmacSha384 | Self::HmacSha512 => &[Purpose::Mac],
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => &[Purpose::Encrypt, Purpose::Sign],
            Self::EcP256 | Self::EcP384 | Self::EcP521 => &[Purpose::Sign, Purpose::Agree],
            Self::Ed25519 | Self::MlDsa44 | Self::MlDsa65 | Self::MlDsa87 => &[Purpose::Sign],
            Self::X25519 => &[Purpose::Agree],
            Self::MlKem768 | Self::MlKem1024 => &[Purpose::Encapsulate],
            Self::Aes256Kw => &[Purpose::Wrap],
            Self::Kdk256 => &[Purpose::Derive],
        }
    }

    /// Whether a key of this algorithm can be made for `purpose`.
    pub fn offers(self, purpose: Purpose) -> bool {
        self.purposes().contains(&purpose)
    }

    /// Whether a key of this algorithm is a pair with a public half.
    pub const fn is_asymmetric(self) -> bool {
        match self {
            Self::Xaes256Gcm | Self::Aes256Gcm | Self::Aes256GcmSiv | Self::ChaCha20Poly1305 => false,
            Self::HmacSha256 | Self::HmacSha384 | Self::HmacSha512 | Self::Aes256Kw | Self::Kdk256 => false,
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 | Self::EcP256 | Self::EcP384 | Self::EcP521 => true,
            Self::Ed25519 | Self::X25519 | Self::MlKem768 | Self::MlKem1024 => true,
            Self::MlDsa44 | Self::MlDsa65 | Self::MlDsa87 => true,
        }
    }

    /// How many messages may be encrypted under one key: 2^32 where 96-bit nonces are drawn at random (SP 800-38D, 8.3,
    /// so that two equal nonces stay less likely than 2^-32), without a practical limit elsewhere. The caller counts.
    pub const fn message_limit(self) -> Option<u64> {
        match self {
            Self::Aes256Gcm | Self::ChaCha20Poly1305 => Some(1 << 32),
            Self::Xaes256Gcm | Self::Aes256GcmSiv => None,
            Self::HmacSha256 | Self::HmacSha384 | Self::HmacSha512 | Self::Aes256Kw | Self::Kdk256 => None,
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 | Self::EcP256 | Self::EcP384 | Self::EcP521 => None,
            Self::Ed25519 | Self::X25519 | Self::MlKem768 | Self::MlKem1024 => None,
            Self::MlDsa44 | Self::MlDsa65 | Self::MlDsa87 => None,
        }
    }

    /// Modulus length in bits, for RSA.
    pub(crate) const fn rsa_bits(self) -> Option<usize> {
        match self {
            Self::Rsa2048 => Some(2048),
            Self::Rsa3072 => Some(3072),
            Self::Rsa4096 => Some(4096),
            _ => None,
        }
    }
}

impl SignatureScheme {
    /// The scheme used when the caller names none; `None` for keys that do not sign. PSS is preferred to PKCS #1 v1.5,
    /// with a hash function as strong as the modulus.
    pub const fn default_for(algorithm: KeyAlgorithm) -> Option<Self> {
        match algorithm {
            KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 => Some(Self::RsaPssSha256),
            KeyAlgorithm::Rsa4096 => Some(Self::RsaPssSha384),
            KeyAlgorithm::EcP256 => Some(Self::EcdsaSha256),
            KeyAlgorithm::EcP384 => Some(Self::EcdsaSha384),
            KeyAlgorithm::EcP521 => Some(Self::EcdsaSha512),
            KeyAlgorithm::Ed25519 => Some(Self::Ed25519),
            KeyAlgorithm::MlDsa44 => Some(Self::MlDsa44),
            KeyAlgorithm::MlDsa65 => Some(Self::MlDsa65),
            KeyAlgorithm::MlDsa87 => Some(Self::MlDsa87),
            _ => None,
        }
    }

    /// Whether a key of `algorithm` can make such signatures.
    pub const fn fits(self, algorithm: KeyAlgorithm) -> bool {
        use KeyAlgorithm as K;
        match self {
            Self::RsaPssSha256 | Self::RsaPssSha384 | Self::RsaPssSha512 => algorithm.rsa_bits().is_some(),
            Self::RsaPkcs1Sha256 | Self::RsaPkcs1Sha384 | Self::RsaPkcs1Sha512 => algorithm.rsa_bits().is_some(),
            Self::EcdsaSha256 => matches!(algorithm, K::EcP256),
            Self::EcdsaSha384 => matches!(algorithm, K::EcP384),
            Self::EcdsaSha512 => matches!(algorithm, K::EcP521),
            Self::Ed25519 => matches!(algorithm, K::Ed25519),
            Self::MlDsa44 => matches!(algorithm, K::MlDsa44),
            Self::MlDsa65 => matches!(algorithm, K::MlDsa65),
            Self::MlDsa87 => matches!(algorithm, K::MlDsa87),
        }
    }

    /// The hash function applied to the message first, for the schemes that can sign a digest. Ed25519 and pure ML-DSA
    /// take the whole message.
    pub const fn hash(self) -> Option<HashAlgorithm> {
        match self {
            Self::RsaPssSha256 | Self::RsaPkcs1Sha256 | Self::EcdsaSha256 => Some(HashAlgorithm::Sha256),
            Self::RsaPssSha384 | Self::RsaPkcs1Sha384 | Self::EcdsaSha384 => Some(HashAlgorithm::Sha384),
            Self::RsaPssSha512 | Self::RsaPkcs1Sha512 | Self::EcdsaSha512 => Some(HashAlgorithm::Sha512),
            Self::Ed25519 | Self::MlDsa44 | Self::MlDsa65 | Self::MlDsa87 => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_and_codes_are_distinct_and_reversible() {
        for &algorithm in KeyAlgorithm::ALL {
            assert_eq!(algorithm.name().parse::<KeyAlgorithm>().unwrap(), algorithm);
            assert_eq!(KeyAlgorithm::from_code(algorithm.code()).unwrap(), algorithm);
            let json = serde_json::to_string(&algorithm).unwrap();
            assert_eq!(json, format!("\"{algorithm}\""));
            assert_eq!(serde_json::from_str::<KeyAlgorithm>(&json).unwrap(), algorithm);
        }
        let names: BTreeSet<_> = KeyAlgorithm::ALL.iter().map(|a| a.name()).collect();
        assert_eq!(names.len(), 22);
        assert_eq!(KeyAlgorithm::default(), KeyAlgorithm::Xaes256Gcm);
    }

    #[test]
    fn unknown_names_are_refused() {
        assert_eq!("AES-256-GCM".parse::<KeyAlgorithm>(), Err(UnknownName { kind: "key algorithm" }));
        assert_eq!(KeyAlgorithm::from_code(0), Err(UnknownName { kind: "key algorithm" }));
        assert_eq!("".parse::<Purpose>(), Err(UnknownName { kind: "purpose" }));
        assert!(serde_json::from_str::<SignatureScheme>("\"rsa-pss-sha1\"").is_err());
        assert!(serde_json::from_str::<HashAlgorithm>("1").is_err());
    }

    /// The names and codes as they were first published: a change here breaks stored data.
    #[test]
    fn published_codes_do_not_change() {
        let list: Vec<_> = KeyAlgorithm::ALL.iter().map(|a| (a.code(), a.name())).collect();
        let published = [
            (1, "xaes-256-gcm"),
            (2, "aes-256-gcm"),
            (3, "aes-256-gcm-siv"),
            (4, "chacha20-poly1305"),
            (16, "hmac-sha256"),
            (17, "hmac-sha384"),
            (18, "hmac-sha512"),
            (32, "rsa-2048"),
            (33, "rsa-3072"),
            (34, "rsa-4096"),
            (48, "ec-p256"),
            (49, "ec-p384"),
            (50, "ec-p521"),
            (51, "ed25519"),
            (52, "x25519"),
            (64, "ml-kem-768"),
            (65, "ml-kem-1024"),
            (80, "ml-dsa-44"),
            (81, "ml-dsa-65"),
            (82, "ml-dsa-87"),
            (96, "aes-256-kw"),
            (112, "kdk-256"),
        ];
        assert_eq!(list, published);
    }

    #[test]
    fn schemes_fit_exactly_the_keys_that_sign() {
        for &algorithm in KeyAlgorithm::ALL {
            let signs = algorithm.offers(Purpose::Sign);
            assert_eq!(SignatureScheme::default_for(algorithm).is_some(), signs, "{algorithm}");
            assert_eq!(SignatureScheme::ALL.iter().any(|s| s.fits(algorithm)), signs, "{algorithm}");
            if let Some(scheme) = SignatureScheme::default_for(algorithm) {
                assert!(scheme.fits(algorithm));
            }
        }
    }
}
