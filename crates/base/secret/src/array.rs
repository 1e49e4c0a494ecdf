//! Secrets of a fixed length, such as symmetric keys.

use std::fmt;

use subtle::ConstantTimeEq;

use crate::wipe::wipe;
use crate::{LengthError, redacted};

/// A secret of exactly `N` bytes, boxed so that moving it moves a pointer and leaves no copies behind.
pub struct SecretArray<const N: usize> {
    bytes: Box<[u8; N]>,
}

impl<const N: usize> SecretArray<N> {
    /// Lets `fill` write the secret directly into its place on the heap, which holds zeros before.
    pub fn init_with(fill: impl FnOnce(&mut [u8; N])) -> Self {
        let mut made = Self { bytes: Box::new([0; N]) };
        fill(&mut made.bytes);
        made
    }

    /// As [`init_with`](Self::init_with), for a `fill` that can fail; what it wrote before failing is wiped.
    ///
    /// # Errors
    /// The error of `fill`.
    pub fn try_init_with<E>(fill: impl FnOnce(&mut [u8; N]) -> Result<(), E>) -> Result<Self, E> {
        let mut made = Self { bytes: Box::new([0; N]) };
        fill(&mut made.bytes)?;
        Ok(made)
    }

    /// Copies `bytes`. The caller remains responsible for the original.
    ///
    /// # Errors
    /// [`LengthError`] if there are not exactly `N`.
    pub fn copy_from(bytes: &[u8]) -> Result<Self, LengthError> {
        if bytes.len() != N {
            return Err(LengthError { expected: N, actual: bytes.len() });
        }
        Ok(Self::init_with(|place| place.copy_from_slice(bytes)))
    }

    /// The secret itself. Every call is a place where it may leak.
    pub fn expose(&self) -> &[u8; N] {
        &self.bytes
    }

    /// Compares with `other` in time that depends on the lengths only.
    pub fn ct_eq(&self, other: &[u8]) -> bool {
        self.bytes.as_slice().ct_eq(other).into()
    }

    /// A second copy, on purpose.
    pub fn duplicate(&self) -> Self {
        Self::init_with(|place| place.copy_from_slice(self.bytes.as_slice()))
    }

    /// Gives the content up as an ordinary value. `reason` is for the reader of the code: why this value is public, or
    /// who is entitled to it.
    pub fn declassify(self, reason: &'static str) -> Vec<u8> {
        let _ = reason;
        self.bytes.to_vec()
    }
}

impl<const N: usize> Drop for SecretArray<N> {
    fn drop(&mut self) {
        wipe(self.bytes.as_mut_slice());
    }
}

impl<const N: usize> fmt::Debug for SecretArray<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        redacted(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_does_not_copy_the_content() {
        let secret = SecretArray::<32>::init_with(|place| place.fill(9));
        let block = secret.expose().as_ptr();
        let moved = Box::new(secret);
        assert_eq!(moved.expose().as_ptr(), block);
    }

    #[test]
    fn only_the_exact_length_is_taken() {
        assert_eq!(SecretArray::<4>::copy_from(b"abc").unwrap_err(), LengthError { expected: 4, actual: 3 });
        let secret = SecretArray::<3>::copy_from(b"abc").unwrap();
        assert!(secret.ct_eq(b"abc"));
        assert!(!secret.ct_eq(b"abd"));
        assert!(!secret.ct_eq(b"abcd"));
        assert!(secret.duplicate().ct_eq(b"abc"));
        assert_eq!(format!("{secret:?}"), "[secret]");
        assert_eq!(secret.declassify("test"), b"abc");
    }

    #[test]
    fn a_failed_fill_gives_its_error() {
        assert_eq!(SecretArray::<4>::try_init_with(|_| Err::<(), _>(3)).unwrap_err(), 3);
        assert!(
            SecretArray::<4>::try_init_with(|p| {
                p[0] = 1;
                Ok::<(), ()>(())
            })
            .unwrap()
            .ct_eq(&[1, 0, 0, 0])
        );
    }
}
