//! `baton maintenance`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use baton_deploy::admission::{LARGEST_PAGE, Maintenance};
use clap::{Args, Subcommand};
use http::Method;

use super::Global;
use super::app::{AppArgs, path};
use super::follow::duration;
use crate::error::CliError;
use crate::wire::Done;

/// Answers every new request of an app with a page and 503; what is in flight goes on, and so do open
/// event streams and the preview hosts. It stays so through deploys and restarts, until `off`.
#[derive(Debug, Args)]
pub struct MaintenanceCommand {
    #[command(subcommand)]
    turn: Turn,
}

#[derive(Debug, Subcommand)]
enum Turn {
    /// Answer every request with a page
    On(On),
    /// Let requests in again
    Off(Off),
}

#[derive(Debug, Args)]
struct On {
    #[command(flatten)]
    app: AppArgs,
    /// An HTML file of your own, at most 1 MiB; it is read once, now
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    /// When to come again, for the clients (`Retry-After`)
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "5m")]
    retry_after: Duration,
}

#[derive(Debug, Args)]
struct Off {
    #[command(flatten)]
    app: AppArgs,
}

impl MaintenanceCommand {
    pub(super) async fn run(&self, global: &Global) -> Result<(), CliError> {
        let (app, wanted) = match &self.turn {
            Turn::On(on) => (&on.app, Some(on.wanted()?)),
            Turn::Off(off) => (&off.app, None),
        };
        let (client, out) = (global.client(), global.out());
        let app = app.resolve(&client).await?;
        let done: Done = client
            .call(Method::POST, &path(&app, "maintenance"), &wanted)
            .await?;
        out.text(&done.message)?;
        out.result(&done)
    }
}

impl On {
    fn wanted(&self) -> Result<Maintenance, CliError> {
        Ok(Maintenance {
            page: self.page.as_deref().map(read).transpose()?,
            retry_after: Some(self.retry_after),
        })
    }
}

fn read(file: &Path) -> Result<String, CliError> {
    let usage = |reason: String| CliError::Usage(format!("{}: {reason}", file.display()));
    let bytes = std::fs::read(file).map_err(|error| usage(format!("cannot read it: {error}")))?;
    if bytes.len() > LARGEST_PAGE {
        return Err(usage(format!(
            "it has {} bytes, at most {LARGEST_PAGE} are kept; put images and styles elsewhere",
            bytes.len()
        )));
    }
    String::from_utf8(bytes).map_err(|_| usage("it is not UTF-8 text".to_owned()))
}
