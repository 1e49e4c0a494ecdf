//! Services of Amazon's, as moto plays them.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use tempfile::TempDir;

/// moto in a process of its own, and a folder for credentials. It ends when this is dropped.
pub struct Moto {
    child: Child,
    talk: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    port: u16,
    home: TempDir,
}

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A Python that has moto, where `cargo xtask test` installs it.
fn python() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    top().join(target).join("moto/bin/python")
}

impl Moto {
    /// None, said aloud, where there is no moto.
    ///
    /// # Panics
    /// When it is there and does not start.
    #[must_use]
    pub fn start() -> Option<Self> {
        if !Command::new(python()).args(["-c", "import moto, boto3"]).status().is_ok_and(|status| status.success()) {
            crate::not_run("moto is missing: `cargo xtask test` installs it");
            return None;
        }
        let mut command = Command::new(python());
        command.arg(top().join("tests/counterparts/aws_kms.py")).arg("0");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let port = line.trim().strip_prefix("ready ").unwrap().parse().unwrap();
        Some(Self { child, talk: Mutex::new((stdin, stdout)), port, home: tempfile::tempdir().unwrap() })
    }

    /// Gives it a command of `tests/counterparts/aws_kms.py`.
    ///
    /// # Panics
    /// When it does not know that.
    pub fn ask(&self, command: Value) -> Value {
        let mut talk = self.talk.lock().unwrap();
        writeln!(talk.0, "{command}").unwrap();
        let mut line = String::new();
        talk.1.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{command}: {line}"))
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Credentials that may do `actions`.
    ///
    /// # Panics
    /// When it makes none.
    #[must_use]
    pub fn user(&self, name: &str, actions: &[&str]) -> (String, String) {
        let policy = json!({
            "Version": "2012-10-17",
            "Statement": [{ "Effect": "Allow", "Action": actions, "Resource": "*" }],
        });
        let made = self.ask(json!({ "do": "user", "name": name, "policy": policy }));
        (made["id"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap().to_owned())
    }

    /// A folder of the test's own.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The file of credentials.
    #[must_use]
    pub fn credentials(&self) -> PathBuf {
        self.home.path().join("credentials")
    }

    /// Writes credentials into that file.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, credentials: &(String, String)) {
        let (id, secret) = credentials;
        let text = format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
        std::fs::write(self.credentials(), text).unwrap();
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
