//! Operating a server: status, initialisation, unsealing, sealing.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use keyreeve_client::Client;
use keyreeve_secret::{SecretBuffer, SecretString};
use keyreeve_wire::names::RootState;
use keyreeve_wire::shares::NewHolder;
use keyreeve_wire::system::{InitReply, InitRequest, RootInfo, RootStatus, SystemStatus};
use serde::Serialize;
use serde_json::json;

use super::attention::{self, Waiting};
use super::shares::{self, HolderArgs};
use crate::app::{App, Outcome};
use crate::failure::{Exit, Failure};
use crate::files::{self, Output, Readers, Sink, Source};
use crate::out::{Style, facts, printable, rows};
use crate::profile::Profile;

/// The longest file of shares, in bytes.
const SHARES_MAX: usize = 64 * 1024;

/// Show whether the server is initialised, open and working
///
/// Needs no token. Ends with 0 when the server works and with 1 when it does not, so that scripts can wait for it. With
/// a token whose bearer may list them it also shows emergencies, incidents that wait for a confirmation, and reviews
/// that are overdue, each with the next step.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve status\n  $ until keyreeve status -q > /dev/null; do sleep 1; done")]
pub(crate) struct Status {}

impl Status {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        let profile = app.profile()?;
        let client = profile.anonymous_client()?;
        let status = client.status().await?.value;
        let place = profile.path.as_ref().map_or_else(String::new, |path| path.display().to_string());
        let waiting = if status.open && !app.out.quiet { waiting(&profile).await } else { Vec::new() };
        let whole = Whole { status: &status, waiting };
        app.out.show(&whole, |whole| status_table(app, &client, place, whole))?;
        Ok(if status.open { Exit::Done } else { Exit::No })
    }
}

/// Where the server stands, and what waits for people.
#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    status: &'a SystemStatus,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    waiting: Vec<Waiting>,
}

/// What waits for people, where the profile says who asks. A token that is worth nothing shows less, and fails nothing.
async fn waiting(profile: &Profile) -> Vec<Waiting> {
    if profile.token_file.is_none() && profile.client_cert.is_none() {
        return Vec::new();
    }
    match profile.client() {
        Ok(client) => attention::waiting(&client).await,
        Err(_) => Vec::new(),
    }
}

fn status_table(app: &App, client: &Client, profile: String, whole: &Whole<'_>) -> String {
    let status = whole.status;
    let state = match (status.open, status.root.state) {
        (true, _) => app.out.styled(Style::Good, "open", false),
        (false, RootState::NotInitialised) => "not initialised: `keyreeve init` does it".to_owned(),
        (false, RootState::Sealed) => format!("sealed: {}", shares_text(&status.root)),
        (false, RootState::Open) => {
            "the root of trust is open, the server does not work: `keyreeve system info` or its log says why".to_owned()
        }
    };
    let several = status.roots.len() > 1;
    let table = facts(&[
        ("address", client.address().to_owned()),
        ("administration", client.admin_address().unwrap_or_default().to_owned()),
        ("profile", profile),
        ("root of trust", if several { String::new() } else { status.root_kind.clone() }),
        ("log keys", status.log_vkeys.iter().map(|key| key_name(key)).collect::<Vec<_>>().join(", ")),
    ]);
    // As wide as the longest name among the facts.
    let width = table.lines().next().and_then(|line| line.find(client.address())).map_or(0, |at| at.saturating_sub(2));
    let mut text = format!("{:width$}  {state}\n{table}", "state");
    if several {
        let row = |root: &RootInfo| [root.name.clone(), root.kind.clone(), root.custody.to_string(), stands(root)];
        text.push_str(&rows(["root of trust", "kind", "custody", "state"], status.roots.iter().map(row)));
        text.push('\n');
    }
    if status.open {
        sealed(status).for_each(|root| text.push_str(&format!("{}\n", sealed_text(root))));
    }
    for Waiting { what, next } in &whole.waiting {
        text.push_str(&format!("{}: `{next}`\n", printable(what)));
    }
    text
}

/// Roots of trust that are closed.
fn sealed(status: &SystemStatus) -> impl Iterator<Item = &RootInfo> {
    status.roots.iter().filter(|root| root.status.state == RootState::Sealed)
}

