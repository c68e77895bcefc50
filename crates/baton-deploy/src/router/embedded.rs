//! Baton's own proxy as the router.
//!
//! One proxy instance is kept per instance of an engine and address, as long as anyone may ask for its
//! figures: counters and gates persist from one publish to the next, and over a rollback to a color
//! that is still warm.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use baton_compose::AppName;
use baton_engine::{Instance, InstanceId};
use baton_proxy::route;
use baton_proxy::{Certificate, EndWebSockets, Proxy, Route, RoutingTable};
use tokio::sync::watch;

use self::state::{State, socket};
use super::{
    Figures, InstanceFigures, Report, RouteConflict, RouteError, Router, ServiceRoute,
    StreamFigures,
};

mod state;
#[cfg(test)]
mod tests;
mod traffic;
mod wanted;

/// After a cut, so long for the connections to be gone.
const CUT: Duration = Duration::from_secs(5);

/// How often it looks whether requests are still in flight.
const LOOK: Duration = Duration::from_millis(20);

/// Carries traffic with Baton's own proxy.
#[derive(Debug)]
pub struct Embedded {
    proxy: Arc<Proxy>,
    state: Mutex<State>,
    wanted: watch::Sender<WantedCertificates>,
}

/// Hosts that want a certificate of the daemon's, with the apps that have them.
pub type WantedCertificates = BTreeMap<String, BTreeSet<AppName>>;

/// A certificate of the last published routes cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CertificateError(String);

impl Embedded {
    /// Publishes to this proxy from now on.
    #[must_use]
    pub fn new(proxy: Arc<Proxy>) -> Embedded {
        Embedded {
            proxy,
            state: Mutex::default(),
            wanted: watch::Sender::default(),
        }
    }

    /// The hosts of what is published that want a certificate, at every change.
    #[must_use]
    pub fn wanted_certificates(&self) -> watch::Receiver<WantedCertificates> {
        self.wanted.subscribe()
    }

    /// Serves these certificates, by host, beside those of files, from the next handshake on. Only a host
    /// that has one is told to come by HTTPS.
    pub fn set_issued(&self, issued: BTreeMap<String, Arc<Certificate>>) {
        let mut state = self.state();
        state.issued = issued;
        let Some(routes) = state.published.clone() else {
            return self.proxy.set_certificates(state.served());
        };
        // They were taken before.
        if let Err(conflict) = self.store(&mut state, &routes) {
            tracing::error!("{conflict}");
        }
    }

    /// Is one of those served for this host?
    #[must_use]
    pub fn has_issued(&self, host: &str) -> bool {
        self.state().issued.contains_key(host)
    }

    /// Reads the certificates of all routes again (they were renewed). One that cannot be used leaves
    /// the one in place that was read before.
    ///
    /// # Errors
    /// The files that cannot be used, and why.
    pub async fn reload_certificates(&self) -> Result<(), CertificateError> {
        let mut failed = Vec::new();
        let mut state = self.state();
        for (cert, key) in state.files.clone() {
            match Certificate::load(&cert, &key) {
                Ok(certificate) => drop(state.certificates.insert((cert, key), certificate)),
                Err(error) => failed.push(error.to_string()),
            }
        }
        self.proxy.set_certificates(state.served());
        if failed.is_empty() {
            Ok(())
        } else {
            Err(CertificateError(failed.join("; ")))
        }
    }

    /// Tells every WebSocket to come back, each at its own moment within `spread`: the process ends.
    pub fn end_all_websockets(&self, spread: Duration) {
        let lives: Vec<_> = self.state().instances.values().cloned().collect();
        for life in lives {
            life.end_websockets(EndWebSockets {
                spread,
                ..EndWebSockets::default()
            });
        }
    }

