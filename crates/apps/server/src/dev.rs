//! Development mode: a server on one's own machine that sets itself up and tells how to use it.

mod pki;
mod screen;

use keyreeve_engine::ops::system::{Init, Status};
use keyreeve_engine::ops::tokens::WhoAmI;
use keyreeve_engine::{Arrival, Clock, Engine, Evidence};
use keyreeve_root::SealStatus;
use keyreeve_secret::SecretString;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::config::{
    AuditConfig, Config, DrillsConfig, EpochsConfig, ListenerConfig, Listeners, Log, LogFormat, LogLevel, RootConfig,
    StoreConfig, TlsFiles, WebAuthnConfig,
};
use crate::error::ServerError;
use crate::files;
use crate::machine::SystemClock;
use crate::running::{Mode, Running, Signals};
use crate::{harden, logging, runtime};

/// Where development mode keeps everything where nothing else is said.
pub const DATA_DIR: &str = ".keyreeve-dev";
/// Where it listens where nothing else is said.
pub const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7433);

/// What may be chosen in development mode.
#[derive(Clone, Debug)]
pub struct DevOptions {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Where to listen: a loopback address.
    pub listen: SocketAddr,
    /// Whether to log what happens seldom as well.
    pub verbose: bool,
}

impl Default for DevOptions {
    fn default() -> Self {
        Self { data_dir: DATA_DIR.into(), listen: ADDRESS, verbose: false }
    }
}

/// What a person wants to know about a development server that is up.
#[derive(Clone, Debug)]
pub struct DevReady {
    /// Its address, as `https://localhost:7433`.
    pub url: String,
    /// The issuer of its certificate.
    pub ca_file: PathBuf,
    /// The developer's token.
    pub token_file: PathBuf,
    /// What the command line needs to find it.
    pub profile: PathBuf,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Whether this was the first start.
    pub first: bool,
}

/// Runs a development server until it is interrupted; `ready` is called once it is up. Makes its own tokio runtime, so
/// it must not be called from within one.
///
/// # Errors
/// [`ServerError`] says what is wrong and what to do.
pub fn dev(options: DevOptions, ready: impl FnOnce(&DevReady)) -> Result<(), ServerError> {
    let level = if options.verbose { LogLevel::Info } else { LogLevel::Warn };
    logging::start(&Log { format: LogFormat::Text, level })?;
    for remark in harden::apply() {
        tracing::info!(remark);
    }
    runtime()?.block_on(async {
        let mut signals = Signals::listen()?;
        let Some((running, told)) = signals.unless_ended(start(options)).await? else { return Ok(()) };
        ready(&told);
        running.until_signalled(signals).await
    })
}

/// Starts a development server; for programs that end it themselves.
///
/// # Errors
/// [`ServerError`] says what is wrong and what to do.
pub async fn start(options: DevOptions) -> Result<(Running, DevReady), ServerError> {
    if !options.listen.ip().is_loopback() {
        let text =
            "development mode protects nothing, so it listens on loopback only; `keyreeve serve` is for networks";
        return Err(ServerError::Refused(text.to_owned()));
    }
    let failed = |trouble: files::Trouble| ServerError::part("development directory", trouble);
    files::private_directory(&options.data_dir).map_err(failed)?;
    // A private key in a repository is a common accident.
    files::write_private(&options.data_dir.join(".gitignore"), b"*\n").map_err(failed)?;
    let data_dir =
        options.data_dir.canonicalize().map_err(|error| ServerError::part("development directory", error))?;
    let paths = Paths::in_directory(&data_dir);
    pki::ensure(&paths, SystemClock::new().now())?;
    let running = Running::start(config(&data_dir, &paths, options.listen), Mode::Development).await?;
    match settle(&running, &paths).await {
        Ok(first) => {
            let told = DevReady {
                url: url(&running, options.listen),
                ca_file: paths.ca,
                token_file: paths.token,
                profile: paths.profile,
                data_dir,
                first,
            };
            Ok((running, told))
        }
        Err(error) => {
            running.stop().await;
            Err(error)
        }
    }
}

/// Files beside those of the server itself.
struct Paths {
    ca: PathBuf,
    ca_key: PathBuf,
    cert: PathBuf,
    key: PathBuf,
    token: PathBuf,
    profile: PathBuf,
}

