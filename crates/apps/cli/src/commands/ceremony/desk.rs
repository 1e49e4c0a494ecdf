//! The terminal at which a ceremony is led: what is shown, what is asked. Everything goes to standard error, so that
//! standard output is left to the result.

use std::io::{BufRead, IsTerminal, Write};

use keyreeve_ceremony::word::flowed;
use keyreeve_secret::SecretString;

use crate::app::App;
use crate::failure::{Exit, Failure};
use crate::files;
use crate::out::{Out, Style, broken, screened};

/// Longest line that is typed (bytes).
const TYPED_MAX: u64 = 16 * 1024;

/// How wide a page is (characters).
const COLUMNS: usize = 78;

/// The terminal.
pub(super) struct Desk {
    out: Out,
    /// What stands above every page of a rehearsal.
    banner: Option<&'static str>,
}

impl Desk {
    pub(super) fn new(app: &App, banner: Option<&'static str>) -> Self {
        Self { out: app.out, banner }
    }

    /// Shows something.
    pub(super) fn say(&self, text: &str) -> Result<(), Failure> {
        let mut err = std::io::stderr().lock();
        writeln!(err, "{}", screened(text)).map_err(|error| Failure::io("the terminal", &error))
    }

    /// Shows a text of a script, broken between words.
    pub(super) fn read_aloud(&self, text: &str) -> Result<(), Failure> {
        let text = flowed(text);
        let lines = text.lines().flat_map(|line| broken(line, COLUMNS));
        self.say(&format!("{}\n", lines.collect::<Vec<_>>().join("\n")))
    }

    /// Shows something that went wrong.
    pub(super) fn complain(&self, text: &str) -> Result<(), Failure> {
        let mark = self.out.styled(Style::Bad, "NO:", true);
        self.say(&format!("  {mark} {text}"))
    }

    /// Begins a page: a line across, that it is a rehearsal, where the ceremony stands, and the title.
    pub(super) fn page(&self, place: &str, title: &str) -> Result<(), Failure> {
        let title = self.out.styled(Style::Bold, title, true);
        let banner = self.banner.map(|banner| format!("{}\n", self.out.styled(Style::Bad, banner, true)));
        self.say(&format!("\n{}\n{}{place}\n{title}\n", "=".repeat(COLUMNS), banner.unwrap_or_default()))
    }

    /// Asks for a line. What is not shown as it is cannot be typed.
    pub(super) fn ask(&self, prompt: &str) -> Result<String, Failure> {
        let mut err = std::io::stderr().lock();
        let shown = write!(err, "{} ", screened(prompt)).and_then(|()| err.flush());
        shown.map_err(|error| Failure::io("the terminal", &error))?;
        drop(err);
        let mut line = Vec::new();
        let read = std::io::Read::take(std::io::stdin().lock(), TYPED_MAX).read_until(b'\n', &mut line);
        if read.map_err(|error| Failure::io("standard input", &error))? == 0 {
            let what = "standard input ended in the middle of the ceremony";
            return Err(
                Failure::new(Exit::Interrupted, what).next("`keyreeve ceremony run --resume TRANSCRIPT` goes on")
            );
        }
        let line = String::from_utf8(line).map_err(|_| Failure::usage("what was typed is not text"))?;
        Ok(line.trim().to_owned())
    }

    /// Asks until there is an answer that can be used.
    pub(super) fn ask_for<T>(&self, prompt: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<T, Failure> {
        loop {
            match read(&self.ask(prompt)?) {
                Ok(value) => return Ok(value),
                Err(what) => self.complain(&what)?,
            }
        }
    }

    /// Asks for something that is one of the checked texts.
    pub(super) fn ask_text<T>(&self, prompt: &str) -> Result<T, Failure>
    where
        T: std::str::FromStr,
        T::Err: ToString,
    {
        self.ask_for(prompt, |text| text.parse::<T>().map_err(|error| error.to_string()))
    }

    /// Asks for a secret, without echo.
    pub(super) fn ask_secret(&self, prompt: &str) -> Result<SecretString, Failure> {
        let prompt = format!("{} ", screened(prompt));
        if !std::io::stdin().is_terminal() {
            // Where the answer is read from somewhere else, the prompt still says what is asked for.
            let mut err = std::io::stderr().lock();
            write!(err, "{prompt}").map_err(|error| Failure::io("the terminal", &error))?;
        }
        files::ask_secret(&prompt)
    }
}

/// The first letters of a name, as initials are proposed.
pub(super) fn proposed_initials(name: &str) -> String {
    let first = name.split([' ', '-']).filter_map(|part| part.chars().next()).flat_map(char::to_uppercase);
    let letters: String = first.filter(|c| c.is_alphabetic() && !c.is_lowercase()).collect();
    let count = letters.chars().count();
    if count <= 3 { letters } else { letters.chars().take(1).chain(letters.chars().skip(count - 1)).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_broken_between_words_and_commands_are_not() {
        assert_eq!(broken("one two three", 8), ["one two", "three"]);
        assert_eq!(broken("  keyreeve status", 8), ["  keyreeve status"]);
        assert_eq!(broken("", 8), [""]);
    }

    #[test]
    fn initials_are_proposed_from_names() {
        for (name, expected) in
            [("Alice Bäcker", "AB"), ("Ana-María de la Cruz Soto", "AS"), ("öz gür", "ÖG"), ("Madonna", "M"), ("", "")]
        {
            assert_eq!(proposed_initials(name), expected, "{name}");
        }
    }
}
