//! Query parameters: known ones only, each once unless it repeats.

use axum::extract::Query as Pairs;
use http::Uri;
use keyreeve_engine::ops::PAGE_MAX;
use keyreeve_http::Problem;
use std::fmt::Display;
use std::str::FromStr;

use crate::routes::{Param, routes};

/// The most parameters of one request (count).
const PARAMS_MAX: usize = 100;

/// The parameters of one request.
#[derive(Debug)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the query part of a target.
    pub(crate) fn of(uri: &Uri, known: &[Param]) -> Result<Self, Problem> {
        if uri.query().is_none() {
            return Ok(Self(Vec::new()));
        }
        let unread = |_| Problem::invalid("the query part of the path cannot be read: percent-encode it as UTF-8");
        let Pairs(pairs) = Pairs::<Vec<(String, String)>>::try_from_uri(uri).map_err(unread)?;
        if pairs.len() > PARAMS_MAX {
            return Err(Problem::invalid("too many query parameters"));
        }
        for (place, (name, _)) in pairs.iter().enumerate() {
            let Some(param) = known.iter().find(|param| param.name == name) else {
                return Err(unknown(known));
            };
            if !param.repeats && pairs.iter().take(place).any(|(earlier, _)| earlier == name) {
                return Err(Problem::invalid(format!("the query parameter `{}` is given twice", param.name)));
            }
        }
        Ok(Self(pairs))
    }

    /// A text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.all(name).next().map(ToOwned::to_owned)
    }

    /// Something that is read from a text.
    pub(crate) fn get<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, Problem> {
        let wrong = |error: T::Err| Problem::invalid(format!("the query parameter `{name}`: {error}"));
        self.all(name).next().map(|text| text.parse().map_err(wrong)).transpose()
    }

    /// How many rows: 100 unless said.
    pub(crate) fn limit(&self) -> Result<u32, Problem> {
        match self.get::<u32>("limit")? {
            None => Ok(100),
            Some(limit @ 1..=PAGE_MAX) => Ok(limit),
            Some(_) => Err(Problem::invalid("the query parameter `limit` is 1 to 1,000")),
        }
    }

    /// Every value of a parameter that may repeat.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_str())
    }
}

fn unknown(known: &[Param]) -> Problem {
    let names: Vec<_> = known.iter().map(|param| param.name).collect();
    Problem::invalid(match names.as_slice() {
        [] => "this route takes no query parameters".to_owned(),
        names => format!("unknown query parameter; known: {}", names.join(", ")),
    })
}

/// Reads a target's query part as each route would; for tests that throw anything at it.
pub fn check_query(uri: &Uri) {
    for route in routes() {
        let _ = Query::of(uri, route.query).map(|query| query.limit());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Param] = &[Param::integer("limit", ""), Param::repeated("label", ""), Param::text("owner", "")];

    fn query(text: &str) -> Result<Query, Problem> {
        Query::of(&text.parse().unwrap(), KNOWN)
    }

    #[test]
    fn values_are_decoded_and_may_repeat_where_that_is_said() {
        let query = query("/x?label=a%3Db&label=c&owner=M%C3%BCller+%26+Co&limit=7").unwrap();
        assert_eq!(query.all("label").collect::<Vec<_>>(), ["a=b", "c"]);
        assert_eq!(query.text("owner").as_deref(), Some("Müller & Co"));
        assert_eq!(query.limit().unwrap(), 7);
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in ["/x?limt=1", "/x?owner=a&owner=b", "/x?=", "/x?LABEL=a"] {
            assert_eq!(query(bad).unwrap_err().code(), "invalid-request", "{bad}");
        }
        for bad in ["/x?limit=0", "/x?limit=1001", "/x?limit=-1", "/x?limit=ten", "/x?limit="] {
            assert_eq!(query(bad).unwrap().limit().unwrap_err().code(), "invalid-request", "{bad}");
        }
        assert_eq!(query("/x").unwrap().limit().unwrap(), 100);
    }
}
