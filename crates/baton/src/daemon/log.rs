//! The daemon's log: lines for a person, on standard error.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;

use crate::show::Paint;

/// Puts another filter in the place of the one of now.
type Change = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

static CHANGE: OnceLock<Change> = OnceLock::new();

/// What is written: `directives`, else `RUST_LOG`, else everything from `info` on.
pub fn start(directives: Option<&str>) {
    let terminal = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter(directives))
        .with_writer(std::io::stderr)
        .with_ansi(Paint::new(terminal) != Paint::NONE)
        .with_target(false)
        // Said on standard error, which is what is broken then: it would end the daemon.
        .log_internal_errors(false);
    // systemd's journal stamps each line itself.
    if std::env::var_os("JOURNAL_STREAM").is_some() && !terminal {
        let log = log.without_time().with_filter_reloading();
        let handle = log.reload_handle();
        keep(move |filter| handle.reload(filter).map_err(|error| error.to_string()));
        log.init();
    } else {
        let log = log.with_filter_reloading();
        let handle = log.reload_handle();
        keep(move |filter| handle.reload(filter).map_err(|error| error.to_string()));
        log.init();
    }
}

fn keep(change: impl Fn(EnvFilter) -> Result<(), String> + Send + Sync + 'static) {
    // There is one log a process; a second start would already have failed in `init`.
    let _ = CHANGE.set(Box::new(change));
}

/// Writes by other directives from now on.
pub fn change(directives: Option<&str>) {
    if let Some(change) = CHANGE.get()
        && let Err(error) = change(filter(directives))
    {
        tracing::error!(error, "the log goes on as before");
    }
}

fn filter(directives: Option<&str>) -> EnvFilter {
    let other = std::env::var("RUST_LOG").ok();
    [directives, other.as_deref()]
        .into_iter()
        .flatten()
        .filter(|directives| !directives.is_empty())
        .find_map(|directives| EnvFilter::try_new(directives).ok())
        .unwrap_or_else(|| EnvFilter::new("info"))
}
