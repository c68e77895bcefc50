//! What each app wants of the router now. Every change goes through here and is published as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use baton_compose::{AppName, Color, Policy, Role};
use baton_engine::{Instance, InstanceId};
use futures_util::future::BoxFuture;
use tokio::sync::Mutex;

use crate::error::DeployError;
use crate::release::{Release, ReleaseId};
use crate::router::{RouteConflict, Router, ServiceRoute};

/// What is live of one app, and where it serves.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub(crate) color: Color,
    pub(crate) release: ReleaseId,
    services: Vec<(String, Arc<Policy>)>,
    /// Those that may take requests.
    instances: Vec<Instance>,
    beside: Beside,
    held: bool,
}

/// The other color while it has event streams, too: a candidate before its switch, or an old color
/// that has not drained.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Beside {
    instances: Vec<Instance>,
    /// Event streams have their halves there.
    streams: bool,
    /// Clients whose session lives there stay there.
    pinned: bool,
}

impl Beside {
    /// `instances` that have no address (workers, exited ones) have no streams.
    pub(crate) fn new(instances: &[Instance]) -> Beside {
        Beside {
            instances: addressed(instances),
            streams: true,
            pinned: false,
        }
    }

    pub(crate) fn streams(mut self, streams: bool) -> Beside {
        self.streams = streams;
        self
    }

    pub(crate) fn pinned(mut self, pinned: bool) -> Beside {
        self.pinned = pinned;
        self
    }
}

fn addressed(instances: &[Instance]) -> Vec<Instance> {
    let with_address = instances.iter().filter(|i| i.address.is_some());
    with_address.cloned().collect()
}

impl Live {
    /// `instances` that have no address (workers, exited ones) take no traffic.
    pub(crate) fn new(release: &Release, color: Color, instances: &[Instance]) -> Live {
        Live {
            color,
            release: release.id,
            services: release
                .routed()
                .map(|service| (service.name.clone(), Arc::new(service.policy.clone())))
                .collect(),
            instances: addressed(instances),
            beside: Beside::default(),
            held: false,
        }
    }

    pub(crate) fn held(mut self, held: bool) -> Live {
        self.held = held;
        self
    }

    pub(crate) fn beside(mut self, beside: Beside) -> Live {
        self.beside = beside;
        self
    }

    pub(crate) fn instances(&self) -> &[Instance] {
        &self.instances
    }

    fn routes<'a>(&'a self, app: &'a AppName) -> impl Iterator<Item = ServiceRoute> + 'a {
        self.services.iter().map(|(service, policy)| {
            let of = |instances: &[Instance]| -> Vec<Instance> {
                let own = instances.iter().filter(|i| i.service == *service);
                own.cloned().collect()
            };
            let (instances, beside) = (of(&self.instances), of(&self.beside.instances));
            ServiceRoute {
                app: app.clone(),
                service: service.clone(),
                policy: Arc::clone(policy),
                color: Some(self.color),
                halves: if self.beside.streams {
                    [instances.clone(), beside.clone()].concat()
                } else {
                    instances.clone()
                },
                instances,
                pinned: if self.beside.pinned {
                    beside
                } else {
                    Vec::new()
                },
                held: self.held,
                role: Role::Live,
                split: None,
                streams_wait: false,
                page: None,
            }
        })
    }
}

type Table = BTreeMap<AppName, Live>;

#[derive(Debug)]
pub(crate) struct Routes {
    router: Arc<dyn Router>,
    /// Locked while it is published, so that publishes come in the order of the changes.
    table: Mutex<Table>,
}

fn flat(table: &Table) -> Vec<ServiceRoute> {
    table
        .iter()
        .flat_map(|(app, live)| live.routes(app))
        .collect()
}

impl Routes {
    pub(crate) fn new(router: Arc<dyn Router>) -> Routes {
        Routes {
            router,
            table: Mutex::new(Table::new()),
        }
    }

    pub(crate) fn router(&self) -> &dyn Router {
        &*self.router
    }

    pub(crate) async fn live(&self, app: &AppName) -> Option<Live> {
        self.table.lock().await.get(app).cloned()
    }

