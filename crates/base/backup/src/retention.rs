//! Which backups may go.

use keyreeve_model::UnixMillis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

const DAY: i64 = 24 * 3600 * 1000;

/// How many backups are kept at a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keep {
    /// The newest, whatever their age (count); at least 1.
    pub last: u32,
    /// The newest of so many days on which there is one (count).
    pub daily: u32,
    /// The newest of so many weeks (count); a week begins on Monday, UTC.
    pub weekly: u32,
    /// The newest of so many months of 30 days (count).
    pub monthly: u32,
}

impl Default for Keep {
    /// Three, a fortnight of days, eight weeks, a year of months.
    fn default() -> Self {
        Self { last: 3, daily: 14, weekly: 8, monthly: 12 }
    }
}

/// The backups that nothing keeps, of those with these numbers and times, ascending by number. The newest is always
/// kept.
#[must_use]
pub fn expendable(backups: &BTreeSet<(u64, UnixMillis)>, keep: Keep) -> Vec<u64> {
    let mut kept = BTreeSet::new();
    let newest_first = || backups.iter().rev();
    kept.extend(newest_first().take(keep.last.max(1) as usize).map(|(number, _)| *number));
    // The first of January 1970 was a Thursday.
    let spans: [(u32, i64, i64); 3] =
        [(keep.daily, DAY, 0), (keep.weekly, 7 * DAY, 3 * DAY), (keep.monthly, 30 * DAY, 0)];
    for (count, span, shift) in spans {
        let mut seen = BTreeSet::new();
        for (number, made) in newest_first() {
            if seen.len() == count as usize {
                break;
            }
            if seen.insert((made.0 + shift).div_euclid(span)) {
                kept.insert(*number);
            }
        }
    }
    backups.iter().map(|(number, _)| *number).filter(|number| !kept.contains(number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn daily(days: u64) -> BTreeSet<(u64, UnixMillis)> {
        (0..days).map(|day| (day + 1, UnixMillis(day.cast_signed() * DAY + 1000))).collect()
    }

    #[test]
    fn days_weeks_and_months_keep_their_newest() {
        let keep = Keep { last: 1, daily: 3, weekly: 2, monthly: 2 };
        let gone: BTreeSet<u64> = expendable(&daily(40), keep).into_iter().collect();
        let kept: Vec<u64> = (1..=40).filter(|number| !gone.contains(number)).collect();
        // Day 40 is number 40 (a Monday, 1970-02-09). Days 38, 39, 40; the week before ended with number 39; the first
        // thirty days ended with number 30.
        assert_eq!(kept, [30, 38, 39, 40]);
    }

    #[test]
    fn nothing_is_expendable_among_few() {
        assert_eq!(expendable(&daily(1), Keep { last: 0, daily: 0, weekly: 0, monthly: 0 }), [0u64; 0]);
        assert_eq!(expendable(&BTreeSet::new(), Keep::default()), [0u64; 0]);
        assert_eq!(expendable(&daily(3), Keep { last: 2, daily: 0, weekly: 0, monthly: 0 }), [1]);
    }

    proptest! {
        #[test]
        fn the_newest_stays_and_a_second_look_takes_no_more(
            times in proptest::collection::vec(0i64..400 * DAY, 1..60), last in 0u32..4, daily in 0u32..5,
            weekly in 0u32..5, monthly in 0u32..5,
        ) {
            let mut times = times;
            times.sort_unstable();
            let all: BTreeSet<_> = times.iter().enumerate().map(|(n, at)| (n as u64, UnixMillis(*at))).collect();
            let keep = Keep { last, daily, weekly, monthly };
            let gone = expendable(&all, keep);
            prop_assert!(!gone.contains(&(all.len() as u64 - 1)));
            let left: BTreeSet<_> = all.into_iter().filter(|(number, _)| !gone.contains(number)).collect();
            prop_assert_eq!(expendable(&left, keep), Vec::<u64>::new());
        }
    }
}
