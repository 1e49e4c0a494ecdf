//! The worker: a process of its own that holds the vendor's library.
//!
//! It reads requests from its standard input and writes replies to its standard output, as [`wire`](crate::wire) says.
//! A thread for each session takes requests in turn, so a slow one holds up none of the others. When the library
//! crashes the process ends, when the server ends the process ends, and the server starts another one when it needs it.

mod desk;
mod keys;
mod operations;
mod token;
mod trouble;

use std::fs::File;
use std::io::{self, BufReader};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use keyreeve_secret::SecretBytes;
use parking_lot::Mutex;
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};

use crate::wire::{Failure, Opening, Reply, Request, read_frame, write_frame};
use desk::Desk;
use token::Token;

/// How long the library may take to close.
const CLOSING: Duration = Duration::from_secs(2);
/// Sessions at most.
const SESSIONS_MAX: u8 = 64;

type Job = (u64, Request);
type Output = Arc<Mutex<File>>;

/// Runs until its standard input ends. Meant to be the whole of a process.
///
/// # Errors
/// When the other end is gone or talks nonsense.
pub fn run() -> io::Result<()> {
    let (mut input, output) = pipes()?;
    harden();
    let Some((number, first)) = next(&mut input)? else { return Ok(()) };
    let Request::Open(opening) = first else {
        return answer(&output, number, &failed(Failure::Protocol, "the first request must open a token"));
    };
    let sessions = opening.sessions.clamp(1, SESSIONS_MAX);
    let (token, survey) = match open(opening, &output) {
        Ok(opened) => opened,
        Err(reply) => return answer(&output, number, &reply),
    };
    answer(&output, number, &Reply::Opened(Box::new(survey)))?;
    let (jobs, queue) = mpsc::channel();
    let queue = Arc::new(Mutex::new(queue));
    let mut threads = Vec::new();
    for _ in 0..sessions {
        let (queue, output, desk) = (Arc::clone(&queue), Arc::clone(&output), Desk::new(Arc::clone(&token)));
        threads
            .push(std::thread::Builder::new().name("pkcs11-session".to_owned()).spawn(|| work(desk, queue, output))?);
    }
    while let Some(job) = next(&mut input)? {
        if jobs.send(job).is_err() {
            break;
        }
    }
    drop(jobs);
    close(token, threads);
    Ok(())
}

fn open(opening: Opening, output: &Output) -> Result<(Arc<Token>, crate::survey::Survey), Reply> {
    Token::open(opening, Arc::clone(output))
        .map(|(token, survey)| (Arc::new(token), survey))
        .map_err(trouble::Trouble::into_reply)
}

fn failed(failure: Failure, text: &str) -> Reply {
    Reply::Failed(failure, text.to_owned())
}

fn next(input: &mut BufReader<File>) -> io::Result<Option<Job>> {
    let Some(body) = read_frame(input)? else { return Ok(None) };
    let job = Request::decode(body.expose()).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(Some(job))
}

fn answer(output: &Output, number: u64, reply: &Reply) -> io::Result<()> {
    let body: SecretBytes = reply.encode(number);
    write_frame(&mut *output.lock(), &body)
}

fn work(mut desk: Desk, queue: Arc<Mutex<Receiver<Job>>>, output: Output) {
    loop {
        // The lock is held while waiting: whoever has it takes the next request.
        let job = queue.lock().recv();
        let Ok((number, request)) = job else { return };
        if answer(&output, number, &desk.serve(&request)).is_err() {
            return;
        }
    }
}

/// Closes the library properly, so that the device frees its sessions, unless that takes long.
fn close(token: Arc<Token>, threads: Vec<std::thread::JoinHandle<()>>) {
    let (done, closed) = mpsc::channel();
    let closing = std::thread::Builder::new().spawn(move || {
        for thread in threads {
            let _ = thread.join();
        }
        if let Some(token) = Arc::into_inner(token) {
            token.close();
        }
        let _ = done.send(());
    });
    if closing.is_err() || closed.recv_timeout(CLOSING).is_err() {
        // A library that hangs now would hang in an orderly exit as well.
        let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL);
    }
}

/// Takes the pipes away from where libraries expect a terminal: what they print goes to the error stream, and they read
/// nothing.
fn pipes() -> io::Result<(BufReader<File>, Output)> {
    let input = File::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?);
    let output = File::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?);
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    Ok((BufReader::new(input), Arc::new(Mutex::new(output))))
}

/// Ends with the server, leaves no core file, and cannot be looked into. What of it fails is no reason not to serve.
fn harden() {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let _ = rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
}
