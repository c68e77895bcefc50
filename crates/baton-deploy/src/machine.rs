//! What the machine has left: memory and disk, and whether a second copy of the app fits.

use std::fs;
use std::path::{Path, PathBuf};

use baton_compose::EngineKind;

const MIB: u64 = 1024 * 1024;

/// A limit of a cgroup above this is none (v1 writes a number near 2^63).
const NO_LIMIT: u64 = 1 << 60;

/// Below this, or a twentieth of the machine, a warm color ends early.
const LEAST_LEFT: u64 = 48 * MIB;

const MEMORY_LOOK: std::time::Duration = std::time::Duration::from_secs(1);

/// Kept free so that the journal, a rollback and pruning still work on a full disk.
const DISK_RESERVE: u64 = 512 * MIB;

/// And never less than this: what a database and a few logs may take at once.
const LEAST_RESERVE: u64 = 64 * MIB;

/// Memory that a new instance could have, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// Bytes.
    pub available: u64,
    /// Bytes.
    pub swap_free: u64,
    /// What is left under the tightest cgroup limit, if there is one.
    pub cgroup: Option<u64>,
    /// Used now by what ends before the new one starts.
    pub freed: u64,
}

impl Memory {
    /// Reads `/proc/meminfo` and the cgroups that hold the instances.
    #[must_use]
    pub fn read(engine: EngineKind) -> Memory {
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let (available, swap_free) = parse_meminfo(&meminfo);
        Memory {
            available,
            swap_free,
            cgroup: cgroup_left(engine),
            freed: 0,
        }
    }

    /// So little that the kernel may soon choose what it ends.
    fn is_short(self, total: u64) -> bool {
        self.left() < (total / 20).max(LEAST_LEFT)
    }

    /// Bytes that a new instance could have.
    #[must_use]
    pub fn left(self) -> u64 {
        let machine = self.available + self.swap_free;
        self.cgroup.map_or(machine, |cgroup| cgroup.min(machine)) + self.freed
    }

    /// `412 MiB available and 0 B of swap`
    #[must_use]
    pub fn describe(self) -> String {
        let machine = format!(
            "{} available and {} of swap",
            size(self.available),
            size(self.swap_free)
        );
        let limited = match self.cgroup {
            Some(left) if left < self.available + self.swap_free => {
                format!("{machine}, {} under the cgroup's limit", size(left))
            }
            _ => machine,
        };
        match self.freed {
            0 => limited,
            freed => format!(
                "{limited}, and {} of the old color that ends first",
                size(freed)
            ),
        }
    }
}

/// Ends when what is left has been too little for two looks in a row.
pub(crate) async fn memory_short(engine: EngineKind) {
    let mut short = 0;
    loop {
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let total = field(&meminfo, "MemTotal");
        let now = Memory::read(engine);
        let total = cgroup_limit(engine).map_or(total, |limit| limit.min(total));
        short = if now.is_short(total) { short + 1 } else { 0 };
        if short >= 2 {
            return;
        }
        tokio::time::sleep(MEMORY_LOOK).await;
    }
}

/// What the live color uses, in bytes: now, and at most. None before the first deploy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LiveUse {
    pub(crate) now: u64,
    pub(crate) peak: u64,
}

/// The figures as a sentence, and the refusal if two copies do not fit (`overlap: required`).
pub(crate) fn memory_verdict(memory: Memory, live: Option<LiveUse>) -> (String, Option<String>) {
    let Some(live) = live.filter(|live| live.peak > 0) else {
        return (
            format!(
                "memory: {}; what the app needs is not known yet",
                memory.describe()
            ),
            None,
        );
    };
    let figures = format!(
        "memory: the live color uses {} now and used {} at most; {}",
        size(live.now),
        size(live.peak),
        memory.describe()
    );
    let refusal = (live.peak > memory.left()).then(|| {
        format!(
            "memory is short for two copies at once: the new one may need {} (the most the live one used), {} are left ({}); free {}, or add swap",
            size(live.peak),
            size(memory.left()),
            memory.describe(),
            size(live.peak - memory.left()),
        )
    });
    (figures, refusal)
}

