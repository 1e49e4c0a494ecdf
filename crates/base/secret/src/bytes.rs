//! Secret byte strings of any length.

use std::fmt;

use subtle::ConstantTimeEq;

use crate::wipe::{wipe, wipe_vec};
use crate::{LengthError, SecretArray, redacted};

/// A secret byte string on the heap.
///
/// The length is fixed when it is made (it can only be cut with [`truncate`](Self::truncate)); to build one piece by
/// piece use [`SecretBuffer`](crate::SecretBuffer).
pub struct SecretBytes {
    // A Vec and not a Box<[u8]>: giving back unused capacity may move the content and leave the old block as it was.
    bytes: Vec<u8>,
}

impl SecretBytes {
    /// Takes over `bytes`, without copying: no second copy exists, and the unused capacity is wiped as well on drop.
    pub fn from_vec(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    /// Copies `bytes`. The caller remains responsible for the original.
    pub fn copy_from(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec() }
    }

    /// Makes `len` zero bytes and lets `fill` write the secret directly into them.
    pub fn init_with(len: usize, fill: impl FnOnce(&mut [u8])) -> Self {
        let mut made = Self { bytes: vec![0; len] };
        fill(&mut made.bytes);
        made
    }

    /// As [`init_with`](Self::init_with), for a `fill` that can fail; what it wrote before failing is wiped.
    ///
    /// # Errors
    /// The error of `fill`.
    pub fn try_init_with<E>(len: usize, fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let mut made = Self { bytes: vec![0; len] };
        fill(&mut made.bytes)?;
        Ok(made)
    }

    /// The secret itself. Every call is a place where it may leak.
    pub fn expose(&self) -> &[u8] {
        &self.bytes
    }

    /// The secret itself, for an operation that works in place.
    pub fn expose_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Length in bytes; the length of a secret is not treated as secret.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Cuts down to `len` bytes and wipes the rest at once. Does nothing if it is not longer.
    pub fn truncate(&mut self, len: usize) {
        if len < self.bytes.len() {
            wipe(&mut self.bytes[len..]);
            self.bytes.truncate(len);
        }
    }

    /// Moves the bytes from `at` on to `out`, as many as fit there, and leaves zeros in their place.
    ///
    /// # Errors
    /// [`LengthError`] if there are not that many; nothing moves then.
    pub fn take_into(&mut self, at: usize, out: &mut [u8]) -> Result<(), LengthError> {
        let missing = LengthError { expected: at.saturating_add(out.len()), actual: self.bytes.len() };
        let given = self.bytes.get_mut(at..missing.expected).ok_or(missing)?;
        out.copy_from_slice(given);
        wipe(given);
        Ok(())
    }

    /// Compares with `other` in time that depends on the lengths only.
    pub fn ct_eq(&self, other: &[u8]) -> bool {
        self.bytes.as_slice().ct_eq(other).into()
    }

    /// A second copy, on purpose.
    pub fn duplicate(&self) -> Self {
        Self::copy_from(&self.bytes)
    }

    /// Gives the content up as an ordinary value. `reason` is for the reader of the code: why this value is public, or
    /// who is entitled to it.
    pub fn declassify(mut self, reason: &'static str) -> Vec<u8> {
        let _ = reason;
        std::mem::take(&mut self.bytes)
    }

    /// The content as a secret of fixed length.
    ///
    /// # Errors
    /// [`LengthError`] if it has not exactly `N` bytes.
    pub fn to_array<const N: usize>(&self) -> Result<SecretArray<N>, LengthError> {
        SecretArray::copy_from(&self.bytes)
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        wipe_vec(&mut self.bytes);
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        redacted(f)
    }
}

impl<const N: usize> From<SecretArray<N>> for SecretBytes {
    fn from(array: SecretArray<N>) -> Self {
        Self::copy_from(array.expose())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn taking_over_a_vec_keeps_its_block() {
        let mut vec = Vec::with_capacity(100);
        vec.extend_from_slice(b"key material");
        let block = vec.as_ptr();
        let secret = SecretBytes::from_vec(vec);
        assert_eq!(secret.expose().as_ptr(), block);
        let back = secret.declassify("test");
        assert_eq!(back.as_ptr(), block);
        assert_eq!(back.capacity(), 100);
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", SecretBytes::copy_from(b"hunter2")), "[secret]");
        assert_eq!(format!("{:#?}", Some(SecretBytes::copy_from(b"hunter2"))), "Some(\n    [secret],\n)");
    }

    #[test]
    fn truncating_wipes_the_tail() {
        let mut secret = SecretBytes::copy_from(b"abcdef");
        secret.truncate(2);
        assert_eq!(secret.expose(), b"ab");
        secret.truncate(9);
        assert_eq!(secret.len(), 2);
        // Growing again inside of the same block shows what truncation left behind.
        let mut rest = secret.declassify("test");
        rest.resize(6, 1);
        assert_eq!(rest, [b'a', b'b', 1, 1, 1, 1]);
    }

    #[test]
    fn what_is_taken_out_is_wiped() {
        let mut secret = SecretBytes::copy_from(b"abcdef");
        let mut out = [0; 3];
        secret.take_into(2, &mut out).unwrap();
        assert_eq!(&out, b"cde");
        assert_eq!(secret.expose(), b"ab\0\0\0f");
        assert_eq!(secret.take_into(4, &mut out), Err(LengthError { expected: 7, actual: 6 }));
        assert_eq!(secret.take_into(usize::MAX, &mut out), Err(LengthError { expected: usize::MAX, actual: 6 }));
        assert_eq!(&out, b"cde");
    }

    #[test]
    fn a_failed_fill_gives_its_error() {
        let made = SecretBytes::try_init_with(4, |slice| {
            slice[0] = 1;
            Err::<(), _>("no entropy")
        });
        assert_eq!(made.unwrap_err(), "no entropy");
        assert_eq!(SecretBytes::init_with(3, |slice| slice.fill(7)).expose(), [7, 7, 7]);
    }

    #[test]
    fn conversion_to_an_array_checks_the_length() {
        let secret = SecretBytes::copy_from(&[5; 32]);
        assert_eq!(secret.to_array::<32>().unwrap().expose(), &[5; 32]);
        assert_eq!(secret.to_array::<16>().unwrap_err(), LengthError { expected: 16, actual: 32 });
    }

    proptest! {
        #[test]
        fn equality_is_that_of_the_bytes(a: Vec<u8>, b: Vec<u8>) {
            let secret = SecretBytes::copy_from(&a);
            prop_assert_eq!(secret.ct_eq(&b), a == b);
            prop_assert!(secret.ct_eq(&a));
            let copy = secret.duplicate();
            prop_assert!(copy.ct_eq(secret.expose()));
        }
    }
}
