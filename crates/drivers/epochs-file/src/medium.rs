//! The calls to the file system, and the order in which they make the promises true.
//!
//! All paths are relative to the directory that was opened at start-up: moving the vault or mounting something over it
//! while the process runs does not make it write elsewhere.

use std::collections::HashSet;
use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use keyreeve_crypto::random::Random;
use keyreeve_epochs::{EpochId, VaultError};
use keyreeve_model::KeyringId;
use parking_lot::Mutex;
use rustix::fs::{Access, AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::OpenError;
use crate::frame;
use crate::names::{self, FileName};

/// Where file systems of their own keep what they found while being repaired.
const LOST_FOUND: &str = "lost+found";

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const EXISTING: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);
const NEW: OFlags = OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(EXISTING);

/// An opened vault.
pub(crate) struct Medium {
    root: OwnedFd,
    path: PathBuf,
    random: Random,
    count: AtomicU64,
    /// Keyrings whose directory is known to survive the loss of power.
    durable: Mutex<HashSet<KeyringId>>,
    /// One erasure or replacement at a time: a second caller for the same epoch must not return before the first has
    /// made it durable, and nothing is put in the place of what was erased a moment ago.
    erasing: Mutex<()>,
}

impl Medium {
    pub(crate) fn open(path: &Path, random: Random) -> Result<Self, OpenError> {
        make_directory(path).map_err(in_path(path))?;
        // The vault itself may be reached through a symbolic link; nothing inside of it may.
        let root = rustix::fs::open(path, DIRECTORY.difference(OFlags::NOFOLLOW), Mode::empty());
        let medium = Self {
            root: root.map_err(|e| in_path(path)(e.into()))?,
            path: path.to_owned(),
            random,
            count: AtomicU64::new(0),
            durable: Mutex::default(),
            erasing: Mutex::default(),
        };
        check_private(&medium.root, path)?;
        let alone = match rustix::fs::flock(&medium.root, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => true,
            Err(Errno::WOULDBLOCK) => false,
            Err(error) => return Err(in_path(path)(error.into())),
        };
        medium.survey(alone)?;
        // Held until the process ends: it keeps others from taking files that are being written for left behind.
        rustix::fs::flock(&medium.root, FlockOperation::LockShared).map_err(|e| in_path(path)(e.into()))?;
        Ok(medium)
    }

    /// Looks at everything in the vault. `alone`: no other process uses it, so that what is unfinished stays so.
    fn survey(&self, alone: bool) -> Result<(), OpenError> {
        for (name, kind) in entries(&self.root).map_err(in_path(&self.path))? {
            let path = self.path.join(&name);
            match (name.parse::<KeyringId>(), kind) {
                (Ok(keyring), FileType::Directory) => self.survey_keyring(keyring, &path, alone)?,
                _ if name == LOST_FOUND => {}
                _ => return Err(OpenError::Foreign { path }),
            }
        }
        Ok(())
    }

    fn survey_keyring(&self, keyring: KeyringId, path: &Path, alone: bool) -> Result<(), OpenError> {
        let dir = self.keyring(keyring).map_err(|e| in_path(path)(e.into()))?;
        check_private(&dir, path)?;
        for (name, kind) in entries(&dir).map_err(in_path(path))? {
            let file = path.join(&name);
            match (names::parse(keyring, &name), kind) {
                (FileName::Epoch(_), FileType::RegularFile) => check_private_at(&dir, &name, &file)?,
                (FileName::Writing | FileName::Erasing, FileType::RegularFile) if !alone => {}
                (FileName::Writing, FileType::RegularFile) => {
                    rustix::fs::unlinkat(&dir, &name, AtFlags::empty()).map_err(|e| in_path(&file)(e.into()))?;
                }
                (FileName::Erasing, FileType::RegularFile) => {
                    self.finish_erasing(&dir, &name).map_err(in_path(&file))?;
                }
                _ => return Err(OpenError::Foreign { path: file }),
            }
        }
        Ok(())
    }

    pub(crate) fn put(&self, id: EpochId, framed: &[u8]) -> Result<(), VaultError> {
        self.make_keyring(id.keyring).map_err(writing)?;
        let dir = self.keyring(id.keyring).map_err(|e| writing(e.into()))?;
        let (unfinished, name) = (names::writing(id, std::process::id(), self.count()), names::epoch(id));
        let placed = write_new(&dir, &unfinished, framed).map_err(writing).and_then(|()| {
            rename_new(&dir, &unfinished, &name).map_err(|error| match error {
                Errno::EXIST => VaultError::Exists(id),
                other => writing(other.into()),
            })
        });
        if placed.is_err() {
            // If this fails too, the next start cleans up.
            let _ = rustix::fs::unlinkat(&dir, &unfinished, AtFlags::empty());
            return placed;
        }
        // Past the renaming it is no longer true that nothing changed.
        rustix::fs::fsync(&dir).map_err(|e| VaultError::Unavailable(e.into()))
    }

