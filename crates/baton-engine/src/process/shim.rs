//! `baton __shim FOLDER`: stands between the daemon and one instance, so that the instance outlives
//! the daemon and its end is written down (Engines.md §3).
//!
//! It starts no runtime and no thread, knows its orders from `spec.json` in FOLDER (nothing secret is
//! in its arguments or environment), and answers on its standard output: an empty answer when the
//! command runs, else why it does not.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};
use time::OffsetDateTime;

use super::folder::Folder;
use super::output::{self, Turn};
use super::spec::{Ended, ProcessRef, Running, Spec};
use super::{proc, sys, tap, user};
use crate::oom_score;

/// How often orphans are reaped and the output is looked at when nobody else does.
const LOOK_AROUND: Timespec = Timespec {
    tv_sec: 2,
    tv_nsec: 0,
};
/// Output that waits for longer than a reader would let it: then the shim reads.
const UNREAD: usize = 128 * 1024;
/// How long the shim goes after processes that are left over once the command has ended.
const SWEEP: Duration = Duration::from_secs(3);

/// The whole life of a shim. The binary's `main` calls this before anything else when its first
/// argument is `__shim`; the second is the instance's folder.
#[must_use]
pub fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(2) else {
        return ExitCode::from(2);
    };
    match run(folder) {
        // For the daemon that is still its parent, should the disk have been too full to write it.
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
        Err(reason) => {
            // The engine, if it still listens, shows this to the user.
            let _ = writeln!(io::stdout(), "{reason}");
            ExitCode::from(1)
        }
    }
}

fn run(folder: OsString) -> Result<i32, String> {
    let folder = Folder::at(folder);
    let say = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    // Fails only when it leads a session already.
    let _ = rustix::process::setsid();
    rustix::process::set_child_subreaper(Pid::from_raw(1))
        .map_err(|error| format!("cannot become a subreaper: {error}"))?;
    let spec = folder
        .spec()
        .map_err(say("cannot read its orders"))?
        .ok_or("its orders are gone")?;
    let oom_kills = proc::oom_kills();
    // Of the daemon's own protection nothing is passed on.
    let oom_score_adj = oom_score::at_least_usual();

    // Its ends of the outputs are held to the last: bytes in a FIFO that nobody has open are gone.
    let (child, _outputs) = match spec.birth.during(|| start(&folder, &spec)) {
        Ok(started) => started,
        Err(failure) => {
            let ended = failure.ended(oom_kills);
            // The reason goes to the engine all the same.
            let _ = folder.write("ended.json", &ended);
            return Err(failure.reason);
        }
    };
    drop(spec);
    let pid = i32::try_from(child.id()).map_err(|_| "the kernel gave a strange pid")?;
    announce(&folder, pid, (oom_kills, oom_score_adj)).inspect_err(|_| end_everything())?;
    let null = File::open("/dev/null").map_err(say("/dev/null"))?;
    sys::ignore_stop_signals();
    // Not permitted without privileges; then it is as likely to be killed as any other.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-500");
    sys::close_stdout(&null);
    Ok(stay_until_it_ends(&folder, pid))
}

/// Why a command does not run.
struct Failure {
    /// 127: not found; 126: found and refused, as shells say.
    code: i32,
    reason: String,
}

impl Failure {
    fn ended(&self, oom_kills: u64) -> Ended {
        Ended {
            code: self.code,
            error: Some(self.reason.clone()),
            ended_at: OffsetDateTime::now_utc(),
            oom_kills,
            oom_killed: false,
        }
    }
}

fn start(folder: &Folder, spec: &Spec) -> Result<(Child, [File; 2]), Failure> {
    let refuse = |reason: String| Failure { code: 126, reason };
    let service = &spec.service;
    let Some((program, arguments)) = service.command.split_first() else {
        return Err(refuse("command is empty".to_owned()));
    };
    let identity = service.user.as_deref().map(user::resolve).transpose();
    let identity = identity.map_err(|reason| refuse(format!("user: {reason}")))?;
    if !service.working_dir.is_dir() {
        return Err(refuse(format!(
            "working_dir {} is not a folder",
            service.working_dir.display()
        )));
    }
    let output = |name: &str| {
        let fifo = tap::make_fifo(&folder.file(name));
        fifo.and_then(|fifo| Ok((fifo.try_clone()?, fifo)))
            .map_err(|error| refuse(format!("cannot make its {name}: {error}")))
    };
    let (stdout, own_stdout) = output("stdout")?;
    let (stderr, own_stderr) = output("stderr")?;
    if let Some(identity) = &identity {
        // So that it may open /dev/stdout by its name.
        let owner = rustix::fs::Uid::from_raw(identity.uid);
        let _ = rustix::fs::fchown(&stdout, Some(owner), None);
        let _ = rustix::fs::fchown(&stderr, Some(owner), None);
    }
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(&service.environment)
        .current_dir(&service.working_dir)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .process_group(0);
    if let Some(port) = spec.port {
        command.env("PORT", port.to_string());
    }
    if let Some(identity) = &identity {
        if let Some(home) = &identity.home
            && !service.environment.contains_key("HOME")
        {
            command.env("HOME", home);
        }
        sys::run_as(&mut command, identity);
    }
    let child = command.spawn().map_err(|error| explain(spec, &error))?;
    Ok((child, [own_stdout, own_stderr]))
}

