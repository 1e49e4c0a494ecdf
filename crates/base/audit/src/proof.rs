//! Inclusion and consistency proofs (RFC 6962 §2.1.1 and §2.1.2), computed from tiles and verified without them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use thiserror::Error;

use crate::merkle::{Hash, empty_root, node_hash, perfect_root};
use crate::tile::{TILE_HEIGHT, TILE_WIDTH, TileId, width_in};

/// Where proofs take their hashes from.
pub trait TileReader {
    /// What can go wrong in reading.
    type Error;

    /// The first `tile.width` hashes of a tile.
    ///
    /// # Errors
    /// Whatever the place the tiles live in reports.
    fn read_tile(&self, tile: TileId) -> Result<Vec<Hash>, Self::Error>;
}

/// A proof could not be computed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProofError<E> {
    /// A tile could not be read.
    #[error(transparent)]
    Read(E),
    /// The leaf or the tree asked for is beyond the size of the tree.
    #[error("{asked} is outside of a tree of {size} leaves")]
    OutOfRange {
        /// The leaf index or the older size.
        asked: u64,
        /// Leaves in the tree.
        size: u64,
    },
    /// The reader returned another number of hashes than asked for.
    #[error("{0} does not have as many hashes as its name says")]
    Width(TileId),
}

/// A proof that does not show what it claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the Merkle proof does not lead to the root")]
pub struct InvalidProof;

/// The root of the first `size` leaves.
///
/// # Errors
/// [`ProofError::Read`] and [`ProofError::Width`].
pub fn tree_root<R: TileReader>(reader: &R, size: u64) -> Result<Hash, ProofError<R::Error>> {
    if size == 0 {
        return Ok(empty_root());
    }
    Tree::new(reader, size).range(0, size)
}

/// The roots of the perfect subtrees of the first `size` leaves, largest first (what a [`crate::Frontier`] is made of).
///
/// # Errors
/// [`ProofError::Read`] and [`ProofError::Width`].
pub fn peaks<R: TileReader>(reader: &R, size: u64) -> Result<Vec<Hash>, ProofError<R::Error>> {
    let tree = Tree::new(reader, size);
    let mut start = 0;
    let mut peaks = Vec::new();
    for bit in (0..u64::BITS).rev().filter(|bit| size >> bit & 1 == 1) {
        peaks.push(tree.range(start, start + (1 << bit))?);
        start += 1 << bit;
    }
    Ok(peaks)
}