fn parse_meminfo(text: &str) -> (u64, u64) {
    (field(text, "MemAvailable"), field(text, "SwapFree"))
}

/// One line of `/proc/meminfo`, in bytes.
fn field(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

/// Containers are bound by what bounds the whole machine (it may be a container itself), processes
/// also by the daemon's own cgroup.
fn cgroup_left(engine: EngineKind) -> Option<u64> {
    cgroups(engine)
        .iter()
        .filter_map(|folder| left_in(folder))
        .min()
}

/// The tightest limit, if there is one.
fn cgroup_limit(engine: EngineKind) -> Option<u64> {
    cgroups(engine)
        .iter()
        .filter_map(|folder| limit_of(folder))
        .min()
}

fn cgroups(engine: EngineKind) -> Vec<PathBuf> {
    let mut folders = vec![
        PathBuf::from("/sys/fs/cgroup"),
        PathBuf::from("/sys/fs/cgroup/memory"),
    ];
    if engine == EngineKind::Process {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        folders.extend(own_cgroups(&own));
    }
    folders
}

/// `/proc/self/cgroup`: v2 `0::/path`, v1 `9:memory:/path`; with all their parents.
fn own_cgroups(text: &str) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let root = if controllers.is_empty() {
            Path::new("/sys/fs/cgroup")
        } else if controllers.split(',').any(|name| name == "memory") {
            Path::new("/sys/fs/cgroup/memory")
        } else {
            continue;
        };
        let path = root.join(path.trim_start_matches('/'));
        folders.extend(
            path.ancestors()
                .take_while(|folder| *folder != root)
                .map(Path::to_owned),
        );
    }
    folders
}

fn number(folder: &Path, file: &str) -> Option<u64> {
    let text = fs::read_to_string(folder.join(file)).ok()?;
    text.trim().parse().ok()
}

fn limit_of(folder: &Path) -> Option<u64> {
    number(folder, "memory.max")
        .or_else(|| number(folder, "memory.limit_in_bytes"))
        .filter(|limit| *limit < NO_LIMIT)
}

fn left_in(folder: &Path) -> Option<u64> {
    let limit = limit_of(folder)?;
    let used =
        number(folder, "memory.current").or_else(|| number(folder, "memory.usage_in_bytes"))?;
    // Page cache goes when memory is wanted.
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let cache = stat
        .lines()
        .find_map(|line| {
            line.strip_prefix("inactive_file ")
                .or_else(|| line.strip_prefix("total_inactive_file "))
        })
        .and_then(|text| text.trim().parse::<u64>().ok())
        .unwrap_or(0);
    Some(limit.saturating_sub(used.saturating_sub(cache)))
}

/// Space of one filesystem in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) free: u64,
    pub(crate) total: u64,
}

impl Disk {
    fn of(folder: &Path) -> Option<Disk> {
        let stat = rustix::fs::statvfs(folder).ok()?;
        Some(Disk {
            free: stat.f_bavail * stat.f_frsize,
            total: stat.f_blocks * stat.f_frsize,
        })
    }
}

/// The figures and refusals of every filesystem that a deploy writes to.
#[must_use]
pub fn disks(engine: EngineKind, data: &Path) -> Vec<(String, Option<String>)> {
    let mut folders = vec![data];
    let docker = Path::new("/var/lib/docker");
    if engine == EngineKind::Docker && docker.is_dir() {
        folders.push(docker);
    }
    folders
        .into_iter()
        .filter_map(|folder| Some(disk_verdict(folder, Disk::of(folder)?)))
        .collect()
}

