//! Of several instances that serve, one that turns unhealthy is taken out, and comes back when it is
//! well. The only one of a service is never taken out: a bad answer is better than none.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use baton_compose::{AppName, Service};
use baton_engine::{Engine, Instance, InstanceId};
use futures_util::future::{BoxFuture, join_all};
use tokio::time::{Instant, sleep};

use crate::core::Core;
use crate::health::Check;
use crate::release::Release;

/// Checks in a row that must fail: one may be a hiccup of a busy machine.
const FAILURES: u32 = 3;

const LOOK: Duration = Duration::from_millis(500);

/// No check is more frequent than this: the machine is small, and has better things to do.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);

/// How an instance did so far.
#[derive(Debug, Clone, Copy)]
struct Known {
    failed: u32,
    next: Instant,
}

/// Looks after all apps, for ever. What has been taken out is put back by the app's keeper.
pub(crate) async fn look_after(core: Arc<Core>) {
    let mut known: HashMap<InstanceId, Known> = HashMap::new();
    loop {
        sleep(LOOK).await;
        let mut there = Vec::new();
        for app in core.store.apps().await.unwrap_or_default() {
            if let Ok(Some((_, release))) = core.live_release(&app).await {
                there.extend(look(&core, &app, &release, &mut known).await);
            }
        }
        known.retain(|id, _| there.contains(id));
    }
}

/// One look at one app; returns what was looked after.
async fn look(
    core: &Arc<Core>,
    app: &AppName,
    release: &Release,
    known: &mut HashMap<InstanceId, Known>,
) -> Vec<InstanceId> {
    let (Some(live), Ok(engine)) = (core.routes.live(app).await, core.engine(release.engine()))
    else {
        return Vec::new();
    };
    let mut there = Vec::new();
    for service in release.routed() {
        let own = live
            .instances()
            .iter()
            .filter(|i| i.service == service.name);
        let own: Vec<Instance> = own.cloned().collect();
        if own.len() < 2 {
            continue;
        }
        there.extend(own.iter().map(|instance| instance.id.clone()));
        // All may be ill at once: the last one stays.
        let mut left = own.len();
        for instance in ill(&engine, service, own, known).await {
            if left > 1 {
                left -= 1;
                take_out(core, app, &instance).await;
            }
        }
    }
    there
}

/// Those that have failed often enough now.
async fn ill(
    engine: &Arc<dyn Engine>,
    service: &Service,
    own: Vec<Instance>,
    known: &mut HashMap<InstanceId, Known>,
) -> Vec<Instance> {
    let now = Instant::now();
    let mut looks: Vec<BoxFuture<'_, (Instance, bool)>> = Vec::new();
    for instance in own {
        let at = known.entry(instance.id.clone()).or_insert(Known {
            failed: 0,
            next: now,
        });
        if at.next > now {
            continue;
        }
        looks.push(Box::pin(async move {
            let check = Check {
                engine,
                service,
                instance: &instance,
            };
            let healthy = check.look().await.healthy;
            (instance, healthy)
        }));
    }
    let interval = service
        .policy
        .health
        .as_ref()
        .map_or(LEAST_INTERVAL, |health| health.interval.max(LEAST_INTERVAL));
    let mut ill = Vec::new();
    for (instance, healthy) in join_all(looks).await {
        if let Some(at) = known.get_mut(&instance.id) {
            at.next = now + interval;
            at.failed = if healthy { 0 } else { at.failed + 1 };
            if at.failed >= FAILURES {
                ill.push(instance);
            }
        }
    }
    ill
}

async fn take_out(core: &Arc<Core>, app: &AppName, instance: &Instance) {
    match core.routes.unroute(app, &instance.id).await {
        Ok(true) => {
            let text = format!(
                "{} {} failed {FAILURES} health checks and gets no requests until it is well",
                instance.service, instance.replica
            );
            core.event(Some(app), "instance_unhealthy", text).await;
            core.wake(app);
        }
        Ok(false) => {}
        Err(error) => tracing::error!(%app, "{error}"),
    }
}
