//! A router in memory. Requests in flight are what a test says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use baton_compose::{AppName, Color};
use baton_deploy::router::{Figures, InstanceFigures, RouteConflict, Router, ServiceRoute};
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
}

impl FakeRouter {
    pub(crate) fn new(engine: Arc<FakeEngine>) -> FakeRouter {
        FakeRouter {
            engine,
            routes: Mutex::default(),
            seen: Mutex::default(),
            moving: Mutex::default(),
            cuts: Mutex::default(),
        }
    }

    /// Which color and instances answer a request for the app's service now.
    pub(crate) fn serving(&self, app: &str) -> Option<(Color, Vec<InstanceId>)> {
        let routes = self.routes.lock().unwrap();
        let route = routes.iter().find(|route| route.app.as_str() == app)?;
        let ids = route.instances.iter().map(|i| i.id.clone()).collect();
        Some((route.color?, ids))
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

    fn published(&self, routes: &[ServiceRoute]) {
        let mut state = self.engine.state();
        let ids: BTreeSet<_> = routes
            .iter()
            .flat_map(|route| &route.instances)
            .map(|instance| instance.id.clone())
            .collect();
        for instance in routes.iter().flat_map(|route| &route.instances) {
            let now = state.instances.iter().find(|i| i.id == instance.id);
            let runs = now.is_some_and(|now| now.state == InstanceState::Running);
            let slot = instance.slot.as_ref();
            let candidate = routes
                .iter()
                .any(|r| slot.is_some_and(|s| s.app == r.app && Some(s.color) != r.color));
            // While the engine hangs nobody can know.
            if (!runs && !state.hangs) || candidate {
                let text = format!("{} was routed: runs {runs}", instance.id);
                state.violations.push(text);
            }
        }
        state.serving = ids.clone();
        drop(state);
        self.seen.lock().unwrap().extend(ids);
        *self.routes.lock().unwrap() = routes.to_vec();
    }
}

#[async_trait]
impl Router for FakeRouter {
    async fn publish(&self, routes: &[ServiceRoute]) -> Result<(), RouteConflict> {
        self.check(routes)?;
        self.engine
            .freezer
            .call("publish", || self.published(routes))
            .await;
        Ok(())
    }

    fn check(&self, routes: &[ServiceRoute]) -> Result<(), RouteConflict> {
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
                    });
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
        Some(InstanceFigures {
            in_flight: self.engine.state().in_flight.get(id).copied().unwrap_or(0),
            body_bytes: bytes,
            ..InstanceFigures::default()
        })
    }

    async fn drained(&self, id: &InstanceId) {
        loop {
            let done = {
                let state = self.engine.state();
                state.in_flight.get(id).copied().unwrap_or(0) == 0 && !state.serving.contains(id)
            };
            if done {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    async fn cut(&self, id: &InstanceId) -> u64 {
        self.cuts.lock().unwrap().push(id.clone());
        self.engine.state().in_flight.remove(id).unwrap_or(0)
    }
}
