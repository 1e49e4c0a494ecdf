//! Escrow: which keys are deposited with agents, the key they are deposited under, campaigns, and recovery.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use keyreeve_wire::escrow::{
    AcceptEscrowKey, Deposited, EscrowCampaign, EscrowDeposit, EscrowKey, EscrowPolicy, EscrowRule, EscrowStatus,
    MakeEscrowKey, SetEscrowPolicy,
};
use keyreeve_wire::names::Classification;
use keyreeve_wire::shares::HandInProof;

use super::shares::{HolderArgs, file_name, texts};
use super::system::make_own;
use crate::app::{App, Listing, Outcome};
use crate::failure::{Exit, Failure};
use crate::files::{Readers, Sink};
use crate::out::{Style, facts, printable, rows};

mod combine;
mod recovery;

pub(crate) use combine::{COMBINE, Combine};

/// Deposit keys with escrow agents, verify that they could be recovered, and recover one
///
/// The policy says which keys are escrowed; each is deposited when it is made, under an escrow key whose private half
/// opens with the shares of several agents together. Whoever administers escrow (role `escrow-administrator`) never
/// administers keys. See docs/operations.md (Escrow).
#[derive(Subcommand)]
#[command(after_help = "Example:\n  $ keyreeve escrow status")]
pub(crate) enum Command {
    Status(Status),
    #[command(subcommand)]
    Policy(Policy),
    #[command(subcommand)]
    Key(Key),
    VerifyShare(VerifyShare),
    Campaign(OpenCampaign),
    Rehearse(combine::Rehearse),
    Deposit(Deposit),
    Deposits(Deposits),
    Recover(recovery::Recover),
    Give(recovery::Give),
    Recovery(recovery::Show),
    Abandon(recovery::Abandon),
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        match self {
            Self::Status(command) => command.run(app).await,
            Self::Policy(Policy::Set(command)) => command.run(app).await,
            Self::Key(Key::Make(command)) => command.run(app).await,
            Self::Key(Key::Accept(command)) => command.run(app).await,
            Self::VerifyShare(command) => command.run(app).await,
            Self::Campaign(command) => command.run(app).await,
            Self::Rehearse(command) => command.run(app).await,
            Self::Deposit(command) => command.run(app).await,
            Self::Deposits(command) => command.run(app).await,
            Self::Recover(command) => command.run(app).await,
            Self::Give(command) => command.run(app).await,
            Self::Recovery(command) => command.run(app).await,
            Self::Abandon(command) => command.run(app).await,
        }
    }
}

/// Show which keys are escrowed, under which key, who holds its shares, and how they were last verified
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve escrow status")]
pub(crate) struct Status {}

impl Status {
    async fn run(self, app: &App) -> Outcome {
        let status = app.client()?.escrow().await?.value;
        app.show(&status, |status| table(app, status))
    }
}

fn rule_text(rule: &EscrowRule) -> String {
    let mut parts: Vec<String> = rule.keyring.iter().map(|name| format!("keyring={name}")).collect();
    parts.extend(rule.labels.iter().map(|(name, value)| format!("label.{name}={value}")));
    parts.extend(rule.at_least.map(|class| format!("at-least={class}")));
    if parts.is_empty() { "every key".to_owned() } else { printable(&parts.join(",")) }
}

fn policy_facts(policy: &EscrowPolicy) -> String {
    let rules: Vec<String> = policy.rules.iter().map(rule_text).collect();
    let rules = if rules.is_empty() { "nothing is escrowed".to_owned() } else { rules.join("; ") };
    facts(&[
        ("escrowed", rules),
        ("said", format!("{} by {}: {}", policy.at, printable(&policy.by), printable(&policy.reason))),
    ])
}

pub(super) fn campaign_facts(campaign: &EscrowCampaign) -> String {
    let state = match (&campaign.closed, campaign.verified, campaign.overdue) {
        (Some(at), true, _) => format!("verified {at}"),
        (Some(at), false, _) => format!("closed {at}, not verified"),
        (None, _, true) => format!("OVERDUE since {}", campaign.due),
        (None, _, false) => format!("until {}", campaign.due),
    };
    let missing = if campaign.missing.is_empty() { "nothing".to_owned() } else { campaign.missing.join(", ") };
    facts(&[
        ("campaign", format!("{}, opened {} by {}", campaign.number, campaign.opened, printable(&campaign.by))),
        ("state", state),
        ("missing", printable(&missing)),
        ("challenge", campaign.challenge.clone().unwrap_or_default()),
    ])
}

