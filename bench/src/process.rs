//! Server processes: started, waited for, measured, ended.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;

/// Clock ticks of `/proc` in a second; 100 on every Linux this runs on.
const TICKS: u64 = 100;

/// CPU time a process has used, in user and kernel mode.
#[derive(Clone, Copy)]
pub(crate) struct CpuTime(Duration);

impl CpuTime {
    pub(crate) fn of(pid: u32) -> Result<Self, Failure> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The second field is the name in parentheses, which may hold spaces; user and system time are the 14th and
        // 15th.
        let rest = stat.rsplit_once(')').ok_or("unexpected /proc format")?.1;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks = |place: usize| fields.get(place).and_then(|text| text.parse::<u64>().ok()).ok_or("no such field");
        let total = ticks(11)? + ticks(12)?;
        Ok(Self(Duration::from_millis(total * 1000 / TICKS)))
    }

    pub(crate) fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Resident memory of a process, in MiB.
pub(crate) fn resident_mib(pid: u32) -> Result<f64, Failure> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    let kib: f64 = line.split_whitespace().nth(1).ok_or("no VmRSS")?.parse()?;
    Ok(kib / 1024.0)
}

/// A server that is ended when this is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) directory: PathBuf,
}

impl Server {
    /// Starts a program; its output goes to `server.log` in the directory.
    pub(crate) fn start(program: &str, arguments: &[&str], directory: &Path) -> Result<Self, Failure> {
        let log = std::fs::File::create(directory.join("server.log"))?;
        let child =
            Command::new(program).args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        Ok(Self { child, directory: directory.to_owned() })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until a file appears that the server writes when it is ready.
    pub(crate) async fn wait_for(&mut self, file: &Path) -> Result<(), Failure> {
        let started = Instant::now();
        while !file.exists() {
            if let Some(status) = self.child.try_wait()? {
                let log = std::fs::read_to_string(self.directory.join("server.log")).unwrap_or_default();
                return Err(format!("the server ended early ({status}):\n{log}").into());
            }
            if started.elapsed() > Duration::from_secs(60) {
                return Err("the server did not get ready within a minute".into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Asks the server to end and waits for it.
    pub(crate) fn stop(mut self) -> Result<(), Failure> {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
