//! `baton promote`.

use baton_deploy::request::{DeployRequest, Intent};
use clap::Args;
use http::Method;

use super::Global;
use super::follow::{Follow, WaitArgs, asked_by};
use super::project::{self, FileArgs, Selection};
use crate::error::CliError;

/// Brings the staged release live: the images that are staged, started again with the configuration and
/// the live environment that the files say today. From there on it is a deploy like any other.
#[derive(Debug, Args)]
pub struct Promote {
    #[command(flatten)]
    files: FileArgs,
    /// The app's name, as with `docker compose -p`
    #[arg(
        long = "project-name",
        short = 'p',
        visible_alias = "app",
        value_name = "NAME"
    )]
    project_name: Option<String>,
    #[command(flatten)]
    wait: WaitArgs,
}

impl Promote {
    pub(super) async fn run(self, global: &Global) -> Result<(), CliError> {
        let (client, out) = (global.client(), global.out());
        let selection = Selection {
            project_name: self.project_name,
            ..Selection::default()
        };
        let project = project::read(self.files.options(selection)?).await?;
        let app = project.app.clone();
        let request = DeployRequest {
            project,
            intent: Intent::Promote,
            strategy: None,
            force: true,
            wait_lock: self.wait.wait_lock,
            by: asked_by(),
        };
        let lines = client.lines(Method::POST, "/v1/deploys", &request).await?;
        Follow::new(client, out, &app, &self.wait)
            .run(lines, None)
            .await
    }
}
