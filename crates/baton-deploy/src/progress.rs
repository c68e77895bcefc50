//! What the command shows while a deploy goes on: one JSON object a line.

use serde::{Deserialize, Serialize};

pub use crate::figures::SideFigures;
use crate::outcome::Outcome;
use crate::plan::{Plan, StepName};
use crate::slots::Weight;

/// The two sides of a canary since its weight was set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CanaryProgress {
    /// Percent of the clients that have the new release.
    pub weight: Weight,
    pub steps: Vec<u8>,
    pub old: SideFigures,
    pub new: SideFigures,
    /// Against the new release: from 100 on it is taken back.
    pub evidence: f64,
    /// What a person has to do, if time alone does not lead on.
    pub waits_for: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
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
    /// How a canary goes, while it does. Only the latest is kept for whoever attaches.
    Canary(CanaryProgress),
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
