//! Where it is kept which instance has which session: a fixed table without locks.
//!
//! One word holds one session, so that every change is one compare-and-swap: 32 bits of its hash, the
//! number of its instance, two flags, and when it was last used.

use std::sync::atomic::{AtomicU64, Ordering};

/// Sessions in one bucket: what one look at two cache lines finds.
const WAYS: usize = 8;
const BUCKET_BITS: u32 = 15;
const BUCKETS: usize = 1 << BUCKET_BITS;
/// Seconds in one tick of [`Word::seen`].
pub(super) const TICK: u64 = 1;
const SEEN_BITS: u32 = 20;
const SEEN: u64 = (1 << SEEN_BITS) - 1;
const PATH: u64 = 1 << SEEN_BITS;
const PROVEN: u64 = 1 << (SEEN_BITS + 1);
const OWNER_SHIFT: u32 = SEEN_BITS + 2;
const OWNER: u64 = LAST_OWNER as u64;
const TAG_SHIFT: u32 = 32;

/// The largest number of an instance. 0 is none.
pub(super) const LAST_OWNER: u16 = (1 << (TAG_SHIFT - OWNER_SHIFT)) - 1;

/// What is known of one session. 0: nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(u64);

/// What is learned of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lesson {
    pub(super) owner: u16,
    /// The app itself has given it out.
    pub(super) proven: bool,
    /// It is named by a path, not by a cookie.
    pub(super) path: bool,
}

impl Word {
    const EMPTY: Word = Word(0);

    fn new(hash: u64, lesson: Lesson, now: u64) -> Word {
        let tag = hash >> TAG_SHIFT << TAG_SHIFT;
        let owner = u64::from(lesson.owner) << OWNER_SHIFT;
        let proven = if lesson.proven { PROVEN } else { 0 };
        let path = if lesson.path { PATH } else { 0 };
        Word(tag | owner | proven | path | (now & SEEN))
    }

    fn is_empty(self) -> bool {
        self == Word::EMPTY
    }

    fn is_for(self, hash: u64) -> bool {
        !self.is_empty() && self.0 >> TAG_SHIFT == hash >> TAG_SHIFT
    }

    pub(super) fn owner(self) -> u16 {
        // It is masked to fewer bits than that.
        u16::try_from(self.0 >> OWNER_SHIFT & OWNER).unwrap_or(0)
    }

    pub(super) fn is_path(self) -> bool {
        self.0 & PATH != 0
    }

    fn is_proven(self) -> bool {
        self.0 & PROVEN != 0
    }

    /// Ticks since it was used.
    pub(super) fn age(self, now: u64) -> u64 {
        now.wrapping_sub(self.0) & SEEN
    }

    fn used(self, now: u64) -> Word {
        Word(self.0 & !SEEN | (now & SEEN))
    }
}

/// Where one session lies, to be put there again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) bucket: u16,
    pub(super) tag: u32,
    /// Ticks since it was used.
    pub(super) age: u32,
    pub(super) proven: bool,
}

/// All sessions of all apps.
#[derive(Debug)]
pub(super) struct Table(Box<[AtomicU64]>);

impl Table {
    pub(super) fn new() -> Table {
        Table((0..BUCKETS * WAYS).map(|_| AtomicU64::new(0)).collect())
    }

    /// The two buckets of a hash.
    fn buckets(&self, hash: u64) -> [&[AtomicU64]; 2] {
        [hash, hash >> BUCKET_BITS].map(|bits| {
            // It is masked to fewer bits than that.
            let bucket = usize::try_from(bits & (BUCKETS as u64 - 1)).unwrap_or(0);
            &self.0[bucket * WAYS..(bucket + 1) * WAYS]
        })
    }

    fn find(&self, hash: u64) -> Option<(&AtomicU64, Word)> {
        self.buckets(hash)
            .into_iter()
            .flatten()
            .map(|slot| (slot, Word(slot.load(Ordering::Relaxed))))
            .find(|(_, word)| word.is_for(hash))
    }

    /// What is known of a session.
    pub(super) fn get(&self, hash: u64) -> Option<Word> {
        self.find(hash).map(|(_, word)| word)
    }

    /// It has been used now.
    pub(super) fn touch(&self, hash: u64, now: u64) {
        if let Some((slot, word)) = self.find(hash)
            && word.used(now) != word
        {
            // Another thread that has changed it meanwhile has as good a reason.
            swap(slot, word, word.used(now));
        }
    }

    /// Sets what is known of a session, new or not. What an app has confirmed stays so.
    pub(super) fn learn(&self, hash: u64, lesson: Lesson, now: u64) {
        // It can only fail while other threads write to the same bucket.
        for _ in 0..4 {
            let known = self.find(hash);
            let (slot, old) = known.unwrap_or_else(|| self.victim(hash, now));
            let mut lesson = lesson;
            lesson.proven |= known.is_some() && old.is_proven() && old.owner() == lesson.owner;
            let new = Word::new(hash, lesson, now);
            if old == new || swap(slot, old, new) {
                return;
            }
        }
    }

