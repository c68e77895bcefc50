//! `baton releases`.

use clap::Args;
use time::OffsetDateTime;

use super::Global;
use super::app::{AppArgs, path};
use crate::error::CliError;
use crate::show::lists;
use crate::wire;

/// Lists the releases of an app, newest first, and in which color they are now.
#[derive(Debug, Args)]
pub struct Releases {
    #[command(flatten)]
    app: AppArgs,
}

impl Releases {
    pub(super) async fn run(&self, global: &Global) -> Result<(), CliError> {
        let (client, out) = (global.client(), global.out());
        let app = self.app.resolve(&client).await?;
        let found: wire::Releases = client.get(&path(&app, "releases")).await?;
        let now = OffsetDateTime::now_utc();
        out.text(&lists::releases(&found.releases, now, out.paint))?;
        out.result(&found)
    }
}
