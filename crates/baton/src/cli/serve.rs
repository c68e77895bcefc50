//! `baton serve`.

use std::path::PathBuf;

use clap::Args;

use super::Global;
use crate::daemon;
use crate::daemon::settings::Typed;
use crate::error::CliError;

/// Runs the daemon in the foreground, until SIGTERM or Ctrl-C. The apps' instances outlive it. SIGHUP
/// reads certificates again.
///
/// Each option may also be a key of the configuration file (`http = "0.0.0.0:80"`,
/// `trusted-proxy = ["10.0.0.0/8"]`). An option on the command line wins over its environment variable,
/// that over the file.
#[derive(Debug, Args)]
pub struct Serve {
    /// Listen here for HTTP/1.1 and h2c; several with commas, or `off` [default: port 80, without root 8080]
    #[arg(
        long,
        env = "BATON_HTTP",
        value_name = "ADDRESS",
        value_delimiter = ',',
        hide_env_values = true
    )]
    http: Vec<String>,
    /// Listen here for HTTPS; several with commas, or `off` [default: port 443, without root 8443; off when only --http is given]
    #[arg(
        long,
        env = "BATON_HTTPS",
        value_name = "ADDRESS",
        value_delimiter = ',',
        hide_env_values = true
    )]
    https: Vec<String>,
    /// Folder of the state [default: /var/lib/baton, without root $XDG_DATA_HOME/baton]
    #[arg(
        long,
        env = "BATON_DATA",
        value_name = "FOLDER",
        hide_env_values = true
    )]
    data: Option<PathBuf>,
    /// Threads of the proxy [default: one a core]
    #[arg(long, env = "BATON_WORKERS", value_name = "N", hide_env_values = true)]
    workers: Option<usize>,
    /// Networks whose X-Forwarded-* fields are kept [default: 127.0.0.0/8,::1/128]
    #[arg(
        long,
        env = "BATON_TRUSTED_PROXY",
        value_name = "CIDR",
        value_delimiter = ',',
        hide_env_values = true
    )]
    trusted_proxy: Vec<String>,
    /// What carries traffic: embedded
    #[arg(
        long,
        env = "BATON_ROUTER",
        value_name = "ROUTER",
        hide_env_values = true
    )]
    router: Option<String>,
    /// Serve the status page and the API here; several with commas. Anywhere but on loopback only with a certificate
    #[arg(
        long,
        env = "BATON_DASHBOARD",
        value_name = "ADDRESS",
        value_delimiter = ',',
        hide_env_values = true
    )]
    dashboard: Vec<String>,
    /// Certificate of the page: a PEM chain, its own first
    #[arg(
        long,
        env = "BATON_DASHBOARD_CERT",
        value_name = "FILE",
        hide_env_values = true
    )]
    dashboard_cert: Option<PathBuf>,
    /// Key of that certificate
    #[arg(
        long,
        env = "BATON_DASHBOARD_KEY",
        value_name = "FILE",
        hide_env_values = true
    )]
    dashboard_key: Option<PathBuf>,
    /// A name that the page may be reached by; addresses and localhost always are
    #[arg(
        long,
        env = "BATON_DASHBOARD_HOST",
        value_name = "NAME",
        value_delimiter = ',',
        hide_env_values = true
    )]
    dashboard_host: Vec<String>,
    #[arg(long, env = "BATON_ACME_EMAIL", value_name = "ADDRESS", hide = true)]
    acme_email: Option<String>,
    /// Configuration file [default: /etc/baton/baton.toml where it exists]
    #[arg(
        long,
        env = "BATON_CONFIG",
        value_name = "FILE",
        hide_env_values = true
    )]
    config: Option<PathBuf>,
}

impl Serve {
    pub(super) fn run(self, global: &Global) -> Result<(), CliError> {
        let config = self.config.clone();
        let typed = Typed {
            http: some(self.http),
            https: some(self.https),
            data: self.data,
            socket: global.socket.clone(),
            workers: self.workers,
            trusted_proxy: some(self.trusted_proxy),
            router: self.router,
            dashboard: some(self.dashboard),
            dashboard_cert: self.dashboard_cert,
            dashboard_key: self.dashboard_key,
            dashboard_host: some(self.dashboard_host),
            acme_email: self.acme_email,
        };
        daemon::run(typed, config.as_deref())
    }
}

fn some(values: Vec<String>) -> Option<Vec<String>> {
    (!values.is_empty()).then_some(values)
}
