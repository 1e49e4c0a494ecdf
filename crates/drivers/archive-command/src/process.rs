//! A program at work: fed, read, watched, and killed with all it started when nothing moves or nobody waits for it.

use keyreeve_archive::Content;
use rustix::process::{Pid, Signal, kill_process_group};
use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::Settings;

/// Bytes moved at a time.
const PIECE: usize = 128 * 1024;
/// Of what a program says, the last bytes that are kept, and the characters of its last line that are shown.
const SAID: usize = 4096;
const SHOWN: usize = 300;
/// Where programs are looked for that the program starts.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// With which number; none when it was killed.
    pub(crate) code: Option<i32>,
    /// The last line on its standard error.
    pub(crate) said: String,
}

/// Why something could not be done with a program.
#[derive(Debug)]
pub(crate) enum Failed {
    /// What it should be given could not be read, or was not as long as was said.
    Source(io::Error),
    /// It ended too early.
    Ended(Ended),
    /// It could not be started, or did nothing for too long, or gave too much.
    Broken(String),
}

fn broken(text: impl ToString) -> Failed {
    Failed::Broken(text.to_string())
}

/// The processes of a program: killed when this is dropped before they ended.
struct Group {
    child: Child,
    id: Option<Pid>,
}

impl Group {
    fn kill(&mut self) {
        // Its leader was not waited for yet, so nobody else can have the number.
        if let Some(id) = self.id.take() {
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// See the module.
pub(crate) struct Running {
    // In this order: who is killed first sees no end of its input.
    group: Group,
    input: Option<ChildStdin>,
    output: ChildStdout,
    said: JoinHandle<String>,
    stall: Duration,
}

impl Running {
    pub(crate) fn start(settings: &Settings, verb: &[&str]) -> Result<Self, Failed> {
        let mut command = Command::new(&settings.program);
        command.args(&settings.arguments).args(verb);
        command.env_clear().env("PATH", PATH).env("LC_ALL", "C").envs(&settings.environment).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| broken(format!("it could not be started: {error}")))?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let (input, output, said) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let group = Group { child, id };
        let (Some(output), Some(said)) = (output, said) else { return Err(broken("it has no standard output")) };
        Ok(Self { group, input, output, said: tokio::spawn(last_line(said)), stall: settings.stall })
    }

    /// Ends its input at once.
    pub(crate) fn no_input(&mut self) {
        self.input = None;
    }

    fn stalled(&self) -> Failed {
        broken(format!("nothing moved for {} s: it was killed", self.stall.as_secs()))
    }

    /// Gives it a content to read, and its end only when all of it came. Returns how long that was.
    pub(crate) async fn feed(&mut self, content: &mut Content, size: Option<u64>) -> Result<u64, Failed> {
        let other = || {
            let error = io::Error::new(io::ErrorKind::UnexpectedEof, "another number of bytes came than was promised");
            Failed::Source(error)
        };
        let (mut buffer, mut done) = (vec![0; PIECE], 0u64);
        loop {
            let some = content.read(&mut buffer).await.map_err(Failed::Source)?;
            if some == 0 {
                break;
            }
            done += some as u64;
            if size.is_some_and(|size| done > size) {
                return Err(other());
            }
            let stalled = self.stalled();
            let Some(input) = self.input.as_mut() else { return Err(broken("it takes no input")) };
            match timeout(self.stall, write_all(input, &buffer[..some])).await {
                Ok(Ok(())) => {}
                // It went away: how it ended says why.
                Ok(Err(_)) => return Err(Failed::Ended(self.ended().await?)),
                Err(_) => return Err(stalled),
            }
        }
        if size.is_some_and(|size| size != done) {
            return Err(other());
        }
        self.input = None;
        Ok(done)
    }

    async fn some(&mut self) -> Result<Option<Vec<u8>>, Failed> {
        let mut bytes = vec![0; PIECE];
        match timeout(self.stall, self.output.read(&mut bytes)).await {
            Ok(Ok(0)) => Ok(None),
            Ok(Ok(some)) => {
                bytes.truncate(some);
                Ok(Some(bytes))
            }
            Ok(Err(error)) => Err(broken(error)),
            Err(_) => Err(self.stalled()),
        }
    }

    /// The first bytes that it gives; none when it gives none.
    pub(crate) async fn first(&mut self) -> Result<Option<Vec<u8>>, Failed> {
        self.some().await
    }

    /// All that it gives, which may be so many bytes.
    pub(crate) async fn whole(&mut self, most: usize) -> Result<Vec<u8>, Failed> {
        let mut all = Vec::new();
        while let Some(bytes) = self.some().await? {
            if all.len() + bytes.len() > most {
                return Err(broken(format!("it gave more than {most} bytes")));
            }
            all.extend(bytes);
        }
        Ok(all)
    }

    /// What it gives from here on, as something to read. An end other than a good one is an error there.
    pub(crate) fn rest(mut self, first: Vec<u8>) -> Output {
        let (to, from) = mpsc::channel(2);
        tokio::spawn(async move {
            let last = loop {
                match self.some().await {
                    // Whoever reads may take its time; when it went away, dropping this ends the program.
                    Ok(Some(bytes)) => match to.send(Ok(bytes)).await {
                        Ok(()) => {}
                        Err(_) => return,
                    },
                    Ok(None) => match self.ended().await {
                        Ok(Ended { code: Some(0), .. }) => return,
                        Ok(ended) => break format!("the program failed in the middle: {}", ended.said),
                        Err(failed) => break format!("{failed:?}"),
                    },
                    Err(Failed::Broken(text)) => break text,
                    Err(other) => break format!("{other:?}"),
                }
            };
            let _ = to.send(Err(io::Error::other(last))).await;
        });
        Output { from, now: first, at: 0 }
    }

    /// Waits for its end.
    pub(crate) async fn end(mut self) -> Result<Ended, Failed> {
        // Nothing that it says now counts, but it must not wait for somebody to take it.
        while self.some().await?.is_some() {}
        self.ended().await
    }

    async fn ended(&mut self) -> Result<Ended, Failed> {
        let stalled = self.stalled();
        let Ok(status) = timeout(self.stall, self.group.child.wait()).await else { return Err(stalled) };
        let status = status.map_err(broken)?;
        // It was waited for: its number may be another's from here on.
        self.group.id = None;
        // What it left running may keep its standard error open.
        let said = timeout(Duration::from_secs(1), &mut self.said).await;
        let said = said.ok().and_then(Result::ok).unwrap_or_default();
        Ok(Ended { code: status.code(), said })
    }
}

async fn write_all(input: &mut ChildStdin, bytes: &[u8]) -> io::Result<()> {
    input.write_all(bytes).await?;
    input.flush().await
}

/// Reads all that a program says and keeps its last line, as it may be shown.
async fn last_line(mut from: ChildStderr) -> String {
    let (mut kept, mut buffer) = (Vec::new(), vec![0; SAID]);
    while let Ok(some @ 1..) = from.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..some]);
        let from = kept.len().saturating_sub(SAID);
        kept.drain(..from);
    }
    shown(&kept)
}

fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    last.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN).collect()
}

/// What a program gives.
pub(crate) struct Output {
    from: mpsc::Receiver<io::Result<Vec<u8>>>,
    now: Vec<u8>,
    at: usize,
}

impl AsyncRead for Output {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.at == self.now.len() {
            match ready!(self.from.poll_recv(context)) {
                Some(Ok(bytes)) => (self.now, self.at) = (bytes, 0),
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Ok(())),
            }
        }
        let some = buffer.remaining().min(self.now.len() - self.at);
        let at = self.at;
        buffer.put_slice(&self.now[at..at + some]);
        self.at += some;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_a_program_says_the_last_line_is_shown() {
        assert_eq!(shown(b"starting\nno room left\x1b[31m\n\n"), "no room left [31m");
        assert_eq!(shown(b""), "it said nothing");
        assert_eq!(shown(&[b'x'; 5000]).len(), SHOWN);
    }
}
