//! An instance as the proxy sees it: an address, a gate, counters.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::caller::Caller;
use crate::classes::ClassCounters;
use crate::gate::Gate;
use crate::latency::LatencyCounters;
use crate::sessions::Token;
use crate::signal::Signal;
use crate::websocket::end::{EndWebSockets, WebSocketEnds};

/// One address that serves requests. Lives as long as the instance runs at that address: a restart
/// makes a new one, so that pools and counters never mix two lives.
#[derive(Debug)]
pub struct Instance {
    /// Opaque to the proxy.
    pub id: Arc<str>,
    pub marks: Marks,
    pub address: SocketAddr,
    /// Reached through a published port: an accepted connection proves nothing there, so a reset
    /// before the first byte of an answer to a request that may be repeated counts as "not listening".
    pub published: bool,
    gate: Gate,
    empty: Notify,
    /// Halves of managed event streams, which a drain of requests does not wait for.
    streams: Gate,
    streams_empty: Notify,
    /// Requests of sessions that stay here; closed until [`Instance::pin`].
    pinned: Gate,
    /// Upgraded connections among those that `gate` counts.
    tunnels: AtomicU64,
    websocket_ends: WebSocketEnds,
    pub(crate) session_token: Token,
    cut: Signal,
    pub counters: InstanceCounters,
}

/// What figures and log lines call an instance beside its id; opaque to the proxy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Marks {
    /// `blue`
    pub color: Arc<str>,
    /// `r7`
    pub release: Arc<str>,
}

/// All monotonic but the gauges `sse`, `websockets` and `attached`.
#[derive(Debug, Default)]
pub struct InstanceCounters {
    pub requests: AtomicU64,
    /// What the app answered; of a connection that was upgraded its 101.
    pub answers: ClassCounters,
    /// Answers 500–599 that the app itself gave.
    pub server_errors: AtomicU64,
    /// Exchanges that broke after the request was sent: reset, timeout, bad framing.
    pub broken: AtomicU64,
    /// Connections that were refused, timed out or found no route: nothing was sent.
    pub refused: AtomicU64,
    /// Bytes of request and response bodies that have moved: tells a drain that a request is alive.
    pub body_bytes: AtomicU64,
    /// Of [`server_errors`](Self::server_errors) and [`broken`](Self::broken): at most one for a client
    /// in 10 s, so that one who tries again and again weighs no more than another.
    pub errors: AtomicU64,
    /// From a request's head to the head of its answer, time that it was held included; not of event
    /// streams whose head comes late.
    pub latency: LatencyCounters,
    /// Open `text/event-stream` answers.
    pub sse: AtomicU64,
    /// Open upgraded connections.
    pub websockets: AtomicU64,
    /// `union` streams that have a half here, or have waited long enough for one.
    pub attached: AtomicU64,
    /// Events of managed streams that came from here and were forwarded.
    pub events: AtomicU64,
    /// Managed streams that left this instance and went on without the client's noticing.
    pub streams_handed_over: AtomicU64,
    /// Managed streams that were told to come back when this instance left the route.
    pub streams_reconnected: AtomicU64,
    /// Event streams that ended by themselves after the gate was closed.
    pub streams_drained: AtomicU64,
    /// Event streams that [`Instance::cut`] broke.
    pub streams_cut: AtomicU64,
    /// Sessions that were still in use when the instance was unpinned or had died: their clients have
    /// lost them.
    pub sessions_ended: AtomicU64,
}

impl Instance {
    #[must_use]
    pub fn new(id: impl Into<Arc<str>>, address: SocketAddr, published: bool) -> Arc<Instance> {
        Instance::marked(id, Marks::default(), address, published)
    }

    /// The same, with what figures and log lines call it.
    #[must_use]
    pub fn marked(
        id: impl Into<Arc<str>>,
        marks: Marks,
        address: SocketAddr,
        published: bool,
    ) -> Arc<Instance> {
        let pinned = Gate::new();
        pinned.close();
        Arc::new(Instance {
            id: id.into(),
            marks,
            address,
            published,
            gate: Gate::new(),
            empty: Notify::new(),
            streams: Gate::new(),
            streams_empty: Notify::new(),
            pinned,
            tunnels: AtomicU64::new(0),
            websocket_ends: WebSocketEnds::default(),
            session_token: Token::default(),
            cut: Signal::default(),
            counters: InstanceCounters::default(),
        })
    }

    /// Counts one request in, until the guard is dropped; None when the gate is closed.
    #[must_use]
    pub fn guard(self: &Arc<Self>) -> Option<Guard> {
        if !self.gate.enter() {
            return None;
        }
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        Some(self.counted(Counted::Request))
    }

    /// The same for a request of a session that is kept here: by the second way where the first is
    /// closed. None when both are.
    #[must_use]
    pub(crate) fn pinned_guard(self: &Arc<Self>) -> Option<Guard> {
        if let Some(guard) = self.guard() {
            return Some(guard);
        }
        if !self.pinned.enter() {
            return None;
        }
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        Some(self.counted(Counted::Pinned))
    }

