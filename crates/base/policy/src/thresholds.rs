//! In which interval a number lies, as far as policies can tell.
//!
//! A policy that says `context.mfa_age_seconds <= 900` tells 900 from 901, and nothing else apart: a decision made at
//! 10 seconds is right at 800. So what a decision is remembered by is not the number but its place among the numbers
//! that policies compare it with. The same goes for the size of a batch, for the time compared with dates, and for the
//! time of day. A number that is used in any other way counts exactly.

use serde_json::Value;

/// One day in milliseconds.
const DAY_MS: i64 = 86_400_000;
/// Offsets (time zones) further than this are not looked through: they could overflow, and so fail, for some times.
const MAX_OFFSET_MS: i64 = 366 * DAY_MS;

/// The numbers that something is compared with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cuts {
    /// It is used in another way than compared with a number: every value is its own.
    exact: bool,
    /// Sorted, each once.
    at: Vec<i64>,
}

impl Cuts {
    pub(crate) const EXACT: Self = Self { exact: true, at: Vec::new() };

    fn cut(&mut self, at: i64) {
        if let Err(place) = self.at.binary_search(&at) {
            self.at.insert(place, at);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.exact |= other.exact;
        other.at.iter().for_each(|&at| self.cut(at));
    }

    /// The same for two numbers that no comparison tells apart. `<`, `<=`, `==` and their opposites need three places
    /// for each cut: below, at, above.
    fn place(&self, number: i64) -> i64 {
        if self.exact {
            return number;
        }
        let below = self.at.partition_point(|&at| at < number);
        let at = self.at.get(below) == Some(&number);
        i64::try_from(below).unwrap_or(i64::MAX).saturating_mul(2).saturating_add(i64::from(at))
    }
}

/// What policies compare the numbers of a request with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Thresholds {
    mfa_age: Cuts,
    items: Cuts,
    /// Milliseconds since 1970.
    time: Cuts,
    /// Milliseconds since midnight, UTC.
    of_day: Cuts,
}

impl Thresholds {
    pub(crate) const EXACT: Self =
        Self { mfa_age: Cuts::EXACT, items: Cuts::EXACT, time: Cuts::EXACT, of_day: Cuts::EXACT };

    pub(crate) fn merge(&mut self, other: &Self) {
        self.mfa_age.merge(&other.mfa_age);
        self.items.merge(&other.items);
        self.time.merge(&other.time);
        self.of_day.merge(&other.of_day);
    }

    /// The attribute is used in a way that is not understood.
    pub(crate) fn exactly(&mut self, attribute: &str) {
        match attribute {
            "mfa_age_seconds" => self.mfa_age.exact = true,
            "items" => self.items.exact = true,
            "time" => self.time.exact = true,
            "source_ip"
            | "in_principal_networks"
            | "method"
            | "encryption_context"
            | "mfa_kind"
            | "login"
            | "emergency" => {}
            // Not an attribute that this code knows.
            _ => *self = Self::EXACT,
        }
    }

    pub(crate) fn mfa_age(&self, seconds: u64) -> i64 {
        self.mfa_age.place(clamped(seconds))
    }

    pub(crate) fn items(&self, items: u64) -> i64 {
        self.items.place(clamped(items))
    }

    /// Place among the dates, and among the times of day.
    pub(crate) fn time(&self, seconds: i64) -> (i64, i64) {
        let ms = seconds.saturating_mul(1000);
        (self.time.place(ms), self.of_day.place(ms.rem_euclid(DAY_MS)))
    }

    /// Takes note of `left operator right`, if it compares a number of the request with a constant; tells which
    /// attribute it was.
    pub(crate) fn comparison(&mut self, operator: &str, operand: &Value) -> Option<&'static str> {
        if !matches!(operator, "<" | "<=" | ">" | ">=" | "==" | "!=") {
            return None;
        }
        let (left, right) = (operand.get("left")?, operand.get("right")?);
        self.compared(left, right).or_else(|| self.compared(right, left))
    }

    fn compared(&mut self, number: &Value, constant: &Value) -> Option<&'static str> {
        if is_context(number, "mfa_age_seconds") {
            self.mfa_age.cut(constant.get("Value")?.as_i64()?);
            return Some("mfa_age_seconds");
        }
        if is_context(number, "items") {
            self.items.cut(constant.get("Value")?.as_i64()?);
            return Some("items");
        }
        if is_context(number, "time") {
            self.time.cut(datetime_ms(literal(constant, "datetime")?)?);
            return Some("time");
        }
        let offset = zone(arguments(number, "toTime")?.first()?)?;
        let wanted = duration_ms(literal(constant, "duration")?)?;
        // Where the local time of day jumps back to midnight, and where it is the time wanted.
        self.of_day.cut(offset.checked_neg()?.rem_euclid(DAY_MS));
        self.of_day.cut(wanted.checked_sub(offset)?.rem_euclid(DAY_MS));
        Some("time")
    }
}

