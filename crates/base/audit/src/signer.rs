//! Keys that sign notes. The log's own key is Ed25519 (type 0x01); next to it an ML-DSA-44 cosignature (type 0x06)
//! keeps checkpoints believable after quantum computers (c2sp.org/tlog-checkpoint and tlog-cosignature).

use keyreeve_crypto::seeded::{SeededEd25519, SeededMlDsa44};
use std::sync::Arc;
use thiserror::Error;

use crate::note::{KeyType, NoteSignature, SignedNote, VerifierKey, ml_dsa_cosigned};

/// A note could not be signed, or a signer not be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SignError {
    /// The key was refused, its name is not valid, or its device failed.
    #[error("the signing key cannot be used: {0}")]
    Key(String),
    /// Cosignatures are made on checkpoints only.
    #[error("a cosignature is made on a checkpoint, this text is none")]
    NotACheckpoint,
}

/// Signs notes under one name and key.
pub trait NoteSigner: Send + Sync {
    /// The public side: name, type and key.
    fn verifier(&self) -> &VerifierKey;

    /// The signature on `text` (what follows the key id on the line). `time` is in seconds since 1970; kinds without
    /// a time in them ignore it.
    ///
    /// # Errors
    /// [`SignError`].
    fn sign(&self, text: &str, time: u64) -> Result<Vec<u8>, SignError>;
}

/// A note with one line per signer, in the order given.
///
/// # Errors
/// [`SignError`] of the first signer that fails.
pub fn sign_note(text: &str, time: u64, signers: &[Arc<dyn NoteSigner>]) -> Result<SignedNote, SignError> {
    let line = |signer: &Arc<dyn NoteSigner>| {
        let key = signer.verifier();
        Ok(NoteSignature { name: key.name().to_owned(), key_id: key.id(), bytes: signer.sign(text, time)? })
    };
    Ok(SignedNote { text: text.to_owned(), signatures: signers.iter().map(line).collect::<Result<_, _>>()? })
}

fn refused(e: impl std::fmt::Display) -> SignError {
    SignError::Key(e.to_string())
}

/// Ed25519 over the text (type 0x01).
pub struct Ed25519Signer {
    key: SeededEd25519,
    verifier: VerifierKey,
}

impl Ed25519Signer {
    /// From the 32-byte seed (RFC 8032 §5.1.5); the name of a log's key is its origin.
    ///
    /// # Errors
    /// [`SignError::Key`] when the name is not valid.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, SignError> {
        let key = SeededEd25519::from_seed(seed).map_err(refused)?;
        let verifier = VerifierKey::new(name, KeyType::Ed25519, key.public_key()).map_err(refused)?;
        Ok(Self { key, verifier })
    }
}

impl NoteSigner for Ed25519Signer {
    fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    fn sign(&self, text: &str, _time: u64) -> Result<Vec<u8>, SignError> {
        self.key.sign(text.as_bytes()).map_err(refused)
    }
}

/// ML-DSA-44 cosignatures on checkpoints (type 0x06).
pub struct MlDsa44Cosigner {
    key: SeededMlDsa44,
    verifier: VerifierKey,
}

impl MlDsa44Cosigner {
    /// From the 32-byte seed (FIPS 204 §6.1, ξ).
    ///
    /// # Errors
    /// [`SignError::Key`] when the name is not valid.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, SignError> {
        let key = SeededMlDsa44::from_seed(seed).map_err(refused)?;
        let verifier = VerifierKey::new(name, KeyType::MlDsa44Cosignature, key.public_key()).map_err(refused)?;
        Ok(Self { key, verifier })
    }
}

impl NoteSigner for MlDsa44Cosigner {
    fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    fn sign(&self, text: &str, time: u64) -> Result<Vec<u8>, SignError> {
        let message = ml_dsa_cosigned(self.verifier.name(), time, text).ok_or(SignError::NotACheckpoint)?;
        let signature = self.key.sign(&message).map_err(refused)?;
        Ok([time.to_be_bytes().as_slice(), &signature].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::merkle::Hash;
    use crate::note::NoteError;

    #[test]
    fn a_checkpoint_with_both_signatures_verifies_under_either_key() {
        let ed = Ed25519Signer::from_seed("log.example/a", &[1; 32]).unwrap();
        let ml = MlDsa44Cosigner::from_seed("log.example/a", &[2; 32]).unwrap();
        let keys = [ed.verifier().clone(), ml.verifier().clone()];
        let text = Checkpoint::new("log.example/a", 7, Hash::sha256(b"root")).to_string();
        let note = sign_note(&text, 1_795_338_000, &[Arc::new(ed), Arc::new(ml)]).unwrap();
        assert_eq!(note.signatures[1].bytes.len(), 2428);
        for key in &keys {
            assert_eq!(note.verify(std::slice::from_ref(key)).unwrap(), [key]);
            assert_eq!(key.to_string().parse::<VerifierKey>().as_ref(), Ok(key));
        }
        assert_eq!(note.verify(&keys).unwrap().len(), 2);
        assert_eq!(Checkpoint::open(note.to_string().as_bytes(), &keys).unwrap().size, 7);

        let mut later = note.clone();
        later.signatures[1].bytes[7] ^= 1;
        assert_eq!(later.verify(&keys), Err(NoteError::BadSignature("log.example/a".into())));
        let mut other = note.clone();
        other.text = text.replace("\n7\n", "\n8\n");
        assert!(keys.iter().all(|key| other.verify(std::slice::from_ref(key)).is_err()));
    }

    #[test]
    fn a_cosignature_alone_by_another_name_does_not_make_a_checkpoint() {
        let witness = MlDsa44Cosigner::from_seed("witness.example", &[2; 32]).unwrap();
        let keys = [witness.verifier().clone()];
        assert_eq!(witness.sign("no checkpoint\n", 1), Err(SignError::NotACheckpoint));
        let text = Checkpoint::new("log.example/a", 7, Hash::sha256(b"root")).to_string();
        let note = sign_note(&text, 1, &[Arc::new(witness)]).unwrap().to_string();
        assert!(Checkpoint::open(note.as_bytes(), &keys).is_err());
        assert!(Ed25519Signer::from_seed("two words", &[0; 32]).is_err());
    }
}
