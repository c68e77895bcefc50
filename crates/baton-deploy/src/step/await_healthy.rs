//! *await_healthy*: waits until every new instance is ready. Ends at once when one exits or restarts,
//! else at `startup_timeout`.

use std::sync::Arc;
use std::time::Duration;

use baton_compose::Service;
use baton_engine::{Engine, EngineEvent, Instance, InstanceId, InstanceState};
use futures_util::future::{self, BoxFuture};
use serde_json::json;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, sleep, timeout};

use super::{StepError, StepResult, Walk, failure};
use crate::core::ask;
use crate::error::DeployError;
use crate::health::{Check, History};
use crate::plan::{DeployKind, StepName};
use crate::release::Release;

const STEP: StepName = StepName::AwaitHealthy;

/// A color that is up already answers soon or is not what a rollback wants.
const WARM: Duration = Duration::from_secs(15);

/// How often instances are looked at beside the engine's events, which may be lost.
const INSPECT: Duration = Duration::from_secs(1);

/// A new instance while it is waited for.
struct Candidate<'a> {
    instance: Instance,
    service: &'a Service,
    history: History,
}

/// Why waiting ended.
enum End {
    Healthy,
    /// The index of the candidate.
    TimedOut(usize),
    /// As it was seen last; None when it is gone.
    Died(usize, Option<Box<Instance>>),
    Cancelled,
}

pub(super) async fn run(walk: &mut Walk) -> StepResult {
    let result = all_ready(walk).await;
    // The next candidate may boot.
    walk.boot = None;
    result
}

/// Waits for every instance that is there of the color.
pub(super) async fn all_ready(walk: &Walk) -> StepResult {
    let engine = walk.engine()?;
    let release = walk.release()?.clone();
    // Before the list, so that no exit falls between.
    let mut events = engine.events();
    let candidates = candidates(walk, &release).await?;
    let end = tokio::select! {
        end = all_healthy(walk, &engine, &candidates) => end,
        (index, seen) = death(&engine, &mut events, &candidates) => {
            End::Died(index, seen.map(Box::new))
        }
        () = walk.deploy.cancelled() => End::Cancelled,
    };
    // A check may pass in the moment in which its instance ends.
    let end = match end {
        End::Healthy => verified(&engine, &candidates).await,
        other => other,
    };
    match end {
        End::Healthy => {
            let running: Vec<_> = candidates.iter().map(|c| c.instance.clone()).collect();
            let (_, peak) = walk.core.memory(release.engine(), &running).await;
            Ok(json!({ "instances": candidates.len(), "memory": peak }))
        }
        End::Cancelled => Err(StepError::Cancelled("cancelled".to_owned())),
        End::TimedOut(index) => Err(timed_out(walk, &engine, &candidates[index]).await),
        End::Died(index, seen) => {
            Err(died(walk, &engine, &candidates[index], seen.map(|seen| *seen)).await)
        }
    }
}

/// All of them are still up.
async fn verified(engine: &Arc<dyn Engine>, candidates: &[Candidate<'_>]) -> End {
    for (index, candidate) in candidates.iter().enumerate() {
        match ask("inspect", engine.inspect(&candidate.instance.id)).await {
            Ok(Some(now)) if now.state == InstanceState::Running => {}
            Ok(seen) => return End::Died(index, seen.map(Box::new)),
            // An engine that does not answer now: the switch asks again.
            Err(_) => {}
        }
    }
    End::Healthy
}

/// The next candidate may boot.
#[expect(clippy::unnecessary_wraps, reason = "as every undo")]
pub(super) fn undo(walk: &mut Walk) -> Result<(), DeployError> {
    walk.boot = None;
    Ok(())
}

fn is_warm(walk: &Walk) -> bool {
    matches!(
        walk.plan.kind,
        DeployKind::RollbackWarm | DeployKind::Switch
    )
}

/// What must become healthy. A warm color's workers are not there: they start after the switch.
async fn candidates<'a>(
    walk: &Walk,
    release: &'a Release,
) -> Result<Vec<Candidate<'a>>, StepError> {
    let found = walk.core.instances(release, walk.plan.to).await?;
    let mut candidates = Vec::new();
    let names = release.before_switch(walk.role());
    for service in release
        .project
        .services
        .iter()
        .filter(|service| names.contains(&service.name))
        .filter(|service| !is_warm(walk) || service.policy.worker.is_none())
    {
        let before = candidates.len();
        let of_service = found.iter().filter(|i| i.service == service.name);
        candidates.extend(of_service.map(|instance| Candidate {
            instance: instance.clone(),
            service,
            history: History::new(),
        }));
        if candidates.len() == before && service.replicas > 0 {
            return Err(StepError::Release {
                message: format!(
                    "{} has no instance of {}; {}",
                    walk.plan.to,
                    service.name,
                    walk.untouched()
                ),
                failure: None,
            });
        }
    }
    Ok(candidates)
}

