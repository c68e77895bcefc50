//! The access log: one JSON object a line, written by a thread of its own.
//!
//! | module | does |
//! | --- | --- |
//! | [`format`] | a line, from what the proxy knows of a request |
//!
//! Requests hand their lines over through a bounded queue and never wait. The thread looks at the queue
//! every few milliseconds instead of being woken, so that a request does not even pay for the waking.

mod format;

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::num::NonZeroU32;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use baton_proxy::{AccessLog, Line};

use crate::error::CliError;

/// Lines that may wait to be written; about 2 MB.
const ROOM: usize = 8_192;
/// How often the queue is looked at while lines come.
const LOOK: Duration = Duration::from_millis(20);
/// Without a line for so long, the thread sleeps until one comes.
const QUIET: Duration = Duration::from_secs(2);
/// How long the last lines may take at the end.
const LAST_LINES: Duration = Duration::from_secs(2);
/// How often a destination that cannot be written is complained about.
const COMPLAIN: Duration = Duration::from_secs(60);

/// What `--access-log` and `--access-log-file` mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// One of so many requests has a line.
    pub every: NonZeroU32,
    /// None: standard output.
    pub file: Option<PathBuf>,
}

/// What the thread has done, and is asked to do.
#[derive(Debug, Default)]
struct Shared {
    written: AtomicU64,
    /// Could not be written.
    lost: AtomicU64,
    reopen: AtomicBool,
    ends: AtomicBool,
}

/// The thread that writes.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    dropped: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

/// What it has written and dropped so far, for metrics.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    shared: Arc<Shared>,
    dropped: Arc<AtomicU64>,
}

impl Counts {
    #[must_use]
    pub fn written(&self) -> u64 {
        self.shared.written.load(Relaxed)
    }

    /// The queue was full, or the destination took nothing.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed) + self.shared.lost.load(Relaxed)
    }
}

impl Writer {
    /// Opens the destination and starts the thread; the proxy gets the other end of the queue.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn start(wanted: &Wanted) -> Result<(Writer, AccessLog), CliError> {
        let out = open(wanted.file.as_deref())?;
        let (log, lines) = AccessLog::new(wanted.every, ROOM);
        let shared: Arc<Shared> = Arc::default();
        let work = Work {
            shared: Arc::clone(&shared),
            lines,
            file: wanted.file.clone(),
            out,
            complained: None,
        };
        let thread = std::thread::Builder::new()
            .name("baton-access-log".to_owned())
            .spawn(move || work.run())
            .map_err(|error| CliError::other("cannot start a thread", error))?;
        let writer = Writer {
            shared,
            dropped: log.dropped(),
            thread: Some(thread),
        };
        Ok((writer, log))
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            shared: Arc::clone(&self.shared),
            dropped: Arc::clone(&self.dropped),
        }
    }

    /// The file was moved away: the next line goes into a new one.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Relaxed);
    }

    /// Writes what still waits, and ends; a destination that takes nothing is not waited for.
    pub fn finish(&mut self) {
        self.shared.ends.store(true, Relaxed);
        let begun = Instant::now();
        let running = |writer: &Writer| writer.thread.as_ref().is_some_and(|t| !t.is_finished());
        while running(self) && begun.elapsed() < LAST_LINES {
            std::thread::sleep(Duration::from_millis(5));
        }
        if running(self) {
            tracing::warn!("the access log is not whole: its destination takes nothing");
        }
    }
}

fn open(file: Option<&Path>) -> Result<BufWriter<Box<dyn Write + Send>>, CliError> {
    let out: Box<dyn Write + Send> = match file {
        Some(path) => Box::new(append(path).map_err(|error| {
            CliError::Usage(format!(
                "--access-log-file {}: cannot write there: {error}",
                path.display()
            ))
        })?),
        None => Box::new(io::stdout()),
    };
    Ok(BufWriter::with_capacity(64 * 1024, out))
}

/// Clients' addresses are in it: not for everyone.
fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o640)
        .open(path)
}

struct Work {
    shared: Arc<Shared>,
    lines: Receiver<Line>,
    file: Option<PathBuf>,
    out: BufWriter<Box<dyn Write + Send>>,
    complained: Option<Instant>,
}

impl Work {
    fn run(mut self) {
        let mut last = Instant::now();
        loop {
            match self.next(last) {
                Ok(Some(line)) => {
                    last = Instant::now();
                    self.write(&line);
                }
                Ok(None) => {
                    if self.shared.ends.load(Relaxed) {
                        break;
                    }
                }
                Err(Gone) => break,
            }
        }
        self.flush();
    }

    /// None: there is none now, and what there was has been flushed.
    fn next(&mut self, last: Instant) -> Result<Option<Line>, Gone> {
        match self.lines.try_recv() {
            Ok(line) => return Ok(Some(line)),
            Err(TryRecvError::Disconnected) => return Err(Gone),
            Err(TryRecvError::Empty) => {}
        }
        self.flush();
        if self.shared.ends.load(Relaxed) {
            return Ok(None);
        }
        if last.elapsed() < QUIET {
            std::thread::sleep(LOOK);
            return Ok(None);
        }
        match self.lines.recv_timeout(Duration::from_millis(250)) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Gone),
        }
    }

    fn write(&mut self, line: &Line) {
        if self.shared.reopen.swap(false, Relaxed) {
            self.open_anew();
        }
        match format::write(line, &mut self.out) {
            Ok(()) => drop(self.shared.written.fetch_add(1, Relaxed)),
            Err(error) => self.failed(&error),
        }
    }

    fn flush(&mut self) {
        if let Err(error) = self.out.flush() {
            self.failed(&error);
        }
    }

    fn open_anew(&mut self) {
        self.flush();
        match open(self.file.as_deref()) {
            Ok(out) => self.out = out,
            Err(error) => tracing::error!(%error, "the access log goes on in the old file"),
        }
    }

    fn failed(&mut self, error: &io::Error) {
        self.shared.lost.fetch_add(1, Relaxed);
        if self.complained.is_none_or(|then| then.elapsed() > COMPLAIN) {
            self.complained = Some(Instant::now());
            tracing::error!(%error, "the access log cannot be written; lines are lost");
        }
    }
}

/// Nobody can send a line any more.
struct Gone;
