//! Whose turn it is to read what an instance writes.
//!
//! One reader at a time, over all processes: a daemon's while the command runs, the shim's where no
//! daemon is, and the shim's for its last words. Those are the ones that could be lost: bytes in a FIFO
//! that nobody has open any more are gone. So
//!
//! - nobody takes a turn who does not have both FIFOs open,
//! - a daemon ends its turn when the command has ended, and
//! - the shim, which has had them open all along, does not go before all is in the log.
//!
//! Where the shim was killed, the daemons are what is left, and one of them reads the rest.

use std::fs::File;
use std::io;
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

use super::folder::{Folder, private_file};
use super::log::LogFile;
use super::sys;
use super::tap::Tap;

/// How often somebody looks whether it is his turn.
const RETRY: Duration = Duration::from_millis(200);
/// The same for the last words, which somebody waits for.
pub(super) const RETRY_LAST: Duration = Duration::from_millis(2);
/// How long the last words are waited for while another one reads. He has the FIFOs open, too, so that
/// they are lost only if he hangs for so long and is killed then.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(10);

/// The right to read an instance's outputs, and the log where they go.
#[derive(Debug)]
pub(super) struct Turn {
    log: LogFile,
    /// Held for its lock, and dropped last.
    _lock: File,
}

impl Turn {
    /// None while somebody else reads. `_open`: both outputs.
    pub(super) fn take(folder: &Folder, _open: [&Tap; 2]) -> io::Result<Option<Turn>> {
        let lock = private_file()
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.file("reader"))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Turn {
                log: LogFile::open(folder.path())?,
                _lock: lock,
            })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Moves every whole line of both to the log; with `all`, also one without its end. Bytes moved.
    pub(super) fn drain(&mut self, taps: [&mut Tap; 2], all: bool) -> io::Result<usize> {
        // What is wrong with one is no reason to leave the other.
        let [out, err] = taps.map(|tap| tap.drain(&mut self.log, all));
        Ok(out? + err?)
    }
}

/// Opens both outputs.
pub(super) fn open(folder: &Folder) -> io::Result<[Tap; 2]> {
    Ok([Tap::open(folder, false)?, Tap::open(folder, true)?])
}

/// Moves what is left of a command that has ended, whole lines or not. Bytes moved; None while another
/// one has his turn, and has not moved it yet.
pub(super) fn drain_the_rest(folder: &Folder, taps: [&mut Tap; 2]) -> io::Result<Option<usize>> {
    let [stdout, stderr] = taps;
    match Turn::take(folder, [stdout, stderr])? {
        Some(mut turn) => turn.drain([stdout, stderr], true).map(Some),
        // Nothing leaves a FIFO before it is in the log.
        None => Ok((stdout.waiting() + stderr.waiting() == 0).then_some(0)),
    }
}

/// Both outputs of an instance as a daemon reads them.
#[derive(Default)]
pub(super) struct Output(Option<Reader>);

/// In this order, so that a turn ends before the outputs are closed.
struct Reader {
    turn: Option<Turn>,
    taps: [AsyncFd<Tap>; 2],
}

impl Output {
    /// Waits for output, or for the turn to read it, and moves it to the log. Bytes moved.
    /// Cancel safe: all moving happens without a pause after the last wait.
    pub(super) async fn read(&mut self, folder: &Folder) -> io::Result<usize> {
        let Some((taps, turn)) = self.on_turn(folder).await? else {
            return Ok(0);
        };
        let [stdout, stderr] = taps;
        let mut ready = tokio::select! {
            ready = stdout.readable_mut() => ready,
            ready = stderr.readable_mut() => ready,
        }?;
        let moved = ready.get_inner_mut().drain(&mut turn.log, false);
        ready.clear_ready();
        moved
    }

    /// None when it was somebody else's turn, after a while.
    async fn on_turn(
        &mut self,
        folder: &Folder,
    ) -> io::Result<Option<(&mut [AsyncFd<Tap>; 2], &mut Turn)>> {
        match self.try_turn(folder) {
            Ok(true) => {}
            Ok(false) => tokio::time::sleep(RETRY).await,
            Err(error) => {
                tokio::time::sleep(RETRY).await;
                return Err(error);
            }
        }
        let reader = self.0.as_mut();
        Ok(reader.and_then(|Reader { taps, turn }| Some((taps, turn.as_mut()?))))
    }

    fn try_turn(&mut self, folder: &Folder) -> io::Result<bool> {
        let reader = self.opened(folder)?;
        if reader.turn.is_none() {
            let [stdout, stderr] = &reader.taps;
            reader.turn = Turn::take(folder, [stdout.get_ref(), stderr.get_ref()])?;
        }
        Ok(reader.turn.is_some())
    }

    fn opened(&mut self, folder: &Folder) -> io::Result<&mut Reader> {
        let reader = match self.0.take() {
            Some(reader) => reader,
            None => {
                let [stdout, stderr] = open(folder)?;
                Reader {
                    turn: None,
                    taps: [sys::watch(stdout)?, sys::watch(stderr)?],
                }
            }
        };
        Ok(self.0.insert(reader))
    }

    /// Leaves the reading to others, and keeps both outputs open until they have done it.
    pub(super) fn leave(&mut self, folder: &Folder) -> io::Result<usize> {
        let Reader { taps, turn } = self.opened(folder)?;
        match turn.take() {
            Some(mut turn) => turn.drain(taps.each_mut().map(AsyncFd::get_mut), false),
            None => Ok(0),
        }
    }

    /// Moves what is left once nothing writes any more, or waits until another one has done so.
    pub(super) async fn finish(mut self, folder: &Folder) -> io::Result<usize> {
        let until = tokio::time::Instant::now() + LAST_WORDS;
        let Reader { taps, turn } = self.opened(folder)?;
        drop(turn.take());
        loop {
            let taps = taps.each_mut().map(AsyncFd::get_mut);
            if let Some(moved) = drain_the_rest(folder, taps)? {
                return Ok(moved);
            }
            if tokio::time::Instant::now() > until {
                return Ok(0);
            }
            tokio::time::sleep(RETRY_LAST).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::tap::make_fifo;
    use std::io::Write;

    #[test]
    fn one_reads_at_a_time_and_the_rest_waits_for_him() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = Folder::at(dir.path());
        let mut stdout = make_fifo(&folder.file("stdout")).expect("a fifo");
        let _stderr = make_fifo(&folder.file("stderr")).expect("a fifo");
        let [mut out, mut err] = open(&folder).expect("open");
        let take = || Turn::take(&folder, [&out, &err]).expect("no error");
        let mut first = take().expect("it is free");
        assert!(take().is_none());

        stdout.write_all(b"one\nbye").expect("written");
        let mut rest = || drain_the_rest(&folder, [&mut out, &mut err]).expect("no error");
        assert_eq!(rest(), None);
        let [mut own_out, mut own_err] = open(&folder).expect("open");
        let moved = first.drain([&mut own_out, &mut own_err], false);
        assert_eq!(moved.expect("drained"), 4);
        // One that only the end makes a line.
        assert_eq!(rest(), None);
        let moved = first.drain([&mut own_out, &mut own_err], true);
        assert_eq!(moved.expect("drained"), 3);
        assert_eq!(rest(), Some(0));

        stdout.write_all(b"last").expect("written");
        assert_eq!(rest(), None);
        drop(first);
        assert_eq!(rest(), Some(4));
        let log = std::fs::read_to_string(folder.file("log")).expect("a log");
        let lines = log.lines().filter_map(|line| line.rsplit(' ').next());
        assert_eq!(lines.collect::<Vec<_>>(), ["one", "bye", "last"]);
    }
}