/// Cedar's integers are signed; a number beyond them is as good as the largest one.
pub(crate) fn clamped(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Whether it is `context.attribute`.
fn is_context(node: &Value, attribute: &str) -> bool {
    let access = node.get(".");
    let of_context =
        access.and_then(|a| a.get("left")).and_then(|left| left.get("Var")).is_some_and(|v| v == "context");
    of_context && access.and_then(|a| a.get("attr")).is_some_and(|attr| attr == attribute)
}

fn arguments<'a>(node: &'a Value, function: &str) -> Option<&'a Vec<Value>> {
    node.get(function)?.as_array()
}

/// The text in `function("text")`.
fn literal<'a>(node: &'a Value, function: &str) -> Option<&'a str> {
    match arguments(node, function)?.as_slice() {
        [one] => one.get("Value")?.as_str(),
        _ => None,
    }
}

/// Milliseconds that are added to the time: `context.time`, or `context.time.offset(duration("..."))`.
fn zone(node: &Value) -> Option<i64> {
    if is_context(node, "time") {
        return Some(0);
    }
    let [time, offset] = arguments(node, "offset")?.as_slice() else { return None };
    let ms = duration_ms(literal(offset, "duration")?)?;
    (is_context(time, "time") && ms.unsigned_abs() <= MAX_OFFSET_MS.unsigned_abs()).then_some(ms)
}

/// A duration as Cedar writes it: `-1d2h3m4s5ms`, each part at most once and in this order.
fn duration_ms(text: &str) -> Option<i64> {
    let (negative, mut rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let mut units = [("d", DAY_MS), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)].into_iter();
    let mut sum = 0i64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: i64 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (_, scale) = units.find(|(unit, _)| *unit == &after[..end])?;
        sum = sum.checked_add(number.checked_mul(scale)?)?;
        rest = &after[end..];
    }
    Some(if negative { -sum } else { sum })
}

/// `2027-01-15`, `2027-01-15T08:00:00Z` or `2027-01-15T08:00:00.250Z` in milliseconds since 1970; other forms are not
/// understood here (Cedar has more), and then the time counts exactly.
fn datetime_ms(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = text.get(range)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let (date, clock) = ("0000-00-00", "T00:00:00");
    let rest = shape.strip_prefix(date)?;
    let of_day = match rest.strip_prefix(clock) {
        Some("Z") => (number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?) * 1000,
        Some(".000Z") => (number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?) * 1000 + number(20..23)?,
        None if rest.is_empty() => 0,
        Some(_) | None => return None,
    };
    Some(days(number(0..4)?, number(5..7)?, number(8..10)?) * DAY_MS + of_day)
}

/// Days since 1970 of a civil date (days-from-civil, H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn days(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let (era, yoe) = (y.div_euclid(400), y.rem_euclid(400));
    let doy = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_tell_below_at_and_above() {
        let mut cuts = Cuts::default();
        [900, 60, 900].into_iter().for_each(|at| cuts.cut(at));
        let places: Vec<i64> = [0, 59, 60, 61, 899, 900, 901, i64::MAX].into_iter().map(|n| cuts.place(n)).collect();
        assert_eq!(places, [0, 0, 1, 2, 2, 3, 4, 4]);
        assert_eq!(Cuts::default().place(7), Cuts::default().place(-7));
        assert_ne!(Cuts::EXACT.place(7), Cuts::EXACT.place(8));
    }

    #[test]
    fn durations_are_read_as_cedar_reads_them() {
        for (text, ms) in [
            ("1h", Some(3_600_000)),
            ("-1h30m", Some(-5_400_000)),
            ("1d2h3m4s5ms", Some(93_784_005)),
            ("0ms", Some(0)),
            ("", None),
            ("-", None),
            ("1", None),
            ("h", None),
            ("1m1h", None),
            ("1h1h", None),
            ("99999999999999999999d", None),
        ] {
            assert_eq!(duration_ms(text), ms, "{text}");
        }
    }

    #[test]
    fn dates_are_read() {
        for (text, ms) in [
            ("1970-01-01", Some(0)),
            ("2027-01-15T08:00:00Z", Some(1_800_000_000_000)),
            ("2000-02-29T23:59:59.250Z", Some(951_868_799_250)),
            ("1969-12-31T23:59:59Z", Some(-1000)),
            ("2027-01-15T08:00:00+0100", None),
            ("2027-1-15", None),
            ("", None),
        ] {
            assert_eq!(datetime_ms(text), ms, "{text}");
        }
    }
}
