//! A color may be stopped only when nothing is left of it: unroute → requests → messages → streams →
//! only then the stop signal (DESIGN.md §5.7). Each stage is a proof that only the stage before it
//! gives, so that the order cannot be another one: [`Unrouted`] → [`RequestsDone`] → [`MessagesDone`] →
//! [`Drained`]. Nothing else stops a color that took traffic, and only this module makes one.
//!
//! | module | does |
//! | --- | --- |
//! | `requests` | waits for what is in flight; WebSockets are told to come back |
//! | `messages` | sessions, Redis Streams, the app's own word (`drain.until`) |
//! | `streams` | ends the event streams, when nothing more can come from the color |
//! | `instance` | the same for one instance of a color that lives on |
//! | `redis` | the app's Redis as one color of it knows it |

mod instance;
mod messages;
pub(crate) mod redis;
mod requests;
mod streams;

use std::collections::BTreeMap;
use std::sync::Arc;

use baton_compose::policy::Drain;
use baton_compose::{AppName, Color};
use baton_engine::{Engine, Instance, InstanceState, Slot};

pub(crate) use messages::{Figures, Settled, Successor, WARNING};

use crate::core::{Core, ask};
use crate::error::DeployError;
use crate::redis::Moved;
use crate::release::Release;
use crate::running::Tail;

/// A color on its way out, and who watches it.
#[derive(Clone)]
pub(crate) struct Leaving {
    pub(crate) core: Arc<Core>,
    pub(crate) release: Release,
    pub(crate) color: Color,
    pub(crate) tail: Arc<Tail>,
    pub(crate) note: Note,
}

/// Takes one line about what is waited for.
pub(crate) type Note = Arc<dyn Fn(String) + Send + Sync>;

/// Where there is no deploy to tell.
pub(crate) fn to_log(app: &AppName, color: Color) -> Note {
    let app = app.clone();
    Arc::new(move |text| tracing::info!(%app, %color, "{text}"))
}

impl Leaving {
    pub(crate) fn app(&self) -> &AppName {
        &self.release.app
    }

    async fn instances(&self) -> Result<Vec<Instance>, DeployError> {
        self.core.instances(&self.release, self.color).await
    }

    /// The drain rule of an instance's service.
    fn rule(&self, instance: &Instance) -> Drain {
        let service = self.release.service(&instance.service);
        service.map_or_else(Drain::default, |service| service.policy.drain.clone())
    }

    /// From unrouted to drained; None when the color is wanted back.
    pub(crate) async fn drain(
        &self,
        unrouted: Unrouted,
        settled: Settled<'_>,
    ) -> Result<Option<Drained>, DeployError> {
        let Some(requests) = unrouted.requests(self).await? else {
            return Ok(None);
        };
        let Some(messages) = requests.messages(self, settled).await? else {
            return Ok(None);
        };
        messages.streams(self).await
    }
}

/// The color takes no new request any more.
#[derive(Debug)]
pub(crate) struct Unrouted {
    slot: Slot,
}

/// And none is in flight on it.
#[derive(Debug)]
pub(crate) struct RequestsDone {
    slot: Slot,
    /// Requests that were cut at the end.
    cut: u64,
}

/// And no message is left that it should handle, but those that move once it has ended.
#[derive(Debug)]
pub(crate) struct MessagesDone {
    slot: Slot,
    pub(crate) messages: messages::Account,
}

/// Nothing is in flight on this color and nothing new can come: it may be stopped.
#[derive(Debug)]
pub(crate) struct Drained {
    slot: Slot,
    /// Streams and WebSockets that were cut at the end.
    cut: u64,
    messages: messages::Account,
}

impl Unrouted {
    /// Makes sure that the color is not published.
    ///
    /// # Errors
    /// It is live, in the database or in the router.
    pub(crate) async fn new(
        core: &Core,
        app: &AppName,
        color: Color,
    ) -> Result<Unrouted, DeployError> {
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
        Ok(Unrouted { slot })
    }

    /// Stop-first: the color is what the app goes back to, and takes no request meanwhile
    /// ([`crate::routes::Routes::stop`]).
    pub(crate) async fn stopped(core: &Core, slot: Slot) -> Result<Unrouted, DeployError> {
        match core.routes.live(&slot.app).await {
            Some(live) if live.color == slot.color && !live.is_stopped() => Err(
                DeployError::Other(format!("{slot} serves and cannot be stopped first")),
            ),
            _ => Ok(Unrouted { slot }),
        }
    }

    /// A preview whose hosts reach it no more.
    pub(crate) async fn evicted(core: &Core, slot: Slot) -> Result<Unrouted, DeployError> {
        let previewed = core.routes.previewed(&slot.app).await;
        if previewed.is_some_and(|previewed| !previewed.instances().is_empty()) {
            return Err(DeployError::Other(format!(
                "{slot} serves preview hosts and cannot be stopped yet"
            )));
        }
        Unrouted::new(core, &slot.app, slot.color).await
    }

    /// The color was removed from the app's routes by [`crate::routes::Routes::remove`].
    pub(crate) async fn removed(core: &Core, slot: Slot) -> Result<Unrouted, DeployError> {
        match core.routes.live(&slot.app).await {
            Some(live) if live.color == slot.color => Err(DeployError::Other(format!(
                "{slot} is live and cannot be drained"
            ))),
            _ => Ok(Unrouted { slot }),
        }
    }
}

impl RequestsDone {
    pub(crate) fn cut(&self) -> u64 {
        self.cut
    }
}

impl Drained {
    /// Streams and WebSockets that were cut at the end.
    pub(crate) fn cut(&self) -> u64 {
        self.cut
    }

    /// Must it end now, so that what it left is handled?
    pub(crate) fn leaves_messages(&self) -> bool {
        self.messages.leaves()
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

    /// After the color has exited: what it did not handle goes to the new one.
    /// `moved` counts, also up to an error.
    pub(crate) async fn carry_messages(&mut self, moved: &mut Moved) -> Result<(), DeployError> {
        self.messages.carry(moved).await
    }
}

/// How far the old color of a deploy is.
#[derive(Debug)]
pub(crate) enum Stage {
    Requests(RequestsDone),
    Messages(MessagesDone),
    Drained(Drained),
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
        .map(|figures| figures.in_flight + figures.halves)
        .sum();
    if in_flight > 0 {
        return Err(DeployError::Other(format!(
            "{color} of {app} has {in_flight} requests in flight and cannot be stopped yet"
        )));
    }
    Ok(Drained {
        slot: unrouted.slot,
        cut: 0,
        messages: messages::Account::default(),
    })
}

fn running(instances: &[Instance]) -> impl Iterator<Item = &Instance> {
    instances
        .iter()
        .filter(|instance| instance.state == InstanceState::Running)
}

/// What services of a release ask of a drain, by service.
fn rules(release: &Release) -> BTreeMap<&str, &Drain> {
    let services = release.project.services.iter();
    services
        .map(|service| (service.name.as_str(), &service.policy.drain))
        .collect()
}
