//! After a start of the daemon: what is live is served at once, then an unfinished deploy is taken back
//! (before its switch) or forward (after it).

use std::sync::Arc;

use baton_compose::{AppName, Color};
use baton_engine::Instance;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use crate::admission;
use crate::core::Core;
use crate::error::DeployError;
use crate::journal::{Entry, EntryKind};
use crate::lock::Held;
use crate::outcome::{ExitCode, Outcome};
use crate::plan::StepName;
use crate::planning;
use crate::progress::Progress;
use crate::release::Release;
use crate::routes::{Beside, Live};
use crate::run;
use crate::running::{RunningDeploy, Tail};
use crate::sessions::KnownSessions;
use crate::slots::SlotRole;
use crate::step::{StepError, Walk};
use crate::store::{DeployRow, Phase};
use crate::tail::{self, After};
use crate::telling;

/// Publishes the live color of every app. An engine that does not answer leaves its apps at
/// the addresses where they were served last, if the machine was not started anew since.
pub(crate) async fn serve(core: &Arc<Core>) -> Result<(), DeployError> {
    let apps = core.store.apps().await?;
    let known = &KnownSessions::read(&core.data).await;
    let mut asked: FuturesUnordered<BoxFuture<'_, (AppName, Option<Live>)>> = apps
        .iter()
        .map(|app| Box::pin(async move { (app.clone(), live_of(core, app, known).await) }) as _)
        .collect();
    // Each as soon as its engine has answered: one that hangs holds up its own apps only.
    while let Some((app, live)) = asked.next().await {
        if let Some(live) = live {
            core.routes.set(&app, live).await?;
        }
    }
    core.routes.router().begin().await;
    Ok(())
}

/// An app whose records cannot be read must not keep the others from being served.
async fn live_of(core: &Core, app: &AppName, known: &KnownSessions) -> Option<Live> {
    match read_live(core, app, known).await {
        Ok(live) => live,
        Err(error) => {
            tracing::error!(%app, "cannot serve it: {error}");
            None
        }
    }
}

async fn read_live(
    core: &Core,
    app: &AppName,
    known: &KnownSessions,
) -> Result<Option<Live>, DeployError> {
    let Some((color, release)) = core.live_release(app).await? else {
        return Ok(None);
    };
    // At once: an engine that hangs is waited for once.
    let (instances, draining) = tokio::try_join!(
        serving(core, &release, color),
        draining(core, app, color.other())
    )?;
    let admission = admission::of(core, app).await?;
    let rolled = rolled(core, app, color.other()).await?;
    known.recall(core, instances.iter().chain(&rolled).chain(&draining));
    let live = Live::new(&release, color, &instances).with(&rolled);
    // Its clients come back before the drain goes on.
    let beside = match draining.is_empty() {
        true => Beside::default(),
        false => Beside::new(&draining).pinned(release.pins()),
    };
    Ok(Some(live.admitting(admission).beside(beside)))
}

/// What runs of a release that takes traffic.
async fn serving(
    core: &Core,
    release: &Release,
    color: Color,
) -> Result<Vec<Instance>, DeployError> {
    match core.running_instances(release, color).await {
        Ok(instances) => Ok(instances),
        Err(error) => {
            let app = &release.app;
            tracing::warn!(%app, "{error}; serving where it was served last");
            core.store.routed(app, color, &core.boot).await
        }
    }
}

/// What still runs of a color that was live before.
async fn draining(core: &Core, app: &AppName, color: Color) -> Result<Vec<Instance>, DeployError> {
    let slot = core.store.slot(app, color).await?;
    let (SlotRole::Draining, Some(id)) = (slot.role, slot.release) else {
        return Ok(Vec::new());
    };
    match core.store.release(app, id).await? {
        Some(release) => serving(core, &release, color).await,
        None => Ok(Vec::new()),
    }
}

