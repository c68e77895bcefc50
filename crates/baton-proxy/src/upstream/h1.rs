//! One exchange over HTTP/1.1 with an instance, for a client that does not speak it: the answer is a
//! `Body`.
//!
//! The request's body goes out beside the answer: in the same task until the answer's head is there,
//! in one of its own after that, so that a client which does not read yet can still send.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use hyper::body::{Body, Frame};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

mod sender;

use sender::{Sender, Sending};

use super::h2c::RequestBody;
use crate::answer::Answer;
use crate::exchange::account::Account;
use crate::exchange::progress::Progress;
use crate::exchange::response::{self, Coding};
use crate::h1::chunked::trailer_fields;
use crate::h1::write::decimal;
use crate::h1::{
    BodyDecoder, BodyLength, Decoded, FieldStore, Parsed, Refusal, ResponseHead, is_framing,
    is_hop_by_hop, parse_response,
};
use crate::interrupt::Registration;
use crate::io::Timer;
use crate::worker::WorkerContext;

/// What the request asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) head_only: bool,
    /// A trusted proxy is in front, which may buffer.
    pub(crate) behind_proxy: bool,
    pub(crate) body: BodyLength,
}

/// Why there is no answer. The account says whose it was.
pub(crate) struct NoAnswer {
    pub(crate) account: Rc<Account>,
    pub(crate) why: Why,
    /// What was not read of the request's body: all of it, when nothing was sent.
    pub(crate) body: Option<RequestBody>,
}

pub(crate) enum Why {
    /// The instance closed the connection before a byte of an answer; `sent`: after something of the
    /// request had gone out.
    Closed { sent: bool },
    /// Its answer is none: status and what it did.
    Bad(u16, &'static str),
    /// The client's body broke, or is too large.
    Client(Answer),
}

/// Sends a request; its answer's head, and the rest as a body.
pub(crate) async fn send(
    worker: Rc<WorkerContext>,
    account: Rc<Account>,
    stream: TcpStream,
    head: Vec<u8>,
    body: Option<RequestBody>,
    asked: Asked,
) -> Result<(http::response::Parts, AnswerStream), NoAnswer> {
    let stream = Rc::new(stream);
    let state = Rc::new(Cell::new(Sending::Going));
    let progress = Progress::new();
    let upload = Sender {
        stream: Rc::clone(&stream),
        out: BytesMut::from(head.as_slice()),
        coding: match asked.body {
            BodyLength::Chunked => Coding::Chunked,
            _ => Coding::Raw,
        },
        body: body.map(|body| progress.count(body, &account)),
        state: Rc::clone(&state),
        progress: Rc::clone(&progress),
        sent: 0,
    };
    let mut upload = Box::pin(upload);
    let mut answer = AnswerStream {
        worker,
        account,
        stream: Some(stream),
        input: BytesMut::new(),
        decoder: BodyDecoder::new(BodyLength::Empty),
        ended: false,
        reusable: false,
        timeout: None,
        sending: state,
        upload: None,
        registered: None,
        timer: Timer::default(),
        progress,
    };
    let parts = poll_fn(|cx| {
        let uploaded = upload.as_mut().poll(cx);
        if let Poll::Ready(Some(why)) = uploaded {
            return Poll::Ready(Err(Why::Client(why)));
        }
        answer.poll_head(cx, asked, upload.sent)
    })
    .await;
    match parts {
        Ok(parts) => {
            if answer.sending.get() == Sending::Going {
                let rest = async move {
                    upload.await;
                };
                answer.upload = Some(AbortOnDrop(tokio::task::spawn_local(rest)));
            }
            Ok((parts, answer))
        }
        Err(why) => Err(NoAnswer {
            account: Rc::clone(&answer.account),
            why,
            body: upload.body.take(),
        }),
    }
}

impl AnswerStream {
    /// The rest of an answer whose request has gone whole and whose head was read by someone else.
    /// `input`: what came behind that head.
    pub(crate) fn behind_head(
        worker: &Rc<WorkerContext>,
        account: Rc<Account>,
        stream: TcpStream,
        input: &[u8],
        decoder: BodyDecoder,
    ) -> AnswerStream {
        AnswerStream {
            worker: Rc::clone(worker),
            account,
            stream: Some(Rc::new(stream)),
            input: BytesMut::from(input),
            decoder,
            ended: false,
            // What ends an event stream seldom wants another request.
            reusable: false,
            timeout: None,
            sending: Rc::new(Cell::new(Sending::Done)),
            upload: None,
            registered: None,
            timer: Timer::default(),
            progress: Progress::new(),
        }
    }

