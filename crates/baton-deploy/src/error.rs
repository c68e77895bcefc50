//! What can go wrong in the control plane; each knows its exit code.

use baton_compose::AppName;

use crate::outcome::ExitCode;
use crate::router::RouteError;

#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    #[error("there is no app {app:?}; known are: {known}")]
    NoSuchApp { app: String, known: String },
    #[error(
        "another deploy of {app} is running (deploy {deploy}, step {step}); wait for it with --wait-lock 10m, or stop it with `baton cancel`"
    )]
    Locked {
        app: AppName,
        deploy: i64,
        step: String,
    },
    #[error("{app} is being removed; deploy it again when that has ended")]
    BeingRemoved { app: AppName },
    /// Of two that wait for the lock the newer stays.
    #[error(
        "deploy {newer} of {app} came later and waits now instead of this one; run it again if this one is still wanted"
    )]
    Displaced { app: AppName, newer: i64 },
    #[error("the daemon is being upgraded; run this again in a moment")]
    Upgrading,
    #[error("preflight refused: {reason}")]
    Refused { reason: String },
    #[error("{0}")]
    Usage(String),
    #[error("database {action}: {reason}")]
    Store {
        action: &'static str,
        reason: String,
    },
    #[error(transparent)]
    Engine(#[from] baton_engine::EngineError),
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error("{0}")]
    Other(String),
}

impl DeployError {
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            DeployError::NoSuchApp { .. } | DeployError::Usage(_) => ExitCode::Usage,
            DeployError::Locked { .. }
            | DeployError::BeingRemoved { .. }
            | DeployError::Displaced { .. }
            | DeployError::Upgrading => ExitCode::Locked,
            DeployError::Route(RouteError::Failed(_)) => ExitCode::ReleaseFailed,
            DeployError::Refused { .. } | DeployError::Route(_) => ExitCode::Refused,
            DeployError::Store { .. } | DeployError::Engine(_) | DeployError::Other(_) => {
                ExitCode::Error
            }
        }
    }
}
