//! How far a request's body has come, for those who wait for the answer.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::answer::Answer;
use crate::exchange::account::Account;
use crate::upstream::h1::Why;
use crate::upstream::h2c::{BodyError, RequestBody};

/// Shared by both directions of an exchange: a long upload is no silence.
#[derive(Debug)]
pub(crate) struct Progress {
    moved: Cell<Instant>,
    awaits_client: Cell<bool>,
}

impl Progress {
    pub(crate) fn new() -> Rc<Progress> {
        Rc::new(Progress {
            moved: Cell::new(Instant::now()),
            awaits_client: Cell::new(false),
        })
    }

    /// A byte has moved, whichever way.
    pub(crate) fn moves(&self) {
        self.moved.set(Instant::now());
    }

    /// When that was last.
    pub(crate) fn moved(&self) -> Instant {
        self.moved.get()
    }

    /// When nothing has moved for `idle`, as things stand now.
    pub(crate) fn deadline(&self, idle: Duration) -> Instant {
        self.moved.get() + idle
    }

    /// Why nothing has moved for too long: the client owes a part of its request, or the instance its
    /// answer.
    pub(crate) fn too_late(&self) -> Why {
        if self.awaits_client.get() {
            let text = "The rest of the request did not come in time.";
            Why::Client(Answer::new(408, text))
        } else {
            Why::Bad(504, "did not answer in time")
        }
    }

    /// The same body; what passes is counted for `account` and noted here.
    pub(crate) fn count(self: &Rc<Self>, body: RequestBody, account: &Rc<Account>) -> RequestBody {
        Box::pin(CountedUpload {
            body,
            progress: Rc::clone(self),
            account: Rc::downgrade(account),
        })
    }
}

struct CountedUpload {
    body: RequestBody,
    progress: Rc<Progress>,
    /// A body that outlives its exchange must not keep the instance from draining.
    account: Weak<Account>,
}

impl Body for CountedUpload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = self.body.as_mut().poll_frame(cx);
        self.progress.awaits_client.set(frame.is_pending());
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            self.progress.moves();
            if let (Some(data), Some(account)) = (frame.data_ref(), self.account.upgrade()) {
                account.moved(data.len() as u64);
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