/// Those of them that shares open.
fn waiting_for_shares(status: &SystemStatus) -> Vec<&RootInfo> {
    sealed(status).filter(|root| root.status.needed.is_some_and(|needed| needed > 0)).collect()
}

fn stands(root: &RootInfo) -> String {
    match (root.status.state, root.status.given, root.status.needed) {
        (RootState::Sealed, Some(given), Some(needed)) if needed > 0 => format!("sealed, {given} of {needed} shares"),
        (RootState::NotInitialised, ..) => "not joined".to_owned(),
        (state, ..) => state.to_string(),
    }
}

/// A root of trust that is closed while the server works, and what opens it.
fn sealed_text(root: &RootInfo) -> String {
    let what = format!("the root of trust `{}` is sealed, and what is under it is refused", printable(&root.name));
    format!("{what}: {}", shares_text(&root.status))
}

/// Name and id of a log key: those of post-quantum algorithms fill a screen.
fn key_name(vkey: &str) -> String {
    let mut parts = vkey.splitn(3, '+');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(name), Some(id), Some(key)) if key.len() > 64 => format!("{name}+{id}+... (whole with --output json)"),
        _ => vkey.to_owned(),
    }
}

fn shares_text(root: &RootStatus) -> String {
    match (root.given, root.needed) {
        (Some(given), Some(needed)) if needed > 0 => {
            format!("{given} of {needed} shares given; `keyreeve unseal` gives the next")
        }
        _ => "it opens without shares at the next start".to_owned(),
    }
}

/// Make the root of trust and the first administrator; once
///
/// The root of trust is split into shares (Shamir), of which a threshold is needed to open the server after each start.
/// Give each share to another person; no share can be had again. Where holders are named, each share is encrypted to
/// the key of its holder by the server, and nobody sees another's; compare fingerprints with the holders first. The
/// token of the first administrator is shown once, too; `keyreeve mfa totp` with it comes next, for operators need a
/// second factor.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve init --shares 5 --threshold 3 --out-dir ceremony/   # a file for each, the token, a profile\n  \
        $ keyreeve init --shares 5 --threshold 3                       # shows them on the terminal\n  \
        $ keyreeve init --threshold 2 --out-dir ceremony/ --holders-file holders.toml   # encrypted to three holders")]
pub(crate) struct Init {
    /// How many shares to make (2 to 32) [default: 5, or none where the root of trust has none]
    #[arg(long, value_name = "N")]
    shares: Option<u8>,
    /// How many of them open the server [default: 3]
    #[arg(long, value_name = "K")]
    threshold: Option<u8>,
    /// Write each share and the token to a file of its own in this directory, readable by its owner only; and beside
    /// them the log's public keys (log.vkey) and a profile that uses the token (client.toml)
    #[arg(long, value_name = "DIR")]
    out_dir: Option<PathBuf>,
    #[command(flatten)]
    holders: HolderArgs,
}

