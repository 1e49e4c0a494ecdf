//! A destination of backups that is a directory: a disk of its own, or what a file server offers.
//!
//! - **Atomic**: an object is written under another name, synced, and renamed; a rename that must not replace is a hard
//!   link. File systems without hard links (some file servers) are not served.
//! - **Private**: the directory has mode 0700, files 0600.
//! - **Replaced means overwritten**: the bytes of a replaced object are overwritten before they are given back, where
//!   the file system writes in place. Copies that the file system keeps (snapshots, copy-on-write) are out of reach.
//!
//! What a crash left under a name of its own (`.writing-…`) is removed when the directory is opened.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

use async_trait::async_trait;
use keyreeve_archive::{Archive, ArchiveError, Content, REPLACED_MAX, Stored};
use keyreeve_backup::ObjectName;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const WRITING: &str = ".writing-";
/// Bytes moved at a time.
const PIECE: usize = 128 * 1024;

/// Why a directory cannot be a destination.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Other users of the machine may read or write it.
    #[error("{} is open to other users (mode {mode:03o}): run `chmod 700 {}`", path.display(), path.display())]
    Permissions {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file system refuses.
    #[error("{} cannot be used for backups", path.display())]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A destination that is a directory.
pub struct DirectoryArchive {
    place: Arc<Place>,
}

struct Place {
    path: PathBuf,
    count: AtomicU64,
}

impl DirectoryArchive {
    /// Opens the directory, or makes it with mode 0700. Blocks for some milliseconds. One process at a time writes to
    /// it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Io { path: path.to_owned(), source };
        if !path.try_exists().map_err(failed)? {
            DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        }
        let mode = path.metadata().map_err(failed)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(OpenError::Permissions { path: path.to_owned(), mode });
        }
        for entry in fs::read_dir(path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_name().to_string_lossy().starts_with(WRITING) {
                clean_up(&entry.path()).map_err(failed)?;
            }
        }
        Ok(Self { place: Arc::new(Place { path: path.to_owned(), count: AtomicU64::new(0) }) })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Place) -> Result<T, ArchiveError> + Send + 'static,
    ) -> Result<T, ArchiveError> {
        let place = Arc::clone(&self.place);
        let done = tokio::task::spawn_blocking(move || work(&place)).await;
        done.map_err(|_| ArchiveError::Unavailable("the work was cancelled".to_owned()))?
    }
}

fn writing(error: io::Error) -> ArchiveError {
    match error.kind() {
        io::ErrorKind::StorageFull
        | io::ErrorKind::QuotaExceeded
        | io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::PermissionDenied => ArchiveError::ReadOnly(error.to_string()),
        _ => unavailable(error),
    }
}

fn unavailable(error: io::Error) -> ArchiveError {
    ArchiveError::Unavailable(error.to_string())
}

/// Removes what a crash left. It may be another name of an object that is in its place: that one is not touched.
fn clean_up(path: &Path) -> io::Result<()> {
    if path.metadata()?.nlink() > 1 { fs::remove_file(path) } else { wipe(path) }
}

/// Overwrites a file with zeros and removes it.
fn wipe(path: &Path) -> io::Result<()> {
    let overwritten = overwrite(path);
    fs::remove_file(path)?;
    match overwritten {
        // A copy-on-write file system that is full would not have overwritten the old bytes anyhow.
        Err(error) if !matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => Err(error),
        _ => Ok(()),
    }
}

fn overwrite(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    let (mut left, zeros) = (file.metadata()?.size(), vec![0; PIECE]);
    file.seek(SeekFrom::Start(0))?;
    while left > 0 {
        let some = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        file.write_all(&zeros[..some])?;
        left -= some as u64;
    }
    file.sync_data()
}

impl Place {
    fn at(&self, name: &ObjectName) -> PathBuf {
        self.path.join(name.as_str())
    }

    /// A name under which something is written.
    fn unfinished(&self) -> PathBuf {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        self.path.join(format!("{WRITING}{}-{number}", std::process::id()))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    /// Gives a finished file its name, which nothing has.
    fn place_new(&self, unfinished: &Path, name: &ObjectName) -> Result<(), ArchiveError> {
        match fs::hard_link(unfinished, self.at(name)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(ArchiveError::Exists(name.clone()));
            }
            Err(error) => return Err(writing(error)),
        }
        fs::remove_file(unfinished).map_err(unavailable)?;
        self.sync().map_err(unavailable)
    }

