//! Counting what passed, failed and did not run; reading those counts from cargo's output.

/// What a step found.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Tally {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
    /// Why something failed or did not run, or what was measured.
    pub(super) reasons: Vec<String>,
}

impl Tally {
    pub(super) fn success() -> Self {
        Self { passed: 1, ..Self::default() }
    }

    pub(super) fn failure(why: impl Into<String>) -> Self {
        Self { failed: 1, reasons: vec![why.into()], ..Self::default() }
    }

    /// One success or one failure.
    pub(super) fn verdict_of(success: bool, why: &str) -> Self {
        if success { Self::success() } else { Self::failure(why) }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.reasons.extend(other.reasons);
    }

    pub(super) fn verdict(&self) -> &'static str {
        match (self.failed, self.skipped, self.passed) {
            (1.., _, _) => "FAILED",
            (0, 1.., 0) => "skipped",
            (0, 1.., _) => "partial",
            (0, 0, _) => "ok",
        }
    }

    pub(super) fn detail(&self) -> String {
        let counts = self.last_line();
        if self.reasons.is_empty() { counts } else { format!("{counts}; {}", self.reasons.join("; ")) }
    }

    /// The form every run ends with.
    pub(super) fn last_line(&self) -> String {
        let skipped = if self.skipped == 0 { String::new() } else { format!(", {} skipped", self.skipped) };
        format!("{} passed, {} failed{skipped}", self.passed, self.failed)
    }

    /// Takes in a line of `cargo test`; whether it is worth showing to the person who waits.
    pub(super) fn read(&mut self, line: &str) -> bool {
        if let Some(counts) = line.strip_prefix("test result: ") {
            let before = self.failed;
            self.read_counts(counts);
            return self.failed > before;
        }
        let boring = line.is_empty() || line.starts_with("running ") || line.ends_with("... ok");
        !boring
    }

    /// `ok. 5 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s`
    fn read_counts(&mut self, counts: &str) {
        let (_, counts) = counts.split_once(". ").unwrap_or(("", counts));
        for part in counts.split("; ") {
            let Some((number, what)) = part.split_once(' ') else { continue };
            let number: u64 = number.parse().unwrap_or(0);
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" | "filtered out" => self.skipped += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_and_only_news_is_shown() {
        let mut tally = Tally::default();
        assert!(!tally.read("running 9 tests"));
        assert!(!tally.read("test a::b ... ok"));
        assert!(tally.read("test a::c ... FAILED"));
        assert!(
            !tally
                .read("test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s")
        );
        assert!(
            tally.read(
                "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s"
            )
        );
        assert_eq!(tally.last_line(), "8 passed, 2 failed, 3 skipped");
    }

    #[test]
    fn the_last_line_names_skipped_only_when_there_are_some() {
        assert_eq!(Tally::success().last_line(), "1 passed, 0 failed");
        assert_eq!(Tally { skipped: 2, ..Tally::success() }.last_line(), "1 passed, 0 failed, 2 skipped");
    }

    #[test]
    fn verdicts_do_not_call_half_a_run_ok() {
        let tally = |passed, failed, skipped| Tally { passed, failed, skipped, reasons: Vec::new() }.verdict();
        assert_eq!(
            [tally(1, 0, 0), tally(1, 0, 1), tally(0, 0, 1), tally(9, 1, 0)],
            ["ok", "partial", "skipped", "FAILED"]
        );
    }
}
