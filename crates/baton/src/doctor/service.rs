//! The daemon and its data folder.

use std::path::Path;

use super::Finding;
use crate::client::Client;
use crate::error::CliError;
use crate::wire::DaemonInfo;

pub(super) async fn daemon(client: &Client) -> Result<DaemonInfo, CliError> {
    client.get("/v1/daemon").await
}

pub(super) fn finding(daemon: &Result<DaemonInfo, CliError>) -> Finding {
    const CHECK: &str = "daemon";
    let own = env!("CARGO_PKG_VERSION");
    match daemon {
        Ok(info) if info.version == own => {
            Finding::well(CHECK, format!("baton {own} runs (process {})", info.pid))
        }
        Ok(info) => Finding::warning(
            CHECK,
            format!(
                "the daemon is baton {}, this command is {own}",
                info.version
            ),
            "`baton upgrade` brings this binary into service",
        ),
        Err(error) => {
            let text = error.to_string();
            let (first, next) = text.split_once('\n').unwrap_or((&text, ""));
            Finding::warning(CHECK, first, next.trim())
        }
    }
}

/// Can the daemon write there?
pub(super) fn data(folder: &Path) -> Finding {
    const CHECK: &str = "data";
    let shown = folder.display();
    let there = folder.ancestors().find(|folder| folder.exists());
    let writable = there
        .is_some_and(|folder| rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_ok());
    if writable {
        Finding::well(CHECK, format!("{shown} can be written"))
    } else {
        Finding::warning(
            CHECK,
            format!("{shown} cannot be written by this user"),
            "look again as the user that the daemon runs as: `sudo baton doctor`",
        )
    }
}
