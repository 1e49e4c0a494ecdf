//! Disks that are full or read-only under a running server: nothing is done that cannot be kept, nothing that was
//! acknowledged is lost, and everything goes on by itself when there is room again.
//!
//! The server runs in a mount namespace of its own, on a small disk in memory; that needs root, or user namespaces.
#![allow(clippy::unwrap_used)]

mod disk;
mod mounted;
