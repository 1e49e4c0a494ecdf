//! Envelope files: one request for the data key, and everything else on this machine, in constant memory.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use keyreeve_envelope::{EnvelopeError, FileHeader, Header, Opener, Sealer, StreamError, TAG_LEN};
use keyreeve_secret::SecretBytes;

use crate::error::ClientError;
use crate::transport::{Answer, Client};

/// What a data key is bound to: names and values, sorted.
pub type Context = BTreeMap<String, String>;

/// A fresh data key and the header that goes with it: good for one file.
pub struct NewEnvelope {
    data_key: SecretBytes,
    header: Header,
}

impl NewEnvelope {
    /// Encrypts all of `reader` to `writer` on the calling thread; `progress` hears the plaintext bytes done so far.
    /// Returns their number.
    ///
    /// # Errors
    /// [`ClientError::Stream`]; what was written by then does not decrypt as a file.
    pub fn encrypt<R: Read, W: Write>(
        self,
        reader: R,
        writer: W,
        progress: impl FnMut(u64),
    ) -> Result<u64, ClientError> {
        Ok(keyreeve_envelope::encrypt_stream(&self.data_key, self.header, reader, writer, progress)?)
    }
}

/// The data key of a file whose header was read.
pub struct OpenedEnvelope {
    data_key: SecretBytes,
    header: FileHeader,
}

impl OpenedEnvelope {
    /// Decrypts what follows the header to `writer` on the calling thread; `progress` hears the plaintext bytes done so
    /// far. Returns their number. Nothing is written before it has proved genuine.
    ///
    /// # Errors
    /// [`ClientError::Stream`]; what was written by then is a genuine beginning of the plaintext, and no more.
    pub fn decrypt<R: Read, W: Write>(
        &self,
        reader: R,
        writer: W,
        progress: impl FnMut(u64),
    ) -> Result<u64, ClientError> {
        Ok(keyreeve_envelope::decrypt_stream(&self.data_key, &self.header, reader, writer, progress)?)
    }

    /// Puts what follows the header into another envelope, chunk by chunk on the calling thread: the plaintext is never
    /// in one piece and never outside of this process. Returns the number of plaintext bytes.
    ///
    /// # Errors
    /// [`ClientError::Stream`]; what was written by then does not decrypt as a file.
    pub fn renew<R: Read, W: Write>(
        &self,
        new: NewEnvelope,
        mut reader: R,
        mut writer: W,
        mut progress: impl FnMut(u64),
    ) -> Result<u64, ClientError> {
        let mut opener = Opener::new(&self.data_key, &self.header)?;
        let chunk_size = self.header.header().chunk_size();
        let (front, mut sealer) = Sealer::new(&new.data_key, new.header)?;
        writer.write_all(&front).map_err(StreamError::Write)?;
        let (mut this, mut next) = (vec![0; chunk_size + TAG_LEN], vec![0; chunk_size + TAG_LEN]);
        let mut len = fill(&mut reader, &mut this)?;
        let mut plaintext = SecretBytes::init_with(chunk_size, |_| ());
        let (mut sealed, mut done) = (Vec::with_capacity(chunk_size + TAG_LEN), 0);
        loop {
            // A file ends with the piece after which there is nothing.
            let next_len = if len == this.len() { fill(&mut reader, &mut next)? } else { 0 };
            let last = next_len == 0;
            let opened = opener.open_chunk(&this[..len], last, plaintext.expose_mut())?;
            sealed.clear();
            sealer.seal_chunk(&plaintext.expose()[..opened], last, &mut sealed)?;
            writer.write_all(&sealed).map_err(StreamError::Write)?;
            done += opened as u64;
            progress(done);
            if last {
                break;
            }
            std::mem::swap(&mut this, &mut next);
            len = next_len;
        }
        writer.flush().map_err(StreamError::Write)?;
        Ok(done)
    }
}

/// Reads until `buffer` is full or the stream ends; returns how much there was.
fn fill<R: Read>(reader: &mut R, buffer: &mut [u8]) -> Result<usize, StreamError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(StreamError::Read(error)),
        }
    }
    Ok(filled)
}

