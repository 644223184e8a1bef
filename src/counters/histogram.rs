//! Histograms of durations with fixed buckets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets per doubling, so that a percentile is accurate to about 10 %.
const PER_OCTAVE: u32 = 4;
/// The first bucket ends at 2^`FIRST` microseconds, and the last but one at 2^(`FIRST` + `OCTAVES`).
const FIRST: u32 = 3;
const OCTAVES: u32 = 21;
const BUCKETS: usize = (OCTAVES * PER_OCTAVE + 2) as usize;

/// A histogram of durations from 8 microseconds to 16 seconds.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    nanoseconds: AtomicU64,
}

/// The values of a histogram at one time.
#[derive(Clone, Debug)]
pub struct Recorded {
    buckets: [u64; BUCKETS],
    /// The sum of all durations.
    pub sum: Duration,
}

impl Histogram {
    pub(crate) const fn new() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            nanoseconds: AtomicU64::new(0),
        }
    }

    /// Counts `count` events that took this long each.
    pub fn observe(&self, duration: Duration, count: u64) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(nanoseconds / 1000)].fetch_add(count, Ordering::Relaxed);
        self.nanoseconds
            .fetch_add(nanoseconds.saturating_mul(count), Ordering::Relaxed);
    }

    /// The current values.
    pub fn get(&self) -> Recorded {
        Recorded {
            buckets: self
                .buckets
                .each_ref()
                .map(|bucket| bucket.load(Ordering::Relaxed)),
            sum: Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)),
        }
    }
}

impl Recorded {
    /// The number of events.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Upper bounds in seconds, one for each doubling, each with the number of events up to it.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        (0..=OCTAVES).map(|octave| {
            let last = (octave * PER_OCTAVE) as usize;
            let count = self.buckets[..=last].iter().sum();
            (limit(last).as_secs_f64(), count)
        })
    }

    /// The events since an earlier time.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut buckets = self.buckets;
        for (bucket, before) in buckets.iter_mut().zip(earlier.buckets) {
            *bucket = bucket.saturating_sub(before);
        }
        Self {
            buckets,
            sum: self.sum.saturating_sub(earlier.sum),
        }
    }

    /// The duration that this part of the events does not exceed, as the upper bound of its bucket. `None` without events.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let mut count = 0;
        let found = self.buckets.iter().position(|bucket| {
            count += bucket;
            count as f64 >= total as f64 * part
        });
        found.map(|index| limit(index.min(BUCKETS - 2)))
    }
}

/// The bucket of a duration: bucket `n` ends at 2^(`FIRST` + n / `PER_OCTAVE`), with equal steps within a doubling.
fn bucket(microseconds: u64) -> usize {
    if microseconds < 1 << FIRST {
        return 0;
    }
    let octave = microseconds.ilog2();
    let step = (microseconds >> (octave - 2)) & u64::from(PER_OCTAVE - 1);
    let index = (octave - FIRST) * PER_OCTAVE + step as u32 + 1;
    (index as usize).min(BUCKETS - 1)
}

/// The end of a bucket.
fn limit(bucket: usize) -> Duration {
    let (octave, step) = (
        bucket as u32 / PER_OCTAVE,
        bucket as u64 % u64::from(PER_OCTAVE),
    );
    let start = 1_u64 << (FIRST + octave);
    Duration::from_micros(start + start * step / u64::from(PER_OCTAVE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_is_in_the_bucket_that_ends_after_it() {
        for microseconds in (0..5000).chain([10_000, 1_000_000, 16_000_000]) {
            let index = bucket(microseconds);
            assert!(Duration::from_micros(microseconds) < limit(index));
            assert!(index == 0 || Duration::from_micros(microseconds) >= limit(index - 1));
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_those_of_the_interval() {
        let histogram = Histogram::new();
        histogram.observe(Duration::from_secs(1), 1000);
        let before = histogram.get();
        assert!(histogram.get().since(&before).quantile(0.5).is_none());
        histogram.observe(Duration::from_millis(1), 98);
        histogram.observe(Duration::from_secs(100), 2);
        let now = histogram.get().since(&before);
        assert_eq!(now.count(), 100);
        let median = now.quantile(0.5).expect("there are events");
        assert!((1000..1300).contains(&median.as_micros()), "{median:?}");
        assert!(now.quantile(0.99) >= Some(Duration::from_secs(16)));
        let (last, count) = now.cumulative().last().expect("there are buckets");
        assert!(last > 16.0 && count == 98);
    }
}