    /// One atomic store of what these routes are now.
    fn store(&self, state: &mut State, routes: &[ServiceRoute]) -> Result<(), RouteConflict> {
        let before = self.proxy.table();
        let built: Vec<_> = routes
            .iter()
            .flat_map(|wanted| self.routes(state, wanted))
            .collect();
        let table = RoutingTable::new(built).map_err(|error| conflict(&error, routes))?;
        let (serving, halves) = (instances(&table), halves(&table));
        for instance in &serving {
            instance.open();
        }
        for instance in &halves {
            instance.open_streams();
        }
        let pinned = each_once(table.routes().iter().flat_map(|route| &route.pinned));
        for instance in &pinned {
            instance.pin();
        }
        state.certificates(routes);
        self.proxy.set_certificates(state.served());
        self.proxy.publish(Arc::new(table));
        // A candidate has streams before it may have requests; after a restart of the daemon what is
        // pinned is new here, and open.
        let others = self::instances(&before);
        for other in others.iter().chain(&halves).chain(&pinned) {
            if !holds(&serving, other) {
                other.close();
            }
        }
        for old in before.routes().iter().flat_map(|route| &route.pinned) {
            match (holds(&pinned, old), holds(&serving, old)) {
                (true, _) => {}
                (false, true) => old.serves_again(),
                (false, false) => self.proxy.unpin(old),
            }
        }
        for old in self::halves(&before) {
            if !holds(&halves, &old) {
                old.close_streams();
            }
        }
        let published = [serving, halves, pinned].concat();
        state.forget(&published);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All lives of an instance, the latest last.
    fn lives(&self, id: &InstanceId) -> Vec<Arc<baton_proxy::Instance>> {
        let state = self.state();
        state
            .order
            .iter()
            .filter(|key| key.0 == *id)
            .filter_map(|key| state.instances.get(key).cloned())
            .collect()
    }
}

/// The app that had the host first, and the one that wants it too.
fn conflict(conflict: &route::Conflict, routes: &[ServiceRoute]) -> RouteConflict {
    let app = |name: &str| {
        routes
            .iter()
            .find(|route| route.app.as_str() == name)
            .map(|route| route.app.clone())
    };
    let fallback = || routes[0].app.clone();
    RouteConflict {
        host: conflict.host.clone(),
        path: conflict.path.clone(),
        owner: app(&conflict.first).unwrap_or_else(fallback),
        app: app(&conflict.second).unwrap_or_else(fallback),
    }
}

#[async_trait]
impl Router for Embedded {
    async fn publish(&self, routes: &[ServiceRoute]) -> Result<(), RouteError> {
        let mut state = self.state();
        self.store(&mut state, routes)?;
        state.published = Some(routes.to_vec());
        drop(state);
        let wanted = wanted::certificates(routes);
        self.wanted.send_if_modified(|known| {
            let changes = *known != wanted;
            *known = wanted;
            changes
        });
        Ok(())
    }

    fn check(&self, routes: &[ServiceRoute]) -> Result<(), RouteError> {
        // Instances decide nothing here, and none must be made.
        let mut scratch = State::default();
        let bare = routes.iter().map(|wanted| ServiceRoute {
            instances: Vec::new(),
            halves: Vec::new(),
            pinned: Vec::new(),
            split: None,
            ..wanted.clone()
        });
        let built = bare
            .flat_map(|wanted| self.routes(&mut scratch, &wanted))
            .collect();
        RoutingTable::new(built)
            .map(drop)
            .map_err(|error| conflict(&error, routes).into())
    }

    fn figures(&self, app: &AppName) -> Figures {
        let state = self.state();
        let mut sum = Figures::default();
        for counters in state.live(app) {
            sum.requests += counters.requests.load(Relaxed);
            sum.failed += counters.failed.load(Relaxed);
            sum.held += counters.held.load(Relaxed);
            sum.longest_held_ms = sum
                .longest_held_ms
                .max(counters.longest_held_us.load(Relaxed).div_ceil(1000));
        }
        sum
    }

    fn reset_longest_held(&self, app: &AppName) {
        for counters in self.state().live(app) {
            counters.longest_held_us.swap(0, Relaxed);
        }
    }

    fn instance(&self, id: &InstanceId) -> Option<InstanceFigures> {
        let lives = self.lives(id);
        if lives.is_empty() {
            return None;
        }
        let mut sum = InstanceFigures::default();
        for life in lives {
            let counters = &life.counters;
            sum.requests += counters.requests.load(Relaxed);
            sum.server_errors += counters.server_errors.load(Relaxed);
            sum.in_flight += life.in_flight();
            sum.draining += life.requests_in_flight();
            sum.body_bytes += counters.body_bytes.load(Relaxed);
            sum.errors += counters.errors.load(Relaxed);
            sum.latency = sum.latency.and(counters.latency.read());
            sum.sse += counters.sse.load(Relaxed);
            sum.websockets += counters.websockets.load(Relaxed);
            sum.halves += life.streams();
            sum.streams = sum.streams.and(StreamFigures {
                handed_over: counters.streams_handed_over.load(Relaxed),
                reconnected: counters.streams_reconnected.load(Relaxed),
                drained: counters.streams_drained.load(Relaxed),
                cut: counters.streams_cut.load(Relaxed),
                events: counters.events.load(Relaxed),
                websockets: 0,
                sessions_ended: counters.sessions_ended.load(Relaxed),
            });
        }
        sum.streams.websockets = self.state().told.get(id).copied().unwrap_or_default();
        Some(sum)
    }

