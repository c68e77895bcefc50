//! The services without `x-baton`: started with plain Compose, from the user's own files.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::compose::user_arguments;
use crate::project::{Awaited, PlainService, Project};
use crate::read::ReadOptions;

/// A command to run in the user's folder with the user's environment.
#[derive(Clone, PartialEq, Eq)]
pub struct PlainCommand {
    pub program: OsString,
    pub arguments: Vec<OsString>,
    /// The whole environment; nothing is inherited.
    pub environment: BTreeMap<String, String>,
    pub cwd: PathBuf,
}

/// Without the environment: its values are secrets.
impl std::fmt::Debug for PlainCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlainCommand")
            .field("program", &self.program)
            .field("arguments", &self.arguments)
            .field("cwd", &self.cwd)
            .finish_non_exhaustive()
    }
}

/// The commands that start `services` (names of [`Project::plain`], any order) and wait for what
/// other services depend on, in the order to run them. Each must end with status 0 before the next
/// one; a `service_completed_successfully` one runs in the foreground, to its end. Empty when
/// `services` is.
///
/// `up --no-deps` never starts a service with `x-baton` that a plain one depends on, and leaves a
/// container alone whose part of the file has not changed. Orphans are never removed, whatever the
/// user's `COMPOSE_REMOVE_ORPHANS` says (Engines.md §1).
#[must_use]
pub fn plain_up_commands(
    options: &ReadOptions,
    project: &Project,
    services: &[String],
) -> Vec<PlainCommand> {
    let mut commands = Vec::new();
    let mut together: Vec<&PlainService> = Vec::new();
    for plain in &project.plain {
        if !services.contains(&plain.name) {
            continue;
        }
        if plain.awaited == Awaited::Completed {
            // Everything that it depends on comes before it.
            up(std::mem::take(&mut together), &mut commands);
            let mut to_its_end = vec!["up", "--no-deps", "--no-log-prefix"];
            to_its_end.extend(["--remove-orphans=false", "--exit-code-from"]);
            to_its_end.extend([plain.name.as_str(); 2]);
            commands.push(to_its_end);
        } else {
            together.push(plain);
        }
    }
    up(together, &mut commands);
    commands
        .into_iter()
        .map(|command| plain_command(options, project, command))
        .collect()
}

/// Starts services in the background, and waits for the health of those where somebody does.
fn up<'a>(services: Vec<&'a PlainService>, commands: &mut Vec<Vec<&'a str>>) {
    let names = |only: Option<Awaited>| {
        let wanted = services
            .iter()
            .filter(move |plain| only.is_none_or(|awaited| plain.awaited == awaited));
        wanted.map(|plain| plain.name.as_str())
    };
    let mut command = vec!["up", "-d", "--no-deps", "--remove-orphans=false"];
    if !services.is_empty() {
        commands.push(command.iter().copied().chain(names(None)).collect());
    }
    command.extend(["--no-recreate", "--wait"]);
    if names(Some(Awaited::Healthy)).next().is_some() {
        commands.push(
            command
                .into_iter()
                .chain(names(Some(Awaited::Healthy)))
                .collect(),
        );
    }
}

/// `docker compose` on the user's files under the app's name, with the given subcommand, for example
/// `build --pull api`: the environment has no setting that would make it do more.
#[must_use]
pub fn plain_command<'a>(
    options: &ReadOptions,
    project: &Project,
    subcommand: impl IntoIterator<Item = &'a str>,
) -> PlainCommand {
    let named = ReadOptions {
        project_name: Some(project.app.to_string()),
        ..options.clone()
    };
    let mut arguments: Vec<OsString> = vec!["compose".into()];
    arguments.extend(user_arguments(&named));
    arguments.extend(subcommand.into_iter().map(OsString::from));
    let mut environment = options.environment.clone();
    environment.retain(|name, _| {
        !matches!(
            name.as_str(),
            "COMPOSE_PROJECT_NAME"
                | "COMPOSE_REMOVE_ORPHANS"
                | "BATON_APP"
                | "BATON_COLOR"
                | "BATON_RELEASE"
                | "BATON_ROLE"
        )
    });
    // Over what `.env` may say.
    environment.insert("COMPOSE_REMOVE_ORPHANS".to_owned(), "0".to_owned());
    environment.insert("COMPOSE_IGNORE_ORPHANS".to_owned(), "1".to_owned());
    environment.insert("COMPOSE_MENU".to_owned(), "0".to_owned());
    PlainCommand {
        program: "docker".into(),
        arguments,
        environment,
        cwd: options.cwd.clone(),
    }
}
