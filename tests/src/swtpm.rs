//! A TPM 2.0 that is a program, `swtpm`, as a child process with its own state, and `tpm2-tools` to look at it.

use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;
use tempfile::TempDir;

use crate::{Server, wait_until};

/// A running TPM. Ended when it is dropped.
#[derive(Debug)]
pub struct Swtpm {
    port: u16,
    server: Mutex<Option<Server>>,
    home: TempDir,
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

impl Swtpm {
    /// Starts one that was never used; none, said aloud, where the programs are missing.
    ///
    /// # Panics
    /// When they are missing and everything must run, or it does not start.
    #[must_use]
    pub fn start() -> Option<Self> {
        if !is_there("swtpm") || !is_there("tpm2_pcrread") {
            crate::not_run("swtpm or tpm2-tools is missing: `cargo xtask test` installs them");
            return None;
        }
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("state")).unwrap();
        // Another process may be faster at either port; then swtpm ends, and others are tried.
        for _ in 0..20 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            // The control channel is expected at the next one.
            if port == u16::MAX || TcpListener::bind(("127.0.0.1", port + 1)).is_err() {
                continue;
            }
            let tpm = Self { port, server: Mutex::new(None), home };
            if tpm.run() {
                return Some(tpm);
            }
            return Self::start();
        }
        panic!("there are no two free ports beside each other");
    }

    /// Starts the program over its state, as a machine that is switched on starts its TPM: PCRs are at their beginning.
    fn run(&self) -> bool {
        let mut command = Command::new("swtpm");
        crate::tidy_environment(&mut command, self.home.path());
        command.args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"]);
        command.arg(format!("dir={}", self.home.path().join("state").display()));
        command.arg("--server").arg(format!("type=tcp,port={},bindaddr=127.0.0.1", self.port));
        command.arg("--ctrl").arg(format!("type=tcp,port={},bindaddr=127.0.0.1", self.port + 1));
        command.stdin(Stdio::null());
        let mut server = Server::spawn(&mut command);
        let answers = wait_until(Duration::from_secs(30), || {
            !server.is_running() || TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
        assert!(answers, "swtpm neither serves nor ends:\n{}", server.log());
        let runs = server.is_running();
        *self.server.lock().unwrap() = runs.then_some(server);
        runs
    }

    /// As the configuration names it.
    #[must_use]
    pub fn device(&self) -> String {
        format!("swtpm:127.0.0.1:{}", self.port)
    }

    /// Takes it away.
    ///
    /// # Panics
    /// Never.
    pub fn stop(&self) {
        self.server.lock().unwrap().take();
    }

    /// Puts it back, or starts the machine anew.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&self) {
        self.stop();
        assert!(wait_until(Duration::from_secs(60), || self.run()), "swtpm does not start again");
    }

    /// Puts another TPM in its place: one with other seeds and empty memory.
    ///
    /// # Panics
    /// When it does not start.
    pub fn replace(&self) {
        self.stop();
        let state = self.home.path().join("state");
        std::fs::remove_dir_all(&state).unwrap();
        std::fs::create_dir(&state).unwrap();
        self.restart();
    }

    /// Runs one of `tpm2-tools` on it; what it writes.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn tool(&self, program: &str, args: &[&str]) -> String {
        let mut command = Command::new(program);
        crate::tidy_environment(&mut command, self.home.path());
        command.env("TPM2TOOLS_TCTI", format!("swtpm:host=127.0.0.1,port={}", self.port));
        let done = command.current_dir(self.home.path()).args(args).output().unwrap();
        let told = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{program} {args:?}: {told}");
        String::from_utf8(done.stdout).unwrap()
    }

    /// Extends a PCR with the SHA-256 of nothing in particular: what started was something else.
    pub fn extend(&self, pcr: u8) {
        let _ = self.tool("tpm2_pcrextend", &[&format!("{pcr}:sha256={}", "5a".repeat(32))]);
    }

    /// What a PCR of the SHA-256 bank holds, in lower-case hexadecimal digits.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn pcr(&self, pcr: u8) -> String {
        let text = self.tool("tpm2_pcrread", &[&format!("sha256:{pcr}")]);
        text.split("0x").nth(1).unwrap().trim().to_lowercase()
    }

    /// Where files for `tpm2-tools` may lie.
    #[must_use]
    pub fn home(&self) -> &std::path::Path {
        self.home.path()
    }
}
