//! How long answers take, in buckets: four to each doubling, so a percentile is right to 19 %.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Up to 64 µs is one bucket; the last one takes everything from 2 minutes on.
const FIRST: u64 = 64;

const BUCKETS: usize = 88;

/// From the request's head to the head of its answer. Monotonic; written by every worker.
#[derive(Debug)]
pub struct LatencyCounters([AtomicU64; BUCKETS]);

impl Default for LatencyCounters {
    fn default() -> LatencyCounters {
        LatencyCounters([const { AtomicU64::new(0) }; BUCKETS])
    }
}

impl LatencyCounters {
    pub fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.0[bucket(micros)].fetch_add(1, Ordering::Relaxed);
    }

    #[must_use]
    pub fn read(&self) -> Latency {
        Latency(std::array::from_fn(|index| {
            self.0[index].load(Ordering::Relaxed)
        }))
    }
}

/// What was counted up to a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency([u64; BUCKETS]);

impl Default for Latency {
    fn default() -> Latency {
        Latency([0; BUCKETS])
    }
}

/// Most buckets are empty: pairs of a bucket and its count.
impl Serialize for Latency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let filled = self.0.iter().enumerate().filter(|(_, count)| **count > 0);
        serializer.collect_seq(filled)
    }
}

/// A bucket that this version does not know is left out.
impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Latency, D::Error> {
        let mut latency = Latency::default();
        for (index, count) in Vec::<(usize, u64)>::deserialize(deserializer)? {
            if let Some(bucket) = latency.0.get_mut(index) {
                *bucket = count;
            }
        }
        Ok(latency)
    }
}

impl Latency {
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Latency) -> Latency {
        Latency(std::array::from_fn(|index| {
            self.0[index].saturating_add(other.0[index])
        }))
    }

    /// What came since `before`.
    #[must_use]
    pub fn since(self, before: Latency) -> Latency {
        Latency(std::array::from_fn(|index| {
            self.0[index].saturating_sub(before.0[index])
        }))
    }

    /// The time within which `percent` of the answers came, rounded up to its bucket; None before the
    /// first answer.
    #[must_use]
    pub fn percentile(&self, percent: u8) -> Option<Duration> {
        let count = self.count();
        let wanted = (count * u64::from(percent.min(100))).div_ceil(100).max(1);
        let mut seen = 0;
        for (index, number) in self.0.iter().enumerate() {
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
