//! The command line: what was typed, and one file a command that says what it means.
//!
//! | module | holds |
//! | --- | --- |
//! | [`app`] | which app a command means |
//! | [`project`] | reading the user's files |
//! | [`dependencies`], [`difference`] | services without `x-baton`: how they stand, and what a change is |
//! | [`fetch`], [`registry`] | pulling and building, where the user's login is |
//! | [`follow`] | following a deploy, through Ctrl-C and a restart of the daemon |
//! | [`origin`] | commit, author and pipeline, from the environment |
//! | all others | one command each: its arguments, and `run` |

mod app;
mod canary;
mod cancel;
mod check;
mod completions;
mod demo;
mod dependencies;
mod deploy;
mod difference;
mod doctor;
mod drafts;
mod events;
mod fetch;
mod follow;
mod import;
mod init;
mod install;
mod load;
mod logs;
mod maintenance;
mod man;
mod observe;
mod openapi;
mod origin;
mod pause;
mod project;
mod promote;
mod receipts;
mod registry;
mod releases;
mod remove;
mod resume;
mod rollback;
mod schema;
mod serve;
mod stage;
mod status;
mod switch;
mod token;
mod uninstall;
mod upgrade;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::client::{Client, Place};
use crate::daemon::settings::default_socket;
use crate::error::CliError;
use crate::show::Out;
use crate::show::out::failed;

/// Passes live traffic from one release of an app to the next, and nobody who is connected notices.
#[derive(Debug, Parser)]
#[command(
    name = "baton",
    version,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = "Start with `baton serve` (or `sudo baton serve`), then `baton deploy` in a folder whose compose.yaml\n\
                  has an `x-baton` section. To see it work first: `baton demo`.\n\n\
                  Exit codes: 0 done · 1 error · 2 usage or configuration · 3 the new release failed, the old one\n\
                  serves · 4 the new release was taken back · 5 another deploy holds the lock · 6 preflight refused"
)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Control socket of the daemon
    #[arg(
        long,
        global = true,
        help_heading = "Every command",
        env = "BATON_SOCKET",
        value_name = "PATH",
        hide_env_values = true
    )]
    socket: Option<PathBuf>,
    /// One JSON object a line instead of text; the last one is the result
    #[arg(long, global = true, help_heading = "Every command")]
    json: bool,
}

impl Global {
    fn client(&self) -> Client {
        match Place::from_environment() {
            Some(place) => Client::at(place),
            None => Client::new(self.socket.clone().unwrap_or_else(default_socket)),
        }
    }

    fn out(&self) -> Out {
        Out::new(self.json)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring a new release live; the old one serves until it is healthy
    Deploy(deploy::Deploy),
    /// Run a release on the preview hosts; what is live is not touched
    Stage(stage::Stage),
    /// Bring the staged release live
    Promote(promote::Promote),
    /// Go back to the previous release, or to rN; at once if it is still warm
    Rollback(rollback::Rollback),
    /// Pass traffic to the other color if it is up and healthy; nothing else
    Switch(switch::Switch),
    /// Steer a canary by hand
    Canary(canary::Canary),
    /// Stop the running deploy and undo it
    Cancel(cancel::Cancel),
    /// Validate the files and show the plan; nothing is run
    Check(check::Check),
    /// What is live, and what goes on
    Status(status::StatusCommand),
    /// The releases of an app, newest first
    Releases(releases::Releases),
    /// The receipts of an app's deploys, newest first
    Receipts(receipts::Receipts),
    /// What happened
    Events(events::Events),
    /// What the app writes
    Logs(logs::Logs),
    /// Watch a stream path during one deploy and say which mode fits
    Observe(observe::Observe),
    /// Hold new requests until `baton resume`
    Pause(pause::Pause),
    /// Let held requests go on
    Resume(resume::Resume),
    /// Answer every request with a page, or end that
    Maintenance(maintenance::MaintenanceCommand),
    /// Take an image from an archive of `docker save`
    Load(load::Load),
    /// Tokens for the page and the API over TCP
    Token(token::Token),
    /// Take an app away: drain it, stop it, forget it
    Remove(remove::Remove),
    /// Run the daemon: proxy, control plane and control socket
    Serve(Box<serve::Serve>),
    /// Put another binary in the place of the running daemon; nobody who is connected notices
    Upgrade(upgrade::Upgrade),
    /// Write a first `x-baton` into the compose file
    Init(init::Init),
    /// Write an `x-baton` from another proxy's configuration
    Import(import::Import),
    /// Make Baton a service of this machine
    Install(install::Install),
    /// Take the service away again
    Uninstall(uninstall::Uninstall),
    /// What is wrong with this machine, and what to do about it
    Doctor(doctor::Doctor),
    /// See a blue-green deploy under load; needs no Docker, no root, no network
    Demo(demo::Demo),
    /// Print the JSON Schema of `x-baton`, for editors
    Schema(schema::Schema),
    /// Print the OpenAPI document of the daemon's API
    #[command(name = "openapi")]
    OpenApi(openapi::OpenApi),
    /// Print the completions of a shell
    Completions(completions::Completions),
    /// Write the manual pages
    Man(man::Man),
}

/// Runs what was typed; the exit code is one of DESIGN.md §4.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, &arguments),
    };
    let out = cli.global.out();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out.error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// Help and version are no errors; with `--json` a usage error is a result line, too.
