//! Policies as files: a directory of them applied, checked, fetched; their history, compared and put back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use keyreeve_wire::Pairs;
use keyreeve_wire::access::Policy;
use keyreeve_wire::policies::{
    AppliedPolicies, ApplyPolicies, MeaningChange, PolicyDifference, PolicyVersion, RollBackPolicies,
};
use serde_json::json;

use super::policies::POLICY_MAX;
use crate::app::{App, Listing, Outcome};
use crate::failure::{Exit, Failure};
use crate::files::{Readers, Sink, read_all};
use crate::out::{Style, printable, rows};

/// The ending of a policy's file.
const ENDING: &str = "cedar";
/// The file beside them that says which version they are.
const VERSION_FILE: &str = ".policy-version";
/// Rows read at a time.
const PAGE: u32 = 1000;

/// The policies in a directory: each file `NAME.cedar` is the policy NAME.
pub(super) fn read(directory: &Path) -> Result<Pairs, Failure> {
    let unread = |error: &std::io::Error| Failure::io(format!("reading {}", directory.display()), error);
    let mut policies = BTreeMap::new();
    for entry in std::fs::read_dir(directory).map_err(|error| unread(&error))? {
        let path = entry.map_err(|error| unread(&error))?.path();
        if path.extension().is_none_or(|ending| ending != ENDING) {
            continue;
        }
        let not_text = || Failure::usage(format!("{} is not text", path.display()));
        let name = path.file_stem().and_then(|name| name.to_str()).ok_or_else(not_text)?.to_owned();
        let text = String::from_utf8(read_all(&path, POLICY_MAX)?).map_err(|_| not_text())?;
        policies.insert(name, text);
    }
    if policies.is_empty() {
        return Err(Failure::usage(format!("{} has no file that ends in .{ENDING}", directory.display()))
            .next("each policy is a file NAME.cedar; `keyreeve policy pull DIR` writes the present ones"));
    }
    Ok(Pairs(policies))
}

/// The version that a directory was fetched at or last applied as.
fn noted_version(directory: &Path) -> Result<Option<u64>, Failure> {
    let path = directory.join(VERSION_FILE);
    if !path.exists() {
        return Ok(None);
    }
    let text = String::from_utf8(read_all(&path, 64)?).unwrap_or_default();
    let wrong = || Failure::usage(format!("{} has no number: fetch the policies anew", path.display()));
    text.trim().parse().map(Some).map_err(|_| wrong())
}

fn note_version(directory: &Path, version: u64) -> Result<(), Failure> {
    write(&directory.join(VERSION_FILE), &format!("{version}\n"))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    Sink::of(path, true).write(text.as_bytes(), Readers::Anybody)
}

/// Make the server's policies be those of a directory, in one step
///
/// Each file NAME.cedar is the policy NAME. All of them are checked together before any applies. The directory
/// remembers the version it was fetched at or applied as, and is refused when somebody else made another one since.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve policy apply policies/ --comment 'office hours for contractors'")]
pub(crate) struct Apply {
    /// The directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Remove policies that the directory does not have
    #[arg(long)]
    delete_others: bool,
    /// Only tell what would change
    #[arg(long)]
    dry_run: bool,
    /// The version it builds on; the one the directory remembers unless said
    #[arg(long, value_name = "VERSION", conflicts_with = "force")]
    base: Option<u64>,
    /// Build on whatever version applies now
    #[arg(long)]
    force: bool,
    /// Why, for the history
    #[arg(long, default_value = "")]
    comment: String,
}

impl Apply {
    async fn run_with(self, app: &App) -> Result<(PathBuf, AppliedPolicies, Option<String>), Failure> {
        let noted = if self.force { None } else { noted_version(&self.directory)? };
        let mut request = ApplyPolicies {
            policies: read(&self.directory)?,
            delete_others: self.delete_others,
            base: self.base.or(noted),
            dry_run: self.dry_run,
            comment: self.comment,
        };
        let client = app.client()?;
        if request.base.is_none() && !self.force && !self.dry_run {
            // What is looked at now is what others consent to, and what it builds on.
            request.dry_run = true;
            request.base = Some(client.apply_policies(&request).await?.value.from);
            request.dry_run = false;
        }
        let answer = client.apply_policies(&request).await?;
        Ok((self.directory, answer.value, answer.audit_record))
    }

    pub(super) async fn run(self, app: &App) -> Outcome {
        let dry_run = self.dry_run;
        let (directory, applied, record) = self.run_with(app).await?;
        if !dry_run {
            note_version(&directory, applied.to.unwrap_or(applied.from))?;
            match applied.to {
                Some(_) => app.note_record("policies applied; they apply from now on", record.as_ref()),
                None => app.note_record("nothing differs", record.as_ref()),
            }
        }
        app.show(&applied, |applied| shown(app, applied, dry_run))
    }
}

