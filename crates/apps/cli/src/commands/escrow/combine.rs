//! The rehearsal of a recovery: shares are put together in a process of its own, which nobody looks into and which
//! reaches nothing, and all that comes out is the answer to a challenge of the server.
//!
//! The process reads what it needs, then gives up its right to open anything: no file, no connection, no other process.
//! It tries whether that holds before it touches the shares together. The private half of the escrow key exists in its
//! memory for the time of one answer.

use std::fs::File;
use std::io::Write;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use keyreeve_crypto::escrow::{answer, open};
use keyreeve_crypto::shamir::{Collector, Share};
use keyreeve_crypto::{TransportPublic, WrappingMethod};
use keyreeve_model::escrow::{Campaign, EscrowKey as Key};
use keyreeve_wire::Base64;
use keyreeve_wire::escrow::{EscrowStatus, HandInRehearsal};
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use serde::{Deserialize, Serialize};

use crate::app::{App, Outcome};
use crate::commands::shares::read_share;
use crate::failure::{Exit, Failure};
use crate::files::read_all;

/// The name of the command of the sealed process.
pub(crate) const COMBINE: &str = "escrow-combine";
/// This program as it runs.
const SELF: &str = "/proc/self/exe";
/// The longest file with what is to be done (bytes).
const JOB_MAX: usize = 64 * 1024;

/// What the sealed process works on; no secret.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Job {
    campaign: u32,
    escrow_key: u32,
    method: String,
    public_key: String,
    fingerprint: String,
    private_sealed: Base64,
    challenge: Base64,
    threshold: u8,
}

impl Job {
    /// The campaign that goes on, and the key that it is about.
    fn of(status: &EscrowStatus) -> Result<Self, Failure> {
        let open = status.campaign.as_ref().filter(|campaign| campaign.closed.is_none());
        let campaign = open.ok_or_else(|| {
            let next = "`keyreeve escrow campaign` begins one; the server does so each quarter";
            Failure::new(Exit::No, "no campaign goes on").next(next)
        })?;
        let key = status.keys.iter().find(|key| key.version == campaign.escrow_key);
        let key = key.ok_or_else(|| Failure::new(Exit::No, "the escrow key of this campaign is gone"))?;
        Ok(Self {
            campaign: campaign.number,
            escrow_key: key.version,
            method: key.method.name().to_owned(),
            public_key: key.public_key.clone(),
            fingerprint: key.fingerprint.clone(),
            private_sealed: Base64(key.private_sealed.0.clone()),
            challenge: Base64(campaign.rehearsal.0.clone()),
            threshold: key.agents.threshold,
        })
    }
}

/// What comes out of the sealed process.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    answer: String,
}

/// Rehearse a recovery: show that the agents' shares still give the escrow key, without anybody seeing it
///
/// Enough agents give their shares to a process of its own on this machine. It cannot open files or connections, leaves
/// no dump, and ends with the answer to a challenge of the server; neither this program nor the server sees the key or
/// a share. Best done in the ceremony `escrow-deposit` or in each quarterly campaign.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve escrow rehearse     # asks for one share after the other, without echo\n  \
        $ keyreeve escrow rehearse --share /media/a/share --share /media/b/share")]
pub(crate) struct Rehearse {
    /// A file with a decrypted share, readable by you alone; once for each agent. Asked for when missing
    #[arg(long = "share", value_name = "FILE")]
    shares: Vec<PathBuf>,
}

impl Rehearse {
    pub(super) async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        let job = Job::of(&client.escrow().await?.value)?;
        let number = job.campaign;
        let shares = self.shares;
        let answered = tokio::task::spawn_blocking(move || sealed(&job, &shares)).await;
        let answer = answered.map_err(|_| Failure::new(Exit::Internal, "the rehearsal broke off"))??;
        let answer = client.hand_in_rehearsal(&HandInRehearsal { number, answer }).await?;
        app.note_record("the shares gave the escrow key", answer.audit_record.as_ref());
        app.show(&answer.value, super::campaign_facts)
    }
}

