//! Was it killed because memory ran out?
//!
//! Engines.md §2: the `oom` event may come up to 140 ms *after* `die`, with `OOMKilled=false` at that
//! moment; an OOM-killed child gives only `oom`; without a limit set, `/proc/vmstat oom_kill` is the
//! only witness. So: an `oom` event within 1 s of `die`, or `OOMKilled`, or, for a container without
//! a limit that ended by SIGKILL of nobody's, a count of the kernel's that rose meanwhile.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

/// An `oom` event this long before or after `die` belongs to it.
pub(super) const WITHIN: Duration = Duration::from_secs(1);
/// Exit code of SIGKILL, the kernel's way to take memory back.
const KILLED: i32 = 137;
/// Looks at the kernel's count that are kept: enough to have one from before any kill in question.
const LOOKS_KEPT: usize = 8;

/// What is known around the deaths of containers.
#[derive(Debug, Default)]
pub(super) struct Witness {
    /// The kernel's count, looked at now and then; newest last.
    looks: VecDeque<(Instant, u64)>,
    /// Last `oom` event of a container.
    ooms: HashMap<String, Instant>,
    /// Last SIGKILL that somebody asked the engine for.
    kills: HashMap<String, Instant>,
}

/// What can be said when `die` arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Oom,
    NotOom,
    /// Wait for an `oom` event, at most [`WITHIN`]; look at `OOMKilled` and the limit then.
    Wait,
}

impl Witness {
    /// Takes the kernel's count of OOM kills; None where the engine is on another machine.
    pub(super) fn look(&mut self, now: Instant, count: Option<u64>) {
        let Some(count) = count else { return };
        self.looks.push_back((now, count));
        while self.looks.len() > LOOKS_KEPT {
            self.looks.pop_front();
        }
    }

    pub(super) fn saw_oom(&mut self, id: &str, now: Instant) {
        self.ooms.retain(|_, at| now - *at <= WITHIN);
        self.ooms.insert(id.to_owned(), now);
    }

    pub(super) fn saw_kill(&mut self, id: &str, now: Instant) {
        self.kills.retain(|_, at| now - *at <= WITHIN);
        self.kills.insert(id.to_owned(), now);
    }

    fn recent(map: &HashMap<String, Instant>, id: &str, now: Instant) -> bool {
        map.get(id).is_some_and(|at| now - *at <= WITHIN)
    }

    /// Did the kernel kill anything for memory since a look from before `die - WITHIN`? None where
    /// there is no such look.
    pub(super) fn kernel_killed(&self, died: Instant, count: Option<u64>) -> Option<bool> {
        let count = count?;
        let before = self.looks.iter().rev().find(|(at, _)| died - *at >= WITHIN);
        before.map(|(_, then)| count > *then)
    }

    /// The kernel counts every OOM kill, of a cgroup or of the machine: when its count has not moved,
    /// nothing has to be waited for.
    pub(super) fn verdict(
        &self,
        id: &str,
        died: Instant,
        code: Option<i32>,
        count: Option<u64>,
    ) -> Verdict {
        if Self::recent(&self.ooms, id, died) {
            return Verdict::Oom;
        }
        let asked_for = Self::recent(&self.kills, id, died);
        if code == Some(0) || (code == Some(KILLED) && asked_for) {
            return Verdict::NotOom;
        }
        match self.kernel_killed(died, count) {
            Some(false) => Verdict::NotOom,
            Some(true) => Verdict::Wait,
            None if code == Some(KILLED) => Verdict::Wait,
            None => Verdict::NotOom,
        }
    }

    /// The last word when no `oom` event came: `flag` is `OOMKilled`, `limited` whether it has a
    /// memory limit of its own (then its cgroup would have told).
    pub(super) fn last_word(
        &self,
        died: Instant,
        code: Option<i32>,
        count: Option<u64>,
        flag: bool,
        limited: bool,
    ) -> bool {
        let by_kernel = self.kernel_killed(died, count) == Some(true);
        flag || (by_kernel && !limited && code == Some(KILLED))
    }
}

/// The kernel's count of OOM kills since boot.
pub(super) fn kernel_count() -> Option<u64> {
    let table = std::fs::read_to_string("/proc/vmstat").ok()?;
    table
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn an_oom_event_before_die_settles_it() {
        let start = Instant::now();
        let mut witness = Witness::default();
        witness.saw_oom("a", at(start, 0));
        assert_eq!(
            witness.verdict("a", at(start, 900), Some(137), None),
            Verdict::Oom
        );
        assert_eq!(
            witness.verdict("b", at(start, 900), Some(137), None),
            Verdict::Wait
        );
        assert_eq!(
            witness.verdict("a", at(start, 1900), Some(1), None),
            Verdict::NotOom
        );
    }

    #[test]
    fn a_kernel_that_killed_nothing_settles_it_at_once() {
        let start = Instant::now();
        let mut witness = Witness::default();
        witness.look(start, Some(4));
        assert_eq!(
            witness.verdict("a", at(start, 2000), Some(137), Some(4)),
            Verdict::NotOom
        );
        assert_eq!(
            witness.verdict("a", at(start, 2000), Some(137), Some(5)),
            Verdict::Wait
        );
        // A child was killed, and the app ended by itself.
        assert_eq!(
            witness.verdict("a", at(start, 2000), Some(1), Some(5)),
            Verdict::Wait
        );
    }

    #[test]
    fn a_kill_that_was_asked_for_is_none() {
        let start = Instant::now();
        let mut witness = Witness::default();
        witness.saw_kill("a", at(start, 0));
        assert_eq!(
            witness.verdict("a", at(start, 40), Some(137), None),
            Verdict::NotOom
        );
    }

    #[test]
    fn without_a_limit_the_kernel_is_the_only_witness() {
        let start = Instant::now();
        let mut witness = Witness::default();
        witness.look(start, Some(0));
        let died = at(start, 1500);
        assert!(witness.last_word(died, Some(137), Some(1), false, false));
        assert!(!witness.last_word(died, Some(137), Some(1), false, true));
        assert!(!witness.last_word(died, Some(1), Some(1), false, false));
        assert!(witness.last_word(died, Some(137), Some(0), true, true));
    }
}
