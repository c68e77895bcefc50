//! How long answers take, in buckets: four to each doubling, so a percentile is right to 19 %.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Up to 64 µs is one bucket; the last one takes everything from 2 minutes on.
const FIRST: u64 = 64;

const BUCKETS: usize = 88;

/// From the request's head to the head of its answer. Monotonic; written by every worker.
#[derive(Debug)]
pub struct LatencyCounters {
    buckets: [AtomicU64; BUCKETS],
    /// Of all that were recorded, in microseconds.
    sum: AtomicU64,
}

impl Default for LatencyCounters {
    fn default() -> LatencyCounters {
        LatencyCounters {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            sum: AtomicU64::new(0),
        }
    }
}

impl LatencyCounters {
    pub fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket(micros)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(micros, Ordering::Relaxed);
    }

    #[must_use]
    pub fn read(&self) -> Latency {
        Latency {
            buckets: std::array::from_fn(|index| self.buckets[index].load(Ordering::Relaxed)),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

/// What was counted up to a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    buckets: [u64; BUCKETS],
    sum: u64,
}

impl Default for Latency {
    fn default() -> Latency {
        Latency {
            buckets: [0; BUCKETS],
            sum: 0,
        }
    }
}

/// Most buckets are empty: the sum in microseconds, and pairs of a bucket and its count.
impl Serialize for Latency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let filled = self.buckets.iter().copied().enumerate();
        let filled: Vec<(usize, u64)> = filled.filter(|(_, count)| *count > 0).collect();
        (self.sum, filled).serialize(serializer)
    }
}

/// A bucket that this version does not know is left out.
impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Latency, D::Error> {
        let (sum, filled) = <(u64, Vec<(usize, u64)>)>::deserialize(deserializer)?;
        let mut latency = Latency {
            sum,
            ..Latency::default()
        };
        for (index, count) in filled {
            if let Some(bucket) = latency.buckets.get_mut(index) {
                *bucket = count;
            }
        }
        Ok(latency)
    }
}

impl Latency {
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The times of all of them together.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum)
    }

    /// How many took less than each power of two from 128 µs to 67 s, the bounds rising. With
    /// [`Latency::count`] it is a cumulative histogram.
    pub fn below(&self) -> impl Iterator<Item = (Duration, u64)> {
        let mut seen = 0;
        let buckets = self.buckets.iter().enumerate();
        let all = buckets.map(move |(index, number)| {
            seen += number;
            (index, seen)
        });
        // The last bucket of each octave but the very last one, which has no upper end.
        all.filter(|(index, _)| *index > 0 && index % 4 == 0)
            .take(20)
            .map(|(index, seen)| (Duration::from_micros(upper(index)), seen))
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Latency) -> Latency {
        self.with(other, u64::saturating_add)
    }

    /// What came since `before`.
    #[must_use]
    pub fn since(self, before: Latency) -> Latency {
        self.with(before, u64::saturating_sub)
    }

    fn with(self, other: Latency, each: impl Fn(u64, u64) -> u64) -> Latency {
        Latency {
            buckets: std::array::from_fn(|index| each(self.buckets[index], other.buckets[index])),
            sum: each(self.sum, other.sum),
        }
    }

    /// The time within which `percent` of the answers came, rounded up to its bucket; None before the
    /// first answer.
    #[must_use]
    pub fn percentile(&self, percent: u8) -> Option<Duration> {
        let count = self.count();
        let wanted = (count * u64::from(percent.min(100))).div_ceil(100).max(1);
        let mut seen = 0;
        for (index, number) in self.buckets.iter().enumerate() {
            seen += number;
            if seen >= wanted {
                return Some(Duration::from_micros(upper(index)));
            }
        }
        None
    }
}

fn bucket(micros: u64) -> usize {
    if micros < FIRST {
        return 0;
    }
    let octave = (micros / FIRST).ilog2();
    let quarter = (micros >> (octave + FIRST.ilog2() - 2)) & 3;
    let index = 1 + octave as usize * 4 + usize::try_from(quarter).unwrap_or(0);
    index.min(BUCKETS - 1)
}

/// The first number of microseconds that is not in the bucket any more.
fn upper(index: usize) -> u64 {
    let Some(index) = index.checked_sub(1) else {
        return FIRST;
    };
    let (octave, quarter) = (index / 4, index % 4 + 1);
    (FIRST << octave) + (FIRST << octave) / 4 * quarter as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_below_the_upper_end_of_its_bucket_and_not_below_the_one_before() {
        for micros in (0..200_000).chain((1..100).map(|n| n * 1_000_003)) {
            let index = bucket(micros);
            if index < BUCKETS - 1 {
                assert!(micros < upper(index), "{micros} in {index}");
            }
            assert!(
                index == 0 || micros >= upper(index - 1),
                "{micros} in {index}"
            );
        }
    }

    #[test]
    fn a_cumulative_histogram_rises_and_ends_with_all_but_the_longest() {
        let counters = LatencyCounters::default();
        for micros in [1, 127, 128, 1_023, 1_024, 5_000_000, 100_000_000] {
            counters.record(Duration::from_micros(micros));
        }
        let read = counters.read();
        let below: Vec<_> = read.below().collect();
        let at = |micros: u64| {
            let bound = Duration::from_micros(micros);
            below
                .iter()
                .find(|(upper, _)| *upper == bound)
                .map(|(_, n)| *n)
        };
        assert_eq!(
            (at(128), at(256), at(1_024), at(2_048)),
            (Some(2), Some(3), Some(4), Some(5))
        );
        assert!(below.is_sorted());
        assert_eq!((below.len(), below[19].1, read.count()), (20, 6, 7));
        assert_eq!(read.sum(), Duration::from_micros(105_002_303));
    }

    #[test]
    fn a_percentile_is_right_to_a_fifth() {
        let counters = LatencyCounters::default();
        assert_eq!(counters.read().percentile(50), None);
        for millis in 1..=100 {
            counters.record(Duration::from_millis(millis));
        }
        for percent in [50_u8, 90, 99] {
            let found = counters.read().percentile(percent).expect("counted");
            let exact = Duration::from_millis(u64::from(percent));
            assert!(
                found >= exact && found <= exact.mul_f64(1.26),
                "{percent}: {found:?}"
            );
        }
    }
}
