//! A process of the program under test: started, waited for by what it writes, measured, ended by its id.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up.
const LIMIT: Duration = Duration::from_secs(60);
/// How often something is looked at that cannot be waited for.
const LOOK: Duration = Duration::from_millis(20);
/// How long the last lines of a server that ended may take to arrive.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The program under test.
#[derive(Clone, Debug)]
pub struct Binary(PathBuf);

impl Binary {
    /// The one in `KEYREEVE_TEST_BINARY`, else the development build of this checkout.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn find() -> Self {
        let path = std::env::var_os("KEYREEVE_TEST_BINARY").map(PathBuf::from).unwrap_or_else(|| {
            let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
            Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(target).join("debug/keyreeve")
        });
        assert!(path.is_file(), "{} is missing: `cargo build` makes it", path.display());
        Self(path.canonicalize().unwrap())
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A command line of it, in a directory that is its home too.
    #[must_use]
    pub fn command(&self, home: &Path) -> Command {
        let mut command = Command::new(&self.0);
        crate::tidy_environment(&mut command, home);
        command.current_dir(home).stdin(Stdio::null());
        command
    }
}

#[derive(Debug, Default)]
struct Output {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl Output {
    fn follow(self: &Arc<Self>, stream: impl Read + Send + 'static) {
        let output = Arc::clone(self);
        std::thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                output.lines.lock().unwrap().push(String::from_utf8_lossy(&line).into_owned());
                output.more.notify_all();
            }
        });
    }
}

/// A running process. Killed when it is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    output: Arc<Output>,
}

impl Server {
    /// Starts a command and follows what it writes.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = Arc::new(Output::default());
        output.follow(child.stdout.take().unwrap());
        output.follow(child.stderr.take().unwrap());
        Self { child, output }
    }

    /// Waits for a line in which `find` finds something.
    ///
    /// # Panics
    /// When the process ends first, or nothing is found in time.
    pub fn wait_line<T>(&mut self, mut find: impl FnMut(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + LIMIT;
        let mut seen = 0;
        loop {
            let lines = self.output.lines.lock().unwrap();
            if let Some(found) = lines[seen..].iter().find_map(|line| find(line)) {
                return found;
            }
            seen = lines.len();
            let (lines, _) = self.output.more.wait_timeout(lines, LOOK).unwrap();
            let news = lines.len() > seen;
            drop(lines);
            if news {
                continue;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                // Its last words may still be on their way here.
                let lines = self.output.lines.lock().unwrap();
                let (lines, _) =
                    self.output.more.wait_timeout_while(lines, LAST_WORDS, |all| all.len() <= seen).unwrap();
                let news = lines.len() > seen;
                drop(lines);
                if news {
                    continue;
                }
                panic!("the server ended early ({status}):\n{}", self.log());
            }
            assert!(Instant::now() < deadline, "the server did not write what was waited for:\n{}", self.log());
        }
    }

    /// Everything it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.output.lines.lock().unwrap().join("\n")
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in KiB, now (`VmRSS`) or at most so far (`VmHWM`).
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn memory_kib(&self, field: &str) -> u64 {
        memory_kib(self.pid(), field).unwrap_or_else(|| panic!("the server is gone:\n{}", self.log()))
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Is it still there?
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// kill -9, without a chance to tidy up.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and how it ended.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn terminate(self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn wait(mut self) -> ExitStatus {
        let mut status = None;
        let ended = wait_until(LIMIT, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(ended, "the server did not end:\n{}", self.log());
        status.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// A memory figure of a process from `/proc`, in KiB.
pub(crate) fn memory_kib(pid: u32, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Looks again and again until something outside of this process is so; false when the time is over.
#[must_use]
pub fn wait_until(limit: Duration, mut so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    let never = (Mutex::new(()), Condvar::new());
    loop {
        if so() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        let guard = never.0.lock().unwrap();
        drop(never.1.wait_timeout(guard, LOOK).unwrap());
    }
}
