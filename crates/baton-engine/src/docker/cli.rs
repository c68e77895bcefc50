//! Runs the `docker` command line: for `compose`, and for what needs the user's login.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use crate::EngineError;

/// One run of `docker`.
#[derive(Debug)]
pub(super) struct Run<'a> {
    /// What is being done, for messages: `docker compose up`.
    pub(super) action: &'a str,
    pub(super) args: Vec<OsString>,
    /// None: the caller's own environment, for commands of the user's.
    pub(super) environment: Option<BTreeMap<String, OsString>>,
    pub(super) directory: Option<PathBuf>,
    pub(super) input: Option<Vec<u8>>,
    pub(super) timeout: Duration,
}

/// How a run ended.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) success: bool,
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Output {
    /// Its last lines, for a message: what went wrong stands at the end.
    pub(super) fn complaint(&self) -> String {
        let text = if self.stderr.trim().is_empty() {
            &self.stdout
        } else {
            &self.stderr
        };
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        let tail = &lines[lines.len().saturating_sub(8)..];
        match (tail.is_empty(), self.code) {
            (false, _) => tail.join("\n"),
            (true, Some(code)) => format!("it ended with exit code {code} and said nothing"),
            (true, None) => "it was killed and said nothing".to_owned(),
        }
    }
}

/// Ends the whole process group when dropped: `docker` starts its plugins as children.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Group {
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        Group(pid.and_then(Pid::from_raw))
    }

    fn kill(&mut self) {
        if let Some(pid) = self.0.take() {
            // It may have ended by itself.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Run<'_> {
    /// Runs to the end, or kills the process group when the time is over. `on_line` gets each line
    /// of both streams while it runs.
    pub(super) async fn run(
        self,
        on_line: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Output, EngineError> {
        let mut child = self
            .command()
            .spawn()
            .map_err(|error| self.missing(&error))?;
        let mut group = Group::of(&child);
        let collect = async {
            let (lines, mut seen) = mpsc::channel::<(bool, String)>(256);
            let writer = feed(child.stdin.take(), self.input.clone());
            let out = forward(child.stdout.take(), false, lines.clone());
            let err = forward(child.stderr.take(), true, lines);
            let mut texts = (String::new(), String::new());
            let gather = async {
                while let Some((is_error, line)) = seen.recv().await {
                    on_line(&line);
                    let text = if is_error { &mut texts.1 } else { &mut texts.0 };
                    text.push_str(&line);
                    text.push('\n');
                }
            };
            tokio::join!(writer, out, err, gather);
            (child.wait().await, texts)
        };
        let Ok((status, (stdout, stderr))) = tokio::time::timeout(self.timeout, collect).await
        else {
            group.kill();
            return Err(EngineError::Other {
                action: self.action.to_owned(),
                reason: format!("not done after {} s, killed", self.timeout.as_secs()),
            });
        };
        // Reaped: its group id may be another's by now.
        group.0 = None;
        let status = status.map_err(|error| EngineError::Other {
            action: self.action.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Output {
            success: status.success(),
            code: status.code(),
            stdout,
            stderr,
        })
    }

    /// [`Run::run`] without looking at the lines.
    pub(super) async fn quiet(self) -> Result<Output, EngineError> {
        self.run(&mut |_| {}).await
    }

    fn command(&self) -> Command {
        let mut command = Command::new("docker");
        command
            .args(&self.args)
            .process_group(0)
            .stdin(if self.input.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(environment) = &self.environment {
            command.env_clear().envs(environment);
        }
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
    }

    fn missing(&self, error: &std::io::Error) -> EngineError {
        EngineError::Missing {
            what: "the docker command",
            reason: format!("{}: {error}", self.action),
            next: "install the Docker command line and put it in PATH".to_owned(),
        }
    }
}

async fn feed(stdin: Option<tokio::process::ChildStdin>, input: Option<Vec<u8>>) {
    if let (Some(mut stdin), Some(input)) = (stdin, input) {
        // One that does not read its input says why on its standard error.
        let _ = stdin.write_all(&input).await;
        let _ = stdin.shutdown().await;
    }
}

async fn forward(
    stream: Option<impl AsyncRead + Unpin>,
    is_error: bool,
    lines: mpsc::Sender<(bool, String)>,
) {
    let Some(stream) = stream else { return };
    let mut reader = BufReader::new(stream);
    let mut buffer = Vec::new();
    while let Ok(1..) = reader.read_until(b'\n', &mut buffer).await {
        let text = String::from_utf8_lossy(&buffer);
        let line = text.trim_end_matches(['\n', '\r']).to_owned();
        buffer.clear();
        if lines.send((is_error, line)).await.is_err() {
            return;
        }
    }
}

/// The environment for commands of Baton's own: nothing of Compose's or the app's leaks in
/// (Engines.md §1: `COMPOSE_PROJECT_NAME`, `COMPOSE_REMOVE_ORPHANS`).
pub(super) fn scrubbed_environment(
    host: &str,
    extra: &BTreeMap<String, String>,
) -> BTreeMap<String, OsString> {
    const KEPT: [&str; 8] = [
        "PATH",
        "HOME",
        "TMPDIR",
        "XDG_RUNTIME_DIR",
        "DOCKER_CONFIG",
        "DOCKER_CERT_PATH",
        "DOCKER_TLS_VERIFY",
        "DOCKER_API_VERSION",
    ];
    let mut environment: BTreeMap<String, OsString> = extra
        .iter()
        .map(|(name, value)| (name.clone(), OsString::from(value)))
        .collect();
    for name in KEPT {
        if let Some(value) = std::env::var_os(name) {
            environment.insert(name.to_owned(), value);
        }
    }
    environment.insert("DOCKER_HOST".to_owned(), host.into());
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_holds_the_engine_and_the_secrets_only() {
        let extra = BTreeMap::from([("TOKEN".to_owned(), "x".to_owned())]);
        let environment = scrubbed_environment("unix:///run/d.sock", &extra);
        assert_eq!(environment["DOCKER_HOST"], "unix:///run/d.sock");
        assert_eq!(environment["TOKEN"], "x");
        assert!(environment.contains_key("PATH"));
        assert!(!environment.keys().any(|name| name.starts_with("COMPOSE_")));
        assert!(!environment.keys().any(|name| name.starts_with("CARGO")));
    }

    #[tokio::test]
    async fn a_command_that_never_ends_is_killed_with_its_children() {
        let began = std::time::Instant::now();
        let error = Run {
            action: "docker events",
            args: vec!["events".into()],
            environment: None,
            directory: None,
            input: None,
            timeout: Duration::from_millis(300),
        }
        .quiet()
        .await
        .expect_err("it has no end");
        assert!(error.to_string().contains("killed"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_complaint_is_the_end_of_what_was_said() {
        let stderr = (1..=20).map(|n| format!("line {n}\n")).collect();
        let output = Output {
            success: false,
            code: Some(1),
            stdout: String::new(),
            stderr,
        };
        assert!(output.complaint().starts_with("line 13"));
        assert!(output.complaint().ends_with("line 20"));
    }
}