async fn all_healthy(walk: &Walk, engine: &Arc<dyn Engine>, candidates: &[Candidate<'_>]) -> End {
    let warm = is_warm(walk);
    let mut checks: Vec<BoxFuture<'_, Result<(), usize>>> = Vec::new();
    for (index, candidate) in candidates.iter().enumerate() {
        let policy = &candidate.service.policy;
        let limit = if warm {
            policy.startup_timeout.min(WARM)
        } else {
            policy.startup_timeout
        };
        checks.push(Box::pin(async move {
            let looking = until_healthy(walk, engine, candidate);
            timeout(limit, looking).await.map_err(|_| index)
        }));
    }
    match future::try_join_all(checks).await {
        Ok(_) => End::Healthy,
        Err(index) => End::TimedOut(index),
    }
}

async fn until_healthy(walk: &Walk, engine: &Arc<dyn Engine>, candidate: &Candidate<'_>) {
    let check = Check {
        engine,
        service: candidate.service,
        instance: &candidate.instance,
    };
    let name = format!(
        "{} {}",
        candidate.instance.service, candidate.instance.replica
    );
    let changed = |result: &str| walk.note(STEP, format!("{name}: {result}"));
    check.until_healthy(&candidate.history, &changed).await;
}

/// Ends with the first candidate that exits, restarts or is gone.
async fn death(
    engine: &Arc<dyn Engine>,
    events: &mut broadcast::Receiver<EngineEvent>,
    candidates: &[Candidate<'_>],
) -> (usize, Option<Instance>) {
    let index_of = |id: &InstanceId| candidates.iter().position(|c| c.instance.id == *id);
    let mut look = Instant::now();
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(EngineEvent::Exited { id, exit, .. }) => {
                    if let Some(index) = index_of(&id) {
                        let mut seen = candidates[index].instance.clone();
                        seen.state = InstanceState::Exited(exit);
                        return (index, Some(seen));
                    }
                }
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => look = Instant::now(),
                Err(RecvError::Closed) => sleep(INSPECT).await,
            },
            () = tokio::time::sleep_until(look) => {
                for (index, candidate) in candidates.iter().enumerate() {
                    // An engine that does not answer now is asked again.
                    match ask("inspect", engine.inspect(&candidate.instance.id)).await {
                        Ok(Some(now)) if now.state == InstanceState::Running
                            && now.restarts <= candidate.instance.restarts => {}
                        Ok(seen) => return (index, seen),
                        Err(_) => {}
                    }
                }
                look = Instant::now() + INSPECT;
            }
        }
    }
}

async fn timed_out(walk: &Walk, engine: &Arc<dyn Engine>, candidate: &Candidate<'_>) -> StepError {
    let limit = candidate.service.policy.startup_timeout;
    let last = candidate
        .history
        .last()
        .unwrap_or_else(|| "no answer".to_owned());
    StepError::Release {
        message: format!(
            "{} did not become healthy within {} s: {} {} ({}) said last: {last}; {}",
            walk.plan.release,
            limit.as_secs_f32(),
            candidate.instance.service,
            candidate.instance.replica,
            walk.plan.to,
            walk.untouched()
        ),
        failure: Some(
            failure::of(
                engine,
                &candidate.instance,
                walk.plan.to,
                candidate.history.probes(),
            )
            .await,
        ),
    }
}

async fn died(
    walk: &Walk,
    engine: &Arc<dyn Engine>,
    candidate: &Candidate<'_>,
    seen: Option<Instance>,
) -> StepError {
    let now = seen.unwrap_or_else(|| candidate.instance.clone());
    let how = match &now.state {
        InstanceState::Exited(exit) => exit.to_string(),
        InstanceState::Running if now.restarts > candidate.instance.restarts => {
            "it restarted".to_owned()
        }
        InstanceState::Created => "it was made but did not run".to_owned(),
        InstanceState::Running => "it is gone".to_owned(),
    };
    StepError::Release {
        message: format!(
            "{} ended while it started: {} {} ({}): {how}; {}",
            walk.plan.release,
            now.service,
            now.replica,
            walk.plan.to,
            walk.untouched()
        ),
        failure: Some(failure::of(engine, &now, walk.plan.to, candidate.history.probes()).await),
    }
}
