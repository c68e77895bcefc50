//! The services without `x-baton`: started with plain Compose, from the user's own files.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::compose::user_arguments;
use crate::project::{Awaited, Project};
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

/// The commands that start `services` (names of [`Project::plain`], any order) and wait for what the
/// services with `x-baton` depend on, in the order to run them. Each must end with status 0 before
/// the next one. Empty when `services` is.
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
    let wanted: Vec<_> = project
        .plain
        .iter()
        .filter(|plain| services.contains(&plain.name))
        .collect();
    let names = |awaited: Option<Awaited>| -> Vec<&str> {
        wanted
            .iter()
            .filter(|plain| awaited.is_none_or(|awaited| plain.awaited == awaited))
            .map(|plain| plain.name.as_str())
            .collect()
    };
    let steps = [
        (
            vec!["up", "-d", "--no-deps", "--remove-orphans=false"],
            names(None),
        ),
        (
            vec![
                "up",
                "-d",
                "--no-deps",
                "--no-recreate",
                "--remove-orphans=false",
                "--wait",
            ],
            names(Some(Awaited::Healthy)),
        ),
        (vec!["wait"], names(Some(Awaited::Completed))),
    ];
    steps
        .into_iter()
        .filter(|(_, services)| !services.is_empty())
        .map(|(command, services)| {
            plain_command(options, project, command.into_iter().chain(services))
        })
        .collect()
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
    PlainCommand {
        program: "docker".into(),
        arguments,
        environment,
        cwd: options.cwd.clone(),
    }
}
