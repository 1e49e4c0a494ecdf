//! What a token says about itself, and what Keyreeve can do with it.

use keyreeve_crypto::{HashAlgorithm, KeyAlgorithm, Purpose};

/// One mechanism of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mechanism {
    /// Its `CKM_` number.
    pub code: u64,
    /// Smallest key, in the unit of the mechanism.
    pub min: u64,
    /// Largest key.
    pub max: u64,
    /// What it is for: [`uses`].
    pub uses: u8,
}

/// Bits of [`Mechanism::uses`].
pub mod uses {
    /// Encrypts.
    pub const ENCRYPT: u8 = 1;
    /// Decrypts.
    pub const DECRYPT: u8 = 2;
    /// Signs, or makes tags.
    pub const SIGN: u8 = 4;
    /// Generates a key.
    pub const GENERATE: u8 = 8;
    /// Generates a pair.
    pub const GENERATE_PAIR: u8 = 16;
    /// Is done in hardware.
    pub const HARDWARE: u8 = 32;
}

/// Bits of [`Survey::flags`].
pub mod flags {
    /// The user must log in.
    pub const LOGIN_REQUIRED: u8 = 1;
    /// A PIN of the user is set.
    pub const PIN_SET: u8 = 2;
    /// The PIN was entered wrongly since it was last right.
    pub const PIN_COUNT_LOW: u8 = 4;
    /// The next wrong PIN locks the token.
    pub const PIN_FINAL_TRY: u8 = 8;
    /// The PIN is locked.
    pub const PIN_LOCKED: u8 = 16;
    /// Nothing can be stored.
    pub const WRITE_PROTECTED: u8 = 32;
    /// The token failed a self-test.
    pub const ERROR_STATE: u8 = 64;
}

/// `CKM_` numbers (PKCS #11 version 2.40 and 3.0).
pub mod mechanism {
    /// Generates RSA pairs.
    pub const RSA_PAIR: u64 = 0x0000;
    /// RSA PKCS #1 v1.5.
    pub const RSA_PKCS: u64 = 0x0001;
    /// RSA-OAEP.
    pub const RSA_OAEP: u64 = 0x0009;
    /// RSA-PSS over a digest.
    pub const RSA_PSS: u64 = 0x000d;
    /// HMAC-SHA-256.
    pub const HMAC_SHA256: u64 = 0x0251;
    /// HMAC-SHA-384.
    pub const HMAC_SHA384: u64 = 0x0261;
    /// HMAC-SHA-512.
    pub const HMAC_SHA512: u64 = 0x0271;
    /// Generates generic secrets.
    pub const GENERIC_SECRET: u64 = 0x0350;
    /// Generates pairs on elliptic curves.
    pub const EC_PAIR: u64 = 0x1040;
    /// ECDSA over a digest.
    pub const ECDSA: u64 = 0x1041;
    /// Generates Edwards pairs.
    pub const EDWARDS_PAIR: u64 = 0x1055;
    /// EdDSA.
    pub const EDDSA: u64 = 0x1057;
    /// Generates AES keys.
    pub const AES: u64 = 0x1080;
    /// AES-GCM.
    pub const AES_GCM: u64 = 0x1087;
    /// AES-CMAC.
    pub const AES_CMAC: u64 = 0x108a;
}

use mechanism as m;

/// A token and the library it is reached by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// What the library says it is.
    pub library: String,
    /// Its version.
    pub library_version: String,
    /// Version of PKCS #11 it speaks.
    pub cryptoki: String,
    /// Who made the token.
    pub manufacturer: String,
    /// Its model.
    pub model: String,
    /// Its label.
    pub label: String,
    /// Its serial number.
    pub serial: String,
    /// Version of its hardware.
    pub hardware: String,
    /// Version of its firmware.
    pub firmware: String,
    /// Number of its slot, which may be another one tomorrow.
    pub slot: u64,
    /// See [`flags`].
    pub flags: u8,
    /// What it does.
    pub mechanisms: Vec<Mechanism>,
    /// Hash functions it takes for OAEP, as bits of their codes: tried, as mechanism lists do not say.
    pub oaep: u8,
    /// What it says about being validated (PKCS #11 3.2, 5.6.12); `None` before that version.
    pub validation: Option<u64>,
}