fn key_table(app: &App, key: &EscrowKey) -> String {
    let set = &key.agents;
    let head = format!(
        "escrow key {} ({}), {} of {} agents, made {} by {}, fingerprint {}",
        key.version,
        key.state,
        set.threshold,
        set.holders.len(),
        key.made,
        printable(&key.by),
        key.fingerprint
    );
    let agents = set.holders.iter().map(|holder| {
        let due = holder.proof_due.as_ref().map_or_else(String::new, ToString::to_string);
        let due = if holder.overdue { app.out.styled(Style::Bad, &format!("{due}, overdue"), false) } else { due };
        let told = |text: &Option<String>| printable(text.as_deref().unwrap_or_default());
        let proved = holder.proved.as_ref().map_or_else(|| "never".to_owned(), ToString::to_string);
        [holder.share.to_string(), told(&holder.name), told(&holder.organisation), told(&holder.contact), proved, due]
    });
    let headings = ["share", "agent", "organisation", "contact", "proved", "next proof"];
    format!("{head}\n{}", rows(headings, agents))
}

fn table(app: &App, status: &EscrowStatus) -> String {
    let mut text = match &status.policy {
        Some(policy) => policy_facts(policy),
        None => "nobody has said which keys are escrowed: `keyreeve escrow policy set`\n".to_owned(),
    };
    let swept = status.swept.as_ref().map_or_else(|| "not yet looked at".to_owned(), ToString::to_string);
    text += &facts(&[(
        "keys",
        format!("{} escrowed, {} could not be deposited ({swept})", status.escrowed_keys, status.missing_keys),
    )]);
    for key in &status.keys {
        text += &format!("\n{}", key_table(app, key));
    }
    if status.keys.is_empty() {
        text += "\nthere is no escrow key: `keyreeve escrow key make`\n";
    }
    if let Some(campaign) = &status.campaign {
        text += &format!("\n{}", campaign_facts(campaign));
    }
    text
}

/// Say which keys are escrowed
#[derive(Subcommand)]
#[command(after_help = "Example:\n  \
        $ keyreeve escrow policy set --rule label.type=dek,at-least=confidential --reason 'must stay readable'")]
pub(crate) enum Policy {
    Set(SetPolicy),
}

/// Say which keys are escrowed, in place of what was said before
///
/// A key is escrowed if one of the rules names it; a rule names the keys to which everything it says applies. Private
/// signature keys never are: whoever brought one back could sign as its owner. Deposits of keys that no rule names any
/// more are removed. Others have to agree.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve escrow policy set --rule label.type=dek --rule keyring=payments --reason continuity\n  \
        $ keyreeve escrow policy set --every-key --reason 'the law'\n  \
        $ keyreeve escrow policy set --no-key --reason 'escrow ends'")]
pub(crate) struct SetPolicy {
    /// Keys that are escrowed: `keyring=NAME`, `label.NAME=VALUE`, `at-least=CLASS`, several with commas between them;
    /// may be repeated
    #[arg(long = "rule", value_name = "RULE", required_unless_present_any = ["every_key", "no_key"])]
    rules: Vec<String>,
    /// Every key, but for private signature keys
    #[arg(long, conflicts_with_all = ["rules", "no_key"])]
    every_key: bool,
    /// No key: deposits are removed
    #[arg(long, conflicts_with = "rules")]
    no_key: bool,
    /// Why: others are shown it
    #[arg(long)]
    reason: String,
}

fn rule(text: &str) -> Result<EscrowRule, Failure> {
    let mut rule = EscrowRule::default();
    for part in text.split(',') {
        let form = || Failure::usage(format!("`{part}` is none of keyring=NAME, label.NAME=VALUE, at-least=CLASS"));
        let (name, value) = part.split_once('=').ok_or_else(form)?;
        match (name, name.strip_prefix("label.")) {
            ("keyring", _) => rule.keyring = Some(value.to_owned()),
            ("at-least", _) => {
                let class: Classification = value.parse().map_err(|error| Failure::usage(format!("{error}")))?;
                rule.at_least = Some(class);
            }
            (_, Some(label)) => {
                rule.labels.insert(label.to_owned(), value.to_owned());
            }
            _ => return Err(form()),
        }
    }
    Ok(rule)
}

