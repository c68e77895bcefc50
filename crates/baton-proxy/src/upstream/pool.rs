//! Idle connections to instances, of one worker.
//!
//! An instance gets its entry with the first connection, together with a small task that closes what
//! has been idle too long, drops the entry when the instance has drained, and wakes the worker's
//! connections and streams when it is cut or its WebSockets are to end.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::{h2c, is_quiet, is_quiet_now};
use crate::instance::Instance;
use crate::worker::WorkerContext;

/// Idle connections kept for one instance.
const LARGEST: usize = 64;
/// Idle connections are closed after this. Below the 60 s that many servers wait at least.
const LONGEST_IDLE: Duration = Duration::from_secs(55);
/// How long a connection may have been idle that a request which must not be repeated goes out on.
/// Servers close idle connections after 2 s at the earliest (gunicorn), 5 s as a rule (Node, uvicorn):
/// below that the close and the request cannot cross each other on the way.
const SURELY_OPEN: Duration = Duration::from_secs(1);
/// A server's own `Keep-Alive: timeout` is anticipated by this much.
const BEFORE_TIMEOUT: Duration = Duration::from_secs(1);
const SWEEP: Duration = Duration::from_secs(5);

/// Which pooled connection will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// Any that is not known to be closed: the request can be repeated on another one.
    Any,
    /// Only one that can be trusted to be open: the request cannot be repeated.
    SurelyOpen,
    /// None: one of them has just turned out to be closed. `careful`: and the request cannot be
    /// repeated.
    Never { careful: bool },
}

#[derive(Debug)]
struct Idle {
    stream: TcpStream,
    since: Instant,
    until: Instant,
}

#[derive(Debug)]
struct Entry {
    instance: Arc<Instance>,
    idle: Vec<Idle>,
    h2c: Option<h2c::Sender>,
}

/// The connections of one worker.
#[derive(Debug, Default)]
pub(crate) struct Upstreams {
    entries: RefCell<Vec<Entry>>,
    /// Where the next choice among equally busy instances begins.
    turn: Cell<usize>,
}

impl Upstreams {
    /// Where a choice among equally busy instances begins; [`Upstreams::chosen`] moves it on.
    pub(crate) fn turn(&self) -> usize {
        self.turn.get()
    }

    pub(crate) fn chosen(&self) {
        self.turn.set(self.turn.get().wrapping_add(1));
    }

    /// An idle connection to the instance; the one used last, so that the others may time out.
    pub(crate) fn take(&self, instance: &Arc<Instance>, reuse: Reuse) -> Option<TcpStream> {
        if matches!(reuse, Reuse::Never { .. }) {
            return None;
        }
        let mut entries = self.entries.borrow_mut();
        let entry = find(&mut entries, instance)?;
        let now = Instant::now();
        while let Some(idle) = entry.idle.pop() {
            let open = match reuse {
                Reuse::SurelyOpen => {
                    if now.duration_since(idle.since) >= SURELY_OPEN {
                        // Those below are older still; they stay for requests that can be repeated.
                        entry.idle.push(idle);
                        return None;
                    }
                    is_quiet_now(&idle.stream)
                }
                _ => is_quiet(&idle.stream),
            };
            if open && now < idle.until {
                return Some(idle.stream);
            }
        }
        None
    }

    /// Gives a connection back after a whole exchange. `timeout`: what the server said it waits.
    pub(crate) fn give(
        &self,
        instance: &Arc<Instance>,
        stream: TcpStream,
        timeout: Option<Duration>,
    ) {
        if instance.is_closed() && !instance.is_pinned() {
            return;
        }
        let mut entries = self.entries.borrow_mut();
        let Some(entry) = find(&mut entries, instance) else {
            return;
        };
        let since = Instant::now();
        let wait = timeout.map_or(LONGEST_IDLE, |timeout| {
            timeout.saturating_sub(BEFORE_TIMEOUT).min(LONGEST_IDLE)
        });
        if wait.is_zero() {
            return;
        }
        if entry.idle.len() == LARGEST {
            entry.idle.remove(0);
        }
        entry.idle.push(Idle {
            stream,
            since,
            until: since + wait,
        });
    }

    /// The shared HTTP/2 connection, if there is one that can still be used.
    pub(crate) fn h2c(&self, instance: &Arc<Instance>) -> Option<h2c::Sender> {
        let mut entries = self.entries.borrow_mut();
        let entry = find(&mut entries, instance)?;
        if entry.h2c.as_ref().is_some_and(h2c::Sender::is_closed) {
            entry.h2c = None;
        }
        entry.h2c.clone()
    }

    pub(crate) fn share_h2c(&self, instance: &Arc<Instance>, sender: h2c::Sender) {
        if let Some(entry) = find(&mut self.entries.borrow_mut(), instance) {
            entry.h2c = Some(sender);
        }
    }

    fn sweep(&self, instance: &Arc<Instance>) {
        if let Some(entry) = find(&mut self.entries.borrow_mut(), instance) {
            let now = Instant::now();
            entry
                .idle
                .retain(|idle| now < idle.until && is_quiet(&idle.stream));
        }
    }

    fn close_idle(&self, instance: &Arc<Instance>) {
        if let Some(entry) = find(&mut self.entries.borrow_mut(), instance) {
            entry.idle.clear();
        }
    }

    fn forget(&self, instance: &Arc<Instance>) {
        self.entries
            .borrow_mut()
            .retain(|entry| !Arc::ptr_eq(&entry.instance, instance));
    }
}

fn find<'e>(entries: &'e mut [Entry], instance: &Arc<Instance>) -> Option<&'e mut Entry> {
    entries
        .iter_mut()
        .find(|entry| Arc::ptr_eq(&entry.instance, instance))
}

/// Makes the instance's entry and its task, unless they are there. Call it before each connect.
pub(crate) fn watch(worker: &Rc<WorkerContext>, instance: &Arc<Instance>) {
    {
        let mut entries = worker.upstreams.entries.borrow_mut();
        if find(&mut entries, instance).is_some() {
            return;
        }
        entries.push(Entry {
            instance: Arc::clone(instance),
            idle: Vec::new(),
            h2c: None,
        });
    }
    let (worker, instance) = (Rc::clone(worker), Arc::clone(instance));
    tokio::task::spawn_local(async move {
        // Streams are opened before requests get in, and stay longer.
        let mut drained = false;
        let ends = instance.websocket_ends();
        let mut epoch = ends.epoch();
        loop {
            tokio::select! {
                () = ends.called(epoch) => {
                    epoch = ends.epoch();
                    worker.interrupts.wake_all();
                }
                () = instance.until_cut() => {
                    worker.interrupts.wake_all();
                    break;
                }
                () = instance.drained(), if !drained => {
                    drained = true;
                    worker.upstreams.close_idle(&instance);
                }
                () = instance.streams_drained(), if drained => {}
                () = tokio::time::sleep(SWEEP) => {
                    drained = is_drained(&instance);
                    worker.upstreams.sweep(&instance);
                }
            }
            if drained && instance.streams() == 0 {
                break;
            }
        }
        worker.upstreams.forget(&instance);
    });
}

fn is_drained(instance: &Instance) -> bool {
    instance.is_closed() && instance.in_flight() == 0
}
