//! Baton: the command line, the daemon, the control API between them, and the demo.
//!
//! | module | does |
//! | --- | --- |
//! | [`cli`] | what was typed; one file a command |
//! | [`client`] | the command line's side of the control socket |
//! | [`wire`] | what crosses the socket |
//! | [`api`] | the daemon's side of the socket |
//! | [`daemon`] | `baton serve`: settings, start, signals, end |
//! | [`acme`] | certificates for `tls: auto` |
//! | [`access_log`] | a JSON line for each request |
//! | [`metrics`] | what Prometheus reads |
//! | [`notify`] | telling the team |
//! | [`show`] | what a person reads |
//! | [`doctor`] | what is wrong with this machine |
//! | [`init`] | what a first `x-baton` says |
//! | [`import`] | the same from an nginx configuration |
//! | [`install`] | the files of a service of this machine |
//! | [`demo`] | a blue-green deploy under load in one command |
//! | [`error`] | how a command fails, and with which exit code |
#![forbid(unsafe_code)]
// Nothing of a binary can be reached from outside: here `pub` marks the face of a module.
#![allow(unreachable_pub)]

mod access_log;
mod acme;
mod api;
mod cli;
mod client;
mod daemon;
mod demo;
mod doctor;
mod error;
mod import;
mod init;
mod install;
mod metrics;
mod notify;
mod show;
mod wire;

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match arguments.get(1).and_then(|first| first.to_str()) {
        // Before any runtime: the shim stays with its instance for life and has to be small.
        Some("__shim") => baton_engine::process::shim::main(),
        Some(daemon::handover::starter::START) => daemon::handover::starter::main(),
        // The demo's app: this very binary, so that it needs no other.
        Some("__testapp") => {
            let rest = arguments.iter().skip(2);
            let rest: Vec<String> = rest
                .map(|argument| argument.to_string_lossy().into_owned())
                .collect();
            testapp::run(&rest)
        }
        _ => cli::main(arguments),
    }
}
