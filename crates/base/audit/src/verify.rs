//! The offline verifier: given the files of a log and a public key, finds everything that is missing or was altered.
//!
//! It trusts nothing but the key: entries are hashed again, every tile of every level is compared, the root must be
//! the signed one, an older checkpoint must be a prefix, and every record must decode.

use keyreeve_model::time::UnixMillis;

use crate::checkpoint::Checkpoint;
use crate::merkle::{Frontier, Hash, leaf_hash};
use crate::note::VerifierKey;
use crate::record::Record;
use crate::tile::{LogPath, TILE_HEIGHT, TILE_WIDTH, TileId, decode_hashes, partials, split_entries, width_in};

/// Where the files of the log are.
pub trait LogSource {
    /// The bytes of a file; `None` when it does not exist.
    ///
    /// # Errors
    /// Why it cannot be read, in words.
    fn read(&self, path: &LogPath) -> Result<Option<Vec<u8>>, String>;
}

/// What kind of problem it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Finding {
    /// Something is not there, not whole or not readable: a copy that was cut short, a file lost.
    Incomplete,
    /// Something is there and is not what was logged.
    Tampered,
}

/// One problem and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Missing or altered.
    pub finding: Finding,
    /// The file, relative to the log.
    pub path: String,
    /// The entry concerned, when it is about one.
    pub index: Option<u64>,
    /// What is wrong.
    pub what: String,
}

/// Problems listed in a report; more are only counted.
pub const MAX_PROBLEMS: usize = 1000;

/// What the verifier found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The checkpoint that was verified; `None` when there is none to be trusted.
    pub checkpoint: Option<Checkpoint>,
    /// Records that decoded.
    pub records: u64,
    /// The earliest time in a record.
    pub first_time: Option<UnixMillis>,
    /// The latest time in a record.
    pub last_time: Option<UnixMillis>,
    /// The first [`MAX_PROBLEMS`] problems, in the order of the log.
    pub problems: Vec<Problem>,
    /// How many there are in all.
    pub problem_count: u64,
}

impl Report {
    /// True when the whole log is there and is what was signed.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.problem_count == 0
    }

    /// True when something was altered, not just missing.
    #[must_use]
    pub fn is_tampered(&self) -> bool {
        self.problems.iter().any(|problem| problem.finding == Finding::Tampered)
    }

    fn add(&mut self, finding: Finding, path: &LogPath, index: Option<u64>, what: impl Into<String>) {
        self.problem_count += 1;
        // Tampering is never crowded out of the list by what is merely missing.
        if self.problems.len() < MAX_PROBLEMS || (finding == Finding::Tampered && !self.is_tampered()) {
            self.problems.push(Problem { finding, path: path.to_string(), index, what: what.into() });
        }
    }
}

/// Verifies a whole log. `keys` must contain the log's own key; `older` is a checkpoint of the same log kept
/// elsewhere from an earlier time, already trusted. `on_record` sees every record in order, with its index.
pub fn verify_log(
    source: &dyn LogSource,
    keys: &[VerifierKey],
    older: Option<&Checkpoint>,
    mut on_record: impl FnMut(u64, &Record),
) -> Report {
    let mut report = Report::default();
    let Some(checkpoint) = open_checkpoint(source, keys, older, &mut report) else { return report };
    let mut walk = Walk { source, size: checkpoint.size, older, frontier: Frontier::new(), levels: Vec::new(), report };
    let whole = (0..checkpoint.size.div_ceil(TILE_WIDTH)).all(|index| walk.bundle(index, &mut on_record));
    if whole {
        walk.check_right_edge();
        if walk.frontier.root() != checkpoint.root {
            let what = "the entries do not add up to the signed root";
            walk.report.add(Finding::Tampered, &LogPath::Checkpoint, None, what);
        }
    }
    let mut report = walk.report;
    report.checkpoint = Some(checkpoint);
    report
}

