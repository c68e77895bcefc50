//! Small random numbers for delays and choices; the clock is seed enough for a test.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

#[derive(Debug)]
pub(crate) struct Dice(AtomicU64);

impl Dice {
    pub(crate) fn new() -> Dice {
        let nanos = SystemTime::UNIX_EPOCH
            .elapsed()
            .map_or(1, |time| time.as_nanos() as u64);
        Dice(AtomicU64::new(nanos | 1))
    }

    /// xorshift64 (Marsaglia 2003).
    pub(crate) fn next(&self) -> u64 {
        let mut state = self.0.load(Ordering::Relaxed);
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Two threads at once may draw the same number: no test minds.
        self.0.store(state, Ordering::Relaxed);
        state
    }

    /// From 0 to `limit`, in whole milliseconds.
    pub(crate) fn up_to(&self, limit: Duration) -> Duration {
        Duration::from_millis(self.next() % (limit.as_millis() as u64 + 1))
    }

    /// One of them; none of an empty list.
    pub(crate) fn pick<'a, T>(&self, list: &'a [T]) -> Option<&'a T> {
        let length = list.len() as u64;
        list.get(self.next().checked_rem(length)? as usize)
    }
}
