//! The daemon's log: lines for a person, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::show::Paint;

/// `BATON_LOG`, else `RUST_LOG`, else everything from `info` on.
pub fn start() {
    let filter = ["BATON_LOG", "RUST_LOG"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .and_then(|directives| EnvFilter::try_new(directives).ok())
        .unwrap_or_else(|| EnvFilter::new("info"));
    let terminal = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(Paint::new(terminal) != Paint::NONE)
        .with_target(false);
    // systemd's journal stamps each line itself.
    if std::env::var_os("JOURNAL_STREAM").is_some() && !terminal {
        log.without_time().init();
    } else {
        log.init();
    }
}
