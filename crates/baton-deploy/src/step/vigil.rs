//! Whether new instances that serve users are still well: each runs, is the same that was started, and
//! passes its health check.

use std::sync::Arc;
use std::time::Duration;

use baton_compose::Service;
use baton_engine::{Engine, EngineEvent, Instance, InstanceId, InstanceState};
use futures_util::future::{BoxFuture, select_all};
use tokio::sync::Mutex;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, sleep};

use super::{StepError, Walk, failure};
use crate::core::ask;
use crate::health::{Check, Look};
use crate::release::Release;

/// Beside the engine's events, which may be lost.
const INSPECT: Duration = Duration::from_secs(1);

/// Checks in a row that must fail: one may be a hiccup of a busy machine.
const FAILURES: u32 = 3;

/// A check that runs a command in the container is no more frequent than this.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);

/// The kernel's word about memory may come after the exit (Engines.md §2).
const OOM_WORD: Duration = Duration::from_millis(300);

pub(super) struct Vigil<'a> {
    walk: &'a Walk,
    engine: &'a Arc<dyn Engine>,
    instances: &'a [Instance],
    /// Subscribed before the first look, so that no exit falls between.
    events: Mutex<broadcast::Receiver<EngineEvent>>,
}

impl<'a> Vigil<'a> {
    pub(super) fn new(
        walk: &'a Walk,
        engine: &'a Arc<dyn Engine>,
        instances: &'a [Instance],
    ) -> Vigil<'a> {
        Vigil {
            walk,
            engine,
            instances,
            events: Mutex::new(engine.events()),
        }
    }

    /// Ends with the first of them that is not well any more.
    pub(super) async fn until_worse(&self) -> StepError {
        let (instance, what) = tokio::select! {
            dead = self.dead() => dead,
            unhealthy = self.unhealthy() => unhealthy,
        };
        self.worse(&instance, &what).await
    }

    /// Errors, unless they are those of an instance that has ended, which is the better reason and comes
    /// with its last words.
    pub(super) async fn why(&self, errors: StepError) -> StepError {
        match self.look().await {
            Some((instance, what)) => self.worse(&instance, &what).await,
            None => errors,
        }
    }

    async fn worse(&self, instance: &Instance, what: &str) -> StepError {
        let (release, color) = (self.walk.plan.release, self.walk.plan.to);
        let message = format!(
            "{} {} of {release} ({color}) {what}",
            instance.service, instance.replica
        );
        StepError::Worse {
            message,
            failure: Some(failure::of(self.engine, instance, color, Vec::new()).await),
        }
    }

    async fn dead(&self) -> (Instance, String) {
        let mut events = self.events.lock().await;
        let known = |id: &InstanceId| self.instances.iter().find(|i| i.id == *id);
        let mut look = Instant::now();
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Ok(EngineEvent::Exited { id, exit, .. }) => {
                        if let Some(instance) = known(&id) {
                            let mut seen = instance.clone();
                            seen.state = InstanceState::Exited(exit);
                            return self.ended(seen).await;
                        }
                    }
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => look = Instant::now(),
                    Err(RecvError::Closed) => sleep(INSPECT).await,
                },
                () = tokio::time::sleep_until(look) => {
                    if let Some(ended) = self.look().await {
                        return ended;
                    }
                    look = Instant::now() + INSPECT;
                }
            }
        }
    }

    /// One look at each: the first that does not run as it was started.
    async fn look(&self) -> Option<(Instance, String)> {
        for instance in self.instances {
            // An engine that does not answer now is asked again.
            match ask("inspect", self.engine.inspect(&instance.id)).await {
                Ok(Some(now))
                    if now.state == InstanceState::Running && now.restarts <= instance.restarts => {
                }
                Ok(Some(now)) => return Some(self.ended(now).await),
                Ok(None) => return Some((instance.clone(), "is gone".to_owned())),
                Err(_) => {}
            }
        }
        None
    }

    async fn ended(&self, mut seen: Instance) -> (Instance, String) {
        sleep(OOM_WORD).await;
        if let Ok(Some(now)) = ask("inspect", self.engine.inspect(&seen.id)).await
            && let InstanceState::Exited(exit) = &now.state
            && exit.oom_killed
        {
            seen.state = now.state.clone();
        }
        let how = match &seen.state {
            InstanceState::Exited(exit) => format!("ended: {exit}"),
            InstanceState::Running | InstanceState::Created => "was started again".to_owned(),
        };
        (seen, how)
    }

    async fn unhealthy(&self) -> (Instance, String) {
        let mut checks: Vec<BoxFuture<'_, (Instance, String)>> = Vec::new();
        if let Ok(release) = self.walk.release() {
            for instance in self.instances {
                if let Some(service) = served(release, instance) {
                    checks.push(Box::pin(self.fails(service, instance)));
                }
            }
        }
        if checks.is_empty() {
            return std::future::pending().await;
        }
        select_all(checks).await.0
    }

    async fn fails(&self, service: &Service, instance: &Instance) -> (Instance, String) {
        let check = Check {
            engine: self.engine,
            service,
            instance,
        };
        let last = fails_in_a_row(&check, FAILURES).await;
        let what = format!("failed {FAILURES} health checks: {}", last.result);
        (instance.clone(), what)
    }
}

/// Workers take no traffic.
fn served<'r>(release: &'r Release, instance: &Instance) -> Option<&'r Service> {
    let service = release.service(&instance.service)?;
    (service.policy.worker.is_none() && instance.address.is_some()).then_some(service)
}

/// Ends once so many looks in a row were bad; gives the last one.
pub(crate) async fn fails_in_a_row(check: &Check<'_>, wanted: u32) -> Look {
    let interval = check.interval().max(LEAST_INTERVAL);
    let mut failed = 0;
    loop {
        let begun = Instant::now();
        let look = check.look().await;
        failed = if look.healthy { 0 } else { failed + 1 };
        if failed >= wanted {
            return look;
        }
        tokio::time::sleep_until(begun + interval).await;
    }
}
