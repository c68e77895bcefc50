//! *start*: puts the release in the idle color. Nothing of the live color is touched.
//!
//! On the first deploy of an app that plain Compose runs, its healthy containers become `r0` in blue
//! first, and serve through Baton from then on. A warm old color in the slot ends; a drain that is not
//! over there is waited for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use baton_compose::project::FetchedImage;
use baton_compose::{Color, EngineKind, Role};
use baton_engine::{Engine, EngineError, Instance, InstanceState, Replicas, Start};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::json;

use super::failure;
use super::{StepError, StepResult, Walk};
use crate::core::ask;
use crate::drain::{self, redis};
use crate::error::DeployError;
use crate::plan::{DeployKind, StepName};
use crate::preview;
use crate::redis::RedisError;
use crate::release::{Release, ReleaseId};
use crate::routes::Live;
use crate::slots::SlotRole;
use crate::work::Work;

const STEP: StepName = StepName::Start;

/// How long requests may take that reached a candidate by a switch that failed.
const STRAYED: Duration = Duration::from_secs(30);

pub(super) async fn run(walk: &mut Walk) -> StepResult {
    let engine = walk.engine()?;
    adopt(walk, &engine).await?;
    free_slot(walk).await?;
    if walk.boot.is_none() {
        walk.boot = Some(turn_to_boot(walk).await?);
    }
    let release = walk.release()?.clone();
    let (core, app, to) = (&walk.core, &walk.deploy.app, walk.plan.to);
    core.store
        .set_slot(app, to, SlotRole::Candidate, Some(release.id))
        .await?;
    core.store.forget_routed(app, to).await?;
    clear_stale(walk, &engine, &release).await?;
    groups(walk, &release).await?;
    let replicas = if walk.plan.has(StepName::Roll) {
        Replicas::UpTo(1)
    } else {
        Replicas::All
    };
    let started = instances(walk, replicas).await?;
    // With what the image says: the drain of this release will need it.
    let messages = redis::of(core, &release, to, walk.role())
        .await
        .map_err(|error| StepError::Refused(error.to_string()))?;
    if walk.role() == Role::Preview {
        redis::apart_from_live(core, app, &messages)
            .await
            .map_err(StepError::Refused)?;
    }
    Ok(json!({ "instances": started }))
}

/// Starts what is missing of so many instances of each service; returns how many there are.
pub(super) async fn instances(walk: &Walk, replicas: Replicas) -> Result<usize, StepError> {
    let (release, engine) = (walk.release()?, walk.engine()?);
    let (to, role) = (walk.plan.to, walk.role());
    let rendering = release.filled_as(to, role)?;
    let started = engine
        .start(Start {
            slot: &walk.slot(to),
            release: release.id.0,
            role,
            rendering: &rendering,
            services: &release.before_switch(role),
            replicas,
            // Once it has users, what comes later serves as soon as it is ready.
            shielded: !walk.served,
        })
        .await;
    match started {
        Ok(instances) => {
            for instance in &instances {
                walk.note(STEP, started_line(instance));
            }
            Ok(instances.len())
        }
        Err(error) => Err(refused(walk, &engine, error).await),
    }
}

/// Consumer groups that the new release reads, where its file asks Baton to make them.
async fn groups(walk: &Walk, release: &Release) -> Result<(), StepError> {
    match redis::create_groups(&walk.core, release, walk.plan.to, walk.role()).await {
        Ok(notes) => {
            for note in notes {
                walk.note(STEP, note);
            }
            Ok(())
        }
        // The image may say what the file does not.
        Err(RedisError::Rule(_)) if release.engine() == EngineKind::Docker => Ok(()),
        Err(error) => Err(StepError::Refused(error.to_string())),
    }
}

