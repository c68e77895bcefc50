//! *serve_preview*: the preview hosts reach the staged release from now on; nothing of the live color
//! changes. As the switch is for a deploy, this is what makes a stage final.

use serde_json::json;

use super::{StepError, StepResult, Walk};
use crate::plan::StepName;
use crate::routes::Previewed;

const STEP: StepName = StepName::ServePreview;

pub(super) async fn run(walk: &mut Walk) -> StepResult {
    let release = walk.release()?.clone();
    let (core, app, to) = (&walk.core, &walk.deploy.app, walk.plan.to);
    let instances = core.running_instances(&release, to).await?;
    if !walk.deploy.begin_switch() {
        return Err(StepError::Cancelled("cancelled".to_owned()));
    }
    let previewed = Previewed::new(&release, &instances);
    let commit = core.store.commit_stage(app, walk.deploy.id, to, release.id);
    core.routes
        .preview(app, previewed, Box::pin(commit))
        .await?;
    let text = format!(
        "{} ({to}) is staged at {}",
        release.id,
        hosts(&release).join(", ")
    );
    walk.note(STEP, text.clone());
    core.event(Some(app), "staged", text).await;
    Ok(json!({}))
}

/// Where a staged release is reached.
pub(crate) fn hosts(release: &crate::release::Release) -> Vec<String> {
    let previews = release.routed().filter_map(|s| s.policy.preview.as_ref());
    previews.flat_map(|preview| preview.hosts.clone()).collect()
}
