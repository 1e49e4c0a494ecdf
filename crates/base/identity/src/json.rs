//! JSON objects of others: bounded, and every member named once.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

use crate::error::IdentityError;

/// A value in which no object names a member twice (RFC 7515 section 4, RFC 7519 section 4): of two, readers take
/// different ones.
struct Strict(Value);

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Strict;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Strict, E> {
        Ok(Strict(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Strict, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = seq.next_element()? {
            values.push(value);
        }
        Ok(Strict(Value::Array(values)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Strict, A::Error> {
        let mut map = Map::new();
        while let Some((name, Strict(value))) = members.next_entry::<String, Strict>()? {
            if map.insert(name, value).is_some() {
                return Err(A::Error::custom("a member is named twice"));
            }
        }
        Ok(Strict(Value::Object(map)))
    }
}

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor)
    }
}

/// Reads an object of at most `max` bytes.
pub(crate) fn object(what: &'static str, bytes: &[u8], max: usize) -> Result<Map<String, Value>, IdentityError> {
    if bytes.len() > max {
        return Err(IdentityError::TooLarge { what, max });
    }
    match serde_json::from_slice::<Strict>(bytes) {
        Ok(Strict(Value::Object(map))) => Ok(map),
        // The visitor takes every value, so the only complaint about the data is its own.
        Err(error) if error.is_data() => Err(IdentityError::Duplicate { what }),
        Ok(_) | Err(_) => Err(IdentityError::Malformed { what }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_named_once_at_every_depth() {
        for twice in [r#"{"a":1,"a":2}"#, r#"{"a":{"b":1,"b":1}}"#, r#"{"a":[{"b":1,"\u0062":2}]}"#] {
            assert_eq!(object("x", twice.as_bytes(), 100), Err(IdentityError::Duplicate { what: "x" }), "{twice}");
        }
        assert_eq!(object("x", br#"{"a":{"a":[1.5,-1,null,true,"s"]}}"#, 100).unwrap().len(), 1);
    }

    #[test]
    fn only_whole_objects_in_bounds_are_read() {
        for bad in ["", "[]", "1", "{}x", "{\"a\":1", "\u{feff}{}"] {
            assert_eq!(object("x", bad.as_bytes(), 100), Err(IdentityError::Malformed { what: "x" }), "{bad:?}");
        }
        assert_eq!(object("x", b"{}", 1), Err(IdentityError::TooLarge { what: "x", max: 1 }));
        let deep = "{\"a\":".repeat(10_000);
        assert!(object("x", deep.as_bytes(), 100_000).is_err());
    }
}
