//! A service without traffic.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::interval;

/// Prints a line each 100 ms until SIGTERM.
///
/// # Errors
/// The signal handler cannot be set.
pub async fn run() -> io::Result<()> {
    let release = std::env::var("BATON_RELEASE").unwrap_or_default();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut ticks = interval(Duration::from_millis(100));
    for number in 0_u64.. {
        tokio::select! {
            _ = ticks.tick() => println!("tick {release} {number}"),
            _ = terminate.recv() => break,
        }
    }
    println!("stopped");
    Ok(())
}
