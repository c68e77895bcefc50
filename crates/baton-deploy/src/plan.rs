//! What a deploy is made of. A strategy only writes the plan; the steps are the same code.

use std::fmt;

use baton_compose::Color;
pub use baton_compose::policy::Strategy;
use serde::{Deserialize, Serialize};

use crate::release::ReleaseId;

/// A step, in the words of `--json`, the journal and the receipt.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum StepName {
    Preflight,
    Fetch,
    /// Certificates of hosts that have none yet.
    Certify,
    /// `hooks.before_start`
    BeforeStart,
    Migrate,
    /// Stop-first: the old color ends before the new one starts, and requests are held.
    StopOld,
    Start,
    AwaitHealthy,
    WarmUp,
    AttachStreams,
    /// The rest of a rolling deploy: one instance after the other.
    Roll,
    Canary,
    /// `hooks.before_switch`
    BeforeSwitch,
    Switch,
    /// The end of a stage: the preview hosts reach the release.
    ServePreview,
    /// `hooks.after_switch`
    AfterSwitch,
    Watch,
    /// `hooks.after_deploy`
    AfterDeploy,
    DrainRequests,
    DrainMessages,
    EndStreams,
    KeepWarm,
    Retire,
    Receipt,
}

impl StepName {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            StepName::Preflight => "preflight",
            StepName::Fetch => "fetch",
            StepName::Certify => "certify",
            StepName::BeforeStart => "before_start",
            StepName::Migrate => "migrate",
            StepName::StopOld => "stop_old",
            StepName::Start => "start",
            StepName::AwaitHealthy => "await_healthy",
            StepName::WarmUp => "warm_up",
            StepName::AttachStreams => "attach_streams",
            StepName::Roll => "roll",
            StepName::Canary => "canary",
            StepName::BeforeSwitch => "before_switch",
            StepName::Switch => "switch",
            StepName::ServePreview => "serve_preview",
            StepName::AfterSwitch => "after_switch",
            StepName::Watch => "watch",
            StepName::AfterDeploy => "after_deploy",
            StepName::DrainRequests => "drain_requests",
            StepName::DrainMessages => "drain_messages",
            StepName::EndStreams => "end_streams",
            StepName::KeepWarm => "keep_warm",
            StepName::Retire => "retire",
            StepName::Receipt => "receipt",
        }
    }

    /// The point of no return: what fails before it is undone, what comes after it is taken forward.
    #[must_use]
    pub fn commits(self) -> bool {
        matches!(self, StepName::Switch | StepName::ServePreview)
    }

    /// The command waits for it although traffic has switched.
    fn follows_the_switch(self) -> bool {
        matches!(
            self,
            StepName::AfterSwitch | StepName::Watch | StepName::AfterDeploy
        )
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The steps of one deploy in their order. The first ones, up to *watch* and what follows it, belong
/// to the command (the *head*); the others to the daemon (the *tail*).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Plan {
    pub kind: DeployKind,
    pub strategy: Strategy,
    pub release: ReleaseId,
    /// The color that becomes live; of a stage the one that is previewed.
    pub to: Color,
    /// The color that was live and ends; None for the first deploy of an app, and for a stage.
    pub from: Option<Color>,
    pub steps: Vec<StepName>,
}

impl Plan {
    /// How many of the steps the command waits for.
    #[must_use]
    pub fn head(&self) -> usize {
        let Some(commit) = self.steps.iter().position(|step| step.commits()) else {
            return self.steps.len();
        };
        let after = self.steps[commit + 1..].iter();
        commit + 1 + after.take_while(|step| step.follows_the_switch()).count()
    }

    #[must_use]
    pub fn has(&self, step: StepName) -> bool {
        self.steps.contains(&step)
    }

    /// Does it take users away from what is live? A stage does not.
    #[must_use]
    pub fn switches(&self) -> bool {
        self.has(StepName::Switch)
    }
}

/// Which command wrote the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeployKind {
    Deploy,
    /// Into the idle color, for the preview hosts.
    Stage,
    /// The staged release goes live, started again with the live environment.
    Promote,
    /// To a release that is still warm: nothing boots.
    RollbackWarm,
    /// To a release that is started again.
    RollbackBoot,
    /// Traffic only.
    Switch,
}

impl DeployKind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            DeployKind::Deploy => "deploy",
            DeployKind::Stage => "stage",
            DeployKind::Promote => "promote",
            DeployKind::RollbackWarm => "rollback_warm",
            DeployKind::RollbackBoot => "rollback_boot",
            DeployKind::Switch => "switch",
        }
    }

    /// An instance is started for it.
    #[must_use]
    pub fn boots(self) -> bool {
        !matches!(self, DeployKind::RollbackWarm | DeployKind::Switch)
    }
}
