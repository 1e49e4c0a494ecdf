//! The packets that an OpenPGP certificate is made of (RFC 9580, 4 and 5; of RFC 4880 what GnuPG 2.2 writes).

use super::RecipientError;

/// Most packets in a certificate; a bound of ours.
const MAX_PACKETS: usize = 4096;

pub(super) const PUBLIC_KEY: u8 = 6;
pub(super) const PUBLIC_SUBKEY: u8 = 14;
pub(super) const SIGNATURE: u8 = 2;
pub(super) const USER_ID: u8 = 13;
pub(super) const USER_ATTRIBUTE: u8 = 17;
pub(super) const TRUST: u8 = 12;
pub(super) const MARKER: u8 = 10;
pub(super) const PADDING: u8 = 21;
pub(super) const SECRET_KEYS: [u8; 2] = [5, 7];

/// A packet as it lies in the input.
pub(super) struct Packet<'a> {
    pub(super) tag: u8,
    pub(super) body: &'a [u8],
}

/// Takes things off the front of a slice.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// A number: its length in bits, then big-endian without leading zeros (RFC 9580, 3.2).
    pub(super) fn mpi(&mut self) -> Option<&'a [u8]> {
        let bits = self.u16()?;
        let number = self.take(usize::from(bits).div_ceil(8))?;
        let leading = number.first().map_or(0, |first| u32::from(*first).leading_zeros() - 24);
        let exact = (number.len() * 8).checked_sub(leading as usize) == Some(usize::from(bits));
        (number.is_empty() || exact).then_some(number)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The length of a packet or subpacket in the newer form; `None` also for lengths in parts, which keys never have.
    fn new_length(&mut self) -> Option<usize> {
        match self.byte()? {
            first @ 0..192 => Some(usize::from(first)),
            first @ 192..224 => Some(((usize::from(first) - 192) << 8) + usize::from(self.byte()?) + 192),
            224..255 => None,
            255 => usize::try_from(self.u32()?).ok(),
        }
    }

    /// The length of a subpacket: as above, with two bytes up to 254 (RFC 9580, 5.2.3.7).
    pub(super) fn subpacket_length(&mut self) -> Option<usize> {
        match self.byte()? {
            first @ 0..192 => Some(usize::from(first)),
            first @ 192..255 => Some(((usize::from(first) - 192) << 8) + usize::from(self.byte()?) + 192),
            255 => usize::try_from(self.u32()?).ok(),
        }
    }

    fn packet(&mut self) -> Option<Packet<'a>> {
        let first = self.byte()?;
        let (tag, len) = match first {
            0xc0..=0xff => (first & 0x3f, self.new_length()?),
            0x80..0xc0 => {
                let len = match first & 3 {
                    0 => usize::from(self.byte()?),
                    1 => usize::from(self.u16()?),
                    2 => usize::try_from(self.u32()?).ok()?,
                    // Up to the end of the file, which no key has.
                    _ => return None,
                };
                ((first >> 2) & 0x0f, len)
            }
            0..0x80 => return None,
        };
        Some(Packet { tag, body: self.take(len)? })
    }
}

/// All packets of `bytes`.
pub(super) fn packets(bytes: &[u8]) -> Result<Vec<Packet<'_>>, RecipientError> {
    let mut reader = Reader(bytes);
    let mut found = Vec::new();
    while !reader.is_empty() {
        if found.len() == MAX_PACKETS {
            return Err(RecipientError::Malformed("it has more than 4096 packets"));
        }
        found.push(reader.packet().ok_or(RecipientError::Malformed("a packet is cut off or has no plain length"))?);
    }
    Ok(found)
}

/// A packet in the newer form.
pub(super) fn write_packet(tag: u8, body: &[u8], out: &mut impl FnMut(&[u8])) {
    out(&[0xc0 | tag]);
    let len = body.len();
    match (u8::try_from(len), u32::try_from(len)) {
        (Ok(short @ 0..192), _) => out(&[short]),
        // Longer ones than 4 GiB are not made here.
        (_, long) => {
            out(&[0xff]);
            out(&long.unwrap_or(u32::MAX).to_be_bytes());
        }
    }
    out(body);
}

/// A number with its length in bits.
pub(super) fn write_mpi(number: &[u8], out: &mut Vec<u8>) {
    let start = number.iter().position(|&byte| byte != 0).unwrap_or(number.len());
    let number = &number[start..];
    let leading = number.first().map_or(0, |first| first.leading_zeros() as usize);
    // Numbers here have at most 4096 bits.
    let bits = u16::try_from(number.len() * 8 - leading).unwrap_or(u16::MAX);
    out.extend_from_slice(&bits.to_be_bytes());
    out.extend_from_slice(number);
}