impl Init {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        let profile = app.profile()?;
        let client = profile.anonymous_client()?;
        let holders = self.holders.read()?;
        let (shares, threshold) = self.numbers(&client.status().await?.value.root, holders.len())?;
        // What is shown once must not be lost because it cannot be written.
        let places = self.out_dir.as_ref().map(|dir| places(dir, &names(shares, &holders))).transpose()?;
        let ca = profile.ca_pem()?;
        let reply = client.init(&InitRequest { shares, threshold, holders }).await?.value;
        match places.zip(self.out_dir.as_deref()) {
            Some((places, dir)) => {
                let kept = fill(places, &reply);
                let beside = write_beside(dir, &profile, ca.as_deref(), &reply.log_vkeys);
                tell_kept(app, kept, dir, &reply)?;
                beside?;
                let hand_over = match (reply.handed.is_empty(), reply.shares.is_empty()) {
                    (true, true) => "",
                    (true, false) => "give each share to another person and delete its file; ",
                    (false, _) => {
                        "send each share to its holder, who answers the challenge with `keyreeve share prove`; "
                    }
                };
                app.out.note(&format!(
                    "next: {hand_over}keep log.vkey where the server's administrators cannot change it\n      \
                     export KEYREEVE_PROFILE={}\n      keyreeve mfa totp   # operators need a second factor\n      \
                     keyreeve mfa recovery-codes\n      \
                     keyreeve principal put olga --kind person --role operator   # this token ends soon: see \
                     docs/operations.md",
                    dir.join(PROFILE).display()
                ));
            }
            None => {
                if let Err(failure) = app.out.show_secret(&reply, init_text) {
                    let mut text = SecretBuffer::with_capacity(4096);
                    init_text(&reply, &mut text)?;
                    return Err(rescue(app, text.expose(), failure));
                }
                app.out.note(
                    "next: put the log keys (whole: `keyreeve status --output json`) into the profile as `log_vkeys`, \
                     apart from the server, and the token into a file of mode 600; then `keyreeve mfa totp`, for \
                     operators need a second factor",
                );
            }
        }
        Ok(Exit::Done)
    }

    /// How many shares to make, and how many of them open the server.
    fn numbers(&self, root: &RootStatus, holders: usize) -> Result<(u8, u8), Failure> {
        let (shares, threshold) = if root.needed == Some(0) { (0, 0) } else { (5, 3) };
        let holders = u8::try_from(holders).map_err(|_| Failure::usage("a root has at most 32 shares"))?;
        match self.shares {
            Some(wanted) if holders > 0 && wanted != holders => {
                Err(Failure::usage(format!("{wanted} shares, and {holders} holders: there is one share for each")))
            }
            Some(0) => Ok((0, 0)),
            _ if holders > 0 => Ok((holders, self.threshold.unwrap_or(holders.min(3)))),
            wanted => Ok((wanted.unwrap_or(shares), self.threshold.unwrap_or(threshold))),
        }
    }
}

/// What the files of the shares are called.
fn names(shares: u8, holders: &[NewHolder]) -> Vec<String> {
    if holders.is_empty() {
        return (1..=shares).map(|number| format!("share-{number}")).collect();
    }
    let kind = |holder: &NewHolder| if holder.key.starts_with("age1") { "age" } else { "openpgp" };
    let named = (1..).zip(holders).map(|(number, holder)| shares::file_name(number, &holder.name, kind(holder)));
    named.collect()
}

/// The log's public keys, one on each line.
const LOG_KEYS: &str = "log.vkey";
/// The first administrator's profile, and what it names.
const PROFILE: &str = "client.toml";
const CA: &str = "ca.pem";
const TOKEN: &str = "token";

/// What is no secret, and can be had again: the log's keys, and a profile that works together with the token.
fn write_beside(dir: &Path, profile: &Profile, ca: Option<&[u8]>, vkeys: &[String]) -> Result<(), Failure> {
    let keys: String = vkeys.iter().map(|key| format!("{key}\n")).collect();
    Sink::new_file(&dir.join(LOG_KEYS)).write(keys.as_bytes(), Readers::Anybody)?;
    if let Some(pem) = ca {
        Sink::new_file(&dir.join(CA)).write(pem, Readers::Anybody)?;
    }
    let text = profile.text_for(ca.map(|_| CA), TOKEN, vkeys)?;
    Sink::new_file(&dir.join(PROFILE)).write(text.as_bytes(), Readers::Owner)
}

/// A file that has been begun, for something that is shown once.
struct Place {
    path: PathBuf,
    output: Output,
}

/// Makes the directory for what is shown once, or sees that nobody else can put files into the one there is: whoever
/// could would replace the profile, or take the names of the shares.
pub(super) fn make_own(dir: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    let failed = |error: std::io::Error| Failure::io(dir.display(), &error);
    // With a slash at its end the name of a link would stand for what it leads to.
    let bare: PathBuf = dir.components().collect();
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&bare).map_err(failed)?;
    let metadata = bare.symlink_metadata().map_err(failed)?;
    let why = if !metadata.is_dir() {
        "is a link"
    } else if metadata.uid() != rustix::process::geteuid().as_raw() {
        "belongs to somebody else"
    } else if metadata.mode() & 0o022 != 0 {
        "can be written to by others"
    } else {
        return Ok(());
    };
    let text = format!("the directory {} {why}: nothing secret is written there", dir.display());
    Err(Failure::usage(text).next("name a directory that does not exist yet"))
}

