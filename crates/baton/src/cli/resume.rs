//! `baton resume`.

use clap::Args;
use http::Method;

use super::Global;
use super::app::{AppArgs, path};
use crate::error::CliError;
use crate::wire::Done;

/// Lets the requests that `baton pause` holds go on.
#[derive(Debug, Args)]
pub struct Resume {
    #[command(flatten)]
    app: AppArgs,
}

impl Resume {
    pub(super) async fn run(&self, global: &Global) -> Result<(), CliError> {
        let (client, out) = (global.client(), global.out());
        let app = self.app.resolve(&client).await?;
        let done: Done = client
            .call(Method::POST, &path(&app, "resume"), &())
            .await?;
        out.text(&done.message)?;
        out.result(&done)
    }
}
