//! The listener over real sockets and real TLS on a loopback address: who gets in, what is refused and in which form,
//! how connections and requests end.
#![allow(clippy::unwrap_used)]

mod bench;
mod clients;
mod ends;
mod heads;
mod refusals;
mod tls;
