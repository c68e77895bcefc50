//! *keep_warm*: the drained old color stays up for a while, so that a rollback boots nothing. The next
//! deploy ends it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::{StepResult, Walk};
use crate::drain::Stage;
use crate::machine;
use crate::plan::StepName;
use crate::release::Release;
use crate::running::Hurry;
use crate::slots::SlotRole;

const STEP: StepName = StepName::KeepWarm;

pub(super) async fn run(walk: &mut Walk) -> StepResult {
    let Some(leaving) = walk.leaving(STEP)? else {
        return Ok(json!({}));
    };
    // What the file says now decides: the one that has just been deployed.
    let (id, wanted) = (leaving.release.id, duration(walk.release()?));
    let (color, tail) = (leaving.color, Arc::clone(&leaving.tail));
    let Some(drained) = walk.prove_drained(&leaving).await? else {
        return Ok(json!({ "left": true }));
    };
    // What it has left is handled once it has ended.
    let leaves = drained.leaves_messages();
    walk.drained = Some(Stage::Drained(drained));
    if wanted.is_zero() || leaves || tail.hurry() > Hurry::No {
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
    let engine = walk.release()?.engine();
    tokio::select! {
        () = tokio::time::sleep(wanted) => {}
        () = tail.asked(Hurry::Shorten) => {}
        () = machine::memory_short(engine) => {
            walk.note(STEP, format!("memory is short: {id} ({color}) ends early"));
        }
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
