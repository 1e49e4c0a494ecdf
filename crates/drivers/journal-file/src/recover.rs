//! Opening: what the tiles, the write-ahead log and the checkpoint say must fit together.
//!
//! A last frame that is not whole is what a crash leaves: it was never acknowledged, is cut and reported. Everything
//! else that does not fit cannot come from a crash and refuses to open, with the place.

use parking_lot::{Mutex, RwLock};
use std::io;
use std::path::Path;
use std::sync::Arc;

use keyreeve_audit::merkle::perfect_root;
use keyreeve_audit::proof::{TileReader, peaks, tree_root};
use keyreeve_audit::tile::{LogPath, TILE_HEIGHT, TILE_WIDTH, TileId, split_entries};
use keyreeve_audit::{Checkpoint, Frontier, Hash, Record, SignedNote};
use keyreeve_journal::{Entry, JournalError};

use crate::disk::{Disk, io_error};
use crate::log::{LOG_DIR, Log, Published, disk_bundle, disk_tile, file_of, proof_error, tampered};
use crate::segment::{BLOCK, SegmentHeader, is_zero, parse_segment_name, read_frame};
use crate::tail::{Tail, append_leaf, full_tiles};
use crate::times::{self, Span};
use crate::wal::{Current, Segments, WAL_DIR, Wal, segment_path};

/// What opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Entries in the log.
    pub size: u64,
    /// Entries that were read from the write-ahead log.
    pub replayed: u64,
    /// True when the log was closed properly, or is new.
    pub clean: bool,
    /// The unacknowledged frame that a crash left, if any; it was cut.
    pub torn: Option<TornTail>,
}

/// The remains of a write that a crash interrupted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment's file, relative to the journal.
    pub file: String,
    /// Where it starts.
    pub offset: u64,
    /// Its length up to the last byte that is not zero.
    pub bytes: u64,
}

/// Everything needed to go on.
pub(crate) struct Recovered {
    pub(crate) log: Log,
    pub(crate) frontier: Frontier,
    pub(crate) wal: Wal,
    pub(crate) report: Recovery,
}

/// Opens the log on a disk, a new one if there is nothing.
pub(crate) fn recover(disk: Arc<dyn Disk>, segment_bytes: u64) -> Result<Recovered, JournalError> {
    for dir in [WAL_DIR, LOG_DIR] {
        disk.make_dirs(Path::new(dir)).map_err(|e| io_error(&e, Path::new(dir)))?;
    }
    let sequences = list_segments(&*disk)?;
    let segments = Arc::new(Segments::default());
    let Some(&first) = sequences.first() else { return new_log(disk, segments, segment_bytes) };
    let (mut header, mut bytes) = read_segment(&*disk, first)?;
    let mut replay = Replay::start(&*disk, &header)?;
    for &sequence in &sequences[1..] {
        let (next, next_bytes) = read_segment(&*disk, sequence)?;
        replay.middle_segment(&header, &bytes, &next)?;
        segments.push(header.sequence, replay.frontier.size());
        (header, bytes) = (next, next_bytes);
    }
    let current = replay.last_segment(&header, &bytes)?;
    let wal = Wal::resume(disk.clone(), segments, segment_bytes, current);
    replay.finish(wal)
}

fn new_log(disk: Arc<dyn Disk>, segments: Arc<Segments>, segment_bytes: u64) -> Result<Recovered, JournalError> {
    let left = disk.list(Path::new(LOG_DIR)).map_err(|e| io_error(&e, Path::new(LOG_DIR)))?;
    if !left.is_empty() || !times::load(&*disk)?.is_empty() {
        return Err(tampered(WAL_DIR, "there is a log but its write-ahead log is gone"));
    }
    let frontier = Frontier::new();
    let wal = Wal::create(disk.clone(), segments, segment_bytes, frontier.root())?;
    let log = Log { disk, tail: RwLock::new(Tail::new(Vec::new(), Vec::new())), published: Mutex::new(None) };
    Ok(Recovered { log, frontier, wal, report: Recovery { clean: true, ..Recovery::default() } })
}

