//! `baton receipts`.

use clap::Args;

use super::Global;
use super::app::{AppArgs, path};
use crate::client::with_query;
use crate::error::CliError;
use crate::show::{lists, receipt};
use crate::wire;

/// Lists the receipts of an app's deploys, newest first. With one asked for (`baton receipts 1`) it is
/// shown whole.
#[derive(Debug, Args)]
pub struct Receipts {
    /// How many
    #[arg(value_name = "N", default_value_t = 10)]
    number: usize,
    #[command(flatten)]
    app: AppArgs,
}

impl Receipts {
    pub(super) async fn run(&self, global: &Global) -> Result<(), CliError> {
        let (client, out) = (global.client(), global.out());
        let app = self.app.resolve(&client).await?;
        let query = wire::ReceiptsQuery { limit: self.number };
        let found: wire::Receipts = client
            .get(&with_query(&path(&app, "receipts"), &query))
            .await?;
        match found.receipts.as_slice() {
            [one] if self.number == 1 => out.text(&receipt::render(one, out.paint))?,
            list => out.text(&lists::receipts(list, out.paint))?,
        }
        out.result(&found)
    }
}
