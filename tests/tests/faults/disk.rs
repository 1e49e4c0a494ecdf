//! A small disk in memory, in a mount namespace of its own.
//!
//! A shell holds the namespace open and does what is asked of it on its standard input; the server is started inside
//! with `nsenter`, and its files are reached through `/proc`.

use keyreeve_tests::{Binary, Dev, Server, not_run};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

const BALLAST: &str = "ballast";
const DATA: &str = ".keyreeve-dev";

/// The shell inside the namespace.
struct Shell {
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

pub(crate) struct Disk {
    keeper: Child,
    shell: Mutex<Shell>,
    home: tempfile::TempDir,
}

impl Disk {
    /// A disk of so many MiB with a server on it; none, said aloud, where that is not permitted.
    pub(crate) fn start(mebibytes: usize) -> Option<(Self, Dev)> {
        let disk = Self::make(mebibytes)?;
        let dev = disk.restart();
        Some((disk, dev))
    }

    fn make(mebibytes: usize) -> Option<Self> {
        let home = tempfile::tempdir().unwrap();
        let mut unshare = Command::new("unshare");
        unshare.arg(if rustix::process::geteuid().is_root() { "-m" } else { "-rm" }).args(["sh"]);
        let spawned = unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let Ok(mut keeper) = spawned else {
            not_run("there is no `unshare` to make a mount namespace with");
            return None;
        };
        let (stdin, stdout) = (keeper.stdin.take().unwrap(), keeper.stdout.take().unwrap());
        let shell = Mutex::new(Shell { stdin, stdout: BufReader::new(stdout) });
        let disk = Self { keeper, shell, home };
        let place = disk.home.path().display().to_string();
        // Two file systems: the vault is told to be one of its own.
        let script = format!(
            "mkdir -p {place}/{DATA} && mount -t tmpfs -o size={mebibytes}m,mode=700 tmpfs {place}/{DATA} && \
             mkdir -m 700 {place}/{DATA}/epochs && mount -t tmpfs -o size=4m,mode=700 tmpfs {place}/{DATA}/epochs"
        );
        if !disk.does(&script) {
            not_run("file systems cannot be mounted here");
            return None;
        }
        Some(disk)
    }

    /// Has the shell do something; whether it worked.
    fn does(&self, script: &str) -> bool {
        let mut shell = self.shell.lock().unwrap();
        let mut line = String::new();
        shell.stdin.write_all(format!("{{ {script}; }} >/dev/null 2>&1; echo $?\n").as_bytes()).is_ok()
            && shell.stdout.read_line(&mut line).is_ok()
            && line.trim() == "0"
    }

    /// A place on the disk, seen from outside.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let home = self.home.path().strip_prefix("/").unwrap();
        Path::new("/proc").join(self.keeper.id().to_string()).join("root").join(home).join(DATA).join(name)
    }

    /// Starts the server inside, without waiting for it.
    pub(crate) fn spawn(&self) -> Server {
        let mut command = Command::new("nsenter");
        let target = self.keeper.id().to_string();
        if !rustix::process::geteuid().is_root() {
            command.args(["-U", "--preserve-credentials"]);
        }
        command.args(["-m", "-t", &target, "--"]).arg("env").arg("-C").arg(self.home.path());
        command.arg(Binary::find().path()).args(["dev", "--listen", "127.0.0.1:0"]).stdin(Stdio::null());
        Server::spawn(&mut command)
    }

    /// Starts the server on what is on the disk.
    pub(crate) fn restart(&self) -> Dev {
        Dev::wait_in(self.spawn(), self.home.path(), &self.path(""))
    }

    /// Leaves not a byte.
    pub(crate) fn fill(&self) {
        let mut ballast = File::create(self.path(BALLAST)).unwrap();
        for size in [1 << 20, 1 << 12, 1] {
            while ballast.write_all(&vec![0u8; size]).is_ok() {}
        }
    }

    /// Makes room again.
    pub(crate) fn free(&self) {
        std::fs::remove_file(self.path(BALLAST)).unwrap();
    }

    #[track_caller]
    fn remount(&self, what: &str, read_only: bool) {
        let mode = if read_only { "ro" } else { "rw" };
        let place = self.home.path().join(what);
        assert!(self.does(&format!("mount -o remount,{mode} {}", place.display())), "{mode} was refused");
    }

    pub(crate) fn make_read_only(&self, read_only: bool) {
        self.remount(DATA, read_only);
    }

    pub(crate) fn make_vault_read_only(&self, read_only: bool) {
        self.remount(&format!("{DATA}/epochs"), read_only);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
