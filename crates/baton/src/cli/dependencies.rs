//! The services without `x-baton`: started with plain Compose where they do not run; where their part of
//! the file has changed, the difference is shown, and applied only when that was asked for.

use std::collections::BTreeMap;
use std::process::{Output, Stdio};

use baton_compose::plain::{PlainCommand, plain_command, plain_up_commands};
use baton_compose::project::PlainService;
use baton_compose::{Project, ReadOptions};
use serde_json::{Value, json};
use tokio::process::Command;

use super::difference;
use crate::error::CliError;
use crate::show::Out;

/// How a plain service stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Missing,
    /// It runs with another configuration than the file's.
    Changed,
    Same,
}

/// A container of the app's own Compose project that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Running {
    id: String,
    /// Of the configuration that it was made with; empty where Compose wrote none.
    hash: String,
}

/// Starts the services without `x-baton` that do not run, as `docker compose up` would. Those whose
/// part of the file has changed are shown with the difference, and only touched with `with_deps`.
///
/// # Errors
/// Docker or Compose failed; their words have been shown.
pub async fn start(
    options: &ReadOptions,
    project: &Project,
    with_deps: bool,
    out: Out,
) -> Result<(), CliError> {
    let start = tell(options, project, with_deps, out).await?;
    if start.is_empty() {
        return Ok(());
    }
    let compose = Compose { options, project };
    compose.join_before_the_start(&start).await?;
    for command in plain_up_commands(options, project, &start) {
        run(&command).await?;
    }
    Ok(())
}

/// Says how they stand; returns what a deploy would start, or make anew.
///
/// # Errors
/// Docker cannot be asked.
pub async fn tell(
    options: &ReadOptions,
    project: &Project,
    with_deps: bool,
    out: Out,
) -> Result<Vec<String>, CliError> {
    let mut start = Vec::new();
    if project.plain.is_empty() {
        return Ok(start);
    }
    let compose = Compose { options, project };
    let running = compose.running().await?;
    for plain in &project.plain {
        let name = &plain.name;
        let (standing, text, changes) = match standing(plain, &running) {
            Standing::Same => continue,
            Standing::Missing => {
                start.push(name.clone());
                ("missing", "not running, started with Compose", Vec::new())
            }
            Standing::Changed => {
                let changes = match running.get(name) {
                    Some(runs) => compose.changes(name, runs).await?,
                    None => Vec::new(),
                };
                let text = if with_deps {
                    start.push(name.clone());
                    "its part of the file has changed, applied with Compose"
                } else {
                    "its part of the file has changed; it stays as it is (--with-deps applies the change, which recreates it)"
                };
                ("changed", text, changes)
            }
        };
        out.text(&format!("  {name}: {text}"))?;
        for change in &changes {
            out.text(&format!("    {change}"))?;
        }
        out.line(&json!({
            "event": "plain_service", "service": name, "standing": standing,
            "changes": changes, "message": text,
        }))?;
    }
    Ok(start)
}

fn standing(plain: &PlainService, running: &BTreeMap<String, Running>) -> Standing {
    match (running.get(&plain.name), &plain.config_hash) {
        (None, _) => Standing::Missing,
        (Some(runs), Some(says)) if !runs.hash.is_empty() && runs.hash != *says => {
            Standing::Changed
        }
        (Some(_), _) => Standing::Same,
    }
}

/// Questions to Docker and Compose, in the user's folder and environment.
struct Compose<'a> {
    options: &'a ReadOptions,
    project: &'a Project,
}

