//! The read side: tiles, entries, search and proofs, from memory and from disk. What comes from disk is checked
//! against the tree before it is believed.

use parking_lot::{Mutex, RwLock};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyreeve_audit::merkle::{leaf_hash, perfect_root};
use keyreeve_audit::proof::{ProofError, TileReader, inclusion_proof, tree_root, verify_inclusion};
use keyreeve_audit::record::id_time;
use keyreeve_audit::tile::{
    LogPath, TILE_WIDTH, TileId, decode_hashes, encode_hashes, push_entry, split_entries, width_in,
};
use keyreeve_audit::{Checkpoint, Hash, Record, SignedNote, TlogProof};
use keyreeve_journal::{JournalError, Scan, ScanPage};
use keyreeve_model::RecordId;

use crate::disk::{Disk, io_error};
use crate::tail::Tail;

/// Directory of the published log.
pub(crate) const LOG_DIR: &str = "log";
/// Bundles one call reads at most.
const MAX_BUNDLES: usize = 64;

/// The file of a path of the log.
pub(crate) fn file_of(path: &LogPath) -> PathBuf {
    Path::new(LOG_DIR).join(path.to_string())
}

/// A checkpoint that was signed and written.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) note: SignedNote,
}

/// The log as readers see it.
pub(crate) struct Log {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) tail: RwLock<Tail>,
    pub(crate) published: Mutex<Option<Published>>,
}

/// Says where stored bytes are not what was written.
pub(crate) fn tampered(place: impl std::fmt::Display, what: impl Into<String>) -> JournalError {
    JournalError::Tampered { place: place.to_string(), what: what.into() }
}

/// A full tile of hashes from disk, as it stands there.
pub(crate) fn disk_tile(disk: &dyn Disk, level: u8, index: u64) -> Result<Option<Vec<Hash>>, JournalError> {
    let path = file_of(&LogPath::Tile(TileId { level, index, width: 256 }));
    let Some(bytes) = disk.read(&path).map_err(|e| io_error(&e, &path))? else { return Ok(None) };
    let hashes = decode_hashes(&bytes).map_err(|e| tampered(path.display(), e.to_string()))?;
    if hashes.len() as u64 == TILE_WIDTH {
        Ok(Some(hashes))
    } else {
        Err(tampered(path.display(), format!("{} hashes in a full tile", hashes.len())))
    }
}

/// A full bundle of entries from disk, as it stands there.
pub(crate) fn disk_bundle(disk: &dyn Disk, index: u64) -> Result<Vec<Vec<u8>>, JournalError> {
    let path = file_of(&LogPath::Entries { index, width: 256 });
    let bytes = disk.read(&path).map_err(|e| io_error(&e, &path))?;
    let bytes = bytes.ok_or_else(|| tampered(path.display(), "the file is missing"))?;
    let entries = split_entries(&bytes).map_err(|e| tampered(path.display(), e.to_string()))?;
    if entries.len() as u64 == TILE_WIDTH {
        Ok(entries.into_iter().map(<[u8]>::to_vec).collect())
    } else {
        Err(tampered(path.display(), format!("{} entries in a full bundle", entries.len())))
    }
}

impl TileReader for Log {
    type Error = JournalError;

    fn read_tile(&self, tile: TileId) -> Result<Vec<Hash>, JournalError> {
        if let Some(hashes) = self.tail.read().hashes(tile) {
            return Ok(hashes);
        }
        let place = LogPath::Tile(TileId { width: 256, ..tile });
        let hashes = disk_tile(&*self.disk, tile.level, tile.index)?;
        let mut hashes = hashes.ok_or_else(|| tampered(place, "the file is missing"))?;
        hashes.truncate(usize::from(tile.width));
        Ok(hashes)
    }
}

impl Log {
    /// A full tile that agrees with the tree above it.
    fn verified_tile(&self, level: u8, index: u64) -> Result<Vec<Hash>, JournalError> {
        let tile = TileId { level, index, width: 256 };
        if let Some(hashes) = self.tail.read().hashes(tile) {
            return Ok(hashes);
        }
        let hashes = self.read_tile(tile)?;
        if perfect_root(&hashes) == self.verified_hash(level + 1, index)? {
            Ok(hashes)
        } else {
            Err(tampered(LogPath::Tile(tile), "the hashes are not those of the tree"))
        }
    }

    fn verified_hash(&self, level: u8, index: u64) -> Result<Hash, JournalError> {
        if let Some(hash) = self.tail.read().hash(level, index) {
            return Ok(hash);
        }
        Ok(self.verified_tile(level, index / TILE_WIDTH)?[(index % TILE_WIDTH) as usize])
    }

    /// The entries of a bundle, as many as the log has.
    fn bundle(&self, index: u64) -> Result<Vec<Vec<u8>>, JournalError> {
        {
            let tail = self.tail.read();
            if let Some(entries) = tail.bundle(index) {
                return Ok(entries);
            }
            if index * TILE_WIDTH >= tail.size() {
                return Ok(Vec::new());
            }
        }
        let entries = disk_bundle(&*self.disk, index)?;
        let hashes = self.verified_tile(0, index)?;
        match entries.iter().zip(&hashes).position(|(entry, hash)| leaf_hash(entry) != *hash) {
            None => Ok(entries),
            Some(at) => {
                let place = LogPath::Entries { index, width: 256 };
                Err(tampered(place, format!("entry {} is not the one logged", index * TILE_WIDTH + at as u64)))
            }
        }
    }

