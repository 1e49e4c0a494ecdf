//! Self-contained proofs (c2sp.org/tlog-proof@v1): that an entry is in a log, to be checked offline with the log's key.

use std::fmt;
use thiserror::Error;

use crate::checkpoint::{Checkpoint, CheckpointError, parse_decimal};
use crate::merkle::{Hash, leaf_hash};
use crate::note::{MAX_NOTE_BYTES, SignedNote, VerifierKey};
use crate::proof::{InvalidProof, verify_inclusion};

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";
/// A tree of 2^64 leaves has no longer path.
const MAX_HASHES: usize = 64;

/// The index of an entry, the hashes from it to the root, and the signed checkpoint with that root. File extension
/// `.tlog-proof`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    /// Opaque extra data; not authenticated.
    pub extra: Option<Vec<u8>>,
    /// The entry's place in the log, from 0.
    pub index: u64,
    /// Inclusion proof, from the leaf's sibling up.
    pub hashes: Vec<Hash>,
    /// The checkpoint, a signed note.
    pub checkpoint: SignedNote,
}

/// A proof that cannot be read or does not prove.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TlogProofError {
    /// The text is not a proof.
    #[error("not a tlog-proof: {0}")]
    Form(&'static str),
    /// Its checkpoint is malformed or not signed by the keys given.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The hashes do not lead from this entry to the root in the checkpoint.
    #[error(transparent)]
    Proof(#[from] InvalidProof),
}

impl TlogProof {
    /// Reads the text form. Does not verify.
    ///
    /// # Errors
    /// [`TlogProofError::Form`] and [`TlogProofError::Checkpoint`].
    pub fn parse(text: &str) -> Result<Self, TlogProofError> {
        let form = TlogProofError::Form;
        if text.len() > MAX_NOTE_BYTES {
            return Err(form("larger than 1 MiB"));
        }
        let (head, note) = text.split_once("\n\n").ok_or(form("no blank line before the checkpoint"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(FIRST_LINE) {
            return Err(form("the first line is not `c2sp.org/tlog-proof@v1`"));
        }
        let extra = lines
            .next_if(|line| line.starts_with("extra "))
            .map(|line| base64_simd::STANDARD.decode_to_vec(&line["extra ".len()..]))
            .transpose()
            .map_err(|_| form("the extra data is not base64"))?;
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).and_then(parse_decimal);
        let index = index.ok_or(form("no line `index <number>`"))?;
        let hashes: Option<Vec<Hash>> = lines.map(Hash::from_base64).collect();
        let hashes = hashes.filter(|h| h.len() <= MAX_HASHES).ok_or(form("the hashes are malformed"))?;
        let checkpoint = SignedNote::parse(note.as_bytes()).map_err(CheckpointError::from)?;
        Ok(Self { extra, index, hashes, checkpoint })
    }

    /// Checks that `entry` is in the log at [`TlogProof::index`], under a checkpoint signed by the log's key among
    /// `keys`.
    ///
    /// # Errors
    /// [`TlogProofError::Checkpoint`] and [`TlogProofError::Proof`].
    pub fn verify(&self, entry: &[u8], keys: &[VerifierKey]) -> Result<Checkpoint, TlogProofError> {
        let checkpoint = Checkpoint::open(self.checkpoint.to_string().as_bytes(), keys)?;
        verify_inclusion(leaf_hash(entry), self.index, checkpoint.size, &self.hashes, &checkpoint.root)?;
        Ok(checkpoint)
    }
}

impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST_LINE}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", base64_simd::STANDARD.encode_to_string(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::inclusion_proof;
    use crate::proof::tests::MemoryTiles;
    use crate::signer::{Ed25519Signer, NoteSigner, sign_note};
    use std::sync::Arc;

    fn proof(index: u64, size: u64) -> (TlogProof, Vec<VerifierKey>) {
        let leaves: Vec<Hash> = (0..size).map(|i| leaf_hash(&i.to_be_bytes())).collect();
        let tiles = MemoryTiles::new(&leaves);
        let root = crate::proof::tree_root(&tiles, size).unwrap();
        let signer = Ed25519Signer::from_seed("log.example/a", &[1; 32]).unwrap();
        let keys = vec![signer.verifier().clone()];
        let text = Checkpoint::new("log.example/a", size, root).to_string();
        let checkpoint = sign_note(&text, 0, &[Arc::new(signer)]).unwrap();
        (TlogProof { extra: None, index, hashes: inclusion_proof(&tiles, index, size).unwrap(), checkpoint }, keys)
    }

    #[test]
    fn a_proof_proves_its_entry_and_no_other() {
        for (index, size) in [(0, 1), (5, 11), (10, 11), (256, 700)] {
            let (proof, keys) = proof(index, size);
            let read = TlogProof::parse(&proof.to_string()).unwrap();
            assert_eq!(read, proof);
            assert_eq!(read.verify(&index.to_be_bytes(), &keys).unwrap().size, size);
            assert!(matches!(read.verify(b"other", &keys), Err(TlogProofError::Proof(_))));
            assert!(matches!(read.verify(&index.to_be_bytes(), &[]), Err(TlogProofError::Checkpoint(_))));
        }
    }

    #[test]
    fn malformed_proofs_are_refused() {
        let (proof, _) = proof(5, 11);
        let text = TlogProof { extra: Some(b"extra".to_vec()), ..proof }.to_string();
        assert_eq!(TlogProof::parse(&text).unwrap().extra.unwrap(), b"extra");
        for (from, to) in
            [("@v1", "@v2"), ("index 5", "index 05"), ("index 5", "index"), ("extra ", "extra ?"), ("index 5\n", "")]
        {
            assert!(TlogProof::parse(&text.replacen(from, to, 1)).is_err(), "{to}");
        }
        assert!(TlogProof::parse("").is_err());
        let line = format!("index 5\n{}", format!("{}\n", Hash::sha256(b"")).repeat(65));
        assert!(TlogProof::parse(&text.replacen("index 5\n", &line, 1)).is_err());
    }
}
