//! Dates of algorithms.

use keyreeve_crypto::{KeyAlgorithm, Registry, Schedule};
use serde::Deserialize;
use std::collections::BTreeMap;
use time::Date;
use time::macros::format_description;

use super::Fault;

/// Dates that replace the shipped ones, as `2030-12-31` (the first day, UTC) or `never`. What is left out stays as
/// shipped.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dates {
    /// Reported from then on, not refused.
    pub deprecated_from: Option<String>,
    /// No new keys.
    pub no_new_keys_from: Option<String>,
    /// Only to decrypt, verify and unwrap.
    pub process_only_from: Option<String>,
    /// Nothing at all.
    pub disallowed_from: Option<String>,
}

fn date(field: &str, text: &str) -> Result<Option<i64>, Fault> {
    if text == "never" {
        return Ok(None);
    }
    let wrong = |_| Fault::new(field, format!("`{text}` is no date"), "write it as `2030-12-31`, or `never`");
    let date = Date::parse(text, format_description!("[year]-[month]-[day]")).map_err(wrong)?;
    Ok(Some(date.midnight().assume_utc().unix_timestamp() * 1000))
}

/// A shipped date that would come after a later stage that was moved comes with it: who ends new keys in 2027 need not
/// say that the algorithm is deprecated then.
fn pull_forward(given: &Dates, schedule: &mut Schedule) {
    let mut latest = schedule.disallowed_from;
    let stages = [
        (&given.process_only_from, &mut schedule.process_only_from),
        (&given.no_new_keys_from, &mut schedule.no_new_keys_from),
        (&given.deprecated_from, &mut schedule.deprecated_from),
    ];
    for (text, date) in stages {
        if let (None, Some(own), Some(latest)) = (text, date.as_mut(), latest) {
            *own = latest.min(*own);
        }
        latest = date.or(latest);
    }
}

/// The shipped registry with these dates.
pub(super) fn registry(overrides: &BTreeMap<String, Dates>) -> Result<Registry, Fault> {
    let mut registry = Registry::shipped();
    for (name, dates) in overrides {
        let section = format!("algorithms.{name}");
        let Ok(algorithm) = name.parse::<KeyAlgorithm>() else {
            let known: Vec<&str> = KeyAlgorithm::ALL.iter().map(|algorithm| algorithm.name()).collect();
            return Err(Fault::new(section, "there is no such algorithm", format!("known are {}", known.join(", "))));
        };
        let mut schedule: Schedule = registry.entry(algorithm).schedule;
        let fields = [
            ("deprecated_from", &dates.deprecated_from, &mut schedule.deprecated_from),
            ("no_new_keys_from", &dates.no_new_keys_from, &mut schedule.no_new_keys_from),
            ("process_only_from", &dates.process_only_from, &mut schedule.process_only_from),
            ("disallowed_from", &dates.disallowed_from, &mut schedule.disallowed_from),
        ];
        for (field, text, target) in fields {
            if let Some(text) = text {
                *target = date(&format!("{section}.{field}"), text)?;
            }
        }
        pull_forward(dates, &mut schedule);
        let set = registry.set_schedule(algorithm, schedule);
        set.map_err(|error| Fault::new(section, error.to_string(), "mind the shipped dates: `keyreeve algorithms`"))?;
    }
    Ok(registry)
}