    fn counted(self: &Arc<Self>, counted: Counted) -> Guard {
        Guard {
            instance: Arc::clone(self),
            counted: Cell::new(counted),
            websocket_epoch: self.websocket_ends.epoch(),
            caller: Caller::default(),
        }
    }

    /// Counts one half of a managed stream in, until the guard is dropped; also when requests get in
    /// no more. None after [`Instance::close_streams`].
    #[must_use]
    pub(crate) fn stream_guard(self: &Arc<Self>) -> Option<Guard> {
        self.streams.enter().then(|| self.counted(Counted::Stream))
    }

    /// No new request gets in. Call it after the routing table without this instance is published.
    pub fn close(&self) {
        self.gate.close();
        if self.gate.in_flight() == 0 {
            self.empty.notify_waiters();
        }
    }

    /// Lets requests in again. Call it before the routing table with this instance is published.
    pub fn open(&self) {
        self.gate.open();
    }

    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.gate.is_closed()
    }

    /// No new half of a managed stream gets in. Call it after the routing table without this instance
    /// in [`Route::halves`](crate::Route::halves) is published; those inside are about to leave.
    pub fn close_streams(&self) {
        self.streams.close();
        if self.streams.in_flight() == 0 {
            self.streams_empty.notify_waiters();
        }
    }

    /// Lets halves in again: on the way back, before a table with this instance in its halves.
    pub fn open_streams(&self) {
        self.streams.open();
    }

    /// Halves of managed streams now: open, or being opened.
    #[must_use]
    pub fn streams(&self) -> u64 {
        self.streams.in_flight()
    }

    /// Waits until [`Instance::close_streams`] was called and no half is left.
    pub async fn streams_drained(&self) {
        loop {
            let woken = self.streams_empty.notified();
            if self.streams.is_closed() && self.streams.in_flight() == 0 {
                return;
            }
            woken.await;
        }
    }

    /// Opens the second way, for requests of sessions that began here: they get in also when the gate
    /// is closed, wherever this instance is in [`Route::pinned`](crate::Route::pinned). Call it before
    /// publishing such a table.
    ///
    /// The order of a switch with sessions: `old.pin()`, publish `instances: [new], pinned: [old]`,
    /// `old.close()`; when [`Proxy::sessions_left`](crate::Proxy::sessions_left) is 0, publish without
    /// `pinned`, [`Proxy::unpin`](crate::Proxy::unpin), wait for [`Instance::drained`].
    pub fn pin(&self) {
        self.pinned.open();
    }

    /// On the way back: the instance serves again, and requests of its sessions come by the first way,
    /// as all do. The sessions stay. Call it after publishing a table with this instance in
    /// [`Route::instances`](crate::Route::instances), else [`Instance::drained`] would wait for ever when
    /// it leaves once more without being pinned.
    pub fn serves_again(&self) {
        self.pinned.close();
        if self.pinned.in_flight() == 0 {
            self.empty.notify_waiters();
        }
    }

    pub(crate) fn close_pinned(&self) {
        self.pinned.close();
        self.websocket_ends.spare_none();
        if self.pinned.in_flight() == 0 {
            self.empty.notify_waiters();
        }
    }

    /// Whether sessions that began here may still send requests: not after
    /// [`Proxy::unpin`](crate::Proxy::unpin), nor once the instance has refused a connection.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        !self.pinned.is_closed()
    }

    /// Requests in flight now, unmanaged streams, upgraded connections and those of pinned sessions
    /// included. The halves of managed streams are not: [`Instance::streams`].
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.gate.in_flight() + self.pinned.in_flight()
    }

    /// Of those, what a drain of requests waits for: neither upgraded connections, which
    /// [`Instance::end_websockets`] ends, nor requests of pinned sessions, which come until the
    /// instance is unpinned.
    #[must_use]
    pub fn requests_in_flight(&self) -> u64 {
        let inside = self.gate.in_flight();
        inside.saturating_sub(self.tunnels.load(Ordering::Acquire))
    }

    /// Ends the upgraded connections whose requests have come in before this call: WebSockets with a
    /// Close frame of `how.code` between two frames, others by closing. Each at a moment of its own
    /// within `how.spread`; a client that does not answer its Close is let go 5 s later. When none is
    /// left, `counters.websockets` is 0 and [`Instance::drained`] no longer waits for them.
    ///
    /// Does not prevent new ones: the gate does.
    pub fn end_websockets(&self, how: EndWebSockets) {
        self.websocket_ends.call(how);
    }

    pub(crate) fn websocket_ends(&self) -> &WebSocketEnds {
        &self.websocket_ends
    }

    /// Ends what is still in flight: the drain's time is over. For good; close the gate first. Requests
    /// of pinned sessions are cut as all others are, those that are still to come too: unpin before.
    pub fn cut(&self) {
        self.cut.raise();
    }

    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut.is_raised()
    }

    /// Waits until the instance is cut: an exchange ends its connections then, and drops its guard.
    pub async fn until_cut(&self) {
        self.cut.raised().await;
    }

    /// Waits until the gate is closed, no session is pinned and nobody is inside.
    pub async fn drained(&self) {
        let empty = |gate: &Gate| gate.is_closed() && gate.in_flight() == 0;
        loop {
            let woken = self.empty.notified();
            if empty(&self.gate) && empty(&self.pinned) {
                return;
            }
            woken.await;
        }
    }
}

