//! *stop_old*: stop-first (`overlap`). Two copies may not, or cannot, run at once, so the old color ends
//! before the new one starts. New requests are held meanwhile (`max_wait`), and event streams stay open:
//! their halves come with the new color. The undo brings the old release back.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{StepError, StepResult, Walk};
use crate::activate;
use crate::drain::Unrouted;
use crate::error::DeployError;
use crate::plan::StepName;
use crate::routes::Beside;

const STEP: StepName = StepName::StopOld;

const LOOK: Duration = Duration::from_millis(50);

pub(super) async fn run(walk: &mut Walk) -> StepResult {
    let Some((color, old)) = walk.old().map(|(color, old)| (color, old.clone())) else {
        return Ok(json!({}));
    };
    // The keeper must not bring back what is stopped here; until the switch, or the undo.
    if walk.keeper.is_none() {
        walk.keeper = Some(walk.core.hold_keeper(&walk.deploy.app).await);
    }
    let (core, app) = (&walk.core, &walk.deploy.app);
    let engine = core.engine(old.engine())?;
    let instances = core.running_instances(&old, color).await?;
    let (now, _) = core.memory(old.engine(), &instances).await;
    activate::tell(core, &old, color, false)
        .await
        .map_err(|reason| StepError::Release {
            message: format!("{reason}; {} is still active", old.id),
            failure: None,
        })?;
    core.routes.stop(app, Beside::new(&instances)).await?;
    walk.note(
        STEP,
        format!("requests are held; {} ({color}) ends first", old.id),
    );
    let leaving = walk.leaving_alone(color, &old, STEP);
    // Whoever waits here is a user: WebSockets are told at once.
    leaving.tail.shorten();
    let unrouted = Unrouted::stopped(core, walk.slot(color)).await?;
    let left = || DeployError::Other(format!("{color} of {app} was wanted back"));
    let requests = unrouted.requests(&leaving).await?.ok_or_else(left)?;
    requests.direct_connections(&leaving).await?;
    let drained = requests.stop_first(&leaving).await?.ok_or_else(left)?;
    let cut = drained.cut();
    drained.stop_adopted(&engine, &old).await?;
    drained.clear(&engine).await?;
    Ok(json!({ "cut": cut, "memory": now }))
}

/// The keeper starts what is missing of the live color and routes it; held requests go on then.
pub(super) async fn undo(walk: &mut Walk) -> Result<(), DeployError> {
    walk.keeper = None;
    let Some((color, old)) = walk.old() else {
        return Ok(());
    };
    bring_back(walk, color, old).await
}

/// Waits until the live color serves again with all its instances.
pub(super) async fn bring_back(
    walk: &Walk,
    color: baton_compose::Color,
    old: &crate::release::Release,
) -> Result<(), DeployError> {
    let (core, app) = (&walk.core, &walk.deploy.app);
    core.wake(app);
    let wanted: usize = old
        .routed()
        .map(|service| service.replicas.max(1) as usize)
        .sum();
    let patience = old.routed().map(|s| s.policy.startup_timeout).max();
    let begun = Instant::now();
    walk.note(STEP, format!("{} ({color}) comes back", old.id));
    loop {
        let live = core.routes.live(app).await;
        if live.is_some_and(|live| live.instances().len() >= wanted) {
            core.routes.unstop(app).await?;
            return Ok(());
        }
        if begun.elapsed() > patience.unwrap_or_default() {
            return Err(DeployError::Other(format!(
                "{} ({color}) of {app} is not back after {} s; its keeper goes on trying, `baton logs -p {app}` tells why",
                old.id,
                begun.elapsed().as_secs()
            )));
        }
        sleep(LOOK).await;
    }
}