/// Check the policies of a directory and tell what they would change, without any effect
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve policy check policies/")]
pub(crate) struct Check {
    /// The directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// As if policies that the directory does not have were removed
    #[arg(long)]
    delete_others: bool,
}

impl Check {
    pub(super) async fn run(self, app: &App) -> Outcome {
        let apply = Apply {
            directory: self.directory,
            delete_others: self.delete_others,
            dry_run: true,
            base: None,
            force: true,
            comment: String::new(),
        };
        apply.run(app).await
    }
}

fn shown(app: &App, applied: &AppliedPolicies, dry_run: bool) -> String {
    let heading = match (applied.to, dry_run) {
        (Some(to), _) => format!("version {} is now version {to}\n", applied.from),
        (None, true) => format!("checked against version {}; nothing was changed\n", applied.from),
        (None, false) => format!("version {} stays: nothing differs\n", applied.from),
    };
    let warnings: String =
        applied.warnings.iter().map(|warning| format!("warning: {}\n", printable(warning))).collect();
    format!("{heading}{warnings}{}", difference(app, &applied.difference))
}

/// A difference for people: the lines, then what they mean.
fn difference(app: &App, difference: &PolicyDifference) -> String {
    let mut text = String::new();
    for document in &difference.documents {
        text.push('\n');
        for line in document.unified.lines() {
            let line = printable(line);
            let style = match line.as_bytes().first() {
                Some(b'+') => Some(Style::Good),
                Some(b'-') => Some(Style::Bad),
                _ => None,
            };
            text.push_str(&style.map_or(line.clone(), |style| app.out.styled(style, &line, false)));
            text.push('\n');
        }
    }
    if !difference.meaning.is_empty() {
        text.push_str("\nwhat roles may do that they could not, or no more:\n");
        text.push_str(&rows(["role", "kind", "action", "now", "where"], difference.meaning.iter().map(meant)));
        text.push('\n');
    }
    if difference.roles_left_out > 0 {
        text.push_str(&format!("({} roles were not looked at: there are too many)\n", difference.roles_left_out));
    }
    if let Some(problem) = &difference.problem {
        text.push_str(&format!("what it means cannot be told: {}\n", printable(problem)));
    }
    text
}

fn meant(change: &MeaningChange) -> [String; 5] {
    let mut conditions = Vec::new();
    conditions.extend(change.own.map(|own| if own { "on what is one's own" } else { "on what is not one's own" }));
    conditions.extend(change.second_factor.map(|shown| if shown { "with a second factor" } else { "without one" }));
    [
        change.role.clone().unwrap_or_else(|| "(none)".to_owned()),
        change.kind.to_string(),
        change.action.clone(),
        if change.allowed { "allowed" } else { "refused" }.to_owned(),
        conditions.join(", "),
    ]
}

/// Write the server's own policies into a directory, a file each
///
/// Files of policies that the server does not have stay as they are, and are told.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve policy pull policies/")]
pub(crate) struct Pull {
    /// The directory; made where there is none
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl Pull {
    pub(super) async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        let newest = async || -> Result<u64, Failure> {
            let page = client.policy_versions(None, Some(1)).await?.value;
            Ok(page.items.first().map_or(0, |version| version.version))
        };
        let version = newest().await?;
        let (mut own, mut after) = (Vec::new(), None);
        loop {
            let page = client.policies(after.as_deref(), Some(PAGE)).await?.value;
            own.extend(page.items.into_iter().filter(|policy| !policy.built_in));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        if newest().await? != version {
            return Err(Failure::new(Exit::State, "the policies changed while they were fetched").next("try again"));
        }
        let directory = &self.directory;
        std::fs::create_dir_all(directory)
            .map_err(|error| Failure::io(format!("making {}", directory.display()), &error))?;
        for policy in &own {
            write(&self.directory.join(file_name(&policy.name)?), &policy.text)?;
        }
        note_version(&self.directory, version)?;
        self.tell_strangers(app, &own)?;
        let shown = json!({
            "version": version,
            "policies": own.iter().map(|policy| &policy.name).collect::<Vec<_>>(),
        });
        app.show(&shown, |_| format!("{} policies of version {version} in {}", own.len(), directory.display()))
    }

    fn tell_strangers(&self, app: &App, own: &[Policy]) -> Result<(), Failure> {
        let Ok(there) = read(&self.directory) else { return Ok(()) };
        for name in there.0.keys().filter(|name| !own.iter().any(|policy| policy.name == **name)) {
            app.out.warn(&format!("{name}.{ENDING} is there, and the server has no such policy"));
        }
        Ok(())
    }
}

/// The file of a policy. What the server calls a policy is one name here and never a path.
fn file_name(policy: &str) -> Result<String, Failure> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if policy.is_empty() || policy.starts_with('.') || !policy.chars().all(plain) {
        return Err(Failure::new(Exit::Internal, format!("`{}` cannot be a file's name", printable(policy))));
    }
    Ok(format!("{policy}.{ENDING}"))
}

