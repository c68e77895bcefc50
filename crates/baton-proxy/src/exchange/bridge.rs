//! An HTTP/1.1 client and an h2c instance: the client's socket on one side, `http` bodies on the other.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Response};
use hyper::body::{Body, Frame};

use crate::access_log::Record;
use crate::answer::Answer;
use crate::buffer::Buffer;
use crate::exchange::account::Account;
use crate::exchange::recode::write_piece;
use crate::exchange::relay::{Asked, End};
use crate::exchange::response::{Coding, Plan};
use crate::exchange::stream::AnswerBody;
use crate::exchange::upload::{Stopped, Upload};
use crate::h1::write::write_last_chunk;
use crate::h1::{BodyLength, ConnectionOptions, Field, ResponseHead, Version};
use crate::io::{ClientEnd, Gone};
use crate::streams::STALLED;
use crate::upstream::h1::{NoAnswer, Why};
use crate::upstream::h2c::{BodyError, RequestBody};
use crate::worker::WorkerContext;

/// RFC 9110 §10.1.1.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What the instance is asked through.
type Asking = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, NoAnswer>>>>;

/// One exchange between the two.
pub(crate) struct Bridge {
    asked: Asked,
    pipe: Pipe,
    answer: State,
    /// Written, and not taken by the client yet.
    pending: Buffer,
    unflushed: bool,
    coding: Coding,
    keep_alive: bool,
    moved: Instant,
    /// What the client may not stand still for.
    idle: Duration,
    /// The request's line in the access log, while it is here.
    pub(crate) record: Option<Box<Record>>,
}

enum State {
    Asking(Asking),
    Body(Box<AnswerBody>),
    Ended,
}

/// How it ended; a request of which nothing left may go out once more.
pub(crate) enum BridgeEnd {
    Over(End),
    NoAnswer { account: Rc<Account>, sent: bool },
}

impl From<End> for BridgeEnd {
    fn from(end: End) -> Self {
        BridgeEnd::Over(end)
    }
}

impl Bridge {
    /// `ask` sends a request with the body that it is given; None for one without.
    pub(crate) fn new(
        asked: Asked,
        upload: &Upload,
        idle: Duration,
        ask: impl FnOnce(Option<RequestBody>) -> Asking,
    ) -> Bridge {
        let pipe = Pipe::default();
        let body: Option<RequestBody> = if upload.has_body_left() {
            Some(Box::pin(pipe.clone()))
        } else {
            None
        };
        Bridge {
            asked,
            answer: State::Asking(ask(body)),
            pipe,
            pending: Buffer::default(),
            unflushed: false,
            coding: Coding::Raw,
            keep_alive: false,
            moved: Instant::now(),
            idle,
            record: None,
        }
    }

