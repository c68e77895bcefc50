//! A router in memory. Requests in flight are what a test says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use baton_compose::{AppName, Color, Role};
use baton_deploy::router::{
    Figures, InstanceFigures, RouteConflict, RouteError, Router, ServiceRoute,
};
use baton_engine::{InstanceId, InstanceState};

use super::engine::FakeEngine;

#[derive(Debug)]
pub(crate) struct FakeRouter {
    engine: Arc<FakeEngine>,
    routes: Mutex<Vec<ServiceRoute>>,
    seen: Mutex<BTreeSet<InstanceId>>,
    /// Bytes that moved, per look.
    pub(crate) moving: Mutex<BTreeMap<InstanceId, u64>>,
    pub(crate) cuts: Mutex<Vec<InstanceId>>,
    /// A session cookie that was seen.
    pub(crate) cookie: Mutex<Option<String>>,
    /// WebSockets of these were told to come back.
    pub(crate) closed: Mutex<Vec<(InstanceId, u16)>>,
}

impl FakeRouter {
    pub(crate) fn new(engine: Arc<FakeEngine>) -> FakeRouter {
        FakeRouter {
            engine,
            routes: Mutex::default(),
            seen: Mutex::default(),
            moving: Mutex::default(),
            cuts: Mutex::default(),
            cookie: Mutex::default(),
            closed: Mutex::default(),
        }
    }

    /// Which color and instances answer a request for the app's service now.
    pub(crate) fn serving(&self, app: &str) -> Option<(Color, Vec<InstanceId>)> {
        let routes = self.routes.lock().unwrap();
        let route = routes
            .iter()
            .find(|route| route.app.as_str() == app && route.role == Role::Live)?;
        let ids = route.instances.iter().map(|i| i.id.clone()).collect();
        Some((route.color?, ids))
    }

    /// What the preview hosts reach, and the page that they show instead.
    pub(crate) fn previewed(&self, app: &str) -> Option<(Vec<InstanceId>, Option<String>)> {
        let routes = self.routes.lock().unwrap();
        let route = routes
            .iter()
            .find(|route| route.app.as_str() == app && route.role == Role::Preview)?;
        let ids = route.instances.iter().map(|i| i.id.clone()).collect();
        Some((ids, route.page.as_ref().map(|page| page.body.to_string())))
    }

    /// Percent of the clients that a canary has.
    pub(crate) fn weight(&self, app: &str) -> u8 {
        let routes = self.routes.lock().unwrap();
        let mut own = routes.iter().filter(|route| route.app.as_str() == app);
        own.find_map(|route| route.split.as_ref())
            .map_or(0, |split| split.weight.percent())
    }

    pub(crate) fn is_held(&self, app: &str) -> bool {
        let routes = self.routes.lock().unwrap();
        routes.iter().any(|r| r.app.as_str() == app && r.held)
    }

    /// Addresses that the app's requests go to.
    pub(crate) fn addresses(&self, app: &str) -> Vec<String> {
        let routes = self.routes.lock().unwrap();
        routes
            .iter()
            .filter(|route| route.app.as_str() == app)
            .flat_map(|route| &route.instances)
            .filter_map(|instance| instance.address.map(|a| a.to_string()))
            .collect()
    }

    /// The instances on which the app's streams have their halves.
    pub(crate) fn halves(&self, app: &str) -> Vec<InstanceId> {
        let routes = self.routes.lock().unwrap();
        let own = routes.iter().filter(|route| route.app.as_str() == app);
        own.flat_map(|route| &route.halves)
            .map(|instance| instance.id.clone())
            .collect()
    }

    /// The instances that keep their sessions.
    pub(crate) fn pinned(&self, app: &str) -> Vec<InstanceId> {
        let routes = self.routes.lock().unwrap();
        let own = routes.iter().filter(|route| route.app.as_str() == app);
        own.flat_map(|route| &route.pinned)
            .map(|instance| instance.id.clone())
            .collect()
    }

    /// Halves go where they are wanted.
    pub(crate) fn settle_halves(&self) {
        let mut state = self.engine.state();
        state.halves_stand_still = false;
        let routes = self.routes.lock().unwrap().clone();
        settle_halves(&mut state, &routes);
    }

    fn published(&self, routes: &[ServiceRoute]) {
        let mut state = self.engine.state();
        let canaries = routes.iter().filter_map(|route| route.split.as_ref());
        let canaries = canaries.flat_map(|split| &split.instances);
        let ids: BTreeSet<_> = routes
            .iter()
            .flat_map(|route| &route.instances)
            .chain(canaries)
            .map(|instance| instance.id.clone())
            .collect();
        let live = routes.iter().filter(|route| route.role == Role::Live);
        for instance in live.flat_map(|route| &route.instances) {
            let now = state.instances.iter().find(|i| i.id == instance.id);
            let runs = now.is_some_and(|now| now.state == InstanceState::Running);
            let slot = instance.slot.as_ref();
            let mut own = routes.iter().filter(|route| route.role == Role::Live);
            let candidate = !state.mixed
                && own.any(|r| slot.is_some_and(|s| s.app == r.app && Some(s.color) != r.color));
            // While the engine hangs nobody can know.
            if (!runs && !state.hangs) || candidate {
                let text = format!("{} was routed: runs {runs}", instance.id);
                state.violations.push(text);
            }
        }
        // Whoever begins to serve has every stream already.
        let first = state.serving.is_empty();
        let new: Vec<_> = ids.difference(&state.serving).cloned().collect();
        for id in &new {
            let halves = state.halves.get(id).copied().unwrap_or(0);
            if halves < state.union && !first && !state.halves_stand_still {
                let text = format!("{id} serves without its {} streams", state.union);
                state.violations.push(text);
            }
        }
        state.serving = ids.clone();
        settle_halves(&mut state, routes);
        drop(state);
        self.seen.lock().unwrap().extend(ids);
        *self.routes.lock().unwrap() = routes.to_vec();
    }
}

