//! How durations are spread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the buckets. What takes longer than the last is in one of its own.
const BOUNDS: [Duration; 18] = [
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
];

/// Durations, counted by how long they are.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// Counts of durations up to each of [`BOUNDS`] and above the one before; the last is of all above.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    /// The sum of all durations, in nanoseconds: enough for 584 years.
    sum_nanos: AtomicU64,
}

/// A histogram as it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Distribution {
    /// Each bucket's upper bound in seconds, and how many are in it and in no smaller one.
    pub(crate) buckets: Vec<(f64, u64)>,
    /// The sum of all durations, in seconds.
    pub(crate) sum_seconds: f64,
}

impl Histogram {
    pub(crate) fn observe(&self, took: Duration) {
        let bucket = BOUNDS.partition_point(|bound| *bound < took);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Distribution {
        let bounds = BOUNDS
            .iter()
            .map(Duration::as_secs_f64)
            .chain([f64::INFINITY]);
        let counts = self
            .buckets
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        let sum = Duration::from_nanos(self.sum_nanos.load(Ordering::Relaxed));
        Distribution {
            buckets: bounds.zip(counts).collect(),
            sum_seconds: sum.as_secs_f64(),
        }
    }
}

impl Distribution {
    /// The number of durations.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_that_is_not_too_small() {
        let histogram = Histogram::default();
        for micros in [0, 50, 51, 30_000_000, 31_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let seen = histogram.snapshot();
        let filled: Vec<_> = seen
            .buckets
            .iter()
            .filter(|(_, count)| *count > 0)
            .copied()
            .collect();
        assert_eq!(
            filled,
            [(0.000_05, 2), (0.0001, 1), (30.0, 1), (f64::INFINITY, 1)]
        );
        assert_eq!(seen.count(), 5);
        assert!(
            (seen.sum_seconds - 61.000_101).abs() < 1e-9,
            "{}",
            seen.sum_seconds
        );
    }
}
