//! Envelope files: data of any size, encrypted where it lies, under a data key that only the server can unwrap.
//!
//! The server gives a fresh data key twice, in the clear and wrapped. The clear one encrypts the file here and is
//! forgotten; the wrapped one travels in the header of the file. Reading takes one request: the server unwraps the data
//! key, if the caller may. Memory use does not depend on the size of the file.
//!
//! # Layout, version 1
//!
//! Integers are big-endian.
//!
//! ```text
//! 0    8   magic 8b 4b 52 45 45 4e 56 0a ("\x8bKREENV\n": a transfer that changes line ends or drops a bit shows)
//! 8    2   version: 1
//! 10   2   suite: 1
//! 12   4   c, plaintext bytes in a chunk: a power of two, 4096 to 1048576
//! 16   4   h, length of the header, magic and header MAC included
//! 20   32  salt, random, for this file only
//! 52   4   w, length of the wrapped data key: 1 to 4096
//! 56   w   wrapped data key, for the server to read
//! ..   4   x, length of the encryption context: 4 to 8196
//! ..   x   encryption context: number of pairs (4 bytes, at most 32), then the name and the value of each pair, each
//!          after its length (4 bytes), in UTF-8 without control characters, names not empty and strictly ascending by
//!          their bytes
//! ..   32  commitment
//! ..   32  header MAC
//! h    ..  chunks: each c bytes of plaintext, encrypted, and a tag of 16 bytes; the last one of 1 to c bytes, and of 0
//!          bytes only in an empty file
//! ```
//!
//! # Suite 1
//!
//! With `prk` = HKDF-Extract(salt, data key) and all of HKDF over SHA-256 (RFC 5869):
//!
//! - commitment = HKDF-Expand(prk, "keyreeve envelope commit v1", 32). It fixes the data key: no second data key opens
//!   the file, to the same or to another plaintext, which AES-GCM alone would allow.
//! - header MAC = HMAC-SHA-256(HKDF-Expand(prk, "keyreeve envelope header v1", 32), header up to and with the
//!   commitment)
//! - payload key = HKDF-Expand(prk, "keyreeve envelope payload v1" || SHA-256(header up to and with the commitment),
//!   32)
//! - chunk number i from 0 is sealed by AES-256-GCM (SP 800-38D) with the nonce i (11 bytes) || 01 if it is the last,
//!   00 if not, and no additional data. This is STREAM of Hoang, Reyhanitabar, Rogaway and Vizár, "Online
//!   Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance" (CRYPTO 2015): chunks that are altered, swapped,
//!   repeated, left out or added do not open. Nonces never repeat: the payload key belongs to one file through the data
//!   key and the salt. A file has at most 2^32 chunks.
//!
//! # Use
//!
//! [`encrypt_stream`] and [`decrypt_stream`] do everything over readers and writers; [`Sealer`] and [`Opener`] are the
//! parts for callers with buffers of their own. [`FileHeader::decode`] takes bytes from anybody.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod cipher;
mod error;
mod header;
mod stream;

pub use cipher::{Opener, Sealer, TAG_LEN};
pub use error::{EnvelopeError, StreamError};
pub use header::{
    CHUNK_SIZE, CHUNK_SIZE_MAX, CHUNK_SIZE_MIN, FileHeader, HEADER_MAX, Header, PREFIX_LEN, WRAPPED_KEY_MAX,
};
pub use stream::{decrypt_stream, encrypt_stream, read_header};
