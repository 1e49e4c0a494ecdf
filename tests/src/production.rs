//! A server as it runs in production: a configuration file, a root in shares, people with separate roles.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::api::{Api, Endpoint};
use crate::cli::Cli;
use crate::factor::Factor;
use crate::pki::Pki;
use crate::server::{Binary, Server};

/// What differs from one deployment to the next.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// PostgreSQL; else SQLite.
    pub postgres: Option<String>,
    /// Administration, data and metrics on listeners of their own; else one for all.
    pub separate: bool,
    /// Clients may show certificates of the deployment's client authority.
    pub client_certificates: bool,
    /// More lines for the configuration, after all others.
    pub more: String,
}

/// Tokens of the people of a deployment.
#[derive(Clone, Debug, Default)]
pub struct People {
    /// Manages access.
    pub operator: String,
    /// Manages keys.
    pub keeper: String,
    /// Uses keys.
    pub user: String,
    /// Reads the audit log.
    pub auditor: String,
}

/// A deployment in a directory.
#[derive(Debug)]
pub struct Production {
    /// Where everything is.
    pub home: PathBuf,
    /// The configuration file.
    pub config: PathBuf,
    /// Who issued the server's certificate.
    pub pki: Pki,
    /// Who issues certificates of clients.
    pub clients: Pki,
    /// The shares of the root, once it is initialised.
    pub shares: Vec<String>,
    /// Tokens, once it is initialised. They carry the proof of a second factor.
    pub people: People,
    /// The second factors of the people, by name, once it is initialised.
    pub factors: BTreeMap<String, Factor>,
    /// Verifier keys of the audit log, once it is initialised.
    pub log_keys: Vec<String>,
}

/// A server of a deployment that listens.
#[derive(Debug)]
pub struct Up {
    /// The process.
    pub server: Server,
    addresses: BTreeMap<String, String>,
    ca_pem: Vec<u8>,
}

impl Up {
    /// Nobody in particular at a listener: `all`, `data`, `admin`, `metrics`.
    ///
    /// # Panics
    /// When there is no such listener.
    #[must_use]
    pub fn endpoint(&self, listener: &str) -> Endpoint {
        let address = self.addresses.get(listener).or_else(|| self.addresses.get("all"));
        let url = format!("https://{}", address.unwrap_or_else(|| panic!("no listener {listener}")));
        Endpoint { url, ca_pem: self.ca_pem.clone(), token: None, identity_pem: None }
    }

    /// Somebody with this token at a listener.
    #[must_use]
    pub fn api(&self, listener: &str, token: &str) -> Api {
        self.endpoint(listener).with_token(token).api()
    }
}

fn private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

impl Production {
    /// Writes certificates and configuration. Ports are chosen by the system at each start.
    ///
    /// # Panics
    /// When they cannot be written.
    #[must_use]
    pub fn prepare(home: &Path, layout: &Layout) -> Self {
        let (pki, clients) = (Pki::new("servers"), Pki::new("clients"));
        let (certificate, key) = pki.server();
        private(&home.join("server.pem"), &certificate);
        private(&home.join("server.key"), &key);
        private(&home.join("clients.pem"), clients.pem());
        let config = home.join("keyreeve.toml");
        std::fs::write(&config, Self::configuration(layout)).unwrap();
        Self {
            home: home.to_owned(),
            config,
            pki,
            clients,
            shares: Vec::new(),
            people: People::default(),
            factors: BTreeMap::new(),
            log_keys: Vec::new(),
        }
    }

    fn configuration(layout: &Layout) -> String {
        let mut text = "data_dir = \"data\"\n\n[root]\nkind = \"shamir\"\n\n[audit]\norigin = \"test.example/log\"\n\n\
            [log]\nformat = \"json\"\nlevel = \"info\"\n"
            .to_owned();
        if let Some(url) = &layout.postgres {
            let _ = write!(text, "\n[store]\nkind = \"postgres\"\nurl = \"{url}\"\n");
        }
        let clients =
            if layout.client_certificates { ", client_ca = \"clients.pem\", client_auth = \"optional\"" } else { "" };
        let names: &[&str] = if layout.separate { &["data", "admin", "metrics"] } else { &["all"] };
        for name in names {
            let _ = write!(
                text,
                "\n[listeners.{name}]\naddress = \"127.0.0.1:0\"\n\
                 tls = {{ cert = \"server.pem\", key = \"server.key\"{clients} }}\n"
            );
        }
        let _ = write!(text, "\n{}\n", layout.more);
        text
    }

    /// The command that serves it.
    #[must_use]
    pub fn command(&self) -> std::process::Command {
        let mut command = Binary::find().command(&self.home);
        command.arg("serve").arg("--config").arg(&self.config);
        command
    }

