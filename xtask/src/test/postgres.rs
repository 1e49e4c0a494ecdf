//! A private PostgreSQL server in a temporary folder, gone when its value is dropped.
//!
//! It listens on a Unix socket only, so that runs do not fight over ports, and writes durably (fsync stays on): what
//! the driver promises is tested on a server that keeps its promises.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::tools;
use crate::{Result, cargo};

const USER: &str = "keyreeve";
const READY: &str = "database system is ready to accept connections";
const START_LIMIT: Duration = Duration::from_secs(60);

/// The folder with `initdb` and `postgres`: what PATH names, else Debian's newest.
pub(super) fn programs() -> Option<PathBuf> {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let named = std::env::split_paths(&on_path).find(|folder| folder.join("initdb").exists());
    let linked = named.and_then(|folder| folder.join("initdb").canonicalize().ok());
    let folder = linked.and_then(|program| program.parent().map(Path::to_path_buf)).or_else(newest_of_debian);
    folder.filter(|folder| folder.join("postgres").exists())
}

fn newest_of_debian() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let numbered = versions.filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path())));
    numbered.max().map(|(_, folder)| folder.join("bin"))
}

/// A running server.
pub(super) struct Server {
    folder: PathBuf,
    process: Option<Child>,
}

impl Server {
    pub(super) fn start() -> Result<Self> {
        let programs = programs().ok_or("PostgreSQL is not installed")?;
        let folder = std::env::temp_dir().join(format!("keyreeve-postgres-{}", std::process::id()));
        std::fs::create_dir(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        let mut server = Self { folder, process: None };
        let owner = Owner::find()?;
        owner.take(&server.folder)?;
        server.initialise(&programs, &owner)?;
        server.launch(&programs, &owner)?;
        Ok(server)
    }

    /// The superuser's URL, as libpq and sqlx read it.
    pub(super) fn url(&self) -> String {
        format!("postgres://{USER}@localhost/postgres?host={}", self.folder.display())
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn initialise(&self, programs: &Path, owner: &Owner) -> Result<()> {
        let mut initdb = owner.command(&programs.join("initdb"));
        initdb.current_dir(&self.folder).arg("-D").arg(self.data());
        initdb.args(["-U", USER, "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"]);
        let output = initdb.output().map_err(|error| format!("cannot start initdb: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("initdb failed: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
    }

    /// The server is a child in our process group: an interrupt from the terminal reaches it too.
    fn launch(&mut self, programs: &Path, owner: &Owner) -> Result<()> {
        let mut postgres = owner.command(&programs.join("postgres"));
        postgres.current_dir(&self.folder).arg("-D").arg(self.data()).arg("-k").arg(&self.folder);
        postgres.args(["-c", "listen_addresses=", "-c", "max_connections=200", "-c", "lc_messages=C"]);
        postgres.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = postgres.spawn().map_err(|error| format!("cannot start postgres: {error}"))?;
        let messages = child.stderr.take().ok_or("postgres has no messages")?;
        self.process = Some(child);
        let log = File::create(self.folder.join("log"))?;
        let (ready, waiting) = mpsc::channel();
        std::thread::spawn(move || follow(BufReader::new(messages), log, &ready));
        match waiting.recv_timeout(START_LIMIT) {
            Ok(()) => Ok(()),
            Err(_) => Err(format!("postgres did not start: {}", self.log()).into()),
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

/// Copies the server's messages to its log, says when it is ready; the channel closes when the server ends.
fn follow(messages: impl BufRead, mut log: File, ready: &mpsc::Sender<()>) {
    for line in messages.lines().map_while(std::result::Result::ok) {
        // The log is only for a person to read after a failure: without it the run goes on.
        let _ = writeln!(log, "{line}");
        if line.contains(READY) {
            let _ = ready.send(());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // SIGQUIT is PostgreSQL's immediate shutdown: its own children end too, the data is thrown away anyhow.
            let quit = Command::new("kill").args(["-QUIT", &process.id().to_string()]).status();
            if quit.is_ok() {
                let _ = process.wait();
            }
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Whom the server runs as: PostgreSQL refuses root, so root hands it to the user its package made.
enum Owner {
    Myself,
    User { uid: u32, gid: u32 },
}

impl Owner {
    fn find() -> Result<Self> {
        if !tools::is_root() {
            return Ok(Self::Myself);
        }
        let id =
            |flag: &str| -> Option<u32> { cargo::output_of(Command::new("id").args([flag, "postgres"]))?.parse().ok() };
        let missing = "PostgreSQL refuses to run as root, and there is no user `postgres` to run it as";
        Ok(Self::User { uid: id("-u").ok_or(missing)?, gid: id("-g").ok_or(missing)? })
    }

    fn take(&self, folder: &Path) -> Result<()> {
        if let Self::User { uid, gid } = self {
            std::os::unix::fs::chown(folder, Some(*uid), Some(*gid))?;
        }
        Ok(())
    }

    /// `setpriv` becomes the program instead of waiting for it, and has the kernel end it should we be killed.
    fn command(&self, program: &Path) -> Command {
        let Self::User { uid, gid } = self else { return Command::new(program) };
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={uid}"), format!("--regid={gid}")]);
        command.args(["--init-groups", "--pdeathsig=QUIT", "--"]).arg(program);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_server_starts_listens_and_leaves_nothing() {
        if programs().is_none() {
            assert!(std::env::var_os("KEYREEVE_TEST_ALL").is_none(), "PostgreSQL is not installed");
            eprintln!("nothing is tested: PostgreSQL is not installed");
            return;
        }
        let server = Server::start().unwrap();
        let folder = server.folder.clone();
        assert!(server.url().ends_with(&format!("?host={}", folder.display())));
        std::os::unix::net::UnixStream::connect(folder.join(".s.PGSQL.5432")).unwrap();
        drop(server);
        assert!(!folder.exists());
    }

    #[test]
    fn readiness_is_read_from_the_messages() {
        let path = std::env::temp_dir().join(format!("keyreeve-follow-{}", std::process::id()));
        let (ready, waiting) = mpsc::channel();
        follow(format!("starting\n{READY}\n").as_bytes(), File::create(&path).unwrap(), &ready);
        assert!(waiting.try_recv().is_ok());
        assert!(std::fs::read_to_string(&path).unwrap().contains("starting"));
        std::fs::remove_file(path).unwrap();
    }
}
