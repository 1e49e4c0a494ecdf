//! Keys that live inside the root's device: made there, used there, never out of it.
//!
//! Not every root has such a device; [`Root::device`](crate::Root::device) says so. What this port returns as a key is
//! a [`RemoteKey`], which becomes a [`LoadedKey`](keyreeve_crypto::LoadedKey) by `LoadedKey::remote`.

use std::sync::Arc;

use async_trait::async_trait;
use keyreeve_crypto::{KeyAlgorithm, PublicKey, Purpose, RemoteKey};

use crate::RootError;

/// Longest reference to a key in a device, in bytes.
pub const REFERENCE_MAX: usize = 256;

/// A device that makes and uses keys.
///
/// # Contract
/// - Keys are made inside, cannot be taken out in any form, and never could: the driver has the device confirm it
///   before it answers, and erases the key and refuses otherwise.
/// - While the root is closed everything but [`supports`](Self::supports) fails with [`RootError::Sealed`], and keys
///   opened before fail with [`RemoteFault::Unavailable`](keyreeve_crypto::RemoteFault).
/// - Any number of callers at once. A device that does not answer costs seconds and [`RootError::Unavailable`].
/// - What [`generate`](Self::generate) leaves behind when it fails half-way, [`erase`](Self::erase) takes away.
#[async_trait]
pub trait KeyDevice: Send + Sync {
    /// Whether the device makes keys of this algorithm for this purpose and can do with them all that the purpose
    /// needs. Answers at once, from what was seen when the root opened; false before that.
    fn supports(&self, algorithm: KeyAlgorithm, purpose: Purpose) -> bool;

    /// What the device is, for people: its maker, model, serial number, as far as known; empty before it was opened.
    fn describe(&self) -> String;

    /// Draws the reference of a key that is not there yet, for one call of [`generate`](Self::generate): at most
    /// [`REFERENCE_MAX`] bytes by which the device will find it, so that it can be written down before there is
    /// anything to find. Not secret, and of no use without the device and the right to use it.
    ///
    /// # Errors
    /// [`RootError::Refused`] if the device does not make such keys; [`RootError::Sealed`],
    /// [`RootError::Unavailable`].
    fn draw(&self, algorithm: KeyAlgorithm, purpose: Purpose) -> Result<Vec<u8>, RootError>;

    /// Makes a key inside, under a reference from [`draw`](Self::draw), and returns its public half: `None` for
    /// symmetric keys. `label` is for people who look into the device with its maker's tools: at most 64 bytes of
    /// printable ASCII, not unique, and nothing is found by it.
    ///
    /// # Errors
    /// [`RootError::Refused`] if the device does not make such keys, or made one that could be taken out;
    /// [`RootError::Unwrap`] if the reference is none that this driver gave out for such a key; [`RootError::Sealed`],
    /// [`RootError::Unavailable`].
    async fn generate(
        &self,
        reference: &[u8],
        algorithm: KeyAlgorithm,
        purpose: Purpose,
        label: &str,
    ) -> Result<Option<PublicKey>, RootError>;

    /// Finds a key, and looks again whether it may stay: one that could be taken out is refused.
    ///
    /// # Errors
    /// [`RootError::Unwrap`] if the reference is none that this driver gave out; [`RootError::Missing`] if the key is
    /// not in the device; [`RootError::Refused`] if it is not what it should be; [`RootError::Sealed`],
    /// [`RootError::Unavailable`].
    async fn open(
        &self,
        reference: &[u8],
        algorithm: KeyAlgorithm,
        purpose: Purpose,
    ) -> Result<Arc<dyn RemoteKey>, RootError>;

    /// Erases a key in the device, both halves. A key that is not there is no error: erasing may be repeated.
    ///
    /// # Errors
    /// [`RootError::Unwrap`] for a reference that is none; [`RootError::Sealed`], [`RootError::Unavailable`].
    async fn erase(&self, reference: &[u8]) -> Result<(), RootError>;

    /// The references of all keys that this driver made in this device and that are still there, in no order. The key
    /// of the root itself is not among them.
    ///
    /// # Errors
    /// [`RootError::Sealed`], [`RootError::Unavailable`].
    async fn list(&self) -> Result<Vec<Vec<u8>>, RootError>;
}
