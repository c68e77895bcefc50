//! *roll*: exchanges the instances one by one, the first new one is up already. Never fewer than
//! `deploy.replicas` serve, and never more than one of them twice: an old one ends only when a new one
//! has taken its place, and the last old one only after the switch.
//!
//! Its undo starts the old ones again that have ended, and only then takes the new ones out.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use baton_compose::{Color, Role};
use baton_engine::{Engine, Instance, InstanceState, Replicas, Start};
use serde_json::json;
use tokio::time::sleep;

use super::{StepError, StepResult, Walk, attach_streams, await_healthy, failure, start, warm_up};
use crate::activate;
use crate::core::ask;
use crate::error::DeployError;
use crate::figures::{self, Pair};
use crate::health::{Check, History};
use crate::plan::StepName;
use crate::release::Release;
use crate::slots::SlotRole;
use crate::tail::{self, After};
use crate::verdict::is_clearly_worse;

const STEP: StepName = StepName::Roll;

const LOOK: Duration = Duration::from_millis(200);

pub(super) async fn run(walk: &mut Walk) -> StepResult {
    let Some((from, old)) = walk.old().map(|(color, old)| (color, old.clone())) else {
        return Ok(json!({}));
    };
    let engine = walk.engine()?;
    walk.served = true;
    walk.lift(&engine, walk.plan.to).await;
    let rolling = Rolling {
        walk,
        engine: &engine,
        from,
        old: &old,
        new: walk.release()?,
        serving: Mutex::default(),
    };
    let cut = tokio::select! {
        cut = rolling.all() => cut,
        worse = rolling.until_worse() => Err(worse),
        () = walk.deploy.cancelled() => Err(StepError::Cancelled("cancelled".to_owned())),
    }?;
    Ok(json!({ "cut": cut }))
}

struct Rolling<'a> {
    walk: &'a Walk,
    engine: &'a Arc<dyn Engine>,
    from: Color,
    old: &'a Release,
    new: &'a Release,
    /// New ones that take requests.
    serving: Mutex<Vec<Instance>>,
}

impl Rolling<'_> {
    /// Returns how many requests were cut at the end of old instances.
    async fn all(&self) -> Result<u64, StepError> {
        let services = self.new.routed();
        let most = services
            .map(|service| service.replicas.max(1))
            .max()
            .unwrap_or(1);
        let mut cut = 0;
        for number in 1..=most {
            if number > 1 {
                let boot = start::turn_to_boot(self.walk).await?;
                start::instances(self.walk, Replicas::UpTo(number)).await?;
                await_healthy::all_ready(self.walk).await?;
                drop(boot);
            }
            self.serve(number > 1).await?;
            self.walk
                .note(STEP, format!("{number} of {most} of {} serve", self.new.id));
            cut += self.end_old(number).await?;
        }
        Ok(cut)
    }

    /// What has come up takes requests beside the old ones.
    async fn serve(&self, warm: bool) -> Result<(), StepError> {
        let (core, app, to) = (&self.walk.core, &self.walk.deploy.app, self.walk.plan.to);
        let running = core.running_instances(self.new, to).await?;
        let known = self.serving();
        let coming: Vec<_> = running
            .iter()
            .filter(|instance| known.iter().all(|known| known.id != instance.id))
            .cloned()
            .collect();
        if warm {
            warm_up::of(self.walk, self.new, &coming).await?;
            attach_streams::attach(self.walk).await?;
        }
        // For a start after a kill of the daemon: these serve as well.
        core.store.set_routed(app, to, &running, &core.boot).await?;
        core.routes.add(app, self.from, &running).await?;
        *self.serving.lock().unwrap_or_else(PoisonError::into_inner) = running;
        Ok(())
    }

    fn serving(&self) -> Vec<Instance> {
        let serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        serving.clone()
    }

    /// One old instance of each service that still gets a further new one.
    async fn end_old(&self, number: u32) -> Result<u64, StepError> {
        let (core, app) = (&self.walk.core, &self.walk.deploy.app);
        let leaving = self.walk.leaving_alone(self.from, self.old, STEP);
        let mut cut = 0;
        for service in self.new.routed() {
            if number >= service.replicas {
                continue;
            }
            let mut old = core.running_instances(self.old, self.from).await?;
            old.retain(|instance| instance.service == service.name);
            old.sort_by_key(|instance| instance.replica);
            let [first, _, ..] = old.as_slice() else {
                continue;
            };
            let drained = leaving.instance(first).await?;
            cut += drained.cut;
            let told = activate::tell_these(core, self.old, std::slice::from_ref(first), false);
            told.await.map_err(|reason| self.still_active(&reason))?;
            // Its end is meant: the keeper must not start it again.
            let keeper = core.hold_keeper(app).await;
            drained.remove(self.engine).await?;
            drop(keeper);
            self.walk.note(
                STEP,
                format!(
                    "{} {} of {} has ended",
                    first.service, first.replica, self.old.id
                ),
            );
        }
        Ok(cut)
    }

    fn still_active(&self, reason: &str) -> StepError {
        StepError::Release {
            message: format!("{reason}; {} is still active", self.old.id),
            failure: None,
        }
    }

    /// A new instance that serves has ended, or makes clearly more errors than the old ones.
    async fn until_worse(&self) -> StepError {
        let (core, color) = (&self.walk.core, self.walk.plan.to);
        let router = core.routes.router();
        let old = core
            .instances(self.old, self.from)
            .await
            .unwrap_or_default();
        loop {
            sleep(LOOK).await;
            let new = self.serving();
            for instance in &new {
                let now = match ask("inspect", self.engine.inspect(&instance.id)).await {
                    Ok(Some(now))
                        if now.state == InstanceState::Running
                            && now.restarts <= instance.restarts =>
                    {
                        continue;
                    }
                    Ok(Some(now)) => now,
                    Ok(None) => instance.clone(),
                    Err(_) => continue,
                };
                let how = match &now.state {
                    InstanceState::Exited(exit) => format!("ended: {exit}"),
                    _ => "was started again, or is gone".to_owned(),
                };
                let failure = failure::of(self.engine, &now, color, Vec::new()).await;
                return StepError::Worse {
                    message: format!(
                        "{} {} of {} ({color}) {how}",
                        now.service, now.replica, self.new.id
                    ),
                    failure: Some(failure),
                };
            }
            let pair = Pair {
                old: figures::of(router, &old),
                new: figures::of(router, &new),
            };
            if is_clearly_worse(pair.old.side, pair.new.side) {
                return StepError::Worse {
                    message: format!(
                        "{} makes clearly more errors: {} in {} requests, the old release {} in {}",
                        self.new.id,
                        pair.new.side.errors,
                        pair.new.side.requests,
                        pair.old.side.errors,
                        pair.old.side.requests,
                    ),
                    failure: None,
                };
            }
        }
    }
}

