//! What a command prints: results on standard output, as a table or as JSON; everything else on standard error.

use std::io::{IsTerminal, Write};

use clap::ValueEnum;
use keyreeve_secret::SecretBuffer;
use serde::Serialize;

use crate::failure::Failure;

/// The form of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Where output goes and how it looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Out {
    pub(crate) format: Format,
    pub(crate) quiet: bool,
    colour: bool,
}

/// Words that stand out, on terminals that can show it.
#[derive(Clone, Copy)]
pub(crate) enum Style {
    Bold,
    Good,
    Bad,
    Faint,
}

impl Style {
    const fn code(self) -> &'static str {
        match self {
            Self::Bold => "1",
            Self::Good => "32",
            Self::Bad => "31",
            Self::Faint => "2",
        }
    }
}

impl Out {
    pub(crate) fn new(format: Format, quiet: bool) -> Self {
        // https://no-color.org: any value but the empty one.
        let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { format, quiet, colour }
    }

    pub(crate) fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// A line of a result.
    pub(crate) fn line(self, text: &str) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|error| Failure::io("standard output", &error))
    }

    /// Bytes of a result as they are.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| Failure::io("standard output", &error))
    }

    /// A result as JSON.
    pub(crate) fn json<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Failure> {
        let mut text = SecretBuffer::with_capacity(1024);
        serde_json::to_writer_pretty(&mut text, value)
            .map_err(|error| Failure::new(crate::failure::Exit::Internal, error.to_string()))?;
        text.push(b'\n');
        self.bytes(text.expose())
    }

    /// A result in the form asked for.
    pub(crate) fn show<T: Serialize + ?Sized>(
        self,
        value: &T,
        table: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        if self.is_json() { self.json(value) } else { self.line(table(value).trim_end()) }
    }

    /// A result that is secret: built in memory that is wiped.
    pub(crate) fn show_secret<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce(&T, &mut SecretBuffer) -> std::io::Result<()>,
    ) -> Result<(), Failure> {
        if self.is_json() {
            return self.json(value);
        }
        let mut buffer = SecretBuffer::with_capacity(4096);
        text(value, &mut buffer)?;
        self.bytes(buffer.expose())
    }

    /// Something to know that is no result. Where nobody can read it, it is no failure.
    pub(crate) fn note(self, text: &str) {
        if !self.quiet {
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        }
    }

    /// Something to know even where only results are wanted.
    pub(crate) fn warn(self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{} {text}", self.styled(Style::Bold, "note:", true));
    }

    /// Why the command failed.
    pub(crate) fn failure(self, failure: &Failure) {
        let mut err = std::io::stderr().lock();
        let _ = writeln!(err, "{} {}", self.styled(Style::Bad, "error:", true), failure.what);
        if let Some(next) = &failure.next {
            let _ = writeln!(err, "{} {next}", self.styled(Style::Bold, "next:", true));
        }
        if let Some(record) = failure.audit_record.as_ref().filter(|_| !self.quiet) {
            let _ = writeln!(err, "{}", self.styled(Style::Faint, &format!("audit record: {record}"), true));
        }
    }

    /// A text that stands out where it can: `stderr` says where it will be printed.
    pub(crate) fn styled(self, style: Style, text: &str, stderr: bool) -> String {
        let terminal = if stderr { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
        if self.colour && terminal { format!("\x1b[{}m{text}\x1b[0m", style.code()) } else { text.to_owned() }
    }
}

/// Rows under headings, without lines: easy to read, and to cut with `awk`.
pub(crate) fn rows<const N: usize>(headings: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(headings.map(str::to_uppercase));
    let mut count = 0;
    for row in rows {
        table.add_row(row.map(|cell| printable(&cell)));
        count += 1;
    }
    if count == 0 { "(none)".to_owned() } else { trimmed(&table.to_string()) }
}

/// Names and values, one pair on each line. Empty values are left out.
pub(crate) fn facts(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = pairs.iter().filter(|(_, value)| !value.is_empty());
    lines.map(|(name, value)| format!("{name:width$}  {}\n", printable(value))).collect()
}

/// What other people wrote must not move the cursor of whoever reads it.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn trimmed(table: &str) -> String {
    table
        .lines()
        .map(|line| line.trim_end().strip_prefix(' ').unwrap_or(line.trim_end()))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_and_say_when_there_is_nothing() {
        let text = rows(["name", "state"], [["orders".into(), "active".into()], ["x".into(), "suspended".into()]]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("NAME") && lines[2].starts_with("x "));
        assert_eq!(lines[0].find("STATE"), lines[1].find("active"));
        assert_eq!(rows(["name"], []), "(none)");
    }

    #[test]
    fn facts_align_and_leave_out_what_is_empty() {
        let text = facts(&[("id", "1".into()), ("owner", String::new()), ("state", "active".into())]);
        assert_eq!(text, "id     1\nstate  active\n");
    }

    #[test]
    fn control_characters_of_others_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\nc"), "a\u{fffd}[31mb\u{fffd}c");
        assert!(!facts(&[("a", "\u{1b}".into())]).contains('\u{1b}'));
    }
}
