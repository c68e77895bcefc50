//! HTTP/1.1 from clients: our own engine.
//!
//! One task reads a head, finds its route, and then drives the client's socket and the instance's
//! until the answer has gone; then the next head. The task of an idle stream is two sockets and this
//! small struct.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::access::Login;
use crate::answer::Answer;
use crate::exchange::account::Account;
use crate::exchange::attempts::Attempts;
use crate::exchange::relay::{End, Relay};
use crate::exchange::tunnel::Tunnel;
use crate::exchange::upload::Upload;
use crate::h1::{FieldStore, Parsed, parse_request};
use crate::hold::{self, Connection as Upstream, Held, NoPlace, Place};
use crate::interrupt::Registration;
use crate::io::{ClientEnd, ClientStream, Peer};
use crate::route::{Protocol, Route};
use crate::upstream::pool::Reuse;
use crate::worker::WorkerContext;

/// How long an idle connection is still read from when the proxy shuts down: a request may be on its
/// way.
const LAST_CHANCE: Duration = Duration::from_secs(1);
/// What of a request is still read after an answer that did not wait for it.
const DISCARDED: usize = 256 * 1024;
const DISCARDING: Duration = Duration::from_secs(2);
/// How long a client is given to take the last answer before its connection is closed for good.
const LINGER: Duration = Duration::from_secs(2);

mod bridged;
mod logged;
mod pending;

use pending::{Own, Pending, admit, head_limits, render};

pub(crate) async fn serve(worker: Rc<WorkerContext>, peer: Peer, stream: ClientStream) {
    let _registered = poll_fn(|cx| Poll::Ready(Registration::new(&worker, cx))).await;
    let mut connection = Connection {
        worker,
        peer,
        end: ClientEnd::new(stream),
        since: Instant::now(),
        begun: None,
        served: false,
        ends: None,
    };
    while let Next::Request = connection.one().await {}
}

/// One client connection.
struct Connection {
    worker: Rc<WorkerContext>,
    peer: Peer,
    end: ClientEnd,
    /// Accepted, or the last exchange ended.
    since: Instant,
    /// The first byte of the head that is being read.
    begun: Option<Instant>,
    /// It has had a request already.
    served: bool,
    /// Idle while the proxy shuts down: closed then.
    ends: Option<Instant>,
}

/// What becomes of the connection after an exchange.
enum Next {
    Request,
    Close,
}

/// What came instead of bytes, or of them.
enum Incoming {
    Request(Pending),
    Own(Own),
    Closed,
}

impl Connection {
    /// One request and its answer.
    async fn one(&mut self) -> Next {
        let next = match poll_fn(|cx| self.poll_incoming(cx)).await {
            Incoming::Request(mut pending) => {
                let stops = match pending.login.take() {
                    Some(login) => Box::pin(self.log_in(*login, &pending)).await,
                    None => None,
                };
                match stops {
                    Some(next) => next,
                    None => self.exchange(&mut pending).await,
                }
            }
            Incoming::Own(own) => Box::pin(self.say(own)).await,
            Incoming::Closed => Next::Close,
        };
        self.since = Instant::now();
        next
    }

