//! The steps of a deploy, one file each: what it does, and how it is undone.
//!
//! Every step may run twice: after a crash one that was started and has no outcome is run again. What
//! later steps and the undo need of it is its output, which the journal keeps.

pub(crate) mod attach_streams;
mod await_healthy;
mod canary;
mod certify;
mod drain_messages;
mod drain_requests;
mod end_streams;
mod failure;
mod fetch;
mod hooks;
mod keep_warm;
mod migrate;
pub(crate) mod preflight;
pub(crate) mod receipt;
mod retire;
mod roll;
pub(crate) mod serve_preview;
mod start;
mod stop_old;
mod switch;
pub(crate) mod vigil;
mod warm_up;
mod watch;
mod way_back;

pub(crate) use keep_warm::duration as warm_for;
pub(crate) use way_back::way_back;

use std::collections::BTreeMap;
use std::sync::Arc;

use baton_compose::{Color, Role};
use baton_engine::{Engine, Instance, Shield, Slot};
use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit};

use crate::core::Core;
use crate::drain::Stage;
use crate::error::DeployError;
use crate::figures::Answered;
use crate::outcome::Failure;
use crate::plan::{DeployKind, Plan, StepName};
use crate::redis::Moved;
use crate::release::Release;
use crate::running::{RunningDeploy, Tail};
use crate::work::Work;

/// A deploy as its steps see it.
#[derive(Debug)]
pub(crate) struct Walk {
    pub(crate) core: Arc<Core>,
    pub(crate) deploy: Arc<RunningDeploy>,
    pub(crate) work: Work,
    pub(crate) plan: Plan,
    pub(crate) by: Option<String>,
    pub(crate) started_at: OffsetDateTime,
    /// What becomes live; None until *fetch* has made its record.
    pub(crate) release: Option<Release>,
    /// What was live when the plan was written.
    pub(crate) previous: Option<Release>,
    /// By step, from the journal.
    pub(crate) outputs: BTreeMap<StepName, Value>,
    /// From *start* until the candidate is healthy.
    pub(crate) boot: Option<OwnedSemaphorePermit>,
    /// Stop-first: from *stop_old* until the switch nobody brings the old color back.
    pub(crate) keeper: Option<OwnedMutexGuard<()>>,
    /// The new release has had users.
    pub(crate) served: bool,
    /// Who had just got all of them.
    pub(crate) switched: Option<Switched>,
    /// After the switch.
    pub(crate) tail: Option<Arc<Tail>>,
    /// What the drain has proved so far; *keep_warm* and *retire* ask for all of it.
    pub(crate) drained: Option<Stage>,
    /// Messages that *retire* has moved so far.
    pub(crate) moved: Moved,
}

/// The new release at its switch.
#[derive(Debug, Clone)]
pub(crate) struct Switched {
    /// As they were then: one of them may be dead before *watch* has begun.
    pub(crate) instances: Vec<Instance>,
    /// What they had answered.
    pub(crate) answered: Answered,
}

/// Why a step did not succeed.
#[derive(Debug)]
pub(crate) enum StepError {
    Cancelled(String),
    /// Image and configuration are what is live now.
    NothingToDo(String),
    Refused(String),
    /// A host of an app that never was live has no certificate.
    Uncertified(String),
    /// The new release did not come up.
    Release {
        message: String,
        failure: Option<Box<Failure>>,
    },
    /// The new release has had users, and is not good enough for them.
    Worse {
        message: String,
        failure: Option<Box<Failure>>,
    },
    Error(DeployError),
}

impl<E: Into<DeployError>> From<E> for StepError {
    fn from(error: E) -> StepError {
        StepError::Error(error.into())
    }
}

impl StepError {
    pub(crate) fn text(&self) -> String {
        match self {
            StepError::Cancelled(text)
            | StepError::NothingToDo(text)
            | StepError::Uncertified(text)
            | StepError::Refused(text) => text.clone(),
            StepError::Release { message, .. } | StepError::Worse { message, .. } => {
                message.clone()
            }
            StepError::Error(error) => error.to_string(),
        }
    }
}

pub(crate) type StepResult = Result<Value, StepError>;

impl Walk {
    pub(crate) fn slot(&self, color: Color) -> Slot {
        Slot {
            app: self.deploy.app.clone(),
            color,
        }
    }

    /// What the color is for, once this deploy is done.
    pub(crate) fn role(&self) -> Role {
        match self.plan.kind {
            DeployKind::Stage => Role::Preview,
            _ => Role::Live,
        }
    }

    /// It has users from now on: no more shield than for what is about to leave, which is ended first
    /// when memory runs out.
    pub(crate) async fn lift(&self, engine: &Arc<dyn Engine>, color: Color) {
        shield(&self.core, engine, &self.slot(color), Shield::Leaving).await;
    }

    /// What becomes live.
    pub(crate) fn release(&self) -> Result<&Release, DeployError> {
        self.release
            .as_ref()
            .ok_or_else(|| DeployError::Other(format!("{} has no record yet", self.plan.release)))
    }

    pub(crate) fn engine(&self) -> Result<Arc<dyn Engine>, DeployError> {
        self.core.engine(self.release()?.engine())
    }

