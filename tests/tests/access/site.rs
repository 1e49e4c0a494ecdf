//! A development server with people, programs and ways to log in.

use keyreeve_tests::{Answer, Api, Cli, Dev, Done};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A server, its administrator, and nobody in particular.
pub(crate) struct Site {
    pub(crate) dev: Dev,
    /// Who may everything.
    pub(crate) api: Api,
    /// Who has shown nothing yet.
    pub(crate) anybody: Api,
    pub(crate) cli: Cli,
    home: TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let dev = Dev::start(home.path());
        let (api, anybody, cli) = (dev.api(), dev.endpoint.anonymous().api(), dev.cli());
        Self { dev, api, anybody, cli, home }
    }

    pub(crate) fn principal(&self, name: &str, kind: &str, roles: &[&str]) {
        let _ = self.api.put(&format!("/v1/principals/{name}"), &json!({"kind": kind, "roles": roles})).ok();
    }

    pub(crate) fn method(&self, name: &str, method: &Value) -> Value {
        self.api.put(&format!("/v1/login-methods/{name}"), method).ok()
    }

    /// Who holds the token of a login.
    pub(crate) fn with(&self, login: &Value) -> Api {
        self.dev.endpoint.with_token(login["token"].as_str().unwrap()).api()
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.home.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.home.path().join(name)).unwrap()
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.home.path().join(name).exists()
    }

    /// A profile of somebody who has a place for a token, and no token yet.
    pub(crate) fn own_profile(&self) -> Cli {
        let url = &self.dev.endpoint.url;
        self.write(
            "own.toml",
            format!("address = '{url}'\nca_file = '.keyreeve-dev/ca.pem'\ntoken_file = 'own.token'\n"),
        );
        self.cli.with_profile(&self.home.path().join("own.toml"))
    }

    /// The reason that the newest record of a refused login tells.
    pub(crate) fn reason(&self) -> String {
        let found = self.api.get("/v1/audit?outcome=refused&limit=1").ok();
        let details = &found["items"][0]["details"];
        details["login_refused"].as_str().unwrap_or_else(|| panic!("no reason: {found}")).to_owned()
    }
}

/// The one text with which every login ends that is not let in.
#[track_caller]
pub(crate) fn not_let_in(answer: &Answer) {
    answer.refused(401, "unauthenticated");
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.starts_with("this login was not accepted"), "{detail}");
}

/// The same at the command line.
#[track_caller]
pub(crate) fn not_let_in_at_cli(done: &Done) {
    assert_eq!(done.code, 3, "{done}");
    assert!(done.stderr.contains("this login was not accepted"), "{done}");
}
