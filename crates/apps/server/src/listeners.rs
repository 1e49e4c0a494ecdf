//! What each listener serves.

use axum::Router;
use keyreeve_console::About;
use keyreeve_crypto::FipsStatus;
use keyreeve_engine::Engine;
use keyreeve_http::{CancellationToken, Counters, Frame, Listener, Tls, bind};
use keyreeve_rest::Side;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::task::JoinSet;

use crate::assemble::{Parts, refuse};
use crate::config::{Config, TlsFiles};
use crate::error::ServerError;
use crate::health::{self, Told};
use crate::metrics::Metrics;
use crate::running::Mode;

/// A certificate that can be read anew.
pub(crate) struct Reloadable {
    field: String,
    files: TlsFiles,
    tls: Arc<Tls>,
}

impl Reloadable {
    /// Reads the files anew; what was there stays when they are wrong.
    pub(crate) fn reload(&self) {
        match self.files.reload(&self.field, &self.tls) {
            Ok(()) => tracing::info!(listener = self.field, "certificates were read anew"),
            Err(fault) => {
                let (field, problem, remedy) = fault.into_parts();
                tracing::error!(field, problem, remedy, "certificates stay as they were");
            }
        }
    }
}

/// Listeners that run.
pub(crate) struct Open {
    pub(crate) tasks: JoinSet<()>,
    pub(crate) reloadable: Vec<Reloadable>,
    pub(crate) addresses: Vec<(&'static str, SocketAddr)>,
}

/// Takes all addresses, then serves on all of them.
pub(crate) fn open(config: &Config, mode: Mode, parts: &Parts, stop: &CancellationToken) -> Result<Open, ServerError> {
    let counters: Vec<_> = config.listeners.named().map(|(name, _)| (name, Arc::new(Counters::default()))).collect();
    let told = Arc::new(Told::default());
    let mut ready = Vec::new();
    let mut open = Open { tasks: JoinSet::new(), reloadable: Vec::new(), addresses: Vec::new() };
    for ((name, listener), (_, counter)) in config.listeners.named().zip(&counters) {
        let field = format!("listeners.{name}");
        let failed = |error| unusable(&field, mode, listener.address, &error);
        let socket = bind(listener.address).map_err(failed)?;
        open.addresses.push((name, socket.local_addr().map_err(failed)?));
        let tls = match &listener.tls {
            None => None,
            Some(files) => {
                let field = format!("{field}.tls");
                let tls = Arc::new(files.load(&field).map_err(|fault| refuse(config, fault))?);
                open.reloadable.push(Reloadable { field, files: files.clone(), tls: Arc::clone(&tls) });
                Some(tls)
            }
        };
        let router = router(name, mode, parts, &counters, &told);
        let frame = Frame::new(router, config.limits.http(), Arc::clone(counter)).on_record(parts.engine.clone());
        ready.push(Listener { socket, tls, frame: Arc::new(frame) });
    }
    for listener in ready {
        open.tasks.spawn(listener.serve(stop.clone()));
    }
    Ok(open)
}

/// Why an address cannot be listened on, and what to do about it.
fn unusable(field: &str, mode: Mode, address: SocketAddr, error: &io::Error) -> ServerError {
    let (ip, port) = (address.ip(), address.port());
    let other = match mode {
        Mode::Production => format!("give `{field}.address` another"),
        Mode::Development => "give another with `--listen` (port 0 takes a free one)".to_owned(),
    };
    ServerError::Refused(match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "{address} is taken by another program: end that one (`ss -ltnp 'sport = :{port}'` shows it), or {other}"
        ),
        io::ErrorKind::AddrNotAvailable => format!("{ip} is no address of this machine: {other}"),
        io::ErrorKind::PermissionDenied => {
            format!("this user may not listen on port {port}: {other}, or grant CAP_NET_BIND_SERVICE")
        }
        _ => format!("{address} cannot be listened on ({error}): {other}"),
    })
}

fn router(
    name: &str,
    mode: Mode,
    parts: &Parts,
    counters: &[(&'static str, Arc<Counters>)],
    told: &Arc<Told>,
) -> Router {
    let engine = || parts.engine.clone();
    let common = health::routes(engine(), Arc::clone(told));
    let metrics = || {
        let (journal, clock) = (Arc::clone(&parts.journal), Arc::clone(&parts.clock));
        Metrics::new(&parts.operations, engine(), journal, clock, counters.to_vec()).routes()
    };
    match name {
        "data" => common.merge(keyreeve_rest::router(engine(), Side::Data)),
        "admin" => common.merge(keyreeve_rest::router(engine(), Side::Admin)).merge(console(engine(), mode)),
        "metrics" => common.merge(metrics()),
        _ => {
            let all = common.merge(keyreeve_rest::router(engine(), Side::Both)).merge(console(engine(), mode));
            // One's own machine: everything in one place.
            if mode == Mode::Development { all.merge(metrics()) } else { all }
        }
    }
}

fn console(engine: Engine, mode: Mode) -> Router {
    let module = FipsStatus::current();
    keyreeve_console::router(
        engine,
        About {
            version: env!("CARGO_PKG_VERSION"),
            module: module.to_string(),
            fips: module.active,
            development: mode == Mode::Development,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_used_is_named_with_the_next_step() {
        let address: SocketAddr = "10.0.0.1:443".parse().unwrap();
        let said = |kind: io::ErrorKind, mode| unusable("listeners.all", mode, address, &kind.into()).to_string();
        let taken = said(io::ErrorKind::AddrInUse, Mode::Production);
        assert!(taken.contains("10.0.0.1:443 is taken") && taken.contains("`listeners.all.address`"), "{taken}");
        assert!(said(io::ErrorKind::AddrInUse, Mode::Development).contains("--listen"));
        assert!(said(io::ErrorKind::AddrNotAvailable, Mode::Production).contains("no address of this machine"));
        assert!(said(io::ErrorKind::PermissionDenied, Mode::Production).contains("port 443"));
    }
}
