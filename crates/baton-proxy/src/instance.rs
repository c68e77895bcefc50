//! An instance as the proxy sees it: an address, a gate, counters.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::gate::Gate;
use crate::signal::Signal;

/// One address that serves requests. Lives as long as the instance runs at that address: a restart
/// makes a new one, so that pools and counters never mix two lives.
#[derive(Debug)]
pub struct Instance {
    /// Opaque to the proxy.
    pub id: Arc<str>,
    pub address: SocketAddr,
    /// Reached through a published port: an accepted connection proves nothing there, so a reset
    /// before the first byte of an answer to a request that may be repeated counts as "not listening".
    pub published: bool,
    gate: Gate,
    empty: Notify,
    /// Halves of managed event streams, which a drain of requests does not wait for.
    streams: Gate,
    streams_empty: Notify,
    cut: Signal,
    pub counters: InstanceCounters,
}

/// All monotonic but the gauges `sse`, `websockets` and `attached`.
#[derive(Debug, Default)]
pub struct InstanceCounters {
    pub requests: AtomicU64,
    /// Answers 500–599 that the app itself gave.
    pub server_errors: AtomicU64,
    /// Exchanges that broke after the request was sent: reset, timeout, bad framing.
    pub broken: AtomicU64,
    /// Connections that were refused, timed out or found no route: nothing was sent.
    pub refused: AtomicU64,
    /// Bytes of request and response bodies that have moved: tells a drain that a request is alive.
    pub body_bytes: AtomicU64,
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
}

impl Instance {
    #[must_use]
    pub fn new(id: impl Into<Arc<str>>, address: SocketAddr, published: bool) -> Arc<Instance> {
        Arc::new(Instance {
            id: id.into(),
            address,
            published,
            gate: Gate::new(),
            empty: Notify::new(),
            streams: Gate::new(),
            streams_empty: Notify::new(),
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
        Some(Guard {
            instance: Arc::clone(self),
            counted: Cell::new(Counted::Request),
        })
    }

    /// Counts one half of a managed stream in, until the guard is dropped; also when requests get in
    /// no more. None after [`Instance::close_streams`].
    #[must_use]
    pub(crate) fn stream_guard(self: &Arc<Self>) -> Option<Guard> {
        self.streams.enter().then(|| Guard {
            instance: Arc::clone(self),
            counted: Cell::new(Counted::Stream),
        })
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

    /// Requests in flight now, unmanaged streams and upgraded connections included. The halves of
    /// managed streams are not: [`Instance::streams`].
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.gate.in_flight()
    }

    /// Ends what is still in flight: the drain's time is over. For good; close the gate first.
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

    /// Waits until the gate is closed and nobody is inside.
    pub async fn drained(&self) {
        loop {
            let woken = self.empty.notified();
            if self.gate.is_closed() && self.gate.in_flight() == 0 {
                return;
            }
            woken.await;
        }
    }
}

/// One request in flight on an instance, or one half of a managed stream, until it is dropped: after the last byte of the answer has
/// gone to the client.
#[derive(Debug)]
pub struct Guard {
    instance: Arc<Instance>,
    counted: Cell<Counted>,
}

/// Which gate a guard holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counted {
    Request,
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
}

impl Instance {
    fn leave(&self) {
        if self.gate.leave() {
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
