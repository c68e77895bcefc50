//! Takes back what a deploy has done: before its switch step by step, after it by the way back.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;

use super::outcome::{failed_outcome, live_outcome};
use crate::error::DeployError;
use crate::journal::EntryKind;
use crate::outcome::{ExitCode, Outcome};
use crate::plan::StepName;
use crate::progress::Progress;
use crate::step::{self, StepError, Walk};
use crate::tail::{self, After};

/// An undo that fails (an engine that does not answer) is tried so often.
const UNDO_TRIES: u32 = 3;

/// Undoes every step that was started, last one first.
pub(crate) async fn take_back(walk: &mut Walk) {
    let entries = match walk.core.store.entries(walk.deploy.id).await {
        Ok(entries) => entries,
        Err(error) => {
            // Without the journal: everything up to the switch.
            tracing::error!(deploy = walk.deploy.id, "{error}");
            Vec::new()
        }
    };
    let started = |step: StepName| {
        entries.is_empty()
            || entries
                .iter()
                .any(|entry| entry.step == step && entry.kind == EntryKind::Started)
    };
    let steps: Vec<_> = walk
        .plan
        .steps
        .iter()
        .copied()
        .take_while(|step| !step.commits())
        .chain([StepName::Switch])
        .filter(|step| started(*step))
        .collect();
    for step in steps.into_iter().rev() {
        undo(walk, step).await;
    }
}

async fn undo(walk: &mut Walk, step: StepName) {
    let id = walk.deploy.id;
    let shown = step::shows_undo(step);
    write(walk, step, &EntryKind::UndoStarted).await;
    if shown {
        walk.deploy.feed.tell(Progress::UndoStarted { step });
    }
    let mut result = Ok(());
    for attempt in 0..UNDO_TRIES {
        result = match AssertUnwindSafe(step::undo(step, walk))
            .catch_unwind()
            .await
        {
            Ok(result) => result,
            Err(_) => Err(DeployError::Other("the undo panicked".to_owned())),
        };
        if result.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500) * (attempt + 1)).await;
    }
    match result {
        Ok(()) => {
            write(walk, step, &EntryKind::UndoFinished).await;
            if shown {
                walk.deploy.feed.tell(Progress::UndoFinished { step });
            }
        }
        Err(error) => {
            let error = error.to_string();
            tracing::error!(deploy = id, %step, "cannot undo: {error}");
            let entry = EntryKind::UndoFailed {
                error: error.clone(),
            };
            write(walk, step, &entry).await;
            walk.deploy.feed.tell(Progress::UndoFailed { step, error });
            // Someone has to end it once the engine answers again.
            if step == StepName::Start
                && let Err(error) =
                    tail::linger(&walk.core, &walk.deploy.app, walk.plan.to, id, After::End).await
            {
                tracing::error!(deploy = id, %step, "{error}");
            }
        }
    }
}

/// After the switch. What cannot be taken back stays live, and says so.
pub(crate) async fn way_back(walk: &mut Walk, worse: StepError) -> (Outcome, bool) {
    write(walk, StepName::Switch, &EntryKind::UndoStarted).await;
    walk.deploy.feed.tell(Progress::UndoStarted {
        step: StepName::Switch,
    });
    match step::way_back(walk).await {
        Ok(()) => {
            write(walk, StepName::Switch, &EntryKind::UndoFinished).await;
            walk.deploy.feed.tell(Progress::UndoFinished {
                step: StepName::Switch,
            });
            walk.served = true;
            (failed_outcome(walk, worse).await, false)
        }
        Err(error) => {
            let error = error.to_string();
            write(
                walk,
                StepName::Switch,
                &EntryKind::UndoFailed {
                    error: error.clone(),
                },
            )
            .await;
            walk.deploy.feed.tell(Progress::UndoFailed {
                step: StepName::Switch,
                error: error.clone(),
            });
            let mut outcome = live_outcome(walk).await;
            outcome.ok = false;
            outcome.exit_code = ExitCode::Error;
            outcome.message = format!(
                "{}; it could not be taken back: {error}; `baton rollback` tries again",
                worse.text()
            );
            (outcome, true)
        }
    }
}

/// An undo goes on even when the journal cannot be written (a full disk).
async fn write(walk: &Walk, step: StepName, entry: &EntryKind) {
    if let Err(error) = walk.core.store.journal(walk.deploy.id, step, entry).await {
        tracing::error!(deploy = walk.deploy.id, %step, "{error}");
    }
}
