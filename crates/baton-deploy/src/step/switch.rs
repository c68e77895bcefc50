//! *switch*: the moment new requests go to the other color, and the point of no return.
//!
//! In order: the new instances' gates are open → the database commits → the routing table is stored
//! (atomic) → the old instances' gates close. Then other services of the machine find the new color by
//! the app's plain name, and workers change over, the old one stopped first.

use std::time::Duration;

use baton_compose::policy::Worker;
use baton_compose::{Color, Role};
use baton_engine::{Instance, InstanceState, Replicas, Shield, Start};
use serde_json::json;

use super::{StepError, StepResult, Switched, Walk, shield};
use crate::activate;
use crate::admission;
use crate::core::ask;
use crate::error::DeployError;
use crate::figures;
use crate::plan::{DeployKind, StepName};
use crate::preview;
use crate::release::Release;
use crate::routes::{Beside, Live};
use crate::store::Commit;
use crate::tail;

const STEP: StepName = StepName::Switch;

pub(super) async fn run(walk: &mut Walk) -> StepResult {
    let release = walk.release()?.clone();
    let (app, to) = (walk.deploy.app.clone(), walk.plan.to);
    // The keeper must not start what the switch stops. Stop-first has held it since then.
    if walk.keeper.is_none() {
        walk.keeper = Some(walk.core.hold_keeper(&app).await);
    }
    let instances = walk.core.running_instances(&release, to).await?;
    complete(walk, &release, &instances)?;
    deactivate_old(walk).await?;
    if !walk.deploy.begin_switch() {
        return Err(StepError::Cancelled("cancelled".to_owned()));
    }
    let live = Live::new(&release, to, &instances)
        .admitting(admission::of(&walk.core, &app).await?)
        .beside(old_beside(walk).await);
    let commit = walk.core.store.commit_switch(Commit {
        app: app.clone(),
        deploy: walk.deploy.id,
        to,
        release: release.id,
        promotes: walk.plan.kind == DeployKind::Promote,
    });
    walk.core
        .routes
        .switch(&app, live, Box::pin(commit))
        .await?;
    // From here on it matters where a client's session lives.
    walk.core.remember_sessions().await;
    if let (Some(from), None) = (walk.plan.from, &walk.tail) {
        // Its clocks begin now, while *watch* still goes on.
        walk.tail = Some(walk.core.begin_tail(&app, walk.deploy.id, from));
    }
    let router = walk.core.routes.router();
    walk.switched = Some(Switched {
        answered: figures::of(router, &instances),
        instances,
    });
    let in_flight = in_flight_on_old(walk).await;
    walk.note(
        STEP,
        format!(
            "{} ({to}) is live{}",
            release.id,
            match walk.old() {
                Some((color, old)) => format!(
                    "; {in_flight} requests in flight stay on {} ({color})",
                    old.id
                ),
                None => String::new(),
            }
        ),
    );
    walk.core
        .event(
            Some(&app),
            "switched",
            format!("{} ({to}) is live (deploy {})", release.id, walk.deploy.id),
        )
        .await;
    // What was taken back stays in sight until something else goes live.
    if walk.plan.kind != DeployKind::Switch {
        walk.core.warn(&app, tail::TAKEN_BACK, None);
    }
    after(walk, &release).await;
    walk.keeper = None;
    Ok(json!({ "in_flight": in_flight }))
}

/// Its jobs must have ended before the new color's begin; until they have, nothing is switched.
async fn deactivate_old(walk: &Walk) -> Result<(), StepError> {
    let Some((color, old)) = walk.old() else {
        return Ok(());
    };
    // Run again after a crash: it has been switched.
    if walk
        .core
        .store
        .live(&walk.deploy.app)
        .await?
        .is_some_and(|slot| slot.color != color)
    {
        return Ok(());
    }
    if activate::asked_for(old) {
        walk.note(STEP, format!("{} ({color}) ends its jobs", old.id));
    }
    activate::tell(&walk.core, old, color, false)
        .await
        .map_err(|reason| StepError::Release {
            message: format!("{reason}; nothing was switched: {} stays active", old.id),
            failure: None,
        })
}

/// It has not switched: the old color is told that it is active still.
pub(super) async fn undo(walk: &mut Walk) -> Result<(), DeployError> {
    // Stop-first: the old color comes back once the new one is gone.
    if !walk.plan.has(StepName::StopOld) {
        walk.keeper = None;
    }
    if let Some((color, old)) = walk.old()
        && let Err(reason) = activate::tell(&walk.core, old, color, true).await
    {
        walk.core
            .event(Some(&walk.deploy.app), "warning", reason)
            .await;
        walk.core.wake(&walk.deploy.app);
    }
    Ok(())
}

