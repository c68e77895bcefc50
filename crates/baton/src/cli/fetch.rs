//! Pulling and building, where the user's folder, environment and registry login are. The daemon never
//! sees any of them.

use std::collections::BTreeMap;
use std::process::Stdio;

use baton_compose::plain::{PlainCommand, plain_command, plain_up_commands};
use baton_compose::project::{FetchedImages, PlainService};
use baton_compose::{Project, ReadOptions};
use baton_engine::docker::fetch::{Build, fetch};
use tokio::process::Command;
use tokio::sync::mpsc;

use super::follow::Fetch;
use crate::error::CliError;
use crate::show::Out;

/// Brings every image of an app of the docker engine to this machine.
#[must_use]
pub fn of(project: Project) -> Fetch {
    Box::new(move |says| Box::pin(images(project, says)))
}

async fn images(
    project: Project,
    says: mpsc::UnboundedSender<String>,
) -> Result<FetchedImages, String> {
    let mut images = FetchedImages::new();
    let build = Build {
        project: project.app.as_str(),
        directory: &project.directory,
        files: &project.files,
        env_files: &[],
    };
    for service in &project.services {
        let Some(image) = &service.image else {
            continue;
        };
        let name = &service.name;
        // An error would say that nobody listens, and then nobody polls this either.
        let mut on_line = |line: &str| {
            if !line.trim().is_empty() {
                let _ = says.send(format!("{name}: {line}"));
            }
        };
        let fetched = fetch(name, image, build, &mut on_line)
            .await
            .map_err(|error| error.to_string())?;
        images.insert(name.clone(), fetched);
    }
    Ok(images)
}

/// How a plain service stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Missing,
    /// It runs with another configuration than the file's.
    Changed,
    Same,
}

/// Starts the services without `x-baton` that do not run, as `docker compose up` would. Those whose
/// part of the file has changed are named, and only touched when that was asked for.
///
/// # Errors
/// Docker or Compose failed; their words have been shown.
pub async fn plain_services(
    options: &ReadOptions,
    project: &Project,
    with_deps: bool,
    out: Out,
) -> Result<(), CliError> {
    if project.plain.is_empty() {
        return Ok(());
    }
    let running = running(options, project).await?;
    let mut start = Vec::new();
    for plain in &project.plain {
        match standing(plain, &running) {
            Standing::Missing => {
                out.text(&format!("  {}: not running, started with Compose", plain.name))?;
                start.push(plain.name.clone());
            }
            Standing::Changed if with_deps => {
                out.text(&format!(
                    "  {}: its part of the file has changed, applied with Compose",
                    plain.name
                ))?;
                start.push(plain.name.clone());
            }
            Standing::Changed => out.text(&format!(
                "  {}: its part of the file has changed; it stays as it is (--with-deps applies the change, which recreates it)",
                plain.name
            ))?,
            Standing::Same => {}
        }
    }
    for command in plain_up_commands(options, project, &start) {
        run(&command).await?;
    }
    Ok(())
}

fn standing(plain: &PlainService, running: &BTreeMap<String, String>) -> Standing {
    match (running.get(&plain.name), &plain.config_hash) {
        (None, _) => Standing::Missing,
        (Some(runs), Some(says)) if !runs.is_empty() && runs != says => Standing::Changed,
        (Some(_), _) => Standing::Same,
    }
}

/// Services of the app's own Compose project that run, with the hash of the configuration they were
/// made with.
async fn running(
    options: &ReadOptions,
    project: &Project,
) -> Result<BTreeMap<String, String>, CliError> {
    // For its environment and folder; the question is one for `docker` itself.
    let compose = plain_command(options, project, []);
    let output = Command::new(&compose.program)
        .args(["ps", "--no-trunc", "--filter", "status=running", "--filter"])
        .arg(format!("label=com.docker.compose.project={}", project.app))
        .args([
            "--format",
            "{{.Label \"com.docker.compose.service\"}}\t{{.Label \"com.docker.compose.config-hash\"}}",
        ])
        .env_clear()
        .envs(&compose.environment)
        .current_dir(&compose.cwd)
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|error| CliError::other("docker ps", error))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(CliError::other("docker ps", words.trim()));
    }
    Ok(services(&String::from_utf8_lossy(&output.stdout)))
}

fn services(listed: &str) -> BTreeMap<String, String> {
    listed
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(service, hash)| (service.to_owned(), hash.to_owned()))
        .collect()
}

/// Runs it with its output shown. All of it goes to standard error: standard output is for ours.
async fn run(command: &PlainCommand) -> Result<(), CliError> {
    let status = Command::new(&command.program)
        .args(&command.arguments)
        .env_clear()
        .envs(&command.environment)
        .current_dir(&command.cwd)
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .await
        .map_err(|error| CliError::other("docker compose", error))?;
    if status.success() {
        return Ok(());
    }
    let words: Vec<_> = command
        .arguments
        .iter()
        .map(|word| word.to_string_lossy())
        .collect();
    Err(CliError::Other(format!(
        "`docker {}` ended with {status}; no deploy was begun",
        words.join(" ")
    )))
}

#[cfg(test)]
mod tests {
    use baton_compose::project::Awaited;

    use super::*;

    #[test]
    fn a_plain_service_is_touched_only_when_it_is_missing_or_changed() {
        let plain = |name: &str, hash: Option<&str>| PlainService {
            name: name.into(),
            config_hash: hash.map(str::to_owned),
            depends_on: vec![],
            awaited: Awaited::Started,
        };
        let running = services("redis\tabc\ndb\t\n");
        assert_eq!(
            standing(&plain("redis", Some("abc")), &running),
            Standing::Same
        );
        assert_eq!(
            standing(&plain("redis", Some("def")), &running),
            Standing::Changed
        );
        assert_eq!(
            standing(&plain("db", Some("def")), &running),
            Standing::Same
        );
        assert_eq!(standing(&plain("mail", None), &running), Standing::Missing);
    }
}
