//! Whole files, over any reader and writer.

use std::io::{ErrorKind, Read, Write};

use keyreeve_secret::SecretBytes;

use crate::cipher::{Opener, Sealer, TAG_LEN};
use crate::error::StreamError;
use crate::header::{FileHeader, Header, PREFIX_LEN};

/// Encrypts all of `reader` to `writer`, which is flushed, and returns the number of plaintext bytes. `progress` hears
/// that number after each chunk. Reads and writes whole chunks: neither side needs a buffer of its own.
///
/// # Errors
/// [`StreamError`]; what was written by then is no complete file and does not decrypt as one.
pub fn encrypt_stream<R: Read, W: Write>(
    data_key: &SecretBytes,
    header: Header,
    mut reader: R,
    mut writer: W,
    mut progress: impl FnMut(u64),
) -> Result<u64, StreamError> {
    let chunk_size = header.chunk_size();
    let (front, mut sealer) = Sealer::new(data_key, header)?;
    writer.write_all(&front).map_err(StreamError::Write)?;
    let mut pieces = Pieces::new(chunk_size);
    let mut sealed = Vec::with_capacity(chunk_size + TAG_LEN);
    let mut done = 0;
    loop {
        let (plaintext, last) = pieces.next(&mut reader)?;
        sealed.clear();
        sealer.seal_chunk(plaintext, last, &mut sealed)?;
        writer.write_all(&sealed).map_err(StreamError::Write)?;
        done += plaintext.len() as u64;
        progress(done);
        if last {
            break;
        }
    }
    writer.flush().map_err(StreamError::Write)?;
    Ok(done)
}

/// Reads the header of a file, and not a byte beyond it: what the server needs to unwrap the data key.
///
/// # Errors
/// [`StreamError::Read`], or what [`FileHeader::decode`] says.
pub fn read_header<R: Read>(mut reader: R) -> Result<FileHeader, StreamError> {
    let mut bytes = vec![0; PREFIX_LEN];
    let found = fill(&mut reader, &mut bytes)?;
    bytes.truncate(found);
    if let Ok(prefix) = bytes.as_slice().try_into() {
        bytes.resize(FileHeader::announced_len(prefix)?, 0);
        let more = fill(&mut reader, &mut bytes[PREFIX_LEN..])?;
        bytes.truncate(PREFIX_LEN + more);
    }
    Ok(FileHeader::decode(&bytes)?.0)
}

/// Decrypts what follows the header in `reader` to `writer`, which is flushed, and returns the number of plaintext
/// bytes. `progress` hears that number after each chunk.
///
/// Each chunk is written when it has proved to be genuine and in its place, not before. That the file is complete is
/// known only at the end: a caller whose output must be all or nothing writes to a temporary place.
///
/// # Errors
/// [`StreamError`]; what was written by then is a genuine beginning of the plaintext.
pub fn decrypt_stream<R: Read, W: Write>(
    data_key: &SecretBytes,
    header: &FileHeader,
    mut reader: R,
    mut writer: W,
    mut progress: impl FnMut(u64),
) -> Result<u64, StreamError> {
    let mut opener = Opener::new(data_key, header)?;
    let chunk_size = header.header().chunk_size();
    let mut pieces = Pieces::new(chunk_size + TAG_LEN);
    let mut plaintext = SecretBytes::init_with(chunk_size, |_| ());
    let mut done = 0;
    loop {
        let (sealed, last) = pieces.next(&mut reader)?;
        let len = opener.open_chunk(sealed, last, plaintext.expose_mut())?;
        writer.write_all(&plaintext.expose()[..len]).map_err(StreamError::Write)?;
        done += len as u64;
        progress(done);
        if last {
            break;
        }
    }
    writer.flush().map_err(StreamError::Write)?;
    Ok(done)
}

/// Cuts a stream into pieces of one size and knows which is the last: it reads one byte ahead.
struct Pieces {
    /// A piece and the byte after it. Secret, since the pieces may be plaintext.
    buffer: SecretBytes,
    /// Whether that byte was read and begins the next piece.
    ahead: bool,
}

impl Pieces {
    fn new(size: usize) -> Self {
        Self { buffer: SecretBytes::init_with(size + 1, |_| ()), ahead: false }
    }

    /// The next piece, and whether it is the last; empty only at the end of an empty stream.
    fn next<R: Read>(&mut self, reader: &mut R) -> Result<(&[u8], bool), StreamError> {
        let buffer = self.buffer.expose_mut();
        let size = buffer.len() - 1;
        if self.ahead {
            buffer[0] = buffer[size];
        }
        let kept = usize::from(self.ahead);
        let filled = kept + fill(reader, &mut buffer[kept..])?;
        self.ahead = filled > size;
        Ok((&buffer[..filled.min(size)], !self.ahead))
    }
}

/// Reads until `buffer` is full or the stream ends; returns how much there was.
fn fill<R: Read>(reader: &mut R, buffer: &mut [u8]) -> Result<usize, StreamError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(StreamError::Read(error)),
        }
    }
    Ok(filled)
}
