//! The request's half of an exchange: from the client to the instance.

use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use hyper::body::Frame;
use tokio::net::TcpStream;

use crate::answer::Answer;
use crate::buffer::{Buffer, Buffers};
use crate::exchange::recode::recode;
use crate::exchange::request::too_large;
use crate::exchange::response::Coding;
use crate::h1::{BodyDecoder, BodyLength, Decoded, Refusal};
use crate::io::ClientEnd;
use crate::upstream::h1::trailer_map;

/// A request on its way to an instance.
#[derive(Debug)]
pub(crate) struct Upload {
    /// The head as it came: for another look at the table while the request is held.
    pub(crate) came: Buffer,
    /// The head, written anew, and the first of the body.
    request: Buffer,
    /// Bytes of the head in `request`.
    head: usize,
    /// Bytes of `request` that the instance's socket has taken.
    sent: usize,
    /// None: the whole body is in `request` or has passed.
    decoder: Option<BodyDecoder>,
    coding: Coding,
    /// Body that the instance's socket did not take yet.
    pending: Buffer,
    /// Bytes of the body so far.
    body: u64,
    /// Most bytes of the body. 0: no limit.
    limit: u64,
    /// Of those, what no step has reported yet.
    uncounted: u64,
    abandoned: bool,
    /// What lies in the client's input has been looked at and wants more behind it.
    starved: bool,
}

/// Why the request cannot go on.
#[derive(Debug)]
pub(crate) enum Stopped {
    ClientGone,
    Refused(Answer),
}

/// What one step has done.
pub(crate) struct Step {
    /// Body bytes that came from the client.
    pub(crate) data: u64,
    pub(crate) moved: bool,
}

impl Upload {
    pub(crate) fn new(request: Buffer, body: BodyLength, limit: u64) -> Upload {
        Upload {
            came: Buffer::default(),
            head: request.len(),
            request,
            sent: 0,
            decoder: (body != BodyLength::Empty).then(|| BodyDecoder::new(body)),
            coding: match body {
                BodyLength::Chunked => Coding::Chunked,
                _ => Coding::Raw,
            },
            pending: Buffer::default(),
            body: 0,
            limit,
            uncounted: 0,
            abandoned: false,
            starved: false,
        }
    }

    /// Puts what has come of the body behind the head, so that both go out in one write.
    pub(crate) fn take_first(
        &mut self,
        input: &mut Buffer,
        buffers: &Buffers,
    ) -> Result<(), Answer> {
        let Some(decoder) = &mut self.decoder else {
            return Ok(());
        };
        if input.is_empty() {
            return Ok(());
        }
        let out = self.request.writer(buffers);
        let done = recode(decoder, self.coding, input.rest(), out).map_err(refused)?;
        input.consume(buffers, done.consumed);
        self.starved = true;
        self.count(done.data)?;
        if done.ended || self.decoder.as_ref().is_some_and(BodyDecoder::is_done) {
            self.decoder = None;
        }
        Ok(())
    }

    /// The whole request has gone out.
    pub(crate) fn is_done(&self) -> bool {
        self.decoder.is_none() && self.pending.is_empty() && self.is_first_sent()
    }

    /// The instance takes no more of it; what is missing is of no use.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    /// Nothing has reached the instance's socket, so that nothing is sent twice.
    pub(crate) fn is_unsent(&self) -> bool {
        self.sent == 0 && !self.request.is_empty()
    }

    /// The whole request is still here and may be sent once more.
    pub(crate) fn is_whole(&self) -> bool {
        self.decoder.is_none() && !self.request.is_empty()
    }

    /// The body is still to come from the client, and the client is what is waited for.
    pub(crate) fn awaits_client(&self) -> bool {
        self.decoder.is_some() && self.pending.is_empty() && self.is_first_sent()
    }

    fn is_first_sent(&self) -> bool {
        self.sent >= self.request.len()
    }

    /// Another head for the same body: the route has changed while the request was held.
    pub(crate) fn replace_head(&mut self, mut request: Buffer, buffers: &Buffers) {
        let head = request.len();
        request.append(buffers, &self.request.rest()[self.head..]);
        self.request.release(buffers);
        self.request = request;
        self.head = head;
    }

    /// From the start again, on another connection.
    pub(crate) fn rewind(&mut self) {
        self.sent = 0;
        self.abandoned = false;
        self.starved = false;
    }

