//! *receipt*: the figures between the deploy's start and the end of its tail, stored.

use std::collections::BTreeMap;

use baton_compose::Color;
use serde_json::json;
use time::OffsetDateTime;

use super::{StepResult, Walk};
use crate::error::DeployError;
use crate::journal::{Entry, EntryKind};
use crate::plan::StepName;
use crate::receipt::{MessageFigures, Receipt, StepTime};
use crate::redis::Moved;
use crate::router::StreamFigures;

pub(super) async fn run(walk: &mut Walk) -> StepResult {
    let receipt = build(walk, walk.ending()).await?;
    walk.core.store.put_receipt(&receipt).await?;
    Ok(json!({}))
}

impl Walk {
    /// The outcome of a deploy whose traffic has switched.
    pub(crate) fn ending(&self) -> &'static str {
        match &self.tail {
            Some(tail) if tail.is_taken_back() => "taken back",
            _ => "live",
        }
    }
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
    let handled: crate::drain::Figures = walk.whole_output(StepName::DrainMessages);
    let moved: Moved = walk.output(StepName::Retire, "moved");
    Ok(Receipt {
        deploy: walk.deploy.id,
        app: app.to_string(),
        kind: walk.plan.kind,
        strategy: walk.plan.strategy,
        release: walk.plan.release,
        previous: walk.previous.as_ref().map(|release| release.id),
        color: walk.plan.to,
        outcome: outcome.to_owned(),
        reason: None,
        started_at: walk.started_at,
        ended_at,
        by: walk.by.clone(),
        counted: walk.core.routes.router().counts(),
        requests: since("requests", now.requests),
        failed: since("failed", now.failed),
        held: since("held", now.held),
        longest_gap_ms: now.longest_held_ms,
        in_flight_at_switch: walk.output(StepName::Switch, "in_flight"),
        cut: walk.output::<u64>(StepName::DrainRequests, "cut")
            + walk.output::<u64>(StepName::EndStreams, "cut")
            + walk.output::<u64>(StepName::StopOld, "cut")
            + walk.output::<u64>(StepName::Roll, "cut"),
        streams: streams(walk, &session).await,
        messages: MessageFigures {
            moved: moved.total(),
            moved_pending: moved.pending,
            trimmed: handled.trimmed + moved.gone,
            before: handled.before,
        },
        duration_ms: millis(walk.started_at, ended_at),
        watch: walk
            .outputs
            .get(&StepName::Watch)
            .and_then(|output| serde_json::from_value(output.clone()).ok()),
        steps: times(&walk.core.store.entries(walk.deploy.id).await?),
        memory,
    })
}

/// Since the deploy began, by color.
async fn streams(walk: &Walk, session: &str) -> Vec<(Color, StreamFigures)> {
    let before: BTreeMap<Color, StreamFigures> = if session == walk.core.session {
        walk.output(StepName::Preflight, "streams")
    } else {
        BTreeMap::new()
    };
    let ended: BTreeMap<Color, StreamFigures> = walk.output(StepName::EndStreams, "streams");
    let mut all = now(walk).await;
    for (color, figures) in ended {
        // Of a color that is stopped nobody can be asked.
        all.entry(color).or_insert(figures);
    }
    all.into_iter()
        .map(|(color, now)| {
            let before = before.get(&color).copied().unwrap_or_default();
            (color, now.since(before))
        })
        .filter(|(_, figures)| !figures.is_empty())
        .collect()
}

/// What the router knows of both colors of the plan, where their instances are still there.
pub(super) async fn now(walk: &Walk) -> BTreeMap<Color, StreamFigures> {
    let mut all = BTreeMap::new();
    let new = walk.release.as_ref().map(|release| (walk.plan.to, release));
    for (color, release) in new.into_iter().chain(walk.old()) {
        let instances = walk
            .core
            .instances(release, color)
            .await
            .unwrap_or_default();
        let router = walk.core.routes.router();
        let figures = instances.iter().filter_map(|i| router.instance(&i.id));
        let sum = figures
            .map(|figures| figures.streams)
            .reduce(StreamFigures::and);
        all.extend(sum.map(|sum| (color, sum)));
    }
    all
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
