//! Who has met an error lately: one client that tries again and again weighs no more than another
//! (DESIGN.md §7).
//!
//! A fixed table without locks. When more clients meet errors at once than it holds, some may count
//! twice.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{LazyLock, OnceLock};
use std::time::{Duration, Instant};

const WORDS: usize = 1024;
/// Words that a client may lie in.
const BUCKET: usize = 4;
const TICK: Duration = Duration::from_millis(100);
/// One error counts in this time.
const WINDOW: Duration = Duration::from_secs(10);

static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// In each word a part of the client's hash, and the tick of its last error that counted. 8 KiB once
/// there was one, a pointer before.
#[derive(Debug, Default)]
pub(crate) struct Failing(OnceLock<Box<[AtomicU64]>>);

impl Failing {
    /// Whether the error that this client has met now counts.
    pub(crate) fn counts(&self, client: u64) -> bool {
        self.counts_at(client, BEGIN.elapsed())
    }

    fn counts_at(&self, client: u64, now: Duration) -> bool {
        let words = self
            .0
            .get_or_init(|| (0..WORDS).map(|_| AtomicU64::new(0)).collect());
        // 0 stands for never; 13 years fit.
        let tick = u64::try_from(now.as_millis() / TICK.as_millis()).unwrap_or(u64::MAX);
        let tick = tick.saturating_add(1).min(u64::from(u32::MAX));
        let at = (client % (WORDS / BUCKET) as u64) as usize * BUCKET;
        let bucket = &words[at..at + BUCKET];
        let noted = (client & TAG) | tick;
        let window = u64::try_from(WINDOW.as_millis() / TICK.as_millis()).unwrap_or(u64::MAX);
        for word in bucket {
            let seen = word.load(Relaxed);
            if seen != 0 && seen & TAG == client & TAG {
                return tick.saturating_sub(seen & !TAG) >= window
                    // Another thread may have been first.
                    && word.compare_exchange(seen, noted, Relaxed, Relaxed).is_ok();
            }
        }
        if let Some(oldest) = bucket.iter().min_by_key(|word| word.load(Relaxed) & !TAG) {
            oldest.store(noted, Relaxed);
        }
        true
    }
}

/// The part of a word that is the client's hash.
const TAG: u64 = !0 << 32;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Failing, WINDOW};
    use crate::random::random;

    #[test]
    fn a_client_counts_once_in_its_time() {
        let failing = Failing::default();
        let (one, other) = (random(), random());
        let begin = Duration::from_secs(77);
        assert!(failing.counts_at(one, begin));
        assert!(failing.counts_at(other, begin));
        for passed in [0, 1, 5_000, 9_900] {
            assert!(!failing.counts_at(one, begin + Duration::from_millis(passed)));
        }
        assert!(failing.counts_at(one, begin + WINDOW));
        assert!(!failing.counts_at(one, begin + WINDOW * 3 / 2));
    }

    #[test]
    fn many_clients_are_told_apart() {
        let failing = Failing::default();
        let clients: Vec<u64> = (0..300).map(|_| random()).collect();
        let counted = |now| {
            let counts = clients.iter().filter(|c| failing.counts_at(**c, now));
            counts.count()
        };
        assert_eq!(counted(Duration::ZERO), 300);
        assert!(counted(Duration::from_secs(1)) < 20);
    }
}
