//! `baton remove`.

use std::io::{BufRead, IsTerminal, Write};

use baton_compose::AppName;
use clap::Args;
use http::Method;

use super::Global;
use super::app::AppArgs;
use crate::error::CliError;
use crate::wire::Done;

/// Takes an app away: it is unrouted, drained, stopped and forgotten, with its releases and receipts.
/// Its networks, volumes and plain services stay.
#[derive(Debug, Args)]
pub struct Remove {
    #[command(flatten)]
    app: AppArgs,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Remove {
    pub(super) async fn run(&self, global: &Global) -> Result<(), CliError> {
        let (client, out) = (global.client(), global.out());
        let app = self.app.resolve(&client).await?;
        if !self.yes {
            confirm(&app, out.is_json())?;
        }
        let path = format!("/v1/apps/{app}");
        let done: Done = client.call(Method::DELETE, &path, &()).await?;
        out.text(&done.message)?;
        out.result(&done)
    }
}

/// Asks on a terminal; elsewhere silence is no consent.
fn confirm(app: &AppName, json: bool) -> Result<(), CliError> {
    let stdin = std::io::stdin();
    if json || !stdin.is_terminal() || !std::io::stderr().is_terminal() {
        return Err(CliError::Usage(format!(
            "removing {app} ends its traffic and forgets its releases; say --yes to do so without being asked"
        )));
    }
    let mut stderr = std::io::stderr();
    let ask = write!(
        stderr,
        "Remove {app}? Its traffic ends, its releases and receipts are forgotten. [y/N] "
    );
    ask.and_then(|()| stderr.flush())
        .map_err(|error| CliError::other("cannot ask", error))?;
    let mut answer = String::new();
    stdin
        .lock()
        .read_line(&mut answer)
        .map_err(|error| CliError::other("cannot read the answer", error))?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(CliError::Other(format!("{app} was left as it is"))),
    }
}
