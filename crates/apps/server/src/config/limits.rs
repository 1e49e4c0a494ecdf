//! Limits, with their defaults.

use keyreeve_http::{Limits, Rate, Rates};
use serde::Deserialize;
use std::time::Duration;

use super::Fault;

/// Longest time for requests under way when the server ends, in seconds: whatever waits for that end, an operator or
/// the next server, must not be held up by one client.
const GRACE_MAX: u32 = 60;

/// How much of everything is allowed, for all listeners. [`Limits`] tells what each means.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// The largest JSON body.
    pub json_body_bytes: usize,
    /// The largest body of another kind.
    pub octet_body_bytes: usize,
    /// All bodies that arrive in pieces at the same time.
    pub all_bodies_bytes: usize,
    /// The same of one source address.
    pub bodies_per_source_bytes: usize,
    /// The largest request head.
    pub head_bytes: usize,
    /// The most header fields.
    pub head_fields: usize,
    /// Connections of one listener at the same time.
    pub connections: usize,
    /// Connections of one source address at the same time.
    pub connections_per_source: usize,
    /// Requests at the same time on one HTTP/2 connection.
    pub streams: u32,
    /// The most items of a batch.
    pub batch_items: usize,
    /// Time for a TLS handshake.
    pub handshake_seconds: u32,
    /// Time for a request head, and how long an HTTP/1.1 connection may be idle.
    pub head_seconds: u32,
    /// Time for a request body.
    pub body_seconds: u32,
    /// Time for a whole request.
    pub request_seconds: u32,
    /// How long an HTTP/2 connection may be idle.
    pub idle_seconds: u32,
    /// How long any connection may live.
    pub connection_seconds: u32,
    /// Time for requests under way when the server ends.
    pub grace_seconds: u32,
    /// Requests per time.
    pub rates: RatesConfig,
}

/// Requests per time.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RatesConfig {
    /// Of one source address.
    pub per_source: RateConfig,
    /// Of one token or client certificate.
    pub per_credential: RateConfig,
    /// Of one source address that were answered with 401, or went on record although no credential was accepted.
    pub unauthenticated: RateConfig,
    /// Audit records of one source address about single requests that never became an operation, without a credential.
    pub malformed: RateConfig,
}

/// So many a second on average, and so many at once.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateConfig {
    /// In the long run; 0 means no limit.
    pub per_second: u32,
    /// At once after a pause.
    pub burst: u32,
}

impl From<Rate> for RateConfig {
    fn from(rate: Rate) -> Self {
        Self { per_second: rate.per_second, burst: rate.burst }
    }
}

impl From<RateConfig> for Rate {
    fn from(rate: RateConfig) -> Self {
        Self { per_second: rate.per_second, burst: rate.burst }
    }
}

impl Default for RatesConfig {
    fn default() -> Self {
        let rates = Rates::default();
        Self {
            per_source: rates.per_source.into(),
            per_credential: rates.per_credential.into(),
            unauthenticated: rates.unauthenticated.into(),
            malformed: rates.malformed.into(),
        }
    }
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            json_body_bytes: limits.json_body,
            octet_body_bytes: limits.octet_body,
            all_bodies_bytes: limits.all_bodies,
            bodies_per_source_bytes: limits.bodies_per_source,
            head_bytes: limits.head,
            head_fields: limits.head_fields,
            connections: limits.connections,
            connections_per_source: limits.connections_per_source,
            streams: limits.streams,
            batch_items: 1000,
            handshake_seconds: seconds(limits.handshake_time),
            head_seconds: seconds(limits.head_time),
            body_seconds: seconds(limits.body_time),
            request_seconds: seconds(limits.request_time),
            idle_seconds: seconds(limits.idle_time),
            connection_seconds: seconds(limits.connection_time),
            grace_seconds: seconds(limits.grace_time),
            rates: RatesConfig::default(),
        }
    }
}

impl LimitsConfig {
    pub(super) fn check(&self) -> Result<(), Fault> {
        let body = self.octet_body_bytes.max(self.json_body_bytes);
        let sizes = [
            ("json_body_bytes", self.json_body_bytes, 1024),
            ("octet_body_bytes", self.octet_body_bytes, 1024),
            ("all_bodies_bytes", self.all_bodies_bytes, body),
            ("bodies_per_source_bytes", self.bodies_per_source_bytes, body),
            ("head_bytes", self.head_bytes, 4096),
            ("head_fields", self.head_fields, 16),
            ("connections", self.connections, 1),
            ("connections_per_source", self.connections_per_source, 1),
            ("streams", self.streams as usize, 1),
            ("batch_items", self.batch_items, 1),
            ("handshake_seconds", self.handshake_seconds as usize, 1),
            ("head_seconds", self.head_seconds as usize, 1),
            ("body_seconds", self.body_seconds as usize, 1),
            ("request_seconds", self.request_seconds as usize, 1),
            ("idle_seconds", self.idle_seconds as usize, 2),
            ("connection_seconds", self.connection_seconds as usize, 1),
        ];
        for (field, value, least) in sizes {
            if value < least {
                let remedy = format!("write {least} or more");
                return Err(Fault::new(format!("limits.{field}"), format!("{value} is too little"), remedy));
            }
        }
        if self.grace_seconds > GRACE_MAX {
            let problem = format!("{} is too much", self.grace_seconds);
            return Err(Fault::new("limits.grace_seconds", problem, format!("write {GRACE_MAX} or less")));
        }
        Ok(())
    }

    /// As the listeners take them.
    #[must_use]
    pub fn http(&self) -> Limits {
        let time = |seconds: u32| Duration::from_secs(seconds.into());
        Limits {
            json_body: self.json_body_bytes,
            octet_body: self.octet_body_bytes,
            all_bodies: self.all_bodies_bytes,
            bodies_per_source: self.bodies_per_source_bytes,
            head: self.head_bytes,
            head_fields: self.head_fields,
            connections: self.connections,
            connections_per_source: self.connections_per_source,
            streams: self.streams,
            handshake_time: time(self.handshake_seconds),
            head_time: time(self.head_seconds),
            body_time: time(self.body_seconds),
            request_time: time(self.request_seconds),
            idle_time: time(self.idle_seconds),
            connection_time: time(self.connection_seconds),
            grace_time: time(self.grace_seconds),
            rates: Rates {
                per_source: self.rates.per_source.into(),
                per_credential: self.rates.per_credential.into(),
                unauthenticated: self.rates.unauthenticated.into(),
                malformed: self.rates.malformed.into(),
            },
        }
    }
}
