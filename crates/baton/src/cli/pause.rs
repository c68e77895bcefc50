//! `baton pause`.

use clap::Args;
use http::Method;

use super::Global;
use super::app::{AppArgs, path};
use crate::error::CliError;
use crate::wire::Done;

/// Holds new requests of an app; those that are in flight go on. Each waits up to its `max_wait`.
#[derive(Debug, Args)]
pub struct Pause {
    #[command(flatten)]
    app: AppArgs,
}

impl Pause {
    pub(super) async fn run(&self, global: &Global) -> Result<(), CliError> {
        let (client, out) = (global.client(), global.out());
        let app = self.app.resolve(&client).await?;
        let done: Done = client.call(Method::POST, &path(&app, "pause"), &()).await?;
        out.text(&done.message)?;
        out.result(&done)
    }
}
