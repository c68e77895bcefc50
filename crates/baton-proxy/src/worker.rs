//! What lives on one worker thread, and what the workers share.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use tokio::sync::Notify;
use tokio::sync::futures::{Notified, OwnedNotified};

use crate::access::Passwords;
use crate::access_log::AccessLog;
use crate::buffer::Buffers;
use crate::challenge::Challenges;
use crate::classes::ClassCounters;
use crate::clients::Clients;
use crate::interrupt::Interrupts;
use crate::io::TrustedProxies;
use crate::route::{Route, RoutingTable};
use crate::sessions::Sessions;
use crate::settings::Settings;
use crate::shutdown::Shutdown;
use crate::signal::Signal;
use crate::streams::Pace;
use crate::tls::Certificates;
use crate::upstream::pool::Upstreams;

/// What all workers and the handle see. Nothing in it is held by one thread while another waits, but
/// the count of connections for as long as one count takes.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    /// For as long as the process runs, since every connection refers to those of its time. They change
    /// when a person changes them, so that what is never freed stays small.
    trusted_proxies: ArcSwap<&'static TrustedProxies>,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) challenges: Arc<Challenges>,
    pub(crate) clients: Clients,
    pub(crate) shutdown: Shutdown,
    /// Connections may be accepted.
    pub(crate) open: Signal,
    pub(crate) sessions: Sessions,
    pub(crate) passwords: Passwords,
    /// Answers to requests that no route takes, or that are none.
    pub(crate) unrouted: ClassCounters,
    table: ArcSwap<RoutingTable>,
    published: Arc<Notify>,
}

impl Shared {
    pub(crate) fn new(settings: Settings) -> Shared {
        let challenges = Arc::<Challenges>::default();
        Shared {
            trusted_proxies: ArcSwap::from_pointee(leaked(settings.trusted_proxies.clone())),
            certificates: Arc::new(Certificates::new(
                settings.certificates.clone(),
                Arc::clone(&challenges),
            )),
            challenges,
            clients: Clients::new(settings.limits.connections_per_client),
            shutdown: Shutdown::default(),
            open: Signal::default(),
            sessions: Sessions::default(),
            passwords: Passwords::default(),
            unrouted: ClassCounters::default(),
            table: ArcSwap::default(),
            published: Arc::default(),
            settings,
        }
    }

    pub(crate) fn trusted_proxies(&self) -> &'static TrustedProxies {
        **self.trusted_proxies.load()
    }

    pub(crate) fn set_trusted_proxies(&self, networks: Vec<IpNet>) {
        if self.trusted_proxies().0 != networks {
            self.trusted_proxies.store(Arc::new(leaked(networks)));
        }
    }

    /// One atomic store, then everyone who holds a request looks again.
    pub(crate) fn publish(&self, table: Arc<RoutingTable>) {
        self.sessions.prepare(&table);
        self.table.store(table);
        self.published.notify_waiters();
    }

    pub(crate) fn table(&self) -> Arc<RoutingTable> {
        self.table.load_full()
    }
}

fn leaked(networks: Vec<IpNet>) -> &'static TrustedProxies {
    Box::leak(Box::new(TrustedProxies(networks)))
}

/// One worker's state, for everything that runs on its thread: reach it through an `Rc`.
#[derive(Debug)]
pub(crate) struct WorkerContext {
    shared: Arc<Shared>,
    connections: Cell<usize>,
    last_connection: Notify,
    pub(crate) buffers: Buffers,
    pub(crate) interrupts: Interrupts,
    pub(crate) upstreams: Upstreams,
    /// How fast managed streams open their halves.
    pub(crate) pace: Pace,
    /// Requests since the last one that has a line in the access log.
    unlogged: Cell<u32>,
}

impl WorkerContext {
    pub(crate) fn new(shared: Arc<Shared>) -> Rc<WorkerContext> {
        Rc::new(WorkerContext {
            shared,
            connections: Cell::new(0),
            last_connection: Notify::new(),
            buffers: Buffers::default(),
            interrupts: Interrupts::default(),
            upstreams: Upstreams::default(),
            pace: Pace::default(),
            unlogged: Cell::new(0),
        })
    }

    /// The routing table of now. Keep the route that was found, not the table: a guard on a table
    /// that is held over an await only makes the next publish slower.
    #[must_use]
    pub(crate) fn table(&self) -> arc_swap::Guard<Arc<RoutingTable>> {
        self.shared.table.load()
    }

    /// Resolves at the next publish. Create it *before* looking at the table: a publish between the
    /// two then resolves it, so nothing is missed.
    pub(crate) fn published(&self) -> Notified<'_> {
        self.shared.published.notified()
    }

    /// The same, for who keeps it.
    pub(crate) fn published_owned(&self) -> OwnedNotified {
        Arc::clone(&self.shared.published).notified_owned()
    }

    #[must_use]
    pub(crate) fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    #[must_use]
    pub(crate) fn shutdown(&self) -> &Shutdown {
        &self.shared.shutdown
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The access log, when the request that has just come has a line in it.
    pub(crate) fn logs_this(&self) -> Option<&AccessLog> {
        let log = self.settings().access_log.as_ref()?;
        let turn = self.unlogged.get() + 1;
        let logs = turn >= log.every();
        self.unlogged.set(if logs { 0 } else { turn });
        logs.then_some(log)
    }

    /// Counts an answer of Baton's own. None: no route takes the request.
    pub(crate) fn count_own(&self, route: Option<&Route>, status: u16) {
        match route {
            Some(route) => route.counters.own_answers.count(status),
            None => self.shared.unrouted.count(status),
        }
    }

    /// Counts one connection in, so that a graceful end waits for it.
    pub(crate) fn connection(self: &Rc<Self>) -> OpenConnection {
        self.connections.set(self.connections.get() + 1);
        OpenConnection(Rc::clone(self))
    }

    /// Waits until no connection is open.
    pub(crate) async fn idle(&self) {
        while self.connections.get() > 0 {
            self.last_connection.notified().await;
        }
    }
}

/// One client connection of this worker, until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenConnection(Rc<WorkerContext>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let open = self.0.connections.get() - 1;
        self.0.connections.set(open);
        if open == 0 {
            // A permit, so that a wait that begins only now sees it as well.
            self.0.last_connection.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;
    use std::task::Poll;

    use tokio::runtime::{Builder, LocalOptions};

    use super::{Shared, WorkerContext};
    use crate::buffer::Buffer;
    use crate::interrupt::Registration;
    use crate::settings::Settings;

    /// What the connections of a worker share is given back by one that panics in the middle of it.
    #[test]
    fn a_connection_that_panics_ends_alone() {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
            .unwrap();
        runtime.block_on(async {
            let worker = WorkerContext::new(Arc::new(Shared::new(Settings::default())));
            let panics = Rc::clone(&worker);
            let ended = tokio::task::spawn_local(async move {
                let _open = panics.connection();
                let _registered =
                    std::future::poll_fn(|cx| Poll::Ready(Registration::new(&panics, cx))).await;
                let _reads = panics.buffers.read_scratch();
                let _writes = panics.buffers.write_scratch();
                panic!("on purpose");
            });
            assert!(ended.await.unwrap_err().is_panic());
            worker.idle().await;
            worker.interrupts.wake_all();
            let mut buffer = Buffer::default();
            buffer.append(&worker.buffers, &worker.buffers.read_scratch()[..10]);
            buffer.release(&worker.buffers);
            assert!(worker.buffers.write_scratch().is_empty());
        });
    }
}
