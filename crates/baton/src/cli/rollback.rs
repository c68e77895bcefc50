//! `baton rollback`.

use baton_deploy::release::ReleaseId;
use baton_deploy::request::RollbackRequest;
use clap::{Args, ValueEnum};
use http::Method;

use super::Global;
use super::app::{AppArgs, path};
use super::follow::{Follow, WaitArgs, asked_by};
use super::project::{self, FileArgs, Selection};
use crate::error::CliError;

/// Goes back to a release: its image, its configuration and its environment as they were. One that is
/// still warm boots nothing.
#[derive(Debug, Args)]
pub struct Rollback {
    /// The release [default: the one that was live before]
    #[arg(value_name = "rN")]
    release: Option<ReleaseId>,
    /// Take the environment and configuration that the files say today, with the old image
    #[arg(long, value_name = "current", hide_possible_values = true)]
    env: Option<Environment>,
    #[command(flatten)]
    app: AppArgs,
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Environment {
    Current,
}

impl Rollback {
    pub(super) async fn run(&self, global: &Global) -> Result<(), CliError> {
        let (client, out) = (global.client(), global.out());
        let (app, current) = match self.env {
            Some(Environment::Current) => {
                let selection = Selection {
                    project_name: self.app.app.clone(),
                    ..Selection::default()
                };
                let project = project::read(self.files.options(selection)?).await?;
                (project.app.clone(), Some(project))
            }
            None => (self.app.resolve(&client).await?, None),
        };
        let request = RollbackRequest {
            app: app.clone(),
            to: self.release,
            current,
            wait_lock: self.wait.wait_lock,
            by: asked_by(),
        };
        let lines = client
            .lines(Method::POST, &path(&app, "rollback"), &request)
            .await?;
        Follow::new(client, out, &app, &self.wait)
            .run(lines, None)
            .await
    }
}
