//! The server's end: starting the worker, asking it, giving up on it, starting it again.

use std::collections::HashMap;
use std::io::BufReader;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use keyreeve_root::RootError;
use keyreeve_secret::SecretBytes;
use parking_lot::{Condvar, Mutex};

use crate::settings::{Launch, Settings};
use crate::survey::Survey;
use crate::wire::{Failure, Opening, Reply, Request, read_frame, write_frame};

/// Longest pause before a worker is started again.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The pause after the second failure in a row; each more doubles it. After one failure there is none.
const PAUSE: Duration = Duration::from_millis(100);

/// Variables of this process that the worker gets as well.
const INHERITED: [&str; 6] = ["PATH", "HOME", "TZ", "LANG", "LC_ALL", "LC_CTYPE"];
/// Why a login that was not answered is not begun again.
const IN_LOGIN: &str = "it ended or hung while the token was looking at the PIN, which may have used up a try";

/// Why a call came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) failure: Failure,
    pub(crate) text: String,
}

impl Problem {
    fn unavailable(text: impl Into<String>) -> Self {
        Self { failure: Failure::Unavailable, text: text.into() }
    }
}

impl From<Problem> for RootError {
    fn from(problem: Problem) -> Self {
        match problem.failure {
            Failure::Unavailable | Failure::Protocol => Self::Unavailable(problem.text),
            Failure::Pin => Self::Unavailable(format!("the token refused the PIN: {}", problem.text)),
            Failure::Input => Self::Unwrap,
            Failure::NotOffered | Failure::Exposed => Self::Refused(problem.text),
            Failure::Missing => Self::Missing,
        }
    }
}

/// The way to a token.
pub(crate) struct Link {
    settings: Settings,
    state: Mutex<State>,
    /// Rings when somebody is done with starting a worker.
    started: Condvar,
    gate: Gate,
}

/// Whether a worker runs; else the PIN to start one with, and how often the link was closed until now.
enum Running {
    Yes(Arc<Worker>),
    No(SecretBytes, u64),
}

#[derive(Default)]
struct State {
    /// The PIN, from opening to closing: a descriptor can be read only once, and the worker may have to be started
    /// again.
    pin: Option<SecretBytes>,
    worker: Option<Arc<Worker>>,
    survey: Option<Arc<Survey>>,
    /// Failures in a row.
    failures: u32,
    not_before: Option<Instant>,
    /// Why the worker was last given up.
    last: String,
    /// Somebody starts a worker; nobody else does meanwhile.
    starting: bool,
    /// Counts closings: a worker that was started for an opening that is over is not kept.
    closings: u64,
    /// The token refused the PIN: nothing is tried again until the process is started anew.
    refused: bool,
}

impl Link {
    pub(crate) fn new(settings: Settings) -> Self {
        let gate = Gate { free: Mutex::new(settings.sessions.max(1)), freed: Condvar::new() };
        Self { settings, state: Mutex::new(State::default()), started: Condvar::new(), gate }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Remembers the PIN; until [`close`](Self::close) a worker is started whenever one is needed.
    pub(crate) fn unlock(&self, pin: SecretBytes) {
        self.state.lock().pin = Some(pin);
    }

    /// Forgets the PIN and lets the worker end.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.pin = None;
        state.worker = None;
        state.closings += 1;
    }

    /// Whether the token refused the PIN, or may have.
    pub(crate) fn refused(&self) -> bool {
        self.state.lock().refused
    }

    /// What the token said when it was last opened.
    pub(crate) fn survey(&self) -> Option<Arc<Survey>> {
        self.state.lock().survey.clone()
    }

    /// Process id of the worker, for tests of what happens when it dies.
    pub(crate) fn worker_id(&self) -> Option<u32> {
        let worker = self.state.lock().worker.clone()?;
        let process = worker.process.lock();
        process.as_ref().map(Child::id)
    }

