//! The throwaway server of a rehearsal: a directory that is removed at the end, a server of this very program in it,
//! and commands that are really carried out.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use keyreeve_ceremony::action::Action;
use keyreeve_ceremony::script::Script;

use super::child::Surroundings;
use super::defect;
use crate::failure::{Exit, Failure};

/// How long a server may take to start.
const START: Duration = Duration::from_secs(60);
/// The alias of the key that scripts about keys find.
pub(super) const KEY: &str = "rehearsal";
/// Where shares of a rehearsal are, where the script does not make them.
const SHARES: &str = "rehearsal-root";

/// A throwaway server.
pub(super) struct Scratch {
    dir: tempfile::TempDir,
    server: Option<Child>,
    /// The server's process id, for whoever ends this; 0 for none.
    process: Arc<AtomicI32>,
    /// With a root of trust in shares, as in production; else as `keyreeve dev`.
    shares: bool,
    /// What people should know about it.
    pub(super) hint: String,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Scratch {
    /// Starts what a script needs.
    pub(super) fn start(script: &Script) -> Result<Self, Failure> {
        let tasks = script.tasks();
        let actions: Vec<&Action> = tasks.iter().filter_map(|task| task.action()).collect();
        let any = |is: fn(&Action) -> bool| actions.iter().any(|action| is(action));
        let makes_root = any(|action| matches!(action, Action::Init { .. }));
        let shares = makes_root || any(|action| matches!(action, Action::Unseal {} | Action::Restart {}));
        let dir = tempfile::Builder::new().prefix("keyreeve-rehearsal-").tempdir()?;
        let process = Arc::new(AtomicI32::new(0));
        clear_on_signals(dir.path().to_owned(), Arc::clone(&process))?;
        let mut scratch = Self { dir, server: None, process, shares, hint: String::new() };
        // Development mode makes certificates for this machine; a server in shares takes them over.
        scratch.start_dev()?;
        if shares {
            scratch.stop();
            scratch.write_config()?;
            scratch.start_server()?;
        }
        match (shares, makes_root) {
            (true, true) => {}
            (true, false) => {
                scratch.carry_out(&["init", "--shares", "5", "--threshold", "3", "--out-dir", SHARES])?;
                let path = scratch.path(SHARES);
                scratch.hint =
                    format!("the shares of the rehearsal's server are in {}/share-1 to share-5", path.display());
            }
            (false, _) => {
                scratch.carry_out(&["key", "create", "--alias", KEY])?;
                scratch.hint = format!("the rehearsal's server has a key `{KEY}`: name it where a key is asked for");
            }
        }
        Ok(scratch)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The directory, in which commands of the rehearsal are run.
    pub(super) fn directory(&self) -> &Path {
        self.dir.path()
    }

    /// The profile with which commands of the rehearsal find the server.
    pub(super) fn profile(&self) -> PathBuf {
        match (self.shares, self.path(SHARES).join("client.toml")) {
            (true, made) if made.exists() => made,
            (true, _) => self.path("client.toml"),
            (false, _) => self.path("dev/client.toml"),
        }
    }

    /// Where commands are run.
    pub(super) fn surroundings(&self) -> Surroundings {
        Surroundings::with_profile(&self.profile(), Some(self.dir.path().to_owned()))
    }

    fn carry_out(&self, words: &[&str]) -> Result<(), Failure> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let output = self.surroundings().command(&words)?.stdin(Stdio::null()).output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(failed(&format!("`keyreeve {}`: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim())))
    }

    fn start_dev(&mut self) -> Result<(), Failure> {
        let data = self.path("dev").display().to_string();
        let words = ["dev", "--data-dir", &data, "--listen", "127.0.0.1:0"].map(str::to_owned);
        let mut command = Surroundings::inside(self.dir.path()).command(&words)?;
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let lines = child.stdout.take().map(lines);
        self.keep(child);
        wait(lines, |line| line.contains("Ctrl-C ends the server"))
    }

    /// A configuration as in production, on a port that is free now and the same after each start.
    fn write_config(&self) -> Result<(), Failure> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = format!(
            "data_dir = \"data\"\n\n[root]\nkind = \"shamir\"\n\n[audit]\norigin = \"rehearsal.invalid/log\"\n\n[log]\n\
             format = \"json\"\nlevel = \"info\"\n\n[listeners.all]\naddress = \"127.0.0.1:{port}\"\n\
             tls = {{ cert = \"dev/server.pem\", key = \"dev/server-key.pem\" }}\n"
        );
        std::fs::write(self.path("keyreeve.toml"), config)?;
        let profile = format!("address = \"https://localhost:{port}\"\nca_file = \"dev/ca.pem\"\n");
        Ok(std::fs::write(self.path("client.toml"), profile)?)
    }

    fn start_server(&mut self) -> Result<(), Failure> {
        let words = ["serve", "--config", "keyreeve.toml"].map(str::to_owned);
        let mut command = Surroundings::inside(self.dir.path()).command(&words)?;
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let lines = child.stderr.take().map(lines);
        self.keep(child);
        wait(lines, |line| line.contains("keyreeve is up"))
    }

    /// Stops the server and starts it again.
    pub(super) fn restart(&mut self) -> Result<(), Failure> {
        self.stop();
        if self.shares { self.start_server() } else { self.start_dev() }
    }

    fn keep(&mut self, child: Child) {
        self.process.store(i32::try_from(child.id()).unwrap_or(0), Ordering::SeqCst);
        self.server = Some(child);
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.server.take() {
            self.process.store(0, Ordering::SeqCst);
            if let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
                // It ends what it has begun; where it is gone already there is nobody to tell.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
            let _ = child.wait();
        }
    }
}

/// When the terminal is closed, or somebody ends the program, the rehearsal's server and its directory go first:
/// the directory holds shares and tokens, if only of a rehearsal.
fn clear_on_signals(dir: PathBuf, process: Arc<AtomicI32>) -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut hangup, mut terminate, mut interrupt) = {
        let _entered = runtime.enter();
        (signal(SignalKind::hangup())?, signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = hangup.recv() => {}
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        if let Some(pid) = rustix::process::Pid::from_raw(process.load(Ordering::SeqCst)) {
            // It may have heard the signal itself; what it writes while it ends is removed with the rest.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let _ = std::fs::remove_dir_all(&dir);
        // Nothing is left to wipe: what this process knew was the rehearsal's, and its threads wait for people.
        // tidy: allow(exit): a signal ends the process from a thread of its own
        std::process::exit(Exit::Interrupted as i32);
    });
    Ok(())
}

fn failed(what: &str) -> Failure {
    Failure::new(Exit::Internal, format!("the rehearsal's server: {what}"))
}

/// The lines of a server, read on a thread of their own so that it never waits for a reader.
fn lines(stream: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            // Nobody listens any more once it is up.
            let _ = sender.send(line);
        }
    });
    receiver
}

fn wait(lines: Option<Receiver<String>>, is_up: impl Fn(&str) -> bool) -> Result<(), Failure> {
    let lines = lines.ok_or_else(|| defect("the server has no output"))?;
    let mut last = String::new();
    loop {
        match lines.recv_timeout(START) {
            Ok(line) if is_up(&line) => return Ok(()),
            Ok(line) => last = line,
            Err(_) => return Err(failed(&format!("it did not start; it said last: {last}"))),
        }
    }
}