/// Something Keyreeve may want of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// What for: the root, or keys of an algorithm and purpose.
    pub what: What,
    /// The mechanisms it takes: number, name, use, key size in the unit of the mechanism.
    pub needs: &'static [(u64, &'static str, u8, u64)],
}

/// What mechanisms are wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The root of trust itself: without it nothing goes.
    Root,
    /// Keys whose protection is the device.
    Keys(KeyAlgorithm, Purpose),
}

const CIPHER: u8 = uses::ENCRYPT | uses::DECRYPT;

/// Everything a token is asked about.
pub const WANTED: &[Wanted] = &[
    Wanted {
        what: What::Root,
        needs: &[(m::AES, "CKM_AES_KEY_GEN", uses::GENERATE, 32), (m::AES_GCM, "CKM_AES_GCM", CIPHER, 32)],
    },
    Wanted {
        what: What::Keys(KeyAlgorithm::Aes256Gcm, Purpose::Encrypt),
        needs: &[
            (m::AES, "CKM_AES_KEY_GEN", uses::GENERATE, 32),
            (m::AES_GCM, "CKM_AES_GCM", CIPHER, 32),
            (m::AES_CMAC, "CKM_AES_CMAC", uses::SIGN, 32),
        ],
    },
    rsa_signs(KeyAlgorithm::Rsa2048),
    rsa_signs(KeyAlgorithm::Rsa3072),
    rsa_signs(KeyAlgorithm::Rsa4096),
    rsa_decrypts(KeyAlgorithm::Rsa2048),
    rsa_decrypts(KeyAlgorithm::Rsa3072),
    rsa_decrypts(KeyAlgorithm::Rsa4096),
    Wanted { what: What::Keys(KeyAlgorithm::EcP256, Purpose::Sign), needs: &ec(256) },
    Wanted { what: What::Keys(KeyAlgorithm::EcP384, Purpose::Sign), needs: &ec(384) },
    Wanted { what: What::Keys(KeyAlgorithm::EcP521, Purpose::Sign), needs: &ec(521) },
    Wanted {
        what: What::Keys(KeyAlgorithm::Ed25519, Purpose::Sign),
        needs: &[
            (m::EDWARDS_PAIR, "CKM_EC_EDWARDS_KEY_PAIR_GEN", uses::GENERATE_PAIR, 0),
            (m::EDDSA, "CKM_EDDSA", uses::SIGN, 0),
        ],
    },
    hmac(KeyAlgorithm::HmacSha256),
    hmac(KeyAlgorithm::HmacSha384),
    hmac(KeyAlgorithm::HmacSha512),
];

