//! The header: what the writer chooses ([`Header`]), and what stands in the file ([`FileHeader`]).

use std::collections::BTreeMap;

use keyreeve_crypto::random::Random;

use crate::cipher::TAG_LEN;
use crate::error::EnvelopeError;

const MAGIC: &[u8; 8] = b"\x8bKREENV\n";
const VERSION: u16 = 1;
const SUITE: u16 = 1;

/// Plaintext bytes in a chunk, unless the writer chooses otherwise.
pub const CHUNK_SIZE: u32 = 64 * 1024;
/// Smallest chunk size, in plaintext bytes.
pub const CHUNK_SIZE_MIN: u32 = 4 * 1024;
/// Largest chunk size, in plaintext bytes: readers hold two chunks in memory.
pub const CHUNK_SIZE_MAX: u32 = 1024 * 1024;
/// Longest wrapped data key, in bytes.
pub const WRAPPED_KEY_MAX: usize = 4096;
/// Bytes at the front of the file after which the length of the header is known.
pub const PREFIX_LEN: usize = 20;
/// Longest header, in bytes.
pub const HEADER_MAX: usize = PREFIX_LEN + SALT_LEN + 4 + WRAPPED_KEY_MAX + 4 + CONTEXT_MAX + PROOF_LEN;

const SALT_LEN: usize = 32;
const CONTEXT_PAIRS_MAX: usize = 32;
/// The number of pairs, and 8 KiB for the pairs with their lengths: the limit the server has.
const CONTEXT_MAX: usize = 4 + 8 * 1024;
/// Commitment and header MAC.
const PROOF_LEN: usize = 64;

/// What the writer of a file chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    chunk_size: u32,
    salt: [u8; SALT_LEN],
    wrapped_key: Vec<u8>,
    context: BTreeMap<String, String>,
}

impl Header {
    /// A header with a fresh salt and chunks of [`CHUNK_SIZE`]. `wrapped_key` is what the server gave along with the
    /// data key; `context` the encryption context it was wrapped with, which the reader will need: both stand in the
    /// file readable.
    ///
    /// # Errors
    /// [`EnvelopeError::WrappedKeyLength`], [`EnvelopeError::Context`], [`EnvelopeError::Crypto`] if there is no
    /// randomness.
    pub fn new(
        random: &Random,
        wrapped_key: Vec<u8>,
        context: BTreeMap<String, String>,
    ) -> Result<Self, EnvelopeError> {
        let salt = random.nonce_array().map_err(keyreeve_crypto::CryptoError::from)?;
        Self::with_parts(CHUNK_SIZE, salt, wrapped_key, context)
    }

    /// A header of which every part is chosen. Two files with one data key must not have one salt.
    ///
    /// # Errors
    /// [`EnvelopeError::ChunkSize`], [`EnvelopeError::WrappedKeyLength`], [`EnvelopeError::Context`].
    pub fn with_parts(
        chunk_size: u32,
        salt: [u8; 32],
        wrapped_key: Vec<u8>,
        context: BTreeMap<String, String>,
    ) -> Result<Self, EnvelopeError> {
        check_chunk_size(chunk_size)?;
        if !(1..=WRAPPED_KEY_MAX).contains(&wrapped_key.len()) {
            return Err(EnvelopeError::WrappedKeyLength);
        }
        let acceptable = context.len() <= CONTEXT_PAIRS_MAX
            && context_len(&context) <= CONTEXT_MAX
            && context.iter().all(|(name, value)| acceptable_pair(name, value));
        if acceptable { Ok(Self { chunk_size, salt, wrapped_key, context }) } else { Err(EnvelopeError::Context) }
    }

    /// Plaintext bytes in a chunk.
    pub fn chunk_size(&self) -> usize {
        self.chunk_size as usize
    }

    /// The salt of the file.
    pub fn salt(&self) -> &[u8; 32] {
        &self.salt
    }

    /// The wrapped data key, for the server to unwrap.
    pub fn wrapped_key(&self) -> &[u8] {
        &self.wrapped_key
    }

    /// The encryption context, sorted by name. From a file it is a claim until the server has unwrapped the data key
    /// with it and [`Opener::new`](crate::Opener::new) has accepted the key.
    pub fn context(&self) -> &BTreeMap<String, String> {
        &self.context
    }