/// Begins a file for each share, and the last one for the token.
fn places(dir: &Path, shares: &[String]) -> Result<Vec<Place>, Failure> {
    make_own(dir)?;
    let wanted = shares.iter().map(|name| dir.join(name)).chain([dir.join(TOKEN)]);
    let wanted: Vec<PathBuf> = wanted.collect();
    let beside = [LOG_KEYS, PROFILE, CA].map(|name| dir.join(name));
    if let Some(path) = wanted.iter().chain(&beside).find(|path| path.symlink_metadata().is_ok()) {
        return Err(Failure::usage(format!("{} exists already: choose an empty directory", path.display())));
    }
    let begun = wanted.into_iter().map(|path| {
        let output = Sink::new_file(&path).create(Readers::Owner)?;
        Ok(Place { path, output })
    });
    begun.collect()
}

/// What became of shares and token.
struct Kept {
    files: Vec<String>,
    /// What has no file, in words, and why.
    left: Option<(SecretBuffer, Failure)>,
}

/// Writes all that can be written.
fn fill(mut places: Vec<Place>, reply: &InitReply) -> Kept {
    let mut kept = Kept { files: Vec::new(), left: None };
    let token = places.pop();
    let mut places = places.into_iter();
    let shown = reply.shares.iter().map(|share| share.expose());
    let shares = (1..).zip(shown.chain(reply.handed.iter().map(|share| share.text.trim_end())));
    let shares: Vec<_> = shares.map(|(number, share)| (format!("share {number}"), share, places.next())).collect();
    for (name, secret, place) in shares.into_iter().chain([("token".to_owned(), reply.token.expose(), token)]) {
        let written = match place {
            Some(place) => write_line(place, secret),
            None => Err(Failure::new(Exit::Internal, format!("the server gave a {name} that was not asked for"))),
        };
        match written {
            Ok(file) => kept.files.push(file),
            Err(failure) => {
                let (text, _) = kept.left.get_or_insert_with(|| (SecretBuffer::with_capacity(4096), failure));
                for part in [&name, "  ", secret, "\n"] {
                    text.extend_from_slice(part.as_bytes());
                }
            }
        }
    }
    kept
}

fn write_line(mut place: Place, secret: &str) -> Result<String, Failure> {
    let name = place.path.display().to_string();
    let mut line = SecretBuffer::with_capacity(secret.len() + 1);
    line.extend_from_slice(secret.as_bytes());
    line.push(b'\n');
    place.output.write_all(line.expose()).map_err(|error| Failure::io(&name, &error))?;
    place.output.finish()?;
    Ok(name)
}

/// Shows what would be lost otherwise.
fn rescue(app: &App, secret: &[u8], failure: Failure) -> Failure {
    let heading = "COULD NOT BE WRITTEN, AND CANNOT BE HAD AGAIN. The server is initialised.\n\
                   Copy what follows to safe places NOW:";
    let next = "copy what stands above; the server is initialised and will not show it again";
    match app.out.alarm(heading, secret).or_else(|_| app.out.bytes(secret)) {
        Ok(()) => failure.next(next),
        Err(_) => failure,
    }
}

fn tell_kept(app: &App, kept: Kept, dir: &Path, reply: &InitReply) -> Result<(), Failure> {
    let rescued = kept.left.map(|(text, failure)| rescue(app, text.expose(), failure));
    let names = kept.files;
    let (profile, log_keys) = (dir.join(PROFILE), dir.join(LOG_KEYS));
    let summary = json!({
        "files": names,
        "profile": profile,
        "log_vkey_file": log_keys,
        "principal": reply.principal,
        "expires": reply.expires,
        "log_vkeys": reply.log_vkeys,
        "challenge": reply.challenge,
    });
    let shown = app.out.show(&summary, |_| {
        let files = names.iter().map(|name| (shares::FILE, name.clone()));
        let more = [
            ("administrator", reply.principal.clone()),
            ("token expires", reply.expires.to_string()),
            ("profile", profile.display().to_string()),
            ("log keys", log_keys.display().to_string()),
            (shares::TO_PROVE, reply.challenge.clone().unwrap_or_default()),
        ];
        facts(&files.chain(more).collect::<Vec<_>>())
    });
    rescued.map_or(shown, Err)
}

