//! A request's body on its way to hyper or to an instance, no larger than its route allows.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::answer::Answer;
use crate::exchange::request::too_large;
use crate::upstream::h2c::{BodyError, RequestBody};

/// A body that was larger than its route allows.
#[derive(Debug, thiserror::Error)]
#[error("the body is larger than {0} bytes")]
pub(crate) struct TooLarge(u64);

impl TooLarge {
    pub(crate) fn answer(&self) -> Answer {
        too_large(self.0)
    }
}

/// A request's body that may have `limit` bytes at most (0: any number).
pub(crate) fn limited<B>(body: B, limit: u64) -> RequestBody
where
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<BodyError>,
{
    Box::pin(Limited {
        body: Box::pin(body),
        passed: 0,
        limit,
    })
}

struct Limited<B> {
    body: Pin<Box<B>>,
    passed: u64,
    limit: u64,
}

impl<B> Body for Limited<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = std::task::ready!(self.body.as_mut().poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            self.passed += frame.data_ref().map_or(0, Bytes::len) as u64;
            if self.limit > 0 && self.passed > self.limit {
                return Poll::Ready(Some(Err(Box::new(TooLarge(self.limit)))));
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a request without one.
pub(crate) struct NoBody;

impl Body for NoBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(0)
    }
}
