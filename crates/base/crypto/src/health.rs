//! Health tests on entropy samples (SP 800-90B, 4.4): the repetition count test, the adaptive proportion test, and one
//! of our own against a source that repeats whole blocks.
//!
//! A sample is one byte. The cut-offs assume a min-entropy of only 4 bits per sample and allow each test a false alarm
//! with probability 2^-30 at that rate. The source that is watched claims 8 bits per sample, and for it a false alarm
//! is far less likely (below 2^-60 per sample), which matters in a server that draws samples for years and stops for
//! good on the first alarm; a source that has sunk below 4 bits per byte is still caught.

use zeroize::Zeroizing;

/// Cut-off of the repetition count test: 1 + ceil(30 / 4) equal samples in a row (SP 800-90B, 4.4.1).
pub const REPETITION_CUTOFF: u32 = 9;

/// Samples in a window of the adaptive proportion test, for a source that is not binary (SP 800-90B, 4.4.2).
pub const PROPORTION_WINDOW: u32 = 512;

/// Cut-off of the adaptive proportion test: 1 + critbinom(512, 2^-4, 1 - 2^-30).
pub const PROPORTION_CUTOFF: u32 = 71;

/// Samples of the start-up test and of a test on demand; at least 1024 (SP 800-90B, 4.3).
pub const STARTUP_SAMPLES: usize = 2048;

/// Samples that are compared as a block with the block before.
pub const BLOCK: usize = 32;

/// Which test failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HealthFailure {
    /// Too many equal samples in a row.
    #[error("the entropy source repeats one value (repetition count test)")]
    Repetition,
    /// One value makes up too much of a window.
    #[error("the entropy source prefers one value (adaptive proportion test)")]
    Proportion,
    /// Two consecutive blocks are equal.
    #[error("the entropy source repeats whole blocks")]
    RepeatedBlock,
}

/// The state of the tests between samples. Feed it every sample, in order.
pub struct HealthTests {
    repeated: Option<u8>,
    run: u32,
    watched: Option<u8>,
    seen: u32,
    matched: u32,
    block: Zeroizing<[u8; BLOCK]>,
    filled: usize,
    previous: Option<Zeroizing<[u8; BLOCK]>>,
    samples: u64,
}

impl HealthTests {
    /// Before the first sample.
    pub fn new() -> Self {
        Self {
            repeated: None,
            run: 0,
            watched: None,
            seen: 0,
            matched: 0,
            block: Zeroizing::new([0; BLOCK]),
            filled: 0,
            previous: None,
            samples: 0,
        }
    }

    /// Tests the next samples.
    ///
    /// # Errors
    /// The first test that fails. What is fed afterwards is tested too, but the caller should stop using the source.
    pub fn feed(&mut self, samples: &[u8]) -> Result<(), HealthFailure> {
        for &sample in samples {
            self.samples = self.samples.saturating_add(1);
            self.repetition(sample)?;
            self.proportion(sample)?;
            self.repeated_block(sample)?;
        }
        Ok(())
    }

    /// How many samples were tested.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    fn repetition(&mut self, sample: u8) -> Result<(), HealthFailure> {
        if self.repeated == Some(sample) {
            self.run += 1;
            if self.run >= REPETITION_CUTOFF {
                return Err(HealthFailure::Repetition);
            }
        } else {
            self.repeated = Some(sample);
            self.run = 1;
        }
        Ok(())
    }

    fn proportion(&mut self, sample: u8) -> Result<(), HealthFailure> {
        let Some(watched) = self.watched else {
            self.watched = Some(sample);
            self.seen = 1;
            self.matched = 1;
            return Ok(());
        };
        self.seen += 1;
        self.matched += u32::from(sample == watched);
        if self.matched >= PROPORTION_CUTOFF {
            return Err(HealthFailure::Proportion);
        }
        if self.seen == PROPORTION_WINDOW {
            self.watched = None;
        }
        Ok(())
    }

    fn repeated_block(&mut self, sample: u8) -> Result<(), HealthFailure> {
        self.block[self.filled] = sample;
        self.filled += 1;
        if self.filled < BLOCK {
            return Ok(());
        }
        self.filled = 0;
        let repeated = self.previous.as_ref() == Some(&self.block);
        self.previous = Some(self.block.clone());
        if repeated {
            return Err(HealthFailure::RepeatedBlock);
        }
        Ok(())
    }
}

