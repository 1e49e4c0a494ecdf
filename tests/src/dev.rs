//! A server in development mode.

use serde_json::Value;
use std::path::{Path, PathBuf};

use crate::api::{Api, Endpoint};
use crate::cli::Cli;
use crate::server::{Binary, Server};

/// A development server in a directory; its data survives it.
#[derive(Debug)]
pub struct Dev {
    /// The process.
    pub server: Server,
    /// The directory it was started in; its data is in `.keyreeve-dev`.
    pub home: PathBuf,
    /// Where it is, with the developer's token.
    pub endpoint: Endpoint,
}

impl Dev {
    /// Starts one on a free port and waits until it is ready.
    ///
    /// # Panics
    /// When it does not get ready.
    #[must_use]
    pub fn start(home: &Path) -> Self {
        let mut command = Binary::find().command(home);
        command.args(["dev", "--listen", "127.0.0.1:0"]);
        Self::wait(Server::spawn(&mut command), home)
    }

    /// Waits until a server that was started in `home` is ready.
    ///
    /// # Panics
    /// When it does not get ready.
    #[must_use]
    pub fn wait(server: Server, home: &Path) -> Self {
        Self::wait_in(server, home, &home.join(".keyreeve-dev"))
    }

    /// The same where this process sees the server's data in another place than the server.
    ///
    /// # Panics
    /// When it does not get ready.
    #[must_use]
    pub fn wait_in(mut server: Server, home: &Path, data: &Path) -> Self {
        // The last line of the first screen: whoever reads the log from here on finds all of it.
        server.wait_line(|line| line.contains("Ctrl-C ends the server").then_some(()));
        let profile = std::fs::read_to_string(data.join("client.toml")).unwrap();
        let profile: toml::Table = profile.parse().unwrap();
        let token = std::fs::read_to_string(data.join("token")).unwrap();
        let endpoint = Endpoint {
            url: profile["address"].as_str().unwrap().to_owned(),
            ca_pem: std::fs::read(data.join("ca.pem")).unwrap(),
            token: Some(token.trim().to_owned()),
            identity_pem: None,
        };
        Self { server, home: home.to_owned(), endpoint }
    }

    /// Where its data is.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.home.join(".keyreeve-dev")
    }

    /// The developer over HTTPS.
    #[must_use]
    pub fn api(&self) -> Api {
        self.endpoint.api()
    }

    /// The developer at the command line.
    #[must_use]
    pub fn cli(&self) -> Cli {
        Cli::new(&self.home)
    }

    /// The verifier keys of its audit log.
    ///
    /// # Panics
    /// When the server does not tell.
    #[must_use]
    pub fn log_keys(&self) -> Vec<String> {
        log_keys(&self.api())
    }
}

pub(crate) fn log_keys(api: &Api) -> Vec<String> {
    let status: Value = api.get("/v1/system/status").ok();
    status["log_vkeys"].as_array().unwrap().iter().map(|key| key.as_str().unwrap().to_owned()).collect()
}
