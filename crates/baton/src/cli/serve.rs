//! `baton serve`.

use std::path::PathBuf;

use clap::Args;

use super::Global;
use crate::daemon;
use crate::daemon::settings::Typed;
use crate::error::CliError;

/// Runs the daemon in the foreground, until SIGTERM or Ctrl-C: then it accepts nothing more and finishes
/// what is in flight; a second time ends it at once. The apps' instances outlive it. SIGHUP reads
/// certificates and settings again, and opens the access log anew. Sockets passed by systemd are used for the addresses they have.
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
    /// What is logged: a level, or levels of parts with commas [default: info]
    #[arg(long, env = "BATON_LOG", value_name = "LEVEL", hide_env_values = true)]
    log: Option<String>,
    /// Networks whose X-Forwarded-* fields are kept [default: 127.0.0.0/8,::1/128]
    #[arg(
        long,
        env = "BATON_TRUSTED_PROXY",
        value_name = "CIDR",
        value_delimiter = ',',
        hide_env_values = true
    )]
    trusted_proxy: Vec<String>,
    /// Answer `GET /metrics` for Prometheus here, such as 127.0.0.1:9180; plain HTTP, no password [default: off]
    #[arg(
        long,
        env = "BATON_METRICS",
        value_name = "ADDRESS",
        hide_env_values = true
    )]
    metrics: Option<String>,
    /// Write a JSON line for each request (`on`), or for one of N (`sampled:N`) [default: off]
    #[arg(
        long,
        env = "BATON_ACCESS_LOG",
        value_name = "WHICH",
        hide_env_values = true
    )]
    access_log: Option<String>,
    /// Where the access log is written; opened again at SIGHUP [default: standard output]
    #[arg(
        long,
        env = "BATON_ACCESS_LOG_FILE",
        value_name = "FILE",
        hide_env_values = true
    )]
    access_log_file: Option<PathBuf>,
    /// What carries traffic: embedded, or an nginx that is already there
    #[arg(
        long,
        env = "BATON_ROUTER",
        value_name = "ROUTER",
        hide_env_values = true
    )]
    router: Option<String>,
    /// File that Baton writes and nginx includes in its http block [default: /etc/nginx/conf.d/baton.conf]
    #[arg(
        long,
        env = "BATON_NGINX_INCLUDE",
        value_name = "FILE",
        hide_env_values = true
    )]
    nginx_include: Option<PathBuf>,
    /// How nginx is called, before -t and -s reload; words, no shell [default: nginx]
    #[arg(
        long,
        env = "BATON_NGINX_COMMAND",
        value_name = "COMMAND",
        hide_env_values = true
    )]
    nginx_command: Option<String>,
    /// How nginx is reloaded; words, no shell [default: the command with -s reload]
    #[arg(
        long,
        env = "BATON_NGINX_RELOAD",
        value_name = "COMMAND",
        hide_env_values = true
    )]
    nginx_reload: Option<String>,
    /// Where nginx tells Baton, and nobody else, which configuration it follows [default: 127.0.0.1:7079]
    #[arg(
        long,
        env = "BATON_NGINX_CHECK",
        value_name = "ADDRESS",
        hide_env_values = true
    )]
    nginx_check: Option<String>,
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
    /// Get certificates for `tls: auto`, in the name of this address [default: none are got]
    #[arg(
        long,
        env = "BATON_ACME_EMAIL",
        value_name = "ADDRESS",
        hide_env_values = true
    )]
    acme_email: Option<String>,
    /// ACME directory of the authority to ask [default: Let's Encrypt]
    #[arg(
        long,
        env = "BATON_ACME_DIRECTORY",
        value_name = "URL",
        hide_env_values = true
    )]
    acme_directory: Option<String>,
    /// PEM file with the roots to trust the authority's own server by [default: those of the machine]
    #[arg(
        long,
        env = "BATON_ACME_CA",
        value_name = "FILE",
        hide_env_values = true
    )]
    acme_ca: Option<PathBuf>,
    /// Configuration file [default: /etc/baton/baton.toml where it exists]
    #[arg(
        long,
        env = "BATON_CONFIG",
        value_name = "FILE",
        hide_env_values = true
    )]
    config: Option<PathBuf>,
    /// Started by `baton upgrade`
    #[arg(long, hide = true)]
    take_over: bool,
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
            log: self.log.filter(|directives| !directives.is_empty()),
            trusted_proxy: some(self.trusted_proxy),
            metrics: self.metrics,
            access_log: self.access_log,
            access_log_file: self.access_log_file,
            router: self.router,
            nginx_include: self.nginx_include,
            nginx_command: self.nginx_command,
            nginx_reload: self.nginx_reload,
            nginx_check: self.nginx_check,
            dashboard: some(self.dashboard),
            dashboard_cert: self.dashboard_cert,
            dashboard_key: self.dashboard_key,
            dashboard_host: some(self.dashboard_host),
            acme_email: self.acme_email,
            acme_directory: self.acme_directory,
            acme_ca: self.acme_ca,
        };
        daemon::run(typed, config.as_deref(), self.take_over)
    }
}

fn some(values: Vec<String>) -> Option<Vec<String>> {
    (!values.is_empty()).then_some(values)
}
