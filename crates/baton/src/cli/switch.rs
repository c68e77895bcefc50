//! `baton switch`.

use baton_compose::Color;
use baton_deploy::request::SwitchRequest;
use clap::Args;
use http::Method;

use super::Global;
use super::app::{AppArgs, path};
use super::follow::{Follow, WaitArgs, asked_by};
use crate::error::CliError;

/// Passes traffic to the other color, if it is up and healthy. Nothing is started and nothing is
/// stopped but by the drain of the color that was live.
#[derive(Debug, Args)]
pub struct Switch {
    /// The color that becomes live [default: the one that is not]
    #[arg(value_name = "blue|green")]
    color: Option<Color>,
    #[command(flatten)]
    app: AppArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

impl Switch {
    pub(super) async fn run(&self, global: &Global) -> Result<(), CliError> {
        let (client, out) = (global.client(), global.out());
        let app = self.app.resolve(&client).await?;
        let request = SwitchRequest {
            app: app.clone(),
            to: self.color,
            wait_lock: self.wait.wait_lock,
            by: asked_by(),
        };
        let lines = client
            .lines(Method::POST, &path(&app, "switch"), &request)
            .await?;
        Follow::new(client, out, &app, &self.wait)
            .run(lines, None)
            .await
    }
}
