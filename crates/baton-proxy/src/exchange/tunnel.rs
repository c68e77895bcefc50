//! After a 101: bytes both ways, until both sides have said all.
//!
//! The frames of a WebSocket are followed in both directions, so that its end can be told between two of
//! them when [`Instance::end_websockets`](crate::Instance::end_websockets) asks for it (Streams.md §2):
//!
//! 1. At its own moment within the spread the tunnel waits until the message that is on its way to the
//!    client is whole; a message that stands still, or never ends, only until its fragment is.
//! 2. The client gets a Close. From then on nothing that the instance says reaches it.
//! 3. What the client had on its way still reaches the instance, and after that the client's own Close,
//!    so that the app hears of the end in order and loses nothing. A client that does not answer within
//!    5 s, or has gone, has its Close written for it, masked, if the instance is between two frames.
//! 4. Both connections end.
//!
//! An instance that dies between two frames has the same Close written for it, with 1012: the client
//! must not take it for the end of what it wanted. One that dies inside a frame leaves nothing to be said:
//! the connection is dropped. What is no WebSocket is closed.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use crate::access_log::Record;
use crate::buffer::Buffer;
use crate::exchange::account::Account;
use crate::io::{ClientEnd, ClientStream, poll_read_some};
use crate::random;
use crate::websocket::close;
use crate::websocket::end::SERVICE_RESTART;
use crate::websocket::frames::{Boundary, Frames};
use crate::worker::WorkerContext;

/// How long a message on its way may stand still, and may take at most, before the Close goes between
/// two of its fragments.
const STANDING: Duration = Duration::from_secs(1);
const LONGEST_MESSAGE: Duration = Duration::from_secs(5);
/// How long a client has for its own Close.
const ANSWERING: Duration = Duration::from_secs(5);

/// An upgraded connection. Holds its exchange's guard for as long as it lives.
#[derive(Debug)]
pub(crate) struct Tunnel {
    account: Account,
    upstream: TcpStream,
    to_client: Way,
    to_instance: Way,
    /// When a byte moved last.
    moved: Instant,
    goodbye: Goodbye,
    /// The request's line in the access log.
    pub(crate) record: Option<Box<Record>>,
}

/// How far the end has come that the instance was asked for, or its death.
#[derive(Debug)]
enum Goodbye {
    Not,
    Due {
        at: Instant,
        code: u16,
    },
    /// Waits for the end of a message.
    Begun {
        at: Instant,
        code: u16,
    },
    Said {
        at: Instant,
        code: u16,
    },
}

/// One direction.
#[derive(Debug, Default)]
struct Way {
    pending: Buffer,
    /// None: no WebSocket.
    frames: Option<Frames>,
    /// Nothing more is passed on; what still comes is read and forgotten.
    muted: bool,
    /// The sending side has ended.
    ended: bool,
    /// The tunnel has not seen that yet.
    unseen_end: bool,
    /// And the receiving side has been told.
    closed: bool,
}

/// Which of the two connections broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    Sender,
    Receiver,
}

impl Tunnel {
    /// `first`: what the instance has sent after its 101.
    pub(crate) fn new(account: Account, upstream: TcpStream, first: Buffer) -> Tunnel {
        account.upgraded();
        let follow = || account.is_websocket().then(Frames::default);
        let mut to_client = Way {
            frames: follow(),
            ..Way::default()
        };
        if let Some(frames) = &mut to_client.frames {
            frames.pass(first.rest());
        }
        to_client.pending = first;
        let to_instance = Way {
            frames: follow(),
            ..Way::default()
        };
        Tunnel {
            account,
            upstream,
            to_client,
            to_instance,
            moved: Instant::now(),
            goodbye: Goodbye::Not,
            record: None,
        }
    }

