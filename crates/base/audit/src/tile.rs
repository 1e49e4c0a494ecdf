//! The file layout of a log: C2SP tlog-tiles (c2sp.org/tlog-tiles). Names of tiles, their widths, bundles of entries.

use std::fmt;
use thiserror::Error;

use crate::merkle::Hash;

/// Hashes (or entries) in a full tile.
pub const TILE_WIDTH: u64 = 256;
/// Tree levels between one tile level and the next: a tile's root is one hash of the tile level above.
pub const TILE_HEIGHT: u32 = 8;
/// The largest entry, in bytes: its length is written in 16 bits.
pub const MAX_ENTRY_BYTES: usize = 65_535;
/// Tile levels that a tree of 2^64 leaves can have.
pub const MAX_LEVELS: u8 = 8;

/// A tile of hashes: tile `index` of level `level` with its first `width` hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileId {
    /// 0 for leaf hashes; each level is 8 tree levels higher.
    pub level: u8,
    /// Position among the tiles of its level.
    pub index: u64,
    /// Hashes in it: 1 to 256; below 256 it is a partial tile.
    pub width: u16,
}

/// How many hashes tile `index` of `level` has in a tree of `size` leaves; 0 when there is no such tile.
#[must_use]
pub fn width_in(size: u64, level: u8, index: u64) -> u16 {
    let hashes = size.checked_shr(u32::from(level) * TILE_HEIGHT).unwrap_or(0);
    let before = index.saturating_mul(TILE_WIDTH);
    u16::try_from(hashes.saturating_sub(before).min(TILE_WIDTH)).unwrap_or(0)
}

/// The partial tiles at the right edge of a tree of `size` leaves, lowest level first.
pub fn partials(size: u64) -> impl Iterator<Item = TileId> {
    (0..MAX_LEVELS).filter_map(move |level| {
        let hashes = size >> (u32::from(level) * TILE_HEIGHT);
        let width = u16::try_from(hashes % TILE_WIDTH).unwrap_or(0);
        (width > 0).then_some(TileId { level, index: hashes / TILE_WIDTH, width })
    })
}

impl fmt::Display for TileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tile/{}/{}", self.level, NumberPath(self.index))?;
        partial_suffix(f, self.width)
    }
}

fn partial_suffix(f: &mut fmt::Formatter<'_>, width: u16) -> fmt::Result {
    if u64::from(width) < TILE_WIDTH { write!(f, ".p/{width}") } else { Ok(()) }
}

/// A tile number as a path: groups of three digits, all but the last prefixed with `x` (`1234067` is `x001/x234/067`).
struct NumberPath(u64);

impl fmt::Display for NumberPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut groups = vec![self.0 % 1000];
        let mut rest = self.0 / 1000;
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        for group in groups.iter().skip(1).rev() {
            write!(f, "x{group:03}/")?;
        }
        write!(f, "{:03}", groups[0])
    }
}

/// A path under the log's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogPath {
    /// `checkpoint`: the newest signed tree head.
    Checkpoint,
    /// `tile/<L>/<N>[.p/<W>]`: hashes.
    Tile(TileId),
    /// `tile/entries/<N>[.p/<W>]`: the entries below the level 0 tile of the same number.
    Entries {
        /// Position among the bundles.
        index: u64,
        /// Entries in it: 1 to 256.
        width: u16,
    },
}

impl LogPath {
    /// Reads a path; strict: one path has one spelling.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "checkpoint" {
            return Some(Self::Checkpoint);
        }
        let (level, rest) = text.strip_prefix("tile/")?.split_once('/')?;
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (number, width.parse().ok().filter(|w| (1..256).contains(w))?),
            None => (rest, 256),
        };
        let index = parse_number(number)?;
        let path = match level {
            "entries" => Self::Entries { index, width },
            level => Self::Tile(TileId { level: level.parse().ok().filter(|l| *l < MAX_LEVELS)?, index, width }),
        };
        // Refuses leading zeros, plus signs and every other second spelling.
        (path.to_string() == text).then_some(path)
    }
}

fn parse_number(text: &str) -> Option<u64> {
    let mut number: u64 = 0;
    for group in text.split('/') {
        let digits = group.strip_prefix('x').unwrap_or(group);
        number = number.checked_mul(1000)?.checked_add(digits.parse().ok().filter(|g| *g < 1000)?)?;
    }
    Some(number)
}

impl fmt::Display for LogPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checkpoint => f.write_str("checkpoint"),
            Self::Tile(tile) => tile.fmt(f),
            Self::Entries { index, width } => {
                write!(f, "tile/entries/{}", NumberPath(*index))?;
                partial_suffix(f, *width)
            }
        }
    }
}

/// A tile or a bundle whose bytes are not of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TileError {
    /// A tile of hashes is not a multiple of 32 bytes long, or has more than 256 hashes.
    #[error("{0} bytes are not a tile of 1 to 256 hashes of 32 bytes")]
    Length(usize),
    /// A bundle ends in the middle of an entry.
    #[error("the bundle of entries ends in the middle of entry {0}")]
    Cut(usize),
}