/// The one time that shares and token are shown.
fn init_text(reply: &InitReply, out: &mut SecretBuffer) -> std::io::Result<()> {
    for (number, share) in (1..).zip(&reply.shares) {
        writeln!(out, "share {number:<2}       {}", share.expose())?;
    }
    if !reply.handed.is_empty() {
        write!(out, "{}", shares::texts(&reply.handed, reply.challenge.as_deref()))?;
    }
    writeln!(out, "administrator  {}", printable(&reply.principal))?;
    writeln!(out, "token          {}", reply.token.expose())?;
    writeln!(out, "token expires  {}", reply.expires)?;
    let keys: Vec<String> = reply.log_vkeys.iter().map(|key| key_name(key)).collect();
    writeln!(out, "log keys       {}", printable(&keys.join(" ")))
}

/// Give shares of roots of trust until the server, and each of its roots, is open
///
/// Without files it asks for one share after the other, without echo; several people can do this from their own
/// machines, each giving one share. Which root a share is of is found out and told. A misspelt share is told from a
/// share of another set, and on a terminal it is asked for again; once the server is open an empty line ends. It ends
/// with 0 where a share was taken, also while others are missing.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve unseal                # asks for shares until everything is open\n  \
        $ keyreeve unseal share-1        # gives the share in a file (`-`: on standard input, one on each line)")]
pub(crate) struct Unseal {
    /// Files with shares, one on each line, in any order and of whatever roots
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// How unsealing ended.
#[derive(Serialize)]
struct UnsealShown<'a> {
    #[serde(flatten)]
    root: &'a RootStatus,
    open: bool,
    roots: &'a [RootInfo],
}

impl Unseal {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        let client = app.profile()?.anonymous_client()?;
        let status = client.status().await?.value;
        if !status.open && status.root.state == RootState::NotInitialised {
            let next = "`keyreeve init` makes the root of trust";
            return Err(Failure::new(Exit::State, "the server is not initialised").next(next));
        }
        let waits = !waiting_for_shares(&status).is_empty();
        if !waits && status.open {
            app.out.note("it is open already: no share was read");
        } else if !waits {
            return Err(Failure::new(Exit::State, "this root of trust has no shares: it opens when the server starts")
                .next("restart the server"));
        }
        let given = match (waits, self.files.is_empty()) {
            (false, _) => 0,
            (true, true) => ask_for_shares(app, &client, status).await?,
            (true, false) => give_files(app, &client, &self.files).await?,
        };
        let status = client.status().await?.value;
        let shown = UnsealShown { root: &status.root, open: status.open, roots: &status.roots };
        app.out.show(&shown, |_| {
            let first = match (status.open, status.roots.len()) {
                (true, _) => "open".to_owned(),
                (false, 1) => format!("sealed: {}", shares_text(&status.root)),
                (false, _) => "sealed".to_owned(),
            };
            let others = sealed(&status).filter(|_| status.roots.len() > 1).map(sealed_text);
            std::iter::once(first).chain(others).collect::<Vec<_>>().join("\n")
        })?;
        // A share that was taken is what its holder came for; `keyreeve status` answers whether it is open.
        Ok(if status.open || given > 0 { Exit::Done } else { Exit::No })
    }
}

/// Gives what is in files, as long as a root waits for shares.
async fn give_files(app: &App, client: &Client, files: &[PathBuf]) -> Result<u32, Failure> {
    let (mut given, mut unneeded) = (0, 0);
    for path in files {
        for share in shares_in(path)? {
            match give(app, client, share).await {
                Ok(()) => given += 1,
                // Its root is open: of a file with all shares of a root the last ones are too many.
                Err(failure) if failure.code.as_deref() == Some("wrong-state") => unneeded += 1,
                Err(failure) => return Err(failure),
            }
        }
    }
    if unneeded > 0 {
        app.out.note(&format!("shares that were not needed, because their root of trust is open: {unneeded}"));
    }
    Ok(given)
}