    /// Entries of a range, at most some bundles of them.
    pub(crate) fn read(&self, range: Range<u64>) -> Result<Vec<(u64, Vec<u8>)>, JournalError> {
        let mut found = Vec::new();
        if range.is_empty() {
            return Ok(found);
        }
        let bundles = range.start / TILE_WIDTH..=(range.end - 1) / TILE_WIDTH;
        for bundle in bundles.take(4) {
            let entries = self.bundle(bundle)?;
            if entries.is_empty() {
                break;
            }
            let indexed = (bundle * TILE_WIDTH..).zip(entries);
            found.extend(indexed.filter(|(index, _)| range.contains(index)));
        }
        Ok(found)
    }

    /// The lowest index of a record with this id.
    pub(crate) fn find(&self, id: &RecordId) -> Result<Option<u64>, JournalError> {
        let made = id_time(id);
        let (bundles, in_tail) = {
            let tail = self.tail.read();
            let spans = (0u64..).zip(tail.spans());
            let bundles: Vec<u64> = spans.filter(|(_, span)| span.contains(made)).map(|(i, _)| i).collect();
            (bundles, tail.find(id))
        };
        for bundle in bundles {
            let entries = self.bundle(bundle)?;
            let place = entries.iter().position(|entry| Record::peek(entry).is_some_and(|(found, _)| found == *id));
            if let Some(place) = place {
                return Ok(Some(bundle * TILE_WIDTH + place as u64));
            }
        }
        Ok(in_tail)
    }

    /// A page of a search, newest first.
    pub(crate) fn scan(&self, scan: &Scan) -> Result<ScanPage, JournalError> {
        let mut page = ScanPage::default();
        let mut before = scan.before.unwrap_or(u64::MAX).min(self.tail.read().size());
        let mut bundles_read = 0;
        while before > 0 {
            let bundle = (before - 1) / TILE_WIDTH;
            let start = bundle * TILE_WIDTH;
            if self.may_be_in(bundle, scan) {
                if bundles_read == MAX_BUNDLES || page.entries.len() >= scan.limit {
                    page.next = Some(before);
                    return Ok(page);
                }
                bundles_read += 1;
                let mut entries = self.bundle(bundle)?;
                entries.truncate(usize::try_from(before - start).unwrap_or(usize::MAX));
                for (offset, entry) in entries.into_iter().enumerate().rev() {
                    let index = start + offset as u64;
                    if !wanted(&entry, scan) {
                        continue;
                    }
                    if page.entries.len() == scan.limit {
                        page.next = Some(index + 1);
                        return Ok(page);
                    }
                    page.entries.push((index, entry));
                }
            }
            before = start;
        }
        Ok(page)
    }

    fn may_be_in(&self, bundle: u64, scan: &Scan) -> bool {
        let tail = self.tail.read();
        let span = usize::try_from(bundle).ok().and_then(|bundle| tail.spans().get(bundle));
        span.is_none_or(|span| span.overlaps(scan.from, scan.until))
    }

    /// The proof of an entry under a published checkpoint that covers it.
    pub(crate) fn prove(&self, index: u64, published: Published) -> Result<String, JournalError> {
        let Published { checkpoint, note } = published;
        let hashes = inclusion_proof(self, index, checkpoint.size).map_err(proof_error)?;
        let leaf = self.leaf_of(index)?;
        verify_inclusion(leaf, index, checkpoint.size, &hashes, &checkpoint.root)
            .map_err(|_| tampered(format!("entry {index}"), "its tiles do not lead to the signed root"))?;
        Ok(TlogProof { extra: None, index, hashes, checkpoint: note }.to_string())
    }

    fn leaf_of(&self, index: u64) -> Result<Hash, JournalError> {
        let entries = self.read(index..index + 1)?;
        let entry = entries.first().ok_or(JournalError::NotFound { index, size: self.tail.read().size() })?;
        Ok(leaf_hash(&entry.1))
    }

    /// The root of the first `size` entries.
    pub(crate) fn root(&self, size: u64) -> Result<Option<Hash>, JournalError> {
        if size > self.tail.read().size() {
            return Ok(None);
        }
        tree_root(self, size).map(Some).map_err(proof_error)
    }

    /// A file of the log.
    pub(crate) fn tile(&self, path: LogPath) -> Result<Option<Vec<u8>>, JournalError> {
        match path {
            LogPath::Checkpoint => Ok(self.published.lock().as_ref().map(|p| p.note.to_string().into_bytes())),
            LogPath::Tile(tile) => {
                if width_in(self.tail.read().size(), tile.level, tile.index) < tile.width {
                    return Ok(None);
                }
                self.read_tile(tile).map(|hashes| Some(encode_hashes(&hashes)))
            }
            LogPath::Entries { index, width } => {
                if width_in(self.tail.read().size(), 0, index) < width {
                    return Ok(None);
                }
                let mut bundle = Vec::new();
                for entry in self.bundle(index)?.iter().take(usize::from(width)) {
                    if !push_entry(&mut bundle, entry) {
                        return Err(tampered(path, "an entry is too long"));
                    }
                }
                Ok(Some(bundle))
            }
        }
    }
}

fn wanted(entry: &[u8], scan: &Scan) -> bool {
    Record::peek(entry).is_some_and(|(_, time)| (scan.from..scan.until).contains(&time))
        && scan.filter.as_ref().is_none_or(|filter| filter(entry))
}

/// An error of proving as one of the journal.
pub(crate) fn proof_error(error: ProofError<JournalError>) -> JournalError {
    match error {
        ProofError::Read(error) => error,
        ProofError::OutOfRange { asked, size } => JournalError::NotFound { index: asked, size },
        ProofError::Width(tile) => tampered(tile, "too few hashes"),
    }
}
