//! `baton status`.

use std::io::Write;
use std::time::Duration;

use baton_deploy::status::Status;
use clap::Args;

use super::Global;
use crate::client::Client;
use crate::error::CliError;
use crate::show::{Out, status};

/// How often `--watch` looks.
const PERIOD: Duration = Duration::from_secs(1);

/// Shows every app: its colors, what each is for, what runs there, and the deploy that goes on.
///
/// With --json: one object, `{"apps":[…]}`.
#[derive(Debug, Args)]
pub struct StatusCommand {
    /// Look again each second, until Ctrl-C
    #[arg(long, short)]
    watch: bool,
}

impl StatusCommand {
    pub(super) async fn run(&self, global: &Global) -> Result<(), CliError> {
        let (client, out) = (global.client(), global.out());
        if !self.watch {
            return show(&client, out).await;
        }
        loop {
            if out.is_live() {
                clear_screen()?;
            }
            show(&client, out).await?;
            tokio::time::sleep(PERIOD).await;
        }
    }
}

async fn show(client: &Client, out: Out) -> Result<(), CliError> {
    let now: Status = client.get("/v1/status").await?;
    out.text(&status::render(&now, out.paint))?;
    out.line(&now)
}

/// Cursor home, then clear to the end: no flicker of an empty screen (ECMA-48 CUP, ED).
fn clear_screen() -> Result<(), CliError> {
    std::io::stdout()
        .write_all(b"\x1b[H\x1b[J")
        .map_err(|_| CliError::OutputClosed)
}
