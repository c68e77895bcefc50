//! `baton __start`: starts the new daemon, says its process id, and ends.
//!
//! Were the new process a child of the old one, systemd could not hear of its end for as long as the old one
//! finishes its streams: it is told of processes whose parent is PID 1. It would then not start the daemon
//! again, and nobody would serve (systemd logs "Supervising process N which is not our child").

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{ChildStderr, Command, ExitCode, Stdio};
use std::{env, io};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::link::Link;

/// The first argument of a starter; the program and its arguments follow.
pub const START: &str = "__start";

/// What a starter says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Started {
    Pid(u32),
    /// The number of the error, as the kernel gave it.
    Failed(Option<i32>),
}

/// A process that has no parent but PID 1.
#[derive(Debug)]
pub(super) struct Orphan {
    pid: u32,
    /// None: it had ended before it could be looked at.
    process: Option<OwnedFd>,
}

impl Orphan {
    /// Starts `binary` without the variables of `without`, with `stdin`, this process's standard output, and a
    /// pipe for its standard error.
    pub(super) fn start(
        binary: &Path,
        arguments: &[OsString],
        without: &[&str],
        stdin: &OwnedFd,
    ) -> io::Result<(Orphan, Option<ChildStderr>)> {
        let (here, there) = UnixStream::pair()?;
        // This very program, even when its file has been replaced since.
        let mut starter = Command::new("/proc/self/exe");
        starter.arg(START).arg(binary).args(arguments);
        for name in without {
            starter.env_remove(name);
        }
        starter
            .stdin(Stdio::from(OwnedFd::from(there)))
            .stderr(Stdio::piped());
        let mut child = starter.spawn()?;
        // Its own end of the socket is closed with it: a starter that dies is heard.
        drop(starter);
        let mut link = Link::new(here);
        let said = link
            .send_descriptors(&[stdin.as_fd()])
            .and_then(|()| link.receive());
        let stderr = child.stderr.take();
        // A starter that still waits for something is not waited for in vain.
        drop(link);
        child.wait()?;
        match said? {
            Started::Failed(Some(number)) => Err(io::Error::from_raw_os_error(number)),
            Started::Failed(None) => Err(io::ErrorKind::Other.into()),
            Started::Pid(pid) => {
                let process = id(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
                Ok((Orphan { pid, process }, stderr))
            }
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Kills it, and waits for its end. Gone already is as good.
    pub(super) fn end(&self) {
        if let Some(process) = &self.process {
            let _ = pidfd_send_signal(process, Signal::KILL);
            let mut ended = [PollFd::new(process, PollFlags::IN)];
            while poll(&mut ended, None) == Err(rustix::io::Errno::INTR) {}
        }
    }
}

fn id(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// The whole life of a starter.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(2).collect();
    match start(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        // The old process finds the link closed.
        Err(_) => ExitCode::FAILURE,
    }
}

fn start(arguments: &[OsString]) -> io::Result<()> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    let mut link = Link::new(UnixStream::from(socket));
    let (binary, rest) = arguments.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let stdin = link.receive_descriptors(1)?.pop();
    let stdin = stdin.ok_or(io::ErrorKind::UnexpectedEof)?;
    let started = match Command::new(binary).args(rest).stdin(stdin).spawn() {
        // Not waited for: this process ends first.
        Ok(child) => Started::Pid(child.id()),
        Err(error) => Started::Failed(error.raw_os_error()),
    };
    link.send(&started)
}
