//! Keeps the processes of a slot from starving or killing the live color (see [`crate::Shield`]).
//!
//! CPU: each instance is a session of its own, and so an autogroup (sched(7)) whose weight one write
//! lowers and one write restores, without privileges. Autogroups count only among processes that no CPU
//! cgroup rules. Where one does (a unit of systemd's, a container), everything that Baton starts is in
//! that same one, and there the nice value of each thread decides; taking it back wants root. A cgroup
//! of our own would have to be made below one that holds processes, which version 2 forbids, and would
//! be left behind by a daemon that was killed.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Mutex;

use rustix::process::{Pid, getpriority_process, setpriority_process};
use serde::{Deserialize, Serialize};

use super::engine::lock;
use super::life::Life;
use super::proc::Stat;
use crate::oom_score::{self, Score};
use crate::procfs::{ProcFolder, is_gone};
use crate::{Shield, Slot};

/// Nice value of an autogroup: the least weight there is.
const LOWEST: i32 = 19;
/// Nice value of a thread: nearly the least, and one that no app takes by itself, so that it is known
/// as ours.
const LOW: i32 = 18;

/// Which slots are under a shield, as long as the daemon lives.
#[derive(Debug, Default)]
pub(super) struct Shields(Mutex<HashMap<Slot, Shield>>);

impl Shields {
    pub(super) fn of(&self, slot: &Slot) -> Shield {
        lock(&self.0).get(slot).copied().unwrap_or_default()
    }

    pub(super) fn remember(&self, slot: &Slot, shield: Shield) {
        lock(&self.0).insert(slot.clone(), shield);
    }
}

/// What decides about the CPU of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Lever {
    Autogroup,
    Nice,
}

impl Lever {
    /// Of the process with this table of cgroups (`/proc/<pid>/cgroup`).
    fn of(table: &str) -> Lever {
        let enabled = fs::read_to_string("/proc/sys/kernel/sched_autogroup_enabled");
        let enabled = enabled.is_ok_and(|text| text.trim() == "1");
        if enabled && !is_ruled_by_cgroup(table, Path::new("/sys/fs/cgroup")) {
            Lever::Autogroup
        } else {
            Lever::Nice
        }
    }

    /// The one of what this process starts, if it can be used here.
    fn here() -> Option<Lever> {
        let table = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Some(Lever::of(&table))
            .filter(|lever| *lever == Lever::Autogroup || nice_can_be_taken_back())
    }
}

/// Is it in a CPU cgroup other than the root? In version 2 that is one whose folder, or that of one
/// above it, has a weight.
fn is_ruled_by_cgroup(table: &str, root: &Path) -> bool {
    let lines = || {
        table.lines().filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            Some((fields.next()?, fields.next()?))
        })
    };
    let version_1 = lines().find(|(names, _)| names.split(',').any(|name| name == "cpu"));
    if let Some((_, path)) = version_1 {
        return path != "/";
    }
    let version_2 = lines().find(|(names, _)| names.is_empty());
    version_2.is_some_and(|(_, path)| {
        let folder = root.join(path.trim_start_matches('/'));
        let above = folder.ancestors().take_while(|one| one.starts_with(root));
        above.into_iter().any(|one| one.join("cpu.weight").exists())
    })
}

/// Tried on a thread that ends at once: a capability may be there and be worth nothing (a container's).
fn nice_can_be_taken_back() -> bool {
    let trial = std::thread::spawn(|| -> rustix::io::Result<()> {
        let usual = getpriority_process(None)?;
        setpriority_process(None, usual + 1)?;
        setpriority_process(None, usual)
    });
    trial.join().is_ok_and(|tried| tried.is_ok())
}

/// How an instance begins: told to its shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Birth {
    killed_first: bool,
    slow: Option<Lever>,
}

impl Birth {
    pub(super) fn under(shield: Shield) -> Birth {
        Birth {
            killed_first: shield != Shield::None,
            slow: (shield == Shield::Candidate).then(Lever::here).flatten(),
        }
    }

    /// In the shim: whatever `start` starts is born under it, and the shim itself is not afterwards.
    /// What fails here the engine does right after the start.
    pub(super) fn during<T>(self, start: impl FnOnce() -> T) -> T {
        let score = |score: i32| fs::write("/proc/self/oom_score_adj", score.to_string());
        let scored = oom_score::own().filter(|own| self.killed_first && *own < oom_score::HIGH);
        if scored.is_some() {
            let _ = score(oom_score::HIGH);
        }
        let niced = getpriority_process(None)
            .ok()
            .filter(|_| self.slow == Some(Lever::Nice));
        if niced.is_some() {
            let _ = setpriority_process(None, LOW);
        }
        if self.slow == Some(Lever::Autogroup) {
            // Of the session, this shim included: it only waits.
            let _ = fs::write("/proc/self/autogroup", LOWEST.to_string());
        }
        let started = start();
        if let Some(usual) = scored {
            let _ = score(usual);
        }
        if let Some(usual) = niced {
            let _ = setpriority_process(None, usual);
        }
        started
    }
}

