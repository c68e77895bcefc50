//! How long answers took, by named phases of a test: the percentiles before a deploy and during one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// The phase that lasts until a test names another.
pub const FIRST_PHASE: &str = "first";

/// Three digits; the longest that a request may take is well below this.
const DIGITS: u8 = 3;
const LONGEST: Duration = Duration::from_secs(120);

/// Times of many answers, each from the moment when the request was about to be sent (a connection that has
/// to be made is part of it) to the last byte of the answer.
///
/// A client waits for an answer before it asks again: a server that stands still for a second is seen by as
/// many requests as there are clients, not by as many as would have come in that second.
#[derive(Clone)]
pub struct Latency(Histogram<u64>);

impl Latency {
    fn new() -> Latency {
        let longest = LONGEST.as_micros() as u64;
        // 3 digits and a range of 1 µs to 120 s are what the crate allows.
        match Histogram::new_with_bounds(1, longest, DIGITS) {
            Ok(histogram) => Latency(histogram),
            Err(error) => unreachable!("{error}"),
        }
    }

    fn record(&mut self, took: Duration) {
        self.0.saturating_record(took.as_micros() as u64);
    }

    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// So that a share `quantile` (0 to 1) of the answers was as fast or faster, to 0.1 %. Zero of none.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.0.value_at_quantile(quantile))
    }

    #[must_use]
    pub fn p50(&self) -> Duration {
        self.quantile(0.5)
    }

    #[must_use]
    pub fn p99(&self) -> Duration {
        self.quantile(0.99)
    }

    #[must_use]
    pub fn longest(&self) -> Duration {
        Duration::from_micros(self.0.max())
    }
}

impl fmt::Debug for Latency {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Latency")
            .field("count", &self.count())
            .field("p50", &self.p50())
            .field("p99", &self.p99())
            .field("longest", &self.longest())
            .finish()
    }
}

/// The phases of one load.
#[derive(Debug)]
pub(super) struct Phases(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    /// When each began, in this order; a name may come again.
    begun: Vec<(Instant, String)>,
    latency: BTreeMap<String, Latency>,
}

impl Default for Phases {
    fn default() -> Phases {
        Phases(Mutex::new(Inner {
            begun: vec![(Instant::now(), FIRST_PHASE.to_owned())],
            latency: BTreeMap::new(),
        }))
    }
}

impl Phases {
    /// Another phase begins now.
    pub(super) fn begin(&self, name: &str) {
        self.with(|inner| inner.begun.push((Instant::now(), name.to_owned())));
    }

    /// Counts in the phase in which the request was sent.
    pub(super) fn record(&self, sent: Instant, took: Duration) {
        self.with(|inner| {
            let of_then = inner.begun.iter().rev().find(|(begun, _)| *begun <= sent);
            let name = of_then.or(inner.begun.first());
            let name = name.map_or(FIRST_PHASE, |(_, name)| name.as_str());
            match inner.latency.get_mut(name) {
                Some(latency) => latency.record(took),
                None => {
                    let mut latency = Latency::new();
                    latency.record(took);
                    inner.latency.insert(name.to_owned(), latency);
                }
            }
        });
    }

    /// By name of the phase, so far; a phase without an answer is not there.
    pub(super) fn latency(&self) -> BTreeMap<String, Latency> {
        self.with(|inner| inner.latency.clone())
    }

    fn with<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn an_answer_counts_in_the_phase_in_which_it_was_asked_for() {
        let phases = Phases::default();
        let sent = Instant::now();
        phases.record(sent, ms(10));
        phases.begin("deploy");
        phases.record(Instant::now(), ms(200));
        phases.record(sent, ms(20));
        let latency = phases.latency();
        assert_eq!(latency.len(), 2);
        assert_eq!(latency[FIRST_PHASE].count(), 2);
        assert_eq!(latency["deploy"].count(), 1);
    }

    #[test]
    fn a_phase_that_comes_again_goes_on() {
        let phases = Phases::default();
        for name in ["deploy", "calm", "deploy"] {
            phases.begin(name);
            phases.record(Instant::now(), ms(1));
        }
        let latency = phases.latency();
        assert_eq!((latency["deploy"].count(), latency["calm"].count()), (2, 1));
    }

    #[test]
    fn percentiles_are_right_to_a_thousandth() {
        let phases = Phases::default();
        for millis in 1..=1_000 {
            phases.record(Instant::now(), ms(millis));
        }
        let latency = phases.latency().remove(FIRST_PHASE).unwrap();
        let near = |found: Duration, right: Duration| found.abs_diff(right) <= right / 1_000;
        assert!(near(latency.p50(), ms(500)), "{latency:?}");
        assert!(near(latency.p99(), ms(990)), "{latency:?}");
        assert!(near(latency.longest(), ms(1_000)), "{latency:?}");
    }
}
