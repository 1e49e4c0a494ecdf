//! Files that hold secrets, and directories that hold everything: read and made with the right permissions, or refused.

use keyreeve_secret::SecretBytes;
use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Largest file that is read whole, in bytes.
const LIMIT: u64 = 1 << 20;

/// What is wrong with a file, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) problem: String,
    pub(crate) remedy: String,
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.problem, self.remedy)
    }
}

impl Trouble {
    pub(crate) fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { problem: problem.into(), remedy: remedy.into() }
    }

    fn unreadable(path: &Path, error: &io::Error) -> Self {
        let remedy = match error.kind() {
            io::ErrorKind::NotFound => "check the path".to_owned(),
            io::ErrorKind::PermissionDenied => "let the user that runs keyreeve read it".to_owned(),
            _ => "see that it can be read".to_owned(),
        };
        Self::new(format!("{} cannot be read ({error})", path.display()), remedy)
    }
}

fn read(path: &Path, check: impl Fn(&Metadata) -> Result<(), Trouble>) -> Result<SecretBytes, Trouble> {
    let unreadable = |error: io::Error| Trouble::unreadable(path, &error);
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() || metadata.len() > LIMIT {
        let problem = format!("{} is not a file of at most 1 MiB", path.display());
        return Err(Trouble::new(problem, "name the right file"));
    }
    check(&metadata)?;
    let len = usize::try_from(metadata.len()).unwrap_or(0);
    let mut file = file;
    SecretBytes::try_init_with(len, |out| file.read_exact(out)).map_err(unreadable)
}

/// A file anybody may read.
pub(crate) fn read_public(path: &Path) -> Result<Vec<u8>, Trouble> {
    read(path, |_| Ok(())).map(|bytes| bytes.declassify("a file that is public by its nature"))
}

/// A file that only its owner may read, and that belongs to us or to root.
pub(crate) fn read_private(path: &Path) -> Result<SecretBytes, Trouble> {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    read(path, |metadata| {
        if credentials.as_deref().is_some_and(|directory| is_credential(path, metadata, directory)) {
            return Ok(());
        }
        private(path, metadata, "600")
    })
}

/// Whether systemd put this file there for this service (`LoadCredential=`, systemd.exec(5)). It is root's, and an
/// access list lets us read it, whose mask shows as the permissions of root's group.
fn is_credential(path: &Path, metadata: &Metadata, directory: &Path) -> bool {
    let mode = metadata.permissions().mode() & 0o7777;
    path.parent() == Some(directory) && metadata.uid() == 0 && metadata.gid() == 0 && mode & 0o7337 == 0
}

fn private(path: &Path, metadata: &Metadata, wanted: &str) -> Result<(), Trouble> {
    let mode = metadata.permissions().mode() & 0o7777;
    let name = path.display();
    if mode & 0o077 != 0 {
        let problem = format!("{name} is open to other users (mode {mode:03o})");
        return Err(Trouble::new(
            problem,
            format!("run `chmod {wanted} {name}`, and replace it if others may have read it"),
        ));
    }
    let me = rustix::process::geteuid().as_raw();
    if metadata.uid() != me && metadata.uid() != 0 {
        let owner = metadata.uid();
        let problem = format!("{name} belongs to another user (id {owner})");
        let remedy = match me {
            0 => "run this as that user (`runuser -u NAME -- ...`), not as root".to_owned(),
            me => format!("run `chown {me} {name}`"),
        };
        return Err(Trouble::new(problem, remedy));
    }
    Ok(())
}

/// A directory for us alone; made if it is missing (its parent must exist).
pub(crate) fn private_directory(path: &Path) -> Result<(), Trouble> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => {
            let remedy = "make its parent directory, writable for the user that runs keyreeve";
            return Err(Trouble::new(format!("{} cannot be made ({error})", path.display()), remedy));
        }
    }
    check_directory(path)
}

/// The same without making it; a missing one is fine.
pub(crate) fn check_directory(path: &Path) -> Result<(), Trouble> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => private(path, &metadata, "700"),
        Ok(_) => Err(Trouble::new(format!("{} is not a directory", path.display()), "name another path")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Trouble::unreadable(path, &error)),
    }
}

/// Writes a file for us alone, durably: complete under its name, or not at all.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<(), Trouble> {
    let unfinished = path.with_extension("new");
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&unfinished, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    let explain = |error: io::Error| {
        Trouble::new(format!("{} cannot be written ({error})", path.display()), "make room and see that it is writable")
    };
    write().map_err(explain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_files_are_written_private_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        write_private(&path, b"one").unwrap();
        write_private(&path, b"two").unwrap();
        assert_eq!(read_private(&path).unwrap().expose(), b"two");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn files_open_to_others_are_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, b"one").unwrap();
        for mode in [0o640, 0o604, 0o660, 0o610] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let trouble = read_private(&path).unwrap_err();
            assert!(trouble.remedy.contains("chmod 600"), "{trouble}");
        }
        assert_eq!(read_public(&path).unwrap(), b"one");
    }

    #[test]
    fn credentials_of_the_service_manager_are_private_where_they_are_roots() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, b"one").unwrap();
        let is = |mode: u32, directory: &Path| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            is_credential(&path, &std::fs::metadata(&path).unwrap(), directory)
        };
        let root = std::fs::metadata(&path).is_ok_and(|metadata| metadata.uid() == 0 && metadata.gid() == 0);
        assert_eq!((is(0o440, dir.path()), is(0o400, dir.path())), (root, root));
        for mode in [0o444, 0o460, 0o640, 0o441] {
            assert!(!is(mode, dir.path()), "{mode:o}");
        }
        assert!(!is(0o440, Path::new("/run/credentials/other.service")));
    }

    #[test]
    fn what_is_missing_or_no_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        assert!(read_private(&missing).unwrap_err().problem.contains("missing"));
        assert!(read_private(dir.path()).unwrap_err().problem.contains("not a file"));
    }

    #[test]
    fn directories_are_made_for_us_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        private_directory(&path).unwrap();
        private_directory(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(private_directory(&path).unwrap_err().remedy.contains("chmod 700"));
        assert!(private_directory(&dir.path().join("no/parent")).unwrap_err().problem.contains("cannot be made"));
    }
}
