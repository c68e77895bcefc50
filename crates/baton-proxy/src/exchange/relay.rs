//! One exchange over HTTP/1.1 on both sides: the client's socket and the instance's, in one task.
//!
//! Both directions go on at the same time, each as far as the other side takes it. What one socket
//! gives is written to the other at once; a buffer is held only for what was not taken.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::access_log::Record;
use crate::answer::Answer;
use crate::buffer::Buffer;
use crate::exchange::account::Account;
use crate::exchange::recode::recode;
use crate::exchange::response::{Client, Coding};
use crate::exchange::upload::{Stopped, Upload};
use crate::h1::write::LAST_CHUNK;
use crate::h1::{
    BodyDecoder, Decoded, FieldStore, HeadLimits, MAX_FIELDS, Parsed, Refusal, parse_response,
};
use crate::io::{ClientEnd, Gone, poll_read_some};
use crate::sse::Cors;
use crate::streams;
use crate::worker::WorkerContext;

mod heads;
mod leaving;

/// 1xx answers to one request; more are a broken app.
const MAX_INTERIM: u8 = 32;
/// What an instance's head may take.
pub(crate) const ANSWER_LIMITS: HeadLimits = HeadLimits {
    bytes: 64 * 1024,
    count: MAX_FIELDS,
    target: 0,
};

/// One request on its way and its answer on the way back.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) account: Account,
    upstream: TcpStream,
    asked: Asked,
    answer: AnswerState,
    /// When a byte of a body moved last, or the exchange began.
    moved: Instant,
    /// The request's line in the access log, while it is here.
    pub(crate) record: Option<Box<Record>>,
}

/// What the request asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) client: Client,
    pub(crate) upgrade: bool,
    pub(crate) expect_continue: bool,
    /// An event stream that answers is managed.
    pub(crate) may_be_managed: bool,
    /// And the client waits for one.
    pub(crate) expects_events: bool,
}

#[derive(Debug, Default)]
struct AnswerState {
    /// Read from the instance and not decoded yet: a part of a head or of trailers.
    input: Buffer,
    /// Written anew, and not taken by the client yet.
    pending: Buffer,
    /// None before the final head.
    decoder: Option<BodyDecoder>,
    coding: Coding,
    /// The client has a part of the final answer, or of a 101.
    started: bool,
    /// Any byte has come from the instance.
    received: bool,
    interim: u8,
    /// The client was told to send the body.
    continued: bool,
    unflushed: bool,
    ended: bool,
    upgraded: bool,
    /// A managed event stream: its body is not read here.
    begins: Option<Cors>,
    keep_alive: bool,
    reusable: bool,
    timeout: Option<Duration>,
}

/// How an exchange ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The whole answer has gone. `keep_alive`: as it was announced to the client.
    Answered {
        keep_alive: bool,
    },
    /// The client has the 101.
    Upgraded,
    /// The client has the head of a managed event stream.
    Stream,
    /// The client waits for events, and nothing has come from the instance for a while.
    Awaited,
    ClientGone,
    /// The instance closed the connection before a byte of an answer.
    NoAnswer,
    /// The client has nothing of an answer yet and gets this one.
    Own(Answer),
    /// The client has a part of an answer; only closing tells it that there is no more.
    Cut,
}

impl Relay {
    pub(crate) fn new(account: Account, upstream: TcpStream, asked: Asked) -> Relay {
        Relay {
            account,
            upstream,
            asked,
            answer: AnswerState::default(),
            moved: Instant::now(),
            record: None,
        }
    }

    /// Bytes of the answer's body.
    fn gave(&mut self, bytes: u64) {
        self.account.moved(bytes);
        if let Some(record) = &mut self.record {
            record.sent(bytes);
        }
    }

