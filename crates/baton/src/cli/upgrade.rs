//! `baton upgrade`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use http::Method;

use super::Global;
use super::follow::duration;
use crate::client::Client;
use crate::error::CliError;
use crate::wire::{DaemonInfo, UpgradeAccepted, UpgradeRequest};

/// How long the new process is waited for once it is ready.
const SERVES: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Starts another binary in the place of the running daemon. It is given every listener and the state, and
/// the old process finishes the requests and streams that it has: no connection is refused, none is cut.
/// A binary that does not start changes nothing.
///
/// Needs root, or the daemon's own user. The new process is started with the options of the old one, and
/// reads the configuration file again; data folder and socket cannot change. Put the binary where the
/// service starts it from as well, or the next restart brings the old one back.
#[derive(Debug, Args)]
pub struct Upgrade {
    /// The new binary [default: the one of this command]
    binary: Option<PathBuf>,
    /// How long the old process may take to finish what it has; event streams and WebSockets that are open
    /// then are told to come back
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10m")]
    drain: Duration,
}

impl Upgrade {
    pub(super) async fn run(&self, global: &Global) -> Result<(), CliError> {
        let (client, out) = (global.client(), global.out());
        let request = UpgradeRequest {
            binary: self.binary()?,
            drain_ms: u64::try_from(self.drain.as_millis()).unwrap_or(u64::MAX),
        };
        let upgrade: UpgradeAccepted = client.call(Method::POST, "/v1/upgrade", &request).await?;
        accepted(&client, upgrade.pid).await?;
        let message = format!(
            "upgraded: {} (process {}) → {} (process {}); the old one finishes what it has",
            upgrade.old_version, upgrade.old_pid, upgrade.version, upgrade.pid
        );
        out.text(&message)?;
        out.result(&UpgradeResult {
            upgrade: &upgrade,
            message: &message,
        })
    }

    /// Its real path: the daemon may have another folder.
    fn binary(&self) -> Result<PathBuf, CliError> {
        let named = match &self.binary {
            Some(named) => named.clone(),
            None => std::env::current_exe()
                .map_err(|error| CliError::other("which binary is this?", error))?,
        };
        named
            .canonicalize()
            .map_err(|error| CliError::Usage(format!("{}: {error}", named.display())))
    }
}

/// Waits until the new process answers as the daemon.
async fn accepted(client: &Client, pid: u32) -> Result<(), CliError> {
    let until = Instant::now() + SERVES;
    loop {
        // Between the two nobody answers, or the connection breaks.
        let last = match client.get::<DaemonInfo>("/v1/daemon").await {
            Ok(info) if info.pid == pid => return Ok(()),
            Ok(info) => match info.upgrade_failed {
                Some(failed) if failed.pid == pid => {
                    return Err(CliError::Other(format!(
                        "the new process did not take over: {}\n  this daemon goes on as it was",
                        failed.message
                    )));
                }
                _ => None,
            },
            Err(error) => Some(error),
        };
        if Instant::now() > until {
            return Err(last.unwrap_or_else(|| {
                CliError::Other("the old process still serves, and does not say why".to_owned())
            }));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

#[derive(serde::Serialize)]
struct UpgradeResult<'a> {
    #[serde(flatten)]
    upgrade: &'a UpgradeAccepted,
    message: &'a str,
}
