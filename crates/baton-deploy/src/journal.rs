//! What is written before and after each step, so that a deploy survives the daemon.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::plan::StepName;

/// One row. A step that was `Started` and has no outcome is run again: every step is idempotent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub deploy: i64,
    pub step: StepName,
    pub kind: EntryKind,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum EntryKind {
    Started,
    /// With what later steps and the undo need of it.
    Succeeded {
        output: serde_json::Value,
    },
    Failed {
        error: String,
    },
    UndoStarted,
    UndoFinished,
    UndoFailed {
        error: String,
    },
}