fn explain(spec: &Spec, error: &io::Error) -> Failure {
    let program = spec.service.command.first().map_or("", String::as_str);
    let (code, next) = match error.kind() {
        io::ErrorKind::NotFound if program.contains('/') => (
            127,
            "check the path (a relative one counts from working_dir) and, for a script, its first line",
        ),
        io::ErrorKind::NotFound => (
            127,
            "it is in no folder of the service's PATH; write its whole path in `command`, or set PATH in `environment`",
        ),
        io::ErrorKind::PermissionDenied if spec.service.user.is_some() => (
            126,
            "check that it may be executed by that `user`, and that Baton runs as root, which changing the user needs",
        ),
        io::ErrorKind::PermissionDenied => (126, "check that the file may be executed (chmod +x)"),
        _ => (126, "check that it is a program for this machine"),
    };
    Failure {
        code,
        reason: format!("cannot execute {program:?}: {error}; {next}"),
    }
}

/// Writes down that it runs. A command that nobody could find again must not run on.
fn announce(
    folder: &Folder,
    pid: i32,
    (oom_kills, oom_score_adj): (u64, i32),
) -> Result<(), String> {
    let itself = i32::try_from(std::process::id()).ok();
    let (Some(shim), Some(child)) = (itself.and_then(ProcessRef::of), ProcessRef::of(pid)) else {
        return Err("cannot read /proc, which is needed to follow processes".to_owned());
    };
    let running = Running {
        shim,
        child,
        boot: proc::boot_id(),
        started_at: OffsetDateTime::now_utc(),
        oom_kills,
        oom_score_adj,
    };
    folder
        .write("running.json", &running)
        .map_err(|error| format!("cannot write {}: {error}", folder.path().display()))
}

/// Waits for the command, reaping orphans; writes down how it ended; takes what it left behind along,
/// as a container's end does.
fn stay_until_it_ends(folder: &Folder, pid: i32) -> i32 {
    let watched = Pid::from_raw(pid)
        .and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
    let code = loop {
        if let Some(code) = reap(pid) {
            break code;
        }
        wait_a_while(watched.as_ref());
        // Nobody is there to be told; the next look tries again.
        let _ = read_if_nobody_does(folder);
    };
    let ended = Ended {
        code,
        error: None,
        ended_at: OffsetDateTime::now_utc(),
        oom_kills: proc::oom_kills(),
        oom_killed: false,
    };
    // On a disk that is full the exit code of the shim itself still tells it.
    let _ = folder.write("ended.json", &ended);
    end_everything();
    // Nobody is there to be told.
    let _ = read_the_last_words(folder);
    code
}

fn wait_a_while(watched: Option<&OwnedFd>) {
    match watched {
        Some(pidfd) => {
            let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
            // Interrupted or over: either way the next thing is to look.
            let _ = rustix::event::poll(&mut fds, Some(&LOOK_AROUND));
        }
        None => std::thread::sleep(Duration::from_millis(50)),
    }
}

/// Reaps whatever has ended; the exit code if `pid` was among it.
fn reap(pid: i32) -> Option<i32> {
    while let Ok(Some((ended, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if ended.as_raw_nonzero().get() == pid {
            let signal = || status.terminating_signal().map(|signal| 128 + signal);
            return status.exit_status().or_else(signal).or(Some(255));
        }
    }
    None
}

/// Kills every process below this one, and goes on until none is left.
fn end_everything() {
    let Ok(itself) = i32::try_from(std::process::id()) else {
        return;
    };
    let until = Instant::now() + SWEEP;
    while Instant::now() < until {
        match rustix::process::wait(WaitOptions::NOHANG) {
            // One that ended; there may be more.
            Ok(Some(_)) => continue,
            Ok(None) => {}
            // No child is left, and so nothing below one: orphans would have become its own.
            Err(_) => return,
        }
        let rest = proc::descendants(itself);
        for stat in rest {
            if let Some(pid) = Pid::from_raw(stat.pid) {
                // It may have ended by itself.
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// While no daemon runs the command must not block on its output.
fn read_if_nobody_does(folder: &Folder) -> io::Result<()> {
    let [mut stdout, mut stderr] = output::open(folder)?;
    if stdout.waiting().max(stderr.waiting()) < UNREAD {
        return Ok(());
    }
    match Turn::take(folder, [&stdout, &stderr])? {
        Some(mut turn) => turn.drain([&mut stdout, &mut stderr], false).map(drop),
        None => Ok(()),
    }
}

/// What is in the FIFOs goes with this process, and so may a daemon that has not read it yet.
fn read_the_last_words(folder: &Folder) -> io::Result<()> {
    let [mut stdout, mut stderr] = output::open(folder)?;
    let until = Instant::now() + output::LAST_WORDS;
    while output::drain_the_rest(folder, [&mut stdout, &mut stderr])?.is_none()
        && Instant::now() < until
    {
        std::thread::sleep(output::RETRY_LAST);
    }
    Ok(())
}
