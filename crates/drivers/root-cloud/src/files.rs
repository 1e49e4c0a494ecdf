//! Credentials in files.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use keyreeve_secret::{SecretBytes, SecretString};

use crate::RemoteError;

/// Longest credential in a file, in bytes.
const LONGEST: usize = 64 * 1024;

/// Reads a credential, without the white space around it. It is read anew whenever it is needed, so that whoever
/// rotates it only has to write the file.
///
/// # Errors
/// [`RemoteError::Refused`] with the file's name: it cannot be read, or is empty, too long, or no text.
pub fn read_secret(path: &Path) -> Result<SecretString, RemoteError> {
    let wrong = |what: &str| RemoteError::Refused(format!("{}: {what}", path.display()));
    let file = File::open(path).map_err(|error| wrong(&error.to_string()))?;
    let mut content = SecretBytes::init_with(LONGEST + 1, |_| ());
    let mut filled = 0;
    let mut file = file.take(LONGEST as u64 + 1);
    loop {
        match file.read(&mut content.expose_mut()[filled..]).map_err(|error| wrong(&error.to_string()))? {
            0 => break,
            n => filled += n,
        }
    }
    if filled > LONGEST {
        return Err(wrong("a credential is at most 64 KiB"));
    }
    content.truncate(filled);
    let text = SecretString::from_utf8(content).map_err(|_| wrong("a credential is text"))?;
    match text.expose().trim() {
        "" => Err(wrong("the file is empty")),
        trimmed => Ok(SecretString::copy_from(trimmed)),
    }
}
