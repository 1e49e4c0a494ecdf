//! What one source address may hold at the same time: connections, and bytes of bodies that are still arriving.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use tokio::sync::Semaphore;

use crate::body::UNIT;
use crate::limits::Limits;

/// Addresses that count as one: an IPv4 address, or a /64 of IPv6, which a household or machine commonly owns whole.
pub(crate) fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

/// Room for so many bytes of bodies.
pub(crate) fn room(bytes: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new((bytes / UNIT).min(Semaphore::MAX_PERMITS)))
}

/// The sources that hold connections; as many at most as there are connections.
#[derive(Debug)]
pub(crate) struct Sources {
    connections: usize,
    bodies: usize,
    present: Mutex<HashMap<IpAddr, Present>>,
}

#[derive(Debug)]
struct Present {
    connections: usize,
    room: Arc<Semaphore>,
}

impl Sources {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        let (connections, bodies) = (limits.connections_per_source, limits.bodies_per_source);
        Arc::new(Self { connections, bodies, present: Mutex::default() })
    }

    /// A place for one more connection of this address, unless its source has as many as it may.
    pub(crate) fn seat(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let source = source_of(address);
        let mut present = self.present.lock();
        let found = present.entry(source).or_insert_with(|| Present { connections: 0, room: room(self.bodies) });
        if found.connections >= self.connections {
            return None;
        }
        found.connections += 1;
        Some(Seat { sources: Arc::clone(self), source, room: Arc::clone(&found.room) })
    }
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    sources: Arc<Sources>,
    source: IpAddr,
    /// Room for bodies, shared by all connections of the source.
    pub(crate) room: Arc<Semaphore>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut present = self.sources.present.lock();
        let Some(found) = present.get_mut(&self.source) else { return };
        found.connections -= 1;
        if found.connections == 0 {
            present.remove(&self.source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_so_many_places_and_leaves_nothing_behind() {
        let sources = Sources::new(&Limits { connections_per_source: 2, ..Limits::default() });
        let seat = |text: &str| sources.seat(text.parse().unwrap());
        let held = [seat("2001:db8::1").unwrap(), seat("2001:db8::2").unwrap()];
        assert!(Arc::ptr_eq(&held[0].room, &held[1].room));
        assert!(seat("2001:db8::3").is_none(), "one /64 is one source");
        assert!(seat("2001:db8:0:1::1").is_some() && seat("10.0.0.1").is_some());
        let mapped = [seat("10.0.0.1").unwrap(), seat("::ffff:10.0.0.1").unwrap()];
        assert!(seat("10.0.0.1").is_none(), "an IPv4 address is one source in either spelling");
        drop((held, mapped));
        assert!(sources.present.lock().is_empty());
    }
}
