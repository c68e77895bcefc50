//! The request's half of an exchange over HTTP/1.1.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use hyper::body::Frame;
use tokio::net::TcpStream;

use crate::answer::Answer;
use crate::exchange::limited::TooLarge;
use crate::exchange::progress::Progress;
use crate::exchange::recode::write_piece;
use crate::exchange::response::Coding;
use crate::h1::Field;
use crate::h1::fields::is_forbidden_trailer;
use crate::h1::write::write_last_chunk;
use crate::upstream::h2c::{BodyError, RequestBody};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sending {
    Going,
    Done,
    /// The instance took no more, or the client sent no more.
    Broken,
}

/// The request's half.
pub(super) struct Sender {
    pub(super) stream: Rc<TcpStream>,
    pub(super) out: BytesMut,
    pub(super) coding: Coding,
    pub(super) body: Option<RequestBody>,
    pub(super) state: Rc<Cell<Sending>>,
    pub(super) progress: Rc<Progress>,
    pub(super) sent: usize,
}

/// Ready when all has gone (None) or cannot go on; with an answer if that is the client's fault.
impl Future for Sender {
    type Output = Option<Answer>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.state.get() != Sending::Going {
            return Poll::Ready(None);
        }
        loop {
            while !this.out.is_empty() {
                match this.stream.try_write(&this.out) {
                    Ok(count) => {
                        this.out.advance(count);
                        this.sent += count;
                        this.progress.moves();
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        std::task::ready!(this.stream.poll_write_ready(cx)).ok();
                    }
                    Err(_) => {
                        this.state.set(Sending::Broken);
                        return Poll::Ready(None);
                    }
                }
            }
            let Some(body) = &mut this.body else {
                this.state.set(Sending::Done);
                return Poll::Ready(None);
            };
            match std::task::ready!(body.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => this.take(frame),
                Some(Err(error)) => {
                    this.state.set(Sending::Broken);
                    return Poll::Ready(Some(client_broke(error)));
                }
                None => {
                    this.body = None;
                    if this.coding == Coding::Chunked {
                        let mut last = Vec::new();
                        write_last_chunk(&mut last, []);
                        this.out.extend_from_slice(&last);
                    }
                }
            }
        }
    }
}

impl Sender {
    fn take(&mut self, frame: Frame<Bytes>) {
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => {
                let mut framed = Vec::with_capacity(data.len() + 16);
                write_piece(self.coding, &data, &mut framed);
                self.out.extend_from_slice(&framed);
            }
            Err(frame) => {
                let Ok(trailers) = frame.into_trailers() else {
                    return;
                };
                self.body = None;
                if self.coding == Coding::Chunked {
                    let fields = trailers
                        .iter()
                        .filter(|(name, _)| !is_forbidden_trailer(name.as_str()))
                        .map(|(name, value)| Field {
                            name: name.as_str(),
                            value: value.as_bytes(),
                        });
                    let mut last = Vec::new();
                    write_last_chunk(&mut last, fields);
                    self.out.extend_from_slice(&last);
                }
            }
        }
    }
}

fn client_broke(error: BodyError) -> Answer {
    match error.downcast::<TooLarge>() {
        Ok(too_large) => too_large.answer(),
        Err(_) => Answer::new(400, "The body of the request broke off."),
    }
}