/// Puts what runs of these instances under `shield`. Returns what is not possible here.
pub(super) async fn apply(
    slot: &Slot,
    lives: &[std::sync::Arc<Life>],
    shield: Shield,
) -> Option<String> {
    let mut sentences = Vec::new();
    for life in lives {
        let score = match shield {
            Shield::None => Score::Usual(life.running.oom_score_adj),
            Shield::Leaving | Shield::Candidate => Score::High,
        };
        let look = || oom_score::set_all(processes(life), score);
        if let Some(error) = oom_score::until_settled(look).await {
            sentences.push(format!(
                "{slot} keeps its turn when memory runs out (oom_score_adj): {error}"
            ));
        }
        sentences.extend(weigh(slot, life, shield == Shield::Candidate).await);
    }
    sentences.sort();
    sentences.dedup();
    (!sentences.is_empty()).then(|| sentences.join("; "))
}

async fn weigh(slot: &Slot, life: &Life, low: bool) -> Option<String> {
    // Nothing is lowered that could not be raised again.
    if low && Lever::here().is_none() {
        return Some(format!(
            "{slot} cannot be kept from the CPU of the live color: only root may take a nice value back, and the kernel's autogroups are off or have no say here"
        ));
    }
    let look = || {
        let mut seen = (false, None);
        for process in processes(life) {
            match set_weight(&process, low) {
                Ok(changed) => seen.0 |= changed,
                Err(error) if is_gone(&error) => {}
                Err(error) => seen.1 = Some(error),
            }
        }
        seen
    };
    let error = oom_score::until_settled(look).await?;
    Some(if low {
        format!("{slot} cannot be kept from the CPU of the live color: {error}")
    } else {
        format!("{slot} may still have little CPU: {error}; run Baton as root")
    })
}

/// Those below the shim, each known to be that one.
fn processes(life: &Life) -> impl Iterator<Item = ProcFolder> {
    life.processes().into_iter().filter_map(|stat| {
        let folder = ProcFolder::open(stat.pid.into())?;
        let same = Stat::parse(&folder.read("stat").ok()?)?.start_time == stat.start_time;
        same.then_some(folder)
    })
}

/// True when something had to be changed.
fn set_weight(process: &ProcFolder, low: bool) -> io::Result<bool> {
    match Lever::of(&process.read("cgroup")?) {
        Lever::Autogroup => set_autogroup(process, low),
        Lever::Nice => set_nice(process, low),
    }
}

fn set_autogroup(process: &ProcFolder, low: bool) -> io::Result<bool> {
    let text = process.read("autogroup")?;
    // `/autogroup-25 nice 0`
    let now = text
        .rsplit(' ')
        .next()
        .and_then(|nice| nice.trim().parse::<i32>().ok());
    let wanted = match (low, now) {
        (true, Some(now)) if now != LOWEST => LOWEST,
        (false, Some(LOWEST)) => 0,
        _ => return Ok(false),
    };
    match process.write("autogroup", &wanted.to_string()) {
        // The kernel takes ten of these a second from all users but root: at the next look.
        Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Ok(true),
        result => result.map(|()| true),
    }
}

fn set_nice(process: &ProcFolder, low: bool) -> io::Result<bool> {
    // What this daemon has, its children have.
    let usual = getpriority_process(None)?;
    let mut changed = false;
    for thread in process.threads()? {
        // It may have ended.
        let Some(pid) = Pid::from_raw(thread).filter(|_| thread > 1) else {
            continue;
        };
        let Ok(now) = getpriority_process(Some(pid)) else {
            continue;
        };
        let wanted = match low {
            true if now < LOW => LOW,
            false if now == LOW => usual,
            _ => continue,
        };
        match setpriority_process(Some(pid), wanted) {
            Err(rustix::io::Errno::SRCH) => {}
            result => result?,
        }
        changed = true;
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn autogroups_have_a_say_where_no_cgroup_rules_the_cpu() {
        let root = tempfile::tempdir().expect("a folder");
        let ruled = |table: &str| is_ruled_by_cgroup(table, root.path());
        assert!(!ruled("2:cpu,cpuacct:/\n1:memory:/x\n0::/\n"));
        assert!(ruled("2:cpu,cpuacct:/docker/0a\n0::/\n"));
        assert!(!ruled("0::/system.slice/baton.service\n"));
        fs::create_dir_all(root.path().join("system.slice/baton.service")).expect("made");
        assert!(!ruled("0::/system.slice/baton.service\n"));
        fs::write(root.path().join("system.slice/cpu.weight"), "100").expect("written");
        assert!(ruled("0::/system.slice/baton.service\n"));
        assert!(!ruled("0::/user.slice\n"));
        assert!(!ruled(""));
    }
}