    /// An empty slot in the emptier bucket, or the one whose session is worth least.
    fn victim(&self, hash: u64, now: u64) -> (&AtomicU64, Word) {
        let empty = |bucket: &[AtomicU64]| {
            let empty = |slot: &&AtomicU64| slot.load(Ordering::Relaxed) == 0;
            bucket.iter().filter(empty).count()
        };
        let [first, second] = self.buckets(hash);
        let (first, second) = if empty(second) > empty(first) {
            (second, first)
        } else {
            (first, second)
        };
        let worth = |word: Word| match word.is_empty() {
            true => (false, false, 0),
            false => (true, word.is_proven(), SEEN - word.age(now)),
        };
        let mut least = (&first[0], Word(first[0].load(Ordering::Relaxed)));
        for slot in first.iter().chain(second) {
            let word = Word(slot.load(Ordering::Relaxed));
            if worth(word) < worth(least.1) {
                least = (slot, word);
            }
        }
        least
    }

    pub(super) fn forget(&self, hash: u64) {
        if let Some((slot, word)) = self.find(hash) {
            swap(slot, word, Word::EMPTY);
        }
    }

    /// How many sessions are as `wanted` says.
    pub(super) fn count(&self, wanted: impl Fn(Word) -> bool) -> u64 {
        self.words().filter(|(_, word)| wanted(*word)).count() as u64
    }

    /// Forgets those that are as `wanted` says; returns how many.
    pub(super) fn forget_all(&self, wanted: impl Fn(Word) -> bool) -> u64 {
        self.words()
            .filter(|(slot, word)| wanted(*word) && swap(slot, *word, Word::EMPTY))
            .count() as u64
    }

    /// Where those lie that are as `wanted` says.
    pub(super) fn places(&self, wanted: impl Fn(Word) -> bool, now: u64) -> Vec<Place> {
        let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let buckets = self.0.chunks(WAYS).zip(0u16..);
        buckets
            .flat_map(|(slots, bucket)| slots.iter().map(move |slot| (slot, bucket)))
            .map(|(slot, bucket)| (Word(slot.load(Ordering::Relaxed)), bucket))
            .filter(|(word, _)| !word.is_empty() && wanted(*word))
            .map(|(word, bucket)| Place {
                bucket,
                tag: narrow(word.0 >> TAG_SHIFT),
                age: narrow(word.age(now)),
                proven: word.is_proven(),
            })
            .collect()
    }

    /// Puts a session back where it was, if there is room.
    pub(super) fn restore(&self, place: Place, owner: u16, now: u64) {
        let slots = self.0.chunks(WAYS).nth(usize::from(place.bucket));
        let lesson = Lesson {
            owner,
            proven: place.proven,
            path: false,
        };
        let used = now.wrapping_sub(u64::from(place.age).min(SEEN));
        let word = Word::new(u64::from(place.tag) << TAG_SHIFT, lesson, used);
        for slot in slots.into_iter().flatten() {
            if swap(slot, Word::EMPTY, word) {
                return;
            }
        }
    }

    fn words(&self) -> impl Iterator<Item = (&AtomicU64, Word)> {
        self.0
            .iter()
            .map(|slot| (slot, Word(slot.load(Ordering::Relaxed))))
            .filter(|(_, word)| !word.is_empty())
    }
}

fn swap(slot: &AtomicU64, old: Word, new: Word) -> bool {
    slot.compare_exchange(old.0, new.0, Ordering::Relaxed, Ordering::Relaxed)
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, LAST_OWNER, Lesson, SEEN, Table, WAYS};

    const SURE: Lesson = Lesson {
        owner: 7,
        proven: true,
        path: false,
    };

    /// Well spread, and never 0.
    fn hash(number: u64) -> u64 {
        let mut bits = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ bits >> 31
    }

    #[test]
    fn what_is_learned_is_known_and_forgotten() {
        let table = Table::new();
        assert!(table.get(hash(1)).is_none());
        table.learn(hash(1), SURE, 5);
        let word = table.get(hash(1)).unwrap();
        assert_eq!((word.owner(), word.age(8)), (7, 3));
        table.touch(hash(1), 9);
        assert_eq!(table.get(hash(1)).unwrap().age(9), 0);
        let moved = Lesson {
            owner: LAST_OWNER,
            proven: false,
            path: true,
        };
        table.learn(hash(1), moved, 9);
        let word = table.get(hash(1)).unwrap();
        assert_eq!((word.owner(), word.is_path()), (LAST_OWNER, true));
        table.forget(hash(1));
        assert!(table.get(hash(1)).is_none());
        assert_eq!(table.count(|_| true), 0);
    }

    #[test]
    fn time_goes_on_when_its_bits_are_used_up() {
        let table = Table::new();
        table.learn(hash(1), SURE, SEEN - 1);
        assert_eq!(table.get(hash(1)).unwrap().age(SEEN + 3), 4);
    }

    #[test]
    fn three_quarters_of_it_can_be_used() {
        let table = Table::new();
        let most = (BUCKETS * WAYS * 3 / 4) as u64;
        for number in 0..most {
            table.learn(hash(number), SURE, 1);
        }
        let lost = (0..most)
            .filter(|&number| table.get(hash(number)).is_none())
            .count();
        assert!(lost < 20, "{lost} of {most}");
    }

    #[test]
    fn made_up_cookies_push_out_nobody() {
        let table = Table::new();
        let real = 20_000;
        for number in 0..real {
            table.learn(hash(number), SURE, 1);
        }
        let unsure = Lesson {
            owner: 7,
            proven: false,
            path: false,
        };
        for number in real..real + 500_000 {
            table.learn(hash(number), unsure, 2);
        }
        let lost = (0..real)
            .filter(|&number| table.get(hash(number)).is_none())
            .count();
        assert_eq!(lost, 0);
        assert_eq!(
            table.forget_all(|word| word.owner() == 7),
            (BUCKETS * WAYS) as u64
        );
    }
}