fn open_checkpoint(
    source: &dyn LogSource,
    keys: &[VerifierKey],
    older: Option<&Checkpoint>,
    report: &mut Report,
) -> Option<Checkpoint> {
    let path = LogPath::Checkpoint;
    let bytes = match source.read(&path) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => {
            report.add(Finding::Incomplete, &path, None, "there is no checkpoint");
            return None;
        }
        Err(why) => {
            report.add(Finding::Incomplete, &path, None, why);
            return None;
        }
    };
    let checkpoint = match Checkpoint::open(&bytes, keys) {
        Ok(checkpoint) => checkpoint,
        Err(e) => {
            report.add(Finding::Tampered, &path, None, e.to_string());
            return None;
        }
    };
    if older.is_some_and(|older| older.origin != checkpoint.origin) {
        report.add(Finding::Tampered, &path, None, "the older checkpoint is of another log");
    }
    if older.is_some_and(|older| older.size > checkpoint.size) {
        report.add(Finding::Tampered, &path, None, "the log is shorter than the older checkpoint says");
    }
    Some(checkpoint)
}

/// One pass over the log, with memory for one tile per level.
struct Walk<'a> {
    source: &'a dyn LogSource,
    size: u64,
    older: Option<&'a Checkpoint>,
    frontier: Frontier,
    // The hashes of the tile being filled, per level; level 0 is compared directly and stays empty.
    levels: Vec<Vec<Hash>>,
    report: Report,
}

