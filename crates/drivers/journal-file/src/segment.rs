//! The bytes of the write-ahead log: segments of zero-filled blocks, overwritten front to back with frames.
//!
//! Everything starts on a block of 4096 bytes, so a write never touches a block with acknowledged data in it, and the
//! difference between "never written" (zeros) and "written badly" can be seen. All numbers are big-endian.

use keyreeve_audit::Hash;

/// Alignment of everything in a segment, in bytes: the physical sector of today's disks.
pub(crate) const BLOCK: usize = 4096;
/// Bytes of a frame before its payload.
pub(crate) const FRAME_HEADER: usize = 72;

const SEGMENT_MAGIC: &[u8; 8] = b"KRJSEG01";
const FRAME_MAGIC: &[u8; 8] = b"KRJFRM01";

/// The first block of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Number of the segment; the next one has the next number.
    pub(crate) sequence: u64,
    /// Length of the segment in bytes.
    pub(crate) length: u64,
    /// Index of the first entry in it.
    pub(crate) first_index: u64,
    /// Root of the tree before that entry.
    pub(crate) root: Hash,
    /// Where the frames of the segment before end.
    pub(crate) previous_end: u64,
    /// True when the segment before was given up at that place after a failed write: what follows there does not count.
    pub(crate) abandoned: bool,
}

impl SegmentHeader {
    /// The block.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(BLOCK);
        block.extend_from_slice(SEGMENT_MAGIC);
        block.extend_from_slice(&self.sequence.to_be_bytes());
        block.extend_from_slice(&self.length.to_be_bytes());
        block.extend_from_slice(&self.first_index.to_be_bytes());
        block.extend_from_slice(self.root.as_bytes());
        block.extend_from_slice(&self.previous_end.to_be_bytes());
        block.extend_from_slice(&u64::from(self.abandoned).to_be_bytes());
        block.extend_from_slice(&crc32c::crc32c(&block).to_be_bytes());
        block.resize(BLOCK, 0);
        block
    }

    /// Reads the first block of a segment; `None` when it is not exactly what [`Self::encode`] writes.
    pub(crate) fn decode(segment: &[u8]) -> Option<Self> {
        let block = segment.get(..BLOCK)?;
        let header = Self {
            sequence: number(block, 8)?,
            length: number(block, 16)?,
            first_index: number(block, 24)?,
            root: Hash::new(block.get(32..64)?.try_into().ok()?),
            previous_end: number(block, 64)?,
            abandoned: number(block, 72)? == 1,
        };
        (header.encode() == block).then_some(header)
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn number32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The head of a frame: one batch of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// Index of the first entry.
    pub(crate) first_index: u64,
    /// Number of the segment it is in.
    pub(crate) sequence: u64,
    /// Entries; 0 marks a clean close.
    pub(crate) count: u32,
    /// Root of the tree after the batch.
    pub(crate) root: Hash,
}

/// Bytes a frame takes in its segment.
pub(crate) const fn frame_size(payload: usize) -> usize {
    (FRAME_HEADER + payload).next_multiple_of(BLOCK)
}

/// Completes a frame in place: `buffer` begins with [`FRAME_HEADER`] free bytes, then the payload.
pub(crate) fn seal_frame(buffer: &mut Vec<u8>, header: &FrameHeader) {
    let payload = buffer.len() - FRAME_HEADER;
    let head = &mut buffer[..FRAME_HEADER];
    head[..8].copy_from_slice(FRAME_MAGIC);
    head[8..16].copy_from_slice(&header.first_index.to_be_bytes());
    head[16..24].copy_from_slice(&header.sequence.to_be_bytes());
    head[24..28].copy_from_slice(&header.count.to_be_bytes());
    head[28..32].copy_from_slice(&u32::try_from(payload).unwrap_or(u32::MAX).to_be_bytes());
    head[32..64].copy_from_slice(header.root.as_bytes());
    head[64..72].fill(0);
    let crc = checksum(buffer);
    buffer[64..68].copy_from_slice(&crc.to_be_bytes());
    buffer.resize(frame_size(payload), 0);
}

/// CRC32C of everything but the checksum itself.
fn checksum(frame: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&frame[..64]), &frame[68..])
}

/// Reads the frame at the start of `bytes`: its head, its payload and its size in the segment. `None` when it is not
/// whole, or its padding is not zero.
pub(crate) fn read_frame(bytes: &[u8]) -> Option<(FrameHeader, &[u8], usize)> {
    if bytes.get(..8)? != FRAME_MAGIC {
        return None;
    }
    let payload = usize::try_from(number32(bytes, 28)?).ok()?;
    let size = frame_size(payload);
    let frame = bytes.get(..size)?;
    let (used, padding) = frame.split_at(FRAME_HEADER + payload);
    if number32(used, 64)? != checksum(used) || !is_zero(&used[68..72]) || !is_zero(padding) {
        return None;
    }
    let header = FrameHeader {
        first_index: number(used, 8)?,
        sequence: number(used, 16)?,
        count: number32(used, 24)?,
        root: Hash::new(used.get(32..64)?.try_into().ok()?),
    };
    Some((header, &used[FRAME_HEADER..], size))
}

/// True when nothing was ever written there.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // In wide steps: whole segments are checked at every start.
    let (wide, rest) = bytes.as_chunks::<16>();
    wide.iter().all(|chunk| u128::from_ne_bytes(*chunk) == 0) && rest.iter().all(|byte| *byte == 0)
}

/// Name of a segment's file.
pub(crate) fn segment_name(sequence: u64) -> String {
    format!("{sequence:016x}.wal")
}

/// The number in a segment's file name.
pub(crate) fn parse_segment_name(name: &str) -> Option<u64> {
    let sequence = u64::from_str_radix(name.strip_suffix(".wal")?, 16).ok()?;
    (segment_name(sequence) == name).then_some(sequence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_round_trip_and_every_bit_counts() {
        let header = SegmentHeader {
            sequence: 3,
            length: 1 << 20,
            first_index: 77,
            root: Hash::sha256(b"r"),
            previous_end: 8192,
            abandoned: true,
        };
        let block = header.encode();
        assert_eq!((block.len(), SegmentHeader::decode(&block)), (BLOCK, Some(header)));
        assert!(is_zero(&block[84..]));
        for bit in 0..BLOCK * 8 {
            let mut flipped = block.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn frames_round_trip_and_every_bit_counts() {
        let header = FrameHeader { first_index: 9, sequence: 2, count: 2, root: Hash::sha256(b"r") };
        let mut frame = vec![0; FRAME_HEADER];
        frame.extend_from_slice(b"payload");
        seal_frame(&mut frame, &header);
        assert_eq!(read_frame(&frame), Some((header, b"payload".as_slice(), BLOCK)));
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read_frame(&flipped), None, "bit {bit}");
        }
        assert_eq!(read_frame(&frame[..BLOCK - 1]), None);
    }

    #[test]
    fn names_are_strict() {
        assert_eq!(parse_segment_name(&segment_name(77)), Some(77));
        for wrong in ["", "1.wal", "spare.tmp", "000000000000004D.wal", "+00000000000004d.wal"] {
            assert_eq!(parse_segment_name(wrong), None, "{wrong}");
        }
    }
}
