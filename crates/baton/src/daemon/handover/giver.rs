//! The old process: starts the new one, and gives what it has.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::link::Link;
use super::listeners::OfferedListener;
use super::starter::Orphan;
use super::{FromNew, FromOld, HELLO, Hello, Offer, PROTOCOL, READY};

/// Said to a `baton serve` that it is to take over.
pub const TAKE_OVER: &str = "--take-over";

/// What systemd has said to this process alone.
const OURS: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// Lines of a new process that are kept for whoever asked for the upgrade.
const LAST_WORDS: usize = 20;
/// How long the last of them are waited for.
const WORDS_COME: Duration = Duration::from_secs(1);
/// Longest of them in bytes.
const LONGEST_LINE: u64 = 4096;

/// A new process that is not the daemon yet; killed when it is dropped before.
#[derive(Debug)]
pub struct Candidate {
    process: Option<Orphan>,
    link: Option<Link>,
    pub hello: Hello,
    words: Arc<Mutex<VecDeque<String>>>,
    listening: Option<JoinHandle<()>>,
}

impl Candidate {
    /// Starts `binary` as this daemon was started, gives it everything, and waits until it is ready. Blocks.
    ///
    /// # Errors
    /// Why it does not take over, with its last words.
    pub fn start(
        binary: &Path,
        mut offer: Offer,
        listeners: &[OfferedListener],
    ) -> Result<Candidate, String> {
        offer.listeners = listeners.iter().map(|one| one.label.clone()).collect();
        let mut candidate = Candidate::spawn(binary)?;
        match candidate.give(offer, listeners) {
            Ok(()) => Ok(candidate),
            Err(why) => Err(candidate.fail(&format!("{}: {why}", binary.display()))),
        }
    }

    fn spawn(binary: &Path) -> Result<Candidate, String> {
        let cannot = |error: std::io::Error| format!("cannot start {}: {error}", binary.display());
        let (here, there) = UnixStream::pair().map_err(cannot)?;
        let arguments = arguments(std::env::args_os().skip(1));
        let (process, stderr) =
            Orphan::start(binary, &arguments, &OURS, &there.into()).map_err(cannot)?;
        let words = Arc::new(Mutex::default());
        let listening = stderr.map(|stderr| {
            let words = Arc::clone(&words);
            std::thread::spawn(move || listen(stderr, &words))
        });
        Ok(Candidate {
            process: Some(process),
            link: Some(Link::new(here)),
            hello: Hello {
                protocol: 0,
                version: String::new(),
                database: 0,
            },
            words,
            listening,
        })
    }

    fn give(&mut self, offer: Offer, listeners: &[OfferedListener]) -> Result<(), String> {
        let Some(link) = &mut self.link else {
            return Err("the link is gone".to_owned());
        };
        let told = |within: Duration| {
            move |error: std::io::Error| match error.kind() {
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => {
                    format!("it did nothing for {} s", within.as_secs())
                }
                std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::BrokenPipe => {
                    "it ended before it could take over".to_owned()
                }
                _ => format!("this is no Baton that can take over ({error})"),
            }
        };
        link.patience(Some(HELLO)).map_err(told(HELLO))?;
        let FromNew::Hello(hello) = link.receive().map_err(told(HELLO))? else {
            return Err("it said something else than hello".to_owned());
        };
        if hello.protocol != PROTOCOL {
            return Err(format!(
                "version {} hands over in another way than this daemon ({}); stop the daemon and start the other one",
                hello.version,
                env!("CARGO_PKG_VERSION")
            ));
        }
        if hello.database < baton_deploy::DATABASE_VERSION {
            return Err(format!(
                "version {} is older and cannot read what this daemon ({}) has written",
                hello.version,
                env!("CARGO_PKG_VERSION")
            ));
        }
        self.hello = hello;
        link.patience(Some(READY)).map_err(told(READY))?;
        link.send(&FromOld::Offer(offer)).map_err(told(READY))?;
        let log = std::io::stderr();
        let mut descriptors: Vec<_> = listeners.iter().map(|one| one.socket.as_fd()).collect();
        descriptors.push(log.as_fd());
        link.send_descriptors(&descriptors).map_err(told(READY))?;
        match link.receive().map_err(told(READY))? {
            FromNew::Ready => Ok(()),
            FromNew::Hello(_) => Err("it said hello twice".to_owned()),
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().map_or(0, Orphan::pid)
    }

    /// Nobody holds the state any more: it may open it. The socket over which the two speak from now on.
    ///
    /// # Errors
    /// It has gone.
    pub fn go(&mut self) -> std::io::Result<UnixStream> {
        let mut link = self.link.take().ok_or(std::io::ErrorKind::NotConnected)?;
        link.send(&FromOld::Go)?;
        link.patience(None)?;
        let socket = link.into_inner();
        socket.set_nonblocking(true)?;
        Ok(socket)
    }

    /// It is the daemon now.
    pub fn let_go(mut self) {
        self.process = None;
    }

    /// Ends it; why, and its last words.
    pub fn fail(mut self, why: &str) -> String {
        self.end();
        // All that there was is read then, unless a process of its own still has the pipe.
        let until = Instant::now() + WORDS_COME;
        while self
            .listening
            .as_ref()
            .is_some_and(|one| !one.is_finished())
            && Instant::now() < until
        {
            std::thread::sleep(Duration::from_millis(10));
        }
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = why.to_owned();
        for line in &*words {
            text.push_str("\n  ");
            text.push_str(line);
        }
        text
    }

    /// First the process, then the link: whoever finds the link closed and lives knows that this process
    /// was killed.
    fn end(&mut self) {
        if let Some(process) = self.process.take() {
            process.end();
        }
        self.link = None;
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        self.end();
    }
}

/// What this process was started with, for the next one.
fn arguments(own: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<_> = own.filter(|argument| argument != TAKE_OVER).collect();
    arguments.push(TAKE_OVER.into());
    arguments
}

/// What a new process writes goes to this one's log, and its end is kept.
fn listen(stderr: impl Read, words: &Mutex<VecDeque<String>>) {
    let mut lines = BufReader::new(stderr);
    loop {
        let mut line = Vec::new();
        match lines
            .by_ref()
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)
        {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        // Where the log cannot be written there is nobody to tell.
        let _ = std::io::stderr().write_all(&line);
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
        if words.len() == LAST_WORDS {
            words.pop_front();
        }
        words.push_back(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_process_is_started_as_this_one_was() {
        let own = ["serve", "--http", "off", "--take-over", "--https", ":443"];
        let next = arguments(own.iter().map(OsString::from));
        assert_eq!(
            next,
            ["serve", "--http", "off", "--https", ":443", "--take-over"]
        );
    }
}