    /// An answer has begun: the request is not sent again.
    pub(crate) fn forget(&mut self, buffers: &Buffers) {
        self.came.release(buffers);
        if self.is_first_sent() {
            self.request.release(buffers);
        }
    }

    fn count(&mut self, data: u64) -> Result<(), Answer> {
        self.body += data;
        self.uncounted += data;
        if self.limit > 0 && self.body > self.limit {
            return Err(too_large(self.limit));
        }
        Ok(())
    }

    /// Sends what there is, reads more, until one of the two sockets has to be waited for or all has
    /// gone. `repeatable`: keep the request for a second time.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut ClientEnd,
        upstream: &mut TcpStream,
        buffers: &Buffers,
        repeatable: bool,
    ) -> Result<Step, Stopped> {
        let mut step = Step {
            data: 0,
            moved: false,
        };
        while !self.abandoned {
            if self
                .poll_send(cx, upstream, buffers, repeatable, &mut step)
                .is_pending()
                || self.decoder.is_none()
            {
                break;
            }
            match self.poll_body(cx, client, upstream, buffers) {
                Poll::Ready(Ok(())) => step.moved = true,
                Poll::Ready(Err(stopped)) => return Err(stopped),
                Poll::Pending => break,
            }
        }
        step.data = std::mem::take(&mut self.uncounted);
        Ok(step)
    }

    /// Sends what lies here. An instance that takes no more may still be answering.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        upstream: &mut TcpStream,
        buffers: &Buffers,
        repeatable: bool,
        step: &mut Step,
    ) -> Poll<()> {
        while !self.is_first_sent() {
            match poll_write(upstream, cx, &self.request.rest()[self.sent..]) {
                Poll::Ready(Ok(count)) => {
                    self.sent += count;
                    step.moved = true;
                }
                Poll::Ready(Err(())) => {
                    self.abandoned = true;
                    return Poll::Ready(());
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        if !repeatable && !self.request.is_empty() {
            self.request.release(buffers);
        }
        while !self.pending.is_empty() {
            match poll_write(upstream, cx, self.pending.rest()) {
                Poll::Ready(Ok(count)) => {
                    self.pending.consume(buffers, count);
                    step.moved = true;
                }
                Poll::Ready(Err(())) => {
                    self.abandoned = true;
                    self.pending.release(buffers);
                    return Poll::Ready(());
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }

    /// Takes the next piece of the body from the client and passes it on.
    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut ClientEnd,
        upstream: &mut TcpStream,
        buffers: &Buffers,
    ) -> Poll<Result<(), Stopped>> {
        let mut scratch = buffers.read_scratch();
        let ahead = !client.input.is_empty();
        let read = if ahead && !self.starved {
            0
        } else {
            match client.stream.poll_read_some(cx, &mut scratch) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Stopped::ClientGone)),
                Poll::Ready(Ok(read)) => read,
                Poll::Pending => return Poll::Pending,
            }
        };
        let mut held = std::mem::take(&mut client.input);
        if ahead {
            held.append(buffers, &scratch[..read]);
        }
        let input = if ahead { held.rest() } else { &scratch[..read] };
        let passed = self.pass(cx, input, upstream, buffers);
        let result = match passed {
            Ok(consumed) if ahead => {
                held.consume(buffers, consumed);
                Ok(())
            }
            Ok(consumed) => {
                held.append(buffers, &scratch[consumed..read]);
                Ok(())
            }
            Err(answer) => Err(answer),
        };
        client.input = held;
        Poll::Ready(result.map_err(Stopped::Refused))
    }

    /// Decodes a piece and writes it on; keeps what the instance does not take.
    fn pass(
        &mut self,
        cx: &mut Context<'_>,
        input: &[u8],
        upstream: &mut TcpStream,
        buffers: &Buffers,
    ) -> Result<usize, Answer> {
        let Some(decoder) = &mut self.decoder else {
            return Ok(0);
        };
        let mut out = buffers.write_scratch();
        let (consumed, data, piece) = match decoder {
            BodyDecoder::Length(length) => match length.decode(input) {
                Decoded::Data { consumed, data } => (consumed, data.len() as u64, &input[data]),
                Decoded::NeedMore { consumed } | Decoded::End { consumed, .. } => {
                    (consumed, 0, &input[..0])
                }
            },
            BodyDecoder::Chunked(_) | BodyDecoder::UntilClose => {
                let done = recode(decoder, self.coding, input, &mut out).map_err(refused)?;
                (done.consumed, done.data, out.as_slice())
            }
        };
        self.starved = true;
        if decoder.is_done() {
            self.decoder = None;
        }
        self.count(data)?;
        let mut rest = piece;
        while !rest.is_empty() {
            match poll_write(upstream, cx, rest) {
                Poll::Ready(Ok(count)) => rest = &rest[count..],
                Poll::Ready(Err(())) => {
                    self.abandoned = true;
                    break;
                }
                Poll::Pending => {
                    self.pending.append(buffers, rest);
                    break;
                }
            }
        }
        Ok(consumed)
    }

    /// Some of the body is still to come, or to be decoded.
    pub(crate) fn has_body_left(&self) -> bool {
        self.decoder.is_some()
    }

    /// The next piece of the body as frames, for a receiver with a framing of its own.
    pub(crate) fn poll_frames(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut ClientEnd,
        buffers: &Buffers,
    ) -> Poll<Result<Vec<Frame<Bytes>>, Stopped>> {
        if client.input.is_empty() || self.starved {
            let mut scratch = buffers.read_scratch();
            match client.stream.poll_read_some(cx, &mut scratch) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Stopped::ClientGone)),
                Poll::Ready(Ok(read)) => client.input.append(buffers, &scratch[..read]),
                Poll::Pending => return Poll::Pending,
            }
        }
        let mut frames = Vec::new();
        while let Some(decoder) = &mut self.decoder {
            let input = client.input.rest();
            let consumed = match decoder.decode(input) {
                Ok(Decoded::Data { consumed, data }) => {
                    let data = Bytes::copy_from_slice(&input[data]);
                    let length = data.len() as u64;
                    frames.push(Frame::data(data));
                    self.count(length).map_err(Stopped::Refused)?;
                    consumed
                }
                Ok(Decoded::NeedMore { consumed }) => {
                    client.input.consume(buffers, consumed);
                    self.starved = true;
                    return Poll::Ready(Ok(frames));
                }
                Ok(Decoded::End { consumed, trailers }) => {
                    let trailers = trailer_map(&input[trailers]);
                    if !trailers.is_empty() {
                        frames.push(Frame::trailers(trailers));
                    }
                    self.decoder = None;
                    consumed
                }
                Err(refusal) => return Poll::Ready(Err(Stopped::Refused(refused(refusal)))),
            };
            client.input.consume(buffers, consumed);
        }
        Poll::Ready(Ok(frames))
    }

    /// After an answer that did not wait for the whole request: reads the rest of it and forgets it.
    /// Ready when the next request may follow; an error when it cannot.
    pub(crate) fn poll_discard(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut ClientEnd,
        buffers: &Buffers,
        left: &mut usize,
        deadline: Instant,
    ) -> Poll<Result<(), ()>> {
        while let Some(decoder) = &mut self.decoder {
            let mut out = buffers.write_scratch();
            let Ok(done) = recode(decoder, Coding::Raw, client.input.rest(), &mut out) else {
                return Poll::Ready(Err(()));
            };
            client.input.consume(buffers, done.consumed);
            if decoder.is_done() {
                self.decoder = None;
                break;
            }
            if *left == 0 || client.timer.poll_passed(cx, deadline) {
                return Poll::Ready(Err(()));
            }
            let mut scratch = buffers.read_scratch();
            let most = scratch.len().min(*left);
            match client.stream.poll_read_some(cx, &mut scratch[..most]) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(())),
                Poll::Ready(Ok(read)) => {
                    *left -= read;
                    client.input.append(buffers, &scratch[..read]);
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn refused(refusal: Refusal) -> Answer {
    Answer::new(
        refusal.status(),
        format!("{refusal} ({}).", refusal.section()),
    )
}

/// One write; an error says only that the instance takes no more.
fn poll_write(
    upstream: &mut TcpStream,
    cx: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<Result<usize, ()>> {
    use std::pin::Pin;
    use tokio::io::AsyncWrite;
    match Pin::new(upstream).poll_write(cx, bytes) {
        Poll::Ready(Ok(0) | Err(_)) => Poll::Ready(Err(())),
        Poll::Ready(Ok(count)) => Poll::Ready(Ok(count)),
        Poll::Pending => Poll::Pending,
    }
}
