//! One daemon a data folder.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::error::CliError;

/// Held as long as the daemon lives; the kernel releases it with the process, however that ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// As [`take`], but the process that holds it now is about to end, or has been killed.
///
/// # Errors
/// As [`take`], after `patience`.
pub fn take_within(data: &Path, patience: Duration) -> Result<Lock, CliError> {
    let until = Instant::now() + patience;
    loop {
        match take(data) {
            Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(10)),
            result => return result,
        }
    }
}

/// Makes the folder (0700) and locks it.
///
/// # Errors
/// Another daemon holds it (its pid is named), or the folder cannot be used.
pub fn take(data: &Path) -> Result<Lock, CliError> {
    let at = |action: &str, error: &dyn std::fmt::Display| {
        CliError::Other(format!(
            "data folder {}: {action}: {error}\n  name another with --data, or start the daemon as a user who may write there",
            data.display()
        ))
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data)
        .map_err(|error| at("cannot make it", &error))?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(data.join("baton.lock"))
        .map_err(|error| at("cannot lock it", &error))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut pid = String::new();
        // The pid only helps to find the other one; without it the message still stands.
        let _ = file.read_to_string(&mut pid);
        let pid = match pid.trim() {
            "" => String::new(),
            pid => format!(" (pid {pid})"),
        };
        return Err(CliError::Other(format!(
            "another daemon{pid} runs on data folder {}\n  stop that one first, or give this one its own folder and socket with --data and --socket",
            data.display()
        )));
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(|error| at("cannot write the pid", &error))?;
    Ok(Lock { _file: file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_daemon_learns_who_the_first_is() {
        let folder = tempfile::tempdir().unwrap();
        let first = take(folder.path()).unwrap();
        let second = take(folder.path()).unwrap_err().to_string();
        assert!(
            second.contains(&format!("(pid {})", std::process::id())),
            "{second}"
        );
        drop(first);
        take(folder.path()).unwrap();
    }
}
