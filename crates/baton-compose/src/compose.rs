//! Running `docker compose` for what it knows best: what the user's files mean.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::{Output, Stdio};

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::color::{AppName, Color, Role};
use crate::error::{ComposeError, Problem};
use crate::files::Located;
use crate::read::ReadOptions;
use crate::rendering::RELEASE_PLACEHOLDER;
use crate::yaml;

/// Oldest Compose that renders `x-*` and everything else that Baton reads.
const MINIMUM: (u32, u32) = (2, 20);

/// The variables that Baton sets for a rendering; a caller's own are never passed on.
const OWN: [&str; 4] = ["BATON_APP", "BATON_COLOR", "BATON_RELEASE", "BATON_ROLE"];

/// `docker compose` as the user would run it: the same files, folder and environment.
#[derive(Debug)]
pub(crate) struct Compose<'a> {
    options: &'a ReadOptions,
    located: &'a Located,
}

/// What `docker compose config` printed.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) model: Value,
    /// `The "TAG" variable is not set. Defaulting to a blank string.`
    pub(crate) warnings: Vec<String>,
}

impl<'a> Compose<'a> {
    pub(crate) fn new(options: &'a ReadOptions, located: &'a Located) -> Compose<'a> {
        Compose { options, located }
    }

    /// # Errors
    /// Docker or its Compose plugin is missing or too old.
    pub(crate) async fn check_version(&self) -> Result<(), ComposeError> {
        checked_version(self.command(&[])).await.map(drop)
    }

    /// The user's model as it is for one color in one role.
    pub(crate) async fn config(&self, color: Color, role: Role) -> Result<Config, ComposeError> {
        let own = [
            ("BATON_COLOR", color.as_str()),
            ("BATON_RELEASE", RELEASE_PLACEHOLDER),
            ("BATON_ROLE", role.as_str()),
        ];
        let output = self.run_with_files(&["config"], &own).await?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(Config {
            model: yaml::parse(&text).map_err(|detail| ComposeError::Output { detail })?,
            warnings: warnings(&String::from_utf8_lossy(&output.stderr)),
        })
    }

    /// The project's name by Compose's own reading, for files that cannot be read plainly.
    pub(crate) fn app(&self) -> Result<AppName, ComposeError> {
        let mut command = self.command(&[]);
        command.args(user_arguments(self.options)).arg("config");
        let command = command.as_std_mut().stdin(Stdio::null());
        let output = command
            .output()
            .map_err(|source| failed("config", source))?;
        let output = self.checked(output)?;
        let model = yaml::parse(&String::from_utf8_lossy(&output.stdout))
            .map_err(|detail| ComposeError::Output { detail })?;
        app_of(&model)
    }

    /// Compose's hash of each service, as plain Compose writes it on a container: without `BATON_*`.
    ///
    /// The files are rendered first and the hash is taken of that: `config --hash` on the files
    /// themselves leaves `env_file` out and so differs from the label (docker/compose#14001, Compose
    /// 2.22 and later).
    pub(crate) async fn hashes(&self) -> Result<BTreeMap<String, String>, ComposeError> {
        let rendered = self.run_with_files(&["config"], &[]).await?.stdout;
        let directory = self.located.directory.as_os_str();
        let mut command = self.command(&[]);
        command
            .args([
                "-f",
                "-",
                "--env-file",
                "/dev/null",
                "--profile",
                "*",
                "--project-directory",
            ])
            .arg(directory)
            .args(["config", "--hash", "*"])
            // What these say of the user's files has been heeded.
            .env_remove("COMPOSE_FILE")
            .env_remove("COMPOSE_PROJECT_NAME")
            .env_remove("COMPOSE_ENV_FILES");
        let output = self.checked(run(command, "config --hash", rendered).await?)?;
        Ok(String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(service, hash)| (service.to_owned(), hash.to_owned()))
            .collect())
    }

    /// The environment that Compose interpolates with (`config --environment`): the caller's, `.env`
    /// and what Compose adds. A value that spans lines is the rest up to the next `NAME=`.
    pub(crate) async fn environment(&self) -> Result<BTreeMap<String, String>, ComposeError> {
        let output = self
            .run_with_files(&["config", "--environment"], &[])
            .await?;
        let text = String::from_utf8_lossy(&output.stdout);
        let mut environment: BTreeMap<String, String> = BTreeMap::new();
        let mut current: Option<String> = None;
        for line in text.lines() {
            match (line.split_once('='), &current) {
                (Some((name, value)), _) if is_name(name) => {
                    environment.insert(name.to_owned(), value.to_owned());
                    current = Some(name.to_owned());
                }
                (_, Some(name)) => {
                    if let Some(value) = environment.get_mut(name) {
                        value.push('\n');
                        value.push_str(line);
                    }
                }
                _ => {}
            }
        }
        // What the caller gave is known exactly.
        environment.extend(self.options.environment.clone());
        Ok(environment)
    }

    async fn run_with_files(
        &self,
        arguments: &[&str],
        own: &[(&str, &str)],
    ) -> Result<Output, ComposeError> {
        let mut command = self.command(own);
        command.args(user_arguments(self.options)).args(arguments);
        tracing::debug!(?arguments, ?own, "docker compose");
        self.checked(run(command, &arguments.join(" "), Vec::new()).await?)
    }

    /// The output, or what Compose had to say against the files.
    fn checked(&self, output: Output) -> Result<Output, ComposeError> {
        if output.status.success() {
            return Ok(output);
        }
        let message = refusal(&String::from_utf8_lossy(&output.stderr));
        // Compose names the file where it knows it; a fragment or include may be meant.
        let named = self.located.files.iter().find(|file| {
            let path = file.path.as_ref().map(|path| path.to_string_lossy());
            path.is_some_and(|path| message.contains(&*path))
        });
        let file = named.map_or_else(|| self.located.first(), |file| file.shown.clone());
        Err(ComposeError::Refused { file, message })
    }

    /// `docker compose` in the caller's folder and environment, `own` instead of its `BATON_*`.
    fn command(&self, own: &[(&str, &str)]) -> Command {
        let mut command = Command::new("docker");
        command
            .arg("compose")
            .current_dir(&self.options.cwd)
            .env_clear()
            .envs(&self.options.environment);
        for name in OWN {
            command.env_remove(name);
        }
        command.envs(own.iter().copied());
        command
    }
}

