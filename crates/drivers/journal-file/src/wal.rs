//! Writing the write-ahead log: frames into the current segment, rolling to the next, giving up a segment that failed.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyreeve_audit::Hash;
use keyreeve_journal::JournalError;

use crate::disk::{Disk, DiskFile, io_error};
use crate::segment::{BLOCK, FrameHeader, SegmentHeader, seal_frame, segment_name};

/// Directory of the segments.
pub(crate) const WAL_DIR: &str = "wal";
const SPARE: &str = "wal/spare.tmp";
const ZEROS: usize = 1 << 20;

pub(crate) fn segment_path(sequence: u64) -> PathBuf {
    Path::new(WAL_DIR).join(segment_name(sequence))
}

/// The segments behind the current one, and the zero-filled spare ahead of it. Shared between the writer, which
/// rolls, and the tiler, which removes.
#[derive(Default)]
pub(crate) struct Segments {
    // Number of the segment and the index after its last entry, oldest first.
    finished: Mutex<VecDeque<(u64, u64)>>,
    // Whether there is a clean spare; locked while its file is being worked on.
    spare: Mutex<bool>,
}

impl Segments {
    /// A finished segment found at recovery or left by a roll.
    pub(crate) fn push(&self, sequence: u64, end_index: u64) {
        self.finished.lock().push_back((sequence, end_index));
    }

    /// Removes the segments whose entries are all below `tiled`, which are in fsynced tiles. Their files are not used
    /// again: a power cut could bring the old name back over the new contents.
    pub(crate) fn release(&self, disk: &dyn Disk, tiled: u64) -> Result<(), JournalError> {
        loop {
            let oldest = self.finished.lock().front().copied();
            let Some((sequence, _)) = oldest.filter(|(_, end)| *end <= tiled) else { return Ok(()) };
            let path = segment_path(sequence);
            match disk.remove(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io_error(&e, &path)),
                Ok(()) | Err(_) => {}
            }
            self.finished.lock().pop_front();
            // One by one, so that none can outlive a later one.
            disk.sync_dir(Path::new(WAL_DIR)).map_err(|e| io_error(&e, &path))?;
        }
    }

    /// Makes a zero-filled spare if there is none, so that rolling to the next segment is quick.
    pub(crate) fn prepare_spare(&self, disk: &dyn Disk, length: u64) -> Result<(), JournalError> {
        make_spare(disk, length, &mut self.spare.lock())
    }

    /// Turns the spare into a segment; its name appears only when its head is durable.
    fn start(&self, disk: &dyn Disk, header: &SegmentHeader) -> Result<Current, JournalError> {
        let mut spare = self.spare.lock();
        make_spare(disk, header.length, &mut spare)?;
        // Whatever happens now, it is not a clean spare any more.
        *spare = false;
        let path = segment_path(header.sequence);
        let start = || {
            let mut file = disk.open(Path::new(SPARE))?;
            file.write_at(&header.encode(), 0)?;
            file.sync()?;
            disk.rename(Path::new(SPARE), &path)?;
            disk.sync_dir(Path::new(WAL_DIR))?;
            Ok(file)
        };
        let file = start().map_err(|e| io_error(&e, &path))?;
        Ok(Current { sequence: header.sequence, length: header.length, end: BLOCK as u64, file })
    }
}

fn make_spare(disk: &dyn Disk, length: u64, spare: &mut bool) -> Result<(), JournalError> {
    if *spare {
        return Ok(());
    }
    let path = Path::new(SPARE);
    match disk.create(path).and_then(|mut file| fill_with_zeros(&mut *file, length)) {
        Ok(()) => {
            *spare = true;
            Ok(())
        }
        Err(e) => {
            // A half-made spare must not eat the space that is short.
            let _ = disk.remove(path);
            Err(io_error(&e, path))
        }
    }
}

