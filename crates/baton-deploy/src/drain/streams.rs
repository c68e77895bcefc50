//! When the color has no request and no message left, nothing more can come from it: its event
//! streams end, unnoticed by their clients, and what is left of WebSockets.

use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use tokio::time::{Instant, timeout_at};

use super::{Drained, Leaving, MessagesDone};
use crate::error::DeployError;
use crate::routes::Beside;
use crate::running::Hurry;

/// How long handing over and closing may take once they have begun.
const ENDING: Duration = Duration::from_secs(15);

impl MessagesDone {
    /// Takes the color out of every stream and waits until all have gone on without it, or come back
    /// elsewhere; what does not is cut, and counted. None when the color is wanted back.
    pub(crate) async fn streams(self, leaving: &Leaving) -> Result<Option<Drained>, DeployError> {
        let (core, app) = (&leaving.core, leaving.app());
        let live = leaving.color.other();
        core.routes.beside(app, live, Beside::default()).await?;
        let instances = leaving.instances().await?;
        let router = core.routes.router();
        let mut all: Vec<BoxFuture<'_, u64>> = Vec::new();
        for instance in &instances {
            let deadline = Instant::now() + leaving.rule(instance).websockets + ENDING;
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
        let cut: u64 = tokio::select! {
            cut = join_all(all) => cut.iter().sum(),
            () = leaving.tail.asked(Hurry::Leave) => return Ok(None),
        };
        Ok(Some(Drained {
            slot: self.slot,
            cut,
            messages: self.messages,
        }))
    }
}
