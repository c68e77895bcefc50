//! `baton check`, and `baton deploy --dry-run`.

use baton_deploy::control::Check as Checked;
use baton_deploy::outcome::ExitCode;
use baton_deploy::request::{DeployRequest, Intent};
use clap::Args;
use http::Method;
use serde_json::json;

use super::Global;
use super::project::{self, FileArgs, Selection};
use crate::client::Client;
use crate::error::CliError;
use crate::show::{Out, plan};

/// Validates the files and shows what a deploy would do. Nothing is run. Without a daemon the files
/// are still validated.
#[derive(Debug, Args)]
pub struct Check {
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
}

impl Check {
    pub(super) async fn run(&self, global: &Global) -> Result<(), CliError> {
        let selection = Selection {
            project_name: self.project_name.clone(),
            services: self.services.clone(),
            image: None,
        };
        let project = project::read(self.files.options(selection)?).await?;
        let request = DeployRequest {
            project,
            intent: Intent::Deploy,
            strategy: None,
            force: false,
            wait_lock: None,
            by: None,
        };
        show(&global.client(), global.out(), &request).await
    }
}

/// Asks the daemon what it would do, and shows it.
///
/// # Errors
/// Preflight would refuse (exit 6), or the daemon cannot say.
pub async fn show(client: &Client, out: Out, request: &DeployRequest) -> Result<(), CliError> {
    let app = request.project.app.as_str();
    let check: Checked = match client.call(Method::POST, "/v1/check", request).await {
        Ok(check) => check,
        Err(CliError::NoDaemon { socket, reason }) => {
            let missing = CliError::NoDaemon { socket, reason };
            return without_daemon(out, request, &missing);
        }
        Err(other) => return Err(other),
    };
    out.text(&plan::render_check(app, &check, out.paint))?;
    out.line(&json!({"event": "check", "app": app, "notices": check.notices, "check": check}))?;
    refused(app, &check)?;
    out.result(&json!({
        "app": app,
        "nothing_to_do": check.nothing_to_do,
        "message": "the files are valid and a deploy can be run",
    }))
}

fn refused(app: &str, check: &Checked) -> Result<(), CliError> {
    if check.refusals.is_empty() {
        return Ok(());
    }
    Err(CliError::Daemon {
        message: format!(
            "a deploy of {app} would be refused: {}",
            check.refusals.join("; ")
        ),
        exit_code: ExitCode::Refused as u8,
    })
}

/// The files are valid; everything that only the machine knows stays open.
fn without_daemon(out: Out, request: &DeployRequest, missing: &CliError) -> Result<(), CliError> {
    let project = &request.project;
    let mut lines = vec![format!(
        "{}: the files are valid",
        out.paint.bold(project.app.as_str())
    )];
    lines.extend(plan::notices(&project.notices, out.paint));
    lines.push(format!(
        "  {} memory, disk, claimed hosts and what is live were not checked: {missing}",
        out.paint.yellow("note:")
    ));
    out.text(&lines.join("\n"))?;
    out.result(&json!({
        "app": project.app,
        "notices": project.notices,
        "message": "the files are valid",
        "unchecked": missing.to_string(),
    }))
}
