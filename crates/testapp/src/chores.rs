//! Processes that take no traffic: with children, with an end, with a hunger for CPU or memory.

use std::io;
use std::process::{Command, ExitCode};

use tokio::signal::unix::{SignalKind, signal};

/// Has one child, and one more after each SIGHUP, until SIGTERM.
///
/// # Errors
/// A child cannot be started.
pub async fn parent() -> io::Result<()> {
    let mut more = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut children = Vec::new();
    loop {
        children.push(Command::new("/proc/self/exe").arg("worker").spawn()?);
        println!("children {}", children.len());
        tokio::select! {
            _ = more.recv() => {}
            _ = terminate.recv() => break,
        }
    }
    for mut child in children {
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}

/// Takes all the CPU that it gets, on each core, and ends by a signal only.
pub fn burn() -> ! {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for _ in 1..cores {
        std::thread::spawn(|| spin());
    }
    spin()
}

fn spin() -> ! {
    loop {
        std::hint::spin_loop();
    }
}

/// Takes memory until it is killed.
pub fn hog() -> ! {
    let mut taken: Vec<Vec<u8>> = Vec::new();
    loop {
        taken.push(vec![1; 1 << 20]);
        std::hint::black_box(&taken);
    }
}

/// Says so many lines, in turn on both outputs, and ends with `code`.
#[must_use]
pub fn say(lines: usize, code: u8) -> ExitCode {
    let role = std::env::var("BATON_COLOR").unwrap_or_default();
    for number in 0..lines {
        if number.is_multiple_of(2) {
            println!("{role} {number}");
        } else {
            eprintln!("{role} {number}");
        }
    }
    ExitCode::from(code)
}
