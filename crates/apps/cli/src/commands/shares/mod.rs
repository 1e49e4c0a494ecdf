//! Shares of roots of trust: who holds them, proofs, and their exchange for new ones.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use keyreeve_client::Client;
use keyreeve_wire::Timestamp;
use keyreeve_wire::shares::{
    AbandonReshare, BeginReshare, CommitReshare, HandInProof, HandedShare, NameHolder, RootShares, ShareHolder,
    ShareSet,
};

use super::system::make_own;
use crate::app::{App, Outcome};
use crate::failure::Failure;
use crate::files::{Readers, Sink};
use crate::out::{Style, facts, printable, rows};

mod holders;
mod offline;

pub(crate) use holders::{HolderArgs, grouped};
pub(crate) use offline::{Command as Offline, read_share};

/// What is honest to say wherever an exchange takes effect.
const OLD_SHARES: &str = "the former shares are refused from now on. Enough of them together still give the root key \
     to whoever computes by themselves: ask for them back and destroy them, or move to another root";

/// What files are called in results.
pub(crate) const FILE: &str = "file";
/// What a challenge is for.
pub(crate) const TO_PROVE: &str = "challenge (share prove)";

/// What is missing before an exchange takes effect.
const UNPROVED: &str = "`keyreeve root holders` shows where the exchange stands and who has proved; a holder answers \
     the challenge with `keyreeve share prove --challenge TEXT FILE`, and `keyreeve root verify-share PROOF` hands \
     that in; `keyreeve root reshare commit --confirm NAME` answers for one who cannot";

/// Who holds the shares of a root, and their exchange.
#[derive(Subcommand)]
pub(crate) enum Command {
    Holders(Holders),
    NameHolder(Name),
    Challenge(Challenge),
    VerifyShare(VerifyShare),
    #[command(subcommand)]
    Reshare(Reshare),
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        match self {
            Self::Holders(command) => command.run(app).await,
            Self::NameHolder(command) => command.run(app).await,
            Self::Challenge(command) => command.run(app).await,
            Self::VerifyShare(command) => command.run(app).await,
            Self::Reshare(command) => command.run(app).await,
        }
    }
}

#[derive(Args)]
struct Root {
    /// The root of trust, by its name in the configuration [default: the only one in shares, or main]
    #[arg(long, value_name = "NAME")]
    root: Option<String>,
}

impl Root {
    async fn name(&self, client: &Client) -> Result<String, Failure> {
        if let Some(name) = &self.root {
            return Ok(name.clone());
        }
        let roots = client.status().await?.value.roots;
        let mut shared = roots.into_iter().filter(|root| root.kind == IN_SHARES).map(|root| root.name);
        Ok(match (shared.next(), shared.next()) {
            (Some(only), None) => only,
            _ => "main".to_owned(),
        })
    }
}

/// The kind of roots that shares open.
const IN_SHARES: &str = "shamir";

/// Show who holds the shares of a root of trust, and when each last showed to have theirs
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve root holders")]
pub(crate) struct Holders {
    #[command(flatten)]
    root: Root,
}

impl Holders {
    async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        let shares = client.root_holders(&self.root.name(&client).await?).await?.value;
        app.show(&shares, |shares| table(app, shares))
    }
}

/// Write down who holds a share that was shown at initialisation
#[derive(Args)]
#[command(after_help = "Example:\n  \
        $ keyreeve root name-holder 3 carol --organisation Example --contact '+43 1 5550100'")]
pub(crate) struct Name {
    /// The number of the share
    number: u8,
    /// What its holder is called
    name: String,
    /// For whom the holder works
    #[arg(long, default_value = "")]
    organisation: String,
    /// How the holder is reached
    #[arg(long, default_value = "")]
    contact: String,
    #[command(flatten)]
    root: Root,
}

