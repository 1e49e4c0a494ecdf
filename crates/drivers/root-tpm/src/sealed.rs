//! The file with the sealed root key. It is worth nothing without the TPM, and is kept private all the same.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use keyreeve_root::root_key::SetId;
use serde::{Deserialize, Serialize};

use crate::bench::Trouble;
use crate::commands::Blob;

/// Longest file (bytes). One takes about 1 KiB.
const LONGEST: u64 = 64 * 1024;
/// Longest file in which an operator consents (bytes). A name takes 68 digits.
const NAME_MAX: u64 = 1024;

/// A root key as a TPM gave it out: sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sealed {
    format: Format,
    /// Names the root key.
    #[serde(with = "hex::serde")]
    pub(crate) set: SetId,
    /// What the TPM calls the key that this is sealed under.
    #[serde(with = "hex::serde")]
    pub(crate) parent: Vec<u8>,
    /// What a TPM calls the policy key.
    pub(crate) policy_key: String,
    #[serde(with = "hex::serde")]
    public: Vec<u8>,
    #[serde(with = "hex::serde")]
    private: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Format {
    #[serde(rename = "keyreeve-tpm-sealed-1")]
    V1,
}

impl Sealed {
    pub(crate) fn new(set: SetId, parent: Vec<u8>, policy_key: String, blob: Blob) -> Self {
        Self { format: Format::V1, set, parent, policy_key, public: blob.public, private: blob.private }
    }

    pub(crate) fn blob(&self) -> Blob {
        Blob { public: self.public.clone(), private: self.private.clone() }
    }
}

/// Where it lies.
pub(crate) struct SealedFile<'a>(pub(crate) &'a Path);

impl SealedFile<'_> {
    fn trouble(&self, what: impl std::fmt::Display) -> Trouble {
        Trouble::Files(format!("{}: {what}", self.0.display()))
    }

    /// What lies there, if anything does.
    pub(crate) fn read(&self) -> Result<Option<Sealed>, Trouble> {
        let metadata = match std::fs::metadata(self.0) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| self.trouble(error))?,
        };
        if !metadata.is_file() || metadata.len() > LONGEST {
            return Err(self.trouble("this is no sealed key"));
        }
        let bytes = std::fs::read(self.0).map_err(|error| self.trouble(error))?;
        let damaged = |error| self.trouble(format_args!("the sealed key is damaged or of a newer version: {error}"));
        serde_json::from_slice(&bytes).map(Some).map_err(damaged)
    }

    /// Where an operator consents to sealing the key to another TPM: `root.tpm.reseal` beside `root.tpm`.
    fn consent(&self) -> PathBuf {
        let mut path = self.0.as_os_str().to_owned();
        path.push(".reseal");
        PathBuf::from(path)
    }

    /// Whether an operator consents to this parent: its name, and nothing else, is what the file says.
    pub(crate) fn consented(&self, parent: &[u8]) -> Result<(), Trouble> {
        let (path, parent) = (self.consent(), hex::encode(parent));
        let mut said = String::new();
        match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Trouble::Files(format!("{}: {error}", path.display()))),
            Ok(file) => {
                let read = file.take(NAME_MAX).read_to_string(&mut said);
                read.map_err(|error| Trouble::Files(format!("{}: {error}", path.display())))?;
            }
        }
        if said.trim().eq_ignore_ascii_case(&parent) {
            return Ok(());
        }
        Err(Trouble::Stranger { parent, consent: path.display().to_string() })
    }

    /// A consent is good for one sealing.
    pub(crate) fn consent_used(&self) -> Result<(), Trouble> {
        let path = self.consent();
        std::fs::remove_file(&path).map_err(|error| Trouble::Files(format!("{}: {error}", path.display())))
    }

    /// Puts it there, whole and durable or not at all; in the place of another one only if it may.
    pub(crate) fn place(&self, sealed: &Sealed, replacing: bool) -> Result<(), Trouble> {
        let parent = self.0.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let io = |error: std::io::Error| self.trouble(error);
        let text = serde_json::to_string_pretty(sealed).map_err(|error| self.trouble(error))?;
        // Made for its owner alone, under another name.
        let mut file = tempfile::NamedTempFile::new_in(parent).map_err(io)?;
        file.write_all(text.as_bytes()).and_then(|()| file.write_all(b"\n")).map_err(io)?;
        file.as_file().sync_all().map_err(io)?;
        let placed = if replacing { file.persist(self.0) } else { file.persist_noclobber(self.0) };
        placed.map_err(|error| io(error.error))?;
        File::open(parent).and_then(|directory| directory.sync_all()).map_err(io)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn sealed() -> Sealed {
        let blob = Blob { public: vec![1; 80], private: vec![2; 160] };
        Sealed::new([3; 16], vec![4; 34], "000b".to_owned(), blob)
    }

    #[test]
    fn it_is_private_and_replaced_only_on_purpose() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("root.tpm");
        let file = SealedFile(&path);
        assert!(file.read().unwrap().is_none());
        file.place(&sealed(), false).unwrap();
        assert_eq!(file.read().unwrap(), Some(sealed()));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        let other = Sealed { set: [9; 16], ..sealed() };
        assert!(file.place(&other, false).is_err());
        assert_eq!(file.read().unwrap(), Some(sealed()));
        file.place(&other, true).unwrap();
        assert_eq!(file.read().unwrap(), Some(other));
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1, "nothing unfinished is left");
    }

    #[test]
    fn a_consent_names_the_parent_and_is_good_once() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("root.tpm");
        let file = SealedFile(&path);
        let stranger =
            |told: Result<(), Trouble>| matches!(told, Err(Trouble::Stranger { parent, .. }) if parent == "000b4a");
        let parent = [0, 0x0b, 0x4a];
        assert!(stranger(file.consented(&parent)));
        for other in ["", "\n", "000b", "000b4a00", "yes", "000b4a 000b4b"] {
            std::fs::write(home.path().join("root.tpm.reseal"), other).unwrap();
            assert!(stranger(file.consented(&parent)), "{other:?}");
        }
        std::fs::write(home.path().join("root.tpm.reseal"), "000B4a\n").unwrap();
        file.consented(&parent).unwrap();
        file.consent_used().unwrap();
        assert!(stranger(file.consented(&parent)));
    }

    #[test]
    fn what_is_not_one_is_told() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("root.tpm");
        for bad in ["", "{}", "[]", "{\"format\":\"keyreeve-tpm-sealed-2\"}"] {
            std::fs::write(&path, bad).unwrap();
            let told = SealedFile(&path).read().unwrap_err().to_string();
            assert!(told.contains("root.tpm") && told.contains("damaged or of a newer version"), "{told}");
        }
        assert!(SealedFile(home.path()).read().is_err());
    }
}
