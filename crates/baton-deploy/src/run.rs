//! Walks a plan: the journal is written before each step and after it. What fails before the switch is
//! undone in reverse; what comes after it is taken forward, however often that needs to be tried.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;

use crate::core::Core;
use crate::error::DeployError;
use crate::fault;
use crate::journal::EntryKind;
use crate::lock::Held;
use crate::outcome::{ExitCode, Outcome};
use crate::plan::StepName;
use crate::planning;
use crate::progress::Progress;
use crate::running::{Hurry, RunningDeploy};
use crate::step::{self, StepError, Walk, receipt};
use crate::store::{DeployRow, Phase};

mod outcome;
mod undo;

use outcome::failed_outcome;
pub(crate) use outcome::live_outcome;
pub(crate) use undo::{take_back, way_back};

/// A deploy with its lock, from the plan to the receipt.
pub(crate) async fn deploy(
    core: Arc<Core>,
    deploy: Arc<RunningDeploy>,
    row: DeployRow,
    lock: Held,
) {
    let walk = match begin(&core, &deploy, &row).await {
        Ok(walk) => walk,
        Err(error) => {
            let outcome = refused(&core, &deploy, &error).await;
            close(&core, &deploy, outcome, true).await;
            drop(lock);
            core.unregister(&deploy);
            return;
        }
    };
    command(walk, Some(lock)).await;
}

/// Why there is no plan.
async fn refused(core: &Core, deploy: &RunningDeploy, error: &DeployError) -> Outcome {
    let live = core.store.live(&deploy.app).await.ok().flatten();
    Outcome {
        ok: false,
        exit_code: error.exit_code(),
        app: deploy.app.to_string(),
        deploy: Some(deploy.id),
        release: None,
        live: live.map(|slot| slot.color),
        message: error.to_string(),
        failure: None,
        receipt: None,
    }
}

async fn begin(
    core: &Arc<Core>,
    deploy: &Arc<RunningDeploy>,
    row: &DeployRow,
) -> Result<Walk, DeployError> {
    core.store.add_app(&row.app).await?;
    let planned = planning::plan(core, &row.app, row.work.clone()).await?;
    let written = core
        .store
        .plan_deploy(row.id, &planned.work, &planned.plan)
        .await;
    if let Err(error) = written {
        planning::give_back(core, &planned, &row.app, row.id).await;
        return Err(error);
    }
    deploy.feed.tell(Progress::Planned {
        deploy: row.id,
        plan: planned.plan.clone(),
        notices: planned.notices.clone(),
    });
    core.event(
        Some(&row.app),
        "deploy_started",
        format!(
            "deploy {}: {} to {}{}",
            row.id,
            planned.plan.release,
            planned.plan.to,
            row.by
                .as_ref()
                .map_or_else(String::new, |by| format!(" by {by}"))
        ),
    )
    .await;
    Ok(planned.walk(core, deploy, row))
}

/// The head, the command's answer, then the tail. A panic in a step ends this deploy, not the daemon.
async fn command(mut walk: Walk, lock: Option<Held>) {
    let result = match AssertUnwindSafe(head(&mut walk)).catch_unwind().await {
        Ok(result) => result,
        Err(_) => Err(StepError::Error(DeployError::Other(
            "a step panicked; the daemon's log says where".to_owned(),
        ))),
    };
    let (outcome, goes_on) = ended(&mut walk, result).await;
    let (core, deploy) = (Arc::clone(&walk.core), Arc::clone(&walk.deploy));
    walk.keeper = None;
    close(&core, &deploy, outcome, !goes_on).await;
    drop(lock);
    if goes_on {
        tail_of(walk).await;
    }
    core.unregister(&deploy);
    // A preview that made room may come back.
    core.wake(&deploy.app);
}

/// How the head ended, and whether a tail follows. What is not to stay is taken back here.
async fn ended(walk: &mut Walk, result: Result<(), StepError>) -> (Outcome, bool) {
    if is_switched(walk).await {
        return match result {
            Err(worse @ StepError::Worse { .. }) => way_back(walk, worse).await,
            Ok(()) | Err(_) => (live_outcome(walk).await, true),
        };
    }
    let error = result.err().unwrap_or_else(|| {
        StepError::Error(DeployError::Other("the switch was not written".to_owned()))
    });
    take_back(walk).await;
    (failed_outcome(walk, error).await, false)
}

