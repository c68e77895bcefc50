//! One half of a managed stream: what one instance says.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::Body;

use super::opening::{Asking, Backoff, Turn};
use crate::exchange::stream::AnswerBody;
use crate::instance::Instance;
use crate::sse::{Framer, HalfKey, Overflow, Union, Verdict};

/// One instance's part in a stream.
pub(super) struct Half {
    pub(super) instance: Arc<Instance>,
    pub(super) source: Source,
    framer: Framer,
    /// Read, and not framed yet: at most one read.
    rest: Bytes,
    /// The reconnection time that the app asked for.
    pub(super) retry: Option<Duration>,
    pub(super) backoff: Backoff,
    /// It counts in the instance's gauge `attached`.
    attached: bool,
    /// When its instance was asked first.
    pub(super) asked: Option<Instant>,
    /// When it has been opened last.
    opened: Option<Instant>,
    pub(super) leaving: Option<Leaving>,
}

pub(super) enum Source {
    /// For its turn to be opened.
    Waiting(Turn),
    /// The instance is asked.
    Asked(Asking),
    Open(AnswerBody),
    /// Nothing is framed any more: bytes pass as they are.
    Raw(AnswerBody),
}

/// A half whose time is over: what the instance has said already is still forwarded.
#[derive(Debug)]
pub(super) struct Leaving {
    /// It has said nothing since then.
    quiet: Option<Instant>,
    /// How long it must have been quiet.
    pause: Duration,
    /// And when it goes in any case.
    latest: Instant,
}

/// What reading a half has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// Something was read; `out` may have grown.
    Some,
    Nothing,
    /// The app has ended it.
    Ended,
    Broken,
    /// An event is too long to be held: the bytes pass as they are from now on.
    Overflow,
}

impl Half {
    pub(super) fn new(instance: Arc<Instance>, source: Source) -> Half {
        Half {
            instance,
            opened: matches!(source, Source::Open(_)).then(Instant::now),
            source,
            framer: Framer::new(),
            rest: Bytes::new(),
            retry: None,
            backoff: Backoff::default(),
            attached: false,
            asked: None,
            leaving: None,
        }
    }

    /// Its name in the union: no other half of the stream has this instance.
    pub(super) fn key(&self) -> HalfKey {
        HalfKey(Arc::as_ptr(&self.instance) as usize as u64)
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.source, Source::Open(_) | Source::Raw(_))
    }

    /// Now or before.
    pub(super) fn was_open(&self) -> bool {
        self.opened.is_some()
    }

    /// Whether it has been open for so long.
    pub(super) fn has_lasted(&self, time: Duration) -> bool {
        self.opened.is_some_and(|opened| opened.elapsed() >= time)
    }

    /// From its first byte.
    pub(super) fn begin(&mut self, body: AnswerBody) {
        self.framer = Framer::new();
        self.rest = Bytes::new();
        self.source = Source::Open(body);
        self.opened = Some(Instant::now());
    }

    /// What it has begun to say and not ended is discarded, as the standard says.
    pub(super) fn wait(&mut self, turn: Turn) {
        self.framer = Framer::new();
        self.rest = Bytes::new();
        self.source = Source::Waiting(turn);
    }

    pub(super) fn attach(&mut self) {
        if !std::mem::replace(&mut self.attached, true) {
            self.instance.counters.attached.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn detach(&mut self) {
        if std::mem::take(&mut self.attached) {
            self.instance.counters.attached.fetch_sub(1, Relaxed);
        }
    }

    pub(super) fn is_attached(&self) -> bool {
        self.attached
    }

    /// Lets it go once it has been quiet for `pause`, at a boundary.
    pub(super) fn leave(&mut self, pause: Duration, patience: Duration) {
        self.leaving.get_or_insert_with(|| Leaving {
            quiet: None,
            pause,
            latest: Instant::now() + patience,
        });
    }

    /// Time that it could not be read in does not count.
    pub(super) fn stays_longer(&mut self, by: Duration) {
        if let Some(leaving) = &mut self.leaving {
            leaving.latest += by;
        }
    }

    /// When it may be looked at again; None: it is time to let it go.
    pub(super) fn leaves_at(&self) -> Option<Instant> {
        let leaving = self.leaving.as_ref()?;
        if !self.is_open() {
            return None;
        }
        // Where the events of a raw one end is not known.
        let framed = matches!(self.source, Source::Open(_));
        let at_boundary = framed && self.rest.is_empty() && self.framer.held() == 0;
        let at = match leaving.quiet {
            Some(quiet) if at_boundary => (quiet + leaving.pause).min(leaving.latest),
            _ => leaving.latest,
        };
        (at > Instant::now()).then_some(at)
    }

    /// Reads once and puts the events that the client gets into `out`.
    pub(super) fn read(
        &mut self,
        cx: &mut Context<'_>,
        union: &mut Union,
        out: &mut Vec<u8>,
    ) -> Read {
        let (Source::Open(body) | Source::Raw(body)) = &mut self.source else {
            return Read::Nothing;
        };
        if self.rest.is_empty() {
            match Pin::new(body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers say nothing to an event stream.
                    self.rest = frame.into_data().unwrap_or_default();
                }
                Poll::Ready(Some(Err(_))) => return Read::Broken,
                Poll::Ready(None) => return Read::Ended,
                Poll::Pending => return self.nothing(),
            }
        }
        if let Some(leaving) = &mut self.leaving {
            leaving.quiet = None;
        }
        if matches!(self.source, Source::Raw(_)) {
            out.extend_from_slice(&std::mem::take(&mut self.rest));
            return Read::Some;
        }
        self.frame(union, out)
    }

    fn nothing(&mut self) -> Read {
        match &mut self.leaving {
            Some(leaving) if leaving.quiet.is_none() => {
                leaving.quiet = Some(Instant::now());
                Read::Some
            }
            _ => Read::Nothing,
        }
    }

    fn frame(&mut self, union: &mut Union, out: &mut Vec<u8>) -> Read {
        let key = self.key();
        let rest = std::mem::take(&mut self.rest);
        let mut input = &rest[..];
        let mut events = 0;
        let read = loop {
            match self.framer.next(&mut input) {
                Ok(Some(event)) => {
                    self.retry = event.retry().map(Duration::from_millis).or(self.retry);
                    if union.take(key, &event) == Verdict::Forward {
                        out.extend_from_slice(event.raw());
                        events += u64::from(event.dispatches());
                        self.backoff.forget();
                    }
                }
                Ok(None) => break Read::Some,
                Err(Overflow) => {
                    self.rest = rest.slice(rest.len() - input.len()..);
                    break Read::Overflow;
                }
            }
        };
        self.instance.counters.events.fetch_add(events, Relaxed);
        read
    }

    /// Gives up framing. What was held goes to `out`.
    pub(super) fn pass_raw(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.framer.take_partial());
        let turned = std::mem::replace(&mut self.source, Source::Waiting(Box::pin(async { None })));
        self.source = match turned {
            Source::Open(body) => Source::Raw(body),
            other => other,
        };
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        self.detach();
    }
}
