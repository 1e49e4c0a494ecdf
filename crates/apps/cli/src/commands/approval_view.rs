//! A request that waits, as people look at it who are to agree: what is asked for by name, texts line by line, a seat a
//! line with those who could take it.

use keyreeve_wire::approvals::{Approval, ShownFact};
use serde_json::Value;

use crate::out::{facts, printable, rows};

/// How far lines of a section are set in.
const INDENT: &str = "  ";

/// Requests in a table.
pub(super) fn table(approvals: &[Approval]) -> String {
    let row = |approval: &Approval| {
        let missing = match approval.missing.len() {
            0 => String::new(),
            missing => format!("{missing} of {}", approval.seats.len()),
        };
        let (proposer, operation) = (approval.proposer.clone(), approval.operation.clone());
        [proposer, operation, on(approval), approval.state.to_string(), missing, approval.id.clone()]
    };
    rows(["proposer", "operation", "on", "state", "missing", "id"], approvals.iter().map(row))
}

/// What a request is about: a key by the name that people know, and its id.
fn on(approval: &Approval) -> String {
    let (kind, id) = (&approval.target.kind, &approval.target.id);
    if id == "new" {
        return format!("a new {kind}");
    }
    let aliases = approval.shown.iter().find(|fact| fact.name == "aliases").map_or("", |fact| fact.value.trim());
    if aliases.is_empty() { format!("{kind} {id}") } else { format!("{kind} {aliases} ({id})") }
}

/// A request in full.
pub(super) fn approval_facts(approval: &Approval) -> String {
    let mut text = facts(&[
        ("id", approval.id.clone()),
        ("state", approval.state.to_string()),
        ("proposer", approval.proposer.clone()),
        ("operation", approval.operation.clone()),
        ("on", on(approval)),
        ("second", approval.second.as_ref().map_or_else(String::new, |on| format!("{} {}", on.kind, on.id))),
        ("reason", approval.reason.clone()),
        ("builds on", approval.base_revision.map(|base| base.to_string()).unwrap_or_default()),
        ("rules", approval.rules.join(" ")),
        ("created", approval.created.to_string()),
        ("expires", approval.expires.to_string()),
        ("executed as", approval.executed_as.clone().unwrap_or_default()),
        ("digest", approval.digest.clone()),
    ]);
    let mut asked = Vec::new();
    told(&mut asked, "", &approval.form);
    section(&mut text, "asks for", asked);
    let known = |facts: &[ShownFact]| {
        let mut lines = Vec::new();
        facts.iter().filter(|fact| !fact.value.is_empty()).for_each(|fact| named(&mut lines, &fact.name, &fact.value));
        lines
    };
    section(&mut text, "about", known(&approval.shown));
    let overtaken = known(&approval.overtaken);
    section(
        &mut text,
        "overtaken: otherwise than people were shown, so that it may take others when it runs",
        overtaken,
    );
    section(&mut text, "consent of", approval.seats.iter().map(|seat| printable(seat)).collect());
    section(&mut text, "missing", missing(approval));
    section(&mut text, "votes", votes(approval));
    text
}

/// The empty seats, each with those who could take it.
fn missing(approval: &Approval) -> Vec<String> {
    if approval.candidates.is_empty() {
        return approval.missing.iter().map(|seat| printable(seat)).collect();
    }
    let line = |seat: &keyreeve_wire::approvals::Candidates| {
        let people = match seat.people.as_slice() {
            [] => "nobody who has a second factor".to_owned(),
            people => people.join(", "),
        };
        printable(&format!("{}: {people}", seat.seat))
    };
    approval.candidates.iter().map(line).collect()
}

fn votes(approval: &Approval) -> Vec<String> {
    let line = |vote: &keyreeve_wire::approvals::Vote| {
        let again = if vote.superseded { " (voted again)" } else { "" };
        let line =
            format!("{} by {} with {} at {}{again} {}", vote.decision, vote.by, vote.proof, vote.at, vote.reason);
        printable(line.trim_end())
    };
    approval.votes.iter().map(line).collect()
}