/// The old color keeps its event streams, and the clients whose session lives in it.
async fn old_beside(walk: &Walk) -> Beside {
    let Some((color, old)) = walk.old() else {
        return Beside::default();
    };
    let instances = match walk.core.routes.live(&walk.deploy.app).await {
        Some(live) if live.color == color => live.instances().to_vec(),
        // Run again after a crash: it has been switched.
        _ => {
            let found = walk.core.running_instances(old, color).await;
            found.unwrap_or_default()
        }
    };
    Beside::new(&instances).pinned(walk.pins())
}

/// Each service that takes traffic must have all its instances up in this very moment.
pub(super) fn complete(
    walk: &Walk,
    release: &Release,
    running: &[Instance],
) -> Result<(), StepError> {
    for service in release.routed() {
        let up = running
            .iter()
            .filter(|instance| instance.service == service.name && instance.address.is_some())
            .count();
        if up < service.replicas.max(1) as usize {
            return Err(StepError::Release {
                message: format!(
                    "{} of {} instances of {} ({}) are up at the moment of the switch; {}",
                    up,
                    service.replicas.max(1),
                    service.name,
                    walk.plan.to,
                    walk.untouched()
                ),
                failure: None,
            });
        }
    }
    Ok(())
}

async fn in_flight_on_old(walk: &Walk) -> u64 {
    let Some((color, old)) = walk.old() else {
        return 0;
    };
    let instances = walk.core.instances(old, color).await.unwrap_or_default();
    let router = walk.core.routes.router();
    instances
        .iter()
        .filter_map(|instance| router.instance(&instance.id))
        .map(|figures| figures.in_flight)
        .sum()
}

/// Traffic has switched: nothing here may take that back. What fails is told loudly, and the
/// supervision tries again.
async fn after(walk: &Walk, release: &Release) {
    let (core, app, to) = (&walk.core, &walk.deploy.app, walk.plan.to);
    core.remember(app).await;
    let mut failed = Vec::new();
    if let Ok(engine) = walk.engine() {
        shield(core, &engine, &walk.slot(to), Shield::None).await;
        if let Some(from) = walk.plan.from {
            shield(core, &engine, &walk.slot(from), Shield::Leaving).await;
        }
    }
    if let Err(reason) = activate::tell(core, release, to, true).await {
        failed.push(reason);
    }
    // Until the keeper's next look the live color would answer them, where it takes every host. What is
    // staged is not started by this: the deploy still has its place.
    if release.has_preview()
        && let Err(error) = preview::put_right(core, app, &|| Duration::MAX).await
    {
        failed.push(format!("its preview hosts: {error}"));
    }
    if let Err(error) = found_by_name(walk, to, release).await {
        failed.push(format!(
            "other services may not find {to} by its name yet: {error}"
        ));
    }
    if let Err(error) = change_workers(walk, walk.old(), (to, release)).await {
        failed.push(format!("workers of {} do not run yet: {error}", release.id));
    }
    for text in failed {
        walk.note(STEP, format!("warning: {text}"));
        core.event(Some(app), "warning", format!("{text}; trying again"))
            .await;
        core.wake(app);
    }
}

pub(super) async fn found_by_name(
    walk: &Walk,
    to: Color,
    release: &Release,
) -> Result<(), DeployError> {
    let engine = walk.core.engine(release.engine())?;
    let rendering = release.filled(to)?;
    Ok(engine.set_live(&walk.slot(to), &rendering, true).await?)
}

/// Workers take no traffic, so nothing of them drains: the old one ends before the new one starts.
pub(super) async fn change_workers(
    walk: &Walk,
    old: Option<(Color, &Release)>,
    (to, release): (Color, &Release),
) -> Result<(), DeployError> {
    if let Some((color, old)) = old {
        stop_workers(walk, color, old).await?;
    }
    let workers = release.workers(|_| true);
    if workers.is_empty() {
        return Ok(());
    }
    let rendering = release.filled(to)?;
    let engine = walk.core.engine(release.engine())?;
    engine
        .start(Start {
            slot: &walk.slot(to),
            release: release.id.0,
            role: Role::Live,
            rendering: &rendering,
            services: &workers,
            replicas: Replicas::All,
            shielded: false,
        })
        .await?;
    walk.note(STEP, format!("started {}", workers.join(", ")));
    Ok(())
}

async fn stop_workers(walk: &Walk, color: Color, old: &Release) -> Result<(), DeployError> {
    let engine = walk.core.engine(old.engine())?;
    let workers = old.workers(|worker| worker == Worker::StopFirst);
    let adopted: Vec<_> = workers
        .iter()
        .filter_map(|name| old.adopted.get(name))
        .flatten()
        .collect();
    for id in adopted {
        let there = ask("inspect", engine.inspect(id)).await?;
        if there.is_some_and(|instance| instance.state == InstanceState::Running) {
            engine.stop(id).await?;
        }
    }
    if !workers.is_empty() {
        engine.clear(&walk.slot(color), &workers).await?;
        walk.note(
            STEP,
            format!("stopped {} of {}", workers.join(", "), old.id),
        );
    }
    Ok(())
}