    pub(crate) fn get(&self, id: EpochId) -> Result<Option<Vec<u8>>, VaultError> {
        // An erasure may have begun to overwrite the file after it was opened; it has no name any more then.
        for _ in 0..2 {
            let Some(content) = self.read(id).map_err(VaultError::Unavailable)? else { return Ok(None) };
            if let Ok(wrapped) = frame::decode(id, content) {
                return Ok(Some(wrapped));
            }
        }
        Err(VaultError::Damaged(id))
    }

    fn read(&self, id: EpochId) -> io::Result<Option<Vec<u8>>> {
        let path = format!("{}/{}", id.keyring, names::epoch(id));
        let file = match rustix::fs::openat(&self.root, path, OFlags::RDONLY.union(EXISTING), Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut content = Vec::with_capacity(256);
        file.take(frame::FILE_MAX as u64 + 1).read_to_end(&mut content)?;
        Ok(Some(content))
    }

    pub(crate) fn replace(&self, id: EpochId, framed: &[u8]) -> Result<bool, VaultError> {
        let _one_at_a_time = self.erasing.lock();
        let unavailable = |error: Errno| VaultError::Unavailable(error.into());
        let dir = match self.keyring(id.keyring) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(unavailable(error)),
        };
        let (unfinished, name) = (names::writing(id, std::process::id(), self.count()), names::epoch(id));
        let former = match rustix::fs::openat(&dir, &name, OFlags::WRONLY.union(EXISTING), Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(unavailable(error)),
        };
        let placed = write_new(&dir, &unfinished, framed)
            .and_then(|()| rustix::fs::renameat(&dir, &unfinished, &dir, &name).map_err(io::Error::from));
        if let Err(error) = placed {
            // If this fails too, the next start cleans up.
            let _ = rustix::fs::unlinkat(&dir, &unfinished, AtFlags::empty());
            return Err(writing(error));
        }
        rustix::fs::fsync(&dir).map_err(unavailable)?;
        // It has no name any more; who opened it by that name reads again.
        self.overwrite_file(&former).map_err(VaultError::Unavailable)?;
        Ok(true)
    }

    pub(crate) fn erase(&self, id: EpochId) -> Result<(), VaultError> {
        let _one_at_a_time = self.erasing.lock();
        let dir = match self.keyring(id.keyring) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(VaultError::Unavailable(error.into())),
        };
        let unfinished = names::erasing(id, std::process::id(), self.count());
        match rustix::fs::renameat(&dir, names::epoch(id), &dir, &unfinished) {
            Ok(()) => self.finish_erasing(&dir, &unfinished).map_err(VaultError::Unavailable),
            // Another process may have erased it a moment ago: what this call promises is made durable all the same.
            Err(Errno::NOENT) => rustix::fs::fsync(&dir).map_err(|e| VaultError::Unavailable(e.into())),
            Err(error) => Err(writing(error.into())),
        }
    }

    fn finish_erasing(&self, dir: &OwnedFd, name: &str) -> io::Result<()> {
        // The name goes durably before the content: no crash leaves an epoch that is there and damaged.
        rustix::fs::fsync(dir)?;
        let wiped = self.wipe(dir, name);
        rustix::fs::fsync(dir)?;
        wiped
    }

    /// Overwrites a file and removes it. It is removed even if overwriting fails; the failure is told then, unless it
    /// is the refusal of a copy-on-write file system that is full, which would not have overwritten the old bytes
    /// anyhow.
    fn wipe(&self, dir: &OwnedFd, name: &str) -> io::Result<()> {
        let overwritten = self.overwrite(dir, name);
        rustix::fs::unlinkat(dir, name, AtFlags::empty())?;
        match overwritten {
            Err(error) if !matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    fn overwrite(&self, dir: &OwnedFd, name: &str) -> io::Result<()> {
        self.overwrite_file(&File::from(rustix::fs::openat(dir, name, OFlags::WRONLY.union(EXISTING), Mode::empty())?))
    }

    fn overwrite_file(&self, file: &File) -> io::Result<()> {
        let len = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX).min(frame::FILE_MAX);
        let mut pattern = vec![0; len];
        // A generator that has failed must not keep a key from being erased.
        if self.random.fill(&mut pattern).is_ok() {
            file.write_all_at(&pattern, 0)?;
            file.sync_data()?;
        }
        pattern.fill(0);
        file.write_all_at(&pattern, 0)?;
        file.sync_data()
    }

    pub(crate) fn list(&self) -> Result<Vec<EpochId>, VaultError> {
        let mut found = Vec::new();
        for (name, _) in entries(&self.root).map_err(VaultError::Unavailable)? {
            let Ok(keyring) = name.parse::<KeyringId>() else { continue };
            let dir = self.keyring(keyring).map_err(|e| VaultError::Unavailable(e.into()))?;
            let files = entries(&dir).map_err(VaultError::Unavailable)?;
            found.extend(files.iter().filter_map(|(name, _)| match names::parse(keyring, name) {
                FileName::Epoch(id) => Some(id),
                FileName::Writing | FileName::Erasing | FileName::Foreign => None,
            }));
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Whether the directory is there, can be read and written, and has room. Writes nothing: whoever asks often must
    /// not wear out the medium.
    pub(crate) fn check(&self) -> Result<(), VaultError> {
        let unavailable = |error: Errno| VaultError::Unavailable(error.into());
        if rustix::fs::fstat(&self.root).map_err(unavailable)?.st_nlink == 0 {
            let gone = format!("{} was removed", self.path.display());
            return Err(VaultError::Unavailable(io::Error::new(io::ErrorKind::NotFound, gone)));
        }
        entries(&self.root).map_err(VaultError::Unavailable)?;
        let writable = Access::WRITE_OK.union(Access::EXEC_OK);
        rustix::fs::accessat(&self.root, ".", writable, AtFlags::EACCESS).map_err(|e| writing(e.into()))?;
        match rustix::fs::fstatvfs(&self.root).map_err(unavailable)? {
            // Some file systems do not count files.
            room if room.f_bavail == 0 || (room.f_files != 0 && room.f_favail == 0) => {
                Err(VaultError::ReadOnly(io::ErrorKind::StorageFull.into()))
            }
            _ => Ok(()),
        }
    }

    fn keyring(&self, keyring: KeyringId) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(&self.root, keyring.to_string(), DIRECTORY, Mode::empty())
    }

    fn make_keyring(&self, keyring: KeyringId) -> io::Result<()> {
        let mut durable = self.durable.lock();
        if durable.contains(&keyring) {
            return Ok(());
        }
        match rustix::fs::mkdirat(&self.root, keyring.to_string(), Mode::RWXU) {
            // One that is there already may have been made a moment ago by another process, and not be durable yet.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        rustix::fs::fsync(&self.root)?;
        durable.insert(keyring);
        Ok(())
    }

    fn count(&self) -> u64 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }
}

/// Makes the directory of the vault, durably, unless it is there.
fn make_directory(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(error),
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

/// Names and kinds in a directory, without itself and its parent.
fn entries(dir: &OwnedFd) -> io::Result<Vec<(String, FileType)>> {
    let mut found = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let kind = match entry.file_type() {
            // Some file systems do not say.
            FileType::Unknown => match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            },
            known => known,
        };
        // A name that is no text is no name of ours; the replacement character makes it foreign.
        found.push((name.to_string_lossy().into_owned(), kind));
    }
    Ok(found)
}