    /// A managed stream whose head the client has got: the rest of the answer.
    pub(crate) fn behind_head(
        asked: Asked,
        body: AnswerBody,
        plan: Plan,
        idle: Duration,
    ) -> Bridge {
        Bridge {
            asked,
            answer: State::Body(Box::new(body)),
            pipe: Pipe::default(),
            pending: Buffer::default(),
            unflushed: false,
            coding: plan.coding,
            keep_alive: plan.keep_alive,
            moved: Instant::now(),
            idle,
            record: None,
        }
    }

    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload,
        client: &mut ClientEnd,
        worker: &WorkerContext,
    ) -> Poll<BridgeEnd> {
        match self.drive(cx, upload, client, worker) {
            Ok(()) => Poll::Pending,
            Err(end) => Poll::Ready(end),
        }
    }

    fn drive(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload,
        client: &mut ClientEnd,
        worker: &WorkerContext,
    ) -> Result<(), BridgeEnd> {
        self.drive_request(cx, upload, client, worker)?;
        while self.flush(cx, client, worker)? {
            match &mut self.answer {
                State::Asking(asking) => match asking.as_mut().poll(cx) {
                    Poll::Ready(Ok(response)) => {
                        let (parts, body) = response.into_parts();
                        let body_in_doubt = self.asked.expect_continue && upload.has_body_left();
                        let close = body_in_doubt || worker.shutdown().is_leaving();
                        self.take_head(&parts, &body, close, worker);
                        self.answer = State::Body(Box::new(body));
                    }
                    Poll::Ready(Err(failed)) => return Err(no_answer(failed)),
                    Poll::Pending => break,
                },
                State::Body(body) => match Pin::new(body.as_mut()).poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => {
                        self.moved = Instant::now();
                        self.take_frame(frame, worker);
                    }
                    Poll::Ready(Some(Err(_))) => return Err(End::Cut.into()),
                    Poll::Ready(None) => {
                        if self.coding == Coding::Chunked {
                            write_last_chunk(self.pending.writer(&worker.buffers), []);
                        }
                        self.answer = State::Ended;
                    }
                    Poll::Pending => break,
                },
                State::Ended => {
                    return Err(End::Answered {
                        keep_alive: self.keep_alive,
                    }
                    .into());
                }
            }
        }
        self.watch_client(cx, client)?;
        Ok(())
    }

    /// While the client does not take what there is. The instance's own time is watched where its
    /// answer is read.
    fn watch_client(&mut self, cx: &mut Context<'_>, client: &mut ClientEnd) -> Result<(), End> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut patience = self.idle;
        if let State::Body(body) = &mut self.answer
            && body.is_managed()
        {
            body.attend(cx);
            patience = STALLED;
        }
        if !patience.is_zero() && client.timer.poll_passed(cx, self.moved + patience) {
            return Err(End::ClientGone);
        }
        Ok(())
    }

    /// Moves the client's body into the pipe, a piece at a time.
    fn drive_request(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload,
        client: &mut ClientEnd,
        worker: &WorkerContext,
    ) -> Result<(), End> {
        if self.asked.expect_continue && upload.has_body_left() {
            // The instance is there, and cannot say it itself (`upstream::h2c`).
            self.asked.expect_continue = false;
            if client.input.is_empty() {
                self.pending.append(&worker.buffers, CONTINUE);
            }
        }
        while upload.has_body_left() {
            if !self.pipe.is_ready(cx) {
                return Ok(());
            }
            match upload.poll_frames(cx, client, &worker.buffers) {
                Poll::Ready(Ok(frames)) => {
                    self.moved = Instant::now();
                    self.pipe.put(frames, !upload.has_body_left());
                }
                Poll::Ready(Err(Stopped::ClientGone)) => return Err(End::ClientGone),
                Poll::Ready(Err(Stopped::Refused(answer))) => {
                    return Err(match self.answer {
                        State::Asking(_) => End::Own(answer),
                        _ => End::Cut,
                    });
                }
                Poll::Pending => return self.look_at_time(cx, client),
            }
        }
        match client.poll_watch(cx, &worker.buffers) {
            Poll::Ready(Gone) => Err(End::ClientGone),
            Poll::Pending => Ok(()),
        }
    }

    /// The client owes a part of its request.
    fn look_at_time(&self, cx: &mut Context<'_>, client: &mut ClientEnd) -> Result<(), End> {
        if self.idle.is_zero() || !client.timer.poll_passed(cx, self.moved + self.idle) {
            return Ok(());
        }
        Err(match self.answer {
            State::Asking(_) => End::Own(Answer::new(
                408,
                "The rest of the request did not come in time.",
            )),
            _ => End::Cut,
        })
    }

    fn take_head(
        &mut self,
        parts: &http::response::Parts,
        body: &AnswerBody,
        close: bool,
        worker: &WorkerContext,
    ) {
        let fields: Vec<Field<'_>> = parts
            .headers
            .iter()
            .map(|(name, value)| Field {
                name: name.as_str(),
                value: value.as_bytes(),
            })
            .collect();
        let status = parts.status.as_u16();
        if let Some(record) = &mut self.record {
            record.answered(status);
        }
        let bodiless = self.asked.client.head_only || matches!(status, 204 | 304);
        let head = ResponseHead {
            status,
            reason: "",
            version: Version::Http11,
            fields: &fields,
            body: if bodiless || body.is_end_stream() {
                BodyLength::Empty
            } else {
                length_of(&parts.headers)
            },
            keep_alive: true,
            connection: ConnectionOptions::default(),
            upgrade: None,
            length: 0,
        };
        let plan = self.asked.client.plan(head.body, close);
        self.coding = plan.coding;
        self.keep_alive = plan.keep_alive;
        let out = self.pending.writer(&worker.buffers);
        // What is given to the client is among the fields.
        self.asked.client.write_head(out, &head, plan, None);
    }

    fn take_frame(&mut self, frame: Frame<Bytes>, worker: &WorkerContext) {
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => {
                if let Some(record) = &mut self.record {
                    record.sent(data.len() as u64);
                }
                write_piece(self.coding, &data, self.pending.writer(&worker.buffers));
            }
            Err(frame) => {
                if let (Ok(trailers), Coding::Chunked) = (frame.into_trailers(), self.coding) {
                    let fields = trailers
                        .iter()
                        .filter(|(name, _)| !crate::h1::fields::is_forbidden_trailer(name.as_str()))
                        .map(|(name, value)| Field {
                            name: name.as_str(),
                            value: value.as_bytes(),
                        });
                    write_last_chunk(self.pending.writer(&worker.buffers), fields);
                    self.answer = State::Ended;
                }
            }
        }
    }

    /// Writes what there is. False: the client takes no more for now.
    fn flush(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut ClientEnd,
        worker: &WorkerContext,
    ) -> Result<bool, End> {
        while !self.pending.is_empty() {
            match client.stream.poll_write_some(cx, self.pending.rest()) {
                Poll::Ready(Ok(0) | Err(_)) => return Err(End::ClientGone),
                Poll::Ready(Ok(count)) => {
                    self.pending.consume(&worker.buffers, count);
                    self.unflushed = true;
                    self.moved = Instant::now();
                }
                Poll::Pending => return Ok(false),
            }
        }
        if self.unflushed {
            match client.stream.poll_flush_all(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(_)) => return Err(End::ClientGone),
                Poll::Pending => return Ok(false),
            }
        }
        Ok(true)
    }

    /// The answer went to a client that can only tell its end by the end of the connection.
    pub(crate) fn ends_by_close(&self) -> bool {
        self.coding == Coding::Raw && !self.keep_alive
    }
}