impl Client {
    /// Asks for a data key for one file: the only request that encrypting takes.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn new_envelope(&self, key: &str, context: &Context) -> Result<Answer<NewEnvelope>, ClientError> {
        self.envelope_like(key, context, keyreeve_envelope::CHUNK_SIZE as usize).await
    }

    /// Asks for the data key of a file: the only request that decrypting takes. The context stands in the header; where
    /// the caller knows it, `expected` makes sure that it is the same.
    ///
    /// # Errors
    /// [`ClientError`]; [`EnvelopeError::HeaderAltered`] where the context is not the expected one.
    pub async fn open_envelope(
        &self,
        header: FileHeader,
        expected: Option<&Context>,
    ) -> Result<Answer<OpenedEnvelope>, ClientError> {
        if expected.is_some_and(|expected| expected != header.header().context()) {
            return Err(EnvelopeError::HeaderAltered.into());
        }
        let answer = self.unwrap_one_data_key(header.header().wrapped_key(), header.header().context()).await?;
        Ok(answer.map(|data_key| OpenedEnvelope { data_key, header }))
    }

    /// Asks for a fresh data key, under the newest version of the same key, for the content of a file.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn envelope_for(&self, key: &str, old: &FileHeader) -> Result<Answer<NewEnvelope>, ClientError> {
        self.envelope_like(key, old.header().context(), old.header().chunk_size()).await
    }

    async fn envelope_like(
        &self,
        key: &str,
        context: &Context,
        chunk_size: usize,
    ) -> Result<Answer<NewEnvelope>, ClientError> {
        let answer = self.one_data_key(key, context).await?;
        let (data_key, wrapped) = answer.value;
        let salt = self.random().nonce_array::<32>()?;
        // A header's chunk size came out of 32 bits.
        let header = Header::with_parts(chunk_size as u32, salt, wrapped, context.clone())?;
        Ok(Answer { value: NewEnvelope { data_key, header }, audit_record: answer.audit_record })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: u8, context: &Context) -> (NewEnvelope, SecretBytes) {
        let data_key = SecretBytes::copy_from(&[key; 32]);
        let header = Header::with_parts(4096, [key; 32], vec![key; 60], context.clone()).unwrap();
        (NewEnvelope { data_key: data_key.duplicate(), header }, data_key)
    }

    fn opened(key: SecretBytes, mut file: &[u8]) -> (OpenedEnvelope, &[u8]) {
        let header = keyreeve_envelope::read_header(&mut file).unwrap();
        (OpenedEnvelope { data_key: key, header }, file)
    }

    #[test]
    fn renewing_keeps_the_content_and_changes_the_key() {
        let context = Context::from([("file".to_owned(), "a".to_owned())]);
        for len in [0_usize, 1, 4095, 4096, 4097, 3 * 4096] {
            let plaintext: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let (new, key) = pair(1, &context);
            let mut file = Vec::new();
            new.encrypt(&plaintext[..], &mut file, |_| ()).unwrap();

            let (envelope, payload) = opened(key, &file);
            let (newer, newer_key) = pair(2, &context);
            let mut renewed = Vec::new();
            assert_eq!(envelope.renew(newer, payload, &mut renewed, |_| ()).unwrap(), len as u64);

            let (envelope, payload) = opened(newer_key, &renewed);
            let mut back = Vec::new();
            envelope.decrypt(payload, &mut back, |_| ()).unwrap();
            assert_eq!(back, plaintext, "{len}");
        }
    }

    #[test]
    fn renewing_notices_what_was_cut_or_altered() {
        let (new, key) = pair(1, &Context::new());
        let mut file = Vec::new();
        new.encrypt(&vec![7; 9000][..], &mut file, |_| ()).unwrap();
        let header_len = file.len() - 9000 - 3 * TAG_LEN;
        for cut in [header_len, header_len + 1, header_len + 4096 + TAG_LEN, file.len() - 1] {
            let (envelope, payload) = opened(key.duplicate(), &file[..cut]);
            let result = envelope.renew(pair(2, &Context::new()).0, payload, &mut Vec::new(), |_| ());
            assert!(matches!(result, Err(ClientError::Stream(StreamError::Envelope(_)))), "{cut}");
        }
        *file.last_mut().unwrap() ^= 1;
        let (envelope, payload) = opened(key, &file);
        assert!(envelope.renew(pair(2, &Context::new()).0, payload, &mut Vec::new(), |_| ()).is_err());
    }
}
