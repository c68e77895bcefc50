//! The handle that the control plane holds.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::watch;

use crate::challenge::Challenges;
use crate::error::ProxyError;
use crate::instance::Instance;
use crate::listener::{self, Listener, Listeners};
use crate::route::RoutingTable;
use crate::settings::{InheritedListener, Settings};
use crate::signal::Signal;
use crate::tls::{self, Certificate};
use crate::worker::{Shared, WorkerContext};

/// A running proxy. Its workers need nothing of the thread that holds it: they serve the last table
/// that was published until [`Proxy::shutdown`], or until the handle is dropped.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    http: Vec<SocketAddr>,
    https: Vec<SocketAddr>,
    /// What a process that takes over is given.
    offered: Mutex<Vec<InheritedListener>>,
    /// Ends workers that still have connections.
    cut: Arc<Signal>,
    running: watch::Receiver<usize>,
}

/// What a worker thread is started with.
struct Worker {
    shared: Arc<Shared>,
    listeners: Vec<Listener>,
    cut: Arc<Signal>,
    running: Arc<watch::Sender<usize>>,
}

impl Proxy {
    /// Binds every listener, then starts `settings.workers` threads that accept from them. Until the
    /// first [`Proxy::publish`] there is no route.
    ///
    /// # Errors
    /// The address that cannot be bound and why; a worker thread that cannot be started.
    pub fn start(settings: Settings) -> Result<Arc<Proxy>, ProxyError> {
        let proxy = Proxy::start_closed(settings)?;
        proxy.open();
        Ok(proxy)
    }

    /// As [`Proxy::start`], but nothing is accepted before [`Proxy::open`]: whoever connects meanwhile
    /// waits in the kernel's queue, and is not answered that there is no route.
    ///
    /// # Errors
    /// As [`Proxy::start`].
    pub fn start_closed(mut settings: Settings) -> Result<Arc<Proxy>, ProxyError> {
        let workers = settings.workers.max(1);
        let Listeners {
            http,
            https,
            per_worker,
            offered,
        } = listener::bind(&settings, workers)?;
        // What the settings go on holding would keep the sockets open for ever.
        settings.inherited.clear();
        let shared = Arc::new(Shared::new(settings));
        let tls = tls::server_config(Arc::clone(&shared.certificates))?;
        let cut = Arc::new(Signal::default());
        let (count, running) = watch::channel(0);
        let count = Arc::new(count);
        let proxy = Proxy {
            shared: Arc::clone(&shared),
            http,
            https,
            offered: Mutex::new(offered),
            cut: Arc::clone(&cut),
            running,
        };
        for (number, sockets) in per_worker.into_iter().enumerate() {
            let listeners = sockets
                .into_iter()
                .map(|socket| Listener::new(socket, &tls))
                .collect();
            let worker = Worker {
                shared: Arc::clone(&shared),
                listeners,
                cut: Arc::clone(&cut),
                running: Arc::clone(&count),
            };
            // Dropping `proxy` on an error ends the workers that already run.
            worker.start(number)?;
        }
        Ok(Arc::new(proxy))
    }

    /// Accepts from here on. More than once does nothing more.
    pub fn open(&self) {
        self.shared.open.raise();
    }

    /// Makes `table` the one that every new request is routed by, and lets held requests look again.
    /// One atomic store; never waits for a worker.
    pub fn publish(&self, table: Arc<RoutingTable>) {
        self.shared.publish(table);
    }

    /// The table that was published last.
    #[must_use]
    pub fn table(&self) -> Arc<RoutingTable> {
        self.shared.table()
    }

    /// Sessions of this instance that their clients have used within
    /// [`SessionRule::keep`](crate::SessionRule::keep). Those of SockJS are not counted: they last as
    /// long as their connections.
    ///
    /// Knows what this process has seen: nothing, at first, after a restart, but for what
    /// [`Proxy::import_sessions`] was given.
    #[must_use]
    pub fn sessions_left(&self, instance: &Instance) -> u64 {
        self.shared.sessions.left(instance)
    }

    /// Forgets an instance's sessions and lets no more of their requests in. Call it after publishing a
    /// table without it in [`Route::pinned`](crate::Route::pinned). Those that were in use until now are
    /// added to `counters.sessions_ended`, and WebSockets that [`Instance::end_websockets`] has spared for
    /// their sake end as the others did. The same happens by itself when a pinned instance refuses a
    /// connection: its process has gone, and its sessions with it.
    pub fn unpin(&self, instance: &Instance) {
        self.shared.sessions.end(instance);
    }

    /// What is known of an instance's sessions, 11 bytes each, and no cookie in it: to be kept from the
    /// switch on and from time to time while they last, and given back after a restart in the middle of
    /// it.
    #[must_use]
    pub fn export_sessions(&self, instance: &Instance) -> Vec<u8> {
        self.shared.sessions.export(instance)
    }