type Needs<const N: usize> = [(u64, &'static str, u8, u64); N];

const fn rsa_sign(bits: u64) -> Needs<3> {
    [
        (m::RSA_PAIR, "CKM_RSA_PKCS_KEY_PAIR_GEN", uses::GENERATE_PAIR, bits),
        (m::RSA_PSS, "CKM_RSA_PKCS_PSS", uses::SIGN, bits),
        (m::RSA_PKCS, "CKM_RSA_PKCS", uses::SIGN, bits),
    ]
}

const fn rsa_oaep(bits: u64) -> Needs<2> {
    [
        (m::RSA_PAIR, "CKM_RSA_PKCS_KEY_PAIR_GEN", uses::GENERATE_PAIR, bits),
        (m::RSA_OAEP, "CKM_RSA_PKCS_OAEP", uses::DECRYPT, bits),
    ]
}

const fn ec(bits: u64) -> Needs<2> {
    [(m::EC_PAIR, "CKM_EC_KEY_PAIR_GEN", uses::GENERATE_PAIR, bits), (m::ECDSA, "CKM_ECDSA", uses::SIGN, bits)]
}

const fn hmac_with(code: u64, name: &'static str) -> Needs<2> {
    // Tokens disagree about the unit of these two: sizes are not compared.
    [(m::GENERIC_SECRET, "CKM_GENERIC_SECRET_KEY_GEN", uses::GENERATE, 0), (code, name, uses::SIGN, 0)]
}

const fn rsa_signs(algorithm: KeyAlgorithm) -> Wanted {
    let needs: &[_] = match algorithm {
        KeyAlgorithm::Rsa2048 => const { &rsa_sign(2048) },
        KeyAlgorithm::Rsa3072 => const { &rsa_sign(3072) },
        _ => const { &rsa_sign(4096) },
    };
    Wanted { what: What::Keys(algorithm, Purpose::Sign), needs }
}

const fn rsa_decrypts(algorithm: KeyAlgorithm) -> Wanted {
    let needs: &[_] = match algorithm {
        KeyAlgorithm::Rsa2048 => const { &rsa_oaep(2048) },
        KeyAlgorithm::Rsa3072 => const { &rsa_oaep(3072) },
        _ => const { &rsa_oaep(4096) },
    };
    Wanted { what: What::Keys(algorithm, Purpose::Encrypt), needs }
}

const fn hmac(algorithm: KeyAlgorithm) -> Wanted {
    let needs: &[_] = match algorithm {
        KeyAlgorithm::HmacSha256 => const { &hmac_with(m::HMAC_SHA256, "CKM_SHA256_HMAC") },
        KeyAlgorithm::HmacSha384 => const { &hmac_with(m::HMAC_SHA384, "CKM_SHA384_HMAC") },
        _ => const { &hmac_with(m::HMAC_SHA512, "CKM_SHA512_HMAC") },
    };
    Wanted { what: What::Keys(algorithm, Purpose::Mac), needs }
}

impl Survey {
    /// The mechanism with this number, if the token has it.
    #[must_use]
    pub fn mechanism(&self, code: u64) -> Option<Mechanism> {
        self.mechanisms.iter().copied().find(|mechanism| mechanism.code == code)
    }

    /// Whether the token takes this hash function for OAEP.
    #[must_use]
    pub fn takes_oaep(&self, hash: HashAlgorithm) -> bool {
        self.oaep & (1 << hash.code()) != 0
    }

    /// What is missing for something, in words; empty if nothing is.
    #[must_use]
    pub fn lacks(&self, wanted: &Wanted) -> Vec<String> {
        let mut lacks: Vec<_> = wanted.needs.iter().filter_map(|&need| self.lack(need)).collect();
        let oaep = matches!(wanted.what, What::Keys(algorithm, Purpose::Encrypt) if algorithm.is_asymmetric());
        if oaep && lacks.is_empty() && !self.takes_oaep(HashAlgorithm::Sha256) {
            lacks.push("CKM_RSA_PKCS_OAEP takes no SHA-256".to_owned());
        }
        lacks
    }

    fn lack(&self, (code, name, uses, size): (u64, &str, u8, u64)) -> Option<String> {
        let Some(found) = self.mechanism(code) else { return Some(format!("no {name}")) };
        if found.uses & uses != uses {
            return Some(format!("{name} is offered, and not for this"));
        }
        // A maximum of 0 says nothing, and AES sizes are told in bytes by some and in bits by others.
        let in_bits = matches!(code, m::AES | m::AES_GCM | m::AES_CMAC) && found.max >= 128;
        let max = if in_bits { found.max / 8 } else { found.max };
        (max != 0 && size > max).then(|| format!("{name} takes keys of {} to {} only", found.min, found.max))
    }

    /// Whether keys of this algorithm can be made for this purpose and used in every way.
    #[must_use]
    pub fn offers(&self, algorithm: KeyAlgorithm, purpose: Purpose) -> bool {
        let wanted = WANTED.iter().find(|wanted| wanted.what == What::Keys(algorithm, purpose));
        wanted.is_some_and(|wanted| self.lacks(wanted).is_empty())
    }

    /// What is missing for a root; empty if nothing is.
    #[must_use]
    pub fn lacks_for_root(&self) -> Vec<String> {
        WANTED.iter().filter(|wanted| wanted.what == What::Root).flat_map(|wanted| self.lacks(wanted)).collect()
    }

    /// Why a login must not be tried, if so. A wrong PIN at the last try locks the token, and whether the PIN is right
    /// is known only afterwards: that try is left to a person. So is each after a wrong one, whose number many tokens
    /// do not tell: a service that is started again and again would use them up.
    #[must_use]
    pub fn login_forbidden(&self) -> Option<&'static str> {
        if self.flags & flags::PIN_LOCKED != 0 {
            Some("the token's PIN is locked: its security officer sets a new one")
        } else if self.flags & flags::PIN_FINAL_TRY != 0 {
            Some("one more wrong PIN would lock the token: log in with its maker's tool first, which resets the count")
        } else if self.flags & flags::PIN_COUNT_LOW != 0 {
            Some("a wrong PIN was tried since the last login: log in with the maker's tool first, to reset the count")
        } else if self.flags & flags::LOGIN_REQUIRED != 0 && self.flags & flags::PIN_SET == 0 {
            Some("the token has no user PIN yet: its security officer sets one")
        } else {
            None
        }
    }

    pub(crate) fn texts(&self) -> [&String; 9] {
        [
            &self.library,
            &self.library_version,
            &self.cryptoki,
            &self.manufacturer,
            &self.model,
            &self.label,
            &self.serial,
            &self.hardware,
            &self.firmware,
        ]
    }

    pub(crate) fn texts_mut(&mut self) -> [&mut String; 9] {
        [
            &mut self.library,
            &mut self.library_version,
            &mut self.cryptoki,
            &mut self.manufacturer,
            &mut self.model,
            &mut self.label,
            &mut self.serial,
            &mut self.hardware,
            &mut self.firmware,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(mechanisms: &[(u64, u64, u64, u8)]) -> Survey {
        let mechanisms = mechanisms.iter().map(|&(code, min, max, uses)| Mechanism { code, min, max, uses }).collect();
        Survey { mechanisms, ..Survey::default() }
    }

    #[test]
    fn a_root_takes_aes_gcm_both_ways_with_32_bytes() {
        let made = (m::AES, 16, 32, uses::GENERATE);
        assert!(token(&[made, (m::AES_GCM, 16, 32, CIPHER)]).lacks_for_root().is_empty());
        assert!(
            token(&[(m::AES, 128, 256, uses::GENERATE), (m::AES_GCM, 128, 256, CIPHER)]).lacks_for_root().is_empty()
        );
        assert!(token(&[made, (m::AES_GCM, 0, 0, CIPHER)]).lacks_for_root().is_empty());
        assert_eq!(token(&[made]).lacks_for_root(), ["no CKM_AES_GCM"]);
        assert_eq!(token(&[made, (m::AES_GCM, 16, 32, uses::ENCRYPT)]).lacks_for_root().len(), 1);
        assert_eq!(token(&[(m::AES, 16, 24, uses::GENERATE), (m::AES_GCM, 16, 32, CIPHER)]).lacks_for_root().len(), 1);
    }

    #[test]
    fn sizes_and_tried_hashes_decide_about_keys() {
        let rsa = |max, oaep| Survey {
            oaep,
            ..token(&[
                (m::RSA_PAIR, 512, max, uses::GENERATE_PAIR),
                (m::RSA_PSS, 512, max, uses::SIGN),
                (m::RSA_PKCS, 512, max, uses::SIGN | CIPHER),
                (m::RSA_OAEP, 512, max, CIPHER),
            ])
        };
        let all = rsa(4096, 0b1110);
        assert!(
            all.offers(KeyAlgorithm::Rsa4096, Purpose::Sign) && all.offers(KeyAlgorithm::Rsa4096, Purpose::Encrypt)
        );
        assert!(!rsa(2048, 0b1110).offers(KeyAlgorithm::Rsa3072, Purpose::Sign));
        assert!(!rsa(4096, 0).offers(KeyAlgorithm::Rsa2048, Purpose::Encrypt), "SHA-1 only, as SoftHSM");
        let ec = token(&[(m::EC_PAIR, 112, 521, uses::GENERATE_PAIR), (m::ECDSA, 112, 521, uses::SIGN)]);
        assert!(ec.offers(KeyAlgorithm::EcP521, Purpose::Sign) && !ec.offers(KeyAlgorithm::EcP521, Purpose::Agree));
        assert!(!ec.offers(KeyAlgorithm::MlDsa65, Purpose::Sign));
    }

    #[test]
    fn the_last_try_is_left_to_a_person() {
        let with = |flags| Survey { flags, ..Survey::default() };
        assert!(with(flags::LOGIN_REQUIRED | flags::PIN_SET).login_forbidden().is_none());
        let low = flags::LOGIN_REQUIRED | flags::PIN_SET | flags::PIN_COUNT_LOW;
        for flags in [low, flags::PIN_FINAL_TRY, flags::PIN_LOCKED, flags::LOGIN_REQUIRED] {
            assert!(with(flags).login_forbidden().is_some());
        }
    }
}
