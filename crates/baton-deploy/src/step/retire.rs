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
    let Some((color, old)) = walk.old() else {
        return Ok(json!({}));
    };
    let mut old = old.clone();
    let Some(drained) = walk.prove_drained().await? else {
        return Ok(json!({ "left": true }));
    };
    // From here on a rollback starts it anew.
    if !walk.tail()?.begin_stop() {
        return Ok(json!({ "left": true }));
    }
    let (core, app) = (&walk.core, &walk.deploy.app);
    let engine = core.engine(old.engine())?;
    if !old.adopted.is_empty() {
        drained.stop_adopted(&engine, &old).await?;
        old.adopted.clear();
        core.store.put_release(&old).await?;
    }
    drained.clear(&engine).await?;
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
    Ok(json!({ "images": pruned }))
}
