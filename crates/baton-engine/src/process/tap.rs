//! Moves output from an instance's FIFO to its log, so that a reader that is killed at any point
//! loses nothing.
//!
//! The waiting bytes are looked at with tee(2), which leaves them where they are; whole lines are
//! written to the log, and only then taken out of the FIFO. A kill between the two writes those lines
//! twice; it never loses one. Every end of the FIFO is opened read-write, so that neither the
//! command nor a reader ever sees it closed (no SIGPIPE, no end of file).

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags};

use super::folder::Folder;
use super::log::{LogFile, end_of_last_line};

/// What the command may write while nobody reads; the most that an unprivileged pipe may hold.
const FIFO_BYTES: usize = 1024 * 1024;
/// Most that is looked at in one go.
const BATCH: usize = 64 * 1024;
/// A longer line is cut, as Docker does.
const LINE: usize = 16 * 1024;

/// Makes a FIFO, or keeps the one that is there, and opens it for the command.
pub(super) fn make_fifo(path: &Path) -> io::Result<File> {
    match rustix::fs::mknodat(
        rustix::fs::CWD,
        path,
        FileType::Fifo,
        Mode::RUSR | Mode::WUSR,
        0,
    ) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let fifo = OpenOptions::new().read(true).write(true).open(path)?;
    // Refused where the user's pipes hold too much already: then the default size has to do.
    let _ = rustix::pipe::fcntl_setpipe_size(&fifo, FIFO_BYTES);
    Ok(fifo)
}

/// One reader's end of a FIFO.
#[derive(Debug)]
pub(super) struct Tap {
    stderr: bool,
    fifo: File,
    copy_out: File,
    copy_in: OwnedFd,
}

impl AsFd for Tap {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fifo.as_fd()
    }
}

impl std::os::fd::AsRawFd for Tap {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.fifo.as_raw_fd()
    }
}

impl Tap {
    pub(super) fn open(folder: &Folder, stderr: bool) -> io::Result<Tap> {
        let name = if stderr { "stderr" } else { "stdout" };
        let fifo = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(folder.file(name))?;
        let (copy_out, copy_in) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        Ok(Tap {
            stderr,
            fifo,
            copy_out: copy_out.into(),
            copy_in,
        })
    }

    /// Bytes that wait.
    pub(super) fn waiting(&self) -> usize {
        rustix::io::ioctl_fionread(&self.fifo)
            .map_or(0, |bytes| usize::try_from(bytes).unwrap_or(0))
    }

    /// Moves every whole line to the log; with `all`, also one without its end. Returns the bytes moved.
    pub(super) fn drain(&mut self, log: &mut LogFile, all: bool) -> io::Result<usize> {
        let mut moved = 0;
        let mut buffer = Vec::new();
        loop {
            // Asked before the look: what is written between the two may be the end of the line, which
            // is then neither out of sight nor a reason to cut it.
            let waiting = self.waiting();
            let seen = self.peek(&mut buffer)?;
            let take = whole_lines(&buffer[..seen], all || seen < waiting);
            if take == 0 {
                return Ok(moved);
            }
            // A full disk must not stop the app: lines that cannot be kept are dropped.
            let kept = log.append(self.stderr, &buffer[..take]);
            self.fifo.read_exact(&mut buffer[..take])?;
            kept?;
            moved += take;
        }
    }

    /// Copies what waits, up to a batch, and leaves it in the FIFO.
    fn peek(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        if self.waiting() == 0 {
            return Ok(0);
        }
        buffer.resize(BATCH, 0);
        match rustix::pipe::tee(&self.fifo, &self.copy_in, BATCH, SpliceFlags::NONBLOCK) {
            Ok(seen) => {
                self.copy_out.read_exact(&mut buffer[..seen])?;
                Ok(seen)
            }
            Err(Errno::AGAIN) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}

/// How much of `bytes` may be moved. `more`: what follows is not coming, or is there but out of
/// sight, so that a line without an end in sight is cut rather than waited for.
fn whole_lines(bytes: &[u8], more: bool) -> usize {
    match end_of_last_line(bytes) {
        0 if more => bytes.len(),
        0 if bytes.len() >= LINE => LINE,
        end => end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn text(folder: &Folder) -> String {
        std::fs::read_to_string(folder.file("log")).unwrap_or_default()
    }

    #[test]
    fn a_line_stays_in_the_fifo_until_its_end_is_there() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = Folder::at(dir.path());
        let mut command = make_fifo(&folder.file("stdout")).expect("a fifo");
        let mut log = LogFile::open(folder.path()).expect("a log");
        let mut tap = Tap::open(&folder, false).expect("a tap");

        command.write_all(b"whole\nhal").expect("written");
        assert_eq!(tap.drain(&mut log, false).expect("drained"), 6);
        assert_eq!(tap.waiting(), 3);
        // Another reader takes over and sees the line from its start.
        drop(tap);
        let mut tap = Tap::open(&folder, false).expect("a tap");
        command.write_all(b"f\nend").expect("written");
        assert_eq!(tap.drain(&mut log, false).expect("drained"), 5);
        assert_eq!(tap.drain(&mut log, true).expect("drained"), 3);

        let log = text(&folder);
        let lines: Vec<&str> = log
            .lines()
            .map(|line| line.rsplit(' ').next().unwrap_or(""))
            .collect();
        assert_eq!(lines, ["whole", "half", "end"]);
    }

    #[test]
    fn a_line_without_end_is_cut_and_does_not_block_the_app() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = Folder::at(dir.path());
        let mut command = make_fifo(&folder.file("stderr")).expect("a fifo");
        let mut log = LogFile::open(folder.path()).expect("a log");
        let mut tap = Tap::open(&folder, true).expect("a tap");
        for _ in 0..40 {
            command.write_all(&[b'x'; 16 * 1024]).expect("written");
            tap.drain(&mut log, false).expect("drained");
        }
        assert_eq!(tap.waiting(), 0);
        assert_eq!(
            text(&folder).bytes().filter(|byte| *byte == b'x').count(),
            40 * 16 * 1024
        );
    }

    #[test]
    fn a_line_that_comes_in_two_writes_is_never_cut_between_them() {
        const LINES: usize = 3_000;
        let dir = tempfile::tempdir().expect("a folder");
        let folder = Folder::at(dir.path());
        let mut command = make_fifo(&folder.file("stdout")).expect("a fifo");
        let mut log = LogFile::open(folder.path()).expect("a log");
        let mut tap = Tap::open(&folder, false).expect("a tap");
        let writer = std::thread::spawn(move || {
            for number in 0..LINES {
                // The reader has caught up: it sees the first half alone.
                while rustix::io::ioctl_fionread(&command).expect("asked") > 0 {
                    std::thread::yield_now();
                }
                command.write_all(b"line ").expect("written");
                command
                    .write_all(format!("{number}\n").as_bytes())
                    .expect("written");
            }
            // Its end of the FIFO stays open until all is read.
            command
        });
        while !writer.is_finished() {
            tap.drain(&mut log, false).expect("drained");
        }
        tap.drain(&mut log, false).expect("drained");

        let log = text(&folder);
        let lines = log.lines().map(|line| line.splitn(3, ' ').nth(2));
        let mut count = 0;
        for (number, line) in lines.enumerate() {
            assert_eq!(line, Some(format!("line {number}").as_str()));
            count += 1;
        }
        assert_eq!(count, LINES);
    }
}
