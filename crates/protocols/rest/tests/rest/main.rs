//! The interface from request to answer, without sockets.
#![allow(clippy::unwrap_used)]

mod crypto;
mod hostile;
mod manage;
mod openapi;
mod recorded;
mod routes;
mod support;
