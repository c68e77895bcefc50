//! A command that changes a database, as far as a deploy can see one.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use crate::settings::Migration;

/// What a shell says of a command that ended by SIGTERM.
const TERMINATED: u8 = 128 + 15;

/// Writes down that it ran, prints, takes its time, and ends with the code that it was told.
///
/// # Errors
/// The file cannot be written, or the signal handler cannot be set.
pub async fn run(migration: &Migration) -> io::Result<ExitCode> {
    // The first process of a container has no default action for SIGTERM.
    let mut terminate = signal(SignalKind::terminate())?;
    if let Some(path) = &migration.file {
        let mut file = OpenOptions::new().append(true).create(true).open(path)?;
        file.write_all(format!("{}\n", migration.line).as_bytes())?;
    }
    for number in 1..=migration.lines {
        println!("migrating: step {number} of {}", migration.lines);
    }
    tokio::select! {
        () = sleep(migration.takes) => {}
        _ = terminate.recv() => {
            eprintln!("migrating: stopped by SIGTERM");
            return Ok(ExitCode::from(TERMINATED));
        }
    }
    if migration.code != 0 {
        eprintln!("migrating: told to fail with {}", migration.code);
    }
    Ok(ExitCode::from(migration.code))
}
