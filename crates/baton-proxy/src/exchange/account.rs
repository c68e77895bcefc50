//! What one exchange adds to the counters of its route and instance.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::caller::Caller;
use crate::instance::{Guard, Instance};
use crate::route::Route;
use crate::split::{self, Given};
use crate::websocket::end::EndWebSockets;
use crate::worker::WorkerContext;

/// The guard of an exchange and what is counted for it; ends both when it is dropped.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) route: Arc<Route>,
    guard: Guard,
    open: Cell<Open>,
    /// A half of a managed stream: what becomes of that is not decided here.
    managed: Cell<bool>,
    websocket: Cell<bool>,
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
            websocket: Cell::new(false),
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

    /// Whose request it is.
    pub(crate) fn caller(&self) -> &Caller {
        &self.guard.caller
    }

    /// The id that the client gets with the answer.
    pub(crate) fn given(&self) -> Option<Given> {
        self.caller().given(&self.route)
    }

    pub(crate) fn instance(&self) -> &Arc<Instance> {
        self.guard.instance()
    }

    /// The app has answered: the head was there at `when`.
    pub(crate) fn answered(&self, status: u16, event_stream: bool, when: Instant) {
        self.took_until(when);
        // A half that was opened beside a client's own request is nobody's answer.
        if !self.managed.get() {
            self.instance().counters.answers.count(status);
        }
        if (500..600).contains(&status) {
            add(&self.instance().counters.server_errors, 1);
            self.count_error();
        }
        if event_stream {
            self.enter(Open::Sse);
        }
    }

    /// The head of the answer was there. That of a managed stream says nothing about the app: it may come
    /// with the first event.
    pub(crate) fn took_until(&self, when: Instant) {
        if let (Some((_, came)), false) = (self.caller().client(), self.managed.get()) {
            let took = when.saturating_duration_since(came);
            self.instance().counters.latency.record(took);
        }
    }

    /// Once for a client and side in a while. A half is nobody's request.
    fn count_error(&self) {
        let Some((client, _)) = self.caller().client() else {
            return;
        };
        let client = split::hash(&[&client.to_le_bytes(), &self.side().to_le_bytes()]);
        if self.route.counters.failing.counts(client) {
            add(&self.instance().counters.errors, 1);
        }
    }

    /// A number for the side that the instance is on: its first instance's. One that has left the route
    /// is a side of its own.
    fn side(&self) -> usize {
        let canary = self.route.split.as_ref().map(|split| &split.instances);
        let mut sides = [Some(&self.route.instances), canary].into_iter().flatten();
        let own = sides.find(|side| side.iter().any(|one| Arc::ptr_eq(one, self.instance())));
        let first = own.and_then(|side| side.first());
        Arc::as_ptr(first.unwrap_or(self.instance())) as usize
    }

    /// What the answer's fields say about sessions.
    pub(crate) fn learn<'f>(
        &self,
        worker: &WorkerContext,
        fields: impl Iterator<Item = (&'f str, &'f [u8])>,
    ) {
        let sessions = &worker.shared().sessions;
        sessions.answered(
            &self.route,
            self.instance(),
            &self.caller().claims(),
            fields,
        );
    }

    /// The request belongs to a session that stays on an instance which takes no others: what it opens
    /// stays there, too.
    pub(crate) fn is_pinned(&self) -> bool {
        self.guard.is_pinned()
    }

    /// The client has done something in the session that its request named.
    pub(crate) fn session_used(&self, worker: &WorkerContext) {
        worker.shared().sessions.touch(&self.caller().claims());
    }

    /// The instance has agreed to another protocol.
    pub(crate) fn switches_to(&self, protocol: &str) {
        self.websocket
            .set(protocol.trim().eq_ignore_ascii_case("websocket"));
    }

    pub(crate) fn is_websocket(&self) -> bool {
        self.websocket.get()
    }

    pub(crate) fn upgraded(&self) {
        self.instance().counters.answers.count(101);
        self.guard.becomes_tunnel();
        self.enter(Open::WebSocket);
    }

    /// How this upgraded connection is to end, and since when, if it is.
    pub(crate) fn websocket_end(&self, worker: &WorkerContext) -> Option<(EndWebSockets, Instant)> {
        let (instance, epoch) = (self.instance(), self.guard.websocket_epoch());
        let ends = instance.websocket_ends();
        if ends.epoch() == epoch {
            return None;
        }
        // One that was opened before the switch came in as every other.
        let has_session = || {
            let sessions = &worker.shared().sessions;
            instance.is_pinned() && sessions.has(instance, &self.caller().claims())
        };
        ends.since(epoch, self.is_pinned() || has_session())
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
        self.count_error();
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
