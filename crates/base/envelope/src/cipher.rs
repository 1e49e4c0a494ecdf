//! Keys of a file, and its chunks.

use keyreeve_crypto::aead::NumberedAead;
use keyreeve_crypto::{digest, kdf, mac};
use keyreeve_secret::{SecretArray, SecretBytes};

use crate::error::EnvelopeError;
use crate::header::{FileHeader, Header};

/// Bytes of the tag after each chunk.
pub const TAG_LEN: usize = 16;

/// Chunks in a file: AES-GCM with one key stays far from its bounds.
pub(crate) const CHUNKS_MAX: u64 = 1 << 32;

const DATA_KEY_LEN: usize = 32;
const COMMIT: &[u8] = b"keyreeve envelope commit v1";
const HEADER: &[u8] = b"keyreeve envelope header v1";
const PAYLOAD: &[u8] = b"keyreeve envelope payload v1";

/// What follows from data key and salt.
struct Schedule<'a> {
    data_key: &'a SecretBytes,
    salt: &'a [u8; 32],
}

impl Schedule<'_> {
    fn derive(&self, info: &[u8]) -> Result<SecretArray<32>, EnvelopeError> {
        if self.data_key.len() != DATA_KEY_LEN {
            return Err(EnvelopeError::DataKeyLength(self.data_key.len()));
        }
        Ok(kdf::hkdf_sha256(self.data_key.expose(), self.salt, info)?)
    }

    fn header_mac_key(&self) -> Result<mac::MacKey, EnvelopeError> {
        let key = self.derive(HEADER)?;
        Ok(mac::MacKey::new(keyreeve_crypto::HashAlgorithm::Sha256, key.expose()))
    }

    /// `front` is the header up to and with the commitment.
    fn payload(&self, front: &[u8]) -> Result<NumberedAead, EnvelopeError> {
        let info = [PAYLOAD, &digest::sha256(front)].concat();
        Ok(NumberedAead::new(&self.derive(&info)?)?)
    }
}

/// Counts chunks, so that each nonce is used once and nothing follows the last chunk.
struct Position {
    next: Option<u64>,
    chunk_size: usize,
}

impl Position {
    fn start(header: &Header) -> Self {
        Self { next: Some(0), chunk_size: header.chunk_size() }
    }

    /// Takes the number of the next chunk, after which none can follow until [`advance`](Self::advance).
    fn take(&mut self, len: usize, last: bool) -> Result<u64, EnvelopeError> {
        let chunk = self.next.take().ok_or(EnvelopeError::Finished)?;
        let possible = if last { len <= self.chunk_size && (len > 0 || chunk == 0) } else { len == self.chunk_size };
        if !possible {
            return Err(EnvelopeError::ChunkLength(len));
        }
        if chunk >= CHUNKS_MAX { Err(EnvelopeError::TooLong) } else { Ok(chunk) }
    }

    fn advance(&mut self, chunk: u64, last: bool) {
        self.next = (!last).then_some(chunk + 1);
    }
}

fn nonce(chunk: u64, last: bool) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[3..11].copy_from_slice(&chunk.to_be_bytes());
    nonce[11] = u8::from(last);
    nonce
}

/// Encrypts the chunks of one file, in order.
pub struct Sealer {
    key: NumberedAead,
    position: Position,
}

impl Sealer {
    /// Begins a file: returns the bytes of its header, which go first. The data key must be fresh from the server and
    /// is not kept.
    ///
    /// # Errors
    /// [`EnvelopeError::DataKeyLength`], [`EnvelopeError::Crypto`].
    pub fn new(data_key: &SecretBytes, header: Header) -> Result<(Vec<u8>, Self), EnvelopeError> {
        let position = Position::start(&header);
        let schedule = Schedule { data_key, salt: header.salt() };
        let commitment: [u8; 32] = *schedule.derive(COMMIT)?.expose();
        let mut front = header.encode_front();
        front.extend_from_slice(&commitment);
        let mut mac = [0; 32];
        mac.copy_from_slice(&schedule.header_mac_key()?.mac(&front));
        let key = schedule.payload(&front)?;
        Ok((FileHeader::from_parts(header, commitment, mac).encode(), Self { key, position }))
    }

