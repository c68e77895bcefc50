//! After a start of the daemon: what is live is served at once, then an unfinished deploy is taken back
//! (before its switch) or forward (after it).

use std::sync::Arc;

use baton_compose::{AppName, Color};
use baton_engine::Instance;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use crate::core::Core;
use crate::error::DeployError;
use crate::journal::EntryKind;
use crate::outcome::{ExitCode, Outcome};
use crate::plan::StepName;
use crate::planning;
use crate::progress::Progress;
use crate::routes::Live;
use crate::run;
use crate::running::RunningDeploy;
use crate::slots::SlotRole;
use crate::step::Walk;
use crate::store::{DeployRow, Phase};
use crate::tail;

/// Publishes the live color of every app. An engine that does not answer leaves its apps at
/// the addresses where they were served last, if the machine was not started anew since.
pub(crate) async fn serve(core: &Arc<Core>) -> Result<(), DeployError> {
    let apps = core.store.apps().await?;
    let mut asked: FuturesUnordered<BoxFuture<'_, (AppName, Option<Live>)>> = apps
        .iter()
        .map(|app| Box::pin(async move { (app.clone(), live_of(core, app).await) }) as _)
        .collect();
    // Each as soon as its engine has answered: one that hangs holds up its own apps only.
    while let Some((app, live)) = asked.next().await {
        if let Some(live) = live {
            core.routes.set(&app, live).await?;
        }
    }
    Ok(())
}

/// An app whose records cannot be read must not keep the others from being served.
async fn live_of(core: &Core, app: &AppName) -> Option<Live> {
    match read_live(core, app).await {
        Ok(live) => live,
        Err(error) => {
            tracing::error!(%app, "cannot serve it: {error}");
            None
        }
    }
}

async fn read_live(core: &Core, app: &AppName) -> Result<Option<Live>, DeployError> {
    let Some((color, release)) = core.live_release(app).await? else {
        return Ok(None);
    };
    let instances: Vec<Instance> = match core.running_instances(&release, color).await {
        Ok(instances) => instances,
        Err(error) => {
            tracing::warn!(%app, "{error}; serving where it was served last");
            core.store.routed(app, color, &core.boot).await?
        }
    };
    let held = core.store.paused(app).await?;
    Ok(Some(Live::new(&release, color, &instances).held(held)))
}

/// Registers what is unfinished and works it off in the background, one app after the other's own.
pub(crate) async fn unfinished(core: &Arc<Core>) -> Result<(), DeployError> {
    let mut by_app: std::collections::BTreeMap<AppName, Vec<DeployRow>> = Default::default();
    for app in core.store.apps().await? {
        by_app.insert(app, Vec::new());
    }
    for row in core.store.unfinished().await? {
        by_app.entry(row.app.clone()).or_default().push(row);
    }
    for (app, rows) in by_app {
        let (heads, tails): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|row| row.phase != Phase::Tail);
        // Commands may attach again as soon as `open` returns, and no new deploy comes between.
        let heads: Vec<_> = heads
            .into_iter()
            .map(|row| (known(core, &row), row))
            .collect();
        let lock = heads
            .first()
            .and_then(|(deploy, _)| core.locks.try_take(deploy).ok());
        let tails: Vec<_> = tails
            .into_iter()
            .map(|row| {
                let deploy = known(core, &row);
                let from = row.plan.as_ref().and_then(|plan| plan.from);
                let tail = from.map(|from| core.begin_tail(&app, row.id, from));
                (deploy, tail, row)
            })
            .collect();
        let inner = Arc::clone(core);
        core.spawn(async move {
            for (deploy, row) in heads {
                back(&inner, deploy, row).await;
            }
            drop(lock);
            let tails_of: Vec<_> = tails
                .iter()
                .filter_map(|(_, tail, _)| tail.clone())
                .collect();
            for (deploy, tail, row) in tails {
                forward(&inner, deploy, tail, row).await;
            }
            if tails_of.is_empty() {
                sweep(&inner, &app).await;
            }
        });
    }
    Ok(())
}

