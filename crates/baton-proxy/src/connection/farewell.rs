//! How an HTTP/2 connection ends and loses neither a request nor the end of an answer.
//!
//! hyper's graceful end says GOAWAY with the highest id, sends a PING, and says GOAWAY with the last id that
//! has come as soon as the PING is answered (RFC 9113 §6.8). That is too soon: clients answer a PING before
//! they write the requests that they have queued (the `h2` crate and nghttp2 both do), and those would be
//! ignored. So a connection says its first GOAWAY by [`Farewell`], without a PING, and goes on as before until
//! what was queued has come; only then hyper's end begins.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::time::{Instant, Sleep, sleep};

use crate::io::{ClientStream, poll_read_some};

/// No stream, the highest id, NO_ERROR: every request is let in, and the client should send the next one
/// elsewhere.
const GOAWAY: &[u8] = &[
    0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0,
];

/// How long a client that takes nothing and says nothing keeps a connection that has ended, and how long
/// one does that still takes its last answer.
const SILENT: Duration = Duration::from_secs(5);
const SLOW: Duration = Duration::from_secs(30);
/// What is still read of it: the updates of windows for as much as sockets hold, and a body that nobody
/// waited for.
const DISCARDED: usize = 2 << 20;

/// Asks for the first GOAWAY. Whoever has it must have the connection polled next.
#[derive(Debug, Clone, Default)]
pub(super) struct Farewell(Rc<Cell<bool>>);

impl Farewell {
    pub(super) fn say(&self) {
        self.0.set(true);
    }
}

/// The first GOAWAY, on its way between two frames of hyper's.
#[derive(Debug)]
pub(super) struct Saying {
    due: Farewell,
    unsaid: &'static [u8],
    flushed: bool,
}

impl Saying {
    pub(super) fn new(due: Farewell) -> Saying {
        Saying {
            due,
            unsaid: GOAWAY,
            flushed: false,
        }
    }

    /// It waits for the end of a frame.
    pub(super) fn waits(&self) -> bool {
        self.due.0.get() && self.unsaid.len() == GOAWAY.len()
    }

    /// Says it, if it is due and may be said here; what was begun is ended in any case.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut ClientStream,
        between_frames: bool,
    ) -> Poll<io::Result<()>> {
        if self.flushed || !self.due.0.get() || (self.waits() && !between_frames) {
            return Poll::Ready(Ok(()));
        }
        while !self.unsaid.is_empty() {
            match ready!(stream.poll_write_some(cx, self.unsaid))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.unsaid = &self.unsaid[written..],
            }
        }
        ready!(stream.poll_flush_all(cx))?;
        self.flushed = true;
        Poll::Ready(Ok(()))
    }
}

/// The end of a connection on which all has been said. Closing with unread bytes, or before a client's next
/// ones come, would reset it, and the end of the last answer may still be on its way: so it is read from
/// until the client closes.
#[derive(Debug)]
pub(super) struct Lingering {
    silent: Pin<Box<Sleep>>,
    ends: Instant,
    left: usize,
}

impl Lingering {
    fn new() -> Lingering {
        Lingering {
            silent: Box::pin(sleep(SILENT)),
            ends: Instant::now() + SLOW,
            left: DISCARDED,
        }
    }

    /// Ready when the socket may be closed.
    fn poll(&mut self, cx: &mut Context<'_>, stream: &mut ClientStream) -> Poll<()> {
        let mut unread = [0; 2048];
        while self.left > 0 {
            match poll_read_some(stream, cx, &mut unread) {
                Poll::Ready(Ok(length)) if length > 0 => {
                    self.left = self.left.saturating_sub(length);
                    let silent = self.ends.min(Instant::now() + SILENT);
                    self.silent.as_mut().reset(silent);
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.silent.as_mut().poll(cx),
            }
        }
        Poll::Ready(())
    }

    /// Says that nothing more comes, then lingers. `lingering` is where it is kept.
    pub(super) fn poll_after_shutdown(
        lingering: &mut Option<Lingering>,
        cx: &mut Context<'_>,
        stream: &mut ClientStream,
    ) -> Poll<io::Result<()>> {
        if lingering.is_none() {
            ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
        }
        let lingering = lingering.get_or_insert_with(Lingering::new);
        lingering.poll(cx, stream).map(Ok)
    }
}