/// List the versions of the policies, newest first
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve policy log")]
pub(crate) struct Log {
    #[command(flatten)]
    listing: Listing,
}

impl Log {
    pub(super) async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        let page = self
            .listing
            .collect(async |before, limit| Ok(client.policy_versions(before.as_deref(), Some(limit)).await?.value));
        Listing::show(app, &page.await?, |versions| {
            let headings = ["version", "since", "by", "policies", "changed", "comment"];
            rows(headings, versions.iter().map(told))
        })
    }
}

fn told(version: &PolicyVersion) -> [String; 6] {
    let lists = [("+", &version.added), ("~", &version.altered), ("-", &version.removed)];
    let changed = lists.iter().flat_map(|(sign, names)| names.iter().map(move |name| format!("{sign}{name}")));
    let mut comment = printable(&version.comment);
    if let Some(restored) = version.restores {
        comment = format!("as version {restored}; {comment}").trim_end_matches("; ").to_owned();
    }
    [
        version.version.to_string(),
        version.at.to_string(),
        version.by.clone().unwrap_or_else(|| "(found)".to_owned()),
        version.policies.to_string(),
        changed.collect::<Vec<_>>().join(" "),
        comment,
    ]
}

/// Compare two versions of the policies: their text, and what roles may do
#[derive(Args)]
#[command(after_help = "Examples:\n  $ keyreeve policy diff\n  $ keyreeve policy diff 3 7")]
pub(crate) struct Diff {
    /// The earlier version, 0 for no policies at all; the one before TO unless said
    from: Option<u64>,
    /// The later version; the newest unless said
    to: Option<u64>,
}

impl Diff {
    pub(super) async fn run(self, app: &App) -> Outcome {
        let compared = app.client()?.compare_policies(self.from, self.to).await?.value;
        app.show(&compared, |compared| {
            let same = if compared.difference.documents.is_empty() { ": nothing differs" } else { "" };
            format!(
                "version {} and version {}{same}\n{}",
                compared.from,
                compared.to,
                difference(app, &compared.difference)
            )
        })
    }
}

/// Put back the policies of a former version, as a new version
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve policy rollback 6 --comment 'contractors were locked out'")]
pub(crate) struct Rollback {
    /// The version whose policies are put back
    version: u64,
    /// The version it builds on; whatever applies now unless said
    #[arg(long, value_name = "VERSION")]
    base: Option<u64>,
    /// Why, for the history
    #[arg(long, default_value = "")]
    comment: String,
}

impl Rollback {
    pub(super) async fn run(self, app: &App) -> Outcome {
        let request = RollBackPolicies { version: self.version, base: self.base, comment: self.comment };
        let answer = app.client()?.roll_back_policies(&request).await?;
        app.note_record("policies put back; they apply from now on", answer.audit_record.as_ref());
        app.show(&answer.value, |applied| shown(app, applied, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_files_that_never_leave_the_directory() {
        for name in ["office-hours", "x.y", "a_1"] {
            assert_eq!(file_name(name).unwrap(), format!("{name}.cedar"));
        }
        for name in ["", ".hidden", "../../etc/passwd", "/etc/passwd", "a/b", "a\\b", "a\u{0}b", "a b", "ä"] {
            assert!(file_name(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_directory_is_read_by_its_cedar_files() {
        let directory = tempfile::tempdir().unwrap();
        assert!(read(directory.path()).is_err(), "nothing in it");
        for (file, text) in [("a.cedar", "one"), ("team-b.cedar", "two"), ("README.md", "no"), (VERSION_FILE, "7\n")] {
            std::fs::write(directory.path().join(file), text).unwrap();
        }
        let policies = read(directory.path()).unwrap();
        assert_eq!(policies, [("a", "one"), ("team-b", "two")].into_iter().collect());
        assert_eq!(noted_version(directory.path()).unwrap(), Some(7));
        std::fs::write(directory.path().join(VERSION_FILE), "seven").unwrap();
        assert!(noted_version(directory.path()).is_err());
    }
}
