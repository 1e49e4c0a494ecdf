//! Limits on policy text, checked before it reaches the parser. The parser, the validator and the evaluator recurse
//! over the expression tree, so depth must be bounded before anything is built, not after.

/// Longest policy document in bytes.
pub const MAX_POLICY_BYTES: usize = 64 * 1024;
/// Deepest nesting of brackets.
pub const MAX_NESTING: usize = 24;
/// Most operators (`&&`, `||`, `.`, `+`, `-`, `*`, `!`, comparisons, `if`, `in`, `is`, `has`, `like` and opening
/// brackets) in one statement: each may deepen the tree by one level, also without nesting (`a["b"]["c"]`).
pub const MAX_OPERATORS: usize = 256;

/// Where and why a text is too much.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooComplex {
    /// Byte offset.
    pub(crate) offset: usize,
    /// For a person.
    pub(crate) message: String,
}

/// Scans the text once, knowing only strings, comments, brackets, operators and the semicolon.
pub(crate) fn check(text: &str) -> Result<(), TooComplex> {
    if text.len() > MAX_POLICY_BYTES {
        let message = format!("the policy has {} bytes; the limit is {MAX_POLICY_BYTES}: split it in two", text.len());
        return Err(TooComplex { offset: 0, message });
    }
    let bytes = text.as_bytes();
    let (mut at, mut depth, mut operators) = (0, 0usize, 0usize);
    while let Some(&byte) = bytes.get(at) {
        let (weight, next) = match byte {
            b'"' => (0, skip_string(bytes, at)),
            b'/' if bytes.get(at + 1) == Some(&b'/') => (0, skip_line(bytes, at)),
            b'&' | b'|' | b'=' | b'<' | b'>' | b'!' if matches!(bytes.get(at + 1), Some(b'&' | b'|' | b'=')) => {
                (1, at + 2)
            }
            b'.' | b'+' | b'-' | b'*' | b'!' | b'<' | b'>' | b'(' | b'[' | b'{' => (1, at + 1),
            b'A'..=b'Z' | b'a'..=b'z' | b'_' => word(bytes, at),
            _ => (0, at + 1),
        };
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b';' => operators = 0,
            _ => {}
        }
        operators += weight;
        over_limit(at, depth, operators)?;
        at = next;
    }
    Ok(())
}

fn over_limit(offset: usize, depth: usize, operators: usize) -> Result<(), TooComplex> {
    let message = if depth > MAX_NESTING {
        format!("brackets are nested more than {MAX_NESTING} deep: simplify the condition")
    } else if operators > MAX_OPERATORS {
        format!("one statement has more than {MAX_OPERATORS} operators: split it into several, or use a set")
    } else {
        return Ok(());
    };
    Err(TooComplex { offset, message })
}

/// A word and what it weighs: the keywords that nest expressions count as operators.
fn word(bytes: &[u8], start: usize) -> (usize, usize) {
    let letters = bytes[start..].iter().take_while(|c| c.is_ascii_alphanumeric() || **c == b'_').count();
    let end = start + letters;
    (usize::from(matches!(&bytes[start..end], b"if" | b"in" | b"is" | b"has" | b"like")), end)
}

fn skip_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The end of a comment. Cedar ends one at a bare `\r` too, and nowhere else (its lexer: `//[^\n\r]*`): what follows
/// would be read, and not have been counted.
fn skip_line(bytes: &[u8], start: usize) -> usize {
    bytes[start..].iter().position(|b| matches!(b, b'\n' | b'\r')).map_or(bytes.len(), |n| start + n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_comments_do_not_count() {
        let deep = "(".repeat(100);
        assert_eq!(check(&format!("\"{deep}\\\"{deep}\"")), Ok(()));
        assert_eq!(check(&format!("// {deep}\n()")), Ok(()));
        assert!(check(&deep).unwrap_err().message.contains("nested"));
        for end in ["\n", "\r", "\r\n", "\n\r"] {
            assert!(check(&format!("// comment{end}{deep}")).is_err(), "{end:?}");
        }
        for no_end in ["\u{2028}", "\u{85}", "\u{b}", "\u{c}", "\0"] {
            assert_eq!(check(&format!("// comment{no_end}{deep}")), Ok(()), "{no_end:?}");
        }
        assert!(check(&format!("\"text\" {deep}")).is_err());
    }

    #[test]
    fn operators_count_per_statement() {
        let half = "true && ".repeat(MAX_OPERATORS / 2);
        assert_eq!(check(&format!("{half}{half}")), Ok(()));
        assert!(check(&format!("{half}{half}&&")).unwrap_err().message.contains("operators"));
        assert_eq!(check(&format!("{half}{half};{half}{half}")), Ok(()));
        for op in ["if ", "a.", "-", "!", " in ", "a has b ", "< ", "[]", "{}", "()"] {
            assert!(check(&op.repeat(MAX_OPERATORS + 1)).is_err(), "{op}");
        }
        assert_eq!(check(&"\"a\", ".repeat(5000)), Ok(()), "a long set is not deep");
    }

    #[test]
    fn size_is_bounded() {
        assert_eq!(check(&" ".repeat(MAX_POLICY_BYTES)), Ok(()));
        assert!(check(&" ".repeat(MAX_POLICY_BYTES + 1)).is_err());
    }

    #[test]
    fn unfinished_text_is_scanned_to_its_end() {
        for text in ["\"", "\"\\", "/", "//", "é\"é", "\"é\\é", "&", "=", "i"] {
            assert_eq!(check(text), Ok(()), "{text:?}");
        }
    }
}