impl SetPolicy {
    async fn run(self, app: &App) -> Outcome {
        let rules = match (self.every_key, self.no_key) {
            (true, _) => vec![EscrowRule::default()],
            (false, true) => Vec::new(),
            (false, false) => self.rules.iter().map(|text| rule(text)).collect::<Result<_, _>>()?,
        };
        let answer = app.client()?.set_escrow_policy(&SetEscrowPolicy { rules, reason: self.reason }).await?;
        app.note_record("escrow policy set", answer.audit_record.as_ref());
        app.show(&answer.value, policy_facts)
    }
}

/// The key that others are deposited under: make it, begin to use it
#[derive(Subcommand)]
#[command(after_help = "Example:\n  \
        $ keyreeve escrow key make --threshold 2 --holders-file agents.toml --out-dir agents/ --reason 'the law'")]
pub(crate) enum Key {
    Make(MakeKey),
    Accept(AcceptKey),
}

/// Make a key that others are deposited under, and hand its shares to escrow agents
///
/// Its private half is made once, sealed under a secret that is split among the agents, and forgotten. Each share is
/// encrypted to its agent. Keys are deposited under it from `keyreeve escrow key accept` on, once the agents have shown
/// to have their shares. A new one takes the place of the old: that is how an agent who left is replaced. Others have
/// to agree: the first call asks them, the same call once they agreed makes the key.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve escrow key make --threshold 2 --holders-file agents.toml --out-dir agents/ --reason 'the law'\n  \
        $ keyreeve escrow key make --threshold 2 --holder alice=age1... --holder bob=@bob.asc --out-dir a/ --reason x")]
pub(crate) struct MakeKey {
    /// How many agents it takes to open what is deposited
    #[arg(long, value_name = "K")]
    threshold: u8,
    #[command(flatten)]
    agents: HolderArgs,
    /// Write each share to a file of its own in this directory
    #[arg(long, value_name = "DIR")]
    out_dir: Option<PathBuf>,
    /// Why: others are shown it
    #[arg(long)]
    reason: String,
}

impl MakeKey {
    async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        let agents = self.agents.read()?;
        if agents.is_empty() {
            return Err(Failure::usage("there is no agent").next("name agents with `--holder NAME=KEY`"));
        }
        if let Some(dir) = &self.out_dir {
            make_own(dir)?;
        }
        let make = MakeEscrowKey { threshold: self.threshold, agents, reason: self.reason };
        let answer = client.make_escrow_key(&make).await?;
        app.note_record("escrow key made", answer.audit_record.as_ref());
        let made = &answer.value;
        app.out.note(
            "next: each agent answers the challenge with `keyreeve share prove`, `keyreeve escrow verify-share` hands \
             the answers in, `keyreeve escrow key accept` begins to use the key",
        );
        let Some(dir) = self.out_dir else {
            return app.show(made, |made| texts(&made.shares, made.challenge.as_deref()));
        };
        let mut files = Vec::new();
        for share in &made.shares {
            let path = dir.join(file_name(share.share, &share.name, share.recipient.kind.name()));
            Sink::of(&path, false).write(share.text.as_bytes(), Readers::Owner)?;
            files.push(path.display().to_string());
        }
        let shown = serde_json::json!({
            "version": made.version, "fingerprint": made.fingerprint, "files": files, "challenge": made.challenge,
        });
        app.show(&shown, |_| {
            facts(&[
                ("escrow key", made.version.to_string()),
                ("fingerprint", made.fingerprint.clone()),
                ("files", files.join("\n             ")),
                ("challenge", made.challenge.clone().unwrap_or_default()),
            ])
        })
    }
}

/// Begin to deposit keys under the key that waits
///
/// Every agent has proved to have the own share, or is named with `--confirm` by whoever answers for it; as many as
/// open what is deposited must have proved theirs. Keys under the former escrow key are deposited anew.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve escrow key accept --confirm carol")]
pub(crate) struct AcceptKey {
    /// An agent who did not prove to have the share, and whom you answer for; may be repeated
    #[arg(long = "confirm", value_name = "NAME")]
    confirmed: Vec<String>,
}