    /// The answer to a request that has gone whole on `stream` and of which no byte has come. None:
    /// the instance has closed the connection, or said what is no HTTP.
    pub(crate) async fn awaited(
        worker: Rc<WorkerContext>,
        account: Rc<Account>,
        stream: TcpStream,
        asked: Asked,
    ) -> Option<(http::response::Parts, AnswerStream)> {
        let nothing = BodyDecoder::new(BodyLength::Empty);
        let mut answer = AnswerStream::behind_head(&worker, account, stream, &[], nothing);
        let parts = poll_fn(|cx| answer.poll_head(cx, asked, 1)).await.ok()?;
        Some((parts, answer))
    }
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An answer's body. Its end gives the connection back; dropping it earlier closes that.
pub(crate) struct AnswerStream {
    worker: Rc<WorkerContext>,
    pub(crate) account: Rc<Account>,
    /// None once it has gone back.
    stream: Option<Rc<TcpStream>>,
    input: BytesMut,
    decoder: BodyDecoder,
    ended: bool,
    reusable: bool,
    timeout: Option<Duration>,
    sending: Rc<Cell<Sending>>,
    upload: Option<AbortOnDrop>,
    registered: Option<Registration>,
    timer: Timer,
    progress: Rc<Progress>,
}

impl AnswerStream {
    /// Reads once. Ready(Ok(0)) is the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(stream) = &self.stream else {
            return Poll::Ready(Ok(0));
        };
        let mut scratch = self.worker.buffers.read_scratch();
        loop {
            match stream.try_read(&mut scratch) {
                Ok(read) => {
                    self.input.extend_from_slice(&scratch[..read]);
                    self.progress.moves();
                    return Poll::Ready(Ok(read));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::task::ready!(stream.poll_read_ready(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Whether nothing has moved for too long, or the instance is cut.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        if self.registered.is_none() {
            self.registered = Some(Registration::new(&self.worker, cx));
        }
        let idle = self.account.route.limits.idle;
        self.account.instance().is_cut()
            || (!idle.is_zero()
                && !self.account.may_be_quiet()
                && self.timer.poll_passed(cx, self.progress.deadline(idle)))
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        asked: Asked,
        sent: usize,
    ) -> Poll<Result<http::response::Parts, Why>> {
        loop {
            if !self.input.is_empty() {
                match self.take_head(asked) {
                    Ok(Some(parts)) => return Poll::Ready(Ok(parts)),
                    Ok(None) => {}
                    Err(refusal) => {
                        tracing::warn!(
                            app = %self.account.route.app,
                            instance = %self.account.instance().id,
                            %refusal,
                            section = refusal.section(),
                            "an answer broke a rule of HTTP/1.1"
                        );
                        return Poll::Ready(Err(Why::Bad(
                            502,
                            "sent an answer that is not HTTP/1.1",
                        )));
                    }
                }
            }
            let nothing = self.input.is_empty();
            match self.poll_read(cx) {
                Poll::Ready(Ok(0) | Err(_)) if nothing => {
                    return Poll::Ready(Err(Why::Closed { sent: sent > 0 }));
                }
                Poll::Ready(Ok(0) | Err(_)) => {
                    return Poll::Ready(Err(Why::Bad(
                        502,
                        "closed the connection in the middle of its answer",
                    )));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Pending if self.is_over(cx) => {
                    let cut = self.account.instance().is_cut();
                    return Poll::Ready(Err(if cut {
                        Why::Bad(502, "was stopped before it answered")
                    } else {
                        self.progress.too_late()
                    }));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// The final head, if it is there whole. HTTP/2 clients get no 1xx.
    fn take_head(&mut self, asked: Asked) -> Result<Option<http::response::Parts>, Refusal> {
        loop {
            let mut store = FieldStore::new();
            let method = if asked.head_only { "HEAD" } else { "GET" };
            let limits = crate::exchange::relay::ANSWER_LIMITS;
            let Parsed::Complete(head) = parse_response(&self.input, &mut store, &limits, method)?
            else {
                return Ok(None);
            };
            let length = head.length;
            if head.status == 101 {
                return Err(Refusal::ForbiddenContent);
            }
            if head.status < 200 {
                self.input.advance(length);
                continue;
            }
            let events = response::is_event_stream(&head);
            self.account
                .answered(head.status, events, self.progress.moved());
            let fields = head.fields.iter().map(|field| (field.name, field.value));
            self.account.learn(&self.worker, fields);
            self.decoder = BodyDecoder::new(head.body);
            self.reusable = head.keep_alive;
            self.timeout = response::keep_alive_timeout(&head);
            self.ended = head.body == BodyLength::Empty;
            let parts = parts_of(&head, asked, events);
            self.input.advance(length);
            return Ok(Some(parts));
        }
    }

    /// The next frame, if its bytes are there.
    fn decode(&mut self) -> Result<Option<Frame<Bytes>>, Refusal> {
        match self.decoder.decode(&self.input)? {
            Decoded::Data { consumed, data } => {
                self.account.moved(data.len() as u64);
                let mut piece = self.input.split_to(consumed);
                if self.input.is_empty() {
                    // The memory goes with the piece: an idle stream holds none.
                    self.input = BytesMut::new();
                }
                piece.advance(data.start);
                piece.truncate(data.end - data.start);
                // A body of known length ends with its last byte, not with a read after it.
                self.ended =
                    matches!(&self.decoder, BodyDecoder::Length(length) if length.is_done());
                Ok(Some(Frame::data(piece.freeze())))
            }
            Decoded::NeedMore { consumed } => {
                self.input.advance(consumed);
                if self.input.is_empty() {
                    self.input = BytesMut::new();
                }
                Ok(None)
            }
            Decoded::End { consumed, trailers } => {
                let trailers = trailer_map(&self.input[trailers]);
                self.input.advance(consumed);
                self.ended = true;
                Ok((!trailers.is_empty()).then(|| Frame::trailers(trailers)))
            }
        }
    }

    fn broken(&mut self) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.account.broke();
        self.account.failed();
        self.reusable = false;
        self.ended = true;
        Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())))
    }
}

impl Body for AnswerStream {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        loop {
            if this.ended {
                return Poll::Ready(None);
            }
            if this.account.instance().is_cut() {
                return this.broken();
            }
            match this.decode() {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) if this.ended => return Poll::Ready(None),
                Ok(None) => {}
                Err(_) => return this.broken(),
            }
            match this.poll_read(cx) {
                Poll::Ready(Ok(0)) if matches!(this.decoder, BodyDecoder::UntilClose) => {
                    this.ended = true;
                    this.reusable = false;
                }
                Poll::Ready(Ok(0) | Err(_)) => return this.broken(),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending if this.is_over(cx) => return this.broken(),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

impl Drop for AnswerStream {
    fn drop(&mut self) {
        let whole = self.ended && self.input.is_empty() && self.sending.get() == Sending::Done;
        if !(whole && self.reusable) {
            return;
        }
        // The sender's share has gone with it: it is done.
        let stream = self
            .stream
            .take()
            .and_then(|stream| Rc::try_unwrap(stream).ok());
        if let Some(stream) = stream {
            let instance = self.account.instance();
            self.worker.upstreams.give(instance, stream, self.timeout);
        }
    }
}

/// A trailer section that the decoder has validated.
pub(crate) fn trailer_map(section: &[u8]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for field in trailer_fields(section).flatten() {
        append(&mut map, field.name, field.value);
    }
    map
}

/// What passed our rules passes those of `http` as well; if not, the field is left out.
fn append(map: &mut HeaderMap, name: &str, value: &[u8]) {
    if let (Ok(name), Ok(value)) = (
        HeaderName::from_bytes(name.as_bytes()),
        HeaderValue::from_bytes(value),
    ) {
        map.append(name, value);
    }
}

fn parts_of(head: &ResponseHead<'_, '_>, asked: Asked, events: bool) -> http::response::Parts {
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = StatusCode::from_u16(head.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let map = &mut parts.headers;
    let bodiless = asked.head_only || head.status == 304;
    for field in head.fields {
        let announced = is_framing(field.name) && !(bodiless && field.name.len() == 14);
        if !announced && !is_hop_by_hop(field.name, &head.connection) {
            append(map, field.name, field.value);
        }
    }
    match head.body {
        BodyLength::Length(length) => append(map, "content-length", &decimal(length)),
        BodyLength::Empty if !bodiless && head.status != 204 => {
            append(map, "content-length", b"0");
        }
        _ => {}
    }
    if events && asked.behind_proxy && !map.contains_key("x-accel-buffering") {
        append(map, "x-accel-buffering", b"no");
    }
    parts
}