fn usage(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    // Standard output or error may be closed; the exit code stays.
    let _ = error.print();
    if error.use_stderr() && arguments.iter().any(|argument| argument == "--json") {
        let text = error.render().to_string();
        let message = text.trim_start_matches("error: ").lines().next();
        let _ = Out::new(true).line(&failed(2, message.unwrap_or_default()));
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn run(cli: Cli) -> Result<(), CliError> {
    let Cli { global, command } = cli;
    // The daemon makes its own runtimes: control plane and proxy never share threads.
    match command {
        Command::Serve(command) => return command.run(&global),
        Command::Completions(command) => return command.run(),
        Command::Schema(command) => return command.run(global.out()),
        Command::OpenApi(command) => return command.run(global.out()),
        Command::Man(command) => return command.run(global.out()),
        Command::Init(command) => return command.run(&global),
        Command::Import(command) => return command.run(&global),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::other("cannot start", error))?;
    runtime.block_on(async {
        match command {
            Command::Deploy(command) => command.run(&global).await,
            Command::Stage(command) => command.run(&global).await,
            Command::Promote(command) => command.run(&global).await,
            Command::Canary(command) => command.run(&global).await,
            Command::Rollback(command) => command.run(&global).await,
            Command::Switch(command) => command.run(&global).await,
            Command::Cancel(command) => command.run(&global).await,
            Command::Check(command) => command.run(&global).await,
            Command::Status(command) => command.run(&global).await,
            Command::Releases(command) => command.run(&global).await,
            Command::Receipts(command) => command.run(&global).await,
            Command::Events(command) => command.run(&global).await,
            Command::Logs(command) => command.run(&global).await,
            Command::Observe(command) => command.run(&global).await,
            Command::Pause(command) => command.run(&global).await,
            Command::Resume(command) => command.run(&global).await,
            Command::Maintenance(command) => command.run(&global).await,
            Command::Remove(command) => command.run(&global).await,
            Command::Upgrade(command) => command.run(&global).await,
            Command::Load(command) => command.run(&global).await,
            Command::Token(command) => command.run(&global).await,
            Command::Install(command) => command.run(&global).await,
            Command::Uninstall(command) => command.run(&global).await,
            Command::Doctor(command) => command.run(&global).await,
            Command::Demo(command) => command.run(&global).await,
            Command::Serve(_)
            | Command::Completions(_)
            | Command::Schema(_)
            | Command::OpenApi(_)
            | Command::Man(_)
            | Command::Init(_)
            | Command::Import(_) => Ok(()),
        }
    })
}

/// What only root can do.
fn needs_root(command: &str) -> Result<(), CliError> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(CliError::Usage(format!(
        "`baton {command}` changes the machine and needs root: `sudo baton {command}`"
    )))
}

/// The whole command tree, for completions, manual pages and tests.
fn tree() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_is_sound() {
        tree().debug_assert();
    }

    #[test]
    fn help_lists_what_is_there() {
        let help = tree().term_width(100).render_help().to_string();
        insta::assert_snapshot!("help", help);
    }

    #[test]
    fn help_of_each_command() {
        let mut tree = tree().term_width(100);
        tree.build();
        for command in tree.get_subcommands_mut().filter(|one| !one.is_hide_set()) {
            let name = command.get_name().to_owned();
            let help = command.render_help().to_string();
            insta::assert_snapshot!(format!("help_{name}"), help);
        }
    }
}