impl Name {
    async fn run(self, app: &App) -> Outcome {
        let Self { number: share, name, organisation, contact, root } = self;
        let named = NameHolder { share, name, organisation, contact };
        let client = app.client()?;
        let answer = client.name_holder(&root.name(&client).await?, &named).await?;
        app.note_record("written down", answer.audit_record.as_ref());
        app.show(&answer.value, |shares| table(app, shares))
    }
}

/// Ask all holders to show that they have their shares: prints a challenge for them
///
/// Each holder answers with `keyreeve share prove`, offline; `keyreeve root verify-share` hands the answer in. A new
/// challenge takes the place of the one before.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve root challenge")]
pub(crate) struct Challenge {
    #[command(flatten)]
    root: Root,
}

impl Challenge {
    async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        let answer = client.challenge_holders(&self.root.name(&client).await?).await?;
        app.note_record("challenge made", answer.audit_record.as_ref());
        let shares = &answer.value;
        let new = shares.exchange.as_ref().and_then(|exchange| exchange.new.as_ref());
        app.show(shares, |shares| {
            let text = |set: &ShareSet| set.challenge.clone().unwrap_or_default();
            let mut lines = vec![(format!("set of version {}", shares.current.version), text(&shares.current))];
            lines.extend(new.map(|new| (format!("new set, version {}", new.version), text(new))));
            let lines: Vec<(&str, String)> = lines.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
            facts(&lines)
        })
    }
}

/// Hand in a proof that a holder has a share
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve root verify-share \"$(cat proof)\"")]
pub(crate) struct VerifyShare {
    /// What `keyreeve share prove` printed (`krp1....`); it is no secret
    proof: String,
    #[command(flatten)]
    root: Root,
}

impl VerifyShare {
    async fn run(self, app: &App) -> Outcome {
        let proof = HandInProof { proof: self.proof };
        let client = app.client()?;
        let answer = client.hand_in_proof(&self.root.name(&client).await?, &proof).await?;
        app.note_record("proof taken", answer.audit_record.as_ref());
        app.show(&answer.value, |taken| {
            let holder = taken.holder.as_deref().map_or_else(String::new, |name| format!(" ({name})"));
            format!("share {}{holder} of version {} is there", taken.share, taken.version)
        })
    }
}

/// Exchange the shares of a root for new ones: other holders, another number; the root stays
///
/// `begin` says who gets the new shares, each encrypted to their key. Then as many holders of present shares as open
/// the server `give` theirs, and the new shares are made. `show` hands them out, holders prove to have them, and
/// `commit` puts them in the place of the present ones, which open the server until then.
#[derive(Subcommand)]
#[command(after_help = "Example:\n  \
        $ keyreeve root reshare begin --threshold 2 --reason 'carol left' --holders-file holders.toml")]
pub(crate) enum Reshare {
    Begin(Begin),
    Give(Give),
    Show(Show),
    Commit(Commit),
    Abandon(Abandon),
}

impl Reshare {
    async fn run(self, app: &App) -> Outcome {
        match self {
            Self::Begin(command) => command.run(app).await,
            Self::Give(command) => command.run(app).await,
            Self::Show(command) => command.run(app).await,
            Self::Commit(command) => command.run(app).await,
            Self::Abandon(command) => command.run(app).await,
        }
    }
}

/// Begin an exchange: who gets the new shares
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve root reshare begin --threshold 3 --reason 'carol left' --holders-file holders.toml\n  \
        $ keyreeve root reshare begin --threshold 2 --reason moved --holder alice=@alice.asc --holder bob=@bob.asc")]
pub(crate) struct Begin {
    /// How many of the new shares open the server
    #[arg(long, value_name = "K")]
    threshold: u8,
    #[command(flatten)]
    holders: HolderArgs,
    /// Why
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    root: Root,
}

impl Begin {
    async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        let holders = self.holders.read()?;
        if holders.is_empty() {
            return Err(Failure::usage("nobody is to get a share").next("name holders with `--holder NAME=KEY`"));
        }
        let begin = BeginReshare { threshold: self.threshold, holders, reason: self.reason };
        let answer = client.begin_reshare(&self.root.name(&client).await?, &begin).await?;
        app.note_record("exchange begun", answer.audit_record.as_ref());
        app.out.note(&format!(
            "next: {} holders of present shares give theirs with `keyreeve root reshare give`",
            answer.value.current.threshold
        ));
        app.show(&answer.value, |shares| table(app, shares))
    }
}