    /// The old color with its release; None when nothing was live.
    pub(crate) fn old(&self) -> Option<(Color, &Release)> {
        self.plan.from.zip(self.previous.as_ref())
    }

    /// What is live while it runs; also of a stage, which takes nothing from it.
    pub(crate) fn live_before(&self) -> Option<(Color, &Release)> {
        let color = self.plan.from.unwrap_or(self.plan.to.other());
        self.previous.as_ref().map(|release| (color, release))
    }

    /// What a step before this one left for later ones.
    pub(crate) fn output<T: DeserializeOwned + Default>(&self, step: StepName, field: &str) -> T {
        self.outputs
            .get(&step)
            .and_then(|output| output.get(field))
            .and_then(|value| serde_json::from_value(value.clone()).ok())
            .unwrap_or_default()
    }

    /// All that a step before this one left.
    pub(crate) fn whole_output<T: DeserializeOwned + Default>(&self, step: StepName) -> T {
        let output = self.outputs.get(&step).cloned();
        output
            .and_then(|output| serde_json::from_value(output).ok())
            .unwrap_or_default()
    }

    pub(crate) fn note(&self, step: StepName, text: impl Into<String>) {
        self.deploy.note(step, text);
    }

    /// What serves now, for messages: `r3 serves as before`.
    pub(crate) fn untouched(&self) -> String {
        match self.live_before() {
            Some((color, release)) => {
                format!(
                    "the old release {} ({color}) is untouched and serves",
                    release.id
                )
            }
            None => "nothing was live before".to_owned(),
        }
    }
}

/// A shield that cannot be put up, or taken down, stops no deploy.
pub(crate) async fn shield(core: &Core, engine: &Arc<dyn Engine>, slot: &Slot, shield: Shield) {
    match engine.shield(slot, shield).await {
        Ok(None) => {}
        Ok(Some(text)) => tracing::info!(app = %slot.app, "{text}"),
        Err(error) => {
            let text = format!("{slot} is not shielded as it should be: {error}");
            core.event(Some(&slot.app), "warning", text).await;
        }
    }
}

/// Boxed: each step's future is checked and laid out on its own.
pub(crate) fn run(step: StepName, walk: &mut Walk) -> BoxFuture<'_, StepResult> {
    match step {
        StepName::Preflight => Box::pin(preflight::run(walk)),
        StepName::Fetch => Box::pin(fetch::run(walk)),
        StepName::Certify => Box::pin(certify::run(walk)),
        StepName::Migrate => Box::pin(migrate::run(walk)),
        StepName::StopOld => Box::pin(stop_old::run(walk)),
        StepName::Start => Box::pin(start::run(walk)),
        StepName::AwaitHealthy => Box::pin(await_healthy::run(walk)),
        StepName::WarmUp => Box::pin(warm_up::run(walk)),
        StepName::AttachStreams => Box::pin(attach_streams::run(walk)),
        StepName::Roll => Box::pin(roll::run(walk)),
        StepName::Canary => Box::pin(canary::run(walk)),
        StepName::BeforeStart
        | StepName::BeforeSwitch
        | StepName::AfterSwitch
        | StepName::AfterDeploy => Box::pin(hooks::run(walk, step)),
        StepName::Switch => Box::pin(switch::run(walk)),
        StepName::ServePreview => Box::pin(serve_preview::run(walk)),
        StepName::Watch => Box::pin(watch::run(walk)),
        StepName::DrainRequests => Box::pin(drain_requests::run(walk)),
        StepName::DrainMessages => Box::pin(drain_messages::run(walk)),
        StepName::EndStreams => Box::pin(end_streams::run(walk)),
        StepName::KeepWarm => Box::pin(keep_warm::run(walk)),
        StepName::Retire => Box::pin(retire::run(walk)),
        StepName::Receipt => Box::pin(receipt::run(walk)),
    }
}

/// Only the head is ever undone; the switch and what follows it is taken forward instead.
pub(crate) async fn undo(step: StepName, walk: &mut Walk) -> Result<(), DeployError> {
    match step {
        StepName::Preflight => preflight::undo(walk).await,
        StepName::Migrate => migrate::undo(walk).await,
        StepName::StopOld => stop_old::undo(walk).await,
        StepName::Start => start::undo(walk).await,
        StepName::AwaitHealthy => await_healthy::undo(walk),
        StepName::AttachStreams => attach_streams::undo(walk).await,
        StepName::Roll => roll::undo(walk).await,
        StepName::Canary => canary::undo(walk).await,
        StepName::Switch => switch::undo(walk).await,
        // These change nothing that outlives them.
        StepName::Fetch
        | StepName::Certify
        | StepName::BeforeStart
        | StepName::WarmUp
        | StepName::BeforeSwitch
        | StepName::ServePreview
        | StepName::AfterSwitch
        | StepName::Watch
        | StepName::AfterDeploy
        | StepName::DrainRequests
        | StepName::DrainMessages
        | StepName::EndStreams
        | StepName::KeepWarm
        | StepName::Retire
        | StepName::Receipt => Ok(()),
    }
}

/// Has it something to undo that a person wants to see?
pub(crate) fn shows_undo(step: StepName) -> bool {
    matches!(
        step,
        StepName::StopOld | StepName::Start | StepName::Roll | StepName::Canary
    )
}
