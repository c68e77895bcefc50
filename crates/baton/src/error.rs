//! How a command fails: what a person reads, and the exit code of DESIGN.md §4.

use std::path::PathBuf;

use baton_deploy::outcome::{ExitCode, Outcome};

/// Exit code of a command that was ended by Ctrl-C: 128 + SIGINT, as shells expect.
pub const INTERRUPTED: u8 = 130;

/// Why a command ended without having done what it was asked to do.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// What was typed, or what a file says, cannot be carried out. Exit code 2.
    #[error("{0}")]
    Usage(String),
    /// Nobody listens on the control socket. Exit code 1.
    #[error("{}", unreachable(.socket, .reason))]
    NoDaemon {
        socket: PathBuf,
        reason: std::io::ErrorKind,
    },
    /// The daemon answered with an error; its exit code is passed on.
    #[error("{message}")]
    Daemon { message: String, exit_code: u8 },
    /// Nobody answers at the address that `BATON_HOST` names. Exit code 1.
    #[error("the daemon at {place} cannot be reached: {reason}")]
    Unreachable { place: String, reason: String },
    /// The connection ended before the answer did.
    #[error("the connection to the daemon on {place} was lost: {reason}")]
    Lost { place: String, reason: String },
    /// A deploy, rollback or switch that ended otherwise than asked; it has been shown already.
    #[error("{}", .0.message)]
    Outcome(Box<Outcome>),
    /// Ctrl-C. The text says what goes on without the command. Exit code 130.
    #[error("{0}")]
    Interrupted(String),
    /// Whoever read the output went away (`baton events | head`): nothing is left to be said.
    #[error("the output was closed")]
    OutputClosed,
    /// Everything else: what was being done, and what was found. Exit code 1.
    #[error("{0}")]
    Other(String),
}

impl CliError {
    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            CliError::Usage(_) => ExitCode::Usage as u8,
            CliError::Daemon { exit_code, .. } => *exit_code,
            CliError::Outcome(outcome) => outcome.exit_code as u8,
            CliError::Interrupted(_) => INTERRUPTED,
            CliError::OutputClosed => 0,
            CliError::NoDaemon { .. }
            | CliError::Unreachable { .. }
            | CliError::Lost { .. }
            | CliError::Other(_) => ExitCode::Error as u8,
        }
    }

    /// `context: error`, for errors of a library.
    pub fn other(context: impl std::fmt::Display, error: impl std::fmt::Display) -> CliError {
        CliError::Other(format!("{context}: {error}"))
    }
}

/// Says why the daemon cannot be reached, and what to do about that very reason.
fn unreachable(socket: &std::path::Path, reason: &std::io::ErrorKind) -> String {
    let at = socket.display();
    match reason {
        std::io::ErrorKind::PermissionDenied => format!(
            "no permission for the daemon's socket {at}\n  \
             run the command with sudo, or join its group (`sudo usermod -aG baton $USER`, then log in again)"
        ),
        std::io::ErrorKind::NotFound => format!(
            "no daemon at {at}\n  \
             start one with `baton serve`, or name the socket of a running one with --socket or BATON_SOCKET"
        ),
        std::io::ErrorKind::ConnectionRefused => format!(
            "nobody answers at {at}: the daemon that made this socket has ended\n  \
             start it again with `baton serve`"
        ),
        other => format!("the daemon's socket {at} cannot be reached: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_daemon(reason: std::io::ErrorKind) -> String {
        CliError::NoDaemon {
            socket: "/run/baton/baton.sock".into(),
            reason,
        }
        .to_string()
    }

    #[test]
    fn an_unreachable_daemon_names_its_socket_and_the_next_step() {
        insta::assert_snapshot!(no_daemon(std::io::ErrorKind::NotFound), @"
        no daemon at /run/baton/baton.sock
          start one with `baton serve`, or name the socket of a running one with --socket or BATON_SOCKET
        ");
        insta::assert_snapshot!(no_daemon(std::io::ErrorKind::PermissionDenied), @"
        no permission for the daemon's socket /run/baton/baton.sock
          run the command with sudo, or join its group (`sudo usermod -aG baton $USER`, then log in again)
        ");
        insta::assert_snapshot!(no_daemon(std::io::ErrorKind::ConnectionRefused), @"
        nobody answers at /run/baton/baton.sock: the daemon that made this socket has ended
          start it again with `baton serve`
        ");
    }

    #[test]
    fn exit_codes_are_those_of_the_design() {
        assert_eq!(CliError::Usage(String::new()).exit_code(), 2);
        assert_eq!(CliError::Other(String::new()).exit_code(), 1);
        assert_eq!(CliError::Interrupted(String::new()).exit_code(), 130);
    }
}