    async fn drained(&self, id: &InstanceId) {
        for life in self.lives(id) {
            life.drained().await;
        }
    }

    async fn cut(&self, id: &InstanceId) -> u64 {
        let mut cut = 0;
        for life in self.lives(id) {
            // One that lives on for its sessions is cut when they have ended.
            if !life.is_closed() || life.is_pinned() {
                continue;
            }
            cut += life.in_flight() + life.streams();
            life.cut();
            let ended = async {
                life.drained().await;
                life.streams_drained().await;
            };
            if tokio::time::timeout(CUT, ended).await.is_err() {
                tracing::warn!(%id, "{} requests did not end after they were cut", life.in_flight());
            }
        }
        cut
    }

    fn unattached(&self, app: &AppName) -> u64 {
        let (table, state) = (self.proxy.table(), self.state());
        let live = |route: &Route| state.live(app).any(|own| Arc::ptr_eq(own, &route.counters));
        let routes = table.routes().iter();
        routes
            .filter(|route| live(route))
            .map(|route| route.unattached())
            .sum()
    }

    async fn streams_ended(&self, id: &InstanceId) {
        for life in self.lives(id) {
            life.streams_drained().await;
        }
    }

    async fn requests_drained(&self, id: &InstanceId) {
        for life in self.lives(id) {
            while !life.is_closed() || life.requests_in_flight() > 0 {
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    fn end_websockets(&self, id: &InstanceId, code: u16, spread: Duration, pinned: bool) {
        for life in self.lives(id) {
            let open = life.counters.websockets.load(Relaxed);
            *self.state().told.entry(id.clone()).or_default() += open;
            life.end_websockets(EndWebSockets {
                code,
                spread,
                pinned,
            });
        }
    }

    fn sessions(&self, id: &InstanceId) -> u64 {
        let lives = self.lives(id);
        lives
            .iter()
            .map(|life| self.proxy.sessions_left(life))
            .sum()
    }

    fn session_cookie(&self, app: &AppName) -> Option<String> {
        let state = self.state();
        let mut own = state.live(app);
        own.find_map(|counters| counters.session_cookie.get().map(|name| name.to_string()))
    }

    fn known_sessions(&self, instance: &Instance) -> Vec<u8> {
        let Some(address) = instance.address else {
            return Vec::new();
        };
        let key = (instance.id.clone(), socket(address));
        let life = self.state().instances.get(&key).cloned();
        match life {
            Some(life) if self.proxy.sessions_left(&life) > 0 => self.proxy.export_sessions(&life),
            _ => Vec::new(),
        }
    }

    fn report(&self) -> Report {
        let (apps, ids) = {
            let state = self.state();
            let apps: BTreeSet<AppName> =
                state.counters.keys().map(|(app, ..)| app.clone()).collect();
            let ids: BTreeSet<InstanceId> = state.order.iter().map(|(id, _)| id.clone()).collect();
            (apps, ids)
        };
        Report::of(self, apps, ids)
    }

    fn recall_sessions(&self, instance: &Instance, known: &[u8]) -> bool {
        let life = self.state().instance(instance);
        life.is_some_and(|life| self.proxy.import_sessions(&life, known))
    }
}

fn holds(list: &[Arc<baton_proxy::Instance>], one: &Arc<baton_proxy::Instance>) -> bool {
    list.iter().any(|known| Arc::ptr_eq(known, one))
}

/// Those that may take requests: of a split, both sides'.
fn instances(table: &RoutingTable) -> Vec<Arc<baton_proxy::Instance>> {
    each_once(table.routes().iter().flat_map(|route| {
        let canary = route.split.iter().flat_map(|split| &split.instances);
        route.instances.iter().chain(canary)
    }))
}

fn halves(table: &RoutingTable) -> Vec<Arc<baton_proxy::Instance>> {
    each_once(table.routes().iter().flat_map(|route| &route.halves))
}

fn each_once<'a>(
    all: impl Iterator<Item = &'a Arc<baton_proxy::Instance>>,
) -> Vec<Arc<baton_proxy::Instance>> {
    let mut once: Vec<Arc<baton_proxy::Instance>> = Vec::new();
    for instance in all {
        if !holds(&once, instance) {
            once.push(Arc::clone(instance));
        }
    }
    once
}