/// The segments there are, without a gap. Removes what an interrupted preparation left.
fn list_segments(disk: &dyn Disk) -> Result<Vec<u64>, JournalError> {
    let dir = Path::new(WAL_DIR);
    let mut sequences = Vec::new();
    for name in disk.list(dir).map_err(|e| io_error(&e, dir))? {
        match parse_segment_name(&name) {
            Some(sequence) => sequences.push(sequence),
            None if name.ends_with(".tmp") => disk.remove(&dir.join(&name)).map_err(|e| io_error(&e, dir))?,
            None => return Err(tampered(dir.join(&name).display(), "a file that does not belong here")),
        }
    }
    sequences.sort_unstable();
    match sequences.windows(2).find(|pair| pair[1] != pair[0] + 1) {
        Some(gap) => Err(tampered(segment_path(gap[0] + 1).display(), "the segment is missing")),
        None => Ok(sequences),
    }
}

fn read_segment(disk: &dyn Disk, sequence: u64) -> Result<(SegmentHeader, Vec<u8>), JournalError> {
    let path = segment_path(sequence);
    let bytes = disk.read(&path).map_err(|e| io_error(&e, &path))?.unwrap_or_default();
    let header = SegmentHeader::decode(&bytes).filter(|header| header.sequence == sequence);
    let header = header.ok_or_else(|| tampered(path.display(), "the head of the segment is damaged"))?;
    match usize::try_from(header.length).ok().filter(|length| *length <= bytes.len()) {
        Some(length) => Ok((header, bytes[..length].to_vec())),
        None => Err(tampered(path.display(), "the segment is cut short")),
    }
}

/// Tiles on disk; what stands in partial tiles at the right edge is computed from the tiles below.
struct DiskTiles<'a>(&'a dyn Disk);

impl TileReader for DiskTiles<'_> {
    type Error = JournalError;

    fn read_tile(&self, tile: TileId) -> Result<Vec<Hash>, JournalError> {
        if let Some(mut hashes) = disk_tile(self.0, tile.level, tile.index)? {
            hashes.truncate(usize::from(tile.width));
            return Ok(hashes);
        }
        let Some(below) = tile.level.checked_sub(1) else {
            return Err(tampered(LogPath::Tile(TileId { width: 256, ..tile }), "the file is missing"));
        };
        let start = tile.index * TILE_WIDTH;
        let root = |index| Ok(perfect_root(&self.read_tile(TileId { level: below, index, width: 256 })?));
        (start..start + u64::from(tile.width)).map(root).collect()
    }
}

/// The tree being built up again from the segments.
struct Replay<'a> {
    disk: &'a dyn Disk,
    frontier: Frontier,
    tail: Tail,
    // Bundles that are on disk for sure, and how many of them the time index knew.
    bundles: u64,
    known_spans: u64,
    report: Recovery,
}

impl<'a> Replay<'a> {
    /// The tree before the first segment, from the tiles.
    fn start(disk: &'a dyn Disk, header: &SegmentHeader) -> Result<Self, JournalError> {
        let size = header.first_index;
        let reader = DiskTiles(disk);
        let frontier = Frontier::from_peaks(size, peaks(&reader, size).map_err(proof_error)?);
        let frontier = frontier.filter(|frontier| frontier.root() == header.root);
        let frontier = frontier.ok_or_else(|| {
            tampered(LOG_DIR, format!("the tiles up to entry {size} do not have the root that the segment says"))
        })?;
        let mut spans = times::load(disk)?;
        let known_spans = spans.len() as u64;
        for index in known_spans..size.div_ceil(TILE_WIDTH) {
            spans.push(span_of(&disk_bundle(disk, index)?));
        }
        let bundles = spans.len() as u64;
        let edges = edges(&reader, size, bundles)?;
        let report = Recovery::default();
        Ok(Self { disk, frontier, tail: Tail::new(spans, edges), bundles, known_spans, report })
    }

