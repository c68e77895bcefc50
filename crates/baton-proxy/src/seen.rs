//! Which hashes have been seen, in a fixed table without locks.
//!
//! It may forget: what comes after a table is full takes the place of something else.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const WORDS: usize = 4096;
/// Words that a hash may lie in.
const BUCKET: usize = 4;

/// 32 KiB once there is something in it, a pointer before.
#[derive(Debug, Default)]
pub(crate) struct Seen(OnceLock<Box<[AtomicU64]>>);

impl Seen {
    pub(crate) fn has(&self, hash: u64) -> bool {
        let hash = hash.max(1);
        self.0
            .get()
            .is_some_and(|words| bucket(words, hash).iter().any(|w| w.load(Relaxed) == hash))
    }

    pub(crate) fn insert(&self, hash: u64) {
        if self.has(hash) {
            return;
        }
        let words = self
            .0
            .get_or_init(|| (0..WORDS).map(|_| AtomicU64::new(0)).collect());
        // 0 stands for none.
        let hash = hash.max(1);
        let bucket = bucket(words, hash);
        let free = bucket
            .iter()
            .find(|word| word.compare_exchange(0, hash, Relaxed, Relaxed).is_ok());
        if free.is_none() {
            // Whichever the hash says: bits that have not chosen the bucket.
            bucket[(hash >> 62) as usize % BUCKET].store(hash, Relaxed);
        }
    }
}

fn bucket(words: &[AtomicU64], hash: u64) -> &[AtomicU64] {
    // The remainder fits.
    let at = (hash % (WORDS / BUCKET) as u64) as usize * BUCKET;
    &words[at..at + BUCKET]
}

#[cfg(test)]
mod tests {
    use super::{Seen, WORDS};
    use crate::random::random;

    #[test]
    fn what_was_put_in_is_there_and_nothing_else() {
        let seen = Seen::default();
        let hashes: Vec<u64> = (0..500).map(|_| random()).chain([0]).collect();
        assert!(hashes.iter().all(|hash| !seen.has(*hash)));
        for hash in &hashes {
            seen.insert(*hash);
            assert!(seen.has(*hash));
        }
        let kept = hashes.iter().filter(|hash| seen.has(**hash)).count();
        assert!(kept > 480, "{kept}");
        assert!((0..500).all(|_| !seen.has(random() | 2)));
    }

    #[test]
    fn a_full_table_still_takes_the_latest() {
        let seen = Seen::default();
        for _ in 0..4 * WORDS {
            let hash = random();
            seen.insert(hash);
            assert!(seen.has(hash));
        }
    }
}