/// Takes the candidate away. The live color cannot be hit: it is not this slot's.
pub(super) async fn undo(walk: &mut Walk) -> Result<(), DeployError> {
    walk.boot = None;
    let (core, app, to) = (&walk.core, &walk.deploy.app, walk.plan.to);
    if core.store.slot(app, to).await?.role != SlotRole::Candidate {
        return Ok(());
    }
    let kind = match (&walk.release, &walk.work) {
        (Some(release), _) => release.engine(),
        (
            None,
            Work::Deploy { project, .. }
            | Work::Stage { project, .. }
            | Work::Promote { project, .. },
        ) => project.engine,
        _ => return Ok(()),
    };
    let engine = core.engine(kind)?;
    let slot = walk.slot(to);
    let there = ask("list instances", engine.instances(&slot)).await?;
    // A router that was not brought to it whole may have sent it some.
    let mut none_left: FuturesUnordered<_> = there
        .iter()
        .map(|instance| core.routes.router().drained(&instance.id))
        .collect();
    let all = async { while none_left.next().await.is_some() {} };
    let _ = tokio::time::timeout(STRAYED, all).await;
    drop(none_left);
    drain::never_served(core, app, to, &there)
        .await?
        .clear(&engine)
        .await?;
    core.store.set_slot(app, to, SlotRole::Empty, None).await
}

fn started_line(instance: &Instance) -> String {
    let name = format!("{} {}", instance.service, instance.replica);
    match instance.address {
        Some(address) => format!("{name} started at {address}"),
        None => format!("{name} started"),
    }
}

/// What plain Compose runs of the app becomes `r0`, live in the old color at once.
async fn adopt(walk: &mut Walk, engine: &Arc<dyn Engine>) -> Result<(), StepError> {
    let Work::Deploy { adopt: true, .. } = walk.work else {
        return Ok(());
    };
    let Some(color) = walk.plan.from else {
        return Ok(());
    };
    let (core, app) = (&walk.core, &walk.deploy.app);
    if core.store.live(app).await?.is_some() {
        return Ok(());
    }
    let new = walk.release()?;
    let mut found: Vec<Instance> = Vec::new();
    for service in &new.project.services {
        let plain = engine.plain_instances(app, &service.name);
        let plain = ask("list plain instances", plain).await?;
        found.extend(
            plain
                .into_iter()
                .filter(|instance| instance.state == InstanceState::Running),
        );
    }
    if found.is_empty() {
        return Ok(());
    }
    let mut release = adopted_release(new, &found);
    let adoption = engine.adopt(app, &release.project.renderings, &release.adopted);
    release.project.renderings = ask("adopt", adoption).await?;
    let found: Vec<_> = found
        .into_iter()
        .map(|instance| release.at_its_port(instance))
        .collect();
    let live = Live::new(&release, color, &found);
    core.store.put_release(&release).await?;
    let commit = core.store.adopt(app, color, release.id);
    core.routes.switch(app, live, Box::pin(commit)).await?;
    let text = format!(
        "{} of plain Compose adopted as r0 ({color}): {}",
        if found.len() == 1 {
            "1 container"
        } else {
            "the containers"
        },
        found
            .iter()
            .map(|instance| format!("{} {}", instance.service, instance.id))
            .collect::<Vec<_>>()
            .join(", ")
    );
    walk.note(STEP, text.clone());
    walk.core.event(Some(app), "adopted", text).await;
    let reaches = core.routes.router().reaches(app, true).await;
    // Other services find it by its plain name on the live network from now on.
    walk.core.wake(app);
    walk.previous = Some(release);
    reaches.map_err(|error| StepError::Refused(error.to_string()))
}