/// The hashes that lead from leaf `index` to the root of the first `size` leaves, lowest first.
///
/// # Errors
/// [`ProofError::OutOfRange`] when there is no such leaf; reading errors.
pub fn inclusion_proof<R: TileReader>(reader: &R, index: u64, size: u64) -> Result<Vec<Hash>, ProofError<R::Error>> {
    if index >= size {
        return Err(ProofError::OutOfRange { asked: index, size });
    }
    let tree = Tree::new(reader, size);
    let (mut start, mut end) = (0, size);
    let mut path = Vec::new();
    while end - start > 1 {
        let middle = start + split_point(end - start);
        if index < middle {
            path.push(tree.range(middle, end)?);
            end = middle;
        } else {
            path.push(tree.range(start, middle)?);
            start = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The hashes that show the tree of `old` leaves to be a prefix of the tree of `size` leaves. Empty when `old` is 0
/// or `size`.
///
/// # Errors
/// [`ProofError::OutOfRange`] when `old` is larger than `size`; reading errors.
pub fn consistency_proof<R: TileReader>(reader: &R, old: u64, size: u64) -> Result<Vec<Hash>, ProofError<R::Error>> {
    if old > size {
        return Err(ProofError::OutOfRange { asked: old, size });
    }
    if old == 0 || old == size {
        return Ok(Vec::new());
    }
    let tree = Tree::new(reader, size);
    let (mut start, mut end) = (0, size);
    let mut path = Vec::new();
    // SUBPROOF of RFC 6962 §2.1.2, from the root down; `start == 0` is its flag b.
    while old != end {
        let middle = start + split_point(end - start);
        if old <= middle {
            path.push(tree.range(middle, end)?);
            end = middle;
        } else {
            path.push(tree.range(start, middle)?);
            start = middle;
        }
    }
    if start != 0 {
        path.push(tree.range(start, end)?);
    }
    path.reverse();
    Ok(path)
}

/// The largest power of two below `n`; `n` is at least 2.
fn split_point(n: u64) -> u64 {
    1 << (n - 1).ilog2()
}

/// One tree over a reader; remembers the tiles it has read, since neighbouring nodes share them.
struct Tree<'a, R> {
    reader: &'a R,
    size: u64,
    tiles: RefCell<HashMap<(u8, u64), Vec<Hash>>>,
}

impl<'a, R: TileReader> Tree<'a, R> {
    fn new(reader: &'a R, size: u64) -> Self {
        Self { reader, size, tiles: RefCell::default() }
    }

    /// MTH(D[start:end]); the range is one that the splits of the tree produce.
    fn range(&self, start: u64, end: u64) -> Result<Hash, ProofError<R::Error>> {
        let n = end - start;
        if n.is_power_of_two() {
            return self.perfect(start, n.ilog2());
        }
        let middle = start + split_point(n);
        Ok(node_hash(&self.range(start, middle)?, &self.range(middle, end)?))
    }

    /// The root of the perfect subtree of 2^height leaves from `start`.
    fn perfect(&self, start: u64, height: u32) -> Result<Hash, ProofError<R::Error>> {
        let level = u8::try_from(height / TILE_HEIGHT).unwrap_or(u8::MAX);
        let first = start >> (u32::from(level) * TILE_HEIGHT);
        let (index, offset) = (first / TILE_WIDTH, (first % TILE_WIDTH) as usize);
        let count = 1usize << (height % TILE_HEIGHT);
        let mut tiles = self.tiles.borrow_mut();
        if let Entry::Vacant(place) = tiles.entry((level, index)) {
            let tile = TileId { level, index, width: width_in(self.size, level, index) };
            let hashes = self.reader.read_tile(tile).map_err(ProofError::Read)?;
            if hashes.len() != usize::from(tile.width) {
                return Err(ProofError::Width(tile));
            }
            place.insert(hashes);
        }
        Ok(perfect_root(&tiles[&(level, index)][offset..offset + count]))
    }
}

/// Checks that `leaf` is entry `index` of the tree of `size` leaves with this root (RFC 9162 §2.1.3.2).
///
/// # Errors
/// [`InvalidProof`] when it does not show that.
pub fn verify_inclusion(leaf: Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> Result<(), InvalidProof> {
    if index >= size {
        return Err(InvalidProof);
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = leaf;
    for sibling in proof {
        if last == 0 {
            return Err(InvalidProof);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last == 0 && hash == *root { Ok(()) } else { Err(InvalidProof) }
}

/// Checks that the tree of `old` leaves is a prefix of the tree of `size` leaves (RFC 9162 §2.1.4.2).
///
/// # Errors
/// [`InvalidProof`] when it does not show that.
pub fn verify_consistency(
    old: u64,
    old_root: &Hash,
    size: u64,
    root: &Hash,
    proof: &[Hash],
) -> Result<(), InvalidProof> {
    if old > size || (old == size && old_root != root) || (old == 0 && *old_root != empty_root()) {
        return Err(InvalidProof);
    }
    if old == 0 || old == size {
        return if proof.is_empty() { Ok(()) } else { Err(InvalidProof) };
    }
    let shift = (old - 1).trailing_ones();
    let (mut node, mut last) = ((old - 1) >> shift, (size - 1) >> shift);
    let mut siblings = proof.iter();
    let first = if old.is_power_of_two() { old_root } else { siblings.next().ok_or(InvalidProof)? };
    let (mut from_old, mut from_new) = (*first, *first);
    for sibling in siblings {
        if last == 0 {
            return Err(InvalidProof);
        }
        if node & 1 == 1 || node == last {
            from_old = node_hash(sibling, &from_old);
            from_new = node_hash(sibling, &from_new);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            from_new = node_hash(&from_new, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last == 0 && from_old == *old_root && from_new == *root { Ok(()) } else { Err(InvalidProof) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::merkle::Frontier;
    use crate::merkle::tests::{leaves, reference_root};
    use proptest::prelude::*;
    use std::convert::Infallible;

    /// All levels of a tree in memory.
    pub(crate) struct MemoryTiles(pub(crate) Vec<Vec<Hash>>);

    impl MemoryTiles {
        pub(crate) fn new(leaves: &[Hash]) -> Self {
            let mut levels = vec![leaves.to_vec()];
            while levels.last().unwrap().len() >= 256 {
                let next = levels.last().unwrap().chunks_exact(256).map(perfect_root).collect();
                levels.push(next);
            }
            Self(levels)
        }
    }

    impl TileReader for MemoryTiles {
        type Error = Infallible;

        fn read_tile(&self, tile: TileId) -> Result<Vec<Hash>, Infallible> {
            let start = tile.index as usize * 256;
            Ok(self.0[usize::from(tile.level)][start..start + usize::from(tile.width)].to_vec())
        }
    }

    #[test]
    fn every_leaf_of_every_small_tree_is_proved_and_only_that() {
        let all = leaves(40);
        let tiles = MemoryTiles::new(&all);
        for size in 1..=40u64 {
            let root = reference_root(&all[..size as usize]);
            for index in 0..size {
                let proof = inclusion_proof(&tiles, index, size).unwrap();
                let leaf = all[index as usize];
                assert_eq!(verify_inclusion(leaf, index, size, &proof, &root), Ok(()));
                assert!(verify_inclusion(all[(index as usize + 1) % 40], index, size, &proof, &root).is_err());
                assert!(index + 1 == size || verify_inclusion(leaf, index + 1, size, &proof, &root).is_err());
                let longer = [&proof[..], &[leaf]].concat();
                assert!(verify_inclusion(leaf, index, size, &longer, &root).is_err());
            }
            assert!(inclusion_proof(&tiles, size, size).is_err());
        }
    }

    #[test]
    fn every_pair_of_small_trees_is_consistent() {
        let all = leaves(40);
        let tiles = MemoryTiles::new(&all);
        for size in 0..=40u64 {
            let root = reference_root(&all[..size as usize]);
            assert_eq!(tree_root(&tiles, size).unwrap(), root);
            for old in 0..=size {
                let old_root = reference_root(&all[..old as usize]);
                let proof = consistency_proof(&tiles, old, size).unwrap();
                assert_eq!(verify_consistency(old, &old_root, size, &root, &proof), Ok(()), "{old} in {size}");
                assert!(verify_consistency(old, &all[39], size, &root, &proof).is_err());
                let longer = [&proof[..], &[root]].concat();
                assert!(verify_consistency(old, &old_root, size, &root, &longer).is_err());
            }
        }
    }

    #[test]
    fn proofs_across_tile_boundaries() {
        let all = leaves(65_800);
        let tiles = MemoryTiles::new(&all);
        for size in [255u64, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537, 65_800] {
            let root = tree_root(&tiles, size).unwrap();
            let mut frontier = Frontier::from_peaks(size, peaks(&tiles, size).unwrap()).unwrap();
            assert_eq!(frontier.root(), root);
            frontier.append(root);
            for index in [0, 1, 254, 255, 256, 257, size / 2, size - 2, size - 1].into_iter().filter(|i| *i < size) {
                let proof = inclusion_proof(&tiles, index, size).unwrap();
                assert_eq!(verify_inclusion(all[index as usize], index, size, &proof, &root), Ok(()));
                let old_root = tree_root(&tiles, index).unwrap();
                let proof = consistency_proof(&tiles, index, size).unwrap();
                assert_eq!(verify_consistency(index, &old_root, size, &root, &proof), Ok(()));
            }
        }
    }

    proptest! {
        #[test]
        fn hostile_proofs_never_panic(
            index: u64, size: u64, old: u64,
            hashes in proptest::collection::vec(any::<[u8; 32]>().prop_map(Hash::new), 0..70),
        ) {
            let root = Hash::sha256(b"root");
            prop_assert!(verify_inclusion(root, index, size, &hashes, &Hash::sha256(b"x")).is_err());
            prop_assert!(verify_consistency(old, &root, size, &Hash::sha256(b"x"), &hashes).is_err());
        }
    }
}
