//! To a release that was live before, or to the other color that is up.

use std::sync::Arc;

use baton_compose::policy::Strategy;
use baton_compose::project::Notice;
use baton_compose::{AppName, Color, Project};

use super::{Planned, asks, stops_first};
use crate::core::Core;
use crate::error::DeployError;
use crate::plan::DeployKind;
use crate::release::{Release, ReleaseId};
use crate::slots::{SlotRole, SlotState};
use crate::strategy::{self, Asks, Way};
use crate::tail::{self, After};
use crate::work::Work;

/// A release that was live before; without a boot where it is up.
pub(super) async fn rollback(
    core: &Core,
    app: &AppName,
    to: Option<ReleaseId>,
    current: Option<Project>,
) -> Result<Planned, DeployError> {
    let (color, live) = live(core, app).await?;
    let wanted = match to {
        Some(id) => id,
        None => core.store.live_before(app, live.id).await?.ok_or_else(|| {
            DeployError::Usage(format!("no release of {app} was live before {}", live.id))
        })?,
    };
    let target = match core.store.release(app, wanted).await? {
        Some(target) => target,
        None => return Err(no_such_release(core, app, wanted).await?),
    };
    // Its migration has run when it was new, and a canary of what was live would be a joke.
    let way = |of: &Project, stop_first: bool| Way {
        release: wanted,
        to: color.other(),
        from: Some(color),
        strategy: match of.strategy() {
            Strategy::Canary => Strategy::BlueGreen,
            _ if !live.adopted.is_empty() => Strategy::BlueGreen,
            strategy => strategy,
        },
        stop_first,
        asks: Asks {
            migrate: false,
            ..asks(of, Some(&live))
        },
    };
    if let Some(project) = &current {
        let stop_first = stops_first(core, app, project, Some(&live)).await;
        let mut way = way(project, stop_first);
        way.release = core.store.next_release(app).await?;
        way.asks.fetch = true;
        return Ok(Planned {
            plan: strategy::plan(DeployKind::RollbackBoot, way),
            notices: current.iter().flat_map(|p| p.notices.clone()).collect(),
            work: Work::Rollback {
                to: Some(wanted),
                current,
            },
            release: None,
            previous: Some(live),
        });
    }
    if wanted == live.id {
        return Err(DeployError::Usage(format!(
            "{wanted} of {app} is live already"
        )));
    }
    let slot = core.store.slot(app, color.other()).await?;
    let kind = if is_up(core, slot, &target).await && take_back(core, app, slot.color).await {
        DeployKind::RollbackWarm
    } else {
        DeployKind::RollbackBoot
    };
    let stop_first = kind.boots() && stops_first(core, app, &target.project, Some(&live)).await;
    Ok(Planned {
        plan: strategy::plan(kind, way(&target.project, stop_first)),
        work: Work::Rollback {
            to: Some(wanted),
            current: None,
        },
        notices: limits_of_a_rollback(kind, &target),
        release: Some(target),
        previous: Some(live),
    })
}

async fn no_such_release(
    core: &Core,
    app: &AppName,
    wanted: ReleaseId,
) -> Result<DeployError, DeployError> {
    let known: Vec<_> = core
        .store
        .releases(app)
        .await?
        .iter()
        .map(|release| release.id.to_string())
        .collect();
    Ok(DeployError::Usage(format!(
        "{app} has no release {wanted}; known are: {}",
        known.join(", ")
    )))
}

/// What a rollback that boots does not bring back.
fn limits_of_a_rollback(kind: DeployKind, target: &Release) -> Vec<Notice> {
    let mut notices = Vec::new();
    if kind == DeployKind::RollbackBoot && target.id == ReleaseId(0) {
        notices.push(Notice {
            key: "r0".to_owned(),
            text: "was started by plain Compose: it comes back with its image, command, environment, mounts and limits, and with the networks and logging of the first deploy's file".to_owned(),
        });
    }
    notices
}

/// Traffic to the other color, which is up.
pub(super) async fn switch(
    core: &Core,
    app: &AppName,
    to: Option<Color>,
) -> Result<Planned, DeployError> {
    let (color, live) = live(core, app).await?;
    let to = to.unwrap_or(color.other());
    if to == color {
        return Err(DeployError::Usage(format!("{to} of {app} is live already")));
    }
    let slot = core.store.slot(app, to).await?;
    let target = match slot.release {
        Some(id) => core.store.release(app, id).await?,
        None => None,
    };
    let nothing_there = || {
        DeployError::Usage(format!(
            "{to} of {app} is not up: `baton rollback` starts the release before {}, `baton deploy` a new one",
            live.id
        ))
    };
    let target = target.ok_or_else(nothing_there)?;
    if !is_up(core, slot, &target).await || !take_back(core, app, to).await {
        return Err(nothing_there());
    }
    let way = Way {
        release: target.id,
        to,
        from: Some(color),
        strategy: Strategy::BlueGreen,
        stop_first: false,
        asks: asks(&target.project, Some(&live)),
    };
    Ok(Planned {
        plan: strategy::plan(DeployKind::Switch, way),
        work: Work::Switch { to: Some(to) },
        notices: Vec::new(),
        release: Some(target),
        previous: Some(live),
    })
}

async fn live(core: &Core, app: &AppName) -> Result<(Color, Release), DeployError> {
    core.live_release(app).await?.ok_or_else(|| {
        DeployError::Usage(format!("nothing of {app} is live; `baton deploy` it first"))
    })
}

/// Does this very release run in the slot, complete?
async fn is_up(core: &Core, slot: SlotState, release: &Release) -> bool {
    if !matches!(slot.role, SlotRole::Warm | SlotRole::Draining) || slot.release != Some(release.id)
    {
        return false;
    }
    let running = core
        .running_instances(release, slot.color)
        .await
        .unwrap_or_default();
    release.routed().all(|service| {
        let up = running.iter().filter(|i| i.service == service.name).count();
        up >= service.replicas.max(1) as usize
    })
}

/// Takes the old color from its tail; false when it is being stopped already.
async fn take_back(core: &Core, app: &AppName, color: Color) -> bool {
    let Some(tail) = core.tail(app) else {
        return true;
    };
    let left = tail.leave();
    // What is being stopped is waited for as well: the slot must be free to boot in.
    tail.ended().await;
    left && tail.color == color
}

/// Nothing came of the plan: a color that it took back gets another tail.
pub(crate) async fn give_back(core: &Arc<Core>, planned: &Planned, app: &AppName, deploy: i64) {
    if matches!(
        planned.plan.kind,
        DeployKind::RollbackWarm | DeployKind::Switch
    ) && let Err(error) = tail::linger(core, app, planned.plan.to, deploy, After::Warm).await
    {
        tracing::warn!(%app, "{error}");
    }
}