impl Default for HealthTests {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drawn(len: usize) -> Vec<u8> {
        let mut samples = vec![0; len];
        aws_lc_rs::rand::fill(&mut samples).unwrap();
        samples
    }

    /// Recomputes the cut-offs from their definitions.
    #[test]
    fn cutoffs_follow_from_the_standard() {
        let (alpha_bits, entropy) = (30.0_f64, 4.0_f64);
        assert_eq!(REPETITION_CUTOFF, 1 + (alpha_bits / entropy).ceil() as u32);
        let (n, p) = (f64::from(PROPORTION_WINDOW), 2f64.powf(-entropy));
        let mut probability = (1.0 - p).powf(n);
        let (mut cumulated, mut k) = (probability, 0.0);
        while cumulated < 1.0 - 2f64.powf(-alpha_bits) {
            probability *= (n - k) / (k + 1.0) * p / (1.0 - p);
            k += 1.0;
            cumulated += probability;
        }
        assert_eq!(PROPORTION_CUTOFF, 1 + k as u32);
        const { assert!(STARTUP_SAMPLES >= 1024) };
    }

    #[test]
    fn a_good_source_passes() {
        let mut tests = HealthTests::new();
        tests.feed(&drawn(1_000_000)).unwrap();
        assert_eq!(tests.samples(), 1_000_000);
    }

    #[test]
    fn the_repetition_count_is_exact() {
        let cutoff = REPETITION_CUTOFF as usize;
        let mut tests = HealthTests::new();
        tests.feed(&[1, 2, 3]).unwrap();
        tests.feed(&vec![7; cutoff - 1]).unwrap();
        tests.feed(&[8]).unwrap();
        assert_eq!(tests.feed(&vec![7; cutoff]), Err(HealthFailure::Repetition));
    }

    #[test]
    fn the_proportion_is_exact() {
        // The watched value comes at every second place, so that no run builds up; counting the first of the window, it
        // may be there one time less than the cut-off.
        let pattern = |times: u32| {
            (0..PROPORTION_WINDOW)
                .map(|i| if i % 2 == 0 && i / 2 < times { 0xaa } else { (i % 97) as u8 })
                .collect::<Vec<_>>()
        };
        HealthTests::new().feed(&pattern(PROPORTION_CUTOFF - 1)).unwrap();
        assert_eq!(HealthTests::new().feed(&pattern(PROPORTION_CUTOFF)), Err(HealthFailure::Proportion));
    }

    proptest! {
        #[test]
        fn a_stuck_source_is_caught(before in proptest::collection::vec(any::<u8>(), 0..2000), value: u8) {
            let mut tests = HealthTests::new();
            let _ = tests.feed(&before);
            prop_assert!(tests.feed(&[value; REPETITION_CUTOFF as usize]).is_err());
        }

        /// A source that gives one value half of the time has at most one bit per sample: caught in the first window
        /// that starts with that value, and out of 64 windows one does.
        #[test]
        fn a_biased_source_is_caught(value: u8) {
            let noise = drawn(2 * 64 * PROPORTION_WINDOW as usize);
            let biased: Vec<u8> =
                noise.chunks(2).map(|pair| if pair[0] < 128 { value } else { pair[1] }).collect();
            prop_assert!(HealthTests::new().feed(&biased).is_err());
        }

        #[test]
        fn a_source_that_repeats_its_blocks_is_caught(seed: u64) {
            // Distinct bytes: neither of the standard's tests has anything to say.
            let block: Vec<u8> = (0..BLOCK).map(|i| (seed as u8).wrapping_add(i as u8 * 5)).collect();
            let mut tests = HealthTests::new();
            tests.feed(&block).unwrap();
            prop_assert_eq!(tests.feed(&block), Err(HealthFailure::RepeatedBlock));
        }
    }
}