#[async_trait]
impl Router for FakeRouter {
    async fn publish(&self, routes: &[ServiceRoute]) -> Result<(), RouteError> {
        self.check(routes)?;
        self.engine
            .freezer
            .call("publish", || self.published(routes))
            .await;
        Ok(())
    }

    fn check(&self, routes: &[ServiceRoute]) -> Result<(), RouteError> {
        let mut owners: BTreeMap<(String, String), AppName> = BTreeMap::new();
        for route in routes {
            for host in &route.policy.hosts {
                let key = (host.clone(), route.policy.path.clone());
                if let Some(owner) = owners.insert(key.clone(), route.app.clone()) {
                    return Err(RouteConflict {
                        host: key.0,
                        path: key.1,
                        owner,
                        app: route.app.clone(),
                    }
                    .into());
                }
            }
        }
        Ok(())
    }

    fn figures(&self, _: &AppName) -> Figures {
        Figures::default()
    }

    fn reset_longest_held(&self, _: &AppName) {}

    fn instance(&self, id: &InstanceId) -> Option<InstanceFigures> {
        if !self.seen.lock().unwrap().contains(id) {
            return None;
        }
        let mut moving = self.moving.lock().unwrap();
        let bytes = moving.get_mut(id).map_or(0, |bytes| {
            *bytes += 1;
            *bytes
        });
        let state = self.engine.state();
        let of = |map: &BTreeMap<InstanceId, u64>| map.get(id).copied().unwrap_or(0);
        let (requests, errors) = state.answers.get(id).copied().unwrap_or_default();
        Some(InstanceFigures {
            requests,
            errors,
            in_flight: of(&state.in_flight),
            draining: of(&state.in_flight),
            halves: of(&state.halves),
            body_bytes: bytes,
            ..InstanceFigures::default()
        })
    }

    async fn drained(&self, id: &InstanceId) {
        self.until(|state| {
            state.in_flight.get(id).copied().unwrap_or(0) == 0 && !state.serving.contains(id)
        })
        .await;
    }

    async fn requests_drained(&self, id: &InstanceId) {
        self.drained(id).await;
    }

    async fn cut(&self, id: &InstanceId) -> u64 {
        self.cuts.lock().unwrap().push(id.clone());
        self.engine.state().in_flight.remove(id).unwrap_or(0)
    }

    fn unattached(&self, app: &AppName) -> u64 {
        let state = self.engine.state();
        let halves = self.halves(app.as_str());
        let missing = halves
            .iter()
            .map(|id| state.union - state.halves.get(id).copied().unwrap_or(0));
        missing.max().unwrap_or(0)
    }

    async fn streams_ended(&self, id: &InstanceId) {
        self.until(|state| state.halves.get(id).copied().unwrap_or(0) == 0)
            .await;
    }

    fn end_websockets(&self, id: &InstanceId, code: u16, _: Duration, _: bool) {
        self.closed.lock().unwrap().push((id.clone(), code));
    }

    fn sessions(&self, id: &InstanceId) -> u64 {
        self.engine.state().sessions.get(id).copied().unwrap_or(0)
    }

    fn session_cookie(&self, _: &AppName) -> Option<String> {
        self.cookie.lock().unwrap().clone()
    }
}

impl FakeRouter {
    async fn until(&self, holds: impl Fn(&super::engine::State) -> bool) {
        while !holds(&self.engine.state()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Each instance that is wanted gets a half of every stream, each other one loses them.
fn settle_halves(state: &mut super::engine::State, routes: &[ServiceRoute]) {
    let all = |pick: fn(&ServiceRoute) -> &Vec<baton_engine::Instance>| -> BTreeSet<InstanceId> {
        let instances = routes.iter().flat_map(pick);
        instances.map(|instance| instance.id.clone()).collect()
    };
    let pinned = all(|route| &route.pinned);
    // Whoever is pinned no more has lost its sessions.
    let serving = all(|route| &route.instances);
    let kept = |id: &InstanceId| pinned.contains(id) || serving.contains(id);
    state.sessions.retain(|id, _| kept(id));
    if state.halves_stand_still {
        return;
    }
    let (union, wanted) = (state.union, all(|route| &route.halves));
    state.halves = wanted.into_iter().map(|id| (id, union)).collect();
}
