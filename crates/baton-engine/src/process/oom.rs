//! Tells a process that the kernel killed for want of memory from one that somebody killed.
//!
//! Without a cgroup of its own there is one witness: `oom_kill` in `/proc/vmstat`, which counts kills
//! of the whole machine and of every cgroup. It rises before the victim gets its SIGKILL, so an end by
//! SIGKILL shortly after a rise is an OOM kill.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::proc;

/// How old the count must be with which an end is compared.
const WINDOW: Duration = Duration::from_secs(2);
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The count as it was of late.
pub(super) struct OomWitness(Mutex<Vec<(Instant, u64)>>);

impl OomWitness {
    pub(super) fn new() -> OomWitness {
        let witness = OomWitness(Mutex::default());
        witness.look();
        witness
    }

    /// To be called every [`LOOK_EVERY`].
    pub(super) fn look(&self) {
        self.note(Instant::now(), proc::oom_kills());
    }

    fn note(&self, now: Instant, count: u64) {
        let mut counts = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        counts.push((now, count));
        // Of those that are older than the window the youngest is kept.
        while counts.len() > 1 && now.duration_since(counts[1].0) >= WINDOW {
            counts.remove(0);
        }
    }

    /// Was a process killed for want of memory shortly before the count was `at_end`? `at_start`
    /// is the count when the process started, for one that started later than the window.
    pub(super) fn saw_one(&self, at_end: u64, at_start: u64) -> bool {
        let counts = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = counts.first().map_or(at_start, |(_, count)| *count);
        // A count that is younger than the end (the end came while no daemon ran) says nothing.
        let before = if before > at_end { at_start } else { before };
        at_end > before.max(at_start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_rise_of_late_counts() {
        let witness = OomWitness(Mutex::default());
        let start = Instant::now();
        for second in 0..10 {
            witness.note(
                start + Duration::from_secs(second),
                if second < 3 { 5 } else { 6 },
            );
        }
        // The kill of another process, seven seconds before.
        assert!(!witness.saw_one(6, 5));
        assert!(witness.saw_one(7, 5));
        // A process that started after that kill.
        assert!(!witness.saw_one(7, 7));
    }
}
