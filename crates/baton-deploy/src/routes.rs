//! What each app wants of the router now. Every change goes through here and is published as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use baton_compose::{AppName, Color};
use baton_engine::{Instance, InstanceId};
use futures_util::future::BoxFuture;
use tokio::sync::Mutex;

use crate::admission::Admission;
use crate::error::DeployError;
use crate::fault;
use crate::router::{RouteError, Router, ServiceRoute, Split};

mod live;
mod previewed;

pub(crate) use live::{Beside, Live};
pub(crate) use previewed::Previewed;

#[derive(Debug, Clone, Default)]
struct Table {
    live: BTreeMap<AppName, Live>,
    previews: BTreeMap<AppName, Previewed>,
}

#[derive(Debug)]
pub(crate) struct Routes {
    router: Arc<dyn Router>,
    /// Locked while it is published, so that publishes come in the order of the changes.
    table: Mutex<Table>,
}

fn flat(table: &Table) -> Vec<ServiceRoute> {
    let live = table.live.iter().flat_map(|(app, live)| live.routes(app));
    let previews = table.previews.iter();
    live.chain(previews.flat_map(|(app, previewed)| previewed.routes(app)))
        .collect()
}

impl Routes {
    pub(crate) fn new(router: Arc<dyn Router>) -> Routes {
        Routes {
            router,
            table: Mutex::default(),
        }
    }

    pub(crate) fn router(&self) -> &dyn Router {
        &*self.router
    }

    pub(crate) async fn live(&self, app: &AppName) -> Option<Live> {
        self.table.lock().await.live.get(app).cloned()
    }

    /// Instances whose sessions the files want kept, and whether clients of one that is not live any
    /// more are among them.
    pub(crate) async fn with_sessions(&self) -> (Vec<Instance>, bool) {
        let table = self.table.lock().await;
        let instances = table.live.values().flat_map(Live::with_sessions).cloned();
        let pinned = table.live.values().any(|live| live.beside.pinned);
        (instances.collect(), pinned)
    }

    /// Do clients whose session lives in the color beside the live one stay there?
    pub(crate) async fn keeps_sessions(&self, app: &AppName) -> bool {
        let table = self.table.lock().await;
        table.live.get(app).is_some_and(|live| live.beside.pinned)
    }

    /// Every instance that requests or event streams of an app reach now, its preview's too.
    pub(crate) async fn serving(&self) -> Vec<(AppName, Vec<Instance>)> {
        let table = self.table.lock().await;
        let of = |(app, live): (&AppName, &Live)| {
            let canary = live.canary.iter().flat_map(|split| &split.instances);
            let previewed = table.previews.get(app).into_iter();
            let all = live.instances.iter().chain(&live.beside.instances);
            let all = all.chain(canary);
            let mut found: Vec<Instance> = Vec::new();
            for instance in all.chain(previewed.flat_map(|previewed| &previewed.instances)) {
                if found.iter().all(|known| known.id != instance.id) {
                    found.push(instance.clone());
                }
            }
            (app.clone(), found)
        };
        table.live.iter().map(of).collect()
    }

    /// Would these be taken, in place of what `app` has now?
    pub(crate) async fn check(
        &self,
        app: &AppName,
        live: Live,
        previewed: Previewed,
    ) -> Result<(), RouteError> {
        let mut table = self.table.lock().await.clone();
        table.live.insert(app.clone(), live);
        table.previews.insert(app.clone(), previewed);
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
        next.live.insert(app.clone(), live);
        let commit = Box::pin(async {
            fault::at("switch:prepared");
            commit.await
        });
        self.commit(&mut table, next, commit).await
    }

    /// Prepared, committed, published; what was there before is published again when the commit fails.
    async fn commit(
        &self,
        table: &mut Table,
        next: Table,
        commit: BoxFuture<'_, Result<(), DeployError>>,
    ) -> Result<(), DeployError> {
        let routes = flat(&next);
        self.router.check(&routes)?;
        self.router.prepare(&routes).await?;
        if let Err(error) = commit.await {
            self.router.publish(&flat(table)).await?;
            return Err(error);
        }
        *table = next;
        Ok(self.router.publish(&routes).await?)
    }

    /// Changes what `app` has; `change` says whether it did.
    pub(crate) async fn change(
        &self,
        app: &AppName,
        change: impl FnOnce(&mut Live) -> bool,
    ) -> Result<bool, RouteError> {
        let mut table = self.table.lock().await;
        let Some(live) = table.live.get_mut(app) else {
            return Ok(false);
        };
        if !change(live) {
            return Ok(false);
        }
        self.router.publish(&flat(&table)).await?;
        Ok(true)
    }

    /// Publishes an app as it is, in place of what it had.
    pub(crate) async fn set(&self, app: &AppName, live: Live) -> Result<(), RouteError> {
        let mut table = self.table.lock().await;
        table.live.insert(app.clone(), live);
        self.router.publish(&flat(&table)).await
    }

    pub(crate) async fn previewed(&self, app: &AppName) -> Option<Previewed> {
        self.table.lock().await.previews.get(app).cloned()
    }

    /// What the preview hosts reach from now on, once `commit` has succeeded. A preview that collides
    /// with another app's hosts is not taken.
    pub(crate) async fn preview(
        &self,
        app: &AppName,
        previewed: Previewed,
        commit: BoxFuture<'_, Result<(), DeployError>>,
    ) -> Result<(), DeployError> {
        let mut table = self.table.lock().await;
        let mut next = table.clone();
        next.previews.insert(app.clone(), previewed);
        self.commit(&mut table, next, commit).await
    }

