//! Building a secret piece by piece.

use std::{fmt, io};

use crate::wipe::wipe_vec;
use crate::{SecretBytes, redacted};

/// A growing secret. When it needs more room it moves to a larger block and wipes the one it leaves.
#[derive(Default)]
pub struct SecretBuffer {
    bytes: Vec<u8>,
}

impl SecretBuffer {
    /// An empty buffer that takes `capacity` bytes before it has to move.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity) }
    }

    /// Appends `more`.
    pub fn extend_from_slice(&mut self, more: &[u8]) {
        self.reserve(more.len());
        self.bytes.extend_from_slice(more);
    }

    /// Appends one byte.
    pub fn push(&mut self, byte: u8) {
        self.extend_from_slice(&[byte]);
    }

    /// Makes room for `additional` more bytes.
    pub fn reserve(&mut self, additional: usize) {
        let needed = self.bytes.len().saturating_add(additional);
        if needed <= self.bytes.capacity() {
            return;
        }
        let mut larger = Vec::with_capacity(needed.max(self.bytes.capacity().saturating_mul(2)).max(64));
        larger.extend_from_slice(&self.bytes);
        wipe_vec(&mut self.bytes);
        self.bytes = larger;
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was appended yet.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The secret so far.
    pub fn expose(&self) -> &[u8] {
        &self.bytes
    }

    /// The finished secret, in the block it was built in.
    pub fn finish(mut self) -> SecretBytes {
        SecretBytes::from_vec(std::mem::take(&mut self.bytes))
    }
}

impl Drop for SecretBuffer {
    fn drop(&mut self) {
        wipe_vec(&mut self.bytes);
    }
}

impl fmt::Debug for SecretBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        redacted(f)
    }
}

impl io::Write for SecretBuffer {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    proptest! {
        #[test]
        fn pieces_come_out_in_order(capacity in 0usize..40, pieces: [Vec<u8>; 8]) {
            let mut buffer = SecretBuffer::with_capacity(capacity);
            for piece in &pieces {
                buffer.extend_from_slice(piece);
            }
            prop_assert_eq!(buffer.len(), pieces.concat().len());
            let finished = buffer.finish();
            let expected = pieces.concat();
            prop_assert_eq!(finished.expose(), expected.as_slice());
        }
    }

    #[test]
    fn finishing_keeps_the_block() {
        let mut buffer = SecretBuffer::with_capacity(16);
        buffer.write_all(b"abc").unwrap();
        buffer.push(b'd');
        let block = buffer.expose().as_ptr();
        assert!(!buffer.is_empty());
        assert_eq!(format!("{buffer:?}"), "[secret]");
        let finished = buffer.finish();
        assert_eq!(finished.expose().as_ptr(), block);
        assert_eq!(finished.expose(), b"abcd");
    }
}
