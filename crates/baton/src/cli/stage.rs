//! `baton stage`.

use baton_deploy::request::Intent;
use clap::Args;

use super::Global;
use super::deploy::ReleaseArgs;
use crate::error::CliError;

/// Runs a release in the idle color, on the preview hosts and with the preview environment. What is
/// live is not touched. `baton promote` brings it live; a deploy in between makes it wait.
#[derive(Debug, Args)]
pub struct Stage {
    #[command(flatten)]
    release: ReleaseArgs,
}

impl Stage {
    pub(super) async fn run(self, global: &Global) -> Result<(), CliError> {
        self.release.run(global, Intent::Stage, None).await
    }
}
