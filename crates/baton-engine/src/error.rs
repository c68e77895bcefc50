//! What can go wrong with an engine, each with what was being done and what to do next.

use crate::instance::InstanceId;

#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// The engine does not answer.
    #[error("{engine} cannot be reached: {reason}; {next}")]
    Unreachable {
        engine: &'static str,
        reason: String,
        next: String,
    },
    /// A program that is needed is missing or too old.
    #[error("{what} is missing: {reason}; {next}")]
    Missing {
        what: &'static str,
        reason: String,
        next: String,
    },
    /// The slot holds containers that Baton did not make.
    #[error(
        "Compose project {project} holds containers that Baton did not make ({containers}); remove or rename them, Baton will not touch them"
    )]
    Foreign { project: String, containers: String },
    /// An instance could not be started.
    #[error("cannot start {what}: {reason}")]
    Start { what: String, reason: String },
    /// The image is not on this machine.
    #[error(
        "image {image} is not on this machine any more; deploy again, or `docker pull` it first"
    )]
    ImageGone { image: String },
    #[error("{action} {id}: {reason}")]
    Instance {
        action: &'static str,
        id: InstanceId,
        reason: String,
    },
    #[error("{action}: {reason}")]
    Other { action: String, reason: String },
}
