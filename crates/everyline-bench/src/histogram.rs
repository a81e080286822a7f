//! How long calls took: counts in logarithmic buckets, 32 to each power of two, so within 3 % at any size.

use std::sync::atomic::{AtomicU64, Ordering};

/// Buckets: values up to 2^40 ticks (minutes).
pub const BUCKETS: usize = 37 * SUB;
/// Buckets to a power of two, and values that have a bucket each.
const SUB: usize = 32;
const SUB_BITS: u32 = SUB.trailing_zeros();

fn bucket(value: u64) -> usize {
    if value < SUB as u64 {
        return value as usize;
    }
    let shift = value.ilog2() - SUB_BITS;
    let index = (shift as usize + 1) * SUB + (value >> shift) as usize % SUB;
    index.min(BUCKETS - 1)
}

/// Middle of a bucket.
fn value(bucket: usize) -> u64 {
    if bucket < SUB {
        return bucket as u64;
    }
    let shift = bucket / SUB - 1;
    let low = ((SUB + bucket % SUB) as u64) << shift;
    low + (1 << shift) / 2
}

/// Counts of one process, or of several added up.
pub struct Histogram {
    counts: Vec<u64>,
    longest: u64,
}

impl Histogram {
    /// An empty one.
    pub fn new() -> Self {
        Self { counts: vec![0; BUCKETS], longest: 0 }
    }

    /// Counts one value.
    #[inline]
    pub fn add(&mut self, value: u64) {
        self.counts[bucket(value)] += 1;
        self.longest = self.longest.max(value);
    }

    /// Leaves the counts in shared memory.
    pub fn store(&self, counts: &[AtomicU64; BUCKETS], longest: &AtomicU64) {
        for (word, count) in counts.iter().zip(&self.counts) {
            word.store(*count, Ordering::Relaxed);
        }
        longest.store(self.longest, Ordering::Relaxed);
    }

    /// Adds what another process left.
    pub fn load(&mut self, counts: &[AtomicU64; BUCKETS], longest: &AtomicU64) {
        for (count, word) in self.counts.iter_mut().zip(counts) {
            *count += word.load(Ordering::Relaxed);
        }
        self.longest = self.longest.max(longest.load(Ordering::Relaxed));
    }

    /// The value that this share of all calls stayed below.
    pub fn quantile(&self, share: f64) -> u64 {
        let rank = (self.counts.iter().sum::<u64>() as f64 * share).ceil() as u64;
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank.max(1)
        });
        found.map_or(0, value)
    }

    /// The longest call.
    pub fn longest(&self) -> u64 {
        self.longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_its_own_middle_and_is_three_percent_wide() {
        for v in (0..40).flat_map(|p| [1u64 << p, (1 << p) + (1 << p) / 3, (2 << p) - 1]) {
            let middle = value(bucket(v));
            assert_eq!(bucket(middle), bucket(v), "{v}");
            assert!(middle.abs_diff(v) as f64 <= v as f64 * 0.032, "{v} {middle}");
        }
    }

    #[test]
    fn quantiles_count_calls() {
        let mut h = Histogram::new();
        (1..=1000).for_each(|v| h.add(v));
        assert!(h.quantile(0.5).abs_diff(500) < 16 && h.quantile(0.999).abs_diff(999) < 32);
        assert_eq!(h.longest(), 1000);
    }
}