impl AcceptKey {
    async fn run(self, app: &App) -> Outcome {
        let accept = AcceptEscrowKey { confirmed: self.confirmed };
        let client = app.client()?;
        let answer = client.accept_escrow_key(&accept).await?;
        app.note_record("keys are deposited under it from now on", answer.audit_record.as_ref());
        let status = client.escrow().await?.value;
        app.show(&status, |status| table(app, status))
    }
}

/// Hand in a proof that an agent has a share
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve escrow verify-share \"$(cat proof)\"")]
pub(crate) struct VerifyShare {
    /// What `keyreeve share prove` printed (`krp1....`); it is no secret
    proof: String,
}

impl VerifyShare {
    async fn run(self, app: &App) -> Outcome {
        let answer = app.client()?.hand_in_escrow_proof(&HandInProof { proof: self.proof }).await?;
        app.note_record("proof taken", answer.audit_record.as_ref());
        app.show(&answer.value, |taken| {
            let agent = taken.holder.as_deref().map_or_else(String::new, |name| format!(" ({})", printable(name)));
            format!("share {}{agent} of escrow key {}", taken.share, taken.version)
        })
    }
}

/// Begin a campaign: every agent shows the own share, and a rehearsal shows that they combine
///
/// The server begins one each quarter by itself, tells people, and tells them again when it is overdue. Agents answer
/// the challenge with `keyreeve share prove`, offline; `keyreeve escrow rehearse` is the rehearsal.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve escrow campaign")]
pub(crate) struct OpenCampaign {}

impl OpenCampaign {
    async fn run(self, app: &App) -> Outcome {
        let answer = app.client()?.open_escrow_campaign().await?;
        app.note_record("campaign begun", answer.audit_record.as_ref());
        app.show(&answer.value, campaign_facts)
    }
}

/// Deposit keys now, rather than when the server next goes through them
///
/// Only keys that the policy names. What is deposited already is left as it is, and what should not be is removed.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve escrow deposit orders payments-dek")]
pub(crate) struct Deposit {
    /// Keys, by id or alias
    #[arg(required = true)]
    keys: Vec<String>,
}

impl Deposit {
    async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        let mut all: Vec<Deposited> = Vec::new();
        for key in &self.keys {
            let answer = client.deposit_key(key).await?;
            app.note_record(&format!("{key} deposited"), answer.audit_record.as_ref());
            all.push(answer.value);
        }
        let listed = |versions: &[u32]| versions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        app.out.show(&all, |all| {
            rows(
                ["key", "deposited", "was there", "removed", "does not open"],
                all.iter().map(|one| {
                    [one.key.clone(), listed(&one.made), listed(&one.kept), listed(&one.removed), listed(&one.failed)]
                }),
            )
        })?;
        Ok(if all.iter().all(|one| one.failed.is_empty()) { Exit::Done } else { Exit::No })
    }
}

/// List what is in escrow
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve escrow deposits --limit 20")]
pub(crate) struct Deposits {
    /// Only deposits of this key, by id
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Only deposits after this one: `next` of the former page
    #[arg(long)]
    after: Option<String>,
    /// How many
    #[arg(long)]
    limit: Option<u32>,
}

impl Deposits {
    async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        let page = client.escrow_deposits(self.key.as_deref(), self.after.as_deref(), self.limit).await?.value;
        Listing::show(app, &page, |deposits| {
            let row = |one: &EscrowDeposit| {
                [
                    one.key.clone(),
                    one.version.to_string(),
                    one.escrow_key.to_string(),
                    one.at.to_string(),
                    printable(&one.by),
                ]
            };
            rows(["key", "version", "escrow key", "deposited", "by"], deposits.iter().map(row))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_told_alike() {
        for text in ["keyring=payments", "label.type=dek,at-least=confidential", "keyring=a,label.x=y"] {
            assert_eq!(rule_text(&rule(text).unwrap()), text);
        }
        assert_eq!(rule_text(&EscrowRule::default()), "every key");
        for wrong in ["", "payments", "at-least=secret", "owner=ann", "label=dek"] {
            assert!(rule(wrong).is_err(), "{wrong}");
        }
    }
}