/// Tells the command how its part ended, and writes it down.
async fn close(core: &Core, deploy: &RunningDeploy, outcome: Outcome, ended: bool) {
    if let Err(error) = core.store.set_outcome(deploy.id, &outcome, ended).await {
        tracing::error!(deploy = deploy.id, "{error}");
    }
    let kind = if outcome.ok {
        "deploy_done"
    } else {
        "deploy_failed"
    };
    core.event(
        Some(&deploy.app),
        kind,
        format!("deploy {}: {}", deploy.id, outcome.message),
    )
    .await;
    deploy.finish(outcome);
}

async fn is_switched(walk: &Walk) -> bool {
    match walk.core.store.deploy(walk.deploy.id).await {
        Ok(Some(row)) => row.phase == Phase::Tail,
        // Unreadable: what the router serves decides.
        _ => walk
            .core
            .routes
            .live(&walk.deploy.app)
            .await
            .is_some_and(|live| (live.color, live.release) == (walk.plan.to, walk.plan.release)),
    }
}

/// What the command waits for. After the switch only *watch* leads back: what else fails there is a
/// warning, and made up for elsewhere.
async fn head(walk: &mut Walk) -> Result<(), StepError> {
    let mut committed = false;
    let steps = walk.plan.steps[..walk.plan.head()].to_vec();
    for step in steps {
        if walk.outputs.contains_key(&step) {
            committed |= step.commits();
            continue;
        }
        if !committed && walk.deploy.is_cancelled() {
            return Err(StepError::Cancelled("cancelled".to_owned()));
        }
        let result = journaled(walk, step).await;
        committed |= step.commits() && (result.is_ok() || is_switched(walk).await);
        match result {
            Ok(()) => {}
            Err(error) if committed && !matches!(error, StepError::Worse { .. }) => {
                let text = format!("after the switch: {step}: {}", error.text());
                walk.note(step, format!("warning: {text}"));
                walk.core
                    .event(Some(&walk.deploy.app), "warning", text)
                    .await;
                walk.core.wake(&walk.deploy.app);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// One step with its journal.
async fn journaled(walk: &mut Walk, step: StepName) -> Result<(), StepError> {
    let (id, store) = (walk.deploy.id, walk.core.store.clone());
    walk.deploy.at(step, &walk.plan);
    store.journal(id, step, &EntryKind::Started).await?;
    fault::after(step, "started");
    walk.deploy.feed.tell(Progress::StepStarted { step });
    let begun = Instant::now();
    let result = step::run(step, walk).await;
    #[cfg(test)]
    let result = twice::run(step, walk, result).await;
    let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    match result {
        Ok(output) => {
            let entry = EntryKind::Succeeded {
                output: output.clone(),
            };
            store.journal(id, step, &entry).await?;
            fault::after(step, "succeeded");
            walk.outputs.insert(step, output);
            walk.deploy.feed.tell(Progress::StepSucceeded { step, ms });
            Ok(())
        }
        Err(error) => {
            let text = error.text();
            let entry = EntryKind::Failed {
                error: text.clone(),
            };
            if let Err(error) = store.journal(id, step, &entry).await {
                tracing::error!(deploy = id, "{error}");
            }
            // Nothing to do is no failure to look at.
            if !matches!(error, StepError::NothingToDo(_)) {
                walk.deploy.feed.tell(Progress::StepFailed {
                    step,
                    ms,
                    error: text,
                });
            }
            Err(error)
        }
    }
}

/// After a crash: the switch is committed, but perhaps not told to the engine and the workers.
pub(crate) async fn rest_of_head(walk: &mut Walk) -> Result<(), StepError> {
    let commit = walk.plan.steps.iter().copied().find(|step| step.commits());
    if let Some(step) = commit.filter(|step| !walk.outputs.contains_key(step)) {
        if let Err(error) = journaled(walk, step).await {
            let text = format!("deploy {}, {step}: {}", walk.deploy.id, error.text());
            walk.core
                .event(Some(&walk.deploy.app), "warning", text)
                .await;
            walk.core.wake(&walk.deploy.app);
            walk.outputs.insert(step, serde_json::json!({}));
        }
        walk.keeper = None;
    }
    head(walk).await
}

/// The steps after the switch. `walk.tail` is set where an old color has to end.
pub(crate) async fn tail_of(mut walk: Walk) {
    let (core, deploy) = (Arc::clone(&walk.core), Arc::clone(&walk.deploy));
    let steps: Vec<_> = walk
        .plan
        .steps
        .iter()
        .copied()
        .skip(walk.plan.head())
        .filter(|step| !walk.outputs.contains_key(step))
        .collect();
    for step in steps {
        persist(&mut walk, step).await;
    }
    let mut outcome = match deploy.outcome() {
        Some(outcome) => outcome,
        None => live_outcome(&walk).await,
    };
    if walk.plan.switches() {
        outcome.receipt = receipt::build(&walk, walk.ending()).await.ok();
    }
    if walk.tail.as_ref().is_some_and(|tail| tail.is_taken_back()) {
        outcome.ok = false;
        outcome.exit_code = ExitCode::TakenBack;
        outcome.message = format!("{} was taken back: messages were left", walk.plan.release);
    }
    if let Err(error) = core.store.set_outcome(deploy.id, &outcome, true).await {
        tracing::error!(deploy = deploy.id, "{error}");
    }
    if let Some(tail) = walk.tail.take() {
        core.end_tail(&deploy.app, &tail);
    }
    deploy.feed.tell(Progress::Drained(outcome));
}

/// A step of the tail is tried until it succeeds: there is nothing to go back to.
async fn persist(walk: &mut Walk, step: StepName) {
    let mut pause = Duration::from_millis(500);
    loop {
        let attempt = AssertUnwindSafe(journaled(walk, step)).catch_unwind().await;
        let error = match attempt {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.text(),
            Err(_) => "the step panicked; the daemon's log says where".to_owned(),
        };
        let left = walk.tail.as_ref().is_none_or(|t| t.hurry() == Hurry::Leave);
        if left {
            return;
        }
        let text = format!(
            "deploy {}, {step}: {error}; trying again in {} s",
            walk.deploy.id,
            pause.as_secs_f32()
        );
        walk.core
            .event(Some(&walk.deploy.app), "warning", text)
            .await;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(30));
    }
}

/// Every step may run twice: after a crash one that has no outcome is run again.
#[cfg(test)]
#[path = "../tests/promises/kit/mod.rs"]
pub(crate) mod kit;

#[cfg(test)]
mod twice {
    use super::*;
    use crate::step::StepResult;

    /// Runs the step a second time, as a recovery would, and compares what they left.
    pub(super) async fn run(step: StepName, walk: &mut Walk, first: StepResult) -> StepResult {
        let first = first?;
        let second = step::run(step, walk).await?;
        assert_eq!(first, second, "{step} left something else the second time");
        Ok(second)
    }

    #[tokio::test]
    async fn every_step_may_run_twice() {
        let world = kit::World::new();
        let control = world.open().await;
        for tag in ["one", "two", "three"] {
            let outcome = world.deploy_ok(&control, kit::project("shop"), tag).await;
            assert_eq!(outcome.exit_code, ExitCode::Done, "{}", outcome.message);
        }
        let outcome = world.rollback(&control, "shop", None).await;
        assert_eq!(outcome.exit_code, ExitCode::Done, "{}", outcome.message);
        world.settled(&control).await;
        world.assert_clean(&control, "shop").await;
    }

    #[tokio::test]
    async fn the_steps_of_an_adoption_may_run_twice() {
        let world = kit::World::new();
        world.engine.run_plain("shop", "api");
        let control = world.open().await;
        let outcome = world.deploy_ok(&control, kit::project("shop"), "one").await;
        assert_eq!(outcome.exit_code, ExitCode::Done, "{}", outcome.message);
        world.settled(&control).await;
        world.assert_clean(&control, "shop").await;
    }
}