    /// Would these be taken, in place of what `app` has now?
    pub(crate) async fn check(&self, app: &AppName, live: Live) -> Result<(), RouteConflict> {
        let mut table = self.table.lock().await.clone();
        table.insert(app.clone(), live);
        self.router.check(&flat(&table))
    }

    /// The switch: when the router would take it and `commit` has succeeded, it is published. Nobody
    /// else's change can come between.
    pub(crate) async fn switch(
        &self,
        app: &AppName,
        live: Live,
        commit: BoxFuture<'_, Result<(), DeployError>>,
    ) -> Result<(), DeployError> {
        let mut table = self.table.lock().await;
        let mut next = table.clone();
        next.insert(app.clone(), live);
        let routes = flat(&next);
        self.router.check(&routes)?;
        commit.await?;
        *table = next;
        Ok(self.router.publish(&routes).await?)
    }

    /// Changes what `app` has; `change` says whether it did.
    pub(crate) async fn change(
        &self,
        app: &AppName,
        change: impl FnOnce(&mut Live) -> bool,
    ) -> Result<bool, RouteConflict> {
        let mut table = self.table.lock().await;
        let Some(live) = table.get_mut(app) else {
            return Ok(false);
        };
        if !change(live) {
            return Ok(false);
        }
        self.router.publish(&flat(&table)).await?;
        Ok(true)
    }

    /// Publishes an app as it is, in place of what it had.
    pub(crate) async fn set(&self, app: &AppName, live: Live) -> Result<(), RouteConflict> {
        let mut table = self.table.lock().await;
        table.insert(app.clone(), live);
        self.router.publish(&flat(&table)).await
    }

    pub(crate) async fn hold(&self, app: &AppName, held: bool) -> Result<(), RouteConflict> {
        self.change(app, |live| std::mem::replace(&mut live.held, held) != held)
            .await
            .map(drop)
    }

    /// The app takes no requests any more; returns what served it.
    pub(crate) async fn remove(&self, app: &AppName) -> Result<Option<Live>, RouteConflict> {
        let mut table = self.table.lock().await;
        let removed = table.remove(app);
        self.router.publish(&flat(&table)).await?;
        Ok(removed)
    }

    /// What has event streams beside the live color. Nothing when another color is live by now.
    pub(crate) async fn beside(
        &self,
        app: &AppName,
        live: Color,
        beside: Beside,
    ) -> Result<bool, RouteConflict> {
        self.change(app, |now| {
            let changes = now.color == live && now.beside != beside;
            if changes {
                now.beside = beside;
            }
            changes
        })
        .await
    }

    /// No event stream has a half on what is beside the live color any more.
    pub(crate) async fn unhear(&self, app: &AppName, live: Color) -> Result<bool, RouteConflict> {
        self.change(app, |now| {
            let changes = now.color == live && now.beside.streams;
            now.beside.streams &= !changes;
            changes
        })
        .await
    }

    /// Takes one instance away, wherever it is; requests go to the others, or are held.
    pub(crate) async fn unroute(
        &self,
        app: &AppName,
        id: &InstanceId,
    ) -> Result<bool, RouteConflict> {
        self.change(app, |live| {
            let before = live.instances.len() + live.beside.instances.len();
            live.instances.retain(|instance| instance.id != *id);
            live.beside.instances.retain(|instance| instance.id != *id);
            live.instances.len() + live.beside.instances.len() != before
        })
        .await
    }

    /// Puts an instance of the live color in, in place of an earlier life of it. Nothing when `color`
    /// is not live any more.
    pub(crate) async fn route(
        &self,
        app: &AppName,
        color: Color,
        instance: &Instance,
    ) -> Result<bool, RouteConflict> {
        if instance.address.is_none() {
            return Ok(false);
        }
        self.change(app, |live| {
            if live.color != color || live.instances.contains(instance) {
                return false;
            }
            live.instances.retain(|other| {
                (&other.service, other.replica) != (&instance.service, instance.replica)
            });
            live.instances.push(instance.clone());
            true
        })
        .await
    }
}