    /// Reads until a head is there whole.
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        if self.begun.is_none() && !self.end.input.is_empty() {
            // Sent ahead of the last answer.
            let now = Instant::now();
            self.begun = Some(now);
            if let Some(incoming) = self.take_head(now) {
                return Poll::Ready(incoming);
            }
        }
        loop {
            let read = {
                let mut scratch = self.worker.buffers.read_scratch();
                match self.end.stream.poll_read_some(cx, &mut scratch) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Incoming::Closed),
                    Poll::Ready(Ok(read)) => {
                        self.end
                            .input
                            .append(&self.worker.buffers, &scratch[..read]);
                        read
                    }
                    Poll::Pending => 0,
                }
            };
            if read == 0 {
                return self.look_at_time(cx);
            }
            let now = Instant::now();
            self.begun.get_or_insert(now);
            if let Some(incoming) = self.take_head(now) {
                return Poll::Ready(incoming);
            }
        }
    }

    fn look_at_time(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        let limits = &self.worker.settings().limits;
        let mut deadline = match self.begun {
            Some(begun) => begun + limits.header_timeout,
            None if self.served => self.since + limits.keep_alive,
            None => self.since + limits.header_timeout,
        };
        if self.begun.is_none() && self.worker.shutdown().has_begun() {
            let ends = *self
                .ends
                .get_or_insert_with(|| Instant::now() + LAST_CHANCE);
            deadline = deadline.min(ends);
        }
        if !self.end.timer.poll_passed(cx, deadline) {
            return Poll::Pending;
        }
        Poll::Ready(if self.begun.is_some() {
            let text = "The head of the request did not come in time.";
            Incoming::Own(self.unreadable(Answer::new(408, text)))
        } else {
            Incoming::Closed
        })
    }

    /// Takes a head out of the input, if it is there whole by now.
    fn take_head(&mut self, now: Instant) -> Option<Incoming> {
        let limits = head_limits(&self.worker);
        let mut store = FieldStore::new();
        let parsed = parse_request(self.end.input.rest(), &mut store, &limits);
        let head = match parsed {
            Ok(Parsed::Complete(head)) => head,
            Ok(Parsed::Partial) => return None,
            Err(refusal) => {
                tracing::debug!(client = %self.peer.address, %refusal, section = refusal.section(), "refused");
                let text = format!("{refusal} ({}).", refusal.section());
                let answer = Answer::new(refusal.status(), text);
                return Some(Incoming::Own(self.unreadable(answer)));
            }
        };
        let (length, whole) = (head.length, head.length == self.end.input.len());
        let mut record = self.record(&head, now);
        let admitted = admit(&self.worker, &self.peer, &head, whole, now, &mut record);
        self.begun = None;
        self.served = true;
        let mut pending = match admitted {
            Ok(pending) => Pending {
                record: Cell::new(record),
                ..pending
            },
            Err(mut own) => {
                own.record = record;
                self.end.input.consume(&self.worker.buffers, length);
                return Some(Incoming::Own(own));
            }
        };
        if whole {
            pending.upload.came = std::mem::take(&mut self.end.input);
        } else {
            let bytes = &self.end.input.rest()[..length];
            pending.upload.came.append(&self.worker.buffers, bytes);
            self.end.input.consume(&self.worker.buffers, length);
        }
        Some(Incoming::Request(pending))
    }

    /// Sends a request to an instance, again if need and rule allow it, and its answer back.
    async fn exchange(&mut self, pending: &mut Pending) -> Next {
        let mut attempts = Attempts::patient_if(pending.asked.expects_events);
        attempts.held.caller = std::mem::take(&mut pending.caller);
        loop {
            // An h2c instance gets the body in another framing.
            if pending.route.protocol == Protocol::Http1 {
                let input = &mut self.end.input;
                let first = pending.upload.take_first(input, &self.worker.buffers);
                if let Err(answer) = first {
                    return Box::pin(self.refuse(answer, pending)).await;
                }
            }
            let repeat = pending.repeat();
            let reuse = attempts.reuse(repeat);
            let found = hold::find_now(&self.worker, &pending.route, reuse, &attempts.held);
            let place = match found {
                Some(place) => place,
                None => match Box::pin(self.hold(pending, reuse, &mut attempts.held)).await {
                    Some(Ok(place)) => place,
                    Some(Err(why)) => return Box::pin(self.refuse(why.answer(), pending)).await,
                    None => return Next::Close,
                },
            };
            let held = attempts.held.found();
            if let Some(record) = pending.record.get_mut() {
                record.asks(place.guard.instance(), held);
            }
            self.settle(pending, &place.route);
            let account = Account::new(place.route, place.guard);
            let (stream, reused) = match place.connection {
                Upstream::Http1 { stream, reused } => (stream, reused),
                Upstream::H2c(sender) => {
                    match Box::pin(self.bridge(pending, account, sender, &mut attempts)).await {
                        Some(next) => return next,
                        None => continue,
                    }
                }
            };
            let mut relay = Relay::new(account, stream, pending.asked);
            relay.record = pending.record.take();
            let upload = &mut pending.upload;
            let end = poll_fn(|cx| relay.poll(cx, upload, &mut self.end, &self.worker)).await;
            pending.record.set(relay.record.take());
            // What follows is boxed, so that the task of a long answer does not keep room for it. Nothing
            // follows the usual end.
            if let (End::Answered { keep_alive: true }, true) = (&end, pending.upload.is_done()) {
                relay.give_back(&pending.upload, &self.worker);
                return Next::Request;
            }
            match end {
                End::Stream => return Box::pin(self.stream(relay, pending)).await,
                End::Awaited => return Box::pin(self.awaited(relay, pending)).await,
                _ => {}
            }
            let End::NoAnswer = end else {
                return Box::pin(self.ended(relay, end, pending)).await;
            };
            if !attempts.again(&relay.account, reused, pending.repeat()) {
                let end = relay.failed(502, "closed the connection without an answer");
                return Box::pin(self.ended(relay, end, pending)).await;
            }
            drop(relay);
            pending.upload.rewind();
            if !reused && !Box::pin(self.pause(pending, &mut attempts.held)).await {
                let answer = NoPlace::Unreachable(Arc::clone(&pending.route)).answer();
                return Box::pin(self.refuse(answer, pending)).await;
            }
        }
    }

    /// What follows the end of an exchange.
    async fn ended(&mut self, relay: Relay, end: End, pending: &mut Pending) -> Next {
        match end {
            End::Answered { keep_alive } => self.answered(relay, pending, keep_alive).await,
            End::ClientGone | End::NoAnswer | End::Stream | End::Awaited => Next::Close,
            End::Upgraded => {
                let (account, upstream, first) = relay.into_upgraded();
                self.end.notice_silent_death();
                let mut tunnel = Tunnel::new(account, upstream, first);
                tunnel.record = pending.record.take();
                poll_fn(|cx| tunnel.poll(cx, &mut self.end, &self.worker)).await;
                Next::Close
            }
            End::Own(answer) => {
                drop(relay);
                self.refuse(answer, pending).await
            }
            End::Cut => self.cut(pending, relay.ends_by_close()),
        }
    }

    /// The answer has gone; what is left is the rest of a request that was answered early.
    async fn answered(&mut self, relay: Relay, pending: &mut Pending, keep_alive: bool) -> Next {
        if pending.upload.is_done() {
            relay.give_back(&pending.upload, &self.worker);
        } else {
            // The instance is done with it.
            drop(relay);
        }
        self.follow(pending, keep_alive).await
    }

    /// What follows an answer that has gone.
    async fn follow(&mut self, pending: &mut Pending, keep_alive: bool) -> Next {
        // What is still read of the request belongs to no answer.
        drop(pending.record.take());
        if keep_alive && self.discard(&mut pending.upload).await {
            return Next::Request;
        }
        self.closes_kept_alive(pending);
        Box::pin(self.linger()).await;
        Next::Close
    }

    /// The answer broke off in the middle.
    fn cut(&self, pending: &Pending, ends_by_close: bool) -> Next {
        self.closes_kept_alive(pending);
        if ends_by_close {
            // Only a reset tells this client that the answer is not whole.
            let _ = self.end.stream.socket().set_zero_linger();
        }
        Next::Close
    }

    /// Reads the rest of a request that has been answered, if it is short. True: another may follow.
    async fn discard(&mut self, upload: &mut Upload) -> bool {
        if !upload.has_body_left() {
            return true;
        }
        let deadline = Instant::now() + DISCARDING;
        let mut left = DISCARDED;
        let (end, buffers) = (&mut self.end, &self.worker.buffers);
        poll_fn(|cx| upload.poll_discard(cx, end, buffers, &mut left, deadline))
            .await
            .is_ok()
    }

    /// Answers in Baton's own words. What there may be of the request's body is not read: the
    /// connection ends, unless there is none.
    async fn refuse(&mut self, answer: Answer, pending: &Pending) -> Next {
        let asked = pending.asked;
        // What came after a request to upgrade is nobody's.
        let keep_alive = asked.client.keep_alive && pending.bodiless && !asked.upgrade;
        if !keep_alive {
            self.closes_kept_alive(pending);
        }
        Box::pin(self.say(Own {
            route: Some(Arc::clone(&pending.route)),
            answer: answer.of(&pending.route),
            html: pending.html,
            head_only: asked.client.head_only,
            keep_alive,
            record: pending.record.take(),
        }))
        .await
    }

    async fn say(&mut self, mut own: Own) -> Next {
        let record = own.record.take();
        let keep_alive = own.keep_alive && !self.worker.shutdown().is_leaving();
        let route = own.route.as_deref();
        self.worker.count_own(route, own.answer.status);
        let mut out = Vec::new();
        let body = own
            .answer
            .write(&mut out, own.html, own.head_only, !keep_alive);
        if let Some(mut record) = record {
            record.own(own.answer.status, body);
        }
        let said = async {
            self.end.stream.write_all(&out).await?;
            self.end.stream.flush().await
        };
        if !matches!(tokio::time::timeout(LINGER, said).await, Ok(Ok(()))) {
            return Next::Close;
        }
        if keep_alive {
            return Next::Request;
        }
        self.linger().await;
        Next::Close
    }

    /// Says that no more comes, then reads until the client closes, for a moment: closing with unread
    /// bytes resets the connection, and the client might not see the answer (RFC 9112 §9.6).
    async fn linger(&mut self) {
        let unread = async {
            self.end.stream.shutdown().await?;
            let mut unread = vec![0; 8 * 1024];
            while self.end.stream.read(&mut unread).await? > 0 {}
            std::io::Result::Ok(())
        };
        // Whatever went wrong, the connection ends here.
        let _ = tokio::time::timeout(LINGER, unread).await;
    }

    fn closes_kept_alive(&self, pending: &Pending) {
        if pending.asked.client.keep_alive {
            let counters = &pending.route.counters;
            counters.closed_keep_alive.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until a password has been checked. None: the request may go on.
    async fn log_in(&mut self, login: Login, pending: &Pending) -> Option<Next> {
        let shared = Arc::clone(self.worker.shared());
        let mut checked = pin!(shared.passwords.check(login));
        let checked = poll_fn(|cx| {
            if self.end.poll_watch(cx, &self.worker.buffers).is_ready() {
                return Poll::Ready(None);
            }
            checked.as_mut().poll(cx).map(Some)
        });
        match checked.await {
            Some(Ok(())) => None,
            Some(Err(answer)) => Some(self.refuse(answer, pending).await),
            // The client has gone meanwhile.
            None => Some(Next::Close),
        }
    }

    /// Waits for a place. None: the client has gone meanwhile.
    async fn hold(
        &mut self,
        pending: &Pending,
        reuse: Reuse,
        held: &mut Held,
    ) -> Option<Result<Place, NoPlace>> {
        let (host, target) = pending.names();
        let mut find = pin!(hold::find(&self.worker, host, target, reuse, held));
        poll_fn(|cx| {
            if self.end.poll_watch(cx, &self.worker.buffers).is_ready() {
                return Poll::Ready(None);
            }
            find.as_mut().poll(cx).map(Some)
        })
        .await
    }

    /// Before a request is sent once more to an instance that had no answer for it.
    async fn pause(&mut self, pending: &Pending, held: &mut Held) -> bool {
        let mut pause = pin!(held.pause(&pending.route, self.worker.published(), true));
        poll_fn(|cx| match self.end.poll_watch(cx, &self.worker.buffers) {
            // The next step finds that out as well.
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending => pause.as_mut().poll(cx),
        })
        .await
    }

    /// The request was held, and the table is another: its head is written for the route it goes by.
    fn settle(&self, pending: &mut Pending, route: &Arc<Route>) {
        if Arc::ptr_eq(&pending.route, route) {
            return;
        }
        let same = pending.route.path == route.path && pending.route.strip_path == route.strip_path;
        pending.route = Arc::clone(route);
        if same {
            return;
        }
        let begun = pending.begun();
        let mut store = FieldStore::new();
        let limits = head_limits(&self.worker);
        if let Ok(Parsed::Complete(head)) =
            parse_request(pending.upload.came.rest(), &mut store, &limits)
        {
            let rendered = render(&self.worker, &self.peer, &head, route, begun);
            pending.upload.replace_head(rendered, &self.worker.buffers);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use crate::io::{ClientStream, Peer};
    use crate::worker::WorkerContext;

    type Serve<F> = fn(Rc<WorkerContext>, Peer, ClientStream) -> F;

    fn size_of_task<F>(_: Serve<F>) -> usize {
        size_of::<F>()
    }

    /// An idle stream costs its task for as long as it is open.
    #[test]
    fn a_connection_is_a_small_task() {
        let size = size_of_task(super::serve);
        assert!(size <= 1536, "{size} bytes");
    }
}