/// Give your present share towards the exchange
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve root reshare give            # asks for the share\n  \
        $ keyreeve root reshare give --exchange 2026-11-23T09:00:00Z\n  \
        $ age -d -i alice.key share-1-alice.age | keyreeve root reshare give -")]
pub(crate) struct Give {
    /// A file with the share (`-`: standard input); asked for when missing
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// When the exchange was begun that you agreed to (`root holders` shows it): your share counts for no other
    #[arg(long, value_name = "TIME")]
    exchange: Option<String>,
    #[command(flatten)]
    root: Root,
}

impl Give {
    async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        let share = read_share(self.file.as_deref())?;
        let root = self.root.name(&client).await?;
        let answer = client.give_share(&root, share, self.exchange.map(Timestamp)).await?;
        app.note_record("share given", answer.audit_record.as_ref());
        app.show(&answer.value, |progress| match progress.made {
            true => "the new shares are made: `keyreeve root reshare show --out-dir DIR` hands them out".to_owned(),
            false => format!("{} of {} shares given", progress.given, progress.needed),
        })
    }
}

/// Hand out the new shares, each encrypted to its holder
///
/// Those of an exchange; and those of the present set until they have opened the root, should a holder not have got
/// his.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve root reshare show --out-dir new-shares/")]
pub(crate) struct Show {
    /// Write each to a file of its own in this directory
    #[arg(long, value_name = "DIR")]
    out_dir: Option<PathBuf>,
    #[command(flatten)]
    root: Root,
}

impl Show {
    async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        let handed = client.new_shares(&self.root.name(&client).await?).await?.value;
        let Some(dir) = self.out_dir else {
            return app.show(&handed, |handed| texts(&handed.shares, handed.challenge.as_deref()));
        };
        make_own(&dir)?;
        let mut files = Vec::new();
        for share in &handed.shares {
            let path = dir.join(file_name(share.share, &share.name, share.recipient.kind.name()));
            Sink::new_file(&path).write(share.text.as_bytes(), Readers::Owner)?;
            files.push(path.display().to_string());
        }
        app.out.note("next: send each file to its holder, who answers the challenge with `keyreeve share prove`");
        let shown = serde_json::json!({ "files": files, "challenge": handed.challenge });
        app.show(&shown, |_| {
            let files = files.iter().map(|file| (FILE, file.clone()));
            let challenge = (TO_PROVE, handed.challenge.clone().unwrap_or_default());
            facts(&files.chain([challenge]).collect::<Vec<_>>())
        })
    }
}

/// Put the new shares in the place of the present ones
///
/// Every holder of a new share has proved to have it (`keyreeve root verify-share`), or is named with `--confirm` by
/// whoever answers for it; as many as open the root must have proved theirs. Enough of the former shares together still
/// give the root key to whoever computes by themselves; only another root cuts them off.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve root reshare commit --confirm dave")]
pub(crate) struct Commit {
    /// A holder who did not prove to have the new share, and whom you answer for; may be repeated
    #[arg(long = "confirm", value_name = "NAME")]
    confirmed: Vec<String>,
    #[command(flatten)]
    root: Root,
}

impl Commit {
    async fn run(self, app: &App) -> Outcome {
        let commit = CommitReshare { confirmed: self.confirmed };
        let client = app.client()?;
        let answer = client.commit_reshare(&self.root.name(&client).await?, &commit).await;
        let answer = answer.map_err(|error| {
            let failure = Failure::from(error);
            let unproved = failure.next.is_none() && failure.code.as_deref() == Some("wrong-state");
            if unproved { failure.next(UNPROVED) } else { failure }
        })?;
        app.note_record("shares exchanged", answer.audit_record.as_ref());
        app.out.warn(OLD_SHARES);
        app.show(&answer.value, |shares| table(app, shares))
    }
}