/// Asks until every root is open, or nothing more is said. A person who mistyped is asked again; a program is told at
/// once.
async fn ask_for_shares(app: &App, client: &Client, mut status: SystemStatus) -> Result<u32, Failure> {
    let (person, mut given) = (std::io::stdin().is_terminal(), 0);
    loop {
        let prompt = match waiting_for_shares(&status).as_slice() {
            [] => return Ok(given),
            [one] if status.roots.len() == 1 => format!("Share {}: ", place(one)),
            some => {
                let each: Vec<String> =
                    some.iter().map(|root| format!("{} of root `{}`", place(root), printable(&root.name))).collect();
                format!("Share {}: ", each.join(" or "))
            }
        };
        let share = files::ask_secret(&prompt)?;
        // The server works: whoever has no share of the other roots ends here.
        if share.is_empty() && status.open {
            return Ok(given);
        }
        match give(app, client, share).await {
            Ok(()) => given += 1,
            Err(failure) if person && is_mistake(&failure) => {
                app.out.warn(&format!("{}; try again, or end with Ctrl-C", failure.what));
            }
            Err(failure) => return Err(failure),
        }
        // A wrong set makes the server forget the shares before it, and others give theirs meanwhile.
        status = client.status().await?.value;
    }
}

/// Which share comes next.
fn place(root: &RootInfo) -> String {
    format!("{} of {}", root.status.given.unwrap_or(0) + 1, root.status.needed.unwrap_or(0))
}

/// Whether another share may do better.
fn is_mistake(failure: &Failure) -> bool {
    matches!(failure.code.as_deref(), Some("invalid-share" | "wrong-state")) || failure.what == NO_SHARE
}

const NO_SHARE: &str = "no share was given";

async fn give(app: &App, client: &Client, share: SecretString) -> Result<(), Failure> {
    if share.is_empty() {
        return Err(Failure::usage(NO_SHARE));
    }
    let unsealed = client.unseal(share).await?.value;
    let name = printable(&unsealed.root);
    match (unsealed.state, unsealed.given.unwrap_or(0), unsealed.needed.unwrap_or(0)) {
        (RootState::Open, ..) => app.out.note(&format!("root of trust `{name}`: open")),
        (RootState::Sealed | RootState::NotInitialised, given, needed) => app.out.note(&format!(
            "root of trust `{name}`: {given} of {needed} shares given, {} to go",
            needed.saturating_sub(given)
        )),
    }
    Ok(())
}

pub(super) fn shares_in(path: &Path) -> Result<Vec<SecretString>, Failure> {
    let source = Source::of(Some(path));
    if let Some(path) = source.path() {
        files::check_private(path)?;
    }
    let text = SecretString::from_utf8(source.read(SHARES_MAX)?)
        .map_err(|_| Failure::usage(format!("{} is not text", source.name())))?;
    // What stands before a share for people begins with `#`.
    let lines = text.expose().lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(SecretString::copy_from).collect())
}

/// Close the root of trust and wipe every key from the server's memory
///
/// Everything but `status` and `unseal` is refused until enough shares are given again. Meant for emergencies.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve seal")]
pub(crate) struct Seal {}

impl Seal {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        let answer = app.client()?.seal().await?;
        app.note_record("sealed", answer.audit_record.as_ref());
        app.out.show(&json!({ "sealed": true, "audit_record": answer.audit_record }), |_| "sealed".to_owned())?;
        Ok(Exit::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn existing_shares_are_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let places = |shares: u8| places(dir.path(), &names(shares, &[]));
        assert_eq!(places(3).unwrap().len(), 4);
        std::fs::write(dir.path().join("share-3"), "x").unwrap();
        assert!(places(3).err().unwrap().what.contains("share-3"));
        assert!(places(2).is_ok());
    }

