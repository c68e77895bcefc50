//! *receipt*: the figures between the deploy's start and the end of its tail, stored.

use serde_json::json;
use time::OffsetDateTime;

use super::{StepResult, Walk};
use crate::error::DeployError;
use crate::journal::{Entry, EntryKind};
use crate::plan::StepName;
use crate::receipt::{Receipt, StepTime};

pub(super) async fn run(walk: &mut Walk) -> StepResult {
    let receipt = build(walk, "live").await?;
    walk.core.store.put_receipt(&receipt).await?;
    Ok(json!({}))
}

/// What is known now. `outcome`: `live`, `failed`, `cancelled`, …
pub(crate) async fn build(walk: &Walk, outcome: &str) -> Result<Receipt, DeployError> {
    let app = &walk.deploy.app;
    let now = walk.core.routes.router().figures(app);
    let ended_at = OffsetDateTime::now_utc();
    // Counters begin anew with the daemon: then all of them belong to this deploy.
    let session: String = walk.output(StepName::Preflight, "session");
    let since = |field: &str, now: u64| {
        let before: u64 = if session == walk.core.session {
            walk.output(StepName::Preflight, field)
        } else {
            0
        };
        now.saturating_sub(before)
    };
    let mut memory = vec![(walk.plan.to, walk.output(StepName::AwaitHealthy, "memory"))];
    if let Some(from) = walk.plan.from {
        memory.push((from, walk.output(StepName::DrainRequests, "memory")));
    }
    memory.retain(|(_, bytes)| *bytes > 0);
    Ok(Receipt {
        deploy: walk.deploy.id,
        app: app.to_string(),
        kind: walk.plan.kind,
        release: walk.plan.release,
        previous: walk.previous.as_ref().map(|release| release.id),
        color: walk.plan.to,
        outcome: outcome.to_owned(),
        started_at: walk.started_at,
        ended_at,
        by: walk.by.clone(),
        requests: since("requests", now.requests),
        failed: since("failed", now.failed),
        held: since("held", now.held),
        longest_gap_ms: now.longest_held_ms,
        in_flight_at_switch: walk.output(StepName::Switch, "in_flight"),
        cut: walk.output(StepName::DrainRequests, "cut"),
        duration_ms: millis(walk.started_at, ended_at),
        steps: times(&walk.core.store.entries(walk.deploy.id).await?),
        memory,
    })
}

/// From the journal: what a step took, its runs before a crash of the daemon included.
fn times(entries: &[Entry]) -> Vec<StepTime> {
    let mut times: Vec<StepTime> = Vec::new();
    for entry in entries {
        let ended = matches!(
            entry.kind,
            EntryKind::Succeeded { .. } | EntryKind::Failed { .. }
        );
        let begun = entries
            .iter()
            .find(|other| other.step == entry.step && other.kind == EntryKind::Started);
        if let (true, Some(begun)) = (ended, begun) {
            times.retain(|time| time.step != entry.step);
            times.push(StepTime {
                step: entry.step,
                ms: millis(begun.at, entry.at),
            });
        }
    }
    times
}

fn millis(from: OffsetDateTime, to: OffsetDateTime) -> u64 {
    u64::try_from((to - from).whole_milliseconds()).unwrap_or(0)
}
