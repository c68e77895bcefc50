//! What a deploy was asked to do, as the database keeps it until the deploy has ended.

use baton_compose::{Color, Project};
use serde::{Deserialize, Serialize};

use crate::plan::Strategy;
use crate::release::ReleaseId;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Work {
    Deploy {
        project: Project,
        force: bool,
        /// The app's first deploy, and plain Compose runs it: becomes `r0` first.
        adopt: bool,
        /// In place of what the file says.
        #[serde(default)]
        strategy: Option<Strategy>,
    },
    /// Into the idle color, for the preview hosts.
    Stage {
        project: Project,
        force: bool,
    },
    /// What is staged goes live with today's configuration.
    Promote {
        project: Project,
        staged: ReleaseId,
    },
    Rollback {
        to: Option<ReleaseId>,
        /// `--env current`: this project with the images of `to` is a new release.
        current: Option<Project>,
    },
    Switch {
        to: Option<Color>,
    },
    /// It has ended.
    Over,
}
