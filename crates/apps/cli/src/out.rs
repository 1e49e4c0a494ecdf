//! What a command prints: results on standard output, as a table or as JSON; everything else on standard error.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

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
        let text = text.finish();
        // JSON escapes only the controls of ASCII. The others can stand in strings alone, where this is the same value.
        self.bytes(replaced(text.expose(), |c, out| write!(out, "\\u{:04x}", u32::from(c)))?.expose())
    }

    /// A result in the form asked for.
    pub(crate) fn show<T: Serialize + ?Sized>(
        self,
        value: &T,
        table: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        if self.is_json() { self.json(value) } else { self.line(screened(&table(value)).trim_end()) }
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
        self.bytes(replaced(buffer.finish().expose(), |_, out| write!(out, "{REPLACED}"))?.expose())
    }

    /// A secret that has no other place left, on standard error under a heading that cannot be overlooked.
    pub(crate) fn alarm(self, heading: &str, secret: &[u8]) -> Result<(), Failure> {
        let bar = "!".repeat(78);
        let mut err = std::io::stderr().lock();
        writeln!(err, "\n{}\n{heading}\n{bar}", self.styled(Style::Bad, &bar, true))?;
        err.write_all(replaced(secret, |_, out| write!(out, "{REPLACED}"))?.expose())?;
        writeln!(err, "{bar}\n")?;
        Ok(())
    }

    /// Something to know that is no result. Where nobody can read it, it is no failure.
    pub(crate) fn note(self, text: &str) {
        if !self.quiet {
            let _ = writeln!(std::io::stderr().lock(), "{}", screened(text));
        }
    }

    /// Something to know even where only results are wanted.
    pub(crate) fn warn(self, text: &str) {
        let mark = self.styled(Style::Bold, "note:", true);
        let _ = writeln!(std::io::stderr().lock(), "{mark} {}", continued(text, "      "));
    }

    /// Why the command failed.
    pub(crate) fn failure(self, failure: &Failure) {
        let mut err = std::io::stderr().lock();
        let what = continued(&failure.what, "       ");
        let _ = writeln!(err, "{} {what}", self.styled(Style::Bad, "error:", true));
        if let Some(next) = &failure.next {
            let next = continued(next, "      ");
            let _ = writeln!(err, "{} {next}", self.styled(Style::Bold, "next:", true));
        }
        if let Some(record) = failure.audit_record.as_ref().filter(|_| !self.quiet) {
            let record = format!("audit record: {}", printable(record));
            let _ = writeln!(err, "{}", self.styled(Style::Faint, &record, true));
        }
    }

    /// A text that stands out where it can: `stderr` says where it will be printed.
    pub(crate) fn styled(self, style: Style, text: &str, stderr: bool) -> String {
        let terminal = if stderr { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
        if self.colour && terminal { format!("\x1b[{}m{text}\x1b[0m", style.code()) } else { text.to_owned() }
    }
}

/// Whether tables may be wider than the terminal.
static WIDE: AtomicBool = AtomicBool::new(false);

/// Lets tables be as wide as they are, also on a terminal.
pub(crate) fn be_wide() {
    WIDE.store(true, Ordering::Relaxed);
}

/// How wide a table may be (columns): what the terminal has; of what goes elsewhere nothing is shortened or broken.
pub(crate) fn columns() -> Option<usize> {
    let stdout = std::io::stdout();
    if WIDE.load(Ordering::Relaxed) || !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&stdout).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns >= 20)
}

/// Rows under headings, without lines: easy to read, and to cut with `awk`. On a terminal that is too narrow cells are
/// broken between words; where that is not enough each row becomes a block of names and values.
pub(crate) fn rows<const N: usize>(headings: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = rows.into_iter().map(|row| row.map(|cell| printable(&cell))).collect();
    if rows.is_empty() { "(none)".to_owned() } else { fitted(headings, &rows, columns()) }
}