/// Writes a file that must not exist, and forces it to the medium.
fn write_new(dir: &OwnedFd, name: &str, content: &[u8]) -> io::Result<()> {
    let mut file = File::from(rustix::fs::openat(dir, name, NEW, Mode::RUSR.union(Mode::WUSR))?);
    file.write_all(content)?;
    file.sync_all()
}

/// Gives a file its name unless something has that name.
fn rename_new(dir: &OwnedFd, from: &str, to: &str) -> Result<(), Errno> {
    match rustix::fs::renameat_with(dir, from, dir, to, RenameFlags::NOREPLACE) {
        // Not every file system knows the flag (NFS does not). The older way is a second name, then removing the first;
        // a crash in between leaves both, and the next start removes the first.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            rustix::fs::linkat(dir, from, dir, to, AtFlags::empty())?;
            rustix::fs::unlinkat(dir, from, AtFlags::empty())
        }
        outcome => outcome,
    }
}

fn check_private(fd: impl AsFd, path: &Path) -> Result<(), OpenError> {
    check_mode(rustix::fs::fstat(fd).map_err(|e| in_path(path)(e.into()))?.st_mode, path)
}

fn check_private_at(dir: &OwnedFd, name: &str, path: &Path) -> Result<(), OpenError> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => check_mode(stat.st_mode, path),
        // Erased by another process meanwhile.
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(in_path(path)(error.into())),
    }
}

fn check_mode(mode: u32, path: &Path) -> Result<(), OpenError> {
    match mode & 0o7777 {
        mode if mode & 0o077 == 0 => Ok(()),
        mode => Err(OpenError::Permissions { path: path.to_owned(), mode }),
    }
}

fn in_path(path: &Path) -> impl Fn(io::Error) -> OpenError + '_ {
    |source| OpenError::Io { path: path.to_owned(), source }
}

/// What a failure before anything has changed means to the caller.
fn writing(error: io::Error) -> VaultError {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match error.kind() {
        PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull => VaultError::ReadOnly(error),
        _ => VaultError::Unavailable(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_or_closed_medium_is_told_from_a_broken_one() {
        for errno in [Errno::NOSPC, Errno::ROFS, Errno::ACCESS, Errno::PERM, Errno::DQUOT] {
            assert!(matches!(writing(errno.into()), VaultError::ReadOnly(_)), "{errno}");
        }
        for errno in [Errno::IO, Errno::NOENT, Errno::MFILE] {
            assert!(matches!(writing(errno.into()), VaultError::Unavailable(_)), "{errno}");
        }
    }
}
