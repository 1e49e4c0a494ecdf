//! Address ranges a principal may call from.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An address range in CIDR form, such as `10.1.0.0/16` or `2001:db8::/32`; a bare address is a range of one.
///
/// IPv4-mapped IPv6 addresses (`::ffff:10.0.0.1`, what a dual-stack socket reports) count as the IPv4 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Text that is no address range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetwork {
    /// Neither an address nor `address/prefix`.
    #[error("not a network: write it as 10.1.0.0/16 or 2001:db8::/32")]
    Syntax,
    /// The prefix is longer than the address.
    #[error("the prefix length is larger than the address allows (32 for IPv4, 128 for IPv6)")]
    Prefix,
    /// Bits are set to the right of the prefix: probably a typing mistake, so it is not silently corrected.
    #[error("the address has bits set beyond its prefix; did you mean {0}?")]
    HostBits(String),
}

fn mask_v4(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

fn mask_v6(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

impl Network {
    /// 10.0.0.0/8: where the sample principals of [`crate::diff`] are.
    pub(crate) const TEN: Self = Self { address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), prefix: 8 };

    /// The first address of the range.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// How many of the leading bits are the range's own.
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether `address` is in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => ip.to_bits() & mask_v4(self.prefix) == net.to_bits(),
            (IpAddr::V6(net), IpAddr::V6(ip)) => ip.to_bits() & mask_v6(self.prefix) == net.to_bits(),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    fn masked(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(a) => IpAddr::V4(Ipv4Addr::from_bits(a.to_bits() & mask_v4(self.prefix))),
            IpAddr::V6(a) => IpAddr::V6(Ipv6Addr::from_bits(a.to_bits() & mask_v6(self.prefix))),
        }
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let (address, prefix) = match text.split_once('/') {
            None => (text, None),
            Some((address, prefix)) => (address, Some(prefix)),
        };
        let address: IpAddr = address.parse().map_err(|_| InvalidNetwork::Syntax)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(p) if !p.is_empty() && p.len() <= 3 && p.bytes().all(|c| c.is_ascii_digit()) => {
                p.parse().map_err(|_| InvalidNetwork::Prefix)?
            }
            Some(_) => return Err(InvalidNetwork::Syntax),
        };
        if prefix > bits {
            return Err(InvalidNetwork::Prefix);
        }
        let network = Self { address, prefix };
        let masked = Self { address: network.masked(), prefix };
        if masked != network { Err(InvalidNetwork::HostBits(masked.to_string())) } else { Ok(network) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Network {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn membership_follows_the_prefix() {
        assert!(net("10.1.0.0/16").contains(ip("10.1.255.255")));
        assert!(!net("10.1.0.0/16").contains(ip("10.2.0.0")));
        assert!(net("0.0.0.0/0").contains(ip("255.255.255.255")));
        assert!(!net("0.0.0.0/0").contains(ip("2001:db8::1")));
        assert!(net("::/0").contains(ip("2001:db8::1")));
        assert!(net("2001:db8::/32").contains(ip("2001:db8:ffff::1")));
        assert!(!net("2001:db8::/32").contains(ip("2001:db9::")));
        assert!(net("127.0.0.1").contains(ip("::ffff:127.0.0.1")));
        assert!(!net("::/0").contains(ip("::ffff:127.0.0.1")), "a mapped address is the IPv4 address");
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!("10.1.2.3/16".parse::<Network>(), Err(InvalidNetwork::HostBits("10.1.0.0/16".into())));
        assert_eq!("10.0.0.0/33".parse::<Network>(), Err(InvalidNetwork::Prefix));
        assert_eq!("::/129".parse::<Network>(), Err(InvalidNetwork::Prefix));
        assert_eq!("::/999".parse::<Network>(), Err(InvalidNetwork::Prefix));
        for bad in ["", "/", "10.0.0.0/", "10.0.0.0/+8", "10.0.0/8", "host/8", "10.0.0.0/8/8"] {
            assert_eq!(bad.parse::<Network>(), Err(InvalidNetwork::Syntax), "{bad:?}");
        }
        assert_eq!(net("10.1.0.0/16").to_string(), "10.1.0.0/16");
    }
}
