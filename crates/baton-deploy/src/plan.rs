//! What a deploy is made of. A strategy only writes the plan; the steps are the same code.

use std::fmt;

use baton_compose::Color;
pub use baton_compose::policy::Strategy;
use serde::{Deserialize, Serialize};

use crate::release::ReleaseId;

/// A step, in the words of `--json`, the journal and the receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepName {
    Preflight,
    Fetch,
    Start,
    AwaitHealthy,
    WarmUp,
    AttachStreams,
    Switch,
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
            StepName::Start => "start",
            StepName::AwaitHealthy => "await_healthy",
            StepName::WarmUp => "warm_up",
            StepName::AttachStreams => "attach_streams",
            StepName::Switch => "switch",
            StepName::DrainRequests => "drain_requests",
            StepName::DrainMessages => "drain_messages",
            StepName::EndStreams => "end_streams",
            StepName::KeepWarm => "keep_warm",
            StepName::Retire => "retire",
            StepName::Receipt => "receipt",
        }
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The steps of one deploy in their order. Up to and with `Switch` they belong to the command (the
/// *head*); after it to the daemon (the *tail*). The switch is the point of no return.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub kind: DeployKind,
    pub strategy: Strategy,
    pub release: ReleaseId,
    /// The color that becomes live.
    pub to: Color,
    /// The color that was live; None for the first deploy of an app.
    pub from: Option<Color>,
    pub steps: Vec<StepName>,
}

/// Which command wrote the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeployKind {
    Deploy,
    /// To a release that is still warm: nothing boots.
    RollbackWarm,
    /// To a release that is started again.
    RollbackBoot,
    /// Traffic only.
    Switch,
}
