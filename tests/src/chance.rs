//! Randomness that can be repeated: the seed is printed by whoever fails.

/// SplitMix64 (Steele, Lea, Flood 2014): good enough to choose what a test does, never for keys.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The generator of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed in `KEYREEVE_TEST_SEED`, else a new one.
    ///
    /// # Panics
    /// When the variable holds no number.
    #[must_use]
    pub fn seed() -> u64 {
        match std::env::var("KEYREEVE_TEST_SEED") {
            Ok(text) => text.parse().unwrap_or_else(|_| panic!("KEYREEVE_TEST_SEED is no number: {text}")),
            // The hasher of the standard library is seeded by the operating system.
            Err(_) => std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0),
        }
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.bits() % end.max(1) as u64).unwrap()
    }

    /// One of these; none of nothing.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len()))
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.bits() as u8).collect()
    }
}
