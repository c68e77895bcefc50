//! What the command shows while a deploy goes on: one JSON object a line.

use serde::{Deserialize, Serialize};

use crate::outcome::Outcome;
use crate::plan::{Plan, StepName};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Progress {
    /// Waiting for another deploy of the app.
    Waiting {
        holder: String,
    },
    /// The deploy has its lock and its plan.
    Planned {
        deploy: i64,
        plan: Plan,
        notices: Vec<baton_compose::project::Notice>,
    },
    StepStarted {
        step: StepName,
    },
    /// One line about the running step: a probe, bytes in flight, a pull.
    Note {
        step: StepName,
        text: String,
    },
    StepSucceeded {
        step: StepName,
        ms: u64,
    },
    StepFailed {
        step: StepName,
        ms: u64,
        error: String,
    },
    UndoStarted {
        step: StepName,
    },
    UndoFinished {
        step: StepName,
    },
    UndoFailed {
        step: StepName,
        error: String,
    },
    /// The command's part has ended; the tail goes on.
    Result(Outcome),
    /// The tail has ended too.
    Drained(Outcome),
}
