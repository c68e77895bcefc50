//! *drain_requests*: waits until nothing is in flight on the old color: requests through Baton first,
//! then connections of other services that reached it by its plain name.

use std::sync::Arc;

use baton_compose::policy::Worker;
use serde_json::json;

use super::{StepResult, Walk};
use crate::drain::{
    Drained, Leaving, MessagesDone, RequestsDone, Settled, Stage, Successor, Unrouted,
};
use crate::error::DeployError;
use crate::plan::{DeployKind, StepName};
use crate::release::Release;
use crate::routes::Beside;
use crate::running::{Hurry, Tail};

const STEP: StepName = StepName::DrainRequests;

pub(super) async fn run(walk: &mut Walk) -> StepResult {
    let Some(leaving) = walk.leaving(STEP)? else {
        return Ok(json!({}));
    };
    if leaving.tail.hurry() == Hurry::Leave {
        return Ok(json!({ "left": true }));
    }
    let (core, old) = (&leaving.core, &leaving.release);
    // Pure consumers: the new ones run since the switch. Those with messages of their own go on.
    let workers: Vec<String> = old
        .workers(|worker| worker == Worker::Overlap)
        .into_iter()
        .filter(|name| old.service(name).is_some_and(|s| s.policy.redis.is_none()))
        .collect();
    if !workers.is_empty() {
        let engine = core.engine(old.engine())?;
        engine.clear(&walk.slot(leaving.color), &workers).await?;
    }
    let instances = core.running_instances(old, leaving.color).await?;
    // Since the switch; again after a restart of the daemon, for clients that have come back.
    let beside = Beside::new(&instances).pinned(walk.pins());
    core.routes
        .beside(&walk.deploy.app, walk.plan.to, beside)
        .await?;
    let (_, memory) = core.memory(old.engine(), &instances).await;
    let Some(done) = walk.requests_done(&leaving).await? else {
        return Ok(json!({ "left": true, "memory": memory }));
    };
    done.direct_connections(&leaving).await?;
    let cut = done.cut();
    walk.drained = Some(Stage::Requests(done));
    Ok(json!({ "cut": cut, "memory": memory }))
}

/// The proofs of the drain, each made again where a restart of the daemon has lost it. None when the
/// color is wanted back.
impl Walk {
    /// The steps after the switch run in a tail.
    pub(super) fn tail(&self) -> Result<Arc<Tail>, DeployError> {
        self.tail
            .clone()
            .ok_or_else(|| DeployError::Other("the deploy has not switched".to_owned()))
    }

    /// The old color on its way out; None when nothing was live.
    pub(super) fn leaving(&self, step: StepName) -> Result<Option<Leaving>, DeployError> {
        let Some((color, release)) = self.old() else {
            return Ok(None);
        };
        let deploy = Arc::clone(&self.deploy);
        Ok(Some(Leaving {
            core: Arc::clone(&self.core),
            release: release.clone(),
            color,
            tail: self.tail()?,
            note: Arc::new(move |text| deploy.note(step, text)),
        }))
    }

    /// Do clients stay on the old color while their session lives there? What the file says now
    /// decides.
    pub(super) fn pins(&self) -> bool {
        self.release.as_ref().is_some_and(Release::pins)
    }

    async fn requests_done(&self, leaving: &Leaving) -> Result<Option<RequestsDone>, DeployError> {
        let unrouted = Unrouted::new(&self.core, &self.deploy.app, leaving.color).await?;
        unrouted.requests(leaving).await
    }

    pub(super) async fn messages_done(
        &mut self,
        leaving: &Leaving,
    ) -> Result<Option<MessagesDone>, DeployError> {
        let done = match self.drained.take() {
            Some(Stage::Requests(done)) => done,
            _ => match self.requests_done(leaving).await? {
                Some(done) => done,
                None => return Ok(None),
            },
        };
        let release = self.release()?;
        let before = self.output(StepName::Preflight, "before");
        let settled = Settled {
            successor: Some(Successor {
                release,
                color: self.plan.to,
            }),
            before: &before,
            may_fail: self.plan.kind != DeployKind::Switch,
        };
        done.messages(leaving, settled).await
    }

    pub(super) async fn streams_done(
        &mut self,
        leaving: &Leaving,
    ) -> Result<Option<Drained>, DeployError> {
        let done = match self.drained.take() {
            Some(Stage::Messages(done)) => done,
            stage => {
                self.drained = stage;
                match self.messages_done(leaving).await? {
                    Some(done) => done,
                    None => return Ok(None),
                }
            }
        };
        done.streams(leaving).await
    }

    /// The proof that the old color may be stopped.
    pub(super) async fn prove_drained(
        &mut self,
        leaving: &Leaving,
    ) -> Result<Option<Drained>, DeployError> {
        match self.drained.take() {
            Some(Stage::Drained(drained)) => Ok(Some(drained)),
            stage => {
                self.drained = stage;
                self.streams_done(leaving).await
            }
        }
    }
}
