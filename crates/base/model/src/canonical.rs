//! JSON in one form only, so that a digest of it says what was meant.
//!
//! The form is that of RFC 8785 for the values that are let through: members sorted by the UTF-16 code units of their
//! names, no white space, the shortest escapes, integers of at most 53 bits. Anything else is refused rather than
//! rounded. It does not lean on the order in which `serde_json` keeps members: another crate's feature decides that.

use keyreeve_crypto::digest::sha256;
use serde_json::{Map, Value};
use thiserror::Error;

/// Deepest nesting of arrays and objects (count).
pub const DEPTH_MAX: usize = 32;
/// The largest whole number that every JSON reader keeps exactly: 2^53 - 1 (RFC 8785 §3.2.2.3).
pub const INTEGER_MAX: u64 = (1 << 53) - 1;

/// A value that has no canonical form here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotCanonical {
    /// A number with a fraction or exponent, or one beyond 2^53 - 1.
    #[error("numbers are whole and at most 2^53 - 1 here")]
    Number,
    /// Nested too deeply.
    #[error("arrays and objects are nested at most {DEPTH_MAX} deep")]
    Depth,
}

/// The canonical bytes of a value.
///
/// # Errors
/// [`NotCanonical`] for floats, numbers beyond 53 bits, and nesting beyond [`DEPTH_MAX`].
pub fn canonical(value: &Value) -> Result<Vec<u8>, NotCanonical> {
    let mut out = Vec::new();
    write(value, 0, &mut out)?;
    Ok(out)
}

/// SHA-256 over a domain's name followed by the canonical bytes. The name ends where the JSON begins, so no other
/// domain's input is the same.
///
/// # Errors
/// As [`canonical`].
pub fn digest(domain: &str, value: &Value) -> Result<[u8; 32], NotCanonical> {
    let mut input = domain.as_bytes().to_vec();
    input.push(0);
    write(value, 0, &mut input)?;
    Ok(sha256(&input))
}

fn write(value: &Value, depth: usize, out: &mut Vec<u8>) -> Result<(), NotCanonical> {
    if depth > DEPTH_MAX {
        return Err(NotCanonical::Depth);
    }
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => {
            let whole = number.as_i64().map(i64::unsigned_abs).or_else(|| number.as_u64());
            whole.filter(|whole| *whole <= INTEGER_MAX).ok_or(NotCanonical::Number)?;
            out.extend_from_slice(number.to_string().as_bytes());
        }
        Value::String(text) => write_text(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (nth, item) in items.iter().enumerate() {
                if nth > 0 {
                    out.push(b',');
                }
                write(item, depth + 1, out)?;
            }
            out.push(b']');
        }
        Value::Object(members) => write_object(members, depth, out)?,
    }
    Ok(())
}

fn write_object(members: &Map<String, Value>, depth: usize, out: &mut Vec<u8>) -> Result<(), NotCanonical> {
    let mut sorted: Vec<(&String, &Value)> = members.iter().collect();
    sorted.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
    out.push(b'{');
    for (nth, (name, value)) in sorted.into_iter().enumerate() {
        if nth > 0 {
            out.push(b',');
        }
        write_text(name, out);
        out.push(b':');
        write(value, depth + 1, out)?;
    }
    out.push(b'}');
    Ok(())
}

/// A string with the escapes of RFC 8785 §3.2.2.2: two characters where JSON has them, `\u00xx` for other controls,
/// everything else as it is.
fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{9}' => out.extend_from_slice(b"\\t"),
            '\u{a}' => out.extend_from_slice(b"\\n"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            '\u{d}' => out.extend_from_slice(b"\\r"),
            c if u32::from(c) < 0x20 => out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes()),
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn text(value: &Value) -> String {
        String::from_utf8(canonical(value).unwrap()).unwrap()
    }

    #[test]
    fn the_example_of_rfc_8785_without_its_floats() {
        let value = json!({
            "numbers": [0, -1, 9_007_199_254_740_991_u64],
            "string": "\u{20ac}$\u{f}\u{a}A'\u{42}\u{22}\u{5c}\\\"/",
            "literals": [null, true, false]
        });
        let wanted = concat!(
            r#"{"literals":[null,true,false],"numbers":[0,-1,9007199254740991],"#,
            r#""string":"€$\u000f\nA'B\"\\\\\"/"}"#
        );
        assert_eq!(text(&value), wanted);
    }

    #[test]
    fn members_are_sorted_as_rfc_8785_sorts_them() {
        // §3.2.3, its example: U+1F600 (D83D DE00) stands before U+FB33.
        let value = json!({
            "\u{20ac}": "e", "\r": "a", "\u{fb33}": "g", "1": "b", "\u{1f600}": "f", "\u{80}": "c", "\u{f6}": "d"
        });
        let order: String = text(&value).chars().filter(char::is_ascii_lowercase).filter(|c| *c != 'r').collect();
        assert_eq!(order, "abcdefg");
    }

    #[test]
    fn floats_large_numbers_and_depth_are_refused() {
        for value in [json!(1.0), json!(0.5), json!(1e30), json!(INTEGER_MAX + 1), json!(i64::MIN), json!([{"a": 2.5}])]
        {
            assert_eq!(canonical(&value), Err(NotCanonical::Number), "{value}");
        }
        let nested = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!([inner]));
        assert!(canonical(&nested(DEPTH_MAX)).is_ok());
        assert_eq!(canonical(&nested(DEPTH_MAX + 1)), Err(NotCanonical::Depth));
    }

    #[test]
    fn a_domain_is_part_of_the_digest() {
        assert_ne!(digest("a", &json!({})).unwrap(), digest("b", &json!({})).unwrap());
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-1_000_000_i64..1_000_000).prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((".{0,6}", inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// The same value with the members of every object inserted the other way round.
    fn shuffled(value: &Value) -> Value {
        match value {
            Value::Array(items) => items.iter().map(shuffled).collect(),
            Value::Object(members) => {
                Value::Object(members.iter().rev().map(|(name, value)| (name.clone(), shuffled(value))).collect())
            }
            plain => plain.clone(),
        }
    }

    proptest! {
        #[test]
        fn the_order_of_members_does_not_matter_and_nothing_is_lost(value in values()) {
            let bytes = canonical(&value).unwrap();
            prop_assert_eq!(&canonical(&shuffled(&value)).unwrap(), &bytes);
            let back: Value = serde_json::from_slice(&bytes).unwrap();
            prop_assert_eq!(&back, &value);
            prop_assert_eq!(canonical(&back).unwrap(), bytes);
        }
    }
}
