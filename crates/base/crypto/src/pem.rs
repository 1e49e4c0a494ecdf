//! The textual form of keys: PEM (RFC 7468), strictly as `openssl` writes it.

use data_encoding::BASE64;
use keyreeve_secret::SecretBytes;

use crate::error::KeyError;

/// Longest text that is looked at, in bytes: two keys of the longest kind have about 12,000.
const LONGEST: usize = 32 * 1024;

/// Characters of base64 on a line.
const LINE: usize = 64;

/// One block. What it holds may be secret, so the caller decides where the text goes.
pub fn encode(label: &str, der: &[u8]) -> String {
    let body = SecretBytes::from_vec(BASE64.encode(der).into_bytes());
    let mut text = format!("-----BEGIN {label}-----\n");
    // At its full length from the start, so that no shorter copy stays behind.
    text.reserve(body.len() + body.len() / LINE + label.len() + 32);
    for line in body.expose().chunks(LINE) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

/// All blocks of this label, which are all that the text has besides white space.
///
/// # Errors
/// [`KeyError::Malformed`].
pub fn decode(label: &str, text: &str) -> Result<Vec<SecretBytes>, KeyError> {
    if text.len() > LONGEST {
        return Err(KeyError::Malformed);
    }
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let (mut blocks, mut rest) = (Vec::new(), text.trim());
    while !rest.is_empty() {
        let inner = rest.strip_prefix(begin.as_str()).ok_or(KeyError::Malformed)?;
        let (body, after) = inner.split_once(end.as_str()).ok_or(KeyError::Malformed)?;
        let body = SecretBytes::from_vec(body.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect());
        let der = BASE64.decode(body.expose()).map_err(|_| KeyError::Malformed)?;
        blocks.push(SecretBytes::from_vec(der));
        rest = after.trim_start();
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_back() {
        let text = [encode("PUBLIC KEY", &[1; 100]), encode("PUBLIC KEY", &[2; 3])].concat();
        assert!(text.lines().all(|line| line.len() <= LINE));
        let blocks = decode("PUBLIC KEY", &text).unwrap();
        assert_eq!(blocks.iter().map(SecretBytes::expose).collect::<Vec<_>>(), [&[1; 100][..], &[2; 3]]);
        assert!(decode("PUBLIC KEY", "  \n").unwrap().is_empty());
    }

    #[test]
    fn other_texts_are_refused() {
        let good = encode("PUBLIC KEY", &[1; 100]);
        let long = good.repeat(300);
        for text in [&good[1..], &good[..good.len() - 3], &good.replace("AQ", "A!"), &long, &format!("x {good}")] {
            assert!(matches!(decode("PUBLIC KEY", text), Err(KeyError::Malformed)), "{}", text.len());
        }
        assert!(decode("PRIVATE KEY", &good).is_err());
    }
}
