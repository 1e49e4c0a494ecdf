//! What is durable in the write-ahead log but not yet in tiles on disk, and the right edge of the tree: all that is
//! kept in memory of the log.

use std::collections::VecDeque;

use keyreeve_audit::tile::{TILE_HEIGHT, TILE_WIDTH, TileId, encode_hashes, push_entry};
use keyreeve_audit::{Frontier, Hash};
use keyreeve_journal::Entry;
use keyreeve_model::RecordId;

use crate::times::Span;

/// A node that is a hash of some tile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    level: usize,
    index: u64,
    pub(crate) hash: Hash,
}

impl Node {
    /// The number of the leaf tile whose root it is.
    pub(crate) fn leaf_tile(&self) -> Option<u64> {
        (self.level == 1).then_some(self.index)
    }
}

/// Appends a leaf to the tree and collects the hashes that tiles are made of.
pub(crate) fn append_leaf(frontier: &mut Frontier, leaf: Hash, nodes: &mut Vec<Node>) {
    let size = frontier.size() + 1;
    frontier.append_with(leaf, |height, hash| {
        if height % TILE_HEIGHT == 0 {
            nodes.push(Node { level: (height / TILE_HEIGHT) as usize, index: (size >> height) - 1, hash });
        }
    });
}

/// The hashes of one tile level from some full tile on.
#[derive(Debug, Default)]
struct Level {
    // Multiple of 256; everything before is in full tiles on disk.
    first: u64,
    hashes: VecDeque<Hash>,
}

/// The newest part of the log.
#[derive(Debug)]
pub(crate) struct Tail {
    size: u64,
    root: Hash,
    levels: Vec<Level>,
    entries: VecDeque<Entry>,
    bytes: usize,
    spans: Vec<Span>,
}

/// A full bundle on its way to disk.
pub(crate) struct FullTile {
    pub(crate) index: u64,
    pub(crate) bundle: Vec<u8>,
    pub(crate) hashes: Vec<u8>,
    pub(crate) span: Span,
}

impl Tail {
    /// Of a log whose first bundles are on disk, with their spans; `edges` has the hashes of the levels above the
    /// leaves that replay will not produce again, as first index and hashes.
    pub(crate) fn new(spans: Vec<Span>, edges: Vec<(u64, Vec<Hash>)>) -> Self {
        let leaves = Level { first: spans.len() as u64 * TILE_WIDTH, hashes: VecDeque::new() };
        let above = edges.into_iter().map(|(first, hashes)| Level { first, hashes: hashes.into() });
        let levels = std::iter::once(leaves).chain(above).collect();
        let root = Frontier::new().root();
        Self { size: 0, root, levels, entries: VecDeque::new(), bytes: 0, spans }
    }

    /// Takes in a durable batch.
    pub(crate) fn commit(&mut self, entries: Vec<Entry>, nodes: &[Node], frontier_size: u64, root: Hash) {
        let start = frontier_size - entries.len() as u64;
        for (index, entry) in (start..).zip(entries) {
            if index >= self.tiled() {
                self.bytes += weight(&entry);
                self.entries.push_back(entry);
            }
        }
        for node in nodes {
            if self.levels.len() <= node.level {
                self.levels.resize_with(node.level + 1, Level::default);
            }
            let level = &mut self.levels[node.level];
            if node.index >= level.first + level.hashes.len() as u64 {
                level.hashes.push_back(node.hash);
            }
        }
        self.size = frontier_size;
        self.root = root;
    }

    /// Entries in the log.
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// Root of the tree.
    pub(crate) const fn root(&self) -> Hash {
        self.root
    }

    /// Entries that are in full bundles on disk; multiple of 256.
    pub(crate) fn tiled(&self) -> u64 {
        self.levels[0].first
    }

    /// Full bundles waiting for the disk.
    pub(crate) fn waiting(&self) -> u64 {
        self.entries.len() as u64 / TILE_WIDTH
    }