    /// A segment that another one follows: it ends exactly where that one says.
    fn middle_segment(
        &mut self,
        header: &SegmentHeader,
        bytes: &[u8],
        next: &SegmentHeader,
    ) -> Result<(), JournalError> {
        self.check_start(header)?;
        let end = usize::try_from(next.previous_end).unwrap_or(usize::MAX);
        let place = segment_path(header.sequence);
        let (frames, rest) = bytes.split_at_checked(end).ok_or_else(|| {
            tampered(segment_path(next.sequence).display(), "it says the segment before is longer than it is")
        })?;
        let reached = self.frames(header.sequence, frames)?.end;
        if reached != end {
            return Err(damaged_frame(header.sequence, reached));
        }
        if !next.abandoned && !is_zero(rest) {
            return Err(tampered(place.display(), format!("there is something after the last frame, from {end} on")));
        }
        Ok(())
    }

    /// The segment that was being written.
    fn last_segment(&mut self, header: &SegmentHeader, bytes: &[u8]) -> Result<Current, JournalError> {
        self.check_start(header)?;
        let frames = self.frames(header.sequence, bytes)?;
        let rest = &bytes[frames.end..];
        let torn = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        if torn > 0 {
            let later = (BLOCK..torn).step_by(BLOCK).find(|at| read_frame(&rest[*at..]).is_some());
            if later.is_some() {
                return Err(damaged_frame(header.sequence, frames.end));
            }
            let file = segment_path(header.sequence).display().to_string();
            self.report.torn = Some(TornTail { file, offset: frames.end as u64, bytes: torn as u64 });
        }
        self.report.clean = frames.closed && torn == 0;
        let path = segment_path(header.sequence);
        let file = settle(self.disk, &path, bytes, &frames, torn).map_err(|e| io_error(&e, &path))?;
        Ok(Current { sequence: header.sequence, length: header.length, end: frames.end as u64, file })
    }

    fn check_start(&self, header: &SegmentHeader) -> Result<(), JournalError> {
        if header.first_index == self.frontier.size() && header.root == self.frontier.root() {
            return Ok(());
        }
        let what = "the segment does not continue the one before";
        Err(tampered(segment_path(header.sequence).display(), what))
    }

    /// Replays the frames from the start of a segment as far as they are whole.
    fn frames(&mut self, sequence: u64, bytes: &[u8]) -> Result<Frames, JournalError> {
        let mut frames = Frames { last: BLOCK, end: BLOCK, closed: false };
        while let Some((header, payload, size)) = bytes.get(frames.end..).and_then(read_frame) {
            let wrong = |what: &str| {
                let path = segment_path(sequence);
                tampered(format!("{} at {}", path.display(), frames.end), what)
            };
            if header.sequence != sequence || header.first_index != self.frontier.size() {
                return Err(wrong("the frame does not follow the one before"));
            }
            let entries = split_entries(payload).map_err(|_| wrong("the frame's entries are damaged"))?;
            let entries: Result<Vec<Entry>, _> = entries.into_iter().map(|e| Entry::new(e.to_vec())).collect();
            let entries = entries.map_err(|_| wrong("an entry is not a record"))?;
            if entries.len() != header.count as usize {
                return Err(wrong("the frame has another number of entries than it says"));
            }
            if self.append(entries)? != header.root {
                return Err(wrong("the entries do not have the root that the frame says"));
            }
            frames = Frames { last: frames.end, end: frames.end + size, closed: header.count == 0 };
        }
        Ok(frames)
    }

    /// Adds entries and returns the new root.
    fn append(&mut self, entries: Vec<Entry>) -> Result<Hash, JournalError> {
        let mut nodes = Vec::new();
        for entry in &entries {
            append_leaf(&mut self.frontier, *entry.leaf(), &mut nodes);
        }
        for node in &nodes {
            let Some(index) = node.leaf_tile().filter(|index| *index < self.bundles) else { continue };
            let tile = DiskTiles(self.disk).read_tile(TileId { level: 0, index, width: 256 })?;
            if perfect_root(&tile) != node.hash {
                let place = TileId { level: 0, index, width: 256 };
                return Err(tampered(place, "the tile disagrees with the write-ahead log"));
            }
        }
        self.report.replayed += entries.len() as u64;
        let root = self.frontier.root();
        self.tail.commit(entries, &nodes, self.frontier.size(), root);
        Ok(root)
    }

