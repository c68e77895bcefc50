//! *attach_streams*: opens every event stream on the new color, too, before it takes requests. An
//! event that the new color emits has its client already (Streams.md §1.1).

use std::time::Duration;

use baton_compose::Color;
use baton_engine::Instance;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::{StepError, StepResult, Walk};
use crate::core::Core;
use crate::error::DeployError;
use crate::plan::StepName;
use crate::release::Release;
use crate::routes::Beside;
use crate::slots::SlotRole;

const STEP: StepName = StepName::AttachStreams;

const LOOK: Duration = Duration::from_millis(20);

/// No stream was opened for so long, beyond the time that each may take: the rest follows later.
const STILL: Duration = Duration::from_secs(10);

/// How long the streams of a candidate that is taken back may take to end.
const LEAVING: Duration = Duration::from_secs(10);

pub(super) async fn run(walk: &mut Walk) -> StepResult {
    attach(walk).await?;
    Ok(json!({}))
}

/// Stop-first, and the old color comes back: the streams that waited are opened on it before the
/// requests that waited are let go, whose events they carry.
pub(crate) async fn reopen(
    core: &Core,
    release: &Release,
    color: Color,
    instance: &Instance,
) -> Result<(), DeployError> {
    let heard = Beside::new(std::slice::from_ref(instance));
    core.routes.beside(&release.app, color, heard).await?;
    let until = Instant::now() + longest_grace(release) + STILL;
    while core.routes.router().unattached(&release.app) > 0 && Instant::now() < until {
        sleep(LOOK).await;
    }
    Ok(())
}

/// Every instance of the new release that runs is heard from now on.
pub(super) async fn attach(walk: &Walk) -> Result<(), StepError> {
    let Some((from, old)) = walk.old() else {
        return Ok(());
    };
    let grace = longest_grace(old);
    let (core, app) = (&walk.core, &walk.deploy.app);
    let instances = core
        .running_instances(walk.release()?, walk.plan.to)
        .await?;
    core.routes
        .beside(app, from, Beside::new(&instances))
        .await?;
    let left = tokio::select! {
        left = attached(walk, grace + STILL) => left,
        () = walk.deploy.cancelled() => return Err(StepError::Cancelled("cancelled".to_owned())),
    };
    if left > 0 {
        walk.note(
            STEP,
            format!(
                "{left} event streams have not reached {} yet; they follow when they can",
                walk.plan.to
            ),
        );
    }
    Ok(())
}

/// The candidate's halves end; the clients notice nothing.
pub(super) async fn undo(walk: &mut Walk) -> Result<(), DeployError> {
    let (Some(from), Some(release)) = (walk.plan.from, &walk.release) else {
        return Ok(());
    };
    let (core, app) = (&walk.core, &walk.deploy.app);
    // One that has had users drains beside the live color.
    if core.store.slot(app, walk.plan.to).await?.role == SlotRole::Draining {
        return Ok(());
    }
    core.routes.beside(app, from, Beside::default()).await?;
    let router = core.routes.router();
    for instance in core.instances(release, walk.plan.to).await? {
        if timeout(LEAVING, router.streams_ended(&instance.id))
            .await
            .is_err()
        {
            router.cut(&instance.id).await;
        }
    }
    Ok(())
}

fn longest_grace(release: &Release) -> Duration {
    release
        .routed()
        .flat_map(|service| &service.policy.sse)
        .map(|rule| rule.attach_grace)
        .chain([baton_compose::policy::StreamRule::ATTACH_GRACE])
        .max()
        .unwrap_or_default()
}

/// Waits until every stream is where it belongs; returns how many are not when nothing has moved for
/// `still`. New streams come all the time, so the smallest number counts, not the last one.
async fn attached(walk: &Walk, still: Duration) -> u64 {
    let router = walk.core.routes.router();
    let mut least = (u64::MAX, Instant::now());
    loop {
        let left = router.unattached(&walk.deploy.app);
        if left == 0 {
            return 0;
        }
        if left < least.0 {
            if least.0 == u64::MAX {
                walk.note(
                    STEP,
                    format!("opening {left} event streams on {}", walk.plan.to),
                );
            }
            least = (left, Instant::now());
        }
        if least.1.elapsed() >= still {
            return left;
        }
        sleep(LOOK).await;
    }
}
