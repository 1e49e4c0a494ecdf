//! C2SP checkpoints (c2sp.org/tlog-checkpoint): origin, size and root of a log, as the text of a signed note.

use std::fmt;
use thiserror::Error;

use crate::merkle::Hash;
use crate::note::{NoteError, SignedNote, VerifierKey};

/// The head of a log at one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name, never empty.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// The Merkle root.
    pub root: Hash,
    /// Extension lines; this project writes none.
    pub extensions: Vec<String>,
}

/// A checkpoint that cannot be read or trusted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CheckpointError {
    /// The text is not a checkpoint.
    #[error("not a checkpoint: {0}")]
    Form(&'static str),
    /// The note around it is malformed or not signed as wanted.
    #[error(transparent)]
    Note(#[from] NoteError),
}

impl Checkpoint {
    /// A checkpoint without extensions.
    #[must_use]
    pub fn new(origin: &str, size: u64, root: Hash) -> Self {
        Self { origin: origin.to_owned(), size, root, extensions: Vec::new() }
    }

    /// Reads the text of a checkpoint.
    ///
    /// # Errors
    /// [`CheckpointError::Form`].
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let form = CheckpointError::Form;
        let lines = text.strip_suffix('\n').ok_or(form("no newline at the end"))?;
        let mut lines = lines.split('\n');
        let origin = lines.next().filter(|o| !o.is_empty()).ok_or(form("no origin"))?;
        let size = lines.next().and_then(parse_decimal).ok_or(form("the size is not a decimal number"))?;
        let root = lines.next().and_then(Hash::from_base64).ok_or(form("the root is not a hash in base64"))?;
        let extensions: Vec<String> = lines.map(str::to_owned).collect();
        if extensions.iter().any(String::is_empty) {
            return Err(form("an empty line"));
        }
        Ok(Self { origin: origin.to_owned(), size, root, extensions })
    }

    /// Reads a signed note, checks it against the keys, and reads the checkpoint in it. One of the keys that signed
    /// it must be the log's own, so one whose name is the origin.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn open(note: &[u8], keys: &[VerifierKey]) -> Result<Self, CheckpointError> {
        let note = SignedNote::parse(note)?;
        let signers = note.verify(keys)?;
        let checkpoint = Self::parse(&note.text)?;
        if signers.iter().any(|key| key.name() == checkpoint.origin) {
            Ok(checkpoint)
        } else {
            Err(NoteError::Unverified.into())
        }
    }
}

/// A decimal number without sign and leading zeros.
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    text.parse::<u64>().ok().filter(|n| n.to_string() == text)
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}\n", self.origin, self.size, self.root)?;
        self.extensions.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::empty_root;
    use proptest::prelude::*;

    #[test]
    fn reads_the_example_of_the_specification() {
        let text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        let checkpoint = Checkpoint::parse(text).unwrap();
        assert_eq!((checkpoint.origin.as_str(), checkpoint.size), ("example.com/behind-the-sofa", 20_852_163));
        assert_eq!(checkpoint.to_string(), text);
        let extended = format!("{text}extension\n");
        assert_eq!(Checkpoint::parse(&extended).unwrap().to_string(), extended);
    }

    #[test]
    fn malformed_ones_are_refused() {
        let root = empty_root();
        for wrong in [
            String::new(),
            "a\n".into(),
            format!("a\n1\n{root}"),
            format!("\n1\n{root}\n"),
            format!("a\n01\n{root}\n"),
            format!("a\n+1\n{root}\n"),
            format!("a\n-1\n{root}\n"),
            format!("a\n18446744073709551616\n{root}\n"),
            "a\n1\nAAAA\n".into(),
            format!("a\n1\n{root}\n\n"),
        ] {
            assert!(Checkpoint::parse(&wrong).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn every_checkpoint_round_trips(origin in "[a-z./]{1,20}", size: u64, root: [u8; 32]) {
            let checkpoint = Checkpoint::new(&origin, size, Hash::new(root));
            prop_assert_eq!(Checkpoint::parse(&checkpoint.to_string()), Ok(checkpoint));
        }
    }
}
