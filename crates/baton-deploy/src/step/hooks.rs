//! *before_start*, *before_switch*, *after_switch*, *after_deploy*: the hooks of the file. One that
//! fails before the switch stops the deploy; after it, it is a warning.

use serde_json::json;

use super::{StepError, StepResult, Walk};
use crate::hooks::{self, Facts};
use crate::outcome::Failure;
use crate::plan::StepName;

pub(super) async fn run(walk: &mut Walk, step: StepName) -> StepResult {
    let release = walk.release()?;
    let facts = facts(walk);
    let note = |text: String| walk.note(step, text);
    for (service, command) in hooks::of(release, step) {
        let what = format!("{step} of {service}");
        let running = hooks::run(&what, &command, &release.project.directory, &facts, &note);
        let result = tokio::select! {
            result = running => result,
            () = walk.deploy.cancelled() => return Err(StepError::Cancelled("cancelled".to_owned())),
        };
        if let Err(failed) = result {
            return Err(StepError::Release {
                message: format!("{}; {}", failed.message, walk.untouched()),
                failure: Some(Box::new(Failure {
                    instance: what,
                    log: failed.log,
                    ..Failure::default()
                })),
            });
        }
    }
    Ok(json!({}))
}

fn facts(walk: &Walk) -> Facts {
    let plan = &walk.plan;
    let mut facts = vec![
        ("BATON_APP", walk.deploy.app.to_string()),
        ("BATON_DEPLOY", walk.deploy.id.to_string()),
        ("BATON_RELEASE", plan.release.to_string()),
        ("BATON_COLOR", plan.to.to_string()),
        ("BATON_STRATEGY", plan.strategy.as_str().to_owned()),
    ];
    if let Some((color, old)) = walk.old() {
        facts.push(("BATON_OLD_RELEASE", old.id.to_string()));
        facts.push(("BATON_OLD_COLOR", color.to_string()));
    }
    facts.extend(walk.by.clone().map(|by| ("BATON_BY", by)));
    facts
}
