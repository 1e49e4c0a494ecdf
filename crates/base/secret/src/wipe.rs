//! Erasing memory so that the compiler cannot leave it out, at the speed of `memset`: `zeroize` writes byte by byte,
//! which on payloads of a megabyte costs more than encrypting them.

use zeroize::optimization_barrier;

/// Overwrites bytes with zeros.
pub(crate) fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    // Whatever the optimiser knows of the future of these bytes, it must assume that they are looked at here.
    optimization_barrier(bytes);
}

/// Overwrites the whole block of a vector, unused capacity included, and leaves it empty.
pub(crate) fn wipe_vec(bytes: &mut Vec<u8>) {
    let capacity = bytes.capacity();
    // Growing to the capacity never moves the block.
    bytes.resize(capacity, 0);
    wipe(bytes);
    bytes.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_block_is_overwritten_where_it_lies() {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(&[7; 40]);
        bytes.truncate(10);
        let block = bytes.as_ptr();
        wipe_vec(&mut bytes);
        assert!(bytes.is_empty());
        bytes.resize(bytes.capacity(), 0xff);
        assert_eq!(bytes.as_ptr(), block);
    }

    #[test]
    fn slices_are_overwritten() {
        let mut bytes = [9; 33];
        wipe(&mut bytes[1..]);
        assert_eq!(bytes[0], 9);
        assert!(bytes[1..].iter().all(|byte| *byte == 0));
    }
}
