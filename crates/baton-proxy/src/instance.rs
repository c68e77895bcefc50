//! An instance as the proxy sees it: an address, a gate, counters.

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
    cut: Signal,
    pub counters: InstanceCounters,
}

/// All monotonic but the gauges `sse` and `websockets`.
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

    /// Requests in flight now, streams and upgraded connections included.
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

/// One request in flight on an instance, until it is dropped: after the last byte of the answer has
/// gone to the client.
#[derive(Debug)]
pub struct Guard {
    instance: Arc<Instance>,
}

impl Guard {
    #[must_use]
    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.instance.gate.leave() {
            self.instance.empty.notify_waiters();
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