/// One request in flight on an instance, or one half of a managed stream, until it is dropped: after the
/// last byte of the answer has gone to the client.
#[derive(Debug)]
pub struct Guard {
    instance: Arc<Instance>,
    counted: Cell<Counted>,
    /// Calls of [`Instance::end_websockets`] before it came in.
    websocket_epoch: u32,
    /// Whose request it is; nobody's where it is a half.
    pub(crate) caller: Caller,
}

/// Which gate a guard holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counted {
    Request,
    /// Upgraded: a request that the drain of requests does not wait for.
    Tunnel,
    Pinned,
    Stream,
}

impl Guard {
    #[must_use]
    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    /// The answer is a managed stream: it is counted as one from now on, and a drain of requests no
    /// longer waits for it. False when no stream gets in any more: it stays a request.
    pub(crate) fn becomes_stream(&self) -> bool {
        if self.counted.get() == Counted::Request && self.instance.streams.enter() {
            self.counted.set(Counted::Stream);
            self.instance.leave();
        }
        self.counted.get() == Counted::Stream
    }

    /// The connection is upgraded.
    pub(crate) fn becomes_tunnel(&self) {
        if self.counted.get() == Counted::Request {
            self.counted.set(Counted::Tunnel);
            self.instance.tunnels.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// It has come in as a request of a pinned session.
    pub(crate) fn is_pinned(&self) -> bool {
        self.counted.get() == Counted::Pinned
    }

    pub(crate) fn websocket_epoch(&self) -> u32 {
        self.websocket_epoch
    }
}

impl Instance {
    fn leave(&self) {
        if self.gate.leave() {
            self.empty.notify_waiters();
        }
    }

    fn leave_pinned(&self) {
        if self.pinned.leave() {
            self.empty.notify_waiters();
        }
    }

    fn leave_stream(&self) {
        if self.streams.leave() {
            self.streams_empty.notify_waiters();
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        match self.counted.get() {
            Counted::Request => self.instance.leave(),
            Counted::Tunnel => {
                // In this order: a tunnel that has gone must not hide a request.
                self.instance.tunnels.fetch_sub(1, Ordering::AcqRel);
                self.instance.leave();
            }
            Counted::Pinned => self.instance.leave_pinned(),
            Counted::Stream => self.instance.leave_stream(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Instance;
    use std::sync::Arc;

    fn instance() -> Arc<Instance> {
        Instance::new("i", ([127, 0, 0, 1], 1).into(), false)
    }

    #[tokio::test]
    async fn drained_waits_for_the_last_guard() {
        let instance = instance();
        let guard = instance.guard().unwrap();
        instance.close();
        assert!(instance.guard().is_none());
        let drained = tokio::spawn({
            let instance = Arc::clone(&instance);
            async move { instance.drained().await }
        });
        tokio::task::yield_now().await;
        assert!(!drained.is_finished());
        drop(guard);
        drained.await.unwrap();
        assert_eq!(instance.in_flight(), 0);
    }

    #[tokio::test]
    async fn a_stream_holds_no_drain_of_requests() {
        let instance = instance();
        let guard = instance.guard().unwrap();
        assert!(guard.becomes_stream());
        assert_eq!((instance.in_flight(), instance.streams()), (0, 1));
        instance.close();
        instance.drained().await;
        let half = instance.stream_guard().expect("halves still get in");
        drop(half);
        instance.close_streams();
        assert!(instance.stream_guard().is_none());
        let drained = tokio::spawn({
            let instance = Arc::clone(&instance);
            async move { instance.streams_drained().await }
        });
        tokio::task::yield_now().await;
        assert!(!drained.is_finished());
        drop(guard);
        drained.await.unwrap();
        instance.open_streams();
        assert!(instance.stream_guard().is_some());
    }

    #[tokio::test]
    async fn an_idle_instance_is_drained_when_it_closes() {
        let instance = instance();
        instance.close();
        instance.drained().await;
        instance.open();
        assert!(instance.guard().is_some());
    }

    #[tokio::test]
    async fn one_that_was_pinned_and_serves_again_is_drained_when_it_closes() {
        let instance = instance();
        instance.pin();
        instance.serves_again();
        assert!(instance.pinned_guard().is_some(), "by its gate");
        instance.close();
        instance.drained().await;
        assert!(instance.pinned_guard().is_none());
    }

    #[tokio::test]
    async fn cut_reaches_those_who_wait() {
        let instance = instance();
        let cut = tokio::spawn({
            let instance = Arc::clone(&instance);
            async move { instance.until_cut().await }
        });
        tokio::task::yield_now().await;
        assert!(!instance.is_cut());
        instance.cut();
        cut.await.unwrap();
        assert!(instance.is_cut());
    }
}