    /// Asks the worker, which is started if it does not run. Blocks for at most three times `limit`: to begin, to come
    /// to the worker, and for the answer.
    pub(crate) fn call(&self, request: &Request, limit: Duration) -> Result<Reply, Problem> {
        let _place =
            self.gate.enter(limit).ok_or_else(|| Problem::unavailable("all sessions at the token are busy"))?;
        let worker = self.worker(limit)?;
        match worker.ask(request, limit) {
            Ok(Reply::Failed(failure, text)) => {
                match failure {
                    Failure::Unavailable => self.give_up(&worker, &text),
                    Failure::Pin => self.refuse(&worker, &text),
                    Failure::Input | Failure::NotOffered | Failure::Missing | Failure::Exposed | Failure::Protocol => {}
                }
                Err(Problem { failure, text })
            }
            Ok(reply) => {
                self.state.lock().failures = 0;
                Ok(reply)
            }
            Err(text) if worker.in_login() => {
                let text = format!("{text}: {IN_LOGIN}");
                self.refuse(&worker, &text);
                Err(Problem { failure: Failure::Pin, text })
            }
            Err(text) => {
                self.give_up(&worker, &text);
                Err(Problem::unavailable(text))
            }
        }
    }

    /// Ends the worker, so that the next call begins with a new one: for a token that was taken out and put back.
    pub(crate) fn renew(&self, why: &str) {
        let worker = self.state.lock().worker.clone();
        if let Some(worker) = worker {
            self.give_up(&worker, why);
        }
    }

    /// The worker that runs, or a new one. It is started without the state being held: closing, and telling what the
    /// token said, wait for nothing.
    fn worker(&self, limit: Duration) -> Result<Arc<Worker>, Problem> {
        let (pin, closings) = match self.running(limit)? {
            Running::Yes(worker) => return Ok(worker),
            Running::No(pin, closings) => (pin, closings),
        };
        let started = start(&self.settings, Some(pin), self.settings.timeout);
        let mut state = self.state.lock();
        state.starting = false;
        self.started.notify_all();
        match started {
            Ok((worker, _)) if state.closings != closings => {
                worker.kill();
                Err(Problem::unavailable("the token was closed"))
            }
            Ok((worker, survey)) => {
                tracing::info!(token = %survey.label, serial = %survey.serial, "the PKCS #11 token is open");
                state.worker = Some(Arc::clone(&worker));
                state.survey = Some(Arc::new(survey));
                Ok(worker)
            }
            Err(problem) => {
                state.refused |= problem.failure == Failure::Pin;
                state.fail(&problem.text);
                Err(problem)
            }
        }
    }

    /// The worker, or that the caller starts one now, with this PIN. Waits while somebody else does.
    fn running(&self, limit: Duration) -> Result<Running, Problem> {
        let end = Instant::now() + limit;
        let mut state = self.state.lock();
        while state.starting {
            if self.started.wait_until(&mut state, end).timed_out() {
                return Err(Problem::unavailable("the token is being opened"));
            }
        }
        if let Some(worker) = &state.worker
            && worker.alive()
        {
            return Ok(Running::Yes(Arc::clone(worker)));
        }
        if let Some(dead) = state.worker.take() {
            state.refused |= dead.in_login();
            state.fail("the worker ended by itself");
        }
        if state.refused {
            let text = "it is not tried again until the server is started anew, lest the token locks";
            return Err(Problem { failure: Failure::Pin, text: text.to_owned() });
        }
        if state.not_before.is_some_and(|moment| Instant::now() < moment) {
            return Err(Problem::unavailable(format!("{}; it is tried again in a moment", state.last)));
        }
        let Some(pin) = &state.pin else { return Err(Problem::unavailable("the token is closed")) };
        let pin = pin.duplicate();
        state.starting = true;
        Ok(Running::No(pin, state.closings))
    }

    fn give_up(&self, worker: &Arc<Worker>, why: &str) {
        worker.kill();
        let mut state = self.state.lock();
        // Whoever came first has counted it.
        if state.worker.as_ref().is_some_and(|current| Arc::ptr_eq(current, worker)) {
            state.worker = None;
            state.fail(why);
        }
    }