    /// Memory taken, about, in bytes.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Spans of the bundles on disk.
    pub(crate) fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The first hashes of a tile, if they are in memory.
    pub(crate) fn hashes(&self, tile: TileId) -> Option<Vec<Hash>> {
        let level = self.levels.get(usize::from(tile.level))?;
        let start = usize::try_from((tile.index * TILE_WIDTH).checked_sub(level.first)?).ok()?;
        let end = start + usize::from(tile.width);
        (end <= level.hashes.len()).then(|| level.hashes.range(start..end).copied().collect())
    }

    /// One hash of a tile level, if it is in memory.
    pub(crate) fn hash(&self, level: u8, index: u64) -> Option<Hash> {
        let level = self.levels.get(usize::from(level))?;
        level.hashes.get(usize::try_from(index.checked_sub(level.first)?).ok()?).copied()
    }

    /// The bytes of the entries of a bundle, those of the log so far, if they are in memory.
    pub(crate) fn bundle(&self, index: u64) -> Option<Vec<Vec<u8>>> {
        let start = usize::try_from((index * TILE_WIDTH).checked_sub(self.tiled())?).ok()?;
        let end = self.entries.len().min(start + TILE_WIDTH as usize);
        (start < end).then(|| self.entries.range(start..end).map(|entry| entry.bytes().to_vec()).collect())
    }

    /// The index of the entry in memory with this id.
    pub(crate) fn find(&self, id: &RecordId) -> Option<u64> {
        self.entries.iter().position(|entry| entry.id() == id).map(|place| self.tiled() + place as u64)
    }

    /// The first entries of a bundle in the format of the disk.
    pub(crate) fn encode_bundle(&self, index: u64, width: u16) -> Option<Vec<u8>> {
        let start = usize::try_from((index * TILE_WIDTH).checked_sub(self.tiled())?).ok()?;
        let end = start + usize::from(width);
        if end > self.entries.len() {
            return None;
        }
        let mut bundle = Vec::new();
        self.entries.range(start..end).all(|entry| push_entry(&mut bundle, entry.bytes())).then_some(bundle)
    }

    /// The `n`-th full bundle that waits for the disk.
    pub(crate) fn full_tile(&self, n: u64) -> Option<FullTile> {
        let index = self.tiled() / TILE_WIDTH + n;
        let bundle = self.encode_bundle(index, 256)?;
        let hashes = encode_hashes(&self.hashes(TileId { level: 0, index, width: 256 })?);
        let start = (n * TILE_WIDTH) as usize;
        let mut span = Span::EMPTY;
        self.entries.range(start..start + TILE_WIDTH as usize).for_each(|e| span.include(e.id(), e.time()));
        Some(FullTile { index, bundle, hashes, span })
    }

    /// The full tiles above the leaves that are complete once `bundles` bundles are on disk and are not there yet.
    pub(crate) fn full_tiles_above(&self, bundles: u64) -> Vec<TileId> {
        let mut tiles = Vec::new();
        for (level, held) in (0u8..).zip(&self.levels).skip(1) {
            for index in held.first / TILE_WIDTH..full_tiles(level, bundles) {
                tiles.push(TileId { level, index, width: 256 });
            }
        }
        tiles
    }

    /// Forgets what is now in fsynced tiles.
    pub(crate) fn release(&mut self, spans: Vec<Span>) {
        let entries = spans.len() * TILE_WIDTH as usize;
        self.spans.extend(spans);
        for entry in self.entries.drain(..entries) {
            self.bytes -= weight(&entry);
        }
        let bundles = self.spans.len() as u64;
        for (level, held) in (0u8..).zip(&mut self.levels) {
            let first = full_tiles(level, bundles) * TILE_WIDTH;
            let gone = usize::try_from(first.saturating_sub(held.first)).unwrap_or(0).min(held.hashes.len());
            held.hashes.drain(..gone);
            held.first = held.first.max(first);
        }
        self.entries.shrink_to(SPARE_ENTRIES);
    }
}

/// Room for entries that is kept when they are gone.
const SPARE_ENTRIES: usize = 4096;

/// Full tiles of a level when there are so many full bundles.
pub(crate) const fn full_tiles(level: u8, bundles: u64) -> u64 {
    bundles >> (level as u32 * TILE_HEIGHT)
}

fn weight(entry: &Entry) -> usize {
    entry.bytes().len() + size_of::<Entry>() + Hash::LEN
}
