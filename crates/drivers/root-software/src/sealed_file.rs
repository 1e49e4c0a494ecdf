//! A root key in a file, for development.
//!
//! The file says itself what it is:
//!
//! ```text
//! KEYREEVE DEVELOPMENT ROOT, format 1. Whoever reads this file can read everything this deployment protects.
//! set <32 hexadecimal digits>
//! key <64 hexadecimal digits>
//! sum <64 hexadecimal digits, SHA-256 of the lines before>
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use keyreeve_crypto::digest::sha256;
use keyreeve_crypto::random::Random;
use keyreeve_model::Custody;
use keyreeve_root::root_key::{RootKey, SetId, check_value, fits, parameters, unavailable};
use keyreeve_root::{Initialised, Root, RootError, SealStatus};
use keyreeve_secret::{SecretArray, SecretBuffer, SecretBytes, SecretString};
use parking_lot::RwLock;
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const WARNING: &[u8] =
    b"KEYREEVE DEVELOPMENT ROOT, format 1. Whoever reads this file can read everything this deployment protects.\n";
const SET: usize = WARNING.len() + 4;
const KEY: usize = SET + 32 + 1 + 4;
const SUM: usize = KEY + 64 + 1 + 4;
const LEN: usize = SUM + 64 + 1;

/// **For development only: whoever reads the file holds everything.** A root of trust whose key lies in a file; it
/// opens by itself, which is what makes it convenient and worthless as protection. The caller refuses it outside of
/// development.
///
/// The file must be readable by its owner only. [`Root::initialise`] makes it, complete and durable or not at all; if
/// one is there already, because an initialisation was interrupted or the rest of the deployment was deleted, it is
/// taken over, never replaced.
pub struct SealedFileRoot {
    path: PathBuf,
    random: Random,
    state: RwLock<State>,
}

enum State {
    Unconfigured,
    Sealed,
    Open(Box<RootKey>),
}

/// What the deployment record says.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    format: Format,
    #[serde(with = "hex::serde")]
    set: SetId,
    #[serde(with = "hex::serde")]
    check: [u8; 32],
}

#[derive(Serialize, Deserialize)]
enum Format {
    #[serde(rename = "keyreeve-sealed-file-1")]
    V1,
}

/// What stands in the file.
struct Content {
    set: SetId,
    key: SecretArray<32>,
}

impl SealedFileRoot {
    /// A root whose key lies in `path`, or will; nothing is read before it is configured.
    pub fn new(path: impl Into<PathBuf>, random: Random) -> Self {
        Self { path: path.into(), random, state: RwLock::new(State::Unconfigured) }
    }

    /// Where the key lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn trouble(&self, what: &str) -> RootError {
        RootError::Unavailable(format!("{}: {what}", self.path.display()))
    }

    fn io(&self, error: io::Error) -> RootError {
        self.trouble(&error.to_string())
    }

    fn read(&self) -> Result<Content, RootError> {
        let file = File::open(&self.path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => self.trouble("the file is missing, and with it the key to all that is stored"),
            _ => self.io(error),
        })?;
        let metadata = file.metadata().map_err(|e| self.io(e))?;
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            let path = self.path.display();
            return Err(self.trouble(&format!(
                "other users may read this file (mode {mode:03o}): run `chmod 600 {path}`, and begin anew if one did"
            )));
        }
        let mut content = SecretBytes::init_with(LEN + 1, |_| ());
        let mut filled = 0;
        let mut file = file.take(LEN as u64 + 1);
        loop {
            match file.read(&mut content.expose_mut()[filled..]).map_err(|e| self.io(e))? {
                0 => break,
                n => filled += n,
            }
        }
        content.truncate(filled);
        decode(content.expose()).map_err(|what| self.trouble(what))
    }

    /// Makes the file: under another name first, so that nobody ever sees half of it.
    fn write(&self, content: &Content) -> Result<(), RootError> {
        let mut name = self.path.file_name().ok_or_else(|| self.trouble("this is no file name"))?.to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let unfinished = self.path.with_file_name(name);
        let placed = write_new(&unfinished, &encode(content)).and_then(|()| rename_new(&unfinished, &self.path));
        if placed.is_err() {
            // Whatever is left of it is no root key of anything.
            let _ = std::fs::remove_file(&unfinished);
        }
        placed.and_then(|()| sync_directory(&self.path)).map_err(|e| self.io(e))
    }

    /// The content of the file, which is made if there is none.
    fn read_or_make(&self) -> Result<Content, RootError> {
        if self.path.try_exists().map_err(|e| self.io(e))? {
            return self.read();
        }
        let set = self.random.nonce_array().map_err(unavailable)?;
        let key = self.random.secret_array().map_err(unavailable)?;
        self.write(&Content { set, key })?;
        // Read back: what cannot be read must not become the root of anything.
        self.read()
    }
}

