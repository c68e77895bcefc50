//! What one exchange adds to the counters of its route and instance.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::instance::{Guard, Instance};
use crate::route::Route;

/// The guard of an exchange and what is counted for it; ends both when it is dropped.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) route: Arc<Route>,
    guard: Guard,
    open: Cell<Open>,
    /// A half of a managed stream: what becomes of that is not decided here.
    managed: Cell<bool>,
}

/// Which gauge the exchange stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Plain,
    Sse,
    WebSocket,
}

impl Account {
    pub(crate) fn new(route: Arc<Route>, guard: Guard) -> Account {
        Account {
            route,
            guard,
            open: Cell::new(Open::Plain),
            managed: Cell::new(false),
        }
    }

    /// One that the client's own request has not opened.
    pub(crate) fn half(route: Arc<Route>, guard: Guard) -> Account {
        let account = Account::new(route, guard);
        account.managed.set(true);
        account
    }

    /// The answer is a managed stream: no drain of requests waits for it any longer.
    pub(crate) fn becomes_managed(&self) {
        self.managed.set(true);
        self.guard.becomes_stream();
    }

    pub(crate) fn instance(&self) -> &Arc<Instance> {
        self.guard.instance()
    }

    /// The app has answered.
    pub(crate) fn answered(&self, status: u16, event_stream: bool) {
        if (500..600).contains(&status) {
            add(&self.instance().counters.server_errors, 1);
        }
        if event_stream {
            self.enter(Open::Sse);
        }
    }

    pub(crate) fn upgraded(&self) {
        self.enter(Open::WebSocket);
    }

    /// Whether quiet is normal: nothing may move for hours.
    pub(crate) fn may_be_quiet(&self) -> bool {
        self.managed.get() || self.open.get() != Open::Plain
    }

    /// Body bytes that have moved, either way.
    pub(crate) fn moved(&self, bytes: u64) {
        if bytes > 0 {
            add(&self.instance().counters.body_bytes, bytes);
        }
    }

    /// The exchange broke on the instance's side after it was sent.
    pub(crate) fn broke(&self) {
        add(&self.instance().counters.broken, 1);
    }

    /// Baton could not bring the request to an end.
    pub(crate) fn failed(&self) {
        if !self.managed.get() {
            add(&self.route.counters.failed, 1);
        }
    }

    fn enter(&self, open: Open) {
        self.leave();
        self.open.set(open);
        if let Some(gauge) = self.gauge() {
            add(gauge, 1);
        }
    }

    fn leave(&self) {
        if let Some(gauge) = self.gauge() {
            gauge.fetch_sub(1, Ordering::Relaxed);
        }
        self.open.set(Open::Plain);
    }

    fn gauge(&self) -> Option<&AtomicU64> {
        let counters = &self.instance().counters;
        match self.open.get() {
            Open::Plain => None,
            Open::Sse => Some(&counters.sse),
            Open::WebSocket => Some(&counters.websockets),
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let instance = self.instance();
        if self.open.get() == Open::Sse {
            if instance.is_cut() {
                add(&instance.counters.streams_cut, 1);
            } else if instance.is_closed() && !self.managed.get() {
                add(&instance.counters.streams_drained, 1);
            }
        }
        self.leave();
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