    /// Ready when both directions have ended, or one of them broke.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut ClientEnd,
        worker: &WorkerContext,
    ) -> Poll<()> {
        if self.account.instance().is_cut() {
            self.speak_last(cx, client);
            return Poll::Ready(());
        }
        if self.look_at_end(cx, client, worker).is_ready() {
            return Poll::Ready(());
        }
        loop {
            let until = self.until();
            if until.is_some_and(|until| self.to_client.is_at(until)) {
                self.say_close(worker);
            }
            if self.drive(cx, client, worker).is_err() {
                return Poll::Ready(());
            }
            // The message has ended within what was just read.
            if !(self.to_client.muted && matches!(self.goodbye, Goodbye::Begun { .. })) {
                break;
            }
            self.say_close(worker);
        }
        if let Goodbye::Said { at, code } = self.goodbye {
            return self.await_answer(cx, client, at + ANSWERING, code);
        }
        if self.to_client.closed && self.to_instance.closed {
            return Poll::Ready(());
        }
        self.look_at_time(cx, client)
    }

    /// Moves what can be moved. An error ends the tunnel.
    fn drive(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut ClientEnd,
        worker: &WorkerContext,
    ) -> Result<(), Broken> {
        let until = self.until();
        let Tunnel {
            upstream,
            to_client,
            to_instance,
            ..
        } = self;
        let up = to_instance.poll(cx, &mut client.stream, upstream, worker, None);
        let down = to_client.poll(cx, upstream, &mut client.stream, worker, until);
        let dead = up == Err(Broken::Receiver) || down == Err(Broken::Sender);
        if (dead || self.to_client.unseen_end) && self.dies_silently() {
            return self.outlive_instance(cx, client, worker);
        }
        let up = match up {
            // What the client has on its way has no receiver any more; its Close is still awaited.
            Err(Broken::Receiver) if self.to_client.muted => {
                self.to_instance.mute(worker);
                0
            }
            up => up?,
        };
        self.count(up, down?, worker);
        let unseen = [&mut self.to_client, &mut self.to_instance]
            .map(|way| std::mem::take(&mut way.unseen_end));
        if unseen.contains(&true) {
            if let Goodbye::Said { code, .. } = self.goodbye {
                self.close_instance(cx, code);
            }
            // Now the end is passed on.
            return self.drive(cx, client, worker);
        }
        Ok(())
    }

    fn count(&mut self, up: u64, down: u64, worker: &WorkerContext) {
        if up + down == 0 {
            return;
        }
        self.account.moved(up + down);
        if let Some(record) = &mut self.record {
            record.sent(down);
        }
        self.moved = Instant::now();
        let frames = &mut self.to_instance.frames;
        if up > 0 && frames.as_mut().is_some_and(Frames::take_data) {
            self.account.session_used(worker);
        }
    }

    /// The client hears that its instance has gone.
    fn outlive_instance(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut ClientEnd,
        worker: &WorkerContext,
    ) -> Result<(), Broken> {
        self.goodbye = Goodbye::Begun {
            at: Instant::now(),
            code: SERVICE_RESTART,
        };
        self.say_close(worker);
        self.to_client.ended = true;
        self.to_instance.mute(worker);
        let Tunnel {
            upstream,
            to_client,
            ..
        } = self;
        to_client.poll(cx, upstream, &mut client.stream, worker, None)?;
        Ok(())
    }

    /// The instance has gone between two frames without a Close, and the client knows nothing of it.
    fn dies_silently(&self) -> bool {
        let open = |way: &Way| way.frames.as_ref().is_some_and(|f| !f.is_closed());
        open(&self.to_client)
            && open(&self.to_instance)
            && !self.to_client.muted
            && !self.to_instance.ended
            && self.to_client.is_at(Boundary::Frame)
    }

    /// Whether the instance's tunnels are to end, and when this one. Ready: now, and it is no WebSocket.
    fn look_at_end(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut ClientEnd,
        worker: &WorkerContext,
    ) -> Poll<()> {
        if let Goodbye::Not = self.goodbye
            && let Some((how, called)) = self.account.websocket_end(worker)
        {
            self.goodbye = Goodbye::Due {
                at: called + random::within(how.spread),
                code: how.code,
            };
        }
        let Goodbye::Due { at, code } = self.goodbye else {
            return Poll::Pending;
        };
        if !client.timer.poll_passed(cx, at) {
            return Poll::Pending;
        }
        if self.to_client.frames.is_none() {
            return Poll::Ready(());
        }
        self.goodbye = Goodbye::Begun {
            at: Instant::now(),
            code,
        };
        Poll::Pending
    }

    /// Where the Close may go now, if one is to go.
    fn until(&self) -> Option<Boundary> {
        let Goodbye::Begun { at, .. } = self.goodbye else {
            return None;
        };
        let now = Instant::now();
        Some(if now < self.message_deadline(at) {
            Boundary::Message
        } else {
            Boundary::Frame
        })
    }

    fn message_deadline(&self, begun: Instant) -> Instant {
        (self.moved.max(begun) + STANDING).min(begun + LONGEST_MESSAGE)
    }

    /// Writes the Close behind what has passed; it is the last that the client gets.
    fn say_close(&mut self, worker: &WorkerContext) {
        let Goodbye::Begun { code, .. } = self.goodbye else {
            return;
        };
        let frames = self.to_client.frames.as_ref();
        // An app that is saying it itself needs no help.
        if frames.is_some_and(|frames| !frames.is_closed()) || self.to_client.muted {
            let close = close::to_client(code);
            self.to_client.pending.append(&worker.buffers, &close);
        }
        self.to_client.muted = true;
        self.goodbye = Goodbye::Said {
            at: Instant::now(),
            code,
        };
    }

    /// The client has been told: waits for its Close, and for the instance's.
    fn await_answer(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut ClientEnd,
        deadline: Instant,
        code: u16,
    ) -> Poll<()> {
        let told = self.to_client.pending.is_empty();
        let answered = self.to_instance.is_over() && self.to_instance.pending.is_empty();
        if told && answered {
            // A server ends the connection first (RFC 6455 §7.1.1). Whatever becomes of it, the client
            // has said that it is done.
            let _ = Pin::new(&mut client.stream).poll_shutdown(cx);
            if self.to_client.is_over() || !self.to_instance.has_said_close() {
                self.close_instance(cx, code);
                return Poll::Ready(());
            }
        }
        if client.timer.poll_passed(cx, deadline) {
            self.close_instance(cx, code);
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// Tells an app that has not heard of a Close from its client.
    fn close_instance(&mut self, cx: &mut Context<'_>, code: u16) {
        let way = &self.to_instance;
        if way.has_said_close() || !way.is_at(Boundary::Frame) || !way.pending.is_empty() {
            return;
        }
        // Nothing waits to be written, so there is room; if not, its connection ends without it.
        let close = close::to_instance(code);
        let _ = Pin::new(&mut self.upstream).poll_write(cx, &close);
    }

    /// The drain's time is over: what can be said at once is said.
    fn speak_last(&mut self, cx: &mut Context<'_>, client: &mut ClientEnd) {
        let way = &self.to_client;
        let may = !way.muted && way.pending.is_empty() && !way.has_said_close();
        if may && way.is_at(Boundary::Frame) {
            let close = close::to_client(SERVICE_RESTART);
            let _ = client.stream.poll_write_some(cx, &close);
            let _ = client.stream.poll_flush_all(cx);
        }
    }

    /// Quiet is normal as long as both sides are there; when one of them has ended, the other must not
    /// stay for ever.
    fn look_at_time(&self, cx: &mut Context<'_>, client: &mut ClientEnd) -> Poll<()> {
        if let Goodbye::Begun { at, .. } = self.goodbye {
            let deadline = self.message_deadline(at);
            if Instant::now() < deadline && client.timer.poll_passed(cx, deadline) {
                cx.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        let idle = self.account.route.limits.idle;
        let one_sided = self.to_client.closed || self.to_instance.closed;
        if one_sided && !idle.is_zero() && client.timer.poll_passed(cx, self.moved + idle) {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

/// Either socket.
trait Socket: tokio::io::AsyncRead + AsyncWrite + Unpin {}
impl Socket for TcpStream {}
impl Socket for ClientStream {}

impl Way {
    /// Whether another frame may be put in behind what has passed; never where there are no frames.
    fn is_at(&self, boundary: Boundary) -> bool {
        self.frames
            .as_ref()
            .is_some_and(|frames| frames.is_at(boundary))
    }

    fn has_said_close(&self) -> bool {
        self.frames.as_ref().is_some_and(Frames::is_closed)
    }

    /// Nothing more is to be expected of its sender.
    fn is_over(&self) -> bool {
        self.ended || self.has_said_close()
    }

    fn mute(&mut self, worker: &WorkerContext) {
        self.muted = true;
        self.pending.release(&worker.buffers);
    }

    /// Moves what can be moved; returns the number of bytes. `until`: mutes itself there.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Socket,
        to: &mut impl Socket,
        worker: &WorkerContext,
        until: Option<Boundary>,
    ) -> Result<u64, Broken> {
        let mut moved = 0;
        while !self.closed {
            while !self.pending.is_empty() {
                match Pin::new(&mut *to).poll_write(cx, self.pending.rest()) {
                    Poll::Ready(Ok(0) | Err(_)) => return Err(Broken::Receiver),
                    Poll::Ready(Ok(count)) => self.pending.consume(&worker.buffers, count),
                    Poll::Pending => return Ok(moved),
                }
            }
            match Pin::new(&mut *to).poll_flush(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Err(Broken::Receiver),
                Poll::Pending => return Ok(moved),
            }
            if self.ended {
                match Pin::new(&mut *to).poll_shutdown(cx) {
                    Poll::Ready(Ok(())) => self.closed = true,
                    Poll::Ready(Err(_)) => return Err(Broken::Receiver),
                    Poll::Pending => {}
                }
                return Ok(moved);
            }
            let mut scratch = worker.buffers.read_scratch();
            match poll_read_some(from, cx, &mut scratch) {
                Poll::Ready(Ok(0)) => {
                    self.ended = true;
                    if self.frames.is_some() {
                        // The tunnel decides what the other side is told before that.
                        self.unseen_end = true;
                        return Ok(moved);
                    }
                }
                Poll::Ready(Ok(read)) => {
                    moved += read as u64;
                    let passed = self.pass(&scratch[..read], until);
                    let mut rest = &scratch[..passed];
                    while !rest.is_empty() {
                        match Pin::new(&mut *to).poll_write(cx, rest) {
                            Poll::Ready(Ok(0) | Err(_)) => return Err(Broken::Receiver),
                            Poll::Ready(Ok(count)) => rest = &rest[count..],
                            Poll::Pending => break,
                        }
                    }
                    self.pending.append(&worker.buffers, rest);
                    if passed < read || self.muted && until.is_some() {
                        return Ok(moved);
                    }
                }
                Poll::Ready(Err(_)) => return Err(Broken::Sender),
                Poll::Pending => return Ok(moved),
            }
        }
        Ok(moved)
    }

    /// How many of these bytes are passed on.
    fn pass(&mut self, bytes: &[u8], until: Option<Boundary>) -> usize {
        let Some(frames) = &mut self.frames else {
            return bytes.len();
        };
        let passed = match until {
            _ if self.muted => Some(0),
            Some(boundary) => frames.pass_to(boundary, bytes),
            None => {
                frames.pass(bytes);
                return bytes.len();
            }
        };
        match passed {
            Some(passed) => {
                self.muted = true;
                frames.pass(&bytes[passed..]);
                passed
            }
            None => bytes.len(),
        }
    }
}