#[async_trait]
impl Root for SealedFileRoot {
    fn kind(&self) -> &'static str {
        "sealed-file"
    }

    fn custody(&self) -> Custody {
        Custody::Software
    }

    async fn configure(&self, public: &Value) -> Result<(), RootError> {
        let mut state = self.state.write();
        if !matches!(*state, State::Unconfigured) {
            return Err(RootError::Already("configured"));
        }
        let parameters: Parameters = parameters(public)?;
        let content = self.read()?;
        if content.set != parameters.set || !fits(&content.key, &content.set, &[], &parameters.check)? {
            return Err(self.trouble("the key in this file belongs to another deployment"));
        }
        *state = State::Open(Box::new(RootKey::new(&content.key, &content.set)?));
        Ok(())
    }

    async fn initialise(&self, shares: u8, threshold: u8) -> Result<Initialised, RootError> {
        let mut state = self.state.write();
        if !matches!(*state, State::Unconfigured) {
            return Err(RootError::Already("initialised"));
        }
        if (shares, threshold) != (0, 0) {
            return Err(RootError::NoShares);
        }
        let Content { set, key } = self.read_or_make()?;
        let parameters = Parameters { format: Format::V1, set, check: check_value(&key, &set, &[])? };
        let public = serde_json::to_value(parameters).map_err(|error| RootError::Unavailable(error.to_string()))?;
        *state = State::Open(Box::new(RootKey::new(&key, &set)?));
        Ok(Initialised { public, shares: Vec::new() })
    }

    fn status(&self) -> SealStatus {
        match *self.state.read() {
            State::Unconfigured => SealStatus::NotInitialised { people: false },
            State::Sealed => SealStatus::Sealed { given: 0, threshold: 0, shares: 0 },
            State::Open(_) => SealStatus::Open,
        }
    }

    async fn unseal(&self, _share: &SecretString) -> Result<SealStatus, RootError> {
        Err(RootError::NoShares)
    }

    async fn seal(&self) {
        let mut state = self.state.write();
        if matches!(*state, State::Open(_)) {
            *state = State::Sealed;
        }
    }

    async fn wrap(&self, context: &[u8], secret: &SecretBytes) -> Result<Vec<u8>, RootError> {
        match &*self.state.read() {
            State::Unconfigured => Err(RootError::NotInitialised),
            State::Sealed => Err(RootError::Sealed),
            State::Open(key) => key.wrap(&self.random, context, secret),
        }
    }

    async fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<SecretBytes, RootError> {
        match &*self.state.read() {
            State::Unconfigured => Err(RootError::NotInitialised),
            State::Sealed => Err(RootError::Sealed),
            State::Open(key) => key.unwrap(context, wrapped),
        }
    }

    async fn check(&self) -> Result<(), RootError> {
        match &*self.state.read() {
            State::Unconfigured => Err(RootError::NotInitialised),
            State::Sealed => Err(RootError::Sealed),
            State::Open(key) => key.check(&self.random),
        }
    }
}

