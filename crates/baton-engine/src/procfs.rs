//! `/proc/<pid>`, held open: what is read and written through it is of that very process, even when
//! its number has been given to another one meanwhile.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

#[derive(Debug)]
pub(crate) struct ProcFolder(OwnedFd);

impl ProcFolder {
    /// None when there is no such process, and for one that must never be touched (Engines.md §2).
    pub(crate) fn open(pid: i64) -> Option<ProcFolder> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path = format!("/proc/{pid}");
        let open = || rustix::fs::open(path, flags, Mode::empty()).ok();
        (pid > 1).then(open).flatten().map(ProcFolder)
    }

    /// Every process that this one sees.
    pub(crate) fn all() -> impl Iterator<Item = ProcFolder> {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(ProcFolder::open)
    }

    /// # Errors
    /// `ESRCH` or `ENOENT` once it has ended; see [`is_gone`].
    pub(crate) fn read(&self, name: &str) -> io::Result<String> {
        let mut text = String::new();
        self.file(name, OFlags::RDONLY)?.read_to_string(&mut text)?;
        Ok(text)
    }

    /// In one write, as the kernel wants it.
    ///
    /// # Errors
    /// As [`ProcFolder::read`]; and where this process may not.
    pub(crate) fn write(&self, name: &str, text: &str) -> io::Result<()> {
        self.file(name, OFlags::WRONLY)?.write_all(text.as_bytes())
    }

    /// Ids of its threads.
    ///
    /// # Errors
    /// As [`ProcFolder::read`].
    pub(crate) fn threads(&self) -> io::Result<Vec<i32>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(&self.0, "task", flags, Mode::empty())?;
        let entries = rustix::fs::Dir::new(folder)?.flatten();
        let number = |name: &std::ffi::CStr| name.to_str().ok()?.parse().ok();
        Ok(entries
            .filter_map(|entry| number(entry.file_name()))
            .collect())
    }

    fn file(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.0, name, flags, Mode::empty())?;
        Ok(file.into())
    }
}

/// Sends SIGKILL to every process that `wanted` picks, but this one.
pub(crate) fn kill_all(wanted: impl Fn(&ProcFolder) -> bool) {
    let itself = rustix::process::getpid();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    for pid in pids.filter(|pid| *pid != itself && !pid.is_init()) {
        // Opened before it is looked at, so that the signal goes to the very one.
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
            continue;
        };
        let folder = ProcFolder::open(pid.as_raw_nonzero().get().into());
        if folder.is_some_and(|folder| wanted(&folder)) {
            // It may have ended by itself; another user's is not ours to end.
            let _ = pidfd_send_signal(&process, Signal::KILL);
        }
    }
}

/// The process has ended between two looks.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ESRCH | libc::ENOENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_process_is_gone_and_init_is_never_opened() {
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .expect("spawned");
        let folder = ProcFolder::open(child.id().into()).expect("it runs");
        assert!(folder.read("stat").expect("read").contains("(sleep)"));
        let own = child.id().to_string();
        kill_all(|one| {
            one.read("stat")
                .is_ok_and(|stat| stat.split(' ').next() == Some(&own))
        });
        child.wait().expect("reaped");
        assert!(is_gone(&folder.read("stat").expect_err("it has ended")));
        for pid in [-1, 0, 1] {
            assert!(ProcFolder::open(pid).is_none());
        }
    }
}
