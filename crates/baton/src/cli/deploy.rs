//! `baton deploy`.

use baton_compose::{EngineKind, Project};
use baton_deploy::plan::Strategy;
use baton_deploy::request::{DeployRequest, Intent};
use clap::{Args, ValueEnum};
use http::Method;

use super::Global;
use super::follow::{Follow, WaitArgs, asked_by};
use super::project::{self, FileArgs, Selection};
use super::{check, dependencies, fetch};
use crate::error::CliError;
use crate::show::Out;
use crate::wire::DaemonInfo;

/// Brings a new release live: it is started beside the one that serves, and gets the traffic when it
/// is healthy. The old one finishes what it has. A release that does not come up never gets a request.
#[derive(Debug, Args)]
pub struct Deploy {
    #[command(flatten)]
    release: ReleaseArgs,
    /// How it goes live [default: what the file says, else blue-green]
    #[arg(long, value_name = "STRATEGY")]
    strategy: Option<StrategyArg>,
}

/// What `deploy` and `stage` make a release of.
#[derive(Debug, Args)]
pub struct ReleaseArgs {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
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
    /// Run this image instead of the file's
    #[arg(long, value_name = "REF")]
    image: Option<String>,
    /// Also apply what changed for the services without `x-baton`
    #[arg(long)]
    with_deps: bool,
    /// Do it even if this image and configuration are there already
    #[arg(long)]
    force: bool,
    /// Show the plan; run nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StrategyArg {
    /// All at once, when the new release is healthy
    BlueGreen,
    /// Instance by instance
    Rolling,
    /// A share of the clients first
    Canary,
}

impl Deploy {
    pub(super) async fn run(self, global: &Global) -> Result<(), CliError> {
        let strategy = self.strategy.map(|strategy| match strategy {
            StrategyArg::BlueGreen => Strategy::BlueGreen,
            StrategyArg::Rolling => Strategy::Rolling,
            StrategyArg::Canary => Strategy::Canary,
        });
        self.release.run(global, Intent::Deploy, strategy).await
    }
}

impl ReleaseArgs {
    /// Reads the files, fetches, and follows what the daemon makes of it.
    pub(super) async fn run(
        self,
        global: &Global,
        intent: Intent,
        strategy: Option<Strategy>,
    ) -> Result<(), CliError> {
        let (client, out) = (global.client(), global.out());
        let selection = Selection {
            project_name: self.project_name,
            services: self.services,
            image: self.image,
        };
        let options = self.files.options(selection)?;
        let project = project::read(options.clone()).await?;
        let request = DeployRequest {
            project,
            intent,
            strategy,
            force: self.force,
            wait_lock: self.wait.wait_lock,
            by: asked_by(),
        };
        if client.is_remote() {
            left_alone(&request.project, self.with_deps, out)?;
        }
        if self.dry_run {
            if !client.is_remote() && request.project.engine == EngineKind::Docker {
                let project = &request.project;
                dependencies::tell(&options, project, self.with_deps, out).await?;
            }
            return check::show(&client, out, &request).await;
        }
        let project = request.project.clone();
        if project.engine == EngineKind::Docker {
            // Nothing is started for a deploy that nobody would run.
            client.get::<DaemonInfo>("/v1/daemon").await?;
            if !client.is_remote() {
                dependencies::start(&options, &project, self.with_deps, out).await?;
            }
        }
        let lines = client.lines(Method::POST, "/v1/deploys", &request).await?;
        let mut follow = Follow::new(client.clone(), out, &project.app, &self.wait);
        let fetch = match project.engine {
            EngineKind::Docker if client.is_remote() => Some(fetch::there(project, client)),
            EngineKind::Docker => Some(fetch::of(project)),
            EngineKind::Process => {
                follow.nothing_to_fetch(&lines).await;
                None
            }
        };
        follow.run(lines, fetch).await
    }
}

/// Plain Compose runs where the command does, so from elsewhere it can start nothing.
fn left_alone(project: &Project, with_deps: bool, out: Out) -> Result<(), CliError> {
    if with_deps {
        return Err(CliError::Usage(
            "--with-deps needs Docker Compose on the server itself; run this deploy there".into(),
        ));
    }
    let names: Vec<&str> = project
        .plain
        .iter()
        .map(|plain| plain.name.as_str())
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    out.text(&format!(
        "{}: without `x-baton`, left as they are on the server",
        names.join(", ")
    ))
}
