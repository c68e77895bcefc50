//! One instance of a color that lives on: a rolling deploy exchanges them one by one.

use std::sync::Arc;

use baton_engine::{Engine, Instance, InstanceId};
use tokio::time::{Instant, timeout_at};

use super::Leaving;
use super::requests::one;
use super::streams::ENDING;
use crate::error::DeployError;

/// Nothing is in flight on this instance, nothing new comes, and it has no stream.
#[derive(Debug)]
pub(crate) struct DrainedInstance {
    id: InstanceId,
    /// What was cut at the end.
    pub(crate) cut: u64,
}

impl Leaving {
    /// Takes one instance out of the choice, waits for its requests by the rules of the color, and
    /// hands its streams over. Its messages are the color's: others of it go on with them.
    pub(crate) async fn instance(
        &self,
        instance: &Instance,
    ) -> Result<DrainedInstance, DeployError> {
        let (core, app, id) = (&self.core, self.app(), &instance.id);
        let router = core.routes.router();
        core.routes.leave(app, std::slice::from_ref(id)).await?;
        let rule = self.rule(instance);
        let begun = Instant::now();
        self.end_websockets_of(instance);
        let mut cut = one(self, instance, rule.clone()).await;
        core.routes.unroute(app, id).await?;
        let gone = async {
            router.drained(id).await;
            router.streams_ended(id).await;
        };
        if timeout_at(begun + rule.websockets + ENDING, gone)
            .await
            .is_err()
        {
            cut += router.cut(id).await;
        }
        Ok(DrainedInstance {
            id: id.clone(),
            cut,
        })
    }
}

impl DrainedInstance {
    /// Stops and removes it.
    pub(crate) async fn remove(self, engine: &Arc<dyn Engine>) -> Result<(), DeployError> {
        Ok(engine.remove(&self.id).await?)
    }
}
