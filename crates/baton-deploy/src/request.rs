//! What a deploy is asked with. Sent by the command line over the control socket.

use std::time::Duration;

use baton_compose::{AppName, Color, Project};
use serde::{Deserialize, Serialize};

use crate::plan::Strategy;
use crate::release::ReleaseId;
use crate::slots::Weight;

/// What becomes of a project that is sent.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Intent {
    /// It goes live.
    #[default]
    Deploy,
    /// It is put on the preview hosts.
    Stage,
    /// The images of the staged release go live with this project's configuration.
    Promote,
}

/// `baton deploy`, `baton stage`, `baton promote`. The daemon answers with a deploy id and waits, in the step *fetch*, for the images.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DeployRequest {
    /// What the command of the same version made of the files: not meant to be written by hand.
    #[schemars(with = "serde_json::Value")]
    pub project: Project,
    #[serde(default)]
    pub intent: Intent,
    /// In place of what the file says.
    pub strategy: Option<Strategy>,
    /// Deploy even if image and configuration are what is live now.
    pub force: bool,
    /// Wait so long for the app's lock; None: exit 5 at once.
    pub wait_lock: Option<Duration>,
    /// Who asks, for events and the receipt (`SO_PEERCRED` user name, CI variables).
    pub by: Option<String>,
}

/// `baton rollback`.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RollbackRequest {
    pub app: AppName,
    /// None: the release that was live before this one.
    pub to: Option<ReleaseId>,
    /// `--env current`: today's rendering (from the user's files) with the old images.
    #[schemars(with = "Option<serde_json::Value>")]
    pub current: Option<Project>,
    pub wait_lock: Option<Duration>,
    pub by: Option<String>,
}

/// `baton switch`.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SwitchRequest {
    pub app: AppName,
    /// None: the other color.
    pub to: Option<Color>,
    pub wait_lock: Option<Duration>,
    pub by: Option<String>,
}

/// `baton canary set/hold/resume/abort`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Steer {
    /// So many percent of the clients, until `resume`; 100 is the switch.
    Set(Weight),
    /// No further step.
    Hold,
    /// On with the steps, or past what the running one waits for.
    Resume,
    /// Taken back.
    Abort,
}
