//! What can go wrong with an envelope file.

use keyreeve_crypto::CryptoError;

use crate::header::{CHUNK_SIZE_MAX, CHUNK_SIZE_MIN, HEADER_MAX, WRAPPED_KEY_MAX};

/// Why an envelope was not made or not opened. Chunks count from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// It does not begin as envelope files do.
    #[error("this is not an envelope file")]
    NotAnEnvelope,
    /// A version this program does not know.
    #[error("envelope version {0} is not known to this program: use a newer one")]
    Version(u16),
    /// A cipher suite this program does not know.
    #[error("envelope cipher suite {0} is not known to this program: use a newer one")]
    Suite(u16),
    /// The file ends inside of its header.
    #[error("the file ends inside of its header: the rest is missing")]
    HeaderCut,
    /// The header announces an impossible length of its own, or its parts do not fill it.
    #[error("the header is malformed: its length is above {HEADER_MAX} bytes or not that of its parts")]
    HeaderLength,
    /// The chunk size is none of the possible ones.
    #[error("a chunk has a power of two between {CHUNK_SIZE_MIN} and {CHUNK_SIZE_MAX} bytes, not {0}")]
    ChunkSize(u32),
    /// The wrapped data key is empty or too long.
    #[error("a wrapped data key has 1 to {WRAPPED_KEY_MAX} bytes")]
    WrappedKeyLength,
    /// The encryption context is too large, not in canonical form, or holds control characters.
    #[error(
        "the encryption context is not acceptable: at most 32 pairs and 8 KiB, names not empty, no control characters, \
         sorted by name"
    )]
    Context,
    /// The data key has the wrong length.
    #[error("a data key for an envelope has 32 bytes, this one {0}")]
    DataKeyLength(usize),
    /// The data key is not the one this file was made with, or salt or commitment in the header were altered.
    #[error("this data key does not belong to this file")]
    WrongKey,
    /// The header was altered.
    #[error("the header of the file was altered")]
    HeaderAltered,
    /// A chunk was altered, moved, repeated or left out.
    #[error("the file was altered in chunk {chunk}")]
    Altered {
        /// The first chunk that does not open.
        chunk: u64,
    },
    /// The file ends early: certainly, because what is there is intact and says that more follows.
    #[error("the file was cut short after chunk {chunk}: the end is missing")]
    Cut {
        /// The chunk the file ends with or in.
        chunk: u64,
    },
    /// The end of the file does not open: it was altered, or cut short in the middle of a chunk; both look the same.
    #[error("the end of the file was altered or is missing, from chunk {chunk} on")]
    CutOrAltered {
        /// The chunk the file ends in.
        chunk: u64,
    },
    /// Something was appended to the file.
    #[error("something was appended to the file after chunk {chunk}, its true end")]
    Continues {
        /// The last chunk of the file.
        chunk: u64,
    },
    /// The caller's chunk has a length that it cannot have at this place.
    #[error("a chunk of {0} bytes cannot stand here")]
    ChunkLength(usize),
    /// A chunk after the last one or after a failure.
    #[error("no chunk can follow: the last one was given, or one failed")]
    Finished,
    /// More than 2^32 chunks.
    #[error("the data are too long for one envelope of this chunk size")]
    TooLong,
    /// The cryptographic module refused.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

/// Why a stream was not encrypted or decrypted to its end.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The envelope is not in order.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The input cannot be read.
    #[error("the input cannot be read: {0}")]
    Read(#[source] std::io::Error),
    /// The output cannot be written.
    #[error("the output cannot be written: {0}")]
    Write(#[source] std::io::Error),
}
