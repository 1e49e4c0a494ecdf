//! Small texts on the command line: names of closed lists, pairs, bytes, spans of time.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use keyreeve_wire::{Base64, Pairs};

use crate::failure::Failure;
use crate::files;

/// The largest value given in a file, in bytes.
const VALUE_MAX: usize = 64 * 1024;

/// Reads one of a closed list of names, shows them all in the help and completes them in shells.
pub(crate) fn parser_of<T>(all: &'static [T], name: fn(T) -> &'static str) -> impl TypedValueParser<Value = T>
where
    T: Copy + FromStr<Err: std::error::Error + Send + Sync + 'static> + Send + Sync + 'static,
{
    PossibleValuesParser::new(all.iter().map(|one| name(*one))).try_map(|text| text.parse::<T>())
}

/// `one_of!(Algorithm)`: the parser of a list of names of the wire.
macro_rules! one_of {
    ($list:ty) => {
        $crate::text::parser_of(<$list>::ALL, <$list>::name)
    };
}
pub(crate) use one_of;

/// `NAME=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair(pub(crate) String, pub(crate) String);

impl FromStr for Pair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok(Self(name.to_owned(), value.to_owned())),
            _ => Err("expected NAME=VALUE".to_owned()),
        }
    }
}

/// Pairs as a map; a name given twice would be ambiguous.
pub(crate) fn map(pairs: &[Pair]) -> Result<BTreeMap<String, String>, Failure> {
    let mut map = BTreeMap::new();
    for Pair(name, value) in pairs {
        if map.insert(name.clone(), value.clone()).is_some() {
            return Err(Failure::usage(format!("`{name}` is given twice")));
        }
    }
    Ok(map)
}

/// A list where one was given; `''` alone is the empty list.
pub(crate) fn replaced(list: Vec<String>) -> Option<Vec<String>> {
    match list.as_slice() {
        [] => None,
        [one] if one.is_empty() => Some(Vec::new()),
        _ => Some(list),
    }
}

/// Pairs where some were given; `''` alone is none at all.
pub(crate) fn replaced_pairs(list: Vec<String>) -> Result<Option<Pairs>, Failure> {
    let Some(list) = replaced(list) else { return Ok(None) };
    let pairs: Vec<Pair> =
        list.iter().map(|text| text.parse()).collect::<Result<_, String>>().map_err(Failure::usage)?;
    Ok(Some(Pairs(map(&pairs)?)))
}

/// Bytes that are no secret: a text as it is, `hex:...`, `base64:...`, or `@FILE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bytes {
    Given(Vec<u8>),
    InFile(PathBuf),
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix('@') {
            return Ok(Self::InFile(path.into()));
        }
        if let Some(digits) = text.strip_prefix("hex:") {
            return hex::decode(digits).map(Self::Given).map_err(|_| "not hexadecimal".to_owned());
        }
        if let Some(base64) = text.strip_prefix("base64:") {
            return base64.parse::<Base64>().map(|value| Self::Given(value.0)).map_err(|error| error.to_string());
        }
        Ok(Self::Given(text.as_bytes().to_vec()))
    }
}

/// The bytes an option stands for; nothing where it was not given.
pub(crate) fn bytes(option: Option<&Bytes>) -> Result<Base64, Failure> {
    match option {
        None => Ok(Base64::default()),
        Some(Bytes::Given(bytes)) => Ok(Base64(bytes.clone())),
        Some(Bytes::InFile(path)) => Ok(Base64(files::read_all(path, VALUE_MAX)?)),
    }
}

/// A span of time: `90s`, `15m`, `12h`, `30d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) seconds: u64,
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected a number and s, m, h or d, such as 90s, 15m, 12h or 30d".to_owned();
        let unit = text.chars().last().ok_or_else(wrong)?;
        let seconds_each = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return Err(wrong()),
        };
        let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
        number.checked_mul(seconds_each).map(|seconds| Self { seconds }).ok_or_else(wrong)
    }
}

/// An instant in RFC 3339, or a date, which is its beginning in UTC.
pub(crate) fn instant(text: &str) -> Result<String, String> {
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    match keyreeve_model::UnixMillis::parse_rfc3339(&whole) {
        Some(_) => Ok(whole),
        None => Err("expected a date such as 2026-11-22, or an instant such as 2026-11-22T09:00:00Z".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_and_maps() {
        assert_eq!("a=b=c".parse(), Ok(Pair("a".into(), "b=c".into())));
        assert_eq!("a=".parse(), Ok(Pair("a".into(), String::new())));
        assert!("a".parse::<Pair>().is_err() && "=b".parse::<Pair>().is_err());
        let twice = [Pair("a".into(), "1".into()), Pair("a".into(), "2".into())];
        assert!(map(&twice).unwrap_err().what.contains("twice"));
    }

    #[test]
    fn lists_stay_unless_given_and_can_be_emptied() {
        assert_eq!(replaced(Vec::new()), None);
        assert_eq!(replaced(vec![String::new()]), Some(Vec::new()));
        assert_eq!(replaced(vec!["a".into()]), Some(vec!["a".into()]));
        assert_eq!(replaced_pairs(Vec::new()).unwrap(), None);
        assert_eq!(replaced_pairs(vec![String::new()]).unwrap(), Some(Pairs::default()));
        assert_eq!(replaced_pairs(vec!["a=1".into()]).unwrap().unwrap().0["a"], "1");
        assert!(replaced_pairs(vec!["a".into()]).is_err());
    }

    #[test]
    fn bytes_in_all_forms() {
        assert_eq!("hex:00ff".parse(), Ok(Bytes::Given(vec![0, 255])));
        assert_eq!("base64:aGk=".parse(), Ok(Bytes::Given(b"hi".to_vec())));
        assert_eq!("text".parse(), Ok(Bytes::Given(b"text".to_vec())));
        assert_eq!("@a/b".parse(), Ok(Bytes::InFile("a/b".into())));
        assert!("hex:0".parse::<Bytes>().is_err() && "base64:?".parse::<Bytes>().is_err());
    }

    #[test]
    fn spans_and_instants() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("12h", 43_200), ("30d", 2_592_000)] {
            assert_eq!(text.parse(), Ok(Span { seconds }));
        }
        for bad in ["", "h", "5", "5w", "-1h", "99999999999999999999d", "18446744073709551615d"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
        assert_eq!(instant("2026-11-22"), Ok("2026-11-22T00:00:00Z".into()));
        assert!(instant("yesterday").is_err() && instant("2026-13-01").is_err());
    }
}
