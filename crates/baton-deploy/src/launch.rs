//! How a deploy begins, and how one attaches to it, or ends it, from outside.

use std::sync::Arc;
use std::time::Duration;

use baton_compose::AppName;
use time::OffsetDateTime;
use tokio::sync::mpsc;

use crate::control::Running;
use crate::core::Core;
use crate::error::DeployError;
use crate::lock::Busy;
use crate::outcome::{ExitCode, Outcome};
use crate::progress::Progress;
use crate::request::Steer;
use crate::run;
use crate::running::{RunningDeploy, Switched};
use crate::store::{DeployRow, Phase};
use crate::telling;
use crate::work::Work;

/// Accepts a deploy and runs it beside the caller. Without `wait` the lock must be free now.
pub(crate) async fn launch(
    core: &Arc<Core>,
    app: AppName,
    work: Work,
    wait: Option<Duration>,
    by: Option<String>,
) -> Result<Running, DeployError> {
    // Whoever wants another release back need not wait until this one has been watched long enough.
    let back = matches!(work, Work::Rollback { .. } | Work::Switch { .. });
    if back {
        end_watch(core, &app).await;
    }
    if core.locks.is_frozen() {
        return Err(Busy::Frozen.error());
    }
    if wait.is_none()
        && let Some(holder) = core.locks.holder(&app)
    {
        return Err(Busy::Now(holder).error());
    }
    let started_at = OffsetDateTime::now_utc();
    let id = core
        .store
        .add_deploy(&app, &work, by.as_deref(), started_at)
        .await?;
    let deploy = RunningDeploy::new(id, app.clone());
    let row = DeployRow {
        id,
        app,
        phase: Phase::Waiting,
        work,
        plan: None,
        outcome: None,
        by,
        started_at,
    };
    core.register(&deploy);
    telling::follow(core, &deploy, &row);
    let (progress, following) = deploy.feed.follow();
    core.spawn(following);
    match core.locks.try_take(&deploy) {
        Ok(lock) => core.spawn(run::deploy(
            Arc::clone(core),
            Arc::clone(&deploy),
            row,
            lock,
        )),
        Err(busy) => match wait {
            Some(wait) => core.spawn(queue(Arc::clone(core), Arc::clone(&deploy), row, wait)),
            None => {
                locked(core, &deploy, &busy).await;
                return Err(busy.error());
            }
        },
    }
    Ok(Running {
        deploy: id,
        progress,
    })
}

/// A deploy that has switched and is only being watched ends now, by what was seen so far; the app's
/// lock is free then.
pub(crate) async fn end_watch(core: &Core, app: &AppName) {
    let holder = core.locks.holder(app);
    if let Some(holder) = holder.filter(|holder| holder.is_watching()) {
        holder.hurry_watch();
        holder.finished().await;
        core.locks.free(app, &holder).await;
    }
}

/// Waits for the lock, then runs.
async fn queue(core: Arc<Core>, deploy: Arc<RunningDeploy>, row: DeployRow, wait: Duration) {
    let taken = core
        .locks
        .take(&deploy, wait, |holder| {
            deploy.feed.tell(Progress::Waiting {
                holder: holder.describe(),
            });
        })
        .await;
    match taken {
        Ok(lock) => run::deploy(core, deploy, row, lock).await,
        Err(busy) => locked(&core, &deploy, &busy).await,
    }
}

/// It did not get the lock.
async fn locked(core: &Core, deploy: &RunningDeploy, busy: &Busy) {
    let live = core.routes.live(&deploy.app).await;
    let outcome = Outcome {
        ok: false,
        exit_code: ExitCode::Locked,
        app: deploy.app.to_string(),
        deploy: Some(deploy.id),
        release: None,
        live: live.map(|live| live.color),
        message: busy.error().to_string(),
        failure: None,
        receipt: None,
    };
    if let Err(error) = core.store.set_outcome(deploy.id, &outcome, true).await {
        tracing::error!(deploy = deploy.id, "{error}");
    }
    deploy.finish(outcome);
    core.unregister(deploy);
}

pub(crate) fn not_running(deploy: i64) -> DeployError {
    DeployError::Usage(format!("deploy {deploy} is not running"))
}

/// All progress from the beginning; of a deploy that has ended its result.
pub(crate) async fn follow(
    core: &Arc<Core>,
    deploy: i64,
) -> Result<mpsc::Receiver<Progress>, DeployError> {
    if let Some(running) = core.running(deploy) {
        let (progress, following) = running.feed.follow();
        core.spawn(following);
        return Ok(progress);
    }
    let row = core.store.deploy(deploy).await?;
    let row = row.ok_or_else(|| DeployError::Usage(format!("there is no deploy {deploy}")))?;
    let outcome = row.outcome.ok_or_else(|| not_running(deploy))?;
    let (sender, progress) = mpsc::channel(2);
    let ended = [
        Progress::Result(outcome.clone()),
        Progress::Drained(outcome),
    ];
    for progress in ended {
        // Two fit, and the receiver is here.
        let _ = sender.try_send(progress);
    }
    Ok(progress)
}

/// By hand, from outside.
pub(crate) fn steer(core: &Core, app: &AppName, how: Steer) -> Result<(), DeployError> {
    let no_canary = || DeployError::Usage(format!("no canary of {app} is running"));
    let deploy = core.locks.holder(app).ok_or_else(no_canary)?;
    let steered = deploy.steer(|steering| match how {
        Steer::Set(weight) => steering.weight = Some(weight),
        Steer::Hold => steering.held = true,
        Steer::Resume => {
            steering.held = false;
            steering.resumed += 1;
        }
        Steer::Abort => steering.aborted = true,
    });
    steered.then_some(()).ok_or_else(no_canary)
}

/// Asks the deploy that holds the app's lock to stop, and waits until it is undone.
pub(crate) async fn cancel(core: &Arc<Core>, app: &AppName) -> Result<Outcome, DeployError> {
    core.known_or_deploying(app).await?;
    let Some(deploy) = core.locks.holder(app) else {
        let text = match core.tail(app) {
            Some(tail) => format!(
                "deploy {} of {app} has switched already, its old color ({}) ends in the background; `baton rollback` goes back to it",
                tail.deploy, tail.color
            ),
            None => format!("no deploy of {app} is running"),
        };
        return Err(DeployError::Usage(text));
    };
    if deploy.is_removal() {
        return Err(Busy::Now(deploy).error());
    }
    if deploy.cancel() == Err(Switched) {
        return Err(DeployError::Usage(format!(
            "deploy {} of {app} switches right now; `baton rollback` takes it back",
            deploy.id
        )));
    }
    let ended = deploy.finished().await;
    let mut outcome = ended.ok_or_else(|| not_running(deploy.id))?;
    if matches!(outcome.exit_code, ExitCode::Error | ExitCode::TakenBack) {
        outcome.ok = true;
        outcome.exit_code = ExitCode::Done;
    }
    Ok(outcome)
}