    /// Takes back what [`Proxy::export_sessions`] said of this instance in another process. Call it before
    /// the first [`Proxy::publish`]. False: it came too late, or these are other bytes; then the clients of
    /// those sessions go where all others go.
    pub fn import_sessions(&self, instance: &Arc<Instance>, bytes: &[u8]) -> bool {
        self.shared.sessions.import(instance, bytes)
    }

    /// Answers to requests that no route takes, or that are none, from `1xx` to `5xx`.
    #[must_use]
    pub fn unrouted(&self) -> [u64; 5] {
        self.shared.unrouted.read()
    }

    /// The plain listeners' addresses, in the order of [`Settings::http`], with the ports they got.
    #[must_use]
    pub fn http_addrs(&self) -> &[SocketAddr] {
        &self.http
    }

    /// The TLS listeners' addresses, in the order of [`Settings::https`].
    #[must_use]
    pub fn https_addrs(&self) -> &[SocketAddr] {
        &self.https
    }

    /// All addresses that are listened on: plain ones first.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        [self.http.as_slice(), &self.https].concat()
    }

    /// Replaces what TLS listeners answer new handshakes with; open connections are not touched. The
    /// first is also for clients whose name none of them has.
    pub fn set_certificates(&self, certificates: Vec<Arc<Certificate>>) {
        self.shared.certificates.replace(certificates);
    }

    /// What certificate authorities are answered while they validate hosts of ours.
    #[must_use]
    pub fn challenges(&self) -> &Challenges {
        &self.shared.challenges
    }

    /// Replaces the networks whose `X-Forwarded-*` are kept, for connections from now on.
    pub fn set_trusted_proxies(&self, networks: Vec<ipnet::IpNet>) {
        self.shared.set_trusted_proxies(networks);
    }

    /// Every listening socket of every worker, for [`Settings::inherited`] of another process: all of them
    /// have to be accepted from there before this one retires (Engines.md §4). Empty once it has.
    #[must_use]
    pub fn listeners(&self) -> Vec<InheritedListener> {
        let offered = self.offered.lock();
        offered.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another process accepts from the same sockets now: this one stops, and closes them. What is open
    /// goes on: exchanges end and say `Connection: close`, event streams and WebSockets stay, and who is
    /// idle may ask once more.
    pub fn retire(&self) {
        self.close_offered();
        self.shared.shutdown.retire();
    }

    /// From here on each worker closes the last of its sockets itself.
    fn close_offered(&self) {
        let mut offered = self.offered.lock().unwrap_or_else(PoisonError::into_inner);
        offered.clear();
    }

    /// Waits until a proxy that was retired has no connection any more.
    pub async fn ended(&self) {
        let mut running = self.running.clone();
        // An error means that the senders are gone, and with them the workers.
        let _ = running.wait_for(|count| *count == 0).await;
    }

    /// Accepts nothing more, lets what is in flight end within `grace`, then cuts the rest. Returns
    /// when every worker has ended.
    pub async fn shutdown(&self, grace: Duration) {
        let mut running = self.running.clone();
        self.close_offered();
        self.shared.shutdown.begin();
        if tokio::time::timeout(grace, running.wait_for(|count| *count == 0))
            .await
            .is_err()
        {
            self.cut.raise();
            // An error means that the senders are gone, and with them the workers.
            let _ = running.wait_for(|count| *count == 0).await;
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.shutdown.begin();
        self.cut.raise();
    }
}

impl Worker {
    /// Runs on a thread of its own; returns once that thread has a runtime.
    fn start(self, number: usize) -> Result<(), ProxyError> {
        let refuse = |source| ProxyError::Worker {
            worker: number,
            source,
        };
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        thread::Builder::new()
            .name(format!("baton-proxy-{number}"))
            .spawn(move || {
                // One runtime per thread, made on it: its tasks never move, so that connections,
                // pools and buffers need no lock.
                match Builder::new_current_thread()
                    .enable_all()
                    .build_local(LocalOptions::default())
                {
                    Ok(runtime) => {
                        self.running.send_modify(|count| *count += 1);
                        let _ = ready.send(Ok(()));
                        self.run(runtime);
                    }
                    Err(error) => {
                        let _ = ready.send(Err(error));
                    }
                }
            })
            .map_err(refuse)?;
        started
            .recv()
            .unwrap_or_else(|_| Err(std::io::Error::other("the thread ended")))
            .map_err(refuse)
    }

    fn run(self, runtime: LocalRuntime) {
        let Worker {
            shared,
            listeners,
            cut,
            running,
        } = self;
        let _stopped = Stopped(running);
        // Goes before `_stopped`: a worker counts as ended when its connections are gone.
        let runtime = runtime;
        runtime.block_on(async {
            let context = WorkerContext::new(shared);
            let serve = async {
                listener::accept_all(listeners, &context).await;
                context.idle().await;
            };
            // Whichever comes first: the last connection's end after a graceful shutdown, or the end
            // of its grace. What still runs then ends with the runtime.
            tokio::select! {
                () = serve => {}
                () = cut.raised() => {}
            }
        });
    }
}

/// Counts a worker out, also when it panicked.
struct Stopped(Arc<watch::Sender<usize>>);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