fn known(core: &Core, row: &DeployRow) -> Arc<RunningDeploy> {
    let deploy = RunningDeploy::new(row.id, row.app.clone());
    core.register(&deploy);
    if let Some(plan) = &row.plan {
        deploy.feed.tell(Progress::Planned {
            deploy: row.id,
            plan: plan.clone(),
            notices: Vec::new(),
        });
    }
    deploy
}

/// The deploy as its journal tells it.
async fn walk(
    core: &Arc<Core>,
    deploy: &Arc<RunningDeploy>,
    row: &DeployRow,
) -> Result<Option<Walk>, DeployError> {
    let Some(planned) = planning::planned_before(core, row).await? else {
        return Ok(None);
    };
    let mut walk = planned.walk(core, deploy, row);
    for entry in core.store.entries(row.id).await? {
        if let EntryKind::Succeeded { output } = entry.kind {
            walk.outputs.insert(entry.step, output);
        }
    }
    Ok(Some(walk))
}

/// It had not switched: undone.
async fn back(core: &Arc<Core>, deploy: Arc<RunningDeploy>, row: DeployRow) {
    match walk(core, &deploy, &row).await {
        Ok(Some(mut walk)) => run::take_back(&mut walk).await,
        Ok(None) => {}
        Err(error) => tracing::error!(deploy = row.id, "cannot take it back: {error}"),
    }
    let live = core.routes.live(&row.app).await;
    let outcome = Outcome {
        ok: false,
        exit_code: ExitCode::Error,
        app: row.app.to_string(),
        deploy: Some(row.id),
        release: row.plan.as_ref().map(|plan| plan.release),
        live: live.as_ref().map(|live| live.color),
        message: format!(
            "the daemon was restarted before the switch; deploy {} was taken back{}",
            row.id,
            live.map_or_else(String::new, |live| format!(", {} serves", live.release))
        ),
        failure: None,
        receipt: None,
    };
    if let Err(error) = core.store.set_outcome(row.id, &outcome, true).await {
        tracing::error!(deploy = row.id, "{error}");
    }
    core.event(Some(&row.app), "deploy_taken_back", outcome.message.clone())
        .await;
    deploy.finish(outcome);
    core.unregister(&deploy);
}

/// It had switched: what is left of it is done.
async fn forward(
    core: &Arc<Core>,
    deploy: Arc<RunningDeploy>,
    tail: Option<Arc<crate::running::Tail>>,
    row: DeployRow,
) {
    match walk(core, &deploy, &row).await {
        Ok(Some(mut walk)) => {
            walk.tail = tail.clone();
            if let Some(outcome) = row.outcome.clone() {
                deploy.finish(outcome);
            } else {
                let outcome = run::live_outcome(&walk).await;
                if let Err(error) = core.store.set_outcome(row.id, &outcome, false).await {
                    tracing::error!(deploy = row.id, "{error}");
                }
                deploy.finish(outcome);
            }
            if !walk.outputs.contains_key(&StepName::Switch) {
                // Committed, but perhaps not told to the engine and the workers.
                run::again(&mut walk, StepName::Switch).await;
            }
            run::tail_of(walk).await;
        }
        Ok(None) => {}
        Err(error) => tracing::error!(deploy = row.id, "cannot take it forward: {error}"),
    }
    if let Some(tail) = tail {
        core.end_tail(&row.app, &tail);
    }
    core.unregister(&deploy);
}

/// A color that runs and belongs to no deploy any more.
async fn sweep(core: &Arc<Core>, app: &AppName) {
    for color in Color::BOTH {
        let Ok(slot) = core.store.slot(app, color).await else {
            continue;
        };
        let stray = matches!(
            slot.role,
            SlotRole::Candidate | SlotRole::Draining | SlotRole::Warm
        );
        if stray
            && core.tail(app).is_none()
            && core.locks.holder(app).is_none()
            && let Err(error) = tail::linger(core, app, color, 0).await
        {
            tracing::warn!(%app, %color, "{error}");
        }
    }
}