fn fitted<const N: usize>(headings: [&str; N], rows: &[[String; N]], columns: Option<usize>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(headings.map(str::to_uppercase));
    rows.iter().for_each(|row| {
        table.add_row(row.clone());
    });
    // Of each column the widest cell, or the longest word; a space stands on either side.
    let widest = |of: fn(&str) -> usize| -> Vec<usize> {
        let cells = |column: usize| rows.iter().map(move |row| row[column].as_str()).chain([headings[column]]);
        (0..N).map(|column| cells(column).map(of).max().unwrap_or(0) + 2).collect()
    };
    let whole: usize = widest(|cell| cell.chars().count()).iter().sum();
    let Some(columns) = columns.filter(|columns| whole > columns + 2) else { return trimmed(&table.to_string()) };
    let least = widest(|cell| cell.split(' ').map(|word| word.chars().count()).max().unwrap_or(0));
    if least.iter().sum::<usize>() > columns {
        let block = |row: &[String; N]| {
            let pairs: Vec<(&str, String)> = headings.iter().copied().zip(row.iter().cloned()).collect();
            facts(&pairs)
        };
        return rows.iter().map(block).collect::<Vec<_>>().join("\n").trim_end().to_owned();
    }
    table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
    table.set_width(u16::try_from(columns).unwrap_or(u16::MAX));
    for (column, least) in table.column_iter_mut().zip(least) {
        let least = comfy_table::Width::Fixed(u16::try_from(least).unwrap_or(u16::MAX));
        column.set_constraint(comfy_table::ColumnConstraint::LowerBoundary(least));
    }
    trimmed(&table.to_string())
}

/// Names and values, one pair on each line. Empty values are left out.
pub(crate) fn facts(pairs: &[(&str, String)]) -> String {
    let shown = || pairs.iter().filter(|(_, value)| !value.is_empty());
    let width = shown().map(|(name, _)| name.len()).max().unwrap_or(0);
    shown().map(|(name, value)| format!("{name:width$}  {}\n", printable(value))).collect()
}

