//! What each listener serves.

use axum::Router;
use keyreeve_console::About;
use keyreeve_crypto::FipsStatus;
use keyreeve_engine::Engine;
use keyreeve_http::{CancellationToken, Counters, Frame, Listener, Tls, bind};
use keyreeve_rest::Side;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::task::JoinSet;

use crate::assemble::{Parts, refuse};
use crate::config::{Config, Fault, TlsFiles};
use crate::error::ServerError;
use crate::health::{self, Told};
use crate::metrics::Metrics;
use crate::running::Mode;

/// A certificate that can be read anew.
pub(crate) struct Reloadable {
    field: String,
    files: TlsFiles,
    tls: Arc<Tls>,
    /// The revocation lists as they lay there when they were last read and could be used.
    lists: Vec<Written>,
}

/// Tells one version of a file from another: where it lies, when it was written, how long it is; none where it is gone.
type Written = Option<(u64, SystemTime, u64)>;

fn written(files: &TlsFiles) -> Vec<Written> {
    let one = |path: &PathBuf| {
        let seen = std::fs::metadata(path).ok()?;
        Some((seen.ino(), seen.modified().ok()?, seen.len()))
    };
    files.client_crl.iter().map(one).collect()
}

impl Reloadable {
    fn load(field: String, files: &TlsFiles) -> Result<Self, Fault> {
        let lists = written(files);
        let tls = Arc::new(files.load(&field)?);
        Ok(Self { field, files: files.clone(), tls, lists })
    }

    /// Reads the files anew where a revocation list is not the one that was read: authorities write them often, and
    /// nobody stands by. What could not be used is tried again: whatever was wrong may be another file.
    pub(crate) fn look(&mut self) {
        let lists = written(&self.files);
        if lists != self.lists && self.reload() {
            self.lists = lists;
        }
    }

    /// Reads the files anew, and says whether they are in use; what was there stays when they are wrong.
    pub(crate) fn reload(&self) -> bool {
        match self.files.reload(&self.field, &self.tls) {
            Ok(()) => tracing::info!(listener = self.field, "certificates were read anew"),
            Err(fault) => {
                let (field, problem, remedy) = fault.into_parts();
                tracing::error!(field, problem, remedy, "certificates stay as they were");
                return false;
            }
        }
        true
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
                let loaded = Reloadable::load(format!("{field}.tls"), files);
                let loaded = loaded.map_err(|fault| refuse(config, fault))?;
                let tls = Arc::clone(&loaded.tls);
                open.reloadable.push(loaded);
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
    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod, KeyPair,
        SerialNumber, date_time_ymd,
    };
    use std::path::Path;

    fn list(issuer: &Issuer<'_, KeyPair>) -> String {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2021, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(issuer).unwrap().pem().unwrap()
    }

    /// A certificate of an authority, which is the server's too, its key, and a list of what it revoked.
    fn files(dir: &Path) -> (TlsFiles, Issuer<'static, KeyPair>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let place = |name: &str, text: &str| {
            crate::files::write_private(&dir.join(name), text.as_bytes()).unwrap();
            dir.join(name)
        };
        let (cert, key_file) = (place("cert.pem", &pem), place("key.pem", &key.serialize_pem()));
        let issuer = Issuer::new(params, key);
        let tls = TlsFiles {
            client_ca: Some(cert.clone()),
            client_crl: vec![place("clients.crl", &list(&issuer))],
            client_crl_expired: Default::default(),
            client_crl_missing: Default::default(),
            client_auth: crate::config::ClientAuth::Optional,
            min_version: Default::default(),
            cert,
            key: key_file,
        };
        (tls, issuer)
    }

    #[test]
    fn a_list_that_was_written_anew_is_read_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (tls, issuer) = files(dir.path());
        let mut loaded = Reloadable::load("listeners.all.tls".to_owned(), &tls).ok().unwrap();
        let in_use = |loaded: &Reloadable| loaded.tls.generation();
        let first = in_use(&loaded);
        loaded.look();
        assert_eq!(in_use(&loaded), first, "nothing was written");
        let path = &tls.client_crl[0];
        std::fs::write(path, list(&issuer) + "\n").unwrap();
        loaded.look();
        let second = in_use(&loaded);
        assert_ne!(second, first);
        loaded.look();
        assert_eq!(in_use(&loaded), second);
        // What cannot be used leaves everything as it was, and so does what is gone.
        std::fs::write(path, "half a li").unwrap();
        loaded.look();
        std::fs::remove_file(path).unwrap();
        loaded.look();
        assert_eq!(in_use(&loaded), second);
        std::fs::write(path, list(&issuer)).unwrap();
        loaded.look();
        let third = in_use(&loaded);
        assert_ne!(third, second);
        // A list of which nothing is wrong is in use once the file is good again that was.
        let key = std::fs::read(&tls.key).unwrap();
        std::fs::write(&tls.key, "half a ke").unwrap();
        std::fs::write(path, list(&issuer) + "\n").unwrap();
        loaded.look();
        assert_eq!(in_use(&loaded), third);
        std::fs::write(&tls.key, key).unwrap();
        loaded.look();
        assert_ne!(in_use(&loaded), third);
    }

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
