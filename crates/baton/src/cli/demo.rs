//! `baton demo`.

use clap::Args;

use super::Global;
use crate::demo;
use crate::error::CliError;

/// Shows a whole blue-green deploy: starts a daemon and an app of its own in a temporary folder, puts
/// load and streams on it, deploys, breaks a release on purpose, rolls back, and counts. Nothing is
/// left behind. Takes about 20 seconds.
#[derive(Debug, Args)]
pub struct Demo {}

impl Demo {
    pub(super) async fn run(&self, global: &Global) -> Result<(), CliError> {
        demo::run(global.out()).await
    }
}