/// HTTP/2 frames bodies itself; the length is what the field says, which it has checked.
fn length_of(fields: &HeaderMap) -> BodyLength {
    fields
        .get(http::header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map_or(BodyLength::Chunked, |length| match length {
            0 => BodyLength::Empty,
            length => BodyLength::Length(length),
        })
}

fn no_answer(failed: NoAnswer) -> BridgeEnd {
    match failed.why {
        Why::Closed { sent } => BridgeEnd::NoAnswer {
            account: failed.account,
            sent,
        },
        Why::Bad(status, what) => {
            failed.account.broke();
            failed.account.failed();
            let app = &failed.account.route.app;
            End::Own(Answer::new(status, format!("{app} {what}."))).into()
        }
        Why::Client(answer) => End::Own(answer).into(),
    }
}

/// The client's body on its way into hyper; as much as one read brings.
#[derive(Clone, Default)]
struct Pipe(Rc<RefCell<PipeState>>);

#[derive(Default)]
struct PipeState {
    frames: VecDeque<Frame<Bytes>>,
    ended: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    /// Whether the last piece has been taken.
    fn is_ready(&self, cx: &Context<'_>) -> bool {
        let mut state = self.0.borrow_mut();
        if state.frames.is_empty() {
            return true;
        }
        state.writer = Some(cx.waker().clone());
        false
    }

    fn put(&self, frames: impl IntoIterator<Item = Frame<Bytes>>, ended: bool) {
        let mut state = self.0.borrow_mut();
        state.frames.extend(frames);
        state.ended = ended;
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }
}

impl Body for Pipe {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut state = self.0.borrow_mut();
        if let Some(frame) = state.frames.pop_front() {
            if let (true, Some(writer)) = (state.frames.is_empty(), state.writer.take()) {
                writer.wake();
            }
            return Poll::Ready(Some(Ok(frame)));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        if Rc::strong_count(&self.0) == 1 {
            // The exchange has ended without the rest.
            let error = std::io::Error::from(std::io::ErrorKind::ConnectionAborted);
            return Poll::Ready(Some(Err(error.into())));
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        // The body that is left behind sees that it is alone.
        if let Some(reader) = self.pipe.0.borrow_mut().reader.take() {
            reader.wake();
        }
    }
}
