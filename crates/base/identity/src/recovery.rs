//! Recovery codes: what a person keeps on paper for the day on which every other factor is lost.
//!
//! A set has [`COUNT`] codes of 80 random bits, each good once. The server keeps an HMAC of each under a key of its
//! own, so that neither an old copy of the database nor a list of guesses finds them.

use data_encoding::BASE32_NOPAD;
use keyreeve_crypto::mac::MacKey;
use keyreeve_crypto::{Random, RandomError};
use keyreeve_secret::{SecretArray, SecretBytes, SecretString, ct_eq};

/// Codes in a set.
pub const COUNT: usize = 10;
/// Random bytes in a code.
const CODE_BYTES: usize = 10;
/// Characters between dashes.
const GROUP: usize = 4;

/// A new set, as it is shown to the person once: `ABCD-EFGH-IJKL-MNOP`.
///
/// # Errors
/// [`RandomError`] when the generator gives nothing.
pub fn generate(random: &Random) -> Result<Vec<SecretString>, RandomError> {
    (0..COUNT).map(|_| Ok(text(&random.secret_array::<CODE_BYTES>()?))).collect()
}

fn text(bytes: &SecretArray<CODE_BYTES>) -> SecretString {
    let letters = SecretString::from(BASE32_NOPAD.encode(bytes.expose()));
    let mut grouped = String::with_capacity(letters.len() + letters.len() / GROUP);
    for (index, letter) in letters.expose().chars().enumerate() {
        if index > 0 && index % GROUP == 0 {
            grouped.push('-');
        }
        grouped.push(letter);
    }
    SecretString::from(grouped)
}

/// What is kept of a code: the HMAC under the server's key over the set's name and the code. None for a text that
/// is no code. Dashes, spaces and the case of letters do not matter.
#[must_use]
pub fn fingerprint(key: &MacKey, set: &str, code: &str) -> Option<Vec<u8>> {
    if code.len() > 64 {
        return None;
    }
    let letters: String = code.chars().filter(|letter| !matches!(letter, '-' | ' ')).collect();
    let letters = SecretString::from(letters);
    let upper = SecretString::from(letters.expose().to_ascii_uppercase());
    let bytes = SecretBytes::from_vec(BASE32_NOPAD.decode(upper.expose().as_bytes()).ok()?);
    if bytes.len() != CODE_BYTES {
        return None;
    }
    let mut message = Vec::with_capacity(8 + set.len() + CODE_BYTES);
    message.extend_from_slice(&(set.len() as u64).to_be_bytes());
    message.extend_from_slice(set.as_bytes());
    message.extend_from_slice(bytes.expose());
    let message = SecretBytes::from_vec(message);
    Some(key.mac(message.expose()))
}

/// Which of the kept fingerprints is this one's. All are compared, whichever it is.
#[must_use]
pub fn find(kept: &[Vec<u8>], offered: &[u8]) -> Option<usize> {
    kept.iter().enumerate().fold(None, |found, (index, one)| if ct_eq(one, offered) { Some(index) } else { found })
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_crypto::HashAlgorithm;

    fn key(byte: u8) -> MacKey {
        MacKey::new(HashAlgorithm::Sha256, &[byte; 32])
    }

    #[test]
    fn a_set_has_ten_different_codes_that_are_found_by_their_fingerprints() {
        let codes = generate(&Random::from_module().unwrap()).unwrap();
        assert_eq!(codes.len(), COUNT);
        let kept: Vec<Vec<u8>> = codes.iter().map(|code| fingerprint(&key(7), "set", code.expose()).unwrap()).collect();
        for (index, code) in codes.iter().enumerate() {
            assert_eq!(code.len(), 19);
            let sloppy = code.expose().replace('-', " ").to_lowercase();
            assert_eq!(find(&kept, &fingerprint(&key(7), "set", &sloppy).unwrap()), Some(index));
            assert_eq!(find(&kept, &fingerprint(&key(8), "set", code.expose()).unwrap()), None);
            assert_eq!(find(&kept, &fingerprint(&key(7), "other", code.expose()).unwrap()), None);
        }
    }

    #[test]
    fn what_is_no_code_has_no_fingerprint() {
        for text in
            ["", "ABCD", "ABCD-EFGH-IJKL-MNO1", "ABCD-EFGH-IJKL-MNOP-AA", &"A".repeat(4000), "ÄBCD-EFGH-IJKL-MNO"]
        {
            assert_eq!(fingerprint(&key(7), "set", text), None, "{text}");
        }
    }
}
