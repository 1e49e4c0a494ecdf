//! The Merkle tree of RFC 6962 §2.1 over SHA-256: hashes and an accumulator that needs only O(log n) memory.

use keyreeve_crypto::digest::{Sha256, sha256};
use std::fmt;

/// A SHA-256 hash in the tree: of a leaf, a node or a root.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash([u8; 32]);

impl Hash {
    /// Bytes in a hash.
    pub const LEN: usize = 32;

    /// A hash from its bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes of this hash.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Standard base64 (RFC 4648 §4), as checkpoints and proofs write it.
    #[must_use]
    pub fn to_base64(&self) -> String {
        base64_simd::STANDARD.encode_to_string(self.0)
    }

    /// Reads the form of [`Hash::to_base64`].
    #[must_use]
    pub fn from_base64(text: &str) -> Option<Self> {
        let bytes = base64_simd::STANDARD.decode_to_vec(text.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// Plain SHA-256 of some bytes, outside of the tree's domain separation.
    #[must_use]
    pub fn sha256(bytes: &[u8]) -> Self {
        Self(sha256(bytes))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_base64())
    }
}

/// The hash of a leaf: SHA-256(0x00 ‖ entry).
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    let mut context = Sha256::new();
    context.update(&[0]);
    context.update(entry);
    Hash(context.finish())
}

/// The hash of an inner node: SHA-256(0x01 ‖ left ‖ right).
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut block = [1; 65];
    block[1..33].copy_from_slice(&left.0);
    block[33..].copy_from_slice(&right.0);
    Hash::sha256(&block)
}

/// The root of the empty tree: SHA-256 of nothing.
#[must_use]
pub fn empty_root() -> Hash {
    Hash::sha256(&[])
}

/// The root of a perfect subtree, from its 2^k nodes of one height.
///
/// # Panics
/// Never on the inputs of this crate; the number of nodes must be a power of two.
#[must_use]
pub fn perfect_root(nodes: &[Hash]) -> Hash {
    assert!(nodes.len().is_power_of_two(), "a perfect subtree has 2^k nodes");
    let mut row = nodes.to_vec();
    while row.len() > 1 {
        row = row.chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
    }
    row[0]
}

/// The right edge of a tree: enough to append leaves and to know the root, in O(log n) memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    // One root of a perfect subtree per set bit of `size`, the largest first.
    peaks: Vec<Hash>,
}

impl Default for Frontier {
    fn default() -> Self {
        Self::new()
    }
}

impl Frontier {
    /// Of the empty tree.
    #[must_use]
    pub const fn new() -> Self {
        Self { size: 0, peaks: Vec::new() }
    }

    /// Of a tree with `size` leaves, from the roots of its perfect subtrees, largest first; `None` when their number
    /// does not fit the size.
    #[must_use]
    pub fn from_peaks(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        (peaks.len() == size.count_ones() as usize).then_some(Self { size, peaks })
    }

    /// The roots of its perfect subtrees, largest first, from which [`Frontier::from_peaks`] makes it again.
    #[must_use]
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf hash.
    pub fn append(&mut self, leaf: Hash) {
        self.append_with(leaf, |_, _| {});
    }

    /// Appends a leaf hash and tells of every node that this completes: its height (0 is the leaf itself) and its hash.
    pub fn append_with(&mut self, leaf: Hash, mut completed: impl FnMut(u32, Hash)) {
        completed(0, leaf);
        let mut hash = leaf;
        let mut height = 0;
        let mut rest = self.size;
        while rest & 1 == 1 {
            let Some(left) = self.peaks.pop() else { break };
            hash = node_hash(&left, &hash);
            height += 1;
            rest >>= 1;
            completed(height, hash);
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root of the tree as it is now.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(&smallest) = peaks.next() else { return empty_root() };
        peaks.fold(smallest, |right, left| node_hash(left, &right))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// MTH as RFC 6962 §2.1 defines it, recursively: the reference for everything else.
    pub(crate) fn reference_root(leaves: &[Hash]) -> Hash {
        match leaves.len() {
            0 => empty_root(),
            1 => leaves[0],
            n => {
                let k = n.next_power_of_two() / 2;
                node_hash(&reference_root(&leaves[..k]), &reference_root(&leaves[k..]))
            }
        }
    }

    pub(crate) fn leaves(n: usize) -> Vec<Hash> {
        (0..n).map(|i| leaf_hash(format!("entry {i}").as_bytes())).collect()
    }

    #[test]
    fn known_answers_of_the_certificate_transparency_test_suite() {
        // The eight inputs and roots of the reference Merkle tests in the Certificate Transparency project.
        let inputs =
            ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut frontier = Frontier::new();
        assert_eq!(
            hex::encode(frontier.root().as_bytes()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        for (input, root) in inputs.iter().zip(roots) {
            frontier.append(leaf_hash(&hex::decode(input).unwrap()));
            assert_eq!(format!("{:?}", frontier.root()), root);
        }
    }

    #[test]
    fn frontier_agrees_with_the_definition() {
        let leaves = leaves(300);
        let mut frontier = Frontier::new();
        for (i, leaf) in leaves.iter().enumerate() {
            frontier.append(*leaf);
            assert_eq!(frontier.root(), reference_root(&leaves[..=i]));
        }
    }

    #[test]
    fn completed_nodes_are_told_with_their_height() {
        let leaves = leaves(8);
        let mut frontier = Frontier::new();
        let mut heights = Vec::new();
        for leaf in &leaves {
            frontier.append_with(*leaf, |height, hash| heights.push((height, hash)));
        }
        assert_eq!(heights.iter().map(|(h, _)| *h).collect::<Vec<_>>(), [0, 0, 1, 0, 0, 1, 2, 0, 0, 1, 0, 0, 1, 2, 3]);
        assert_eq!(heights.last().unwrap().1, perfect_root(&leaves));
        assert_eq!(Frontier::from_peaks(8, vec![perfect_root(&leaves)]), Some(frontier));
        assert_eq!(Frontier::from_peaks(7, vec![leaves[0]]), None);
    }

    #[test]
    fn base64_round_trips_and_refuses_other_lengths() {
        let hash = Hash::sha256(b"x");
        assert_eq!(Hash::from_base64(&hash.to_base64()), Some(hash));
        assert_eq!(Hash::from_base64("AAAA"), None);
        assert_eq!(Hash::from_base64("?"), None);
    }
}
