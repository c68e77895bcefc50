//! What `/proc` says about processes. Numbers that cannot be read count as nothing: a process may end
//! between two looks.

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

use super::spec::ProcessRef;

/// The fields of `/proc/PID/stat` that are needed here (proc_pid_stat(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) pid: i32,
    pub(super) state: char,
    pub(super) parent: i32,
    /// CPU time of its own and of the children it has waited for, in clock ticks.
    pub(super) own_ticks: u64,
    pub(super) waited_ticks: u64,
    /// Clock ticks since boot.
    pub(super) start_time: u64,
}

impl Stat {
    pub(super) fn parse(text: &str) -> Option<Stat> {
        // The name may hold spaces and parentheses: everything after the last one counts.
        let (head, tail) = text.rsplit_once(')')?;
        let pid = head.split_once('(')?.0.trim().parse().ok()?;
        let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Stat {
            pid,
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            own_ticks: number(14)? + number(15)?,
            waited_ticks: number(16)? + number(17)?,
            start_time: number(22)?,
        })
    }

    pub(super) fn read(pid: i32) -> Option<Stat> {
        Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    pub(super) fn reference(&self) -> ProcessRef {
        ProcessRef {
            pid: self.pid,
            start_time: self.start_time,
        }
    }
}

impl ProcessRef {
    pub(super) fn of(pid: i32) -> Option<ProcessRef> {
        Stat::read(pid).map(|stat| stat.reference())
    }

    /// Is it still this very process, and not a zombie? Never true for a pid that must not be signalled.
    pub(super) fn lives(&self) -> bool {
        self.pid > 1
            && Stat::read(self.pid).is_some_and(|stat| {
                stat.start_time == self.start_time && !matches!(stat.state, 'Z' | 'X')
            })
    }
}

/// Tells one boot of this machine from another.
pub(super) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

/// Every process below `root`, without it, parents before their children.
pub(super) fn descendants(root: i32) -> Vec<Stat> {
    let mut rest: Vec<Stat> = everything().collect();
    let mut known = HashSet::from([root]);
    let mut found = Vec::new();
    loop {
        let (new, others): (Vec<Stat>, Vec<Stat>) = rest
            .into_iter()
            .partition(|stat| known.contains(&stat.parent));
        if new.is_empty() {
            return found;
        }
        known.extend(new.iter().map(|stat| stat.pid));
        found.extend(new);
        rest = others;
    }
}

fn everything() -> impl Iterator<Item = Stat> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(Stat::read)
}

/// Memory of one process in bytes: its share (PSS) where the kernel tells us, else what is resident.
pub(super) fn memory(pid: i32) -> u64 {
    field(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
        .or_else(|| field(&format!("/proc/{pid}/status"), "VmRSS:"))
        .map_or(0, |kib| kib * 1024)
}

/// The most that was ever resident of one process, in bytes.
pub(super) fn memory_peak(pid: i32) -> Option<u64> {
    field(&format!("/proc/{pid}/status"), "VmHWM:").map(|kib| kib * 1024)
}

/// How many processes the kernel has killed for want of memory since boot, cgroup limits included.
pub(super) fn oom_kills() -> u64 {
    field("/proc/vmstat", "oom_kill").unwrap_or(0)
}

fn field(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some(name)).then(|| words.next()?.parse().ok())?
    })
}

/// Clock ticks as time. The kernel shows them to programs in hundredths of a second on every
/// architecture that Rust has a glibc target for (`USER_HZ`).
pub(super) fn ticks(count: u64) -> Duration {
    Duration::from_millis(count.saturating_mul(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let text = "42 (a) (b c) S 7 42 42 0 -1 4194560 1 2 3 4 11 12 13 14 20 0 1 0 9876 0 0";
        let stat = Stat::parse(text).expect("parses");
        assert_eq!(
            stat,
            Stat {
                pid: 42,
                state: 'S',
                parent: 7,
                own_ticks: 23,
                waited_ticks: 27,
                start_time: 9876
            }
        );
    }

    #[test]
    fn this_process_lives_and_one_with_another_start_time_does_not() {
        let pid = i32::try_from(std::process::id()).expect("a pid");
        let mut this = ProcessRef::of(pid).expect("itself");
        assert!(this.lives());
        this.start_time += 1;
        assert!(!this.lives());
    }

    #[test]
    fn init_is_never_taken_for_an_instance() {
        let init = ProcessRef {
            pid: 1,
            start_time: Stat::read(1).map_or(0, |stat| stat.start_time),
        };
        assert!(!init.lives());
    }

    #[test]
    fn memory_of_this_process_is_known() {
        let pid = i32::try_from(std::process::id()).expect("a pid");
        assert!(memory(pid) > 100_000);
        assert!(memory_peak(pid) > Some(100_000));
    }
}
