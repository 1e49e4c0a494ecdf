//! The tiler thread: turns what is durable in the write-ahead log into tiles, publishes checkpoints, removes segments.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyreeve_audit::merkle::empty_root;
use keyreeve_audit::proof::{consistency_proof, verify_consistency};
use keyreeve_audit::tile::{LogPath, TILE_WIDTH, TileId, encode_hashes, partials};
use keyreeve_audit::{Checkpoint, NoteSigner, SignedNote, sign_note};
use keyreeve_journal::JournalError;
use tokio::sync::oneshot;

use crate::disk::{Disk, io_error, replace};
use crate::log::{Published, file_of, proof_error};
use crate::shared::Shared;
use crate::tail::FullTile;
use crate::times;
use crate::wal::Segments;

/// Bundles written between two releases of memory.
const ROUND: u64 = 16;

/// The thread's own state.
pub(crate) struct Tiler {
    pub(crate) shared: Arc<Shared>,
    pub(crate) segments: Arc<Segments>,
}

impl Drop for Tiler {
    /// The writer does not wait for a thread that has ended, however it ended.
    fn drop(&mut self) {
        let mut inbox = self.shared.tiler.inbox.lock();
        inbox.stop = true;
        inbox.stopped = true;
        inbox.flushes.clear();
        if std::thread::panicking() {
            inbox.error = Some(JournalError::Io("the tiler thread panicked; restart the server".into()));
        }
        self.shared.tiler.ready.notify_all();
    }
}

/// What a round is asked to do.
struct Orders {
    flushes: Vec<oneshot::Sender<Result<(), JournalError>>>,
    publish: bool,
    stop: bool,
}

impl Tiler {
    /// Works until it is stopped.
    pub(crate) fn run(self) {
        let mut last_publish = Instant::now();
        loop {
            let orders = self.wait(last_publish);
            let result = self.round(orders.publish);
            if orders.publish {
                last_publish = Instant::now();
                if self.shared.failing().is_some() {
                    self.shared.queue.probe();
                }
            }
            self.report(&result, orders.stop);
            for flush in orders.flushes {
                let _ = flush.send(result.clone());
            }
            if orders.stop {
                return;
            }
        }
    }

    fn wait(&self, last_publish: Instant) -> Orders {
        let tiler = &self.shared.tiler;
        let mut inbox = tiler.inbox.lock();
        loop {
            let left = self.shared.checkpoint_interval.saturating_sub(last_publish.elapsed());
            if inbox.kick || inbox.stop || !inbox.flushes.is_empty() || left == Duration::ZERO {
                let flushes = std::mem::take(&mut inbox.flushes);
                inbox.kick = false;
                // Stopping publishes only when a flush was asked for, so that a drop is as a crash would be.
                let publish = !flushes.is_empty() || (left == Duration::ZERO && !inbox.stop);
                return Orders { publish, flushes, stop: inbox.stop };
            }
            tiler.ready.wait_for(&mut inbox, left);
        }
    }

    fn report(&self, result: &Result<(), JournalError>, stop: bool) {
        let mut inbox = self.shared.tiler.inbox.lock();
        inbox.rounds += 1;
        inbox.stopped = stop;
        match (&inbox.error, result) {
            (None, Err(error)) => tracing::error!(%error, "the audit log's tiles or checkpoint cannot be written"),
            (Some(_), Ok(())) => tracing::info!("the audit log's tiles and checkpoints are written again"),
            (None, Ok(())) | (Some(_), Err(_)) => {}
        }
        inbox.error = result.as_ref().err().cloned();
        self.shared.tiler.ready.notify_all();
    }

    fn round(&self, publish: bool) -> Result<(), JournalError> {
        let disk = &*self.shared.log.disk;
        self.write_tiles()?;
        let tiled = self.shared.log.tail.read().tiled();
        self.segments.release(disk, tiled)?;
        if publish {
            self.publish()?;
        }
        // Failing here costs nothing yet: the writer makes its own segment, or says why it cannot.
        let _ = self.segments.prepare_spare(disk, self.shared.segment_bytes);
        Ok(())
    }

    /// Writes all full tiles there are, makes them durable, and forgets them.
    fn write_tiles(&self) -> Result<(), JournalError> {
        let log = &self.shared.log;
        loop {
            let first = log.tail.read().tiled() / TILE_WIDTH;
            let mut files = Files::new(&*log.disk);
            let mut spans = Vec::new();
            let mut old_partials = Vec::new();
            for n in 0..ROUND {
                let Some(FullTile { index, bundle, hashes, span }) = log.tail.read().full_tile(n) else { break };
                let leaves = LogPath::Tile(TileId { level: 0, index, width: 256 });
                let entries = LogPath::Entries { index, width: 256 };
                files.write(&entries, &bundle)?;
                files.write(&leaves, &hashes)?;
                old_partials.extend([entries, leaves]);
                spans.push(span);
            }
            if spans.is_empty() {
                return Ok(());
            }
            let above = log.tail.read().full_tiles_above(first + spans.len() as u64);
            for tile in above {
                let hashes = log.tail.read().hashes(tile).unwrap_or_default();
                files.write(&LogPath::Tile(tile), &encode_hashes(&hashes))?;
                old_partials.push(LogPath::Tile(tile));
            }
            files.sync()?;
            times::store(&*log.disk, first, &spans)?;
            log.tail.write().release(spans);
            remove_partials(&*log.disk, &old_partials);
        }
    }