pub(super) async fn undo(walk: &mut Walk) -> Result<(), DeployError> {
    let Some((from, old)) = walk.old() else {
        return Ok(());
    };
    let (core, app, to) = (&walk.core, &walk.deploy.app, walk.plan.to);
    old_come_back(walk, from, old).await?;
    let ids: Vec<_> = match &walk.release {
        Some(release) => core.instances(release, to).await?,
        None => Vec::new(),
    }
    .into_iter()
    .map(|instance| instance.id)
    .collect();
    core.routes.leave(app, &ids).await?;
    core.remember(app).await;
    if core.store.slot(app, to).await?.role == SlotRole::Candidate {
        tail::linger(core, app, to, walk.deploy.id, After::End).await?;
    }
    Ok(())
}

/// Those that have ended are started again, and serve once they are ready.
async fn old_come_back(walk: &Walk, from: Color, old: &Release) -> Result<(), DeployError> {
    let (core, app) = (&walk.core, &walk.deploy.app);
    let engine = core.engine(old.engine())?;
    let rendering = old.filled(from)?;
    let services: Vec<String> = old.routed().map(|service| service.name.clone()).collect();
    let started = engine
        .start(Start {
            slot: &walk.slot(from),
            release: old.id.0,
            role: Role::Live,
            rendering: &rendering,
            services: &services,
            replicas: Replicas::All,
            shielded: false,
        })
        .await?;
    for instance in &started {
        let Some(service) = old.service(&instance.service) else {
            continue;
        };
        let check = Check {
            engine: &engine,
            service,
            instance,
        };
        let history = History::new();
        let ready = check.until_healthy(&history, &|_| {});
        if tokio::time::timeout(service.policy.startup_timeout, ready)
            .await
            .is_err()
        {
            return Err(DeployError::Other(format!(
                "{} {} of {} ({from}) did not come back: {}",
                instance.service,
                instance.replica,
                old.id,
                history.last().unwrap_or_default()
            )));
        }
    }
    core.routes.add(app, from, &started).await?;
    if let Err(reason) = activate::tell(core, old, from, true).await {
        tracing::warn!(%app, "{reason}");
    }
    Ok(())
}