    /// Starts a server and waits until it listens; it may be sealed.
    ///
    /// # Panics
    /// When it does not get so far.
    #[must_use]
    pub fn start(&self) -> Up {
        self.wait(Server::spawn(&mut self.command()))
    }

    /// Waits until a server listens.
    ///
    /// # Panics
    /// When it does not get so far.
    #[must_use]
    pub fn wait(&self, mut server: Server) -> Up {
        let mut addresses = BTreeMap::new();
        server.wait_line(|line| {
            let event: Value = serde_json::from_str(line).ok()?;
            let text = |name: &str| event[name].as_str().map(str::to_owned);
            if let (Some(listener), Some(address)) = (text("listener"), text("address")) {
                addresses.insert(listener, address);
            }
            (event["message"] == "keyreeve is up").then_some(())
        });
        Up { server, addresses, ca_pem: self.pki.pem().as_bytes().to_vec() }
    }

    /// Makes the root (two shares of three open it), the people and their tokens.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn initialise(&mut self, up: &Up) {
        let made = up.endpoint("admin").api().post("/v1/system/init", &json!({ "shares": 3, "threshold": 2 })).ok();
        let texts = |name: &str| -> Vec<String> {
            made[name].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        (self.shares, self.log_keys) = (texts("shares"), texts("log_vkeys"));
        self.people.operator = made["token"].as_str().unwrap().to_owned();
        self.populate(up);
    }

    /// Makes the people, their tokens and their second factors.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn populate(&mut self, up: &Up) {
        let operator = up.api("admin", &self.people.operator);
        self.factors.insert("operator".to_owned(), Factor::first(&operator));
        let mut person = |name: &str, roles: &[&str]| {
            let _ = operator.put(&format!("/v1/principals/{name}"), &json!({ "kind": "person", "roles": roles })).ok();
            let issued = operator.post("/v1/tokens", &json!({ "principal": name, "seconds": 86_400 })).ok();
            let token = issued["token"].as_str().unwrap().to_owned();
            self.factors.insert(name.to_owned(), Factor::invited(&operator, &up.api("admin", &token), name));
            token
        };
        // Signing belongs to no shipped role but that of applications.
        let sides = ["sign-side", "verify-side", "derive-side"].map(|side| format!("Keyreeve::Action::\"{side}\""));
        let text =
            format!("permit (principal in Keyreeve::Role::\"signer\", action in [{}], resource);", sides.join(", "));
        let _ = operator.put("/v1/policies/signers", &json!({ "text": text })).ok();
        self.people.keeper = person("keeper", &["key-admin"]);
        self.people.user = person("user", &["key-user-encrypt", "key-user-decrypt", "signer"]);
        self.people.auditor = person("auditor", &["key-auditor"]);
    }

    /// Starts a server for the first time and initialises it.
    ///
    /// # Panics
    /// When something is refused.
    #[must_use]
    pub fn start_new(&mut self) -> Up {
        let up = self.start();
        self.initialise(&up);
        up
    }

    /// Starts a server and opens it with two shares.
    ///
    /// # Panics
    /// When it does not open.
    #[must_use]
    pub fn start_open(&self) -> Up {
        let up = self.start();
        self.unseal(&up);
        up
    }

    /// Opens a server with two shares.
    ///
    /// # Panics
    /// When it does not open.
    pub fn unseal(&self, up: &Up) {
        let api = up.endpoint("admin").api();
        for share in &self.shares[..2] {
            let _ = api.post("/v1/system/unseal", &json!({ "share": share })).ok();
        }
        assert_eq!(api.get("/v1/system/status").ok()["open"], true);
    }

    /// The command line of somebody with this token, in the deployment's directory.
    ///
    /// # Panics
    /// When the profile cannot be written.
    #[must_use]
    pub fn cli(&self, up: &Up, token: &str) -> Cli {
        self.cli_in(&self.home, up, token)
    }

    /// The same in another directory, as on another machine.
    ///
    /// # Panics
    /// When the profile cannot be written.
    #[must_use]
    pub fn cli_in(&self, home: &Path, up: &Up, token: &str) -> Cli {
        private(&home.join("who.token"), token);
        private(&home.join("ca.pem"), self.pki.pem());
        let address = up.endpoint("admin").url;
        let text = format!("address = \"{address}\"\nca_file = \"ca.pem\"\ntoken_file = \"who.token\"\n");
        private(&home.join("client.toml"), &text);
        Cli::new(home).with_profile(&home.join("client.toml"))
    }

    /// Where the audit log's files are.
    #[must_use]
    pub fn log_dir(&self) -> PathBuf {
        self.home.join("data/audit/log")
    }
}
