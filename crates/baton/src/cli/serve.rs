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
    #[command(flatten)]
    typed: Typed,
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
        let mut typed = self.typed;
        typed.socket = global.socket.clone();
        // An empty variable of the environment says nothing.
        typed.log = typed.log.filter(|directives| !directives.is_empty());
        daemon::run(typed, self.config.as_deref(), self.take_over)
    }
}
