//! `baton cancel`.

use baton_deploy::outcome::Outcome;
use clap::Args;
use http::Method;

use super::Global;
use super::app::{AppArgs, path};
use crate::error::CliError;

/// Stops the running deploy of an app and undoes it. After the switch there is nothing to cancel:
/// that is what `baton rollback` is for.
#[derive(Debug, Args)]
pub struct Cancel {
    #[command(flatten)]
    app: AppArgs,
}

impl Cancel {
    pub(super) async fn run(&self, global: &Global) -> Result<(), CliError> {
        let (client, out) = (global.client(), global.out());
        let app = self.app.resolve(&client).await?;
        let outcome: Outcome = client
            .call(Method::POST, &path(&app, "cancel"), &())
            .await?;
        // The deploy ended without success, as asked: for this command that is success.
        out.text(&outcome.message)?;
        out.result(&CancelResult {
            app: &outcome.app,
            deploy: outcome.deploy,
            message: &outcome.message,
        })
    }
}

#[derive(serde::Serialize)]
struct CancelResult<'a> {
    app: &'a str,
    deploy: Option<i64>,
    message: &'a str,
}