fn fill_with_zeros(file: &mut dyn DiskFile, length: u64) -> io::Result<()> {
    let zeros = vec![0; ZEROS];
    let mut at = 0;
    while at < length {
        let n = usize::try_from(length - at).unwrap_or(usize::MAX).min(ZEROS);
        file.write_at(&zeros[..n], at)?;
        at += n as u64;
    }
    file.sync()
}

/// The place the next frame goes to. Owned by the writer thread.
pub(crate) struct Wal {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) segments: Arc<Segments>,
    pub(crate) segment_bytes: u64,
    current: Current,
    // The next frame goes to a fresh segment, whatever room is left in this one.
    must_roll: bool,
    // A write or sync failed at `current.end`: nobody knows what is on the disk there.
    suspect: bool,
}

/// The segment being written.
pub(crate) struct Current {
    pub(crate) sequence: u64,
    pub(crate) length: u64,
    pub(crate) end: u64,
    pub(crate) file: Box<dyn DiskFile>,
}

impl Wal {
    /// Creates the first segment of a new log.
    pub(crate) fn create(
        disk: Arc<dyn Disk>,
        segments: Arc<Segments>,
        segment_bytes: u64,
        root: Hash,
    ) -> Result<Self, JournalError> {
        let header = SegmentHeader {
            sequence: 1,
            length: segment_bytes,
            first_index: 0,
            root,
            previous_end: 0,
            abandoned: false,
        };
        let current = segments.start(&*disk, &header)?;
        Ok(Self::resume(disk, segments, segment_bytes, current))
    }

    /// Goes on in a segment that recovery has read.
    pub(crate) fn resume(disk: Arc<dyn Disk>, segments: Arc<Segments>, segment_bytes: u64, current: Current) -> Self {
        Self { disk, segments, segment_bytes, current, must_roll: false, suspect: false }
    }

    /// The largest payload of a frame.
    pub(crate) const fn max_payload(segment_bytes: u64) -> usize {
        let room = segment_bytes as usize - BLOCK - crate::segment::FRAME_HEADER;
        if room < MAX_BATCH { room } else { MAX_BATCH }
    }

    /// True when the next frame needs a fresh segment because the last one failed.
    pub(crate) const fn is_failed(&self) -> bool {
        self.must_roll
    }

    /// Number of the segment that a frame of this size will go to, rolling first if need be.
    pub(crate) fn make_room(&mut self, size: usize, index: u64, root: Hash) -> Result<u64, JournalError> {
        if self.must_roll || self.current.end + size as u64 > self.current.length {
            self.roll(index, root)?;
        }
        Ok(self.current.sequence)
    }

    /// Writes one frame and returns once it is on stable storage. `buffer` is as [`seal_frame`] wants it; after
    /// [`Self::make_room`]. When this fails the segment is given up: what it holds at this place does not count any
    /// more.
    pub(crate) fn write(&mut self, buffer: &mut Vec<u8>, header: &FrameHeader) -> Result<(), JournalError> {
        seal_frame(buffer, header);
        let at = self.current.end;
        let written = self.current.file.write_at(buffer, at).and_then(|()| self.current.file.sync());
        if let Err(e) = written {
            self.must_roll = true;
            self.suspect = true;
            return Err(io_error(&e, &segment_path(self.current.sequence)));
        }
        self.current.end += buffer.len() as u64;
        Ok(())
    }

    fn roll(&mut self, index: u64, root: Hash) -> Result<(), JournalError> {
        // From here on the next segment may exist, so nothing may be added to this one.
        self.must_roll = true;
        let header = SegmentHeader {
            sequence: self.current.sequence + 1,
            length: self.segment_bytes,
            first_index: index,
            root,
            previous_end: self.current.end,
            abandoned: self.suspect,
        };
        let next = self.segments.start(&*self.disk, &header)?;
        self.segments.push(self.current.sequence, index);
        self.current = next;
        self.must_roll = false;
        self.suspect = false;
        Ok(())
    }
}

/// Most bytes of entries in one batch.
pub(crate) const MAX_BATCH: usize = 4 << 20;
