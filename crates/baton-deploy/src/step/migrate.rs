//! *migrate*: the file's command in the release's own image, once per release, before it starts. The
//! old release goes on with the schema meanwhile, so what it does must be backward compatible.

use baton_engine::Once;
use serde_json::json;

use super::{StepError, StepResult, Walk};
use crate::error::DeployError;
use crate::outcome::Failure;
use crate::plan::StepName;

const STEP: StepName = StepName::Migrate;

pub(super) async fn run(walk: &mut Walk) -> StepResult {
    let engine = walk.engine()?;
    let release = walk.release()?.clone();
    let (to, role) = (walk.plan.to, walk.role());
    let rendering = release.filled_as(to, role)?;
    let started = release.services_as(role);
    let mut ran = Vec::new();
    for service in &release.project.services {
        let Some(migrate) = &service.policy.migrate else {
            continue;
        };
        // A preview without this service has no database of it either.
        if !started.contains(&service.name) {
            continue;
        }
        walk.note(
            STEP,
            format!("{}: {}", service.name, migrate.command.join(" ")),
        );
        let line = |text: String| walk.note(STEP, format!("{}: {text}", service.name));
        let once = Once {
            slot: &walk.slot(to),
            release: release.id.0,
            role,
            rendering: &rendering,
            service: &service.name,
            command: &migrate.command,
            timeout: migrate.timeout,
        };
        let result = tokio::select! {
            result = engine.run_once(once, &line) => result?,
            () = walk.deploy.cancelled() => {
                return Err(StepError::Cancelled(format!(
                    "cancelled while {} migrated: its schema may be half changed",
                    service.name
                )));
            }
        };
        if result.timed_out || result.exit.code != Some(0) {
            let how = if result.timed_out {
                format!("was ended after {} s", migrate.timeout.as_secs())
            } else {
                result.exit.to_string()
            };
            return Err(StepError::Release {
                message: format!(
                    "the migration of {} failed: {how}; the schema may be half changed, and {}; mend it with the migration tool, then `baton deploy` again, which runs {:?} once more",
                    service.name,
                    walk.untouched(),
                    migrate.command.join(" "),
                ),
                failure: Some(Box::new(Failure {
                    instance: format!("{} migration ({to})", service.name),
                    exit_code: result.exit.code,
                    oom_killed: result.exit.oom_killed,
                    exit: Some(how),
                    log: result.log,
                    ..Failure::default()
                })),
            });
        }
        ran.push(service.name.clone());
    }
    Ok(json!({ "services": ran }))
}

/// What was cut off must not go on beside the old release.
pub(super) async fn undo(walk: &mut Walk) -> Result<(), DeployError> {
    let engine = match &walk.release {
        Some(release) => walk.core.engine(release.engine())?,
        None => return Ok(()),
    };
    Ok(engine.clear_once(&walk.slot(walk.plan.to)).await?)
}
