//! A memory cgroup of the test's own (v1), so that a small machine can be played on a large one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::wait_for;

const ROOT: &str = "/sys/fs/cgroup/memory";

pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    /// With this limit in MiB.
    ///
    /// # Panics
    /// When it cannot be made: a test of small memory has nothing to say without it.
    pub(crate) fn of_mib(limit: u64) -> Cgroup {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("baton-test-{}-{number}", std::process::id());
        let folder = Path::new(ROOT).join(name);
        let made = fs::create_dir(&folder).and_then(|()| {
            let bytes = (limit << 20).to_string();
            fs::write(folder.join("memory.limit_in_bytes"), bytes)
        });
        if let Err(error) = made {
            panic!(
                "{}: {error}: this test needs root and the memory controller of cgroup v1",
                folder.display()
            );
        }
        Cgroup(folder)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.0
    }

    /// How many of its processes the kernel has killed for want of memory.
    pub(crate) fn kills(&self) -> u64 {
        let text = fs::read_to_string(self.0.join("memory.oom_control")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.and_then(|count| count.parse().ok()).unwrap()
    }
}

impl Drop for Cgroup {
    /// Its processes have been asked to end by now.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = fs::remove_dir(&self.0);
        } else {
            wait_for("the cgroup to be empty", Duration::from_secs(30), || {
                fs::remove_dir(&self.0).ok()
            });
        }
    }
}