    /// Puts bytes in the place of what has the name. The old bytes are overwritten once the new ones are durable.
    fn replace(&self, name: &ObjectName, content: &[u8]) -> Result<(), ArchiveError> {
        let (unfinished, old) = (self.unfinished(), self.unfinished());
        let write = || {
            let mut file = create(&unfinished)?;
            file.write_all(content)?;
            file.sync_all()
        };
        let kept = match fs::hard_link(self.at(name), &old) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(writing(error)),
        };
        let placed = write().and_then(|()| fs::rename(&unfinished, self.at(name)));
        if let Err(error) = placed {
            let _ = fs::remove_file(&unfinished);
            if kept {
                let _ = fs::remove_file(&old);
            }
            return Err(writing(error));
        }
        self.sync().map_err(unavailable)?;
        if kept { wipe(&old).map_err(unavailable) } else { Ok(()) }
    }

    fn delete(&self, name: &ObjectName) -> Result<(), ArchiveError> {
        let old = self.unfinished();
        match fs::rename(self.at(name), &old) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(writing(error)),
        }
        self.sync().map_err(unavailable)?;
        wipe(&old).map_err(unavailable)
    }

    fn list(&self) -> io::Result<Vec<Stored>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str().and_then(|name| name.parse::<ObjectName>().ok()) else { continue };
            match entry.metadata() {
                Ok(metadata) if metadata.is_file() => found.push(Stored { name, size: metadata.len() }),
                Ok(_) => {}
                // It was deleted meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        found.sort();
        Ok(found)
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Removes what was not finished.
struct Unfinished(Option<PathBuf>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            // If this fails, the next opening cleans up.
            let _ = fs::remove_file(path);
        }
    }
}

/// Copies all of a content and returns how long it was.
async fn copy(content: &mut Content, file: &mut tokio::fs::File, size: Option<u64>) -> Result<u64, ArchiveError> {
    let (mut buffer, mut done) = (vec![0; PIECE], 0u64);
    loop {
        let some = content.read(&mut buffer).await.map_err(ArchiveError::Source)?;
        if some == 0 {
            break;
        }
        done += some as u64;
        file.write_all(&buffer[..some]).await.map_err(writing)?;
    }
    file.flush().await.map_err(writing)?;
    file.sync_all().await.map_err(writing)?;
    if size.is_some_and(|size| size != done) {
        let error = io::Error::new(io::ErrorKind::UnexpectedEof, "another number of bytes came than was promised");
        return Err(ArchiveError::Source(error));
    }
    Ok(done)
}

#[async_trait]
impl Archive for DirectoryArchive {
    fn kind(&self) -> &'static str {
        "directory"
    }

    fn place(&self) -> String {
        self.place.path.display().to_string()
    }

    async fn put(&self, name: &ObjectName, mut content: Content, size: Option<u64>) -> Result<u64, ArchiveError> {
        let path = self.place.unfinished();
        let made = {
            let path = path.clone();
            self.blocking(move |_| create(&path).map_err(writing)).await?
        };
        let mut unfinished = Unfinished(Some(path.clone()));
        let mut file = tokio::fs::File::from_std(made);
        let done = copy(&mut content, &mut file, size).await?;
        drop(file);
        let name = name.clone();
        self.blocking(move |place| place.place_new(&path, &name)).await?;
        unfinished.0 = None;
        Ok(done)
    }

    async fn replace(&self, name: &ObjectName, content: &[u8]) -> Result<(), ArchiveError> {
        if content.len() > REPLACED_MAX {
            return Err(ArchiveError::ReadOnly(format!("an object that is replaced has at most {REPLACED_MAX} bytes")));
        }
        let (name, content) = (name.clone(), content.to_vec());
        self.blocking(move |place| place.replace(&name, &content)).await
    }

    async fn get(&self, name: &ObjectName) -> Result<Content, ArchiveError> {
        match tokio::fs::File::open(self.place.at(name)).await {
            Ok(file) => Ok(Box::new(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ArchiveError::NotFound(name.clone())),
            Err(error) => Err(unavailable(error)),
        }
    }

    async fn list(&self) -> Result<Vec<Stored>, ArchiveError> {
        self.blocking(|place| place.list().map_err(unavailable)).await
    }

    async fn delete(&self, name: &ObjectName) -> Result<(), ArchiveError> {
        let name = name.clone();
        self.blocking(move |place| place.delete(&name)).await
    }
}