    /// Appends the next chunk, sealed, to `out`. All chunks but the last have the chunk size; the last is not empty
    /// unless it is the only one.
    ///
    /// # Errors
    /// [`EnvelopeError::ChunkLength`], [`EnvelopeError::Finished`], [`EnvelopeError::TooLong`],
    /// [`EnvelopeError::Crypto`]; after an error nothing more can be sealed.
    pub fn seal_chunk(&mut self, plaintext: &[u8], last: bool, out: &mut Vec<u8>) -> Result<(), EnvelopeError> {
        let chunk = self.position.take(plaintext.len(), last)?;
        self.key.seal_into(nonce(chunk, last), b"", plaintext, out)?;
        self.position.advance(chunk, last);
        Ok(())
    }
}

/// Decrypts the chunks of one file, in order.
pub struct Opener {
    key: NumberedAead,
    position: Position,
}

impl Opener {
    /// Begins reading: checks, in constant time, that the data key is the one of this file and that nobody altered the
    /// header.
    ///
    /// # Errors
    /// [`EnvelopeError::WrongKey`], [`EnvelopeError::HeaderAltered`], [`EnvelopeError::DataKeyLength`],
    /// [`EnvelopeError::Crypto`].
    pub fn new(data_key: &SecretBytes, file: &FileHeader) -> Result<Self, EnvelopeError> {
        let schedule = Schedule { data_key, salt: file.header().salt() };
        if !schedule.derive(COMMIT)?.ct_eq(file.commitment()) {
            return Err(EnvelopeError::WrongKey);
        }
        let mut front = file.header().encode_front();
        front.extend_from_slice(file.commitment());
        schedule.header_mac_key()?.verify(&front, file.mac()).map_err(|_| EnvelopeError::HeaderAltered)?;
        Ok(Self { key: schedule.payload(&front)?, position: Position::start(file.header()) })
    }

    /// Opens the next chunk into the front of `out` and returns the length of its plaintext. `last` says that the file
    /// ends with this chunk. `out` holds nothing of the chunk when this fails.
    ///
    /// # Errors
    /// [`EnvelopeError::Altered`], [`EnvelopeError::Cut`], [`EnvelopeError::CutOrAltered`] and
    /// [`EnvelopeError::Continues`] say what is wrong with the file; [`EnvelopeError::ChunkLength`] also if `out` is
    /// too short. After an error nothing more can be opened.
    pub fn open_chunk(&mut self, sealed: &[u8], last: bool, out: &mut [u8]) -> Result<usize, EnvelopeError> {
        let next = self.position.next.ok_or(EnvelopeError::Finished)?;
        let Some(len) = sealed.len().checked_sub(TAG_LEN) else {
            self.position.next = None;
            return Err(EnvelopeError::Cut { chunk: next });
        };
        let chunk = self.position.take(len, last).map_err(|error| match error {
            // No writer ends a file with an empty chunk, but a file may be cut just behind what looks like one.
            EnvelopeError::ChunkLength(0) if last => EnvelopeError::CutOrAltered { chunk: next },
            other => other,
        })?;
        let out = out.get_mut(..len).ok_or(EnvelopeError::ChunkLength(len))?;
        if self.key.open_into(nonce(chunk, last), b"", sealed, out).is_err() {
            return Err(self.diagnose(chunk, sealed, last, out));
        }
        self.position.advance(chunk, last);
        Ok(len)
    }

    /// Why a chunk does not open. If it opens as what it is not said to be, the end of the file was moved.
    fn diagnose(&self, chunk: u64, sealed: &[u8], last: bool, out: &mut [u8]) -> EnvelopeError {
        let moved = self.key.open_into(nonce(chunk, !last), b"", sealed, out).is_ok();
        out.fill(0);
        let short = out.len() < self.position.chunk_size;
        match (moved, last) {
            (true, true) => EnvelopeError::Cut { chunk },
            (true, false) => EnvelopeError::Continues { chunk },
            (false, true) if short => EnvelopeError::CutOrAltered { chunk },
            (false, _) => EnvelopeError::Altered { chunk },
        }
    }
}
