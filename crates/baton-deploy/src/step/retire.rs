//! *retire*: stops the old color and removes it. Only with the proof that it has drained.

use serde_json::json;

use super::{StepResult, Walk};
use crate::images;
use crate::plan::StepName;
use crate::slots::SlotRole;

const STEP: StepName = StepName::Retire;

/// Releases of an app whose records are kept, so that they can be rolled back to.
const KEEP: usize = 20;

pub(super) async fn run(walk: &mut Walk) -> StepResult {
    let Some(leaving) = walk.leaving(STEP)? else {
        return Ok(json!({}));
    };
    let (color, mut old) = (leaving.color, leaving.release.clone());
    let Some(mut drained) = walk.prove_drained(&leaving).await? else {
        return Ok(json!({ "left": true }));
    };
    // From here on a rollback starts it anew.
    if !walk.tail()?.begin_stop() {
        return Ok(json!({ "left": true }));
    }
    let core = &walk.core;
    let engine = core.engine(old.engine())?;
    if !old.adopted.is_empty() {
        drained.stop_adopted(&engine, &old).await?;
        old.adopted.clear();
        core.store.put_release(&old).await?;
    }
    drained.clear(&engine).await?;
    // Now that nobody works on them any more.
    let mut moved = walk.moved;
    let carried = drained.carry_messages(&mut moved).await;
    walk.moved = moved;
    carried?;
    let (core, app) = (&walk.core, &walk.deploy.app);
    if moved.total() > 0 {
        let text = format!("{} messages moved to {}", moved.total(), walk.plan.to);
        walk.note(STEP, text.clone());
        core.event(Some(app), "messages_moved", text).await;
    }
    core.warn(app, crate::drain::WARNING, None);
    core.store
        .set_slot(app, color, SlotRole::Empty, None)
        .await?;
    walk.note(STEP, format!("{} ({color}) is stopped", old.id));
    core.event(
        Some(app),
        "retired",
        format!("{} ({color}) drained and stopped", old.id),
    )
    .await;
    core.store.prune_releases(app, KEEP).await?;
    let pruned = images::prune(core, app, &engine).await;
    for name in &pruned {
        walk.note(STEP, format!("{name} is removed from the disk"));
    }
    Ok(json!({ "moved": moved, "images": pruned }))
}
