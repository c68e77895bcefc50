//! *keep_warm*: the drained old color stays up for a while, so that a rollback boots nothing. The next
//! deploy ends it.

use std::time::Duration;

use serde_json::json;

use super::{StepResult, Walk};
use crate::plan::StepName;
use crate::release::Release;
use crate::running::Hurry;
use crate::slots::SlotRole;

const STEP: StepName = StepName::KeepWarm;

pub(super) async fn run(walk: &mut Walk) -> StepResult {
    let Some((color, old)) = walk.old() else {
        return Ok(json!({}));
    };
    // What the file says now decides: the one that has just been deployed.
    let (id, wanted) = (old.id, duration(walk.release()?));
    let tail = walk.tail()?;
    let Some(drained) = walk.prove_drained().await? else {
        return Ok(json!({ "left": true }));
    };
    walk.drained = Some(drained);
    if wanted.is_zero() || tail.hurry() > Hurry::No {
        return Ok(json!({}));
    }
    walk.core
        .store
        .set_slot(&walk.deploy.app, color, SlotRole::Warm, Some(id))
        .await?;
    walk.note(
        STEP,
        format!("{id} ({color}) stays up for {} s", wanted.as_secs_f32()),
    );
    tokio::select! {
        () = tokio::time::sleep(wanted) => {}
        () = tail.asked(Hurry::Shorten) => {}
    }
    Ok(json!({}))
}

/// The longest that a service of it asks for.
pub(crate) fn duration(release: &Release) -> Duration {
    release
        .routed()
        .map(|service| service.policy.keep_warm)
        .max()
        .unwrap_or_default()
}