    /// Bytes of the header in the file.
    pub fn encoded_len(&self) -> usize {
        PREFIX_LEN + SALT_LEN + 4 + self.wrapped_key.len() + 4 + context_len(&self.context) + PROOF_LEN
    }

    /// Everything before the commitment.
    pub(crate) fn encode_front(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&SUITE.to_be_bytes());
        out.extend_from_slice(&self.chunk_size.to_be_bytes());
        // Below HEADER_MAX, as the parts were checked.
        out.extend_from_slice(&(self.encoded_len() as u32).to_be_bytes());
        out.extend_from_slice(&self.salt);
        write_counted(&self.wrapped_key, &mut out);
        out.extend_from_slice(&(context_len(&self.context) as u32).to_be_bytes());
        out.extend_from_slice(&(self.context.len() as u32).to_be_bytes());
        for (name, value) in &self.context {
            write_counted(name.as_bytes(), &mut out);
            write_counted(value.as_bytes(), &mut out);
        }
        out
    }

    /// Bytes that a file with `plaintext_len` bytes of plaintext has in all.
    ///
    /// # Errors
    /// [`EnvelopeError::TooLong`].
    pub fn file_len(&self, plaintext_len: u64) -> Result<u64, EnvelopeError> {
        let chunks = plaintext_len.div_ceil(self.chunk_size.into()).max(1);
        if chunks > crate::cipher::CHUNKS_MAX {
            return Err(EnvelopeError::TooLong);
        }
        // At most 2^52 bytes.
        Ok(self.encoded_len() as u64 + plaintext_len + chunks * TAG_LEN as u64)
    }
}

/// A header as it stands in a file: nothing in it is to be believed before [`Opener::new`](crate::Opener::new) accepted
/// it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileHeader {
    header: Header,
    commitment: [u8; 32],
    mac: [u8; 32],
}

impl FileHeader {
    pub(crate) fn from_parts(header: Header, commitment: [u8; 32], mac: [u8; 32]) -> Self {
        Self { header, commitment, mac }
    }

    /// What the writer chose.
    pub fn header(&self) -> &Header {
        &self.header
    }

    pub(crate) fn commitment(&self) -> &[u8; 32] {
        &self.commitment
    }

    pub(crate) fn mac(&self) -> &[u8; 32] {
        &self.mac
    }

    /// The bytes in the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.header.encode_front();
        out.extend_from_slice(&self.commitment);
        out.extend_from_slice(&self.mac);
        out
    }

    /// Length of the header, from the first bytes of a file.
    ///
    /// # Errors
    /// [`EnvelopeError::NotAnEnvelope`], [`EnvelopeError::Version`], [`EnvelopeError::Suite`],
    /// [`EnvelopeError::ChunkSize`], [`EnvelopeError::HeaderLength`].
    pub fn announced_len(prefix: &[u8; PREFIX_LEN]) -> Result<usize, EnvelopeError> {
        read_prefix(&mut Parser { rest: prefix }).map(|(_, len)| len)
    }

    /// Reads a header at the front of `bytes` and returns it with its length; what follows is not looked at. Accepts
    /// exactly what [`encode`](Self::encode) makes, and copies at most [`HEADER_MAX`] bytes.
    ///
    /// # Errors
    /// [`EnvelopeError`]; [`EnvelopeError::HeaderCut`] if there are fewer bytes than the header has.
    pub fn decode(bytes: &[u8]) -> Result<(Self, usize), EnvelopeError> {
        let mut parser = Parser { rest: bytes };
        if !bytes.starts_with(MAGIC) && (bytes.is_empty() || !MAGIC.starts_with(bytes)) {
            return Err(EnvelopeError::NotAnEnvelope);
        }
        let (chunk_size, len) = read_prefix(&mut parser)?;
        let mut parser = Parser { rest: bytes.get(PREFIX_LEN..len).ok_or(EnvelopeError::HeaderCut)? };
        // From here on there are as many bytes as announced: what does not fit contradicts the announcement.
        let inside = |_| EnvelopeError::HeaderLength;
        let salt = parser.array().map_err(inside)?;
        let wrapped_key = parser.counted().map_err(inside)?;
        let context = read_context(parser.counted().map_err(inside)?)?;
        let commitment = parser.array().map_err(inside)?;
        let mac = parser.array().map_err(inside)?;
        if !parser.rest.is_empty() {
            return Err(EnvelopeError::HeaderLength);
        }
        let header = Header::with_parts(chunk_size, salt, wrapped_key.to_vec(), context)?;
        Ok((Self { header, commitment, mac }, len))
    }

    /// Bytes of plaintext in a file of `file_len` bytes, header included: for progress and for making room, not proven
    /// before the last chunk has opened.
    ///
    /// # Errors
    /// [`EnvelopeError::HeaderCut`] or [`EnvelopeError::Cut`] for lengths that no complete file has.
    pub fn plaintext_len(&self, file_len: u64) -> Result<u64, EnvelopeError> {
        let payload = file_len.checked_sub(self.header.encoded_len() as u64).ok_or(EnvelopeError::HeaderCut)?;
        let (chunk, tag) = (u64::from(self.header.chunk_size), TAG_LEN as u64);
        let (full, rest) = (payload / (chunk + tag), payload % (chunk + tag));
        match (full, rest) {
            (0, 16) => Ok(0),
            (1.., 0) => Ok(full * chunk),
            (_, 17..) => Ok(full * chunk + rest - tag),
            (_, 0..=16) => Err(EnvelopeError::Cut { chunk: full }),
        }
    }
}

