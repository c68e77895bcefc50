//! A managed stream: the halves behind one client's answer, as a body of whole events.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use hyper::body::Frame;
use tokio::sync::futures::OwnedNotified;

use super::half::{Half, Read, Source};
use super::kept::Kept;
use super::opening::{self, Asking};
use super::rule::StreamMode;
use super::stalled;
use super::terms::Terms;
use crate::caller::Caller;
use crate::exchange::account::Account;
use crate::exchange::stream::AnswerBody;
use crate::instance::Instance;
use crate::io::Timer;
use crate::random::random;
use crate::route::Route;
use crate::sse::{self, Cors, Union};
use crate::worker::WorkerContext;

/// How long a half that ends must have been quiet: what the app has just said is still on its way. Not
/// for what it has yet to say: the set keeps its instance until that is drained.
const QUIET: Duration = Duration::from_millis(50);
/// How long one that is never quiet, or stands in the middle of an event, is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// An orderly end after this long is an emitter's time that is over, not a failure.
const LASTED: Duration = Duration::from_secs(1);

/// One client's stream. Whole events only: between any two frames of this body the client is at a
/// boundary.
pub(crate) struct Splice {
    pub(super) worker: Rc<WorkerContext>,
    pub(super) route: Arc<Route>,
    kept: Kept,
    pub(super) mode: StreamMode,
    grace: Duration,
    pub(super) head: Head,
    pub(super) union: Union,
    /// The one that the client's answer came from is the first, until it leaves.
    pub(super) halves: Vec<Half>,
    /// Where the client's own requests go.
    pub(super) caller: Caller,
    published: Pin<Box<OwnedNotified>>,
    /// No table has been looked at yet.
    pub(super) fresh: bool,
    /// The client will be told to come back, once its halves have gone.
    pub(super) comes_back: bool,
    ending: Option<Ending>,
    /// When the client is told next that its stream is open: while it has no half.
    pub(super) still_open: Option<Instant>,
    /// What Baton itself says next.
    pub(super) note: Vec<u8>,
    pub(super) timer: Timer,
    /// The client was given something then, and has not asked for more.
    gave: Option<Instant>,
    /// Which half is read first.
    turn: usize,
}

/// What the client knows.
pub(super) enum Head {
    /// Nothing: no half has answered yet.
    Awaited,
    /// It is about to get this one.
    Begins(Box<http::response::Parts>, Cors),
    /// It is about to get this answer, which is no stream.
    Other(Box<Response<AnswerBody>>),
    /// It has the head, which allowed other origins so much.
    Sent(Cors),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Clean,
    Broken,
}

impl Splice {
    /// `body`: the answer of the instance that took the client's request, behind a head that the client
    /// gets in any case.
    pub(crate) fn new(
        worker: &Rc<WorkerContext>,
        kept: Kept,
        terms: Terms,
        cors: Cors,
        account: &Account,
        body: AnswerBody,
    ) -> Splice {
        let source = Source::Open(body);
        Splice::with(worker, kept, terms, Head::Sent(cors), account, source)
    }

    /// The instance has the client's request and has not answered: some apps send their headers only
    /// with the first event.
    pub(super) fn awaiting(
        worker: &Rc<WorkerContext>,
        kept: Kept,
        terms: Terms,
        account: &Account,
        asking: Asking,
    ) -> Splice {
        let source = Source::Asked(asking);
        Splice::with(worker, kept, terms, Head::Awaited, account, source)
    }

    fn with(
        worker: &Rc<WorkerContext>,
        kept: Kept,
        terms: Terms,
        head: Head,
        account: &Account,
        source: Source,
    ) -> Splice {
        account.becomes_managed();
        let (route, instance) = (Arc::clone(&account.route), Arc::clone(account.instance()));
        let sent = kept.last_event_id();
        let mut union = Union::new(sent.as_deref(), terms.drop_on_attach);
        let half = Half::new(instance, source);
        union.open(half.key());
        let mut splice = Splice {
            published: Box::pin(worker.published_owned()),
            worker: Rc::clone(worker),
            route,
            kept,
            mode: terms.mode,
            grace: terms.grace,
            head,
            union,
            halves: vec![half],
            caller: account.caller().clone(),
            fresh: true,
            comes_back: false,
            ending: None,
            still_open: None,
            note: Vec::new(),
            timer: Timer::default(),
            gave: None,
            turn: 0,
        };
        splice.enter();
        splice
    }

    pub(super) fn into_body(self) -> AnswerBody {
        let worker = Rc::clone(&self.worker);
        let splice = Rc::new(RefCell::new(self));
        stalled::watch(&worker, &splice);
        AnswerBody::spliced(splice)
    }

    /// Whether the client has not taken what it was given for so long.
    pub(super) fn is_stalled_for(&self, limit: Duration) -> bool {
        self.gave.is_some_and(|gave| gave.elapsed() > limit)
    }

