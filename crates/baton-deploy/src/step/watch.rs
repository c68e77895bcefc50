//! *watch*: the new release has all the users now, and is compared with the time before. A crash, an
//! OOM kill, a failed health check or clearly more errors take it back, with the old color still there.

use std::time::Duration;

use baton_engine::Instance;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::vigil::Vigil;
use super::{StepError, StepResult, Walk};
use crate::figures::{self, Answered, SideFigures};
use crate::plan::StepName;
use crate::release::Release;
use crate::verdict::is_clearly_worse;

const STEP: StepName = StepName::Watch;

const LOOK: Duration = Duration::from_millis(100);

pub(super) async fn run(walk: &mut Walk) -> StepResult {
    let Some((color, old)) = walk.old().map(|(color, old)| (color, old.clone())) else {
        return Ok(json!({}));
    };
    let release = walk.release()?.clone();
    let watch = release.project.watch();
    let engine = walk.engine()?;
    let instances = watched(walk, &release).await?;
    let left = walk.core.instances(&old, color).await?;
    if let Some(leaving) = walk.leaving(STEP)? {
        // Their time begins with the switch, not with the drain.
        leaving.end_websockets(&left);
    }
    let router = walk.core.routes.router();
    // Before a restart of the daemon nobody counted: then all that is known is after the switch.
    let before: Answered = figures::of(router, &left);
    let start = walk.switched.as_ref().map(|then| then.answered);
    let start: Answered = start.unwrap_or_default();
    let vigil = Vigil::new(walk, &engine, &instances);
    let now = || figures::of(router, &instances).since(start);
    let errors = async {
        loop {
            if is_clearly_worse(before.side, now().side) {
                return;
            }
            sleep(LOOK).await;
        }
    };
    walk.note(
        STEP,
        format!("watching {} for {} s", release.id, watch.as_secs_f32()),
    );
    let begun = Instant::now();
    let seen = tokio::select! {
        () = sleep(watch) => Ok(()),
        () = walk.deploy.watched_enough() => Ok(()),
        worse = vigil.until_worse() => Err(worse),
        () = errors => Err(vigil.why(more_errors(walk, before, now())).await),
        () = walk.deploy.cancelled() => Err(by_hand(walk)),
    };
    let undisturbed = walk.deploy.end_watch();
    seen?;
    if !undisturbed {
        return Err(by_hand(walk));
    }
    if !router.counts() {
        walk.note(
            STEP,
            "no crash and no failed health check; errors are nginx's to count",
        );
        return Ok(json!(null));
    }
    let (before, after) = (SideFigures::from(before), SideFigures::from(now()));
    walk.note(STEP, compared(&after, &before));
    Ok(json!({
        "seconds": begun.elapsed().as_secs(),
        "before": before,
        "after": after,
    }))
}

/// What runs now, workers included, and whoever got the users at the switch, as it was then: who has ended
/// since, or was started again (under another id perhaps), is missed.
async fn watched(walk: &Walk, release: &Release) -> Result<Vec<Instance>, StepError> {
    let then = walk.switched.as_ref().map(|then| then.instances.clone());
    // Where a former daemon has switched, nothing of a release that was just started has ended before.
    let fresh = then.is_none() && walk.plan.kind.boots();
    let mut watched = then.unwrap_or_default();
    for mut instance in walk.core.instances(release, walk.plan.to).await? {
        if watched.iter().all(|known| known.id != instance.id) {
            if fresh {
                instance.restarts = 0;
            }
            watched.push(instance);
        }
    }
    Ok(watched)
}

fn by_hand(walk: &Walk) -> StepError {
    StepError::Worse {
        message: format!("{} was taken back by hand", walk.plan.release),
        failure: None,
    }
}

fn more_errors(walk: &Walk, before: Answered, after: Answered) -> StepError {
    StepError::Worse {
        message: format!(
            "{} makes clearly more errors: {} in {} requests ({:.1} %), before the switch {} in {} ({:.1} %)",
            walk.plan.release,
            after.side.errors,
            after.side.requests,
            after.side.error_percent(),
            before.side.errors,
            before.side.requests,
            before.side.error_percent(),
        ),
        failure: None,
    }
}

/// `412 requests, 0 errors, p99 12 ms (before: 9120, 1, 11 ms)`
fn compared(after: &SideFigures, before: &SideFigures) -> String {
    let millis = |took: Option<f64>| took.map_or("–".to_owned(), |took| format!("{took:.0} ms"));
    format!(
        "{} requests, {} errors, p99 {} (before: {}, {}, {})",
        after.requests,
        after.errors,
        millis(after.p99_ms),
        before.requests,
        before.errors,
        millis(before.p99_ms)
    )
}