impl Compose<'_> {
    /// `docker ARGS…`.
    async fn docker(&self, action: &str, arguments: &[&str]) -> Result<Output, CliError> {
        // For its environment and folder; the question is one for `docker` itself.
        let compose = plain_command(self.options, self.project, []);
        Command::new(&compose.program)
            .args(arguments)
            .env_clear()
            .envs(&compose.environment)
            .current_dir(&compose.cwd)
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(|error| CliError::other(action, error))
    }

    async fn answer(&self, action: &str, arguments: &[&str]) -> Result<String, CliError> {
        let output = self.docker(action, arguments).await?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            return Err(CliError::other(action, words.trim()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The first container of each service that runs.
    async fn running(&self) -> Result<BTreeMap<String, Running>, CliError> {
        let project = format!("label=com.docker.compose.project={}", self.project.app);
        let arguments = [
            "ps",
            "--no-trunc",
            "--filter",
            "status=running",
            "--filter",
            &project,
            "--format",
            "{{.Label \"com.docker.compose.service\"}}\t{{.Label \"com.docker.compose.config-hash\"}}\t{{.ID}}",
        ];
        Ok(services(&self.answer("docker ps", &arguments).await?))
    }

    /// What differs between the file and the container, key by key.
    async fn changes(&self, service: &str, running: &Running) -> Result<Vec<String>, CliError> {
        let compose = plain_command(self.options, self.project, ["config", "--format", "json"]);
        let arguments: Vec<_> = compose
            .arguments
            .iter()
            .map(|argument| argument.to_string_lossy())
            .collect();
        let arguments: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
        let model = json_of(&self.answer("docker compose config", &arguments).await?)?;
        let inspect = ["inspect", "--type", "container", &running.id];
        let container = first(json_of(&self.answer("docker inspect", &inspect).await?)?);
        let image = container["Image"].as_str().unwrap_or_default();
        // Gone where somebody forced it away: then its defaults count as the container's own.
        let inspect = ["inspect", "--type", "image", image];
        let image = match self.answer("docker inspect", &inspect).await {
            Ok(text) => first(json_of(&text)?),
            Err(_) => Value::Null,
        };
        Ok(difference::of(&model, service, &container, &image))
    }

    /// While a color is live, a plain service finds it by its plain name on the live network: it is made,
    /// joins that, and only then starts, so that its very first call arrives.
    async fn join_before_the_start(&self, services: &[String]) -> Result<(), CliError> {
        let network = format!("{}_live", self.project.app);
        let seen = self
            .docker("docker network", &["network", "inspect", &network])
            .await?;
        if !seen.status.success() {
            return Ok(());
        }
        let mut make = vec!["up", "--no-start", "--no-deps", "--remove-orphans=false"];
        make.extend(services.iter().map(String::as_str));
        run(&plain_command(self.options, self.project, make)).await?;
        for service in services {
            let project = format!("label=com.docker.compose.project={}", self.project.app);
            let of_service = format!("label=com.docker.compose.service={service}");
            let one_off = "label=com.docker.compose.oneoff=False";
            let arguments = [
                "ps",
                "-aq",
                "--filter",
                &project,
                "--filter",
                &of_service,
                "--filter",
                one_off,
            ];
            let ids = self.answer("docker ps", &arguments).await?;
            for id in ids.split_whitespace() {
                let joined = self
                    .docker("docker network", &["network", "connect", &network, id])
                    .await?;
                // It is there already (the daemon was faster), or its network mode allows none.
                if !joined.status.success() {
                    let why = String::from_utf8_lossy(&joined.stderr).trim().to_owned();
                    tracing::debug!(service, network, why, "not joined");
                }
            }
        }
        Ok(())
    }
}

fn json_of(text: &str) -> Result<Value, CliError> {
    serde_json::from_str(text).map_err(|error| CliError::other("docker's JSON", error))
}

fn first(list: Value) -> Value {
    list.get(0).cloned().unwrap_or_default()
}

fn services(listed: &str) -> BTreeMap<String, Running> {
    let mut services = BTreeMap::new();
    for line in listed.lines() {
        let mut fields = line.split('\t').map(str::to_owned);
        if let (Some(service), Some(hash), Some(id)) = (fields.next(), fields.next(), fields.next())
        {
            services.entry(service).or_insert(Running { id, hash });
        }
    }
    services
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
        let running = services("redis\tabc\t1\ndb\t\t2\n");
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