/// Chunk size and announced length of the header.
fn read_prefix(parser: &mut Parser<'_>) -> Result<(u32, usize), EnvelopeError> {
    if parser.array::<8>()? != *MAGIC {
        return Err(EnvelopeError::NotAnEnvelope);
    }
    match u16::from_be_bytes(parser.array()?) {
        VERSION => {}
        other => return Err(EnvelopeError::Version(other)),
    }
    match u16::from_be_bytes(parser.array()?) {
        SUITE => {}
        other => return Err(EnvelopeError::Suite(other)),
    }
    let chunk_size = parser.number()?;
    check_chunk_size(chunk_size)?;
    let len = parser.number()? as usize;
    if len > HEADER_MAX { Err(EnvelopeError::HeaderLength) } else { Ok((chunk_size, len.max(PREFIX_LEN))) }
}

fn check_chunk_size(size: u32) -> Result<(), EnvelopeError> {
    let possible = size.is_power_of_two() && (CHUNK_SIZE_MIN..=CHUNK_SIZE_MAX).contains(&size);
    if possible { Ok(()) } else { Err(EnvelopeError::ChunkSize(size)) }
}

fn read_context(bytes: &[u8]) -> Result<BTreeMap<String, String>, EnvelopeError> {
    if bytes.len() > CONTEXT_MAX {
        return Err(EnvelopeError::Context);
    }
    let malformed = |_| EnvelopeError::Context;
    let mut parser = Parser { rest: bytes };
    let mut context: BTreeMap<String, String> = BTreeMap::new();
    for _ in 0..parser.number().map_err(malformed)? {
        let name = text(parser.counted().map_err(malformed)?)?;
        let value = text(parser.counted().map_err(malformed)?)?;
        // Ascending order leaves one form for each context.
        if context.last_key_value().is_some_and(|(before, _)| *before >= name) {
            return Err(EnvelopeError::Context);
        }
        context.insert(name, value);
    }
    if parser.rest.is_empty() { Ok(context) } else { Err(EnvelopeError::Context) }
}

fn text(bytes: &[u8]) -> Result<String, EnvelopeError> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| EnvelopeError::Context)
}

fn acceptable_pair(name: &str, value: &str) -> bool {
    !name.is_empty() && !name.chars().chain(value.chars()).any(char::is_control)
}

fn context_len(context: &BTreeMap<String, String>) -> usize {
    4 + context.iter().map(|(name, value)| 8 + name.len() + value.len()).sum::<usize>()
}

fn write_counted(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Takes bytes from the front; where there are too few, the header is cut.
struct Parser<'a> {
    rest: &'a [u8],
}

impl<'a> Parser<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], EnvelopeError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(EnvelopeError::HeaderCut)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], EnvelopeError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(EnvelopeError::HeaderCut)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn number(&mut self) -> Result<u32, EnvelopeError> {
        self.array().map(u32::from_be_bytes)
    }

    fn counted(&mut self) -> Result<&'a [u8], EnvelopeError> {
        let len = self.number()? as usize;
        self.take(len)
    }
}