/// Runs the sealed process.
fn sealed(job: &Job, shares: &[PathBuf]) -> Result<String, Failure> {
    let failed = |error: std::io::Error| Failure::io("the sealed process", &error);
    let mut file = tempfile::NamedTempFile::new().map_err(failed)?;
    serde_json::to_writer(&mut file, job).map_err(|error| failed(error.into()))?;
    file.flush().map_err(failed)?;
    let own = Path::new(SELF);
    let own = if own.exists() { own.to_owned() } else { std::env::current_exe().map_err(failed)? };
    // Nothing of this process's surroundings but the terminal, by which agents give their shares.
    let mut child = Command::new(own);
    child.env_clear().arg(COMBINE).arg("--job").arg(file.path());
    child.args(shares).stdin(Stdio::inherit()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let done = child.output().map_err(failed)?;
    if !done.status.success() {
        return Err(Failure::new(Exit::No, "the sealed process gave no answer: it says why above"));
    }
    let answer: Answer = serde_json::from_slice(&done.stdout)
        .map_err(|_| Failure::new(Exit::Internal, "the sealed process gave something else than an answer"))?;
    Ok(answer.answer)
}

/// Put shares together for a rehearsal, in a process that reaches nothing; `escrow rehearse` starts it
#[derive(Args)]
#[command(
    after_help = "Example, as `escrow rehearse` does it:\n  $ keyreeve escrow-combine --job job.json SHARE SHARE"
)]
pub(crate) struct Combine {
    /// What is to be done
    #[arg(long, value_name = "FILE")]
    job: PathBuf,
    /// Files with shares
    #[arg(value_name = "FILE")]
    shares: Vec<PathBuf>,
}

fn read(path: Option<&Path>) -> Result<Share, Failure> {
    let text = read_share(path)?;
    if text.expose().trim_start().starts_with("-----BEGIN ") {
        let next = "decrypt it first: `age -d -i KEY FILE`, or `gpg -d FILE`";
        return Err(Failure::usage("a share is still encrypted").next(next));
    }
    Share::from_text(text.expose()).map_err(|error| Failure::usage(error.to_string()))
}

fn limit(resource: Resource) -> Result<(), Failure> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(resource, none)
        .map_err(|error| Failure::io("the limits of the sealed process", &error.into()))
}

/// No core file, and nobody looks into the memory: before the first share is read.
fn harden() -> Result<(), Failure> {
    limit(Resource::Core)?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| Failure::io("the sealed process", &error.into()))
}

/// From here on this process opens nothing: no file, no connection, no process. Tried, and not only asked for.
fn seal() -> Result<(), Failure> {
    [Resource::Nofile, Resource::Nproc].into_iter().try_for_each(limit)?;
    let opens = File::open("/dev/null").is_ok() || UdpSocket::bind(("127.0.0.1", 0)).is_ok();
    if opens {
        Err(Failure::new(Exit::Internal, "the process could not be sealed: nothing was put together"))
    } else {
        Ok(())
    }
}

impl Combine {
    pub(crate) fn run(self) -> Outcome {
        harden()?;
        let job: Job = serde_json::from_slice(&read_all(&self.job, JOB_MAX)?)
            .map_err(|_| Failure::usage("this is not what `keyreeve escrow rehearse` wrote"))?;
        let method: WrappingMethod =
            job.method.parse().map_err(|_| Failure::usage("this program does not know how the escrow key wraps"))?;
        let public = TransportPublic::from_pem(method, &job.public_key)
            .map_err(|error| Failure::usage(format!("the escrow key: {error}")))?;
        let mut collector = Collector::new();
        for place in 0..usize::from(job.threshold) {
            let file = self.shares.get(place).map(PathBuf::as_path);
            if file.is_none() && !self.shares.is_empty() {
                let text = format!("{} shares are needed, {} are here", job.threshold, self.shares.len());
                return Err(Failure::usage(text));
            }
            collector.add(read(file)?).map_err(|error| Failure::usage(error.to_string()))?;
        }
        seal()?;
        let context = Key::context(job.escrow_key, &job.fingerprint);
        let refused = || Failure::new(Exit::No, "the shares are not those of this escrow key");
        let secret = collector.finish().map_err(|error| Failure::new(Exit::No, error.to_string()))?;
        let private = open(&secret, &context, public.algorithm(), &job.private_sealed.0).map_err(|_| refused())?;
        let context = Campaign::context(job.campaign, job.escrow_key);
        let answer = answer(&private, &context, &job.challenge.0).map_err(|_| refused())?;
        let text = serde_json::to_vec(&Answer { answer: hex::encode(answer) })
            .map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
        std::io::stdout().write_all(&text)?;
        Ok(Exit::Done)
    }
}