    /// Drives both directions.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload,
        client: &mut ClientEnd,
        worker: &WorkerContext,
    ) -> Poll<End> {
        match self.drive(cx, upload, client, worker) {
            Ok(()) => Poll::Pending,
            Err(end) => Poll::Ready(end),
        }
    }

    /// `Err` is how it ended: that way `?` leaves from everywhere.
    fn drive(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload,
        client: &mut ClientEnd,
        worker: &WorkerContext,
    ) -> Result<(), End> {
        if self.account.instance().is_cut() {
            let waits = self.others_may_answer(upload);
            return Err(if waits {
                End::Awaited
            } else {
                self.failed(502, "was stopped before it answered")
            });
        }
        self.drive_request(cx, upload, client, worker)?;
        self.drive_answer(cx, upload, client, worker)?;
        if self.answer.ended && self.answer.pending.is_empty() && !self.answer.unflushed {
            return Err(if self.answer.upgraded {
                End::Upgraded
            } else if self.answer.begins.is_some() {
                End::Stream
            } else {
                End::Answered {
                    keep_alive: self.answer.keep_alive,
                }
            });
        }
        self.look_at_time(cx, upload, client)
    }

    fn drive_request(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload,
        client: &mut ClientEnd,
        worker: &WorkerContext,
    ) -> Result<(), End> {
        if !upload.is_done() {
            let repeatable = !self.answer.received && upload.is_whole();
            let step = upload
                .poll(cx, client, &mut self.upstream, &worker.buffers, repeatable)
                .map_err(|stopped| match stopped {
                    Stopped::ClientGone => End::ClientGone,
                    Stopped::Refused(answer) => self.own_or_cut(answer),
                })?;
            if step.moved {
                self.moved = Instant::now();
                self.account.moved(step.data);
            }
        }
        if upload.is_done() {
            if let Poll::Ready(Gone) = client.poll_watch(cx, &worker.buffers) {
                return Err(End::ClientGone);
            }
            // They would be the first bytes of another protocol, or a request that the instance
            // takes for them (RFC 9110 §7.8).
            if self.asked.upgrade && !self.answer.upgraded && !client.input.is_empty() {
                return Err(self.own_or_cut(Answer::new(
                    400,
                    "Bytes came after a request to upgrade, before its answer.",
                )));
            }
        }
        Ok(())
    }

    fn drive_answer(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload,
        client: &mut ClientEnd,
        worker: &WorkerContext,
    ) -> Result<(), End> {
        loop {
            if !self.flush(cx, client, worker)? || self.answer.ended {
                return Ok(());
            }
            let mut scratch = worker.buffers.read_scratch();
            let read = match poll_read_some(&mut self.upstream, cx, &mut scratch) {
                Poll::Ready(Ok(0)) => {
                    self.closed_by_instance(worker)?;
                    continue;
                }
                Poll::Ready(Ok(read)) => read,
                Poll::Ready(Err(_)) => return Err(self.broken_by_instance()),
                Poll::Pending => return Ok(()),
            };
            let begins = self.answer.decoder.is_none();
            self.answer.received = true;
            self.moved = Instant::now();
            self.take(cx, upload, client, worker, &scratch[..read])?;
            if begins && self.account.may_be_quiet() {
                client.notice_silent_death();
            }
        }
    }

    /// Writes what the client did not take before. False: it still does not.
    fn flush(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut ClientEnd,
        worker: &WorkerContext,
    ) -> Result<bool, End> {
        while !self.answer.pending.is_empty() {
            match client
                .stream
                .poll_write_some(cx, self.answer.pending.rest())
            {
                Poll::Ready(Ok(0) | Err(_)) => return Err(End::ClientGone),
                Poll::Ready(Ok(count)) => {
                    self.answer.pending.consume(&worker.buffers, count);
                    self.answer.unflushed = true;
                    self.moved = Instant::now();
                }
                Poll::Pending => return Ok(false),
            }
        }
        if self.answer.unflushed {
            match client.stream.poll_flush_all(cx) {
                Poll::Ready(Ok(())) => self.answer.unflushed = false,
                Poll::Ready(Err(_)) => return Err(End::ClientGone),
                Poll::Pending => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Takes what came from the instance and writes it on.
    fn take(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload,
        client: &mut ClientEnd,
        worker: &WorkerContext,
        read: &[u8],
    ) -> Result<(), End> {
        // The body of a known length, or until the end, needs no second copy.
        if let (Coding::Raw, Some(decoder @ (BodyDecoder::Length(_) | BodyDecoder::UntilClose))) =
            (self.answer.coding, &mut self.answer.decoder)
            && let Ok(Decoded::Data { consumed, data }) = decoder.decode(read)
        {
            if decoder.is_done() {
                self.answer.ended = true;
                self.answer.reusable &= consumed == read.len();
            }
            self.gave(data.len() as u64);
            return self.write(cx, client, worker, &read[data]);
        }
        let mut out = worker.buffers.write_scratch();
        let mut held = std::mem::take(&mut self.answer.input);
        let ahead = !held.is_empty();
        if ahead {
            held.append(&worker.buffers, read);
        }
        let input = if ahead { held.rest() } else { read };
        let consumed = self.decode(upload, input, &mut out, worker)?;
        if ahead {
            held.consume(&worker.buffers, consumed);
        } else {
            held.append(&worker.buffers, &read[consumed..]);
        }
        if self.answer.ended && !held.is_empty() && !self.leaves_here() {
            // What is after the end of an answer belongs to nothing that was asked.
            self.answer.reusable = false;
            held.release(&worker.buffers);
        }
        self.answer.input = held;
        self.write(cx, client, worker, &out)
    }

    /// Heads, then the body. Returns what of `input` is done with.
    fn decode(
        &mut self,
        upload: &mut Upload,
        input: &[u8],
        out: &mut Vec<u8>,
        worker: &WorkerContext,
    ) -> Result<usize, End> {
        let mut consumed = 0;
        while self.answer.decoder.is_none() {
            let rest = &input[consumed..];
            let mut store = FieldStore::new();
            let method = if self.asked.client.head_only {
                "HEAD"
            } else {
                "GET"
            };
            match parse_response(rest, &mut store, &ANSWER_LIMITS, method) {
                Ok(Parsed::Partial) => return Ok(consumed),
                Ok(Parsed::Complete(head)) => {
                    consumed += head.length;
                    self.take_head(upload, &head, out, worker)?;
                    if self.leaves_here() {
                        return Ok(consumed);
                    }
                }
                Err(refusal) => return Err(self.bad_answer(refusal)),
            }
        }
        let coding = self.answer.coding;
        if let Some(decoder) = &mut self.answer.decoder {
            let done = match recode(decoder, coding, &input[consumed..], out) {
                Ok(done) => done,
                Err(refusal) => return Err(self.bad_answer(refusal)),
            };
            consumed += done.consumed;
            self.answer.ended = done.ended;
            self.gave(done.data);
        }
        Ok(consumed)
    }

    /// Writes to the client; keeps what it does not take.
    fn write(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut ClientEnd,
        worker: &WorkerContext,
        bytes: &[u8],
    ) -> Result<(), End> {
        let mut rest = bytes;
        self.answer.started |= self.answer.decoder.is_some() || self.answer.upgraded;
        while !rest.is_empty() {
            match client.stream.poll_write_some(cx, rest) {
                Poll::Ready(Ok(0) | Err(_)) => return Err(End::ClientGone),
                Poll::Ready(Ok(count)) => {
                    rest = &rest[count..];
                    self.answer.unflushed = true;
                }
                Poll::Pending => {
                    self.answer.pending.append(&worker.buffers, rest);
                    break;
                }
            }
        }
        Ok(())
    }

    /// The instance has sent its last byte.
    fn closed_by_instance(&mut self, worker: &WorkerContext) -> Result<(), End> {
        match &self.answer.decoder {
            Some(BodyDecoder::UntilClose) => {
                if self.answer.coding == Coding::Chunked {
                    self.answer.pending.append(&worker.buffers, LAST_CHUNK);
                }
                self.answer.ended = true;
                self.answer.reusable = false;
                Ok(())
            }
            _ => Err(self.broken_by_instance()),
        }
    }

    fn broken_by_instance(&self) -> End {
        if self.answer.received {
            self.failed(502, "closed the connection in the middle of its answer")
        } else {
            End::NoAnswer
        }
    }

    fn bad_answer(&self, refusal: Refusal) -> End {
        tracing::warn!(
            app = %self.account.route.app,
            instance = %self.account.instance().id,
            %refusal,
            section = refusal.section(),
            "an answer broke a rule of HTTP/1.1"
        );
        self.failed(502, "sent an answer that is not HTTP/1.1")
    }

    /// The instance's fault.
    pub(crate) fn failed(&self, status: u16, what: &str) -> End {
        self.account.broke();
        self.account.failed();
        self.own_or_cut(Answer::new(
            status,
            format!("{} {what}.", self.account.route.app),
        ))
    }

    fn own_or_cut(&self, answer: Answer) -> End {
        if self.answer.started {
            End::Cut
        } else {
            End::Own(answer)
        }
    }

    /// The client waits for events, and nothing binds it to this instance.
    fn others_may_answer(&self, upload: &Upload) -> bool {
        self.asked.expects_events
            && !self.answer.received
            && upload.is_done()
            && !self.account.is_pinned()
    }

    /// Ends an exchange in which nothing has moved for too long.
    fn look_at_time(
        &self,
        cx: &mut Context<'_>,
        upload: &Upload,
        client: &mut ClientEnd,
    ) -> Result<(), End> {
        if self.others_may_answer(upload) {
            let late = client.timer.poll_passed(cx, self.moved + streams::AWAITED);
            return if late { Err(End::Awaited) } else { Ok(()) };
        }
        let idle = self.account.route.limits.idle;
        // An event stream has nothing to say for hours; a client that does not read what was said
        // is another matter.
        let quiet = self.account.may_be_quiet() && self.answer.pending.is_empty();
        if idle.is_zero() || quiet || !client.timer.poll_passed(cx, self.moved + idle) {
            return Ok(());
        }
        if !self.answer.pending.is_empty() {
            return Err(End::ClientGone);
        }
        if upload.awaits_client() {
            return Err(self.own_or_cut(Answer::new(
                408,
                "The rest of the request did not come in time.",
            )));
        }
        Err(self.failed(504, "did not answer in time"))
    }
}
