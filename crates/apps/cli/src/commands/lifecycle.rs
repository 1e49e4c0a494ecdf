//! What moves a key through its states, and its public half.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use keyreeve_client::Answer;
use keyreeve_wire::keys::{CompromiseKey, Destruction, Key, ScheduleDestruction, SuspendKey};

use super::key_transport::{self, Incoming};
use super::keys::details;
use crate::app::{App, Outcome};
use crate::emit::OutArgs;
use crate::failure::{Exit, Failure};
use crate::files::Readers;
use crate::out::facts;

/// The key, and why something is done to it.
#[derive(Args)]
pub(crate) struct KeyAndReason {
    /// The key's id or alias
    key: String,
    /// Why: kept with the key and in the audit log
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

fn changed(app: &App, what: &str, answer: &Answer<Key>) -> Outcome {
    app.note_record(what, answer.audit_record.as_ref());
    app.show(&answer.value, details)
}

/// Activate a key that waits for it, or lift its suspension
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve key activate orders --reason 'incident closed'")]
pub(crate) struct Activate {
    #[command(flatten)]
    args: KeyAndReason,
}

impl Activate {
    pub(super) async fn run(self, app: &App) -> Outcome {
        let answer = app.client()?.activate_key(&self.args.key, &self.args.reason).await?;
        changed(app, "activated", &answer)
    }
}

/// Halt all use of a key for a time
///
/// Nothing is encrypted, decrypted, signed or verified with it until `key activate` lifts the suspension.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve key suspend orders --reason 'incident 12'\n  \
        $ keyreeve key suspend orders --accept-risk --reason 'audit'   # still decrypts what exists")]
pub(crate) struct Suspend {
    #[command(flatten)]
    args: KeyAndReason,
    /// Let it go on processing what it protected before, and accept the risk of that
    #[arg(long)]
    accept_risk: bool,
}

impl Suspend {
    pub(super) async fn run(self, app: &App) -> Outcome {
        let suspend = SuspendKey { risk_accepted: self.accept_risk, reason: self.args.reason };
        changed(app, "suspended", &app.client()?.suspend_key(&self.args.key, &suspend).await?)
    }
}

/// End protection with a key; it still decrypts and verifies what exists
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve key deactivate orders --reason 'replaced by orders-2027'")]
pub(crate) struct Deactivate {
    #[command(flatten)]
    args: KeyAndReason,
}

impl Deactivate {
    pub(super) async fn run(self, app: &App) -> Outcome {
        let answer = app.client()?.deactivate_key(&self.args.key, &self.args.reason).await?;
        changed(app, "deactivated", &answer)
    }
}

/// Record that a key, or one version of it, may be known to others
///
/// Its use stops at once: nothing is protected with it any more, and what it protected is opened by nobody until
/// somebody accepts the risk of that, which can be done now or later, with the same command and `--accept-risk`. That
/// it is compromised cannot be taken back. Next: rotate the key, `keyreeve rewrap` what exists.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve key compromise orders --yes --reason 'laptop stolen'\n  \
        $ keyreeve key compromise orders --accept-risk --reason 'rewrapping what there is'\n  \
        $ keyreeve key compromise orders --key-version 3 --accept-risk --reason 'old backup found'")]
pub(crate) struct Compromise {
    #[command(flatten)]
    args: KeyAndReason,
    /// Only this version; all unless said
    #[arg(long, value_name = "N")]
    key_version: Option<u32>,
    /// Let data still be decrypted and verified, and accept the risk of that
    #[arg(long)]
    accept_risk: bool,
    /// Do it without the risk being accepted; asked for at a terminal only
    #[arg(long)]
    yes: bool,
}

impl Compromise {
    pub(super) async fn run(self, app: &App) -> Outcome {
        if !self.yes && !self.accept_risk && std::io::stdin().is_terminal() {
            let what = "at once nobody can decrypt or verify what this key protects, until somebody accepts the risk \
                        of that; that it is compromised cannot be taken back";
            return Err(Failure::usage(what).next("repeat the command with `--yes`, or with `--accept-risk`"));
        }
        let (version, risk_accepted) = (self.key_version, self.accept_risk);
        let compromise = CompromiseKey { version, risk_accepted, reason: self.args.reason };
        changed(app, "marked as compromised", &app.client()?.compromise_key(&self.args.key, &compromise).await?)
    }
}

/// Make a new version of a key; older versions go on decrypting and verifying
///
/// New data is protected with the new version at once. `keyreeve rewrap` brings old ciphertexts to it. The material is
/// made here, or brought: `--import` names what `key import-parameters --key KEY -o` wrote.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve key rotate orders --reason 'yearly'\n  \
        $ keyreeve key rotate cards --import import.json --wrapped wrapped.bin --reason 'yearly ceremony'")]
pub(crate) struct Rotate {
    #[command(flatten)]
    args: KeyAndReason,
    /// Bring the material: the file with the import's parameters
    #[arg(long, value_name = "FILE", requires = "wrapped")]
    import: Option<PathBuf>,
    #[command(flatten)]
    incoming: Option<Incoming>,
}

impl Rotate {
    pub(super) async fn run(self, app: &App) -> Outcome {
        match (self.import, self.incoming) {
            (None, None) => {}
            (Some(import), Some(incoming)) => {
                return key_transport::rotate(app, &self.args.key, (&import, incoming), self.args.reason).await;
            }
            (Some(_), None) | (None, Some(_)) => {
                return Err(Failure::usage("`--import` and `--wrapped` go together"));
            }
        }
        let answer = app.client()?.rotate_key(&self.args.key, &self.args.reason).await?;
        changed(app, &format!("rotated: version {} protects now", answer.value.summary.primary_version), &answer)
    }
}

/// Show the public half of a key, as PEM
///
/// Other programs verify signatures, encrypt or agree with it: it is a SubjectPublicKeyInfo as OpenSSL reads and writes
/// it.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve key public releases -o releases.pem\n  \
        $ openssl dgst -sha256 -verify releases.pem -signature app.sig app.tar.gz")]
pub(crate) struct Public {
    /// The key's id or alias
    key: String,
    /// The version; the primary one unless said
    #[arg(long, value_name = "N")]
    key_version: Option<u32>,
    #[command(flatten)]
    to: OutArgs,
}

impl Public {
    pub(super) async fn run(self, app: &App) -> Outcome {
        let public = app.client()?.public_key(&self.key, self.key_version).await?.value;
        match self.to.sink() {
            Some(sink) => sink.write(public.pem.as_bytes(), Readers::Anybody)?,
            None => app.out.show(&public, |public| public.pem.clone())?,
        }
        Ok(Exit::Done)
    }
}

/// Destroy a key for ever, after a waiting period
///
/// `schedule` starts a waiting period of 7 to 30 days in which the key cannot be used and `cancel` saves it. `now`
/// erases all material of all versions once the period is over; no backup brings it back. `record` shows what remains:
/// the proof.
#[derive(Subcommand)]
#[command(after_help = "Example:\n  $ keyreeve key destroy schedule orders --days 14 --reason 'service ended'")]
pub(crate) enum Destroy {
    Schedule(Schedule),
    Cancel(Cancel),
    Now(Now),
    Record(Record),
}

impl Destroy {
    pub(super) async fn run(self, app: &App) -> Outcome {
        match self {
            Self::Schedule(command) => command.run(app).await,
            Self::Cancel(command) => command.run(app).await,
            Self::Now(command) => command.run(app).await,
            Self::Record(command) => command.run(app).await,
        }
    }
}

/// Start the waiting period after which a key is destroyed
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve key destroy schedule orders --days 14 --reason 'service ended'")]
pub(crate) struct Schedule {
    #[command(flatten)]
    args: KeyAndReason,
    /// The waiting period in days, 7 to 30 [default: 30]
    #[arg(long, value_parser = clap::value_parser!(u32).range(7..=30))]
    days: Option<u32>,
}

impl Schedule {
    async fn run(self, app: &App) -> Outcome {
        let schedule = ScheduleDestruction { days: self.days, reason: self.args.reason };
        let answer = app.client()?.schedule_destruction(&self.args.key, &schedule).await?;
        let due = answer.value.summary.destruction.as_ref().map_or_else(String::new, |pending| pending.due.to_string());
        changed(
            app,
            &format!("it will be destroyed on {due}; `keyreeve key destroy cancel` saves it until then"),
            &answer,
        )
    }
}

/// End the waiting period; the key is as before
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve key destroy cancel orders --reason 'still needed'")]
pub(crate) struct Cancel {
    #[command(flatten)]
    args: KeyAndReason,
}

impl Cancel {
    async fn run(self, app: &App) -> Outcome {
        let answer = app.client()?.cancel_destruction(&self.args.key, &self.args.reason).await?;
        changed(app, "the key is saved", &answer)
    }
}

/// Erase all material of a key whose waiting period is over
///
/// The server does this by itself when a destruction falls due; this is for not waiting for it.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve key destroy now orders")]
pub(crate) struct Now {
    /// The key's id or alias
    key: String,
}

impl Now {
    async fn run(self, app: &App) -> Outcome {
        let answer = app.client()?.destroy_key(&self.key).await?;
        let proof =
            format!("destroyed; `keyreeve key destroy record {}` shows what was erased", answer.value.summary.id);
        changed(app, &proof, &answer)
    }
}

/// Show the destruction record of a key: what was erased, and what was checked afterwards
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve key destroy record key_0199a7...")]
pub(crate) struct Record {
    /// The key's id
    key: String,
}

impl Record {
    async fn run(self, app: &App) -> Outcome {
        app.show(&app.client()?.destruction(&self.key).await?.value, destruction)
    }
}

fn destruction(record: &Destruction) -> String {
    let versions: Vec<String> = record.versions.iter().map(|erased| erased.version.to_string()).collect();
    let devices: BTreeSet<String> = record
        .versions
        .iter()
        .filter_map(|erased| Some(format!("the device of `{}`", erased.device.as_ref()?)))
        .collect();
    let epoch = format!("{} of shard {}", record.erased_epoch, record.shard);
    facts(&[
        ("key", record.key.clone()),
        ("keyring", record.keyring.clone()),
        ("requested", format!("{} by {}", record.requested, record.requested_by)),
        ("reason", record.reason.clone()),
        ("destroyed", format!("{} by {}", record.destroyed, record.destroyed_by)),
        ("versions", versions.join(", ")),
        ("erased epoch", if devices.is_empty() { epoch } else { String::new() }),
        ("erased in", devices.into_iter().collect::<Vec<_>>().join(", ")),
        ("checked", record.verified.join("; ")),
        ("hash", record.verification_hash.clone()),
    ])
}