/// `r0`: the image that was running, in a rendering that [`Engine::adopt`] makes what it was.
fn adopted_release(new: &Release, found: &[Instance]) -> Release {
    let mut adopted: BTreeMap<String, Vec<_>> = BTreeMap::new();
    let mut images = new.images.clone();
    for instance in found {
        adopted
            .entry(instance.service.clone())
            .or_default()
            .push(instance.id.clone());
        let reference = images
            .get(&instance.service)
            .map_or_else(String::new, |image| image.reference.clone());
        images.insert(
            instance.service.clone(),
            FetchedImage {
                id: instance.image.clone(),
                reference,
                repo_digest: None,
            },
        );
    }
    Release {
        id: ReleaseId(0),
        app: new.app.clone(),
        project: new.project.clone(),
        images,
        adopted,
        created_at: time::OffsetDateTime::now_utc(),
    }
}

/// A preview makes room, and comes back afterwards; `keep_warm` of the release before ends, and its
/// drain is waited for.
async fn free_slot(walk: &Walk) -> Result<(), StepError> {
    let (core, app, to) = (&walk.core, &walk.deploy.app, walk.plan.to);
    let note = |text: String| walk.note(STEP, text);
    if walk.keeper.is_some() {
        preview::evict_held(core, app, to, &note).await?;
    } else {
        preview::evict(core, app, to, &note).await?;
    }
    let Some(tail) = walk.core.tail(&walk.deploy.app) else {
        return Ok(());
    };
    tail.shorten();
    walk.note(
        STEP,
        format!(
            "waiting until {} of deploy {} has drained",
            tail.color, tail.deploy
        ),
    );
    tokio::select! {
        () = tail.ended() => Ok(()),
        () = walk.deploy.cancelled() => Err(StepError::Cancelled("cancelled".to_owned())),
    }
}

/// One candidate boots at a time on a machine: two would starve what is live.
pub(super) async fn turn_to_boot(
    walk: &Walk,
) -> Result<tokio::sync::OwnedSemaphorePermit, StepError> {
    let boots = Arc::clone(&walk.core.boots);
    if let Ok(permit) = Arc::clone(&boots).try_acquire_owned() {
        return Ok(permit);
    }
    walk.note(
        STEP,
        "waiting until the candidate of another app has booted",
    );
    tokio::select! {
        permit = boots.acquire_owned() => {
            permit.map_err(|_| StepError::Cancelled("the daemon ends".to_owned()))
        }
        () = walk.deploy.cancelled() => Err(StepError::Cancelled("cancelled".to_owned())),
    }
}

/// What another release left in the slot, also of services that are in the file no more.
async fn clear_stale(
    walk: &Walk,
    engine: &Arc<dyn Engine>,
    release: &Release,
) -> Result<(), DeployError> {
    let (app, to): (_, Color) = (&walk.deploy.app, walk.plan.to);
    let there = ask("list instances", engine.instances(&walk.slot(to))).await?;
    if there
        .iter()
        .all(|instance| instance.release == Some(release.id.0))
    {
        return Ok(());
    }
    drain::never_served(&walk.core, app, to, &there)
        .await?
        .clear(engine)
        .await
}

/// The engine would not start it.
async fn refused(walk: &Walk, engine: &Arc<dyn Engine>, error: EngineError) -> StepError {
    match error {
        EngineError::ImageGone { .. } if walk.plan.kind == DeployKind::RollbackBoot => {
            StepError::Refused(error.to_string())
        }
        EngineError::Unreachable { .. } | EngineError::Missing { .. } => {
            StepError::Error(error.into())
        }
        EngineError::Foreign { .. } => StepError::Refused(error.to_string()),
        _ => {
            let to = walk.plan.to;
            let there = ask("list instances", engine.instances(&walk.slot(to))).await;
            let failed = there
                .unwrap_or_default()
                .into_iter()
                .find(|instance| instance.state != InstanceState::Running);
            let failure = match failed {
                Some(instance) => Some(failure::of(engine, &instance, to, Vec::new()).await),
                None => None,
            };
            StepError::Release {
                message: format!(
                    "{} did not start: {error}; {}",
                    walk.plan.release,
                    walk.untouched()
                ),
                failure,
            }
        }
    }
}