/// The version of the Compose plugin that this process would use.
///
/// # Errors
/// There is none, or it is older than v2.20; with what to do.
pub async fn compose_version() -> Result<String, ComposeError> {
    let mut command = Command::new("docker");
    command.arg("compose");
    checked_version(command).await
}

async fn checked_version(mut compose: Command) -> Result<String, ComposeError> {
    compose.args(["version", "--short"]);
    let output = run(compose, "version", Vec::new()).await?;
    let found = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let detail = stderr.lines().find(|line| !line.trim().is_empty());
        return Err(ComposeError::ComposeMissing {
            detail: detail
                .unwrap_or("docker printed no reason")
                .trim()
                .to_owned(),
        });
    }
    if version(&found).is_none_or(|version| version < MINIMUM) {
        return Err(ComposeError::ComposeTooOld { found });
    }
    Ok(found)
}

/// Runs a command to its end. `name` is for the error when it could not be run.
async fn run(mut command: Command, name: &str, stdin: Vec<u8>) -> Result<Output, ComposeError> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| failed(name, source))?;
    let pipe = child.stdin.take();
    let write = async {
        if let Some(mut pipe) = pipe {
            // A command that ends without reading says why by its status.
            let _ = pipe.write_all(&stdin).await;
        }
    };
    let (output, ()) = tokio::join!(child.wait_with_output(), write);
    output.map_err(|source| failed(name, source))
}

/// `docker compose NAME` could not be run.
fn failed(name: &str, source: std::io::Error) -> ComposeError {
    if source.kind() == std::io::ErrorKind::NotFound {
        ComposeError::DockerMissing
    } else {
        ComposeError::Run {
            command: format!("docker compose {name}"),
            source,
        }
    }
}

/// The name in a model that Compose printed.
pub(crate) fn app_of(model: &Value) -> Result<AppName, ComposeError> {
    let name = model["name"].as_str().unwrap_or_default();
    name.parse()
        .map_err(|text: String| Problem::new("name", text).into())
}

/// `-f`, `-p`, `--project-directory` and `--profile`, exactly as the user gave them: what was left
/// out is found by Compose itself.
pub(crate) fn user_arguments(options: &ReadOptions) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = Vec::new();
    let mut flag = |name: &str, value: OsString| arguments.extend([name.into(), value]);
    for file in &options.files {
        flag("-f", file.into());
    }
    if let Some(name) = &options.project_name {
        flag("-p", name.into());
    }
    if let Some(directory) = &options.project_directory {
        flag("--project-directory", directory.into());
    }
    for profile in &options.profiles {
        flag("--profile", profile.into());
    }
    arguments
}

/// Major and minor of `2.40.3`, `v2.20.0-rc1`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim_start_matches('v').split(['.', '-', '+']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// `time="…" level=warning msg="…"` → the message.
fn warnings(stderr: &str) -> Vec<String> {
    let mut messages = Vec::new();
    for line in stderr.lines().filter(|line| line.contains("level=warning")) {
        let Some((_, message)) = line.split_once("msg=") else {
            continue;
        };
        // Go's %q; JSON's rules cover every escape that Compose's messages have.
        let message =
            serde_json::from_str::<String>(message).unwrap_or_else(|_| message.to_owned());
        if !messages.contains(&message) {
            messages.push(message);
        }
    }
    messages
}

/// The error part of what Compose printed.
fn refusal(stderr: &str) -> String {
    let lines: Vec<&str> = stderr
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty() && !line.contains("level=warning"))
        .collect();
    if lines.is_empty() {
        "no reason was printed".to_owned()
    } else {
        lines.join("\n  ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_both_spellings() {
        assert_eq!(version("2.40.3"), Some((2, 40)));
        assert_eq!(version("v2.20.0-rc1"), Some((2, 20)));
        assert_eq!(version("5.0.1"), Some((5, 0)));
        assert_eq!(version("dev"), None);
    }

    #[test]
    fn warnings_and_refusals_are_told_apart() {
        let stderr = "time=\"2026\" level=warning msg=\"The \\\"X\\\" variable is not set.\"\ntime=\"2026\" level=warning msg=\"The \\\"X\\\" variable is not set.\"\nservice \"a\" has neither\n";
        assert_eq!(warnings(stderr), ["The \"X\" variable is not set."]);
        assert_eq!(refusal(stderr), "service \"a\" has neither");
    }
}