    fn finish(mut self, wal: Wal) -> Result<Recovered, JournalError> {
        let size = self.frontier.size();
        if self.bundles * TILE_WIDTH > size {
            return Err(tampered(WAL_DIR, format!("the write-ahead log ends at entry {size}, before the tiles do")));
        }
        if self.report.replayed == 0 {
            self.tail.commit(Vec::new(), &[], size, self.frontier.root());
        }
        if self.known_spans < self.bundles {
            times::store(self.disk, 0, self.tail.spans())?;
        }
        self.report.size = size;
        let disk = wal.disk.clone();
        let log = Log { disk, tail: RwLock::new(self.tail), published: Mutex::new(None) };
        *log.published.lock() = published(&log)?;
        Ok(Recovered { log, frontier: self.frontier, wal, report: self.report })
    }
}

/// How far the frames of a segment go.
#[derive(Clone, Copy)]
struct Frames {
    // Start of the last one.
    last: usize,
    end: usize,
    closed: bool,
}

fn damaged_frame(sequence: u64, offset: usize) -> JournalError {
    let place = format!("{} at {offset}", segment_path(sequence).display());
    tampered(place, "a frame is damaged and later ones are not")
}

/// Wipes a torn frame, and writes the last whole frame once more: after a failed sync the page cache may show what
/// the disk does not have, and what is acknowledged next must not stand behind a gap.
fn settle(
    disk: &dyn Disk,
    path: &Path,
    bytes: &[u8],
    frames: &Frames,
    torn: usize,
) -> io::Result<Box<dyn crate::disk::DiskFile>> {
    let mut file = disk.open(path)?;
    if torn > 0 {
        file.write_at(&vec![0; torn], frames.end as u64)?;
    }
    file.write_at(&bytes[frames.last..frames.end], frames.last as u64)?;
    file.sync()?;
    Ok(file)
}

/// The hashes of the levels above the leaves that only the tiles know: first index kept, and the hashes up to where the
/// segments go on producing them.
fn edges(reader: &DiskTiles<'_>, size: u64, bundles: u64) -> Result<Vec<(u64, Vec<Hash>)>, JournalError> {
    let mut edges = Vec::new();
    for level in 1u8.. {
        let first = full_tiles(level, bundles) * TILE_WIDTH;
        let known = size.checked_shr(u32::from(level) * TILE_HEIGHT).unwrap_or(0);
        if first == 0 && known == 0 {
            break;
        }
        let width = u16::try_from(known.saturating_sub(first)).unwrap_or(0);
        let tile = TileId { level, index: first / TILE_WIDTH, width };
        edges.push((first, if width == 0 { Vec::new() } else { reader.read_tile(tile)? }));
    }
    Ok(edges)
}

fn span_of(entries: &[Vec<u8>]) -> Span {
    let mut span = Span::EMPTY;
    for (id, time) in entries.iter().filter_map(|entry| Record::peek(entry)) {
        span.include(&id, time);
    }
    span
}

/// The checkpoint on disk, which the log must contain.
fn published(log: &Log) -> Result<Option<Published>, JournalError> {
    let path = file_of(&LogPath::Checkpoint);
    let Some(bytes) = log.disk.read(&path).map_err(|e| io_error(&e, &path))? else { return Ok(None) };
    let wrong = |what: String| tampered(path.display(), what);
    let note = SignedNote::parse(&bytes).map_err(|e| wrong(e.to_string()))?;
    let checkpoint = Checkpoint::parse(&note.text).map_err(|e| wrong(e.to_string()))?;
    let size = log.tail.read().size();
    if checkpoint.size > size {
        let what = format!("the checkpoint has {} entries and the log only {size}", checkpoint.size);
        return Err(wrong(what));
    }
    if tree_root(log, checkpoint.size).map_err(proof_error)? != checkpoint.root {
        return Err(wrong("the log does not have the root that was signed".into()));
    }
    Ok(Some(Published { checkpoint, note }))
}
