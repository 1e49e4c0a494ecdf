//! Who can do what.

use clap::{Args, Subcommand};
use keyreeve_wire::reviews::{AccessReport, AccessRow, Right};
use std::fmt::Write as _;

use crate::app::{App, Outcome};
use crate::out::rows;

/// Pairs of principal and key that one request looks at.
const PAIRS: u32 = 1000;

/// See who can do what to which key
#[derive(Subcommand)]
#[command(after_help = "Example:\n  $ keyreeve access report --key orders")]
pub(crate) enum Command {
    Report(Report),
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Outcome {
        match self {
            Self::Report(command) => command.run(app).await,
        }
    }
}

/// Show who can do what to which key, through what, and when it was last used
///
/// Every principal is asked about with every key, as a request would be: with a second factor just shown, from one of
/// its own networks, now, without an encryption context. What somebody should look at stands at the end: grants that
/// nobody used for 90 days, people without a second factor, rules of approval that are not in force.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
        $ keyreeve access report\n  \
        $ keyreeve access report --principal alice --csv")]
pub(crate) struct Report {
    /// Only this principal
    #[arg(long)]
    principal: Option<String>,
    /// Only this key, by id or alias
    #[arg(long)]
    key: Option<String>,
    /// Look in the whole audit log for last uses that are not known otherwise: those of looking at keys and moving them
    /// through their states, and those that a crash lost; slow where the log is long
    #[arg(long)]
    from_audit: bool,
    /// As comma-separated values, a line for each right; findings are left out
    #[arg(long)]
    csv: bool,
}

impl Report {
    async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        let mut whole = AccessReport { rows: Vec::new(), next: None, findings: Vec::new() };
        loop {
            let (principal, key) = (self.principal.as_deref(), self.key.as_deref());
            let place = (whole.next.as_deref(), Some(PAIRS));
            let page = client.access_report((principal, key), self.from_audit, place).await?.value;
            whole.rows.extend(page.rows);
            whole.findings.extend(page.findings);
            whole.next = page.next;
            if whole.next.is_none() {
                break;
            }
        }
        let unknown = if self.from_audit { "" } else { NOT_TRACKED };
        app.show(&whole, |report| if self.csv { csv(&report.rows, unknown) } else { text(report, unknown) })
    }
}

/// What stands for the last use of a right whose uses are only in the audit log.
const NOT_TRACKED: &str = "not tracked";

/// The last use of a right. Only those that use keys are noted apart from the audit log, where it was not looked.
fn last_use(right: &Right, unknown: &str) -> String {
    match &right.last_used {
        Some(day) => day.0.chars().take(10).collect(),
        None if right.group.ends_with("-side") => String::new(),
        None => unknown.to_owned(),
    }
}

/// One line for each right: principal, kind, key, alias, keyring, group, through, last use.
fn lines<'a>(all: &'a [AccessRow], unknown: &'a str) -> impl Iterator<Item = [String; 8]> + 'a {
    all.iter().flat_map(move |row| {
        row.rights.iter().map(move |right| {
            [
                row.principal.clone(),
                row.kind.to_string(),
                row.key.clone(),
                row.alias.clone().unwrap_or_default(),
                row.keyring.clone(),
                right.group.clone(),
                right.through.join(" "),
                last_use(right, unknown),
            ]
        })
    })
}

const HEAD: [&str; 8] = ["principal", "kind", "key", "alias", "keyring", "group", "through", "last used"];

/// RFC 4180, with the line ends of text for terminals. Names hold neither quotes, commas nor line breaks, so nothing
/// needs quoting.
fn csv(all: &[AccessRow], unknown: &str) -> String {
    let rows = lines(all, unknown).map(|line| line.join(","));
    std::iter::once(HEAD.join(",")).chain(rows).map(|line| format!("{line}\n")).collect()
}

fn text(report: &AccessReport, unknown: &str) -> String {
    let short = |[principal, _, key, alias, keyring, group, through, used]: [String; 8]| {
        let key = if alias.is_empty() { key } else { alias };
        [principal, key, keyring, group, through, used]
    };
    let mut text =
        rows(["principal", "key", "keyring", "group", "through", "last used"], lines(&report.rows, unknown).map(short));
    text.push('\n');
    for finding in &report.findings {
        // Writing to a text does not fail.
        let _ = writeln!(text, "look at {}: {}", finding.about, finding.text);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_wire::names::PrincipalKind;

    #[test]
    fn csv_has_a_line_for_each_right() {
        let right = |group: &str| Right {
            group: group.to_owned(),
            through: vec!["policy:a".to_owned(), "elevation:b".to_owned()],
            last_used: Some(keyreeve_wire::Timestamp("2026-11-22T00:00:00Z".to_owned())),
        };
        let row = AccessRow {
            principal: "alice".to_owned(),
            kind: PrincipalKind::Person,
            key: "key_1".to_owned(),
            alias: None,
            keyring: "default".to_owned(),
            rights: vec![right("read"), right("sign-side")],
        };
        let text = csv(std::slice::from_ref(&row), NOT_TRACKED);
        let expected = "principal,kind,key,alias,keyring,group,through,last used\n\
                        alice,person,key_1,,default,read,policy:a elevation:b,2026-11-22\n\
                        alice,person,key_1,,default,sign-side,policy:a elevation:b,2026-11-22\n";
        assert_eq!(text, expected);
        // Of what is not noted it is not said that it was not used.
        let unused = Right { last_used: None, ..right("lifecycle") };
        let row = AccessRow { rights: vec![unused, Right { last_used: None, ..right("sign-side") }], ..row };
        let ends = |unknown: &str| {
            csv(std::slice::from_ref(&row), unknown)
                .lines()
                .skip(1)
                .map(|line| line.ends_with(",not tracked"))
                .collect::<Vec<_>>()
        };
        assert_eq!((ends(NOT_TRACKED), ends("")), (vec![true, false], vec![false, false]));
    }
}
