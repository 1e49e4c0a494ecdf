//! Characters that make a text look like another one. People agree to policies and rules that they read on a screen;
//! what they see must be what the parser reads.

use std::fmt;

/// A character that no policy and no rule may have, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misleading {
    /// Its line, from 1; only `\n` counts as the end of one.
    pub line: usize,
    /// The character.
    pub character: char,
}

impl fmt::Display for Misleading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, point) = (self.line, u32::from(self.character));
        write!(f, "line {line} has the character U+{point:04X}, with which a text looks like another one: take it out")
    }
}

/// The first character that makes a text look like another one. These are
/// - controls other than tabs and ends of lines (`\n` or `\r\n`). A bare `\r` ends a comment of Cedar, and no line on
///   the screen;
/// - U+2028 and U+2029, which end a line on the screen, and no comment;
/// - the marks of writing direction (UAX #9), with which text stands in another order than it is read in;
/// - what is not seen at all: zero width spaces and joins, soft hyphens, tags.
pub fn misleading(text: &str) -> Option<Misleading> {
    let mut line = 1;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\n' => line += 1,
            '\t' => {}
            '\r' if characters.peek() == Some(&'\n') => {}
            _ if character.is_control() || is_unseen(character) => return Some(Misleading { line, character }),
            _ => {}
        }
    }
    None
}

/// Whether a character is not seen itself, and is no control. Joiners that change the shape of letters (U+200C, U+200D)
/// are not here: words of some languages need them.
fn is_unseen(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_texts_are_plain() {
        let words = "é 漢字 \u{5e2}\u{5d1} \u{645}\u{6cc}\u{200c}\u{62e}";
        for text in ["", "a\tb\nc", "// x\r\npermit (principal, action, resource);\r\n", words] {
            assert_eq!(misleading(text), None, "{text:?}");
        }
        assert_eq!(misleading(crate::rules::SHIPPED), None);
    }

    #[test]
    fn what_misleads_is_told_with_its_line() {
        for character in ['\r', '\0', '\u{1b}', '\u{7f}', '\u{85}', '\u{202e}', '\u{2066}', '\u{2028}', '\u{200b}'] {
            let found = misleading(&format!("// x\r\n\n// {character}y\n"));
            assert_eq!(found, Some(Misleading { line: 3, character }));
        }
        assert_eq!(misleading("x\r").map(|found| found.line), Some(1));
        assert_eq!(misleading("x\r\r\n").map(|found| found.character), Some('\r'));
        let told = misleading("\u{202e}").unwrap().to_string();
        assert!(told.starts_with("line 1 has the character U+202E"), "{told}");
    }
}
