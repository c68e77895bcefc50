//! Which app a command means.

use baton_compose::AppName;
use clap::Args;

use crate::client::{Client, with_query};
use crate::error::CliError;
use crate::wire::{OneApp, OneAppQuery};

/// `--app NAME`, where a command is about one app.
#[derive(Debug, Clone, Default, Args)]
pub struct AppArgs {
    /// The app [default: that of the compose file here, else the only one there is]
    #[arg(long, short = 'p', value_name = "NAME")]
    pub app: Option<String>,
}

impl AppArgs {
    /// The app that is meant, known to the daemon.
    ///
    /// # Errors
    /// No such app, or several and none was named.
    pub async fn resolve(&self, client: &Client) -> Result<AppName, CliError> {
        let name = match &self.app {
            Some(name) => Some(name.clone()),
            None => super::project::app_here(),
        };
        let path = with_query("/v1/app", &OneAppQuery { name });
        let found: OneApp = client.get(&path).await?;
        found.app.parse().map_err(CliError::Other)
    }
}

/// `/v1/apps/{app}/{what}`.
#[must_use]
pub fn path(app: &AppName, what: &str) -> String {
    format!("/v1/apps/{app}/{what}")
}
