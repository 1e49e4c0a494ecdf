//! How much of everything a listener allows.

use std::time::Duration;

/// So many requests a second on average, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests per second in the long run; 0 means no limit.
    pub per_second: u32,
    /// Requests at once after a pause; at least 1.
    pub burst: u32,
}

impl Rate {
    /// No limit.
    pub const UNLIMITED: Self = Self { per_second: 0, burst: 1 };
}

/// The rates of one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Requests of one source address (of one /64 for IPv6).
    pub per_source: Rate,
    /// Requests of one token or client certificate.
    pub per_credential: Rate,
    /// Requests of one source address that were answered with 401, or that went on record although no credential was
    /// accepted, as everything does while sealed. Each is a durable audit record, so this keeps a stranger from filling
    /// the log; credentials that were accepted lately are not held up by it.
    pub unauthenticated: Rate,
    /// Audit records of single requests of one source address that never became an operation, such as broken JSON or
    /// an unknown route, without a credential that was accepted lately. Beyond it they are answered all the same and
    /// counted, and go on record as summaries. A credential that was accepted lately from the same address has 500 at
    /// once, and 50 a second after that.
    pub malformed: Rate,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            per_source: Rate { per_second: 100_000, burst: 200_000 },
            per_credential: Rate { per_second: 100_000, burst: 200_000 },
            unauthenticated: Rate { per_second: 20, burst: 200 },
            malformed: Rate { per_second: 1, burst: 30 },
        }
    }
}

/// The limits of one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest JSON body, in bytes.
    pub json_body: usize,
    /// The largest body of another kind, in bytes.
    pub octet_body: usize,
    /// All bodies that arrive in pieces at the same time, in bytes. A body that is there at once needs no room.
    pub all_bodies: usize,
    /// The same of one source address, in bytes: a small part, so that a few addresses cannot take it all.
    pub bodies_per_source: usize,
    /// The largest request head, in bytes.
    pub head: usize,
    /// The most header fields of a request (count).
    pub head_fields: usize,
    /// Connections at the same time (count); more wait in the operating system's queue.
    pub connections: usize,
    /// Connections of one source address (one /64 for IPv6) at the same time (count); more are closed at once.
    pub connections_per_source: usize,
    /// Requests under way at the same time on one HTTP/2 connection (count).
    pub streams: u32,
    /// Time for a TLS handshake.
    pub handshake_time: Duration,
    /// Time for an HTTP/1.1 request head, from the end of the previous request: also how long such a connection may be
    /// idle.
    pub head_time: Duration,
    /// Time for a request body.
    pub body_time: Duration,
    /// Time for a whole request.
    pub request_time: Duration,
    /// How long an HTTP/2 connection may be idle.
    pub idle_time: Duration,
    /// How long any connection may live: it is then ended in good order, so that a client certificate which was
    /// replaced, or trusted no more, is shown anew. Requests under way have the time of a whole request.
    pub connection_time: Duration,
    /// How long requests under way may take once the listener is told to end.
    pub grace_time: Duration,
    /// Requests per time.
    pub rates: Rates,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            json_body: 4 << 20,
            octet_body: 32 << 20,
            all_bodies: 256 << 20,
            bodies_per_source: 32 << 20,
            head: 16 << 10,
            head_fields: 64,
            connections: 4096,
            connections_per_source: 256,
            streams: 128,
            handshake_time: Duration::from_secs(10),
            head_time: Duration::from_secs(30),
            body_time: Duration::from_secs(30),
            request_time: Duration::from_secs(60),
            idle_time: Duration::from_secs(120),
            connection_time: Duration::from_secs(3600),
            grace_time: Duration::from_secs(20),
            rates: Rates::default(),
        }
    }
}