/// A small filesystem keeps 5 % instead: half a gibibyte may be most of it.
pub(crate) fn disk_verdict(folder: &Path, disk: Disk) -> (String, Option<String>) {
    let reserve = DISK_RESERVE.min(disk.total / 20).max(LEAST_RESERVE);
    let figures = format!(
        "disk: {} has {} of {} free",
        folder.display(),
        size(disk.free),
        size(disk.total)
    );
    let refusal = (disk.free < reserve).then(|| {
        format!(
            "the disk is nearly full: {} has {} of {} free, and {} are kept for the journal and a rollback; free some, for example with `docker image prune`",
            folder.display(),
            size(disk.free),
            size(disk.total),
            size(reserve)
        )
    });
    (figures, refusal)
}

/// `512 MiB`, `1.4 GiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let mut value = bytes as f64;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || value >= 100.0 {
        format!("{value:.0} {}", units[unit])
    } else {
        format!("{value:.1} {}", units[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(available: u64, cgroup: Option<u64>) -> Memory {
        Memory {
            available,
            swap_free: 0,
            cgroup,
            freed: 0,
        }
    }

    #[test]
    fn meminfo_is_read_in_bytes() {
        let text = "MemTotal: 8 kB\nMemAvailable:    1000 kB\nSwapFree:   24 kB\n";
        assert_eq!(parse_meminfo(text), (1_024_000, 24 * 1024));
    }

    #[test]
    fn a_copy_that_does_not_fit_is_refused_with_the_numbers() {
        let live = LiveUse {
            now: 300 * MIB,
            peak: 400 * MIB,
        };
        let (_, refusal) = memory_verdict(memory(380 * MIB, None), Some(live));
        let refusal = refusal.expect("380 MiB hold no 400 MiB");
        for number in ["400 MiB", "380 MiB", "20.0 MiB"] {
            assert!(refusal.contains(number), "{number} in {refusal}");
        }
    }

    #[test]
    fn a_cgroup_limit_counts_when_it_is_tighter() {
        let live = LiveUse {
            now: 10 * MIB,
            peak: 10 * MIB,
        };
        let (figures, refusal) = memory_verdict(memory(900 * MIB, Some(5 * MIB)), Some(live));
        assert!(
            figures.contains("5.0 MiB under the cgroup's limit"),
            "{figures}"
        );
        assert!(refusal.is_some());
        let (figures, refusal) = memory_verdict(memory(900 * MIB, Some(5000 * MIB)), Some(live));
        assert!(!figures.contains("cgroup"), "{figures}");
        assert!(refusal.is_none());
    }

    #[test]
    fn a_warm_color_makes_room_because_it_ends_first() {
        let live = LiveUse {
            now: 300 * MIB,
            peak: 400 * MIB,
        };
        let mut tight = memory(200 * MIB, None);
        assert!(memory_verdict(tight, Some(live)).1.is_some());
        tight.freed = 250 * MIB;
        let (figures, refusal) = memory_verdict(tight, Some(live));
        assert!(refusal.is_none(), "{refusal:?}");
        assert!(figures.contains("250 MiB of the old color"), "{figures}");
    }

    #[test]
    fn the_first_deploy_is_never_refused_for_memory() {
        assert!(memory_verdict(memory(1, None), None).1.is_none());
    }

    #[test]
    fn a_disk_reserve_is_kept_and_a_small_disk_keeps_less() {
        let gib = 1024 * MIB;
        let full = |free, total| disk_verdict(Path::new("/data"), Disk { free, total }).1;
        assert!(full(511 * MIB, 100 * gib).is_some());
        assert!(full(513 * MIB, 100 * gib).is_none());
        assert!(full(110 * MIB, 2 * gib).is_none());
        assert!(full(100 * MIB, 2 * gib).is_some());
        assert!(full(23 * MIB, 24 * MIB).is_some());
    }

    #[test]
    fn both_cgroup_versions_are_found() {
        let own = own_cgroups("9:memory:/a/b\n3:cpu:/a\n0::/system.slice/baton.service\n");
        assert!(own.contains(&PathBuf::from("/sys/fs/cgroup/memory/a")));
        assert!(own.contains(&PathBuf::from("/sys/fs/cgroup/system.slice/baton.service")));
        assert!(!own.contains(&PathBuf::from("/sys/fs/cgroup")));
    }
}