impl Paths {
    fn in_directory(directory: &Path) -> Self {
        let path = |name: &str| directory.join(name);
        Self {
            ca: path("ca.pem"),
            ca_key: path("ca-key.pem"),
            cert: path("server.pem"),
            key: path("server-key.pem"),
            token: path("token"),
            profile: path("client.toml"),
        }
    }
}

fn config(data_dir: &Path, paths: &Paths, listen: SocketAddr) -> Config {
    let tls = TlsFiles {
        cert: paths.cert.clone(),
        key: paths.key.clone(),
        client_ca: None,
        client_crl: Vec::new(),
        client_crl_expired: Default::default(),
        client_crl_missing: Default::default(),
        client_auth: Default::default(),
        min_version: Default::default(),
    };
    let all = ListenerConfig { address: listen, tls: Some(tls), plain_http: false };
    Config {
        data_dir: data_dir.to_owned(),
        store: StoreConfig::default(),
        root: Some(RootConfig::SealedFile {}),
        roots: Default::default(),
        epochs: EpochsConfig::default(),
        audit: AuditConfig { origin: "localhost/keyreeve-dev".to_owned(), dir: None },
        listeners: Listeners { all: Some(all), ..Listeners::default() },
        limits: Default::default(),
        memory: Default::default(),
        log: Log::default(),
        lifecycle: Default::default(),
        notify: Default::default(),
        backup: None,
        anchors: Default::default(),
        start: Default::default(),
        integrity: crate::config::IntegrityConfig::default(),
        drills: DrillsConfig { restore_hours: 0, people_days: 0, ..DrillsConfig::default() },
        text: None,
        webauthn: WebAuthnConfig { id: Some("localhost".to_owned()), ..WebAuthnConfig::default() },
        algorithms: BTreeMap::new(),
    }
}

fn url(running: &Running, listen: SocketAddr) -> String {
    let port = running.addresses().get("all").map_or(listen.port(), |address| address.port());
    format!("https://localhost:{port}")
}

fn arrival(evidence: Evidence, request: &str) -> Arrival {
    Arrival {
        evidence,
        source: Some(ADDRESS.ip()),
        request: request.to_owned(),
        idempotency: None,
        proof: Default::default(),
    }
}

/// Initialises the server at its first start, sees that the token works, and writes the profile. True at the first
/// start.
async fn settle(running: &Running, paths: &Paths) -> Result<bool, ServerError> {
    let engine = running.engine();
    let refused = |refused: keyreeve_engine::Refused| ServerError::part("initialisation", refused.error);
    let status = engine.call(arrival(Evidence::None, "dev-status"), Status).await.map_err(refused)?.reply;
    let first = matches!(status.root, SealStatus::NotInitialised { .. });
    if first {
        let init = Init { shares: 0, threshold: 0, holders: Vec::new() };
        let made = engine.call(arrival(Evidence::None, "dev-init"), init).await.map_err(refused)?.reply;
        let write = files::write_private(&paths.token, made.token.expose().as_bytes());
        write.map_err(|trouble| ServerError::part("token", trouble))?;
    }
    check_token(engine, &paths.token).await?;
    let status = engine.call(arrival(Evidence::None, "dev-status"), Status).await.map_err(refused)?.reply;
    let keys: Vec<String> = status.log_vkeys.iter().map(|key| format!("\"{key}\"")).collect();
    let profile = format!(
        "# Written by `keyreeve dev` at every start.\naddress = \"{}\"\nca_file = \"ca.pem\"\n\
         token_file = \"token\"\nlog_vkeys = [{}]\n",
        url(running, ADDRESS),
        keys.join(", ")
    );
    files::write_private(&paths.profile, profile.as_bytes())
        .map_err(|trouble| ServerError::part("profile", trouble))?;
    Ok(first)
}

async fn check_token(engine: &Engine, path: &Path) -> Result<(), ServerError> {
    let anew = "delete the directory to begin anew; everything in it is lost then";
    let bytes =
        files::read_private(path).map_err(|trouble| ServerError::part("token", format!("{trouble}; or {anew}")))?;
    let unfit = || ServerError::part("token", format!("{} holds no valid token: {anew}", path.display()));
    let token = SecretString::from_utf8(bytes).map_err(|_| unfit())?;
    engine.call(arrival(Evidence::Bearer(token), "dev-token"), WhoAmI).await.map_err(|_| unfit())?;
    Ok(())
}