/// Give an exchange up: the present shares stay
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve root reshare abandon --reason 'dave lost his key'")]
pub(crate) struct Abandon {
    /// Why
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    root: Root,
}

impl Abandon {
    async fn run(self, app: &App) -> Outcome {
        let abandon = AbandonReshare { reason: self.reason };
        let client = app.client()?;
        let answer = client.abandon_reshare(&self.root.name(&client).await?, &abandon).await?;
        app.note_record("exchange given up", answer.audit_record.as_ref());
        app.show(&answer.value, |shares| table(app, shares))
    }
}

/// What the file of an encrypted share is called: nothing in it is a path.
pub(crate) fn file_name(share: u8, holder: &str, kind: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '-' };
    let ending = if kind == "age" { "age" } else { "asc" };
    format!("share-{share}-{}.{ending}", holder.chars().map(plain).collect::<String>())
}

/// Encrypted shares one after the other, for whoever copies them from the terminal.
pub(crate) fn texts(shares: &[HandedShare], challenge: Option<&str>) -> String {
    let mut out = String::new();
    for share in shares {
        let to = grouped(&share.recipient.fingerprint);
        out.push_str(&format!("share {} for {}, to {}\n{}\n", share.share, printable(&share.name), to, share.text));
    }
    out.push_str(&format!("{TO_PROVE}  {}\n", challenge.unwrap_or_default()));
    out
}

fn table(app: &App, shares: &RootShares) -> String {
    let mut text = set_table(app, &shares.current, "opens the server");
    let Some(exchange) = &shares.exchange else { return text };
    text.push('\n');
    match &exchange.new {
        Some(new) => text.push_str(&set_table(app, new, "takes its place with `keyreeve root reshare commit`")),
        None => text.push_str(&facts(&[
            ("exchange", format!("begun {} by {}: {}", exchange.begun, exchange.by, exchange.reason)),
            ("for", format!("{}; {} will be needed", exchange.holders.join(", "), exchange.threshold)),
            ("given", format!("{} of {} present shares", exchange.given, shares.current.threshold)),
        ])),
    }
    text
}

fn set_table(app: &App, set: &ShareSet, what: &str) -> String {
    let told = |text: &Option<String>| text.clone().unwrap_or_default();
    let row = |holder: &ShareHolder| {
        let proved = match (&holder.proved, &holder.confirmed, &holder.confirmed_by) {
            (Some(at), ..) => at.to_string(),
            (None, Some(at), Some(by)) => format!("no; {by} answered for it on {at}"),
            _ => "never".to_owned(),
        };
        let due = holder.proof_due.as_ref().map_or_else(String::new, ToString::to_string);
        let due = if holder.overdue { app.out.styled(Style::Bad, &format!("{due}, overdue"), false) } else { due };
        let to = holder.recipient.as_ref().map_or_else(|| "shown".to_owned(), |to| to.fingerprint.clone());
        [
            holder.share.to_string(),
            told(&holder.name),
            told(&holder.organisation),
            told(&holder.contact),
            to,
            proved,
            due,
        ]
    };
    let head = format!(
        "set {} (version {}), {} of {} shares, made {}: {what}",
        set.set,
        set.version,
        set.threshold,
        set.holders.len(),
        set.made
    );
    let headings = ["share", "holder", "organisation", "contact", "encrypted to", "proved", "next proof"];
    format!("{head}\n{}", rows(headings, set.holders.iter().map(row)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn names_of_files_are_no_paths() {
        for holder in ["alice", "../../etc/passwd", "a/b", "", "..", "x y\n"] {
            let name = file_name(1, holder, "age");
            let stays = Path::new("/dir").join(&name).parent() == Some(Path::new("/dir"));
            assert!(stays && name.ends_with(".age"), "{name}");
        }
        assert_eq!(file_name(2, "bob", "openpgp"), "share-2-bob.asc");
    }
}