/// A line in pieces of at most so many characters, where its words let it.
pub(crate) fn broken(line: &str, columns: usize) -> Vec<String> {
    if line.starts_with(' ') {
        return vec![line.to_owned()];
    }
    let mut lines = vec![String::new()];
    for word in line.split(' ') {
        let last = lines.last().map_or(0, |last| last.chars().count());
        if last > 0 && last + 1 + word.chars().count() > columns {
            lines.push(String::new());
        }
        if let Some(last) = lines.last_mut() {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

/// What stands where a character must not.
const REPLACED: char = '\u{fffd}';

/// Whether a character moves the cursor, or changes in which order others are shown: controls (C0, DEL, C1), and the
/// marks for writing direction of Unicode (UAX #9) and the byte order mark, which are not seen themselves.
fn deceives(c: char) -> bool {
    let unseen = matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || unseen || c == '\u{feff}'
}

/// What other people wrote must not move the cursor of whoever reads it, nor look like something else.
pub(crate) fn printable(text: &str) -> String {
    let shown = |c| match c {
        '\t' => ' ',
        c if deceives(c) => REPLACED,
        c => c,
    };
    text.chars().map(shown).collect()
}

/// The same line by line, with the colours of this program, and no others.
pub(crate) fn screened(text: &str) -> String {
    let lines = text.split('\n').map(|line| {
        let mut pieces = line.split('\x1b');
        let mut shown = printable(pieces.next().unwrap_or_default());
        for piece in pieces {
            let own = ["[0m", "[1m", "[2m", "[31m", "[32m"].iter().any(|colour| piece.starts_with(colour));
            shown.push(if own { '\x1b' } else { REPLACED });
            shown.push_str(&printable(piece));
        }
        shown
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A text after a mark; its further lines are set in, so that none of them looks like a mark.
fn continued(text: &str, indent: &str) -> String {
    text.trim_end().split('\n').map(printable).collect::<Vec<_>>().join(&format!("\n{indent}"))
}

/// A secret text with something else for each character that deceives, but for ends of lines.
fn replaced(
    text: &[u8],
    instead: impl Fn(char, &mut SecretBuffer) -> std::io::Result<()>,
) -> std::io::Result<SecretBuffer> {
    let mut out = SecretBuffer::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c != '\n' && deceives(c) {
                instead(c, &mut out)?;
            } else {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        if !chunk.invalid().is_empty() {
            instead(REPLACED, &mut out)?;
        }
    }
    Ok(out)
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
    fn a_table_fits_the_terminal_and_breaks_no_word() {
        let id = "key_01a2063a15ca763aae541b420a5d6d56";
        let row = || [id.to_owned(), "a reason with many words that somebody gave".to_owned(), "active".to_owned()];
        let headings = ["id", "reason", "state"];
        let whole = fitted(headings, &[row()], None);
        assert_eq!(whole.lines().count(), 2, "elsewhere nothing is broken");
        assert_eq!(fitted(headings, &[row()], Some(200)), whole);
        let narrow = fitted(headings, &[row()], Some(72));
        assert!(narrow.lines().all(|line| line.chars().count() <= 72) && narrow.lines().count() > 2, "{narrow}");
        for word in [id, "somebody", "active"] {
            assert!(narrow.contains(word), "{word} was broken:\n{narrow}");
        }
        // Not even the words fit beside one another: one below the other then.
        let blocks = fitted(headings, &[row(), row()], Some(40));
        assert!(blocks.starts_with(&format!("id      {id}\nreason  a reason")), "{blocks}");
        assert_eq!(blocks.matches(id).count(), 2);
        assert!(blocks.contains("active\n\nid "), "{blocks}");
    }

    #[test]
    fn facts_align_and_leave_out_what_is_empty() {
        let text = facts(&[("id", "1".into()), ("description", String::new()), ("state", "active".into())]);
        assert_eq!(text, "id     1\nstate  active\n");
    }

    #[test]
    fn control_characters_of_others_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\nc"), "a\u{fffd}[31mb\u{fffd}c");
        assert!(!facts(&[("a", "\u{1b}".into())]).contains('\u{1b}'));
        for bad in ['\u{7f}', '\u{9b}', '\u{202e}', '\u{2069}', '\u{200f}', '\u{61c}', '\u{feff}'] {
            assert_eq!(printable(&format!("a{bad}b")), "a\u{fffd}b");
        }
        assert_eq!(printable("a\tschön 鍵"), "a schön 鍵");
    }

    #[test]
    fn of_whole_texts_only_our_own_colours_are_left() {
        assert_eq!(screened("\x1b[32mopen\x1b[0m\nb\r"), "\x1b[32mopen\x1b[0m\nb\u{fffd}");
        assert_eq!(screened("a\x1b]0;title\x07\x1b[2J\x1b"), "a\u{fffd}]0;title\u{fffd}\u{fffd}[2J\u{fffd}");
    }

    #[test]
    fn further_lines_of_a_refusal_do_not_look_like_ours() {
        assert_eq!(continued("no\nnext: run this\x1b[2J\n", "       "), "no\n       next: run this\u{fffd}[2J");
    }

    #[test]
    fn secrets_and_json_are_screened_in_memory_that_is_wiped() {
        let marked = replaced("a\x1b[2J\nschön".as_bytes(), |_, out| write!(out, "{REPLACED}")).unwrap();
        assert_eq!(marked.expose(), "a\u{fffd}[2J\nschön".as_bytes());
        let json = serde_json::to_vec("\u{9b}\u{202e}x").unwrap();
        let escaped = replaced(&json, |c, out| write!(out, "\\u{:04x}", u32::from(c))).unwrap();
        assert_eq!(escaped.expose(), br#""\u009b\u202ex""#);
    }
}