impl Walk<'_> {
    /// One bundle of entries and its tile of leaf hashes. False when neither can be read: then no root can be computed.
    fn bundle(&mut self, index: u64, on_record: &mut impl FnMut(u64, &Record)) -> bool {
        let width = width_in(self.size, 0, index);
        let start = index * TILE_WIDTH;
        let path = LogPath::Entries { index, width };
        let from_entries = self.read_entries(&path, start, usize::from(width), on_record);
        let tile = TileId { level: 0, index, width };
        let from_tile = self.read_hashes(tile);
        if let (Some(computed), Some(stored)) = (&from_entries, &from_tile) {
            for (offset, _) in computed.iter().zip(stored).enumerate().filter(|(_, (a, b))| a != b) {
                let what = format!("the entry does not have the hash that {tile} says");
                self.report.add(Finding::Tampered, &path, Some(start + offset as u64), what);
            }
        }
        // The stored hashes are the better witness: with them a single altered entry does not spoil the root as well.
        match from_tile.or(from_entries) {
            Some(leaves) if leaves.len() == usize::from(width) => {
                leaves.into_iter().for_each(|leaf| self.append(leaf));
                true
            }
            Some(_) | None => false,
        }
    }

    fn append(&mut self, leaf: Hash) {
        let mut completed = Vec::new();
        self.frontier.append_with(leaf, |height, hash| {
            if height > 0 && height % TILE_HEIGHT == 0 {
                completed.push(((height / TILE_HEIGHT) as usize, hash));
            }
        });
        for (level, hash) in completed {
            self.levels.resize_with(self.levels.len().max(level + 1), Vec::new);
            self.levels[level].push(hash);
            if self.levels[level].len() as u64 == TILE_WIDTH {
                let hashes = std::mem::take(&mut self.levels[level]);
                let index = (self.frontier.size() >> (level as u32 * TILE_HEIGHT)) / TILE_WIDTH - 1;
                self.compare(TileId { level: level as u8, index, width: 256 }, &hashes);
            }
        }
        if let Some(older) = self.older.filter(|older| older.size == self.frontier.size())
            && older.root != self.frontier.root()
        {
            let what = format!("the first {} entries are not those of the older checkpoint", older.size);
            self.report.add(Finding::Tampered, &LogPath::Checkpoint, None, what);
        }
    }

    /// The partial tiles above level 0.
    fn check_right_edge(&mut self) {
        for tile in partials(self.size).filter(|tile| tile.level > 0) {
            let hashes = std::mem::take(&mut self.levels[usize::from(tile.level)]);
            self.compare(tile, &hashes);
        }
    }

    fn compare(&mut self, tile: TileId, computed: &[Hash]) {
        let Some(stored) = self.read_hashes(tile) else { return };
        if let Some(at) = stored.iter().zip(computed).position(|(a, b)| a != b) {
            let what = format!("hash {at} is not that of the tiles below");
            self.report.add(Finding::Tampered, &LogPath::Tile(tile), None, what);
        }
    }

    /// The leaf hashes of the entries that could be read.
    fn read_entries(
        &mut self,
        path: &LogPath,
        start: u64,
        width: usize,
        on_record: &mut impl FnMut(u64, &Record),
    ) -> Option<Vec<Hash>> {
        let bytes = self.read(path)?;
        let entries = match split_entries(&bytes) {
            Ok(entries) => entries,
            Err(e) => {
                self.report.add(Finding::Incomplete, path, None, e.to_string());
                return None;
            }
        };
        if entries.len() < width {
            let what = format!("cut short: {} entries of {width}", entries.len());
            self.report.add(Finding::Incomplete, path, Some(start + entries.len() as u64), what);
        }
        for (index, entry) in (start..).zip(entries.iter().take(width)) {
            match Record::decode(entry) {
                Ok(record) => self.see(index, &record, on_record),
                Err(e) => self.report.add(Finding::Tampered, path, Some(index), e.to_string()),
            }
        }
        Some(entries.iter().take(width).map(|entry| leaf_hash(entry)).collect())
    }

    fn see(&mut self, index: u64, record: &Record, on_record: &mut impl FnMut(u64, &Record)) {
        self.report.records += 1;
        let time = record.time;
        self.report.first_time = Some(self.report.first_time.map_or(time, |first| first.min(time)));
        self.report.last_time = Some(self.report.last_time.map_or(time, |last| last.max(time)));
        on_record(index, record);
    }

    fn read_hashes(&mut self, tile: TileId) -> Option<Vec<Hash>> {
        let path = LogPath::Tile(tile);
        let bytes = self.read(&path)?;
        match decode_hashes(&bytes) {
            Ok(hashes) if hashes.len() >= usize::from(tile.width) => Some(hashes[..usize::from(tile.width)].to_vec()),
            Ok(hashes) => {
                self.report.add(
                    Finding::Incomplete,
                    &path,
                    None,
                    format!("cut short: {} hashes of {}", hashes.len(), tile.width),
                );
                None
            }
            Err(e) => {
                self.report.add(Finding::Incomplete, &path, None, e.to_string());
                None
            }
        }
    }

    /// A file; where a partial tile is gone because the tile was completed since, the full one serves.
    fn read(&mut self, path: &LogPath) -> Option<Vec<u8>> {
        let full = match *path {
            LogPath::Checkpoint => None,
            LogPath::Tile(tile) => (tile.width < 256).then_some(LogPath::Tile(TileId { width: 256, ..tile })),
            LogPath::Entries { index, width } => (width < 256).then_some(LogPath::Entries { index, width: 256 }),
        };
        let mut why = match full {
            None => "the file is missing".to_owned(),
            Some(_) => "the file is missing, and so is the full one that takes its place once there is more".to_owned(),
        };
        for candidate in [Some(*path), full].into_iter().flatten() {
            match self.source.read(&candidate) {
                Ok(Some(bytes)) => return Some(bytes),
                Ok(None) => {}
                Err(e) => why = e,
            }
        }
        self.report.add(Finding::Incomplete, path, None, why);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::tests::MemoryTiles;
    use crate::record::tests::sample;
    use crate::signer::{Ed25519Signer, NoteSigner, sign_note};
    use crate::tile::{encode_hashes, push_entry};
    use std::collections::BTreeMap;
    use std::sync::Arc;

    #[derive(Clone)]
    struct Files(BTreeMap<String, Vec<u8>>);

    impl LogSource for Files {
        fn read(&self, path: &LogPath) -> Result<Option<Vec<u8>>, String> {
            Ok(self.0.get(&path.to_string()).cloned())
        }
    }

    fn signer() -> Ed25519Signer {
        Ed25519Signer::from_seed("log.example/a", &[1; 32]).unwrap()
    }

    fn log(size: u64) -> (Files, Vec<VerifierKey>) {
        let entries: Vec<Vec<u8>> = (0..size).map(|n| sample(n).encode()).collect();
        let leaves: Vec<Hash> = entries.iter().map(|e| leaf_hash(e)).collect();
        let tiles = MemoryTiles::new(&leaves);
        let mut files = BTreeMap::new();
        for (index, chunk) in entries.chunks(256).enumerate() {
            let mut bundle = Vec::new();
            assert!(chunk.iter().all(|entry| push_entry(&mut bundle, entry)));
            let path = LogPath::Entries { index: index as u64, width: chunk.len() as u16 };
            files.insert(path.to_string(), bundle);
        }
        for (level, hashes) in tiles.0.iter().enumerate() {
            for (index, chunk) in hashes.chunks(256).enumerate() {
                let tile = TileId { level: level as u8, index: index as u64, width: chunk.len() as u16 };
                files.insert(tile.to_string(), encode_hashes(chunk));
            }
        }
        let root = crate::proof::tree_root(&tiles, size).unwrap();
        let text = Checkpoint::new("log.example/a", size, root).to_string();
        let note = sign_note(&text, 0, &[Arc::new(signer())]).unwrap().to_string();
        files.insert("checkpoint".into(), note.into_bytes());
        (Files(files), vec![signer().verifier().clone()])
    }

    fn verify(files: &Files, keys: &[VerifierKey]) -> Report {
        verify_log(files, keys, None, |_, _| {})
    }

    #[test]
    fn sound_logs_of_many_sizes() {
        for size in [0, 1, 255, 256, 257, 513] {
            let (files, keys) = log(size);
            let mut seen = Vec::new();
            let report = verify_log(&files, &keys, None, |index, record| seen.push((index, record.request.clone())));
            assert_eq!(report.problems, []);
            assert!(report.is_sound() && !report.is_tampered());
            assert_eq!((report.records, report.checkpoint.unwrap().size), (size, size));
            assert_eq!(seen.len() as u64, size);
            assert!(seen.iter().all(|(index, request)| *request == format!("req-{index}")));
        }
        let (files, keys) = log(3);
        let report = verify(&files, &keys);
        assert_eq!(report.last_time.unwrap().since(report.first_time.unwrap()), 2);
    }

    #[test]
    fn every_missing_file_is_incomplete_and_every_flip_is_found() {
        let (files, keys) = log(300);
        for path in files.0.keys() {
            let mut less = files.clone();
            less.0.remove(path);
            let report = verify(&less, &keys);
            assert!(!report.is_sound() && !report.is_tampered(), "{path}: {:?}", report.problems);
            assert_eq!(&report.problems[0].path, path);
            for at in [0, files.0[path].len() / 2, files.0[path].len() - 1] {
                let mut altered = files.clone();
                altered.0.get_mut(path).unwrap()[at] ^= 1;
                assert!(!verify(&altered, &keys).is_sound(), "{path} at {at}");
            }
        }
    }

    #[test]
    fn an_altered_entry_is_tampering_at_its_exact_index() {
        let (files, keys) = log(300);
        let mut altered = files.clone();
        let bundle = altered.0.get_mut("tile/entries/001.p/44").unwrap();
        let at = bundle.windows(7).position(|window| window == b"req-259").unwrap();
        bundle[at + 4] = b'6';
        let report = verify(&altered, &keys);
        assert!(report.is_tampered());
        assert_eq!(report.problems.len(), 1);
        assert_eq!((report.problems[0].index, &*report.problems[0].path), (Some(259), "tile/entries/001.p/44"));
    }

    #[test]
    fn a_rewritten_log_does_not_match_an_older_checkpoint() {
        let (files, keys) = log(300);
        let older = Checkpoint::open(&log(200).0.0["checkpoint"], &keys).unwrap();
        assert!(verify_log(&files, &keys, Some(&older), |_, _| {}).is_sound());
        for wrong in [
            Checkpoint { root: Hash::sha256(b"other"), ..older.clone() },
            Checkpoint { size: 301, ..older.clone() },
            Checkpoint { origin: "other".into(), ..older },
        ] {
            assert!(verify_log(&files, &keys, Some(&wrong), |_, _| {}).is_tampered());
        }
        let other = Ed25519Signer::from_seed("log.example/a", &[9; 32]).unwrap();
        assert!(verify(&files, &[other.verifier().clone()]).checkpoint.is_none());
    }

    #[test]
    fn a_completed_tile_serves_for_its_partial() {
        let (mut files, keys) = log(300);
        let (longer, _) = log(512);
        for path in ["tile/entries/001.p/44", "tile/0/001.p/44"] {
            files.0.remove(path);
            let full = path.trim_end_matches(".p/44").to_owned();
            files.0.insert(full.clone(), longer.0[&full].clone());
        }
        assert_eq!(verify(&files, &keys).problems, []);
    }
}
