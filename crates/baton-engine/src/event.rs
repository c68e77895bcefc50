//! What happened to an instance, as the engine saw it.

use crate::engine::Slot;
use crate::instance::{Exit, InstanceId};

/// Sent for Baton's instances and for plain ones of the same Compose projects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineEvent {
    /// It runs (again); inspect it, its address may be another one.
    Started { id: InstanceId, slot: Option<Slot> },
    /// It ended. `exit.oom_killed` is already settled (Engines.md §2: `oom` may come after `die`).
    Exited {
        id: InstanceId,
        slot: Option<Slot>,
        exit: Exit,
    },
    /// The engine went away; instances may still run.
    Lost,
    /// The engine is back: whatever is known must be listed anew.
    Back,
}