    /// Leaves every instance; the client finds the end when it looks again.
    pub(super) fn give_up(&mut self) {
        self.leave_gauges();
        self.mode = StreamMode::Drain;
        self.halves.clear();
        self.ending = Some(Ending::Broken);
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(gave) = self.gave.take() {
            // The time since then was the client's.
            for half in &mut self.halves {
                half.stays_longer(gave.elapsed());
            }
        }
        loop {
            self.attend(cx);
            if !self.note.is_empty() {
                let note = std::mem::take(&mut self.note);
                return Poll::Ready(Some(Ok(Frame::data(note.into()))));
            }
            match self.ending {
                Some(Ending::Clean) => return Poll::Ready(None),
                Some(Ending::Broken) => {
                    return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())));
                }
                None => {}
            }
            let mut out = Vec::new();
            let more = self.read(cx, &mut out);
            if !out.is_empty() {
                self.gave = Some(Instant::now());
                return Poll::Ready(Some(Ok(Frame::data(out.into()))));
            }
            if !more {
                return Poll::Pending;
            }
        }
    }

    /// What must be done whether or not the client takes anything: looks at a new table, opens halves,
    /// lets those go whose time is over.
    pub(crate) fn attend(&mut self, cx: &mut Context<'_>) {
        if self.ending.is_some() {
            return;
        }
        while self.published.as_mut().poll(cx).is_ready() || self.fresh {
            // Before the look at the table, so that no publish is missed.
            self.published.set(self.worker.published_owned());
            self.look();
            self.fresh = false;
        }
        // Whoever serves next has the clients then.
        let ends = self.worker.shutdown().has_begun() && !self.comes_back;
        if ends && matches!(self.head, Head::Sent(_)) {
            self.come_back();
        }
        // From the last one: those that are removed meanwhile make none be passed over.
        for at in (0..self.halves.len()).rev() {
            self.open(cx, at);
        }
        if self.gave.is_none() {
            self.let_go(cx);
        }
        self.keep_open(cx);
        if self.comes_back && self.halves.is_empty() && matches!(self.head, Head::Sent(_)) {
            let retry = sse::reconnect_delay(random());
            self.note.extend_from_slice(&sse::closing(retry));
            self.route
                .counters
                .streams
                .reconnected
                .fetch_add(1, Relaxed);
            self.ending = Some(Ending::Clean);
        }
    }

    /// Drives one half towards its first byte.
    fn open(&mut self, cx: &mut Context<'_>, at: usize) {
        while let Some(half) = self.halves.get_mut(at)
            && !half.is_open()
        {
            if let Some(grace) = half.asked.map(|asked| asked + self.grace)
                && !half.is_attached()
                && self.timer.poll_passed(cx, grace)
            {
                self.attached(at);
            }
            if self.step(cx, at).is_pending() {
                return;
            }
        }
    }

    /// One step of that.
    fn step(&mut self, cx: &mut Context<'_>, at: usize) -> Poll<()> {
        let half = &mut self.halves[at];
        if let Source::Waiting(turn) = &mut half.source {
            let turn = ready!(turn.as_mut().poll(cx));
            half.asked.get_or_insert_with(Instant::now);
            match opening::write(&self.kept, &self.route, &self.union, half) {
                Ok(written) => {
                    let (route, peer) = (&self.route, self.kept.peer);
                    let asking =
                        opening::ask(&self.worker, route, &half.instance, written, peer, turn);
                    half.source = Source::Asked(asking);
                }
                Err(why) => self.refused(at, &why.to_string()),
            }
        } else if let Source::Asked(asking) = &mut half.source {
            match ready!(asking.as_mut().poll(cx)) {
                Some(answer) => self.answered(at, answer),
                None => self.again(at),
            }
        }
        Poll::Ready(())
    }

    /// A half's head has come.
    pub(super) fn begin(&mut self, at: usize, body: AnswerBody) {
        let half = &mut self.halves[at];
        half.begin(body);
        self.union.open(half.key());
        self.attached(at);
        self.opened(at);
    }

    /// A half has ended or could not be opened, and its instance is still wanted.
    pub(super) fn again(&mut self, at: usize) {
        let half = &mut self.halves[at];
        let after = half.backoff.next(half.retry);
        half.wait(self.worker.pace.turn(after));
    }

    /// A half has ended in good order. What its instance says until it is open again is lost, so that
    /// no `retry` is waited for: that is for failures.
    fn at_once(&mut self, at: usize) {
        let half = &mut self.halves[at];
        half.backoff.forget();
        half.wait(self.worker.pace.turn(Duration::ZERO));
    }

    /// Removes the halves whose time is over.
    fn let_go(&mut self, cx: &mut Context<'_>) {
        let mut at = 0;
        while at < self.halves.len() {
            let half = &self.halves[at];
            if half.leaving.is_none() {
                at += 1;
                continue;
            }
            match half.leaves_at() {
                Some(later) if !self.timer.poll_passed(cx, later) => at += 1,
                _ => self.gone(at),
            }
        }
    }

    /// A half has left for good.
    pub(super) fn gone(&mut self, at: usize) {
        let half = self.halves.remove(at);
        let id = self.union.close(half.key());
        if let (Some(id), StreamMode::Union) = (id, self.mode) {
            self.note.extend_from_slice(&id);
        }
        if !half.was_open() {
            return;
        }
        let counters = &half.instance.counters;
        if self.comes_back {
            counters.streams_reconnected.fetch_add(1, Relaxed);
        } else {
            counters.streams_handed_over.fetch_add(1, Relaxed);
            self.route
                .counters
                .streams
                .handed_over
                .fetch_add(1, Relaxed);
        }
    }

    /// Reads each half once, the next one first, until one has something to say. False: all wait.
    fn read(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> bool {
        // In `cut` the new half waits for the old one to end.
        let count = match self.mode {
            StreamMode::Cut => self.halves.len().min(1),
            _ => self.halves.len(),
        };
        let mut more = false;
        for step in 0..count {
            let at = (self.turn + step) % count;
            match self.halves[at].read(cx, &mut self.union, out) {
                Read::Nothing => continue,
                Read::Some => more = true,
                Read::Ended => return self.ended(at, Ending::Clean),
                Read::Broken => return self.ended(at, Ending::Broken),
                Read::Overflow => {
                    self.pass_raw(at, out);
                    return true;
                }
            }
            if !out.is_empty() {
                self.turn = at + 1;
                return true;
            }
        }
        more
    }

    /// A half has come to its end by itself.
    fn ended(&mut self, at: usize, how: Ending) -> bool {
        let half = &self.halves[at];
        if half.leaving.is_some() {
            self.gone(at);
            return true;
        }
        match self.mode {
            StreamMode::Union => {
                self.route.counters.streams.reopened.fetch_add(1, Relaxed);
                if how == Ending::Clean && self.halves[at].has_lasted(LASTED) {
                    self.at_once(at);
                } else {
                    self.again(at);
                }
            }
            // Another one is on its way.
            StreamMode::Cut if self.is_moving() => self.gone(at),
            StreamMode::Reconnect if self.halves.len() > 1 => self.come_back(),
            _ => {
                if how == Ending::Broken {
                    self.route.counters.failed.fetch_add(1, Relaxed);
                }
                self.ending = Some(how);
            }
        }
        true
    }

    /// An event is too long to be held: the stream drains (Streams.md §1.2).
    fn pass_raw(&mut self, at: usize, out: &mut Vec<u8>) {
        let others_stay = self.halves.iter().any(|half| half.leaving.is_none());
        if self.halves[at].leaving.is_some() && others_stay {
            // They are worth more than its last event.
            return self.gone(at);
        }
        self.leave_gauges();
        self.mode = StreamMode::Drain;
        self.comes_back = false;
        let mut half = self.halves.swap_remove(at);
        half.detach();
        half.leaving = None;
        half.pass_raw(out);
        tracing::debug!(app = %self.route.app, "an event is too long: the stream is no longer managed");
        self.halves.clear();
        self.halves.push(half);
    }

    /// The stream cannot go on without its client's noticing.
    pub(super) fn fall_back(&mut self, why: &str) {
        tracing::debug!(app = %self.route.app, why, "a stream will have to come back");
        self.route.counters.streams.fell_back.fetch_add(1, Relaxed);
        self.leave_gauges();
        self.mode = StreamMode::Reconnect;
        self.halves.retain(Half::is_open);
        if self.halves.is_empty() {
            self.comes_back = true;
        } else {
            self.look();
        }
    }

    /// Every half ends, and the client is told to come back; unless nobody knows any more where its
    /// events end.
    pub(super) fn come_back(&mut self) {
        if self.mode == StreamMode::Drain {
            return;
        }
        self.comes_back = true;
        for half in &mut self.halves {
            half.leave(QUIET, PATIENCE);
        }
    }

    /// A half that has left the set ends at a boundary. `at_once`: another one says the same.
    pub(super) fn leave(&mut self, at: usize, at_once: bool) {
        let quiet = if at_once { Duration::ZERO } else { QUIET };
        self.halves[at].leave(quiet, PATIENCE);
    }

    /// One more instance.
    pub(super) fn add(&mut self, instance: &Arc<Instance>, after: Duration) {
        let turn = self.worker.pace.turn(after);
        let half = Half::new(Arc::clone(instance), Source::Waiting(turn));
        self.union.open(half.key());
        self.halves.push(half);
    }

    pub(super) fn names<T>(&self, with: impl FnOnce(&str, &str) -> T) -> Option<T> {
        self.kept.names(with)
    }
}

#[cfg(test)]
mod tests {
    use super::{Half, Splice};

    /// What an idle stream costs beside its sockets and its request.
    #[test]
    fn a_stream_is_small() {
        let size = size_of::<Splice>() + size_of::<Half>();
        assert!(size <= 1024, "{size} bytes");
    }
}