/// The hashes in the bytes of a tile.
///
/// # Errors
/// [`TileError::Length`].
pub fn decode_hashes(bytes: &[u8]) -> Result<Vec<Hash>, TileError> {
    let (hashes, rest) = bytes.as_chunks::<{ Hash::LEN }>();
    if !rest.is_empty() || hashes.is_empty() || hashes.len() as u64 > TILE_WIDTH {
        return Err(TileError::Length(bytes.len()));
    }
    Ok(hashes.iter().copied().map(Hash::new).collect())
}

/// The bytes of a tile of hashes.
#[must_use]
pub fn encode_hashes<'a>(hashes: impl IntoIterator<Item = &'a Hash>) -> Vec<u8> {
    hashes.into_iter().flat_map(|hash| *hash.as_bytes()).collect()
}

/// Adds one entry to a bundle: its length in 16 bits big-endian, then its bytes. False, with nothing added, when it
/// is larger than [`MAX_ENTRY_BYTES`].
#[must_use]
pub fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> bool {
    let Ok(length) = u16::try_from(entry.len()) else { return false };
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    true
}

/// The entries of a bundle, in order.
///
/// # Errors
/// [`TileError::Cut`] when the last entry is not whole.
pub fn split_entries(mut bundle: &[u8]) -> Result<Vec<&[u8]>, TileError> {
    let mut entries = Vec::with_capacity(TILE_WIDTH as usize);
    while !bundle.is_empty() {
        let cut = TileError::Cut(entries.len());
        let (length, rest) = bundle.split_first_chunk::<2>().ok_or(cut)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (entry, rest) = rest.split_at_checked(length).ok_or(cut)?;
        entries.push(entry);
        bundle = rest;
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_of_the_specification() {
        let tile = |level, index, width| LogPath::Tile(TileId { level, index, width });
        assert_eq!(tile(0, 1_234_067, 256).to_string(), "tile/0/x001/x234/067");
        assert_eq!(tile(0, 273, 112).to_string(), "tile/0/273.p/112");
        assert_eq!(LogPath::Entries { index: 5, width: 1 }.to_string(), "tile/entries/005.p/1");
        for wrong in [
            "",
            "tile/0/1",
            "tile/0/0001",
            "tile/00/001",
            "tile/0/001.p/0",
            "tile/0/001.p/256",
            "tile/0/001.p/01",
            "tile/9/001",
            "tile/0/x001",
            "tile/0/001/002",
            "tile/0/+01",
            "tile/data/001",
            "tile/0/x000/001",
            "../checkpoint",
            "tile/0/../001",
        ] {
            assert_eq!(LogPath::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn widths_of_the_example_with_70000_leaves() {
        assert_eq!(width_in(70_000, 0, 272), 256);
        assert_eq!(width_in(70_000, 0, 273), 112);
        assert_eq!(width_in(70_000, 0, 274), 0);
        assert_eq!((width_in(70_000, 1, 0), width_in(70_000, 1, 1), width_in(70_000, 2, 0)), (256, 17, 1));
        let widths: Vec<_> = partials(70_000).map(|t| (t.level, t.index, t.width)).collect();
        assert_eq!(widths, [(0, 273, 112), (1, 1, 17), (2, 0, 1)]);
        assert_eq!(partials(256).map(|t| (t.level, t.width)).collect::<Vec<_>>(), [(1, 1)]);
        assert_eq!(partials(0).count(), 0);
    }

    #[test]
    fn cut_bundles_and_odd_tiles_are_refused() {
        let mut bundle = Vec::new();
        assert!(push_entry(&mut bundle, b"first") && push_entry(&mut bundle, b""));
        assert!(!push_entry(&mut bundle, &vec![0; 65_536]));
        assert_eq!(split_entries(&bundle).unwrap(), [b"first".as_slice(), b""]);
        assert_eq!(split_entries(&bundle[..8]), Err(TileError::Cut(1)));
        assert_eq!(split_entries(&bundle[..3]), Err(TileError::Cut(0)));
        assert_eq!(decode_hashes(&[0; 33]), Err(TileError::Length(33)));
        assert_eq!(decode_hashes(&[]), Err(TileError::Length(0)));
        assert_eq!(decode_hashes(&[0; 257 * 32]), Err(TileError::Length(8224)));
    }

    proptest! {
        #[test]
        fn every_path_round_trips(level in 0u8..8, index: u64, width in 1u16..=256) {
            let tile = LogPath::Tile(TileId { level, index, width });
            prop_assert_eq!(LogPath::parse(&tile.to_string()), Some(tile));
            let entries = LogPath::Entries { index, width };
            prop_assert_eq!(LogPath::parse(&entries.to_string()), Some(entries));
        }

        #[test]
        fn parsing_never_panics_and_has_one_spelling(text in "(tile/)?[0-9a-z./x]{0,24}") {
            if let Some(path) = LogPath::parse(&text) {
                prop_assert_eq!(path.to_string(), text);
            }
        }

        #[test]
        fn bundles_round_trip(entries in proptest::collection::vec(any::<Vec<u8>>(), 0..20)) {
            let mut bundle = Vec::new();
            for entry in &entries {
                prop_assert!(push_entry(&mut bundle, entry));
            }
            prop_assert_eq!(split_entries(&bundle).unwrap(), entries);
        }
    }
}
