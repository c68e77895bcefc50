//! The way back after the switch: the new release has users and is not good enough, and the old color
//! is still there. The switch in the mirror: users first, then what must not run twice; the color that
//! is left drains in the background and ends.

use std::sync::Arc;
use std::time::Duration;

use baton_compose::Color;
use baton_engine::Shield;

use super::{Walk, shield, stop_old, switch};
use crate::activate;
use crate::admission;
use crate::drain::Leaving;
use crate::error::DeployError;
use crate::plan::StepName;
use crate::release::Release;
use crate::routes::{Beside, Live};
use crate::running::Tail;
use crate::tail::{self, After};

const STEP: StepName = StepName::Watch;

/// How often it is tried before a person is asked.
const TRIES: u32 = 3;

/// Brings the old release back; the error says why that could not be done.
pub(crate) async fn way_back(walk: &mut Walk) -> Result<(), DeployError> {
    let Some((from, old)) = walk.old().map(|(color, old)| (color, old.clone())) else {
        return Err(DeployError::Other("nothing was live before".to_owned()));
    };
    let mut last = None;
    for attempt in 0..TRIES {
        match back(walk, from, &old).await {
            Ok(()) => return Ok(()),
            Err(error) => {
                walk.note(STEP, format!("the way back: {error}"));
                last = Some(error);
            }
        }
        tokio::time::sleep(Duration::from_millis(500) * (attempt + 1)).await;
    }
    Err(last.unwrap_or_else(|| DeployError::Other("the way back was not tried".to_owned())))
}

async fn back(walk: &mut Walk, from: Color, old: &Release) -> Result<(), DeployError> {
    let (core, app, to) = (
        Arc::clone(&walk.core),
        walk.deploy.app.clone(),
        walk.plan.to,
    );
    let keeper = core.hold_keeper(&app).await;
    let running = core.running_instances(old, from).await?;
    let release = walk.release()?.clone();
    let new = core.running_instances(&release, to).await?;
    let stopped_first = walk.plan.has(StepName::StopOld);
    let live = Live::new(old, from, &running)
        .admitting(admission::of(&core, &app).await?)
        .beside(Beside::new(&new))
        .stopped(stopped_first);
    let commit = core.store.commit_way_back(&app, walk.deploy.id, from);
    core.routes.switch(&app, live, Box::pin(commit)).await?;
    if let Some(tail) = walk.tail.take() {
        tail.leave();
        core.end_tail(&app, &tail);
    }
    let text = format!(
        "{} ({from}) is live again, {} ({to}) drains",
        old.id, release.id
    );
    walk.note(STEP, text.clone());
    core.event(Some(&app), "taken_back", text).await;
    settle(walk, from, old, &release).await;
    if stopped_first {
        // Two do not fit: the new one ends before the old one comes back.
        end_new(walk).await?;
        drop(keeper);
        stop_old::bring_back(walk, from, old).await?;
    } else {
        drop(keeper);
        tail::linger(&core, &app, to, walk.deploy.id, After::End).await?;
    }
    core.wake(&app);
    Ok(())
}

/// What is not traffic: jobs, names, workers, shields. Users are back already; what fails here is
/// told, and the keeper tries again.
async fn settle(walk: &Walk, from: Color, old: &Release, new: &Release) {
    let (core, app, to) = (&walk.core, &walk.deploy.app, walk.plan.to);
    core.remember(app).await;
    if let Err(reason) = activate::tell(core, new, to, false).await {
        // It may still run jobs, and the old color is about to: it must end first.
        walk.note(STEP, format!("{reason}: {} ({to}) ends at once", new.id));
        if let Err(error) = stop_now(walk, new).await {
            core.event(Some(app), "warning", error.to_string()).await;
        }
    }
    if let Ok(engine) = core.engine(old.engine()) {
        shield(core, &engine, &walk.slot(from), Shield::None).await;
        shield(core, &engine, &walk.slot(to), Shield::Leaving).await;
    }
    for failed in [
        switch::found_by_name(walk, from, old).await.err(),
        switch::change_workers(walk, Some((to, new)), (from, old))
            .await
            .err(),
    ]
    .into_iter()
    .flatten()
    {
        core.event(Some(app), "warning", failed.to_string()).await;
    }
    if let Err(reason) = activate::tell(core, old, from, true).await {
        core.event(Some(app), "warning", reason).await;
    }
}

async fn stop_now(walk: &Walk, new: &Release) -> Result<(), DeployError> {
    let engine = walk.core.engine(new.engine())?;
    for instance in walk.core.running_instances(new, walk.plan.to).await? {
        engine.stop(&instance.id).await?;
    }
    Ok(())
}

/// Stop-first in the mirror.
async fn end_new(walk: &Walk) -> Result<(), DeployError> {
    let (core, app, to) = (&walk.core, &walk.deploy.app, walk.plan.to);
    tail::linger(core, app, to, walk.deploy.id, After::EndNow).await?;
    if let Some(tail) = core.tail(app) {
        tail.ended().await;
    }
    Ok(())
}

impl Walk {
    /// The old color as the drain sees it before its tail has begun.
    pub(super) fn leaving_alone(&self, color: Color, release: &Release, step: StepName) -> Leaving {
        let deploy = Arc::clone(&self.deploy);
        Leaving {
            core: Arc::clone(&self.core),
            release: release.clone(),
            color,
            tail: Tail::new(self.deploy.id, color),
            note: Arc::new(move |text| deploy.note(step, text)),
        }
    }
}
