//! Words and texts of scripts and transcripts: short, seen as they are, the same on every screen and on paper.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest name (characters).
const WORD_MAX: usize = 64;
/// Longest line (characters).
const LINE_MAX: usize = 500;
/// Longest text (characters).
const TEXT_MAX: usize = 8_000;
/// Longest initials (characters).
const INITIALS_MAX: usize = 4;

/// Why a word or text is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WrongText(String);

/// A text that keeps one rule, checked whenever it is read.
macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = WrongText;

            fn try_from(text: String) -> Result<Self, WrongText> {
                let check: fn(&str) -> Result<(), String> = $check;
                check(&text).map_err(WrongText)?;
                Ok(Self(text))
            }
        }

        impl std::str::FromStr for $name {
            type Err = WrongText;

            fn from_str(text: &str) -> Result<Self, WrongText> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

checked_text! {
    /// The name of a step, role, value or piece of equipment: lower-case letters, digits and `-`, 1 to 64 characters,
    /// beginning with a letter.
    Word, check_word
}

checked_text! {
    /// One line, 1 to 500 characters, without spaces around it and without anything that is not seen.
    Line, check_line
}

checked_text! {
    /// A text of several lines, 1 to 8,000 characters.
    Text, check_text
}

checked_text! {
    /// What a participant signs with, and is called in the transcript: 1 to 4 capital letters or digits, no two alike
    /// in one ceremony.
    Initials, check_initials
}

impl Line {
    /// Bytes in hexadecimal; one zero byte where there are none.
    #[must_use]
    pub fn hexadecimal(bytes: &[u8]) -> Self {
        let digits = hex::encode(if bytes.is_empty() { &[0] } else { bytes });
        Self(digits.chars().take(LINE_MAX).collect())
    }

    /// A line out of whatever text there is: what is not seen is replaced, what is too long is cut off.
    #[must_use]
    pub fn cleaned(text: &str) -> Self {
        let seen: String = text.trim().chars().map(|c| if deceives(c) { ' ' } else { c }).take(LINE_MAX).collect();
        let seen = seen.trim().to_owned();
        Self(if seen.is_empty() { "-".to_owned() } else { seen })
    }
}

impl Text {
    /// A text out of whatever there is: what is not seen is replaced, what is too long is cut off.
    #[must_use]
    pub fn cleaned(text: &str) -> Self {
        let seen = |c| if c != '\n' && deceives(c) { ' ' } else { c };
        let seen: String = text.trim().chars().map(seen).take(TEXT_MAX).collect();
        Self(if seen.trim().is_empty() { "-".to_owned() } else { seen })
    }
}

/// A text as paragraphs: lines that follow one another are one, but for those that are set in, such as commands.
#[must_use]
pub fn flowed(text: &str) -> String {
    let mut flowed = String::new();
    let mut joins = false;
    for line in text.trim_end().lines() {
        let set_in = line.starts_with(' ');
        if !flowed.is_empty() {
            flowed.push(if joins && !set_in && !line.is_empty() { ' ' } else { '\n' });
        }
        flowed.push_str(line.trim_end());
        joins = !set_in && !line.is_empty();
    }
    flowed
}

fn check_word(text: &str) -> Result<(), String> {
    let right = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(right) && text.len() <= WORD_MAX {
        return Ok(());
    }
    Err(format!("a name is made of lower-case letters, digits and `-`, at most {WORD_MAX}, and begins with a letter"))
}

/// Characters that are not seen, or change how others are shown.
fn deceives(c: char) -> bool {
    let direction =
        matches!(c, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}');
    // Default_Ignorable_Code_Point (Unicode 16, DerivedCoreProperties), and what is blank: names that look alike are.
    let ignorable = matches!(c, '\u{ad}' | '\u{34f}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}');
    let blank = matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{2800}');
    c.is_control() || direction || ignorable || blank
}

fn check_line(text: &str) -> Result<(), String> {
    let count = text.chars().count();
    if count == 0 || count > LINE_MAX {
        return Err(format!("a line has 1 to {LINE_MAX} characters, this one has {count}"));
    }
    if text.trim() != text || text.contains(deceives) {
        return Err("a line has no spaces around it, and nothing in it that is not seen".to_owned());
    }
    Ok(())
}

fn check_text(text: &str) -> Result<(), String> {
    let count = text.chars().count();
    if text.trim().is_empty() || count > TEXT_MAX {
        return Err(format!("a text has 1 to {TEXT_MAX} characters, this one has {count}"));
    }
    if text.contains(|c| c != '\n' && deceives(c)) {
        return Err("there is something in the text that is not seen".to_owned());
    }
    Ok(())
}

fn check_initials(text: &str) -> Result<(), String> {
    let count = text.chars().count();
    let right = |c: char| (c.is_alphabetic() && !c.is_lowercase()) || c.is_ascii_digit();
    if (1..=INITIALS_MAX).contains(&count) && text.chars().all(right) {
        return Ok(());
    }
    Err(format!("initials are 1 to {INITIALS_MAX} capital letters or digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_paragraph_are_one() {
        let text = "one\ntwo\n\nthree\n    keyreeve status\nfour\n";
        assert_eq!(flowed(text), "one two\n\nthree\n    keyreeve status\nfour");
    }

    #[test]
    fn words_lines_texts_and_initials() {
        for good in ["a", "root-init", "step-2"] {
            assert!(good.parse::<Word>().is_ok(), "{good}");
        }
        for bad in ["", "A", "2a", "-a", "a b", "ä", &"a".repeat(65)] {
            assert!(bad.parse::<Word>().is_err(), "{bad}");
        }
        for bad in ["", " a", "a\n", "a\u{202e}b", "\u{feff}a", "a\u{200b}", "a\u{fe0f}", "a\u{ad}b", &"x".repeat(501)]
        {
            assert!(bad.parse::<Line>().is_err(), "{bad:?}");
        }
        assert!("Zoë Müller, Ελένη".parse::<Line>().is_ok() && "one\ntwo".parse::<Text>().is_ok());
        assert_eq!(Line::cleaned(" a\nb\u{202e} ").as_str(), "a b");
        assert_eq!((Line::cleaned("\n").as_str(), Text::cleaned("a\n\tb").as_str()), ("-", "a\n b"));
        assert!(" \n".parse::<Text>().is_err() && "a\tb".parse::<Text>().is_err());
        for good in ["AB", "ÄÖ", "A1"] {
            assert!(good.parse::<Initials>().is_ok(), "{good}");
        }
        for bad in ["", "ab", "ABCDE", "A B", "A."] {
            assert!(bad.parse::<Initials>().is_err(), "{bad}");
        }
    }
}
