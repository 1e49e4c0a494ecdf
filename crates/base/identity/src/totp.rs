//! Time-based one-time codes, RFC 6238: six digits that change every 30 seconds.

use data_encoding::BASE32_NOPAD;
use keyreeve_crypto::mac::{hmac_sha1_for_totp, hmac_sha256};
use keyreeve_model::UnixMillis;
use keyreeve_secret::{SecretString, ct_eq};

/// How long a code stands, in milliseconds.
pub const PERIOD_MS: i64 = 30_000;
/// How many digits a code has.
pub const DIGITS: usize = 6;
/// How many steps a clock may be ahead or behind (RFC 6238, 5.2): one, 30 seconds.
pub const DRIFT: u64 = 1;

/// The hash function under the codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TotpHash {
    /// What every application computes.
    Sha1,
    /// What some applications can.
    Sha256,
}

impl TotpHash {
    /// Bytes of a seed: as many as the digest has (RFC 4226, 4, and RFC 6238, 5.1).
    #[must_use]
    pub const fn seed_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// The name in the enrolment address.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }
}

/// The step that a moment falls into, counted from 1970; none before that.
#[must_use]
pub fn step(now: UnixMillis) -> Option<u64> {
    u64::try_from(now.0.div_euclid(PERIOD_MS)).ok()
}

/// The code of a step.
#[must_use]
pub fn code(seed: &[u8], hash: TotpHash, step: u64) -> SecretString {
    SecretString::copy_from(&format!("{:0width$}", number(seed, hash, step) % 1_000_000, width = DIGITS))
}

/// RFC 4226, 5.3: 31 bits of the MAC, from the place that its last half byte names.
fn number(seed: &[u8], hash: TotpHash, step: u64) -> u32 {
    let counter = step.to_be_bytes();
    let (sha1, sha256);
    let mac: &[u8] = match hash {
        TotpHash::Sha1 => {
            sha1 = hmac_sha1_for_totp(seed, &counter);
            &sha1
        }
        TotpHash::Sha256 => {
            sha256 = hmac_sha256(seed, &counter);
            &sha256
        }
    };
    let offset = usize::from(mac.last().copied().unwrap_or(0) & 0x0f);
    let taken = mac.iter().skip(offset).take(4).fold(0u32, |number, byte| number << 8 | u32::from(*byte));
    taken & 0x7fff_ffff
}

/// The step whose code this is: the present one or one beside it, and later than the last one that was used (RFC 6238,
/// 5.2: a code works once). The time taken does not depend on the code.
#[must_use]
pub fn check(seed: &[u8], hash: TotpHash, offered: &str, last: Option<u64>, now: UnixMillis) -> Option<u64> {
    let present = step(now)?;
    let mut found = None;
    for candidate in present.saturating_sub(DRIFT)..=present.saturating_add(DRIFT) {
        let right = ct_eq(code(seed, hash, candidate).expose().as_bytes(), offered.as_bytes());
        let unused = last.is_none_or(|last| candidate > last);
        if right && unused && found.is_none() {
            found = Some(candidate);
        }
    }
    found
}

/// The seed as people type it into an application: base32 without padding (RFC 4648).
#[must_use]
pub fn seed_text(seed: &[u8]) -> SecretString {
    SecretString::from(BASE32_NOPAD.encode(seed))
}

/// The address that an application reads out of a picture (Key Uri Format): `otpauth://totp/ISSUER:ACCOUNT?…`.
#[must_use]
pub fn address(seed: &[u8], hash: TotpHash, issuer: &str, account: &str) -> SecretString {
    let (issuer, account, text) = (escaped(issuer), escaped(account), seed_text(seed));
    SecretString::from(format!(
        "otpauth://totp/{issuer}:{account}?secret={}&issuer={issuer}&algorithm={}&digits={DIGITS}&period={}",
        text.expose(),
        hash.name(),
        PERIOD_MS / 1000,
    ))
}

/// RFC 3986, 2.1: everything but the unreserved characters.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SEED1: &[u8] = b"12345678901234567890";
    const SEED256: &[u8] = b"12345678901234567890123456789012";

    /// RFC 6238, appendix B: time in seconds, the last six of the eight digits there for SHA-1 and SHA-256.
    const PUBLISHED: [(i64, &str, &str); 6] = [
        (59, "287082", "119246"),
        (1_111_111_109, "081804", "084774"),
        (1_111_111_111, "050471", "062674"),
        (1_234_567_890, "005924", "819424"),
        (2_000_000_000, "279037", "698825"),
        (20_000_000_000, "353130", "737706"),
    ];

    fn at(seconds: i64) -> UnixMillis {
        UnixMillis(seconds * 1000)
    }

    #[test]
    fn the_published_codes() {
        for (seconds, sha1, sha256) in PUBLISHED {
            let step = step(at(seconds)).unwrap();
            assert_eq!(code(SEED1, TotpHash::Sha1, step).expose(), sha1);
            assert_eq!(code(SEED256, TotpHash::Sha256, step).expose(), sha256);
            assert_eq!(check(SEED1, TotpHash::Sha1, sha1, None, at(seconds)), Some(step));
        }
    }

    #[test]
    fn a_code_works_once_and_one_step_around_its_own() {
        let mine = step(at(3000)).unwrap();
        let text = code(SEED1, TotpHash::Sha1, mine);
        let asked = |last, seconds| check(SEED1, TotpHash::Sha1, text.expose(), last, at(seconds));
        assert_eq!(asked(None, 3000 - 31), None);
        assert_eq!(asked(None, 3000 - 30), Some(mine));
        assert_eq!(asked(None, 3059), Some(mine));
        assert_eq!(asked(None, 3060), None);
        assert_eq!(asked(Some(mine - 1), 3000), Some(mine));
        assert_eq!(asked(Some(mine), 3000), None);
        assert_eq!(asked(Some(mine + 1), 3000), None);
        assert_eq!(check(SEED1, TotpHash::Sha1, text.expose(), None, UnixMillis(-1)), None);
    }

    #[test]
    fn the_address_escapes_what_is_not_its_own() {
        let address = address(SEED1, TotpHash::Sha1, "Key reeve", "a:b@c?d&e");
        let expected = "otpauth://totp/Key%20reeve:a%3Ab%40c%3Fd%26e?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\
                        &issuer=Key%20reeve&algorithm=SHA1&digits=6&period=30";
        assert_eq!(address.expose(), expected);
    }

    proptest! {
        #[test]
        fn nothing_but_a_code_passes(text in ".{0,8}", seconds in 0..4_000_000_000i64) {
            let present = step(at(seconds)).unwrap();
            let right = (present.saturating_sub(1)..=present + 1)
                .any(|step| code(SEED1, TotpHash::Sha1, step).expose() == text);
            prop_assert_eq!(check(SEED1, TotpHash::Sha1, &text, None, at(seconds)).is_some(), right);
        }

        #[test]
        fn what_passed_never_passes_again(seconds in 60..4_000_000_000i64, later in 0..120i64, drift in 0..3u64) {
            let mine = step(at(seconds)).unwrap() + drift - 1;
            let text = code(SEED256, TotpHash::Sha256, mine);
            let used = check(SEED256, TotpHash::Sha256, text.expose(), None, at(seconds)).unwrap();
            let again = check(SEED256, TotpHash::Sha256, text.expose(), Some(used), at(seconds + later));
            // Another step may have the same six digits; the step that was used is never given again.
            prop_assert!(again.is_none_or(|step| step > used));
        }
    }
}