    #[test]
    fn shares_go_into_a_directory_of_ones_own_only() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let dir = tempfile::tempdir().unwrap();
        let inside = |name: &str| dir.path().join(name);
        let one = names(1, &[]);
        let places = |dir: &Path| places(dir, &one);
        assert!(places(&inside("new/ceremony")).is_ok());
        assert_eq!(inside("new/ceremony").metadata().unwrap().mode() & 0o777, 0o700);
        for mode in [0o720, 0o702, 0o1777] {
            std::fs::set_permissions(inside("new"), std::fs::Permissions::from_mode(mode)).unwrap();
            let failure = places(&inside("new")).err().unwrap();
            assert!(failure.what.contains("written to by others"), "{}", failure.what);
        }
        std::fs::create_dir(inside("real")).unwrap();
        std::os::unix::fs::symlink(inside("real"), inside("link")).unwrap();
        for link in ["link", "link/", "link/."] {
            let failure = places(&inside(link)).err().unwrap();
            assert!(failure.what.contains("is a link"), "{link}: {}", failure.what);
        }
        assert_eq!(std::fs::read_dir(inside("real")).unwrap().count(), 0);
    }

    fn reply() -> InitReply {
        let secret = |text| keyreeve_wire::SecretText(SecretString::copy_from(text));
        InitReply {
            shares: ["krs-one", "krs-two"].map(secret).into(),
            handed: Vec::new(),
            challenge: None,
            token: secret("krt-token"),
            principal: "admin".to_owned(),
            expires: keyreeve_wire::Timestamp("2026-11-22T09:00:00Z".to_owned()),
            log_vkeys: Vec::new(),
        }
    }

    #[test]
    fn shares_and_token_are_written_for_their_owner_only() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let kept = fill(places(dir.path(), &names(2, &[])).unwrap(), &reply());
        assert!(kept.left.is_none() && kept.files.len() == 3);
        for (name, text) in [("share-1", "krs-one\n"), ("share-2", "krs-two\n"), ("token", "krt-token\n")] {
            let path = dir.path().join(name);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
            assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn what_cannot_be_written_is_handed_back_and_the_rest_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let begun = places(dir.path(), &names(1, &[])).unwrap();
        // Somebody takes the token's name between the request and its answer.
        std::fs::write(dir.path().join("token"), "x").unwrap();
        let kept = fill(begun, &reply());
        assert_eq!(kept.files.len(), 1);
        let (text, failure) = kept.left.unwrap();
        assert_eq!(text.expose(), b"share 2  krs-two\ntoken  krt-token\n");
        assert!(failure.what.contains("not asked for"), "{}", failure.what);
        assert_eq!(std::fs::read(dir.path().join("token")).unwrap(), b"x");
    }

    #[test]
    fn shares_are_read_line_by_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shares");
        Sink::of(&path, false).write(b"krs-one\n\n  krs-two \n", Readers::Owner).unwrap();
        let shares = shares_in(&path).unwrap();
        assert!(shares.len() == 2 && shares[0].ct_eq("krs-one") && shares[1].ct_eq("krs-two"));
    }

    #[test]
    fn long_keys_are_named_and_short_ones_shown() {
        let short = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
        assert_eq!(key_name(short), short);
        let long = format!("example.com/foo+530d903a+{}", "A+/b".repeat(250));
        assert_eq!(key_name(&long), "example.com/foo+530d903a+... (whole with --output json)");
    }

    #[test]
    fn shares_are_asked_for_where_the_root_has_some() {
        let root = |needed| RootStatus { state: RootState::NotInitialised, given: None, needed, made: None };
        let init = |shares, threshold| Init { shares, threshold, out_dir: None, holders: HolderArgs::default() };
        let numbers = |shares, threshold, needed| init(shares, threshold).numbers(&root(needed), 0).unwrap();
        assert_eq!(numbers(None, None, None), (5, 3));
        assert_eq!(numbers(None, None, Some(0)), (0, 0), "a root without shares");
        assert_eq!(numbers(Some(7), Some(4), None), (7, 4));
        assert_eq!(numbers(Some(2), None, None), (2, 3), "the server tells what is not possible");
        assert_eq!(numbers(Some(0), None, None), (0, 0));
        assert_eq!(numbers(Some(5), Some(3), Some(0)), (5, 3), "what was asked for is refused rather than changed");
        let held = |shares, threshold, holders| init(shares, threshold).numbers(&root(None), holders);
        assert_eq!(held(None, None, 4).unwrap(), (4, 3));
        assert_eq!(held(Some(2), None, 2).unwrap(), (2, 2));
        assert!(held(Some(5), None, 2).is_err(), "a share without a holder");
    }

    #[test]
    fn what_is_missing_is_told() {
        let root = RootStatus { state: RootState::Sealed, given: Some(1), needed: Some(3), made: Some(5) };
        assert!(shares_text(&root).starts_with("1 of 3 shares given"));
    }
}