/// What a rolling deploy had exchanged already: the old instances alone may be too few.
async fn rolled(core: &Core, app: &AppName, color: Color) -> Result<Vec<Instance>, DeployError> {
    let slot = core.store.slot(app, color).await?;
    if slot.role != SlotRole::Candidate {
        return Ok(Vec::new());
    }
    let mut there = core.store.routed(app, color, &core.boot).await?;
    let release = match slot.release {
        Some(id) => core.store.release(app, id).await?,
        None => None,
    };
    if let Some(release) = release
        && let Ok(running) = core.running_instances(&release, color).await
    {
        there.retain(|instance| running.iter().any(|now| now.id == instance.id));
    }
    Ok(there)
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
        let (backs, heads): (Vec<_>, Vec<_>) =
            heads.into_iter().partition(|row| row.phase == Phase::Back);
        // Commands may attach again as soon as `open` returns, and no new deploy comes between.
        let heads: Vec<_> = heads
            .into_iter()
            .map(|row| (known(core, &row), row))
            .collect();
        let backs: Vec<_> = backs
            .into_iter()
            .map(|row| (known(core, &row), row))
            .collect();
        let tails: Vec<_> = tails
            .into_iter()
            .map(|row| (known(core, &row), row))
            .collect();
        // A command still waits for one that has switched and not been watched.
        let unwatched = tails.iter().find(|(_, row)| row.outcome.is_none());
        let lock = heads
            .first()
            .or(unwatched)
            .and_then(|(deploy, _)| core.locks.try_take(deploy).ok());
        let tails: Vec<_> = tails
            .into_iter()
            .map(|(deploy, row)| {
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
            for (deploy, row) in backs {
                taken_back(&inner, deploy, row).await;
            }
            let mut lock = lock.filter(|_| tails.iter().any(|(_, _, row)| row.outcome.is_none()));
            let tails_of: Vec<_> = tails
                .iter()
                .filter_map(|(_, tail, _)| tail.clone())
                .collect();
            for (deploy, tail, row) in tails {
                forward(&inner, deploy, tail, row, lock.take()).await;
            }
            if tails_of.is_empty() {
                sweep(&inner, &app).await;
            }
            inner.wake(&app);
        });
    }
    Ok(())
}

fn known(core: &Arc<Core>, row: &DeployRow) -> Arc<RunningDeploy> {
    let deploy = RunningDeploy::new(row.id, row.app.clone());
    core.register(&deploy);
    telling::follow(core, &deploy, row);
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

/// It had been taken back after its switch: what was live before is, and the color that was left ends.
async fn taken_back(core: &Arc<Core>, deploy: Arc<RunningDeploy>, row: DeployRow) {
    let reason = match core.store.entries(row.id).await {
        Ok(entries) => why_back(&entries),
        Err(_) => None,
    };
    let live = core.routes.live(&row.app).await;
    let outcome = Outcome {
        ok: false,
        exit_code: ExitCode::TakenBack,
        app: row.app.to_string(),
        deploy: Some(row.id),
        release: row.plan.as_ref().map(|plan| plan.release),
        live: live.map(|live| live.color),
        message: reason.unwrap_or_else(|| "it was taken back".to_owned()),
        failure: None,
        receipt: None,
    };
    if let Err(error) = core.store.set_outcome(row.id, &outcome, true).await {
        tracing::error!(deploy = row.id, "{error}");
    }
    if let Some(plan) = &row.plan
        && let Err(error) = tail::linger(core, &row.app, plan.to, row.id, After::End).await
    {
        tracing::error!(deploy = row.id, "{error}");
    }
    deploy.finish(outcome);
    core.unregister(&deploy);
}

/// Why *watch* wanted it back; None when it did not.
fn why_back(entries: &[Entry]) -> Option<String> {
    let mut of_watch = entries.iter().filter(|entry| entry.step == StepName::Watch);
    match &of_watch.next_back()?.kind {
        EntryKind::Failed { error } => Some(error.clone()),
        _ => None,
    }
}

/// It had switched: what is left of it is done. `lock`: its command still waits for it.
async fn forward(
    core: &Arc<Core>,
    deploy: Arc<RunningDeploy>,
    tail: Option<Arc<Tail>>,
    row: DeployRow,
    lock: Option<Held>,
) {
    match walk(core, &deploy, &row).await {
        Ok(Some(mut walk)) => {
            walk.tail = tail.clone();
            match row.outcome.clone() {
                Some(outcome) => deploy.finish(outcome),
                None => {
                    if !finish_head(&mut walk).await {
                        core.unregister(&deploy);
                        return;
                    }
                }
            }
            drop(lock);
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

/// The rest of what the command waits for; false when the deploy was taken back.
async fn finish_head(walk: &mut Walk) -> bool {
    let entries = walk.core.store.entries(walk.deploy.id).await;
    let result = match why_back(&entries.unwrap_or_default()) {
        Some(message) => Err(StepError::Worse {
            message,
            failure: None,
        }),
        None => run::rest_of_head(walk).await,
    };
    let (outcome, goes_on) = match result {
        Err(worse @ StepError::Worse { .. }) => run::way_back(walk, worse).await,
        _ => (run::live_outcome(walk).await, true),
    };
    let deploy = Arc::clone(&walk.deploy);
    let written = walk
        .core
        .store
        .set_outcome(deploy.id, &outcome, !goes_on)
        .await;
    if let Err(error) = written {
        tracing::error!(deploy = deploy.id, "{error}");
    }
    deploy.finish(outcome);
    goes_on
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
        // A candidate has never been worth a rollback.
        let after = match slot.role {
            SlotRole::Candidate => After::End,
            _ => After::Warm,
        };
        if stray
            && core.tail(app).is_none()
            && core.locks.holder(app).is_none()
            && let Err(error) = tail::linger(core, app, color, 0, after).await
        {
            tracing::warn!(%app, %color, "{error}");
        }
    }
}
