//! An anchor that is a file elsewhere: on a disk of its own, a memory stick, or what a file server offers.
//!
//! - **Atomic**: the new content is written beside the file under another name, synced, and renamed over it; then the
//!   directory is synced. A crash leaves the old content or the new one.
//! - **Elsewhere**: the directory must be there already. One that is missing is a file system that is not mounted, and
//!   is never made: a count that begins anew on the disk underneath would remember nothing.
//! - **Readable**: the file says nothing secret. Whoever may write it may put an older one there, which the server
//!   notices unless its own store is put back to the same time.
#![forbid(unsafe_code)]

use async_trait::async_trait;
use keyreeve_model::anchor::{Placed, STATEMENT_MAX};
use keyreeve_root::anchor::ANCHOR_LIMIT;
use keyreeve_root::{Anchor, AnchorError, Held};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Larger than any file of this kind, in bytes.
const FILE_MAX: u64 = STATEMENT_MAX as u64 + 64;

/// A file that is an anchor.
pub struct FileAnchor {
    place: Arc<Place>,
    /// One at a time looks at the file, and holds this for as long as that takes: where a file server hangs, others
    /// wait without a thread each.
    one: Arc<tokio::sync::Mutex<()>>,
}

struct Place {
    path: PathBuf,
}

impl FileAnchor {
    /// The anchor in this file. Nothing is read yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { place: Arc::new(Place { path: path.into() }), one: Arc::default() }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Place) -> Result<T, AnchorError> + Send + 'static,
    ) -> Result<T, AnchorError> {
        let place = Arc::clone(&self.place);
        let late = || {
            let seconds = ANCHOR_LIMIT.as_secs();
            AnchorError::Unavailable(format!("{}: nothing was heard for {seconds} seconds", self.place.path.display()))
        };
        let one = Arc::clone(&self.one);
        let talk = async {
            let alone = one.lock_owned().await;
            let work = move || {
                let _alone = alone;
                work(&place)
            };
            tokio::task::spawn_blocking(work).await
        };
        let done = tokio::time::timeout(ANCHOR_LIMIT, talk).await;
        done.map_err(|_| late())?.map_err(|error| AnchorError::Unavailable(error.to_string()))?
    }
}

#[async_trait]
impl Anchor for FileAnchor {
    fn kind(&self) -> &'static str {
        "file"
    }

    fn place(&self) -> String {
        self.place.path.display().to_string()
    }

    fn keeps_statements(&self) -> bool {
        true
    }

    async fn read(&self) -> Result<Held, AnchorError> {
        self.blocking(|place| {
            let found = place.read()?;
            let count = found.as_ref().map(|placed| placed.count);
            Ok(Held { count, statement: found.map(|placed| placed.statement), device: None })
        })
        .await
    }

    async fn advance(&self, from: Option<u64>, statement: &[u8]) -> Result<u64, AnchorError> {
        let statement = statement.to_vec();
        self.blocking(move |place| place.advance(from, statement)).await
    }
}

impl Place {
    fn unavailable(&self, error: &io::Error) -> AnchorError {
        AnchorError::Unavailable(format!("{}: {error}", self.path.display()))
    }

    fn directory(&self) -> &Path {
        self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    fn read(&self) -> Result<Option<Placed>, AnchorError> {
        // Without the directory a missing file says nothing.
        fs::metadata(self.directory()).map_err(|error| self.unavailable(&error))?;
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.unavailable(&error)),
        };
        let mut bytes = Vec::new();
        file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(|error| self.unavailable(&error))?;
        let damaged =
            || AnchorError::Damaged(format!("{} is no file of an anchor, or was altered", self.path.display()));
        let placed = Placed::read(&bytes).ok().filter(|_| bytes.len() as u64 <= FILE_MAX);
        placed.map(Some).ok_or_else(damaged)
    }

    fn advance(&self, from: Option<u64>, statement: Vec<u8>) -> Result<u64, AnchorError> {
        if statement.len() > STATEMENT_MAX {
            return Err(AnchorError::Unavailable(format!("a statement has at most {STATEMENT_MAX} bytes")));
        }
        let found = self.read()?.map(|placed| placed.count);
        if found != from {
            return Err(AnchorError::Moved { found });
        }
        let count = from.map_or(Some(1), |count| count.checked_add(1)).ok_or(AnchorError::Moved { found })?;
        self.write(&Placed { count, statement }.write()).map_err(|error| self.unavailable(&error))?;
        // What is read again is what counts: file servers may say yes and mean later.
        match self.read()? {
            Some(placed) if placed.count == count => Ok(count),
            other => Err(AnchorError::Moved { found: other.map(|placed| placed.count) }),
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let unfinished = self.unfinished();
        // A file of its own: whoever may write there too leads this server to no other file by a link of that name.
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, &self.path)?;
        File::open(self.directory())?.sync_all()
    }

    /// A name beside the file. What a crash left there is written over by the next step.
    fn unfinished(&self) -> PathBuf {
        let mut name = OsString::from(".writing-");
        name.push(self.path.file_name().unwrap_or_default());
        self.directory().join(name)
    }
}
