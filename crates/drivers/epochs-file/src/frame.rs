//! What stands in the file of an epoch, so that damage and mix-ups are noticed before the root of trust is asked.
//!
//! ```text
//! 0   8   magic "KREPOCH" and the format version, 1
//! 8   16  keyring
//! 24  4   shard
//! 28  8   epoch
//! 36  4   n, length of the wrapped key
//! 40  n   wrapped key
//! ..  4   CRC-32C (RFC 3720, appendix B.4) of all before
//! ```
//!
//! Integers are big-endian. The checksum tells a broken disk from a wrong key; against people the wrapping
//! itself is authenticated and bound to the epoch.

use std::io;

use keyreeve_epochs::{EpochId, WRAPPED_MAX};

const MAGIC: &[u8; 8] = b"KREPOCH\x01";
const FRONT: usize = 40;
const SUM: usize = 4;

/// Longest file.
pub(crate) const FILE_MAX: usize = FRONT + WRAPPED_MAX + SUM;

/// The file is not what was written for this epoch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Damaged;

/// The content of the file for `id`.
pub(crate) fn encode(id: EpochId, wrapped: &[u8]) -> io::Result<Vec<u8>> {
    if wrapped.len() > WRAPPED_MAX {
        let message = format!("a wrapped epoch key has at most {WRAPPED_MAX} bytes, this one {}", wrapped.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let mut out = Vec::with_capacity(FRONT + wrapped.len() + SUM);
    write_front(id, wrapped.len(), &mut out);
    out.extend_from_slice(wrapped);
    let sum = crc32c::crc32c(&out);
    out.extend_from_slice(&sum.to_be_bytes());
    Ok(out)
}

fn write_front(id: EpochId, len: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(id.keyring.as_bytes());
    out.extend_from_slice(&id.shard.to_be_bytes());
    out.extend_from_slice(&id.epoch.to_be_bytes());
    out.extend_from_slice(&(len as u32).to_be_bytes());
}

/// The wrapped key of `id` in the content of its file.
pub(crate) fn decode(id: EpochId, mut file: Vec<u8>) -> Result<Vec<u8>, Damaged> {
    let len = file.len().checked_sub(FRONT + SUM).filter(|len| *len <= WRAPPED_MAX).ok_or(Damaged)?;
    let mut front = Vec::with_capacity(FRONT);
    write_front(id, len, &mut front);
    let (body, sum) = file.split_at(FRONT + len);
    if !body.starts_with(&front) || crc32c::crc32c(body).to_be_bytes() != sum {
        return Err(Damaged);
    }
    file.truncate(FRONT + len);
    file.drain(..FRONT);
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_model::KeyringId;
    use proptest::prelude::*;

    fn id(n: u8) -> EpochId {
        EpochId { keyring: KeyringId::from_bytes([n; 16]), shard: u32::from(n), epoch: u64::from(n) }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(wrapped: Vec<u8>, n: u8) {
            prop_assert_eq!(decode(id(n), encode(id(n), &wrapped).unwrap()), Ok(wrapped));
        }

        #[test]
        fn anything_else_is_damage(bytes: Vec<u8>) {
            prop_assert_eq!(decode(id(1), bytes), Err(Damaged));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_damage() {
        let good = encode(id(1), &[5; 60]).unwrap();
        for place in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[place] ^= 1 << bit;
                assert_eq!(decode(id(1), bad), Err(Damaged), "bit {bit} of byte {place}");
            }
            assert_eq!(decode(id(1), good[..place].to_vec()), Err(Damaged), "cut to {place}");
        }
        assert_eq!(decode(id(1), [good.as_slice(), &[0]].concat()), Err(Damaged));
    }

    #[test]
    fn the_file_of_another_epoch_is_damage() {
        let keyring = KeyringId::from_bytes([1; 16]);
        let file = encode(EpochId { keyring, shard: 1, epoch: 1 }, b"key").unwrap();
        for (keyring, shard, epoch) in [(KeyringId::from_bytes([2; 16]), 1, 1), (keyring, 2, 1), (keyring, 1, 2)] {
            assert_eq!(decode(EpochId { keyring, shard, epoch }, file.clone()), Err(Damaged));
        }
    }

    #[test]
    fn a_wrapped_key_has_a_largest_size() {
        assert_eq!(encode(id(1), &vec![0; WRAPPED_MAX]).unwrap().len(), FILE_MAX);
        assert_eq!(encode(id(1), &vec![0; WRAPPED_MAX + 1]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
