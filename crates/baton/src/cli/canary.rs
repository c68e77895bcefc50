//! `baton canary`.

use baton_deploy::request::Steer;
use baton_deploy::slots::Weight;
use clap::{Args, Subcommand};
use http::Method;

use super::Global;
use super::app::{AppArgs, path};
use crate::error::CliError;
use crate::wire::Done;

/// Steers by hand the canary that runs now (`baton deploy --strategy canary` started it).
#[derive(Debug, Args)]
pub struct Canary {
    #[command(subcommand)]
    how: How,
    #[command(flatten)]
    app: AppArgs,
}

#[derive(Debug, Subcommand)]
enum How {
    /// Send so many percent of the clients to the new release, and hold there; 100 is the switch
    Set {
        #[arg(value_name = "PERCENT", value_parser = weight)]
        weight: Weight,
    },
    /// Go no further for now
    Hold,
    /// Go on, also past what the canary waits for
    Resume,
    /// Take the new release back
    Abort,
}

fn weight(text: &str) -> Result<Weight, String> {
    let digits = text.strip_suffix('%').unwrap_or(text);
    let percent = digits.parse().ok().and_then(Weight::new);
    percent.ok_or_else(|| format!("expected 0 to 100 percent, found {text:?}"))
}

impl Canary {
    pub(super) async fn run(self, global: &Global) -> Result<(), CliError> {
        let client = global.client();
        let app = self.app.resolve(&client).await?;
        let steer = match self.how {
            How::Set { weight } => Steer::Set(weight),
            How::Hold => Steer::Hold,
            How::Resume => Steer::Resume,
            How::Abort => Steer::Abort,
        };
        let done: Done = client
            .call(Method::POST, &path(&app, "canary"), &steer)
            .await?;
        let out = global.out();
        out.text(&done.message)?;
        out.result(&done)
    }
}
