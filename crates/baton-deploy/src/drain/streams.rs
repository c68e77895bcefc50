//! When the color has no request and no message left, nothing more can come from it: its event
//! streams end, unnoticed by their clients, and what is left of WebSockets.

use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use tokio::time::{Instant, timeout_at};

use super::{Drained, Leaving, MessagesDone, RequestsDone, messages};
use crate::error::DeployError;
use crate::routes::Beside;
use crate::running::Hurry;

/// How long handing over and closing may take once they have begun.
pub(super) const ENDING: Duration = Duration::from_secs(15);

impl MessagesDone {
    /// Takes the color out of every stream and waits until all have gone on without it, or come back
    /// elsewhere; what does not is cut, and counted. None when the color is wanted back.
    pub(crate) async fn streams(self, leaving: &Leaving) -> Result<Option<Drained>, DeployError> {
        let (core, app) = (&leaving.core, leaving.app());
        let live = leaving.color.other();
        core.routes.beside(app, live, Beside::default()).await?;
        let Some(cut) = leaving.streams_end().await? else {
            return Ok(None);
        };
        Ok(Some(Drained {
            slot: self.slot,
            cut,
            messages: self.messages,
        }))
    }
}

impl RequestsDone {
    /// Stop-first: requests and streams of the app wait for what comes, and what its messages are is
    /// settled once that is there. None when the color is wanted back.
    pub(crate) async fn stop_first(
        self,
        leaving: &Leaving,
    ) -> Result<Option<Drained>, DeployError> {
        leaving
            .core
            .routes
            .stop(leaving.app(), Beside::default())
            .await?;
        Ok(leaving.streams_end().await?.map(|cut| Drained {
            slot: self.slot,
            cut: cut + self.cut,
            messages: messages::Account::default(),
        }))
    }

    /// A preview: its messages are its own, and end with it.
    pub(crate) async fn preview(self, leaving: &Leaving) -> Result<Option<Drained>, DeployError> {
        Ok(leaving.streams_end().await?.map(|cut| Drained {
            slot: self.slot,
            cut: cut + self.cut,
            messages: messages::Account::default(),
        }))
    }
}

impl Leaving {
    /// Waits until nothing of the color has a stream any more; what does not end is cut, and counted.
    /// None when the color is wanted back.
    async fn streams_end(&self) -> Result<Option<u64>, DeployError> {
        let instances = self.instances().await?;
        let router = self.core.routes.router();
        let mut all: Vec<BoxFuture<'_, u64>> = Vec::new();
        for instance in &instances {
            let deadline = Instant::now() + self.rule(instance).websockets + ENDING;
            all.push(Box::pin(async move {
                let gone = async {
                    router.drained(&instance.id).await;
                    router.streams_ended(&instance.id).await;
                };
                match timeout_at(deadline, gone).await {
                    Ok(()) => 0,
                    Err(_) => router.cut(&instance.id).await,
                }
            }));
        }
        tokio::select! {
            cut = join_all(all) => Ok(Some(cut.iter().sum())),
            () = self.tail.asked(Hurry::Leave) => Ok(None),
        }
    }
}