    fn refuse(&self, worker: &Arc<Worker>, why: &str) {
        self.state.lock().refused = true;
        self.give_up(worker, why);
    }
}

impl State {
    fn fail(&mut self, why: &str) {
        tracing::warn!(cause = why, failures = self.failures + 1, "the PKCS #11 worker was given up");
        why.clone_into(&mut self.last);
        let pause = self.failures.checked_sub(1).map(|more| PAUSE.saturating_mul(1 << more.min(16)).min(PAUSE_MAX));
        self.not_before = pause.map(|pause| Instant::now() + pause);
        self.failures = self.failures.saturating_add(1);
    }
}

/// Lets in as many calls as there are sessions: what waits here is not the worker's fault.
struct Gate {
    free: Mutex<u8>,
    freed: Condvar,
}

struct Place<'a>(&'a Gate);

impl Gate {
    fn enter(&self, limit: Duration) -> Option<Place<'_>> {
        let end = Instant::now() + limit;
        let mut free = self.free.lock();
        while *free == 0 {
            if self.freed.wait_until(&mut free, end).timed_out() {
                return None;
            }
        }
        *free -= 1;
        Some(Place(self))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.free.lock() += 1;
        self.0.freed.notify_one();
    }
}

/// A running worker. Dropping the last reference closes its input, at which it ends.
struct Worker {
    frames: mpsc::Sender<SecretBytes>,
    waiting: Arc<Mutex<Waiting>>,
    process: Arc<Mutex<Option<Child>>>,
}

struct Waiting {
    /// `None` once the worker is gone.
    calls: Option<HashMap<u64, SyncSender<Reply>>>,
    next: u64,
    /// The token is looking at the PIN; or was, when the worker ended by itself.
    login: bool,
}

impl Worker {
    fn alive(&self) -> bool {
        self.waiting.lock().calls.is_some()
    }

    /// Whether it has shown the PIN and not told what came of it. A worker that was killed for something else has not.
    fn in_login(&self) -> bool {
        self.waiting.lock().login
    }

    fn ask(&self, request: &Request, limit: Duration) -> Result<Reply, String> {
        const ENDED: &str = "the worker ended before it answered";
        let (sender, receiver) = mpsc::sync_channel(1);
        let number = {
            let mut waiting = self.waiting.lock();
            waiting.next += 1;
            let number = waiting.next;
            waiting.calls.as_mut().ok_or_else(|| ENDED.to_owned())?.insert(number, sender);
            number
        };
        self.frames.send(request.encode(number)).map_err(|_| ENDED.to_owned())?;
        receiver.recv_timeout(limit).map_err(|error| {
            if let Some(calls) = &mut self.waiting.lock().calls {
                calls.remove(&number);
            }
            match error {
                RecvTimeoutError::Timeout => format!("the worker did not answer within {} ms", limit.as_millis()),
                RecvTimeoutError::Disconnected => ENDED.to_owned(),
            }
        })
    }

    fn kill(&self) {
        if let Some(process) = self.process.lock().as_mut() {
            // It is gone already otherwise.
            let _ = process.kill();
        }
        let mut waiting = self.waiting.lock();
        waiting.calls = None;
        waiting.login = false;
    }
}

/// Starts a worker and has it open the token.
pub(crate) fn open(settings: &Settings, pin: Option<SecretBytes>) -> Result<Survey, Problem> {
    start(settings, pin, settings.timeout).map(|(_, survey)| survey)
}