    /// A share of the clients goes to the other color, or (None) to nobody but the live one.
    pub(crate) async fn canary(
        &self,
        app: &AppName,
        live: Color,
        split: Option<Split>,
    ) -> Result<bool, RouteError> {
        self.change(app, |now| {
            let changes = now.color == live;
            if changes {
                now.canary = split;
            }
            changes
        })
        .await
    }

    /// Stop-first: nothing of the live color takes requests any more, and what comes is waited for.
    /// `halves`: event streams still hear these.
    pub(crate) async fn stop(&self, app: &AppName, halves: Beside) -> Result<bool, RouteError> {
        self.change(app, |now| {
            now.instances.clear();
            now.beside = halves;
            now.stopped = true;
            true
        })
        .await
    }

    /// Stop-first: requests and event streams wait, nobody is behind them.
    pub(crate) async fn is_stopped(&self, app: &AppName) -> bool {
        self.live(app).await.is_some_and(|live| live.is_stopped())
    }

    /// The live color comes back; its keeper routes its instances.
    pub(crate) async fn unstop(&self, app: &AppName) -> Result<bool, RouteError> {
        self.change(app, |now| std::mem::replace(&mut now.stopped, false))
            .await
    }

    /// Instances of the next release serve beside those of the live color.
    pub(crate) async fn add(
        &self,
        app: &AppName,
        live: Color,
        instances: &[Instance],
    ) -> Result<bool, RouteError> {
        self.change(app, |now| {
            let known = |new: &Instance| now.instances.iter().any(|i| i.id == new.id);
            let new: Vec<_> = addressed(instances)
                .into_iter()
                .filter(|new| !known(new))
                .collect();
            let changes = now.color == live && !new.is_empty();
            if changes {
                // What serves is heard anyway.
                let serves = |heard: &Instance| new.iter().any(|i| i.id == heard.id);
                now.beside.instances.retain(|heard| !serves(heard));
                now.instances.extend(new);
            }
            changes
        })
        .await
    }

    /// Takes instances out of the choice; event streams still hear them.
    pub(crate) async fn leave(
        &self,
        app: &AppName,
        ids: &[InstanceId],
    ) -> Result<bool, RouteError> {
        self.change(app, |now| {
            let (leaving, staying): (Vec<_>, Vec<_>) = std::mem::take(&mut now.instances)
                .into_iter()
                .partition(|instance| ids.contains(&instance.id));
            now.instances = staying;
            let changes = !leaving.is_empty();
            now.beside.instances.extend(leaving);
            now.beside.streams |= changes;
            changes
        })
        .await
    }

    pub(crate) async fn admit(
        &self,
        app: &AppName,
        admission: Admission,
    ) -> Result<(), RouteError> {
        self.change(app, |live| {
            let changes = live.admission != admission;
            live.admission = admission;
            changes
        })
        .await
        .map(drop)
    }

    /// The app takes no requests any more; returns what served it.
    pub(crate) async fn remove(&self, app: &AppName) -> Result<Option<Live>, RouteError> {
        let mut table = self.table.lock().await;
        let mut next = table.clone();
        next.previews.remove(app);
        let removed = next.live.remove(app);
        if let Err(error) = self.router.publish(&flat(&next)).await {
            // It was not taken, and must not stand against what other apps publish later.
            let _ = self.router.publish(&flat(&table)).await;
            return Err(error);
        }
        *table = next;
        Ok(removed)
    }

    /// What has event streams beside the live color. Nothing when another color is live by now.
    pub(crate) async fn beside(
        &self,
        app: &AppName,
        live: Color,
        beside: Beside,
    ) -> Result<bool, RouteError> {
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
    pub(crate) async fn unhear(&self, app: &AppName, live: Color) -> Result<bool, RouteError> {
        self.change(app, |now| {
            let changes = now.color == live && now.beside.streams;
            now.beside.streams &= !changes;
            changes
        })
        .await
    }

    /// Takes one instance away, wherever it is; requests go to the others, or are held.
    pub(crate) async fn unroute(&self, app: &AppName, id: &InstanceId) -> Result<bool, RouteError> {
        self.change(app, |live| {
            let mut found = false;
            let canary = live.canary.as_mut().map(|split| &mut split.instances);
            let all = [&mut live.instances, &mut live.beside.instances];
            for instances in all.into_iter().chain(canary) {
                let before = instances.len();
                instances.retain(|instance| instance.id != *id);
                found |= instances.len() != before;
            }
            found
        })
        .await
    }

    /// The same for what a preview has.
    pub(crate) async fn unroute_preview(
        &self,
        app: &AppName,
        id: &InstanceId,
    ) -> Result<bool, RouteError> {
        let mut table = self.table.lock().await;
        let Some(previewed) = table.previews.get_mut(app) else {
            return Ok(false);
        };
        let before = previewed.instances.len();
        previewed.instances.retain(|instance| instance.id != *id);
        if previewed.instances.len() == before {
            return Ok(false);
        }
        self.router.publish(&flat(&table)).await?;
        Ok(true)
    }

    /// Puts an instance of the live color in, in place of an earlier life of it. Nothing when `color`
    /// is not live any more.
    pub(crate) async fn route(
        &self,
        app: &AppName,
        color: Color,
        instance: &Instance,
    ) -> Result<bool, RouteError> {
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
            // What serves is heard anyway.
            live.beside
                .instances
                .retain(|heard| heard.id != instance.id);
            // What was waited for is here.
            live.stopped = false;
            true
        })
        .await
    }
}

/// Workers and exited instances have no address, and take no traffic.
fn addressed(instances: &[Instance]) -> Vec<Instance> {
    let with_address = instances.iter().filter(|i| i.address.is_some());
    with_address.cloned().collect()
}
