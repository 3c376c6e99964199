//! Choice by a seed that is printed, so that a failure can be had again.

/// A small generator (splitmix64).
pub struct Random {
    /// What it began with.
    pub seed: u64,
    state: u64,
}

impl Random {
    /// From `IMG_FAULT_SEED`; without it the same for all, so that a red run is the fault of what changed.
    pub fn seeded() -> Self {
        let seed = std::env::var("IMG_FAULT_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
        Self { seed, state: seed }
    }

    /// The next number below `below`.
    pub fn below(&mut self, below: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % below.max(1)
    }

    /// Puts `items` into an order by chance.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = usize::try_from(self.below(last as u64 + 1)).expect("below a length");
            items.swap(last, other);
        }
    }
}
