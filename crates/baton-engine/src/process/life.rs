//! Follows one process from its start, or from its adoption, to its end: reads what it writes, sees
//! its end at once, and settles how it ended.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use time::OffsetDateTime;
use tokio::io::unix::AsyncFd;
use tokio::sync::{broadcast, watch};

use super::folder::{Folder, exit_of};
use super::oom::OomWitness;
use super::output::Output;
use super::spec::{Ended, ProcessRef, Running, Spec};
use super::{proc, sys};
use crate::{EngineEvent, Exit, InstanceId};

/// A process that runs, or has just ended.
pub(super) struct Life {
    pub(super) id: InstanceId,
    pub(super) folder: Folder,
    pub(super) spec: Spec,
    pub(super) running: Running,
    /// None while it runs.
    ended: watch::Sender<Option<Exit>>,
    /// Changes whenever something was appended to its log.
    written: watch::Sender<u64>,
}

impl Life {
    pub(super) fn new(folder: Folder, spec: Spec, running: Running) -> Life {
        Life {
            id: spec.id(),
            folder,
            spec,
            running,
            ended: watch::Sender::new(None),
            written: watch::Sender::new(0),
        }
    }

    /// Waits for the end.
    pub(super) async fn ended(&self) -> Exit {
        let mut ended = self.ended.subscribe();
        // `self` holds the sender, so that this cannot fail; were it to, the end is unknown.
        match ended.wait_for(Option::is_some).await {
            Ok(exit) => exit.clone(),
            Err(_) => None,
        }
        .unwrap_or_else(|| exit_of(None, Some(&self.running)))
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    pub(super) fn written(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    /// Sends a signal to the process group of the command, if that is still the same.
    pub(super) fn signal(&self, signal: Signal) {
        let child = &self.running.child;
        if child.lives()
            && let Some(pid) = Pid::from_raw(child.pid)
        {
            // It may end between the two lines; its pid is not given away before the shim reaps it.
            let _ = rustix::process::kill_process_group(pid, signal);
        }
    }

    /// Kills the process group and everything that left it.
    pub(super) fn kill(&self) {
        for stat in self.processes() {
            if stat.reference().lives()
                && let Some(pid) = Pid::from_raw(stat.pid)
            {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
        self.signal(Signal::KILL);
    }

    /// The command and all below it; below its shim, which adopts orphans, as long as that lives.
    pub(super) fn processes(&self) -> Vec<proc::Stat> {
        if self.running.shim.lives() {
            return proc::descendants(self.running.shim.pid);
        }
        let child = Some(self.running.child).filter(ProcessRef::lives);
        child
            .and_then(|child| proc::Stat::read(child.pid))
            .into_iter()
            .flat_map(|stat| std::iter::once(stat).chain(proc::descendants(stat.pid)))
            .collect()
    }

    /// Follows it to its end, and tells `events`. Returns early when `engine` is closed: the process
    /// goes on, and whoever comes next adopts it.
    pub(super) async fn follow(
        &self,
        oom: &OomWitness,
        events: &broadcast::Sender<EngineEvent>,
        mut engine: watch::Receiver<()>,
    ) {
        let mut output = Output::default();
        let mut warned = false;
        // Both at once: the end of one that was killed would not be seen later.
        let [child, shim] = [self.running.child, self.running.shim].map(open);
        if let Some(child) = child {
            loop {
                tokio::select! {
                    // The engine is gone: leave everything to the next one.
                    _ = engine.changed() => return,
                    // The command has ended.
                    _ = child.readable() => break,
                    // It has written something, or this reader has just got its turn.
                    moved = output.read(&self.folder) => self.tell_readers(moved, &mut warned),
                }
            }
        }
        // The shim reads its last words, and ends.
        let moved = output.leave(&self.folder);
        self.tell_readers(moved, &mut warned);
        let mut code_of_shim = None;
        if let Some(shim) = shim {
            tokio::select! {
                _ = engine.changed() => return,
                _ = shim.readable() => code_of_shim = reap(shim.as_fd()),
            }
        }
        let exit = self.settle(code_of_shim, oom);
        tokio::select! {
            _ = engine.changed() => return,
            moved = output.finish(&self.folder) => self.tell_readers(moved, &mut warned),
        }
        self.ended.send_replace(Some(exit.clone()));
        // Nobody may be listening.
        let _ = events.send(EngineEvent::Exited {
            id: self.id.clone(),
            slot: Some(self.spec.slot.clone()),
            exit,
        });
    }

    fn tell_readers(&self, moved: io::Result<usize>, warned: &mut bool) {
        match moved {
            Ok(0) => {}
            Ok(bytes) => self.written.send_modify(|total| *total += bytes as u64),
            // Once: a full disk stays full for a while, and every line would tell it.
            Err(_) if *warned => {}
            Err(error) => {
                *warned = true;
                tracing::warn!(instance = %self.id, %error, "output could not be kept");
            }
        }
    }

    /// Reads how it ended, decides whether memory ran out, and writes that down.
    fn settle(&self, code_of_shim: Option<i32>, oom: &OomWitness) -> Exit {
        let written = self.folder.ended().unwrap_or_else(|error| {
            tracing::warn!(instance = %self.id, %error, "its end cannot be read");
            None
        });
        let shim_was_killed = code_of_shim.is_some_and(|code| code > 128) && written.is_none();
        let ended = written.or_else(|| {
            let code = code_of_shim.filter(|_| !shim_was_killed)?;
            Some(Ended {
                code,
                error: None,
                ended_at: OffsetDateTime::now_utc(),
                oom_kills: proc::oom_kills(),
                oom_killed: false,
            })
        });
        let Some(mut ended) = ended else {
            return exit_of(None, Some(&self.running));
        };
        let oom_killed = ended.code == 128 + Signal::KILL.as_raw()
            && !self.folder.was_killed()
            && oom.saw_one(ended.oom_kills, self.running.oom_kills);
        // Otherwise it is written down as it is: two fsyncs would only delay the news.
        if oom_killed {
            ended.oom_killed = true;
            if let Err(error) = self.folder.write("ended.json", &ended) {
                tracing::warn!(instance = %self.id, %error, "its end cannot be written down");
            }
        }
        ended.exit()
    }
}

/// A descriptor that becomes readable when `process` ends; None when it has ended.
fn open(process: ProcessRef) -> Option<AsyncFd<OwnedFd>> {
    let pid = Pid::from_raw(process.pid).filter(|_| process.pid > 1)?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
    // Asked after the opening, so that the descriptor is known to be this process.
    if !process.lives() {
        return None;
    }
    sys::watch(pidfd).ok()
}

/// Ends the zombie, if it is a child of this daemon and not of a former one; its exit code.
fn reap(pidfd: std::os::fd::BorrowedFd<'_>) -> Option<i32> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    let status = rustix::process::waitid(WaitId::PidFd(pidfd), options).ok()??;
    let signal = || status.terminating_signal().map(|signal| 128 + signal);
    status.exit_status().or_else(signal)
}
