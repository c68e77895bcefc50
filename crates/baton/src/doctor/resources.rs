//! Memory, disk, open files, the clock.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use baton_compose::EngineKind;
use baton_deploy::machine::{self, Memory};
use rustix::process::{Resource, getrlimit};

use super::Finding;

/// A second copy of a small app wants as much.
const LITTLE_MEMORY: u64 = 128 * 1024 * 1024;
/// Two for each connection, and what Baton itself has open.
const FEW_FILES: u64 = 8192;
/// A binary may have been built in another time zone's tomorrow.
const DAY: Duration = Duration::from_secs(86_400);

pub(super) fn memory() -> Option<Finding> {
    const CHECK: &str = "memory";
    let memory = Memory::read(EngineKind::Docker);
    let text = memory.describe();
    if memory.left() < LITTLE_MEMORY {
        return Some(Finding::warning(
            CHECK,
            text,
            "a second copy of the app hardly fits: `overlap: preferred` stops the old one first then, or add swap",
        ));
    }
    Some(Finding::well(CHECK, text))
}

pub(super) fn disks(data: &Path) -> Vec<Finding> {
    const CHECK: &str = "disk";
    let there = data.ancestors().find(|folder| folder.exists());
    let disks = machine::disks(EngineKind::Docker, there.unwrap_or(Path::new("/")));
    let finding = |(figures, refusal): (String, Option<String>)| {
        let text = figures.trim_start_matches("disk: ").to_owned();
        match refusal {
            None => Finding::well(CHECK, text),
            Some(refusal) => Finding::wrong(CHECK, text, refusal),
        }
    };
    disks.into_iter().map(finding).collect()
}

pub(super) fn open_files() -> Finding {
    const CHECK: &str = "files";
    match getrlimit(Resource::Nofile).maximum {
        Some(limit) if limit < FEW_FILES => Finding::warning(
            CHECK,
            format!(
                "at most {limit} open files, which is about {} connections",
                limit / 2
            ),
            "raise LimitNOFILE of the service, or `ulimit -Hn`",
        ),
        Some(limit) => Finding::well(CHECK, format!("{limit} open files")),
        None => Finding::well(CHECK, "open files without a limit"),
    }
}

/// Certificates, `Retry-After` and receipts go by it.
pub(super) fn clock() -> Finding {
    const CHECK: &str = "clock";
    const NEXT: &str =
        "`timedatectl set-ntp true`; certificates are refused when the clock is wrong";
    if is_before_this_binary() {
        return Finding::wrong(
            CHECK,
            "the clock is behind: this program is newer than today",
            NEXT,
        );
    }
    let asked = Command::new("timedatectl")
        .args(["show", "--property=NTPSynchronized", "--value"])
        .output();
    match asked {
        Ok(output) if output.stdout.starts_with(b"no") => {
            Finding::warning(CHECK, "nothing keeps the clock right", NEXT)
        }
        Ok(output) if output.stdout.starts_with(b"yes") => {
            Finding::well(CHECK, "the clock is kept right")
        }
        _ => Finding::well(
            CHECK,
            "the clock is plausible; who keeps it right is not known here",
        ),
    }
}

fn is_before_this_binary() -> bool {
    let built = std::env::current_exe()
        .and_then(std::fs::metadata)
        .and_then(|file| file.modified());
    built.is_ok_and(|built| SystemTime::now() + DAY < built)
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn this_machine_has_a_clock_and_files() {
        assert_ne!(clock().state, State::Wrong);
        assert!(open_files().text.contains("open files"));
        assert!(memory().is_some_and(|finding| finding.text.contains("available")));
    }
}
