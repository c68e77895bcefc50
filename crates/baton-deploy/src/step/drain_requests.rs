//! *drain_requests*: waits until nothing is in flight on the old color: requests through Baton first,
//! then connections of other services that reached it by its plain name.

use baton_compose::policy::Worker;
use serde_json::json;

use super::{StepResult, Walk};
use crate::drain::{self, Unrouted};
use crate::error::DeployError;
use crate::plan::StepName;
use crate::running::{Hurry, Tail};

const STEP: StepName = StepName::DrainRequests;

pub(super) async fn run(walk: &mut Walk) -> StepResult {
    let Some((color, old)) = walk.old() else {
        return Ok(json!({}));
    };
    let tail = walk.tail()?;
    if tail.hurry() == Hurry::Leave {
        return Ok(json!({ "left": true }));
    }
    let old = old.clone();
    let engine = walk.core.engine(old.engine())?;
    let slot = walk.slot(color);
    // Pure consumers: the new ones run since the switch.
    let workers = old.workers(|worker| worker == Worker::Overlap);
    if !workers.is_empty() {
        engine.clear(&slot, &workers).await?;
    }
    let instances = walk.core.instances(&old, color).await?;
    let (_, memory) = walk.core.memory(old.engine(), &instances).await;
    let unrouted = Unrouted::new(&walk.core, &walk.deploy.app, color).await?;
    let note = |text: String| walk.deploy.note(STEP, text);
    let drained = unrouted
        .drain(&instances, &drain::rules(&old), &tail, &note)
        .await;
    let Some(drained) = drained else {
        return Ok(json!({ "left": true, "memory": memory }));
    };
    engine.set_live(&slot, &old.filled(color)?, false).await?;
    drain::direct_connections(&walk.core, &old, &instances, &tail).await;
    let cut = drained.cut();
    walk.drained = Some(drained);
    Ok(json!({ "cut": cut, "memory": memory }))
}

impl Walk {
    /// The steps after the switch run in a tail.
    pub(super) fn tail(&self) -> Result<std::sync::Arc<Tail>, DeployError> {
        self.tail
            .clone()
            .ok_or_else(|| DeployError::Other("the deploy has not switched".to_owned()))
    }

    /// The proof that the old color may be stopped; made again when the daemon was restarted since.
    /// None when the color is wanted back.
    pub(super) async fn prove_drained(&mut self) -> Result<Option<drain::Drained>, DeployError> {
        if let Some(drained) = self.drained.take() {
            return Ok(Some(drained));
        }
        let Some((color, old)) = self.old() else {
            return Ok(None);
        };
        let tail = self.tail()?;
        let instances = self.core.instances(old, color).await?;
        let unrouted = Unrouted::new(&self.core, &self.deploy.app, color).await?;
        let note = |text: String| self.deploy.note(STEP, text);
        Ok(unrouted
            .drain(&instances, &drain::rules(old), &tail, &note)
            .await)
    }
}