fn section(text: &mut String, heading: &str, lines: Vec<String>) {
    if lines.is_empty() {
        return;
    }
    text.push_str(&format!("\n{heading}\n"));
    lines.iter().for_each(|line| text.push_str(&format!("{INDENT}{line}\n")));
}

/// A name and its value, which may have several lines: those are set in further, so that none looks like a name.
fn named(lines: &mut Vec<String>, name: &str, value: &str) {
    let name = printable(name);
    if !value.contains('\n') {
        lines.push(format!("{name}: {}", printable(value)));
        return;
    }
    lines.push(format!("{name}:"));
    lines.extend(value.trim_end().split('\n').map(|line| format!("{INDENT}{}", printable(line))));
}

/// What a form says, a line for each value that it has.
fn told(lines: &mut Vec<String>, path: &str, value: &Value) {
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path} {name}") };
                told(lines, &path, value);
            }
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            items.iter().enumerate().for_each(|(nth, item)| told(lines, &format!("{path} {}", nth + 1), item));
        }
        Value::Array(items) if items.is_empty() => {}
        Value::Array(items) => named(lines, path, &items.iter().map(plain).collect::<Vec<_>>().join(", ")),
        Value::String(text) if text.is_empty() => {}
        Value::Number(seconds) if path.ends_with("seconds") => {
            named(lines, path, &format!("{seconds}{}", span(seconds.as_u64().unwrap_or(0))));
        }
        scalar => named(lines, path, &plain(scalar)),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A span as people say it, where it has a whole number of a larger unit.
fn span(seconds: u64) -> String {
    let units = [(86_400, "d"), (3600, "h"), (60, "m")];
    let unit = units.into_iter().find(|(unit, _)| seconds >= *unit && seconds.is_multiple_of(*unit));
    unit.map_or_else(String::new, |(unit, name)| format!(" ({}{name})", seconds / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn approval(form: &str, more: &str) -> Approval {
        let text = format!(
            r#"{{"id":"apr_1","deployment":"dep_1","state":"waiting","proposer":"sue","operation":"grant.create",
                "target":{{"kind":"grant","id":"ann:key_1"}},"form":{form},"digest":"00","rules":["grant"],
                "seats":["security-lead","ciso"],"missing":["ciso"],
                "shown":[{{"name":"aliases","value":"payroll"}},{{"name":"difference","value":"-a\n+b\u001b[2J"}}],
                "votes":[],"created":"2026-11-22T00:00:00Z","expires":"2026-11-25T00:00:00Z","mfa_seconds":900{more}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_request_is_told_line_by_line() {
        let form = r#"{"gives":{"key":{"operations":["key.decrypt","key.sign"]}},"seconds":28800,"not_before":null,
            "text":"permit(\n\tprincipal\n);","networks":[]}"#;
        let shown = approval_facts(&approval(form, r#","candidates":[{"seat":"ciso","people":["carl","cora"]}]"#));
        for line in [
            "  gives key operations: key.decrypt, key.sign",
            "  seconds: 28800 (8h)",
            "  text:\n    permit(\n     principal\n    );",
            "  difference:\n    -a\n    +b\u{fffd}[2J",
            "missing\n  ciso: carl, cora",
            "consent of\n  security-lead\n  ciso",
            "grant payroll (ann:key_1)",
        ] {
            assert!(shown.contains(line), "{line}\n---\n{shown}");
        }
        assert!(
            !shown.contains("not_before") && !shown.contains("networks") && !shown.contains("overtaken"),
            "{shown}"
        );
    }

    #[test]
    fn what_has_changed_and_whoever_is_not_there_is_told() {
        let more =
            r#","candidates":[{"seat":"ciso","people":[]}],"overtaken":[{"name":"hold","value":"false -> true"}]"#;
        let shown = approval_facts(&approval("{}", more));
        assert!(shown.contains("overtaken") && shown.contains("  hold: false -> true"), "{shown}");
        assert!(shown.contains("  ciso: nobody who has a second factor"), "{shown}");
        let listed = table(&[approval("{}", "")]);
        assert!(listed.contains("1 of 2") && listed.contains("payroll"), "{listed}");
    }
}