    /// Signs and publishes the tree as it is now, if that is new.
    fn publish(&self) -> Result<(), JournalError> {
        let log = &self.shared.log;
        let signers = self.shared.signers();
        let Some(own) = signers.first() else { return Ok(()) };
        let last = log.published.lock().clone();
        let (checkpoint, files) = {
            // Size, root and the partial tiles have to be of the same moment.
            let tail = log.tail.read();
            let checkpoint = Checkpoint::new(own.verifier().name(), tail.size(), tail.root());
            if last.as_ref().is_some_and(|last| covers(last, &checkpoint, &signers)) {
                return Ok(());
            }
            let mut files = Vec::new();
            for tile in partials(checkpoint.size) {
                let hashes = tail.hashes(tile).unwrap_or_default();
                files.push((LogPath::Tile(tile), encode_hashes(&hashes)));
                if tile.level == 0 {
                    let bundle = tail.encode_bundle(tile.index, tile.width).unwrap_or_default();
                    files.push((LogPath::Entries { index: tile.index, width: tile.width }, bundle));
                }
            }
            (checkpoint, files)
        };
        self.check_continues(last.as_ref(), &checkpoint)?;
        let mut written = Files::new(&*log.disk);
        for (path, bytes) in &files {
            written.write(path, bytes)?;
        }
        written.sync()?;
        let note = self.sign(&checkpoint, &signers)?;
        let path = file_of(&LogPath::Checkpoint);
        replace(&*log.disk, &path, note.to_string().as_bytes()).map_err(|e| io_error(&e, &path))?;
        *log.published.lock() = Some(Published { checkpoint, note });
        Ok(())
    }

    fn sign(&self, checkpoint: &Checkpoint, signers: &[Arc<dyn NoteSigner>]) -> Result<SignedNote, JournalError> {
        let seconds = u64::try_from((self.shared.clock)().0 / 1000).unwrap_or(0);
        sign_note(&checkpoint.to_string(), seconds, signers).map_err(|e| JournalError::Sign(e.to_string()))
    }

    /// Nothing is ever signed that is not a continuation of what was signed last.
    fn check_continues(&self, last: Option<&Published>, next: &Checkpoint) -> Result<(), JournalError> {
        let Some(last) = last.map(|last| &last.checkpoint) else { return Ok(()) };
        let wrong = |what: &str| JournalError::Inconsistent(format!("{what} (signed: {} entries)", last.size));
        if last.origin != next.origin {
            return Err(wrong("the name of the log has changed"));
        }
        if last.size > next.size {
            return Err(wrong("the log has become shorter"));
        }
        let proof = consistency_proof(&self.shared.log, last.size, next.size).map_err(proof_error)?;
        let old_root = if last.size == 0 { empty_root() } else { last.root };
        verify_consistency(last.size, &old_root, next.size, &next.root, &proof)
            .map_err(|_| wrong("the entries signed before are not those of the log"))
    }
}

/// True when a checkpoint need not be made again.
pub(crate) fn covers(last: &Published, next: &Checkpoint, signers: &[Arc<dyn NoteSigner>]) -> bool {
    let signed = |signer: &Arc<dyn NoteSigner>| last.note.signatures.iter().any(|s| signer.verifier().matches(s));
    last.checkpoint == *next && signers.iter().all(signed)
}

/// A partial tile may go once the full one is there.
fn remove_partials(disk: &dyn Disk, full: &[LogPath]) {
    for path in full {
        let mut name = file_of(path).into_os_string();
        name.push(".p");
        // What stays behind is harmless, and is tried again never: a few files at most.
        let _ = disk.remove_dir(Path::new(&name));
    }
}

/// Files written together and made durable together.
struct Files<'a> {
    disk: &'a dyn Disk,
    written: Vec<(PathBuf, Box<dyn crate::disk::DiskFile>)>,
    dirs: BTreeSet<PathBuf>,
}

impl<'a> Files<'a> {
    fn new(disk: &'a dyn Disk) -> Self {
        Self { disk, written: Vec::new(), dirs: BTreeSet::new() }
    }

    fn write(&mut self, path: &LogPath, bytes: &[u8]) -> Result<(), JournalError> {
        let path = file_of(path);
        let mut write = || -> io::Result<Box<dyn crate::disk::DiskFile>> {
            let dir = path.parent().unwrap_or(Path::new(""));
            if !self.dirs.contains(dir) {
                self.disk.make_dirs(dir)?;
                self.dirs.insert(dir.to_owned());
            }
            // What a tile holds never changes, so one that is there already (after a round that failed half-way) is
            // written over and never emptied first: it may be all that stands between a power cut and a hole in the
            // log.
            let mut file = match self.disk.open(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => self.disk.create(&path)?,
                opened => opened?,
            };
            file.write_at(bytes, 0)?;
            Ok(file)
        };
        let file = write().map_err(|e| io_error(&e, &path))?;
        self.written.push((path, file));
        Ok(())
    }

    fn sync(self) -> Result<(), JournalError> {
        for (path, mut file) in self.written {
            file.sync().map_err(|e| io_error(&e, &path))?;
        }
        for dir in self.dirs {
            self.disk.sync_dir(&dir).map_err(|e| io_error(&e, &dir))?;
        }
        Ok(())
    }
}
