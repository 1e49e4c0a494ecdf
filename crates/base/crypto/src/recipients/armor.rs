//! Binary data as text between two lines, as age and OpenPGP have it (age-encryption.org/v1, "ASCII armor"; RFC 9580,
//! 6).

use data_encoding::BASE64;

use super::RecipientError;

pub(super) const CERTIFICATE: &str = "PGP PUBLIC KEY BLOCK";
pub(super) const MESSAGE: &str = "PGP MESSAGE";
pub(super) const AGE: &str = "AGE ENCRYPTED FILE";
pub(super) const BEGIN_CERTIFICATE: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";

/// Characters of a line; both formats take 64.
const LINE: usize = 64;

/// `bytes` as text. OpenPGP has an empty line before the data, where headers would stand; its checksum is left out (RFC
/// 9580, 6.1: it protects nothing that the message does not).
pub(super) fn encode(bytes: &[u8], label: &str, bare: bool) -> String {
    let digits = BASE64.encode(bytes);
    let mut text = format!("-----BEGIN {label}-----\n{}", if bare { "" } else { "\n" });
    for line in digits.as_bytes().chunks(LINE) {
        // Base64 is ASCII.
        text.extend(line.iter().map(|&byte| char::from(byte)));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

/// What stands between the lines of the one block of this label. Headers are skipped, and so is the checksum: it guards
/// against noise on a line, the signatures against everything.
pub(super) fn decode(text: &[u8], label: &str) -> Result<Vec<u8>, RecipientError> {
    let bad = RecipientError::Malformed("its armor is incomplete or has lines that do not belong there");
    let text = std::str::from_utf8(text).map_err(|_| bad)?;
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let mut lines = text.lines().map(str::trim_end);
    if lines.next() != Some(begin.as_str()) {
        return Err(bad);
    }
    let mut lines = lines.skip_while(|line| line.contains(": "));
    let mut digits = Vec::with_capacity(text.len());
    let mut ended = false;
    for line in lines.by_ref() {
        if line == end {
            ended = true;
            break;
        }
        if !line.starts_with('=') {
            digits.extend_from_slice(line.as_bytes());
        }
    }
    if !ended || lines.any(|line| !line.is_empty()) {
        return Err(bad);
    }
    BASE64.decode(&digits).map_err(|_| bad)
}