fn encode(content: &Content) -> SecretBytes {
    let mut out = SecretBuffer::with_capacity(LEN);
    let mut digits = SecretBytes::init_with(64, |_| ());
    out.extend_from_slice(WARNING);
    for (name, value) in [(b"set ", &content.set[..]), (b"key ", content.key.expose())] {
        let digits = &mut digits.expose_mut()[..value.len() * 2];
        // Cannot fail: there are twice as many digits as bytes.
        let _ = hex::encode_to_slice(value, digits);
        for part in [&name[..], digits, b"\n"] {
            out.extend_from_slice(part);
        }
    }
    let sum = hex::encode(sha256(out.expose()));
    for part in [b"sum ", sum.as_bytes(), b"\n"] {
        out.extend_from_slice(part);
    }
    out.finish()
}

/// Reads a file; the error says what is wrong with it, and nothing of what stands in it.
fn decode(file: &[u8]) -> Result<Content, &'static str> {
    const DAMAGED: &str = "the file is damaged: restore it from a copy, if there is one";
    if file.starts_with(b"KEYREEVE DEVELOPMENT ROOT, format ") && !file.starts_with(&WARNING[..36]) {
        return Err("the file has a format that this version does not know: use a newer one");
    }
    if file.len() != LEN || !file.starts_with(WARNING) {
        return Err(DAMAGED);
    }
    let mut set = [0; 16];
    hex::decode_to_slice(&file[SET..SET + 32], &mut set).map_err(|_| DAMAGED)?;
    let key = SecretArray::try_init_with(|key| hex::decode_to_slice(&file[KEY..KEY + 64], key)).map_err(|_| DAMAGED)?;
    let content = Content { set, key };
    // Whatever reads differently than it would be written, the sum included, is damage.
    if encode(&content).ct_eq(file) { Ok(content) } else { Err(DAMAGED) }
}

fn write_new(path: &Path, content: &SecretBytes) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content.expose())?;
    file.sync_all()
}

/// Renames unless there is a file of the new name.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system knows the flag.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            std::fs::hard_link(from, to)?;
            std::fs::remove_file(from)
        }
        outcome => Ok(outcome?),
    }
}

fn sync_directory(file: &Path) -> io::Result<()> {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn content() -> Content {
        Content { set: [0xa5; 16], key: SecretArray::init_with(|key| key.fill(0x3c)) }
    }

    #[test]
    fn what_is_written_is_read() {
        let file = encode(&content());
        assert_eq!(file.len(), LEN);
        let text = std::str::from_utf8(file.expose()).unwrap();
        assert!(text.contains(&format!("\nset {}\nkey {}\nsum ", "a5".repeat(16), "3c".repeat(32))));
        let read = decode(file.expose()).unwrap();
        assert_eq!(read.set, [0xa5; 16]);
        assert!(read.key.ct_eq(&[0x3c; 32]));
    }

    #[test]
    fn every_change_is_damage() {
        let file = encode(&content());
        for place in 0..LEN {
            for bit in 0..8 {
                let mut bad = file.duplicate();
                bad.expose_mut()[place] ^= 1 << bit;
                assert!(decode(bad.expose()).is_err(), "bit {bit} of byte {place}");
            }
            assert!(decode(&file.expose()[..place]).is_err(), "cut to {place}");
        }
        assert!(decode(&[file.expose(), b"\n"].concat()).is_err());
        let upper = std::str::from_utf8(file.expose()).unwrap().replace("a5", "A5");
        assert!(decode(upper.as_bytes()).is_err(), "one spelling only");
    }

    #[test]
    fn another_format_is_told_from_damage() {
        let newer = String::from_utf8(encode(&content()).declassify("test")).unwrap().replace("format 1.", "format 2.");
        assert!(decode(newer.as_bytes()).err().unwrap().contains("newer"));
        assert!(decode(b"").err().unwrap().contains("damaged"));
    }

    proptest! {
        #[test]
        fn nothing_else_is_read(bytes: Vec<u8>) {
            prop_assert!(decode(&bytes).is_err());
        }
    }
}
