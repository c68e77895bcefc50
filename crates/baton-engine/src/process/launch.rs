//! From a spec to a process that runs behind its shim.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

use super::folder::Folder;
use super::spec::{Running, Spec};
use crate::EngineError;

/// How long a shim may take to run its command (a slow disk, a binary on a network file system).
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The program whose argument `__shim` runs [`super::shim::main`].
#[derive(Debug)]
pub struct ShimProgram {
    path: PathBuf,
    /// Keeps `/proc/self/fd/N` alive.
    _binary: Option<File>,
}

impl ShimProgram {
    /// This very binary, even when its file has been replaced by a newer one since.
    ///
    /// # Errors
    /// When `/proc` is not there.
    pub fn this_binary() -> Result<ShimProgram, EngineError> {
        let binary = File::open("/proc/self/exe").map_err(|error| EngineError::Missing {
            what: "/proc",
            reason: format!("/proc/self/exe: {error}"),
            next: "mount it: the process engine cannot follow processes without".to_owned(),
        })?;
        Ok(ShimProgram {
            path: PathBuf::from(format!("/proc/self/fd/{}", binary.as_raw_fd())),
            _binary: Some(binary),
        })
    }

    /// Another binary, by its absolute path.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> ShimProgram {
        ShimProgram {
            path: path.into(),
            _binary: None,
        }
    }
}

/// Starts `spec`; returns once its command has been executed. On an error nothing of it runs; its
/// folder stays, so that the failure can be looked at. Blocks for some milliseconds.
pub(super) fn launch(
    root: &Path,
    program: &ShimProgram,
    spec: &Spec,
) -> Result<(Folder, Running), EngineError> {
    let fail = |reason: String| EngineError::Start {
        what: spec.title(),
        reason,
    };
    let io = |what: &'static str| move |error: std::io::Error| fail(format!("{what}: {error}"));
    let folder = Folder::create(root, spec).map_err(io("cannot write its state folder"))?;
    let locked = folder
        .lock_for_shim()
        .map_err(io("cannot lock its state folder"))?;
    let mut shim = Command::new(&program.path)
        .arg0("baton")
        .arg("__shim")
        .arg(folder.path())
        .env_clear()
        .current_dir("/")
        .stdin(locked)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(io("cannot start its shim"))?;
    let answer = match shim.stdout.as_mut().map(read_answer) {
        Some(Ok(answer)) => answer,
        Some(Err(error)) => {
            // It has not executed the command yet, so nothing is left behind.
            let _ = shim.kill().and_then(|()| shim.wait());
            return Err(io("its shim does not answer")(error));
        }
        None => String::new(),
    };
    if answer.is_empty()
        && let Some(running) = folder.running().map_err(io("cannot read its state"))?
    {
        // The shim is not waited for here: whoever follows the instance reaps it.
        return Ok((folder, running));
    }
    // It has answered, so it ends by itself; what remains is to reap it.
    let status = shim.wait().map_err(io("its shim cannot be waited for"))?;
    Err(fail(match answer.trim() {
        "" => format!("its shim ended without an answer ({status})"),
        reason => reason.to_owned(),
    }))
}

fn read_answer(pipe: &mut std::process::ChildStdout) -> std::io::Result<String> {
    let timeout = Timespec {
        tv_sec: i64::try_from(START_TIMEOUT.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: 0,
    };
    let mut fds = [PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)];
    if rustix::event::poll(&mut fds, Some(&timeout))? == 0 {
        return Err(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            format!("no answer within {} s", START_TIMEOUT.as_secs()),
        ));
    }
    let mut answer = String::new();
    pipe.read_to_string(&mut answer)?;
    Ok(answer)
}
