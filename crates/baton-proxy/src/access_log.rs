//! One line for each request, or for one of so many: gathered on its way, and handed to whoever writes.
//!
//! Handing over never waits: a queue that is full drops the line and counts it.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use crate::instance::{Instance, Marks};
use crate::io::Peer;
use crate::trace::{self, Begun, TraceId};
use crate::worker::WorkerContext;

/// What a client is said to have left before its answer began; as nginx has it.
pub const CLIENT_LEFT: u16 = 499;

/// Where lines go, and which requests have one.
#[derive(Debug, Clone)]
pub struct AccessLog {
    every: NonZeroU32,
    lines: SyncSender<Line>,
    dropped: Arc<AtomicU64>,
}

impl AccessLog {
    /// One of `every` requests of each worker has a line. At most `room` lines wait for the receiver.
    #[must_use]
    pub fn new(every: NonZeroU32, room: usize) -> (AccessLog, Receiver<Line>) {
        let (lines, receiver) = sync_channel(room);
        let log = AccessLog {
            every,
            lines,
            dropped: Arc::default(),
        };
        (log, receiver)
    }

    /// How many lines have found the queue full.
    #[must_use]
    pub fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }

    pub(crate) fn every(&self) -> u32 {
        self.every.get()
    }
}

/// What is known of one request at its end.
#[derive(Debug, Clone)]
pub struct Line {
    /// When its head was there.
    pub at: SystemTime,
    /// None: no app takes it.
    pub app: Option<Arc<str>>,
    /// Empty where the request was none.
    pub method: Box<str>,
    pub host: Box<str>,
    /// Without its query.
    pub path: Box<str>,
    /// `HTTP/1.1`
    pub protocol: &'static str,
    pub secure: bool,
    /// As the app is told it.
    pub client: IpAddr,
    pub status: u16,
    /// Of the answer's body.
    pub bytes: u64,
    /// Until the last byte had gone.
    pub took: Duration,
    /// From its last sending to the head of the app's answer. None: the app gave none.
    pub upstream: Option<Duration>,
    /// Which instance answered. None: Baton did.
    pub marks: Option<Marks>,
    pub held: Duration,
    pub trace: TraceId,
}

/// A line that is being gathered; handed over when it is dropped.
#[derive(Debug)]
pub(crate) struct Record {
    log: AccessLog,
    line: Option<Line>,
    came: Instant,
    /// When an instance was asked last.
    asked: Option<Instant>,
    begun: Option<Begun>,
}

/// What a request says first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opening<'a> {
    pub(crate) method: &'a str,
    pub(crate) host: &'a str,
    pub(crate) target: &'a str,
    pub(crate) protocol: &'static str,
    pub(crate) came: Instant,
}

impl Record {
    /// None, unless this request is one that has a line.
    pub(crate) fn of<'f>(
        worker: &WorkerContext,
        peer: &Peer,
        opening: Opening<'_>,
        fields: impl Iterator<Item = (&'f str, &'f [u8])>,
    ) -> Option<Box<Record>> {
        let log = worker.logs_this()?;
        let came_with = trace::of(fields);
        let begun = came_with.is_none().then(Begun::new);
        let path = opening.target.split('?').next().unwrap_or_default();
        let line = Line {
            at: SystemTime::now(),
            app: None,
            method: opening.method.into(),
            host: opening.host.into(),
            path: path.into(),
            protocol: opening.protocol,
            secure: peer.secure,
            client: peer.ip(),
            status: 0,
            bytes: 0,
            took: Duration::ZERO,
            upstream: None,
            marks: None,
            held: Duration::ZERO,
            trace: came_with
                .or(begun.map(|begun| begun.id))
                .unwrap_or(TraceId(0)),
        };
        Some(Box::new(Record {
            log: log.clone(),
            line: Some(line),
            came: opening.came,
            asked: None,
            begun,
        }))
    }

    /// What came is no request that could be read.
    pub(crate) fn unreadable(worker: &WorkerContext, peer: &Peer) -> Option<Box<Record>> {
        let opening = Opening {
            method: "",
            host: "",
            target: "",
            protocol: "HTTP/1.1",
            came: Instant::now(),
        };
        Record::of(worker, peer, opening, std::iter::empty())
    }

    /// The app is told of this trace.
    pub(crate) fn begun(&self) -> Option<Begun> {
        self.begun
    }

    pub(crate) fn routed(&mut self, app: &Arc<str>, client: IpAddr) {
        if let Some(line) = &mut self.line {
            line.app = Some(Arc::clone(app));
            line.client = client;
        }
    }

    /// It goes to this instance, after it has been held so long.
    pub(crate) fn asks(&mut self, instance: &Instance, held: Duration) {
        self.asked = Some(Instant::now());
        if let Some(line) = &mut self.line {
            line.marks = Some(instance.marks.clone());
            line.held = held;
        }
    }

    /// The head of the app's answer.
    pub(crate) fn answered(&mut self, status: u16) {
        let asked = self.asked;
        if let Some(line) = self.line.as_mut().filter(|line| line.status == 0) {
            line.status = status;
            line.upstream = asked.map(|asked| asked.elapsed());
        }
    }

    /// Baton answers itself.
    pub(crate) fn own(&mut self, status: u16, bytes: usize) {
        if let Some(line) = &mut self.line {
            line.status = status;
            line.bytes = bytes as u64;
            line.upstream = None;
            line.marks = None;
        }
    }

    pub(crate) fn sent(&mut self, bytes: u64) {
        if let Some(line) = &mut self.line {
            line.bytes += bytes;
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let Some(mut line) = self.line.take() else {
            return;
        };
        line.took = self.came.elapsed();
        if line.status == 0 {
            line.status = CLIENT_LEFT;
        }
        if self.log.lines.try_send(line).is_err() {
            self.log.dropped.fetch_add(1, Relaxed);
        }
    }
}