fn start(settings: &Settings, pin: Option<SecretBytes>, limit: Duration) -> Result<(Arc<Worker>, Survey), Problem> {
    let text = |text: &str| text.to_owned();
    let library = settings.library.to_str().ok_or_else(|| Problem::unavailable("the library's path is not UTF-8"))?;
    let opening = Request::Open(Opening {
        library: text(library),
        label: text(&settings.token),
        serial: text(&settings.serial),
        pin,
        sessions: settings.sessions,
    });
    let worker = Arc::new(spawn(&settings.launch).map_err(Problem::unavailable)?);
    match worker.ask(&opening, limit) {
        Ok(Reply::Opened(survey)) => Ok((worker, *survey)),
        Ok(Reply::Failed(failure, text)) => {
            worker.kill();
            Err(Problem { failure, text })
        }
        Ok(_) => {
            worker.kill();
            Err(Problem::unavailable("the worker answered with something else"))
        }
        Err(text) => {
            let in_login = worker.in_login();
            worker.kill();
            if in_login {
                return Err(Problem { failure: Failure::Pin, text: format!("{text}: {IN_LOGIN}") });
            }
            Err(Problem::unavailable(text))
        }
    }
}

fn spawn(launch: &Launch) -> Result<Worker, String> {
    let mut command = Command::new(&launch.program);
    // The server's variables may hold the credentials of other roots, and are not the library's business.
    let inherited = INHERITED.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    command.args(&launch.arguments).env_clear().envs(inherited).envs(&launch.environment);
    // A group of its own: an interrupt from the keyboard is for the server as well.
    command.process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let waiting = Arc::new(Mutex::new(Waiting { calls: Some(HashMap::new()), next: 0, login: false }));
    let process = Arc::new(Mutex::new(None));
    let (frames, to_write) = mpsc::channel::<SecretBytes>();
    let (started, outcome) = mpsc::sync_channel(1);
    let shared = (Arc::clone(&waiting), Arc::clone(&process));
    // The worker ends with the thread that started it, not only with the server: so that is the thread that reads from
    // it to the end.
    let reader = move || {
        let (waiting, process) = shared;
        match command.spawn() {
            Err(error) => drop(started.send(Err(format!("the worker cannot be started: {error}")))),
            Ok(mut child) => {
                let pipes = child.stdin.take().zip(child.stdout.take());
                *process.lock() = Some(child);
                if let Some((stdin, stdout)) = pipes {
                    let _ = started.send(Ok(stdin));
                    read(stdout, &waiting);
                }
                end(&process, &waiting);
            }
        }
    };
    let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
    thread("pkcs11-reader").spawn(reader).map_err(|error| error.to_string())?;
    let stdin = outcome.recv().map_err(|_| "the worker cannot be started".to_owned())??;
    thread("pkcs11-writer").spawn(move || write(stdin, to_write)).map_err(|error| error.to_string())?;
    Ok(Worker { frames, waiting, process })
}

/// Writes from a thread of its own: a worker that hangs does not read, and nobody may wait for it without end.
fn write(mut stdin: ChildStdin, frames: mpsc::Receiver<SecretBytes>) {
    while let Ok(frame) = frames.recv() {
        if write_frame(&mut stdin, &frame).is_err() {
            return;
        }
    }
}

fn read(stdout: ChildStdout, waiting: &Mutex<Waiting>) {
    let mut stdout = BufReader::new(stdout);
    while let Ok(Some(body)) = read_frame(&mut stdout) {
        let Ok((number, reply)) = Reply::decode(body.expose()) else {
            tracing::error!("the PKCS #11 worker said something that makes no sense");
            return;
        };
        if let Reply::Login(begins) = reply {
            let mut waiting = waiting.lock();
            waiting.login = begins && waiting.calls.is_some();
            continue;
        }
        let call = waiting.lock().calls.as_mut().and_then(|calls| calls.remove(&number));
        if let Some(call) = call {
            // Whoever asked may have given up.
            let _ = call.send(reply);
        }
    }
}

fn end(process: &Mutex<Option<Child>>, waiting: &Mutex<Waiting>) {
    waiting.lock().calls = None;
    let child = process.lock().take();
    if let Some(mut child) = child {
        // Its output is closed, so it ended, was killed, or made no sense.
        let _ = child.kill();
        let _ = child.wait();
    }
}
