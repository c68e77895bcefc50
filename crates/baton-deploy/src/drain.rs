//! A color may be stopped only when nothing is in flight on it: unroute → requests → … → only then
//! the stop signal (DESIGN.md §5.7). [`Drained`] is the proof; nothing else stops a color that took
//! traffic, and only this module makes one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use baton_compose::policy::Drain;
use baton_compose::{AppName, Color};
use baton_engine::{Engine, Instance, Slot};
use futures_util::future::{BoxFuture, join_all};
use tokio::time::{Instant, sleep, sleep_until};

use crate::core::{Core, ask};
use crate::error::DeployError;
use crate::release::Release;
use crate::running::{Hurry, Tail};

/// How often a drain that is over its time looks whether bytes still move.
const LOOK: Duration = Duration::from_millis(250);

/// A request whose body moved no byte for so long is not alive any more.
const STILL: Duration = Duration::from_secs(10);

/// Nothing is in flight on this color and nothing new can come: it may be stopped.
#[derive(Debug)]
pub(crate) struct Drained {
    slot: Slot,
    /// Requests that were cut at the end.
    cut: u64,
}

impl Drained {
    pub(crate) fn cut(&self) -> u64 {
        self.cut
    }

    /// Stops and removes everything of the color.
    pub(crate) async fn clear(&self, engine: &Arc<dyn Engine>) -> Result<(), DeployError> {
        Ok(engine.clear(&self.slot, &[]).await?)
    }

    /// Stops instances that were adopted; they stay where plain Compose made them.
    pub(crate) async fn stop_adopted(
        &self,
        engine: &Arc<dyn Engine>,
        release: &Release,
    ) -> Result<(), DeployError> {
        for id in release.adopted.values().flatten() {
            if ask("inspect", engine.inspect(id)).await?.is_some() {
                engine.stop(id).await?;
            }
        }
        Ok(())
    }
}

/// A drain that is about to begin: the color takes no new request any more.
pub(crate) struct Unrouted<'a> {
    core: &'a Core,
    slot: Slot,
}

impl<'a> Unrouted<'a> {
    /// Makes sure that the color is not published.
    ///
    /// # Errors
    /// It is live, in the database or in the router.
    pub(crate) async fn new(
        core: &'a Core,
        app: &AppName,
        color: Color,
    ) -> Result<Unrouted<'a>, DeployError> {
        let stored = core.store.live(app).await?.map(|slot| slot.color);
        let published = core.routes.live(app).await.map(|live| live.color);
        if stored == Some(color) || published == Some(color) {
            return Err(DeployError::Other(format!(
                "{color} of {app} is live and cannot be drained"
            )));
        }
        let slot = Slot {
            app: app.clone(),
            color,
        };
        Ok(Unrouted { core, slot })
    }

    /// The color was removed from the app's routes by [`crate::routes::Routes::remove`].
    pub(crate) async fn removed(core: &'a Core, slot: Slot) -> Result<Unrouted<'a>, DeployError> {
        match core.routes.live(&slot.app).await {
            Some(live) if live.color == slot.color => Err(DeployError::Other(format!(
                "{slot} is live and cannot be drained"
            ))),
            _ => Ok(Unrouted { core, slot }),
        }
    }

    /// Waits for what is in flight on `instances`: `drain.requests` for all of it, then as long as
    /// bytes move until `drain.connections`; what is left then is cut, and counted.
    ///
    /// None when the color is wanted back ([`Hurry::Leave`]).
    pub(crate) async fn drain(
        self,
        instances: &[Instance],
        rules: &BTreeMap<String, Drain>,
        tail: &Tail,
        note: &(dyn Fn(String) + Send + Sync),
    ) -> Option<Drained> {
        let mut all: Vec<BoxFuture<'_, u64>> = Vec::new();
        for instance in instances {
            let rule = rules.get(&instance.service).cloned().unwrap_or_default();
            all.push(Box::pin(one(self.core, instance, rule, tail, note)));
        }
        tokio::select! {
            cut = join_all(all) => Some(Drained { slot: self.slot, cut: cut.iter().sum() }),
            () = tail.asked(Hurry::Leave) => None,
        }
    }
}

/// Waits for one instance; returns how many requests were cut.
async fn one(
    core: &Core,
    instance: &Instance,
    rule: Drain,
    tail: &Tail,
    note: &(dyn Fn(String) + Send + Sync),
) -> u64 {
    let router = core.routes.router();
    let begun = Instant::now();
    let drained = router.drained(&instance.id);
    tokio::pin!(drained);
    tokio::select! {
        () = &mut drained => return 0,
        () = sleep_until(begun + rule.requests) => {}
    }
    let figures = || router.instance(&instance.id).unwrap_or_default();
    let left = figures().in_flight;
    note(format!(
        "{} {}: {left} still in flight after {} s; waiting as long as bytes move, at most {} s",
        instance.service,
        instance.replica,
        rule.requests.as_secs(),
        rule.connections.as_secs()
    ));
    let mut moved = (figures().body_bytes, Instant::now());
    let last = begun + rule.connections.max(rule.requests);
    while Instant::now() < last {
        tokio::select! {
            () = &mut drained => return 0,
            () = sleep(LOOK) => {}
        }
        let now = figures();
        if now.body_bytes != moved.0 {
            moved = (now.body_bytes, Instant::now());
        }
        let still = moved.1.elapsed() >= STILL.min(rule.requests.max(LOOK));
        let streams_only = now.in_flight <= now.sse + now.websockets;
        if still || (streams_only && tail.hurry() >= Hurry::Shorten) {
            break;
        }
    }
    let cut = router.cut(&instance.id).await;
    note(format!(
        "{} {}: {cut} cut after {} s",
        instance.service,
        instance.replica,
        begun.elapsed().as_secs()
    ));
    cut
}

/// The drain rules of a release by service.
pub(crate) fn rules(release: &Release) -> BTreeMap<String, Drain> {
    release
        .project
        .services
        .iter()
        .map(|service| (service.name.clone(), service.policy.drain.clone()))
        .collect()
}

/// Waits until other services of the machine, which reach the old color by its plain name, have
/// closed their connections; at most `drain.requests` of each service.
pub(crate) async fn direct_connections(
    core: &Core,
    release: &Release,
    instances: &[Instance],
    tail: &Tail,
) {
    let Ok(engine) = core.engine(release.engine()) else {
        return;
    };
    let rules = rules(release);
    let begun = Instant::now();
    for instance in instances {
        let Some(rule) = rules.get(&instance.service) else {
            continue;
        };
        while begun.elapsed() < rule.requests && tail.hurry() < Hurry::Leave {
            match ask("count connections", engine.direct_connections(&instance.id)).await {
                Ok(Some(open)) if open > 0 => sleep(LOOK).await,
                _ => break,
            }
        }
    }
}

/// A color that never took traffic: a candidate that is taken back, a stale slot.
///
/// # Errors
/// It is live, or it has requests in flight.
pub(crate) async fn never_served(
    core: &Core,
    app: &AppName,
    color: Color,
    instances: &[Instance],
) -> Result<Drained, DeployError> {
    let unrouted = Unrouted::new(core, app, color).await?;
    let router = core.routes.router();
    let in_flight: u64 = instances
        .iter()
        .filter_map(|instance| router.instance(&instance.id))
        .map(|figures| figures.in_flight)
        .sum();
    if in_flight > 0 {
        return Err(DeployError::Other(format!(
            "{color} of {app} has {in_flight} requests in flight and cannot be stopped yet"
        )));
    }
    Ok(Drained {
        slot: unrouted.slot,
        cut: 0,
    })
}
